"""Pool: the rows among which a stream shuffles, and blocks of them."""

from __future__ import annotations

import numpy as np

from chainrule.data.batches import plan
from chainrule.data.streaming import Block, Buffers
from chainrule.data.tables.table import Array

__all__ = ["Pool"]


class Pool:
    """The rows of a block, in arrays that are used again for the next one, or the one after that.

    size, batch     rows
    buffers         two where the next block is filled while the last one is still in use, else one: empty, or
                    of a pool like this one
    merge_single    a single row that is left at the end is added to the batch before it, as data.plan has it
    """

    def __init__(self, size: int, batch: int, buffers: Buffers, *, merge_single: bool = False) -> None:
        self.batch, self.merge_single = batch, merge_single
        self.size = max(size, 2 * batch) if merge_single else size
        self.buffers = buffers
        self.filled = self.blocks = 0
        self.rest: Array = np.zeros(0, np.int64)

    @property
    def arrays(self) -> dict[str, Array]:
        """Those that are being filled."""
        return self.buffers[0]

    @property
    def full(self) -> bool:
        return self.filled == self.size

    def add(self, inputs: dict[str, Array], targets: Array, weight: Array, start: int) -> int:
        """Takes the rows from ``start`` on, as many as there is room for; the first row that it left."""
        stop = min(len(weight), start + self.size - self.filled)
        named = {**{f"x/{name}": array for name, array in inputs.items()}, "y": targets, "weight": weight}
        end = self.filled + stop - start
        for name, array in named.items():
            self._array(name, array)[self.filled : end] = array[start:stop]
        self.filled = end
        return stop

    def block(self, order: Array, last: bool) -> Block:
        """The pool in this order; unless it is the last, what does not fill a batch is kept, and a batch too
        where the last row of all may have to go into it."""
        steps, rest = self._plan(len(order), last)
        whole = steps * self.batch
        self.rest = order[whole:]
        arrays = {name: array[: self.filled] for name, array in self.arrays.items()}
        inputs = {name[2:]: array for name, array in arrays.items() if name.startswith("x/")}
        index = order[:whole].reshape(steps, self.batch)
        tail = order[None, whole:] if last and rest else None
        return Block(inputs, {"y": arrays["y"]}, arrays["weight"], index, tail)

    def _plan(self, rows: int, last: bool) -> tuple[int, int]:
        if last:
            return plan(rows, self.batch, self.merge_single)
        steps = rows // self.batch - self.merge_single
        return steps, rows - steps * self.batch

    def keep_rest(self) -> None:
        """What did not fill a batch begins the next block."""
        before = self.arrays
        self.buffers.append(self.buffers.pop(0))
        for name, array in before.items():
            self._array(name, array)[: len(self.rest)] = array[self.rest]
        self.filled = len(self.rest)

    def _array(self, name: str, like: Array) -> Array:
        if name not in self.arrays:
            self.arrays[name] = np.empty((self.size, *like.shape[1:]), like.dtype)
        return self.arrays[name]
