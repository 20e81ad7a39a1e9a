"""One array of any dtype as one column of a Table; DataError says which cell cannot be one."""

from __future__ import annotations

import datetime as dt
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.data.faults import some_rows
from chainrule.data.tables.cells import LARGEST_EXACT, looks_like_numbers
from chainrule.data.tables.table import Array
from chainrule.errors import DataError

__all__ = ["as_column", "mixed"]

_EPOCH = dt.datetime(1970, 1, 1)
_SHOWN = 3


def as_column(values: Any, name: str) -> Array:
    """An array (rows,) of numbers, truth values, text, dates, or Python objects of these, as a column.

    Durations become seconds. Whole numbers with gaps become float64; beyond 2⁵³, where that would change
    them, text. DataError for complex numbers, nested values, bytes, text among numbers, dates beyond ±290,000
    years: each names the column and the first row.

    >>> as_column(np.array([1, None, 2.5], object), "size")
    array([1. , nan, 2.5])
    """
    array = _filled(np.asarray(values), values, name)
    if array.ndim != 1:
        raise DataError(
            f"column {name!r} has shape {array.shape}, but a column is one value per row; "
            "give each of its parts a name of its own"
        )
    kind = array.dtype.kind
    if kind == "O":
        return _from_objects(array, name)
    if kind in "US":
        return _texts(array.tolist(), name)
    if kind == "M":
        return _dates(array, name)
    if kind == "m":
        return _seconds(array)
    if kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max:
        return _texts([str(v) for v in array.tolist()], name)
    target = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}.get(kind)
    if target is None:
        what = "complex numbers" if kind == "c" else f"values of dtype {array.dtype}"
        remedy = (
            "give real and imaginary part as two columns" if kind == "c" else "give numbers, text or dates"
        )
        raise DataError(f"column {name!r} holds {what}; {remedy}")
    return np.array(array, target)  # a copy: native bytes, contiguous, nobody else's


def _filled(array: Array, values: Any, name: str) -> Array:
    """A masked array with gaps in place of what is masked."""
    if not isinstance(values, np.ma.MaskedArray) or not np.ma.getmaskarray(values).any():
        return array
    objects = array.astype(object)
    objects[np.ma.getmaskarray(values)] = None
    return objects


def _texts(found: Sequence[Any], name: str) -> Array:
    column = np.empty(len(found), object)
    pool: dict[str, str] = {}
    for i, value in enumerate(found):
        if isinstance(value, bytes):
            raise DataError(f"column {name!r} holds bytes in row {i}; decode them: value.decode('utf-8')")
        column[i] = None if value is None else pool.setdefault(str(value), str(value))
    return column


def _dates(array: Array, name: str) -> Array:
    found = array.astype("datetime64[us]")
    if array.dtype != found.dtype:
        changed = (np.isnat(found) != np.isnat(array)) | (
            found.astype("datetime64[D]") != array.astype("datetime64[D]")
        )
        changed &= ~np.isnat(array)
        if changed.any():
            raise DataError(
                f"column {name!r} has dates beyond ±290,000 years in {some_rows(changed)}; correct them"
            )
    return found


def _seconds(array: Array) -> Array:
    return np.where(np.isnat(array), np.nan, array / np.timedelta64(1, "s"))


# ------------------------------------------------------------------ Python objects


def _from_objects(array: Array, name: str) -> Array:
    """Gaps are None, NaN, pandas' NA and NaT; the rest must be of one sort."""
    found = array.tolist()
    sorts = [_sort(value) for value in found]
    present = set(sorts) - {"gap"}
    if strange := present - {"number", "truth", "text", "date", "seconds"}:
        place = next(i for i, s in enumerate(sorts) if s in strange)
        raise DataError(_strange(found[place], sorts[place], place, name))
    if present == {"number", "truth"}:
        present, sorts = {"number"}, ["number" if s == "truth" else s for s in sorts]
    if len(present) > 1:
        return _mixed_objects(found, sorts, name)
    gaps = np.array([s == "gap" for s in sorts], bool)
    sort = next(iter(present), "number")
    if sort == "text":
        return _texts([None if s == "gap" else v for v, s in zip(found, sorts, strict=True)], name)
    if sort == "truth":
        return (
            _texts([None if g else str(bool(v)) for v, g in zip(found, gaps, strict=True)], name)
            if gaps.any()
            else np.array(found, bool)
        )
    if sort == "date":
        return np.array(
            [np.datetime64("NaT") if g else _instant(v) for v, g in zip(found, gaps, strict=True)],
            "datetime64[us]",
        )
    if sort == "seconds":
        return np.array([np.nan if g else v.total_seconds() for v, g in zip(found, gaps, strict=True)])
    return _numbers(found, gaps, name)


