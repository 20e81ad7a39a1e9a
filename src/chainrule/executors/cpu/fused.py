"""Operations that lowering makes of several, since there is a kernel for the whole."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.graph.expr import CONSTANT, Expr, apply, rebuild, substitute, toposort
from chainrule.graph.origin import scope
from chainrule.graph.primitive import Primitive
from chainrule.ops.elementwise import EQUAL, MAXIMUM, WHERE
from chainrule.ops.linalg import MATMUL
from chainrule.ops.reduce import ARGMAX, MAX, SUM
from chainrule.ops.shape import BROADCAST, RESHAPE, TRANSPOSE, reshape, slice_axes
from chainrule.ops.sliding import FOLD, WINDOWS
from chainrule.spec import Shape, Spec

__all__ = [
    "KERNEL_GRADIENT",
    "MAX_GRADIENT",
    "kernel_gradient",
    "max_gradient",
    "maxima_of_slices",
    "with_sums",
]

_LEAVES = 16  # elements of a window, at most, whose largest is found by comparing slices


@dataclass(frozen=True, eq=False)
class _Fused(Primitive):
    """A primitive that no user's graph holds: it has neither gradient nor reference."""

    def __post_init__(self) -> None:
        pass


# ------------------------------------------------------------------ the gradient by the kernel


def _infer(x: Spec, g: Spec, *, kernel: Shape, strides: Shape, dilation: Shape, sums: bool) -> Spec:
    return x.with_shape((math.prod(kernel) * x.shape[-1] + sums, g.shape[-1]))


KERNEL_GRADIENT = _Fused("conv_kernel_gradient", infer=_infer)
"""y[(k…, c), o] = Σ over samples and places i of x[i·stride + k·dilation, c]·g[i, o], without borders; with
``sums`` a last row Σ g[i, o].   x (batch, n…, in), g (batch, places…, out) → (kernel·in (+ 1), out)"""


def kernel_gradient(product: Expr) -> Expr | None:
    """The same as a product of transposed windows with a gradient, if it is one; None otherwise."""
    if product.primitive is not MATMUL or product.ndim != 2 or product.shape[-1] == 1:
        return None
    seen = _turned_rows(product.inputs[0])
    if seen is None or seen.primitive is not WINDOWS:
        return None
    meta, n = seen.meta, len(seen.meta["sizes"])
    places, terms = math.prod(seen.shape[: n + 1]), math.prod(seen.shape[n + 1 :])
    if meta["first"] != 1 or seen.ndim != 2 * n + 2 or product.inputs[0].shape != (terms, places):
        return None
    (x,), channels = seen.inputs, product.shape[1]
    with scope(origin=product.origin):
        g = reshape(product.inputs[1], (*seen.shape[: n + 1], channels))
        return apply(
            KERNEL_GRADIENT, x, g, kernel=meta["sizes"], strides=meta["strides"],
            dilation=meta["dilations"], sums=False,
        )  # fmt: skip


def with_sums(outputs: Sequence[Expr]) -> list[Expr]:
    """The same values: gradients by kernels add up the gradients by biases, too."""
    while (found := _gradient_and_sums(outputs)) is not None:
        node, total = found
        with scope(origin=node.origin):
            n, out = node.shape
            both = apply(KERNEL_GRADIENT, *node.inputs, **{**node.meta, "sums": True})
            rows = slice_axes(both, (0, 0), (n, out), (1, 1))
            last = reshape(slice_axes(both, (n, 0), (n + 1, out), (1, 1)), (out,))
        outputs = substitute(outputs, {node: rows, total: last})
    return list(outputs)


def _gradient_and_sums(outputs: Sequence[Expr]) -> tuple[Expr, Expr] | None:
    """A gradient by a kernel, and sums that it can make since it does not depend on them."""
    nodes = toposort(outputs)
    totals = {x.inputs[0]: x for x in nodes if _adds_places(x)}
    for node in nodes:
        if node.primitive is KERNEL_GRADIENT and not node.meta["sums"]:
            total = totals.get(node.inputs[1])
            if total is not None and total not in toposort([node]):
                return node, total
    return None


def _adds_places(x: Expr) -> bool:
    """Whether x adds up all axes but the last one."""
    return x.primitive is SUM and x.meta["axes"] == tuple(range(x.inputs[0].ndim - 1))


def _turned_rows(a: Expr) -> Expr | None:
    """What a transposed matrix is a reshape of."""
    sizes = list(a.shape)
    while a.primitive is RESHAPE:
        a = a.inputs[0]
    if a.primitive is not TRANSPOSE or [n for n in a.shape if n != 1] != sizes:
        return None
    order = [axis for axis in a.meta["axes"] if a.inputs[0].shape[axis] != 1]
    if len(order) != 2 or order[0] < order[1]:
        return None
    a = a.inputs[0]
    while a.primitive is RESHAPE:
        a = a.inputs[0]
    return a


# ------------------------------------------------------------------ the gradient of pooling

