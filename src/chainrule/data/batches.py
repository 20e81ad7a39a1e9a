"""Order and batches: which rows make up which step."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from chainrule.errors import ConfigError, DataError
from chainrule.executors import Epoch, Program, epoch
from chainrule.ops import input, random

__all__ = ["Orders", "order", "permutation", "plan"]

Rows = npt.NDArray[np.int64]
_BLOCKS = 4096  # of four random words that are made at once: they stay in the processor's cache
_AHEAD = 1 << 15  # rows of epochs that are ordered before they are asked for
_WORTH_COMPILING = 1 << 17  # draws in a whole fit: 8 ms of NumPy
_SHORT = 400  # so few rows are sorted as they are


def permutation(n: int, seed: int, step: int, path: str) -> Rows:
    """0 … n−1 in random order: what ``ops.permutation`` gives for this key, on every executor and machine.

    >>> permutation(5, seed=0, step=0, path="shuffle")
    array([...])
    """
    return _sorting(_draws(n, seed, [step], path))[0]


def order(n: int, seed: int, epoch: int, shuffle: bool = True) -> Rows:
    """The rows in the order in which an epoch visits them: drawn without replacement, or as they are.

    >>> order(4, seed=0, epoch=0, shuffle=False)
    array([0, 1, 2, 3])
    """
    return permutation(n, seed, epoch, "shuffle") if shuffle else np.arange(n, dtype=np.int64)


class Orders:
    """The orders of ``n`` rows in many epochs, each as ``order`` gives it; short ones are drawn ahead.

    epochs      how many will be asked for: where that is many, the random bits are worth a compilation
    executor    which makes it then; the reference executor never does

    >>> orders = Orders(4, seed=0, epochs=10)
    >>> bool((orders(epoch=3, count=2) == [order(4, 0, 3), order(4, 0, 4)]).all())
    True
    """

    def __init__(
        self, n: int, seed: int, epochs: int, *, shuffle: bool = True, executor: str = "reference"
    ) -> None:
        self.n, self.seed, self.epochs, self.shuffle = n, seed, epochs, shuffle
        compiled = executor != "reference" and n * epochs >= _WORTH_COMPILING
        self.executor = executor if compiled else None
        self.first, self.drawn = 0, np.zeros((0, n), np.int64)

    def __call__(self, epoch: int, count: int = 1) -> Rows:
        """(count, n): those of the epochs from ``epoch`` on."""
        start = epoch - self.first
        if not 0 <= start <= len(self.drawn) - count:
            ahead = max(count, min(_AHEAD // self.n, self.epochs))
            self.first, self.drawn, start = epoch, self._draw(range(epoch, epoch + ahead)), 0
        return self.drawn[start : start + count]

    def _draw(self, epochs: range) -> Rows:
        """Some lines at a time, which stay in the processor's cache."""
        if not self.shuffle:
            return np.tile(np.arange(self.n, dtype=np.int64), (len(epochs), 1))
        found, lines = np.empty((len(epochs), self.n), np.int64), max(_AHEAD // self.n, 1)
        for start in range(0, len(epochs), lines):
            part = slice(start, start + lines)
            found[part] = _sorting(self._bits(epochs[part]))
        return found

    def _bits(self, epochs: range) -> Rows:
        if self.executor is None:
            return _draws(self.n, self.seed, epochs, "shuffle")
        ready, steps = _compiled_draws(1 << (self.n - 1).bit_length(), self.executor), len(epochs)
        scalars = [np.full(steps, self.seed), np.array(epochs)]
        _, found = ready.run({}, [], np.zeros((steps, 0), np.int64), scalars)
        return found["draws"][:, : self.n]


def _draws(n: int, seed: int, steps: Sequence[int], path: str) -> Rows:
    """(steps, n): the 63 random bits of every row, two words of Philox without the last bit."""
    blocks = -(-n // 2)  # of four words
    key = (seed ^ random.path_key(path)) & (1 << 64) - 1
    which = np.array(steps, np.int64).view(np.uint64)
    drawn = np.empty((len(steps) * blocks, 4), np.uint64)
    for start in range(0, len(drawn), _BLOCKS):
        place = np.arange(start, min(start + _BLOCKS, len(drawn)))
        step = which[place // blocks]
        counter = np.zeros((4, len(place)), np.uint64)
        counter[:3] = place % blocks, step & np.uint64(0xFFFFFFFF), step >> np.uint64(32)
        drawn[start : start + _BLOCKS] = random.philox(counter, (key & 0xFFFFFFFF, key >> 32)).T
    words = drawn.reshape(len(steps), -1)[:, : 2 * n]
    return ((words[:, 0::2] << np.uint64(32) | words[:, 1::2]) >> np.uint64(1)).view(np.int64)


@functools.lru_cache(maxsize=4)
def _compiled_draws(n: int, executor: str) -> Epoch:
    """The same for ``n`` rows as native code. The first rows of more draw what fewer do, so a power of two
    serves all numbers of rows up to it."""
    seed, step = input("seed", (), "int64"), input("step", (), "int64")
    bits = random.random_bits(random.RandomKey(seed, step, "shuffle"), (n,), 63)
    return epoch(Program({"draws": bits}, scalars=[seed, step]), executor=executor)


def _sorting(draws: Rows) -> Rows:
    """The order that sorts each line, as a stable argsort gives it.

    NumPy sorts numbers of 16 bits by their digits, four times as fast as those of 64. So the highest digit
    goes first (two where one leaves many equal), and then only the rows that are equal in it.
    """
    lines, n = draws.shape
    if n <= _SHORT:
        return np.argsort(draws, axis=1, kind="stable")
    first, flat = np.arange(0, lines * n, n)[:, None], draws.reshape(-1)
    low = 47 if n <= 1 << 14 else 31
    order = _by_digit(draws, low) + first
    if low == 31:
        order = np.take_along_axis(order, _by_digit(flat[order], 47), 1)
    high = flat.take(order) >> low
    same = np.zeros((lines, n + 1), bool)
    np.equal(high[:, 1:], high[:, :-1], out=same[:, 1:-1])
    tied = np.flatnonzero(same[:, 1:] | same[:, :-1])
    rows = order.reshape(-1)[tied]
    order.reshape(-1)[tied] = rows[np.lexsort((flat[rows], tied // n))]
    order -= first
    return order


def _by_digit(draws: Rows, low: int) -> Rows:
    return np.argsort((draws >> low).astype(np.uint16), axis=1, kind="stable")


def plan(n: int, batch_size: int, merge_single: bool) -> tuple[int, int]:
    """How many full batches, and how many rows are left for the last one.

    ``merge_single`` adds a single row that is left over to the batch before it, because a layer with batch
    statistics learns nothing from one row: the last batch then has batch_size + 1 rows.

    >>> plan(201, 100, merge_single=False), plan(201, 100, merge_single=True)
    ((2, 1), (1, 101))
    """
    if n < 1:
        raise DataError(f"{n} rows make no batch; give at least one")
    if not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise ConfigError(f"batch_size is a whole number from 1 up, got {batch_size!r}")
    full, tail = divmod(n, int(batch_size))
    if not merge_single:
        return full, tail
    if n == 1:
        raise DataError("one row cannot train a layer with batch statistics; give more rows")
    if batch_size == 1:
        raise ConfigError("batch_size=1 cannot train a layer with batch statistics; use at least 2")
    return (full - 1, batch_size + 1) if tail == 1 else (full, tail)
