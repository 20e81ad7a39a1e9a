"""Primitives that address elements by computed integers: gather, scatter-add, argsort; and one-hot."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.graph.expr import Expr, apply, constant
from chainrule.graph.primitive import Primitive
from chainrule.ops.elementwise import cast, equal
from chainrule.ops.samples import SAMPLES, case
from chainrule.ops.shape import expand
from chainrule.spec import DTYPES, Spec, is_integer, normalize_axes

__all__ = ["argsort", "gather", "one_hot", "scatter_add"]


def _need_integers(operation: str, index: Spec) -> None:
    if not is_integer(index.dtype):
        raise DTypeError(f"{operation}: the index must be integer, got {index}; use ops.cast")


def _infer_gather(x: Spec, index: Spec) -> Spec:
    _need_integers("gather", index)
    if not x.ndim:
        raise ShapeError("gather: a scalar has no rows")
    return x.with_shape(index.shape + x.shape[1:])


def _infer_scatter_add(index: Spec, updates: Spec, *, rows: int) -> Spec:
    _need_integers("scatter_add", index)
    if updates.shape[: index.ndim] != index.shape:
        raise ShapeError(f"scatter_add: updates {updates} must begin with the shape of the index {index}")
    return updates.with_shape((rows, *updates.shape[index.ndim :]))


def _check_range(index: npt.NDArray[Any], rows: int, operation: str) -> None:
    if index.size and not (0 <= index.min() and index.max() < rows):
        worst = index.max() if index.max() >= rows else index.min()
        raise DataError(f"{operation}: index {worst} lies outside the {rows} rows")


def _gather(x: npt.NDArray[Any], index: npt.NDArray[Any]) -> npt.NDArray[Any]:
    _check_range(index, len(x), "gather")
    return x[index]


def _scatter_add(index: npt.NDArray[Any], updates: npt.NDArray[Any], *, rows: int) -> npt.NDArray[Any]:
    _check_range(index, rows, "scatter_add")
    wide = DTYPES["float64"] if updates.dtype.kind == "f" else updates.dtype
    out = np.zeros((rows, *updates.shape[index.ndim :]), wide)
    np.add.at(out, index, updates)
    return out.astype(updates.dtype, copy=False)


GATHER = Primitive(
    "gather",
    infer=_infer_gather,
    vjp=lambda g, y, x, index: (scatter_add(index, g, rows=x.shape[0]), None),
    reference=_gather,
)
SCATTER_ADD = Primitive(
    "scatter_add",
    infer=_infer_scatter_add,
    vjp=lambda g, y, index, updates, *, rows: (None, gather(g, index)),
    reference=_scatter_add,
)
ARGSORT = Primitive(
    "argsort",
    infer=lambda x, *, axis: x.with_dtype(DTYPES["int64"]),
    vjp=lambda g, y, x, *, axis: (None,),
    reference=lambda x, *, axis: np.argsort(x, axis=axis, kind="stable"),
)
SAMPLES[GATHER] = [
    case((3, 4), (2, 5), dtypes=("float", "int32"), low=0),
    case((3,), (0,), dtypes=("float", "int64"), low=0),
    case((3, 2), (), dtypes=("float", "uint8"), low=0),
]
SAMPLES[SCATTER_ADD] = [
    case((5,), (5, 4), dtypes=("int32", "float"), low=0, rows=3),
    case((2, 3), (2, 3), dtypes=("int64", "float"), low=0, rows=4),
]
SAMPLES[ARGSORT] = [case((3, 4), axis=1, distinct=True), case((6,), dtypes=("int32",), axis=0)]


def gather(x: Expr, index: Expr | npt.NDArray[Any]) -> Expr:
    """Rows of x: y[i…] = x[index[i…]].   x (n, …), index of any shape → index.shape + (…)

    An index outside 0 … n−1 is a DataError when the graph is run.
    """
    return apply(GATHER, x, index if isinstance(index, Expr) else constant(index))


def scatter_add(index: Expr, updates: Expr, *, rows: int) -> Expr:
    """y[index[i…]] += updates[i…] into ``rows`` rows of zeros; float32 is accumulated in float64."""
    return apply(SCATTER_ADD, index, updates, rows=rows)


def argsort(x: Expr, axis: int = -1) -> Expr:
    """The order (int64) that sorts x along an axis; equal elements keep their order."""
    (place,) = normalize_axes(axis, x.ndim, "argsort")
    return apply(ARGSORT, x, axis=place)


def one_hot(index: Expr, classes: int, dtype: npt.DTypeLike = "float32") -> Expr:
    """1 at position ``index`` and 0 elsewhere along a new last axis.   (…) → (…, classes)"""
    _need_integers("one_hot", index.spec)
    positions = constant(np.arange(classes), "int64")
    return cast(equal(expand(index, -1), positions), dtype)