MAX_GRADIENT = _Fused("max_pool_gradient", infer=lambda x, g, *, window: x)
"""y = g where x is the first among the largest of its window, 0 elsewhere; NaN is the largest.
x (n…), g (n//window…) → (n…); windows lie side by side, and elements that are in none get 0"""


def max_gradient(sent: Expr) -> Expr | None:
    """The same as what a pooling along one axis sends back, if it is one whose windows do not overlap; and
    if that goes on from another axis, both at once."""
    if sent.primitive is not FOLD or len(sent.meta["space"]) != 1 or sent.inputs[0].primitive is not WHERE:
        return None
    axis, (stride,) = sent.meta["first"], sent.meta["strides"]
    if not 0 < axis < sent.ndim - 1 or sent.dtype.kind != "f":  # threads share the first axis, lanes the last
        return None
    first, spread, zero = sent.inputs[0].inputs
    x, g = _first_of_windows(first, axis, stride), _bare_view(spread)
    pooled = (*sent.shape[:axis], spread.shape[axis], *sent.shape[axis + 1 :])
    if x is None or x.shape != sent.shape or not _is_constant(zero, 0) or g.size != math.prod(pooled):
        return None
    window = tuple(stride if a == axis else 1 for a in range(x.ndim))
    g = g if g.shape == pooled else reshape(g, pooled)
    if g.primitive is MAX_GRADIENT and _largest_of(g.inputs[0], axis, stride) is x:
        earlier = g.meta["window"]
        if all(n == 1 for n in earlier[axis:]):  # rows before columns
            window = tuple(m * n for m, n in zip(window, earlier, strict=True))
            g = g.inputs[1]
    with scope(origin=sent.origin):
        return apply(MAX_GRADIENT, x, g, window=window)


def _first_of_windows(first: Expr, axis: int, size: int) -> Expr | None:
    """x of ``argmax of windows of x == place in the window``."""
    if first.primitive is not EQUAL:
        return None
    best, places = (_bare_view(i) for i in first.inputs)
    if (
        best.primitive is not ARGMAX
        or best.meta["axis"] != axis + 1
        or not _counts(first.inputs[1], axis + 1)
    ):
        return None
    return _seen_side_by_side(best.inputs[0], axis, size) if places.size == size else None


def _largest_of(y: Expr, axis: int, size: int) -> Expr | None:
    """x of which y holds the largest of windows side by side."""
    if y.primitive is not MAX or y.meta["axes"] != (axis + 1,):
        return None
    return _seen_side_by_side(y.inputs[0], axis, size)


def _seen_side_by_side(seen: Expr, axis: int, size: int) -> Expr | None:
    meta = {"first": axis, "sizes": (size,), "strides": (size,), "dilations": (1,)}
    return seen.inputs[0] if seen.primitive is WINDOWS and dict(seen.meta) == meta else None


def _bare_view(x: Expr) -> Expr:
    """What is repeated."""
    while x.primitive in (BROADCAST, RESHAPE):
        x = x.inputs[0]
    return x


def _is_constant(x: Expr, value: float) -> bool:
    x = _bare_view(x)
    return x.primitive is CONSTANT and x.size == 1 and x.meta["value"].reshape(-1)[0] == value


def _counts(x: Expr, axis: int) -> bool:
    """Whether x is the place along an axis."""
    while x.primitive is BROADCAST:
        shape, x = x.shape, x.inputs[0]
        axis -= len(shape) - x.ndim
    if x.primitive is not CONSTANT or axis < 0:
        return False
    wanted = np.arange(x.shape[axis]).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    return x.shape == wanted.shape and bool((x.meta["value"] == wanted).all())


# ------------------------------------------------------------------ pooling


def maxima_of_slices(outputs: Sequence[Expr]) -> list[Expr]:
    """The same values, the largest of small windows side by side found by comparing slices."""
    image: dict[Expr, Expr] = {}
    compared: dict[Expr, list[Expr]] = {}
    for node in toposort(outputs):
        new = rebuild(node, tuple([image[x] for x in node.inputs]))
        if new.primitive is MAX and new.inputs[0].primitive is WINDOWS:
            axis, size = new.inputs[0].meta["first"], new.inputs[0].meta["sizes"][0]
            x = _largest_of(new, axis, size)
            leaves = [] if x is None else compared.get(x, [x])
            if 0 < len(leaves) * size <= _LEAVES and axis < new.ndim - 1:
                with scope(origin=node.origin):
                    parts = [_every(y, axis, k, size, new.shape[axis]) for k in range(size) for y in leaves]
                    new = functools.reduce(lambda a, b: apply(MAXIMUM, a, b), parts)
                compared[new] = parts
        image[node] = new
    return [image[y] for y in outputs]


def _every(y: Expr, axis: int, first: int, step: int, count: int) -> Expr:
    starts, stops, steps = [0] * y.ndim, list(y.shape), [1] * y.ndim
    starts[axis], stops[axis], steps[axis] = first, first + (count - 1) * step + 1, step
    return slice_axes(y, starts, stops, steps)
