"""Algebra that is exact in floating point: x·1, a+(−b), where with a constant condition, folded constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chainrule.graph.expr import CALL, CONSTANT, INPUT, Expr, constant, rebuild, scope, toposort
from chainrule.graph.primitive import Primitive
from chainrule.ops.elementwise import ADD, CAST, DIV, GUARD, MUL, NEG, WHERE
from chainrule.ops.shape import BROADCAST, RESHAPE, TRANSPOSE, broadcast, reshape

__all__ = ["simplify"]

_FOLD_LIMIT = 4096  # elements: larger constants are computed, not stored


def simplify(outputs: Sequence[Expr]) -> list[Expr]:
    """The same values from fewer operations; every rewrite is exact, for NaN and infinities too."""
    image: dict[Expr, Expr] = {}
    for node in toposort(outputs):
        new = rebuild(node, tuple(image[x] for x in node.inputs))
        with scope(origin=node.origin):
            image[node] = _simpler(new)
    return [image[y] for y in outputs]


def _simpler(node: Expr) -> Expr:
    if node.primitive in (INPUT, CONSTANT, CALL):
        return node
    rule = _RULES.get(node.primitive)
    found = rule(node) if rule else None
    return found if found is not None else _fold(node)


def _fold(node: Expr) -> Expr:
    """Computes what depends on constants alone, while it is small. Broadcasts stay: they cost nothing."""
    small = len(node.outputs) == 1 and node.size <= _FOLD_LIMIT and node.inputs
    if not small or node.primitive is BROADCAST or any(x.primitive is not CONSTANT for x in node.inputs):
        return _fold_filled(node)
    return _computed(node, [x.meta["value"] for x in node.inputs])


def _fold_filled(node: Expr) -> Expr:
    """An element-wise operation on broadcast scalars is the broadcast of the operation on the scalars."""
    scalars = [_filled(x) for x in node.inputs]
    same_shape = all(x.shape == node.outputs[0].shape for x in node.inputs)
    if node.meta or not scalars or not same_shape or node.primitive in (RESHAPE, TRANSPOSE, BROADCAST):
        return node
    if len(node.outputs) != 1 or not node.shape or any(s is None for s in scalars):
        return node
    return broadcast(_computed(node, scalars), node.shape)


def _computed(node: Expr, arrays: list[np.ndarray]) -> Expr:
    if node.primitive.reference is None:
        return node
    with np.errstate(all="ignore"):
        return constant(node.primitive.reference(*arrays, **node.meta), node.dtype)


def _filled(x: Expr) -> np.ndarray | None:
    """The scalar that fills a node, if it is a constant or the broadcast of one."""
    while x.primitive is BROADCAST or x.primitive is RESHAPE:
        x = x.inputs[0]
    if x.primitive is CONSTANT and x.size == 1:
        return x.meta["value"].reshape(())
    return None


def _is(x: Expr, value: float) -> bool:
    filled = _filled(x)
    return filled is not None and bool(filled == value)


def _add(node: Expr) -> Expr | None:
    a, b = node.inputs
    if b.primitive is NEG:
        return a - b.inputs[0]
    return None


def _mul(node: Expr) -> Expr | None:
    a, b = node.inputs
    if _is(b, 1):
        return a
    return b if _is(a, 1) else None


def _guard(node: Expr) -> Expr | None:
    """A finite slope needs no guard."""
    g, d = node.inputs
    filled = _filled(d)
    if _is(g, 1):
        return d
    return g * d if filled is not None and bool(np.isfinite(filled)) else None


def _where(node: Expr) -> Expr | None:
    condition, a, b = node.inputs
    filled = _filled(condition)
    if filled is None:
        return None
    return a if bool(filled) else b


def _cast(node: Expr) -> Expr | None:
    return node.inputs[0] if node.inputs[0].dtype == node.dtype else None


def _reshape(node: Expr) -> Expr | None:
    (x,) = node.inputs
    return reshape(x.inputs[0], node.shape) if x.primitive is RESHAPE else None


def _broadcast(node: Expr) -> Expr | None:
    (x,) = node.inputs
    if x.primitive is BROADCAST:
        return broadcast(x.inputs[0], node.shape)
    return broadcast(x.inputs[0], node.shape) if x.primitive is RESHAPE and x.inputs[0].shape == () else None


def _transpose(node: Expr) -> Expr | None:
    (x,) = node.inputs
    if x.primitive is TRANSPOSE:
        axes = tuple(x.meta["axes"][a] for a in node.meta["axes"])
        if axes == tuple(range(len(axes))):
            return x.inputs[0]
    return None


_RULES: dict[Primitive, Callable[[Expr], Expr | None]] = {
    ADD: _add,
    MUL: _mul,
    DIV: lambda node: node.inputs[0] if _is(node.inputs[1], 1) else None,
    GUARD: _guard,
    WHERE: _where,
    CAST: _cast,
    RESHAPE: _reshape,
    BROADCAST: _broadcast,
    TRANSPOSE: _transpose,
}
