"""Loops over a domain: element-wise nodes and reductions, one pass for every stage of reductions.

The lanes of a register lie along the last axis; where that axis is reduced and short (a softmax over ten
classes), they lie along the rows instead, and the short axis is unrolled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chainrule.executors.cpu.assignment import reduces
from chainrule.executors.cpu.emit import I32, I64, Value, const, first_lanes, lane_numbers, vector
from chainrule.executors.cpu.evaluate import Evaluator, Index, Position
from chainrule.executors.cpu.hoist import hoist
from chainrule.executors.cpu.kernels import Nest, Place
from chainrule.executors.cpu.reducers import REDUCERS, Reducer, Turn
from chainrule.executors.cpu.views import Map
from chainrule.graph.expr import CONSTANT, Expr

__all__ = ["emit_nest", "rows_in_lanes"]

_SHORT = 16  # a reduced last axis so short is unrolled


def rows_in_lanes(kernel: Nest) -> bool:
    """Whether the lanes lie along rows: the last axis is short and reduced, and there are rows."""
    domain = kernel.domain
    return (
        len(domain) >= 2 and kernel.reduced == {len(domain) - 1} and domain[-1] <= _SHORT and domain[-2] > 1
    )


def emit_nest(kernel: Nest, e: Evaluator, lanes: int, low: Value, high: Value) -> None:
    """The kernel's loops. ``low`` and ``high`` bound the split axis, in rows or in blocks of lanes."""
    if math.prod(n for a, n in enumerate(kernel.domain) if a not in kernel.reduced):
        _Loops(kernel, e, lanes, low, high).run()


