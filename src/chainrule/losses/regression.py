"""Losses of numbers: what is small is the distance."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from chainrule.errors import ConfigError, ShapeError, within
from chainrule.graph.expr import Expr, constant
from chainrule.losses import targets
from chainrule.losses.loss import (
    Loss,
    Over,
    Regression,
    check_over,
    matched,
    need_float_batch,
    no_probabilities,
    over_outputs,
)
from chainrule.ops import abs, expand, maximum, reshape, square, where
from chainrule.spec import Spec

__all__ = ["HalfSquaredError", "Huber", "LeastSquares", "MeanAbsoluteError", "MeanSquaredError", "Quantile"]


@dataclass(frozen=True)
class LeastSquares(Regression):
    """A loss that is a sum of squares, and so has what Levenberg-Marquardt makes small."""

    @abstractmethod
    def residuals(self, prediction: Expr, target: Expr) -> Expr:
        """r (batch, …), of which the loss of a sample is ½Σr²."""


@dataclass(frozen=True)
class MeanSquaredError(LeastSquares):
    """(y − f)², averaged over the outputs of a sample: up to a factor and a constant the negative
    log-likelihood of a Gaussian of fixed variance.

    outputs    "sum" adds them instead

    prediction (batch, …), target of the same shape → (batch,)

    >>> from chainrule.executors import evaluate
    >>> loss = MeanSquaredError()(constant([[1.0, 3.0]]), constant([[0.0, 0.0]]))
    >>> evaluate([loss], {})[0]
    array([5.], dtype=float32)
    """

    outputs: Over = "mean"

    def __post_init__(self) -> None:
        check_over(self, "outputs")

    def __call__(self, prediction: Expr, target: Expr) -> Expr:
        return over_outputs(square(prediction - matched(prediction, target, self)), self.outputs)

    def residuals(self, prediction: Expr, target: Expr) -> Expr:
        count = math.prod(prediction.shape[1:]) if self.outputs == "mean" else 1
        return math.sqrt(2 / max(count, 1)) * (prediction - matched(prediction, target, self))


@dataclass(frozen=True)
class HalfSquaredError(LeastSquares):
    """½‖y − f‖², summed over the outputs: its gradient is f − y.

    prediction (batch, …), target of the same shape → (batch,)

    >>> from chainrule.executors import evaluate
    >>> loss = HalfSquaredError()(constant([[1.0, 3.0]]), constant([[0.0, 0.0]]))
    >>> evaluate([loss], {})[0]
    array([5.], dtype=float32)
    """

    def __call__(self, prediction: Expr, target: Expr) -> Expr:
        return 0.5 * over_outputs(square(prediction - matched(prediction, target, self)), "sum")

    def residuals(self, prediction: Expr, target: Expr) -> Expr:
        return prediction - matched(prediction, target, self)


@dataclass(frozen=True)
class MeanAbsoluteError(Regression):
    """|y − f|, averaged over the outputs: the negative log-likelihood of a Laplace distribution of fixed
    scale. The best constant is the median. The derivative at y = f is 0.

    outputs    "sum" adds them instead

    prediction (batch, …), target of the same shape → (batch,)

    >>> from chainrule.executors import evaluate
    >>> loss = MeanAbsoluteError()(constant([[1.0, 3.0]]), constant([[0.0, 0.0]]))
    >>> evaluate([loss], {})[0]
    array([2.], dtype=float32)
    """

    outputs: Over = "mean"

    def __post_init__(self) -> None:
        check_over(self, "outputs")

    def __call__(self, prediction: Expr, target: Expr) -> Expr:
        return over_outputs(abs(prediction - matched(prediction, target, self)), self.outputs)


@dataclass(frozen=True)
class Huber(Regression):
    """½r² where |r| ≤ δ, else δ(|r| − ½δ), with r = f − y; averaged over the outputs (Huber 1964, eq. 3).

    delta      δ, in units of the target, where the square turns into a line
    outputs    "sum" adds them instead

    prediction (batch, …), target of the same shape → (batch,)

    >>> from chainrule.executors import evaluate
    >>> loss = Huber()(constant([[0.5, 3.0]]), constant([[0.0, 0.0]]))
    >>> evaluate([loss], {})[0]
    array([1.3125], dtype=float32)
    """

    delta: float = 1.0
    outputs: Over = "mean"

    def __post_init__(self) -> None:
        within(self, "delta", "(0, inf)")
        check_over(self, "outputs")

    def __call__(self, prediction: Expr, target: Expr) -> Expr:
        r = prediction - matched(prediction, target, self)
        size, δ = abs(r), self.delta
        return over_outputs(where(size <= δ, 0.5 * square(r), δ * (size - 0.5 * δ)), self.outputs)


@dataclass(frozen=True)
class Quantile(Loss):
    """The pinball loss max(τr, (τ−1)r), r = y − f, averaged over levels and outputs; the best constant is the
    τ-quantile (Koenker & Bassett 1978). The derivative at y = f is the mean of both sides, ½ − τ.

    levels    τ in (0, 1): one, or several to predict at once

    One level: prediction and target have one shape. Several: target (batch, k), prediction (batch, k·levels),
    the levels of one output side by side. → (batch,)

    >>> from chainrule.executors import evaluate
    >>> loss = Quantile((0.1, 0.9))(constant([[0.0, 0.0]]), constant([[10.0]]))
    >>> evaluate([loss], {})[0]
    array([5.], dtype=float32)
    """

    levels: float | tuple[float, ...] = 0.5

    def __post_init__(self) -> None:
        found = self._levels()
        if not found or not all(isinstance(τ, float) and 0 < τ < 1 for τ in found):
            raise ConfigError(f"Quantile: levels is {self.levels!r}; each must be a number in (0, 1)")

    def _levels(self) -> tuple[float, ...]:
        return self.levels if isinstance(self.levels, tuple) else (self.levels,)

    def __call__(self, prediction: Expr, target: Expr) -> Expr:
        levels = self._levels()
        if len(levels) == 1:
            r = matched(prediction, target, self) - prediction
            return over_outputs(maximum(levels[0] * r, (levels[0] - 1) * r), "mean")
        need_float_batch(prediction, self)
        batch, outputs = prediction.shape[0], self._outputs(prediction.spec)
        y = matched(prediction, target, self, (batch, outputs))
        τ = constant(levels, prediction.dtype)
        r = expand(y, -1) - reshape(prediction, (batch, outputs, len(levels)))
        return over_outputs(maximum(τ * r, (τ - 1) * r), "mean")

    def _outputs(self, output: Spec) -> int:
        """How many numbers a sample has, when each takes several levels."""
        count = len(self._levels())
        if output.ndim != 2 or output.shape[1] % count:
            raise ShapeError(
                f"Quantile: {count} levels of each number need an output (batch, {count}·k), got {output}; "
                f"end the network in Dense({count}·k) for k numbers"
            )
        return output.shape[1] // count

    def predict(self, output: Expr) -> Expr:
        return output

    def probabilities(self, output: Expr) -> Expr:
        raise no_probabilities(self)

    def check_target(self, y: np.ndarray, output: Spec) -> np.ndarray:
        inner = output.shape[1:] if len(self._levels()) == 1 else (self._outputs(output),)
        return targets.numbers(y, inner, output.dtype, "Quantile")
