"""Streams as a feed: one block of rows after another."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

import numpy as np

from chainrule.data import Block, RowStream
from chainrule.errors import DataError
from chainrule.executors import Array
from chainrule.train.feed import Data, Feed

__all__ = ["StreamFeed", "Take"]

Take = Callable[[Block], Data]
"""What is checked of a block, and what the losses make of its targets."""

_NONE = Block({}, {}, np.zeros(0), np.zeros((0, 0), np.int64), None)


class StreamFeed(Feed):
    """The rows of a stream, in whose memory they lie: what is in ``arrays`` changes with the next turn.

    take            from a block to what a program takes
    merge_single    whether a layer uses batch statistics
    """

    lasting = False

    def __init__(self, stream: RowStream, take: Take, *, merge_single: bool) -> None:
        self.stream = stream.for_batch_statistics() if merge_single else stream
        super().__init__(stream.rows, int(stream.batch_size), merge_single=merge_single)
        self.take = take
        self.buffers: list[dict[str, Array]] = []
        self._begin(-1, iter(()))

    def _begin(self, epoch: int, blocks: Iterator[Block]) -> None:
        """Before the first block of an epoch."""
        self.epoch, self.blocks, self.first, self.stop = epoch, blocks, 0, 0
        self._hold(_NONE, Data({}, {}, _NONE.weight))

    def _hold(self, block: Block, data: Data) -> None:
        self.block, self.data, self.arrays = block, data, [*data.arrays.values()]

    def prepare(self, epochs: int, executor: str) -> None:
        """All that has to be known the stream knows."""

    def close(self) -> None:
        """Ends the thread that reads ahead."""
        if isinstance(self.blocks, Generator):
            self.blocks.close()
        self._begin(-1, iter(()))

    def left(self, epoch: int, step: int) -> int:
        return max(self.stop - step, 0) if self.epoch == epoch and step >= self.first else 0

    def turn(self, epoch: int, step: int) -> None:
        """One block further; from the beginning of the epoch where the stream is in another, or beyond."""
        if self.epoch != epoch or step < self.first:
            self.close()
            self._begin(epoch, self.stream.epoch(epoch, self.buffers))
        self._hold(_NONE, Data({}, {}, _NONE.weight))
        block = next(self.blocks, None)
        if block is None:
            raise DataError(
                f"the stream ended after {self.stop} of {self.per_epoch} steps of {self.batch_size} rows; it "
                f"must give all of its {self.rows} rows in each epoch"
            )
        self.first, self.stop = self.stop, self.stop + block.steps
        self._check(block)
        if step < self.stop:  # else it is passed over: a resumed run looks for its place
            self._hold(block, self.take(block))

    def _check(self, block: Block) -> None:
        """DataError for steps of another size than those that are planned."""
        whole = max(min(self.stop, self.full) - self.first, 0)
        rest = (1, self.tail) if self.tail and self.stop == self.per_epoch else None
        tail = None if block.tail is None else block.tail.shape
        if block.index.shape != (whole, self.batch_size) or tail != rest:
            raise DataError(
                f"the stream gave steps of {block.index.shape} rows and a last one of {tail} as steps "
                f"{self.first} to {self.stop} of an epoch, of which {self.full} have {self.batch_size} rows "
                f"and the last one {self.tail}"
            )

    def index(self, epoch: int, step: int, count: int, rows: int) -> Array:
        if step >= self.full and self.block.tail is not None:
            return self.block.tail
        start = step - self.first
        return self.block.index[start : start + count]

    def sample(self, epoch: int) -> Data:
        if not self.left(epoch, 0):
            self.turn(epoch, 0)
        return self.data

    @property
    def fingerprint(self) -> str:
        return self.stream.fingerprint