class _Loops:
    def __init__(self, kernel: Nest, e: Evaluator, lanes: int, low: Value, high: Value) -> None:
        self.kernel, self.e, self.b, self.lanes = kernel, e, e.b, lanes
        self.low, self.high = low, high
        self.domain = kernel.domain
        self.split, self.axis = kernel.split, kernel.axis
        self.short = rows_in_lanes(kernel)
        self.last = len(self.domain) - 1
        if not self.domain:
            self.lane_axis: int | None = None
        elif self.short:
            self.lane_axis = self.last - 1
        else:
            self.lane_axis = self.last if self.domain[-1] > 1 else None
        self.stage: dict[Expr, int] = {}
        for node in kernel.nodes:
            self.stage[node] = self._stage(node)
        states = [n for n, p in kernel.stores if p.buffer.home == "state"]
        self.stages = max(self.stage.values(), default=0)
        self.late = set(states)
        self.indices: list[Index] = [Index(None, 0)] * len(self.domain)
        self.mask: Value | None = None

    # ------------------------------------------------------------------ stages

    def _stage(self, node: Expr) -> int:
        """How many reductions of this kernel lie below a node."""
        below = [self._below(x) for x in node.inputs] if node not in self.e.found.leaves else []
        return max(below, default=0) + (self._reduces(node))

    def _below(self, x: Expr) -> int:
        if x in self.stage:
            return self.stage[x]
        if self.e.found.visible(x, self.kernel) or x.primitive is CONSTANT or not x.inputs:
            return 0
        return max(self._below(i) for i in x.inputs)

    def _reduces(self, node: Expr) -> bool:
        """Whether the node is a reduction of this kernel over axes of more than one element."""
        return node in self.e.own and reduces(node)

    def _is_full(self, axes: Map) -> bool:
        return any(a in self.kernel.reduced for a in axes if a is not None)

    # ------------------------------------------------------------------ the loops

    def run(self) -> None:
        self._place()
        self._hoist(set())
        kept = [a for a in range(len(self.domain)) if a not in self.kernel.reduced and a != self.lane_axis]
        self._over(kept, set())

    def _place(self) -> None:
        self.e.position = Position(tuple(self.indices), self.lane_axis, self.lanes, self.mask, self.short)

    def _over(self, axes: Sequence[int], open: set[int]) -> None:
        """Loops over the kept axes, the lanes last; the body inside."""
        if not axes:
            self._lane_blocks(open)
            return
        axis, rest = axes[0], axes[1:]
        n = self.domain[axis]
        low, high = (self.low, self.high) if (self.split, axis) == ("rows", self.axis) else (0, n)
        if n == 1:
            self._over(rest, open | {axis})
            return
        with self._loop(axis, low, high):
            self._hoist(open | {axis})
            self._over(rest, open | {axis})

    @contextmanager
    def _loop(self, axis: int, low: Value | int, high: Value | int) -> Iterator[None]:
        with self.b.loop(low, high) as loop:
            self.e.layers.append({})
            self.indices[axis] = Index(loop.i)
            self._place()
            yield
            self.e.layers.pop()
        self.indices[axis] = Index(None, 0)
        self._place()

    def _lane_blocks(self, open: set[int]) -> None:
        """Blocks of lanes where the lane axis is kept."""
        axis = self.lane_axis
        if axis is None or axis in self.kernel.reduced:
            self._body(open)
            return
        inside = open | {axis}
        if self.short:
            low, high = (self.low, self.high) if self.axis == axis and self.split == "rows" else (
                const(0, I64), const(self.domain[axis], I64),
            )  # fmt: skip
            with self.b.loop(low, high, self.lanes) as loop, self._at_lanes(axis, Index(loop.i)):
                left = self.b.sub(high, loop.i)
                type = vector("i32", self.lanes)
                count = self.b.splat(self.b.convert("trunc", left, I32), self.lanes)
                self.mask = self.b.icmp("slt", lane_numbers(type), count)
                self._place()
                self._body(inside)
                self.mask = None
            return
        blocks, rest = divmod(self.domain[axis], self.lanes)
        shared = self.split == "lanes"
        low, high = (self.low, self.high) if shared else (const(0, I64), const(blocks + (rest > 0), I64))
        if blocks:
            most = const(blocks, I64)
            stop = self.b.select(self.b.icmp("slt", high, most), high, most) if shared else most
            with self.b.loop(low, stop) as loop:
                start = self.b.mul(loop.i, const(self.lanes, I64))
                with self._at_lanes(axis, Index(start)):
                    self._body(inside)
        if rest:
            if shared and blocks:
                with self.b.when(self.b.icmp("sgt", high, const(blocks, I64))):
                    self._tail(axis, blocks, rest, inside)
            elif shared:
                with self.b.when(self.b.icmp("slt", low, high)):
                    self._tail(axis, blocks, rest, inside)
            else:
                self._tail(axis, blocks, rest, inside)

    def _tail(self, axis: int, blocks: int, rest: int, inside: set[int]) -> None:
        with self._at_lanes(axis, Index(None, blocks * self.lanes)):
            self.mask = first_lanes(rest, self.lanes)
            self._place()
            self._body(inside)
            self.mask = None

    @contextmanager
    def _at_lanes(self, axis: int, index: Index) -> Iterator[None]:
        self.e.layers.append({})
        self.indices[axis] = index
        self._place()
        yield
        self.e.layers.pop()
        self.indices[axis] = Index(None, 0)
        self._place()

    # ------------------------------------------------------------------ one element of the kept axes

    def _body(self, open: set[int]) -> None:
        kernel, e = self.kernel, self.e
        short: list[dict[object, Value]] = [{} for _ in range(self.domain[-1])] if self.short else []
        for stage in range(self.stages + 1):
            reductions = [n for n in kernel.nodes if self._reduces(n) and self.stage[n] == stage + 1]
            stores = [
                (n, p)
                for n, p in kernel.stores
                if self._is_full(kernel.maps[n])
                and (self.stages if n in self.late else self._at_stage(n)) == stage
            ]
            if reductions or stores:
                for node, value in zip(reductions, self._pass(reductions, stores, open, short), strict=True):
                    e.remember(node, kernel.maps[node], value)
        last = [(n, p) for n, p in kernel.stores if not self._is_full(kernel.maps[n])]
        values = [e.value(n, kernel.maps[n]) for n, _ in last]  # all of them before a state is replaced
        for (node, place), value in zip(last, values, strict=True):
            e.store(value, place, kernel.maps[node])

    def _at_stage(self, node: Expr) -> int:
        return self.stage[node] if node in self.stage else self._below(node)

    def _pass(
        self,
        reductions: Sequence[Expr],
        stores: Sequence[tuple[Expr, Place]],
        open: set[int],
        short: list[dict[object, Value]],
    ) -> list[Value]:
        """One pass over the reduced axes → the reductions' results."""
        makers = [self._reducer(n) for n in reductions]
        carried = [v for m in makers for v in m.start()]
        reduced = [a for a in range(len(self.domain)) if a in self.kernel.reduced]
        wanted = [(n.inputs[0], self.kernel.axes_below(n)) for n in reductions]
        wanted += [(n, self.kernel.maps[n]) for n, _ in stores]
        hoist(self.e, wanted, open, self._pending)
        if self.short:
            for k in range(self.domain[-1]):
                self.e.layers.append(short[k])
                self.indices[self.last] = Index(None, k)
                self._place()
                carried = self._turn(makers, carried, stores)
                self.e.layers.pop()
            self.indices[self.last] = Index(None, 0)
            self._place()
        else:
            carried = self._over_reduced(reduced, makers, carried, stores)
        found, at = [], 0
        for maker in makers:
            found.append(maker.finish(carried[at : at + maker.width]))
            at += maker.width
        return found

    def _over_reduced(
        self,
        axes: Sequence[int],
        makers: list[Reducer],
        carried: list[Value],
        stores: Sequence[tuple[Expr, Place]],
    ) -> list[Value]:
        if not axes:
            return self._turn(makers, carried, stores)
        axis, rest = axes[0], axes[1:]
        n = self.domain[axis]
        if axis != self.lane_axis:
            if n == 1:
                return self._over_reduced(rest, makers, carried, stores)
            with self.b.loop(0, n, carried=carried) as loop:
                self.e.layers.append({})
                self.indices[axis] = Index(loop.i)
                self._place()
                loop.carried = self._over_reduced(rest, makers, loop.carried, stores)
                self.e.layers.pop()
            self.indices[axis] = Index(None, 0)
            self._place()
            return loop.carried
        blocks, tail = divmod(n, self.lanes)
        if blocks:
            with self.b.loop(0, blocks, carried=carried) as loop:
                start = self.b.mul(loop.i, const(self.lanes, I64))
                with self._at_lanes(axis, Index(start)):
                    loop.carried = self._over_reduced(rest, makers, loop.carried, stores)
            carried = loop.carried
        if tail:
            with self._at_lanes(axis, Index(None, blocks * self.lanes)):
                self.mask = first_lanes(tail, self.lanes)
                self._place()
                carried = self._over_reduced(rest, makers, carried, stores)
                self.mask = None
        return carried

    def _turn(
        self, makers: list[Reducer], carried: list[Value], stores: Sequence[tuple[Expr, Place]]
    ) -> list[Value]:
        """One place on the reduced axes."""
        following, at, turn = [], 0, Turn(self.mask, self._number)
        for maker in makers:
            x = self.e.value(maker.node.inputs[0], self.kernel.axes_below(maker.node))
            following += maker.step(x, turn, carried[at : at + maker.width])
            at += maker.width
        values = [self.e.value(node, self.kernel.maps[node]) for node, _ in stores]
        for (node, place), value in zip(stores, values, strict=True):
            self.e.store(value, place, self.kernel.maps[node])
        return following

    def _number(self) -> Value:
        """The place on the only reduced axis."""
        (axis,) = self.kernel.reduced
        index = self.indices[axis]
        at = const(index.known, I64)
        if index.value is not None:
            at = self.b.add(index.value, at) if index.known else index.value
        place = self.b.splat(at, self.lanes if self.lane_axis is not None else 0)
        return self.b.add(place, lane_numbers(place.type)) if axis == self.lane_axis else place

    def _reducer(self, node: Expr) -> Reducer:
        lanes = self.lanes if self.lane_axis is not None else 0
        across = self.lane_axis in self.kernel.reduced
        terms = math.prod(self.domain[a] for a in self.kernel.reduced)
        terms = -(-terms // max(lanes, 1)) if across else terms
        return REDUCERS[node.primitive](self.b, node, lanes, across, terms)

    # ------------------------------------------------------------------ what does not change in a loop

    def _hoist(self, open: set[int]) -> None:
        """Computes before the next loop what depends on the open axes alone."""
        maps = self.kernel.maps
        wanted = [(node, maps[node]) for node, _ in self.kernel.stores]
        wanted += [(n.inputs[0], self.kernel.axes_below(n)) for n in self.kernel.nodes if self._reduces(n)]
        hoist(self.e, wanted, open, self._pending)

    def _pending(self, x: Expr) -> bool:
        """A reduction that has not been computed yet."""
        return self._reduces(x) and self.e.known((x, self.kernel.maps[x])) is None
