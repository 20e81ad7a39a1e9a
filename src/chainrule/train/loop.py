"""The loop: epochs of steps over shuffled batches, in chunks, with everything that may happen on the way.

What Python does around a chunk must cost little beside it, also where a step takes less than a microsecond.
So one chunk may hold many epochs where nobody has to be asked between them (``spans``), and whether the state
is still finite is looked at now and then (:mod:`chainrule.train.guard`). Bits depend on neither.
"""

from __future__ import annotations

import contextlib
import functools
import math
import operator
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from chainrule import optim
from chainrule.errors import ConfigError
from chainrule.executors import Array, Epoch, Program, decide, epoch, work_of
from chainrule.executors.cpu.threads import thread_limit
from chainrule.train import divergence, watching
from chainrule.train.callbacks import Callback, Chunk, EpochEnd, Start, Watch
from chainrule.train.checkpoint import RunFolder, pack, remind, unpack
from chainrule.train.divergence import Steps
from chainrule.train.evaluate import Evaluator
from chainrule.train.feed import Feed
from chainrule.train.guard import Guard
from chainrule.train.held import Held
from chainrule.train.history import History
from chainrule.train.interrupt import Interrupt, deferred_interrupt
from chainrule.train.objective import Objective
from chainrule.train.state import digest, snapshot

__all__ = ["Fit", "Position"]

_CHUNK_SECONDS = 0.075
_CHUNK_ROWS = 1 << 19  # so that the order of a chunk's rows stays in the processor's cache
_CHECKPOINT_SECONDS = 5.0
_LONG = 50.0  # microseconds of training on a row, beside which it takes little time to make one
_FEW = 16


_TOO_LATE = (
    "a callback that {} says steers = False: it is told of epochs when later ones are done; "
    "set steers = True in its class"
)


@dataclass
class Position:
    """How far a fit has come; with the state it is all that a checkpoint needs."""

    epoch: int = 0
    batch: int = 0
    sums: dict[str, float] = field(default_factory=dict)  # of the epoch so far, added in step order
    seconds: float = 0.0  # of the epoch so far
    learning_rate: float = 0.0  # of the last step
    first_loss: float | None = None
    stopped: str = ""


