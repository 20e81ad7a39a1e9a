"""Muon: momentum whose matrix is brought to singular values near 1 before the step."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from chainrule.errors import ConfigError, nearest
from chainrule.graph.expr import Expr
from chainrule.ops import maximum, sqrt, square
from chainrule.ops import sum as total
from chainrule.optim.adam import AdamW
from chainrule.optim.rule import Rate, Rule, Slots, Trainable

__all__ = ["Muon", "orthogonalize"]

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_TINY = 1e-7


def orthogonalize(M: Expr, steps: int = 5) -> Expr:
    """Newton-Schulz: from M = U S Vᵀ to about U Vᵀ, with singular values between 0.7 and 1.2 after 5 steps.

    X ← M/‖M‖_F;  then X ← aX + (bA + cA²)X with A = XXᵀ and (a, b, c) = (3.4445, −4.7750, 2.0315), which
    rises steeply at 0 instead of converging to 1 (Jordan et al. 2024). A zero matrix stays zero.
    """
    a, b, c = _COEFFICIENTS
    tall = M.shape[0] > M.shape[1]
    X = M.T if tall else M  # A has the smaller side
    X = X / maximum(sqrt(total(square(X))), _TINY)
    for _ in range(steps):
        A = X @ X.T
        X = a * X + (b * A + c * (A @ A)) @ X
    return X.T if tall else X


@dataclass(frozen=True)
class Muon(Rule):
    """B ← αB + g;  θ ← θ − η √max(1, out/in) · NS(g + αB)  for hidden weights (in, out), AdamW for the rest
    (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks").

    momentum              α
    nesterov              NS(g + αB); False: NS(B)
    newton_schulz_steps   of :func:`orthogonalize`
    rest                  for biases, scales, embeddings, whatever is no matrix, and what ``rest_of`` names
    rest_of               globs of weight matrices that are not hidden; None: the last one created

    ``weight_decay``, ``l2``, ``l1`` and ``max_norm`` of the parameters under ``rest`` are those of ``rest``;
    clipping, groups and averaging are set here. PyTorch's ``Muon`` takes matrices alone and computes NS in
    bfloat16.

    >>> Muon(rest=AdamW(3e-4)).rest.learning_rate
    0.0003
    """

    learning_rate: Rate = 0.02
    momentum: float = 0.95
    nesterov: bool = True
    newton_schulz_steps: int = 5
    rest: AdamW = field(default_factory=lambda: AdamW(3e-4))
    rest_of: tuple[str, ...] | None = None
    slots = ("b",)
    delegates = ("rest",)

    def update(self, θ: Expr, g: Expr, s: Slots, t: Expr, η: Expr) -> tuple[Expr, dict[str, Expr]]:
        B = self.momentum * s.b + g
        direction = orthogonalize(g + self.momentum * B if self.nesterov else B, self.newton_schulz_steps)
        n_in, n_out = θ.shape
        return θ - η * math.sqrt(max(1.0, n_out / n_in)) * direction, {"b": B}

    def others(self, parameters: Mapping[str, Trainable]) -> dict[str, str]:
        _check_rest(self.rest)
        matrices = [n for n, p in parameters.items() if p.role == "weight" and p.spec.ndim == 2]
        kept_out = set(matrices[-1:]) if self.rest_of is None else _matching(self.rest_of, parameters)
        return {n: "rest" for n in parameters if n not in matrices or n in kept_out}


def _matching(patterns: tuple[str, ...], names: Mapping[str, Trainable]) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        matched = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        if not matched:
            raise ConfigError(f"Muon: rest_of {pattern!r} matches no parameter; {nearest(pattern, names)}")
        found |= set(matched)
    return found


def _check_rest(rest: AdamW) -> None:
    """What is set for the whole network is set on Muon itself."""
    for name in ("clip_norm", "clip_value", "groups", "average"):
        if getattr(rest, name):
            raise ConfigError(f"Muon: {name} is set on rest; set it on Muon, for all parameters together")
