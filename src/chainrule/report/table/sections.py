"""The sections of a table's report, each a heading with its parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule import svg
from chainrule.report.table import drawings, scores
from chainrule.report.table.columns import ColumnView, TargetView, cut, in_cell, warnings_of
from chainrule.report.table.findings import FEW, TableFindings
from chainrule.report.table.words import difference, figure, percent, with_error
from chainrule.svg.markup import Markup, element

__all__ = [
    "Section",
    "columns_of",
    "compared",
    "data",
    "learning",
    "mistakes",
    "reproduce",
    "right_and_wrong",
    "summary",
]

Section = tuple[str, list[str]]
Rows = Sequence[Mapping[str, Any]]

_COLUMNS = 40
_TRIALS, _DRAWN = 30, 4
_CLASSES = 40
_MISTAKES = 15
_CELLS = 8  # columns of a mistake


def summary(findings: TableFindings, figures: Mapping[str, object]) -> Section:
    """The figures that matter."""
    shown = {f"{findings.part} {name}": figure(name, v) for name, v in _main(findings)}
    shown[f"{findings.part} rows"] = f"{len(findings):,}"
    if findings.parameters:
        shown["parameters"] = f"{findings.parameters:,}"
    return "", [svg.facts({**shown, **{cut(k, 40): cut(v, 30) for k, v in figures.items()}})]


def _main(findings: TableFindings) -> list[tuple[str, float]]:
    score = findings.scores
    names = ("accuracy", "log loss", "AUC") if findings.classifies else ("RMSE", "MAE", "R²")
    return [(name, score[name]) for name in names if name in score]


# ------------------------------------------------------------------ the data


def data(
    findings: TableFindings, columns: Sequence[ColumnView], target: TargetView | None, said: Iterable[str]
) -> list[Section]:
    """What the columns are, the target's distribution, and what to beware of."""
    if not columns and target is None:
        return []
    view = target or TargetView(findings.target, 0, {}, np.zeros(0))
    words = [*warnings_of(columns, view), *_met(findings), *said]
    parts: list[str] = [svg.notes(words)] if words else []
    parts += [drawings.target(target)] if target is not None and target.rows else []
    ranks = {i.column: place for place, i in enumerate(findings.importance)}
    order = sorted(columns, key=lambda c: ranks.get(c.name, len(ranks)))
    shown = {c.name for c in order[:_COLUMNS]}
    rows = [_described(c) for c in columns if c.name in shown]
    head = ("column", "values", "gaps", "different", "taken for")
    parts += [svg.table(head, rows, figures=(2, 3))] if rows else []
    if len(columns) > _COLUMNS:
        parts.append(_rest([c for c in columns if c.name not in shown]))
    return [("The data", parts)]


def _described(column: ColumnView) -> list[object]:
    bars = svg.small_bars(column.heights, name=cut(column.name), tips=column.names) if column.heights else ""
    values = Markup(bars + _note(cut(column.words, 90)))
    gaps = percent(column.missing) if column.missing else "–"
    different = f"{column.distinct:,}{'+' if column.at_least else ''}"
    return [cut(column.name, 40), values, gaps, different, _over(column.kind, column.reason)]


def _note(words: str) -> Markup:
    return element("div", svg.escape(words), class_="note")


def _over(words: str, note: str) -> Markup:
    """Words, and smaller ones below them."""
    return Markup(element("div", svg.escape(words)) + _note(note))


def _rest(columns: Sequence[ColumnView]) -> str:
    kinds: dict[str, int] = {}
    for column in columns:
        kinds[column.kind] = kinds.get(column.kind, 0) + 1
    said = ", ".join(f"{n:,} {kind}" for kind, n in sorted(kinds.items(), key=lambda kv: -kv[1]))
    return f"And {len(columns):,} less important columns, not shown: {said}."


def _met(findings: TableFindings) -> list[str]:
    """What these rows hold that training had not."""
    notes, found = findings.notes, []
    if len(findings) < FEW:
        found.append(
            f"There are {len(findings):,} {findings.part} rows only: the scores are rough, and of other rows "
            "they would be others."
        )
    if findings.without_truth:
        found.append(f"{findings.without_truth:,} rows without a value of the target are left out.")
    for counts, words in (
        (notes.unseen, "hold values that training had not"),
        (notes.filled, "have gaps where training had none"),
    ):
        if counts:
            each = ", ".join(f"{cut(name, 40)} in {n:,} rows" for name, n in counts.most_common(6))
            more = f" and {len(counts) - 6} more columns" if len(counts) > 6 else ""
            found.append(f"Among the {findings.part} rows some {words}: {each}{more}.")
    return found


# ------------------------------------------------------------------ how it learned


