"""Convolutions where they lie: each place of the output is a row of a matrix product, its elements found by
strides. What a kernel sees along a line lies side by side with its channels, so that sums run over few
levels of loops. The rows of a tile are neighbouring places of one line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chainrule.executors.cpu.emit import I64, Builder, Value, const, vector
from chainrule.executors.cpu.kernels import Convolution
from chainrule.executors.cpu.layout import Layout
from chainrule.ops.shape import PAD

__all__ = ["Border", "Level", "Seen", "Tile", "emit_places", "inside", "joined", "see", "window_sums"]

Rows = Sequence[int | None]
_UNROLLED = 27  # terms of a sum that are written out, at most
_CACHED = 1 << 19  # bytes of a kernel that stay in the cache next to the processor while a sample passes


@dataclass(frozen=True)
class Tile:
    """Rows, and vectors of lanes; how many lanes of the last vector lie inside the matrix, if not all."""

    rows: int
    vectors: int
    rest: int = 0


class Level(NamedTuple):
    """A loop of a sum: how often, and how far both operands move each time."""

    times: int
    left: int
    top: int


class Border(NamedTuple):
    """Lines of zeros before and after those of an array, of which every ``stride``-th begins a window."""

    before: int
    lines: int
    stride: int


class Seen(NamedTuple):
    """Both operands of a convolution as those of a matrix product for every line of places.

    left     (batch, places…, terms): a term lies where the levels say
    top      (…, terms, out)
    """

    left: Layout
    top: Layout
    levels: tuple[Level, ...]
    border: Border | None = None


def see(kernel: Convolution, x: Layout, w: Layout) -> Seen:
    """The layouts of the operands, as the tiles of a product look at them."""
    meta, y = kernel.product.meta, kernel.product.shape
    lead, terms = len(y) - 2, math.prod(w.shape[:-1])
    steps = [n * s for n, s in zip(x.strides[1:-1], meta["strides"], strict=True)]
    left = Layout((*y[:-1], terms), (x.strides[0], *steps, 1), x.dtype, x.offset)
    top = Layout((*y[:-2], terms, y[-1]), (*(0,) * lead, w.strides[-2], 1), w.dtype, w.offset)
    within = [n * d for n, d in zip(x.strides[1:-1], meta["dilation"], strict=True)]
    pairs = zip(w.shape[:-1], (*within, x.strides[-1]), w.strides[:-1], strict=True)
    levels = joined([Level(*level) for level in pairs])
    return Seen(left, top, levels, _border(kernel, levels))


def _border(kernel: Convolution, levels: Sequence[Level]) -> Border | None:
    """The lines of zeros that need not be multiplied, where the first level goes over lines."""
    x, w = kernel.product.inputs
    strides, dilation = kernel.product.meta["strides"], kernel.product.meta["dilation"]
    if x.primitive is not PAD or x.ndim < 4 or levels[0].times != w.shape[0] or len(levels) < 2:
        return None
    before, after, between = (x.meta[name][1] for name in ("before", "after", "between"))
    if dilation[0] > 1 or between or not before + after:
        return None
    return Border(before, x.shape[1] - before - after, strides[0])


def inside(b: Builder, border: Border, level: Level, line: Value | None) -> tuple[Value, Value] | None:
    """Which terms of the level lie on the array's own lines, for a line of the output."""
    if line is None:
        return None
    first = b.mul(line, const(border.stride, I64))
    low = b.intrinsic("smax", b.sub(const(border.before, I64), first), const(0, I64))
    end = b.sub(const(border.before + border.lines, I64), first)
    return low, b.intrinsic("smin", end, const(level.times, I64))


def joined(levels: Sequence[Level]) -> tuple[Level, ...]:
    """Levels that go on where the next ones end are one."""
    found: list[Level] = []
    for outer in reversed([x for x in levels if x.times > 1] or [Level(1, 0, 0)]):
        inner = found[-1] if found else None
        if inner and (outer.left, outer.top) == (inner.times * inner.left, inner.times * inner.top):
            found[-1] = Level(outer.times * inner.times, inner.left, inner.top)
        else:
            found.append(outer)
    return tuple(reversed(found))


def window_sums(
    b: Builder, tile: Tile, left: Value, top: Value, rows: Rows, levels: Sequence[Level], lanes: int,
    scalar: str, part: tuple[Value, Value] | None = None,
) -> list[list[Value]]:  # fmt: skip
    """Σ over all levels of left[rows[r] + …]·top[… + v·lanes] for every accumulator of a tile.

    rows        where each row of the tile begins, from the first one on; None: it is made of ones
    left, top   the addresses of the first term of the first row, and of the first lane
    part        of the first level, where not all of it
    """
    sums = [const(0, vector(scalar, lanes))] * _held(tile)
    if part is None:
        sums = _over(b, tile, left, top, rows, levels, lanes, sums)
    else:
        element, (outer, *inner) = vector(scalar, 0), levels
        with b.loop(*part, carried=sums) as loop:
            x = b.at(left, b.mul(loop.i, const(outer.left, I64)), element)
            w = b.at(top, b.mul(loop.i, const(outer.top, I64)), element)
            loop.carried = _over(b, tile, x, w, rows, inner, lanes, loop.carried)
        sums = loop.carried
    return [sums[r * tile.vectors : (r + 1) * tile.vectors] for r in range(tile.rows)]


