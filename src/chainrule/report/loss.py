"""The training loss between epochs, kept small."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chainrule.train import Callback, Chunk, Start

__all__ = ["LossCurve"]

_POINTS = 150


class LossCurve(Callback):
    """Means of the training loss over equal stretches of steps, at most 150 of them in a run.

    They are part of a checkpoint, so that a resumed run draws the same curve.

    >>> curve = LossCurve()
    >>> curve.begin(Start(1000, 10, 100, 6, 0, 0, "reference", ()))
    >>> curve.every
    4
    """

    def __init__(self) -> None:
        self.every, self.per_epoch = 1, 1
        self.means: list[float] = []
        self.sum, self.count = 0.0, 0

    def begin(self, start: Start) -> None:
        self.per_epoch = start.steps_per_epoch
        self.every = -(-start.epochs * start.steps_per_epoch // _POINTS)
        self.means, self.sum, self.count = [], 0.0, 0

    def chunk(self, chunk: Chunk) -> None:
        for loss in chunk.losses:
            self.sum, self.count = self.sum + float(loss), self.count + 1
            if self.count == self.every:
                self.means.append(self.sum / self.count)
                self.sum, self.count = 0.0, 0

    def memory(self) -> dict[str, Any]:
        return {"means": self.means, "sum": self.sum, "count": self.count}

    def remember(self, memory: Mapping[str, Any]) -> None:
        self.means, self.sum, self.count = list(memory["means"]), memory["sum"], memory["count"]

    def points(self) -> list[tuple[float, float]]:
        """(epochs done at the middle of the stretch, mean loss)."""
        return [((k + 0.5) * self.every / self.per_epoch, mean) for k, mean in enumerate(self.means)]
