"""GaussianSample: a code that is a distribution, from which training draws; what makes an auto-encoder
variational."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chainrule.errors import ShapeError
from chainrule.graph.expr import Expr
from chainrule.nn.fields import check_number
from chainrule.nn.layer import Layer, floating
from chainrule.nn.run import Run
from chainrule.ops import exp, gaussian_kl, normal

__all__ = ["GaussianSample"]


@dataclass(frozen=True)
class GaussianSample(Layer):
    """Draws from the Gaussian that it is given  z = μ + σ ⊙ ε,  ε ~ N(0, 1).

    x (batch, …, 2k) → z (batch, …, k)

    x holds k means μ, then k log-variances log σ². Inference takes z = μ. The noise is drawn beside the
    parameters, so gradients pass through μ and σ (Kingma & Welling 2014, arXiv:1312.6114, eq. 10).

    KL(N(μ, σ²) ‖ N(0, 1)) of every sample is added to the loss as "kl". Between encoder and decoder, with the
    negative log-likelihood of a whole sample as loss, such as BinaryCrossEntropy(outputs="sum"), training
    thus maximises the evidence lower bound (their eq. 7): the mean of −loss over the noise is the bound.

    beta  the weight of the KL (Higgins et al. 2017); with 1 the bound is one

    ShapeError for an x without a batch axis or of odd width.

    >>> from chainrule import nn, ops
    >>> z, run = nn.trace(GaussianSample(), ops.input("x", (5, 4)), training=True)
    >>> z.shape, list(run.losses)
    ((5, 2), ['kl'])
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "beta", 0)

    def __call__(self, x: Any, run: Run) -> Expr:
        x = floating(self, x, run.dtype)
        if x.ndim < 2 or x.shape[-1] % 2:
            raise ShapeError(
                f"GaussianSample takes k means and k log-variances, (batch, …, 2k), got shape {x.shape}; "
                "end the encoder in nn.Dense(2 * k)"
            )
        k = x.shape[-1] // 2
        μ, log_variance = x[..., :k], x[..., k:]
        run.add_loss("kl", self.beta * gaussian_kl(μ, log_variance))
        if not run.training:
            return μ
        return μ + exp(0.5 * log_variance) * normal(run.random(), μ.shape, dtype=μ.dtype)
