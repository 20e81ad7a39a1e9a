"""Feeds: what brings the rows of an epoch to the loop, those of arrays in memory at once, others in parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from chainrule import data as batching
from chainrule.data.ahead import ahead
from chainrule.executors import Array
from chainrule.executors.cpu.threads import thread_limit
from chainrule.train.augmenting import Augmenter
from chainrule.train.checkpoint import fingerprint

__all__ = ["ArrayFeed", "Data", "Feed"]


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


class Feed(ABC):
    """The rows of an epoch in the order of its steps. What is in memory is there until ``turn``.

    rows, batch_size    of an epoch, of a step
    full, tail          steps of an epoch with so many rows, and rows of a last one (0: there is none)
    lasting             whether the rows of all epochs are in memory
    arrays              inputs, targets and weight of the rows that are, as a program takes them
    beside              whether a thread computes beside the executor, which leaves it a processor
    """

    lasting: bool
    beside: bool = False
    arrays: Sequence[Array]

    def __init__(self, rows: int, batch_size: int, *, merge_single: bool) -> None:
        self.rows, self.batch_size = rows, batch_size
        self.full, self.tail = batching.plan(rows, batch_size, merge_single=merge_single)
        self.per_epoch = self.full + (self.tail > 0)

    @abstractmethod
    def prepare(self, epochs: int, executor: str) -> None:
        """Is told how many epochs may be asked for, and who computes."""

    @abstractmethod
    def left(self, epoch: int, step: int) -> int:
        """How many steps from this one on are in memory. Where none is, ``turn`` brings it."""

    @abstractmethod
    def turn(self, epoch: int, step: int) -> None:
        """Gives back the rows in memory for later ones. It may take several turns to come to a step."""

    @abstractmethod
    def index(self, epoch: int, step: int, count: int, rows: int) -> Array:
        """(count, rows): the rows of some steps, all of them in memory; of several epochs where they last."""

    @abstractmethod
    def sample(self, epoch: int) -> Data:
        """Rows to try something on: all, or those with which an epoch begins."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Tells whether a run is resumed on its own data."""

    @abstractmethod
    def close(self) -> None:
        """Nothing more will be asked for."""


class ArrayFeed(Feed):
    """All rows, of arrays that lie in memory.

    augment    what the inputs become in each epoch; else they stay as they are. Those of the next epoch are
               made by a thread while this one is trained on, where there is a processor for it
    """

    def __init__(
        self,
        data: Data,
        batch_size: int,
        seed: int,
        *,
        merge_single: bool,
        shuffle: bool = True,
        augment: Augmenter | None = None,
    ) -> None:
        super().__init__(len(data), batch_size, merge_single=merge_single)
        self.data, self.seed, self.shuffle, self.augment = data, seed, shuffle, augment
        self.lasting, self.made = augment is None, -1
        self.arrays = list(data.arrays.values())
        self.orders = batching.Orders(len(data), seed, 1, shuffle=shuffle)
        self.epochs = 1
        self.fresh: Generator[dict[str, Array], None, None] | None = None  # of the epochs after this one

    def prepare(self, epochs: int, executor: str) -> None:
        self.orders = batching.Orders(self.rows, self.seed, epochs, shuffle=self.shuffle, executor=executor)
        self.epochs, self.beside = epochs, self.augment is not None and thread_limit() > 1

    def close(self) -> None:
        """Ends the thread that augments."""
        if self.fresh is not None:
            self.fresh.close()
        self.fresh = None

    def left(self, epoch: int, step: int) -> int:
        return self.per_epoch - step if self.lasting or self.made == epoch else 0

    def turn(self, epoch: int, step: int) -> None:
        if self.augment is not None:
            if self.fresh is None or epoch != self.made + 1:
                self.close()
                fresh = self._fresh(self.augment, epoch)
                self.fresh = ahead(fresh) if self.beside else fresh
            inputs = next(self.fresh)
            self.arrays = list(Data(inputs, self.data.targets, self.data.weight).arrays.values())
        self.made = epoch

    def _fresh(self, augment: Augmenter, first: int) -> Generator[dict[str, Array], None, None]:
        for epoch in range(first, first + self.epochs):
            yield augment(self.data.inputs, self.seed, epoch)

    def index(self, epoch: int, step: int, count: int, rows: int) -> Array:
        order = self.orders(epoch, max(count // self.per_epoch, 1)).reshape(-1)
        first = step * self.batch_size
        return order[first : first + count * rows].reshape(count, rows)

    def sample(self, epoch: int) -> Data:
        return self.data

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.data.arrays)
