"""Executors: one meaning, several ways to compute it. All take the same graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from chainrule.errors import ConfigError, nearest
from chainrule.executors.program import Array, Epoch, Function, Program, State
from chainrule.executors.reference import ReferenceEpoch, Walk, evaluate
from chainrule.graph.expr import Expr
from chainrule.passes import optimize

__all__ = [
    "EXECUTORS",
    "Array",
    "Epoch",
    "Function",
    "Program",
    "State",
    "compile",
    "epoch",
    "evaluate",
    "resolve",
]

EXECUTORS: dict[str, tuple[Callable[..., Function], Callable[[Program], Epoch]]] = {
    "reference": (Walk, ReferenceEpoch),
}
"""name → (a function from a graph, an epoch from a program)"""


def resolve(executor: str) -> str:
    """The name of an executor; ``"auto"`` chooses by the work alone, never by clocks or caches."""
    if executor == "auto":
        return "reference"
    if executor not in EXECUTORS:
        raise ConfigError(f"unknown executor {executor!r}; {nearest(executor, ['auto', *EXECUTORS])}")
    return executor


def compile(outputs: Sequence[Expr], inputs: Sequence[Expr], *, executor: str = "auto") -> Function:
    """A function from arrays, one for each input, to the values of the outputs.

    >>> import numpy as np
    >>> from chainrule import ops
    >>> x = ops.input("x", (3,))
    >>> double = compile([x + x], [x])
    >>> double(np.ones(3, "float32"))[0]
    array([2., 2., 2.], dtype=float32)
    """
    make, _ = EXECUTORS[resolve(executor)]
    return make(optimize(outputs), list(inputs))


def epoch(program: Program, *, executor: str = "auto") -> Epoch:
    """A program made ready to run many steps in one call."""
    _, make = EXECUTORS[resolve(executor)]
    names, updates = list(program.outputs), list(program.updates)
    nodes = [*program.outputs.values(), *program.updates.values()]
    found = optimize(nodes if program.healthy is None else [*nodes, program.healthy])
    return make(
        dataclasses.replace(
            program,
            outputs=dict(zip(names, found, strict=False)),
            updates=dict(zip(updates, found[len(names) :], strict=False)),
            healthy=None if program.healthy is None else found[-1],
        )
    )
