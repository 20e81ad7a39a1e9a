"""Algebra that is exact in floating point: x·1, a+(−b), where with a constant condition, folded constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.graph.expr import CALL, CONSTANT, INPUT, ITEM, Expr, constant, rebuild, toposort
from chainrule.graph.origin import scope
from chainrule.graph.primitive import Primitive
from chainrule.ops.convert import CAST
from chainrule.ops.elementwise import ADD, DIV, ELEMENTWISE, GUARD, MUL, NEG, SUB, WHERE
from chainrule.ops.repetition import SCAN
from chainrule.ops.shape import BROADCAST, RESHAPE, TRANSPOSE, broadcast, reshape, transpose
from chainrule.passes.subgraphs import Subgraphs

__all__ = ["simplify"]

_FOLD_LIMIT = 4096  # elements: larger constants are computed, not stored
_OPAQUE = frozenset({INPUT, CONSTANT, CALL, ITEM, SCAN})


def simplify(outputs: Sequence[Expr]) -> list[Expr]:
    """The same values from fewer operations; every rewrite is exact, for NaN, infinities and −0 too."""
    image: dict[Expr, Expr] = {}
    subgraphs = Subgraphs(simplify)
    for node in toposort(outputs):
        new = subgraphs(rebuild(node, tuple([image[x] for x in node.inputs])))
        if new.primitive not in _OPAQUE:
            with scope(origin=node.origin):
                new = _simpler(new)
        image[node] = new
    return [image[y] for y in outputs]


def _simpler(node: Expr) -> Expr:
    rule = _RULES.get(node.primitive)
    found = rule(node) if rule else None
    return found if found is not None else _fold(node)


# ------------------------------------------------------------------ constants


def _fold(node: Expr) -> Expr:
    """Compute what depends on constants alone, while it is small. Broadcasts stay: they cost nothing."""
    if not node.inputs or node.primitive is BROADCAST or len(node.outputs) != 1:
        return node
    if all(x.primitive is CONSTANT for x in node.inputs) and node.size <= _FOLD_LIMIT:
        return _computed(node, [x.meta["value"] for x in node.inputs])
    return _fold_filled(node) if node.primitive in ELEMENTWISE and node.shape else node


def _fold_filled(node: Expr) -> Expr:
    """An element-wise operation on broadcast scalars is the broadcast of the operation on the scalars."""
    scalars = []
    for x in node.inputs:
        scalar = _filled(x)
        if scalar is None:
            return node
        scalars.append(scalar)
    return broadcast(_computed(node, scalars), node.shape)


def _computed(node: Expr, arrays: Sequence[npt.NDArray[Any]]) -> Expr:
    if node.primitive.reference is None:
        return node
    with np.errstate(all="ignore"):
        return constant(node.primitive.reference(*arrays, **node.meta), node.dtype)


def _filled(x: Expr) -> npt.NDArray[Any] | None:
    """The scalar that fills a node, if it is a constant or the broadcast of one."""
    while x.primitive is BROADCAST or x.primitive is RESHAPE:
        x = x.inputs[0]
    if x.primitive is CONSTANT and x.size == 1:
        value: npt.NDArray[Any] = x.meta["value"]
        return value.reshape(())
    return None


def _is(x: Expr, value: float) -> bool:
    filled = _filled(x)
    return filled is not None and bool(filled == value)


# ------------------------------------------------------------------ rules: a simpler node, or None


def _neg(node: Expr) -> Expr | None:
    (x,) = node.inputs
    return x.inputs[0] if x.primitive is NEG else None


def _add(node: Expr) -> Expr | None:
    a, b = node.inputs
    if b.primitive is NEG:
        return a - b.inputs[0]
    return b - a.inputs[0] if a.primitive is NEG else None


def _sub(node: Expr) -> Expr | None:
    a, b = node.inputs
    return a + b.inputs[0] if b.primitive is NEG else None


def _mul(node: Expr) -> Expr | None:
    a, b = node.inputs
    if _is(b, 1):
        return a
    return b if _is(a, 1) else None


def _div(node: Expr) -> Expr | None:
    a, b = node.inputs
    return a if _is(b, 1) else None


def _guard(node: Expr) -> Expr | None:
    """A slope that is finite and not negative needs no guard: ±0 times it is ±0."""
    g, d = node.inputs
    if _is(g, 1):
        return d
    slope = _filled(d)
    return g * d if slope is not None and np.isfinite(slope) and not np.signbit(slope) else None


def _where(node: Expr) -> Expr | None:
    condition, a, b = node.inputs
    if a is b:
        return a
    filled = _filled(condition)
    if filled is None:
        return None
    return a if filled else b


def _cast(node: Expr) -> Expr | None:
    return node.inputs[0] if node.inputs[0].dtype == node.dtype else None


def _reshape(node: Expr) -> Expr | None:
    (x,) = node.inputs
    return reshape(x.inputs[0], node.shape) if x.primitive is RESHAPE else None


def _broadcast(node: Expr) -> Expr | None:
    """A broadcast adds leading axes of size 1 by itself."""
    (x,) = node.inputs
    if x.primitive is BROADCAST:
        return broadcast(x.inputs[0], node.shape)
    if x.primitive is RESHAPE:
        inner = x.inputs[0].shape
        if x.shape == (1,) * (x.ndim - len(inner)) + inner:
            return broadcast(x.inputs[0], node.shape)
    return None


def _transpose(node: Expr) -> Expr | None:
    (x,) = node.inputs
    if x.primitive is TRANSPOSE:
        return transpose(x.inputs[0], [x.meta["axes"][a] for a in node.meta["axes"]])
    return None


_RULES: dict[Primitive, Callable[[Expr], Expr | None]] = {
    NEG: _neg,
    ADD: _add,
    SUB: _sub,
    MUL: _mul,
    DIV: _div,
    GUARD: _guard,
    WHERE: _where,
    CAST: _cast,
    RESHAPE: _reshape,
    BROADCAST: _broadcast,
    TRANSPOSE: _transpose,
}
