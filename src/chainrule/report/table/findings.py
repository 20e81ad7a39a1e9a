"""What a model does on rows of a table that it has not seen, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data.tables import Notes, Table, is_missing
from chainrule.errors import DataError
from chainrule.report.table import scores
from chainrule.report.table.baselines import Baseline
from chainrule.report.table.influence import Dependence, Importance, dependence, importances
from chainrule.report.table.rows import Rows, class_names, is_classifier, truth_of
from chainrule.report.table.scores import Bin
from chainrule.tasks.predictor import Predictor
from chainrule.tasks.targets import Numbers

__all__ = ["FEW", "Comparison", "TableFindings", "examine_table"]

Array = npt.NDArray[Any]
_LEVELS = (0.5, 0.8, 0.9, 0.95)  # of central intervals, where a deviation was learned
FEW = 30
"""Rows below which scores are said to be rough."""

_TOP = 6  # columns whose dependence is computed


@dataclass(frozen=True, eq=False)
class Comparison:
    """A baseline on the same rows.

    scores        as TableFindings.scores
    differences   network − baseline of what is a mean over rows, with its standard error, from the paired
                  rows; of losses and errors, negative is better for the network
    answer        its probabilities or numbers
    """

    name: str
    what: str
    scores: dict[str, float]
    differences: dict[str, tuple[float, float]]
    answer: Array


@dataclass(frozen=True, eq=False)
class TableFindings:
    """A model's answers beside the truth.

    part         which rows: "test", "validation", or "given"
    table        the rows, without the target and without rows that have no truth (``without_truth`` of them)
    truth        codes of the classes (n,), or numbers (n,)
    answer       probabilities (n, K), or numbers (n,); float64
    classes      as text; empty of a regression
    bounds       of a regression that learned quantiles or a deviation: level → (n,), the number below which
                 that share of the truth should lie
    importance   of every column, the most important first;  dependence: of the first few
    numbers      (n,) of the rows in the whole table, from 0; None where these are the whole
    """

    task: str
    target: str
    part: str
    table: Table
    truth: Array
    answer: Array
    classes: tuple[str, ...] = ()
    bounds: dict[float, Array] = field(default_factory=dict)
    importance: tuple[Importance, ...] = ()
    dependence: tuple[Dependence, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    notes: Notes = field(default_factory=Notes)
    numbers: Array | None = None
    without_truth: int = 0
    parameters: int = 0

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def classifies(self) -> bool:
        return self.task == "classification"

    @cached_property
    def predicted(self) -> Array:
        """(n,) the most probable class, the first of equals; or the number."""
        return np.argmax(self.answer, axis=1) if self.classifies else self.answer

    @cached_property
    def scores(self) -> dict[str, float]:
        """Classes: accuracy, log loss, with two of them AUC and average precision (of the second one),
        calibration error. Numbers: RMSE, MAE, R²."""
        return _scores(self.classifies, self.truth, self.answer)

    @cached_property
    def errors(self) -> dict[str, float]:
        """Standard errors of those scores that are means over rows."""
        each = _per_row(self.classifies, self.truth, self.answer)
        return {name: scores.mean_and_error(values)[1] for name, values in each.items()}

    @cached_property
    def confusion(self) -> Array:
        """(K, K) counts: true class down, predicted class across."""
        k = len(self.classes)
        return np.bincount(self.truth * k + self.predicted, minlength=k * k).reshape(k, k)

    @cached_property
    def calibration(self) -> list[Bin]:
        """Of two classes the probability of the second one, else that of the class which was predicted; in
        ten bins of equal size."""
        return scores.reliability(*_said(self.truth, self.answer))

    def worst(self, count: int) -> Array:
        """Numbers of rows: wrong ones whose truth was held least probable, or with the largest residuals."""
        if self.classifies:
            wrong = np.flatnonzero(self.predicted != self.truth)
            return wrong[np.argsort(self.answer[wrong, self.truth[wrong]], kind="stable")][:count]
        return np.argsort(-np.abs(self.truth - self.answer), kind="stable")[:count]

    def figures(self) -> dict[str, Any]:
        """What programs read: plain values for JSON, those that are not finite as None."""
        return {
            "task": self.task,
            "target": self.target,
            "part": self.part,
            "rows": len(self),
            "scores": _plain(self.scores),
            "standard_errors": _plain(self.errors),
            "baselines": {
                c.name: {
                    "scores": _plain(c.scores),
                    "differences": {k: [_finite(x) for x in pair] for k, pair in c.differences.items()},
                }
                for c in self.comparisons
            },
            "importance": {i.column: [_finite(i.mean), _finite(i.deviation)] for i in self.importance},
        }  # fmt: skip


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in values.items()}


# ------------------------------------------------------------------ scores


def _scores(classifies: bool, truth: Array, answer: Array) -> dict[str, float]:
    if not classifies:
        residuals = truth - answer
        return {
            "RMSE": float(np.sqrt(np.mean(residuals**2))),
            "MAE": float(np.mean(np.abs(residuals))),
            "R²": scores.r_squared(truth, answer),
        }
    found = {
        "accuracy": float(np.mean(np.argmax(answer, axis=1) == truth)),
        "log loss": float(scores.log_losses(truth, answer).mean()),
    }
    if answer.shape[1] == 2:
        found["AUC"] = scores.roc_auc(truth, answer[:, 1])
        found["average precision"] = scores.average_precision(truth, answer[:, 1])
    found["calibration error"] = scores.calibration_error(scores.reliability(*_said(truth, answer)))
    return found


def _said(truth: Array, answer: Array) -> tuple[Array, Array]:
    """(whether it happened, the probability that was given for it)"""
    if answer.shape[1] == 2:
        return truth == 1, answer[:, 1]
    predicted = np.argmax(answer, axis=1)
    return predicted == truth, answer[np.arange(len(truth)), predicted]


def _per_row(classifies: bool, truth: Array, answer: Array) -> dict[str, Array]:
    """What each row adds to those scores that are means."""
    if classifies:
        right = (np.argmax(answer, axis=1) == truth).astype(np.float64)
        return {"accuracy": right, "log loss": scores.log_losses(truth, answer)}
    return {"RMSE": scores.rmse_influence(truth - answer), "MAE": np.abs(truth - answer)}


def _compared(baseline: Baseline, rows: Rows, truth: Array, answer: Array) -> Comparison:
    classifies = is_classifier(rows.predictor)
    other = baseline.answer(rows)
    mine, theirs = (_per_row(classifies, truth, a) for a in (answer, other))
    differences = {name: scores.mean_and_error(mine[name] - theirs[name]) for name in mine}
    return Comparison(baseline.name, baseline.what, _scores(classifies, truth, other), differences, other)


# ------------------------------------------------------------------ examining


def examine_table(
    predictor: Predictor,
    table: Table,
    target: str,
    *,
    part: str = "test",
    numbers: Any = None,
    baselines: Sequence[Baseline] = (),
    seed: int = 0,
    importance_rows: int | None = None,
    top: int = _TOP,
) -> TableFindings:
    """The findings of a model on rows that it did not learn from.

    table            with the target among its columns; rows without a truth are left out, and counted
    part             what the rows are, for words
    numbers          where the rows stand in the table that they were taken from, from 0
    baselines        of :func:`fit_baselines`, asked about the same rows
    importance_rows  that permutation importance is computed on, at most; without it those that take a few
                     seconds
    top              columns whose partial dependence is computed

    DataError where no row has a truth, for labels that the model does not know, for columns that are missing.
    """
    present = ~is_missing(table[target])
    if not present.any():
        raise DataError(
            f"no row has a value of {target!r}, so nothing can be compared; give rows with the truth"
        )
    known = table if present.all() else table.take(np.flatnonzero(present))
    truth = truth_of(predictor, known[target], target)
    rows = Rows.of(predictor, known.drop(target))
    answer = rows.answer()
    found = importances(rows, truth, seed=seed, most=importance_rows)
    shown = [i.column for i in found if i.mean > 0][:top]
    network = predictor.network.model
    return TableFindings(
        task="classification" if is_classifier(predictor) else "regression",
        target=target,
        part=part,
        table=rows.table,
        truth=truth,
        answer=answer,
        classes=class_names(predictor) if is_classifier(predictor) else (),
        bounds=_bounds(predictor, rows),
        importance=tuple(found),
        dependence=tuple(dependence(rows, name, seed=seed) for name in shown),
        comparisons=tuple(_compared(b, rows, truth, answer) for b in baselines),
        notes=rows.notes,
        numbers=None if numbers is None else np.asarray(numbers)[present],
        without_truth=int(len(present) - present.sum()),
        parameters=0 if network is None else sum(p.spec.size for p in network.parameters.values()),
    )


def _bounds(predictor: Predictor, rows: Rows) -> dict[float, Array]:
    """Level → the number below which that share should lie; empty where neither quantiles nor a deviation
    were learned."""
    target = predictor.target
    if not isinstance(target, Numbers) or not (target.levels or target.spread):
        return {}
    z = rows.raw()
    if target.levels:
        found = np.asarray(target.quantiles(z), np.float64).reshape(len(rows), -1)
        return {float(level): found[:, i] for i, level in enumerate(target.levels)}
    from statistics import NormalDist

    mean = np.asarray(target.predict(z), np.float64).reshape(-1)
    σ = np.asarray(target.deviation(z), np.float64).reshape(-1)
    levels = sorted({round(0.5 + sign * level / 2, 6) for level in _LEVELS for sign in (-1, 1)})
    return {level: mean + NormalDist().inv_cdf(level) * σ for level in levels}
