"""as_table: data frames, dicts of arrays and 2-D arrays as one Table."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from chainrule.data.faults import comes_from, unreadable
from chainrule.data.tables.cells import LARGEST_EXACT
from chainrule.data.tables.columns import as_column
from chainrule.data.tables.table import Array, Table
from chainrule.errors import DataError, MissingExtraError

__all__ = ["as_table", "check_names"]

_FRAMES = ("pandas", "polars", "pyarrow", "modin", "cudf")


def as_table(x: Any) -> Table:
    """Anything that has columns, as a Table; values are copied, gaps take the Table's form.

    A data frame of pandas, Polars or pyarrow (through narwhals), a dict {name: values}, a 2-D array (columns
    x0, x1, …), an array of records, a list of equally long rows, or a Table, which is returned as it is.

    DataError names column, row and remedy: names that are blank or occur twice, columns of unequal length,
    sparse matrices, nested or complex values, text among numbers, one or three dimensions. MissingExtraError
    for a data frame without narwhals.

    >>> table = as_table({"age": [31, None], "sex": ["F", "M"]})
    >>> table["age"].tolist(), table["sex"].tolist()
    ([31.0, nan], ['F', 'M'])
    >>> as_table(np.eye(2)).names
    ('x0', 'x1')
    """
    if isinstance(x, Table):
        return x
    if any(comes_from(x, package) for package in _FRAMES):
        return _from_frame(x)
    if comes_from(x, "scipy.sparse"):
        raise DataError(f"a table cannot be made of a sparse matrix ({type(x).__name__}); use .toarray()")
    if isinstance(x, Mapping):
        return _from_mapping(x)
    return _from_array(x)


def check_names(names: Iterable[Any], what: str = "the table") -> tuple[str, ...]:
    """Names as text; DataError where one is blank or occurs twice.

    >>> check_names(["age", 3])
    ('age', '3')
    """
    texts = [str(name).strip() if name is not None else "" for name in names]
    if blank := [i + 1 for i, name in enumerate(texts) if not name]:
        listed = ", ".join(map(str, blank[:5])) + (", …" if len(blank) > 5 else "")
        verb = "s" if len(blank) == 1 else ""
        raise DataError(
            f"column{'s' * (not verb)} {listed} of {what} lack{verb} a name; give one to each, or leave out "
            "a column of row numbers (pandas: to_csv(…, index=False))"
        )
    places: dict[str, list[int]] = {}
    for i, name in enumerate(texts):
        places.setdefault(name, []).append(i + 1)
    if twice := {name: at for name, at in places.items() if len(at) > 1}:
        name, at = next(iter(twice.items()))
        raise DataError(
            f"{what} has {len(at)} columns called {name!r} (columns {', '.join(map(str, at[:5]))}); "
            "give each a name of its own"
        )
    return tuple(texts)


def _from_mapping(x: Mapping[Any, Any]) -> Table:
    if not x:
        raise DataError("a table without columns; give at least one column of values")
    names = check_names(x)
    return Table({name: as_column(_listed(v), name) for name, v in zip(names, x.values(), strict=True)})


def _listed(values: Any) -> Any:
    """Lists keep their values' own types: NumPy would make text of [1, "a"] and a float of [2**60, None]."""
    if isinstance(values, np.ndarray) or hasattr(values, "__array__"):
        return values
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        return np.array(values, object)  # no column: as_column says so
    found = list(values)
    column = np.empty(len(found), object)
    column[:] = found
    return column


def _from_array(x: Any) -> Table:
    try:
        array = x if isinstance(x, np.ndarray) else np.asarray(x)
    except (TypeError, ValueError) as error:
        raise DataError(unreadable(x, "the table", error)) from None
    if array.dtype.names:
        return _from_mapping({name: array[name] for name in array.dtype.names})
    if array.ndim != 2 or not array.shape[1]:
        remedy = {
            0: "give a data frame, a dict {name: values} or an array with one row per sample",
            1: "a table is rows and columns: x.reshape(-1, 1) for one column, x.reshape(1, -1) for one row",
        }.get(array.ndim, "a table is rows and columns: flatten each row, x.reshape(len(x), -1)")
        raise DataError(f"a table cannot be made of {type(x).__name__} of shape {array.shape}; {remedy}")
    if isinstance(x, list | tuple) and array.dtype.kind in "USO":  # NumPy made text of numbers
        array = np.array([list(row) for row in x], object)
    return Table({f"x{j}": as_column(array[:, j], f"x{j}") for j in range(array.shape[1])})


