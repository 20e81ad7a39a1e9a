"""Plans: what is compiled. A step's graph becomes kernels in order, with their memory and threads."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.executors.cpu.assignment import Assignment, Destination
from chainrule.executors.cpu.cost import choose_threads
from chainrule.executors.cpu.grouping import group
from chainrule.executors.cpu.identity import identity
from chainrule.executors.cpu.kernels import BATCH, Buffer, Check, Kernel, Loop, Special
from chainrule.executors.cpu.layout import Layout, dense, padded
from chainrule.executors.cpu.lower import lower
from chainrule.executors.cpu.recurrence import fix_places, leaves_of, scratch, wanted_of
from chainrule.executors.cpu.schedule import CycleError, Schedule, schedule
from chainrule.executors.cpu.special import argsort_scratch, scatter_scratch
from chainrule.executors.cpu.storing import store
from chainrule.executors.cpu.text import plan_text
from chainrule.executors.cpu.threads import thread_limit
from chainrule.executors.program import Program
from chainrule.graph.expr import Expr, toposort
from chainrule.ops.convolution import CONV
from chainrule.ops.index import ARGSORT, GATHER, SCATTER_ADD
from chainrule.ops.linalg import MATMUL
from chainrule.ops.repetition import SCAN
from chainrule.spec import DTYPES

__all__ = ["Plan", "plan_function", "plan_program", "wants_padding"]


@dataclass(eq=False)
class Plan:
    """What is compiled.

    schedule    kernels in order, and the memory that they need
    batch       entries of the index in one step
    identity    equal for plans whose code is equal
    table       the buffers whose addresses are given for each run, in order
    failed      a number that is not 0 where an index lay outside
    """

    found: Assignment
    schedule: Schedule
    threads: int
    batch: int
    identity: str
    table: list[Buffer]
    failed: Buffer | None = None

    def __str__(self) -> str:
        return plan_text(self.schedule, self.threads)


# ------------------------------------------------------------------ a step


def plan_program(program: Program, threads: int | None = None) -> Plan:
    """The plan of a step, made once. A state that cannot be replaced where it lies is copied in the end."""
    known, key = _PLANS.setdefault(program, {}), (threads, thread_limit(threads))
    if key not in known:
        known[key] = _plan(program, threads)
    return known[key]


_PLANS: weakref.WeakKeyDictionary[Program, dict[tuple[int | None, int], Plan]] = weakref.WeakKeyDictionary()


def _plan(program: Program, threads: int | None) -> Plan:
    count = len(program.outputs)
    nodes = [*program.outputs.values(), *program.updates.values()]
    lowered = lower(nodes if program.healthy is None else [*nodes, program.healthy])
    updates = dict(zip(program.updates, lowered[count:], strict=False))
    healthy = None if program.healthy is None else lowered[-1]
    aside: set[str] = set()
    while True:
        try:
            return _plan_step(program, lowered[:count], updates, healthy, threads, aside)
        except CycleError as found:
            if found.states <= aside:
                raise
            aside |= found.states


def _plan_step(
    program: Program,
    outputs: Sequence[Expr],
    updates: Mapping[str, Expr],
    healthy: Expr | None,
    threads: int | None,
    aside: set[str],
) -> Plan:
    table = _Table()
    for x in program.batch:
        strides = (BATCH, *dense(x.shape[1:], x.dtype).strides)
        table.leaf(x, Buffer(Layout(x.shape, strides, x.dtype), "data", roomy=False))
    for x in program.scalars:
        table.leaf(x, Buffer(dense(x.shape, x.dtype), "scalar", roomy=False))
    for x in program.state:
        table.leaf(x, Buffer(padded(x.shape, x.dtype), "state", name=x.meta["name"]))
    states = {x.meta["name"]: table.leaves[x] for x in program.state}
    wanted = [table.ring(node) for node in outputs]
    for name, node in updates.items():
        if table.leaves.get(node) is not states[name]:
            wanted.append(Destination(node, states[name], name in aside))
    batch = program.batch[0].shape[0] if program.batch else 1
    checked = [] if healthy is None else [healthy]
    return _planned([*outputs, *updates.values()], table, wanted, checked, threads, batch, stepwise=True)


# ------------------------------------------------------------------ a function


def wants_padding(outputs: Sequence[Expr], inputs: Sequence[Expr], rows: int = 0) -> list[bool]:
    """Which inputs a function wants in padded rows: vectors, the right sides of products, and what steps of
    scans read; but not the first ``rows``, which are read where they lie."""
    order = toposort(lower(outputs))
    right = {x for node in order if node.primitive in (MATMUL, CONV) for x in node.inputs[1:]}
    right |= {x for node in order if node.primitive is SCAN for x in node.inputs[node.meta["carries"] :]}
    return [i >= rows and (x in right or x.ndim == 1) for i, x in enumerate(inputs)]


def plan_function(
    outputs: Sequence[Expr],
    inputs: Sequence[Expr],
    padding: Sequence[bool],
    threads: int | None = None,
    rows: int = 0,
) -> Plan:
    """The plan of a function of arrays. The first ``rows`` inputs move on with every step, as outputs do."""
    lowered, table = lower(outputs), _Table()
    for i, (x, wide) in enumerate(zip(inputs, padding, strict=True)):
        layout = padded(x.shape, x.dtype) if wide else dense(x.shape, x.dtype)
        table.leaf(x, Buffer(layout, "scalar" if i < rows else "input", roomy=wide))
    return _planned(
        lowered, table, [table.ring(node) for node in lowered], [], threads, batch=1, stepwise=False
    )


# ------------------------------------------------------------------ both


class _Table:
    """What lies outside of the arena, in the order of the addresses that a run is given."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        self.leaves: dict[Expr, Buffer] = {}

    def add(self, buffer: Buffer) -> Buffer:
        buffer.place = len(self.buffers)
        self.buffers.append(buffer)
        return buffer

    def leaf(self, x: Expr, buffer: Buffer) -> None:
        self.leaves[x] = self.add(buffer)

    def ring(self, node: Expr) -> Destination:
        return Destination(node, self.add(Buffer(dense(node.shape, node.dtype), "ring", roomy=False)))


