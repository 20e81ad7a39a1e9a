"""Where buffers begin in one step, and in one step of a loop."""

from __future__ import annotations

from dataclasses import dataclass, field

from chainrule.executors.cpu.emit import I64, Builder, Value, const, vector
from chainrule.executors.cpu.kernels import Buffer, Kernel, Moving

__all__ = ["Addresses"]


@dataclass(eq=False)
class Addresses:
    """Where the buffers begin, in one step."""

    b: Builder
    arena: Value
    own: Value
    bases: dict[Buffer, Value]
    step: Value
    turns: dict[Kernel, Value] = field(default_factory=dict)  # how many steps of a loop have been done

    def of(self, buffer: Buffer) -> Value:
        b = self.b
        if buffer.moving is not None:
            return self._moved(buffer.moving, buffer.layout.dtype.itemsize)
        if buffer.home in ("arena", "loop"):
            return b.at(self.arena, buffer.place, vector("i8", 0))
        if buffer.home == "private":
            return b.at(self.own, buffer.place, vector("i8", 0))
        base = self.bases[buffer]
        if buffer.home in ("scalar", "ring"):
            bytes = max(buffer.layout.size, 1) * buffer.layout.dtype.itemsize
            return b.at(base, b.mul(self.step, const(bytes, I64)), vector("i8", 0))
        return base

    def _moved(self, moving: Moving, itemsize: int) -> Value:
        """Where a step of a loop looks."""
        b, base, first = self.b, self.of(moving.source), moving.first
        offset = const(first, I64)
        if moving.stride:
            turn, loop = self.turns[moving.loop], moving.loop
            if moving.slots:
                place = b.urem(b.add(turn, const(first // moving.stride, I64)), const(moving.slots, I64))
                offset = b.mul(place, const(moving.stride, I64))
            else:
                place = b.sub(const(loop.steps - 1, I64), turn) if loop.reverse else turn
                offset = b.add(offset, b.mul(place, const(moving.stride, I64)))
        return b.at(base, b.mul(offset, const(itemsize, I64)), vector("i8", 0))
