"""Targets whose errors are shares of them: numbers that are learned by their logarithm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chainrule.data.faults import some_rows
from chainrule.errors import DataError
from chainrule.executors import Array
from chainrule.tasks.scaling import Affine, standard
from chainrule.tasks.targets import OUTPUT, Target, check_reach

__all__ = ["Logarithms"]


@dataclass(eq=False)
class Logarithms(Target):
    """Numbers shown to the network as  z = (log y − mean)/scale,  or log(1 + y).   y (n,) or (n, numbers)

    scale       of the logarithms
    flat        whether y was (n,), so that predictions are too
    plus_one    log(1 + y), for numbers from 0 up

    >>> target = Logarithms.seen(np.array([1.0, 10.0, 100.0]))
    >>> target.predict(target.encode(np.array([20.0]), np.dtype("float64"))).round(6).tolist()
    [20.0]
    """

    scale: Affine
    flat: bool = True
    plus_one: bool = False
    activation: str = "exp"

    def __post_init__(self) -> None:
        self.outputs = {OUTPUT: len(self.scale.mean)}

    @staticmethod
    def seen(y: Array, weight: Array | None = None, *, plus_one: bool = False) -> Logarithms:
        """From a first target; DataError where it has numbers without a logarithm."""
        return Logarithms(standard(_logarithms(y, plus_one), weight), y.ndim == 1, plus_one)

    def encode(self, y: Array, dtype: np.dtype) -> Array:
        found = _logarithms(y, self.plus_one)
        if found.shape[1] != len(self.scale.mean):
            raise DataError(f"y has shape {y.shape}, it was fitted with {len(self.scale.mean)} numbers a row")
        check_reach(np.asarray(y, np.float64), dtype)
        return self.scale.apply(found, dtype)

    def predict(self, z: Array) -> Array:
        logarithms = self.scale.undo(z.astype(np.float64))
        found = (np.expm1(logarithms) if self.plus_one else np.exp(logarithms)).astype(z.dtype)
        return found[:, 0] if self.flat else found


def _logarithms(y: Array, plus_one: bool) -> Array:
    columns = np.asarray(y, np.float64).reshape(len(y), -1)
    fits = (columns >= 0) if plus_one else (columns > 0)
    bad: Array = np.logical_not(fits.all(axis=1))
    if bad.any():
        least = "from 0 up" if plus_one else "above 0"
        raise DataError(
            f"y holds {columns[bad].min():.6g} in {some_rows(bad)}, but a logarithm takes numbers {least}; "
            "learn y itself, or correct these rows"
        )
    return np.log1p(columns) if plus_one else np.log(columns)
