"""Reductions inside of loops: how they start, go on from turn to turn, and end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.executors.cpu.elementwise import cast, maximum
from chainrule.executors.cpu.emit import Builder, Value, const, vector
from chainrule.executors.cpu.special import scalar_type
from chainrule.graph.expr import Expr
from chainrule.ops.reduce import ARGMAX, MAX, SUM
from chainrule.spec import DTYPES

__all__ = ["REDUCERS", "Reducer", "Turn"]

_BLOCK = 1024  # terms of float32 that one lane adds up


@dataclass(frozen=True, eq=False)
class Turn:
    """One place on the reduced axes.

    mask     the lanes inside of the domain, where not all are
    place    gives the number of the place, in each lane
    """

    mask: Value | None
    place: Callable[[], Value]


class Reducer(ABC):
    """How one reduction starts, goes on, and ends. ``width`` values are carried from turn to turn.

    across    whether the lanes are reduced too, in the end
    """

    width = 1

    def __init__(self, b: Builder, node: Expr, lanes: int, across: bool, terms: int) -> None:
        self.b, self.node = b, node
        self.lanes, self.across, self.terms = lanes, across, terms
        self.element = scalar_type(node.inputs[0].dtype)

    @abstractmethod
    def start(self) -> list[Value]:
        """What the first turn begins with."""

    @abstractmethod
    def step(self, x: Value, turn: Turn, carried: Sequence[Value]) -> list[Value]:
        """What the next turn begins with."""

    @abstractmethod
    def finish(self, carried: Sequence[Value]) -> Value:
        """The result, after the last turn."""

    def _lanes(self, x: Value, mask: Value | None, neutral: float) -> Value:
        """x in all lanes, the neutral element in those outside of the domain."""
        x = self.b.splat(x, self.lanes)
        if mask is None or not self.across:
            return x
        return self.b.select(mask, x, const(neutral, x.type))


class _Sum(Reducer):
    """Lanes of float32 add up to 1024 terms; more, and sums across lanes, are added in double."""

    def _type(self) -> str:
        if not self.element.floating:
            return "i64"
        return "double" if self.terms > _BLOCK else self.element.scalar

    def start(self) -> list[Value]:
        return [const(0, vector(self._type(), self.lanes))]

    def step(self, x: Value, turn: Turn, carried: Sequence[Value]) -> list[Value]:
        x = _widened(self.b, self._lanes(x, turn.mask, 0), self._type())
        add = self.b.fadd if self.element.floating else self.b.add
        return [add(carried[0], x)]

    def finish(self, carried: Sequence[Value]) -> Value:
        (total,) = carried
        if self.across:
            wide = _widened(self.b, total, "double" if self.element.floating else "i64")
            total = self.b.fold(self.b.fadd if self.element.floating else self.b.add, wide)
        return cast(self.b, total, self.node.dtype)


def _widened(b: Builder, x: Value, scalar: str) -> Value:
    names = {"double": "float64", "i64": "int64", "float": "float32"}
    return cast(b, x, DTYPES[names[scalar]])


class _Max(Reducer):
    """NaN wins."""

    def _lowest(self) -> float:
        if self.element.floating:
            return -np.inf
        return 0 if self.element.scalar in ("i1", "i8") else -(1 << self.element.bits - 1)

    def start(self) -> list[Value]:
        return [const(self._lowest(), vector(self.element.scalar, self.lanes))]

    def step(self, x: Value, turn: Turn, carried: Sequence[Value]) -> list[Value]:
        return [maximum(self.b, carried[0], self._lanes(x, turn.mask, self._lowest()))]

    def finish(self, carried: Sequence[Value]) -> Value:
        return self.b.fold(lambda x, y: maximum(self.b, x, y), carried[0]) if self.across else carried[0]


class _ArgMax(_Max):
    """The first of the largest, or of the NaNs."""

    width = 2

    def start(self) -> list[Value]:
        return [*super().start(), const(np.iinfo(np.int64).max, vector("i64", self.lanes))]

    def step(self, x: Value, turn: Turn, carried: Sequence[Value]) -> list[Value]:
        place = self._lanes(turn.place(), turn.mask, np.iinfo(np.int64).max)
        return self._better(carried, [self._lanes(x, turn.mask, self._lowest()), place])

    def _better(self, known: Sequence[Value], new: Sequence[Value]) -> list[Value]:
        b, (best, at), (x, place) = self.b, known, new
        if self.element.floating:
            x_nan, best_nan = b.fcmp("uno", x, x), b.fcmp("uno", best, best)
            above = b.or_(b.fcmp("ogt", x, best), b.and_(x_nan, b.not_(best_nan)))
            tied = b.or_(b.fcmp("oeq", x, best), b.and_(x_nan, best_nan))
        else:
            above = b.icmp("ugt" if self.element.scalar in ("i1", "i8") else "sgt", x, best)
            tied = b.icmp("eq", x, best)
        wins = b.or_(above, b.and_(tied, b.icmp("slt", place, at)))
        return [b.select(wins, x, best), b.select(wins, place, at)]

    def finish(self, carried: Sequence[Value]) -> Value:
        pair = list(carried)
        lanes = self.lanes if self.across else 0
        while lanes > 1:
            lanes //= 2
            low = [self.b.shuffle(v, v, range(lanes)) for v in pair]
            high = [self.b.shuffle(v, v, range(lanes, 2 * lanes)) for v in pair]
            pair = self._better(low, high)
        return self.b.extract(pair[1], 0) if self.across else pair[1]


REDUCERS: dict[object, Callable[..., Reducer]] = {SUM: _Sum, MAX: _Max, ARGMAX: _ArgMax}
