"""Noise in training, fresh for every example and update: Dropout, GaussianNoise, HideCells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import ConfigError, ShapeError
from chainrule.graph.expr import Expr, constant
from chainrule.nn.fields import check_choice, check_number
from chainrule.nn.layer import Layer, floating, single
from chainrule.nn.run import Run
from chainrule.ops import bernoulli, cast, expand, less, normal, random_bits, where

__all__ = ["Dropout", "GaussianNoise", "HideCells"]

_BITS = 24


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


@dataclass(frozen=True)
class HideCells(Layer):
    """Hides cells of a table at random in training: their features are what they are in a gap. Inference is
    the identity. A network that has learned behind it answers from any part of its inputs.

    Takes what :class:`~chainrule.data.tables.TableEncoder` gives: "x" (batch, n), and where columns are
    embedded a dict with "codes" (batch, k) too, or codes alone.

    rate     the share of cells that is hidden, in [0, 1); or "any": every row has a share of its own, uniform
             between 0 and 1
    cells    for every column of x the number of its cell, from 0: features of one cell are hidden together
    hidden   for every column of x what it holds in a gap
    codes    for every column of codes the code of a gap; each is a cell of its own

    ShapeError where x or codes have another width.

    >>> from chainrule import nn, ops
    >>> layer = HideCells(0.3, cells=(0, 0, 1), hidden=(0.0, 1.0, 0.0))
    >>> nn.trace(layer, ops.input("x", (5, 3)), training=True)[0].shape
    (5, 3)
    """

    rate: float | str
    cells: tuple[int, ...]
    hidden: tuple[float, ...]
    codes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.rate != "any":
            check_number(self, "rate", 0, 1, open_high=True)
        if len(self.cells) != len(self.hidden) or sorted(set(self.cells)) != list(range(self._cells)):
            raise ConfigError(
                f"HideCells: {len(self.cells)} columns have cells and {len(self.hidden)} a hidden value; "
                "give each one of both, the cells being 0, 1, 2 …"
            )

    @property
    def _cells(self) -> int:
        return max(self.cells, default=-1) + 1

    def __call__(self, x: Any, run: Run) -> Any:
        if not run.training or self.rate == 0:
            return x
        given = dict(x) if isinstance(x, Mapping) else {"x" if self.cells else "codes": single(self, x)}
        widths = {"x": len(self.cells), "codes": len(self.codes)}
        for name, node in given.items():
            if node.shape[1:] != (widths.get(name),):
                known = widths.get(name, 0)
                raise ShapeError(f"HideCells: {name} has shape {node.shape}, but there are {known} columns")
        away = self._drawn(next(iter(given.values())).shape[0], run)
        if "x" in given:
            spread = constant(np.eye(self._cells)[:, list(self.cells)], run.dtype)
            values = constant(np.array(self.hidden), run.dtype)
            given["x"] = where(
                less(0.5, away[:, : self._cells] @ spread), values, floating(self, given["x"], run.dtype)
            )
        if "codes" in given:
            codes = given["codes"]
            gaps = constant(np.array(self.codes), codes.dtype)
            given["codes"] = where(less(0.5, away[:, self._cells :]), gaps, codes)
        return given if isinstance(x, Mapping) else next(iter(given.values()))

    def _drawn(self, rows: int, run: Run) -> Expr:
        """1 where a cell is hidden.   (batch, cells)"""
        shape = (rows, self._cells + len(self.codes))
        if self.rate == "any":
            share: Any = expand(random_bits(run.random("share"), (rows,), _BITS), 1)
        else:
            share = round(float(self.rate) * 2**_BITS)
        return cast(less(random_bits(run.random(), shape, _BITS), share), run.dtype)
