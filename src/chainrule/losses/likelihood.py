"""Negative log-likelihoods of numbers whose distribution is predicted: Gaussian with variance, Poisson."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from chainrule.errors import ConfigError, ShapeError, within
from chainrule.graph.expr import Expr
from chainrule.losses import targets
from chainrule.losses.loss import (
    Loss,
    Over,
    check_over,
    matched,
    need_float_batch,
    no_probabilities,
    over_outputs,
)
from chainrule.losses.predicted import PredictedMixture
from chainrule.ops import exp, log, softplus, square
from chainrule.ops import sum as total
from chainrule.spec import Spec

__all__ = ["LOG_2PI", "GaussianNLL", "PoissonNLL", "Scale", "check_scale", "deviation", "predicted"]

LOG_2PI = math.log(2 * math.pi)
Scale = Literal["softplus", "log_variance"]
"""How a raw output s becomes a standard deviation: σ = softplus(s) + floor, or σ² = eˢ."""


def check_scale(loss: Loss) -> None:
    """The fields ``scale`` and ``floor``."""
    if getattr(loss, "scale") not in ("softplus", "log_variance"):  # noqa: B009  (two classes, one check)
        raise ConfigError(f"{type(loss).__name__}: scale must be 'softplus' or 'log_variance'")
    within(loss, "floor", "(0, inf)")


def deviation(raw: Expr, scale: Scale, floor: float) -> tuple[Expr, Expr]:
    """(1/σ, log σ) of a raw scale output; the reciprocal is what a likelihood multiplies by."""
    if scale == "log_variance":
        return exp(-0.5 * raw), 0.5 * raw
    σ = softplus(raw) + floor
    return 1 / σ, log(σ)


def predicted(
    logits: np.ndarray, means: np.ndarray, raw: np.ndarray, above: np.ndarray, loss: Loss
) -> PredictedMixture:
    """The mixture that outputs stand for.   logits (n, M), means and raw scales (n, M, k), A above its
    diagonal, row by row (n, M, k(k−1)/2), or with 0 columns; ``scale`` and ``floor`` are the loss's"""
    scale, floor = vars(loss)["scale"], vars(loss)["floor"]
    k = means.shape[-1]
    factors = np.zeros((*raw.shape, k))
    inverse = np.exp(-0.5 * raw) if scale == "log_variance" else 1 / (np.logaddexp(0, raw) + floor)
    factors[..., np.arange(k), np.arange(k)] = inverse
    if above.shape[-1]:
        factors[(..., *np.triu_indices(k, 1))] = above
    log_total = np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return PredictedMixture(logits - log_total, means, factors)


@dataclass(frozen=True)
class GaussianNLL(Loss):
    """Σⱼ ½ log 2π + log σⱼ + ½((yⱼ − μⱼ)/σⱼ)²  with mean and deviation predicted (Nix & Weigend 1994).

    scale    "softplus": σ = softplus(s) + floor;  "log_variance": σ² = eˢ
    floor    the least σ under "softplus", in units of the target: keeps a point that is hit exactly from
             an infinite likelihood

    prediction (batch, 2k): k means, then k raw scales s; target (batch, k) → (batch,), summed over outputs.
    ``predict`` gives the means, :meth:`distribution` all of it.

    >>> from chainrule.executors import evaluate
    >>> from chainrule.graph.expr import constant
    >>> loss = GaussianNLL("log_variance")(constant([[0.0, 0.0]]), constant([[1.0]]))
    >>> evaluate([loss], {})[0].round(4)
    array([1.4189], dtype=float32)
    """

    scale: Scale = "softplus"
    floor: float = 1e-3

    def __post_init__(self) -> None:
        check_scale(self)

    def outputs(self, output: Spec) -> int:
        """k, from the width of the output."""
        if output.ndim != 2 or output.shape[1] % 2:
            raise ShapeError(
                f"GaussianNLL: the output is {output}; it needs a mean and a scale per number, (batch, 2k): "
                "end the network in Dense(2 * k)"
            )
        return output.shape[1] // 2

    def __call__(self, prediction: Expr, target: Expr) -> Expr:
        need_float_batch(prediction, self)
        k = self.outputs(prediction.spec)
        y = matched(prediction, target, self, (prediction.shape[0], k))
        inverse, log_σ = deviation(prediction[:, k:], self.scale, self.floor)
        return total(0.5 * LOG_2PI + log_σ + 0.5 * square((y - prediction[:, :k]) * inverse), 1)

    def moments(self, output: Expr) -> tuple[Expr, Expr]:
        """(μ, σ), each (batch, k)."""
        k = self.outputs(output.spec)
        _, log_σ = deviation(output[:, k:], self.scale, self.floor)
        return output[:, :k], exp(log_σ)

    def distribution(self, output: np.ndarray) -> PredictedMixture:
        """What a network's output (n, 2k) says of each row: one Gaussian, to be asked and sampled."""
        y = np.asarray(output, np.float64)
        k = self.outputs(Spec(y.shape, y.dtype))
        return predicted(
            np.zeros((len(y), 1)), y[:, None, :k], y[:, None, k:], np.empty((len(y), 1, 0)), self
        )

    def predict(self, output: Expr) -> Expr:
        return output[:, : self.outputs(output.spec)]

    def probabilities(self, output: Expr) -> Expr:
        raise no_probabilities(self)

    def check_target(self, y: np.ndarray, output: Spec) -> np.ndarray:
        return targets.numbers(y, (self.outputs(output),), output.dtype, "GaussianNLL")


@dataclass(frozen=True)
class PoissonNLL(Loss):
    """e^η − yη with η = log λ predicted: the negative log-likelihood of counts y, without log y!, which no
    network can change (as in PyTorch, which averages over the outputs).

    outputs    "sum", the joint likelihood of several counts, or "mean"

    prediction (batch, …) log-rates η, target of the same shape → (batch,). ``predict`` gives the rates e^η.

    >>> from chainrule.executors import evaluate
    >>> from chainrule.graph.expr import constant
    >>> evaluate([PoissonNLL()(constant([0.0]), constant([3]))], {})[0]
    array([1.], dtype=float32)
    """

    outputs: Over = "sum"

    def __post_init__(self) -> None:
        check_over(self, "outputs")

    def __call__(self, prediction: Expr, target: Expr) -> Expr:
        y = matched(prediction, target, self)
        return over_outputs(exp(prediction) - y * prediction, self.outputs)

    def predict(self, output: Expr) -> Expr:
        return exp(output)

    def probabilities(self, output: Expr) -> Expr:
        raise no_probabilities(self)

    def check_target(self, y: np.ndarray, output: Spec) -> np.ndarray:
        found = targets.numbers(y, output.shape[1:], output.dtype, "PoissonNLL")
        return targets.not_negative(found, "PoissonNLL")
