"""The rows of a table as what is learned: of each column its cell, a number or a category, known or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule import losses, ops
from chainrule.data.tables import Boolean, Category, Date, Number, Ordinal, Table, TableEncoder, as_table
from chainrule.data.tables.cast import as_dates, as_numbers, as_places
from chainrule.executors import Array, evaluate
from chainrule.graph.expr import Expr
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
    """

    numbers: tuple[str, ...]
    dates: tuple[str, ...]
    scale: Affine
    names: tuple[str, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()
    array: bool = False
    components: int = 0

    def __post_init__(self) -> None:
        sizes = tuple(len(c) for c in self.categories)
        self.loss = losses.Cells(len(self.numbers), sizes, self.components)
        self.activation, self.outputs = "identity", {OUTPUT: self.loss.width}

    @staticmethod
    def seen(
        X: Any, weight: Array | None, encoder: TableEncoder | None, scaling: Affine, components: int = 0
    ) -> Rows:
        """From the first rows; columns of an array that seem to have one unit share a scale."""
        if encoder is None:
            names = tuple(f"x{i}" for i in range(X.shape[1]))
            return Rows(names, (), scaling, array=True, components=components)
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

    @property
    def offset(self) -> float:
        """By how much less a log density is in the numbers' own units than in scaled ones: Σ log scale."""
        return float(np.log(self.scale.scale).sum())


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
