"""Sliding windows over neighbouring axes, and their adjoint, which adds windows up where they came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import DTypeError, ShapeError
from chainrule.graph.expr import Expr, apply
from chainrule.graph.primitive import Primitive
from chainrule.ops.samples import SAMPLES, case
from chainrule.ops.spatial import strided_windows
from chainrule.spec import DTYPES, Shape, Spec

__all__ = ["fold", "windows"]


def _extent(size: int, dilation: int) -> int:
    """Places that a window spans."""
    return (size - 1) * dilation + 1


def _infer_windows(x: Spec, *, first: int, sizes: Shape, strides: Shape, dilations: Shape) -> Spec:
    _check("windows", x, first, sizes, strides, dilations)
    end = first + len(sizes)
    if end > x.ndim:
        raise ShapeError(f"windows: {x} has no axes {first} to {end - 1}")
    spans = [_extent(k, d) for k, d in zip(sizes, dilations, strict=True)]
    if any(e > n for e, n in zip(spans, x.shape[first:end], strict=True)):
        raise ShapeError(
            f"windows: a window that spans {tuple(spans)} does not fit the axes {x.shape[first:end]} of {x}; "
            "pad them, or make it smaller"
        )
    counts = ((n - e) // s + 1 for n, e, s in zip(x.shape[first:end], spans, strides, strict=True))
    return x.with_shape((*x.shape[:first], *counts, *sizes, *x.shape[end:]))


def _infer_fold(y: Spec, *, first: int, space: Shape, strides: Shape, dilations: Shape) -> Spec:
    middle = first + len(space)
    sizes, end = y.shape[middle : middle + len(space)], middle + len(space)
    _check("fold", y, first, sizes, strides, dilations)
    if y.dtype.kind == "b":
        raise DTypeError(f"fold: takes numeric values, got {y}; use ops.cast")
    counts = y.shape[first:middle]
    fitting = [
        (n - _extent(k, d)) // s + 1 if n >= _extent(k, d) else 0
        for n, k, s, d in zip(space, sizes, strides, dilations, strict=True)
    ]
    if end > y.ndim or tuple(fitting) != counts:
        raise ShapeError(
            f"fold: {y} does not hold the windows of axes of sizes {space} from axis {first} on: "
            f"{tuple(fitting)} windows are needed; ops.windows makes such an array"
        )
    return y.with_shape((*y.shape[:first], *space, *y.shape[end:]))


def _check(operation: str, x: Spec, first: int, sizes: Shape, strides: Shape, dilations: Shape) -> None:
    if not len(sizes) == len(strides) == len(dilations) or first < 0:
        raise ShapeError(
            f"{operation}: one size, stride and dilation per axis, got {sizes}, {strides}, {dilations}"
        )
    if min((*sizes, *strides, *dilations), default=1) < 1:
        raise ShapeError(
            f"{operation}: sizes, strides and dilations are at least 1, got {sizes}, {strides}, {dilations} "
            f"for {x}"
        )


def _fold(
    y: npt.NDArray[Any], *, first: int, space: Shape, strides: Shape, dilations: Shape
) -> npt.NDArray[Any]:
    n = len(space)
    counts, sizes = y.shape[first : first + n], y.shape[first + n : first + 2 * n]
    wide = DTYPES["float64"] if y.dtype.kind == "f" else y.dtype
    out = np.zeros((*y.shape[:first], *space, *y.shape[first + 2 * n :]), wide)
    lead = (slice(None),) * first
    for offsets in np.ndindex(*sizes):
        places = [
            slice(k * d, k * d + (m - 1) * s + 1, s)
            for k, d, m, s in zip(offsets, dilations, counts, strides, strict=True)
        ]
        out[(*lead, *places)] += y[(*lead, *(slice(None),) * n, *offsets)]
    return out.astype(y.dtype, copy=False)


WINDOWS = Primitive(
    "windows",
    infer=_infer_windows,
    vjp=lambda g, y, x, *, first, sizes, strides, dilations: (
        fold(g, first, x.shape[first : first + len(sizes)], strides, dilations),
    ),
    reference=strided_windows,
)
FOLD = Primitive(
    "fold",
    infer=_infer_fold,
    vjp=lambda g, y, x, *, first, space, strides, dilations: (
        windows(g, x.shape[first + len(space) : first + 2 * len(space)], strides, dilations, first=first),
    ),
    reference=_fold,
)
SAMPLES[WINDOWS] = [
    case((2, 7, 6, 3), first=1, sizes=(3, 2), strides=(2, 1), dilations=(1, 2)),
    case((2, 6, 4, 3), first=1, sizes=(2, 2), strides=(2, 2), dilations=(1, 1)),
    case((3, 5), first=1, sizes=(3,), strides=(1,), dilations=(2,)),
    case((0, 4, 1), first=1, sizes=(4,), strides=(3,), dilations=(1,)),
    case((2, 5, 18), first=1, sizes=(2,), strides=(1,), dilations=(3,)),
]
SAMPLES[FOLD] = [
    case((2, 3, 4, 3, 2, 3), first=1, space=(7, 6), strides=(2, 1), dilations=(1, 2)),
    case((2, 3, 2, 2, 2, 3), first=1, space=(6, 4), strides=(2, 2), dilations=(1, 1)),
    case((2, 3, 2, 3), first=1, space=(7,), strides=(2,), dilations=(1,)),
    case((3, 1, 3), first=1, space=(5,), strides=(1,), dilations=(2,)),
    case((2, 2, 1, 4), first=1, space=(6,), strides=(4,), dilations=(1,)),
    case((0, 1, 4, 2), first=1, space=(4,), strides=(3,), dilations=(1,)),
]


def windows(
    x: Expr, sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int], *, first: int = 1
) -> Expr:
    """y[…, i, …, k, …] = x[…, i·stride + k·dilation, …]: windows over the axes from ``first`` on.

    x (batch, n…, channels) → (batch, count…, size…, channels)
    count = ⌊(n − (size − 1)·dilation − 1)/stride⌋ + 1

    ShapeError where a window does not fit.

    >>> from chainrule import ops
    >>> windows(ops.input("x", (5, 28, 28, 3)), (2, 2), (2, 2), (1, 1)).shape
    (5, 14, 14, 2, 2, 3)
    """
    return apply(
        WINDOWS, x, first=first, sizes=tuple(sizes), strides=tuple(strides), dilations=tuple(dilations)
    )


def fold(y: Expr, first: int, space: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Expr:
    """x[…, n, …] = Σ over i·stride + k·dilation = n of y[…, i, …, k, …]: the adjoint of :func:`windows`.

    y (batch, count…, size…, channels) → (batch, n…, channels); ``space`` are the sizes n. Sums are taken in
    float64.
    """
    return apply(FOLD, y, first=first, space=tuple(space), strides=tuple(strides), dilations=tuple(dilations))