def learning(rows: Rows, kept: int | None, networks: int, trials: Rows) -> list[Section]:
    """Curves over epochs; the trials of a search."""
    parts: list[str] = list(drawings.curves(rows, kept)) if len(rows) > 1 else []
    judged = bool(rows) and any(name.startswith("val_") for name in rows[0])
    if parts and judged and kept is not None and 0 <= kept < len(rows):
        parts.append(
            f"Of {len(rows):,} epochs the parameters after epoch {kept + 1:,} were kept, by the validation "
            "rows, from which nothing is learned."
        )
    if parts and networks > 1:
        parts.append(f"These are the curves of the first of {networks:,} networks, which are averaged.")
    if trials:
        parts += _tried(trials)
    return [("How it learned", parts)] if parts else []


def _tried(trials: Rows) -> list[str]:
    names = list(dict.fromkeys(key for row in trials for key in row))
    score = next((n for n in ("score", "val_loss", "validation loss", "loss") if n in names), None)
    rows = [row for row in trials if score is None or _is_number(row.get(score))]
    parts: list[str] = []
    if score is not None:
        if len(rows) >= _DRAWN:
            parts.append(drawings.trials(rows, score))
        rows = sorted(rows, key=lambda row: float(row[score]))
    cells = [[_cell(row.get(name)) for name in names] for row in rows[:_TRIALS]]
    parts.append(svg.table([cut(n.replace("_", " "), 40) for n in names], cells))
    if len(rows) > _TRIALS or len(rows) < len(trials):
        parts.append(f"Of {len(trials):,} trials the {len(cells):,} best are shown.")
    return parts


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return svg.number(value, 4)
    if isinstance(value, list | tuple):
        return cut(", ".join(map(str, value)) or "none", 80)
    return cut(value, 80)


# ------------------------------------------------------------------ right and wrong


def right_and_wrong(findings: TableFindings) -> Section:
    """Confusion, curves and calibration; or residuals and coverage."""
    parts = _classes(findings) if findings.classifies else _numbers(findings)
    return "Right and wrong", parts


def _classes(findings: TableFindings) -> list[str]:
    parts: list[str] = [drawings.confusion(findings), drawings.calibration(findings)]
    both = 0 < float(np.mean(findings.truth == findings.truth[0])) < 1
    if len(findings.classes) == 2 and both:
        parts += [drawings.roc(findings), drawings.precision_recall(findings)]
    what = (
        f"the probability given for {cut(findings.classes[1], 24)}"
        if len(findings.classes) == 2
        else "the probability given for the class that was predicted"
    )
    parts.append(
        f"Calibration: the rows in ten bins of equal size by {what} (equal probabilities stay together), "
        "against the share in which it came true; lines span two standard errors either way. The expected "
        f"calibration error, the mean distance from the dashed line, is "
        f"{percent(findings.scores['calibration error'], 2)}."
    )
    return [*parts, _each_class(findings)]


def _each_class(findings: TableFindings) -> Markup:
    precision, recall, f1 = scores.class_figures(findings.confusion)
    rows = findings.confusion.sum(axis=1)
    order = np.argsort(-rows, kind="stable")[:_CLASSES]
    cells: list[list[str]] = []
    for k in order.tolist():
        shares = (percent(precision[k]), percent(recall[k]), f"{f1[k]:.3f}")
        cells.append([cut(findings.classes[k], 40), f"{rows[k]:,}", *shares])
    if len(rows) > _CLASSES:
        left = f"{rows.sum() - rows[order].sum():,}"
        cells.append([f"and {len(rows) - _CLASSES:,} smaller classes", left, "", "", ""])
    return svg.table(("class", "rows", "precision", "recall", "F1"), cells, figures=range(1, 5))


def _numbers(findings: TableFindings) -> list[str]:
    parts: list[str] = [drawings.true_and_predicted(findings), *drawings.residuals(findings)]
    if findings.bounds:
        parts.append(drawings.coverage(findings))
    rest = np.abs(findings.truth - findings.answer)
    middle, most = np.quantile(rest, [0.5, 0.9]).tolist()
    parts.append(
        f"Half of the predictions are off by at most {svg.number(middle, 3)}, nine in ten by at most "
        f"{svg.number(most, 3)}. The scatter plots show {min(len(findings), 1500):,} rows."
    )
    return [*parts, *_covered(findings)]


def _covered(findings: TableFindings) -> list[str]:
    """Pairs of bounds as intervals."""
    levels, rows = sorted(findings.bounds), []
    for low, high in zip(levels, reversed(levels), strict=True):
        if low < high and abs(low + high - 1) < 1e-9:
            lower, upper = findings.bounds[low], findings.bounds[high]
            share = np.mean((lower <= findings.truth) & (findings.truth <= upper))
            width = svg.number(float(np.mean(upper - lower)), 3)
            rows.append((percent(high - low, 0), percent(float(share)), width))
    head = ("predicted interval", "holds of the truths", "mean width")
    return [svg.table(head, rows, figures=(1, 2))] if rows else []


# ------------------------------------------------------------------ columns


