"""How many paths lead through a graph's units, against the work of the sweep that does without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import ConfigError
from chainrule.graph.expr import CALL, ITEM, Expr, toposort
from chainrule.graph.primitive import Primitive
from chainrule.ops.convert import STOP_GRADIENT
from chainrule.ops.convolution import CONV
from chainrule.ops.elementwise import ELEMENTWISE, SIGN
from chainrule.ops.linalg import MATMUL
from chainrule.ops.reduce import CUMSUM, MAX, SUM
from chainrule.ops.shape import BROADCAST, CONCAT, FLIP, PAD, RESHAPE, SLICE, TRANSPOSE
from chainrule.ops.sliding import FOLD, WINDOWS
from chainrule.spec import is_float

__all__ = ["count_paths"]

Counts = npt.NDArray[Any]  # of Python integers: the numbers outgrow 64 bits soon


def count_paths(y: Expr, x: Expr) -> int:
    """The number of paths from an element of x to an element of y, through every unit between.

    A dense layer joins every input with every output: 784-225-144-10 has 784·225·144·10 paths a sample.
    What receives no gradient (comparisons, rounding, stop_gradient) carries no path.

    >>> from chainrule import ops
    >>> x, W1, W2 = ops.input("x", (1, 784)), ops.input("W1", (784, 225)), ops.input("W2", (225, 10))
    >>> count_paths(ops.relu(x @ W1) @ W2, x) == 784 * 225 * 10
    True
    """
    return int(np.sum(_counts([y], {x: np.full(x.shape, 1, object)})[0]))


# ------------------------------------------------------------------ one rule per kind of node


def _counts(outputs: Sequence[Expr], known: Mapping[Expr, Counts]) -> list[Counts]:
    """For every element of the outputs the number of paths that end there."""
    counts: dict[Expr, Any] = dict(known)
    for node in toposort(outputs):
        if node in counts:
            continue
        before = [counts[i] for i in node.inputs]
        counts[node] = _arriving(node, before) if _differentiable(node) else np.full(_shape(node), 0, object)
    return [counts[y] for y in outputs]


def _shape(node: Expr) -> tuple[int, ...]:
    return node.outputs[0].shape


def _differentiable(node: Expr) -> bool:
    opaque = node.primitive in (STOP_GRADIENT, SIGN)
    return bool(node.inputs) and any(is_float(s.dtype) for s in node.outputs) and not opaque


def _arriving(node: Expr, before: list[Any]) -> Any:
    if node.primitive is CALL:
        body = node.meta["graph"]
        found = _counts(body.outputs, dict(zip(body.inputs, before, strict=True)))
        return found[0] if len(found) == 1 else tuple(found)
    if node.primitive is ITEM:
        return before[0][node.meta["index"]]
    if node.primitive in ELEMENTWISE:
        return sum(before[1:], start=before[0])
    rule = _RULES.get(node.primitive)
    if rule is None:
        raise ConfigError(
            f"count_paths: what {node.primitive.name} joins is known only when the graph runs; "
            f"count the paths of a part of the graph\n  in {node.origin}"
        )
    return rule(*before, **node.meta)


def _matmul(a: Counts, b: Counts) -> Counts:
    """Every path into a row of a goes on to every column, every path into a column of b to every row."""
    shape = (*a.shape[:-1], b.shape[-1])
    from_a, from_b = a.sum(-1, keepdims=True), b.sum(-2, keepdims=True)
    return np.broadcast_to(from_a, shape) + np.broadcast_to(from_b, shape)


def _cumsum(x: Counts, *, axis: int, reverse: bool) -> Counts:
    return np.flip(np.flip(x, axis).cumsum(axis), axis) if reverse else x.cumsum(axis)


def _reduced(x: Counts, *, axes: tuple[int, ...]) -> Counts:
    return np.asarray(x.sum(axes), object)


def _conv(x: Counts, w: Counts, **meta: Any) -> Counts:
    """As for a product, of what each window sees."""
    add: Any = CONV.reference
    found: Counts = add(x, np.ones(w.shape, object), **meta) + add(np.ones(x.shape, object), w, **meta)
    return found


_MOVING = (RESHAPE, TRANSPOSE, BROADCAST, SLICE, PAD, CONCAT, FLIP, WINDOWS, FOLD)

_RULES: dict[Primitive, Callable[..., Counts]] = {
    **{p: p.reference for p in _MOVING if p.reference is not None},  # what moves elements moves their counts
    SUM: _reduced,
    MAX: _reduced,
    MATMUL: _matmul,
    CONV: _conv,
    CUMSUM: _cumsum,
}
