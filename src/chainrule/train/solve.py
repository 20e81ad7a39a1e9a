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
from chainrule.executors import Array, Program, decide
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
from chainrule.train.whole import Whole, blocks, check_repeatable, rows_at_once

__all__ = ["Solve"]

_PRODUCTS = 100  # of a step, about; fewer for fewer parameters


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
        parameters = self.objective.model.parameters
        size = sum(parameters[name].spec.size for name in self.objective.trained)
        self.solver.check_size(size, len(self.data) * sum(s.size for s in self.objective.targets.values()))
        steps, programs = 1.25 * self.epochs * blocks(self.data), 1
        if self.solver.asks != "gradient":  # most of the work is in products with the curvature
            program, programs = self.objective.curvature(rows_at_once(self.data), self.solver.asks), 2
            steps *= min(_PRODUCTS, size)
        chosen, reason = decide(self.executor, program.outputs.values(), steps, programs)
        self.history = History(executor=chosen, reason=reason)
        self.evaluator = (
            None
            if self.validation is None
            else Evaluator(self.objective, self.validation.rows, chosen, self.threads)
        )

    def step(self) -> Program:
        """The loss and gradient over a block of rows, as a graph."""
        return self.objective.whole(rows_at_once(self.data))

    def resume(self) -> None:
        """A solver's fit begins anew; there are no checkpoints."""

    @property
    def steps(self) -> int:
        return self.position.epoch

    def run(self) -> History:
        """Iterations until the solver stops, a callback does, or all are used up."""
        began = time.perf_counter()
        with contextlib.ExitStack() as ends:
            whole = Whole(
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

    def _iterate(self, whole: Whole) -> None:
        lap = time.perf_counter()
        with deferred_interrupt() as interrupt:
            for now in self.solver.iterates(whole.asked(self.solver.asks), whole.pack(self.state)):
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

    def _announce(self, whole: Whole, ends: contextlib.ExitStack) -> None:
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
    check_repeatable(program, objective)
    if any(c.watch for c in callbacks):
        raise ConfigError("a solver's fit cannot be watched inside; leave out the callbacks with Watch")
