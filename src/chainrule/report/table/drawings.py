"""The pictures of a table's report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import svg
from chainrule.report.table import scores
from chainrule.report.table.columns import TargetView, cut
from chainrule.report.table.findings import TableFindings
from chainrule.report.table.influence import Dependence
from chainrule.svg.markup import Markup

__all__ = [
    "HEIGHT",
    "WIDTH",
    "calibration",
    "comparison",
    "confusion",
    "coverage",
    "curves",
    "dependences",
    "importance",
    "precision_recall",
    "residuals",
    "roc",
    "target",
    "trials",
    "true_and_predicted",
]

Array = npt.NDArray[Any]
Points = list[tuple[float, float]]
Rows = Sequence[Mapping[str, Any]]

WIDTH, HEIGHT = 478.0, 300.0  # two drawings side by side on a wide page, one readable on a telephone
_SIZE: dict[str, Any] = {"width": WIDTH, "height": HEIGHT}
_DOTS = 1500
_CURVE = 200  # points of a curve
_CLASSES = 25  # of a confusion matrix
_BARS = 15
_SERIES = 5  # classes in one drawing


# ------------------------------------------------------------------ the data and how it learned


def target(view: TargetView) -> Markup:
    """Rows of every class, or a histogram of the numbers."""
    title = f"{cut(view.name, 40)}: rows"
    if view.counts:
        top = dict(list(view.counts.items())[:_BARS])
        return svg.bar_chart(_named(top), title=title, width=WIDTH)
    return svg.histogram(view.values.tolist(), title=title, bins=40, **_SIZE)


def _named(values: Mapping[str, float], length: int = 40) -> dict[str, float]:
    """Names cut to a length, still different from each other."""
    found: dict[str, float] = {}
    for name, value in values.items():
        short, n = cut(name, length), 2
        while short in found:
            short, n = f"{cut(name, length)} ({n})", n + 1
        found[short] = value
    return found


def curves(rows: Rows, kept: int | None) -> list[Markup]:
    """Every quantity that was recorded over epochs: in training and on validation rows; the rate."""
    marks = {"kept": float(kept + 1)} if kept is not None and 0 <= kept < len(rows) else {}
    known = list(rows[0]) if rows else []
    names = [n for n in known if n not in ("epoch", "seconds", "learning_rate") and not n.startswith("val_")]
    found = []
    for name in names[:3]:
        pair = {"training": _column(rows, name), "validation": _column(rows, f"val_{name}")}
        pair = {key: points for key, points in pair.items() if points}
        log = name == "loss" and all(y > 0 for points in pair.values() for _, y in points)
        title = name.replace("_", " ").capitalize()
        found.append(svg.line_chart(pair, title=title, x_label="epoch", log_y=log, marks=marks, **_SIZE))
    rate = _column(rows, "learning_rate")
    if len({y for _, y in rate}) > 1:
        found.append(svg.line_chart({"": rate}, title="Learning rate", x_label="epoch", **_SIZE))
    return found


def _column(rows: Rows, name: str) -> Points:
    """(epochs done, value) where it was recorded."""
    return [(float(i) + 1, float(row[name])) for i, row in enumerate(rows) if row.get(name) is not None]


def trials(rows: Rows, score: str) -> Markup:
    """The score of every trial, and the best so far, in the order in which they were tried: by "trial" where
    rows have it."""
    points = sorted((float(r.get("trial", i)), float(r[score])) for i, r in enumerate(rows, 1))
    best = np.minimum.accumulate([y for _, y in points]).tolist()
    alone = [point for x, y in points for point in ((x, y), (x, float("nan")))]  # dots, not a line
    series = {"best so far": [(x, y) for (x, _), y in zip(points, best, strict=True)], "trial": alone}
    return svg.line_chart(series, title=f"Trials: {_said(score)}", x_label="trial", **_SIZE)


def _said(name: str) -> str:
    return {"val_loss": "validation loss"}.get(name, name.replace("_", " "))


# ------------------------------------------------------------------ classes


def confusion(findings: TableFindings) -> Markup:
    """How often each class was taken for each other; of many classes those with the most mistakes."""
    counts, classes = findings.confusion, findings.classes
    if len(classes) > _CLASSES:
        wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
        kept = np.sort(np.argsort(-wrong, kind="stable")[:_CLASSES])
        counts, classes = counts[np.ix_(kept, kept)], tuple(classes[i] for i in kept)
    names = [cut(c, 24) for c in classes]
    words: dict[str, Any] = {"x_label": "predicted", "y_label": "true", "title": "Confusion matrix"}
    return svg.heatmap(counts.tolist(), names, names, confusion=True, width=WIDTH, **words)


def roc(findings: TableFindings) -> Markup:
    """True against false positives of the second class, with the baselines that rank at all."""
    series: dict[str, Points] = {}
    for name, answer in _ranking(findings).items():
        series[name] = _thin(*scores.roc_curve(findings.truth, answer[:, 1]))
    series["chance"] = [(0.0, 0.0), (1.0, 1.0)]
    label: dict[str, Any] = {"x_label": "false positives, share", "y_label": "true positives, share"}
    return svg.line_chart(series, title="ROC curve", **_SIZE, **label)


def precision_recall(findings: TableFindings) -> Markup:
    """Precision against recall of the second class."""
    series = {}
    for name, answer in _ranking(findings).items():
        series[name] = _thin(*scores.precision_recall_curve(findings.truth, answer[:, 1]))
    share = float(findings.truth.mean())
    series["chance"] = [(0.0, share), (1.0, share)]
    label: dict[str, Any] = {"x_label": "recall", "y_label": "precision"}
    return svg.line_chart(series, title="Precision and recall", y_range=(0.0, 1.0), **_SIZE, **label)


def _ranking(findings: TableFindings) -> dict[str, Array]:
    """The answers that differ from row to row."""
    found = {"network": findings.answer} | {c.name: c.answer for c in findings.comparisons}
    return {name: answer for name, answer in found.items() if np.ptp(answer[:, 1]) > 0}


def _thin(x: Array, y: Array) -> Points:
    """At most 200 points, evenly along x."""
    if len(x) > _CURVE:
        at = np.unique(np.searchsorted(x, np.linspace(x[0], x[-1], _CURVE)).clip(0, len(x) - 1))
        x, y = x[at], y[at]
    return list(zip(x.tolist(), y.tolist(), strict=True))


def calibration(findings: TableFindings) -> Markup:
    """What was said against what happened."""
    two = len(findings.classes) == 2
    said = f"probability given for {cut(findings.classes[1], 24)}" if two else "probability given"
    bins = [(b.said, b.found, b.error, b.rows) for b in findings.calibration]
    label: dict[str, Any] = {"x_label": said, "y_label": "share that came true"}
    return svg.reliability_chart(bins, title="Calibration", **_SIZE, **label)


# ------------------------------------------------------------------ numbers


def _sample(n: int) -> Array:
    """Rows for a drawing of points: all, or 1,500 at random."""
    return np.arange(n) if n <= _DOTS else np.random.default_rng(0).choice(n, _DOTS, replace=False)


def true_and_predicted(findings: TableFindings) -> Markup:
    """Each row's truth above its prediction."""
    rows = _sample(len(findings))
    points = zip(findings.answer[rows].tolist(), findings.truth[rows].tolist(), strict=True)
    words: dict[str, Any] = {"title": "True and predicted", "x_label": "predicted", "y_label": "true"}
    return svg.scatter(points, line="diagonal", **words, **_SIZE)


