"""Parquet, Feather, Excel and NumPy files as tables, gated by what they would take in memory."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from chainrule.data.tables.columns import as_column
from chainrule.data.tables.frames import as_table, check_names
from chainrule.data.tables.gate import memory_budget, over_budget
from chainrule.data.tables.table import Table, concatenate
from chainrule.errors import DataError, MissingExtraError, nearest

__all__ = [
    "READERS",
    "need_pyarrow",
    "open_parquet",
    "read_excel",
    "read_feather",
    "read_numpy",
    "read_parquet",
    "readable",
]

Path = str | os.PathLike[str]

_BLOCK = 1 << 16  # rows of Parquet that are unpacked at a time
_CELL = 8
_BUFFER = 1 << 16  # bytes of each column that are read at a time; without it, all of its row group
_UNPACKED = 6  # bytes of memory for each byte of an Excel sheet's XML, read row by row


def read_parquet(path: Path, columns: Sequence[str] | None = None, memory: int | None = None) -> Table:
    """A Parquet file. Its rows × columns × 8 bytes are counted before anything is unpacked, the bytes of
    what was unpacked after every 65,536 rows: a file of 1 MB may hold 2 GB of equal values."""
    with readable(path, "Parquet"):
        file = open_parquet(path)
        names = _chosen(file.schema_arrow.names, columns, path)
        batches = file.iter_batches(_BLOCK, columns=list(names))
        return _gathered(path, batches, file.metadata.num_rows, names, memory)


def read_feather(path: Path, columns: Sequence[str] | None = None, memory: int | None = None) -> Table:
    """A Feather (Arrow) file, gated as Parquet is."""
    need_pyarrow(path)
    import pyarrow as pa
    from pyarrow import dataset

    with readable(path, "Feather"), pa.OSFile(os.fspath(path)) as raw:
        rows = dataset.dataset(os.fspath(path), format="feather").count_rows()
        file = pa.ipc.open_file(raw)
        names = _chosen(file.schema.names, columns, path)
        batches = (file.get_batch(i).select(list(names)) for i in range(file.num_record_batches))
        return _gathered(path, batches, rows, names, memory)


def _gathered(
    path: Path, batches: Iterator[Any], rows: int, names: Sequence[str], memory: int | None
) -> Table:
    """Batches below each other; they are freed one by one."""
    import pyarrow as pa

    budget = memory_budget() if memory is None else memory
    if (needed := 2 * rows * len(names) * _CELL) > budget:  # twice, while parts are joined
        raise over_budget(os.fspath(path), needed, budget)
    if not rows:
        raise DataError(f"{os.fspath(path)} has columns but no rows; give at least one row of values")
    parts, used = [], 0
    for batch in batches:
        if batch.nbytes > budget:
            raise over_budget(os.fspath(path), batch.nbytes, budget)
        parts.append(as_table(pa.Table.from_batches([batch])))
        used += 2 * parts[-1].nbytes + batch.nbytes
        if used > budget:
            raise over_budget(os.fspath(path), used, budget, at_least=True)
    return concatenate([part for part in parts if len(part)])


def read_excel(path: Path, columns: Sequence[str] | None = None, memory: int | None = None) -> Table:
    """The first sheet of an .xlsx file: names in its first row, values below."""
    try:
        import openpyxl
    except ImportError:
        raise MissingExtraError(
            f"reading {os.fspath(path)} needs openpyxl; pip install 'chainrule[tables]'"
        ) from None
    budget = memory_budget() if memory is None else memory
    with readable(path, "Excel"):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
        if (needed := _UNPACKED * unpacked) > budget:
            raise over_budget(os.fspath(path), needed, budget)
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            rows = [row for row in book.worksheets[0].iter_rows(values_only=True) if set(row) != {None}]
        finally:
            book.close()
    return _from_rows(rows, columns, path)


def _from_rows(rows: list[tuple[Any, ...]], columns: Sequence[str] | None, path: Path) -> Table:
    if not rows:
        raise DataError(
            f"{os.fspath(path)} is empty; give a sheet with a row of column names and rows below it"
        )
    if len(rows) == 1:
        raise DataError(f"{os.fspath(path)} has a header but no rows; give at least one row of values")
    width = max(j + 1 for row in rows for j, value in enumerate(row) if value is not None)
    names = check_names((*rows[0], *[None] * width)[:width], os.fspath(path))
    cells = [(*row, *[None] * width)[:width] for row in rows[1:]]
    found = dict(zip(names, zip(*cells, strict=True), strict=True))
    objects = {}
    for name in _chosen(names, columns, path):
        objects[name] = np.empty(len(cells), object)
        objects[name][:] = found[name]
    return Table({name: as_column(values, name) for name, values in objects.items()})


def read_numpy(path: Path, columns: Sequence[str] | None = None, memory: int | None = None) -> Table:
    """An array (rows, columns), or the named arrays of an .npz file; pickled objects are refused."""
    budget = memory_budget() if memory is None else memory
    with readable(path, "NumPy"):
        if not zipfile.is_zipfile(path):
            array = np.lib.format.open_memmap(os.fspath(path), mode="r")
            if (needed := array.size * _CELL) > budget:
                raise over_budget(os.fspath(path), needed, budget)
            table = as_table(array)
        else:
            with open(path, "rb") as raw:
                with zipfile.ZipFile(raw) as archive:
                    unpacked = sum(part.file_size for part in archive.infolist())
                if (needed := 2 * unpacked) > budget:
                    raise over_budget(os.fspath(path), needed, budget)
                raw.seek(0)
                table = as_table(dict(np.load(raw, allow_pickle=False)))
    return table if columns is None else table.select(columns)


# ------------------------------------------------------------------ shared


def need_pyarrow(path: Path) -> None:
    """MissingExtraError where pyarrow is not installed."""
    try:
        import pyarrow as pa  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            f"reading {os.fspath(path)} needs pyarrow; pip install 'chainrule[tables]'"
        ) from None


def open_parquet(path: Path) -> Any:
    """pyarrow's ParquetFile; the file is not mapped into memory, so that what was read counts once, and words
    that recur are not unpacked."""
    need_pyarrow(path)
    import pyarrow as pa
    from pyarrow import parquet

    def opened(texts: list[str]) -> Any:
        return parquet.ParquetFile(
            os.fspath(path), memory_map=False, pre_buffer=False, buffer_size=_BUFFER, read_dictionary=texts
        )

    file = opened([])
    texts = [
        f.name for f in file.schema_arrow if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)
    ]
    if not texts:
        return file
    file.close()
    return opened(texts)


def _chosen(names: Sequence[str], columns: Sequence[str] | None, path: Path) -> tuple[str, ...]:
    check_names(names, os.fspath(path))
    for name in columns or ():
        if name not in names:
            raise DataError(f"{os.fspath(path)} has no column {name!r}; {nearest(name, names)}")
    return tuple(names if columns is None else columns)


class readable:  # noqa: N801 - used as `with readable(…):`
    """What libraries raise about a file that is missing, broken or of another kind becomes a DataError."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = os.fspath(path), kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, FileNotFoundError):
            raise DataError(f"there is no file {self.path}; check the path") from None
        if isinstance(error, DataError | MissingExtraError) or not isinstance(error, Exception):
            return
        known = isinstance(error, OSError | ValueError | KeyError | zipfile.BadZipFile | EOFError | TypeError)
        if known or type(error).__module__.partition(".")[0] in ("pyarrow", "openpyxl"):
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise DataError(
                f"{self.path} cannot be read as {self.kind} ({reason}); write it again, or give another "
                "ending"
            ) from None


READERS: dict[str, Callable[[Path, Sequence[str] | None, int | None], Table]] = {
    "parquet": read_parquet,
    "feather": read_feather,
    "excel": read_excel,
    "numpy": read_numpy,
}
