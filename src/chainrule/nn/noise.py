"""Noise in training: Dropout and GaussianNoise, fresh for every example and update; none in inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chainrule.graph.expr import Expr
from chainrule.nn.fields import check_choice, check_number
from chainrule.nn.layer import Layer, floating
from chainrule.nn.run import Run
from chainrule.ops import bernoulli, cast, normal

__all__ = ["Dropout", "GaussianNoise"]


@dataclass(frozen=True)
class Dropout(Layer):
    """Sets elements to zero at random  y = x ⊙ m / keep,  m ~ Bernoulli(keep),  keep = 1 − rate.

    Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov 2014. The paper keeps half of the hidden units
    (rate 0.5) and 0.8 of the inputs: as the first step of a network, Dropout(0.2).

    rate     the share that is dropped, in [0, 1)
    scaling  "inverted": training divides by keep, inference is the identity.
             "weights": training only drops, inference multiplies by keep: the weight-scaling rule, which
             gives the geometric mean over all masks exactly for one softmax layer, and approximately for
             deeper networks

    >>> from chainrule import nn, ops
    >>> x = ops.input("x", (5, 4))
    >>> nn.trace(Dropout(0.5), x, training=False)[0] is x
    True
    """

    rate: float = 0.5
    scaling: str = "inverted"

    def __post_init__(self) -> None:
        check_number(self, "rate", 0, 1, open_high=True)
        check_choice(self, "scaling", ("inverted", "weights"))

    def __call__(self, x: Any, run: Run) -> Expr:
        x = floating(self, x, run.dtype)
        keep, inverted = 1 - self.rate, self.scaling == "inverted"
        if self.rate == 0:
            return x
        if not run.training:
            return x if inverted else x * keep
        mask = cast(bernoulli(run.random(), x.shape, keep), x.dtype)
        return x * (mask * (1 / keep) if inverted else mask)


@dataclass(frozen=True)
class GaussianNoise(Layer):
    """Adds noise in training  y = x + ε,  ε ~ N(0, std²).    y has x's shape; inference is the identity

    On inputs it is close to a penalty on ‖∂y/∂x‖² (Bishop 1995, "Training with noise is equivalent to
    Tikhonov regularization"); on hidden units it works alike. For noise on weights see Dense(weight_noise=…).

    std  in the units of x

    >>> from chainrule import nn, ops
    >>> nn.trace(GaussianNoise(0.1), ops.input("x", (5, 4)), training=True)[0].shape
    (5, 4)
    """

    std: float

    def __post_init__(self) -> None:
        check_number(self, "std", 0)

    def __call__(self, x: Any, run: Run) -> Expr:
        x = floating(self, x, run.dtype)
        if not run.training or self.std == 0:
            return x
        return x + normal(run.random(), x.shape, 0.0, self.std, x.dtype)
