"""Table: named columns of equal length, each of one of five dtypes; gaps have one form per dtype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import DataError, nearest

__all__ = ["Array", "Table", "concatenate", "is_missing", "join", "truth_as_text"]

Array = npt.NDArray[Any]

_DTYPES = {"float64", "int64", "bool", "object", "datetime64[us]"}


@dataclass(frozen=True, eq=False)
class Table:
    """Columns by name, each (rows,): numbers, truth values, text, points in time.

    ==================  ======================  =========
    dtype               holds                   a gap is
    ==================  ======================  =========
    float64             numbers                 NaN
    int64               whole numbers           –
    bool                truth values            –
    object              text (str)              None
    datetime64[us]      points in time (UTC)    NaT
    ==================  ======================  =========

    levels    the order of a column's categories, where the data came with one

    DataError where columns differ in length, have another dtype, or where there are none. Use
    :func:`~chainrule.data.tables.as_table` to make one of anything else.

    >>> table = Table({"age": np.array([31.0, np.nan]), "sex": np.array(["F", None], object)})
    >>> len(table), table.names, table.take([0])["sex"].tolist()
    (2, ('age', 'sex'), ['F'])
    """

    columns: dict[str, Array]
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.columns:
            raise DataError("a table without columns; give at least one column of values")
        rows = None
        for name, column in self.columns.items():
            if column.ndim != 1 or str(column.dtype) not in _DTYPES:
                raise DataError(
                    f"column {name!r} is {column.dtype}{list(column.shape)}, no column of a Table; "
                    "as_table makes one of arrays and data frames"
                )
            rows = len(column) if rows is None else rows
            if len(column) != rows:
                first = next(iter(self.columns))
                raise DataError(
                    f"column {name!r} has {len(column)} rows, {first!r} has {rows}; columns are equally long"
                )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> Array:
        if name not in self.columns:
            raise DataError(f"the table has no column {name!r}; {nearest(name, self.columns)}")
        return self.columns[name]

    def take(self, rows: Any) -> Table:
        """The rows of these numbers, in this order; a slice, or a mask, works too."""
        return Table({name: column[rows] for name, column in self.columns.items()}, self.levels)

    def select(self, names: Sequence[str]) -> Table:
        """Only these columns, in this order; DataError where one is missing, with the nearest name."""
        return Table({name: self[name] for name in names}, _of(self.levels, names))

    def drop(self, *names: str) -> Table:
        """All other columns; DataError where one is missing, with the nearest name."""
        for name in names:
            self[name]
        kept = [name for name in self.columns if name not in names]
        if not kept:
            raise DataError(
                f"nothing is left without {', '.join(map(repr, names))}; the table has no other column"
            )
        return self.select(kept)

    @property
    def nbytes(self) -> int:
        """Of the arrays; texts that recur are shared, and not counted."""
        return sum(column.nbytes for column in self.columns.values())


def _of(levels: Mapping[str, tuple[str, ...]], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    return {name: levels[name] for name in names if name in levels}


def is_missing(column: Array) -> Array:
    """Where a column has a gap.

    >>> is_missing(np.array(["a", None], object)).tolist()
    [False, True]
    """
    if column.dtype.kind == "f":
        return np.isnan(column)
    if column.dtype.kind == "M":
        return np.isnat(column)
    if column.dtype.kind == "O":
        return np.array([value is None for value in column.tolist()], bool)
    return np.zeros(len(column), bool)


def concatenate(tables: Sequence[Table]) -> Table:
    """Tables of the same columns below each other.

    >>> a = Table({"n": np.array([1, 2])})
    >>> concatenate([a, a])["n"].tolist()
    [1, 2, 1, 2]
    """
    first = tables[0]
    if len(tables) == 1:
        return first
    return Table({n: join([t[n] for t in tables], n) for n in first.columns}, first.levels)


def join(parts: Sequence[Array], name: str) -> Array:
    """One column of parts whose dtypes may differ as gaps and fractions make them: whole numbers beside
    numbers, truth values beside truth values with gaps."""
    kinds = {part.dtype.kind for part in parts}
    if kinds <= {"i", "f"} or len(kinds) == 1:
        return np.concatenate(parts)
    if kinds == {"b", "O"}:
        return np.concatenate([truth_as_text(p) if p.dtype.kind == "b" else p for p in parts])
    raise DataError(
        f"column {name!r} is {' and '.join(sorted({str(p.dtype) for p in parts}))} in parts of the data"
    )


def truth_as_text(column: Array) -> Array:
    """Truth values as the words True and False, for columns that have gaps."""
    return np.array(["False", "True"], object)[column.astype(np.intp)]
