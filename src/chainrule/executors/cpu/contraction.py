"""Matrix products: tiles of registers over the whole inner axis, and an epilogue on every tile.

A tile is ``rows`` × ``vectors`` accumulators. For each k an element of a is broadcast for each row and
multiplied with consecutive elements of b: a may lie in any strides (a transposed view costs nothing), b lies
row after row. Where b is one column, the lanes lie along k instead. Each element is summed over k in the same
order, whatever the tile: its bits do not depend on tiles or threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from chainrule.executors.cpu.convolution import Border, Level, Tile, inside, window_sums
from chainrule.executors.cpu.emit import I64, Builder, Type, Value, const, first_lanes, lane_numbers, vector
from chainrule.executors.cpu.evaluate import Evaluator, Index, Position
from chainrule.executors.cpu.hoist import hoist
from chainrule.executors.cpu.kernels import Contraction
from chainrule.executors.cpu.layout import Layout
from chainrule.executors.cpu.schedule import Access
from chainrule.executors.cpu.special import scalar_type
from chainrule.executors.cpu.target import Target
from chainrule.spec import DType

__all__ = [
    "choose_tile",
    "emit_product",
    "emit_tile",
    "lanes_of",
    "lead_offset",
    "limits_of",
    "reaches_out",
]

_TILES = {
    16: ((4, 6), (3, 8), (2, 12), (1, 14)),
    8: ((3, 4), (2, 6), (1, 10)),
    4: ((2, 4), (1, 8)),
}
_TILES_32 = {4: ((4, 6), (3, 8), (2, 12), (1, 14))}  # of machines with 32 registers of four lanes
_LINES = ((4, 6), (3, 9), (2, 7), (1, 14))  # of 16 lanes, for lines of a convolution: they are short
_FUNCTION = 600.0  # cycles a step that a function less is worth
_VECTOR = 64  # bytes
_NEAR = 600_000  # bytes of b that stay in the cache of a core beside what else is read
_JUMP = 24.0  # cycles from one row of a larger b to the next: a tile should be worth it
_LONG = 8  # times more rows of b than of a state: b is what should stay in the cache
_IN_REGISTERS = 6  # operations of an epilogue that are worth repeating for every accumulator


def limits_of(target: Target, lines: bool = False) -> Sequence[tuple[int, int]]:
    """(vectors, most rows) of the tiles that fit the registers."""
    if lines and target.lanes == 16:
        return _LINES
    return (_TILES_32 if target.registers >= 32 else {}).get(target.lanes, _TILES[target.lanes])


def lanes_of(target: Target, dtype: DType) -> int:
    """Of a register, for elements of a dtype."""
    return max(target.lanes * 4 // dtype.itemsize, 2)


def choose_tile(rows: int, vectors: int, inner: int, limits: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The tile (rows, vectors) that covers a matrix of ``rows`` × ``vectors`` in the fewest cycles; what does
    not fill whole tiles needs functions of its own, which must be compiled.

    inner     the terms of each sum
    limits    (vectors, most rows) that fit the registers of the machine
    """
    best = (math.inf, 1, 1)
    for width, most in limits:
        if width > vectors and width > 1:
            continue
        panels, rest = divmod(vectors, width)
        jump = _JUMP if inner * width * _VECTOR > _NEAR else 0.0
        for height in range(min(most, rows), 0, -1):
            full, left = divmod(rows, height)

            def column(
                width: int, full: int = full, left: int = left, height: int = height, jump: float = jump
            ) -> float:
                last = _cycles(left, width) + jump if left else 0
                return full * (_cycles(height, width) + jump) + last

            cost = (panels * column(width) + (column(rest) if rest else 0)) * inner
            cost += _FUNCTION * (1 + (left > 0)) * ((panels > 0) + (rest > 0))
            if cost < best[0] - 1e-9:
                best = cost, height, width
    return best[1], best[2]


def _cycles(rows: int, vectors: int) -> float:
    """Per k: multiplications at two a cycle, loads at two a cycle, the latency of a sum; and the call."""
    return max(rows * vectors, (rows + vectors) * 1.1, 8) + 1.2


