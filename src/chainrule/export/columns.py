"""Columns of a table inside an ONNX file: scaling, categories, dates, gaps, as data.tables encodes them.

A column is an input of its own, (rows,), under its name:

===========================  ========================================================================
Number                       float64, NaN where it is missing
Category, Ordinal, Boolean   text, "" where it is missing; numbers as their text: "3", "0.5", "True"
Date                         int64 microseconds since 1970, the least int64 where it is missing: what
                             ``array.astype("datetime64[us]").view("int64")`` gives
===========================  ========================================================================

Everything is computed in float64 and ends in the network's dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.data.tables.category import Boolean, Category, Ordinal
from chainrule.data.tables.encoder import ColumnEncoder, Ignored
from chainrule.data.tables.number import Date, Number
from chainrule.errors import ConfigError
from chainrule.export.emit import Emitter
from chainrule.spec import DType

__all__ = ["HOW_COLUMN", "gap_of", "input_dtype", "write_column"]

Array = np.ndarray[Any, Any]
State = Mapping[str, Array]

_ML = "ai.onnx.ml"
_GAP = ""  # text that is missing
_DAY = 86400e6  # microseconds
_NO_DATE = np.iinfo(np.int64).min


def input_dtype(column: ColumnEncoder) -> DType | str:
    """What the input of a column holds: a dtype, or "str"."""
    if isinstance(column, Number):
        return np.dtype(np.float64)
    return np.dtype(np.int64) if isinstance(column, Date) else "str"


def gap_of(column: ColumnEncoder) -> str:
    """How a missing value of a column is given, in words.

    >>> gap_of(Number("age"))
    'NaN'
    """
    if isinstance(column, Number):
        return "NaN"
    return str(_NO_DATE) if isinstance(column, Date) else "empty text"


def write_column(e: Emitter, column: ColumnEncoder, x: str, state: State, dtype: DType) -> str:
    """The features (rows, n) of the column whose input is the tensor ``x``; of an embedded one its codes
    (rows, 1), int32. ``state``: what the encoder learned, by short names."""
    rule = HOW_COLUMN.get(type(column))
    if rule is None:
        raise ConfigError(f"{type(column).__name__} of column {column.name!r} has no form in ONNX")
    e.path = e.free(f"columns/{column.name}")
    try:
        return rule(e, column, x, state, dtype)
    finally:
        e.path = ""


def _joined(e: Emitter, parts: Sequence[str], dtype: DType) -> str:
    """Features (rows,) side by side."""
    columns = [e("Unsqueeze", e.cast(part, dtype), e.integers([1])) for part in parts]
    return columns[0] if len(columns) == 1 else e("Concat", *columns, axis=1)


# ------------------------------------------------------------------ numbers


def _number(e: Emitter, column: Number, x: str, state: State, dtype: DType) -> str:
    gaps = e("IsNaN", x)
    if "knots" in state:
        scaled = _interpolated(e, x, state["knots"], state["heights"])
    elif column.scaling == "none":
        scaled = x
    else:
        scaled = _standardised(e, x, state)
    parts = [e("Where", gaps, e.constant(0.0), scaled)]
    return _joined(e, [*parts, gaps] if column.missing else parts, dtype)


def _standardised(e: Emitter, x: str, state: State) -> str:
    centred = e("Sub", x, e.constant(float(state["mean"])))
    return e("Div", centred, e.constant(float(state["scale"])))


def _interpolated(e: Emitter, x: str, knots: Array, heights: Array) -> str:
    """Linear between the knots, constant outside: ``np.interp``."""
    if len(knots) == 1:
        return e("Where", e("IsNaN", x), x, e.constant(float(heights[0])))
    below = e("LessOrEqual", e.constant(knots), e("Unsqueeze", x, e.integers([1])))
    count = e("ReduceSum", e.cast(below, np.dtype(np.int64)), e.integers([1]), keepdims=0)
    above = e("Min", e("Max", count, e.constant(1, np.int64)), e.constant(len(knots) - 1, np.int64))
    lower = e("Sub", above, e.constant(1, np.int64))
    left, right, low, high = (
        e("Gather", e.constant(table), place)
        for table, place in ((knots, lower), (knots, above), (heights, lower), (heights, above))
    )
    share = e("Div", e("Sub", x, left), e("Sub", right, left))
    share = e("Min", e("Max", share, e.constant(0.0)), e.constant(1.0))
    return e("Add", low, e("Mul", share, e("Sub", high, low)))


# ------------------------------------------------------------------ categories


def _places(e: Emitter, x: str, categories: Sequence[str], missing: int) -> str:
    """int64: 1 … K for the categories, ``missing`` for a gap, 0 for anything else. 3.0 is 3, unless it is a
    category of its own."""
    known = {_GAP: missing, **{text: i + 1 for i, text in enumerate(categories)}}
    for text in categories:
        if text.removeprefix("-").removesuffix(".0").isdecimal():
            known.setdefault(text.removesuffix(".0") if text.endswith(".0") else f"{text}.0", known[text])
    return e(
        "LabelEncoder",
        x,
        domain=_ML,
        keys_strings=list(known),
        values_int64s=list(known.values()),
        default_int64=0,
    )


def _category(e: Emitter, column: Category, x: str, state: State, dtype: DType) -> str:
    gap = len(column.categories) + 1
    if column.embedding:
        codes = _places(e, x, column.categories, gap if column.missing else 0)
        return e("Unsqueeze", e.cast(codes, np.dtype(np.int32)), e.integers([1]))
    features = [*range(1 + column.drop_first, gap), *[0] * column.rare, *[gap] * column.missing]
    places = e("Unsqueeze", _places(e, x, column.categories, gap), e.integers([1]))
    return e.cast(e("Equal", places, e.integers(features)), dtype)


def _ordinal(e: Emitter, column: Ordinal, x: str, state: State, dtype: DType) -> str:
    places = e("Unsqueeze", _places(e, x, column.categories, -1), e.integers([1]))
    unknown = e("LessOrEqual", places, e.constant(0, np.int64))
    rank = e("Sub", places, e.constant(1, np.int64))
    if "scale" in state:
        scaled = _standardised(e, e.cast(rank, np.dtype(np.float64)), state)
        found = e("Where", unknown, e.constant(0.0), scaled)
    else:
        steps = e("Less", e.integers(range(len(column.categories) - 1)), rank)
        found = e("Where", unknown, e.constant(state["mean"]), e.cast(steps, np.dtype(np.float64)))
    found = e.cast(found, dtype)
    if not column.missing:
        return found
    return e("Concat", found, e.cast(e("Equal", places, e.constant(-1, np.int64)), dtype), axis=1)


def _boolean(e: Emitter, column: Boolean, x: str, state: State, dtype: DType) -> str:
    places = _places(e, x, column.values[:2], -1)
    true = e.cast(e("Sub", places, e.constant(1, np.int64)), np.dtype(np.float64))
    known = e("Less", e.constant(0, np.int64), places)
    parts = [e("Where", known, true, e.constant(float(state["mean"])))]
    gap = e("Equal", places, e.constant(-1, np.int64))
    return _joined(e, [*parts, gap] if column.missing else parts, dtype)


# ------------------------------------------------------------------ dates


def _date(e: Emitter, column: Date, x: str, state: State, dtype: DType) -> str:
    gaps = e("Equal", x, e.constant(_NO_DATE, np.int64))
    when = e.cast(e("Where", gaps, e.constant(0, np.int64), x), np.dtype(np.float64))
    days = e("Div", when, e.constant(_DAY))
    parts: list[str] = []
    for part in column.parts:
        if part == "year":
            parts.append(_standardised(e, _years(e, days), state))
            continue
        angle = e("Mul", _SHARES[part](e, days), e.constant(2 * math.pi))
        parts += [e("Sin", angle), e("Cos", angle)]
    filled = [e("Where", gaps, e.constant(0.0), part) for part in parts]
    return _joined(e, [*filled, gaps] if column.missing else filled, dtype)


def _years(e: Emitter, days: str) -> str:
    """2000 + days since then / 365.2425."""
    since = e("Sub", days, e.constant(10957.0))  # from 1970 to 2000
    return e("Add", e("Div", since, e.constant(365.2425)), e.constant(2000.0))


def _fraction(e: Emitter, x: str) -> str:
    return e("Sub", x, e("Floor", x))


def _of_day(e: Emitter, days: str) -> str:
    return _fraction(e, days)


def _of_week(e: Emitter, days: str) -> str:
    """The fourth day of 1970 was over when its first Monday began."""
    return _fraction(e, e("Div", e("Sub", days, e.constant(4.0)), e.constant(7.0)))


def _of_year(e: Emitter, days: str) -> str:
    """The year is guessed by its mean length, and put right where the guess is one off."""
    whole = e("Floor", days)
    guess = e("Add", e("Floor", e("Div", whole, e.constant(365.2425))), e.constant(1970.0))
    early = e.cast(e("Less", whole, _new_year(e, guess, 0)), np.dtype(np.float64))
    late = e.cast(e("LessOrEqual", _new_year(e, guess, 1), whole), np.dtype(np.float64))
    year = e("Add", e("Sub", guess, early), late)
    start, end = _new_year(e, year, 0), _new_year(e, year, 1)
    return e("Div", e("Sub", days, start), e("Sub", end, start))


def _new_year(e: Emitter, year: str, later: int) -> str:
    """The day, counted from 1970, on which a Gregorian year begins (or the one after it)."""
    past = e("Sub", year, e.constant(1.0 - later))
    leaps = [e("Floor", e("Div", past, e.constant(n))) for n in (4.0, 100.0, 400.0)]
    days = e("Sub", e("Mul", past, e.constant(365.0)), e.constant(719162.0))  # from year 1 to 1970
    return e("Add", e("Sub", e("Add", days, leaps[0]), leaps[1]), leaps[2])


_SHARES: dict[str, Callable[[Emitter, str], str]] = {"season": _of_year, "weekday": _of_week, "hour": _of_day}


# ------------------------------------------------------------------ the table


def _nothing(e: Emitter, column: Ignored, x: str, state: State, dtype: DType) -> str:
    raise ConfigError(f"column {column.name!r} is ignored: it has no features")


HOW_COLUMN: dict[type[ColumnEncoder], Callable[..., str]] = {
    Number: _number,
    Category: _category,
    Ordinal: _ordinal,
    Boolean: _boolean,
    Date: _date,
    Ignored: _nothing,
}
"""{encoder of a column: how it is written}."""
