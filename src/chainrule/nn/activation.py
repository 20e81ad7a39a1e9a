"""Activations that learn: PReLU and Maxout. The others, relu, tanh …, are functions of ``chainrule.ops``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chainrule.graph.expr import Expr
from chainrule.nn.fields import check_flag, check_number, check_whole
from chainrule.nn.init import Constant, Init, LeCunNormal, Zeros, check_init
from chainrule.nn.layer import Layer, floating, need_axes
from chainrule.nn.run import Run
from chainrule.ops import max, reshape, where

__all__ = ["Maxout", "PReLU"]


@dataclass(frozen=True)
class PReLU(Layer):
    """The rectifier whose slope is learned  y = max(0, z) + α·min(0, z).    z (batch, …, n) → y the same

    He, Zhang, Ren & Sun 2015, arXiv:1502.01852, eq. 1. One α per unit (the last axis), or one shared by all.
    At z = 0 the derivative by z is α. α has the role "scale": it is not decayed, as in the paper (decay would
    pull it to ReLU).

    slope  where α starts

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(PReLU(), ops.input("z", (5, 4)), training=True)
    >>> y.shape, run.parameters["slope"].spec.shape
    ((5, 4), (4,))
    """

    shared: bool = False
    slope: float = 0.25

    def __post_init__(self) -> None:
        check_flag(self, "shared")
        check_number(self, "slope")

    def __call__(self, x: Any, run: Run) -> Expr:
        z = floating(self, x, run.dtype)
        need_axes(self, z, 1 if self.shared else 2, "(batch, …)" if self.shared else "(batch, …, n)")
        shape = () if self.shared else z.shape[-1:]
        α = run.parameter("slope", shape, Constant(self.slope), role="scale")
        return where(z <= 0, α * z, z)


@dataclass(frozen=True)
class Maxout(Layer):
    """The largest of several affine maps  yᵢ = maxⱼ (x W + b)ᵢⱼ.    x (batch, …, n_in) → y (batch, …, units)

    Goodfellow, Warde-Farley, Mirza, Courville & Bengio 2013, arXiv:1302.4389. W is (n_in, units·pieces), the
    pieces of a unit side by side. Pieces that tie share the gradient evenly.

    pieces  maps per unit; 2 can be relu, abs or linear, more approach any convex function
    init    LeCun: the larger of two equal normals has the second moment of one, so 2 pieces keep a signal's

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(Maxout(3, pieces=2), ops.input("x", (5, 4)), training=True)
    >>> y.shape, run.parameters["W"].spec.shape
    ((5, 3), (4, 6))
    """

    units: int
    pieces: int = 2
    init: Init = LeCunNormal()
    bias_init: Init = Zeros()

    def __post_init__(self) -> None:
        check_whole(self, "units")
        check_whole(self, "pieces", 2)
        check_init(self, "init", "bias_init")

    def __call__(self, x: Any, run: Run) -> Expr:
        x = floating(self, x, run.dtype)
        need_axes(self, x, 2, "(batch, …, n_in)")
        n = self.units * self.pieces
        z = x @ run.parameter("W", (x.shape[-1], n), self.init) + run.parameter(
            "b", (n,), self.bias_init, role="bias"
        )
        return max(reshape(z, (*x.shape[:-1], self.units, self.pieces)), -1)
