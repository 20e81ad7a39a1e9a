"""Choosing an executor: by graph, sizes and number of steps alone, never by clocks or caches."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from chainrule.graph.expr import CONSTANT, INPUT, Expr, toposort
from chainrule.ops.convolution import CONV
from chainrule.ops.elementwise import ELEMENTWISE
from chainrule.ops.linalg import MATMUL
from chainrule.ops.random import RANDOM_BITS
from chainrule.ops.repetition import SCAN
from chainrule.ops.shape import BROADCAST, RESHAPE, TRANSPOSE
from chainrule.ops.sliding import WINDOWS

__all__ = ["Work", "choose", "work_of"]

# Microseconds, on two cores; for float64 work with elements counts twice.
_NODE = 1.45, 0.02  # for a node, however small: of the reference, of compiled code
_FLOP = 6e-6, 4.5e-6  # for one floating-point operation of a product
_ELEMENT = 2.5e-4, 7e-5  # for one element of anything else
_BIT = 1e-2, 5e-4  # for one random number
_START = 5e4  # loading the compiler
_PROGRAM = 5e4  # what compiling a program costs at least
_COMPILED = 1.7e2  # and for each node
_UNROLLED = 1.1e4  # and for each product of so many operations: its code is long
_MANY = 1e6
_FREE = frozenset({INPUT, CONSTANT, BROADCAST, RESHAPE, TRANSPOSE, WINDOWS})


@dataclass(frozen=True)
class Work:
    """Microseconds, roughly: of one step on the reference and in compiled code, and of compiling it, once the
    compiler is loaded."""

    reference: float
    cpu: float
    compile: float


def work_of(outputs: Iterable[Expr]) -> Work:
    """What a graph costs, from its sizes.

    >>> from chainrule import ops
    >>> x = ops.input("x", (100, 784))
    >>> work_of([x + 1]).reference < 100
    True
    """
    nodes, flops, elements, bits, unrolled = 0, 0, 0, 0, 0
    scans: list[tuple[Work, int]] = []
    for node in toposort(outputs):
        if node.primitive in _FREE:
            continue
        if node.primitive is SCAN:
            scans.append((work_of(node.meta["body"].outputs), node.meta["steps"]))
            continue
        nodes += 1
        size = sum(s.size for s in node.outputs)
        words = max(node.outputs[0].dtype.itemsize // 4, 1)
        if node.primitive in (MATMUL, CONV):
            operations = 2 * size * _terms(node)
            flops += operations * words
            unrolled += operations >= _MANY
        elif node.primitive is RANDOM_BITS:
            bits += size
        else:
            elements += (size if node.primitive in ELEMENTWISE else _most(node)) * words
    counts = nodes, flops, elements, bits
    reference, cpu = (
        sum(n * cost[i] for n, cost in zip(counts, (_NODE, _FLOP, _ELEMENT, _BIT), strict=True))
        for i in (0, 1)
    )
    compile = _COMPILED * nodes + _UNROLLED * unrolled
    for body, steps in scans:
        reference, cpu = reference + steps * body.reference, cpu + steps * body.cpu
        compile += body.compile - _PROGRAM
    return Work(reference, cpu, _PROGRAM + compile)


def _terms(node: Expr) -> int:
    """Of the sum that each element of a product is."""
    return node.inputs[0].shape[-1] if node.primitive is MATMUL else math.prod(node.inputs[1].shape[:-1])


def _most(node: Expr) -> int:
    return max((s.size for x in (node, *node.inputs) for s in x.outputs), default=0)


def choose(work: Work, steps: float, programs: int = 1) -> tuple[str, str]:
    """The executor that takes less time in all, and the reason in a few words.

    programs    how many must be compiled: one for whole batches, one for a last batch

    >>> choose(Work(300.0, 20.0, 1e5), 10)[0], choose(Work(300.0, 20.0, 1e5), 10_000)[0]
    ('reference', 'cpu')
    """
    reference = work.reference * steps
    if _START + programs * work.compile + work.cpu * steps < reference:
        return "cpu", f"about {_seconds(reference)} of work on the reference"
    return "reference", f"about {_seconds(reference)} of work, which compiling would not shorten"


def _seconds(microseconds: float) -> str:
    return f"{microseconds / 1e6:.2g} s" if microseconds >= 1e6 else f"{microseconds / 1e3:.2g} ms"