def _sort(value: Any) -> str:
    if value is None:
        return "gap"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool | np.bool_):
        return "truth"
    if type(value).__name__ in ("NAType", "NaTType"):
        return "gap"
    if isinstance(value, numbers.Real) or type(value).__name__ == "Decimal":
        return "gap" if value != value else "number"
    if isinstance(value, dt.date | np.datetime64):
        return "gap" if value != value else "date"
    if isinstance(value, dt.timedelta):
        return "seconds"
    return "bytes" if isinstance(value, bytes) else "strange"


def _strange(value: Any, sort: str, row: int, name: str) -> str:
    if sort == "bytes":
        return f"column {name!r} holds bytes in row {row}; decode them: value.decode('utf-8')"
    if isinstance(value, list | tuple | dict | set | np.ndarray):
        kind = type(value).__name__
        return f"column {name!r} holds a {kind} in row {row}; give each of its values a column of its own"
    remedy = (
        "give real and imaginary part as two columns"
        if isinstance(value, complex)
        else "give numbers, text or dates"
    )
    return f"column {name!r} holds a {type(value).__name__} in row {row}, {str(value)[:40]!r}; {remedy}"


def _instant(value: Any) -> np.datetime64:
    if isinstance(value, np.datetime64):
        return value
    if not isinstance(value, dt.datetime):
        return np.datetime64(value, "us")
    if value.tzinfo is not None:
        value = value.astimezone(dt.UTC).replace(tzinfo=None)
    return np.datetime64((value - _EPOCH) // dt.timedelta(microseconds=1), "us")


def _numbers(found: list[Any], gaps: Array, name: str) -> Array:
    present = [v for v, gap in zip(found, gaps, strict=True) if not gap]
    if all(isinstance(v, numbers.Integral) for v in present) and present:
        largest = max(abs(int(v)) for v in present)
        if largest > np.iinfo(np.int64).max or (gaps.any() and largest > LARGEST_EXACT):
            return _texts([None if gap else str(int(v)) for v, gap in zip(found, gaps, strict=True)], name)
        if not gaps.any():
            return np.array([int(v) for v in found], np.int64)
    values = np.full(len(found), np.nan)
    try:
        values[~gaps] = [float(v) for v in present]
    except OverflowError:
        raise DataError(f"column {name!r} has a whole number beyond ±1.8e308; leave the column out") from None
    return values


def _mixed_objects(found: list[Any], sorts: list[str], name: str) -> Array:
    """Text beside numbers: mistakes in a column of numbers are told, else all of it is text."""
    words = [i for i, s in enumerate(sorts) if s == "text"]
    rest = np.array([float(v) for v, s in zip(found, sorts, strict=True) if s == "number"])
    if set(sorts) - {"text", "number", "truth", "gap"} or looks_like_numbers(rest, len(words)):
        odd = words or [i for i, s in enumerate(sorts) if s not in ("number", "gap")]
        raise DataError(mixed(name, [(f"row {i}", str(found[i])) for i in odd[:_SHOWN]], len(odd)))
    return _texts([None if s == "gap" else _as_text(v) for v, s in zip(found, sorts, strict=True)], name)


def _as_text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def mixed(name: str, cells: Sequence[tuple[str, str]], count: int, sort: str = "number") -> str:
    """What is wrong with a column of numbers (or dates) in which words stand, and the first of them.

    >>> mixed("age", [("line 7", "old")], 1)
    "column 'age' holds 'old' in line 7, which is not a number as the others are; ..."
    """
    shown = ", ".join(f"{text[:40]!r} in {place}" for place, text in cells)
    more = f" (and {count - len(cells)} more)" if count > len(cells) else ""
    verb = "which is not a" if count == 1 else "none of them a"
    return (
        f"column {name!r} holds {shown}{more}, {verb} {sort} as the others are; correct the cell, empty it, "
        f"or say that the column is of categories: kinds={{{name!r}: 'categorical'}}"
    )
