"""Pooling: the largest element, or the mean, of windows over the axes between batch and channels."""

from __future__ import annotations

import math

import numpy as np

from chainrule.errors import ShapeError
from chainrule.graph.expr import Expr, Graph, call, constant, input
from chainrule.ops.convert import cast
from chainrule.ops.elementwise import equal, where, zeros_like
from chainrule.ops.reduce import argmax, max, sum
from chainrule.ops.shape import broadcast, expand, pad
from chainrule.ops.sliding import fold, windows
from chainrule.ops.spatial import PaddingLike, PerAxis, padding_pairs, per_axis, strided_windows
from chainrule.spec import Shape, is_float

__all__ = ["average_pool", "max_pool"]

Pairs = tuple[tuple[int, int], ...]


def max_pool(
    x: Expr, size: PerAxis, *, stride: PerAxis | None = None, padding: PaddingLike = "valid"
) -> Expr:
    """y[i] = max over k of x[i·stride + k − before], in every channel.

    x (batch, n…, channels) → (batch, m…, channels). Of tied elements the first receives the
    gradient; NaN passes. Borders never win: they count as −∞.

    size     of a window: one number, or one for every axis
    stride   the size, unless given
    padding  as for :func:`conv`

    >>> from chainrule import ops
    >>> max_pool(ops.input("x", (5, 28, 28, 3)), 2).shape
    (5, 14, 14, 3)
    """
    x, sizes, strides, borders = _prepared("max_pool", x, size, stride, padding)
    inner = _real_places(x, borders)
    if inner is not None:
        before, after = _ends(borders)
        mask = broadcast(constant(inner), (x.shape[0], *inner.shape[1:-1], x.shape[-1]))
        x = where(mask, pad(x, before, after), -math.inf)
    for axis in range(len(sizes), 0, -1):  # the first row among the largest, in it the first column
        x = _largest(x, axis, sizes[axis - 1], strides[axis - 1])
    return x


def average_pool(
    x: Expr, size: PerAxis, *, stride: PerAxis | None = None, padding: PaddingLike = "valid"
) -> Expr:
    """y[i] = mean over k of x[i·stride + k − before], in every channel; borders are not counted.

    x (batch, n…, channels) → (batch, m…, channels); arguments as of :func:`max_pool`.

    >>> from chainrule import ops
    >>> average_pool(ops.input("x", (5, 9, 3)), 3, stride=2, padding="same").shape
    (5, 5, 3)
    """
    x, sizes, strides, borders = _prepared("average_pool", x, size, stride, padding)
    n, inner = len(sizes), _real_places(x, borders)
    if inner is not None:
        x = pad(x, *_ends(borders))
    over = range(n + 1, 2 * n + 1)
    total = sum(windows(x, sizes, strides, (1,) * n), over)
    if inner is None:
        return total / math.prod(sizes)
    seen = strided_windows(inner, first=1, sizes=sizes, strides=strides, dilations=(1,) * n)
    return total / broadcast(constant(seen.sum(tuple(over)), x.dtype), total.shape)


def _largest(x: Expr, axis: int, size: int, stride: int) -> Expr:
    """The largest of the windows along one axis, with a gradient of its own: all of it to the first."""
    if size == stride == 1:
        return x
    meta = (size,), (stride,), (1,)
    given = input("x", x.shape, x.dtype)
    seen = windows(given, *meta, first=axis)
    largest = max(seen, axis + 1)
    g = input("g", largest.shape, x.dtype)
    places = np.arange(size).reshape((size, *(1,) * (x.ndim - axis - 1)))
    first = equal(expand(argmax(seen, axis + 1), axis + 1), constant(places, "int64"))
    spread = broadcast(expand(g, axis + 1), seen.shape)
    sent = fold(where(first, spread, zeros_like(spread)), axis, x.shape[axis : axis + 1], *meta[1:])
    (y,) = call(Graph((given,), (largest,)), x, gradient=Graph((g, given), (sent,)))
    return y


def _prepared(
    operation: str, x: Expr, size: PerAxis, stride: PerAxis | None, padding: PaddingLike
) -> tuple[Expr, Shape, Shape, Pairs]:
    """x as floats, and sizes, strides, borders for every inner axis."""
    if x.ndim < 3:
        raise ShapeError(
            f"{operation} takes (batch, length, channels) or (batch, height, width, channels), got {x.spec}; "
            "images of one channel need an axis for it: x[..., None]"
        )
    n, space = x.ndim - 2, x.shape[1:-1]
    sizes = per_axis(f"{operation}: size", size, n)
    strides = sizes if stride is None else per_axis(f"{operation}: stride", stride, n)
    borders = padding_pairs(operation, padding, space, sizes, strides, (1,) * n)
    if any(m + a + b < k for m, (a, b), k in zip(space, borders, sizes, strict=True)):
        raise ShapeError(
            f"{operation}: windows of {sizes} do not fit {x.spec} with borders {borders}; take smaller ones, "
            'or padding="same"'
        )
    if any(k <= p for pair, k in zip(borders, sizes, strict=True) for p in pair):
        raise ShapeError(f"{operation}: borders {borders} must be smaller than the windows {sizes}")
    return (x if is_float(x.dtype) else cast(x, "float32")), sizes, strides, borders


def _ends(borders: Pairs) -> tuple[list[int], list[int]]:
    return [0, *(a for a, _ in borders), 0], [0, *(b for _, b in borders), 0]


def _real_places(x: Expr, borders: Pairs) -> np.ndarray | None:
    """Which places of the padded axes hold elements of x: (1, n…, 1); None without borders."""
    if not any(p for pair in borders for p in pair):
        return None
    return np.pad(np.ones((1, *x.shape[1:-1], 1), bool), ((0, 0), *borders, (0, 0)))
