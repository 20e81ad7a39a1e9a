"""Rows of a table as what is predicted: numbers and categories together, some of them unknown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chainrule.errors import ConfigError, DataError, ShapeError, within
from chainrule.graph.expr import Expr, constant
from chainrule.losses import targets
from chainrule.losses.classification import surprise
from chainrule.losses.likelihood import Scale, check_scale
from chainrule.losses.loss import Loss, matched, need_float_batch, no_probabilities
from chainrule.losses.mixture import GaussianMixtureNLL
from chainrule.ops import argmax, cast, concat, equal, reshape, split, square, where
from chainrule.ops import sum as total
from chainrule.spec import Spec

__all__ = ["Cells"]


@dataclass(frozen=True)
class Cells(Loss):
    """Σⱼ −log p(cⱼ) over the known cells of a row: of numbers, then of categories.

    numbers       how many cells are numbers
    categories    (K₁, K₂, …): how many categories each of the other cells has; its part is softmax's
    components    0: a number's part is ½(y − t)², a Gaussian of σ = 1 without its constant;
                  M: −log Σₘ πₘ N(t; μₘ, σₘ²), as GaussianMixtureNLL has it (``scale``, ``floor`` as there)

    prediction (batch, :attr:`width`): for each number y, or M logits, M means, M raw scales; then the logits
    of each category. target (batch, 2C) for C cells: the numbers and the categories' places 0 … K−1; then for
    each cell 1 where it is known, 0 where it does not count. → (batch,)

    ``predict`` gives (batch, C): expected numbers, and the places of the likeliest categories.

    >>> Cells(numbers=2, categories=(3,)).width, Cells(1, components=5).width
    (5, 15)
    """

    numbers: int = 1
    categories: tuple[int, ...] = ()
    components: int = 0
    scale: Scale = "softplus"
    floor: float = 1e-3

    def __post_init__(self) -> None:
        within(self, "numbers", "[0, inf)", whole=True)
        within(self, "components", "[0, inf)", whole=True)
        check_scale(self)
        good = isinstance(self.categories, tuple) and all(
            isinstance(k, int) and not isinstance(k, bool) and k > 0 for k in self.categories
        )
        if not good or not self.cells:
            raise ConfigError(
                f"Cells: numbers is {self.numbers!r}, categories {self.categories!r}; give a number and a "
                "tuple of the categories that each further cell has, one cell at least"
            )

    @property
    def cells(self) -> int:
        """C."""
        return self.numbers + len(self.categories)

    @property
    def widths(self) -> tuple[int, ...]:
        """How many outputs each cell has."""
        return (3 * self.components or 1,) * self.numbers + self.categories

    @property
    def width(self) -> int:
        """How many units the last layer needs."""
        return sum(self.widths)

    def __call__(self, prediction: Expr, target: Expr) -> Expr:
        need_float_batch(prediction, self)
        self._check(prediction.spec)
        batch, n = prediction.shape[0], self.numbers
        t = matched(prediction, target, self, (batch, 2 * self.cells))
        values, known = t[:, : self.cells], t[:, self.cells :]
        parts = [self._of_numbers(prediction, values[:, :n])] if n else []
        for z, code in zip(
            self._logits(prediction), split(values[:, n:], (1,) * len(self.categories), 1), strict=True
        ):
            hot = equal(code, constant(np.arange(z.shape[1]), z.dtype))
            parts.append(total(where(hot, surprise(z), 0), 1, keepdims=True))
        each = concat(parts, 1)
        return total(where(equal(known, 0), 0, known * each), 1)

    def _of_numbers(self, prediction: Expr, t: Expr) -> Expr:
        """(batch, numbers)"""
        if not self.components:
            return 0.5 * square(prediction[:, : self.numbers] - t)
        rows = t.shape[0] * self.numbers
        z = reshape(prediction[:, : sum(self.widths[: self.numbers])], (rows, 3 * self.components))
        return reshape(self.mixture(z, reshape(t, (rows, 1))), t.shape)

    @property
    def mixture(self) -> GaussianMixtureNLL:
        """The loss of one number."""
        return GaussianMixtureNLL(self.components, scale=self.scale, floor=self.floor)

    def _logits(self, prediction: Expr) -> list[Expr]:
        """Of every cell that is a category."""
        rest = prediction[:, sum(self.widths[: self.numbers]) :]
        return split(rest, self.categories, 1) if self.categories else []

    def _check(self, output: Spec) -> None:
        if output.ndim != 2 or output.shape[1] != self.width:
            raise ShapeError(
                f"Cells: the output is {output}; {self.numbers} numbers and categories of {self.categories} "
                f"need a width of {self.width}: end the network in Dense(loss.width)"
            )

    def predict(self, output: Expr) -> Expr:
        self._check(output.spec)
        rows, n = output.shape[0], self.numbers
        numbers = output[:, : sum(self.widths[:n])]
        if self.components and n:
            z = reshape(numbers, (rows * n, 3 * self.components))
            numbers = reshape(self.mixture.predict(z), (rows, n))
        codes = [reshape(cast(argmax(z), output.dtype), (rows, 1)) for z in self._logits(output)]
        return concat([*([numbers] if n else []), *codes], 1)

    def probabilities(self, output: Expr) -> Expr:
        raise no_probabilities(self)

    def check_target(self, y: np.ndarray, output: Spec) -> np.ndarray:
        found = targets.numbers(y, (2 * self.cells,), output.dtype, "Cells")
        values, known = found[:, : self.cells], found[:, self.cells :]
        if ((known != 0) & (known != 1)).any():
            raise DataError(
                "Cells: the second half of the target says which cells are known: give 0 and 1 there"
            )
        codes, sizes = values[:, self.numbers :], np.array(self.categories)
        bad = (known[:, self.numbers :] == 1) & ((codes != np.floor(codes)) | (codes < 0) | (codes >= sizes))
        if bad.any():
            row, place = (int(i) for i in np.argwhere(bad)[0])
            raise DataError(
                f"Cells: category {place} is {codes[row, place]:g} in row {row}, but has the places 0 … "
                f"{sizes[place] - 1}; number the categories from 0"
            )
        return found
