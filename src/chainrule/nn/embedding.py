"""Embedding: a learned vector for each of a number of categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chainrule.errors import DTypeError
from chainrule.graph.expr import Expr
from chainrule.nn.fields import check_whole
from chainrule.nn.init import Init, Normal, check_init
from chainrule.nn.layer import Layer, need_axes, single
from chainrule.nn.run import Run
from chainrule.ops import gather
from chainrule.spec import is_integer

__all__ = ["Embedding"]


@dataclass(frozen=True)
class Embedding(Layer):
    """Row lookup  y = W[x].    x integers (batch, …) → y (batch, …, units)

    The same as Dense without bias on a one-hot x, at the cost of a lookup. W is (categories, units), role
    "embedding". An index outside 0 … categories − 1 is a DataError when the graph is run, never a read
    outside W.

    init  N(0, 0.05²): small beside what training adds, so that a rare category stays near the mean of all.
          Fans are (1, units): of one-hot inputs only one feeds a unit

    DTypeError for an x that is not integer.

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(Embedding(100, 8), ops.input("x", (5, 3), "int64"), training=True)
    >>> y.shape, run.parameters["W"].spec.shape
    ((5, 3, 8), (100, 8))
    """

    categories: int
    units: int
    init: Init = Normal(std=0.05)

    def __post_init__(self) -> None:
        check_whole(self, "categories")
        check_whole(self, "units")
        check_init(self, "init")

    def __call__(self, x: Any, run: Run) -> Expr:
        x = single(self, x)
        need_axes(self, x, 1, "(batch, …)")
        if not is_integer(x.dtype):
            raise DTypeError(
                f"Embedding takes integers 0 … {self.categories - 1}, got {x.spec}; "
                "give the categories' numbers as an integer array"
            )
        W = run.parameter(
            "W", (self.categories, self.units), self.init, fan=(1, self.units), role="embedding"
        )
        return gather(W, x)
