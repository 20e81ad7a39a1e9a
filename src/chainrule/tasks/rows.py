"""The rows of a table as what is learned: of each column its cell, a number or a category, known or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule import losses, ops
from chainrule.data.tables import (
    Boolean,
    Category,
    Date,
    Ignored,
    Number,
    Ordinal,
    Table,
    TableEncoder,
    as_table,
    is_missing,
)
from chainrule.data.tables.cast import as_dates, as_numbers, as_places
from chainrule.errors import ConfigError
from chainrule.executors import Array, evaluate
from chainrule.graph.expr import Expr
from chainrule.tasks.filling import filled
from chainrule.tasks.scaling import Affine, moments, of_one_unit
from chainrule.tasks.targets import OUTPUT, Target, check_reach

__all__ = ["Rows", "each_loss"]

_BLOCK = 1 << 12  # rows whose losses are computed at a time


@dataclass(eq=False)
class Rows(Target):
    """The cells of a row, as :class:`chainrule.losses.Cells` takes them: numbers first, then categories.

    numbers       names of the columns of numbers and dates; dates count microseconds
    dates         those of them that are dates
    scale         how the network is shown numbers
    names         of the columns of categories
    categories    of each of those columns
    array         whether rows are arrays of numbers, and no table
    components    of the density that is learned of each number; 0: its mean alone
    answers       what :meth:`answer` says of a row: "rows", its cells as they are expected to be; "gaps",
                  those that are missing alone; "anomalies", −1 or 1; "densities", its log density
    offset        the score below which a row is an anomaly
    same          (name, value) of columns that held one value alone, which fills their gaps
    """

    numbers: tuple[str, ...]
    dates: tuple[str, ...]
    scale: Affine
    names: tuple[str, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()
    array: bool = False
    components: int = 0
    answers: str = "rows"
    offset: float = 0.0
    same: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.answers not in ("rows", "gaps", "anomalies", "densities"):
            raise ConfigError(f"rows are not answered by {self.answers!r}")
        if len(self.scale.mean) != len(self.numbers) or len(self.names) != len(self.categories):
            raise ConfigError("rows: the scale or the categories do not fit the columns")
        sizes = tuple(len(c) for c in self.categories)
        self.loss = losses.Cells(len(self.numbers), sizes, self.components)
        self.activation, self.outputs = "identity", {OUTPUT: self.loss.width}

    @staticmethod
    def seen(
        X: Any, weight: Array | None, encoder: TableEncoder | None, scaling: Affine, components: int,
        answers: str,
    ) -> Rows:  # fmt: skip
        """From the first rows; columns of an array that seem to have one unit share a scale."""
        if encoder is None:
            names = tuple(f"x{i}" for i in range(X.shape[1]))
            return Rows(names, (), scaling, array=True, components=components, answers=answers)
        columns = [c for c in encoder.columns if c.features]
        dates = tuple(c.name for c in columns if isinstance(c, Date))
        numbers = tuple(c.name for c in columns if isinstance(c, Date | Number))
        others = [c for c in columns if isinstance(c, Category | Ordinal | Boolean)]
        table = as_table(X)
        found = [_moments(_as_number(table, name, name in dates), weight) for name in numbers]
        mean, deviation, reach = (np.array([f[i] for f in found], np.float64) for i in range(3))
        scale = Affine(mean, np.where(deviation > 0, deviation, 1.0))
        if not isinstance(X, Table):
            scale = of_one_unit(mean, deviation, reach)
        return Rows(
            numbers,
            dates,
            scale,
            tuple(c.name for c in others),
            tuple(c.values if isinstance(c, Boolean) else c.categories for c in others),
            not isinstance(X, Table),
            components,
            answers,
            same=_constants(X, encoder) if isinstance(X, Table) else (),
        )

    # ------------------------------------------------------------------ to the network and back

    def cells(self, X: Any) -> Array:
        """Numbers in their own units and places of categories; NaN where they are unknown.   (n, C)"""
        if self.array:
            x = np.array(X, np.float64)
            return x if x.shape[1] == len(self.numbers) else x[:, [int(name[1:]) for name in self.numbers]]
        table = as_table(X)
        numbers = [_as_number(table, name, name in self.dates) for name in self.numbers]
        found = [*numbers, *map(self._places, self._pairs(table))]
        return np.stack(found, axis=1).astype(np.float64, copy=False)

    def _pairs(self, table: Table) -> list[tuple[Array, tuple[str, ...]]]:
        return [(table[name], of) for name, of in zip(self.names, self.categories, strict=True)]

    @staticmethod
    def _places(pair: tuple[Array, tuple[str, ...]]) -> Array:
        column, categories = pair
        place = as_places(column, {text: i + 1 for i, text in enumerate(categories)}, 0)
        return np.where(place > 0, place - 1.0, np.nan)

    def encode(self, y: Any, dtype: np.dtype) -> Array:
        """(n, 2C): scaled cells, then whether each is known."""
        cells = self.cells(y)
        known = ~np.isnan(cells)
        cells[~known] = 0
        n = len(self.numbers)
        check_reach(cells[:, :n], dtype)
        scaled = self.scale.apply(np.where(known[:, :n], cells[:, :n], self.scale.mean), dtype)
        return np.hstack([scaled, cells[:, n:].astype(dtype), known.astype(dtype)])

    def expected(self, z: Array) -> Array:
        """The cells that the network's output expects, as :meth:`cells` has them."""
        found = _on_rows(self.loss.predict, z).astype(np.float64)
        n = len(self.numbers)
        found[:, :n] = found[:, :n] * self.scale.scale + self.scale.mean
        return found

    def decode(self, cells: Array) -> Any:
        """Rows of these cells: an array, or a table of numbers, dates and texts."""
        if self.array:
            return cells
        columns: dict[str, Array] = {}
        for name, values in zip(self.numbers, cells.T, strict=False):
            known = ~np.isnan(values)
            columns[name] = values
            if name in self.dates:
                columns[name] = np.full(len(values), "NaT", "datetime64[us]")
                columns[name][known] = np.rint(values[known]).astype(np.int64).astype("datetime64[us]")
        for name, of, places in zip(self.names, self.categories, cells.T[len(self.numbers) :], strict=True):
            texts = np.array([*of, None], object)
            columns[name] = texts[np.where(np.isnan(places), len(of), places).astype(np.int64)]
        return Table(columns)

    def predict(self, z: Array) -> Any:
        return self.decode(self.expected(z))

    def each_loss(self, z: Array, y: Any) -> Array:
        """The loss of each row, in float64.   (n,)"""
        return each_loss(self.loss, z, self.encode(y, z.dtype))

    # ------------------------------------------------------------------ what is said of rows

    def answer(self, z: Array, X: Any) -> Any:
        if self.answers == "gaps":
            return self.fill(z, X)
        if self.answers == "anomalies":
            return np.where(self.scores(z, X) < self.offset, -1, 1)
        return self.log_density(z, X) if self.answers == "densities" else self.predict(z)

    def scores(self, z: Array, X: Any) -> Array:
        """Minus the loss of each row, the mean over its known cells.   (n,)"""
        known = np.count_nonzero(~np.isnan(self.cells(X)), axis=1)
        return -self.each_loss(z, X) / np.maximum(known, 1)

    def log_density(self, z: Array, X: Any) -> Array:
        """Of each row, in the units of its columns.   (n,)"""
        known = ~np.isnan(self.cells(X)[:, : len(self.numbers)])
        return -self.each_loss(z, X) - known @ np.log(self.scale.scale)

    def fill(self, z: Array, X: Any) -> Any:
        """X with its gaps filled: an array, or what X is."""
        values = self.expected(z)
        if self.array:
            x = np.array(X, X.dtype if getattr(X, "dtype", None) in (np.float32, np.float64) else np.float64)
            places = [int(name[1:]) for name in self.numbers]
            x[:, places] = np.where(np.isnan(x[:, places]), values, x[:, places])
            return x
        table = as_table(X)
        columns = dict(self.decode(values).columns)
        for name, value in self.same:
            if table[name].dtype.kind in "OMf":  # others have no gaps
                columns[name] = np.full(len(table), value, table[name].dtype)
        gaps = {name: is_missing(table[name]) for name in columns}
        return filled(X, table, Table(columns), gaps)


