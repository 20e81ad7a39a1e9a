"""Views: nodes that move no element. Either the layout changes, or the names of the axes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

from chainrule.executors.cpu.layout import Layout
from chainrule.graph.expr import Expr
from chainrule.ops.shape import BROADCAST, FLIP, RESHAPE, SLICE, TRANSPOSE
from chainrule.ops.sliding import WINDOWS
from chainrule.spec import Shape

__all__ = ["VIEWS", "Map", "map_down", "map_up", "regroups_rows", "relabels", "view"]

VIEWS = frozenset({BROADCAST, FLIP, RESHAPE, SLICE, TRANSPOSE, WINDOWS})

Map = tuple[int | None, ...]
"""For each axis of a node the axis of a domain along which it lies; None for a size of 1."""


# ------------------------------------------------------------------ layouts


def view(node: Expr, layout: Layout) -> Layout | None:
    """The layout of a view of an array; None where no strides describe it (some reshapes)."""
    return _LAYOUTS[node.primitive](node, layout)


def _with(layout: Layout, shape: Shape, strides: Shape, offset: int = 0) -> Layout:
    return dataclasses.replace(layout, shape=shape, strides=strides, offset=layout.offset + offset)


def _broadcast(node: Expr, layout: Layout) -> Layout:
    lead = node.ndim - layout.ndim
    pairs = zip(layout.shape, layout.strides, node.shape[lead:], strict=True)
    return _with(layout, node.shape, (0,) * lead + tuple(s if n == wide else 0 for n, s, wide in pairs))


def _flip(node: Expr, layout: Layout) -> Layout:
    axes = node.meta["axes"]
    offset = sum((layout.shape[a] - 1) * layout.strides[a] for a in axes if layout.shape[a])
    strides = tuple(-s if a in axes else s for a, s in enumerate(layout.strides))
    return _with(layout, node.shape, strides, offset)


def _slice(node: Expr, layout: Layout) -> Layout:
    offset = sum(a * s for a, s in zip(node.meta["starts"], layout.strides, strict=True))
    strides = tuple(s * step for s, step in zip(layout.strides, node.meta["steps"], strict=True))
    return _with(layout, node.shape, strides, offset)


def _windows(node: Expr, layout: Layout) -> Layout:
    first, meta = node.meta["first"], node.meta
    end = first + len(meta["sizes"])
    own = layout.strides[first:end]
    steps = [n * s for n, s in zip(own, meta["strides"], strict=True)]
    inner = [n * d for n, d in zip(own, meta["dilations"], strict=True)]
    return _with(layout, node.shape, (*layout.strides[:first], *steps, *inner, *layout.strides[end:]))


def _transpose(node: Expr, layout: Layout) -> Layout:
    return _with(layout, node.shape, tuple(layout.strides[a] for a in node.meta["axes"]))


def _reshape(node: Expr, layout: Layout) -> Layout | None:
    """Groups of axes with equal products are matched; inside a group the old axes must lie without gaps."""
    old = [(n, s) for n, s in zip(layout.shape, layout.strides, strict=True) if n != 1]
    strides: list[int] = []
    group: list[tuple[int, int]] = []
    if not node.size:
        return _with(layout, node.shape, (0,) * node.ndim)
    pending: list[int] = []
    product = 1
    for n in node.shape:
        if n == 1:
            pending.append(n)
            continue
        pending.append(n)
        product *= n
        while _size(group) < product:
            group.append(old.pop(0))
        if _size(group) == product:
            found = _split(group, pending)
            if found is None:
                return None
            strides += found
            group, pending, product = [], [], 1
    return _with(layout, node.shape, tuple(strides + [0] * len(pending)))


def _size(group: list[tuple[int, int]]) -> int:
    product = 1
    for n, _ in group:
        product *= n
    return product


def _split(group: list[tuple[int, int]], sizes: list[int]) -> list[int] | None:
    """Strides of new axes ``sizes`` over a group of old (size, stride)."""
    for (_, outer), (n, inner) in itertools.pairwise(group):
        if outer != n * inner:
            return None
    step, found = (group[-1][1] if group else 0), []
    for n in reversed(sizes):
        found.append(step if n != 1 else 0)
        step *= n
    return found[::-1]


_LAYOUTS: dict[object, Callable[[Expr, Layout], Layout | None]] = {
    BROADCAST: _broadcast,
    FLIP: _flip,
    RESHAPE: _reshape,
    SLICE: _slice,
    TRANSPOSE: _transpose,
    WINDOWS: _windows,
}


# ------------------------------------------------------------------ names of axes


def relabels(node: Expr) -> bool:
    """Whether a view only renames axes: no element is skipped, and none changes its place in a row."""
    if node.primitive is RESHAPE:
        return [n for n in node.shape if n != 1] == [n for n in node.inputs[0].shape if n != 1]
    return node.primitive is TRANSPOSE or node.primitive is BROADCAST


def regroups_rows(node: Expr) -> bool:
    """Whether a reshape leaves every row as it is: rows may then be padded."""
    (x,) = node.inputs
    return node.ndim > 1 and x.ndim > 1 and node.shape[-1] == x.shape[-1] and node.shape[-1] > 1


def map_down(node: Expr, axes: Map) -> Map:
    """From the axes of a relabelling view to those of its input."""
    (x,) = node.inputs
    if node.primitive is TRANSPOSE:
        order = node.meta["axes"]
        return tuple(axes[order.index(a)] for a in range(x.ndim))
    if node.primitive is BROADCAST:
        lead = node.ndim - x.ndim
        return tuple(axes[a + lead] if n != 1 else None for a, n in enumerate(x.shape))
    wide = [a for a, n in zip(axes, node.shape, strict=True) if n != 1]
    return tuple(wide.pop(0) if n != 1 else None for n in x.shape)


def map_up(node: Expr, axes: Map, domain: Shape) -> Map | None:
    """From the axes of a view's input to its own; an axis that is stretched lies along the only axis of the
    domain that its size and order allow, or None is returned."""
    (x,) = node.inputs
    if node.primitive is TRANSPOSE:
        return tuple(axes[a] for a in node.meta["axes"])
    if node.primitive is RESHAPE:
        wide = [a for a, n in zip(axes, x.shape, strict=True) if n != 1]
        return tuple(wide.pop(0) if n != 1 else None for n in node.shape)
    known: list[int | None] = [*(None for _ in range(node.ndim - x.ndim)), *axes]
    for place, n in enumerate(node.shape):
        if n == 1 or known[place] is not None:
            continue
        low = max((a for a in known[:place] if a is not None), default=-1)
        high = min((a for a in known[place + 1 :] if a is not None), default=len(domain))
        fitting = [a for a in range(low + 1, high) if domain[a] == n and a not in known]
        if len(fitting) != 1:
            return None
        known[place] = fitting[0]
    return tuple(known)
