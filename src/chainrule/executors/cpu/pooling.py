"""The gradient of pooling: in one pass over windows that lie side by side, without a copy of them.

The elements of a window are compared in their order, and each gets what the window got or 0; the epilogue,
such as the gradient of an activation, goes over them at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from chainrule.executors.cpu.emit import I64, Builder, Value, const, first_lanes, vector
from chainrule.executors.cpu.evaluate import Evaluator, Index, Position
from chainrule.executors.cpu.hoist import hoist
from chainrule.executors.cpu.kernels import MaxGradient
from chainrule.executors.cpu.special import scalar_type

__all__ = ["emit_max_gradient"]

Body = Callable[[Index], None]


def emit_max_gradient(kernel: MaxGradient, e: Evaluator, lanes: int, low: Value, high: Value) -> None:
    """Samples ``low`` to ``high``."""
    e.position = Position((Index(None),) * kernel.head.ndim, None, 0)
    hoist(e, [(node, kernel.axes) for node, _ in kernel.stores], set(), lambda x: x is kernel.head)
    with e.b.loop(low, high) as loop:
        e.layers.append({})
        _Windows(kernel, e, lanes).over([Index(loop.i)])
        e.layers.pop()


class _Windows:
    """Loops over the windows of one sample; what is in none of them comes after them."""

    def __init__(self, kernel: MaxGradient, e: Evaluator, lanes: int) -> None:
        self.kernel, self.e, self.b, self.lanes = kernel, e, e.b, lanes
        self.shape, self.window = kernel.head.shape, kernel.head.meta["window"]
        self.type = vector(scalar_type(kernel.head.dtype).scalar, lanes)
        self.mask: Value | None = None
        self.counts = [n // k for n, k in zip(self.shape, self.window, strict=True)]

    def over(self, places: list[Index]) -> None:
        """``places``: numbers of windows along the axes so far."""
        axis = len(places)
        if axis == len(self.shape) - 1:
            self._channels(lambda lanes: self._compare([*places, lanes]))
            return
        self._loop(0, self.counts[axis], lambda i: self.over([*places, i]))
        covered = self.counts[axis] * self.window[axis]
        if covered < self.shape[axis]:
            before = [(self._first(p, a), self.window[a]) for a, p in enumerate(places)]
            self._loop(covered, self.shape[axis], lambda i: self._leave([*before, (i, 1)]))

    def _loop(self, low: int, high: int, body: Body) -> None:
        with self.b.loop(low, high) as loop:
            self.e.layers.append({})
            body(Index(loop.i))
            self.e.layers.pop()

    def _channels(self, body: Body) -> None:
        n, e = self.shape[-1], self.e
        whole = n - n % self.lanes
        if whole:
            with self.b.loop(0, whole, self.lanes) as loop:
                e.layers.append({})
                self.mask = None
                body(Index(loop.i))
                e.layers.pop()
        if n > whole:
            e.layers.append({})
            self.mask = first_lanes(n - whole, self.lanes)
            body(Index(None, whole))
            e.layers.pop()

    def _first(self, place: Index, axis: int) -> Index:
        """The first element of a window."""
        if self.window[axis] == 1 or place.value is None:
            return place
        return Index(self.b.mul(place.value, const(self.window[axis], I64)))

    def _at(self, indices: Sequence[Index]) -> None:
        self.e.position = Position(tuple(indices), len(self.shape) - 1, self.lanes, self.mask)

    def _compare(self, places: list[Index]) -> None:
        """One window, for a register of channels."""
        e, b, axes = self.e, self.b, self.kernel.axes
        x, g = self.kernel.head.inputs
        self._at(places)
        sent = b.splat(e.value(g, axes), self.lanes)
        starts = [self._first(p, a) for a, p in enumerate(places)]
        corners = list(itertools.product(*map(range, self.window)))
        elements: list[Value] = []
        layers: list[dict[object, Value]] = []
        for corner in corners:
            layers.append({})
            e.layers.append(layers[-1])
            self._at([s + k for s, k in zip(starts, corner, strict=True)])
            elements.append(b.splat(e.value(x, axes), self.lanes))
            e.layers.pop()
        zero = const(0, self.type)
        for corner, layer, first in zip(corners, layers, _firsts(b, elements), strict=True):
            e.layers.append(layer)
            self._at([s + k for s, k in zip(starts, corner, strict=True)])
            self._finish(b.select(first, sent, zero))
            e.layers.pop()

    def _leave(self, places: list[tuple[Index, int]]) -> None:
        """Zeros for what is in no window.  places: along each axis so far where, and how many elements."""
        axis = len(places)
        if axis < len(self.shape) - 1:
            self._loop(0, self.shape[axis], lambda i: self._leave([*places, (i, 1)]))
            return

        def lanes(at: Index) -> None:
            for corner in itertools.product(*(range(n) for _, n in places)):
                self.e.layers.append({})
                self._at([*(i + k for (i, _), k in zip(places, corner, strict=True)), at])
                self._finish(const(0, self.type))
                self.e.layers.pop()

        self._channels(lanes)

    def _finish(self, value: Value) -> None:
        """The epilogue at one place, and its stores."""
        e, axes = self.e, self.kernel.axes
        e.remember(self.kernel.head, axes, value)
        values = [e.value(node, axes) for node, _ in self.kernel.stores]
        for (_, place), found in zip(self.kernel.stores, values, strict=True):
            e.store(found, place, axes)


def _firsts(b: Builder, elements: Sequence[Value]) -> list[Value]:
    """Of each element whether it is the first among the largest; NaN is the largest."""
    best, wins = elements[0], []
    for x in elements[1:]:
        above = b.fcmp("ugt", x, best)  # or either is NaN
        win = b.and_(above, b.fcmp("ord", best, best))
        best = b.select(win, x, best)
        wins.append(win)
    found: list[Value] = []
    later: Value | None = None  # whether any element from here on won
    for win in reversed(wins):
        found.append(win if later is None else b.and_(win, b.not_(later)))
        later = win if later is None else b.or_(later, win)
    found.append(const(1, vector("i1", elements[0].type.lanes)) if later is None else b.not_(later))
    return found[::-1]
