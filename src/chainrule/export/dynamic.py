"""The number of rows as an unknown: one graph traced at three batch sizes, and what moves between them.

A graph has static shapes, a file for other programs must not. So the same layers are traced with 7, 100 and
110 rows. The three graphs are the same nodes in the same order; a number in them that stays is a constant,
one that grows with the rows is ``per_row · rows + fixed``: two traces give the line, the third lies on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import ConfigError
from chainrule.graph.expr import INPUT, Expr, toposort
from chainrule.graph.origin import Origin
from chainrule.graph.primitive import Primitive
from chainrule.passes import inlined, optimize, unrolled_scans
from chainrule.spec import DType

__all__ = ["Node", "Size", "Traced", "trace_rows", "unknown_rows"]

ROWS = (7, 100, 110)  # few and many, even and odd: n // 2 or min(n, 64) give no line of whole numbers

Traced = tuple[Mapping[str, Expr], Mapping[str, Expr]]
"""What a trace gives: (inputs by name, outputs by name)."""


@dataclass(frozen=True)
class Size:
    """A number that is known when the rows are: ``per_row · rows + fixed``.

    >>> Size(3, 1).at(10)
    31
    """

    per_row: int | float
    fixed: int | float

    def at(self, rows: int) -> float:
        return self.per_row * rows + self.fixed

    def __str__(self) -> str:
        """``batch``, ``3*batch + 1``: what a reader of the file sees."""
        times = "batch" if self.per_row == 1 else f"{self.per_row}*batch"
        return f"{times} + {self.fixed}" if self.fixed else times


@dataclass(frozen=True, eq=False)
class Node:
    """A node of the graph for any number of rows: sizes in ``shape`` and ``meta`` are numbers or a Size."""

    primitive: Primitive
    inputs: tuple[Node, ...]
    meta: Mapping[str, Any]
    shape: tuple[Any, ...]
    dtype: DType
    origin: Origin

    @property
    def ndim(self) -> int:
        return len(self.shape)


def trace_rows(trace: Callable[[int], Traced]) -> tuple[dict[str, Node], dict[str, Node]]:
    """(inputs, outputs) by name of the graph that ``trace(rows)`` builds, for any number of rows.

    ConfigError, naming the layer, where the graph depends on the rows in another way than by sizes.

    >>> from chainrule import ops
    >>> def trace(rows):
    ...     x = ops.input("x", (rows, 4))
    ...     return {"x": x}, {"y": ops.reshape(x, (2 * rows, 2))}
    >>> str(trace_rows(trace)[1]["y"].shape[0])
    '2*batch'
    """
    traces = [trace(n) for n in ROWS]
    flat = [optimize(inlined(unrolled_scans(inlined(list(outputs.values()))))) for _, outputs in traces]
    orders = [toposort(outputs) for outputs in flat]
    if len({len(order) for order in orders}) > 1:
        raise _differs(Origin())
    places = [{x: i for i, x in enumerate(order)} for order in orders]
    nodes: list[Node] = []
    for alike in zip(*orders, strict=True):
        nodes.append(_merged(alike, places, nodes))
    found = {name: nodes[places[0][y]] for name, y in zip(traces[0][1], flat[0], strict=True)}
    given: dict[str, Node] = {}
    for name in traces[0][0]:
        same = tuple(inputs[name] for inputs, _ in traces)
        place = places[0].get(same[0])
        given[name] = _merged(same, places, nodes) if place is None else nodes[place]
    return given, found


def unknown_rows(shape: Sequence[Any]) -> bool:
    """Whether a shape depends on the number of rows."""
    return any(isinstance(n, Size) for n in shape)


# ------------------------------------------------------------------ three nodes are one


def _merged(same: tuple[Expr, ...], places: Sequence[Mapping[Expr, int]], nodes: Sequence[Node]) -> Node:
    first = same[0]
    operands = {tuple(place[x] for x in node.inputs) for node, place in zip(same, places, strict=True)}
    if len({node.primitive for node in same}) > 1 or len(operands) > 1:
        raise _differs(first.origin)
    meta = {
        name: _merged_value([node.meta[name] for node in same], first)
        for name in first.meta
        if first.primitive is not INPUT or name == "name"
    }
    shape = _merged_value([node.shape for node in same], first)
    return Node(
        first.primitive, tuple(nodes[i] for i in operands.pop()), meta, shape, first.dtype, first.origin
    )


def _merged_value(values: Sequence[Any], node: Expr) -> Any:
    """The value, where all are equal; sizes that grow with the rows; tuples of these."""
    first = values[0]
    if isinstance(first, tuple) and all(len(v) == len(first) for v in values):
        return tuple(_merged_value(column, node) for column in zip(*values, strict=True))
    if isinstance(first, np.ndarray):
        if all(_equal_arrays(v, first) for v in values):
            return first
        if first.shape == ():
            return _line([v.item() for v in values], node)
    elif all(v == first for v in values):
        return first
    elif isinstance(first, int | float):
        return _line(values, node)
    raise _differs(node.origin)


def _line(values: Sequence[float], node: Expr) -> Size:
    """The line through the first two points; ConfigError where the third lies elsewhere."""
    per_row = (values[1] - values[0]) / (ROWS[1] - ROWS[0])
    found = Size(_whole(per_row), _whole(values[0] - per_row * ROWS[0]))
    whole = type(values[0]) is float or {type(found.per_row), type(found.fixed)} == {int}
    if found.at(ROWS[2]) != values[2] or not whole:
        raise _differs(node.origin)
    return found


def _whole(x: float) -> int | float:
    return int(x) if float(x).is_integer() else x


def _equal_arrays(a: Any, b: Any) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _differs(origin: Origin) -> ConfigError:
    place = f" (in {origin})" if str(origin) else ""
    return ConfigError(
        f"the network computes something else for another number of rows{place}, so no file can hold it for "
        "all of them; a layer may use the batch size only in shapes and as a number"
    )
