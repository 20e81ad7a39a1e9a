"""What is known of a table's columns after one pass over its rows; descriptions of blocks can be merged."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from chainrule.data import faults
from chainrule.data.arrays import check_weights
from chainrule.data.tables.moments import Gathered, Moments, Sample, row_keys
from chainrule.data.tables.table import Array, Table, is_missing
from chainrule.errors import DataError

__all__ = ["MANY", "ColumnProfile", "Profile", "as_years", "describe", "describe_blocks", "text_of"]

MANY = 1 << 16
"""Different values of a column that are counted; where there are more, only those that recur."""

_MANY_NUMBERS = 1 << 11


@dataclass(frozen=True)
class ColumnProfile:
    """One column.

    sorts       what its values were: "truth", "whole", "number", "text", "date"
    rows        that weigh something; missing: those without a value
    moments     of numbers, of truth values as 0 and 1, of dates as years
    low, high   of the same
    counts      how often each value occurs, by its text; None for numbers with more than 2,048 different ones
    distinct    how many different values there are: at least, where they are too many to be counted
    distinct_of in how many rows
    rising      whole numbers, each larger than the one before
    unique      whole numbers, no two the same as far as is known
    seen        of dates: months (12), days of the week (7), hours (24) that occur
    levels      the order of categories, where the data came with one
    """

    name: str
    sorts: frozenset[str] = frozenset()
    rows: int = 0
    missing: int = 0
    moments: Moments = field(default_factory=Moments)
    low: float = np.inf
    high: float = -np.inf
    counts: dict[str, int] | None = field(default_factory=dict)
    distinct: int = 0
    distinct_of: int = 0
    whole: bool = True
    rising: bool = True
    unique: bool = True
    seen: tuple[Array, ...] = ()
    levels: tuple[str, ...] = ()

    @property
    def present(self) -> int:
        return self.rows - self.missing

    def merge(self, other: ColumnProfile) -> ColumnProfile:
        """Of the rows of both, ``other``'s below."""
        if not self.present or not other.present:
            found = self if self.present else other
            return replace(found, rows=self.rows + other.rows, missing=self.missing + other.missing)
        counts = _added(self.counts, other.counts, self.is_text or other.is_text)
        apart = self.high < other.low
        return ColumnProfile(
            self.name,
            self.sorts | other.sorts,
            self.rows + other.rows,
            self.missing + other.missing,
            self.moments.merge(other.moments),
            min(self.low, other.low),
            max(self.high, other.high),
            counts,
            *_distinct(self, other, counts),
            whole=self.whole and other.whole,
            rising=self.rising and other.rising and apart,
            unique=self.unique and other.unique and (apart or other.high < self.low),
            seen=tuple(a | b for a, b in zip(self.seen, other.seen, strict=True))
            if self.seen and other.seen
            else (),
            levels=self.levels or other.levels,
        )

    @property
    def is_text(self) -> bool:
        return "text" in self.sorts


@dataclass(frozen=True, eq=False)
class Profile:
    """All columns, the number of rows that weigh something, and a sample of the numbers for quantiles.

    described    the number of all rows
    """

    columns: dict[str, ColumnProfile]
    rows: int
    sample: Sample
    described: int

    def merge(self, other: Profile) -> Profile:
        """Of the rows of both, ``other``'s below. (``describe`` was told where they begin.)"""
        if self.columns.keys() != other.columns.keys():
            differ = sorted(self.columns.keys() ^ other.columns.keys())
            raise DataError(f"blocks of the data have different columns: {', '.join(differ[:5])}")
        columns = {name: column.merge(other.columns[name]) for name, column in self.columns.items()}
        return Profile(
            columns, self.rows + other.rows, self.sample.merge(other.sample), self.described + other.described
        )

    def __getitem__(self, name: str) -> ColumnProfile:
        return self.columns[name]


def describe(table: Table, weight: Array | None = None, *, first: int = 0) -> Profile:
    """What is known of every column. Rows of weight 0 are as if they were not there.

    first    the place of the table's first row in the data that it is a block of

    DataError for infinite values, with column and rows; for weights that are none.

    >>> profile = describe(Table({"age": np.array([31.0, np.nan, 27.0])}))
    >>> profile["age"].missing, profile["age"].moments.mean
    (1, 29.0)
    """
    keys, described = row_keys(first, len(table)), len(table)
    if weight is not None:
        weight = check_weights(weight, rows=len(table), dtype="float64", beside="the table")
        if not weight.all():
            table, keys, weight = table.take(weight > 0), keys[weight > 0], weight[weight > 0]
    columns = {name: _column(name, values, weight, table) for name, values in table.columns.items()}
    numbers = {n: v for n, v in table.columns.items() if v.dtype.kind in "if"}
    w = np.ones(len(table)) if weight is None else weight
    return Profile(columns, len(table), Sample.of(numbers, w, keys), described)


def _column(name: str, values: Array, weight: Array | None, table: Table) -> ColumnProfile:
    missing = is_missing(values)
    gaps = int(missing.sum())
    present, w = (
        (values[~missing], None if weight is None else weight[~missing]) if gaps else (values, weight)
    )
    found = ColumnProfile(name, rows=len(values), missing=gaps, levels=table.levels.get(name, ()))
    if not len(present):
        return found
    kind = present.dtype.kind
    if kind == "O":
        counts = collections.Counter(present.tolist())
        known = replace(found, sorts=frozenset(["text"]), counts=_bounded(dict(counts)))
        return replace(known, distinct=len(counts), distinct_of=len(present))
    if kind == "M":
        return _dates(found, present, w)
    return _numbers(found, present, w)


