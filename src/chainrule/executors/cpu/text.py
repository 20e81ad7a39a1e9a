"""A plan as text: one line for each kernel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chainrule.executors.cpu.cost import microseconds
from chainrule.executors.cpu.kernels import (
    Check,
    Contraction,
    Convolution,
    Draw,
    Kernel,
    KernelGradient,
    Loop,
    MaxGradient,
    Nest,
    Special,
    Transposition,
)
from chainrule.executors.cpu.schedule import Schedule
from chainrule.graph.expr import Expr

__all__ = ["plan_text"]

_HEAD = ("", "kernel", "shape", "computes", "writes", "threads", "FLOP", "bytes", "where")
_KINDS = {
    Nest: "loops",
    Loop: "scan",
    Contraction: "product",
    Convolution: "convolved",
    KernelGradient: "gradient",
    MaxGradient: "unpooled",
    Transposition: "transposed",
    Draw: "random",
    Check: "check",
}
_SHARES = {
    "rows": "rows",
    "lanes": "columns",
    "blocks": "blocks",
    "every": "every one",
    "one": "the first",
}
_LONGEST = 7  # names of operations that a line shows


def plan_text(schedule: Schedule, threads: int) -> str:
    """A table: what each kernel computes, over which shape, what it writes, how threads share it, how many
    floating-point operations it does and how many bytes it touches, and which layer it serves.

    A rule stands where all threads wait for each other. A shape ``100x225 k784`` is a product with sums of
    784 terms; ``128x512 /0`` are loops that reduce axis 0.
    """
    rows = [(number, *_row(plan, kernel, threads)) for number, plan, kernel in _numbered(schedule)]
    widths = [max(len(row[i]) for row in [_HEAD, *rows]) for i in range(len(_HEAD))]
    lines = [_summary(schedule, threads), _line(_HEAD, widths)]
    for (_, _, kernel), row in zip(_numbered(schedule), rows, strict=True):
        if kernel.barrier and threads > 1:
            lines.append("-" * (sum(widths) + 2 * len(widths)))
        lines.append(_line(row, widths))
    return "\n".join(lines)


def _numbered(schedule: Schedule, before: str = "") -> Iterator[tuple[str, Schedule, Kernel]]:
    """Every kernel with its number; those that a loop repeats stand below it: 3.0, 3.1 …"""
    for n, kernel in enumerate(schedule.kernels):
        yield f"{before}{n}", schedule, kernel
        if isinstance(kernel, Loop) and kernel.plan is not None:
            yield from _numbered(kernel.plan, f"{before}{n}.")


def _summary(schedule: Schedule, threads: int) -> str:
    kernels = schedule.kernels
    meetings = f", {schedule.barriers + 1} meetings a step" if threads > 1 else ""
    flops, memory = sum(k.flops for k in kernels), schedule.arena + threads * schedule.private
    return (
        f"{len(kernels)} kernels on {threads} thread{'s' if threads > 1 else ''}{meetings}; "
        f"{_count(flops)} FLOP, about {microseconds(kernels):.3g} µs on one core; {_count(memory)}B of memory"
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        c.rjust(w) if i in (0, 6, 7) else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _row(schedule: Schedule, kernel: Kernel, threads: int) -> tuple[str, ...]:
    if isinstance(kernel, Check):
        return "check", "", "leaves the step unless it is healthy", "", "", "", "", ""
    kind = kernel.nodes[0].primitive.name if isinstance(kernel, Special) else _KINDS[type(kernel)]
    stored = ", ".join(_target(node, place.buffer.name, place.buffer.home) for node, place in kernel.stores)
    share = _SHARES[kernel.split] if threads > 1 and not isinstance(kernel, Loop) else ""
    return (
        kind,
        _shape(kernel),
        _names(kernel),
        stored,
        share,
        _count(kernel.flops),
        _bytes(schedule, kernel),
        _origin(kernel),
    )


def _shape(kernel: Kernel) -> str:
    if isinstance(kernel, Loop):
        return f"{kernel.steps} steps"
    if isinstance(kernel, Nest):
        over = f" /{','.join(map(str, sorted(kernel.reduced)))}" if kernel.reduced else ""
        return "x".join(map(str, kernel.domain)) + over
    shape = "x".join(map(str, kernel.nodes[0].shape))
    return f"{shape} k{kernel.inner}" if isinstance(kernel, Contraction | KernelGradient) else shape


def _names(kernel: Kernel) -> str:
    """The operations, the first ones at least."""
    if isinstance(kernel, Loop):
        return "from the last step to the first" if kernel.reverse else "each step:"
    names = [n.primitive.name for n in kernel.nodes] or ["copy"]
    more = len(names) - _LONGEST
    return " ".join(names[:_LONGEST]) + (f" +{more}" if more > 0 else "")


def _target(node: Expr, name: str, home: str) -> str:
    """A state by its name, what is delivered as such, a value in memory by its operation."""
    return name or (f"{node.primitive.name}!" if home == "ring" else node.primitive.name)


def _origin(kernel: Kernel) -> str:
    nodes = kernel.nodes or [node for node, _ in kernel.stores]
    return next((n.origin.path for n in nodes if n.origin.path), "")


def _bytes(schedule: Schedule, kernel: Kernel) -> str:
    touched = {a.buffer for a in schedule.reads[kernel]} | {p.buffer for _, p in kernel.stores}
    return _count(sum(b.layout.size * b.layout.dtype.itemsize for b in touched))


def _count(n: float) -> str:
    """Three digits and a prefix: 35.3 M"""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= factor:
            return f"{n / factor:.3g} {prefix}"
    return f"{n:.0f} "
