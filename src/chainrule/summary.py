"""The table that ``net.summary()`` prints, and that notebooks show."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chainrule.config import to_source
from chainrule.graph.expr import CALL, Expr, toposort
from chainrule.nn import Sequential, Step
from chainrule.ops.convolution import CONV
from chainrule.ops.linalg import MATMUL
from chainrule.ops.repetition import SCAN
from chainrule.svg.markup import Markup, element, escape
from chainrule.train.objective import Model

__all__ = ["count_multiply_adds", "steps_as_written", "summarize", "summarize_html"]


def count_multiply_adds(y: Expr) -> int:
    """The multiply-adds of the products that y needs; the sweep backwards needs at most twice as many.

    >>> from chainrule import ops
    >>> count_multiply_adds(ops.input("x", (1, 784)) @ ops.input("W", (784, 225)))
    176400
    """
    return _multiply_adds([y])


def _multiply_adds(outputs: Sequence[Expr]) -> int:
    found = 0
    for node in toposort(outputs):
        if node.primitive is MATMUL:
            found += node.size * node.inputs[0].shape[-1]
        elif node.primitive is CONV:
            found += node.size * math.prod(node.inputs[1].shape[:-1])
        elif node.primitive is CALL:
            found += _multiply_adds(node.meta["graph"].outputs)
        elif node.primitive is SCAN:
            found += node.meta["steps"] * _multiply_adds(node.meta["body"].outputs)
    return found


def steps_as_written(layer: Step) -> str:
    """The arguments with which a network of this layer is made.

    >>> from chainrule import nn, ops
    >>> steps_as_written(nn.sequential(nn.Dense(3), ops.relu, head=nn.Dense(2)))
    'dense_0=Dense(units=3), relu_0=relu, head=Dense(units=2)'
    """
    if not isinstance(layer, Sequential):
        return to_source(layer)
    return ", ".join(f"{name}={to_source(step)}" for name, step in layer.steps)


def summarize(model: Model) -> str:
    """One line per layer: its path, what it gives for a batch, its parameters; then the totals."""
    rows, totals = _rows(model)
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        "  ".join((a.ljust(widths[0]), b.ljust(widths[1]), c.rjust(widths[2]))).rstrip() for a, b, c in rows
    ]
    return "\n".join([*lines, totals])


def summarize_html(layer: Step, model: Model | None) -> str:
    """The same as an HTML table, for notebooks, in their own style; before it is built its layers as written.

    >>> from chainrule import nn
    >>> summarize_html(nn.sequential(nn.Dense(3)), None)
    '<table><tr><td>dense_0</td><td>Dense(units=3)</td></tr></table>'
    """
    if model is None:
        steps = layer.steps if isinstance(layer, Sequential) else (("", layer),)
        return _table([(name, to_source(step)) for name, step in steps])
    rows, totals = _rows(model)
    return _table(rows[1:], head=rows[0]) + element("p", escape(totals))


def _table(rows: Sequence[tuple[str, ...]], head: tuple[str, ...] = ()) -> Markup:
    lines = [element("tr", *(element("td", escape(cell)) for cell in row)) for row in rows]
    names = [element("tr", *(element("th", escape(name)) for name in head))] if head else []
    return element("table", *names, *lines)


def _rows(model: Model) -> tuple[list[tuple[str, str, str]], str]:
    """(The heading and a row for every input and layer, the totals in one line.)"""
    outputs, run = model.trace(model.batch_inputs(1), training=False)
    sizes = {name: p.spec.size for name, p in model.parameters.items()}
    rows = [("layer", "output", "parameters")]
    rows += [(f"input {name}", _shape(s.shape), "") for name, s in model.inputs.items()]
    for path, node in run.outputs.items():
        own = sum(size for name, size in sizes.items() if name.rpartition("/")[0] == path)
        rows.append((path or "output", _shape(node.shape[1:]), f"{own:,}" if own else ""))
    total, work = sum(sizes.values()), sum(map(count_multiply_adds, outputs.values()))
    return rows, f"{total:,} parameters, {work:,} multiply-adds a sample, {model.dtype.name}"


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['batch', *map(str, shape)])})"
