"""Targets: labels of any kind as the numbers of classes, numbers standardised; and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.data.faults import some_rows
from chainrule.data.tables.cast import as_places
from chainrule.data.tables.columns import as_column
from chainrule.data.tables.frames import as_table
from chainrule.data.tables.moments import Moments
from chainrule.data.tables.profile import text_of
from chainrule.data.tables.table import Array, is_missing
from chainrule.errors import ConfigError, DataError, nearest

__all__ = ["TASKS", "TRANSFORMS", "Classes", "Scaled", "choose_target"]

TASKS = ("auto", "classification", "regression")
TRANSFORMS = ("none", "log", "log1p")

_FEW = 20  # different whole numbers up to which they may be classes
_SORTS = {"truth": np.bool_, "whole": np.int64, "number": np.float64, "text": np.str_}


@dataclass(frozen=True)
class Classes:
    """Labels ↔ 0 … K − 1. Labels are text, truth values, whole numbers or numbers, of one sort.

    labels   in rising order, or in the order that the data came with
    sort     "text", "truth", "whole" or "number": what ``decode`` gives

    >>> classes = Classes.of(["no", "yes", "no"])
    >>> classes.labels, classes.encode(["yes", "no"]).tolist(), classes.decode([1, 1]).tolist()
    (('no', 'yes'), [1, 0], ['yes', 'yes'])
    """

    labels: tuple[Any, ...]
    sort: str = "text"

    def __post_init__(self) -> None:
        if self.sort not in _SORTS:
            raise ConfigError(f"unknown sort of labels {self.sort!r}; {nearest(self.sort, _SORTS)}")
        if not isinstance(self.labels, tuple) or not self.labels:
            raise ConfigError(f"Classes: labels must be a tuple of at least one, got {self.labels!r}")
        if len(set(map(text_of, self.labels))) != len(self.labels):
            raise ConfigError(f"Classes: a label stands twice in {self.labels[:6]!r}")

    @classmethod
    def of(cls, y: Any, name: str = "y") -> Classes:
        """The labels that occur. DataError for gaps, one class only, and numbers that are no classes: with
        fractions, and of which hardly two rows have the same."""
        column = _target_column(y, name)
        found = sorted(set(column.tolist()))
        sort = {"b": "truth", "i": "whole", "f": "number", "O": "text"}.get(column.dtype.kind)
        if sort is None:
            raise DataError(f"{name} holds dates, which are no classes; give text, numbers or truth values")
        if sort == "number" and _quantities(found, len(column)):
            raise DataError(
                f"{name} holds {len(found)} different numbers in {len(column)} rows, such as {found[0]!r}: "
                "no classes but quantities; use a regressor, or give y.astype(str)"
            )
        if len(found) < 2:
            raise DataError(
                f"{name} has one class only, {found[0]!r}, so there is nothing to tell apart; give others too"
            )
        return cls(tuple(found), sort)

    def __len__(self) -> int:
        return len(self.labels)

    def encode(self, y: Any, name: str = "y") -> Array:
        """(rows,) int64. DataError for gaps, and for labels that are none of these, with the nearest one."""
        column = _target_column(y, name)
        places = {text_of(label): i + 1 for i, label in enumerate(self.labels)}
        found = as_places(column, places, missing=0) - 1
        if (wrong := found < 0).any():
            label = text_of(column[wrong].tolist()[0])
            known = list(places)[:_FEW]
            raise DataError(
                f"{name} holds the label {label!r} in {some_rows(wrong)}, which is none of the "
                f"{len(self.labels)} classes; {nearest(label, known)}"
            )
        return found.astype(np.int64)

    def decode(self, codes: Any) -> Array:
        """The labels of classes, as an array of their sort."""
        return np.array(self.labels, _SORTS[self.sort])[np.asarray(codes)]

    def counts(self, y: Any) -> Counter[Any]:
        """How many rows each class has."""
        times = np.bincount(self.encode(y), minlength=len(self.labels))
        return Counter(dict(zip(self.labels, times.tolist(), strict=True)))


@dataclass(frozen=True)
class Scaled:
    """Numbers ↔ standardised ones,  (t(y) − mean) / std  with t the transform; column by column.

    transform   "none"; "log" of numbers above 0, where errors are shares of the value; "log1p", log(1 + y),
                of numbers from 0 up
    centred     False leaves the numbers as they are, but for the transform

    >>> scaled = Scaled("log")
    >>> state = scaled.fit([1.0, 10.0, 100.0])
    >>> scaled.decode(scaled.encode([20.0], state), state).round(3).tolist()
    [20.0]
    """

    transform: str = "none"
    centred: bool = True

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS:
            raise ConfigError(f"unknown transform {self.transform!r}; {nearest(self.transform, TRANSFORMS)}")

    def fit(self, y: Any, weight: Array | None = None, name: str = "y") -> dict[str, Array]:
        """ "target/mean" and "target/scale", (columns,) each or scalars as y has columns or none."""
        values = self._transformed(_numbers(y, name), name)
        columns = values.reshape(len(values), -1)
        if not self.centred:
            return {}
        w = None if weight is None else np.asarray(weight, np.float64)
        found = [Moments.of(column, w) for column in columns.T]
        shape = values.shape[1:]
        mean = np.array([m.mean for m in found]).reshape(shape)
        scale = np.array([m.std if m.std > 1e-14 * abs(m.mean) else 1.0 for m in found]).reshape(shape)
        return {"target/mean": mean, "target/scale": scale}

    def encode(self, y: Any, state: Mapping[str, Array], name: str = "y") -> Array:
        """float64, of y's shape. DataError for gaps, infinite values, text, values that have no logarithm."""
        values = self._transformed(_numbers(y, name), name)
        return (values - state["target/mean"]) / state["target/scale"] if self.centred else values

    def decode(self, values: Any, state: Mapping[str, Array]) -> Array:
        """float64, in the units of y."""
        found = np.asarray(values, np.float64)
        if self.centred:
            found = found * state["target/scale"] + state["target/mean"]
        if self.transform == "none":
            return found
        return np.exp(found) if self.transform == "log" else np.expm1(found)

    def _transformed(self, values: Array, name: str) -> Array:
        if self.transform == "none":
            return values
        bad = values <= 0 if self.transform == "log" else values < 0
        if bad.any():
            least = "above 0" if self.transform == "log" else "from 0 up"
            shifted = self.transform == "log" and not (values < 0).any()
            raise DataError(
                f"{name} holds {values[bad].flat[0]:.6g} in {some_rows(bad)}, but {self.transform!r} takes "
                f"numbers {least}; use transform={'log1p' if shifted else 'none'!r}"
            )
        return np.log(values) if self.transform == "log" else np.log1p(values)


