"""Kernels that no pattern of loops takes: running sums, scattered sums, sorted orders, checked indices.

Each function appends its instructions to a ``Builder``. An output is written within its shape only: the
padding of its rows stays as it was.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from chainrule.executors.cpu.emit import I32, I64, Builder, Type, Value, const, vector
from chainrule.executors.cpu.layout import Layout, dense
from chainrule.spec import DTYPES, DType

__all__ = [
    "Operand",
    "argsort",
    "argsort_scratch",
    "checked_index",
    "cumsum",
    "scalar_type",
    "scatter_add",
    "scatter_scratch",
]

_SCALARS = {
    "bool": "i1",
    "uint8": "i8",
    "int32": "i32",
    "int64": "i64",
    "float32": "float",
    "float64": "double",
}
_SHORT_SUM = 1024  # so many terms may be added in float32


@dataclass(frozen=True, slots=True)
class Operand:
    """An array in memory: its element i lies at ``pointer + layout.offset + Σ i·stride``, in elements."""

    pointer: Value
    layout: Layout


@functools.cache
def scalar_type(dtype: DType) -> Type:
    """The register type of one element; ``Builder.load`` and ``store`` keep booleans in bytes.

    >>> print(scalar_type(DTYPES["float32"]), scalar_type(DTYPES["bool"]))
    float i1
    """
    return vector(_SCALARS[dtype.name], 0)


# ------------------------------------------------------------------ walking


def _moved(b: Builder, x: Operand, axis: int, place: Value) -> Value:
    """The address of ``x[…, place, …]``."""
    if place.literal == 0:
        return x.pointer
    step = b.mul(place, const(x.layout.strides[axis], I64)) if x.layout.strides[axis] != 1 else place
    return b.at(x.pointer, step, scalar_type(x.layout.dtype))


def _at(b: Builder, x: Operand, axis: int, place: Value) -> Operand:
    """``x[…, place, …]`` without the axis."""
    kept = [a for a in range(x.layout.ndim) if a != axis]
    shape, strides = (tuple(sizes[a] for a in kept) for sizes in (x.layout.shape, x.layout.strides))
    return Operand(_moved(b, x, axis, place), Layout(shape, strides, x.layout.dtype))


def _from_offset(b: Builder, x: Operand) -> Operand:
    """The same array with its offset in the pointer."""
    at = b.at(x.pointer, x.layout.offset, scalar_type(x.layout.dtype))
    return Operand(at, Layout(x.layout.shape, x.layout.strides, x.layout.dtype))


@contextmanager
def _each(b: Builder, operands: Sequence[Operand], axes: Iterable[int]) -> Iterator[list[Operand]]:
    """Loops over these axes (ascending), which the operands share; inside they are without them."""
    with ExitStack() as loops:
        found = [_from_offset(b, x) for x in operands]
        for gone, axis in enumerate(axes):
            n = found[0].layout.shape[axis - gone]
            i = const(0, I64) if n == 1 else loops.enter_context(b.loop(0, n)).i
            found = [_at(b, x, axis - gone, i) for x in found]
        yield found


def _chunks(b: Builder, n: int, lanes: int) -> Iterator[tuple[Value, int]]:
    """``range(n)`` in vectors, as (start, width); what is emitted for the first one is inside a loop.
    Width 0 is a scalar, as in ``vector``."""
    whole = n - n % lanes
    if whole:
        with b.loop(0, whole, lanes) as loop:
            yield loop.i, 0 if lanes == 1 else lanes
    if n > whole:
        yield const(whole, I64), 0 if n - whole == 1 else n - whole


def _vectors(b: Builder, operands: Sequence[Operand], lanes: int) -> Iterator[tuple[list[Operand], int]]:
    """All elements of operands of one shape, as (operands that begin there, width)."""
    last = operands[0].layout.ndim - 1
    with _each(b, operands, range(last)) as rows:
        if last < 0:
            yield rows, 0
            return
        for start, width in _chunks(b, rows[0].layout.shape[0], _lanes(rows, lanes)):
            yield [Operand(_moved(b, x, 0, start), x.layout) for x in rows], width


def _lanes(operands: Sequence[Operand], lanes: int) -> int:
    """One where the last axis is not consecutive in memory."""
    return lanes if all(x.layout.strides[-1] in (0, 1) for x in operands) else 1


def _load(b: Builder, x: Operand, width: int) -> Value:
    """The first elements along the last axis."""
    type = scalar_type(x.layout.dtype)
    if width and x.layout.strides[-1] == 0:
        return b.splat(b.load(x.pointer, type), width)
    return b.load(x.pointer, vector(type.scalar, width))


def _widened(b: Builder, x: Value) -> Value:
    """double or i64."""
    if x.type.scalar in ("double", "i64"):
        return x
    if x.type.floating:
        return b.convert("fpext", x, x.type.of("double"))
    return b.convert("sext" if x.type.scalar == "i32" else "zext", x, x.type.of("i64"))


def _narrowed(b: Builder, x: Value, scalar: str) -> Value:
    """From double or i64, as NumPy's astype: integers lose their high bits, booleans are x ≠ 0."""
    if x.type.scalar == scalar:
        return x
    if scalar == "i1":
        return b.icmp("ne", x, const(0, x.type))
    return b.convert("fptrunc" if x.type.floating else "trunc", x, x.type.of(scalar))


