"""The values of nodes at one position of a kernel's domain, as instructions: loads, then arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.executors.cpu.assignment import REDUCTIONS, Assignment, reduces, trivial_axes
from chainrule.executors.cpu.elementwise import EMIT
from chainrule.executors.cpu.emit import I64, Builder, Value, const, lane_numbers, vector
from chainrule.executors.cpu.kernels import BATCH, Buffer, Kernel, Place
from chainrule.executors.cpu.layout import Layout
from chainrule.executors.cpu.special import scalar_type
from chainrule.executors.cpu.views import VIEWS, Map, map_down, relabels
from chainrule.graph.expr import CONSTANT, Expr
from chainrule.ops.elementwise import ADD, DIV, MUL, SUB
from chainrule.ops.reduce import ARGMAX

__all__ = ["Evaluator", "Index", "Position"]


_AHEAD = 2  # rows of the data that are asked for before they are needed


@dataclass(frozen=True, eq=False)
class Index:
    """A place on an axis: what is known when the kernel runs, plus what is known now."""

    value: Value | None
    known: int = 0

    def __add__(self, more: int) -> Index:
        return Index(self.value, self.known + more)


@dataclass(frozen=True, eq=False)
class Position:
    """A place in a domain. Along ``lane_axis`` so many lanes begin there.

    mask    the lanes that lie inside the domain, where not all do
    strict  whether the lanes outside belong to others, so that padding does not excuse touching them
    """

    indices: tuple[Index, ...]
    lane_axis: int | None
    lanes: int
    mask: Value | None = None
    strict: bool = False


class Evaluator:
    """Values of one kernel's nodes. What has been computed is remembered in layers: one for every loop
    that is open, so that a value never outlives the loop in which it was made.

    pointers    the base address of every buffer; ``rows`` of the index that picks rows of the data
    """

    def __init__(
        self,
        b: Builder,
        kernel: Kernel,
        maps: Mapping[Expr, Map],
        found: Assignment,
        pointers: Mapping[Buffer, Value],
        rows: Value,
    ) -> None:
        self.b, self.kernel, self.maps, self.found = b, kernel, maps, found
        self.pointers, self.rows = pointers, rows
        self.own = set(kernel.nodes)
        self.uses = Counter([i for node in kernel.nodes for i in node.inputs])
        self.uses.update(node for node, _ in kernel.stores)
        self.layers: list[dict[object, Value]] = [{}]
        self.position = Position((), None, 0)

    # ------------------------------------------------------------------ layers

    def known(self, key: object) -> Value | None:
        for layer in reversed(self.layers):
            if (found := layer.get(key)) is not None:
                return found
        return None

    def remember(self, node: Expr, axes: Map, value: Value) -> None:
        """From now on this is the node's value, in this loop."""
        self.layers[-1][(node, axes)] = value

    # ------------------------------------------------------------------ values

    def value(self, x: Expr, axes: Map) -> Value:
        """x at the present position; ``axes`` are those of the domain along which x's own lie."""
        key = (x, axes)
        found = self.known(key)
        if found is None:
            found = self._compute(x, axes)
            self.layers[-1][key] = found
        return found

    def _compute(self, x: Expr, axes: Map) -> Value:
        if x.primitive is CONSTANT and x.size == 1:
            return const(x.meta["value"].reshape(-1)[0], scalar_type(x.dtype))
        if x.primitive in VIEWS and not self.kept(x) and relabels(x):
            below = map_down(x, axes) if len(axes) == x.ndim else (None,) * x.inputs[0].ndim
            return self.value(x.inputs[0], below)
        place = self.place(x)
        if place is not None:
            return self.load(place, axes)
        if x in self.own and self.maps.get(x, axes) != axes:
            return self.value(x, self.maps[x])
        if x.primitive in REDUCTIONS and not reduces(x):
            return self._trivial(x, axes)
        if x.primitive is DIV and self._divisor(x.inputs[1]):
            return self._divided(x, axes)
        if x.primitive in (ADD, SUB) and (fused := self._fused(x, axes)) is not None:
            return fused
        values = [self.value(i, axes) for i in x.inputs]
        return EMIT[x.primitive](self.b, x, *self.alike(values))

    def _fused(self, x: Expr, axes: Map) -> Value | None:
        """a·b + c or c − a·b in one instruction, where the product is wanted nowhere else."""
        left, right = x.inputs
        if left.primitive is MUL and right.primitive is MUL:
            return None  # x·x − y·y of equal x, y must be 0, so both are rounded
        product, other = (
            (left, right) if x.primitive is ADD and self._is_product(left, axes) else (right, left)
        )
        if left is right or x.dtype.kind != "f" or not self._is_product(product, axes):
            return None
        a, b, c = self.alike([*(self.value(i, axes) for i in product.inputs), self.value(other, axes)])
        return self.b.fma(self.b.fneg(a) if x.primitive is SUB else a, b, c)

    def _is_product(self, x: Expr, axes: Map) -> bool:
        """Whether x is a product that is computed here, for one user."""
        own = x.primitive is MUL and self.uses[x] <= 1 and self.known((x, axes)) is None
        return own and self.maps.get(x, axes) == axes and self.place(x) is None

    def _trivial(self, x: Expr, axes: Map) -> Value:
        """A reduction over axes of size 1."""
        return const(0, I64) if x.primitive is ARGMAX else self.value(x.inputs[0], trivial_axes(x, axes))

    def alike(self, values: Sequence[Value]) -> list[Value]:
        """Scalars in every lane, where one of the values has lanes."""
        lanes = max(v.type.lanes for v in values)
        return [self.b.splat(v, lanes) for v in values]

    # ------------------------------------------------------------------ division by a scalar

    def _divisor(self, x: Expr) -> bool:
        """A scalar for all elements: its reciprocal is taken once."""
        while x.primitive in VIEWS and not self.kept(x):
            if not relabels(x):
                return False
            x = x.inputs[0]
        return x.size == 1

    def _divided(self, node: Expr, axes: Map) -> Value:
        """x/s as (x·r)·2⁻ᵉ with s = f·2ᵉ and r = 1/f, where s is not known yet: one rounding more than a
        division. A known s divides, for x/41 of x = 41 must be 1; powers of two are exact either way."""
        x, s = node.inputs
        b, top = self.b, self.value(x, axes)
        scalar = self.value(s, axes)
        if not top.type.lanes or scalar.type.lanes:
            return b.fdiv(*self.alike([top, scalar]))
        if scalar.literal is not None:
            if not _power_of_two(scalar.literal):
                return b.fdiv(*self.alike([top, scalar]))
            return b.fmul(top, b.splat(const(1 / scalar.literal, scalar.type), top.type.lanes))
        parts = self._reciprocal(s, scalar)
        for part in parts:
            top = b.fmul(top, b.splat(part, top.type.lanes))
        return top

    def prepare_divisor(self, s: Expr, axes: Map) -> None:
        """Takes the reciprocal of a scalar now, for divisions to come."""
        if self._divisor(s) and (scalar := self.value(s, axes)).literal is None and not scalar.type.lanes:
            self._reciprocal(s, scalar)

    def _reciprocal(self, s: Expr, scalar: Value) -> tuple[Value, Value]:
        b = self.b
        known = self.known(("reciprocal", s)), self.known(("power", s))
        if known[0] is not None and known[1] is not None:
            return known[0], known[1]
        bits = scalar.type.of("i32" if scalar.type.bits == 32 else "i64")
        fraction, bias = (23, 127) if scalar.type.bits == 32 else (52, 1023)
        raw = b.bitcast(scalar, bits)
        exponent = b.and_(b.lshr(raw, const(fraction, bits)), const(2 * bias + 1, bits))
        normal = b.icmp("ult", b.sub(exponent, const(1, bits)), const(2 * bias, bits))
        opposite = b.intrinsic("umax", b.sub(const(2 * bias, bits), exponent), const(1, bits))
        shift = b.select(normal, opposite, const(bias, bits))
        power = b.bitcast(b.shl(shift, const(fraction, bits)), scalar.type)
        factor = b.fdiv(const(1, scalar.type), b.fmul(scalar, power))
        self.layers[-1][("reciprocal", s)], self.layers[-1][("power", s)] = factor, power
        return factor, power

    # ------------------------------------------------------------------ memory

    def place(self, x: Expr) -> Place | None:
        """Where x lies, through its views; None where it must be computed."""
        if x in self.own:
            return self.found.source(x)
        base = x
        while base.primitive in VIEWS and not self.kept(base):
            base = base.inputs[0]
        return None if base in self.own else self.found.place(x, self.kernel)

    def kept(self, x: Expr) -> bool:
        """Whether x itself is computed here or lies in memory, and not only what it looks at."""
        return x in self.own or self.found.visible(x, self.kernel)

    def load(self, place: Place, axes: Map) -> Value:
        at = self.position
        element = scalar_type(place.layout.dtype)
        stride = _lane_stride(place.layout, axes, at.lane_axis)
        address = self._address(place, axes)
        if not stride or not at.lanes:
            return self.b.load(address, element)
        type = vector(element.scalar, at.lanes)
        if isinstance(stride, int) and stride % BATCH and stride < BATCH:
            if stride != 1:
                return self._gather(address, self._lane_offsets(stride), type)
            if at.mask is not None and (at.strict or not place.buffer.roomy):
                return self.b.load_masked(address, at.mask, type)
            return self.b.load(address, type)
        return self._gather(address, self._picked(place, axes, stride), type)

    def _gather(self, address: Value, offsets: Value, type: object) -> Value:
        return self.b.gather(address, offsets, self.position.mask, type)  # type: ignore[arg-type]

    def _lane_offsets(self, stride: int) -> Value:
        key = ("offsets", stride)
        found = self.known(key)
        if found is None:
            found = self.layers[-1][key] = lane_numbers(vector("i32", self.position.lanes), stride)
        return found

    def _picked(self, place: Place, axes: Map, stride: int) -> Value:
        """Offsets of lanes that lie on rows of their own, which the index picks."""
        b, at = self.b, self.position
        rows = stride // BATCH
        row = self._sum([(i, s // BATCH) for i, s in self._terms(place, axes)], place.layout.offset // BATCH)
        type = vector("i64", at.lanes)
        first = b.at(self.rows, row, I64)
        key = ("rows", row.text, rows)
        numbers = self.known(key)
        if numbers is None:
            if rows != 1:
                numbers = self._gather(first, self._lane_offsets(rows), type)
            elif at.mask is None:
                numbers = b.load(first, type)
            else:
                numbers = b.load_masked(first, at.mask, type)
            self.layers[-1][key] = numbers
        step = place.buffer.layout.size // max(place.buffer.layout.shape[0], 1)
        return b.mul(numbers, const(step, type))

    def _terms(self, place: Place, axes: Map) -> list[tuple[Index, int]]:
        pairs = zip(axes, place.layout.strides, strict=True)
        return [(self.position.indices[a], s) for a, s in pairs if a is not None and s]

    def _sum(self, terms: Sequence[tuple[Index, int]], offset: int) -> Value:
        """Σ index·stride + offset"""
        total: Value | None = None
        for index, stride in terms:
            offset += index.known * stride
            if index.value is None or not stride:
                continue
            key = ("times", index.value.text, stride)
            part = self.known(key)
            if part is None:
                part = index.value if stride == 1 else self.b.mul(index.value, const(stride, I64))
                self.layers[-1][key] = part
            total = part if total is None else self.b.add(total, part)
        if total is None:
            return const(offset, I64)
        return self.b.add(total, const(offset, I64)) if offset else total

    def _address(self, place: Place, axes: Map) -> Value:
        base = self.pointers[place.buffer]
        element = scalar_type(place.layout.dtype)
        terms = self._terms(place, axes)
        if place.buffer.home != "data":
            return self._moving(base, terms, place.layout, element)
        inner = [(i, s % BATCH) for i, s in terms]
        offset = self._sum(inner, place.layout.offset % BATCH)
        lane = _lane_stride(place.layout, axes, self.position.lane_axis)
        if not self.position.lanes or not lane // BATCH:
            starts = self._row_starts(place, terms)
            if lane == 1:
                self.b.prefetch(self.b.at(base, self.b.add(offset, starts[1]), element), write=False)
            offset = self.b.add(offset, starts[0])
        return self.b.at(base, offset, element)

    def reach(self, x: Expr, axes: Map, open: set[int]) -> None:
        """Finds the row of the data that x lies on, where the open loops say which it is."""
        place = self.place(x)
        if place is None or place.buffer.home != "data":
            return
        rows = {a for a, s in zip(axes, place.layout.strides, strict=True) if a is not None and s >= BATCH}
        if rows <= open and self.position.lane_axis not in rows:
            self._row_starts(place, self._terms(place, axes))

    def _row_starts(self, place: Place, terms: Sequence[tuple[Index, int]]) -> tuple[Value, Value]:
        """Where the row of the data begins that the index picks, and the one that will be wanted soon."""
        b = self.b
        row = self._sum([(i, s // BATCH) for i, s in terms], place.layout.offset // BATCH)
        keys = ("row", place.buffer, row.text), ("ahead", place.buffer, row.text)
        found = self.known(keys[0]), self.known(keys[1])
        if found[0] is not None and found[1] is not None:
            return found[0], found[1]
        count = place.buffer.layout.shape[0]
        last = const(count - 1, I64)
        ahead = b.intrinsic("smin", b.add(row, const(_AHEAD, I64)), last) if row.literal is None else last
        step = const(place.buffer.layout.size // max(count, 1), I64)
        for key, at in zip(keys, (row, ahead), strict=True):
            number = b.load(b.at(self.rows, at, I64), I64)
            self.layers[-1][key] = b.mul(number, step)
        return self.layers[-1][keys[0]], self.layers[-1][keys[1]]

    def _moving(
        self, base: Value, terms: Sequence[tuple[Index, int]], layout: Layout, element: object
    ) -> Value:
        """An address whose known part is added last, so that it folds into the instruction."""
        known = layout.offset + sum(i.known * s for i, s in terms)
        moving = [(Index(i.value), s) for i, s in terms if i.value is not None]
        key = ("base", base.text, tuple((i.value.text, s) for i, s in moving if i.value is not None))
        start = self.known(key)
        if start is None:
            start = self.layers[-1][key] = self.b.at(base, self._sum(moving, 0), element)  # type: ignore[arg-type]
        return self.b.at(start, known, element)  # type: ignore[arg-type]

    def store(self, value: Value, place: Place, axes: Map) -> None:
        """Writes a value; lanes outside the domain only where a padded row has room for them."""
        at, b = self.position, self.b
        stride = _lane_stride(place.layout, axes, at.lane_axis)
        address = self._address(place, axes)
        if not at.lanes or not stride:
            b.store(value if not value.type.lanes else b.extract(value, 0), address)
            return
        value = b.splat(value, at.lanes)
        if stride != 1:
            b.scatter(value, address, self._lane_offsets(stride), at.mask)
        elif at.mask is not None and (at.strict or not place.buffer.roomy):
            b.store_masked(value, address, at.mask)
        else:
            b.store(value, address)


def _lane_stride(layout: Layout, axes: Map, lane_axis: int | None) -> int:
    return sum(s for a, s in zip(axes, layout.strides, strict=True) if a is not None and a == lane_axis)


def _power_of_two(x: float) -> bool:
    return bool(np.isfinite(x)) and x != 0 and abs(float(np.frexp(x)[0])) == 0.5 and 1e-30 < abs(x) < 1e30
