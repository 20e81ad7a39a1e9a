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


def _reference_function(outputs: Sequence[Expr], inputs: Sequence[Expr], threads: int | None) -> Function:
    return Walk(outputs, inputs)


def _reference_epoch(program: Program, threads: int | None) -> Epoch:
    return ReferenceEpoch(program)


def _cpu_function(outputs: Sequence[Expr], inputs: Sequence[Expr], threads: int | None) -> Function:
    from chainrule.executors.cpu.executor import CpuFunction  # only where it is used: it costs an import

    return CpuFunction(outputs, inputs, threads=threads)


def _cpu_epoch(program: Program, threads: int | None) -> Epoch:
    from chainrule.executors.cpu.executor import CpuEpoch

    return CpuEpoch(program, threads=threads)


EXECUTORS: dict[str, tuple[Callable[..., Function], Callable[..., Epoch]]] = {
    "reference": (_reference_function, _reference_epoch),
    "cpu": (_cpu_function, _cpu_epoch),
}
"""name → (a function from a graph, an epoch from a program)"""


def resolve(executor: str) -> str:
    """The name of an executor; ``"auto"`` chooses by the work alone, never by clocks or caches."""
    if executor == "auto":
        return "reference"
    if executor not in EXECUTORS:
        raise ConfigError(f"unknown executor {executor!r}; {nearest(executor, ['auto', *EXECUTORS])}")
    return executor


def compile(
    outputs: Sequence[Expr], inputs: Sequence[Expr], *, executor: str = "auto", threads: int | None = None
) -> Function:
    """A function from arrays, one for each input, to the values of the outputs.

    threads    of the executor cpu; without it as many as are worth it

    >>> import numpy as np
    >>> from chainrule import ops
    >>> x = ops.input("x", (3,))
    >>> double = compile([x + x], [x])
    >>> double(np.ones(3, "float32"))[0]
    array([2., 2., 2.], dtype=float32)
    """
    make, _ = EXECUTORS[resolve(executor)]
    return make(optimize(outputs), list(inputs), threads)


def epoch(program: Program, *, executor: str = "auto", threads: int | None = None) -> Epoch:
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
        ),
        threads,
    )
