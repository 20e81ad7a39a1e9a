"""Gradients of graphs, as graphs: one reverse sweep visits every node once, however many paths cross it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, overload

from chainrule.errors import ConfigError, DTypeError, ShapeError
from chainrule.graph.expr import CALL, ITEM, Expr, Graph, call, constant, input, item, toposort
from chainrule.graph.origin import scope
from chainrule.ops.elementwise import full_like, zeros_like
from chainrule.ops.repetition import SCAN
from chainrule.ops.shape import broadcast, reshape, stack
from chainrule.ops.through_time import scan_vjp
from chainrule.spec import is_float

__all__ = ["gradient", "hessian", "hvp", "jacobian", "jvp", "path_count", "value_and_gradient", "vjp"]

_MOST_ROWS = 256


@overload
def gradient(y: Expr, wrt: Expr) -> Expr: ...
@overload
def gradient(y: Expr, wrt: Sequence[Expr]) -> list[Expr]: ...
def gradient(y: Expr, wrt: Expr | Sequence[Expr]) -> Expr | list[Expr]:
    """∂y/∂x of a scalar y, for one node x or for each of several; zeros where y does not depend on x.

    >>> from chainrule import ops
    >>> x = ops.input("x", (3,))
    >>> gradient(ops.sum(x * x), x).shape
    (3,)
    """
    if y.shape:
        raise ShapeError(f"gradient: y must be a scalar, got {y.spec}; sum it, or use jacobian or vjp")
    single = isinstance(wrt, Expr)
    found = vjp([y], [wrt] if isinstance(wrt, Expr) else wrt, [full_like(y, 1)])
    return found[0] if single else found


def vjp(outputs: Sequence[Expr], wrt: Sequence[Expr], cotangents: Sequence[Expr]) -> list[Expr]:
    """Σ cotangentᵢ·∂outputᵢ/∂x for each x: the sweep itself, in reverse order of computation."""
    _check_floating((*outputs, *wrt))
    if [g.spec for g in cotangents] != [y.spec for y in outputs]:
        given, wanted = (", ".join(str(x.spec) for x in xs) for xs in (cotangents, outputs))
        raise ShapeError(f"vjp: the cotangents {given} do not match the outputs {wanted}")
    order = toposort(outputs)
    needed = _depending(order, wrt)
    adjoints: dict[Expr, dict[int, Expr]] = {}  # node → output index → the sum over all paths so far

    def receive(node: Expr, index: int, g: Expr) -> None:
        known = adjoints.setdefault(node, {})
        known[index] = known[index] + g if index in known else g

    for y, seed in zip(outputs, cotangents, strict=True):
        receive(y, 0, seed)
    for node in reversed(order):
        if node not in needed or node not in adjoints or not node.inputs:
            continue
        with scope(origin=node.origin):
            for x, index, g in _rule(node, adjoints[node]):
                if g is not None and x in needed:
                    receive(x, index, g)
    return [adjoints[x][0] if x in adjoints else zeros_like(x) for x in wrt]


def _check_floating(nodes: Iterable[Expr]) -> None:
    for x in nodes:
        if not is_float(x.dtype):
            raise DTypeError(
                f"gradient: {x!r} is not floating-point, so it has no derivative; use ops.cast first"
            )


def _rule(node: Expr, adjoint: dict[int, Expr]) -> list[tuple[Expr, int, Expr | None]]:
    """What a node sends back: (input, output index of that input, cotangent)."""
    if node.primitive is ITEM:
        return [(node.inputs[0], node.meta["index"], adjoint[0])]
    if node.primitive is SCAN:
        return [(x, 0, gx) for x, gx in zip(node.inputs, scan_vjp(adjoint, node, vjp), strict=True)]
    g = adjoint[0] if len(node.outputs) == 1 else _complete(node, adjoint)
    if node.primitive is CALL:
        return [(x, 0, gx) for x, gx in zip(node.inputs, _call_vjp(g, node), strict=True)]
    if node.primitive.vjp is None:
        raise ConfigError(f"{node.primitive.name} has no gradient rule")
    sent = node.primitive.vjp(g, node, *node.inputs, **node.meta)
    return [(x, 0, gx) for x, gx in zip(node.inputs, sent, strict=True)]


def _complete(node: Expr, adjoint: dict[int, Expr]) -> tuple[Expr, ...]:
    """A cotangent for every output; zeros for those that nothing depends on."""
    outputs = range(len(node.outputs))
    return tuple(adjoint[i] if i in adjoint else zeros_like(item(node, i)) for i in outputs)


def _call_vjp(g: Any, node: Expr) -> list[Expr | None]:
    """The subgraph's own gradient where it has one, else the gradient of its body, as a subgraph again."""
    gs = list(g) if isinstance(g, tuple) else [g]
    body: Graph = node.meta["graph"]
    floating = [i for i, x in enumerate(body.inputs) if is_float(x.dtype)]
    live = [i for i, y in enumerate(body.outputs) if is_float(y.dtype)]
    backward: Graph | None = node.meta["gradient"]
    if backward is None:
        seeds = [input(f"g{i}", body.outputs[i].shape, body.outputs[i].dtype) for i in live]
        sent = vjp([body.outputs[i] for i in live], [body.inputs[i] for i in floating], seeds)
        backward = Graph((*seeds, *body.inputs), tuple(sent))
    found = call(backward, *[gs[i] for i in live], *node.inputs)
    sent_back: list[Expr | None] = [None] * len(node.inputs)
    for i, gx in zip(floating, found, strict=True):
        sent_back[i] = gx
    return sent_back


