"""Intervals around numbers that are predicted: as wide as the errors on rows that were held out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.executors import Array
from chainrule.tasks.predictor import Predictor

__all__ = ["LEVEL", "interval", "radius"]

LEVEL = 0.9
"""The share of truths that intervals are to hold."""


def radius(errors: Array, level: float = LEVEL) -> float:
    """The half width of intervals that hold a share of the truths:  the ⌈(n + 1)·level⌉-th smallest absolute
    error on rows held out (split conformal prediction: Lei, G'Sell, Rinaldo, Tibshirani & Wasserman 2018,
    algorithm 2); the largest where n is too small.   errors (n,), in any order

    >>> radius(np.array([0.3, 0.1, 0.4, 0.2]), 0.5)
    0.3
    """
    n = len(errors)
    place = min(math.ceil((n + 1) * level), n)
    return float(np.sort(errors)[place - 1])


def interval(predictor: Predictor, X: Any) -> tuple[Array, Array] | None:
    """(lower, upper) ends for rows of X, in units of the target; None where the model knows of none.

    The width is that of ``radius`` on the scale that the network learned: the same for all rows, or of a
    target learned by its logarithm the same share of all.
    """
    found = predictor.parameters.get("interval")
    wide = found.get("radius") if isinstance(found, dict) else None
    if not isinstance(wide, int | float) or isinstance(wide, bool) or not 0 <= wide < math.inf:
        return None
    z = predictor._raw(X)
    return predictor.target.predict(z - wide), predictor.target.predict(z + wide)
