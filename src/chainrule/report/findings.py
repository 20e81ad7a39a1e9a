"""What a classifier got right and wrong on rows that it did not learn from, as data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import DataError

__all__ = ["Findings", "Mistake", "examine"]

Array = npt.NDArray[Any]
_LEAST = float(np.finfo(np.float32).tiny)  # the smallest probability whose logarithm is taken


@dataclass(frozen=True)
class Mistake:
    """One row that was classified wrongly; probabilities are the network's."""

    row: int
    true: int
    predicted: int
    probability: float  # of the class that was predicted
    true_probability: float

    def describe(self, classes: tuple[str, ...]) -> str:
        """``"4 read as 9"`` over ``"98.2 %"``, the certainty with which it was wrong."""
        return f"{classes[self.true]} read as {classes[self.predicted]}\n{100 * self.probability:.1f} %"


@dataclass(frozen=True, eq=False)
class Findings:
    """A classifier's probabilities beside the truth.

    part             which rows: "test", or "validation" where rows of the training set were held out
    x                (n, features), as the network takes them
    y                (n,) class indices
    probabilities    (n, K)

    >>> p = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    >>> seen = Findings("test", np.zeros((3, 4)), np.array([0, 1, 1]), p, ("a", "b"))
    >>> seen.wrong, seen.confusion.tolist(), seen.worst(1)[0].row
    (1, [[1, 0], [1, 1]], 2)
    """

    part: str
    x: Array
    y: Array
    probabilities: Array
    classes: tuple[str, ...]
    image_shape: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.y)

    @cached_property
    def predicted(self) -> Array:
        """(n,) the most probable class; the first of equals."""
        return np.argmax(self.probabilities, axis=1)

    @property
    def wrong(self) -> int:
        return int(np.count_nonzero(self.predicted != self.y))

    @property
    def error(self) -> float:
        """The share of rows classified wrongly."""
        return self.wrong / len(self)

    @property
    def cross_entropy(self) -> float:
        """−mean log p(true class), without label smoothing; in nats."""
        p = self._of_true.astype(np.float64)
        return float(-np.mean(np.log(np.maximum(p, _LEAST))))

    @property
    def confusion(self) -> Array:
        """(K, K) counts: true class down, predicted class across."""
        k = len(self.classes)
        return np.bincount(self.y * k + self.predicted, minlength=k * k).reshape(k, k)

    @property
    def class_errors(self) -> Array:
        """(K,) the share of each class's rows classified wrongly; 0 for a class without rows."""
        counts = self.confusion
        rows = counts.sum(axis=1)
        return (rows - np.diag(counts)) / np.maximum(rows, 1)

    def worst(self, count: int) -> list[Mistake]:
        """Mistakes in which the truth was held least probable; the earliest of equals first."""
        rows = np.flatnonzero(self.predicted != self.y)
        rows = rows[np.argsort(self._of_true[rows], kind="stable")][:count]
        return [
            Mistake(
                row=int(row),
                true=int(self.y[row]),
                predicted=int(self.predicted[row]),
                probability=float(self.probabilities[row, self.predicted[row]]),
                true_probability=float(self._of_true[row]),
            )
            for row in rows
        ]

    @property
    def _of_true(self) -> Array:
        return self.probabilities[np.arange(len(self)), self.y]


def examine(net: Any, data: Any, part: str, x: Array, y: Array) -> Findings:
    """The findings of a network on rows of a :class:`~chainrule.datasets.Dataset`.

    Raises DataError where the network has not the data set's classes.
    """
    found = np.asarray(net.predict_proba(x))
    if found.ndim != 2 or found.shape[1] != len(data.classes):
        raise DataError(
            f"the network gives outputs of shape {found.shape[1:]}, {data.name} has {len(data.classes)} "
            f"classes; give a model that was trained on {data.name}"
        )
    return Findings(part, x, np.asarray(y, np.int64), found, data.classes, data.image_shape)
