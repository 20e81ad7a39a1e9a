"""Kernels that move elements: rows by index, joined and padded arrays."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.executors.cpu.emit import I64, Builder, Value, const, vector
from chainrule.executors.cpu.layout import Layout
from chainrule.executors.cpu.special import Operand, checked_index, scalar_type
from chainrule.spec import Shape

__all__ = ["border", "concat", "copy", "gather", "pad", "zeros"]


def copy(b: Builder, x: Operand, y: Operand, lanes: int) -> None:
    """y = x, element by element, for any strides."""
    element = scalar_type(y.layout.dtype)
    source = b.at(x.pointer, x.layout.offset, element)
    _copy(b, source, x.layout.strides, b.at(y.pointer, y.layout.offset, element), y.layout, lanes)


def _copy(b: Builder, source: Value, strides: Shape, target: Value, to: Layout, lanes: int) -> None:
    element = scalar_type(to.dtype)
    if not to.shape:
        b.store(b.load(source, element), target)
        return
    if to.ndim > 1:
        with b.loop(0, to.shape[0]) as loop:
            rest = Layout(to.shape[1:], to.strides[1:], to.dtype)
            x = b.at(source, b.mul(loop.i, const(strides[0], I64)), element)
            y = b.at(target, b.mul(loop.i, const(to.strides[0], I64)), element)
            _copy(b, x, strides[1:], y, rest, lanes)
        return
    whole = to.shape[0] // lanes * lanes if strides[0] == to.strides[0] == 1 else 0
    if whole:
        with b.loop(0, whole, lanes) as loop:
            found = b.load(b.at(source, loop.i, element), vector(element.scalar, lanes))
            b.store(found, b.at(target, loop.i, element))
    with b.loop(whole, to.shape[0]) as loop:
        found = b.load(b.at(source, b.mul(loop.i, const(strides[0], I64)), element), element)
        b.store(found, b.at(target, b.mul(loop.i, const(to.strides[0], I64)), element))


def gather(b: Builder, x: Operand, index: Operand, y: Operand, *, failed: Value, lanes: int) -> None:
    """y[i…] = x[index[i…]]; an index outside marks ``failed`` and gives the row 0."""
    rows = x.layout.shape[0]
    if not rows:  # there is no row to give
        if index.layout.size:
            b.store(const(1, vector("i32", 0)), failed)
        return
    element = scalar_type(y.layout.dtype)
    source = b.at(x.pointer, x.layout.offset, element)
    target = b.at(y.pointer, y.layout.offset, element)
    places = b.at(index.pointer, index.layout.offset, scalar_type(index.layout.dtype))

    def turn(axis: int, place: Value, target: Value) -> None:
        if axis < index.layout.ndim:
            with b.loop(0, index.layout.shape[axis]) as loop:
                step = b.mul(loop.i, const(index.layout.strides[axis], I64))
                to = b.mul(loop.i, const(y.layout.strides[axis], I64))
                turn(
                    axis + 1,
                    b.at(place, step, scalar_type(index.layout.dtype)),
                    b.at(target, to, element),
                )
            return
        row = checked_index(b, b.load(place, scalar_type(index.layout.dtype)), rows, failed)
        found = b.at(source, b.mul(row, const(x.layout.strides[0], I64)), element)
        rest = Layout(y.layout.shape[axis:], y.layout.strides[axis:], y.layout.dtype)
        _copy(b, found, x.layout.strides[1:], target, rest, lanes)

    turn(0, places, target)


def concat(b: Builder, xs: Sequence[Operand], y: Operand, *, axis: int, lanes: int) -> None:
    """Arrays one after another along an axis."""
    start = 0
    for x in xs:
        offset = y.layout.offset + start * y.layout.strides[axis]
        part = Layout(x.layout.shape, y.layout.strides, y.layout.dtype, offset)
        copy(b, x, Operand(y.pointer, part), lanes)
        start += x.layout.shape[axis]


def pad(
    b: Builder, x: Operand, y: Operand, *, before: Shape, after: Shape, between: Shape, lanes: int
) -> None:
    """Zeros, and the elements of x in their places."""
    zeros(b, y, lanes)
    offset = y.layout.offset + sum(n * s for n, s in zip(before, y.layout.strides, strict=True))
    strides = tuple((i + 1) * s for i, s in zip(between, y.layout.strides, strict=True))
    copy(b, x, Operand(y.pointer, Layout(x.layout.shape, strides, y.layout.dtype, offset)), lanes)


def border(
    b: Builder, x: Operand | None, y: Operand, low: Value, high: Value, *, before: Shape, after: Shape,
    between: Shape, lanes: int,
) -> None:  # fmt: skip
    """The same for rows ``low`` to ``high``, where none is added; no x: its elements lie in their places."""
    element = scalar_type(y.layout.dtype)

    def row(z: Operand, i: Value) -> Operand:
        at = b.add(b.mul(i, const(z.layout.strides[0], I64)), const(z.layout.offset, I64))
        rest = Layout(z.layout.shape[1:], z.layout.strides[1:], z.layout.dtype)
        return Operand(b.at(z.pointer, at, element), rest)

    with b.loop(low, high) as loop:
        target = row(y, loop.i)
        if x is not None:
            sizes = {"before": before[1:], "after": after[1:], "between": between[1:]}
            pad(b, row(x, loop.i), target, lanes=lanes, **sizes)
        else:
            _around(b, target.pointer, target.layout, before[1:], after[1:], lanes)


def _around(b: Builder, start: Value, y: Layout, before: Shape, after: Shape, lanes: int) -> None:
    """Zeros before and after the elements of every axis, the first one first."""
    if not any((*before, *after)):
        return
    element, n = scalar_type(y.dtype), y.shape[0]

    def part(first: int, count: int) -> None:
        if count:
            at = b.at(start, first * y.strides[0], element)
            zeros(b, Operand(at, Layout((count, *y.shape[1:]), y.strides, y.dtype)), lanes)

    part(0, before[0])
    part(n - after[0], after[0])
    if len(y.shape) > 1:
        with b.loop(before[0], n - after[0]) as loop:
            inner = b.at(start, b.mul(loop.i, const(y.strides[0], I64)), element)
            _around(b, inner, Layout(y.shape[1:], y.strides[1:], y.dtype), before[1:], after[1:], lanes)


def zeros(b: Builder, y: Operand, lanes: int) -> None:
    """y = 0"""
    element = scalar_type(y.layout.dtype)
    zero = b.local_at_entry(
        vector(element.of("i8").scalar if element.scalar == "i1" else element.scalar, lanes)
    )
    b.store(const(0, vector("i8" if element.scalar == "i1" else element.scalar, lanes)), zero)
    repeated = Layout(y.layout.shape, (0,) * y.layout.ndim, y.layout.dtype)
    copy(b, Operand(zero, repeated), y, lanes)
