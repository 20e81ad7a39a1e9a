"""Patterns that have an operator of their own in ONNX, and are better known by it: ReLU, PReLU, softmax."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from chainrule.export.dynamic import Node
from chainrule.graph.expr import CONSTANT
from chainrule.graph.primitive import Primitive
from chainrule.ops.convert import STOP_GRADIENT
from chainrule.ops.elementwise import DIV, EQUAL, EXP, LESS_EQUAL, MUL, SUB, WHERE
from chainrule.ops.reduce import MAX, SUM
from chainrule.ops.shape import BROADCAST, RESHAPE

__all__ = ["Pattern", "known_pattern", "unstretched"]


class Pattern(NamedTuple):
    """An operator, the nodes that it takes, and its attributes."""

    operator: str
    operands: tuple[Node, ...]
    attributes: dict[str, Any]


def known_pattern(node: Node) -> Pattern | None:
    """The operator that computes a node from operands further up, None where there is none."""
    if node.dtype.kind != "f":
        return None
    if node.primitive is WHERE:
        return _rectifier(node)
    return _softmax(node) if node.primitive is DIV else None


def unstretched(x: Node) -> Node:
    """A node before it is broadcast."""
    while x.primitive is BROADCAST:
        x = x.inputs[0]
    return x


def _through(x: Node, *primitives: Primitive) -> Node:
    while x.primitive in primitives:
        x = x.inputs[0]
    return x


def _is(x: Node, value: float) -> bool:
    """Whether a node is filled with a number."""
    found = _through(x, BROADCAST, RESHAPE)
    return (
        found.primitive is CONSTANT
        and isinstance(found.meta["value"], np.ndarray)
        and bool(np.all(found.meta["value"] == value))
    )


def _rectifier(node: Node) -> Pattern | None:
    """where(z ≤ 0, a, z) with a = 0 or a = α·z."""
    condition, a, z = node.inputs
    if (
        condition.primitive is not LESS_EQUAL
        or condition.inputs[0] is not z
        or not _is(condition.inputs[1], 0)
    ):
        return None
    if _is(a, 0):
        return Pattern("Relu", (z,), {})
    if a.primitive is not MUL or z not in a.inputs:
        return None
    slope = unstretched(a.inputs[1] if a.inputs[0] is z else a.inputs[0])
    known = slope.primitive is CONSTANT and slope.ndim == 0 and isinstance(slope.meta["value"], np.ndarray)
    if known and node.dtype.name == "float32":  # the attribute has 32 bits
        return Pattern("LeakyRelu", (z,), {"alpha": float(slope.meta["value"])})
    return Pattern("PRelu", (z, slope), {}) if slope.ndim <= 1 else None


def _softmax(node: Node) -> Pattern | None:
    """e / where(total = 0, 1, total) with e = exp(x − shift), total = Σ e, shift from max x."""
    e, kept = node.inputs[0], unstretched(node.inputs[1])
    if e.primitive is not EXP or e.inputs[0].primitive is not SUB or kept.primitive is not WHERE:
        return None
    x, shift = e.inputs[0].inputs[0], unstretched(e.inputs[0].inputs[1])
    total = _through(kept.inputs[2], RESHAPE)
    guarded = (
        kept.inputs[0].primitive is EQUAL and _is(kept.inputs[0].inputs[1], 0) and _is(kept.inputs[1], 1)
    )
    if not guarded or total.primitive is not SUM or total.inputs[0] is not e or shift.primitive is not WHERE:
        return None
    top = _through(shift.inputs[1], STOP_GRADIENT, RESHAPE)
    axes = total.meta["axes"]
    if top.primitive is not MAX or top.inputs[0] is not x or top.meta["axes"] != axes or len(axes) != 1:
        return None
    return Pattern("Softmax", (x,), {"axis": axes[0]})
