"""Static types: the shape and dtype of an array that nobody has computed yet; promotion, broadcasting."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import DTypeError, ShapeError, nearest

__all__ = [
    "DTYPES",
    "Axes",
    "DType",
    "Scalar",
    "Shape",
    "Spec",
    "as_dtype",
    "as_shape",
    "broadcast_shapes",
    "is_float",
    "is_integer",
    "normalize_axes",
    "promote",
    "scalar_dtype",
]

DType = np.dtype[Any]

DTYPES: dict[str, DType] = {
    name: np.dtype(name) for name in ("bool", "uint8", "int32", "int64", "float32", "float64")
}
"""The six dtypes, lowest first: promotion takes the higher of two."""

_RANK = {dtype: rank for rank, dtype in enumerate(DTYPES.values())}
_KNOWN: dict[object, DType] = {key: dtype for name, dtype in DTYPES.items() for key in (name, dtype)}

Shape = tuple[int, ...]
Axes = tuple[int, ...]
Scalar = bool | int | float


@dataclass(frozen=True, slots=True)
class Spec:
    """The shape and dtype of one array.

    >>> print(Spec((100, 784), as_dtype("float32")))
    float32[100, 784]
    """

    shape: Shape
    dtype: DType

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def with_shape(self, shape: Shape) -> Spec:
        return Spec(shape, self.dtype)

    def with_dtype(self, dtype: DType) -> Spec:
        return Spec(self.shape, dtype)

    def __str__(self) -> str:
        return f"{self.dtype.name}[{', '.join(map(str, self.shape))}]"


def as_dtype(dtype: npt.DTypeLike) -> DType:
    """One of the six dtypes, in the machine's byte order; DTypeError for any other.

    >>> as_dtype("<f4"), as_dtype(float)
    (dtype('float32'), dtype('float64'))
    """
    if isinstance(dtype, str | np.dtype) and (known := _KNOWN.get(dtype)):
        return known
    try:
        found = np.dtype(dtype).newbyteorder("=")
    except (TypeError, ValueError):
        raise DTypeError(f"unknown dtype {dtype!r}; {nearest(dtype, DTYPES)}") from None
    if found not in _KNOWN:
        raise DTypeError(f"dtype {found.name} is not supported; {nearest(found.name, DTYPES)}")
    return _KNOWN[found]


def as_shape(shape: int | Iterable[int]) -> Shape:
    """A tuple of non-negative Python integers; one integer is a shape of one axis.

    >>> as_shape(3), as_shape([2, 0])
    ((3,), (2, 0))
    """
    sizes = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    if not all(isinstance(n, int | np.integer) and n >= 0 for n in sizes):
        raise ShapeError(f"a shape holds non-negative integers, got {sizes}")
    return tuple(int(n) for n in sizes)


def is_float(dtype: DType) -> bool:
    """float32 or float64: what has a derivative."""
    return dtype.kind == "f"


def is_integer(dtype: DType) -> bool:
    """uint8, int32 or int64."""
    return dtype.kind in "iu"


def promote(*dtypes: DType) -> DType:
    """The highest of the dtypes: bool < uint8 < int32 < int64 < float32 < float64.

    >>> promote(as_dtype("int64"), as_dtype("float32")).name
    'float32'
    """
    return max(dtypes, key=_RANK.__getitem__)


def scalar_dtype(value: Scalar, other: DType) -> DType:
    """The dtype that a Python scalar takes beside an array: the array's own where it can hold such a scalar.

    >>> scalar_dtype(2.5, as_dtype("float32")).name, scalar_dtype(2.5, as_dtype("int64")).name
    ('float32', 'float32')
    """
    if isinstance(value, bool | np.bool_):
        return DTYPES["bool"]
    if isinstance(value, int | np.integer):
        if other.kind == "b":
            return DTYPES["int64"]
        if is_integer(other) and not np.iinfo(other).min <= value <= np.iinfo(other).max:
            raise DTypeError(f"{value} does not fit into {other.name}; cast the array to a wider dtype first")
        return other
    return other if is_float(other) else DTYPES["float32"]


def broadcast_shapes(*shapes: Shape, operation: str = "broadcast") -> Shape:
    """The shape that all broadcast to, right-aligned; a size of 1 stretches. Errors name ``operation``.

    >>> broadcast_shapes((100, 1), (10,))
    (100, 10)
    """
    distinct = set(shapes) - {()}
    if len(distinct) < 2:  # nearly always
        return distinct.pop() if distinct else ()
    ndim = max(map(len, shapes), default=0)
    padded = [(1,) * (ndim - len(s)) + s for s in shapes]
    sizes = []
    for column in zip(*padded, strict=True):
        wide = {n for n in column if n != 1}
        if len(wide) > 1:
            listing = " and ".join(str(s) for s in shapes)
            differ = " and ".join(str(n) for n in sorted(wide))
            raise ShapeError(
                f"{operation}: shapes {listing} do not broadcast: sizes {differ} meet on one axis. "
                "Aligned at the right, sizes must be equal or 1; reshape or transpose one of them"
            )
        sizes.append(wide.pop() if wide else 1)
    return tuple(sizes)


def normalize_axes(axes: int | Iterable[int] | None, ndim: int, operation: str) -> Axes:
    """Sorted, non-negative, distinct axes; ``None`` means all.

    >>> normalize_axes(-1, 3, "sum")
    (2,)
    """
    if axes is None:
        return tuple(range(ndim))
    listed = (axes,) if isinstance(axes, int | np.integer) else tuple(axes)
    if bad := [a for a in listed if not -ndim <= a < ndim]:
        listing = ", ".join(map(str, bad))
        raise ShapeError(
            f"{operation}: no axis {listing} in an array of {ndim} axes; count from 0, or from −1 backwards"
        )
    found = sorted({int(a) % ndim for a in listed})
    if len(found) != len(listed):
        raise ShapeError(f"{operation}: an axis is named twice in {listed}")
    return tuple(found)
