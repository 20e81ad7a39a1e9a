"""Order and batches: which rows make up which step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from chainrule.errors import ConfigError, DataError
from chainrule.executors import evaluate
from chainrule.ops import random

__all__ = ["order", "permutation", "plan"]


def permutation(n: int, seed: int, step: int, path: str) -> npt.NDArray[np.int64]:
    """0 … n−1 in random order: what ``ops.permutation`` gives for this key, on every executor and machine.

    >>> permutation(5, seed=0, step=0, path="shuffle")
    array([...])
    """
    (found,) = evaluate([random.permutation(random.RandomKey(seed, step, path), n)], {})
    return found


def order(n: int, seed: int, epoch: int, shuffle: bool = True) -> npt.NDArray[np.int64]:
    """The rows in the order in which an epoch visits them: drawn without replacement, or as they are.

    >>> order(4, seed=0, epoch=0, shuffle=False)
    array([0, 1, 2, 3])
    """
    return permutation(n, seed, epoch, "shuffle") if shuffle else np.arange(n, dtype=np.int64)


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
