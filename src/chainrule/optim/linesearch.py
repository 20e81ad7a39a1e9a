"""A step length for the strong Wolfe conditions: enough descent, and a slope that has become flat enough."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chainrule.optim.solver import Function, Vector

__all__ = ["Line", "strong_wolfe"]

_MOST = 25  # evaluations in one search
_BETWEEN = 8  # of them between two points, once one is lower: at a kink, such as relu's, no point is flat
_LONGEST = 1e10
_MARGIN = 0.1  # an interpolated point keeps this share of the interval's width from its ends


@dataclass(frozen=True, eq=False)
class Line:
    """A point on the line x + αp: α, where it is, value and gradient there, and the slope φ′(α) = ∇f·p."""

    step: float
    x: Vector
    value: float
    gradient: Vector
    slope: float

    @property
    def finite(self) -> bool:
        return math.isfinite(self.value) and math.isfinite(self.slope)


class _Search:
    """One search, and what it has cost."""

    def __init__(self, function: Function, start: Line, p: Vector, c1: float, c2: float) -> None:
        self.function, self.start, self.p, self.c1, self.c2 = function, start, p, c1, c2
        self.used = 0

    def at(self, step: float) -> Line:
        x = self.start.x + step * self.p
        value, gradient = self.function(x)
        self.used += 1
        return Line(step, x, value, gradient, float(gradient @ self.p))

    def low_enough(self, at: Line) -> bool:
        """φ(α) ≤ φ(0) + c₁αφ′(0); never where the value is not finite."""
        return at.finite and at.value <= self.start.value + self.c1 * at.step * self.start.slope

    def flat_enough(self, at: Line) -> bool:
        """|φ′(α)| ≤ c₂|φ′(0)|"""
        return abs(at.slope) <= -self.c2 * self.start.slope


def strong_wolfe(
    function: Function, start: Line, p: Vector, step: float, c1: float, c2: float
) -> tuple[Line | None, int]:
    """A point along p that meets both conditions, tried first at α = ``step``; and the evaluations used.

    Nocedal & Wright 2006, algorithm 3.5. Where both cannot be met within rounding or 25 evaluations, or by 8
    between a lower point and another, the lowest point that meets the first one; None where there is none.
    """
    search = _Search(function, start, p, c1, c2)
    before, now = start, search.at(step)
    while search.used < _MOST:
        if not search.low_enough(now) or (before is not start and now.value >= before.value):
            return _zoom(search, before, now), search.used
        if search.flat_enough(now):
            return now, search.used
        if now.slope >= 0:
            return _zoom(search, now, before), search.used
        before, now = now, search.at(min(_further(before, now), _LONGEST))
    return (now if search.low_enough(now) else _or_none(search, before)), search.used


def _further(before: Line, now: Line) -> float:
    """Beyond now: where a cubic through both points has its minimum, between 2 and 10 times as far."""
    guess = _cubic(before, now)
    return min(max(guess, 2 * now.step), 10 * now.step) if math.isfinite(guess) else 4 * now.step


def _zoom(search: _Search, low: Line, high: Line) -> Line | None:
    """Between two points that hold an acceptable one, the lower first (algorithm 3.6)."""
    began = search.used
    while search.used < (min(_MOST, began + _BETWEEN) if low.step > 0 else _MOST):
        width = abs(high.step - low.step)
        if width <= 1e-14 * max(abs(low.step), abs(high.step)):
            break
        now = search.at(_between(low, high))
        if not search.low_enough(now) or now.value >= low.value:
            high = now
            continue
        if search.flat_enough(now):
            return now
        if now.slope * (high.step - low.step) >= 0:
            high = low
        low = now
    return _or_none(search, low)


def _or_none(search: _Search, at: Line) -> Line | None:
    return at if at.step > 0 and search.low_enough(at) else None


def _between(low: Line, high: Line) -> float:
    """The cubic's minimum, kept off the ends; the middle where there is none."""
    left, right = sorted((low.step, high.step))
    margin = _MARGIN * (right - left)
    guess = _cubic(low, high) if high.finite else math.nan
    return guess if left + margin <= guess <= right - margin else 0.5 * (left + right)


def _cubic(a: Line, b: Line) -> float:
    """Where the cubic with the values and slopes of both points is least (eq. 3.59); NaN without one."""
    if a.step == b.step:
        return math.nan
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.step - b.step)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return math.nan
    d2 = math.copysign(math.sqrt(square), b.step - a.step)
    below = b.slope - a.slope + 2 * d2
    return b.step - (b.step - a.step) * (b.slope + d2 - d1) / below if below else math.nan
