"""Passes go into subgraphs: the bodies of CALL and of scan, wherever metadata holds one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.graph.expr import CALL, CONSTANT, INPUT, ITEM, Expr, Graph, rebuild, toposort

__all__ = ["Subgraphs", "inlined"]


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


def inlined(outputs: Sequence[Expr]) -> list[Expr]:
    """The same graph with the bodies of CALL in the place of the calls."""
    return _copied(outputs, {})


def _copied(outputs: Sequence[Expr], image: dict[Expr, Expr]) -> list[Expr]:
    bodies: dict[Expr, list[Expr]] = {}
    for node in toposort(outputs):
        if node in image or node.primitive in (INPUT, CONSTANT):
            image.setdefault(node, node)
        elif node.primitive is CALL:
            body = node.meta["graph"]
            given = {x: image[y] for x, y in zip(body.inputs, node.inputs, strict=True)}
            bodies[node] = _copied(body.outputs, given)
            image[node] = bodies[node][0] if len(node.outputs) == 1 else node
        elif node.primitive is ITEM and node.inputs[0] in bodies:
            image[node] = bodies[node.inputs[0]][node.meta["index"]]
        else:
            image[node] = rebuild(node, tuple(image[x] for x in node.inputs))
    return [image[y] for y in outputs]
