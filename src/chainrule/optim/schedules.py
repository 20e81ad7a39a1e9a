"""Schedules: by what factor every learning rate is multiplied at each step.

All count steps k from 0. A length or a place in the run is an ``int``, in steps, or a ``float`` in (0, 1], a
share of the whole run, so that one schedule fits runs of any length. Factors multiply the optimizer's rate,
ε₀ in the formulas.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from chainrule.errors import ConfigError, within

__all__ = [
    "SCHEDULES",
    "Constant",
    "Cosine",
    "Exponential",
    "Length",
    "Linear",
    "OneCycle",
    "Schedule",
    "Step",
    "WarmUp",
]

Factors = npt.NDArray[np.float64]
Length = int | float
"""Steps (int), or a share of the whole run (float in (0, 1])."""


def _in_steps(length: Length, total: int) -> int:
    """A length as a number of steps.

    >>> _in_steps(0.1, 600), _in_steps(100, 600)
    (60, 100)
    """
    return length if isinstance(length, int) else round(length * total)


def _check_length(owner: object, name: str) -> None:
    if isinstance(getattr(owner, name), float):
        within(owner, name, "(0, 1]")
    else:
        within(owner, name, "[1, inf)", whole=True)


@dataclass(frozen=True)
class Schedule(ABC):
    """A factor for every step of a run."""

    @abstractmethod
    def factor(self, step: int, total: int, per_epoch: int) -> float:
        """The factor at a step (from 0) of a run of ``total`` steps, ``per_epoch`` of them in an epoch."""

    def factors(self, first: int, count: int, total: int, per_epoch: int) -> Factors:
        """The factors at ``count`` steps from ``first`` on: the same numbers as ``factor`` gives one by one.

        >>> Linear().factors(98, 4, 100, 10).round(2).tolist()
        [0.02, 0.01, 0.0, 0.0]
        """
        return np.array([self.factor(k, total, per_epoch) for k in range(first, first + count)], np.float64)


@dataclass(frozen=True)
class Constant(Schedule):
    """1

    >>> Constant().factor(7, 100, 10)
    1.0
    """

    def factor(self, step: int, total: int, per_epoch: int) -> float:
        return 1.0

    def factors(self, first: int, count: int, total: int, per_epoch: int) -> Factors:
        return np.ones(count)


@dataclass(frozen=True)
class Linear(Schedule):
    """ε_k = (1 − k/τ)ε₀ + (k/τ)ε_τ up to step τ, then ε_τ  (Goodfellow, Bengio & Courville 2016, eq. 8.14).

    end      ε_τ/ε₀
    steps    τ; None: the whole run

    >>> Linear(end=0.01).factor(50, 100, 10)
    0.505
    """

    end: float = 0.0
    steps: Length | None = None

    def __post_init__(self) -> None:
        within(self, "end", "[0, inf)")
        if self.steps is not None:
            _check_length(self, "steps")

    def factor(self, step: int, total: int, per_epoch: int) -> float:
        return self._between(_progress(step, self.steps, total))

    def factors(self, first: int, count: int, total: int, per_epoch: int) -> Factors:
        steps = np.arange(first, first + count)
        return self._between(np.minimum(steps / _span(self.steps, total), 1.0))

    def _between(self, u: Any) -> Any:
        return (1 - u) + u * self.end


def _span(steps: Length | None, total: int) -> int:
    """τ"""
    return max(total if steps is None else _in_steps(steps, total), 1)


def _progress(step: int, steps: Length | None, total: int) -> float:
    """k/τ, at most 1."""
    return min(step / _span(steps, total), 1.0)


@dataclass(frozen=True)
class Exponential(Schedule):
    """βᵏ, with k in epochs or in steps.

    base    β

    >>> Exponential(0.5).factor(25, 100, 10)
    0.25
    """

    base: float = 0.95
    per: Literal["epoch", "step"] = "epoch"

    def __post_init__(self) -> None:
        within(self, "base", "(0, 1]")
        if self.per not in ("epoch", "step"):
            raise ConfigError(f"Exponential: per is {self.per!r}; it must be 'epoch' or 'step'")

    def factor(self, step: int, total: int, per_epoch: int) -> float:
        return self.base ** (step // max(per_epoch, 1) if self.per == "epoch" else step)

    def factors(self, first: int, count: int, total: int, per_epoch: int) -> Factors:
        every = max(per_epoch, 1) if self.per == "epoch" else 1
        powers = range(first // every, (first + count - 1) // every + 1)
        found = np.repeat([self.base**k for k in powers], every)
        return found[first % every :][:count]


@dataclass(frozen=True)
class Step(Schedule):
    """A drop at every milestone: γ to the power of the milestones reached.

    drop    γ
    at      milestones, in rising order; the defaults are those of He et al. 2016, section 4.2, on CIFAR-10

    >>> [Step().factor(k, 100, 10) for k in (49, 50)]
    [1.0, 0.1]
    """

    drop: float = 0.1
    at: tuple[Length, ...] = (0.5, 0.75)

    def __post_init__(self) -> None:
        within(self, "drop", "(0, 1]")
        kinds = {type(place) for place in self.at}
        shares = kinds <= {float} and all(0 < place <= 1 for place in self.at)
        steps = kinds <= {int} and all(place >= 1 for place in self.at)
        if not (shares or steps) or list(self.at) != sorted(self.at):
            raise ConfigError(
                f"Step: at is {self.at!r}; give rising step numbers (int, from 1), "
                "or rising shares of the run (float in (0, 1])"
            )

    def factor(self, step: int, total: int, per_epoch: int) -> float:
        return float(self.drop ** sum(step >= _in_steps(place, total) for place in self.at))

    def factors(self, first: int, count: int, total: int, per_epoch: int) -> Factors:
        steps, places = np.arange(first, first + count), [_in_steps(place, total) for place in self.at]
        drops = np.array([float(self.drop**k) for k in range(len(places) + 1)])
        return drops[np.searchsorted(places, steps, side="right")]


@dataclass(frozen=True)
class Cosine(Schedule):
    """end + (1 − end)·½(1 + cos πk/τ) up to step τ, then end  (Loshchilov & Hutter 2017, eq. 5, no restarts).

    steps    τ; None: the whole run

    >>> round(Cosine().factor(50, 100, 10), 6)
    0.5
    """

    end: float = 0.0
    steps: Length | None = None

    def __post_init__(self) -> None:
        within(self, "end", "[0, inf)")
        if self.steps is not None:
            _check_length(self, "steps")

    def factor(self, step: int, total: int, per_epoch: int) -> float:
        return _cosine(1.0, self.end, _progress(step, self.steps, total))


def _cosine(start: float, end: float, u: float) -> float:
    """From start (u = 0) to end (u = 1) along half a cosine."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * u))


