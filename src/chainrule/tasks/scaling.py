"""Affine scaling of columns: what the network sees of numbers, and how it is undone in its weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chainrule.executors import Array

__all__ = ["Affine", "by_unit", "identity", "moments", "of_one_unit", "standard"]

_BLOCK = 1 << 14  # rows that are made float64 at a time
_REACH = 4  # columns of one unit reach as far as each other within this factor
_ROUNDING = 10  # times the spacing of floats: a smaller deviation, beside the mean, is no information


@dataclass(frozen=True, eq=False)
class Affine:
    """z = (x − mean)/scale for every column.   x (rows, columns) → z the same, in the network's dtype

    >>> Affine(np.array([1.0]), np.array([2.0])).apply(np.array([[5.0]]), np.dtype("float32"))
    array([[2.]], dtype=float32)
    """

    mean: Array
    scale: Array

    def apply(self, x: Array, dtype: np.dtype) -> Array:
        """Computed in float64, so that an offset of a million costs no digits."""
        if not self.mean.any() and (self.scale == 1).all():
            return np.ascontiguousarray(x, dtype)
        found = np.empty(x.shape, dtype)
        for start in range(0, len(x), _BLOCK):
            part = slice(start, start + _BLOCK)
            np.divide(np.subtract(x[part], self.mean, dtype=np.float64), self.scale, out=found[part],
                      casting="same_kind")  # fmt: skip
        return found

    def undo(self, z: Array) -> Array:
        """x = scale·z + mean, in z's dtype."""
        return (z * self.scale + self.mean).astype(z.dtype, copy=False)

    def fold_in(self, W: Array, b: Array) -> tuple[Array, Array]:
        """The weights and biases that see x as W and b see z:  zW + b = x (W/scale) + b − (mean/scale)W."""
        folded = W / self.scale[:, None]
        return folded.astype(W.dtype), (b - self.mean @ folded).astype(b.dtype)

    def fold_out(self, W: Array, b: Array) -> tuple[Array, Array]:
        """The weights and biases that give x where W and b give z."""
        return (W * self.scale).astype(W.dtype), (b * self.scale + self.mean).astype(b.dtype)


def identity(columns: int) -> Affine:
    """Columns as they are."""
    return Affine(np.zeros(columns), np.ones(columns))


def moments(x: Array, weight: Array | None = None) -> tuple[Array, Array]:
    """Weighted mean and deviation of every column, in float64, in two passes.

    A constant column, also one whose deviation is within rounding of its mean, has deviation 0.

    >>> mean, deviation = moments(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> mean.tolist(), deviation.tolist()
    ([2.0, 5.0], [1.0, 0.0])
    """
    w = np.ones(len(x)) if weight is None else weight.astype(np.float64)
    total = w.sum()
    mean, variance = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    parts = [slice(start, start + _BLOCK) for start in range(0, len(x), _BLOCK)]
    for part in parts:
        mean += w[part] @ x[part].astype(np.float64, order="C") / total
    for part in parts:
        variance += w[part] @ np.square(x[part].astype(np.float64, order="C") - mean) / total
    deviation = np.sqrt(variance)
    spacing = np.finfo(x.dtype).eps if x.dtype.kind == "f" else np.finfo(np.float64).eps
    deviation[deviation <= _ROUNDING * spacing * np.abs(mean)] = 0.0
    return mean, deviation


def by_unit(x: Array, weight: Array | None = None) -> Affine:
    """As ``standard``, but columns that seem to have one unit keep their proportions: those that reach at
    least a quarter as far from their mean as the farthest share one scale, the root mean square of their
    deviations.

    Pixels, counts of words, lengths in centimetres: where a column that hardly varies were stretched like the
    others, its noise would weigh as much as their signal.

    >>> x = np.array([[0.0, 0.0, 0.0], [0.0, 16.0, 1.0], [0.0, 0.0, 0.0], [16.0, 16.0, 1.0]])
    >>> by_unit(x).scale.round(2).tolist()
    [7.48, 7.48, 0.5]
    """
    mean, deviation = moments(x, weight)
    return of_one_unit(mean, deviation, np.maximum(x.max(axis=0) - mean, mean - x.min(axis=0)))


def of_one_unit(mean: Array, deviation: Array, reach: Array) -> Affine:
    """``by_unit`` from each column's mean, deviation, and the farthest that it reaches from its mean."""
    alike = (reach >= reach.max(initial=0.0) / _REACH) & (deviation > 0)
    scale = np.where(deviation > 0, deviation, 1.0)
    scale[alike] = np.sqrt(np.mean(deviation[alike] ** 2)) if alike.any() else 1.0
    return Affine(mean, scale)


def standard(x: Array, weight: Array | None = None) -> Affine:
    """Mean 0 and deviation 1 in every column; a constant column is only centred."""
    mean, deviation = moments(x, weight)
    return Affine(mean, np.where(deviation > 0, deviation, 1.0))
