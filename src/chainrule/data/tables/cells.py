"""Cells of text: which are gaps, numbers, dates or words. The reader and object arrays share these rules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC
from typing import Literal

import numpy as np

from chainrule.data.tables.table import Array

__all__ = [
    "GAPS",
    "LARGEST_EXACT",
    "Whole",
    "date_order",
    "looks_like_numbers",
    "number",
    "numbers",
    "to_dates",
    "whole",
]

GAPS = frozenset(
    ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN", "NaT", "null", "NULL", "Null", "?"]
)
"""Cells that are gaps in every column. "None" is a word: how many children, which allergies."""

_NUMBER_GAPS = frozenset(["None", "none", "NONE", "-", "--", "."])  # gaps too, where all others are numbers

LARGEST_EXACT = 1 << 53
"""Whole numbers beyond it are not all floats."""

_CODE = re.compile(r"^\s*[+-]?0\d", re.MULTILINE)  # 00501: a postcode, not a quantity
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
_DECIMAL_COMMA = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+)?(?:,\d*)?(?:[eE][+-]?\d+)?")
_TIME = r"(?:[ T](\d{1,2}):(\d{2})(?::(\d{2})(\.\d{1,9})?)?)?"
_ISO = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)?(?P<zone>Z|[+-]\d{2}:?\d{2})?"
)
_LOCAL = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})" + _TIME)

_NAT = np.datetime64("NaT", "us")

Whole = Array | Literal["code", "not whole"]


def whole(cells: Sequence[str]) -> Whole:
    """Whole numbers as int64; or why they are none: some are codes (leading zeros, beyond 64 bits).

    >>> whole(["1", "-20"]).tolist(), whole(["007", "12"]), whole(["1.5"])
    ([1, -20], 'code', 'not whole')
    """
    try:
        values = list(map(int, cells))
    except ValueError:
        return "not whole"
    text = "\n".join(cells)
    if "_" in text:  # Python's own: 1_000
        return "not whole"
    if _CODE.search(text):
        return "code"
    try:
        return np.array(values, np.int64)
    except OverflowError:
        return "code"


def number(cell: str, decimal: str = ".") -> float | None:
    """One cell as a number, None where it is none. "1,234.5" is one, in files with a decimal comma "1.234,5".

    >>> number("1,234.5"), number("2,5", ","), number("12a"), number("1_0")
    (1234.5, 2.5, None, None)
    """
    cell = cell.strip()
    if decimal == ",":
        if "." in cell or "," in cell:
            if not _DECIMAL_COMMA.fullmatch(cell):
                return None
            cell = cell.replace(".", "").replace(",", ".")
    elif "," in cell:
        if not _THOUSANDS.fullmatch(cell):
            return None
        cell = cell.replace(",", "")
    if "_" in cell:
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def numbers(cells: Sequence[str], decimal: str, gaps: frozenset[str]) -> tuple[Array, list[int]]:
    """(float64 with NaN in gaps and where a word stands, the places of words).

    >>> values, words = numbers(["1.5", "NA", "tall"], ".", GAPS)
    >>> values.tolist(), words
    ([1.5, nan, nan], [2])
    """
    text = "".join(cells)
    if "_" not in text and not (decimal == "," and "." in text):
        try:
            return np.array(list(map(float, cells))), []
        except ValueError:
            pass
        try:
            return np.array([float("nan" if cell in gaps else cell) for cell in cells]), []
        except ValueError:
            pass
    values, words = np.empty(len(cells)), []
    for i, cell in enumerate(cells):
        if cell in gaps or (cell := cell.strip()) in gaps or cell in _NUMBER_GAPS:
            values[i] = np.nan
            continue
        found = number(cell, decimal)
        if found is None:
            words.append(i)
        values[i] = np.nan if found is None else found
    return values, words


def looks_like_numbers(values: Array, words: int) -> bool:
    """Whether a column of numbers and words is one of numbers in which words are mistakes: at most a quarter
    are words, and the numbers are quantities (fractions, or at least 20 values, or mostly different ones).

    0, 1, 2, 3+ are categories; 31, 27, x, 54, 40 are numbers with a mistake.

    >>> looks_like_numbers(np.array([31.0, 27, 54, 40]), 1), looks_like_numbers(np.array([0.0, 1, 2] * 9), 3)
    (True, False)
    """
    values = values[np.isfinite(values)]
    if words > (len(values) + words) / 4 or not len(values):
        return False
    distinct = len(np.unique(values[: 1 << 14]))
    return distinct >= 20 or 2 * distinct >= len(values) or bool((values != np.floor(values)).any())


# ------------------------------------------------------------------ points in time


def date_order(cells: Sequence[str]) -> str | None:
    """How dates are written, where it is certain: "iso", "dmy", "mdy"; None for words and for 1/2/2024.

    >>> [date_order([cell]) for cell in ("2024-02-29", "13/2/2024", "1/2/2024", "1.2.2024")]
    ['iso', 'dmy', None, 'dmy']
    """
    if _ISO.fullmatch(cells[0].strip()):
        return "iso" if all(_ISO.fullmatch(c.strip()) for c in cells) else None
    parts = [_LOCAL.fullmatch(c.strip()) for c in cells]
    found = [p for p in parts if p is not None]
    if len(found) < len(cells):
        return None
    first, second = max(int(p[1]) for p in found), max(int(p[3]) for p in found)
    if found[0][2] == "." or first > 12:
        return "dmy" if second <= 12 else None
    return "mdy" if second > 12 else None


def to_dates(cells: Sequence[str], order: str, gaps: frozenset[str]) -> tuple[Array, list[int]]:
    """(datetime64[us] with NaT in gaps and where no date stands, the places of those). Zones become UTC.

    >>> values, words = to_dates(["29.2.2024 12:00", "", "30.2.2024"], "dmy", GAPS)
    >>> values.astype(str).tolist(), words
    (['2024-02-29T12:00:00.000000', 'NaT', 'NaT'], [2])
    """
    known: dict[str, np.datetime64 | None] = {}
    for cell in set(cells):
        known[cell] = _NAT if cell in gaps or cell.strip() in gaps else _date(cell.strip(), order)
    words = [i for i, cell in enumerate(cells) if known[cell] is None] if None in known.values() else []
    return np.array([known[cell] or _NAT for cell in cells], "datetime64[us]"), words


def _date(cell: str, order: str) -> np.datetime64 | None:
    try:
        return np.datetime64(_iso_text(cell, order), "us")
    except ValueError:
        return None


def _iso_text(cell: str, order: str) -> str:
    """What NumPy reads; any text that it refuses, where the cell is no date."""
    if order == "iso":
        found = _ISO.fullmatch(cell)
        if found is None:
            return "no date"
        if found["zone"] is None:
            return cell.replace(",", ".")
        from datetime import datetime

        try:
            local = datetime.fromisoformat(cell)
            return local.astimezone(UTC).replace(tzinfo=None).isoformat()
        except (ValueError, OverflowError):
            return "no date"
    local_form = _LOCAL.fullmatch(cell)
    if local_form is None:
        return "no date"
    first, _, second, year, hour, minute, seconds, fraction = local_form.groups()
    day, month = (first, second) if order == "dmy" else (second, first)
    clock = f"T{int(hour):02}:{minute}:{seconds or '00'}{fraction or ''}" if hour else ""
    return f"{year}-{int(month):02}-{int(day):02}{clock}"
