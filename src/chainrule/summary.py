"""The table that ``net.summary()`` prints."""

from __future__ import annotations

from chainrule.graph.expr import Expr, toposort
from chainrule.ops.linalg import MATMUL
from chainrule.train.objective import Model

__all__ = ["multiply_adds", "summarize"]


def multiply_adds(outputs: list[Expr]) -> int:
    """m·k·n summed over the matrix products of a graph."""
    products = [n for n in toposort(outputs) if n.primitive is MATMUL]
    return sum(n.size * n.inputs[0].shape[-1] for n in products)


def summarize(model: Model) -> str:
    """One line per layer: its path, what it gives for a batch, its parameters; then the totals."""
    outputs, run = model.trace(model.batch_inputs(1), training=False)
    sizes = {name: p.spec.size for name, p in model.parameters.items()}
    rows = [("layer", "output", "parameters")]
    rows += [(f"input {name}", _shape(s.shape), "") for name, s in model.inputs.items()]
    for path, node in run.outputs.items():
        own = sum(size for name, size in sizes.items() if name.rpartition("/")[0] == path)
        rows.append((path or "output", _shape(node.shape[1:]), f"{own:,}" if own else ""))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        "  ".join((a.ljust(widths[0]), b.ljust(widths[1]), c.rjust(widths[2]))).rstrip() for a, b, c in rows
    ]
    total, work = sum(sizes.values()), multiply_adds(list(outputs.values()))
    return "\n".join([*lines, f"{total:,} parameters, {work:,} multiply-adds a sample, {model.dtype.name}"])


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['batch', *map(str, shape)])})"
