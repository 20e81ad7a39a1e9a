"""Values into the gaps of whatever has columns: a data frame stays the data frame that it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.data.tables import Table
from chainrule.executors import Array

__all__ = ["empty_like", "filled", "like"]


def filled(X: Any, table: Table, values: Table, gaps: Mapping[str, Array]) -> Any:
    """X with values in its gaps; cells that are known, dtypes, index and order stay.

    X         a data frame of pandas, Polars or pyarrow, a dict of columns, or a Table
    table     the same as a Table, of which ``values`` has the columns that are filled
    gaps      where they are, by column

    >>> table, values = (Table({"n": np.array([1.0, n])}) for n in (np.nan, 2.0))
    >>> filled({"n": [1, None]}, table, values, {"n": np.array([False, True])})["n"]
    array([1., 2.])
    """
    if isinstance(X, Mapping | Table):
        columns = dict(table.columns)
        for name, gap in gaps.items():
            columns[name] = np.where(gap, values[name], columns[name]).astype(columns[name].dtype)
        return Table(columns, table.levels) if isinstance(X, Table) else columns
    if hasattr(X, "iloc"):
        return _filled_pandas(X, values, gaps)
    import narwhals as nw

    frame = nw.from_native(X)
    new = []
    for own in frame.columns:
        series, name = frame[own], str(own).strip()
        if name in gaps and gaps[name].any():
            cells = series.to_list()
            for row, value in _cells(values[name], gaps[name], cells, series.dtype.is_integer()):
                cells[row] = value
            series = nw.new_series(own, cells, series.dtype, backend=frame.implementation)
        new.append(series)
    return frame.with_columns(*new).to_native()


def _filled_pandas(X: Any, values: Table, gaps: Mapping[str, Array]) -> Any:
    X = X.copy()
    for place, own in enumerate(X.columns):
        name = str(own).strip()
        if name not in gaps or not gaps[name].any():
            continue
        series = X.iloc[:, place].copy()
        found = _cells(values[name], gaps[name], series.to_list(), series.dtype.kind in "iu")
        series[gaps[name]] = [value for _, value in found]
        X[own] = series
    return X


def _cells(values: Array, gap: Array, present: list[Any], whole: bool) -> list[tuple[int, Any]]:
    """(row, value) of every gap: categories as the column writes them, numbers whole where it holds such."""
    written = {str(v): v for v in present} if values.dtype == object else {}
    found = []
    for row in np.flatnonzero(gap).tolist():
        value = values[row]
        if values.dtype == object:
            value = written.get(value, _number(value) if _of_numbers(present, gap) else value)
        elif values.dtype.kind == "M":
            value = value.item()
        else:
            value = round(float(value)) if whole else float(value)
        found.append((row, value))
    return found


def _of_numbers(present: list[Any], gap: Array) -> bool:
    """Whether the column's known cells are numbers, which text stands for."""
    known = next((v for v, away in zip(present, gap.tolist(), strict=True) if not away), None)
    return isinstance(known, int | float | np.number) and not isinstance(known, bool)


def _number(text: str) -> float:
    return float(text)


def empty_like(X: Any) -> Any:
    """None of X's rows: what :func:`like` needs to know of it."""
    if isinstance(X, Mapping | Table) or not hasattr(X, "columns"):
        return X if isinstance(X, Table) else {}
    import narwhals as nw

    return nw.from_native(X).head(0).to_native()


def like(table: Table, X: Any) -> Any:
    """A table of other columns as what X is: a data frame of its library, a dict, or a Table."""
    if isinstance(X, Table):
        return table
    if isinstance(X, Mapping):
        return dict(table.columns)
    import narwhals as nw

    backend = nw.from_native(X).implementation
    columns = {name: a.tolist() if a.dtype == object else a for name, a in table.columns.items()}
    found = nw.from_dict(columns, backend=backend).to_native()
    return found.set_axis(X.index) if hasattr(X, "iloc") and len(X) == len(found) else found