def columns_of(findings: TableFindings) -> list[Section]:
    """Permutation importance, and partial dependence of the first columns."""
    if not findings.importance:
        return []
    first = findings.importance[0]
    what = "log loss" if findings.classifies else "root mean square error"
    rows = f"{first.rows:,} {findings.part} rows"
    part = f" (of {len(findings):,}, drawn at random)" if first.rows < len(findings) else ""
    more = len(findings.importance) - 15
    words = (
        f"By how much the {what} of {rows}{part} rises where one column is shuffled, mean and standard "
        f"deviation of {first.repeats} shuffles (Breiman 2001). What two columns both tell is not missed "
        "when one of them is shuffled: correlated columns look less important than they are together."
    )
    parts: list[str] = [drawings.importance(findings), words]
    if more > 0:
        parts.append(f"And {more:,} less important columns.")
    shown = drawings.dependences(findings)
    if shown:
        answer = "prediction" if not findings.classifies else "probability"
        averaged = findings.dependence[0].rows
        parts += [
            *shown,
            f"Partial dependence (Friedman 2001): the mean {answer} over {averaged:,} rows, were the column "
            "set to each value in all of them. Marks above the axis are percentiles of the data; where they "
            "are sparse, the curve is a guess. Curves share one scale.",
        ]
    return [("Which columns it relies on", parts)]


def mistakes(findings: TableFindings, identifiers: Sequence[str] = ()) -> list[Section]:
    """The rows on which it was most wrong, themselves; with the columns that only say which row it is."""
    found = findings.worst(_MISTAKES).tolist()
    if not found:
        return []
    keys = [name for name in identifiers if name in findings.table][:2]
    names = [*keys, *(i.column for i in findings.importance[: _CELLS - len(keys)])]
    if findings.classifies:
        wrong = int((findings.predicted != findings.truth).sum())
        head = ["row", "true", "predicted", "probability of the truth", *names]
        words = f"Of {wrong:,} wrong rows those whose truth was held least probable."
    else:
        head = ["row", "true", "predicted", "residual", *names]
        words = "The rows with the largest residuals."
    numbers = np.arange(len(findings)) if findings.numbers is None else findings.numbers
    where = f"among the {findings.part} rows" if findings.numbers is None else "in the whole table"
    more = len(findings.importance) - len(names) + len(keys)
    tail = f"; less important columns not shown: {more:,}" if more > 0 else ""
    cells = [[f"{numbers[r] + 1:,}", *_judged(findings, r), *_values(findings, r, names)] for r in found]
    table = svg.table([cut(h, 30) for h in head], cells, figures=(0,))
    return [("Worst mistakes", [f"{words} Rows are counted from 1 {where}{tail}.", table])]


def _judged(findings: TableFindings, row: int) -> list[str]:
    if findings.classifies:
        true = int(findings.truth[row])
        guess = cut(findings.classes[int(findings.predicted[row])], 30)
        share = findings.answer[row, true]
        return [cut(findings.classes[true], 30), guess, percent(share, 2 if share < 0.01 else 1)]
    value, guessed = float(findings.truth[row]), float(findings.answer[row])
    return [in_cell(value), in_cell(guessed), in_cell(value - guessed, 4)]


def _values(findings: TableFindings, row: int, names: Sequence[str]) -> list[str]:
    return [_value(findings.table[name][row]) for name in names]


def _value(value: Any) -> str:
    if value is None or value != value:
        return "–"
    if isinstance(value, float | np.floating):
        return in_cell(float(value))
    if isinstance(value, np.datetime64):
        words = str(value.astype("datetime64[s]")).replace("T00:00:00", "").replace("T", " ")
        return element("span", words, class_="whole")
    return cut(value, 40)


# ------------------------------------------------------------------ comparison, and how to have it again


def compared(findings: TableFindings) -> list[Section]:
    """Against the baselines, on the same rows."""
    if not findings.comparisons:
        return []
    names = list(findings.scores)
    head = ["", *names]
    mine = [with_error(n, findings.scores[n], findings.errors.get(n)) for n in names]
    rows: list[list[object]] = [["network", *mine]]
    for other in findings.comparisons:
        rows.append(
            [_over(cut(other.name), cut(other.what, 160)), *(figure(n, other.scores[n]) for n in names)]
        )
        found = [difference(n, d) if (d := other.differences.get(n)) else "" for n in names]
        rows.append([_note("network − this"), *found])
    words = (
        "All answer the same rows; the baselines learned from the same training rows. Differences are taken "
        "row by row, so that what makes a row hard cancels out; ± is one standard error"
        + (", in percentage points for shares" if findings.classifies else "")
        + ". More than twice that is hardly chance."
    )
    return [
        (
            "Beside simpler models",
            [words, svg.table(head, rows, figures=range(1, len(head))), drawings.comparison(findings)],
        )
    ]


def reproduce(
    plan: Sequence[tuple[str, object]], command: str, environment: Mapping[str, object], sha256: str
) -> list[Section]:
    """What it takes to have the same again."""
    rows: list[tuple[str, object]] = [("command", command)] if command else []
    rows += [(cut(name), cut(value, 2000)) for name, value in plan]
    if environment:
        rows.append(("environment", ", ".join(f"{k} {v}" for k, v in environment.items())))
    rows += [("SHA-256 of the final weights", sha256)] if sha256 else []
    return [("How to have it again", [svg.table((), rows)])] if rows else []