def _numbers(found: ColumnProfile, values: Array, weight: Array | None) -> ColumnProfile:
    kind = values.dtype.kind
    if kind == "f" and not (finite := np.isfinite(values)).all():
        raise DataError(faults.not_finite(values, ~finite, f"column {found.name!r}", label=False))
    floats = values.astype(np.float64)
    counts, distinct, of = _different(values)
    whole = kind != "f" or bool((values == np.floor(values)).all())
    return replace(
        found,
        sorts=frozenset([{"b": "truth", "i": "whole", "f": "number"}[kind]]),
        moments=Moments.of(floats, weight),
        low=float(values.min()),
        high=float(values.max()),
        whole=whole,
        rising=whole and bool((values[1:] > values[:-1]).all()) if kind != "b" else False,
        unique=whole and distinct == len(values),
        counts=counts,
        distinct=distinct,
        distinct_of=of,
    )


def _different(values: Array) -> tuple[dict[str, int] | None, int, int]:
    """(how often each number occurs, how many different ones there are, in how many rows). Where the first
    rows show that there are many, the rest need not be sorted."""
    head = values[: 2 * _MANY_NUMBERS]
    distinct = len(np.unique(head))
    if distinct > _MANY_NUMBERS and (values.dtype.kind == "f" or distinct < len(head)):
        return None, distinct, len(head)
    different, times = np.unique(values, return_counts=True)
    if len(different) > _MANY_NUMBERS:
        return None, len(different), len(values)
    texts = map(text_of, different.tolist())
    return dict(zip(texts, times.tolist(), strict=True)), len(different), len(values)


def _dates(found: ColumnProfile, values: Array, weight: Array | None) -> ColumnProfile:
    years = as_years(values)
    day = values.astype("datetime64[D]")
    parts = (
        (values.astype("datetime64[M]").astype(np.int64) % 12, 12),
        ((day.astype(np.int64) + 3) % 7, 7),  # 1970-01-01 was a Thursday
        ((values - day) // np.timedelta64(1, "h"), 24),
    )
    seen = tuple(np.bincount(part.astype(np.int64), minlength=n) > 0 for part, n in parts)
    distinct = len(np.unique(values))
    low, high = float(years.min()), float(years.max())
    known = replace(found, sorts=frozenset(["date"]), moments=Moments.of(years, weight), low=low, high=high)
    return replace(known, counts=None, distinct=distinct, distinct_of=len(values), seen=seen)


def as_years(values: Array) -> Array:
    """Points in time as years, 2024.5 for its middle: Gregorian years of 365.2425 days; NaN for gaps.

    >>> as_years(np.array(["2000-01-01", "NaT"], "datetime64[us]")).round(2).tolist()
    [2000.0, nan]
    """
    days = (values - np.datetime64("2000-01-01", "us")) / np.timedelta64(1, "D")
    return 2000.0 + days / 365.2425


# ------------------------------------------------------------------ counting values


def text_of(value: object) -> str:
    """A value as the text of its category: 3 and 3.0 are one.

    >>> text_of(3.0), text_of(True), text_of("3"), text_of(0.5)
    ('3', 'True', '3', '0.5')
    """
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _bounded(counts: dict[str, int] | None) -> dict[str, int] | None:
    if counts is None or len(counts) <= MANY:
        return counts
    most = sorted(counts, key=lambda text: (-counts[text], text))[:MANY]
    return {text: counts[text] for text in most if counts[text] > 1}


def _added(a: dict[str, int] | None, b: dict[str, int] | None, text: bool) -> dict[str, int] | None:
    if a is None or b is None:
        return None
    total = collections.Counter(a)
    total.update(b)
    if not text and len(total) > _MANY_NUMBERS:
        return None
    return _bounded(dict(total))


def _distinct(a: ColumnProfile, b: ColumnProfile, counts: dict[str, int] | None) -> tuple[int, int]:
    """(different values, in how many rows). Once they are too many to be counted, the block with the larger
    number stands for all."""
    exact = all(p.counts is not None and len(p.counts) == p.distinct for p in (a, b))
    if exact and counts is not None and len(counts) >= max(a.distinct, b.distinct):
        return len(counts), a.distinct_of + b.distinct_of
    if exact and a.counts is not None and b.counts is not None:
        return len(a.counts.keys() | b.counts.keys()), a.distinct_of + b.distinct_of
    larger = max(a, b, key=lambda p: p.distinct)
    return larger.distinct, larger.distinct_of


def describe_blocks(blocks: Iterable[tuple[Table, Array | None]]) -> Profile:
    """The same of rows that come block by block, each with its weights."""
    first, found, sample = 0, None, Gathered()
    for table, weight in blocks:
        part = describe(table, weight, first=first)
        first += part.described
        sample.add(part.sample)
        part = replace(part, sample=part.sample.none())
        found = part if found is None else found.merge(part)
    if found is None:
        raise DataError("there are no rows; give at least one")
    return replace(found, sample=sample.whole())
