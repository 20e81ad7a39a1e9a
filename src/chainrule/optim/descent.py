"""Gradient descent, momentum, Nesterov's momentum."""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.graph.expr import Expr
from chainrule.optim.rule import Rate, Rule, Slots

__all__ = ["SGD", "Momentum", "Nesterov"]


@dataclass(frozen=True)
class SGD(Rule):
    """Gradient descent:  θ ← θ − ηg  (Robbins & Monro 1951).

    No source gives a default rate; 0.01 is customary.

    >>> SGD(0.1, weight_decay=1e-4).learning_rate
    0.1
    """

    learning_rate: Rate = 0.01

    def update(self, θ: Expr, g: Expr, s: Slots, t: Expr, η: Expr) -> tuple[Expr, dict[str, Expr]]:
        return θ - η * g, {}


@dataclass(frozen=True)
class Momentum(Rule):
    """The heavy ball:  v ← αv − ηg;  θ ← θ + v  (Polyak 1964).

    momentum    α: velocity kept from step to step; the effective rate along a constant slope is η/(1−α)

    PyTorch keeps η outside of v (v ← αv + g; θ ← θ − ηv). Both are equal while η is constant; when a schedule
    changes η, PyTorch rescales the whole velocity at once, ours lets the old velocity run out.

    >>> Momentum(0.1).momentum
    0.9
    """

    learning_rate: Rate = 0.01
    momentum: float = 0.9
    slots = ("v",)

    def update(self, θ: Expr, g: Expr, s: Slots, t: Expr, η: Expr) -> tuple[Expr, dict[str, Expr]]:
        v = self.momentum * s.v - η * g
        return θ + v, {"v": v}


@dataclass(frozen=True)
class Nesterov(Rule):
    """Momentum with the gradient taken at the look-ahead point:  g = ∇L(θ + αv);  v ← αv − ηg;  θ ← θ + v
    (Nesterov 1983; in this form Sutskever et al. 2013, eq. 3-4).

    momentum    α

    PyTorch never evaluates at another point: its parameters are our look-ahead points θ + αv, which is the
    same sequence while η and α are constant. The training loss reported is the one at the look-ahead point.

    >>> Nesterov(0.1, momentum=0.95).slots
    ('v',)
    """

    learning_rate: Rate = 0.01
    momentum: float = 0.9
    slots = ("v",)

    def at(self, θ: Expr, s: Slots) -> Expr:
        return θ + self.momentum * s.v

    def update(self, θ: Expr, g: Expr, s: Slots, t: Expr, η: Expr) -> tuple[Expr, dict[str, Expr]]:
        v = self.momentum * s.v - η * g
        return θ + v, {"v": v}