# ------------------------------------------------------------------ cumsum


def cumsum(b: Builder, x: Operand, y: Operand, *, axis: int, reverse: bool, lanes: int) -> None:
    """y_i = Σ_{j≤i} x_j along the axis (j ≥ i if ``reverse``), one after the other, in double or i64."""
    last = x.layout.ndim - 1
    with _each(b, (x, y), [a for a in range(last + 1) if a not in (axis, last)]) as lines:
        if axis == last:
            _running_sum(b, *lines, reverse=reverse, width=0)
            return
        for start, width in _chunks(b, x.layout.shape[last], _lanes(lines, lanes)):
            columns = [Operand(_moved(b, z, 1, start), z.layout) for z in lines]
            _running_sum(b, *columns, reverse=reverse, width=width)


def _running_sum(b: Builder, x: Operand, y: Operand, *, reverse: bool, width: int) -> None:
    """Along axis 0, ``width`` columns at once."""
    n, type = x.layout.shape[0], vector(scalar_type(x.layout.dtype).scalar, width)
    zero = const(-0.0, type.of("double")) if type.floating else const(0, type.of("i64"))  # −0 + x is x
    with b.loop(0, n, carried=[zero]) as loop:
        i = b.sub(const(n - 1, I64), loop.i) if reverse else loop.i
        term = _widened(b, _load(b, Operand(_moved(b, x, 0, i), x.layout), width))
        total = b.fadd(loop.carried[0], term) if type.floating else b.add(loop.carried[0], term)
        b.store(_narrowed(b, total, type.scalar), _moved(b, y, 0, i))
        loop.carried = [total]


# ------------------------------------------------------------------ rows by index


def _fail(b: Builder, bad: Value, failed: Value) -> None:
    with b.when(bad):
        b.store(const(1, I32), failed)


def checked_index(b: Builder, index: Value, rows: int, failed: Value) -> Value:
    """The index as i64 where it lies in 0 … rows−1, else 0; an i32 of 1 goes to ``failed`` if any does not.

    ``index`` is i8 (unsigned), i32 or i64, a scalar or a vector. Without rows there is no row 0 either:
    the caller must not read one.
    """
    wide = _widened(b, index)
    outside = b.icmp("uge", wide, const(rows, wide.type))
    lanes = outside.type.lanes
    if lanes:
        mask = b.bitcast(outside, vector(f"i{lanes}", 0))
        _fail(b, b.icmp("ne", mask, const(0, mask.type)), failed)
    else:
        _fail(b, outside, failed)
    return b.select(outside, const(0, wide.type), wide)


def _in_double(index: Layout, y: Layout) -> bool:
    return y.dtype == DTYPES["float32"] and index.size > _SHORT_SUM


def scatter_scratch(index: Layout, y: Layout) -> int:
    """Bytes of scratch memory that ``scatter_add`` needs."""
    return 8 * y.size if _in_double(index, y) else 0


def scatter_add(
    b: Builder,
    index: Operand,
    updates: Operand,
    y: Operand,
    *,
    rows: int,
    scratch: Value,
    failed: Value,
    lanes: int,
) -> None:
    """y[index[i…]] += updates[i…] into zeros, in the order of i.   index (i…), updates (i…, r…), y (rows, r…)

    float32 is summed in double, in ``scratch``, where the index has more than 1024 entries. An index outside
    0 … rows−1 is left out and stores 1 to the i32 at ``failed``.
    """
    wide = _in_double(index.layout, y.layout)
    y = _from_offset(b, y)
    total = Operand(scratch, dense(y.layout.shape, DTYPES["float64"])) if wide else y
    for (part,), width in _vectors(b, [total], lanes):
        type = scalar_type(part.layout.dtype)
        b.store(const(0, vector(type.scalar, width)), part.pointer)
    with _each(b, (index, updates), range(index.layout.ndim)) as (place, row):
        row_number = _widened(b, _load(b, place, 0))
        outside = b.icmp("uge", row_number, const(rows, I64))
        _fail(b, outside, failed)
        with b.when(b.not_(outside)):
            _add_to(b, _at(b, total, 0, row_number), row, lanes)
    if wide:
        for (part, target), width in _vectors(b, [total, y], lanes):
            b.store(_narrowed(b, _load(b, part, width), "float"), target.pointer)


