"""Executors: one meaning, several ways to compute it. All take the same graph."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterable, Sequence

from chainrule.errors import ConfigError, nearest
from chainrule.executors.choice import Work, choose, work_of
from chainrule.executors.program import Array, Blocks, Epoch, Function, Program, State
from chainrule.executors.reference import ReferenceEpoch, Walk, evaluate
from chainrule.graph.expr import Expr
from chainrule.passes import optimize

__all__ = [
    "EXECUTORS",
    "Array",
    "Blocks",
    "Epoch",
    "Function",
    "Program",
    "State",
    "Work",
    "best",
    "can_compile",
    "check",
    "compile",
    "decide",
    "epoch",
    "evaluate",
    "optimized",
    "plan_function",
    "plan_program",
    "work_of",
]


def _reference_function(
    outputs: Sequence[Expr], inputs: Sequence[Expr], threads: int | None, rows: int
) -> Function:
    return Walk(outputs, inputs)


def _reference_epoch(program: Program, threads: int | None) -> Epoch:
    return ReferenceEpoch(program)


def _cpu_function(
    outputs: Sequence[Expr], inputs: Sequence[Expr], threads: int | None, rows: int
) -> Function:
    from chainrule.executors.cpu.executor import CpuFunction  # only where it is used: it costs an import

    return CpuFunction(outputs, inputs, threads=threads, rows=rows)


def _cpu_epoch(program: Program, threads: int | None) -> Epoch:
    from chainrule.executors.cpu.executor import CpuEpoch

    return CpuEpoch(program, threads=threads)


EXECUTORS: dict[str, tuple[Callable[..., Function], Callable[..., Epoch]]] = {
    "reference": (_reference_function, _reference_epoch),
    "cpu": (_cpu_function, _cpu_epoch),
}
"""name → (a function from a graph, an epoch from a program)"""


def check(executor: str) -> str:
    """The name of an executor, or ``"auto"``; ConfigError for any other."""
    if executor != "auto" and executor not in EXECUTORS:
        raise ConfigError(f"unknown executor {executor!r}; {nearest(executor, ['auto', *EXECUTORS])}")
    return executor


def decide(executor: str, outputs: Iterable[Expr], steps: float = 1, programs: int = 1) -> tuple[str, str]:
    """The name of an executor, and why it was chosen. ``"auto"`` takes the one that needs less time for so
    many ``steps``, compiling so many ``programs`` included: a function of the graph and the sizes, never of
    clocks or caches.

    >>> from chainrule import ops
    >>> decide("auto", [ops.input("x", (100,)) + 1])[0]
    'reference'
    """
    if check(executor) != "auto":
        return executor, "asked for"
    return best(work_of(outputs), steps, programs)


def best(work: Work, steps: float = 1, programs: int = 1) -> tuple[str, str]:
    """The executor that ``"auto"`` takes for so many steps of some work, and why.

    >>> best(Work(reference=900.0, cpu=300.0, compile=1e4), steps=10)[0]
    'reference'
    """
    name, reason = choose(work, steps, programs)
    if name == "cpu" and not can_compile():
        return "reference", "llvmlite, which compiling needs, is not installed"
    return name, reason


def plan_program(program: Program, threads: int | None = None) -> str:
    """The kernels of a step as the executor cpu compiles them, one line each."""
    from chainrule.executors.cpu import plan

    return str(plan.plan_program(optimized(program), threads))


def plan_function(outputs: Sequence[Expr], inputs: Sequence[Expr], threads: int | None = None) -> str:
    """The kernels of a function as the executor cpu compiles them, one line each."""
    from chainrule.executors.cpu import plan

    found = optimize(outputs)
    return str(plan.plan_function(found, inputs, plan.wants_padding(found, inputs), threads))


def can_compile() -> bool:
    """Whether the executor cpu is there: whether llvmlite is installed, with LLVM for this processor."""
    from chainrule.executors.cpu.target import available

    return available()


def compile(
    outputs: Sequence[Expr],
    inputs: Sequence[Expr],
    *,
    executor: str = "auto",
    threads: int | None = None,
    rows: int = 0,
) -> Function:
    """A function from arrays, one for each input, to the values of the outputs.

    threads    of the executor cpu; without it as many as are worth it
    rows       so many inputs, the first ones, hold a block of rows, as all outputs do: what ``bound`` needs

    >>> import numpy as np
    >>> from chainrule import ops
    >>> x = ops.input("x", (3,))
    >>> double = compile([x + x], [x])
    >>> double(np.ones(3, "float32"))[0]
    array([2., 2., 2.], dtype=float32)
    """
    found = optimize(outputs)
    make, _ = EXECUTORS[decide(executor, found)[0]]
    return make(found, list(inputs), threads, rows)


def epoch(program: Program, *, executor: str = "auto", threads: int | None = None) -> Epoch:
    """A program made ready to run many steps in one call."""
    found = optimized(program)
    _, make = EXECUTORS[decide(executor, [*found.outputs.values(), *found.updates.values()])[0]]
    return make(found, threads)


def optimized(program: Program) -> Program:
    """The same steps from simpler graphs, made once for each program."""
    found = _SIMPLER.get(program)
    if found is None:
        found = _SIMPLER[program] = _optimized(program)
    return found


_SIMPLER: weakref.WeakKeyDictionary[Program, Program] = weakref.WeakKeyDictionary()


def _optimized(program: Program) -> Program:
    names, updates = list(program.outputs), list(program.updates)
    nodes = [*program.outputs.values(), *program.updates.values()]
    found = optimize(nodes if program.healthy is None else [*nodes, program.healthy])
    return dataclasses.replace(
        program,
        outputs=dict(zip(names, found, strict=False)),
        updates=dict(zip(updates, found[len(names) :], strict=False)),
        healthy=None if program.healthy is None else found[-1],
    )