def residuals(findings: TableFindings) -> list[Markup]:
    """Residuals over the prediction, and their histogram."""
    rows, rest = _sample(len(findings)), findings.truth - findings.answer
    points = zip(findings.answer[rows].tolist(), rest[rows].tolist(), strict=True)
    words: dict[str, Any] = {"title": "Residuals", "x_label": "predicted", "y_label": "true − predicted"}
    spread = svg.scatter(points, line="zero", **words, **_SIZE)
    label = "true − predicted"
    return [spread, svg.histogram(rest.tolist(), bins=40, title="Residuals: rows", x_label=label, **_SIZE)]


def coverage(findings: TableFindings) -> Markup:
    """The share of rows below each predicted bound."""
    levels = sorted(findings.bounds)
    bounds = np.stack([findings.bounds[level] for level in levels], axis=1)
    found, n = scores.coverage(findings.truth, bounds).tolist(), len(findings)
    bins = [(p, f, float(np.sqrt(p * (1 - p) / n)), n) for p, f in zip(levels, found, strict=True)]
    label: dict[str, Any] = {"x_label": "should lie below", "y_label": "lies below"}
    return svg.reliability_chart(bins, title="Predicted bounds", **_SIZE, **label)


# ------------------------------------------------------------------ columns and comparisons


