"""Choosing an executor: a function of the graph, the sizes and the number of steps, never of clocks or caches."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from chainrule.graph.expr import CONSTANT, INPUT, Expr, toposort
from chainrule.ops.elementwise import ELEMENTWISE
from chainrule.ops.linalg import MATMUL
from chainrule.ops.random import RANDOM_BITS
from chainrule.ops.shape import BROADCAST, RESHAPE, TRANSPOSE

__all__ = ["Work", "choose", "work_of"]

_NODE = 1.1  # microseconds that the reference spends on a node, however small
_FLOP = 2e-5  # microseconds of the reference for one floating-point operation of a product
_ELEMENT = 6e-4  # microseconds of the reference for one element of anything else
_BIT = 1e-2  # and for one random number
_FASTER = 3.0  # times that compiled code is faster where the work is large
_START = 6e4  # microseconds: what compiling costs at least, loading the compiler included
_COMPILED = 550.0  # microseconds of compiling for a node
_FREE = frozenset({INPUT, CONSTANT, BROADCAST, RESHAPE, TRANSPOSE})


@dataclass(frozen=True)
class Work:
    """Microseconds, roughly: of one step on the reference, and of compiling it."""

    step: float
    compile: float


def work_of(outputs: Iterable[Expr]) -> Work:
    """What a graph costs, from its sizes.

    >>> from chainrule import ops
    >>> x = ops.input("x", (100, 784))
    >>> work_of([x + 1]).step < 100
    True
    """
    step, nodes = 0.0, 0
    for node in toposort(outputs):
        if node.primitive in _FREE:
            continue
        nodes += 1
        size = sum(s.size for s in node.outputs)
        if node.primitive is MATMUL:
            step += _FLOP * 2 * size * node.inputs[0].shape[-1]
        elif node.primitive is RANDOM_BITS:
            step += _BIT * size
        else:
            step += _ELEMENT * (size if node.primitive in ELEMENTWISE else _most(node))
    return Work(step + _NODE * nodes, _START + _COMPILED * math.sqrt(nodes) * 10)


def _most(node: Expr) -> int:
    return max((s.size for x in (node, *node.inputs) for s in x.outputs), default=0)


def choose(work: Work, steps: float) -> tuple[str, str]:
    """The executor that takes less time in all, and the reason in a few words.

    >>> choose(Work(step=300.0, compile=1e5), 10)[0], choose(Work(step=300.0, compile=1e5), 10_000)[0]
    ('reference', 'cpu')
    """
    reference = work.step * steps
    compiled = work.compile + reference / _FASTER
    if compiled < reference:
        return "cpu", f"about {_seconds(reference)} of work without compiling"
    return "reference", f"about {_seconds(reference)} of work: less than compiling takes"


def _seconds(microseconds: float) -> str:
    return f"{microseconds / 1e6:.2g} s" if microseconds >= 1e6 else f"{microseconds / 1e3:.2g} ms"
