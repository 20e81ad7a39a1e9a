"""Losses of classes. Those from logits never compute log(softmax), but log Σ e^(z − max z) − (z − max z)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np

from chainrule.errors import ConfigError, DTypeError, ShapeError, within
from chainrule.graph.expr import Expr, constant
from chainrule.losses import targets
from chainrule.losses.loss import Loss, Over, check_over, matched, need_float_batch, over_outputs
from chainrule.ops import (
    argmax,
    cast,
    equal,
    exp,
    expand,
    expm1,
    log,
    logical_not,
    max,
    maximum,
    softmax,
    stop_gradient,
    where,
)
from chainrule.ops import sum as total
from chainrule.spec import Spec, is_float

__all__ = [
    "Classification",
    "CrossEntropy",
    "Focal",
    "KLDivergence",
    "NegativeLogLikelihood",
    "check_weights",
    "check_width",
    "expectation",
    "surprise",
]

# ------------------------------------------------------------------ what they share


def surprise(z: Expr) -> Expr:
    """−log s(z) ≥ 0 along the last axis, s the softmax. The maximum is taken off first: beside logits of 10⁴
    a loss of 10⁻⁵ keeps its digits."""
    shifted = z - stop_gradient(max(z, -1, keepdims=True))
    return log(total(exp(shifted), -1, keepdims=True)) - shifted


def _hot(labels: Expr, classes: int) -> Expr:
    """True at the label's place on a new last axis; nowhere for a label outside 0 … classes−1."""
    return equal(expand(labels, -1), constant(np.arange(classes), "int64"))


def expectation(values: Expr, target: Expr) -> Expr:
    """Σₖ tₖ vₖ.   (…, K) → (…); classes with tₖ = 0 add exactly 0, also where v is infinite."""
    if target.ndim < values.ndim:
        return total(where(_hot(target, values.shape[-1]), values, 0), -1)
    t = cast(target, values.dtype)
    return total(t * where(equal(t, 0), 0, values), -1)


def _class_weights(weights: tuple[float, ...] | None, prediction: Expr, loss: Loss) -> Expr | float:
    """wₖ along the last axis, or 1."""
    if weights is None:
        return 1.0
    if len(weights) != prediction.shape[-1]:
        raise ShapeError(
            f"{type(loss).__name__}: {len(weights)} class weights for the {prediction.shape[-1]} classes of "
            f"the output {prediction.spec}; give one for each class"
        )
    return constant(np.array(weights), prediction.dtype)


def check_weights(loss: Loss, field: str) -> None:
    """A tuple of non-negative numbers, or None."""
    weights = getattr(loss, field)
    if weights is None:
        return
    if not isinstance(weights, tuple) or not all(
        isinstance(w, int | float) and 0 <= w < np.inf for w in weights
    ):
        raise ConfigError(
            f"{type(loss).__name__}: {field} is {weights!r}; give a tuple of numbers in [0, inf)"
        )


def check_width(output: Spec, loss: Loss) -> None:
    """Two classes at least."""
    if output.ndim < 2 or output.shape[-1] < 2:
        raise ShapeError(
            f"{type(loss).__name__}: the output is {output}; it needs one score per class, (batch, …, K) "
            "with K ≥ 2. End the network in Dense(K), or use BinaryCrossEntropy for one unit"
        )


@dataclass(frozen=True, kw_only=True)
class Classification(Loss):
    """A loss whose output scores K classes on its last axis. The target is either

    class indices 0 … K−1 of an integer dtype, with the output's shape but its last axis; or
    a distribution over the classes (one-hot or soft labels), of the output's shape.

    ignore_index    a label that means "none": such positions add 0 and do not count in the mean over
                    positions; a sample without any label has loss 0 (its weight says whether it counts)
    positions       "mean" or "sum" over the axes between batch and classes (steps of a sequence, pixels)
    """

    ignore_index: int | None = None
    positions: Over = "mean"

    def __post_init__(self) -> None:
        check_over(self, "positions")
        if self.ignore_index is not None:
            within(self, "ignore_index", "(-inf, inf)", whole=True)

    @abstractmethod
    def score(self, prediction: Expr, target: Expr) -> Expr:
        """The loss at every position.   (batch, …, K) → (batch, …)"""

    def __call__(self, prediction: Expr, target: Expr) -> Expr:
        need_float_batch(prediction, self)
        check_width(prediction.spec, self)
        _check_classes(prediction, target, self)
        found = self.score(prediction, target)
        if self.ignore_index is None or target.ndim == prediction.ndim:
            return over_outputs(found, self.positions)
        labelled = logical_not(equal(target, self.ignore_index))
        summed = over_outputs(where(labelled, found, 0), "sum")
        if self.positions == "sum":
            return summed
        return summed / maximum(over_outputs(cast(labelled, found.dtype), "sum"), 1)

    def predict(self, output: Expr) -> Expr:
        return argmax(output)

    def check_target(self, y: np.ndarray, output: Spec) -> np.ndarray:
        check_width(output, self)
        return targets.labels(y, output.shape, output.dtype, type(self).__name__, self.ignore_index)


def _check_classes(prediction: Expr, target: Expr, loss: Loss) -> None:
    """Labels or distributions that fit the output; (N, 1) and other near misses are refused with a remedy."""
    name, wanted = type(loss).__name__, prediction.shape[:-1]
    if target.shape == prediction.shape:
        return
    if target.shape != wanted:
        meant = prediction.shape if target.ndim > prediction.ndim else wanted
        raise ShapeError(
            f"{name}: output {prediction.spec} needs labels of shape {wanted} or distributions of shape "
            f"{prediction.shape}, got {target.spec}; {targets.shape_remedy(meant, target.shape)}"
        )
    if is_float(target.dtype):
        raise DTypeError(f"{name}: labels are integers, got {target.spec}; use ops.cast or y.astype(int)")


