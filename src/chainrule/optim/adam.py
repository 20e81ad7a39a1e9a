"""Adam and its relatives: first and second moments of the gradient."""

from __future__ import annotations

from dataclasses import dataclass, field

from chainrule.graph.expr import Expr
from chainrule.ops import exp, log, maximum, sqrt
from chainrule.optim.rule import Rate, Rule, Slots

__all__ = ["AMSGrad", "Adam", "AdamW", "NAdam"]


def _moments(g: Expr, s: Slots, β1: float, β2: float) -> tuple[Expr, Expr]:
    """Running means of the gradient and of its square:  m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g⊙g."""
    return β1 * s.m + (1 - β1) * g, β2 * s.v + (1 - β2) * g**2


@dataclass(frozen=True)
class Adam(Rule):
    """m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g⊙g;  m̂ = m/(1−β₁ᵗ);  v̂ = v/(1−β₂ᵗ);  θ ← θ − η m̂/(√v̂ + ε)
    (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1; its defaults).

    ``weight_decay`` is decoupled (that is AdamW); ``l2`` is a penalty in the loss, which PyTorch's ``Adam``
    calls ``weight_decay``. A lone gradient after a long silence steps up to (1−β₁)/√(1−β₂) = 3.16 η.

    >>> Adam(3e-4).beta2
    0.999
    """

    learning_rate: Rate = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    slots = ("m", "v")

    def update(self, θ: Expr, g: Expr, s: Slots, t: Expr, η: Expr) -> tuple[Expr, dict[str, Expr]]:
        m, v = _moments(g, s, self.beta1, self.beta2)
        m_hat, v_hat = m / (1 - self.beta1**t), v / (1 - self.beta2**t)
        return θ - η * m_hat / (sqrt(v_hat) + self.epsilon), {"m": m, "v": v}


@dataclass(frozen=True)
class AdamW(Rule):
    """Adam with decoupled decay:  θ ← θ − η(m̂/(√v̂ + ε) + λθ)  (Loshchilov & Hutter 2019, algorithm 2).

    weight_decay    λ, 0.01 (the paper's experiments vary it); weights only, where PyTorch decays biases too

    >>> AdamW().weight_decay
    0.01
    """

    learning_rate: Rate = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = field(default=0.01, kw_only=True)
    slots = ("m", "v")

    def update(self, θ: Expr, g: Expr, s: Slots, t: Expr, η: Expr) -> tuple[Expr, dict[str, Expr]]:
        m, v = _moments(g, s, self.beta1, self.beta2)
        m_hat, v_hat = m / (1 - self.beta1**t), v / (1 - self.beta2**t)
        return θ - η * m_hat / (sqrt(v_hat) + self.epsilon), {"m": m, "v": v}


@dataclass(frozen=True)
class AMSGrad(Rule):
    """m, v as in Adam;  v̂ ← max(v̂, v);  θ ← θ − η m/(√v̂ + ε)  (Reddi, Kale & Kumar 2018, algorithm 2).

    As in the paper there is no bias correction; ε, which the paper leaves out, only keeps 0/0 away.
    PyTorch's ``Adam(amsgrad=True)`` corrects both moments, the second after the maximum: another sequence.

    >>> AMSGrad().slots
    ('m', 'v', 'v_hat')
    """

    learning_rate: Rate = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    slots = ("m", "v", "v_hat")

    def update(self, θ: Expr, g: Expr, s: Slots, t: Expr, η: Expr) -> tuple[Expr, dict[str, Expr]]:
        m, v = _moments(g, s, self.beta1, self.beta2)
        v_hat = maximum(s.v_hat, v)
        return θ - η * m / (sqrt(v_hat) + self.epsilon), {"m": m, "v": v, "v_hat": v_hat}


@dataclass(frozen=True)
class NAdam(Rule):
    """Adam with Nesterov's look-ahead (Dozat 2016, algorithm 2, and section 3.2 for the schedule of μ):

    μₜ = β₁(1 − ½·0.96^(ψt));  m̂ = μₜ₊₁ m/(1 − Π_{i≤t+1} μᵢ) + (1−μₜ) g/(1 − Π_{i≤t} μᵢ);  v̂ = v/(1−β₂ᵗ);
    θ ← θ − η m̂/(√v̂ + ε), with m and v as in Adam.

    momentum_decay    ψ, 0.004

    The momentum m itself decays with β₁, not μₜ. The same as PyTorch's ``NAdam``.

    >>> NAdam().learning_rate
    0.002
    """

    learning_rate: Rate = 2e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    momentum_decay: float = 0.004
    slots = ("m", "v", "log_product")
    scalars = ("log_product",)

    def update(self, θ: Expr, g: Expr, s: Slots, t: Expr, η: Expr) -> tuple[Expr, dict[str, Expr]]:
        m, v = _moments(g, s, self.beta1, self.beta2)
        μ, μ_next = self.μ(t), self.μ(t + 1)
        log_product = s.log_product + log(μ)  # a logarithm, since slots start at 0
        product = exp(log_product)
        m_hat = μ_next / (1 - product * μ_next) * m + (1 - μ) / (1 - product) * g
        v_hat = v / (1 - self.beta2**t)
        return θ - η * m_hat / (sqrt(v_hat) + self.epsilon), {
            "m": m, "v": v, "log_product": log_product,
        }  # fmt: skip

    def μ(self, t: Expr) -> Expr:
        """The momentum at step t: β₁/2 at the start, rising slowly to β₁."""
        return self.beta1 * (1 - 0.5 * 0.96 ** (self.momentum_decay * t))
