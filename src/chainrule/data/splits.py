"""Splits: rows held out for validation or test, the same ones everywhere for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data.batches import permutation
from chainrule.errors import ConfigError, DataError

__all__ = ["split"]

Rows = npt.NDArray[np.int64]


def split(n: int, share: float, seed: int, *, stratify: Any = None, groups: Any = None) -> tuple[Rows, Rows]:
    """Row numbers to train on and row numbers held out, each in rising order; about share·n are held out.

    stratify: a class for each row. Every class gives its share, to within one row, but never its last row:
        one that occurs once stays in training.
    groups: a group for each row, such as a patient or a writer. A group is held out whole or not at all; as
        many as fit into share·n rows, at least one.

    Each side has at least one row. ConfigError for a share outside (0, 1); DataError where nothing
    can be held out.

    >>> train, held = split(10, 0.3, seed=0)
    >>> len(train), len(held)
    (7, 3)
    """
    if not isinstance(share, int | float) or not 0 < share < 1:
        raise ConfigError(f"the share held out lies between 0 and 1, such as 0.1 for a tenth; got {share!r}")
    if stratify is not None and groups is not None:
        raise ConfigError(
            "split takes stratify or groups, not both: whole groups cannot give each class its share"
        )
    if n < 2:
        raise DataError(f"{n} row{'s' * (n != 1)} cannot be split in two; give more, or no validation share")
    wanted = min(max(round(share * n), 1), n - 1)
    shuffled = permutation(n, seed, 0, "split")
    if stratify is not None:
        held = _stratified(shuffled, _codes(stratify, n, "stratify"), wanted)
    elif groups is not None:
        held = _whole_groups(_codes(groups, n, "groups"), wanted, seed)
    else:
        held = shuffled[:wanted]
    mask = np.zeros(n, np.bool_)
    mask[held] = True
    return np.flatnonzero(~mask).astype(np.int64), np.flatnonzero(mask).astype(np.int64)


def _codes(values: Any, n: int, what: str) -> npt.NDArray[np.intp]:
    """0 … K−1 for each row."""
    array = np.asarray(values)
    if array.shape != (n,):
        raise DataError(
            f"{what} has shape {array.shape}, but one value for each of {n} rows is needed; "
            "one-hot classes become numbers with .argmax(axis=1)"
        )
    try:
        return np.unique(array, return_inverse=True)[1]
    except TypeError:
        raise DataError(
            f"{what} mixes text and numbers, which have no order; make all of them text"
        ) from None


def _stratified(shuffled: Rows, codes: npt.NDArray[np.intp], wanted: int) -> Rows:
    """The first rows of every class in shuffled order; quotas by largest remainder, ties to larger ones."""
    counts = np.bincount(codes)
    ideal = counts * (wanted / len(codes))
    quota = np.minimum(np.floor(ideal).astype(np.int64), counts - 1)
    missing = wanted - int(quota.sum())
    for c in np.lexsort((-counts, quota - ideal)):
        if missing > 0 and quota[c] < min(np.ceil(ideal[c]), counts[c] - 1):
            quota[c] += 1
            missing -= 1
    if not quota.any():
        raise DataError(
            f"stratify has {len(counts)} classes in {len(codes)} rows, so no class can spare a row; "
            "split without stratify, or hold out a larger share"
        )
    by_class = shuffled[np.argsort(codes[shuffled], kind="stable")]
    place = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return by_class[place < np.repeat(quota, counts)]


def _whole_groups(codes: npt.NDArray[np.intp], wanted: int, seed: int) -> Rows:
    sizes = np.bincount(codes)
    if len(sizes) < 2:
        raise DataError("groups holds one group only, which cannot be split; give more, or split by rows")
    chosen = []
    room = wanted
    for group in permutation(len(sizes), seed, 0, "split/groups"):
        if sizes[group] <= room:
            chosen.append(group)
            room -= sizes[group]
    return np.flatnonzero(np.isin(codes, chosen or [np.argmin(sizes)])).astype(np.int64)
