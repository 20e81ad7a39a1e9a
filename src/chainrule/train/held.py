"""Rows that are held out: of arrays in memory, or of a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from chainrule.executors import Array
from chainrule.spec import Spec
from chainrule.train.checkpoint import fingerprint
from chainrule.train.feed import Data
from chainrule.train.streamed import StreamFeed

__all__ = ["Held", "HeldArrays", "HeldStream"]


class Held(ABC):
    """Rows on which a network is evaluated.

    targets    one of each
    """

    rows: int
    targets: dict[str, Spec]

    @abstractmethod
    def parts(self) -> Iterator[tuple[Sequence[Array], Array]]:
        """(inputs, targets and weight; the numbers of rows in them), until every row was there once."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Tells whether a run is resumed on its own data."""


class HeldArrays(Held):
    """Rows in memory."""

    def __init__(self, data: Data) -> None:
        self.data, self.rows = data, len(data)
        self.targets = {name: Spec(a.shape[1:], a.dtype) for name, a in data.targets.items()}

    def parts(self) -> Iterator[tuple[Sequence[Array], Array]]:
        yield [*self.data.arrays.values()], np.arange(self.rows)

    @property
    def fingerprint(self) -> str:
        return fingerprint({f"validation/{name}": a for name, a in self.data.arrays.items()})


class HeldStream(Held):
    """Rows of a stream, read anew each time."""

    def __init__(self, feed: StreamFeed, targets: dict[str, Spec]) -> None:
        self.feed, self.rows, self.targets = feed, feed.rows, targets

    def parts(self) -> Iterator[tuple[Sequence[Array], Array]]:
        step = 0
        try:
            while step < self.feed.per_epoch:
                self.feed.turn(0, step)
                step += self.feed.left(0, step)
                yield self.feed.arrays, self.feed.block.rows
        finally:
            self.feed.close()

    @property
    def fingerprint(self) -> str:
        return f"validation: {self.feed.fingerprint}"