@dataclass(frozen=True)
class WarmUp(Schedule):
    """(k+1)/τ of the next schedule's first factor for τ steps, then that schedule over the rest of the run
    (Goyal et al. 2017, section 2.2: gradual warm-up).

    steps    τ, by default a twentieth of the run
    then     what follows

    >>> [WarmUp(4, Constant()).factor(k, 100, 10) for k in (0, 3, 4)]
    [0.25, 1.0, 1.0]
    """

    steps: Length = 0.05
    then: Schedule = field(default_factory=Cosine)

    def __post_init__(self) -> None:
        _check_length(self, "steps")
        if not isinstance(self.then, Schedule):
            raise ConfigError(f"WarmUp: then is {self.then!r}; give a schedule such as Cosine()")

    def factor(self, step: int, total: int, per_epoch: int) -> float:
        τ = _in_steps(self.steps, total)
        if step < τ:
            return (step + 1) / τ * self.then.factor(0, max(total - τ, 1), per_epoch)
        return self.then.factor(step - τ, max(total - τ, 1), per_epoch)

    def factors(self, first: int, count: int, total: int, per_epoch: int) -> Factors:
        τ = _in_steps(self.steps, total)
        left, rising = max(total - τ, 1), min(max(τ - first, 0), count)
        rise = np.arange(first + 1, first + rising + 1) / max(τ, 1) * self.then.factor(0, left, per_epoch)
        rest = self.then.factors(max(first - τ, 0), count - rising, left, per_epoch)
        return np.concatenate([rise, rest])


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up from ``start`` to 1 over ``rise``, down to ``end`` over the rest of the run, along half cosines
    (Smith & Topin 2018; 0.3, 1/25 and 1/250,000 are the defaults of PyTorch's ``OneCycleLR``).

    The optimizer's rate is the peak. Momentum is not cycled.

    >>> [round(OneCycle().factor(k, 100, 10), 6) for k in (0, 30, 100)]
    [0.04, 1.0, 4e-06]
    """

    rise: Length = 0.3
    start: float = 0.04
    end: float = 4e-6

    def __post_init__(self) -> None:
        _check_length(self, "rise")
        within(self, "start", "[0, 1]")
        within(self, "end", "[0, 1]")

    def factor(self, step: int, total: int, per_epoch: int) -> float:
        top = _in_steps(self.rise, total)
        if step < top:
            return _cosine(self.start, 1.0, step / top)
        return _cosine(1.0, self.end, _progress(step - top, None, total - top))


SCHEDULES: dict[str, type[Schedule]] = {
    s.__name__: s for s in (Constant, Linear, Exponential, Step, Cosine, WarmUp, OneCycle)
}
"""Every schedule by class name."""
