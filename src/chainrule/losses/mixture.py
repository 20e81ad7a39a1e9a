"""Mixture density networks: the target's distribution as a sum of Gaussians, all of them predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from chainrule.errors import ConfigError, ShapeError, within
from chainrule.graph.expr import Expr, constant
from chainrule.losses import targets
from chainrule.losses.classification import surprise
from chainrule.losses.likelihood import LOG_2PI, Scale, check_scale, deviation, predicted
from chainrule.losses.loss import Loss, matched, need_float_batch, no_probabilities
from chainrule.losses.predicted import PredictedMixture
from chainrule.ops import exp, expand, logsumexp, reshape, square
from chainrule.ops import sum as total
from chainrule.spec import Spec

__all__ = ["GaussianMixtureNLL"]


@dataclass(frozen=True)
class GaussianMixtureNLL(Loss):
    """−log Σₘ πₘ N(y; μₘ, Σₘ) with weights, means and covariances predicted (Bishop 1994).

    components    M
    covariance    "diagonal", or "full": the network gives the Cholesky factor A of the precision, Σ⁻¹ = AᵀA,
                  A upper triangular with a positive diagonal (Williams 1996), so that no matrix is inverted:
                  −log N = ½k log 2π − Σᵢ log aᵢᵢ + ½‖A(y − μ)‖²
    scale, floor  as in GaussianNLL: the standard deviations, or the reciprocals 1/aᵢᵢ of A's diagonal.
                  Williams takes aᵢᵢ = e^s; "log_variance" is that with s = −½·raw

    prediction (batch, :meth:`width`): M logits of π, M·k means, M·k raw scales and, if full, M·k(k−1)/2
    elements of A above its diagonal, row by row; target (batch, k) → (batch,). ``predict`` gives Σ πₘμₘ,
    :meth:`distribution` all of it: densities, samples, modes.

    >>> GaussianMixtureNLL(3, "full").width(2)
    18
    """

    components: int = 2
    covariance: Literal["diagonal", "full"] = "diagonal"
    scale: Scale = "softplus"
    floor: float = 1e-3

    def __post_init__(self) -> None:
        within(self, "components", "[1, inf)", whole=True)
        check_scale(self)
        if self.covariance not in ("diagonal", "full"):
            raise ConfigError(
                f"GaussianMixtureNLL: covariance is {self.covariance!r}; it must be 'diagonal' or 'full'"
            )

    def width(self, outputs: int) -> int:
        """How many units the last layer needs for targets of k = ``outputs`` numbers."""
        above = outputs * (outputs - 1) // 2 if self.covariance == "full" else 0
        return self.components * (1 + 2 * outputs + above)

    def outputs(self, output: Spec) -> int:
        """k, from the width of the output."""
        k = 1
        while output.ndim == 2 and self.width(k) < output.shape[1]:
            k += 1
        if output.ndim != 2 or self.width(k) != output.shape[1]:
            widths = ", ".join(f"{self.width(n)} for k = {n}" for n in (1, 2, 3))
            raise ShapeError(
                f"GaussianMixtureNLL: the output is {output}; {self.components} {self.covariance} components "
                f"need a width of {widths}, …: end the network in Dense(loss.width(k))"
            )
        return k

    def parts(self, output: Expr) -> tuple[Expr, Expr, Expr, Expr | None]:
        """log π (batch, M), μ (batch, M, k), raw scales (batch, M, k), A above its diagonal or None."""
        M, k = self.components, self.outputs(output.spec)
        batch, middle, end = output.shape[0], M + M * k, M + 2 * M * k
        μ, raw = reshape(output[:, M:middle], (batch, M, k)), reshape(output[:, middle:end], (batch, M, k))
        above = reshape(output[:, end:], (batch, M, -1)) if output.shape[1] > end else None
        return -surprise(output[:, :M]), μ, raw, above

    def __call__(self, prediction: Expr, target: Expr) -> Expr:
        need_float_batch(prediction, self)
        k = self.outputs(prediction.spec)
        y = expand(matched(prediction, target, self, (prediction.shape[0], k)), 1)
        log_π, μ, raw, above = self.parts(prediction)
        inverse, log_σ = deviation(raw, self.scale, self.floor)
        r = y - μ
        whitened = inverse * r if above is None else inverse * r + _times_above(above, r)
        log_n = -0.5 * k * LOG_2PI - total(log_σ, -1) - 0.5 * total(square(whitened), -1)
        return -logsumexp(log_π + log_n)

    def distribution(self, output: np.ndarray) -> PredictedMixture:
        """What a network's output (n, width) says of each row: a mixture to be asked and sampled.

        >>> loss = GaussianMixtureNLL(2, scale="log_variance")
        >>> two = loss.distribution(np.array([[0.0, 0.0, -2.0, 2.0, 0.0, 0.0]]))
        >>> two.modes()[0].round(2).ravel().tolist(), two.weights.tolist()
        ([-2.0, 2.0], [[0.5, 0.5]])
        """
        y = np.asarray(output, np.float64)
        M, k = self.components, self.outputs(Spec(y.shape, y.dtype))
        logits, μ, raw, above = np.split(y, [M, M + M * k, M + 2 * M * k], 1)
        μ, raw, above = (part.reshape(len(y), M, part.shape[1] // M) for part in (μ, raw, above))
        return predicted(logits, μ, raw, above, self)

    def predict(self, output: Expr) -> Expr:
        log_π, μ, _, _ = self.parts(output)
        return total(expand(exp(log_π), -1) * μ, 1)

    def probabilities(self, output: Expr) -> Expr:
        raise no_probabilities(self)

    def check_target(self, y: np.ndarray, output: Spec) -> np.ndarray:
        return targets.numbers(y, (self.outputs(output),), output.dtype, "GaussianMixtureNLL")


def _times_above(above: Expr, r: Expr) -> Expr:
    """Σⱼ>ᵢ aᵢⱼ rⱼ: two constant 0/1 matrices pick the factor rⱼ of each element, and add up each row.

    above (batch, M, k(k−1)/2), r (batch, M, k) → (batch, M, k)
    """
    k = r.shape[-1]
    rows, columns = np.triu_indices(k, 1)
    pick, add = np.eye(k)[:, columns], np.eye(k)[rows]
    return (above * (r @ constant(pick, r.dtype))) @ constant(add, r.dtype)