def _planned(
    outputs: Sequence[Expr],
    table: _Table,
    wanted: Sequence[Destination],
    checked: Sequence[Expr],
    threads: int | None,
    batch: int,
    stepwise: bool,
) -> Plan:
    roots = [*outputs, *checked]
    found = store(group(roots, table.leaves), wanted, keep=checked)
    _plan_loops(found)
    failed = _mark_failures(found)
    _give_scratch(found)
    if checked or (failed is not None and stepwise):
        check = Check(len(found.kernels), condition=checked[0] if checked else None, failed=failed)
        found.kernels.append(check)
    limit = thread_limit(threads)
    count = choose_threads(found.kernels, limit) if threads is None else limit
    _schedule_loops(found, count)
    order = schedule(found, count)
    fix_places(order.kernels)
    delivered = [(d.buffer.place, d.aside) for d in wanted]
    name = identity(roots, table.leaves, delivered, count, batch, len(checked))
    return Plan(found, order, count, batch, name, table.buffers, failed)


def _plan_loops(found: Assignment) -> None:
    """What runs in each step of the loops."""
    for kernel in found.kernels:
        if isinstance(kernel, Loop):
            groups = group(kernel.outputs, leaves_of(kernel, found))
            kernel.inside = store(groups, wanted_of(kernel, found))
            _plan_loops(kernel.inside)
            _give_scratch(kernel.inside)


def _schedule_loops(found: Assignment, threads: int) -> None:
    for kernel in found.kernels:
        if isinstance(kernel, Loop) and kernel.inside is not None:
            _schedule_loops(kernel.inside, threads)
            kernel.plan = schedule(kernel.inside, threads, turning=True)
            scratch(kernel)


def _mark_failures(found: Assignment) -> Buffer | None:
    """One number for all kernels that meet an index: not 0 where one lay outside."""
    mark = Buffer(dense((), DTYPES["int32"]), "arena", value=np.zeros((), np.int32))
    return mark if _marked(found.kernels, mark) else None


def _marked(kernels: Sequence[Kernel], mark: Buffer) -> bool:
    """Whether one of the kernels, or of those in loops, meets an index; from now on each of them marks it."""
    several = False
    for kernel in kernels:
        special = isinstance(kernel, Special) and kernel.nodes[0].primitive in (GATHER, SCATTER_ADD)
        if special or (isinstance(kernel, Loop) and _marked(kernel.kernels, mark)):
            kernel.writes.append(mark)
            several = True
    return several


def _give_scratch(found: Assignment) -> None:
    for kernel in found.kernels:
        if not isinstance(kernel, Special):
            continue
        node = kernel.nodes[0]
        size = 0
        if node.primitive is ARGSORT:
            size = argsort_scratch(dense(node.inputs[0].shape, node.inputs[0].dtype), node.meta["axis"])
        elif node.primitive is SCATTER_ADD:
            index = node.inputs[0]
            size = scatter_scratch(dense(index.shape, index.dtype), dense(node.shape, node.dtype))
        if size:
            kernel.scratch.append(Buffer(dense((size,), DTYPES["uint8"]), "arena"))
