"""Axes: round tick values, their labels, and the map from values to pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from chainrule.svg.markup import Markup, heading, label, rule

__all__ = ["Frame", "Scale", "drawable", "log_ticks", "number", "padded", "scale", "tick_labels", "ticks"]

Scale = Callable[[float], float]
_LARGEST = 1e300  # beyond it differences overflow: such a point is left out, like inf
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def drawable(value: float) -> bool:
    """Finite, and small enough for differences to be finite too."""
    return abs(value) <= _LARGEST  # False for NaN


def padded(values: Iterable[float]) -> tuple[float, float]:
    """Lowest and highest value, pulled apart where they (nearly) coincide; (0, 1) where there is none.

    >>> padded([3.0, 3.0]), padded([])
    ((2.7, 3.3), (0.0, 1.0))
    """
    known = list(values)
    if not known:
        return 0.0, 1.0
    low, high = float(min(known)), float(max(known))
    size = max(abs(low), abs(high))
    if high - low > max(1e-9 * size, 1e-200):
        return low, high
    room = 0.1 * size if size > 1e-200 else 0.5
    return low - room, high + room


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round values (1, 2 or 5 times a power of ten apart) inside [low, high].

    >>> ticks(0.0, 1.0), ticks(-3.2, 4.1, 4)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [-2.0, 0.0, 2.0, 4.0])
    """
    multiple, exponent = _step((high - low) / max(count, 1))
    down, up = (1, 10**exponent) if exponent >= 0 else (10**-exponent, 1)
    step = multiple * 10.0**exponent
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [
        i * multiple * up / down for i in range(first, last + 1)
    ]  # one division: 0.3, never 0.30000000000000004


def _step(rough: float) -> tuple[int, int]:
    """(1, 2, 5 or 10, exponent): the round step nearest to `rough` on a log scale."""
    exponent = math.floor(math.log10(rough))
    part = rough / 10.0**exponent
    limits = ((1, 2**0.5), (2, 10**0.5), (5, 50**0.5), (10, math.inf))
    return next(multiple for multiple, limit in limits if part < limit), exponent


def log_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Ticks for a logarithmic axis, 0 < low < high: decades; if these are few, 2 and 5 too; else round steps.

    >>> log_ticks(0.001, 20.0), log_ticks(0.04, 0.6), log_ticks(2.0, 3.0)
    ([0.001, 0.01, 0.1, 1.0, 10.0], [0.05, 0.1, 0.2, 0.5], [2.0, 2.2, 2.4, 2.6, 2.8, 3.0])
    """
    exponents = [e for e in ticks(math.log10(low), math.log10(high), count) if e == int(e)]
    if len(exponents) >= 3:
        return [float(f"1e{e:.0f}") for e in exponents]
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    between = [float(f"{m}e{e}") for e in range(first, last + 1) for m in (1, 2, 5)]
    inside = [v for v in between if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
    return inside if len(inside) >= 3 else ticks(low, high, count)


def scale(low: float, high: float, start: float, end: float, log: bool = False) -> Scale:
    """The map from [low, high] to the pixels [start, end].

    >>> scale(0.0, 10.0, 100.0, 200.0)(5.0), scale(1.0, 100.0, 0.0, 1.0, log=True)(10.0)
    (150.0, 0.5)
    """
    if log:
        origin, span = math.log(low), math.log(high) - math.log(low)
        return lambda value: start + (math.log(value) - origin) / span * (end - start)
    return lambda value: start + (value - low) / (high - low) * (end - start)


def number(value: float, digits: int = 4) -> str:
    """A number as people read it: thousands marked, fractions to `digits` figures, far powers of ten raised.

    >>> number(210619), number(0.123456), number(-2.5e-7), number(float("nan"))
    ('210,619', '0.1235', '−2.5×10⁻⁷', 'nan')
    """
    if not math.isfinite(value):
        return str(value).replace("-", "−")
    if value == 0 or 1e-4 <= abs(value) < 1e15:
        whole = value == int(value) or abs(value) >= 10**digits - 0.5
        return (f"{value:,.0f}" if whole else f"{value:.{digits}g}").replace("-", "−")
    return _power(*f"{value:.{digits - 1}e}".split("e"))


def _power(mantissa: str, exponent: str) -> str:
    """``_power("2.50", "-07")`` is 2.5×10⁻⁷; a mantissa of one is left out."""
    head = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    raised = f"10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    if head in ("1", "-1"):
        return head[:-1].replace("-", "−") + raised
    return f"{head}×{raised}".replace("-", "−")


def tick_labels(values: Sequence[float]) -> list[str]:
    """Labels with the same number of decimals each, just enough to tell neighbours apart.

    >>> tick_labels([0.0, 0.25, 0.5]), tick_labels([0.0, 2e6]), tick_labels([1e-05, 0.0001, 0.001])
    (['0.00', '0.25', '0.50'], ['0', '2×10⁶'], ['10⁻⁵', '10⁻⁴', '10⁻³'])
    """
    known = [abs(v) for v in values if v]
    if not known:
        return ["0"] * len(values)
    large, small = max(known), min(known)
    if large >= 1e6 or large < 1e-3 or (small < 1e-3 and large / small >= 100.0):
        raised = ["0" if v == 0 else _power(*f"{v:.3e}".split("e")) for v in values]
        if len(set(raised)) == len(values):
            return raised
    if large / small >= 100.0:  # decades: each its own length, 0.01 0.1 1 10
        return [number(v) for v in values]
    decimals = _decimals(values)
    return [f"{v:,.{decimals}f}".replace("-", "−") for v in values]


def _decimals(values: Sequence[float]) -> int:
    """The fewest that keep every value within a thousandth of the distance to its neighbour."""
    step = min((abs(b - a) for a, b in pairwise(values)), default=abs(values[0]))
    return next((d for d in range(16) if all(abs(round(v, d) - v) <= 1e-3 * step for v in values)), 16)


@dataclass(frozen=True)
class Frame:
    """The plotting area in pixels, with its two maps and ticks; bars and curves share it."""

    left: float
    right: float
    top: float
    bottom: float
    x: Scale
    y: Scale
    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    x_words: Callable[[float], str] | None = None  # what is written at a tick, where that is no plain number

    def draw(self, title: str, x_label: str, y_label: str) -> list[Markup]:
        """Title, names of the axes, grid and tick labels."""
        parts = [
            heading(title, self.right),
            label(16.0, 45.0, y_label, "muted"),
            label(self.right, self.bottom + 34.0, x_label, "muted", "end"),
        ]
        for value, words in zip(self.y_ticks, tick_labels(self.y_ticks), strict=True):
            y = self.y(value)
            parts.append(rule(self.left, y, self.right, y, "grid"))
            parts.append(label(self.left - 8, y + 4, words, "muted", "end"))
        parts.append(rule(self.left, self.bottom, self.right, self.bottom, "axis"))
        named = tick_labels(self.x_ticks) if self.x_words is None else map(self.x_words, self.x_ticks)
        for value, words in zip(self.x_ticks, named, strict=True):
            x = self.x(value)
            parts.append(rule(x, self.bottom, x, self.bottom + 4, "axis"))
            parts.append(label(x, self.bottom + 17, words, "muted", "middle"))
        return parts
