"""The graph as planning wants it: subgraphs opened, gradients' cuts dropped, masks read from what is kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.executors.cpu.fused import with_sums
from chainrule.executors.cpu.unroll import UNROLLED, unroll
from chainrule.graph.expr import CALL, CONSTANT, ITEM, Expr, Graph, apply, rebuild, substitute, toposort
from chainrule.graph.origin import scope
from chainrule.ops.convert import STOP_GRADIENT
from chainrule.ops.elementwise import LESS_EQUAL, WHERE
from chainrule.ops.linalg import MATMUL
from chainrule.ops.reduce import SUM
from chainrule.ops.shape import BROADCAST, TRANSPOSE, broadcast, reshape
from chainrule.passes import merge_common, settle_scans, simplify

__all__ = ["lower"]

_WIDE = 4096  # elements of a matrix: smaller products with one column stay what they are


def lower(outputs: Sequence[Expr]) -> list[Expr]:
    """The same values, ready for planning."""
    opened = settle_scans(_open(outputs))
    found = {node.primitive for node in toposort(opened)}
    if not found.isdisjoint(UNROLLED):
        opened = unroll(opened)
    if not found.isdisjoint(UNROLLED) or any(node.primitive is CALL for node in toposort(outputs)):
        opened = with_sums(merge_common(simplify(opened)))
    return _sum_columns(_read_masks_from_outputs(opened))


def _open(outputs: Sequence[Expr]) -> list[Expr]:
    """CALL becomes its body, stop_gradient its input."""
    image: dict[Expr, Expr] = {}
    bodies: dict[Expr, list[Expr]] = {}
    for node in toposort(outputs):
        inputs = tuple([image.get(x, x) for x in node.inputs])
        if node.primitive is CALL:
            body: Graph = node.meta["graph"]
            bodies[node] = _open(substitute(body.outputs, dict(zip(body.inputs, inputs, strict=True))))
            if len(bodies[node]) == 1:
                image[node] = bodies[node][0]
        elif node.primitive is ITEM and node.inputs[0] in bodies:
            image[node] = bodies[node.inputs[0]][node.meta["index"]]
        elif node.primitive is STOP_GRADIENT:
            image[node] = inputs[0]
        else:
            image[node] = rebuild(node, inputs)
    return [image[y] for y in outputs]


def _read_masks_from_outputs(outputs: Sequence[Expr]) -> list[Expr]:
    """relu's gradient asks  z ≤ 0;  of  h = where(z ≤ 0, 0, z)  the same answer is  h ≤ 0,  NaN included.
    h is kept for the next layer anyway, so z need not be.
    """
    image: dict[Expr, Expr] = {}
    masks: dict[Expr, Expr] = {}  # z ≤ 0 → h ≤ 0
    for node in toposort(outputs):
        relu = node.primitive is WHERE and _is_relu(node)
        known = {} if relu else masks
        new = rebuild(node, tuple([known.get(x, image[x]) for x in node.inputs]))
        if relu:
            with scope(origin=node.origin):
                masks[node.inputs[0]] = apply(LESS_EQUAL, new, image[node.inputs[1]])
        image[node] = new
    return [masks.get(y, image[y]) for y in outputs]


def _is_relu(node: Expr) -> bool:
    condition, zero, z = node.inputs
    return (
        condition.primitive is LESS_EQUAL
        and condition.inputs == (z, zero)
        and zero.primitive is BROADCAST
        and zero.inputs[0].primitive is CONSTANT
        and zero.inputs[0].size == 1
        and not np.any(zero.inputs[0].meta["value"])
    )


def _sum_columns(outputs: Sequence[Expr]) -> list[Expr]:
    """aᵀ g with one column in g is a sum over the rows of a, whose elements lie side by side; as a product, a
    tile of registers would be empty but for one lane."""
    image: dict[Expr, Expr] = {}
    for node in toposort(outputs):
        new = rebuild(node, tuple([image[x] for x in node.inputs]))
        if new.primitive is MATMUL and new.ndim == 2 and new.shape[1] == 1:
            turned, column = new.inputs
            if turned.primitive is TRANSPOSE and turned.size >= _WIDE:
                a = turned.inputs[0]
                with scope(origin=node.origin):
                    new = reshape(apply(SUM, a * broadcast(column, a.shape), axes=(0,)), new.shape)
        image[node] = new
    return [image[y] for y in outputs]