def choose_target(y: Any, task: str = "auto", name: str = "y") -> tuple[Classes | Scaled, str]:
    """What a target is, and why: classes, or numbers.

    Text and truth values are classes, and so are up to 20 different whole numbers, each of them in 10 rows on
    average (or two alone). DataError for gaps, and where ``task`` does not fit.

    >>> choose_target(["a", "b", "a"])[1]
    '2 different texts'
    >>> choose_target([1.5, 2.5, 7.0])
    (Scaled(transform='none', centred=True), 'numbers')
    """
    if task not in TASKS:
        raise ConfigError(f"unknown task {task!r}; {nearest(task, TASKS)}")
    column = _target_column(y, name)
    if task == "classification":
        return Classes.of(column, name), "you said so"
    if task == "regression":
        _numbers(column, name)
        return Scaled(), "you said so"
    if column.dtype.kind in "Ob":
        classes = Classes.of(column, name)
        return classes, f"{len(classes)} different texts" if classes.sort == "text" else "true and false"
    values = _numbers(column, name)
    distinct = len(np.unique(values))
    whole = bool((values == np.floor(values)).all())
    if whole and distinct <= _FEW and (distinct <= 2 or 10 * distinct <= len(values)):
        return Classes.of(column, name), f"{distinct} different whole numbers"
    return Scaled(), "whole numbers" if whole else "numbers"


def _quantities(found: list[float], rows: int) -> bool:
    """Whether numbers are no labels: more than half of the rows have one of their own, or many and broken."""
    broken = any(v != np.floor(v) for v in found)
    return len(found) > max(2, rows / 2) or (broken and len(found) > _FEW)


def _target_column(y: Any, name: str) -> Array:
    """One column without gaps."""
    if isinstance(y, np.ndarray | list | tuple):
        given = y if isinstance(y, np.ndarray) else np.array([*y, None], object)[:-1]
        if given.ndim == 2 and given.shape[1] == 1:
            given = given[:, 0]
        column = as_column(given, name)
    else:
        table = as_table(y)
        if len(table.names) != 1:
            raise DataError(f"{name} has {len(table.names)} columns, where one is expected; give one column")
        column = table[table.names[0]]
    if not len(column):
        raise DataError(f"{name} has no rows; give one label for each row")
    if (gaps := is_missing(column)).any():
        raise DataError(
            f"{name} has no value in {some_rows(gaps)}; a label is never guessed: drop these rows"
        )
    return column


def _numbers(y: Any, name: str) -> Array:
    """float64 (rows,) or (rows, columns), finite."""
    if isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] > 1:
        return np.stack([_numbers(y[:, j], f"{name}, column {j},") for j in range(y.shape[1])], axis=1)
    column = _target_column(y, name)
    if column.dtype.kind not in "bif":
        what = "text" if column.dtype.kind == "O" else "dates"
        raise DataError(
            f"{name} holds {what}, such as {str(column[0])[:40]!r}, but a regression takes numbers; use a "
            "classifier, or give numbers"
        )
    values = column.astype(np.float64)
    if (bad := ~np.isfinite(values)).any():
        raise DataError(f"{name} is infinite in {some_rows(bad)}; drop these rows from x and y")
    two_dimensional = isinstance(y, np.ndarray) and y.ndim == 2
    return values[:, None] if two_dimensional else values