def _held(tile: Tile) -> int:
    return tile.rows * tile.vectors


def _over(
    b: Builder, tile: Tile, left: Value, top: Value, rows: Rows, levels: Sequence[Level], lanes: int,
    sums: list[Value],
) -> list[Value]:  # fmt: skip
    """The loops of the levels; what is short is written out."""
    element = sums[0].type.element
    if not levels:
        return _multiply(b, tile, left, top, rows, lanes, sums)
    level, rest = levels[0], levels[1:]
    whole = math.prod(x.times for x in levels) <= _UNROLLED
    unroll = level.times if whole else 1 if rest else _unroll(level.times, tile)
    turns, more = divmod(level.times, unroll)

    def turn(left: Value, top: Value, sums: list[Value], times: int) -> list[Value]:
        for k in range(times):
            at = b.at(left, k * level.left, element), b.at(top, k * level.top, element)
            sums = _over(b, tile, *at, rows, rest, lanes, sums)
        return sums

    if turns > 1:
        with b.loop(0, turns, carried=[left, top, *sums]) as loop:
            x, w, *sums = loop.carried
            sums = turn(x, w, sums, unroll)
            ahead = b.at(x, unroll * level.left, element), b.at(w, unroll * level.top, element)
            loop.carried = [*ahead, *sums]
        left, top, *sums = loop.carried
        return turn(left, top, sums, more)
    return turn(left, top, sums, level.times)


def _unroll(count: int, tile: Tile) -> int:
    most = 1 if _held(tile) > 26 else 2 if _held(tile) > 12 else 4
    return next(n for n in (most, 2, 1) if count % n == 0 or n == 1)


def _multiply(
    b: Builder, tile: Tile, left: Value, top: Value, rows: Rows, lanes: int, sums: list[Value]
) -> list[Value]:
    """One term of every sum."""
    type = sums[0].type
    columns = [b.load(b.at(top, v * lanes, type.element), type) for v in range(tile.vectors)]
    found = []
    for r in range(tile.rows):
        start = rows[r]
        if start is None:
            x = const(1, type)
        else:
            x = b.splat(b.load(b.at(left, start, type.element), type.element), lanes)
        found += [b.fma(x, y, sums[r * tile.vectors + v]) for v, y in enumerate(columns)]
    return found


def emit_places(
    kernel: Convolution, b: Builder, low: Value, high: Value,
    call: Callable[[Tile, Sequence[Value], Value, Value], None], tile: tuple[int, int], lanes: int,
    exact: bool,
) -> None:  # fmt: skip
    """Loops over samples ``low`` to ``high``, panels of channels, lines, and the tiles of a line.

    call     computes one tile: (tile, the places before its own, row, column)
    exact    whether the last lanes must not be written where the channels end
    """
    _, *lines, m, n = kernel.product.shape
    height, width = tile
    rest = n % lanes if exact else 0
    panels, left = divmod(-(-n // lanes), width)
    if rest and not left:
        panels, left = panels - 1, width

    def over_panels(body: Callable[[int, int, Value], None]) -> None:
        if panels:
            with b.loop(0, panels * width, width) as panel:
                body(width, 0, b.mul(panel.i, const(lanes, I64)))
        if left:
            body(left, rest, const(panels * width * lanes, I64))

    def over_lines(before: list[Value], axes: Sequence[int], width: int, tail: int, column: Value) -> None:
        if axes:
            with b.loop(0, axes[0]) as line:
                over_lines([*before, line.i], axes[1:], width, tail, column)
            return
        stop = m - m % height
        with b.loop(0, stop, height) as place:
            call(Tile(height, width, tail), before, place.i, column)
        if m % height:
            call(Tile(m % height, width, tail), before, const(stop, I64), column)

    def over_samples(body: Callable[[Value], None]) -> None:
        with b.loop(low, high) as sample:
            body(sample.i)

    kept = kernel.inner * n * kernel.product.dtype.itemsize <= _CACHED
    if kept:
        over_samples(lambda i: over_panels(lambda w, tail, column: over_lines([i], lines, w, tail, column)))
    else:
        over_panels(lambda w, tail, column: over_samples(lambda i: over_lines([i], lines, w, tail, column)))
