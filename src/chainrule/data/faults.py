"""What is wrong with an array, in words: what, where (column, row, value), and a remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "beyond",
    "comes_from",
    "not_a_number",
    "not_finite",
    "overflow",
    "some_rows",
    "unreadable",
    "wrong_kind",
]

Array = npt.NDArray[Any]

_SHOWN = 3  # columns listed; the rest are counted
_SHOWN_ROWS = 5

_ENCODE = "encode it as numbers first: one column of 0 and 1 per value, or whole numbers for an Embedding"
_COMPLEX = "give real and imaginary part as two columns"
_ENCODE_LABEL = "number the classes first: classes, y = np.unique(y, return_inverse=True)"


def comes_from(value: object, package: str) -> bool:
    """Whether the value's class, or one it is built on, is defined in a package, without importing it.

    >>> comes_from(np.ma.zeros(3), "numpy.ma")
    True
    """
    return any(f"{base.__module__}.".startswith(f"{package}.") for base in type(value).__mro__)


def some_rows(wrong: Array) -> str:
    """The rows that hold any True: how many and the first ones.

    >>> some_rows(np.array([False, True, True]))
    '2 rows (1, 2)'
    """
    rows = np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))
    listed = ", ".join(map(str, rows[:_SHOWN_ROWS])) + (", …" if len(rows) > _SHOWN_ROWS else "")
    return f"{len(rows)} row{'s' * (len(rows) > 1)} ({listed})"


def unreadable(value: object, where: str, error: Exception) -> str:
    """Why NumPy could not make an array of it: most often lists of different lengths."""
    if isinstance(value, list | tuple):
        lengths = [len(row) if isinstance(row, list | tuple | np.ndarray) else None for row in value]
        odd = next((i for i, n in enumerate(lengths) if n != lengths[0]), None)
        if odd is not None:
            return _ragged(where, 0, lengths[0], odd, lengths[odd])
    return f"{where} cannot be read as an array ({error}); give a NumPy array or a list of equally long rows"


def _ragged(where: str, row: int, length: int | None, other: int, other_length: int | None) -> str:
    def size(n: int | None) -> str:
        return "is a single value" if n is None else f"has {n} value{'s' * (n != 1)}"

    return (
        f"{where} is ragged: row {row} {size(length)}, row {other} {size(other_length)}; "
        "give all rows the same length, or pad them and use Sequence(values, lengths)"
    )


def wrong_kind(array: Array, where: str, *, label: bool) -> str:
    """Text, dates, complex numbers, records: what to do with each."""
    kind = array.dtype.kind
    if kind in "US":
        place = next((i for i, text in enumerate(array.ravel()) if not _is_number(text)), None)
        if place is None:
            first = repr(str(array.flat[0]))
            return (
                f"{where} holds numbers written as text (first: {first}); convert it: {where}.astype(float)"
            )
        return not_a_number(str(array.flat[place]), np.unravel_index(place, array.shape), where, label=label)
    if kind in "mM":
        remedy = "give a number, such as days since a start: (t - t.min()) / np.timedelta64(1, 'D')"
        return f"{where} holds dates or times ({array.dtype}); {remedy}"
    if kind == "c":
        return f"{where}: complex data is not supported ({array.dtype}); {_COMPLEX}"
    if array.dtype.names:
        fields = ", ".join(array.dtype.names[:_SHOWN])
        return f"{where} is an array of records ({fields}); give a dict of arrays, {{name: {where}[name], …}}"
    return f"{where} has dtype {array.dtype}, which holds no numbers; give floats, integers or booleans"


def not_a_number(value: object, place: tuple[Any, ...], where: str, *, label: bool) -> str:
    """A cell of an object or text array."""
    at = _cell(place)
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        remedy = "drop the row" if label else "drop the row or fill in a value"
        return f"{where} has a missing value ({value}) in {at}; {remedy}"
    if isinstance(value, list | tuple | np.ndarray):
        return f"{where} is ragged ({at} holds {len(value)} values); pad it and use Sequence(values, lengths)"
    if isinstance(value, complex | np.complexfloating):
        return f"{where}: complex data is not supported ({at}); {_COMPLEX}"
    remedy = _ENCODE_LABEL if label else _ENCODE
    return f"{where} holds {_short(value)} in {at}, which is not a number; {remedy}"


def not_finite(array: Array, bad: Array, where: str, *, label: bool) -> str:
    """NaN and infinities, column by column."""
    if array.ndim == 1:
        found = f"{where} holds {_kinds(array[bad])} in {some_rows(bad)}"
    else:
        found = f"{where} holds {_by_column(array, bad)}"
    if label:
        return f"{found}; a label is never guessed: drop these rows from x and y"
    return f"{found}; drop these rows, or fill in a value such as the column's median"


def _by_column(array: Array, bad: Array) -> str:
    shape = array.shape[1:]
    values, wrong = array.reshape(len(array), -1), bad.reshape(len(bad), -1)
    columns = np.flatnonzero(wrong.any(axis=0))
    parts = [
        f"{_kinds(values[wrong[:, c], c])} in {_column(np.unravel_index(c, shape))}, {some_rows(wrong[:, c])}"
        for c in columns[:_SHOWN]
    ]
    if len(columns) > _SHOWN:
        parts.append(f"and in {len(columns) - _SHOWN} more of {wrong.shape[1]} columns")
    return "; ".join(parts)


def _kinds(values: Array) -> str:
    nan = int(np.isnan(values).sum())
    inf = len(values) - nan
    return " and ".join(f"{count} {name}" for count, name in ((nan, "NaN"), (inf, "Inf")) if count)


def overflow(array: Array, bad: Array, where: str, target: np.dtype) -> str:
    """A finite value that the network's dtype cannot hold."""
    place = np.unravel_index(int(np.argmax(bad)), array.shape)
    remedy = "scale the column" + (", or use Network(…, dtype='float64')" if target.itemsize < 8 else "")
    limit = f"{target.name} ends at {float(np.finfo(target).max):.3g}"
    return f"{where} has {array[place]!s} in {_cell(place)}, but {limit}; {remedy}"


def beyond(array: Array, limit: int, where: str) -> str | None:
    """Integers so large that a float no longer tells neighbours apart; None if there are none."""
    if int(array.max()) <= limit and int(array.min()) >= -limit:
        return None
    wrong = array > limit if array.dtype.kind == "u" else (array > limit) | (array < -limit)
    place = np.unravel_index(int(np.argmax(wrong)), array.shape)
    return (
        f"{where} has the whole number {array[place]} in {_cell(place)}; above 2⁵³ floats cannot tell "
        f"neighbours apart. An identifier: leave it out. A quantity: convert it, {where}.astype(float)"
    )


def _cell(place: tuple[Any, ...]) -> str:
    row, *rest = (int(i) for i in place)
    return f"row {row}, {_column(rest)}" if rest else f"row {row}"


def _column(place: Any) -> str:
    indices = [int(i) for i in place]
    return f"column {indices[0]}" if len(indices) == 1 else f"position {tuple(indices)}"


def _is_number(text: object) -> bool:
    try:
        float(text)  # type: ignore[arg-type]
    except ValueError:
        return False
    return True


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