# ------------------------------------------------------------------ data frames


def _from_frame(x: Any) -> Table:
    try:
        import narwhals as nw
    except ImportError:
        raise MissingExtraError(
            f"a data frame of {type(x).__module__.partition('.')[0]} is read by narwhals, which is missing; "
            "pip install 'chainrule[tables]'"
        ) from None
    frame = _eager(x, nw)
    names = check_names(frame.columns)
    if not names:
        raise DataError("the data frame has no columns; give at least one column of values")
    columns = {
        name: _from_series(frame[own], name, nw) for own, name in zip(frame.columns, names, strict=True)
    }
    return Table(columns, _levels(frame, names, nw))


def _eager(x: Any, nw: Any) -> Any:
    if comes_from(x, "pandas"):
        pandas = sys.modules["pandas"]
        if isinstance(x, pandas.Series):
            x = x.to_frame()
        check_names(x.columns if x.columns.nlevels == 1 else map(str, x.columns), "the data frame")
        if any(not isinstance(name, str) for name in x.columns):
            x = x.set_axis([str(name) for name in x.columns], axis=1)
    try:
        found = nw.from_native(x, allow_series=True)
        found = found.collect() if isinstance(found, nw.LazyFrame) else found
        return found.to_frame() if isinstance(found, nw.Series) else found
    except (TypeError, ValueError, nw.exceptions.NarwhalsError) as error:
        raise DataError(f"{type(x).__name__} cannot be read as a table: {error}; give a data frame") from None


def _from_series(series: Any, name: str, nw: Any) -> Array:
    dtype = series.dtype
    if dtype.is_integer() or dtype == nw.Boolean:
        return _whole_series(series, name, nw)
    if dtype.is_float():
        return as_column(series.to_numpy(), name)
    if isinstance(dtype, nw.Datetime):
        if dtype.time_zone is not None:
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return as_column(series.to_numpy(), name)
    if comes_from(native := series.to_native(), "pyarrow") and (texts := _arrow_texts(native)) is not None:
        return texts
    return as_column(_listed(series.to_list()), name)


def _arrow_texts(chunks: Any) -> Array | None:
    """Text of pyarrow with each word made once: a small file may hold a long word a million times."""
    import pyarrow as pa

    kind = chunks.type.value_type if pa.types.is_dictionary(chunks.type) else chunks.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return None
    parts = []
    for chunk in chunks.chunks:
        coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        words = np.array([*coded.dictionary.to_pylist(), None], object)
        parts.append(words[coded.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False)])
    return np.concatenate(parts) if parts else np.empty(0, object)


def _whole_series(series: Any, name: str, nw: Any) -> Array:
    """With gaps: what would be changed as float64 is kept as text."""
    gaps = series.is_null().to_numpy()
    if not gaps.any():
        return as_column(series.to_numpy(), name)
    truth = series.dtype == nw.Boolean
    values = np.asarray(series.fill_null(False if truth else 0).to_numpy())
    if truth or (values.size and max(abs(int(values.max())), abs(int(values.min()))) > LARGEST_EXACT):
        objects = values.astype(object)
        objects[gaps] = None
        return as_column(objects, name)
    return np.where(gaps, np.nan, values.astype(np.float64))


def _levels(frame: Any, names: tuple[str, ...], nw: Any) -> dict[str, tuple[str, ...]]:
    """Of ordered categories: pandas says so, elsewhere an Enum may be a mere list of what is allowed."""
    if not frame.implementation.is_pandas_like():
        return {}
    return {
        name: tuple(map(str, dtype.categories))
        for dtype, name in zip(frame.schema.values(), names, strict=True)
        if isinstance(dtype, nw.Enum)
    }
