"""A fit by a solver: a loop on the host around one function, the loss over all data and its gradient."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from chainrule import optim
from chainrule.errors import ConfigError, DivergenceError
from chainrule.executors import Array, Epoch, Program, decide, epoch
from chainrule.graph.expr import toposort
from chainrule.train.callbacks import Callback, Chunk, EpochEnd, Start
from chainrule.train.checkpoint import RunFolder
from chainrule.train.evaluate import Evaluator
from chainrule.train.feed import Data
from chainrule.train.held import Held
from chainrule.train.history import History
from chainrule.train.interrupt import deferred_interrupt
from chainrule.train.loop import Position
from chainrule.train.objective import Objective
from chainrule.train.state import digest, snapshot

__all__ = ["Solve"]

_BLOCK = 4096  # rows at a time: the memory of a fit does not grow with the data


@dataclass(eq=False)
class _Whole:
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
        self.rows = min(_BLOCK, len(self.data))
        self.program = self.objective.whole(self.rows)
        self.ready: Epoch = epoch(self.program, executor=self.executor, threads=self.threads)
        self.trained = [
            n.removeprefix("gradient:") for n in self.program.outputs if n.startswith("gradient:")
        ]
        self.seen: list[tuple[Array, dict[str, float]]] = []  # the last points: where, the sums there
        self.now = snapshot(self.state)  # the state at the present point, where the executor has it
        rows = np.arange(-(-len(self.data) // self.rows) * self.rows)
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

    def _move(self, x: Array) -> None:
        """Brings the present state to a point."""
        start = 0
        for name in self.trained:
            array = self.now[name]
            array[...] = x[start : start + array.size].reshape(array.shape)
            start += array.size

    def __call__(self, x: Array) -> tuple[float, Array]:
        self._move(x)
        g = np.zeros(len(x))
        sums = {n: 0.0 for n in self.program.outputs if not n.startswith("gradient:")}
        for arrays, index in self.parts:
            count = np.zeros(len(index), np.int64)
            _, found = self.ready.run(self.now, arrays, index, [count, count])
            weight = found["weight"].astype(np.float64)
            for name in sums:
                scale = weight if name == "objective" else 1.0
                sums[name] += float(np.sum(scale * found[name].astype(np.float64)))
            parts = [found[f"gradient:{n}"].reshape(len(index), -1) for n in self.trained]
            g += np.concatenate([weight @ part.astype(np.float64) for part in parts])
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


@dataclass(eq=False)
class Solve:
    """One fit by a solver; the attributes that it shares with :class:`~chainrule.train.Fit` mean the same. An
    iteration counts as an epoch of one step."""

    objective: Objective
    solver: optim.Solver
    state: dict[str, Array]
    data: Data
    epochs: int
    callbacks: Sequence[Callback] = ()
    validation: Held | None = None
    executor: str = "auto"
    threads: int | None = None
    folder: RunFolder | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    past: int = 0
    taken: int = 0

    def __post_init__(self) -> None:
        self.rates: dict[str, optim.Rate] = {}
        self.position, self.begun = Position(), False
        self.best: dict[str, Array] = {}
        program = self.step()
        _refuse(program, self.objective, self.callbacks)
        blocks = -(-len(self.data) // min(_BLOCK, len(self.data)))
        chosen, reason = decide(self.executor, program.outputs.values(), self.epochs * blocks * 1.25)
        self.history = History(executor=chosen, reason=reason)
        self.evaluator = (
            None
            if self.validation is None
            else Evaluator(self.objective, self.validation.rows, chosen, self.threads)
        )

    def step(self) -> Program:
        """The loss and gradient over a block of rows, as a graph."""
        return self.objective.whole(min(_BLOCK, len(self.data)))

    def resume(self) -> None:
        """A solver's fit begins anew; there are no checkpoints."""

    @property
    def steps(self) -> int:
        return self.position.epoch

    def run(self) -> History:
        """Iterations until the solver stops, a callback does, or all are used up."""
        began = time.perf_counter()
        with contextlib.ExitStack() as ends:
            whole = _Whole(
                self.objective, snapshot(self.state), self.data, self.history.executor, self.threads
            )
            self.history.threads = whole.ready.threads
            self._announce(whole, ends)
            ends.callback(lambda: setattr(self.history, "seconds", time.perf_counter() - began))
            try:
                self._iterate(whole)
            except KeyboardInterrupt:
                self.history.stopped = "interrupted"
                raise
            self._finish()
        return self.history

    def _iterate(self, whole: _Whole) -> None:
        lap = time.perf_counter()
        with deferred_interrupt() as interrupt:
            for now in self.solver.iterates(whole, whole.pack(self.state)):
                self._check(now)
                self.state.update(whole.unpack(now.x))
                seconds, lap = time.perf_counter() - lap, time.perf_counter()
                stop = self._tell(now, whole.means(now.x), seconds)
                if interrupt.pressed:
                    raise KeyboardInterrupt
                if stop or now.stopped or self.position.epoch >= self.epochs:
                    self.position.stopped = "early stopping" if stop else now.stopped
                    return

    def _check(self, now: optim.Iterate) -> None:
        if not math.isfinite(now.value):
            self.history.stopped = "divergence"
            raise DivergenceError(
                f"{type(self.solver).__name__}: the loss is {now.value} at the first parameters; check the "
                "scale of the data and the weights"
            )

    def _announce(self, whole: _Whole, ends: contextlib.ExitStack) -> None:
        names = [n for n in whole.program.outputs if n not in ("objective", "weight") and ":" not in n]
        start = Start(
            samples=len(self.data),
            batch_size=len(self.data),
            steps_per_epoch=1,
            epochs=self.epochs,
            epoch=0,
            parameters=sum(p.spec.size for p in self.objective.model.parameters.values()),
            executor=f"{self.history.executor} ({self.history.reason})",
            metrics=(*names, *(f"val_{n}" for n in names)) if self.evaluator else tuple(names),
        )
        for callback in self.callbacks:
            callback.begin(start)
            ends.callback(callback.end, self.history)
        self.begun = True

    def _tell(self, now: optim.Iterate, means: dict[str, float], seconds: float) -> bool:
        at, held = self.position, {}
        if self.evaluator is not None and self.validation is not None:
            held = self.evaluator(self._present(), self.validation.parts())
        found = {f"val_{name}": value for name, value in held.items()}
        row = {**means, **found, "learning_rate": now.step, "seconds": seconds}
        self.history.rows.append({"epoch": at.epoch, **row})
        at.epoch += 1
        chunk = Chunk(at.epoch - 1, at.epoch - 1, np.array([means["loss"]]), now.step, len(self.data))
        end = EpochEnd(at.epoch - 1, at.epoch, row, self._keep, self._present, now.value)
        answers = [c.chunk(chunk) for c in self.callbacks] + [c.epoch(end) for c in self.callbacks]
        return any(answers)

    def _present(self) -> dict[str, Array]:
        model = self.objective.model
        return {name: self.state[name] for name in (*model.parameters, *model.buffers)}

    def _keep(self) -> None:
        self.best, self.history.kept = snapshot(self._present()), self.position.epoch - 1

    def _finish(self) -> None:
        if self.best:
            self.state.update(self.best)
        else:
            self.history.kept = self.position.epoch - 1
        self.history.stopped = self.position.stopped or "epochs"
        self.history.sha256 = digest({name: self.state[name] for name in self.objective.model.parameters})
        if self.folder is not None:
            self.folder.history(self.history.lines())


def _refuse(program: Program, objective: Objective, callbacks: Sequence[Callback]) -> None:
    """A solver compares losses, so two of them at one point must be equal."""
    noise = {node for node in toposort(program.outputs.values()) if any(node is s for s in program.scalars)}
    if noise or objective.model.batch_statistics:
        what = (
            "BatchNorm's statistics of a batch"
            if objective.model.batch_statistics
            else "noise, as of Dropout"
        )
        raise ConfigError(f"a solver needs a loss that is always the same, not {what}; use 'adam' with it")
    if any(c.watch for c in callbacks):
        raise ConfigError("a solver's fit cannot be watched inside; leave out the callbacks with Watch")