def each_loss(loss: losses.Loss, z: Array, t: Array) -> Array:
    """One value per row, in float64.   (n,)"""
    parts = [
        evaluate([loss(*(nodes := _inputs(a, b)))], dict(zip(nodes, (a, b), strict=True)))[0]
        for a, b in ((z[i : i + _BLOCK], t[i : i + _BLOCK]) for i in range(0, len(z), _BLOCK))
    ]
    return np.concatenate(parts).astype(np.float64)


def _inputs(*arrays: Array) -> tuple[Expr, ...]:
    return tuple(ops.input(f"a{i}", a.shape, a.dtype) for i, a in enumerate(arrays))


def _on_rows(function: Any, z: Array) -> Array:
    """A function of a node, for the rows of an array."""
    parts = []
    for i in range(0, len(z), _BLOCK):
        (node,) = _inputs(z[i : i + _BLOCK])
        parts.append(evaluate([function(node)], {node: z[i : i + _BLOCK]})[0])
    return np.concatenate(parts)


def _as_number(table: Table, name: str, date: bool) -> Array:
    """A column of numbers, or of dates in microseconds; NaN in gaps."""
    if not date:
        return as_numbers(table[name], name)
    when = as_dates(table[name], name)
    return np.where(np.isnat(when), np.nan, when.astype(np.int64).astype(np.float64))


def _moments(values: Array, weight: Array | None) -> tuple[float, float, float]:
    """Mean, deviation, and the farthest from the mean, of the values that are known."""
    known = ~np.isnan(values)
    if not known.any():
        return 0.0, 1.0, 0.0
    mean, deviation = moments(values[known, None], None if weight is None else weight[known])
    return float(mean[0]), float(deviation[0]), float(np.abs(values[known] - mean[0]).max())


def _constants(table: Table, encoder: TableEncoder) -> tuple[tuple[str, Any], ...]:
    """The value of every column from which nothing is learned because it has but one; of a date its text."""
    found = []
    for column in encoder.columns:
        if isinstance(column, Ignored) and column.why == "constant":
            values = table[column.name]
            value = values[~is_missing(values)][0]
            found.append((column.name, str(value) if values.dtype.kind == "M" else value))
    return tuple(found)
