"""A plan as text: one line for each kernel."""

from __future__ import annotations

from chainrule.executors.cpu.kernels import Check, Contraction, Kernel, Nest
from chainrule.executors.cpu.schedule import Schedule
from chainrule.graph.expr import Expr

__all__ = ["plan_text"]


def plan_text(schedule: Schedule, threads: int) -> str:
    """Number, kind, shape, what is computed, what is stored, how threads share it, FLOPs and bytes."""
    lines = []
    for number, kernel in enumerate(schedule.kernels):
        if kernel.barrier and threads > 1:
            lines.append("--- threads meet ---")
        lines.append(f"{number:3d} {_line(schedule, kernel)}")
    return "\n".join(lines)


def _line(schedule: Schedule, kernel: Kernel) -> str:
    kind = type(kernel).__name__.lower()
    if isinstance(kernel, Check):
        return f"{kind:14s} leave the step unless it is healthy"
    shape = kernel.nodes[0].shape if kernel.nodes else kernel.stores[0][0].shape
    what = ""
    if isinstance(kernel, Nest):
        shape = kernel.domain
        what = f"over axes {sorted(kernel.reduced)} " if kernel.reduced else ""
    elif isinstance(kernel, Contraction):
        what = f"k={kernel.product.inputs[0].shape[-1]} "
    names = [n.primitive.name for n in kernel.nodes]
    stored = ", ".join(f"{n.primitive.name}→{p.buffer.name or p.buffer.home}" for n, p in kernel.stores)
    size = f"{kernel.flops:,} FLOP {_bytes(schedule, kernel):,} B"
    where = _origin(kernel.nodes or [n for n, _ in kernel.stores])
    return f"{kind:14s} {list(shape)} {what}{' '.join(names)} | {stored} | {kernel.split} | {size} | {where}"


def _origin(nodes: list[Expr]) -> str:
    return next((n.origin.path for n in reversed(nodes) if n.origin.path), "")


def _bytes(schedule: Schedule, kernel: Kernel) -> int:
    touched = {a.buffer for a in schedule.reads[kernel]} | {p.buffer for _, p in kernel.stores}
    return sum(b.layout.size * b.layout.dtype.itemsize for b in touched)
