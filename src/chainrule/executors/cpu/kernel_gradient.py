"""The gradient of a convolution by its kernel: a matrix product summed over all places of all samples.

A row of it is a place of the kernel and a channel of the input. Sample after sample every tile of rows adds
what its accumulators gather over the places; threads own different tiles. So an element is summed in one
order, whatever the tile and the number of threads, in blocks of one sample, which keeps its rounding small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from chainrule.executors.cpu.assignment import Assignment
from chainrule.executors.cpu.contraction import choose_tile, lanes_of, limits_of
from chainrule.executors.cpu.convolution import Level, Tile, joined, window_sums
from chainrule.executors.cpu.emit import I64, PTR, Builder, Value, const, first_lanes, vector
from chainrule.executors.cpu.kernels import Buffer, KernelGradient
from chainrule.executors.cpu.layout import Layout
from chainrule.executors.cpu.moves import zeros
from chainrule.executors.cpu.special import Operand, scalar_type
from chainrule.executors.cpu.target import Target

__all__ = ["Rows", "Share", "emit_gradient", "rows_of", "tiles_of"]

Starts = tuple[Value, Value, Value]
"""Addresses in x, g and y."""

_SHORT = 6  # rows that lie side by side, at least, for tiles of such rows alone


@dataclass(frozen=True)
class Rows:
    """The rows of the gradient in segments: within one of them both operands move evenly from row to row.

    outer       how often the segments repeat: (count, step in x, step in y) for each axis
    length      rows of a segment
    offsets     for each row of a segment where it begins in x and y
    """

    outer: tuple[Level, ...]
    offsets: tuple[tuple[int, int], ...]

    @property
    def length(self) -> int:
        return len(self.offsets)

    @property
    def segments(self) -> int:
        return math.prod(x.times for x in self.outer)

    def tiles(self, height: int) -> int:
        return self.segments * -(-self.length // height)


def rows_of(meta: Mapping[str, Any], x: Layout, y: Layout) -> Rows:
    """Segments as long as the memory allows; where that is short, one segment of all rows."""
    within = [n * d for n, d in zip(x.strides[1:-1], meta["dilation"], strict=True)]
    levels: list[Level] = []
    sizes = (*meta["kernel"], x.shape[-1])
    for place, (count, step) in enumerate(zip(sizes, (*within, x.strides[-1]), strict=True)):
        levels.append(Level(count, step, math.prod(sizes[place + 1 :]) * y.strides[0]))
    side = 1  # levels that lie side by side in x
    while side < len(levels) and levels[-side - 1].left == levels[-side].times * levels[-side].left:
        side += 1
    if math.prod(level.times for level in levels[-side:]) < _SHORT:
        side = len(levels)
    inner = levels[-side:]
    offsets = [(0, 0)]
    for level in inner:
        offsets = [(a + k * level.left, c + k * level.top) for a, c in offsets for k in range(level.times)]
    return Rows(tuple(levels[:-side]), tuple(offsets))


class _Run:
    """Neighbouring tiles of a segment that look alike."""

    def __init__(self, first: int, offsets: Sequence[tuple[int, int]]) -> None:
        self.first, self.count = first, 1
        self.start, self.step = offsets[0], (0, 0)
        self.x: tuple[int | None, ...] = tuple(x - offsets[0][0] for x, _ in offsets)
        self.y = tuple(y - offsets[0][1] for _, y in offsets)

    def take(self, other: _Run) -> bool:
        """Whether the next tile goes on as this run does; then it is part of it."""
        step = other.start[0] - self.start[0], other.start[1] - self.start[1]
        alike = (self.x, self.y) == (other.x, other.y)
        if not alike or (self.count > 1 and step != (self.step[0] * self.count, self.step[1] * self.count)):
            return False
        if self.count == 1:
            self.step = step
        self.count += 1
        return True


def _runs(rows: Rows, height: int) -> list[_Run]:
    found: list[_Run] = []
    for number, at in enumerate(range(0, rows.length, height)):
        run = _Run(number, rows.offsets[at : at + height])
        if not found or not found[-1].take(run):
            found.append(run)
    return found


class Share(NamedTuple):
    """Where to emit, and a thread's tiles."""

    b: Builder
    low: Value
    high: Value


