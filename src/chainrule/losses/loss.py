"""Loss: what a network is trained to make small. One value per sample; weights and means are the loop's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np

from chainrule.errors import ConfigError, DTypeError, ShapeError
from chainrule.graph.expr import Expr
from chainrule.losses import targets
from chainrule.ops import cast, mean
from chainrule.ops import sum as total
from chainrule.spec import Shape, Spec, is_float

__all__ = [
    "Loss",
    "Over",
    "Regression",
    "check_over",
    "matched",
    "need_float_batch",
    "no_probabilities",
    "over_outputs",
]

Over = Literal["mean", "sum"]
"""What becomes of the axes after the batch."""


@dataclass(frozen=True)
class Loss(ABC):
    """A loss, and what its output stands for.

    ``loss(prediction, target)`` is a graph of shape (batch,): one value per sample. Means or sums over the
    batch, sample weights and the last partial batch are applied once, by the training loop.
    """

    @abstractmethod
    def __call__(self, prediction: Expr, target: Expr) -> Expr:
        """One value per sample.   prediction (batch, …), target as the loss describes → (batch,)"""

    @abstractmethod
    def predict(self, output: Expr) -> Expr:
        """What the network's output says: a class index, an expected value."""

    @abstractmethod
    def probabilities(self, output: Expr) -> Expr:
        """Probabilities of classes; ConfigError where the loss knows no classes."""

    @abstractmethod
    def check_target(self, y: np.ndarray, output: Spec) -> np.ndarray:
        """The target, verified on the host against the output's spec and cast; else DataError."""


@dataclass(frozen=True)
class Regression(Loss):
    """A loss whose output is the predicted value itself; prediction and target have one shape."""

    def predict(self, output: Expr) -> Expr:
        return output

    def probabilities(self, output: Expr) -> Expr:
        raise no_probabilities(self)

    def check_target(self, y: np.ndarray, output: Spec) -> np.ndarray:
        return targets.numbers(y, output.shape[1:], output.dtype, type(self).__name__)


def no_probabilities(loss: Loss) -> ConfigError:
    """The error of a loss without classes."""
    return ConfigError(
        f"{type(loss).__name__} predicts numbers, so it has no class probabilities; "
        "CrossEntropy and BinaryCrossEntropy have"
    )


def need_float_batch(prediction: Expr, loss: Loss) -> None:
    """A prediction is floating-point and has a batch axis."""
    name = type(loss).__name__
    if not is_float(prediction.dtype):
        raise DTypeError(f"{name}: the output is {prediction.spec}; a loss needs floating-point numbers")
    if not prediction.ndim:
        raise ShapeError(f"{name}: the output is a scalar; it must have a batch axis, (batch, …)")


def matched(prediction: Expr, target: Expr, loss: Loss, expected: Shape | None = None) -> Expr:
    """The target in the prediction's dtype, its shape being that of the prediction (or ``expected``).

    (N, 1) against (N,) would broadcast to (N, N) and train on nonsense, so it is refused.
    """
    need_float_batch(prediction, loss)
    wanted = prediction.shape if expected is None else expected
    if target.shape != wanted:
        raise ShapeError(
            f"{type(loss).__name__}: output {prediction.spec} needs a target of shape {wanted}, "
            f"got {target.spec}; {targets.shape_remedy(wanted, target.shape)}"
        )
    return cast(target, prediction.dtype)


def over_outputs(values: Expr, over: Over) -> Expr:
    """(batch, …) → (batch,): the mean or the sum over everything but the batch."""
    axes = range(1, values.ndim)
    if not axes:
        return values
    return total(values, axes) if over == "sum" else mean(values, axes)


def check_over(loss: Loss, field: str) -> None:
    """A field of type Over; ConfigError for anything else."""
    if getattr(loss, field) not in ("mean", "sum"):
        raise ConfigError(
            f"{type(loss).__name__}: {field} is {getattr(loss, field)!r}; it must be 'mean' or 'sum'"
        )
