"""Targets at the door: verified against the network's output and cast, on the host, before any step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import DataError
from chainrule.spec import DTYPES, DType, Shape

__all__ = ["binary", "distributions", "labels", "not_negative", "numbers", "shape_remedy"]

Array = npt.NDArray[Any]

_SUM_TOLERANCE = 1e-3


def shape_remedy(wanted: Shape, found: Shape) -> str:
    """What to do about a target of another shape."""
    if wanted == (*found, 1):
        return "the output is a column, so give the target as one too: y[:, None]"
    if found == (*wanted, 1):
        return "the target is a column, the output is not: give y[..., 0]"
    return f"each sample needs {wanted[1:] or 'one number'}, its target has {found[1:] or 'one number'}"


def _refused(loss: str, y: Array, bad: Array, problem: str, remedy: str) -> DataError:
    """How many values are wrong, and where the first one is."""
    where = tuple(int(i) for i in np.argwhere(bad)[0])
    column = f", place {where[1:]}" if len(where) > 1 else ""
    count = int(np.count_nonzero(bad))
    return DataError(
        f"{loss}: {problem}: {count} of {y.size} target values, first in row {where[0]}{column} "
        f"({y[where]!s}); {remedy}"
    )


def _numeric(y: Array, loss: str) -> Array:
    found = np.asarray(y)
    if found.dtype.kind in "buif":
        return found
    if found.dtype.kind in "OSUT":
        remedy = "number classes by np.unique(y, return_inverse=True)[1]; convert numbers by y.astype(float)"
    else:
        remedy = "give real numbers"
    raise DataError(f"{loss}: the target has dtype {found.dtype}; {remedy}")


def _shaped(y: Array, inner: Shape, loss: str) -> None:
    if y.shape[1:] != inner or not y.ndim:
        wanted = ("n", *inner)
        listing = f"({', '.join(map(str, wanted))}{',' if len(wanted) == 1 else ''})"
        remedy = shape_remedy((len(y), *inner), y.shape) if y.ndim else "give one row per sample"
        raise DataError(f"{loss}: the output needs a target of shape {listing}, got {y.shape}; {remedy}")


def numbers(y: Array, inner: Shape, dtype: DType, loss: str) -> Array:
    """Finite numbers of shape (n, *inner) that fit the dtype."""
    found = _numeric(y, loss)
    _shaped(found, inner, loss)
    if (bad := ~np.isfinite(found)).any():
        raise _refused(loss, found, bad, "NaN or infinite", "drop these rows; a target cannot be guessed")
    with np.errstate(over="ignore"):
        cast = found.astype(dtype)
    if (bad := ~np.isfinite(cast)).any():
        raise _refused(
            loss, found, bad, f"too large for {dtype}", "rescale the target, or use dtype='float64'"
        )
    return cast


def not_negative(y: Array, loss: str) -> Array:
    """Counts and rates: the array itself, where nothing is negative."""
    if (bad := y < 0).any():
        raise _refused(loss, y, bad, "negative", "counts are 0 or more")
    return y


def binary(y: Array, inner: Shape, dtype: DType, loss: str) -> Array:
    """0 or 1, or a probability between, of shape (n, *inner)."""
    found = numbers(y, inner, dtype, loss)
    if (bad := (found < 0) | (found > 1)).any():
        raise _refused(
            loss, found, bad, "outside 0 … 1", "labels are 0 and 1; write y == 'the positive class'"
        )
    return found


def labels(y: Array, output: Shape, dtype: DType, loss: str, ignore: int | None = None) -> Array:
    """Class indices (n, *positions) as int64, or one distribution over the classes per position.

    output    shape of the output: (batch, *positions, classes)
    ignore    an index that stands for "no label"
    """
    found = _numeric(y, loss)
    classes = output[-1]
    if found.ndim == len(output) and found.shape[1:] == output[1:]:
        return distributions(found, dtype, loss)
    _shaped(found, output[1:-1], loss)
    return _indices(found, classes, loss, ignore)


def _indices(y: Array, classes: int, loss: str, ignore: int | None) -> Array:
    if y.dtype.kind == "f" and (bad := y != np.floor(y)).any():  # NaN is unequal to itself
        raise _refused(
            loss, y, bad, "not whole", f"labels are 0 … {classes - 1}; for numbers use MeanSquaredError"
        )
    bad = (y < 0) | (y >= classes)
    if ignore is not None:
        bad &= y != ignore
    if bad.any():
        from_one = y.min() == 1 and y.max() == classes
        remedy = "they seem to count from 1: give y - 1" if from_one else "number the classes from 0"
        raise _refused(loss, y, bad, f"label outside 0 … {classes - 1}", remedy)
    return y.astype(DTYPES["int64"])


def distributions(y: Array, dtype: DType, loss: str) -> Array:
    """Rows that are 0 or more and sum to 1: one-hot labels, or probabilities."""
    found = numbers(y, y.shape[1:], dtype, loss)
    if (bad := found < 0).any():
        raise _refused(loss, found, bad, "negative probability", "give one-hot rows or probabilities")
    sums = found.sum(axis=-1, dtype=DTYPES["float64"])
    if (bad := abs(sums - 1) > _SUM_TOLERANCE).any():
        raise _refused(loss, sums, bad, "probabilities that do not sum to 1", "divide every row by its sum")
    return found
