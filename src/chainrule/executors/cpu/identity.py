"""What IR depends on, as a text: where two texts are equal, so is the IR that the compiler would write."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.executors.cpu.kernels import Buffer
from chainrule.graph.expr import CONSTANT, INPUT, Expr, Graph, toposort

__all__ = ["compiler_version", "identity"]


def identity(
    roots: Sequence[Expr], leaves: Mapping[Expr, Buffer], wanted: Sequence[object], *settings: object
) -> str:
    """The graph, what its inputs are to the step, what is wanted, and the compiler itself.

    Values of arrays do not count: they lie in memory, not in the code; those of scalars do.
    """
    number: dict[Expr, int] = {}
    lines = [compiler_version(), repr(settings), repr(wanted)]
    for node in toposort([*leaves, *roots]):
        number[node] = len(number)
        buffer = leaves.get(node)
        what = _leaf(buffer) if buffer is not None else _meta(node)
        inputs = " ".join([str(number[x]) for x in node.inputs])
        specs = " ".join([f"{s.shape} {s.dtype.char}" for s in node.outputs])
        lines.append(f"{node.primitive.name} {inputs} {specs} {what}")
    lines.append(" ".join([str(number[x]) for x in roots]))
    return "\n".join(lines)


def _leaf(buffer: Buffer) -> str:
    return f"{buffer.home} {buffer.layout.strides} {'roomy' if buffer.roomy else 'exact'}"


def _meta(node: Expr) -> str:
    if node.primitive is CONSTANT:
        value: np.ndarray[Any, Any] = node.meta["value"]
        return value.tobytes().hex() if value.size == 1 else ""
    meta = {k: _body(v) if isinstance(v, Graph) else v for k, v in node.meta.items()}
    return repr(sorted(meta.items())) if meta else ""


def _body(graph: Graph) -> str:
    """A subgraph, by what it computes."""
    number: dict[Expr, int] = {}
    lines = []
    for node in toposort([*graph.inputs, *graph.outputs]):
        number[node] = len(number)
        what = "" if node.primitive is INPUT else _meta(node)
        lines.append(f"{node.primitive.name} {[number[x] for x in node.inputs]} {node.outputs} {what}")
    return "\n".join([*lines, str([number[x] for x in graph.outputs])])


@functools.cache
def compiler_version() -> str:
    """A digest of the compiler's own sources: other sources may write other IR for the same graph."""
    from hashlib import blake2b

    found = blake2b(digest_size=16)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()
