"""Progress: a bar in a terminal, plain lines elsewhere, nothing when silent."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

import numpy as np

from chainrule.train.callbacks import Callback, Chunk, EpochEnd, Start
from chainrule.train.history import History

__all__ = ["Progress"]

_SECONDS = 0.5  # at least, between the lines of two epochs: nobody reads faster
_MOVES = 0.05  # between two moves of the bar


class Progress(Callback):
    """Epoch, loss, validation, learning rate, samples per second and the time that is left.

    rich draws a bar where the output is a terminal and rich is installed; otherwise one plain line is printed
    per epoch, and within an epoch one every ten seconds. Of epochs shorter than half a second not all are
    told, but the first and the last always.
    """

    steers = False

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file or sys.stderr
        self.bar: Any = None
        self.began = self.said = self.moved = 0.0
        self.seen = 0
        self.untold: EpochEnd | None = None  # an epoch that was too short
        self.start = Start(0, 0, 0, 0, 0, 0, "", ())

    def begin(self, start: Start) -> None:
        self.start, self.seen, self.untold = start, 0, None
        self.began = self.said = time.perf_counter()
        text = (
            f"{start.samples:,} samples, batch {start.batch_size}, {start.parameters:,} parameters, "
            f"{start.epochs} epochs of {start.steps_per_epoch} steps, executor {start.executor}"
        )
        print(text + (f"; {start.note}" if start.note else ""), file=self.file, flush=True)
        if self.file.isatty():
            self.bar = _bar(start, self.file)

    def chunk(self, chunk: Chunk) -> None:
        self.seen += chunk.samples
        now = time.perf_counter()
        if now - self.said < 10 if self.bar is None else now - self.moved < _MOVES:
            return
        loss = float(np.mean(chunk.losses))
        text = f"loss {loss:.4f}  lr {chunk.learning_rate:.2e}  {self._speed(now)}"
        if self.bar is not None:
            self.moved = now
            self.bar.update(0, completed=chunk.step + len(chunk.losses), text=text, epoch=chunk.epoch + 1)
        else:
            self.said = now
            print(
                f"epoch {chunk.epoch + 1}/{self.start.epochs}  {text}  {self._left(chunk, now)}",
                file=self.file,
                flush=True,
            )

    def _speed(self, now: float) -> str:
        return f"{self.seen / max(now - self.began, 1e-9):,.0f} samples/s"

    def _left(self, chunk: Chunk, now: float) -> str:
        done = chunk.step + len(chunk.losses) - self.start.epoch * self.start.steps_per_epoch
        left = self.start.epochs * self.start.steps_per_epoch - chunk.step - len(chunk.losses)
        return f"{(now - self.began) / max(done, 1) * left:.0f} s left"

    def epoch(self, end: EpochEnd) -> None:
        now, self.untold = time.perf_counter(), end
        if end.epoch == self.start.epoch or now - self.said >= _SECONDS:
            self._tell(end, now)

    def _tell(self, end: EpochEnd, now: float) -> None:
        hidden = ("learning_rate", "seconds")
        parts = [f"{name} {value:.4f}" for name, value in end.metrics.items() if name not in hidden]
        rate = f"lr {end.metrics['learning_rate']:.2e}  {end.metrics['seconds']:.1f} s"
        text = f"epoch {end.epoch + 1}/{self.start.epochs}  {'  '.join(parts)}  {rate}  {self._speed(now)}"
        if self.bar is not None:
            self.bar.console.print(text, highlight=False)
        else:
            print(text, file=self.file, flush=True)
        self.said, self.untold = now, None

    def end(self, history: History) -> None:
        if self.untold is not None:
            self._tell(self.untold, time.perf_counter())
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def _bar(start: Start, file: TextIO) -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars
    except ImportError:
        return None
    columns = [
        TextColumn(f"epoch {{task.fields[epoch]}}/{start.epochs}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:.0f} %"),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
    ]
    bar = Bars(*columns, console=Console(file=file), transient=True)
    bar.start()
    first, last = start.epoch * start.steps_per_epoch, start.epochs * start.steps_per_epoch
    bar.add_task("", total=last, completed=first, text="", epoch=start.epoch + 1)
    return bar
