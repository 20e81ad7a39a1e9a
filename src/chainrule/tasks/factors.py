"""Factors: what a factorization machine computes of the codes of categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chainrule import nn, ops
from chainrule.graph.expr import Expr
from chainrule.nn.fields import check_whole
from chainrule.nn.layer import need_axes, single

__all__ = ["Factors"]


@dataclass(frozen=True)
class Factors(nn.Layer):
    """Factorization machine of categories  y = w + Σⱼ bⱼ + Σ_{j<l} ⟨vⱼ, v_l⟩  (Rendle 2010, eq. 1), bⱼ a
    number and vⱼ a vector of the category that column j holds. Of users and items alone it is the matrix
    factorization with biases of Koren, Bell & Volinsky 2009, eq. 4.

    x integers (batch, columns) → y (batch, 1)

    categories    how many each column has
    units         of the vectors

    >>> nn.trace(Factors((10, 20), 3), ops.input("x", (5, 2), "int32"), training=True)[0].shape
    (5, 1)
    """

    categories: tuple[int, ...]
    units: int

    def __post_init__(self) -> None:
        check_whole(self, "units")
        nn.Columns(tuple((count, self.units) for count in self.categories))  # which checks them

    def __call__(self, x: Any, run: nn.Run) -> Expr:
        codes = single(self, x)
        need_axes(self, codes, 2, "(batch, columns)")
        vectors, biases = [], []
        for j, count in enumerate(self.categories):
            code = codes[:, j]
            vectors.append(run.apply(f"vector_{j}", nn.Embedding(count, self.units), code))
            biases.append(run.apply(f"bias_{j}", nn.Embedding(count, 1, nn.Zeros()), code))
        total = sum(vectors[1:], vectors[0])
        squares = [ops.square(v) for v in vectors]
        pairs = 0.5 * ops.sum(ops.square(total) - sum(squares[1:], squares[0]), 1, keepdims=True)
        return run.parameter("b", (1,), nn.Zeros(), role="bias") + sum(biases[1:], biases[0]) + pairs