# ------------------------------------------------------------------ the losses


@dataclass(frozen=True)
class CrossEntropy(Classification):
    """−Σₖ wₖ tₖ log sₖ(z) from logits z, with s the softmax and t = (1−ε)·target + ε/K: the negative
    log-likelihood of a categorical distribution. With hard labels and w = 1 its gradient is s(z) − onehot(y).

    label_smoothing    ε (Szegedy et al. 2016, section 7)
    class_weight       wₖ, one for each class. A factor only: the loop divides by sample weights, not by
                       these, while PyTorch's mean divides by the sum of the labels' weights too

    prediction (batch, …, K); target integers (batch, …) or distributions (batch, …, K) → (batch,)

    >>> from chainrule.executors import evaluate
    >>> loss = CrossEntropy()(constant([[0.0, 0.0], [1e4, -1e4]]), constant([1, 0]))
    >>> evaluate([loss], {})[0].round(4)
    array([0.6931, 0.    ], dtype=float32)
    """

    label_smoothing: float = 0.0
    class_weight: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, "label_smoothing", "[0, 1)")
        check_weights(self, "class_weight")

    def score(self, prediction: Expr, target: Expr) -> Expr:
        weighted = _class_weights(self.class_weight, prediction, self) * surprise(prediction)
        found, ε = expectation(weighted, target), self.label_smoothing
        return (1 - ε) * found + ε / prediction.shape[-1] * total(weighted, -1) if ε else found

    def probabilities(self, output: Expr) -> Expr:
        return softmax(output)


@dataclass(frozen=True)
class NegativeLogLikelihood(Classification):
    """−Σₖ wₖ tₖ log pₖ of a network that ends in probabilities, or in their logarithms. Minimising it
    maximises the likelihood. Prefer :class:`CrossEntropy`, which takes logits: p = 0 for the label costs ∞.

    of              "log_probabilities" (the network ends in log_softmax) or "probabilities" (in softmax)
    class_weight    wₖ, one for each class; a factor only, as in :class:`CrossEntropy`

    prediction (batch, …, K); target integers (batch, …) or distributions (batch, …, K) → (batch,)

    >>> from chainrule.executors import evaluate
    >>> loss = NegativeLogLikelihood("probabilities")(constant([[0.25, 0.75]]), constant([0]))
    >>> evaluate([loss], {})[0].round(4)
    array([1.3863], dtype=float32)
    """

    of: Literal["log_probabilities", "probabilities"] = "log_probabilities"
    class_weight: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self, "class_weight")
        if self.of not in ("log_probabilities", "probabilities"):
            raise ConfigError(
                f"NegativeLogLikelihood: of is {self.of!r}; it must be 'log_probabilities' or 'probabilities'"
            )

    def score(self, prediction: Expr, target: Expr) -> Expr:
        logarithms = log(prediction) if self.of == "probabilities" else prediction
        return -expectation(_class_weights(self.class_weight, prediction, self) * logarithms, target)

    def probabilities(self, output: Expr) -> Expr:
        return output if self.of == "probabilities" else exp(output)


@dataclass(frozen=True)
class Focal(Classification):
    """−Σₖ wₖ tₖ (1 − sₖ)^γ log sₖ(z) from logits: cross-entropy in which samples that are already right count
    little (Lin et al. 2017, eq. 5, with a softmax; :class:`BinaryFocal` has their sigmoid).

    gamma           γ; 0 is cross-entropy
    class_weight    wₖ, one for each class

    prediction (batch, …, K); target integers (batch, …) or distributions (batch, …, K) → (batch,)

    >>> from chainrule.executors import evaluate
    >>> loss = Focal()(constant([[0.0, 0.0]]), constant([1]))
    >>> evaluate([loss], {})[0].round(4)
    array([0.1733], dtype=float32)
    """

    gamma: float = 2.0
    class_weight: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, "gamma", "[0, inf)")
        check_weights(self, "class_weight")

    def score(self, prediction: Expr, target: Expr) -> Expr:
        found = surprise(prediction)
        wrong = -expm1(-found)  # 1 − s, exact where s is near 1
        weight = _class_weights(self.class_weight, prediction, self)
        return expectation(weight * wrong**self.gamma * found, target)

    def probabilities(self, output: Expr) -> Expr:
        return softmax(output)


@dataclass(frozen=True)
class KLDivergence(Loss):
    """KL(t ‖ s(z)) = Σₖ tₖ (log tₖ − log sₖ(z)) from logits z, for targets that are distributions: 0 where
    the network gives them exactly. Its gradient is that of cross-entropy, s − t. Positions are averaged over.

    prediction and target (batch, …, K) → (batch,)

    >>> from chainrule.executors import evaluate
    >>> loss = KLDivergence()(constant([[0.0, 0.0]]), constant([[0.5, 0.5]]))
    >>> evaluate([loss], {})[0].round(4)
    array([0.], dtype=float32)
    """

    def __call__(self, prediction: Expr, target: Expr) -> Expr:
        t = matched(prediction, target, self)
        check_width(prediction.spec, self)
        log_t = log(where(equal(t, 0), 1, t))
        return over_outputs(expectation(log_t + surprise(prediction), t), "mean")

    def predict(self, output: Expr) -> Expr:
        return argmax(output)

    def probabilities(self, output: Expr) -> Expr:
        return softmax(output)

    def check_target(self, y: np.ndarray, output: Spec) -> np.ndarray:
        check_width(output, self)
        targets.numbers(y, output.shape[1:], output.dtype, "KLDivergence")
        return targets.distributions(np.asarray(y), output.dtype, "KLDivergence")
