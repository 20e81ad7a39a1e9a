"""Weighted statistics in float64 that can be merged: moments, a sample of rows, quantiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from chainrule.data.tables.table import Array

__all__ = ["SAMPLE", "Gathered", "Moments", "Sample", "quantiles", "row_keys"]

SAMPLE = 1 << 16
"""Rows of which quantiles are taken; all of them, where a table has no more."""


@dataclass(frozen=True)
class Moments:
    """Σw, the mean  Σwx / Σw  and  Σw(x − mean)²  of values, in two passes.

    Merging is Chan, Golub & LeVeque 1979, eq. 2.1 with weights: blocks give what the whole would, to
    rounding.

    >>> a, b = Moments.of(np.array([1.0, 2.0])), Moments.of(np.array([6.0]))
    >>> merged = a.merge(b)
    >>> merged.mean, round(merged.std, 9) == round(float(np.std([1, 2, 6])), 9)
    (3.0, True)
    """

    weight: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: Array, weight: Array | None = None) -> Moments:
        if not values.size:
            return cls()
        total = float(len(values) if weight is None else weight.sum())
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values[0]) + _sum(values - values[0], weight) / total
            return cls(total, mean, _sum((values - mean) ** 2, weight))

    def merge(self, other: Moments) -> Moments:
        if not self.weight or not other.weight:
            return self if self.weight else other
        total, step = self.weight + other.weight, other.mean - self.mean
        return Moments(
            total,
            self.mean + step * other.weight / total,
            self.squares + other.squares + step**2 * self.weight * other.weight / total,
        )

    @property
    def std(self) -> float:
        """√(Σw(x − mean)² / Σw): of what is there, not of a population it stands for."""
        return float(np.sqrt(self.squares / self.weight)) if self.weight else 0.0


def _sum(values: Array, weight: Array | None) -> float:
    """Pairwise, by NumPy: a product of vectors would wait for the threads of its BLAS."""
    return float((values if weight is None else values * weight).sum())


# ------------------------------------------------------------------ a sample of rows


def row_keys(first: int, count: int) -> Array:
    """A random number for each row, from its place in the data alone: SplitMix64 (Steele, Lea & Flood 2014).

    >>> hex(row_keys(0, 1)[0])
    '0xe220a8397b1dcdaf'
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    z = (np.arange(first, first + count, dtype=np.uint64) + np.uint64(1)) * golden
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows drawn without replacement: those with the smallest keys, whatever the blocks in which they came.

    columns    the values of each column; rows that have none in a column are NaN there
    """

    keys: Array
    weight: Array
    columns: dict[str, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, columns: Mapping[str, Array], weight: Array, rows: Array, size: int = SAMPLE) -> Sample:
        """``rows`` are the keys of the rows."""
        if len(rows) <= size:
            return cls(rows, weight, dict(columns))
        kept = _smallest(rows, size)
        return cls(rows[kept], weight[kept], {name: values[kept] for name, values in columns.items()})

    def merge(self, other: Sample, size: int = SAMPLE) -> Sample:
        if not len(self.keys) or not len(other.keys):
            return self if len(self.keys) else other
        return _joined([self, other], size)

    def none(self) -> Sample:
        """The same columns without rows."""
        return self.below(0)

    def below(self, limit: int) -> Sample:
        """The rows whose keys are smaller."""
        kept = self.keys < np.uint64(limit)
        if kept.all():
            return self
        return Sample(self.keys[kept], self.weight[kept], {n: v[kept] for n, v in self.columns.items()})


class Gathered:
    """Samples of block after block as one: rows that cannot belong to it are left out at once, the others are
    put together only now and then."""

    def __init__(self, size: int = SAMPLE) -> None:
        self.size, self.parts, self.rows = size, list[Sample](), 0
        self.limit = (1 << 64) - 1

    def add(self, sample: Sample) -> None:
        part = sample.below(self.limit)
        self.parts.append(part)
        self.rows += len(part.keys)
        if self.rows > 2 * self.size:
            self.parts = [self.whole()]
            self.rows, self.limit = self.size, int(self.parts[0].keys[-1])

    def whole(self) -> Sample:
        return _joined(self.parts, self.size)


def _joined(parts: Sequence[Sample], size: int) -> Sample:
    keys = np.concatenate([part.keys for part in parts])
    kept = _smallest(keys, size)
    columns = {}
    for name in dict.fromkeys(name for part in parts for name in part.columns):
        values = [part.columns.get(name, np.full(len(part.keys), np.nan)) for part in parts]
        columns[name] = np.concatenate(values)[kept]
    return Sample(keys[kept], np.concatenate([part.weight for part in parts])[kept], columns)


def _smallest(keys: Array, size: int) -> Array:
    """Places of the smallest keys, in rising order of the keys: the same for every order of merging."""
    if len(keys) > size:
        places = np.argpartition(keys, size - 1)[:size]
        return places[np.argsort(keys[places])]
    return np.argsort(keys)


def quantiles(values: Array, at: Array, weight: Array | None = None) -> Array:
    """Quantiles, linear between values: the position p·(n − 1) among the n sorted ones (Hyndman & Fan 1996,
    type 7, NumPy's default). A weight of 2 counts as the value twice; fractions are scaled so that Σw = n.

    >>> quantiles(np.array([1.0, 2.0, 4.0]), np.array([0.5, 0.75])).tolist()
    [2.0, 3.0]
    >>> quantiles(np.array([1.0, 5.0]), np.array([0.5]), np.array([3, 1])).tolist()
    [1.0]
    """
    if weight is None:
        return np.quantile(values, at)
    order = np.argsort(values, kind="stable")
    x, w = values[order], weight[order].astype(np.float64)
    if (w != np.floor(w)).any():
        w = w * (len(w) / w.sum())
    ends = np.cumsum(w)
    position = at * max(ends[-1] - 1, 0.0)
    low = np.floor(position)
    below = x[np.minimum(np.searchsorted(ends, low, side="right"), len(x) - 1)]
    above = x[np.minimum(np.searchsorted(ends, low + 1, side="right"), len(x) - 1)]
    return below + (above - below) * (position - low)
