"""The door: what comes in as x, y or weights leaves as checked arrays, or as an error that says where."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data import faults
from chainrule.errors import ConfigError, DataError
from chainrule.spec import DTYPES, as_dtype, is_float

__all__ = ["Sequence", "as_named", "check_inputs", "check_rows", "check_weights"]

Array = npt.NDArray[Any]

_BLOCK = 1 << 17  # elements looked at together: they stay in the processor's cache
_LARGEST_EXACT = 1 << 53  # whole numbers beyond it are not all floats
_WIDENED = {"int8": "int32", "int16": "int32", "uint16": "int32", "uint32": "int64", "uint64": "int64"}


@dataclass(frozen=True, eq=False)
class Sequence:
    """Sequences of different lengths, padded to one:  row i is values[i, :lengths[i]], the rest is ignored.

    values (rows, time, …), lengths (rows,) whole numbers from 1 to time.

    >>> spoken = Sequence(np.zeros((2, 5, 13), "float32"), lengths=[5, 3])
    >>> {name: array.shape for name, array in as_named({"sound": spoken}, "x").items()}
    {'sound': (2, 5, 13), 'sound/lengths': (2,)}
    """

    values: Any
    lengths: Any


def as_named(x: Any, what: str) -> dict[str, Array]:
    """Arrays by name: a dict keeps its names, anything else is called ``what``; no value is checked yet.

    DataError for what NumPy cannot read without loss: ragged lists, sparse matrices, masked values.

    >>> as_named([[1, 2], [3, 4]], "x")
    {'x': array([[1, 2],
           [3, 4]])}
    """
    named: dict[str, Array] = {}
    for name, value in _entries(x, what):
        if name in named:
            raise DataError(f"{what} has two arrays named {name!r}; a Sequence takes name and name/lengths")
        named[name] = _as_array(value, _where(what, name))
    return named


def check_inputs(
    named: Mapping[str, Array],
    *,
    dtype: npt.DTypeLike = "float32",
    what: str = "x",
    rows: int | None = None,
    beside: str = "x",
) -> dict[str, Array]:
    """The same arrays, every value usable: C-ordered, native bytes; floats as ``dtype``, whole numbers as
    bool, uint8, int32 or int64. An array that is so already is returned as it is, never copied.

    ``what`` is "x" or "y", for the messages; ``rows`` is how many ``beside`` has.
    DataError names column, row and remedy: no rows or columns, one-dimensional x, NaN or infinity, values
    too large for ``dtype``, whole numbers above 2⁵³, text, dates, complex numbers, row counts that differ,
    lengths of sequences out of range.

    >>> check_inputs(as_named([[1.5, 2.0]], "x"))["x"].dtype.name
    'float32'
    """
    target = as_dtype(dtype)
    if not is_float(target):
        raise ConfigError(f"the network's dtype is float32 or float64, not {target.name}")
    checked = {}
    for name, array in named.items():
        where = _where(what, name)
        _check_size(array, where)
        checked[name] = _as_values(array, target, where, label=what == "y")
        if array.ndim == 1 and name == what == "x":
            raise DataError(
                f"x is one-dimensional (shape {array.shape}), not one row per sample; reshape your data: "
                "x.reshape(-1, 1) for one feature, x.reshape(1, -1) for one sample"
            )
    counts = {_where(what, name): len(array) for name, array in checked.items()}
    if rows is not None:
        for where, n in counts.items():
            _same_rows(beside, rows, where, n)
    check_rows(counts)
    for name, array in checked.items():
        base = checked.get(name.removesuffix("/lengths"))
        if base is not None and base is not array:
            checked[name] = _check_lengths(array, base, _where(what, name))
    return checked


def check_weights(weights: Any, *, rows: int, dtype: npt.DTypeLike = "float32", beside: str = "x") -> Array:
    """Sample weights (rows,) as ``dtype``: finite, none negative, not all zero.

    >>> check_weights([1, 0, 2], rows=3)
    array([1., 0., 2.], dtype=float32)
    """
    where = "sample_weight"
    named = {where: _as_array(weights, where)}
    (array,) = check_inputs(named, dtype=dtype, what=where, rows=rows, beside=beside).values()
    if array.ndim != 1:
        raise DataError(f"{where} has shape {array.shape}, not one number per row; use sample_weight.ravel()")
    array = array.astype(as_dtype(dtype), copy=False)
    if (array < 0).any():
        raise DataError(f"{where} is negative in {faults.some_rows(array < 0)}; give 0 to leave a row out")
    if not array.any():
        raise DataError(f"{where} is zero in every row: nothing would be learned; give some row more")
    return array


def check_rows(counts: Mapping[str, int]) -> None:
    """DataError unless all have the same number of rows.

    >>> check_rows({"x": 3, "y": 3})
    """
    (first, rows), *others = counts.items()
    for name, n in others:
        _same_rows(first, rows, name, n)


def _same_rows(first: str, rows: int, second: str, n: int) -> None:
    if n != rows:
        raise DataError(
            f"{first} has {rows} rows but {second} has {n}; each row of one needs one of the other"
        )


def _where(what: str, name: str) -> str:
    return what if name == what else f"{what}[{name!r}]"


def _entries(x: Any, what: str) -> Iterator[tuple[str, Any]]:
    by_name = isinstance(x, Mapping) and not faults.comes_from(x, "scipy.sparse")  # some of those are dicts
    entries = x if by_name else {what: x}
    if not entries:
        raise DataError(f"{what} is an empty dict; give an array, or at least one named array")
    for name, value in entries.items():
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{what} has an array named {name!r}; a name is text that is not blank")
        if isinstance(value, Sequence):
            yield name, value.values
            yield f"{name}/lengths", value.lengths
        else:
            yield name, value


def _as_array(value: Any, where: str) -> Array:
    if faults.comes_from(value, "scipy.sparse"):
        raise DataError(f"{where} is a sparse matrix; give a dense array: {where}.toarray()")
    if faults.comes_from(value, "numpy.ma") and np.any(value.mask):
        count = int(np.sum(value.mask))
        raise DataError(f"{where} has {count} masked values; fill them first, for example {where}.filled(0)")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(faults.unreadable(value, where, error)) from error
    if array.dtype.kind in "US" and isinstance(value, list | tuple):
        return np.asarray(value, dtype=object)  # NumPy turned the numbers beside a word into text
    return array


def _check_size(array: Array, where: str) -> None:
    if array.ndim == 0:
        raise DataError(f"{where} is a single value, {array.item()!r}; give an array with one row per sample")
    if len(array) == 0:
        raise DataError(f"{where} has no rows (shape {array.shape}); give at least one")
    if array.size == 0:
        raise DataError(f"{where} has no columns (shape {array.shape}); give at least one")


def _as_values(array: Array, target: np.dtype, where: str, *, label: bool) -> Array:
    if array.dtype.kind == "O":
        array = _from_objects(array, where, label=label)
    kind = array.dtype.kind
    if kind == "f":
        return _as_floats(array, target, where, label=label)
    if kind not in "biu":
        raise DataError(faults.wrong_kind(array, where, label=label))
    if array.dtype.itemsize == 8 and (found := faults.beyond(array, _LARGEST_EXACT, where)):
        raise DataError(found)
    name = array.dtype.newbyteorder("=").name
    return np.ascontiguousarray(array, DTYPES[_WIDENED.get(name, name)])


def _as_floats(array: Array, target: np.dtype, where: str, *, label: bool) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.ascontiguousarray(array, target)
    if not _all_finite(values):
        if (bad := ~np.isfinite(array)).any():
            raise DataError(faults.not_finite(array, bad, where, label=label))
        raise DataError(faults.overflow(array, ~np.isfinite(values), where, target))
    return values


def _all_finite(values: Array) -> bool:
    flat = values.reshape(-1)
    seen = np.empty(min(_BLOCK, flat.size), np.bool_)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        if not np.isfinite(block, out=seen[: block.size]).all():
            return False
    return True


def _from_objects(array: Array, where: str, *, label: bool) -> Array:
    """Python numbers of any kind as one dtype; DataError names the first cell that is none."""
    from decimal import Decimal  # a millisecond at import

    flat = array.ravel()
    for i, value in enumerate(flat):
        if not isinstance(value, numbers.Real | Decimal | np.bool_):
            raise DataError(faults.not_a_number(value, np.unravel_index(i, array.shape), where, label=label))
    converted = np.array(flat.tolist())
    if converted.dtype.kind not in "biuf":  # Decimal, Fraction, integers beyond 64 bits
        try:
            converted = flat.astype(np.float64)
        except OverflowError:
            raise DataError(f"{where} has a whole number beyond ±1.8e308; leave the column out") from None
    return converted.reshape(array.shape)


def _check_lengths(lengths: Array, values: Array, where: str) -> Array:
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or values.ndim < 2:
        raise DataError(
            f"{where} is {lengths.dtype} of shape {lengths.shape} beside values of shape {values.shape}; "
            "a Sequence is values (rows, time, …) and lengths (rows,) of whole numbers"
        )
    wrong = (lengths < 1) | (lengths > values.shape[1])
    if wrong.any():
        limit = f"between 1 and the padded length {values.shape[1]}"
        raise DataError(f"{where} is not {limit} in {faults.some_rows(wrong)}; correct it or drop the row")
    return lengths.astype(np.int64, copy=False)
