"""Scans of the same carries become one, and give only what is read; or every scan becomes its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chainrule.graph.expr import ITEM, Expr, Graph, constant, rebuild, substitute, toposort
from chainrule.graph.origin import scope
from chainrule.ops.repetition import SCAN, close, parts, repeat
from chainrule.ops.shape import broadcast, stack
from chainrule.passes.subgraphs import inlined

__all__ = ["settle_scans", "unrolled_scans"]


@dataclass(eq=False)
class _Joint:
    """Scans of the same carries over the same inputs, which differ in their outputs alone."""

    node: Expr
    wanted: dict[Expr, None] = field(default_factory=dict)  # outputs of the body that somebody reads
    made: dict[Expr, Expr] = field(default_factory=dict)  # → their stacks
    finals: tuple[Expr, ...] | None = None


def settle_scans(outputs: Sequence[Expr]) -> list[Expr]:
    """The same values, with every scan once and with no output that is not read.

    A gradient repeats the forward scan with more outputs: on the same body, whose nodes tell that it is one.
    Calls in bodies are opened; what only an opened call needed falls away in the next round.
    """
    found, before = list(outputs), -1
    while (count := _given(found)) not in (0, before):
        found, before = _settled(found), count
    return found


def _given(outputs: Sequence[Expr]) -> int:
    """Scans, and all that goes in and out of them."""
    scans = [node for node in toposort(outputs) if node.primitive is SCAN]
    return sum(1 + len(node.inputs) + len(node.outputs) for node in scans)


def _settled(outputs: Sequence[Expr]) -> list[Expr]:
    order = toposort(outputs)
    joint = _found(order, outputs)
    image: dict[Expr, Expr] = {}
    for node in order:
        if node in joint:
            group = joint[node]
            if group.finals is None:
                _make(group, image)
            image[node] = _output(group, node, 0) if len(node.outputs) == 1 else node
        elif node.primitive is ITEM and node.inputs[0] in joint:
            image[node] = _output(joint[node.inputs[0]], node.inputs[0], node.meta["index"])
        else:
            image[node] = rebuild(node, tuple(image[x] for x in node.inputs))
    return [image[y] for y in outputs]


def _found(order: Sequence[Expr], outputs: Sequence[Expr]) -> dict[Expr, _Joint]:
    known: dict[Any, _Joint] = {}
    joint: dict[Expr, _Joint] = {}
    for node in order:
        if node.primitive is SCAN:
            body, n = node.meta["body"], node.meta["carries"]
            key = node.inputs, body.inputs, body.outputs[:n], node.meta["steps"], node.meta["reverse"]
            joint[node] = known.setdefault(key, _Joint(node))
        if node.primitive is ITEM and node.inputs[0] in joint:
            _read(joint[node.inputs[0]], node.inputs[0], node.meta["index"])
        elif node in joint and len(node.outputs) == 1:
            _read(joint[node], node, 0)
    return joint


def _read(group: _Joint, node: Expr, index: int) -> None:
    if index >= node.meta["carries"]:
        group.wanted[node.meta["body"].outputs[index]] = None


def _make(group: _Joint, image: dict[Expr, Expr]) -> None:
    node, body = group.node, group.node.meta["body"]
    carries, sequences, constants = ([image[x] for x in xs] for xs in parts(node))
    n, steps = len(carries), node.meta["steps"]
    with scope(origin=node.origin):
        if not steps:
            group.finals = tuple(carries)
            group.made = {y: broadcast(constant(0, y.dtype), (0, *y.shape)) for y in group.wanted}
            return
        graph = Graph(body.inputs, (*body.outputs[:n], *group.wanted))
        graph, constants = _slim(graph, n + len(sequences), constants)
        graph, sequences = _read_ones(graph, n, sequences)
        found = repeat(graph, carries, sequences, constants, steps, node.meta["reverse"])
    group.finals = found[:n]
    group.made = dict(zip(group.wanted, found[n:], strict=True))


def _slim(graph: Graph, own: int, constants: Sequence[Expr]) -> tuple[Graph, list[Expr]]:
    """Without constants that are not read; with a constant for whatever depends on constants alone."""
    outputs = settle_scans(inlined(graph.outputs))
    body, lifted = close(outputs, graph.inputs[:own])
    values = dict(zip(graph.inputs[own:], constants, strict=True))
    for node in toposort(lifted):
        if node not in values:
            values[node] = rebuild(node, tuple(values[x] for x in node.inputs))
    return body, [values[x] for x in lifted]


def _read_ones(graph: Graph, first: int, sequences: Sequence[Expr]) -> tuple[Graph, list[Expr]]:
    """Without sequences that no step reads."""
    used, last = set(toposort(graph.outputs)), first + len(sequences)
    kept = [i for i in range(first, last) if graph.inputs[i] in used]
    inputs = (*graph.inputs[:first], *(graph.inputs[i] for i in kept), *graph.inputs[last:])
    return Graph(inputs, graph.outputs), [sequences[i - first] for i in kept]


def _output(group: _Joint, node: Expr, index: int) -> Expr:
    if group.finals is not None and index < len(group.finals):
        return group.finals[index]
    return group.made[node.meta["body"].outputs[index]]


def unrolled_scans(outputs: Sequence[Expr]) -> list[Expr]:
    """The same graph with every scan as so many copies of its body."""
    image: dict[Expr, Expr] = {}
    given: dict[Expr, list[Expr]] = {}
    for node in toposort(outputs):
        if node.primitive is SCAN:
            given[node] = _steps(node, [image[x] for x in node.inputs])
            image[node] = given[node][0] if len(node.outputs) == 1 else node
        elif node.primitive is ITEM and node.inputs[0] in given:
            image[node] = given[node.inputs[0]][node.meta["index"]]
        else:
            image[node] = rebuild(node, tuple(image[x] for x in node.inputs))
    return [image[y] for y in outputs]


def _steps(node: Expr, inputs: Sequence[Expr]) -> list[Expr]:
    body, n, m, steps = (node.meta[k] for k in ("body", "carries", "sequences", "steps"))
    inside = unrolled_scans(body.outputs)
    carries, every = list(inputs[:n]), list[list[Expr]]()
    with scope(origin=node.origin):
        for t in range(steps)[:: -1 if node.meta["reverse"] else 1]:
            places = [x[t] for x in inputs[n : n + m]]
            found = substitute(
                inside, dict(zip(body.inputs, [*carries, *places, *inputs[n + m :]], strict=True))
            )
            carries = found[:n]
            every.append(found[n:])
        if node.meta["reverse"]:
            every.reverse()
        empty = [broadcast(constant(0, y.dtype), y.shape) for y in node.outputs[n:]]
        return [*carries, *((stack(list(ys)) for ys in zip(*every, strict=True)) if every else empty)]
