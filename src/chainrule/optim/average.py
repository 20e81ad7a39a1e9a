"""Averages of the parameters over the steps: what evaluation and prediction use in place of the last ones."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from chainrule.errors import ConfigError, within
from chainrule.graph.expr import Expr
from chainrule.ops import cast, equal, expm1, full_like, maximum, where

__all__ = ["AVERAGES", "EMA", "SWA", "Average"]


@dataclass(frozen=True)
class Average(ABC):
    """A running average  θ̄ ← θ̄ + ρₜ(θ − θ̄), taken after every step; ρ₁ = 1, so the start does not count.

    Running statistics (batch normalisation) are not averaged.
    """

    @abstractmethod
    def rate(self, t: Expr) -> Expr:
        """ρₜ, the share of the newest parameters; t is 1 at the first step."""

    @abstractmethod
    def resolve(self, total: int, per_epoch: int) -> Average:
        """The same average with shares of the run as step numbers, for a run of ``total`` steps."""


@dataclass(frozen=True)
class EMA(Average):
    """Exponential moving average  θ̄ ← dθ̄ + (1−d)θ  (Polyak & Juditsky 1992; Kingma & Ba 2015, section 7.2).

    decay     d, a memory of about 1/(1−d) steps
    debias    divide by 1 − dᵗ, so that early averages are true weighted means: ρₜ = (1−d)/(1−dᵗ).
              Without it the average starts at the parameters after the first step, as in PyTorch's swa_utils.

    >>> EMA(0.99).decay
    0.99
    """

    decay: float = 0.999
    debias: bool = True

    def __post_init__(self) -> None:
        within(self, "decay", "(0, 1)")

    def rate(self, t: Expr) -> Expr:
        if self.debias:
            return (1 - self.decay) / -expm1(t * math.log(self.decay))
        return where(t <= 1, full_like(t, 1), 1 - self.decay)

    def resolve(self, total: int, per_epoch: int) -> EMA:
        return self


@dataclass(frozen=True)
class SWA(Average):
    """Stochastic weight averaging: the mean of snapshots late in training (Izmailov et al. 2018, alg. 1).

    start     averaging begins after this step (int), or after this share of the run (float in [0, 1])
    every     steps between snapshots; None: one an epoch, as in the paper

    Until the first snapshot the average is the newest parameters. Combine it with a rate that stays high.

    >>> SWA(0.5).resolve(total=1000, per_epoch=100)
    SWA(start=500, every=100)
    """

    start: int | float = 0.75
    every: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.start, int):
            within(self, "start", "[0, inf)", whole=True)
        else:
            within(self, "start", "[0, 1]")
        if self.every is not None:
            within(self, "every", "[1, inf)", whole=True)

    def rate(self, t: Expr) -> Expr:
        if not isinstance(self.start, int) or self.every is None:
            raise ConfigError(
                f"{self} depends on the length of the run; "
                "give step numbers, or call optim.resolve_average(rule, total, per_epoch) first"
            )
        passed = t - self.start
        count = cast(cast(passed / self.every, "int64"), t.dtype)  # of snapshots; the cast drops the fraction
        snapshot = where(equal(passed, count * self.every), 1 / maximum(count, 1), 0)
        return where(count < 1, 1, snapshot)

    def resolve(self, total: int, per_epoch: int) -> SWA:
        start = self.start if isinstance(self.start, int) else round(self.start * total)
        return replace(self, start=start, every=self.every or max(per_epoch, 1))


AVERAGES: dict[str, type[Average]] = {"EMA": EMA, "SWA": SWA}
"""Every average by class name."""
