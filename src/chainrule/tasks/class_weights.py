"""Weights of rows by their classes: learned of the rows of a fit, the same for those it is judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from chainrule.executors import Array

__all__ = ["by_class", "of_rows"]

Weights = list[Mapping[Any, float]]
"""The weight of each class, a dict for every column of the target; of a class that it lacks, 1."""


def by_class(given: Any, y: Array) -> Weights:
    """What ``class_weight`` means for these rows.

    given    "balanced": n/(K nₖ) for the nₖ rows of a class; a dict by class; a list of dicts by column
    y        (n,) or (n, columns)

    >>> by_class("balanced", np.array([0, 0, 0, 1]))
    [{0: 0.6666666666666666, 1: 2.0}]
    """
    if not isinstance(given, str):
        return [given] if isinstance(given, Mapping) else list(given)
    found: Weights = []
    for column in _columns(y):
        classes = np.unique(column)
        weights = compute_class_weight(given, classes=classes, y=column)
        found.append(dict(zip(classes.tolist(), weights.tolist(), strict=True)))
    return found


def of_rows(weights: Weights, y: Array) -> Array:
    """(n,): the product over the columns of y.

    >>> of_rows([{1: 5.0}], np.array([0, 1, 1])).tolist()
    [1.0, 5.0, 5.0]
    """
    found = np.ones(len(y))
    for known, column in zip(weights, _columns(y), strict=True):
        classes, inverse = np.unique(column, return_inverse=True)
        found *= np.array([known.get(label, 1.0) for label in classes.tolist()])[inverse]
    return found


def _columns(y: Array) -> Sequence[Array]:
    return [y] if y.ndim == 1 else list(y.T)