def _tiled(kernel: KernelGradient, found: Assignment, target: Target) -> tuple[Rows, tuple[int, int]]:
    node = kernel.nodes[0]
    rows = rows_of(node.meta, found.at(node.inputs[0]).layout, kernel.stores[0][1].layout)
    vectors = -(-node.shape[-1] // lanes_of(target, node.dtype))
    return rows, choose_tile(rows.length, vectors, kernel.inner, limits_of(target))


def tiles_of(kernel: KernelGradient, found: Assignment, target: Target) -> int:
    """How many tiles of rows there are to share."""
    rows, (height, _) = _tiled(kernel, found, target)
    return rows.tiles(height) + kernel.nodes[0].meta["sums"]


def emit_gradient(
    kernel: KernelGradient, found: Assignment, target: Target, pointers: Mapping[Buffer, Value], share: Share,
    add: Callable[[str, str, Builder], str],
) -> None:  # fmt: skip
    """A share of the tiles, sample after sample.

    add    adds a function to the module: (hint, parameters, body) → its name
    """
    node, element = kernel.nodes[0], scalar_type(kernel.nodes[0].dtype)
    places = [*(found.at(i) for i in node.inputs), kernel.stores[0][1]]
    x, g, y = (Operand(share.b.at(pointers[p.buffer], p.layout.offset, element), p.layout) for p in places)
    lanes = lanes_of(target, node.dtype)
    if not kernel.inner:
        zeros(share.b, y, lanes)
        return
    _Samples(kernel, share, x, g, y, _tiled(kernel, found, target), lanes, places[2].buffer.roomy, add).run()


class _Samples:
    """The loops over samples, segments, and the tiles of a segment."""

    def __init__(
        self, kernel: KernelGradient, share: Share, x: Operand, g: Operand, y: Operand,
        tiled: tuple[Rows, tuple[int, int]], lanes: int, roomy: bool, add: Callable[[str, str, Builder], str],
    ) -> None:  # fmt: skip
        self.meta, self.share, self.b = kernel.nodes[0].meta, share, share.b
        self.x, self.g, self.y = x, g, y
        self.rows, (self.height, self.width) = tiled
        self.lanes, self.roomy, self.add = lanes, roomy, add
        self.element = scalar_type(y.layout.dtype)
        self.runs = _runs(self.rows, self.height)
        self.names: dict[tuple[object, ...], str] = {}

    def run(self) -> None:
        b, n, lanes = self.b, self.y.layout.shape[-1], self.lanes
        with b.loop(0, self.x.layout.shape[0]) as loop:
            x, g = (self._moved(a.pointer, loop.i, a.layout.strides[0]) for a in (self.x, self.g))
            for column in range(0, n, self.width * lanes):
                vectors = min(self.width, -(-(n - column) // lanes))
                rest = 0 if self.roomy or column + vectors * lanes <= n else n % lanes
                starts = (x, b.at(g, column, self.element), b.at(self.y.pointer, column, self.element))
                self._segments(loop.i, self.rows.outer, const(0, I64), starts, (vectors, rest))
                if self.meta["sums"]:
                    self._sums(loop.i, starts, (vectors, rest))

    def _sums(self, sample: Value, starts: Starts, width: tuple[int, int]) -> None:
        """The last row: a tile of its own, whose elements of x are ones."""
        b, number = self.b, const(self.rows.tiles(self.height), I64)
        run = _Run(0, [(0, 0)])
        run.x = (None,)
        last = (self.y.layout.shape[0] - 1) * self.y.layout.strides[0]
        with b.when(b.icmp("eq", b.sub(self.share.high, const(1, I64)), number)):
            self._call(run, width, sample, (starts[0], starts[1], b.at(starts[2], last, self.element)))

    def _call(self, run: _Run, width: tuple[int, int], sample: Value, starts: Starts) -> None:
        operands = ", ".join(f"ptr {a}" for a in starts)
        self.b.do(f"call void @{self._name(run, *width)}({operands}, i64 {sample})")

    def _moved(self, start: Value, i: Value, step: int) -> Value:
        return self.b.at(start, self.b.mul(i, const(step, I64)), self.element)

    def _segments(
        self, sample: Value, axes: Sequence[Level], number: Value, starts: Starts, width: tuple[int, int]
    ) -> None:
        if not axes:
            self._tiles(
                sample, self.b.mul(number, const(-(-self.rows.length // self.height), I64)), starts, width
            )
            return
        with self.b.loop(0, axes[0].times) as loop:
            inner = self.b.add(self.b.mul(number, const(axes[0].times, I64)), loop.i)
            x, y = self._moved(starts[0], loop.i, axes[0].left), self._moved(starts[2], loop.i, axes[0].top)
            self._segments(sample, axes[1:], inner, (x, starts[1], y), width)

    def _tiles(self, sample: Value, number: Value, starts: Starts, width: tuple[int, int]) -> None:
        """The tiles of one segment that are in the share; ``number`` is its first one's."""
        b = self.b
        first, last = b.sub(self.share.low, number), b.sub(self.share.high, number)
        for run in self.runs:
            begin = b.intrinsic("smax", first, const(run.first, I64))
            end = b.intrinsic("smin", last, const(run.first + run.count, I64))
            with b.loop(begin, end) as loop:
                at = b.sub(loop.i, const(run.first, I64))
                x, y = (
                    self._moved(b.at(start, s, self.element), at, step)
                    for start, s, step in zip(starts[::2], run.start, run.step, strict=True)
                )
                self._call(run, width, sample, (x, starts[1], y))

    def _name(self, run: _Run, vectors: int, rest: int) -> str:
        """The function that computes a tile."""
        key = run.x, run.y, vectors, rest
        if key not in self.names:
            tile = Tile(len(run.x), vectors, rest)
            body = _tile_body(self.x, self.g, self.y, run, tile, self.lanes, self.meta)
            self.names[key] = self.add("gradient_tile", _PARAMETERS, body)
        return self.names[key]


_PARAMETERS = "ptr noalias %x, ptr noalias %g, ptr noalias %y, i64 %sample"


def _tile_body(
    x: Operand, g: Operand, y: Operand, run: _Run, tile: Tile, lanes: int, meta: Mapping[str, Any]
) -> Builder:
    """y += the sums over the places of one sample; the first sample begins."""
    b = Builder()
    element = scalar_type(y.layout.dtype)
    steps = [n * s for n, s in zip(x.layout.strides[1:-1], meta["strides"], strict=True)]
    places = zip(g.layout.shape[1:-1], steps, g.layout.strides[1:-1], strict=True)
    levels = joined([Level(*place) for place in places])
    left, top, target = (Value(name, PTR) for name in ("%x", "%g", "%y"))
    sums = window_sums(b, tile, left, top, run.x, levels, lanes, element.scalar)
    type = vector(element.scalar, lanes)
    begins = b.splat(b.icmp("eq", Value("%sample", I64), const(0, I64)), lanes)
    for r, row in enumerate(sums):
        for v, found in enumerate(row):
            at = b.at(target, run.y[r] + v * lanes, element)
            mask = first_lanes(tile.rest, lanes) if tile.rest and v == tile.vectors - 1 else None
            old = b.load(at, type) if mask is None else b.load_masked(at, mask, type)
            total = b.select(begins, found, b.fadd(old, found))
            if mask is None:
                b.store(total, at)
            else:
                b.store_masked(total, at, mask)
    return b
