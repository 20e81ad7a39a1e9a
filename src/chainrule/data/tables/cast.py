"""A column as what its encoder was fitted on; a file that changed since is told by column and row."""

from __future__ import annotations

import re

import numpy as np

from chainrule.data import faults
from chainrule.data.tables.cells import GAPS, date_order, numbers, to_dates
from chainrule.data.tables.columns import mixed
from chainrule.data.tables.profile import text_of
from chainrule.data.tables.table import Array, is_missing
from chainrule.errors import DataError

__all__ = ["as_dates", "as_numbers", "as_places"]

_SHOWN = 3
_WHOLE = re.compile(r"([+-]?\d+)[.,]0+")  # a whole number as programs write it that have floats alone


def as_numbers(column: Array, name: str) -> Array:
    """float64, NaN in gaps. Text that is numbers is read; DataError for words, dates, infinite values.

    >>> as_numbers(np.array(["1.5", None], object), "size")
    array([1.5, nan])
    """
    if column.dtype.kind == "M":
        raise DataError(
            f"column {name!r} holds dates, the network was trained on numbers there; give the same column"
        )
    if column.dtype.kind == "O":
        values, words = numbers(["" if v is None else v for v in column.tolist()], ".", GAPS)
        if words:
            raise DataError(_words(column, words, name, "number"))
    else:
        values = column.astype(np.float64, copy=False)
    if (infinite := np.isinf(values)).any():
        raise DataError(faults.not_finite(values, infinite, f"column {name!r}", label=False))
    return values


def as_dates(column: Array, name: str) -> Array:
    """datetime64[us], NaT in gaps. Text that is ISO dates is read; DataError for words and numbers."""
    if column.dtype.kind == "M":
        return column
    if column.dtype.kind == "O":
        cells = ["" if v is None else v for v in column.tolist()]
        present = [cell for cell in cells if cell not in GAPS]
        values, words = to_dates(cells, (date_order(present) if present else None) or "iso", GAPS)
        if words:
            raise DataError(_words(column, words, name, "date"))
        return values
    if is_missing(column).all():
        return np.full(len(column), "NaT", "datetime64[us]")
    raise DataError(
        f"column {name!r} holds numbers, the network was trained on dates there; give the same column"
    )


def as_places(column: Array, places: dict[str, int], missing: int) -> Array:
    """The place of each value among categories: 0 where it is none of them, ``missing`` in gaps. 1.0 is 1,
    unless it is a category of its own.

    >>> as_places(np.array(["b", None, "z"], object), {"a": 1, "b": 2}, missing=3).tolist()
    [2, 3, 0]
    >>> as_places(np.array(["1.0", "0", "0.5"], object), {"0": 1, "1": 2}, missing=3).tolist()
    [2, 1, 0]
    """
    if column.dtype.kind == "O":
        place = {text: _place(text, places) for text in {v for v in column.tolist() if v is not None}}
        return np.array([place.get(value, missing) for value in column.tolist()], np.int32)
    different, inverse = np.unique(column, return_inverse=True)
    gaps = is_missing(different)
    found = [
        missing if gap else _place(text_of(value), places)
        for value, gap in zip(different.tolist(), gaps.tolist(), strict=True)
    ]
    return np.array(found, np.int32)[inverse.reshape(-1)]


def _place(text: str, places: dict[str, int]) -> int:
    if text in places:
        return places[text]
    written = _WHOLE.fullmatch(text)
    return places.get(written[1] if written else f"{text}.0", 0)


def _words(column: Array, words: list[int], name: str, sort: str) -> str:
    cells = [(f"row {i}", str(column[i])) for i in words[:_SHOWN]]
    return mixed(name, cells, len(words), sort)
