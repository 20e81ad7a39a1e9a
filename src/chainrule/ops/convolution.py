"""Convolution, channels last; its transpose and both gradients are convolutions and products again.

One primitive: strides on the output, gaps (``spread``) between the input's elements, dilation of the kernel,
and borders that may be negative. The gradient by the input exchanges strides and gaps and turns the kernel
around; the gradient by the kernel is a matrix product with the same windows that the forward product reads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import DTypeError, ShapeError
from chainrule.graph.expr import Expr, apply
from chainrule.graph.primitive import Primitive
from chainrule.ops.samples import SAMPLES, case
from chainrule.ops.shape import transpose
from chainrule.ops.spatial import PaddingLike, PerAxis, padding_pairs, per_axis, strided_windows
from chainrule.ops.unrolled import bordered, cut, grouped, product, spans, turned, ungrouped, unrolled
from chainrule.spec import Shape, Spec, is_float

__all__ = ["conv", "conv_transpose"]

Pairs = tuple[tuple[int, int], ...]

# ------------------------------------------------------------------ shapes


def _infer(
    x: Spec, w: Spec, *, strides: Shape, padding: Pairs, dilation: Shape, spread: Shape, groups: int
) -> Spec:
    n = x.ndim - 2
    if n < 1 or w.ndim != x.ndim:
        raise ShapeError(
            f"conv: x {x} and w {w} do not fit: (batch, length, channels) takes a kernel (k, in, out), "
            "(batch, height, width, channels) one of (k, k, in, out)"
        )
    if not len(strides) == len(padding) == len(dilation) == len(spread) == n:
        raise ShapeError(f"conv: one stride, border, dilation and spread for each of the {n} axes of {x}")
    if min((*strides, *dilation, *spread, *w.shape[:n], groups)) < 1:
        raise ShapeError(f"conv: strides, dilation, groups and kernel {w} are at least 1")
    if x.shape[-1] != w.shape[-2] * groups or w.shape[-1] % groups:
        raise ShapeError(
            f"conv: x {x} has {x.shape[-1]} channels, w {w} in {groups} groups takes "
            f"{w.shape[-2] * groups} and gives {w.shape[-1]}; w is (kernel…, in/groups, out), and groups "
            "divides both"
        )
    if x.dtype != w.dtype or not is_float(x.dtype):
        raise DTypeError(f"conv: takes two arrays of one floating-point dtype, got {x} and {w}; use ops.cast")
    space = bordered(x.shape[1:-1], padding, spread)
    kernel = spans(w.shape[:n], dilation)
    if any(e > m for e, m in zip(kernel, space, strict=True)):
        raise ShapeError(
            f"conv: a kernel that spans {tuple(kernel)} does not fit x {x}, which with its borders spans "
            f"{tuple(space)}; pad more, or take a smaller kernel"
        )
    counts = [(m - e) // s + 1 for m, e, s in zip(space, kernel, strides, strict=True)]
    return x.with_shape((x.shape[0], *counts, w.shape[-1]))


# ------------------------------------------------------------------ gradients


def _back(
    space: Shape, places: Shape, kernel: Shape, strides: Shape, padding: Pairs, dilation: Shape, spread: Shape
) -> Pairs:
    """The borders with which the transposed convolution gives back ``space`` elements."""
    found = []
    sizes = (spans(space, spread), spans(places, strides), spans(kernel, dilation), padding)
    for n, m, k, (before, _) in zip(*sizes, strict=True):
        found.append((k - 1 - before, n + before - m))
    return tuple(found)


def _vjp(
    g: Expr, y: Expr, x: Expr, w: Expr, *, strides: Shape, padding: Pairs, dilation: Shape, spread: Shape,
    groups: int,
) -> tuple[Expr, Expr]:  # fmt: skip
    """∂x: the transposed convolution of g;  ∂w: what the kernel saw, transposed, times g."""
    meta: dict[str, Any] = {
        "strides": strides,
        "padding": padding,
        "dilation": dilation,
        "spread": spread,
        "groups": groups,
    }
    kernel = w.shape[:-2]
    back = _back(x.shape[1:-1], y.shape[1:-1], kernel, strides, padding, dilation, spread)
    gx = apply(
        CONV, g, turned(w, groups), strides=spread, padding=back, dilation=dilation, spread=strides,
        groups=groups,
    )  # fmt: skip
    gw = product(transpose(unrolled(x, kernel, **meta)), grouped(g, groups))
    return gx, ungrouped(gw, w.shape[:-1])


def _reference(
    x: npt.NDArray[Any], w: npt.NDArray[Any], *, strides: Shape, padding: Pairs, dilation: Shape,
    spread: Shape, groups: int,
) -> npt.NDArray[Any]:  # fmt: skip
    """Every window as a row of a matrix, for each group."""
    kernel, channels = w.shape[:-2], w.shape[-2]
    starts, stops = cut(x.shape[1:-1], padding, spread)
    widened = tuple((max(a, 0), max(b, 0)) for a, b in padding)
    wide = np.zeros((x.shape[0], *bordered(x.shape[1:-1], widened, spread), x.shape[-1]), x.dtype)
    sizes = zip(widened, spans(x.shape[1:-1], spread), spread, strict=True)
    wide[(slice(None), *(slice(a, a + n, s) for (a, _), n, s in sizes))] = x
    wide = wide[(slice(None), *map(slice, starts, stops))]
    seen = strided_windows(wide, first=1, sizes=kernel, strides=strides, dilations=dilation)
    lead = seen.shape[: len(kernel) + 1]
    inner, out = math.prod(kernel) * channels, w.shape[-1] // groups
    y = np.empty((*lead, w.shape[-1]), x.dtype)
    for i in range(groups):
        rows = seen[..., i * channels : (i + 1) * channels].reshape(math.prod(lead), inner)
        matrix = w[..., i * out : (i + 1) * out].reshape(inner, out)
        y[..., i * out : (i + 1) * out] = (rows @ matrix).reshape(*lead, out)
    return y


CONV = Primitive("conv", infer=_infer, vjp=_vjp, reference=_reference)


def _sample(x: Shape, w: Shape, padding: Pairs, **changed: Any) -> Any:
    ones = (1,) * len(padding)
    meta: dict[str, Any] = {"strides": ones, "dilation": ones, "spread": ones, "groups": 1}
    return case(x, w, padding=padding, **meta | changed)


SAMPLES[CONV] = [
    _sample((2, 6, 3), (3, 3, 4), ((0, 0),)),
    _sample((2, 7, 2), (2, 2, 3), ((2, 1),), strides=(2,), dilation=(2,)),
    _sample((3, 4, 4), (3, 2, 6), ((1, 1),), groups=2),
    _sample((2, 4, 3), (3, 3, 2), ((-1, 3),), spread=(3,), strides=(2,)),
    _sample((2, 5, 4, 3), (3, 2, 3, 5), ((1, 1), (0, 1))),
    _sample((1, 6, 5, 2), (2, 3, 2, 3), ((0, 2), (1, 0)), strides=(2, 1), dilation=(1, 2)),
    _sample((2, 4, 3, 4), (2, 2, 1, 8), ((1, 0), (0, 0)), groups=4),
    _sample((2, 2, 3, 3), (3, 3, 3, 2), ((2, 1), (1, 2)), spread=(2, 1), strides=(1, 2)),
    _sample((1, 5, 5, 1), (5, 5, 1, 1), ((0, 0), (0, 0))),
    _sample((0, 3, 2), (2, 2, 3), ((0, 0),)),
]

# ------------------------------------------------------------------ user functions


def conv(
    x: Expr,
    w: Expr,
    *,
    stride: PerAxis = 1,
    padding: PaddingLike = "valid",
    dilation: PerAxis = 1,
    groups: int = 1,
) -> Expr:
    """yₒ[i] = Σₖ Σ_c x_c[i·stride + k·dilation − before] w_co[k]: what the field calls a convolution.

    x (batch, length, in) or (batch, height, width, in); w (kernel…, in/groups, out) → (batch, places…, out)

    stride, dilation  one number, or one for every axis
    padding           zeros around x: "valid" none; "same" so many that there are ⌈n/stride⌉ places, of an
                      odd number the larger half behind; a number; one for every axis, or (before, after)
    groups            channels are split into so many parts that do not mix; as many as channels: depthwise

    ShapeError where shapes do not fit.

    >>> from chainrule import ops
    >>> x, w = ops.input("x", (5, 28, 28, 3)), ops.input("w", (3, 3, 3, 8))
    >>> conv(x, w).shape, conv(x, w, stride=2, padding="same").shape
    ((5, 26, 26, 8), (5, 14, 14, 8))
    """
    n = _inner_axes("conv", x, w)
    strides, dilations = per_axis("conv: stride", stride, n), per_axis("conv: dilation", dilation, n)
    borders = padding_pairs("conv", padding, x.shape[1:-1], w.shape[:n], strides, dilations)
    return apply(
        CONV, x, w, strides=strides, padding=borders, dilation=dilations, spread=(1,) * n, groups=groups
    )


def conv_transpose(
    x: Expr,
    w: Expr,
    *,
    stride: PerAxis = 1,
    padding: PaddingLike = "valid",
    dilation: PerAxis = 1,
    groups: int = 1,
) -> Expr:
    """The transposed convolution: every element of x adds a kernel to y, ``stride`` places apart.

    x (batch, places…, in); w (kernel…, out/groups, in) → (batch, n…, out). It is the gradient by its input of
    the ``conv`` with the same arguments, which takes ``out`` channels to ``in``.

    padding  what is cut off:  n = (places − 1)·stride + (kernel − 1)·dilation + 1 − before − after;
             "same": so much that n = places·stride

    >>> from chainrule import ops
    >>> x, w = ops.input("x", (5, 7, 7, 8)), ops.input("w", (3, 3, 4, 8))
    >>> conv_transpose(x, w, stride=2, padding="same").shape, conv_transpose(x, w, stride=2).shape
    ((5, 14, 14, 4), (5, 15, 15, 4))
    """
    n = _inner_axes("conv_transpose", x, w)
    strides = per_axis("conv_transpose: stride", stride, n)
    dilations = per_axis("conv_transpose: dilation", dilation, n)
    if groups < 1 or w.shape[-1] % groups or x.shape[-1] != w.shape[-1]:
        raise ShapeError(
            f"conv_transpose: x {x.spec} has {x.shape[-1]} channels, w {w.spec} in {groups} groups takes "
            f"{w.shape[-1]}; w is (kernel…, out/groups, in), and groups divides both"
        )
    places, kernels = spans(x.shape[1:-1], strides), spans(w.shape[:n], dilations)
    if padding == "same":
        borders: Pairs = tuple(
            ((e := max(k - s, 0)) // 2, k - s - e // 2) for k, s in zip(kernels, strides, strict=True)
        )
    else:
        borders = padding_pairs("conv_transpose", padding, x.shape[1:-1], w.shape[:n], strides, dilations)
    sizes = zip(places, kernels, borders, strict=True)
    if any(m + k - 1 - a - b < 1 for m, k, (a, b) in sizes):
        raise ShapeError(f"conv_transpose: padding {borders} leaves nothing of {x.spec} under {w.spec}")
    back = tuple((k - 1 - a, k - 1 - b) for k, (a, b) in zip(kernels, borders, strict=True))
    return apply(
        CONV, x, turned(w, groups), strides=(1,) * n, padding=back, dilation=dilations, spread=strides,
        groups=groups,
    )  # fmt: skip


def _inner_axes(operation: str, x: Expr, w: Expr) -> int:
    if x.ndim < 3 or w.ndim != x.ndim:
        raise ShapeError(
            f"{operation}: x {x.spec} and w {w.spec} do not fit: (batch, length, channels) takes a kernel of "
            "three axes, (batch, height, width, channels) one of four; images of one channel need an axis "
            "for it: x[..., None]"
        )
    return x.ndim - 2