@dataclass(eq=False)
class Fit:
    """One fit: what to do, and how far it has come.

    state        parameters, buffers and optimizer slots by name; brought up to date in place
    feed         brings the rows
    schedule     the factor of every learning rate at each step
    folder       where checkpoints go
    """

    objective: Objective
    state: dict[str, Array]
    feed: Feed
    epochs: int
    seed: int
    schedule: optim.Schedule
    rates: dict[str, optim.Rate]
    callbacks: Sequence[Callback] = ()
    validation: Held | None = None
    executor: str = "auto"
    threads: int | None = None
    folder: RunFolder | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    checkpoint_every: int | None = None
    chunk_steps: int | None = None  # fixed chunk lengths, for tests; bits never depend on them
    past: int = 0  # epochs before this fit: shuffles and noise go on from there
    taken: int = 0  # steps that the optimizer took before this fit
    note: str = ""

    def __post_init__(self) -> None:
        self.full, self.tail, self.per_epoch = self.feed.full, self.feed.tail, self.feed.per_epoch
        self.total = self.epochs * self.per_epoch
        self.watches: tuple[Watch, ...] = tuple(w for c in self.callbacks for w in c.watch)
        self.graphs: dict[tuple[int, bool], Program] = {}
        self.programs: dict[tuple[int, bool], tuple[Program, Epoch]] = {}
        self.position = Position()
        program = self.step()
        work = [*program.outputs.values(), *program.updates.values()]
        chosen, reason = decide(self.executor, work, self.total, programs=(self.full > 0) + (self.tail > 0))
        self.history = History(executor=chosen, reason=reason)
        self.kept: dict[str, Array] | None = None
        self.remembered: list[tuple[str, dict[str, Any]]] | None = None  # of callbacks, by a checkpoint
        self.begun = False  # nothing was refused, and the state may have changed
        self.pace = 1
        self.began = self.saved = self.lapped = time.perf_counter()
        self.guard = Guard(self.state, self.per_epoch, self._diverged)
        self.feed.prepare(self.epochs, chosen)
        self.averages = optim.averaged(self.objective.rule, self.objective.model.parameters)
        self.evaluator = (
            Evaluator(self.objective, self.validation.rows, chosen, self.threads)
            if self.validation is not None
            else None
        )

    # ------------------------------------------------------------------ the whole

    def run(self) -> History:
        """All epochs that are left. On any exception ``state`` is a good one: that of the last complete step,
        or of the last complete chunk of steps where one broke off in the middle."""
        self.began = time.perf_counter()
        with contextlib.ExitStack() as ends:
            ends.callback(self.feed.close)
            self._announce(ends)
            try:
                with deferred_interrupt() as interrupt:
                    while self.position.epoch < self.epochs and not self.position.stopped:
                        self._epoch(interrupt)
                        if interrupt.pressed:  # while an epoch was validated and saved
                            self._interrupted()
                self._finish()
            except KeyboardInterrupt:
                self.history.stopped = "interrupted"
                raise
            finally:
                self.guard.rescue()
        return self.history

    def _announce(self, ends: contextlib.ExitStack) -> None:
        """Begins every callback, and sees to it that each that began will end."""
        model = self.objective.model
        start = Start(
            samples=self.feed.rows,
            batch_size=self.rows,
            steps_per_epoch=self.per_epoch,
            epochs=self.epochs,
            epoch=self.position.epoch,
            parameters=sum(p.spec.size for p in model.parameters.values()),
            metrics=self._metric_names(),  # first, since it compiles and knows the threads
            executor=self._described_executor(),
            note=self.note,
        )
        for callback in self.callbacks:
            callback.begin(start)
            ends.callback(callback.end, self.history)
        if self.remembered is not None:
            remind(self.callbacks, self.remembered)
        ends.callback(lambda: setattr(self.history, "seconds", self.seconds))
        self.begun = True

    def _described_executor(self) -> str:
        threads = f", {self.history.threads} threads" if self.history.threads > 1 else ""
        return f"{self.history.executor}{threads} ({self.history.reason})"

    @property
    def seconds(self) -> float:
        """Spent so far, also before a resumption."""
        return self.history.seconds + time.perf_counter() - self.began

    def _metric_names(self) -> tuple[str, ...]:
        program, _ = self.compiled(self.rows if self.full else self.tail)
        names = [n for n in program.outputs if n not in ("weight", "objective")]
        return (*names, *(f"val_{n}" for n in names)) if self.evaluator else tuple(names)

    def _finish(self) -> None:
        """The parameters that the fit returns: the kept ones, else the averaged ones, else the last."""
        self._settle()
        if self.kept is not None:
            self.state.update(snapshot(self.kept))
        else:
            self.state.update(snapshot(self._evaluated()))
            self.history.kept = self.position.epoch - 1
        self.history.stopped = self.position.stopped or "epochs"
        self.history.sha256 = digest({name: self.state[name] for name in self.objective.model.parameters})
        if self.folder is not None:
            self.folder.history(self.history.lines())

    def _evaluated(self) -> dict[str, Array]:
        """Parameters and buffers as evaluation and predict use them."""
        model = self.objective.model
        return {
            name: self.state[self.averages.get(name, name)] for name in (*model.parameters, *model.buffers)
        }

    # ------------------------------------------------------------------ an epoch

    @property
    def spans(self) -> bool:
        """Whether a call may run several epochs: all steps are alike, and nobody is asked between them."""
        alike = not self.tail and self.feed.lasting
        alone = self.evaluator is None and self.checkpoint_every is None
        return alike and alone and not any(callback.steers for callback in self.callbacks)

    def _epoch(self, interrupt: Interrupt) -> None:
        """The steps up to the end of an epoch, or of the last of several."""
        at, stop = self.position, False
        self._lap()
        while at.batch < self.per_epoch and not stop:
            self._bring(interrupt)
            stop = self._chunk()
            if interrupt.pressed:
                self._interrupted()
            due = self.checkpoint_every and self.steps % self.checkpoint_every == 0
            if due and at.batch < self.per_epoch:
                self._save()
        if at.batch == self.per_epoch:
            self._end_epoch()
        if stop and not at.stopped:
            self._save()  # first, so that the run may be resumed
            at.stopped = "callback"

    def _bring(self, interrupt: Interrupt) -> None:
        """Sees to it that the rows of the next step are in memory."""
        at, epoch = self.position, self.past + self.position.epoch
        while not self.feed.left(epoch, at.batch):
            self._settle()  # the trail cannot go back to rows that are no longer there
            self.feed.turn(epoch, at.batch)
            at.seconds += self._lap()
            if interrupt.pressed:
                self._interrupted()

    @property
    def rows(self) -> int:
        """Of a step that is not the last of an epoch."""
        return min(self.feed.batch_size, self.feed.rows)

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return self.position.epoch * self.per_epoch + self.position.batch

    def _lap(self) -> float:
        """The seconds since this was asked before."""
        before, self.lapped = self.lapped, time.perf_counter()
        return self.lapped - before

    def _interrupted(self) -> None:
        self._settle()
        self._save()
        raise KeyboardInterrupt

    def _end_epoch(self) -> None:
        at, found = self.position, {}
        if self.evaluator is not None and self.validation is not None:
            self._settle()
            found = self.evaluator(self._evaluated(), self.validation.parts())
        if self._close({f"val_{name}": value for name, value in found.items()}):
            at.stopped = "early stopping"
        last = at.epoch == self.epochs or bool(at.stopped)
        due = time.perf_counter() - self.saved > _CHECKPOINT_SECONDS or self.checkpoint_every is not None
        if last or due:
            self._save()

    def _close(self, validation: Mapping[str, float]) -> bool:
        """Writes down an epoch and tells it; whether a callback wants to stop."""
        at = self.position
        weight = at.sums["weight"] or 1.0
        row = {name: v / weight for name, v in at.sums.items() if name != "weight"}
        objective = row.pop("objective")
        row |= {**validation, "learning_rate": at.learning_rate, "seconds": at.seconds}
        self.history.rows.append({"epoch": at.epoch, **row})
        at.epoch, at.batch, at.sums, at.seconds = at.epoch + 1, 0, {}, 0.0
        if not self.callbacks:
            return False
        end = EpochEnd(at.epoch - 1, self.steps, row, self._keep, self._present, objective)
        answers = [c.epoch(end) for c in self.callbacks]  # each is asked, whatever another says
        return any(answers)

    def _keep(self) -> None:
        if self.spans:
            raise ConfigError(_TOO_LATE.format("keeps the parameters of an epoch"))
        self._settle()
        self.kept = snapshot(self._evaluated())
        self.history.kept = self.position.epoch - 1

    def _present(self) -> dict[str, Array]:
        if self.spans:
            raise ConfigError(_TOO_LATE.format("looks at the parameters of an epoch"))
        return self._evaluated()  # as they are: whether all is finite is looked at now and then

    # ------------------------------------------------------------------ a chunk of steps

    def _chunk(self) -> bool:
        """Some steps of one kind; whether a callback wants to stop."""
        watched = watching.is_watched(self.steps, self.callbacks)
        steps = self._next_steps(watched)
        found = self.guard.run(steps, self.position.first_loss or 0.0)
        losses, seconds = divergence.mean_losses(found), self._lap()
        if (failed := self._failed(steps, losses, found)) is not None:
            if self._record_before(failed, steps, losses, found, seconds):
                return True
            self.guard.fail(steps.first + failed, self.position.first_loss or 0.0)
        pace = int(_CHUNK_SECONDS * len(losses) / max(seconds, 1e-9))
        self.pace = self.chunk_steps or max(1, min(self.pace * 16, pace))
        return self._record(steps, losses, found, seconds)

    def _next_steps(self, watched: bool) -> Steps:
        at = self.position
        count, rows = self._stretch()
        index = self.feed.index(self.past + at.epoch, at.batch, count, rows)
        program, ready = self.compiled(rows, watched)
        return Steps(program, ready, self.feed.arrays, index, self._scalars(count), self.steps)

    def _stretch(self) -> tuple[int, int]:
        """How many steps may run in one call, and the rows of each: some of an epoch, or whole epochs."""
        at = self.position
        if at.batch >= self.full:
            return 1, self.tail
        rows = self.rows
        most = min(self.pace, max(_CHUNK_ROWS // rows, 1))
        if self.checkpoint_every:
            most = min(most, self.checkpoint_every - self.steps % self.checkpoint_every)
        if at.batch == 0 and most >= 2 * self.per_epoch and self.spans:
            most = watching.alike(self.steps, min(most, self.total - self.steps), self.callbacks)
            if most >= self.per_epoch:
                return most - most % self.per_epoch, rows
        most = min(most, self.full - at.batch, self.feed.left(self.past + at.epoch, at.batch))
        return watching.alike(self.steps, most, self.callbacks), rows

    def compiled(self, rows: int, watched: bool = False) -> tuple[Program, Epoch]:
        """The training program for a batch of ``rows``, made once."""
        key = (min(rows, self.feed.rows), watched)
        if key not in self.programs:
            program = self._traced(*key)
            ready = epoch(program, executor=self.history.executor, threads=self.threads)
            if self.threads is None and 1 < ready.threads == thread_limit() and self._leaves_one(program):
                ready = epoch(program, executor=self.history.executor, threads=ready.threads - 1)
            self.history.threads = max(self.history.threads, ready.threads)
            self.programs[key] = program, ready
        return self.programs[key]

    def _leaves_one(self, program: Program) -> bool:
        """A processor to what makes the next epoch's rows beside, where that may take as long as training."""
        rows = program.batch[0].shape[0] if program.batch else 1
        work = work_of([*program.outputs.values(), *program.updates.values()])
        return self.feed.beside and work.cpu < _LONG * rows

    def step(self) -> Program:
        """The program of a whole batch, as a graph."""
        return self._traced(self.rows if self.full else self.tail)

    def _traced(self, rows: int, watched: bool = False) -> Program:
        """The program of a step as a graph, made once."""
        key = (rows, watched)
        if key not in self.graphs:
            self.graphs[key] = self.objective.training(rows, self.watches if watched else ())
        return self.graphs[key]

    def _scalars(self, count: int) -> list[Array]:
        """t, the seed, the step and the learning rate of every group, at the next ``count`` steps."""
        step, dtype = np.arange(self.steps, self.steps + count), self.objective.model.dtype
        factors = self.schedule.factors(self.steps, count, self.total, self.per_epoch)
        if (plateau := math.prod(c.rate_factor() for c in self.callbacks)) != 1:
            factors = factors * plateau
        rates = [(factors * float(rate)).astype(dtype) for rate in self.rates.values()]
        t = (step + (self.taken + 1)).astype(dtype)
        return [t, np.full(count, self.seed), step + self.past * self.per_epoch, *rates]

    # ------------------------------------------------------------------ what a chunk brought

    def _record(self, steps: Steps, losses: Array, found: Mapping[str, Array], seconds: float) -> bool:
        """Adds up and tells a chunk, epoch by epoch; whether a callback wants to stop.

        The last epoch is not closed: there the checkpoint and the rest of what happens at an end come in.
        Where an epoch before it is the one to stop at, the steps after it are undone.
        """
        at, count = self.position, min(len(losses), self.per_epoch)
        epochs, stop = len(losses) // count, False
        found = {**found, "objective": found["objective"] * found["weight"]}
        names = [n for n in found if ":" not in n]  # a colon marks what is watched
        sums = [_totals(found[n].reshape(epochs, count), at.sums.get(n, 0.0)) for n in names]
        rates = steps.scalars[-len(self.rates)][count - 1 : len(losses) : count].tolist()
        for k, (rate, *now) in enumerate(zip(rates, *sums, strict=True)):
            if k and self._ends_here():
                return True
            at.sums, at.learning_rate = dict(zip(names, now, strict=True)), rate
            at.batch, at.seconds = at.batch + count, at.seconds + seconds / epochs
            if self.callbacks:
                part = slice(k * count, (k + 1) * count)
                seen = {key: a[part] for key, a in found.items() if ":" in key}
                first, samples = self.steps - count, count * steps.index.shape[1]
                chunk = functools.partial(Chunk, at.epoch, first, losses[part], rate, samples)
                stop = watching.tell(chunk, np.arange(first, first + count), seen, self.callbacks)
                if stop and k < epochs - 1:
                    self._go_back()
                    break
        return stop

    def _ends_here(self) -> bool:
        """Closes an epoch after which others were taken; whether a callback stops: then they are undone."""
        if not self._close({}):
            return False
        self.position.stopped = "early stopping"
        self._go_back()
        self._save()
        return True

    def _go_back(self) -> None:
        """To the position that was told last."""
        self.guard.go_back(self.steps, self.position.first_loss or 0.0)

    # ------------------------------------------------------------------ numbers that are not finite

    def _failed(self, steps: Steps, losses: Array, found: Mapping[str, Array]) -> int | None:
        """The first step of a chunk that failed."""
        at = self.position
        if at.first_loss is None and (heavy := np.flatnonzero(found["weight"] > 0)).size:
            at.first_loss = float(losses[heavy[0]])
        return divergence.first_failure(losses, len(steps), at.first_loss or 0.0)

    def _record_before(
        self, failed: int, steps: Steps, losses: Array, found: Mapping[str, Array], seconds: float
    ) -> bool:
        """Tells the epochs before the failed step; whether a callback wants to stop there."""
        whole = failed - failed % self.per_epoch
        if not whole:
            return False
        before = {name: a[:whole] for name, a in found.items()}
        if self._record(steps, losses[:whole], before, seconds):
            self._go_back()
            return True
        return self._ends_here()

    def _settle(self) -> None:
        """DivergenceError where the state has left the finite numbers."""
        self.guard.settle(self.position.first_loss or 0.0)

    def _diverged(self, failed: divergence.Failure) -> NoReturn:
        """Goes back to the failed step, or after an explosion to its epoch's start, as the state did."""
        at = self.position
        at.epoch, at.batch = divmod(failed.step, self.per_epoch)
        error = divergence.report(
            failed,
            epoch=at.epoch,
            batch=at.batch,
            rates=dict(zip(self.rates, failed.rates(len(self.rates)), strict=True)),
            norm=divergence.gradient_norm(self.objective, failed),
        )
        at.batch = 0 if failed.exploded else at.batch
        del self.history.rows[at.epoch :]
        self.history.stopped = "divergence"
        raise error

    # ------------------------------------------------------------------ checkpoints

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of everything that decides the run and is in no configuration."""
        held = [] if self.validation is None else [self.validation.fingerprint]
        return " ".join([self.feed.fingerprint, *held])

    def _save(self) -> None:
        if self.folder is None:
            return
        self._settle()
        self.folder.save(*pack(self))
        self.folder.history(self.history.lines())
        self.saved = time.perf_counter()

    def resume(self) -> None:
        """Goes back to the folder's last checkpoint, if there is one."""
        found = None if self.folder is None else self.folder.load(self.fingerprint, self.settings)
        if found is not None:
            unpack(self, *found)


def _totals(values: Array, start: float) -> list[float]:
    """Σ of each line in float64, added one after another as if every step had run alone."""
    if values.size <= _FEW:  # NumPy's calls would take longer; and `sum` compensates in newer Pythons
        return [functools.reduce(operator.add, line, start) for line in values.tolist()]
    sums = values.astype(np.float64)
    sums[:, 0] += start
    np.add.accumulate(sums, axis=1, out=sums)
    found: list[float] = sums[:, -1].tolist()
    return found
