"""Transposition of matrices, block by block in registers."""

from __future__ import annotations

from chainrule.executors.cpu.emit import I64, Builder, Type, Value, const, vector

__all__ = ["transpose2d"]


def transpose2d(
    b: Builder,
    x_pointer: Value,
    x_stride: int,
    y_pointer: Value,
    y_stride: int,
    columns: int,
    type: Type,
    lanes: int,
    low: Value,
    high: Value,
) -> None:
    """y[j, i] = x[i, j] for the rows i of x from lanes·low to lanes·high, and all its columns j.

    Strides are in elements. Whole blocks of lanes × lanes are read and written, so ``columns`` counts up to
    a multiple of ``lanes``: x must have so many columns and lanes·high rows that may be read, y so many rows
    and lanes·high columns that may be written; padding goes to padding. ``type`` is FLOAT or DOUBLE.
    """
    side = lanes if type.bits == 32 else lanes // 2  # so a block of 64-bit numbers fits the registers too
    parts = lanes // side
    first, last = (b.mul(bound, const(parts, I64)) for bound in (low, high)) if parts > 1 else (low, high)
    with b.loop(first, last) as rows:
        i = b.mul(rows.i, const(side, I64))
        source = b.at(x_pointer, b.mul(i, const(x_stride, I64)), type)
        target = b.at(y_pointer, i, type)
        with b.loop(0, -(-columns // lanes) * lanes, side) as column:
            block = b.at(source, column.i, type)
            lines = _transposed(b, _loaded(b, block, x_stride, type, side))
            place = b.at(target, b.mul(column.i, const(y_stride, I64)), type)
            for j, line in enumerate(lines):
                b.store(line, b.at(place, j * y_stride, type))


def _loaded(b: Builder, block: Value, stride: int, type: Type, side: int) -> list[Value]:
    row = vector(type.scalar, side)
    return [b.load(b.at(block, i * stride, type), row) for i in range(side)]


def _transposed(b: Builder, rows: list[Value]) -> list[Value]:
    """log₂ rounds. In round d, element j of row i and element j+d of row i−d change places, for all i with
    the bit d: as transposing d × d blocks of a matrix of 2 × 2."""
    side = len(rows)
    distance = side // 2
    while distance:
        for i in range(side):
            if not i & distance:
                rows[i], rows[i + distance] = _exchanged(b, rows[i], rows[i + distance], distance)
        distance //= 2
    return rows


def _exchanged(b: Builder, x: Value, y: Value, d: int) -> tuple[Value, Value]:
    n = x.type.lanes
    first = [j if not j & d else n + j - d for j in range(n)]
    second = [j + d if not j & d else n + j for j in range(n)]
    return b.shuffle(x, y, first), b.shuffle(x, y, second)
