"""Predictions: rows in any number through compiled functions of a few fixed sizes, which are kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import is_
from typing import Any

import numpy as np

from chainrule import losses as loss_room
from chainrule.errors import ConfigError, ShapeError
from chainrule.executors import Array, Blocks, Function, Work, best, compile, work_of
from chainrule.graph.expr import Expr
from chainrule.passes import optimize
from chainrule.spec import DType
from chainrule.train.objective import SINGLE, Model
from chainrule.train.prepare import take_inputs

__all__ = ["Predictor"]

_BLOCK = 64  # rows that compiled code computes at a time: what they need stays in the processor's cache
_FEW = 16  # up to so many rows, one by one takes less time than a whole block
_REFERENCE = (1, 64, 1024)  # blocks of the reference, for which every call has its price
_BYTES = 1 << 22  # of rows that are checked, then computed from a cache before the next ones are
_TURN = 5e4  # microseconds between two moments at which Ctrl-C is heard
_LOOK = 1 << 16  # numbers looked at together: they stay in the processor's cache


@dataclass(eq=False)
class _Compiled:
    """A function of one block of rows.

    names      of the outputs
    rows       shape of a row and dtype of each output
    size       rows of a block
    turn       blocks that are computed in one call
    held       parameters and buffers as they were when they were bound, and the function bound to them
    """

    names: list[str]
    rows: list[tuple[tuple[int, ...], DType]]
    size: int
    turn: int
    function: Function
    held: tuple[list[Array], Blocks] | None = None


class Predictor:
    """What a model says to rows of x: its output, or what a loss makes of it. Safe to call from many threads.

    kind    "output", "predict" (what the loss says that it stands for) or "probabilities"
    """

    def __init__(self, model: Model, losses: Mapping[str, Any], kind: str) -> None:
        self.model, self.losses, self.kind = model, dict(losses), kind
        self.state_names = (*model.parameters, *model.buffers)
        spec = model.inputs.get("x")
        simple = spec is not None and len(model.inputs) == 1 and spec.dtype == model.dtype
        self._row = spec.shape if spec is not None and simple else None
        self._lock = threading.Lock()
        self._works: dict[int, Work] = {}
        self._compiled: dict[tuple[int, str], _Compiled] = {}

    def __call__(self, x: Any, state: dict[str, Array], executor: str) -> Any:
        """(n, …), or a dict of them where the network has several outputs.

        ``state`` keeps its values; its arrays give way to equal ones that lie as compiled code wants them.
        """
        arrays, checked = self._take(x)
        n = len(arrays[0])
        if executor == "auto":
            executor = self._choose(n)
        size = _block(n, executor)
        ready, bound = self._ready(size, executor, state)
        if n <= size:
            if not checked:
                self._look(arrays[0], arrays[0])
            found = bound.one(arrays)
        else:
            found = [np.empty((n, *shape), dtype) for shape, dtype in ready.rows]
            for start, count in _turns(n, size, ready.turn):
                if not checked:
                    checked = self._look(arrays[0], arrays[0][start : start + count * size])
                bound(arrays, found, start, count)
        return found[0] if ready.names == [SINGLE] else dict(zip(ready.names, found, strict=True))

    # ------------------------------------------------------------------ what is given

    def _take(self, x: Any) -> tuple[tuple[Array, ...], bool]:
        """The inputs as `take_inputs` gives them, and whether their values have been looked at: those of one
        plain array are looked at part by part, shortly before they are used."""
        row = self._row
        if (
            row  # None, or (): no number of features
            and type(x) is np.ndarray
            and x.dtype == self.model.dtype
            and x.shape[1:] == row
            and x.flags.c_contiguous
            and x.size
        ):
            return (x,), False
        return tuple(take_inputs(x, self.model.dtype, self.model).values()), True

    def _look(self, x: Array, part: Array) -> bool:
        """DataError where a part of x holds NaN or infinity; whether all of x has been looked at."""
        if _finite(part):
            return False
        take_inputs(x, self.model.dtype, self.model)  # which says where
        return True

    # ------------------------------------------------------------------ what computes

    def _choose(self, n: int) -> str:
        """The executor that needs less time for so many rows, compiling included."""
        size = _block(n, "reference")
        if size not in self._works:
            self._works[size] = work_of(optimize(list(self._graph(size)[0].values())))
        return best(self._works[size], -(-n // size))[0]

    def _ready(self, size: int, executor: str, state: dict[str, Array]) -> tuple[_Compiled, Blocks]:
        ready = self._compiled.get((size, executor))
        if ready is None:
            with self._lock:
                if (ready := self._compiled.get((size, executor))) is None:
                    ready = self._compiled[size, executor] = self._compile(size, executor)
        if (held := ready.held) is not None:
            known, bound = held
            if all(map(is_, known, map(state.__getitem__, self.state_names))):
                return ready, bound
        return ready, self._bind(ready, state)

    def _bind(self, ready: _Compiled, state: dict[str, Array]) -> Blocks:
        """The function with the present state, which from now on lies where the function reads it."""
        given = [state[name] for name in self.state_names]
        bound = ready.function.bound(given, ready.size)
        for i, (name, laid) in enumerate(zip(self.state_names, bound.arrays, strict=True)):
            if laid is not given[i] and state[name] is given[i]:
                state[name] = given[i] = laid
        ready.held = given, bound
        return bound

    def _compile(self, size: int, executor: str) -> _Compiled:
        nodes, inputs = self._graph(size)
        for name, node in nodes.items():
            if node.shape[:1] != (size,):
                raise ShapeError(
                    f"output {name!r} has shape {node.shape} for {size} rows of x; end the network in a "
                    "layer that gives a row for each row"
                )
        outputs = list(nodes.values())
        function = compile(outputs, inputs, executor=executor, rows=len(self.model.inputs))
        width = sum(s.size * s.dtype.itemsize for s in self.model.inputs.values())
        turn = min(_BYTES / max(width * size, 1), _TURN / max(work_of(outputs).cpu, 1e-3))
        rows = [(node.shape[1:], node.dtype) for node in outputs]
        return _Compiled(list(nodes), rows, size, max(1, int(turn)), function)

    def _graph(self, size: int) -> tuple[dict[str, Expr], list[Expr]]:
        """Outputs by name, for a block of rows; and the inputs, parameters and buffers they come from."""
        model = self.model
        x = model.batch_inputs(size)
        outputs, run = model.trace(x, training=False)
        known = {name: v for name, v in self.losses.items() if isinstance(v, loss_room.Loss)}
        if self.kind == "probabilities" and not known:
            raise ConfigError("predict_proba needs a fit with a loss of classes, such as CrossEntropy")
        nodes = dict(outputs)
        for name, loss in known.items():
            if self.kind != "output":
                made = loss.predict if self.kind == "predict" else loss.probabilities
                nodes[name] = made(nodes[name])
        state = [run.inputs[s] if s in run.inputs else model.unused(s) for s in self.state_names]
        return nodes, [*x.values(), *state]


def _block(n: int, executor: str) -> int:
    """Rows in a block, for n in all."""
    if executor == "cpu":
        return 1 if n < _FEW else _BLOCK
    return next((size for size in _REFERENCE if n <= size), _REFERENCE[-1])


def _turns(n: int, size: int, most: int) -> Iterator[tuple[int, int]]:
    """First row and number of blocks of each turn. A last block that is not whole begins so much earlier: its
    first rows are computed twice."""
    blocks = n // size
    for first in range(0, blocks, most):
        yield first * size, min(most, blocks - first)
    if n % size:
        yield n - size, 1


def _finite(x: Array) -> bool:
    """Whether all numbers are. A search in bytes takes a third of the time of ``all`` where they are few."""
    if x.size <= _LOOK:
        return 0 not in np.isfinite(x).tobytes()
    flat = x.reshape(-1)
    return all(_finite(flat[k : k + _LOOK]) for k in range(0, flat.size, _LOOK))
