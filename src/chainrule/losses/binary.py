"""Losses of yes and no, from logits: each unit is a Bernoulli variable of its own."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from chainrule.errors import ConfigError, within
from chainrule.graph.expr import Expr
from chainrule.losses import targets
from chainrule.losses.classification import check_weights
from chainrule.losses.loss import Loss, Over, check_over, matched, over_outputs
from chainrule.ops import cast, sigmoid, softplus, step
from chainrule.spec import Spec

__all__ = ["Binary", "BinaryCrossEntropy", "BinaryFocal", "Perceptron"]


@dataclass(frozen=True, kw_only=True)
class Binary(Loss):
    """A loss of one logit z for each label y, 0 or 1 (or a probability); p = σ(z).

    outputs    several labels of a sample: "mean", or "sum", which is their joint negative log-likelihood
    """

    outputs: Over = "mean"

    def __post_init__(self) -> None:
        check_over(self, "outputs")

    @abstractmethod
    def each(self, z: Expr, y: Expr) -> Expr:
        """The loss of every label.   two nodes of one shape → that shape"""

    def __call__(self, prediction: Expr, target: Expr) -> Expr:
        return over_outputs(self.each(prediction, matched(prediction, target, self)), self.outputs)

    def predict(self, output: Expr) -> Expr:
        return cast(output >= 0, "int64")

    def probabilities(self, output: Expr) -> Expr:
        return sigmoid(output)

    def check_target(self, y: np.ndarray, output: Spec) -> np.ndarray:
        return targets.binary(y, output.shape[1:], output.dtype, type(self).__name__)


@dataclass(frozen=True)
class BinaryCrossEntropy(Binary):
    """−(w₁ y log σ(z) + w₀ (1−y) log(1−σ(z))) = w₁ y·softplus(−z) + w₀ (1−y)·softplus(z), from logits z:
    the negative log-likelihood of a Bernoulli variable. With w = 1 its gradient is σ(z) − y.

    label_smoothing    ε: y becomes (1−ε)y + ε/2
    class_weight       (w₀, w₁)

    prediction (batch, …) logits, target of the same shape → (batch,); labels are averaged (``outputs``)

    >>> from chainrule.executors import evaluate
    >>> from chainrule.graph.expr import constant
    >>> loss = BinaryCrossEntropy()(constant([0.0, -1e4]), constant([1, 0]))
    >>> evaluate([loss], {})[0].round(4)
    array([0.6931, 0.    ], dtype=float32)
    """

    label_smoothing: float = 0.0
    class_weight: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, "label_smoothing", "[0, 1)")
        check_weights(self, "class_weight")
        if self.class_weight is not None and len(self.class_weight) != 2:
            raise ConfigError(
                f"BinaryCrossEntropy: class_weight is {self.class_weight!r}; give two, for labels 0 and 1"
            )

    def each(self, z: Expr, y: Expr) -> Expr:
        w0, w1 = self.class_weight or (1.0, 1.0)
        if self.label_smoothing:
            y = (1 - self.label_smoothing) * y + self.label_smoothing / 2
        return w1 * y * softplus(-z) + w0 * (1 - y) * softplus(z)


@dataclass(frozen=True)
class BinaryFocal(Binary):
    """α y (1−p)^γ softplus(−z) + (1−α)(1−y) p^γ softplus(z) from logits z, p = σ(z): cross-entropy in which
    labels that are already right count little (Lin et al. 2017, arXiv:1708.02002, eq. 5).

    gamma    γ, 2 as there; 0 is α-weighted cross-entropy
    alpha    α, the weight of label 1, 0.25 as there; label 0 has 1−α

    prediction (batch, …) logits, target of the same shape → (batch,); labels are averaged (``outputs``)

    >>> from chainrule.executors import evaluate
    >>> from chainrule.graph.expr import constant
    >>> evaluate([BinaryFocal()(constant([0.0]), constant([1]))], {})[0].round(4)
    array([0.0433], dtype=float32)
    """

    gamma: float = 2.0
    alpha: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, "gamma", "[0, inf)")
        within(self, "alpha", "(0, 1)")

    def each(self, z: Expr, y: Expr) -> Expr:
        missed = self.alpha * y * sigmoid(-z) ** self.gamma * softplus(-z)
        false_alarm = (1 - self.alpha) * (1 - y) * sigmoid(z) ** self.gamma * softplus(z)
        return missed + false_alarm


@dataclass(frozen=True)
class Perceptron(Binary):
    """(ŷ − y) z with the answer ŷ = 1[z ≥ 0] of a step unit: 0 where it is right, else |z|. Its gradient by z
    is ŷ − y, so SGD(1) on one sample at a time is the perceptron rule w ← w + (y − ŷ) x (Rosenblatt 1958). It
    ends where a line parts the classes and circles for ever where none does. ``probabilities`` are ŷ, 0 or 1.

    prediction (batch, …) the sums z of step units, target of the same shape → (batch,)

    >>> from chainrule.executors import evaluate
    >>> from chainrule.graph.expr import constant
    >>> evaluate([Perceptron()(constant([2.0, 2.0, -3.0]), constant([1, 0, 1]))], {})[0]
    array([0., 2., 3.], dtype=float32)
    """

    def each(self, z: Expr, y: Expr) -> Expr:
        return (step(z) - y) * z

    def probabilities(self, output: Expr) -> Expr:
        return step(output)
