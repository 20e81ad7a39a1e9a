"""Writes a traced graph into an ONNX graph: what is needed, in order, under the layers' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chainrule.errors import ConfigError
from chainrule.export.dynamic import Node
from chainrule.export.emit import Emitter
from chainrule.export.patterns import known_pattern, unstretched
from chainrule.export.primitives import HOW, NOT_IN_A_FILE
from chainrule.graph.expr import INPUT
from chainrule.ops.elementwise import ELEMENTWISE
from chainrule.ops.shape import BROADCAST

__all__ = ["write_graph"]


def write_graph(
    e: Emitter,
    outputs: Mapping[str, Node],
    given: Mapping[Node, str],
    state: Mapping[str, np.ndarray],
) -> dict[str, str]:
    """The tensors of the outputs, by name.

    given    the tensors of inputs
    state    the weights, which become initialisers under their paths

    ConfigError for what no file can hold.
    """
    tensors: dict[Node, str] = dict(given)
    order = _needed(list(outputs.values()), tensors)
    for node in order:
        if node.primitive is not INPUT and node.primitive in NOT_IN_A_FILE:
            place = f" (in {node.origin})" if str(node.origin) else ""
            raise ConfigError(f"{node.primitive} cannot be exported{place}: {NOT_IN_A_FILE[node.primitive]}")
    for node in order:
        e.path = node.origin.path
        if node.primitive is INPUT:
            tensors[node] = e.initializer(node.meta["name"], state[node.meta["name"]])
        else:
            tensors[node] = _write(e, node, tensors)
    e.path = ""
    return {name: tensors[y] for name, y in outputs.items()}


def _write(e: Emitter, node: Node, tensors: Mapping[Node, str]) -> str:
    if pattern := known_pattern(node):
        return e(pattern.operator, *[tensors[x] for x in pattern.operands], **pattern.attributes)
    return HOW[node.primitive](e, node, *[tensors[x] for x in _operands(node)])


def _operands(node: Node) -> tuple[Node, ...]:
    """What a node reads. Operators stretch their operands themselves, so broadcasts are left out while one
    operand keeps the full shape."""
    if pattern := known_pattern(node):
        return pattern.operands
    if node.primitive not in ELEMENTWISE or all(x.primitive is BROADCAST for x in node.inputs):
        return node.inputs
    return tuple(unstretched(x) for x in node.inputs)


def _needed(outputs: Sequence[Node], known: Mapping[Node, str]) -> list[Node]:
    """Every node that the outputs need and that is not known, each after its operands."""
    order: list[Node] = []
    seen: set[Node] = set(known)
    stack = [(y, False) for y in reversed(outputs)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((x, False) for x in reversed(_operands(node)) if x not in seen)
    return order
