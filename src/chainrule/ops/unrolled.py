"""Convolutions as matrix products: every window a row, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from chainrule.graph.expr import Expr, apply
from chainrule.ops.linalg import MATMUL
from chainrule.ops.shape import flip, pad, reshape, slice_axes, transpose
from chainrule.ops.sliding import windows
from chainrule.spec import Shape

__all__ = [
    "as_product",
    "bordered",
    "cut",
    "grouped",
    "product",
    "spans",
    "turned",
    "ungrouped",
    "unrolled",
    "widened",
]

Pairs = tuple[tuple[int, int], ...]

# ------------------------------------------------------------------ shapes


def spans(sizes: Sequence[int], gaps: Sequence[int]) -> list[int]:
    """Elements with gap − 1 zeros between them."""
    return [(n - 1) * d + 1 if n else 0 for n, d in zip(sizes, gaps, strict=True)]


def bordered(space: Sequence[int], padding: Pairs, spread: Sequence[int]) -> list[int]:
    """The sizes of axes with gaps between their elements and borders around them."""
    return [m + a + b for m, (a, b) in zip(spans(space, spread), padding, strict=True)]


def cut(space: Sequence[int], padding: Pairs, spread: Sequence[int]) -> tuple[list[int], list[int]]:
    """Where to slice, after zeros were added, so that negative borders take elements away."""
    widened = [(max(a, 0), max(b, 0)) for a, b in padding]
    full = bordered(space, tuple(widened), spread)
    starts = [max(-a, 0) for a, _ in padding]
    return starts, [m - max(-b, 0) for m, (_, b) in zip(full, padding, strict=True)]


# ------------------------------------------------------------------ as a matrix product


def widened(x: Expr, padding: Pairs, spread: Shape) -> Expr:
    """Zeros between the elements of the inner axes and around them; negative borders take elements away."""
    before = [0, *(max(a, 0) for a, _ in padding), 0]
    after = [0, *(max(b, 0) for _, b in padding), 0]
    starts, stops = cut(x.shape[1:-1], padding, spread)
    if any(before) or any(after) or any(s > 1 for s in spread):
        x = pad(x, before, after, [0, *(s - 1 for s in spread), 0])
    if any(starts) or stops != list(x.shape[1:-1]):
        x = slice_axes(x, [0, *starts, 0], [x.shape[0], *stops, x.shape[-1]], (1,) * x.ndim)
    return x


def unrolled(
    x: Expr, kernel: Shape, *, strides: Shape, padding: Pairs, dilation: Shape, spread: Shape, groups: int
) -> Expr:
    """What a kernel sees at every place:  (groups, batch·places, kernel·channels/groups)."""
    seen = windows(widened(x, padding, spread), kernel, strides, dilation)
    n, channels = len(kernel), x.shape[-1] // groups
    rows = math.prod(seen.shape[: n + 1])
    if groups == 1:
        return reshape(seen, (1, rows, math.prod(kernel) * channels))
    split = reshape(seen, (*seen.shape[:-1], groups, channels))
    order = [2 * n + 1, *range(2 * n + 1), 2 * n + 2]
    return reshape(transpose(split, order), (groups, rows, math.prod(kernel) * channels))


def grouped(y: Expr, groups: int) -> Expr:
    """(…, channels) → (groups, rows, channels/groups)"""
    channels = y.shape[-1] // groups
    rows = reshape(y, (math.prod(y.shape[:-1]), groups, channels))
    return reshape(rows, (1, *rows.shape[::2])) if groups == 1 else transpose(rows, (1, 0, 2))


def ungrouped(y: Expr, lead: Shape) -> Expr:
    """(groups, rows, channels/groups) → (…, channels)"""
    groups, _, channels = y.shape
    return reshape(y if groups == 1 else transpose(y, (1, 0, 2)), (*lead, groups * channels))


def product(a: Expr, b: Expr) -> Expr:
    """a b for every group; of one group a product of two matrices."""
    if a.shape[0] > 1:
        return apply(MATMUL, a, b)
    y = apply(MATMUL, reshape(a, a.shape[1:]), reshape(b, b.shape[1:]))
    return reshape(y, (1, *y.shape))


def as_product(y: Expr, x: Expr, w: Expr, **meta: Any) -> Expr:
    """The same as y = conv(x, w), as a matrix product with every window as a row."""
    seen = unrolled(x, w.shape[:-2], **meta)
    return ungrouped(product(seen, grouped(w, meta["groups"])), y.shape[:-1])


def turned(w: Expr, groups: int) -> Expr:
    """The kernel of the transposed convolution: turned around, inputs and outputs of each group exchanged."""
    kernel, n = w.shape[:-2], w.ndim - 2
    w = flip(w, range(n))
    split = reshape(w, (*kernel, w.shape[-2], groups, w.shape[-1] // groups))
    order = [*range(n), n + 2, n + 1, n]
    return reshape(transpose(split, order), (*kernel, split.shape[-1], groups * w.shape[-2]))
