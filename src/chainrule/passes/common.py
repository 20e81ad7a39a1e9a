"""Common subexpressions: nodes that mean the same become one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.graph.expr import INPUT, Expr, rebuild, toposort
from chainrule.passes.subgraphs import Subgraphs

__all__ = ["merge_common"]

_COMPARED = 1 << 16  # bytes: larger constants are the same only where they are one array


def merge_common(outputs: Sequence[Expr]) -> list[Expr]:
    """The same graph, in which equal operations on equal inputs are computed once. The first origin stays."""
    image: dict[Expr, Expr] = {}
    known: dict[Any, Expr] = {}
    subgraphs = Subgraphs(merge_common)
    for node in toposort(outputs):
        new = rebuild(node, tuple([image[x] for x in node.inputs]))
        if node.primitive is not INPUT:
            new = subgraphs(new)
            new = known.setdefault((new.primitive, new.inputs, _key(new.meta)), new)
        image[node] = new
    return [image[y] for y in outputs]


def _key(meta: Mapping[str, Any]) -> Any:
    """Metadata by meaning: arrays by dtype, shape and bytes, subgraphs by identity."""
    return tuple([(k, _array_key(v) if isinstance(v, np.ndarray) else v) for k, v in sorted(meta.items())])


def _array_key(array: np.ndarray[Any, Any]) -> Any:
    return array.dtype, array.shape, array.tobytes() if array.nbytes <= _COMPARED else id(array)
