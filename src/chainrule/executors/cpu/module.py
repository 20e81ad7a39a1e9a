"""From a schedule to one LLVM module: a function for every kind of kernel, and one that runs the steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from chainrule.executors.cpu import moves, special
from chainrule.executors.cpu.addresses import Addresses
from chainrule.executors.cpu.assignment import Assignment
from chainrule.executors.cpu.contraction import (
    choose_tile,
    emit_product,
    emit_tile,
    lanes_of,
    lead_offset,
    limits_of,
    reaches_out,
)
from chainrule.executors.cpu.convolution import Seen, Tile, emit_places, see
from chainrule.executors.cpu.emit import I1, I32, I64, PTR, Builder, Value, const, lane_numbers, vector
from chainrule.executors.cpu.evaluate import Evaluator, Index, Position
from chainrule.executors.cpu.kernel_gradient import Share, emit_gradient
from chainrule.executors.cpu.kernels import (
    Border,
    Buffer,
    Check,
    Contraction,
    Convolution,
    Draw,
    Kernel,
    KernelGradient,
    Loop,
    MaxGradient,
    Nest,
    Place,
    Special,
    Transposition,
)
from chainrule.executors.cpu.layout import Layout
from chainrule.executors.cpu.nest import emit_nest
from chainrule.executors.cpu.pooling import emit_max_gradient
from chainrule.executors.cpu.random import random_elements
from chainrule.executors.cpu.schedule import Schedule
from chainrule.executors.cpu.shares import Shares
from chainrule.executors.cpu.special import Operand, scalar_type
from chainrule.executors.cpu.target import Target
from chainrule.executors.cpu.threads import barrier_ir
from chainrule.executors.cpu.transpose import transpose2d
from chainrule.graph.expr import Expr
from chainrule.ops.index import ARGSORT, GATHER, SCATTER_ADD
from chainrule.ops.reduce import CUMSUM
from chainrule.ops.shape import CONCAT, PAD

__all__ = ["CONTEXT", "Context", "emit_module"]

CONTEXT = ("arena", "private", "addresses", "index", "steps", "barrier", "done", "cycles")
"""The fields of the context, 64 bits each: addresses, but for ``steps`` and ``private``, the byte of the
arena where the threads' own memory begins. ``addresses`` is a table with a place for every buffer that is not
in the arena; ``done`` counts the healthy steps; ``cycles`` is 0, or where every kernel's time is added up."""


