"""Common subexpressions: nodes that mean the same become one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chainrule.graph.expr import INPUT, Expr, rebuild, toposort

__all__ = ["merge_common"]


def merge_common(outputs: Sequence[Expr]) -> list[Expr]:
    """The same graph in which equal operations on equal inputs are computed once. The first one's origin stays."""
    image: dict[Expr, Expr] = {}
    known: dict[Any, Expr] = {}
    for node in toposort(outputs):
        if node.primitive is INPUT:
            image[node] = node
            continue
        new = rebuild(node, tuple(image[x] for x in node.inputs))
        key = (node.primitive, new.inputs, _key(node.meta), new.outputs)
        image[node] = known.setdefault(key, new)
    return [image[y] for y in outputs]


def _key(meta: Mapping[str, Any]) -> Any:
    """Metadata by meaning: arrays by their bytes, subgraphs by identity."""
    return tuple((k, v.tobytes() if k == "value" else v) for k, v in sorted(meta.items()))


