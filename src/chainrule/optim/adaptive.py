"""A rate of its own for every element, from the size of its past gradients: AdaGrad, AdaDelta, RMSProp."""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.graph.expr import Expr
from chainrule.ops import maximum, sqrt
from chainrule.optim.rule import Rate, Rule, Slots

__all__ = ["AdaDelta", "AdaGrad", "RMSProp"]


@dataclass(frozen=True)
class AdaGrad(Rule):
    """r ← r + g⊙g;  θ ← θ − η g/(δ + √r)  (Duchi, Hazan & Singer 2011, fig. 1, diagonal form).

    delta    δ, outside the root; the paper gives no value, 1e-7 is that of Goodfellow et al. 2016, alg. 8.4

    The sum only grows, so steps fade as 1/√t. PyTorch's default δ is 1e-10.

    >>> AdaGrad(0.1).delta
    1e-07
    """

    learning_rate: Rate = 0.01
    delta: float = 1e-7
    slots = ("r",)

    def update(self, θ: Expr, g: Expr, s: Slots, t: Expr, η: Expr) -> tuple[Expr, dict[str, Expr]]:
        r = s.r + g**2
        return θ - η * g / (self.delta + sqrt(r)), {"r": r}


@dataclass(frozen=True)
class AdaDelta(Rule):
    """s ← ρs + (1−ρ)g²;  Δ = −√(u+ε)/√(s+ε)·g;  u ← ρu + (1−ρ)Δ²;  θ ← θ + ηΔ  (Zeiler 2012, alg. 1).

    The units of Δ are those of θ, so the paper has no learning rate: η is 1. Here ε does stand inside both
    roots. Steps start small, at about √ε, and grow. PyTorch computes the same.

    >>> AdaDelta().learning_rate
    1.0
    """

    learning_rate: Rate = 1.0
    rho: float = 0.95
    epsilon: float = 1e-6
    slots = ("s", "u")

    def update(self, θ: Expr, g: Expr, s: Slots, t: Expr, η: Expr) -> tuple[Expr, dict[str, Expr]]:
        ρ, ε = self.rho, self.epsilon
        square = ρ * s.s + (1 - ρ) * g**2
        Δ = -sqrt(s.u + ε) / sqrt(square + ε) * g
        return θ + η * Δ, {"s": square, "u": ρ * s.u + (1 - ρ) * Δ**2}


@dataclass(frozen=True)
class RMSProp(Rule):
    """r ← ρr + (1−ρ)g⊙g;  θ ← θ − η g/(δ + √r)  (Tieleman & Hinton 2012, lecture 6.5).

    rho         ρ
    delta       δ, outside the root (as PyTorch has it)
    centered    √(r − m²) in place of √r, with m ← ρm + (1−ρ)g: a standard deviation (Graves 2013, eq. 38-45,
                where δ is inside the root)
    momentum    α > 0: v ← αv − η g/(…);  θ ← θ + v

    PyTorch's defaults are ρ 0.99, δ 1e-8, η 0.01, and it keeps η outside of v: equal while η is constant.

    >>> RMSProp(centered=True).slots
    ('r', 'm')
    """

    learning_rate: Rate = 1e-3
    rho: float = 0.9
    delta: float = 1e-6
    centered: bool = False
    momentum: float = 0.0

    @property
    def slots(self) -> tuple[str, ...]:
        return ("r", *(["m"] if self.centered else []), *(["v"] if self.momentum else []))

    def update(self, θ: Expr, g: Expr, s: Slots, t: Expr, η: Expr) -> tuple[Expr, dict[str, Expr]]:
        ρ = self.rho
        new = {"r": ρ * s.r + (1 - ρ) * g**2}
        spread = new["r"]
        if self.centered:
            new["m"] = ρ * s.m + (1 - ρ) * g
            spread = maximum(spread - new["m"] ** 2, 0)  # a variance; rounding could leave −10⁻²⁰
        step = -η * g / (self.delta + sqrt(spread))
        if self.momentum:
            step = new["v"] = self.momentum * s.v + step
        return θ + step, new