def _depending(order: Sequence[Expr], wrt: Sequence[Expr]) -> set[Expr]:
    """The nodes through which the outputs depend on ``wrt``."""
    found = set(wrt)
    for node in order:
        if any(x in found for x in node.inputs):
            found.add(node)
    return found


def value_and_gradient(y: Expr, wrt: Sequence[Expr]) -> tuple[Expr, list[Expr]]:
    """y and ∂y/∂x for each x."""
    return y, gradient(y, list(wrt))


def jacobian(y: Expr, x: Expr) -> Expr:
    """∂yᵢ/∂xⱼ.   y of shape s, x of shape t → (*s, *t). One sweep per element of y, 256 at the most."""
    if y.size > _MOST_ROWS:
        raise ConfigError(
            f"jacobian: {y.size} rows are unrolled one by one and the limit is {_MOST_ROWS}; "
            "use vjp or hvp products, or take the jacobian of a part of y"
        )
    flat = reshape(y, (y.size,))
    rows = [gradient(flat[i], x) for i in range(y.size)]
    shape = (*y.shape, *x.shape)
    return reshape(stack(rows), shape) if rows else broadcast(constant(0, x.dtype), shape)


def hessian(y: Expr, x: Expr) -> Expr:
    """∂²y/∂xᵢ∂xⱼ of a scalar y.   x of shape t → (*t, *t)"""
    return jacobian(gradient(y, x), x)


def hvp(y: Expr, wrt: Sequence[Expr], vectors: Sequence[Expr]) -> list[Expr]:
    """H v: the Hessian of a scalar y times a vector, as ∂(∂y/∂x · v)/∂x (Pearlmutter 1994)."""
    return vjp(gradient(y, list(wrt)), wrt, vectors)


def jvp(outputs: Sequence[Expr], wrt: Sequence[Expr], tangents: Sequence[Expr]) -> list[Expr]:
    """J v: how much each output moves when every x moves along its tangent, Σ ∂output/∂x · tangent.

    Jᵀu is linear in u, so a sweep back through its graph, from the x to u, multiplies by J. What it finds
    does not depend on u: no value of it is ever needed.

    >>> from chainrule import ops
    >>> x = ops.input("x", (3,))
    >>> jvp([ops.sum(x * x)], [x], [ops.input("v", (3,))])[0].shape
    ()
    """
    _check_floating(outputs)
    u = [input(f"cotangent {i}", y.shape, y.dtype) for i, y in enumerate(outputs)]
    return vjp(vjp(outputs, wrt, u), u, tangents)


def path_count(y: Expr, x: Expr) -> int:
    """How many paths lead from x to y: what the sweep would cost if it followed each one."""
    counts = {x: 1}
    for node in toposort([y]):
        if node is not x:
            counts[node] = sum(counts[i] for i in node.inputs)
    return counts[y]