def _add_to(b: Builder, total: Operand, terms: Operand, lanes: int) -> None:
    """total += terms, both of one shape; float terms may go to double totals."""
    for (target, part), width in _vectors(b, [total, terms], lanes):
        old, term = _load(b, target, width), _load(b, part, width)
        if old.type is not term.type:
            term = _widened(b, term)
        b.store(b.fadd(old, term) if old.type.floating else b.add(old, term), target.pointer)


# ------------------------------------------------------------------ argsort


def _words(layout: Layout) -> int:
    """i64 words of an entry: key and index together in one where the key has 32 bits."""
    return 2 if layout.dtype.itemsize == 8 else 1


def argsort_scratch(layout: Layout, axis: int) -> int:
    """Bytes of scratch memory that ``argsort`` of such an x needs, aligned to 8."""
    return 2 * _words(layout) * (layout.shape[axis] + 1) * 8


def argsort(b: Builder, x: Operand, y: Operand, *, axis: int, scratch: Value) -> None:
    """y (int64) is the stable order that sorts x along the axis; −0 equals 0, NaN comes last.

    Merge sort from the bottom up, between the halves of ``scratch``: runs of 1, 2, 4 … entries.
    """
    n, words = x.layout.shape[axis], _words(x.layout)
    half = words * (n + 1)
    with _each(b, (x, y), [a for a in range(x.layout.ndim) if a != axis]) as (line, order):
        with b.loop(0, n) as loop:
            key = _sort_key(b, b.load(_moved(b, line, 0, loop.i), scalar_type(x.layout.dtype)))
            _put(b, scratch, loop.i, _entry(b, key, loop.i), n)
        buffers = [scratch, b.at(scratch, half, I64)]
        with b.loop(0, max(n - 1, 0).bit_length(), carried=buffers) as sweep:
            source, target = sweep.carried
            _merge_runs(b, source, target, n, words, sweep.i)
            sweep.carried = [target, source]
        with b.loop(0, n) as loop:
            word = _get(b, sweep.carried[0], loop.i, n, words)[-1]
            found = b.and_(word, const(0xFFFFFFFF, I64)) if words == 1 else word
            b.store(found, _moved(b, order, 0, loop.i))


def _sort_key(b: Builder, x: Value) -> Value:
    """A signed integer (i32, or i64 for types of 64 bits) that is ordered as x is."""
    if not x.type.floating:
        return x if x.type.bits >= 32 else b.convert("zext", x, I32)
    integer = x.type.of(f"i{x.type.bits}")
    bits = b.bitcast(x, integer)
    negative = b.ashr(bits, const(x.type.bits - 1, integer))
    ordered = b.xor(bits, b.lshr(negative, const(1, integer)))  # of a negative number, all but the sign
    zero = b.fcmp("oeq", x, const(0.0, x.type))
    nan = b.fcmp("uno", x, x)
    last = const((1 << x.type.bits - 1) - 1, integer)
    return b.select(nan, last, b.select(zero, const(0, integer), ordered))


def _entry(b: Builder, key: Value, index: Value) -> list[Value]:
    """[key, index], or [key·2³² + index], which is ordered by the key and then by the index."""
    if key.type is I64:
        return [key, index]
    return [b.or_(b.shl(b.convert("sext", key, I64), const(32, I64)), index)]


def _get(b: Builder, base: Value, i: Value, n: int, words: int) -> list[Value]:
    starts = [b.at(base, word * (n + 1), I64) for word in range(words)]
    return [b.load(b.at(start, i, I64), I64) for start in starts]


def _put(b: Builder, base: Value, i: Value, entry: list[Value], n: int) -> None:
    for word, part in enumerate(entry):
        b.store(part, b.at(b.at(base, word * (n + 1), I64), i, I64))


def _merge_runs(b: Builder, source: Value, target: Value, n: int, words: int, sweep: Value) -> None:
    """Runs of 2^sweep entries become runs of twice as many."""
    end, one = const(n, I64), const(1, I64)
    width, twice = b.shl(one, sweep), b.add(sweep, one)
    pairs = b.lshr(b.add(end, b.sub(b.shl(one, twice), one)), twice)
    with b.loop(0, pairs) as pair:
        low = b.shl(pair.i, twice)
        middle = _smaller(b, b.add(low, width), end)
        high = _smaller(b, b.add(middle, width), end)
        with b.loop(low, high, carried=[low, middle]) as merge:
            i, j = merge.carried
            left, right = _get(b, source, i, n, words), _get(b, source, j, n, words)  # entry n is a spare
            less = b.and_(b.icmp("slt", right[0], left[0]), b.icmp("slt", j, high))
            take = b.or_(less, b.icmp("eq", i, middle))
            chosen = [b.select(take, r, l) for l, r in zip(left, right, strict=True)]
            _put(b, target, merge.i, chosen, n)
            step = b.convert("zext", take, I64)
            merge.carried = [b.add(i, b.sub(one, step)), b.add(j, step)]


def _smaller(b: Builder, x: Value, y: Value) -> Value:
    return b.select(b.icmp("slt", x, y), x, y)
