"""to_text: a graph as lines that a person can read, one for each node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from chainrule.graph.expr import CONSTANT, INPUT, Expr, Graph, toposort

__all__ = ["to_text"]

_WIDEST = 64  # characters of a call; longer ones push their own spec to the right, not everyone's


def to_text(outputs: Iterable[Expr]) -> str:
    """One line for each node: ``name = operation(arguments, metadata)  spec  # layer, function``.

    Scalar constants, stretched or not, stand as numbers where they are used.
    Subgraphs follow their node, indented.

    >>> from chainrule import ops
    >>> from chainrule.graph.origin import scope
    >>> x, W = ops.input("x", (100, 784)), ops.input("W", (784, 10))
    >>> with scope("dense_0"):
    ...     y = 0.5 * ops.mean(x @ W, 0)
    >>> print(to_text([y]))
    x = input                float32[100, 784]
    W = input                float32[784, 10]
    %0 = matmul(x, W)        float32[100, 10]   # dense_0
    %1 = sum(%0, axes=(0,))  float32[10]        # dense_0, mean
    %2 = div(%1, 100)        float32[10]        # dense_0, mean
    %3 = mul(0.5, %2)        float32[10]        # dense_0
    return %3
    """
    return "\n".join(_lines(list(outputs), ()))


Row = tuple[str, str, str, list[str]]  # call, specs, origin, the lines of the node's subgraphs


def _lines(outputs: Sequence[Expr], inputs: Sequence[Expr]) -> list[str]:
    names: dict[Expr, str] = {}
    taken: set[str] = set()
    rows: list[Row] = []
    count = 0
    for node in toposort([*inputs, *outputs]):
        number = _number(node)
        if number is not None:
            names[node] = number
            continue
        if node.primitive is INPUT:
            names[node] = _distinct(node.meta["name"], taken)
        else:
            names[node], count = f"%{count}", count + 1
        call = f"{names[node]} = {_call(node, names)}"
        rows.append((call, ", ".join(map(str, node.outputs)), _origin(node), _subgraphs(node)))
    return [*_aligned(rows), f"return {', '.join(names[y] for y in outputs)}"]


def _number(node: Expr) -> str | None:
    """A scalar constant, or one that only its consumers' shapes stretch, as a number."""
    if node.primitive.name == "broadcast":
        return _number(node.inputs[0])
    if node.primitive is not CONSTANT or node.shape:
        return None
    value = node.meta["value"].item()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _distinct(name: str, taken: set[str]) -> str:
    """Two inputs of one name are told apart by a number."""
    found, k = name, 2
    while found in taken:
        found, k = f"{name}#{k}", k + 1
    taken.add(found)
    return found


def _call(node: Expr, names: dict[Expr, str]) -> str:
    if node.primitive is INPUT:
        return "input"
    meta = [f"{k}={_meta(v)}" for k, v in node.meta.items() if not isinstance(v, Graph | None)]
    return f"{node.primitive.name}({', '.join([*(names[x] for x in node.inputs), *meta])})"


def _meta(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return np.array2string(value, threshold=6, edgeitems=2, precision=4).replace("\n", "")
    return value.name if isinstance(value, np.dtype) else str(value)


def _origin(node: Expr) -> str:
    composed = node.origin.operation if node.origin.operation != node.primitive.name else ""
    place = ", ".join(part for part in (node.origin.path, composed) if part)
    return f"# {place}" if place and node.primitive is not INPUT else ""


def _subgraphs(node: Expr) -> list[str]:
    lines = []
    for key, graph in node.meta.items():
        if isinstance(graph, Graph):
            lines.append(f"    {key}({', '.join(x.meta['name'] for x in graph.inputs)}):")
            lines += [f"        {line}" for line in _lines(graph.outputs, graph.inputs)]
    return lines


def _aligned(rows: Sequence[Row]) -> list[str]:
    calls = max((len(call) for call, *_ in rows if len(call) <= _WIDEST), default=0)
    specs = max((len(spec) for _, spec, *_ in rows), default=0)
    lines = []
    for call, spec, origin, subgraphs in rows:
        lines.append(f"{call:{calls}}  {spec:{specs}}  {origin}".rstrip())
        lines += subgraphs
    return lines