def importance(findings: TableFindings) -> Markup:
    """The most important columns, with the deviation over repeats."""
    top = findings.importance[:_BARS]
    means = _named({i.column: i.mean for i in top})
    spreads = dict(zip(means, (i.deviation for i in top), strict=True))
    what = "log loss" if findings.classifies else "RMSE"
    title = f"Rise of the {what} when shuffled"
    return svg.bar_chart(means, spreads=spreads, title=title, width=WIDTH)


def dependences(findings: TableFindings) -> list[Markup]:
    """One drawing for each of the first columns, numbers on one scale."""
    ends = [a for d in findings.dependence if d.places is not None for a in _shown(findings, d).values()]
    values = np.concatenate(ends) if ends else np.zeros(0)
    span = (float(values.min()), float(values.max())) if len(values) else None
    return [_dependence(findings, d, span) for d in findings.dependence]


def _dependence(findings: TableFindings, found: Dependence, span: tuple[float, float] | None) -> Markup:
    title, shown = cut(found.column, 50), _shown(findings, found)
    name, y = next(iter(shown.items()))
    what = "probability" if findings.classifies else "mean prediction"
    if found.places is None:
        bars = _named(dict(zip(found.names, y.tolist(), strict=True)), 30)
        what = f"{what} of {name}" if name else what
        return svg.bar_chart(bars, title=title, x_label=what, width=WIDTH)
    if len(shown) == 1:
        what, shown = f"{what} of {name}" if name else what, {"": y}
    series = {n: list(zip(found.places.tolist(), v.tolist(), strict=True)) for n, v in shown.items()}
    words: dict[str, Any] = {"title": title, "y_label": what, "rug": found.rug.tolist(), "y_range": span}
    dates = found.values.dtype.kind == "M"
    return svg.line_chart(series, x_words=_dated(found.places) if dates else None, **words, **_SIZE)


def _dated(years: Array) -> Callable[[float], str]:
    """How a tick of an axis of dates is written: by year, month, or day, as far as the axis is long."""
    unit = "D" if np.ptp(years) < 0.5 else "M"

    def words(year: float) -> str:
        if year == int(year) and unit == "M":
            return f"{year:.0f}"
        day = np.datetime64("2000-01-01") + round((year - 2000) * 365.2425)
        return str(day.astype(f"datetime64[{unit}]"))

    return words


def _shown(findings: TableFindings, found: Dependence) -> dict[str, Array]:
    """By name: the prediction; the probability of the second of two classes, of several those that move
    most."""
    if not findings.classifies:
        return {"": found.answers}
    if len(findings.classes) == 2:
        return {cut(findings.classes[1], 24): found.answers[:, 1]}
    most = np.argsort(-np.ptp(found.answers, axis=0), kind="stable")
    count = _SERIES if found.places is not None else 1
    return {cut(findings.classes[k], 24): found.answers[:, k] for k in sorted(most[:count].tolist())}


def comparison(findings: TableFindings) -> Markup:
    """The error (of numbers the RMSE) of the network and the baselines, with standard errors."""
    names = ["network", *(c.name for c in findings.comparisons)]
    key = "accuracy" if findings.classifies else "RMSE"
    found = [findings.scores, *(c.scores for c in findings.comparisons)]
    values = [100 * (1 - s[key]) if findings.classifies else s[key] for s in found]
    answers = [findings.answer, *(c.answer for c in findings.comparisons)]
    errors = [scores.mean_and_error(_each(findings, a))[1] for a in answers]
    title = "Wrong, % of the rows" if findings.classifies else "RMSE"
    spreads = dict(zip(names, errors, strict=True))
    return svg.bar_chart(dict(zip(names, values, strict=True)), spreads=spreads, title=title, width=WIDTH)


def _each(findings: TableFindings, answer: Array) -> Array:
    """What each row adds to the figure that is compared."""
    if findings.classifies:
        return 100.0 * (np.argmax(answer, axis=1) != findings.truth)
    return scores.rmse_influence(findings.truth - answer)
