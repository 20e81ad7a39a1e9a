"""Scores of predictions on unseen rows, with NumPy alone: curves, areas, calibration, standard errors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "Bin",
    "average_precision",
    "calibration_error",
    "class_figures",
    "coverage",
    "log_losses",
    "mean_and_error",
    "precision_recall_curve",
    "r_squared",
    "reliability",
    "rmse_influence",
    "roc_auc",
    "roc_curve",
]

Array = npt.NDArray[Any]
_LEAST = float(np.finfo(np.float32).tiny)  # the smallest probability whose logarithm is taken


# ------------------------------------------------------------------ means and their errors


def mean_and_error(values: Array) -> tuple[float, float]:
    """(mean, its standard error  s/√n) of independent values; the error is NaN of fewer than two.

    >>> mean_and_error(np.array([1.0, 3.0]))
    (2.0, 1.0)
    """
    n = len(values)
    mean = float(np.mean(values)) if n else float("nan")
    return mean, float(np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")


def log_losses(codes: Array, probabilities: Array) -> Array:
    """−log p(true class) of every row, in nats.   codes (n,), probabilities (n, K) → (n,)

    >>> log_losses(np.array([1]), np.array([[0.5, 0.5]])).round(3)
    array([0.693])
    """
    p = probabilities[np.arange(len(codes)), codes].astype(np.float64)
    return -np.log(np.maximum(p, _LEAST))


def rmse_influence(residuals: Array) -> Array:
    """What each row adds to the root mean square, so that their mean is it:  r²/(2 RMSE) + RMSE/2.

    By the delta method the standard error of a difference of two RMSE is that of the mean of the rows'
    differences of these.

    >>> float(rmse_influence(np.array([3.0, -3.0, 3.0])).mean())
    3.0
    """
    squares = np.square(residuals.astype(np.float64))
    rmse = float(np.sqrt(squares.mean()))
    return np.zeros(len(squares)) if rmse == 0 else squares / (2 * rmse) + rmse / 2


# ------------------------------------------------------------------ two classes


def _cumulated(truth: Array, score: Array) -> tuple[Array, Array]:
    """(true positives, false positives) above each threshold, which lie between different scores."""
    order = np.argsort(-score, kind="stable")
    truth, score = truth[order].astype(bool), score[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    true = np.cumsum(truth)[last]
    return true, last + 1 - true


def roc_curve(truth: Array, score: Array) -> tuple[Array, Array]:
    """(false positive rate, true positive rate) from (0, 0) to (1, 1), a point for every different score;
    NaN where there are rows of one class only.

    >>> roc_curve(np.array([0, 1, 1]), np.array([0.1, 0.9, 0.4]))
    (array([0., 0., 0., 1.]), array([0. , 0.5, 1. , 1. ]))
    """
    true, false = (np.append(0.0, counts) for counts in _cumulated(truth, score))
    with np.errstate(invalid="ignore"):
        return false / false[-1], true / true[-1]


def roc_auc(truth: Array, score: Array) -> float:
    """The area under it: the probability that a row of yes is ranked above one of no, ties counting half.

    >>> roc_auc(np.array([0, 1, 1]), np.array([0.5, 0.9, 0.5]))
    0.75
    """
    false, true = roc_curve(truth, score)
    return float(np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2))


def precision_recall_curve(truth: Array, score: Array) -> tuple[Array, Array]:
    """(recall, precision), a point for every different score, from the highest score on."""
    true, false = _cumulated(truth, score)
    with np.errstate(invalid="ignore"):
        return true / true[-1], true / (true + false)


def average_precision(truth: Array, score: Array) -> float:
    """Σ (R_k − R_{k−1}) P_k over thresholds, without interpolation.

    >>> average_precision(np.array([0, 1, 1]), np.array([0.1, 0.9, 0.4]))
    1.0
    """
    recall, precision = precision_recall_curve(truth, score)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


# ------------------------------------------------------------------ calibration


class Bin(NamedTuple):
    """Rows of like probability: its mean, the share that came true, how many they are."""

    said: float
    found: float
    rows: int

    @property
    def error(self) -> float:
        """The standard error of ``found``, were ``said`` the truth:  √(p(1 − p)/n)."""
        return float(np.sqrt(self.said * (1 - self.said) / self.rows))


def reliability(happened: Array, said: Array, bins: int = 10) -> list[Bin]:
    """Rows in bins of equal size by what was said of them; equal probabilities stay together, empty bins are
    left out.   happened (n,) truth values, said (n,) probabilities

    >>> reliability(np.array([0, 0, 1, 1]), np.array([0.1, 0.3, 0.8, 1.0]), bins=2)
    [Bin(said=0.2, found=0.0, rows=2), Bin(said=0.9, found=1.0, rows=2)]
    """
    edges = np.quantile(said, np.linspace(0, 1, bins + 1))
    place = np.searchsorted(edges[1:-1], said)
    rows = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, np.asarray(v, np.float64), minlength=bins) for v in (said, happened)]
    return [Bin(float(s / n), float(h / n), int(n)) for s, h, n in zip(*sums, rows, strict=True) if n]


def calibration_error(found: list[Bin]) -> float:
    """Expected calibration error  Σ_b (n_b/n) |found_b − said_b|  (Naeini, Cooper & Hauskrecht 2015; Guo,
    Pleiss, Sun & Weinberger 2017, equation 3), here over bins of equal size.

    >>> round(calibration_error([Bin(0.2, 0.0, 2), Bin(0.9, 1.0, 2)]), 3)
    0.15
    """
    total = sum(b.rows for b in found)
    return sum(b.rows / total * abs(b.found - b.said) for b in found)


# ------------------------------------------------------------------ classes and numbers


def class_figures(confusion: Array) -> tuple[Array, Array, Array]:
    """(precision, recall, F1) of every class, 0 where there is nothing to divide by.   confusion (K, K): true
    down, predicted across

    >>> [v.round(2).tolist() for v in class_figures(np.array([[3, 1], [0, 2]]))]
    [[1.0, 0.67], [0.75, 1.0], [0.86, 0.8]]
    """
    right = np.diag(confusion).astype(np.float64)
    precision = right / np.maximum(confusion.sum(axis=0), 1)
    recall = right / np.maximum(confusion.sum(axis=1), 1)
    return precision, recall, 2 * precision * recall / np.maximum(precision + recall, 1e-300)


def r_squared(truth: Array, predicted: Array) -> float:
    """1 − Σ(y − ŷ)²/Σ(y − ȳ)²; NaN where all truths are one.

    >>> r_squared(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0]))
    0.5
    """
    y = truth.astype(np.float64)
    spread = float(np.sum((y - y.mean()) ** 2))
    return 1 - float(np.sum((y - predicted) ** 2)) / spread if spread else float("nan")


def coverage(truth: Array, bounds: Array) -> Array:
    """The share of rows at or below each bound.   truth (n,), bounds (n, levels) → (levels,)

    >>> coverage(np.array([1.0, 5.0]), np.array([[2.0, 3.0], [2.0, 6.0]])).tolist()
    [0.5, 1.0]
    """
    return (truth[:, None] <= bounds).mean(axis=0)
