"""draw_graph: a computational graph as textbooks draw it, the value above each wire, the gradient below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import svg
from chainrule.autodiff import gradient
from chainrule.errors import ConfigError
from chainrule.executors import evaluate
from chainrule.graph.expr import CONSTANT, INPUT, Expr, toposort
from chainrule.spec import is_float

__all__ = ["draw_graph"]

_MOST_NODES = 200
_MOST_NUMBERS = 4  # of an array that are written out; a larger one is told by its norm
_SYMBOLS = {
    "add": "+",
    "sub": "−",
    "neg": "−",
    "mul": "×",
    "div": "÷",
    "matmul": "@",
    "pow": "^",
    "sqrt": "√",
    "sum": "Σ",
    "sigmoid": "σ",
    "less": "<",
    "less_equal": "≤",
    "equal": "=",
    "logical_and": "∧",
    "logical_or": "∨",
    "logical_not": "¬",
}

Array = npt.NDArray[Any]


def draw_graph(
    y: Expr,
    given: Mapping[Expr, Any] | None = None,
    *,
    gradients: bool = True,
    name: str = "f",
    title: str = "",
) -> svg.Markup:
    """The graph of y as SVG, inputs on the left.

    With arrays ``given`` for the inputs each wire carries the value of the node it comes from and, below, the
    gradient ∂y/∂value, summed over all paths; y must be a scalar then, unless ``gradients=False``.
    Scalars and short vectors are written out, larger arrays by their norm. A scalar constant stands in the
    operation that uses it: ``+1``, ``1/x``. ``name`` is what y is called. ConfigError above 200 nodes.

    >>> from chainrule import ops
    >>> x, y, z = (ops.input(name) for name in "xyz")
    >>> drawing = draw_graph((x + y) * z, {x: -2, y: 5, z: -4})
    >>> [words in drawing for words in (">×<", ">−12<", ">−4<")]
    [True, True, True]
    """
    order = toposort([y])
    numbers = _scalar_constants(order)
    shown = [node for node in order if node not in numbers]
    if len(shown) > _MOST_NODES:
        raise ConfigError(
            f"draw_graph: {len(shown)} nodes cannot be read in one picture ({_MOST_NODES} can); "
            "draw a part of the graph, or print it with graph.to_text"
        )
    values, slopes = _labels(y, shown, given, gradients)
    places = {node: str(i) for i, node in enumerate(shown)}
    nodes = [_node(node, places[node], numbers) for node in shown]
    edges = [
        svg.Edge(places[x], places[node], values.get(x, ""), slopes.get(x, ""))
        for node in shown
        for x in node.inputs
        if x in places
    ]
    if y in places:
        edges.append(svg.Edge(places[y], name, values.get(y, ""), slopes.get(y, "")))
    return svg.graph_drawing([*nodes, svg.Node(name, (name,), "output")], edges, title=title)


def _labels(
    y: Expr, shown: Sequence[Expr], given: Mapping[Expr, Any] | None, gradients: bool
) -> tuple[dict[Expr, str], dict[Expr, str]]:
    """What stands above and below the wires that leave each node; both come from one evaluation."""
    if given is None:
        return {}, {}
    single = [node for node in shown if len(node.outputs) == 1]
    floating = [node for node in single if is_float(node.dtype)] if gradients else []
    found = evaluate([*single, *(gradient(y, floating) if floating else ())], given)
    values = dict(zip(single, map(_written, found), strict=False))
    return values, dict(zip(floating, map(_written, found[len(single) :]), strict=True))


def _written(value: Array) -> str:
    if not value.shape:
        return _number(value)
    if value.size <= _MOST_NUMBERS:
        return f"[{' '.join(_number(v) for v in value.ravel())}]"
    return f"‖{_number(np.linalg.norm(value.ravel().astype(np.float64)))}‖"


def _number(value: Any) -> str:
    """Four decimals, as the textbooks print them; −0 is 0."""
    number = value.item() if isinstance(value, np.generic | np.ndarray) else value
    if isinstance(number, bool | int):
        return str(number).replace("-", "−")
    if np.isfinite(number) and 1e-3 <= abs(number) < 1e4:
        return f"{number:.4f}".rstrip("0").rstrip(".").replace("-", "−")
    return svg.number(number + 0.0)


# ------------------------------------------------------------------ boxes


def _scalar_constants(order: Sequence[Expr]) -> dict[Expr, str]:
    """Scalar constants, and what only stretches them, with the number to write where they are used."""
    numbers: dict[Expr, str] = {}
    for node in order[:-1]:
        if node.primitive is CONSTANT and not node.shape:
            numbers[node] = _number(node.meta["value"])
        elif node.primitive.name in ("broadcast", "cast") and node.inputs[0] in numbers:
            numbers[node] = numbers[node.inputs[0]]
    return numbers


def _node(node: Expr, place: str, numbers: Mapping[Expr, str]) -> svg.Node:
    if node.primitive is INPUT:
        kind = "parameter" if "/" in node.meta["name"] else "input"
        return svg.Node(place, (node.meta["name"], *_shape(node)), kind)
    if node.primitive is CONSTANT:
        return svg.Node(place, ("constant", *_shape(node)), "constant")
    return svg.Node(place, (_operation(node, numbers), *_shape(node)), "operation")


def _shape(node: Expr) -> tuple[str, ...]:
    """A second line for whatever is not a scalar."""
    if len(node.outputs) > 1 or not node.shape:
        return ()
    return ("×".join(map(str, node.shape)),)


def _operation(node: Expr, numbers: Mapping[Expr, str]) -> str:
    """``+``, or with a number among its operands ``+1``, ``1/x``, ``max(x, 0)``."""
    symbol = _SYMBOLS.get(node.primitive.name, node.primitive.name)
    constants = [numbers.get(x) for x in node.inputs]
    if not any(constants):
        return symbol
    operands = [c if c is not None else "x" for c in constants]
    if len(operands) != 2 or len(symbol) > 1:
        return f"{symbol}({', '.join(operands)})"
    left, right = operands
    symbol = "/" if symbol == "÷" else symbol
    if constants[0] is None:
        return f"{symbol}{right}" if not right.startswith("−") else f"{symbol}({right})"
    if node.primitive.name in ("add", "mul"):
        return f"{symbol}{left}" if not left.startswith("−") else f"{symbol}({left})"
    return f"{left}{symbol}{right}"
