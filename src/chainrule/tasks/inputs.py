"""What an estimator is given as X: an array of numbers, or a table; and how the network is shown it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.data.tables import Table, TableEncoder, as_table, choose_encoders
from chainrule.executors import Array
from chainrule.tasks.scaling import Affine, by_unit, identity, standard

__all__ = ["Shown", "is_table", "rows_of", "table_of"]

_OF_ARRAYS = {"auto": by_unit, "standard": standard}
_AS_ARRAYS = (*_OF_ARRAYS, "none")


def is_table(X: Any, kinds: Any, scaling: str) -> bool:
    """Whether X is taken column by column: where it has names and a column that is not of plain numbers, or
    has gaps; where ``kinds`` says what columns are; where the scaling is one of columns.

    Anything else, also a data frame of numbers without gaps, is the array that it would be for scikit-learn.
    """
    if kinds is not None or scaling not in _AS_ARRAYS or isinstance(X, Mapping | Table):
        return True
    if not hasattr(X, "columns") or not hasattr(X, "shape"):
        return False
    kinds_of = [getattr(t, "kind", "?") for t in getattr(X, "dtypes", [])] if hasattr(X, "iloc") else ["?"]
    if set(kinds_of) <= set("iub") or _sparse(X):  # whole numbers of pandas: nothing to look at
        return False
    return not _plain(as_table(X))


def _sparse(X: Any) -> bool:
    """Whether a data frame of pandas holds sparse columns, which are numbers."""
    return any(str(t).startswith("Sparse") for t in getattr(X, "dtypes", ()))


def _plain(table: Table) -> bool:
    """Only numbers, all there. (What is infinite is refused elsewhere.)"""
    columns = table.columns.values()
    return all(a.dtype.kind in "ib" or (a.dtype.kind == "f" and not np.isnan(a).any()) for a in columns)


def table_of(X: Any) -> Table:
    """X by columns."""
    return as_table(X)


def rows_of(X: Any, rows: Array) -> Any:
    """Some rows of an array or a table."""
    return X.take(rows) if isinstance(X, Table) else X[rows]


@dataclass(eq=False)
class Shown:
    """How X is shown to the network.

    scaling   of the columns of "x"
    encoder   of the columns of a table, None for an array; ``learned`` is its state, by path
    dtype     of the network
    by_name   whether X is a table; an array with gaps is encoded as one, but comes as an array
    """

    scaling: Affine
    dtype: np.dtype
    encoder: TableEncoder | None = None
    learned: dict[str, Array] = field(default_factory=dict)
    by_name: bool = False

    @staticmethod
    def seen(
        X: Any, weight: Array | None, *, kinds: Any, scaling: str, embed_from: int | None, gaps: bool = False
    ) -> Shown:
        """From the first data.

        gaps    whether a cell may be missing also where all are there: every column marks its gaps
        """
        table = isinstance(X, Table)
        if not table and not gaps:
            scale = _OF_ARRAYS.get(scaling)
            found = identity(X.shape[1]) if scale is None else scale(X, weight)
            return Shown(found, X.dtype)
        dtype, X = (np.dtype(np.float32) if table else X.dtype), as_table(X)
        array = not table or (all(name == f"x{i}" for i, name in enumerate(X.names)) and _plain(X))
        if kinds is None and array:
            kinds = dict.fromkeys(X.names, "numeric")
        encoder = choose_encoders(X, kinds=kinds, scaling=scaling, embed_from=embed_from, weight=weight)
        if gaps:
            encoder = TableEncoder(tuple(replace(c, missing=c.features != ()) for c in encoder.columns))
        return Shown(identity(encoder.width), dtype, encoder, encoder.fit(X, weight), table)

    @property
    def codes(self) -> tuple[tuple[int, int], ...]:
        """(categories, units) of embedded columns."""
        return () if self.encoder is None else self.encoder.embeddings

    @property
    def width(self) -> int:
        """What the first layer of units sees of a row."""
        return len(self.scaling.mean) + sum(units for _, units in self.codes)

    def __call__(self, X: Any) -> Any:
        """What the network takes: an array, or a dict of "x" and "codes"."""
        if self.encoder is None:
            return self.scaling.apply(X, self.dtype)
        found = self.encoder.encode(X, self.learned, self.dtype)
        return found if len(found) > 1 else next(iter(found.values()))

    def front(self, hide: float | str = 0.0) -> list[nn.Step]:
        """The first layers of the network, which make one array of what it is shown.

        hide    the share of the cells that they hide in training, see :class:`chainrule.nn.HideCells`
        """
        hiding: list[nn.Step] = [self.hiding(hide)] if hide else []
        return [*hiding, nn.Columns(self.codes)] if self.codes else hiding

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns whose numbers are shown, in their order: the cells that can be hidden."""
        if self.encoder is None:
            return tuple(f"x{i}" for i in range(len(self.scaling.mean)))
        return tuple(c.name for c in self.encoder.columns if c.features and not c.codes)

    def hiding(self, share: float | str) -> nn.HideCells:
        """The layer that hides a share of the cells."""
        if self.encoder is None:
            cells = tuple(range(len(self.scaling.mean)))
            return nn.HideCells(share, cells, (0.0,) * len(cells))
        columns = {c.name: c for c in self.encoder.columns}
        cells = tuple(i for i, name in enumerate(self.names) for _ in columns[name].features)
        empty = self.encoder.encode(self.encoder.gaps(), self.learned, np.float64)
        gaps = {name: a[0].tolist() for name, a in empty.items()}
        return nn.HideCells(share, cells, tuple(gaps.get("x", ())), tuple(gaps.get("codes", ())))
