"""Which part of a kernel a thread computes."""

from __future__ import annotations

from chainrule.executors.cpu.assignment import Assignment
from chainrule.executors.cpu.emit import I64, Builder, Value, const
from chainrule.executors.cpu.kernel_gradient import tiles_of
from chainrule.executors.cpu.kernels import Draw, Kernel, KernelGradient, Transposition
from chainrule.executors.cpu.target import Target

__all__ = ["Shares"]


class Shares:
    """Each thread's part of a kernel: made once, before the first step."""

    def __init__(self, b: Builder, thread: Value, threads: int, lanes: int) -> None:
        self.b, self.thread, self.threads, self.lanes = b, thread, threads, lanes
        self.known: dict[int, tuple[Value, Value]] = {}

    def of(self, kernel: Kernel, found: Assignment, target: Target) -> tuple[Value, Value]:
        if kernel.split in ("every", "one"):
            return const(0, I64), const(kernel.extent, I64)
        count = kernel.extent
        if kernel.split == "lanes" or isinstance(kernel, Transposition):
            count = -(-count // self.lanes)
        elif isinstance(kernel, KernelGradient):
            count = tiles_of(kernel, found, target)
        elif isinstance(kernel, Draw):
            words = 1 if kernel.nodes[0].meta["bits"] <= 31 else 2
            count = -(-count * words // (4 * self.lanes))
        if count not in self.known:
            self.known[count] = self._bound(count, 0), self._bound(count, 1)
        return self.known[count]

    def _bound(self, count: int, more: int) -> Value:
        if self.threads == 1:
            return const(count * more, I64)
        t = self.b.add(self.thread, const(more, I64))
        return self.b.udiv(self.b.mul(t, const(count, I64)), const(self.threads, I64))
