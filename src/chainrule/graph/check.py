"""check: infers every node of a graph anew and compares. What a pass must leave standing."""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.errors import ChainruleError, ShapeError
from chainrule.graph.expr import INPUT, Expr, Graph, toposort
from chainrule.graph.origin import locate
from chainrule.graph.primitive import PRIMITIVES
from chainrule.spec import Spec

__all__ = ["check"]


def check(outputs: Iterable[Expr]) -> None:
    """Raise ShapeError or DTypeError where a node's recorded types are not what its inputs and metadata give.

    Subgraphs are checked too, and that they use no input but their own.

    >>> from chainrule import ops
    >>> check([ops.input("x", (3, 2)) @ ops.input("W", (2, 4))])
    """
    for node in toposort(outputs):
        if PRIMITIVES.get(node.primitive.name) is not node.primitive:
            raise _error(node, f"{node!r} is of a primitive outside the closed set")
        found = _inferred(node)
        if found != node.outputs:
            recorded, inferred = (", ".join(map(str, specs)) for specs in (node.outputs, found))
            raise _error(
                node, f"{node.primitive.name} is recorded as {recorded}, but its inputs give {inferred}"
            )
        for value in node.meta.values():
            if isinstance(value, Graph):
                _check_closed(value, node)
                check(value.outputs)


def _inferred(node: Expr) -> tuple[Spec, ...]:
    specs = [x.outputs[0] if len(x.outputs) == 1 else x.outputs for x in node.inputs]
    try:
        found = node.primitive.infer(*specs, **node.meta)
    except ChainruleError as error:
        locate(error, node.origin)
        raise
    return (found,) if isinstance(found, Spec) else tuple(found)


def _check_closed(graph: Graph, node: Expr) -> None:
    known = set(graph.inputs)
    for x in toposort(graph.outputs):
        if x.primitive is INPUT and x not in known:
            raise _error(node, f"the subgraph of {node!r} uses the foreign input {x.meta['name']!r}")


def _error(node: Expr, message: str) -> ShapeError:
    error = ShapeError(f"check: {message}")
    locate(error, node.origin)
    return error
