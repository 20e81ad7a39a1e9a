"""Convolutions and folded windows in terms of what there are kernels for: views, borders, sums and products.

A convolution without groups gets its borders as an array of their own, and is computed where it lies; so is
its gradient by the kernel. One with groups becomes a matrix product whose rows are the windows, which are
copied side by side once and serve the gradient by the kernel too. What windows add up to is a sum of shifted
slices, axis after axis.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

from chainrule.executors.cpu.fused import kernel_gradient, max_gradient, maxima_of_slices
from chainrule.graph.expr import Expr, apply, rebuild, toposort
from chainrule.graph.origin import scope
from chainrule.ops.convolution import CONV
from chainrule.ops.linalg import MATMUL
from chainrule.ops.shape import pad, reshape, slice_axes, transpose
from chainrule.ops.sliding import FOLD
from chainrule.ops.unrolled import as_product, widened
from chainrule.spec import Shape

__all__ = ["UNROLLED", "is_direct", "unroll"]

UNROLLED = frozenset({CONV, FOLD})


def unroll(outputs: Sequence[Expr]) -> list[Expr]:
    """The same values without the primitives in ``UNROLLED``."""
    image: dict[Expr, Expr] = {}
    for node in toposort(outputs):
        new = rebuild(node, tuple([image[x] for x in node.inputs]))
        found = kernel_gradient(new) if new.primitive is MATMUL else max_gradient(new)
        if found is not None:
            new = found
        elif new.primitive in UNROLLED:
            with scope(origin=node.origin):
                if new.primitive is CONV:
                    new = _bare(new) if is_direct(new) else as_product(new, *new.inputs, **new.meta)
                else:
                    new = _folded(new.inputs[0], **new.meta)
        image[node] = new
    return maxima_of_slices([image[y] for y in outputs])


def is_direct(node: Expr) -> bool:
    """Whether there is a kernel for a convolution: its lanes lie along the channels of the output."""
    return node.meta["groups"] == 1 and node.shape[-1] > 1


def _bare(node: Expr) -> Expr:
    """The same convolution of an input that has its borders."""
    (x, w), meta = node.inputs, node.meta
    ones = (1,) * (x.ndim - 2)
    wide = widened(x, meta["padding"], meta["spread"])
    return apply(
        CONV, wide, w, strides=meta["strides"], padding=((0, 0),) * len(ones), dilation=meta["dilation"],
        spread=ones, groups=1,
    )  # fmt: skip


def _folded(y: Expr, *, first: int, space: Shape, strides: Shape, dilations: Shape) -> Expr:
    within = first + len(space)  # of the axes that are left, the first one inside windows
    for place, (n, s, d) in enumerate(zip(space, strides, dilations, strict=True)):
        y = _folded_axis(y, first + place, within, n, s, d)
    return y


def _folded_axis(y: Expr, place: int, within: int, n: int, stride: int, dilation: int) -> Expr:
    """x[n] = Σₖ y[i, k] over i·stride + k·dilation = n; the axis ``within`` goes."""
    count, size = y.shape[place], y.shape[within]
    if dilation == 1 and (stride == size or count == 1):
        return _joined(y, place, within, n)
    shift = (size - 1) * dilation
    before, after, between = [0] * y.ndim, [0] * y.ndim, [0] * y.ndim
    before[place], between[place] = shift, stride - 1
    after[place] = n - (count - 1) * stride - 1
    wide = pad(y, before, after, between)
    parts = []
    for k in range(size):
        starts, stops = [0] * y.ndim, list(wide.shape)
        starts[place], stops[place] = shift - k * dilation, shift - k * dilation + n
        starts[within], stops[within] = k, k + 1
        parts.append(slice_axes(wide, starts, stops, (1,) * y.ndim))
    total = functools.reduce(operator.add, parts)
    return reshape(total, (*y.shape[:place], n, *y.shape[place + 1 : within], *y.shape[within + 1 :]))


def _joined(y: Expr, place: int, within: int, n: int) -> Expr:
    """Windows side by side: only what lies behind the last one is zero."""
    order = [a for a in range(y.ndim) if a != within]
    order.insert(place + 1, within)
    side = transpose(y, order)
    covered = y.shape[place] * y.shape[within]
    x = reshape(side, (*side.shape[:place], covered, *side.shape[place + 2 :]))
    behind = [0] * x.ndim
    behind[place] = n - covered
    return pad(x, [0] * x.ndim, behind) if n > covered else x
