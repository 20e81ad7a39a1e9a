"""The loop: epochs of steps over shuffled batches, in chunks, with everything that may happen on the way."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule import data as batching
from chainrule import optim
from chainrule.executors import Array, Epoch, Program, epoch, resolve
from chainrule.train import divergence
from chainrule.train.callbacks import Callback, Chunk, EpochEnd, Start, Watch
from chainrule.train.checkpoint import RunFolder, fingerprint, pack, remind, unpack
from chainrule.train.evaluate import Evaluator
from chainrule.train.history import History
from chainrule.train.interrupt import Interrupt, deferred_interrupt
from chainrule.train.objective import Objective
from chainrule.train.state import digest, snapshot

__all__ = ["Data", "Fit", "Position"]

_CHUNK_SECONDS = 0.075
_CHECKPOINT_SECONDS = 5.0


@dataclass(frozen=True, eq=False)
class Data:
    """Inputs and targets by name, and one weight per row."""

    inputs: dict[str, Array]
    targets: dict[str, Array]
    weight: Array

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def arrays(self) -> dict[str, Array]:
        """All of them, in the order in which a program takes them; an input may be called like a target."""
        inputs = {f"x/{name}": a for name, a in self.inputs.items()}
        return {**inputs, **{f"y/{name}": a for name, a in self.targets.items()}, "weight": self.weight}


@dataclass
class Position:
    """How far a fit has come; with the state it is all that a checkpoint needs."""

    epoch: int = 0
    batch: int = 0
    sums: dict[str, float] = field(default_factory=dict)  # of the epoch so far, added in step order
    seconds: float = 0.0  # of the epoch so far
    first_loss: float | None = None
    stopped: str = ""


@dataclass(eq=False)
class Fit:
    """One fit: what to do, and how far it has come.

    state        parameters, buffers and optimizer slots by name; brought up to date in place
    schedule     factor(step, total, per_epoch) of every learning rate
    augment      (inputs, seed, epoch) → inputs, made anew for every epoch
    folder       where checkpoints go
    """

    objective: Objective
    state: dict[str, Array]
    data: Data
    epochs: int
    batch_size: int
    seed: int
    schedule: Callable[[int, int, int], float]
    rates: dict[str, optim.Rate]
    callbacks: Sequence[Callback] = ()
    validation: Data | None = None
    shuffle: bool = True
    augment: Callable[[dict[str, Array], int, int], dict[str, Array]] | None = None
    executor: str = "auto"
    folder: RunFolder | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    checkpoint_every: int | None = None
    chunk_steps: int | None = None  # fixed chunk lengths, for tests; bits never depend on them
    past: int = 0  # epochs before this fit: shuffles and noise go on from there
    taken: int = 0  # steps that the optimizer took before this fit
    note: str = ""

    def __post_init__(self) -> None:
        merge = self.objective.model.batch_statistics
        self.full, self.tail = batching.plan(len(self.data), self.batch_size, merge_single=merge)
        self.per_epoch = self.full + (self.tail > 0)
        self.total = self.epochs * self.per_epoch
        self.watches: tuple[Watch, ...] = tuple(w for c in self.callbacks for w in c.watch)
        self.programs: dict[tuple[int, bool], tuple[Program, Epoch]] = {}
        self.position = Position()
        self.history = History(executor=resolve(self.executor))
        self.kept: dict[str, Array] | None = None
        self.remembered: list[tuple[str, dict[str, Any]]] | None = None  # of callbacks, by a checkpoint
        self.begun = False  # nothing was refused, and the state may have changed
        self.pace = 1
        self.began = self.saved = time.perf_counter()
        self.averages = optim.averaged(self.objective.rule, self.objective.model.parameters)
        self.evaluator = (
            Evaluator(self.objective, len(self.validation), self.executor)
            if self.validation is not None
            else None
        )

    # ------------------------------------------------------------------ the whole

    def run(self) -> History:
        """All epochs that are left. On any exception ``state`` is a good one: that of the last complete step,
        or of the last complete chunk of steps where one broke off in the middle."""
        self.began = time.perf_counter()
        with contextlib.ExitStack() as ends:
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
        return self.history

    def _announce(self, ends: contextlib.ExitStack) -> None:
        """Begins every callback, and sees to it that each that began will end."""
        model = self.objective.model
        start = Start(
            samples=len(self.data),
            batch_size=min(self.batch_size, len(self.data)),
            steps_per_epoch=self.per_epoch,
            epochs=self.epochs,
            epoch=self.position.epoch,
            parameters=sum(p.spec.size for p in model.parameters.values()),
            executor=self.history.executor,
            metrics=self._metric_names(),
            note=self.note,
        )
        for callback in self.callbacks:
            callback.begin(start)
            ends.callback(callback.end, self.history)
        if self.remembered is not None:
            remind(self.callbacks, self.remembered)
        ends.callback(lambda: setattr(self.history, "seconds", self.seconds))
        self.begun = True

    @property
    def seconds(self) -> float:
        """Spent so far, also before a resumption."""
        return self.history.seconds + time.perf_counter() - self.began

    def _metric_names(self) -> tuple[str, ...]:
        program, _ = self.compiled(self.batch_size if self.full else self.tail)
        names = [n for n in program.outputs if n not in ("weight", "objective")]
        return (*names, *(f"val_{n}" for n in names)) if self.evaluator else tuple(names)

    def _finish(self) -> None:
        """The parameters that the fit returns: the kept ones, else the averaged ones, else the last."""
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

    def _epoch(self, interrupt: Interrupt) -> None:
        at = self.position
        began = time.perf_counter() - at.seconds
        order = batching.order(len(self.data), self.seed, self.past + at.epoch, self.shuffle)
        inputs = self.data.inputs
        if self.augment is not None:
            inputs = self.augment(inputs, self.seed, self.past + at.epoch)
        arrays = [*inputs.values(), *self.data.targets.values(), self.data.weight]
        good, stop = snapshot(self.state), False
        while at.batch < self.per_epoch and not stop:
            stop = self._chunk(order, arrays, good)
            at.seconds = time.perf_counter() - began
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

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return self.position.epoch * self.per_epoch + self.position.batch

    def _interrupted(self) -> None:
        self._save()
        raise KeyboardInterrupt

    def _end_epoch(self) -> None:
        at = self.position
        weight = at.sums["weight"] or 1.0
        row = {name: v / weight for name, v in at.sums.items() if name not in ("weight", "objective")}
        if self.evaluator is not None and self.validation is not None:
            found = self.evaluator(self._evaluated(), self.validation.arrays)
            row |= {f"val_{name}": value for name, value in found.items()}
        row["learning_rate"] = float(self._rates(self.steps - 1, 1)[0][0])
        row["seconds"] = at.seconds
        self.history.rows.append({"epoch": at.epoch, **row})
        at.epoch, at.batch, at.sums, at.seconds = at.epoch + 1, 0, {}, 0.0
        end = EpochEnd(at.epoch - 1, self.steps, row, self._keep)
        answers = [callback.epoch(end) for callback in self.callbacks]  # each is asked, whatever another says
        if any(answers):
            at.stopped = "early stopping"
        last = at.epoch == self.epochs or bool(at.stopped)
        due = time.perf_counter() - self.saved > _CHECKPOINT_SECONDS or self.checkpoint_every is not None
        if last or due:
            self._save()

    def _keep(self) -> None:
        self.kept = snapshot(self._evaluated())
        self.history.kept = self.position.epoch - 1

    # ------------------------------------------------------------------ a chunk of steps

    def _chunk(self, order: Array, arrays: list[Array], good: dict[str, Array]) -> bool:
        """Some steps of one kind; whether a callback wants to stop."""
        at, first, began = self.position, self.steps, time.perf_counter()
        watched = self._due(first)
        steps = self._next_steps(order, arrays, watched)
        found = self._run(steps)
        losses = self._checked(steps, found, good)
        for name in (n for n in steps.program.outputs if ":" not in n):  # a colon marks what is watched
            for value in found[name]:
                at.sums[name] = at.sums.get(name, 0.0) + float(value)
        at.batch += len(losses)
        pace = int(_CHUNK_SECONDS * len(losses) / max(time.perf_counter() - began, 1e-9))
        self.pace = self.chunk_steps or max(1, min(self.pace * 2, pace))
        rate = self._rates_at(steps, -1)["learning_rate"]
        return self._tell(first, losses, rate, found, watched, steps.index.size)

    def _next_steps(self, order: Array, arrays: list[Array], watched: bool) -> divergence.Steps:
        at = self.position
        count, rows = self._stretch()
        first = at.batch * self.batch_size
        index = order[first : first + count * rows].reshape(count, rows)
        scalars = self._scalars(count, self._rates(self.steps, count))
        program, ready = self.compiled(rows, watched)
        return divergence.Steps(program, ready, arrays, index, scalars, before=snapshot(self.state))

    def _run(self, steps: divergence.Steps) -> dict[str, Array]:
        try:
            return steps.ready.run(self.state, steps.arrays, steps.index, steps.scalars)[1]
        except BaseException:  # an index out of range, a second Ctrl-C: half a step is no state
            self.state.update(steps.before)
            raise

    def _checked(self, steps: divergence.Steps, found: Mapping[str, Array], good: dict[str, Array]) -> Array:
        """The mean loss of every step; DivergenceError where one failed."""
        heavy = found["weight"] > 0
        losses: Array = found["loss"] / np.where(heavy, found["weight"], 1)
        if self.position.first_loss is None and heavy.any():
            self.position.first_loss = float(losses[heavy][0])
        failed = divergence.failure(steps, losses, self.state, self.position.first_loss or 0.0)
        if failed is None:
            return losses
        self.state.update(good if failed.exploded else failed.state)
        self.history.stopped = "divergence"
        raise divergence.report(
            failed,
            epoch=self.position.epoch,
            batch=self.position.batch + failed.k,
            rates=self._rates_at(steps, failed.k),
            norm=divergence.gradient_norm(self.objective, steps, failed),
        )

    def _stretch(self) -> tuple[int, int]:
        """How many steps may run in one call, and the rows of each."""
        at = self.position
        if at.batch >= self.full:
            return 1, self.tail
        most = min(self.pace, self.full - at.batch)
        if self.checkpoint_every:
            most = min(most, self.checkpoint_every - self.steps % self.checkpoint_every)
        step, due, count = self.steps, self._due(self.steps), 1
        while count < most and self._due(step + count) == due:
            count += 1
        return count, min(self.batch_size, len(self.data))

    def _due(self, step: int) -> bool:
        return any(c.watch and step % c.every == 0 for c in self.callbacks)

    def compiled(self, rows: int, watched: bool = False) -> tuple[Program, Epoch]:
        """The training program for a batch of ``rows``, made once."""
        key = (min(rows, len(self.data)), watched)
        if key not in self.programs:
            program = self.objective.training(key[0], self.watches if watched else ())
            self.programs[key] = program, epoch(program, executor=self.executor)
        return self.programs[key]

    def _rates(self, step: int, count: int) -> list[Array]:
        """The learning rate of every group at ``count`` steps."""
        plateau = float(np.prod([c.rate_factor() for c in self.callbacks]))
        factors = [self.schedule(step + k, self.total, self.per_epoch) * plateau for k in range(count)]
        return [
            np.multiply(factors, float(rate)).astype(self.objective.model.dtype)
            for rate in self.rates.values()
        ]

    def _rates_at(self, steps: divergence.Steps, k: int) -> dict[str, float]:
        """The learning rate of every group at step ``k`` of a chunk."""
        return {
            name: float(rate[k])
            for name, rate in zip(self.rates, steps.scalars[-len(self.rates) :], strict=True)
        }

    def _scalars(self, count: int, rates: list[Array]) -> list[Array]:
        step = np.arange(self.steps, self.steps + count)
        t = (self.taken + step + 1).astype(self.objective.model.dtype)
        return [t, np.full(count, self.seed), self.past * self.per_epoch + step, *rates]

    def _tell(
        self, step: int, losses: Array, rate: float, found: Mapping[str, Array], watched: bool, samples: int
    ) -> bool:
        steps = np.arange(step, step + len(losses))
        answers = []
        for callback in self.callbacks:
            due = steps % callback.every == 0 if watched and callback.watch else np.zeros(len(steps), bool)
            keys = (
                [k for k in found if ":" in k and any(w.takes(k) for w in callback.watch)]
                if due.any()
                else []
            )
            seen = {key: found[key][due] for key in keys}
            chunk = Chunk(self.position.epoch, step, losses, rate, samples, seen, steps[due])
            answers.append(callback.chunk(chunk))
        return any(answers)

    # ------------------------------------------------------------------ checkpoints

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of everything that decides the run and is in no configuration."""
        held = {} if self.validation is None else self.validation.arrays
        return fingerprint({**self.data.arrays, **{f"validation/{name}": a for name, a in held.items()}})

    def _save(self) -> None:
        if self.folder is None:
            return
        self.folder.save(*pack(self))
        self.folder.history(self.history.lines())
        self.saved = time.perf_counter()

    def resume(self) -> None:
        """Goes back to the folder's last checkpoint, if there is one."""
        found = None if self.folder is None else self.folder.load(self.fingerprint, self.settings)
        if found is not None:
            unpack(self, *found)
