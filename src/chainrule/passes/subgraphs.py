"""Passes go into subgraphs: the bodies of CALL, wherever metadata holds one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.graph.expr import Expr, Graph

__all__ = ["Subgraphs"]


class Subgraphs:
    """A pass applied to every subgraph in a node's metadata; one subgraph used twice stays one."""

    def __init__(self, run: Callable[[Sequence[Expr]], list[Expr]]) -> None:
        self.run = run
        self.done: dict[Graph, Graph] = {}

    def __call__(self, node: Expr) -> Expr:
        """The node with its subgraphs passed through; the node itself where it has none."""
        if not node.meta or not any(isinstance(v, Graph) for v in node.meta.values()):
            return node
        meta = {k: self._pass(v) if isinstance(v, Graph) else v for k, v in node.meta.items()}
        return Expr(node.primitive, node.inputs, meta, node.outputs, node.origin)

    def _pass(self, graph: Graph) -> Graph:
        if graph not in self.done:
            self.done[graph] = Graph(graph.inputs, tuple(self.run(graph.outputs)))
        return self.done[graph]
