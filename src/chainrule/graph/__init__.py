"""The graph: nodes, what they mean, how they are checked and printed. Nothing here computes.

expr.py       Expr (a node), Graph (a subgraph), walking and rebuilding
primitive.py  Primitive: what a node means, and the closed set of them
origin.py     where a node comes from: layer, operation, line
check.py      check: infers a graph anew
text.py       to_text: prints one
"""

from chainrule.graph.check import check
from chainrule.graph.expr import (
    CALL,
    CONSTANT,
    INPUT,
    ITEM,
    Expr,
    Graph,
    apply,
    rebuild,
    substitute,
    toposort,
)
from chainrule.graph.origin import Origin, scope
from chainrule.graph.primitive import PRIMITIVES, Primitive
from chainrule.graph.text import to_text

__all__ = [
    "CALL",
    "CONSTANT",
    "INPUT",
    "ITEM",
    "PRIMITIVES",
    "Expr",
    "Graph",
    "Origin",
    "Primitive",
    "apply",
    "check",
    "rebuild",
    "scope",
    "substitute",
    "to_text",
    "toposort",
]