@dataclass(eq=False)
class Context:
    """What the functions of a module share while they are written."""

    found: Assignment
    plan: Schedule
    target: Target
    threads: int
    functions: dict[tuple[str, str], str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    declared: set[str] = field(default_factory=set)
    names: dict[Kernel, str] = field(default_factory=dict)

    def within(self, loop: Loop) -> Context:
        """The same module, for the kernels of a loop."""
        if loop.inside is None or loop.plan is None:
            raise AssertionError(loop)
        return replace(self, found=loop.inside, plan=loop.plan)

    def add(self, hint: str, parameters: str, b: Builder) -> str:
        """A function, once; its name."""
        body = "\n".join(b.locals + b.lines)
        name = self.functions.get((parameters, body))
        if name is None:
            name = f"{hint}_{len(self.functions)}"
            self.functions[parameters, body] = name
            self.declared |= b.declared
            self.texts.append(
                f"define internal void @{name}({parameters}) noinline {self.target.attributes} {{\n"
                f"entry:\n{body}\n  ret void\n}}"
            )
        return name


# ------------------------------------------------------------------ one kernel


@dataclass(eq=False)
class _Function:
    """A kernel's function: its parameters are the addresses of buffers, then bounds of its share."""

    b: Builder
    pointers: dict[Buffer, Value]
    rows: Value
    low: Value
    high: Value

    @property
    def parameters(self) -> str:
        own = [f"ptr noalias %p{i}" for i in range(len(self.pointers))]
        return ", ".join([*own, "ptr %rows", "i64 %low", "i64 %high"])


def _buffers(context: Context, kernel: Kernel) -> list[Buffer]:
    touched = [p.buffer for _, p in kernel.stores] + kernel.writes
    touched += [a.buffer for a in context.plan.reads[kernel]] + kernel.scratch
    return list(dict.fromkeys(touched))


def _function(context: Context, kernel: Kernel) -> _Function:
    pointers = {x: Value(f"%p{i}", PTR) for i, x in enumerate(_buffers(context, kernel))}
    return _Function(Builder(), pointers, Value("%rows", PTR), Value("%low", I64), Value("%high", I64))


def _emit_kernel(context: Context, kernel: Kernel) -> str:
    """The name of the function that computes a kernel."""
    f = _function(context, kernel)
    hint = type(kernel).__name__.lower()
    if isinstance(kernel, Nest):
        e = Evaluator(f.b, kernel, kernel.maps, context.found, f.pointers, f.rows)
        emit_nest(kernel, e, context.target.lanes, f.low, f.high)
    elif isinstance(kernel, Contraction):
        _emit_contraction(context, kernel, f)
    elif isinstance(kernel, KernelGradient):
        share = Share(f.b, f.low, f.high)
        emit_gradient(kernel, context.found, context.target, f.pointers, share, context.add)
    elif isinstance(kernel, MaxGradient):
        e = Evaluator(
            f.b, kernel, dict.fromkeys(kernel.nodes, kernel.axes), context.found, f.pointers, f.rows
        )
        emit_max_gradient(kernel, e, lanes_of(context.target, kernel.head.dtype), f.low, f.high)
    elif isinstance(kernel, Transposition):
        _emit_transposition(context, kernel, f)
    elif isinstance(kernel, Draw):
        _emit_draw(context, kernel, f)
    elif isinstance(kernel, Special):
        _emit_special(context, kernel, f)
    return context.add(hint, f.parameters, f.b)


def _emit_contraction(context: Context, kernel: Contraction, f: _Function) -> None:
    """Loops over leading axes and tiles; each tile is a call, so that equal tiles are one function."""
    product = kernel.product
    a, right = (context.found.at(x) for x in product.inputs)
    seen = see(kernel, a.layout, right.layout) if isinstance(kernel, Convolution) else None
    if seen is not None:
        a, right = Place(a.buffer, seen.left), Place(right.buffer, seen.top)
    lanes = lanes_of(context.target, product.dtype)
    lead = product.ndim - 2
    *_, m, n = product.shape
    if not product.size:
        return
    counts = [m]
    if kernel.axis == lead:
        shares = range(context.threads)
        counts = sorted({(t + 1) * m // len(shares) - t * m // len(shares) for t in shares})
    tile = choose_tile(max(counts), -(-n // lanes), kernel.inner, limits_of(context.target, seen is not None))
    reads = [a for a in context.plan.reads[kernel] if a.how != "operand"]
    exact = any(reaches_out(a, product.ndim - 1) for a in reads)
    exact = exact or any(not p.buffer.roomy for _, p in kernel.stores)
    element = scalar_type(product.dtype)
    b = f.b
    names: dict[Tile, str] = {}

    def call(tile: Tile, before: Sequence[Value], row: Value, column: Value) -> None:
        if tile not in names:
            names[tile] = _tile_function(context, kernel, tile, a, right, lanes, seen)
        sides = [
            b.at(f.pointers[place.buffer], lead_offset(b, before, place.layout), element)
            for place in (a, right)
        ]
        operands = [f"ptr {x}" for x in (*sides, *f.pointers.values(), f.rows)]
        operands += [f"i64 {x}" for x in (*before, row, column)]
        b.do(f"call void @{names[tile]}({', '.join(operands)})")

    def outer(before: Sequence[Value]) -> None:
        if len(before) == lead:
            emit_product(
                kernel,
                b,
                f.low,
                f.high,
                lambda t, row, column: call(t, before, row, column),
                tile,
                lanes,
                exact,
                counts,
            )
            return
        with b.loop(0, product.shape[len(before)]) as loop:
            outer([*before, loop.i])

    if isinstance(kernel, Convolution):
        emit_places(kernel, b, f.low, f.high, call, tile, lanes, exact)
    else:
        outer([])


def _tile_function(
    context: Context,
    kernel: Contraction,
    tile: Tile,
    a: Place,
    right: Place,
    lanes: int,
    seen: Seen | None,
) -> str:
    product = kernel.product
    b = Builder()
    pointers = {x: Value(f"%p{i}", PTR) for i, x in enumerate(_buffers(context, kernel))}
    lead = [Value(f"%lead{i}", I64) for i in range(product.ndim - 2)]
    row, column = Value("%row", I64), Value("%column", I64)
    maps = dict.fromkeys(kernel.nodes, kernel.axes)
    e = Evaluator(b, kernel, maps, context.found, pointers, Value("%rows", PTR))
    e.position = Position(tuple(Index(i) for i in lead), None, 0)
    e.position = Position((*e.position.indices, Index(row), Index(column)), None, lanes)
    left, top = (Value("%a", PTR), a.layout), (Value("%b", PTR), right.layout)
    levels, border = ((), None) if seen is None else (seen.levels, seen.border)
    emit_tile(kernel, e, tile, left, top, row, column, lanes, levels, border)
    parameters = [
        "ptr noalias %a",
        "ptr noalias %b",
        *(f"ptr %p{i}" for i in range(len(pointers))),
        "ptr %rows",
    ]
    parameters += [f"i64 {x}" for x in (*lead, row, column)]
    return context.add("tile", ", ".join(parameters), b)


def _operand(context: Context, f: _Function, x: Expr) -> Operand:
    place = context.found.at(x)
    return Operand(f.pointers[place.buffer], place.layout)


def _target(f: _Function, kernel: Kernel) -> Operand:
    _, place = kernel.stores[0]
    return Operand(f.pointers[place.buffer], place.layout)


def _emit_transposition(context: Context, kernel: Transposition, f: _Function) -> None:
    y = _target(f, kernel)
    x = _operand(context, f, kernel.nodes[0].inputs[0])
    element = scalar_type(x.layout.dtype)
    transpose2d(
        f.b, x.pointer, x.layout.strides[0], y.pointer, y.layout.strides[0],
        x.layout.shape[1], element, context.target.lanes, f.low, f.high,
    )  # fmt: skip


def _emit_draw(context: Context, kernel: Draw, f: _Function) -> None:
    """Random bits in groups of so many blocks of four words as there are lanes; then what is done to them."""
    b, node, lanes = f.b, kernel.nodes[0], context.target.lanes
    meta = node.meta
    seed, step = (_scalar(context, f, x) for x in node.inputs)
    words = 1 if meta["bits"] <= 31 else 2
    size = 4 * lanes // words
    e = Evaluator(b, kernel, dict.fromkeys(kernel.nodes, (0,)), context.found, f.pointers, f.rows)
    flat = [(n, Place(p.buffer, Layout((p.layout.size,), (1,), p.layout.dtype))) for n, p in kernel.stores]
    with b.loop(f.low, f.high) as loop:
        first = b.mul(loop.i, const(lanes, I64))
        drawn = random_elements(
            b, first, seed, step, path=meta["path"], purpose=meta["purpose"], bits=meta["bits"], lanes=lanes
        )
        start = b.mul(loop.i, const(size, I64))
        for k, value in enumerate(drawn):
            e.layers.append({})
            at = b.add(start, const(k * lanes, I64)) if k else start
            left = b.sub(const(node.size, I64), at)
            count = b.splat(b.convert("trunc", _limited(b, left, lanes), I32), lanes)
            mask = b.icmp("slt", lane_numbers(vector("i32", lanes)), count)
            e.position = Position((Index(at),), 0, lanes, mask, strict=True)
            e.remember(node, (0,), value)
            for stored, place in flat:
                e.store(e.value(stored, (0,)), place, (0,))
            e.layers.pop()


def _limited(b: Builder, x: Value, most: int) -> Value:
    """x within 0 … most."""
    return b.intrinsic("smax", b.intrinsic("smin", x, const(most, I64)), const(0, I64))


def _scalar(context: Context, f: _Function, x: Expr) -> Value:
    place = context.found.at(x)
    element = scalar_type(x.dtype)
    value = f.b.load(f.b.at(f.pointers[place.buffer], place.layout.offset, element), element)
    return value if value.type is I64 else f.b.convert("sext" if element is I32 else "zext", value, I64)


def _emit_special(context: Context, kernel: Special, f: _Function) -> None:
    node, b, lanes = kernel.nodes[0], f.b, context.target.lanes
    xs, y = [_operand(context, f, x) for x in node.inputs], _target(f, kernel)
    failed = f.pointers[kernel.writes[0]] if kernel.writes else None
    scratch = f.pointers[kernel.scratch[0]] if kernel.scratch else Value("null", PTR)
    if node.primitive is CONCAT:
        moves.concat(b, xs, y, axis=node.meta["axis"], lanes=lanes)
    elif isinstance(kernel, Border) and kernel.split == "rows":
        inside = context.found.at(node.inputs[0]).buffer is kernel.stores[0][1].buffer
        moves.border(b, None if inside else xs[0], y, f.low, f.high, lanes=lanes, **node.meta)
    elif node.primitive is PAD:
        moves.pad(b, xs[0], y, lanes=lanes, **node.meta)
    elif node.primitive is CUMSUM:
        special.cumsum(b, xs[0], y, lanes=lanes, **node.meta)
    elif node.primitive is ARGSORT:
        special.argsort(b, xs[0], y, axis=node.meta["axis"], scratch=scratch)
    elif node.primitive is GATHER and failed is not None:
        moves.gather(b, xs[0], xs[1], y, failed=failed, lanes=lanes)
    elif node.primitive is SCATTER_ADD and failed is not None:
        special.scatter_add(
            b, xs[0], xs[1], y, rows=node.meta["rows"], scratch=scratch, failed=failed, lanes=lanes
        )
    else:
        raise AssertionError(node.primitive)


# ------------------------------------------------------------------ the steps


def emit_module(
    found: Assignment, plan: Schedule, target: Target, threads: int, batch: int, timed: bool = False
) -> str:
    """``void run(i64 thread, ptr context)``: all steps.

    batch    entries of the index in one step
    timed    whether thread 0 adds up the clock cycles of every kernel
    """
    context = Context(found, plan, target, threads)
    _emit_kernels(context)
    b = Builder()
    fields = {
        name: b.load(b.at(Value("%context", PTR), i, I64), I64 if name in ("private", "steps") else PTR)
        for i, name in enumerate(CONTEXT)
    }
    thread = Value("%thread", I64)
    own = b.at(
        fields["arena"], b.add(fields["private"], b.mul(thread, const(plan.private, I64))), vector("i8", 0)
    )
    shares = Shares(b, thread, threads, target.lanes)
    _share_out(context, shares)
    bases = _bases(b, context, fields["addresses"])
    with b.loop(0, fields["steps"]) as loop:
        rows = b.at(fields["index"], b.mul(loop.i, const(batch, I64)), I64)
        address = Addresses(b, fields["arena"], own, bases, loop.i)
        number = 0
        for stream in plan.streams:
            if stream.kernels[0].barrier:
                _meet(b, fields)
            if isinstance(check := stream.kernels[0], Check):
                _leave_unless_healthy(context, check, b, address)
                number += 1
                continue
            share = shares.of(stream.kernels[0], found, target)
            with _in_rows(b, *share, stream.rows) as part:
                clock = _clock(b) if timed else None
                for kernel in stream.kernels:
                    _run(context, kernel, shares, address, rows, fields, part)
                    if clock is not None:
                        clock = _add_time(b, clock, fields["cycles"], number, thread)
                    number += 1
        if threads > 1:
            _meet(b, fields)
        b.store(b.add(loop.i, const(1, I64)), fields["done"])
    b.jump("leave")
    b.start("leave")
    steps = (
        f"define internal void @steps(i64 %thread, ptr %context) noinline {target.attributes} {{\n"
        "entry:\n" + "\n".join(b.locals + b.lines) + "\n  ret void\n}"
    )
    before, after = barrier_ir(target) if threads > 1 else "", target.entry("run", "steps")
    declared = context.declared | b.declared
    (first, last), more = zip(*(_without_declarations(x) for x in (before, after)), strict=True)
    return "\n".join([*sorted(declared.union(*more)), first, *context.texts, steps, last])


def _emit_kernels(context: Context) -> None:
    """A function for every kernel, those in loops included."""
    for kernel in context.plan.kernels:
        if isinstance(kernel, Loop):
            _emit_kernels(context.within(kernel))
        elif not isinstance(kernel, Check):
            context.names[kernel] = _emit_kernel(context, kernel)


def _share_out(context: Context, shares: Shares) -> None:
    """Every thread's part of every kernel, before the first step."""
    for kernel in context.plan.kernels:
        shares.of(kernel, context.found, context.target)
        if isinstance(kernel, Loop):
            _share_out(context.within(kernel), shares)


def _run(
    context: Context, kernel: Kernel, shares: Shares, address: Addresses, rows: Value,
    fields: dict[str, Value], share: tuple[Value, Value],
) -> None:  # fmt: skip
    """Calls a kernel's function for a share of it; those of a loop once for every step."""
    b = shares.b
    if isinstance(kernel, Loop):
        inside = context.within(kernel)
        with b.loop(0, kernel.steps) as turn:
            address.turns[kernel] = turn.i
            for inner in inside.plan.kernels:
                if inner.barrier:
                    _meet(b, fields)
                _run(
                    inside,
                    inner,
                    shares,
                    address,
                    rows,
                    fields,
                    shares.of(inner, inside.found, inside.target),
                )
        return
    low, high = share
    operands = [f"ptr {address.of(x)}" for x in _buffers(context, kernel)]
    operands += [f"ptr {rows}", f"i64 {low}", f"i64 {high}"]
    call = f"call void @{context.names[kernel]}({', '.join(operands)})"
    if kernel.split == "one" and shares.threads > 1:
        with b.when(b.icmp("eq", shares.thread, const(0, I64))):
            b.do(call)
    else:
        b.do(call)


@contextmanager
def _in_rows(b: Builder, low: Value, high: Value, rows: int) -> Iterator[tuple[Value, Value]]:
    """So many rows at a time; 0: all at once."""
    if not rows:
        yield low, high
        return
    with b.loop(low, high, rows) as loop:
        yield loop.i, b.intrinsic("smin", b.add(loop.i, const(rows, I64)), high)


def _clock(b: Builder) -> Value:
    return b.call("llvm.readcyclecounter", I64)


def _add_time(b: Builder, before: Value, table: Value, number: int, thread: Value) -> Value:
    """Adds the cycles since ``before`` to the kernel's; now."""
    now = _clock(b)
    with b.when(b.icmp("eq", thread, const(0, I64))):
        place = b.at(table, number, I64)
        b.store(b.add(b.load(place, I64), b.sub(now, before)), place)
    return now


def _without_declarations(text: str) -> tuple[str, list[str]]:
    """The rest of a text, and what it declares: each is to be declared once, before everything."""
    lines = text.split("\n")
    declared = [x for x in lines if x.startswith("declare ")]
    return "\n".join([x for x in lines if x not in declared]), declared


def _meet(b: Builder, fields: dict[str, Value]) -> None:
    """Waits for all threads; leaves if one has failed."""
    aborted = b.value(f"call i1 @barrier(ptr {fields['barrier']})", I1)
    on = b.label("met")
    b.branch(aborted, "leave", on)
    b.start(on)


def _leave_unless_healthy(context: Context, kernel: Check, b: Builder, address: Addresses) -> None:
    if kernel.condition is not None:
        place = context.found.at(kernel.condition)
        on = b.label("healthy")
        b.branch(b.load(address.of(place.buffer), I1), on, "leave")
        b.start(on)
    if kernel.failed is not None:
        on = b.label("inside")
        found = b.load(address.of(kernel.failed), I32)
        b.branch(b.icmp("eq", found, const(0, I32)), on, "leave")
        b.start(on)


def _bases(b: Builder, context: Context, table: Value) -> dict[Buffer, Value]:
    """The addresses of what does not lie in the arena."""
    found: dict[Buffer, Value] = {}
    for kernel in context.plan.kernels:
        if isinstance(kernel, Check):
            continue
        for buffer in _buffers(context, kernel):
            if buffer.home not in ("arena", "private") and buffer not in found:
                found[buffer] = b.load(b.at(table, buffer.place, I64), PTR)
    return found
