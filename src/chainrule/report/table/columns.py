"""What the columns of a table are, for people: kind and reason, gaps, distribution; and what to beware of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data.tables import Profile, Table, TableEncoder, describe, is_missing
from chainrule.data.tables.kinds import infer_kind
from chainrule.data.tables.profile import ColumnProfile, as_years, text_of
from chainrule.errors import ConfigError
from chainrule.svg import number

__all__ = [
    "ColumnView",
    "TargetView",
    "alone",
    "cut",
    "in_cell",
    "view_columns",
    "view_target",
    "warnings_of",
]

Array = npt.NDArray[Any]
_BARS = 24
_TAIL = 0.005  # of a column that reaches far out: what is beyond is shown in the outermost bars
_TELLING = 0.98  # of the target that one column tells alone, from which it is suspect
_CELLS, _LEAST = 64, 5  # cells of a column, rows of one in each half
_TESTED = 40_000
_RARE, _MANY_GAPS = 0.1, 0.5
_LONGEST = 60
_SPACE = re.compile(r"[^\S\u00a0]+")  # but for what is there to keep a line whole


def cut(text: object, length: int = _LONGEST) -> str:
    """A text of at most so many letters, on one line.

    >>> cut("a\\nb"), cut("x" * 50, 5)
    ('a b', 'xxxx…')
    """
    words = _SPACE.sub(" ", str(text)[: 4 * length]).strip()
    return words if len(words) <= length else words[: length - 1] + "…"


@dataclass(frozen=True)
class ColumnView:
    """One column.

    missing     the share of rows without a value
    distinct    different values; ``at_least`` where there are more than were counted
    words       its values in few words: the range, or the most frequent ones
    heights     of a small histogram, or of the bars of its most frequent values; with their names
    alone       the share of the target that the column tells by itself, of 1; NaN where that was not asked
    """

    name: str
    kind: str
    reason: str
    missing: float
    distinct: int
    at_least: bool
    words: str
    heights: tuple[float, ...]
    names: tuple[str, ...]
    alone: float = float("nan")


@dataclass(frozen=True, eq=False)
class TargetView:
    """The target: rows of every class, the most frequent first; or the numbers."""

    name: str
    rows: int
    counts: dict[str, int]
    values: Array


def view_columns(
    table: Table, encoder: TableEncoder | None = None, target: str | None = None
) -> tuple[ColumnView, ...]:
    """A view of every column but the target.

    encoder    what the columns were taken for, with its reasons; None: of an array, or what they seem to be
    target     to find columns that tell it by themselves

    >>> table = Table({"age": np.array([31.0, np.nan, 27.0, 54.0])})
    >>> view = view_columns(table)[0]
    >>> view.kind, view.missing, view.distinct, view.words
    ('numeric', 0.25, 3, '27 … 54, mean 37.33')
    """
    columns = table.drop(target) if target is not None else table
    profile: Profile = describe(columns)
    telling = _alone_of_all(table, target) if target is not None else {}
    return tuple(
        _view(found, columns[name], encoder, telling.get(name, float("nan")))
        for name, found in profile.columns.items()
    )


def view_target(column: Array, name: str, classes: Iterable[str] = ()) -> TargetView:
    """Of the rows that have one. With classes, whole numbers count as such."""
    present = column[~is_missing(column)]
    if not tuple(classes):
        return TargetView(name, len(present), {}, present.astype(np.float64))
    different, times = np.unique(
        present.astype(str) if present.dtype == object else present, return_counts=True
    )
    found = {text_of(v): int(n) for v, n in zip(different.tolist(), times.tolist(), strict=True)}
    found |= {label: 0 for label in classes if label not in found}
    return TargetView(name, len(present), dict(sorted(found.items(), key=lambda kv: -kv[1])), np.zeros(0))


# ------------------------------------------------------------------ one column


def _view(found: ColumnProfile, column: Array, encoder: TableEncoder | None, telling: float) -> ColumnView:
    kind, reason = _kind(found, encoder)
    numeric = found.present > 0 and column.dtype.kind in "ifM" and found.distinct > 2
    if numeric and kind not in ("categorical", "ordinal", "boolean"):
        words, heights, names = _spread(found, column)
    else:
        words, heights, names = _frequent(found)
    if kind == "identifier":  # a bar for each row says nothing
        words, heights, names = f"such as {cut(_example(column), 30)}", (), ()
    at_least = found.counts is None or len(found.counts) < found.distinct
    missing = found.missing / max(found.rows, 1)
    distinct = len(np.unique(column[~is_missing(column)])) if at_least and numeric else found.distinct
    known = at_least and not numeric
    return ColumnView(found.name, kind, reason, missing, distinct, known, words, heights, names, telling)


def _kind(found: ColumnProfile, encoder: TableEncoder | None) -> tuple[str, str]:
    for column in encoder.columns if encoder is not None else ():
        if column.name == found.name:
            return getattr(column, "why", column.kind), column.reason
    if encoder is not None:
        return "not used", "the network does not know it"
    guessed = infer_kind(found)
    return guessed.kind, guessed.reason


def _example(column: Array) -> str:
    return text_of(column[~is_missing(column)][:1].tolist()[0])


def _spread(found: ColumnProfile, column: Array) -> tuple[str, tuple[float, ...], tuple[str, ...]]:
    """Range and histogram; of a column that reaches far out the range that holds 99 % of the rows."""
    dates = column.dtype.kind == "M"
    present = column[~is_missing(column)]
    values = as_years(present) if dates else present.astype(np.float64)
    low, high = found.low, found.high
    inner = np.quantile(values, [_TAIL, 1 - _TAIL]).tolist()
    if high - low > 4 * (inner[1] - inner[0]) > 0:
        low, high = inner
    counts, edges = np.histogram(np.clip(values, low, high), _BARS, (low, high if high > low else low + 1))
    shown = [number(e) for e in edges.tolist()]
    names = tuple(f"{a} to {b}: {n:,}" for a, b, n in zip(shown, shown[1:], counts.tolist(), strict=False))
    if dates:
        first, last = (str(v.astype("datetime64[D]")) for v in (present.min(), present.max()))
        return f"{first} … {last}", tuple(map(float, counts)), names
    ends = f"{in_cell(found.low, 4)} … {in_cell(found.high, 4)}"
    return f"{ends}, mean {in_cell(found.moments.mean, 4)}", tuple(map(float, counts)), names


def in_cell(value: float, digits: int = 5) -> str:
    """A number of the data, without marks of thousands in one of four digits, which may be a year.

    >>> in_cell(1982.0), in_cell(1191.83), in_cell(210619.0)
    ('1982', '1191.8', '210,619')
    """
    words = number(value, digits)
    return words.replace(",", "") if abs(value) < 9999.5 else words


def _frequent(found: ColumnProfile) -> tuple[str, tuple[float, ...], tuple[str, ...]]:
    counts = sorted((found.counts or {}).items(), key=lambda kv: (-kv[1], kv[0]))
    top, rows = counts[:_BARS], max(found.present, 1)
    words = ", ".join(f"{cut(text, 24)} {100 * n / rows:.0f}\u00a0%" for text, n in top[:3])
    more = f", {len(counts) - 3:,} more" if len(counts) > 3 else ""
    return words + more, tuple(float(n) for _, n in top), tuple(f"{cut(t)}: {n:,}" for t, n in top)


# ------------------------------------------------------------------ columns that tell the target


def _alone_of_all(table: Table, target: str) -> dict[str, float]:
    """Of every column, on at most 40,000 rows with a truth, evenly chosen."""
    rows = np.flatnonzero(~is_missing(table[target]))
    if len(rows) > _TESTED:
        rows = rows[np.linspace(0, len(rows) - 1, _TESTED).astype(np.int64)]
    some = table.take(rows)
    y = some[target]
    return {name: alone(some[name], y) for name in table.names if name != target} if len(rows) else {}


def alone(column: Array, target: Array) -> float:
    """How much of the target one column tells by itself, out of sample: 1 all, 0 nothing, NaN where rows are
    too few.

    The values are parted into at most 64 cells; from every other row the most frequent class (the mean) of
    each cell is learned, on the remaining rows it is tried.
        classes   1 − errors/errors of the most frequent class
        numbers   1 − Σ(y − cell's mean)²/Σ(y − mean)²

    >>> x = np.arange(400.0)
    >>> round(alone(x, 3 * x + 1), 2), round(alone(x, (x > 200).astype(bool)), 2)
    (1.0, 1.0)
    """
    cells = _cells(column)
    classifies = target.dtype.kind in "Ob" or len(np.unique(target)) <= 20
    half = np.arange(len(cells)) % 2 == 0
    if half.sum() < 50 or cells.max(initial=0) < 1:
        return float("nan")
    if classifies:
        codes = np.unique(target.astype(str), return_inverse=True)[1]
        k = int(codes.max()) + 1
        table = np.bincount(cells[half] * k + codes[half], minlength=(int(cells.max()) + 1) * k).reshape(
            -1, k
        )
        guess, base = table.argmax(axis=1)[cells[~half]], int(table.sum(axis=0).argmax())
        wrong, before = float(np.mean(guess != codes[~half])), float(np.mean(base != codes[~half]))
        return 1 - wrong / before if before else float("nan")
    y = target.astype(np.float64)
    n = np.bincount(cells[half], minlength=int(cells.max()) + 1)
    means = np.bincount(cells[half], y[half], minlength=len(n)) / np.maximum(n, 1)
    means = np.where(n > 0, means, y[half].mean())
    before = float(np.sum((y[~half] - y[half].mean()) ** 2))
    return 1 - float(np.sum((y[~half] - means[cells[~half]]) ** 2)) / before if before else float("nan")


def _cells(column: Array) -> Array:
    """Values → 0 … 63 of about equal size, or categories; gaps are a cell of their own."""
    gaps = is_missing(column)
    found = np.zeros(len(column), np.int64)
    present = column[~gaps]
    if present.dtype.kind == "M":
        present = present.astype(np.int64)
    if present.dtype.kind in "if" and len(np.unique(present)) > _CELLS:
        values = present.astype(np.float64)
        edges = np.unique(np.quantile(values, np.linspace(0, 1, _CELLS + 1)[1:-1]))
        found[~gaps] = 1 + np.searchsorted(edges, values, side="right")
    elif len(present):
        _, inverse, times = np.unique(present.astype(str), return_inverse=True, return_counts=True)
        kept = np.where(times >= 2 * _LEAST, np.arange(2, len(times) + 2), 1)  # rare ones share a cell
        found[~gaps] = kept[inverse]
    return np.unique(found, return_inverse=True)[1]


# ------------------------------------------------------------------ what to beware of


def warnings_of(columns: Iterable[ColumnView], target: TargetView) -> list[str]:
    """In words, the gravest first: columns that tell the target, what was left out, gaps, rare classes."""
    columns = list(columns)
    found = [
        f"{cut(c.name)} alone tells {100 * c.alone:.1f}\u00a0% of {cut(target.name)}: if it is known only "
        "once the target is, leave it out, for then the scores here mean nothing."
        for c in columns
        if c.alone >= _TELLING
    ]
    found += _imbalance(target)
    for kind, words in (
        ("identifier", "Left out, since every row seems to have a value of its own"),
        ("constant", "Left out, since every row holds the same"),
        ("empty", "Left out, since there is no value"),
        ("not used", "Not known to the network"),
    ):
        names = [c.name for c in columns if c.kind == kind]
        found += [f"{words}: {_listed(names)}."] if names else []
    gaps = [f"{c.name} ({100 * c.missing:.0f}\u00a0%)" for c in columns if _MANY_GAPS <= c.missing < 1]
    found += [f"Mostly gaps: {_listed(gaps)}."] if gaps else []
    return found


def _imbalance(target: TargetView) -> list[str]:
    if not target.counts:
        return []
    rarest = min(target.counts, key=lambda label: target.counts[label])
    share = target.counts[rarest] / max(target.rows, 1)
    if share * len(target.counts) >= 2 * _RARE:
        return []
    return [
        f"The classes are unequal: {cut(rarest)} has {target.counts[rarest]:,} of {target.rows:,} rows "
        f"({100 * share:.2g}\u00a0%). The accuracy says little of it; look at its recall and precision."
    ]


def _listed(names: list[str], most: int = 6) -> str:
    if not names:
        raise ConfigError("there is nothing to list")
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(cut(n, 40) for n in names[:most]) + more
