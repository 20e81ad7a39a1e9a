"""Metrics: one value per sample, from the network's raw output and the target, for validation and reports."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.errors import ShapeError
from chainrule.graph.expr import Expr
from chainrule.losses import targets
from chainrule.losses.classification import expectation
from chainrule.losses.loss import over_outputs
from chainrule.ops import abs, argmax, cast, equal, less, square
from chainrule.ops import sum as total

__all__ = [
    "METRICS",
    "absolute_error",
    "accuracy",
    "error",
    "label_accuracy",
    "label_error",
    "squared_error",
    "top_5_accuracy",
]

Metric = Callable[[Expr, Expr], Expr]


def accuracy(prediction: Expr, target: Expr) -> Expr:
    """1 where the class is right, else 0; the share of right positions where a sample has several.

    Class scores (batch, …, K) with labels (batch, …) or one-hot rows: the largest score is the class. One
    logit, with a target of its shape, (batch,) or (batch, 1): right where the logit's sign is the label's.

    >>> from chainrule.executors import evaluate
    >>> from chainrule.graph.expr import constant
    >>> evaluate([accuracy(constant([[1.0, 2.0], [3.0, 0.0]]), constant([1, 1]))], {})[0]
    array([1., 0.], dtype=float32)
    """
    if target.shape == prediction.shape and (prediction.ndim < 2 or prediction.shape[-1] == 1):
        return label_accuracy(prediction, target)
    _check_classes("accuracy", prediction, target)
    labels = argmax(target) if target.ndim == prediction.ndim else target
    return over_outputs(cast(equal(argmax(prediction), labels), prediction.dtype), "mean")


def error(prediction: Expr, target: Expr) -> Expr:
    """1 − accuracy."""
    return 1 - accuracy(prediction, target)


def label_accuracy(prediction: Expr, target: Expr) -> Expr:
    """The share of a sample's binary labels that are right; logits and target (≥ ½ is yes) of one shape."""
    _check_same("label_accuracy", prediction, target)
    right = equal(cast(prediction >= 0, "int32"), cast(cast(target, prediction.dtype) >= 0.5, "int32"))
    return over_outputs(cast(right, prediction.dtype), "mean")


def label_error(prediction: Expr, target: Expr) -> Expr:
    """1 − label_accuracy."""
    return 1 - label_accuracy(prediction, target)


def top_5_accuracy(prediction: Expr, target: Expr) -> Expr:
    """1 where fewer than five classes score higher than the right one."""
    _check_classes("top_5_accuracy", prediction, target)
    labels = argmax(target) if target.ndim == prediction.ndim else target
    own = expectation(prediction, labels)
    higher = total(less(own[..., None], prediction), -1)
    return over_outputs(cast(higher < 5, prediction.dtype), "mean")


def absolute_error(prediction: Expr, target: Expr) -> Expr:
    """|y − f|, averaged over the outputs."""
    _check_same("absolute_error", prediction, target)
    return over_outputs(abs(prediction - cast(target, prediction.dtype)), "mean")


def squared_error(prediction: Expr, target: Expr) -> Expr:
    """(y − f)², averaged over the outputs."""
    _check_same("squared_error", prediction, target)
    return over_outputs(square(prediction - cast(target, prediction.dtype)), "mean")


def _check_same(name: str, prediction: Expr, target: Expr) -> None:
    if prediction.shape != target.shape:
        raise ShapeError(
            f"metric {name}: output {prediction.spec} and target {target.spec} differ; "
            f"{targets.shape_remedy(prediction.shape, target.shape)}"
        )


def _check_classes(name: str, prediction: Expr, target: Expr) -> None:
    classes = prediction.shape[-1] if prediction.ndim > 1 else 1
    if classes < 2 or target.shape not in (prediction.shape, prediction.shape[:-1]):
        raise ShapeError(
            f"metric {name}: output {prediction.spec} and target {target.spec}: it needs class scores "
            "(batch, …, K) with labels (batch, …) or one-hot rows"
        )


METRICS: dict[str, Metric] = {
    f.__name__: f
    for f in (accuracy, error, label_accuracy, label_error, top_5_accuracy, absolute_error, squared_error)
}
"""Every metric by name; used by validation, early stopping, the command line and reports."""