def emit_product(
    kernel: Contraction,
    b: Builder,
    low: Value,
    high: Value,
    call: Callable[[Tile, Value, Value], None],
    tile: tuple[int, int],
    lanes: int,
    exact: bool,
    counts: Sequence[int],
) -> None:
    """Loops over the tiles of rows ``low`` to ``high``. ``call(tile, row, column)`` computes one.

    Panels of b stay in the cache while all rows pass, but where a state is replaced that is not much smaller
    than b: its memory, which is larger than any cache, is then walked row after row.

    counts   the numbers of rows that ``high − low`` may be
    exact    whether the last lanes must not be written where the matrix ends
    """
    n = kernel.product.shape[-1]
    height, width = tile
    vectors = -(-n // lanes)
    rest = n % lanes if exact else 0
    panels, left = divmod(vectors, width)
    if rest and not left:
        panels, left = panels - 1, width
    stop = b.add(low, b.mul(b.sdiv(b.sub(high, low), const(height, I64)), const(height, I64)))
    parts = sorted({count % height for count in counts} - {0})

    def over_rows(body: Callable[[int, Value], None]) -> None:
        with b.loop(low, stop, height) as loop:
            body(height, loop.i)
        for part in parts:
            with b.when(b.icmp("eq", b.sub(high, stop), const(part, I64))):
                body(part, stop)

    def over_panels(body: Callable[[int, int, Value], None]) -> None:
        if panels:
            with b.loop(0, panels * width, width) as panel:
                body(width, 0, b.mul(panel.i, const(lanes, I64)))
        if left:
            body(left, rest, const(panels * width * lanes, I64))

    inner, rows = kernel.product.inputs[0].shape[-1], kernel.product.shape[-2]
    if inner < _LONG * rows and any(place.buffer.home == "state" for _, place in kernel.stores):
        over_rows(
            lambda rows, row: over_panels(lambda w, tail, column: call(Tile(rows, w, tail), row, column))
        )
    else:
        over_panels(
            lambda w, tail, column: over_rows(lambda rows, row: call(Tile(rows, w, tail), row, column))
        )


def reaches_out(access: Access, last: int) -> bool:
    """Whether lanes behind the end of a row would leave the buffer."""
    moving = access.how[1] if isinstance(access.how, tuple) else ()
    return not access.buffer.roomy or any(axis == last and stride != 1 for axis, stride in moving)


def lead_offset(b: Builder, before: Sequence[Value], layout: Layout) -> Value:
    """Where a matrix begins, after places on the first axes."""
    total = const(layout.offset, I64)
    for i, stride in zip(before, layout.strides, strict=False):
        total = b.add(total, b.mul(i, const(stride, I64)))
    return total


def emit_tile(
    kernel: Contraction,
    e: Evaluator,
    tile: Tile,
    a: tuple[Value, Layout],
    right: tuple[Value, Layout],
    row: Value,
    column: Value,
    lanes: int,
    levels: Sequence[Level] = (),
    border: Border | None = None,
) -> None:
    """One tile: the loop over k, then the epilogue and the stores. Operands point at the first element of
    their matrices.

    levels    of the loops over k, where one does not do
    border    the terms of the first level that are zeros
    """
    b = e.b
    element = scalar_type(kernel.product.dtype)
    inner, ask = kernel.inner, _asking(kernel, e, tile, row, column, lanes)
    if levels:
        left = b.at(a[0], b.mul(row, const(a[1].strides[-2], I64)), element)
        top = b.at(right[0], column, element)
        rows = [r * a[1].strides[-2] for r in range(tile.rows)]
        part = None if border is None else inside(b, border, levels[0], e.position.indices[1].value)
        sums = window_sums(b, tile, left, top, rows, levels, lanes, element.scalar, part)
    elif kernel.product.shape[-1] == 1 and a[1].strides[-1] == 1 and inner >= 2 * lanes:
        sums = _dots(b, tile, a, right, row, lanes, element.scalar, inner)
    else:
        sums = _sums(b, tile, a, right, row, column, lanes, element.scalar, inner, ask)
    operations = len(kernel.nodes) - 1
    lead = len(kernel.product.shape) - 2
    wanted = [(node, kernel.axes) for node, _ in kernel.stores]
    hoist(e, wanted, set(range(lead)), lambda x: x is kernel.product)
    if operations <= _IN_REGISTERS or tile.rows == 1:
        for r in range(tile.rows):
            e.layers.append({})
            for v in range(tile.vectors):
                _finish(kernel, e, tile, Index(row, r), column, v, sums[r][v], lanes, lead)
            e.layers.pop()
        return
    type = vector(element.scalar, lanes)
    held = b.local_at_entry(type, tile.rows * tile.vectors)
    for r in range(tile.rows):
        for v in range(tile.vectors):
            b.store(sums[r][v], b.at(held, (r * tile.vectors + v) * lanes, element), 64)
    with b.loop(0, tile.rows) as loop:
        e.layers.append({})
        start = b.at(held, b.mul(loop.i, const(tile.vectors * lanes, I64)), element)
        at = b.add(row, loop.i)
        for v in range(tile.vectors):
            total = b.load(b.at(start, v * lanes, element), type, 64)
            _finish(kernel, e, tile, Index(at), column, v, total, lanes, lead)
        e.layers.pop()


def _finish(
    kernel: Contraction,
    e: Evaluator,
    tile: Tile,
    row: Index,
    column: Value,
    v: int,
    total: Value,
    lanes: int,
    lead: int,
) -> None:
    """The epilogue of one vector, and its stores."""
    rest = tile.rest if v == tile.vectors - 1 else 0
    mask = first_lanes(rest, lanes) if rest else None
    indices = (*e.position.indices[:lead], row, Index(column, v * lanes))
    e.position = Position(indices, lead + 1, lanes, mask)
    e.layers.append({})
    axes = kernel.axes
    e.remember(kernel.product, axes, total)
    values = [e.value(node, axes) for node, _ in kernel.stores]
    for (_, place), value in zip(kernel.stores, values, strict=True):
        e.store(value, place, axes)
    e.layers.pop()


def _asking(
    kernel: Contraction, e: Evaluator, tile: Tile, row: Value, column: Value, lanes: int
) -> Callable[[Value], None] | None:
    """What asks the memory for the state that the epilogue will replace in one row of the tile; None where it
    replaces none."""
    b, starts = e.b, []
    for _, place in kernel.stores:
        if place.buffer.home == "state":
            element, stride = scalar_type(place.layout.dtype), place.layout.strides[-2]
            at = b.add(b.mul(row, const(stride, I64)), column)
            starts.append((b.at(e.pointers[place.buffer], at, element), stride, element))

    def ask(r: Value) -> None:
        for start, stride, element in starts:
            at = b.at(start, b.mul(r, const(stride, I64)), element)
            for v in range(tile.vectors):
                b.prefetch(b.at(at, v * lanes, element), write=True)

    return ask if starts else None


def _sums(
    b: Builder,
    tile: Tile,
    a: tuple[Value, Layout],
    right: tuple[Value, Layout],
    row: Value,
    column: Value,
    lanes: int,
    scalar: str,
    inner: int,
    ask: Callable[[Value], None] | None,
) -> list[list[Value]]:
    """Σₖ a[row + r, k]·b[k, column + v] for every accumulator of a tile.

    ask    the sums are made in as many parts as the tile has rows; before each it asks for what that row's
           epilogue needs, since the memory takes only so many requests at once
    """
    type, element = vector(scalar, lanes), vector(scalar, 0)
    (a_base, a_layout), (b_base, b_layout) = a, right
    down, along = a_layout.strides[-2:]
    next_row = b_layout.strides[-2]
    left = b.at(a_base, b.mul(row, const(down, I64)), element)
    top = b.at(b_base, column, element)
    zero = const(0, type)
    unroll = 1 if tile.rows * tile.vectors > 16 else 2 if tile.rows * tile.vectors > 8 else 4

    def multiply(sums: list[Value], left: Value, top: Value, k: int) -> list[Value]:
        columns = [b.load(b.at(top, k * next_row + v * lanes, element), type) for v in range(tile.vectors)]
        found = []
        for r in range(tile.rows):
            x = b.splat(b.load(b.at(left, r * down + k * along, element), element), lanes)
            found += [b.fma(x, y, sums[r * tile.vectors + v]) for v, y in enumerate(columns)]
        return found

    def add(turns: int, carried: list[Value]) -> list[Value]:
        with b.loop(0, turns, carried=carried) as loop:
            left, top, *sums = loop.carried
            for k in range(unroll):
                sums = multiply(sums, left, top, k)
            loop.carried = [b.at(left, unroll * along, element), b.at(top, unroll * next_row, element), *sums]
        return loop.carried

    carried = [left, top, *[zero] * (tile.rows * tile.vectors)]
    turns, rest = divmod(inner, unroll)
    if ask:
        with b.loop(0, tile.rows, carried=carried) as part:
            ask(part.i)
            part.carried = add(turns // tile.rows, part.carried)
        carried, turns = part.carried, turns % tile.rows
    left, top, *sums = add(turns, carried) if turns else carried
    for k in range(rest):
        sums = multiply(sums, left, top, k)
    return [sums[r * tile.vectors : (r + 1) * tile.vectors] for r in range(tile.rows)]


def _dots(
    b: Builder,
    tile: Tile,
    a: tuple[Value, Layout],
    right: tuple[Value, Layout],
    row: Value,
    lanes: int,
    scalar: str,
    inner: int,
) -> list[list[Value]]:
    """The same for a b of one column: the lanes lie along k, and are added up by halves in the end."""
    type, element = vector(scalar, lanes), vector(scalar, 0)
    (a_base, a_layout), (b_base, b_layout) = a, right
    down, step = a_layout.strides[-2], b_layout.strides[-2]
    left = b.at(a_base, b.mul(row, const(down, I64)), element)
    offsets = lane_numbers(vector("i32", lanes), step)

    def multiply(sums: list[Value], left: Value, top: Value, mask: Value | None) -> list[Value]:
        y = b.gather(top, offsets, mask, type) if step != 1 else _loaded(b, top, mask, type)
        rows = [b.at(left, r * down, element) for r in range(tile.rows)]
        return [b.fma(_loaded(b, x, mask, type), y, sum) for x, sum in zip(rows, sums, strict=True)]

    blocks, rest = divmod(inner, lanes)
    with b.loop(0, blocks, carried=[left, b_base, *[const(0, type)] * tile.rows]) as loop:
        left, top, *sums = loop.carried
        sums = multiply(sums, left, top, None)
        loop.carried = [b.at(left, lanes, element), b.at(top, lanes * step, element), *sums]
    left, top, *sums = loop.carried
    if rest:
        sums = multiply(sums, left, top, first_lanes(rest, lanes))
    return [[b.splat(b.fold(b.fadd, total), lanes)] for total in sums]


def _loaded(b: Builder, address: Value, mask: Value | None, type: Type) -> Value:
    return b.load(address, type) if mask is None else b.load_masked(address, mask, type)
