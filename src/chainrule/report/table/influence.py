"""What a network makes of each column: permutation importance, and partial dependence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data.tables import Table, is_missing
from chainrule.data.tables.profile import as_years, text_of
from chainrule.report.table.rows import Rows, is_classifier
from chainrule.report.table.scores import log_losses

__all__ = ["Dependence", "Importance", "dependence", "importances", "loss_of", "permutations"]

Array = npt.NDArray[Any]
_REPEATS = 5
_CELLS = 400_000_000  # numbers that the network is shown for all columns and repeats together
_ANSWERS = 30_000_000  # numbers that the network answers at a time
_FEWEST = 200  # rows, however many the columns are
_AVERAGED = 500  # rows over which a partial dependence is averaged
_GRID = 24
_CATEGORIES = 10
_RUG = 100


@dataclass(frozen=True)
class Importance:
    """How much worse the loss gets where one column is shuffled: its mean and deviation over repeats."""

    column: str
    mean: float
    deviation: float
    rows: int
    repeats: int


@dataclass(frozen=True, eq=False)
class Dependence:
    """The mean prediction where one column is set to each of some values in every row.

    values      as they are in the table
    places      of numbers and dates on an axis; None of categories
    names       of the values
    answers     (values, classes) mean probabilities, or (values,) mean predictions
    rug         places of the data: quantiles of them, so that each line stands for as many rows
    rows        over which was averaged
    left_out    different categories beyond those shown
    """

    column: str
    values: Array
    places: Array | None
    names: tuple[str, ...]
    answers: Array
    rug: Array
    rows: int
    left_out: int = 0


# ------------------------------------------------------------------ importance


def loss_of(classifies: bool, truth: Array, answer: Array) -> float:
    """The mean log loss of classes, the root mean square error of numbers."""
    if classifies:
        return float(log_losses(truth, answer).mean())
    return float(np.sqrt(np.mean(np.square(truth - answer))))


def permutations(seed: int, column: int, rows: int, repeats: int) -> Array:
    """The orders into which a column is shuffled.   (repeats, rows)"""
    rng = np.random.default_rng([seed, column])
    return np.stack([rng.permutation(rows) for _ in range(repeats)])


def importances(
    rows: Rows, truth: Array, *, repeats: int = _REPEATS, seed: int = 0, most: int | None = None
) -> list[Importance]:
    """Permutation importance (Breiman 2001, section 10; in this form Fisher, Rudin & Dominici 2019, as
    scikit-learn computes it), the most important column first.

        I_j = (1/R) Σ_r L(y, f(X with column j in the r-th random order)) − L(y, f(X))

    L is the log loss of classes, the root mean square error of numbers. Shuffling breaks what the column has
    to do with the truth, and keeps its distribution. Rows are encoded once and shuffled as the network sees
    them, which comes to the same.

    most    rows that are used at most; without it as many as take a few seconds
    """
    rows, truth = _some(rows, truth, _affordable(rows, repeats) if most is None else most, seed)
    n, classifies = len(rows), is_classifier(rows.predictor)
    before = loss_of(classifies, truth, rows.answer())
    stacked = {name: np.concatenate([a] * repeats) for name, a in rows.inputs.items()}
    found = []
    for j, (column, (name, place)) in enumerate(rows.places.items()):
        order = permutations(seed, j, n, repeats)
        original = rows.inputs[name][:, place]
        stacked[name][:, place] = original[order.reshape(-1)]
        answers = rows.answer(stacked)
        stacked[name][:, place] = np.concatenate([original] * repeats)
        after = [loss_of(classifies, truth, part) for part in np.split(answers, repeats)]
        rise = np.array(after) - before
        found.append(Importance(column, float(rise.mean()), float(rise.std()), n, repeats))
    return sorted(found, key=lambda i: (-i.mean, i.column))


def _affordable(rows: Rows, repeats: int) -> int:
    """Rows for which all columns take a few seconds, and the answers of all repeats some hundred MB."""
    outputs = sum(rows.predictor.target.outputs.values())
    most = min(_CELLS // max(len(rows.places) * rows.width, 1), _ANSWERS // max(outputs, 1))
    return max(most // repeats, _FEWEST)


def _some(rows: Rows, truth: Array, most: int, seed: int) -> tuple[Rows, Array]:
    """At most so many of the rows, drawn at random, in their order."""
    if len(rows) <= most:
        return rows, truth
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
    inputs = {name: a[chosen] for name, a in rows.inputs.items()}
    part = Rows(rows.predictor, rows.table.take(chosen), inputs, rows.places, rows.notes)
    return part, truth[chosen]


# ------------------------------------------------------------------ dependence


def dependence(rows: Rows, column: str, *, seed: int = 0, most: int = _AVERAGED) -> Dependence:
    """Partial dependence (Friedman 2001, section 8.2):  f̄(v) = (1/n) Σ_i f(x_i with the column set to v).

    Numbers and dates: up to 24 values, evenly from the 2nd to the 98th percentile, or all where they are
    fewer. Categories: the ten most frequent. Gaps are a value of their own among categories.
    """
    some, _ = _some(rows, np.zeros(len(rows)), most, seed)
    values, places, names, left_out = _grid(rows, column)
    name, place = some.places[column]
    features = Rows.of(rows.predictor, _setting(rows.table, column, values)).inputs[name][:, place]
    answers = []
    for part in _parts(len(values), len(some)):
        inputs = {key: np.concatenate([a] * len(features[part])) for key, a in some.inputs.items()}
        inputs[name][:, place] = np.repeat(features[part], len(some), axis=0)
        found = some.answer(inputs)
        answers.append(found.reshape(-1, len(some), *found.shape[1:]).mean(axis=1))
    rug = _rug(rows.table[column]) if places is not None else np.zeros(0)
    return Dependence(column, values, places, names, np.concatenate(answers), rug, len(some), left_out)


def _parts(values: int, rows: int) -> Iterator[slice]:
    """Values of which as many are asked for at once as memory allows."""
    step = max(200_000 // max(rows, 1), 1)
    return (slice(start, start + step) for start in range(0, values, step))


def _setting(table: Table, column: str, values: Array) -> Table:
    """The first row again and again, with these values in one column."""
    first = table.take(np.zeros(len(values), np.int64))
    return Table({**first.columns, column: values}, first.levels)


def _grid(rows: Rows, column: str) -> tuple[Array, Array | None, tuple[str, ...], int]:
    """(values, their places on an axis, their names, how many others there are)"""
    found, encoder = rows.table[column], rows.predictor.encoder
    kind = "numeric" if encoder is None else encoder.kinds.get(column, "numeric")
    present = found[~is_missing(found)]
    if kind in ("numeric", "date") and found.dtype.kind in "ifM" and len(np.unique(present)) > 2:
        values = _even(present)
        places = _axis(values)
        return values, places, tuple(text_of(v) for v in values.tolist()), 0
    order = getattr(next((c for c in encoder.columns if c.name == column), None), "categories", ()) \
        if encoder is not None and kind == "ordinal" else ()  # fmt: skip
    return _categories(found, order)


def _even(present: Array) -> Array:
    """Values at even distances, without the outermost 2 % on either side; whole numbers stay whole."""
    different = np.unique(present)
    if len(different) <= _GRID:
        return different
    low, high = np.quantile(_plain(present), [0.02, 0.98])
    grid = np.linspace(low, high, _GRID)
    if len(np.unique(grid)) < 2:  # nearly all rows hold one value
        grid = np.linspace(float(_plain(different[:1])[0]), float(_plain(different[-1:])[0]), _GRID)
    if present.dtype.kind == "i":
        return np.unique(np.rint(grid).astype(np.int64))
    return grid.astype(np.int64).astype(present.dtype) if present.dtype.kind == "M" else grid


def _plain(values: Array) -> Array:
    """As numbers: dates are microseconds."""
    return (values.astype(np.int64) if values.dtype.kind == "M" else values).astype(np.float64)


def _axis(values: Array) -> Array:
    return as_years(values) if values.dtype.kind == "M" else values.astype(np.float64)


def _rug(column: Array) -> Array:
    present = _axis(column[~is_missing(column)])
    return np.quantile(present, np.linspace(0, 1, _RUG), method="nearest")


def _categories(column: Array, order: tuple[str, ...]) -> tuple[Array, None, tuple[str, ...], int]:
    """The most frequent values, a gap among them; in their order where they have one."""
    gaps = is_missing(column)
    counts = Counter(column[~gaps].tolist())
    values: list[Any] = sorted(counts, key=lambda v: (-counts[v], text_of(v)))[:_CATEGORIES]
    if order:
        ranks = {text: i for i, text in enumerate(order)}
        values.sort(key=lambda v: ranks.get(text_of(v), len(ranks)))
    names = [text_of(v) for v in values]
    kept = np.empty(len(values) + bool(gaps.any()), column.dtype)
    kept[: len(values)] = values
    if gaps.any():
        kept[-1] = column[gaps][0]
        names.append("(missing)")
    return kept, None, tuple(names), len(counts) - len(values)
