"""Layers made of one matrix product: Dense; TiedDense, which uses another layer's matrix; MaskedDense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import ConfigError, ShapeError
from chainrule.graph.expr import Expr, constant
from chainrule.nn.fields import check_flag, check_number, check_path, check_whole
from chainrule.nn.init import HeNormal, Init, Zeros, check_init
from chainrule.nn.layer import Layer, floating, need_axes, single
from chainrule.nn.run import Run
from chainrule.ops import normal

__all__ = ["Dense", "MaskedDense", "TiedDense"]


@dataclass(frozen=True)
class Dense(Layer):
    """Affine map  y = x W + b.    x (batch, …, n_in) → y (batch, …, units)

    With more than two axes the map acts on the last one: the same W at every place. Integers are cast.

    init          of W (n_in, units). He, because most layers here are followed by ReLU, where Glorot's
                  variance 2/(n_in + n_out) halves the second moment at every layer; GlorotUniform() suits
                  tanh and sigmoid
    bias_init     of b (units,); Constant(0.1) is an option for ReLU units
    weight_noise  std of noise N(0, std²) added to W in training, fresh at every update (Graves 2011)

    ShapeError for an input without a batch axis, for images that were not flattened, for a changed n_in.

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(Dense(3), ops.input("x", (5, 4)), training=True)
    >>> y.shape, {path: p.role for path, p in run.parameters.items()}
    ((5, 3), {'W': 'weight', 'b': 'bias'})
    """

    units: int
    init: Init = HeNormal()
    bias: bool = True
    bias_init: Init = Zeros()
    weight_noise: float = 0.0

    def __post_init__(self) -> None:
        check_whole(self, "units")
        check_flag(self, "bias")
        check_init(self, "init", "bias_init")
        check_number(self, "weight_noise", 0)

    def __call__(self, x: Any, run: Run) -> Expr:
        x = _rows(self, x, run)
        W = run.parameter("W", (x.shape[-1], self.units), self.init)
        if run.training and self.weight_noise:
            W = W + normal(run.random("weight_noise"), W.shape, 0.0, self.weight_noise, W.dtype)
        y = x @ W
        return y + run.parameter("b", (self.units,), self.bias_init, role="bias") if self.bias else y


@dataclass(frozen=True)
class TiedDense(Layer):
    """Affine map with another layer's weights  y = x Wᵀ + b.    x (batch, …, units) → y (batch, …, n_in)

    The decoder of an auto-encoder with tied weights: W is learned once, its gradient is the sum of both uses.

    tied_to  the layer that owns W (n_in, units), by its path: "encoder/dense_0", or "dense_0" beside this
             layer. It must come before this one.

    ConfigError where there is no such layer; ShapeError where x does not fit Wᵀ.

    >>> from chainrule import nn, ops
    >>> net = nn.sequential(Dense(3), ops.tanh, TiedDense("dense_0"))
    >>> y, run = nn.trace(net, ops.input("x", (5, 4)), training=True)
    >>> y.shape, list(run.parameters)
    ((5, 4), ['dense_0/W', 'dense_0/b', 'tied_dense_0/b'])
    """

    tied_to: str
    bias: bool = True
    bias_init: Init = Zeros()

    def __post_init__(self) -> None:
        check_path(self.tied_to, "TiedDense: tied_to")
        check_flag(self, "bias")
        check_init(self, "bias_init")

    def __call__(self, x: Any, run: Run) -> Expr:
        x = _rows(self, x, run)
        W = run.find(f"{self.tied_to}/W")
        if W.ndim != 2 or x.shape[-1] != W.shape[1]:
            raise ShapeError(
                f"TiedDense: {self.tied_to}/W has shape {W.shape}; x Wᵀ needs (…, {W.shape[-1]}), "
                f"got {x.shape}"
            )
        y = x @ W.T
        return y + run.parameter("b", (W.shape[0],), self.bias_init, role="bias") if self.bias else y


@dataclass(frozen=True)
class MaskedDense(Layer):
    """Affine map of which a part is left out  y = x (W ⊙ M) + b,  M_ij = 1 where in_i ≤ out_j, else 0.

    x (batch, …, n_in) → y (batch, …, n_out), in and out being the degrees of inputs and units. Layers of it
    one after another make an autoregressive network (MADE: Germain, Gregor, Murray & Larochelle 2015, eq. 8):
    an output of degree d depends on the inputs of degrees 1 … d alone, so that with output j of degree j − 1
    one network gives all factors of p(x) = Π p(x_j | x_1 … x_{j−1}).

    degrees_in, degrees_out    a whole number for each input and each unit

    ShapeError where x has another width than degrees_in.

    >>> from chainrule import nn, ops
    >>> nn.trace(MaskedDense((1, 2, 3), (0, 1, 2)), ops.input("x", (5, 3)), training=True)[0].shape
    (5, 3)
    """

    degrees_in: tuple[int, ...]
    degrees_out: tuple[int, ...]
    init: Init = HeNormal()
    bias_init: Init = Zeros()

    def __post_init__(self) -> None:
        check_init(self, "init", "bias_init")
        for field in ("degrees_in", "degrees_out"):
            degrees = getattr(self, field)
            if not isinstance(degrees, tuple) or not degrees or not all(type(d) is int for d in degrees):
                raise ConfigError(f"MaskedDense: {field} is {degrees!r}; give a tuple of whole numbers")

    def __call__(self, x: Any, run: Run) -> Expr:
        x = _rows(self, x, run)
        into, out = np.array(self.degrees_in), np.array(self.degrees_out)
        if x.shape[-1] != len(into):
            raise ShapeError(f"MaskedDense: x has {x.shape[-1]} features, degrees_in {len(into)}")
        mask = into[:, None] <= out
        fan = (max(int(mask.sum(0).mean()), 1), len(out))  # of what is left of W
        W = run.parameter("W", mask.shape, self.init, fan=fan)
        return x @ (W * constant(mask, run.dtype)) + run.parameter(
            "b", out.shape, self.bias_init, role="bias"
        )


def _rows(layer: Layer, x: Any, run: Run) -> Expr:
    """x (batch, …, n_in) in the run's dtype; images are refused while their dtype shows what they are."""
    node = single(layer, x)
    need_axes(layer, node, 2, "(batch, …, n_in)")
    if node.dtype.name == "uint8" and node.ndim > 2:
        raise ShapeError(
            f"{type(layer).__name__} takes (batch, …, n_in), got images {node.spec}: put nn.Flatten() "
            f"before it to get ({node.shape[0]}, {node.size // max(node.shape[0], 1)})"
        )
    return floating(layer, node, run.dtype)
