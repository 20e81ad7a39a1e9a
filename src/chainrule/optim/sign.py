"""Lion: steps of one size, in the direction of a sign."""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.graph.expr import Expr
from chainrule.ops import sign
from chainrule.optim.rule import Rate, Rule, Slots

__all__ = ["Lion"]


@dataclass(frozen=True)
class Lion(Rule):
    """θ ← θ − η(sign(β₁m + (1−β₁)g) + λθ), then m ← β₂m + (1−β₂)g
    (Chen et al. 2023, arXiv:2302.06675, algorithm 2).

    Every element moves by η, so the rate is 3-10 times smaller than Adam's, and ``weight_decay`` (λ) as many
    times larger. It circles a minimum at a distance of about η: let the rate fall. PyTorch has no Lion.

    >>> Lion(weight_decay=0.1).beta2
    0.99
    """

    learning_rate: Rate = 1e-4
    beta1: float = 0.9
    beta2: float = 0.99
    slots = ("m",)

    def update(self, θ: Expr, g: Expr, s: Slots, t: Expr, η: Expr) -> tuple[Expr, dict[str, Expr]]:
        direction = sign(self.beta1 * s.m + (1 - self.beta1) * g)
        return θ - η * direction, {"m": self.beta2 * s.m + (1 - self.beta2) * g}
