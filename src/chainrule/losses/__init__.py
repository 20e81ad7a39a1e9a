"""Losses, one value per sample, and metrics."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.errors import ConfigError, nearest
from chainrule.graph.expr import Expr
from chainrule.losses.binary import Binary, BinaryCrossEntropy, BinaryFocal, Perceptron
from chainrule.losses.cells import Cells
from chainrule.losses.classification import (
    Classification,
    CrossEntropy,
    Focal,
    KLDivergence,
    NegativeLogLikelihood,
)
from chainrule.losses.likelihood import GaussianNLL, PoissonNLL
from chainrule.losses.loss import Loss, Regression
from chainrule.losses.metrics import METRICS
from chainrule.losses.mixture import GaussianMixtureNLL
from chainrule.losses.predicted import PredictedMixture
from chainrule.losses.regression import (
    HalfSquaredError,
    Huber,
    LeastSquares,
    MeanAbsoluteError,
    MeanSquaredError,
    Quantile,
)
from chainrule.ops import gaussian_kl

__all__ = [
    "LOSSES",
    "METRICS",
    "Binary",
    "BinaryCrossEntropy",
    "BinaryFocal",
    "Cells",
    "Classification",
    "CrossEntropy",
    "Focal",
    "GaussianMixtureNLL",
    "GaussianNLL",
    "HalfSquaredError",
    "Huber",
    "KLDivergence",
    "LeastSquares",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "NegativeLogLikelihood",
    "Perceptron",
    "PoissonNLL",
    "PredictedMixture",
    "Quantile",
    "Regression",
    "gaussian_kl",
    "resolve_loss",
    "resolve_metric",
    "suits",
    "unsuited",
]

Function = Callable[[Expr, Expr], Expr]
"""(prediction, target) → one value per sample, (batch,)"""

LOSSES: dict[str, type[Loss]] = {
    loss.__name__: loss
    for loss in (
        NegativeLogLikelihood, BinaryCrossEntropy, CrossEntropy, MeanSquaredError, HalfSquaredError,
        MeanAbsoluteError, Huber, GaussianNLL, GaussianMixtureNLL, PoissonNLL, Quantile, Focal, BinaryFocal,
        KLDivergence, Cells, Perceptron,
    )
}  # fmt: skip
"""Every loss by class name. One list drives the tests: whatever is added inherits every check."""

_OF_NUMBERS = (Regression, Quantile, GaussianNLL, GaussianMixtureNLL, PoissonNLL, Cells)
_OF_CLASSES = (Classification, Binary, KLDivergence)
_DISTANCES = ("absolute_error", "squared_error")


def resolve_loss(loss: Loss | str | Function) -> Loss | Function:
    """A loss or a user's function as it is, or a loss by name; case and ``_`` do not matter.

    >>> resolve_loss("cross_entropy").label_smoothing
    0.0
    """
    if isinstance(loss, str):
        plain = loss.replace("_", "").replace("-", "").lower()
        for name, found in LOSSES.items():
            if name.lower() == plain:
                return found()
        raise ConfigError(f"unknown loss {loss!r}; {nearest(loss, LOSSES)}")
    if isinstance(loss, type):
        raise ConfigError(f"loss is the class {loss.__name__}; call it: {loss.__name__}()")
    if callable(loss):
        return loss
    raise ConfigError(f"loss is {loss!r}; give a Loss, its name, or a function of (prediction, target)")


def resolve_metric(metric: str | Function, loss: object = None) -> Function:
    """A metric by name, or a user's function as it is.

    loss    the loss beside which it is used: with a binary one, where several units are several labels and
            not classes, "accuracy" and "error" are those of the labels; distances are those of what the loss
            predicts, such as the means of GaussianNLL

    >>> resolve_metric("accuracy", BinaryCrossEntropy()).__name__
    'label_accuracy'
    """
    if isinstance(metric, str):
        if metric not in METRICS:
            raise ConfigError(f"unknown metric {metric!r}; {nearest(metric, METRICS)}")
        if isinstance(loss, _OF_NUMBERS) and metric in _DISTANCES:
            return lambda output, target: METRICS[metric](loss.predict(output), target)
        of_labels = isinstance(loss, Binary) and metric in ("accuracy", "error")
        return METRICS[f"label_{metric}" if of_labels else metric]
    if callable(metric):
        return metric
    raise ConfigError(f"metric is {metric!r}; give its name or a function of (prediction, target)")


def suits(metric: str | Function, loss: object) -> bool:
    """Whether a metric means something beside a loss: distances for losses of numbers, the share of right
    answers for those of classes. Of a user's own metric or loss nothing is known, so they suit.

    >>> suits("accuracy", MeanSquaredError()), suits("accuracy", CrossEntropy())
    (False, True)
    """
    if not isinstance(metric, str):
        return True
    return not isinstance(loss, _OF_CLASSES if metric in _DISTANCES else _OF_NUMBERS)


def unsuited(metric: str, loss: object) -> ConfigError:
    """The error of a metric that does not suit."""
    name = type(loss).__name__
    if metric in _DISTANCES:
        return ConfigError(
            f"metric {metric!r} is a distance, but {name} is a loss of classes; use 'accuracy'"
        )
    return ConfigError(
        f"metric {metric!r} counts right classes, but {name} is a loss of numbers; use 'absolute_error'"
    )
