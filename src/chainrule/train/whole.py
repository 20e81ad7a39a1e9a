"""The objective over all rows as a function of one vector: what a solver asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule import optim
from chainrule.errors import ConfigError
from chainrule.executors import Array, Epoch, Program, epoch
from chainrule.graph.expr import toposort
from chainrule.train.curvature import tangent_name
from chainrule.train.feed import Data
from chainrule.train.objective import Objective
from chainrule.train.state import snapshot

__all__ = ["Whole", "blocks", "check_repeatable", "rows_at_once"]

_BLOCK = 4096  # rows at a time: the memory of a fit does not grow with the data


def rows_at_once(data: Data) -> int:
    """The rows of a block."""
    return min(_BLOCK, len(data))


def blocks(data: Data) -> int:
    """How many blocks of rows there are, the last one filled up."""
    return -(-len(data) // rows_at_once(data))


def check_repeatable(program: Program, objective: Objective) -> None:
    """ConfigError for a loss that is another one each time, or that belongs to a batch."""
    noise = {node for node in toposort(program.outputs.values()) if any(node is s for s in program.scalars)}
    if noise or objective.model.batch_statistics:
        what = (
            "BatchNorm's statistics of a batch"
            if objective.model.batch_statistics
            else "noise, as of Dropout"
        )
        raise ConfigError(
            f"solvers and second derivatives need a loss that is always the same, not {what}; use 'adam' "
            "with it"
        )


@dataclass(eq=False)
class Whole:
    """The objective over all rows, Σ wᵢ(lossᵢ + penalty)/Σ wᵢ, and its gradient, at any parameters.

    Blocks of rows go through one compiled function; their sums are taken in float64. The last block is filled
    up with rows of weight 0.
    """

    objective: Objective
    state: dict[str, Array]
    data: Data
    executor: str
    threads: int | None

    def __post_init__(self) -> None:
        self.rows = rows_at_once(self.data)
        self.program = self.objective.whole(self.rows)
        self.ready: Epoch = epoch(self.program, executor=self.executor, threads=self.threads)
        self.trained = list(self.objective.trained)
        self.seen: list[tuple[Array, dict[str, float]]] = []  # the last points: where, the sums there
        self.now = snapshot(self.state)  # the state at the present point, where the executor has it
        rows = np.arange(blocks(self.data) * self.rows)
        arrays = list(self.data.arrays.values())
        whole = len(self.data) // self.rows
        self.parts = [(arrays, rows[: whole * self.rows].reshape(whole, -1))] if whole else []
        if len(rows) > len(self.data):
            self.parts.append((self._filled(arrays, whole * self.rows), np.arange(self.rows)[None]))

    def _filled(self, arrays: Sequence[Array], start: int) -> list[Array]:
        rows = np.minimum(np.arange(start, start + self.rows), len(self.data) - 1)
        weight = arrays[-1][rows]
        weight[len(self.data) - start :] = 0
        return [*(a[rows] for a in arrays[:-1]), weight]

    def pack(self, state: Mapping[str, Array]) -> Array:
        """The trained parameters as one vector, float64."""
        return np.concatenate([state[name].astype(np.float64).ravel() for name in self.trained])

    def unpack(self, x: Array) -> dict[str, Array]:
        """The state at a point: the parameters there, all else as it is."""
        found, start = dict(self.state), 0
        for name in self.trained:
            old = self.state[name]
            found[name] = x[start : start + old.size].reshape(old.shape).astype(old.dtype)
            start += old.size
        return found

    def place(self, x: Array, name: Callable[[str], str] = str) -> None:
        """Writes a vector into the present state: the parameters, or what else is named after them."""
        start = 0
        for array in (self.now[name(n)] for n in self.trained):
            array[...] = x[start : start + array.size].reshape(array.shape)
            start += array.size

    def sweep(self, ready: Epoch) -> Iterator[dict[str, Array]]:
        """What a program delivers for each part of the rows, at the present state."""
        for arrays, index in self.parts:
            count = np.zeros(len(index), np.int64)
            yield ready.run(self.now, arrays, index, [count, count])[1]

    def weighted(self, found: Mapping[str, Array], prefix: str) -> Array:
        """Σ over blocks of weight · what is there for each parameter, as one vector, float64."""
        weight = found["weight"].astype(np.float64)
        parts = [found[f"{prefix}:{n}"].reshape(len(weight), -1) for n in self.trained]
        return np.concatenate([weight @ part.astype(np.float64) for part in parts])

    def __call__(self, x: Array) -> tuple[float, Array]:
        self.place(x)
        g = np.zeros(len(x))
        sums = {n: 0.0 for n in self.program.outputs if not n.startswith("gradient:")}
        for found in self.sweep(self.ready):
            for name in sums:
                scale = found["weight"].astype(np.float64) if name == "objective" else 1.0
                sums[name] += float(np.sum(scale * found[name].astype(np.float64)))
            g += self.weighted(found, "gradient")
        self.seen = [*self.seen[-1:], (x, sums)]
        return sums["objective"] / sums["weight"], g / sums["weight"]

    def means(self, x: Array) -> dict[str, float]:
        """The loss without penalties and the metrics at a point that was asked for."""
        known = [sums for where, sums in self.seen if where is x]
        if not known:
            self(x)
            known = [self.seen[-1][1]]
        sums = known[0]
        return {n: v / sums["weight"] for n, v in sums.items() if n not in ("objective", "weight")}

    def asked(self, asks: optim.Asks) -> Callable[[Array], Any]:
        """The objective as a solver wants it."""
        if asks == "gradient":
            return self
        return _Residuals(self) if asks == "residuals" else _Curved(self, asks)


class _Bending:
    """A program of products with a matrix at a point, column by column."""

    def __init__(self, whole: Whole, asks: optim.Asks) -> None:
        self.whole = whole
        program = whole.objective.curvature(whole.rows, asks)
        self.ready = epoch(program, executor=whole.executor, threads=whole.threads)
        whole.now |= {tangent_name(n): np.zeros_like(whole.state[n]) for n in whole.trained}

    def columns(self, x: Array, V: Array, product: Callable[[Array], Array]) -> Array:
        """The product with a vector, or with every column of V."""
        self.whole.place(x)
        if V.ndim == 1:
            return product(V)
        return np.stack([product(v) for v in V.T], axis=1)


class _Curved(_Bending):
    """x → (f, ∇f, products with the Hessian or the Gauss-Newton matrix). The penalty ½α‖w‖² adds α."""

    def __init__(self, whole: Whole, asks: optim.Asks) -> None:
        super().__init__(whole, asks)
        self.added = _penalties(whole) if asks == "gauss_newton" else 0.0

    def __call__(self, x: Array) -> tuple[float, Array, optim.Product]:
        return *self.whole(x), lambda V: self.columns(x, V, self._product)

    def _product(self, v: Array) -> Array:
        self.whole.place(v, tangent_name)
        total, weight = np.zeros(len(v)), 0.0
        for found in self.whole.sweep(self.ready):
            total += self.whole.weighted(found, "product")
            weight += float(found["weight"].astype(np.float64).sum())
        return total / weight + self.added * v


class _Residuals(_Bending):
    """x → (r, products with its Jacobian), ½‖r‖² being the objective: √(wᵢ/Σw) times the residuals of row i,
    and √α·w for the penalty ½α‖w‖² of a weight."""

    def __init__(self, whole: Whole) -> None:
        super().__init__(whole, "residuals")
        α = _penalties(whole)
        self.penalized, self.α = np.flatnonzero(α), np.sqrt(α[α > 0])
        weight = np.asarray(list(whole.data.arrays.values())[-1], np.float64)
        self.share = np.sqrt(weight / weight.sum())

    def __call__(self, x: Array) -> tuple[Array, optim.Product]:
        self.whole.place(x)
        return self._joined("residuals", x), lambda V: self.columns(x, V, self._product)

    def _product(self, v: Array) -> Array:
        self.whole.place(v, tangent_name)
        return self._joined("tangents", v)

    def _joined(self, what: str, v: Array) -> Array:
        """Of all rows, weighted, one output after the other; those of the penalty behind them."""
        swept = list(self.whole.sweep(self.ready))
        parts = [self.α * v[self.penalized]]
        for name in reversed([n for n in swept[0] if n.startswith(f"{what}:")]):
            rows = np.concatenate([f[name].reshape(-1, *f[name].shape[2:]) for f in swept])
            rows = rows[: len(self.share)].reshape(len(self.share), -1).astype(np.float64)
            masked = np.where(self.share[:, None] > 0, rows, 0.0)
            parts.insert(0, (self.share[:, None] * masked).ravel())
        return np.concatenate(parts)


def _penalties(whole: Whole) -> Array:
    """α of the penalty ½α‖w‖² for every component of the vector."""
    trained = whole.objective.trained
    return np.concatenate([np.full(whole.state[n].size, setting.l2) for n, setting in trained.items()])
