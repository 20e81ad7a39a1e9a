"""Normalisation: BatchNorm over the batch, LayerNorm over the units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chainrule.errors import ShapeError
from chainrule.graph.expr import Expr
from chainrule.nn.fields import check_flag, check_number
from chainrule.nn.init import Constant, Zeros
from chainrule.nn.layer import Layer, floating, need_axes
from chainrule.nn.run import Run
from chainrule.ops import mean, sqrt, square

__all__ = ["BatchNorm", "LayerNorm"]


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Normalises channels over the batch  y = γ (x − μ)/√(σ² + ε) + β.    x (batch, …, channels) → y the same

    Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1. The channel is the last axis; μ and the biased
    variance σ² = mean (x − μ)² (two passes) are taken over all others. γ, β can restore the identity.
    Training uses the batch's μ, σ² and keeps  running ← momentum·running + (1 − momentum)·batch;  inference
    uses those, and so does training where they are frozen (:class:`~chainrule.optim.Group`). PyTorch writes
    momentum for our 1 − momentum, and its running variance is the unbiased one.

    momentum       0.9; the share of the old value that stays
    epsilon        1e-5
    scale, offset  whether γ (role "scale"), β (role "bias") are learned

    ShapeError in training where there is only one value per channel.

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(BatchNorm(), ops.input("x", (5, 4)), training=True)
    >>> list(run.parameters), list(run.buffers), sorted(run.updates)
    (['scale', 'offset'], ['mean', 'variance'], ['mean', 'variance'])
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale: bool = True
    offset: bool = True

    def __post_init__(self) -> None:
        check_number(self, "momentum", 0, 1)
        check_number(self, "epsilon", 0, open_low=True)
        check_flag(self, "scale", "offset")

    def __call__(self, x: Any, run: Run) -> Expr:
        x = floating(self, x, run.dtype)
        need_axes(self, x, 2, "(batch, …, channels)")
        channels = x.shape[-1:]
        running_mean, running_variance = run.state("mean", channels), run.state("variance", channels, 1.0)
        if not run.training or run.rests("mean"):
            return _scaled(self, x - running_mean, running_variance, run)
        run.uses_batch_statistics = True
        if channels[0] and x.size // channels[0] < 2:
            raise ShapeError(
                f"BatchNorm: x of shape {x.shape} has {x.size // channels[0]} value per channel, "
                "training needs 2 or more: use a larger batch (merge or drop a last one of 1), or LayerNorm"
            )
        axes = range(x.ndim - 1)
        μ = mean(x, axes)
        centred = x - μ
        variance = mean(square(centred), axes)
        run.update("mean", self.momentum * running_mean + (1 - self.momentum) * μ)
        run.update("variance", self.momentum * running_variance + (1 - self.momentum) * variance)
        return _scaled(self, centred, variance, run)


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Normalises every sample over its units  y = γ (x − μ)/√(σ² + ε) + β.    x (batch, …, n) → y the same

    Ba, Kiros & Hinton 2016, arXiv:1607.06450, eq. 3. μ and the biased variance σ² (two passes) are taken
    over the last axis, so that training and inference are alike and the batch may be of any size.

    epsilon        1e-5
    scale, offset  whether γ (role "scale"), β (role "bias") are learned, one per unit

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(LayerNorm(), ops.input("x", (1, 4)), training=True)
    >>> y.shape, list(run.parameters)
    ((1, 4), ['scale', 'offset'])
    """

    epsilon: float = 1e-5
    scale: bool = True
    offset: bool = True

    def __post_init__(self) -> None:
        check_number(self, "epsilon", 0, open_low=True)
        check_flag(self, "scale", "offset")

    def __call__(self, x: Any, run: Run) -> Expr:
        x = floating(self, x, run.dtype)
        need_axes(self, x, 2, "(batch, …, n)")
        centred = x - mean(x, -1, keepdims=True)
        return _scaled(self, centred, mean(square(centred), -1, keepdims=True), run)


def _scaled(layer: BatchNorm | LayerNorm, centred: Expr, variance: Expr, run: Run) -> Expr:
    """γ·centred/√(variance + ε) + β; the factor is made first, where it is small."""
    channels = centred.shape[-1:]
    root = sqrt(variance + layer.epsilon)
    factor = run.parameter("scale", channels, Constant(1.0), role="scale") / root if layer.scale else 1 / root
    y = centred * factor
    return y + run.parameter("offset", channels, Zeros(), role="bias") if layer.offset else y
