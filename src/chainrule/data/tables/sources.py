"""Sources: rows larger than memory, read in parts that can be taken in any order."""

from __future__ import annotations

import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.tables.cells import GAPS
from chainrule.data.tables.delimited import Scan
from chainrule.data.tables.dialect import Dialect, sniff
from chainrule.data.tables.files import FORMATS, ending
from chainrule.data.tables.frames import as_table, check_names
from chainrule.data.tables.profile import Profile, describe_blocks
from chainrule.data.tables.reading import Widen
from chainrule.data.tables.table import Array, Table
from chainrule.data.tables.table_encoder import conform
from chainrule.errors import ConfigError, DataError, nearest

__all__ = ["ArraySource", "CsvSource", "ParquetSource", "Source", "open_source"]

Pieces = Iterator[tuple[int, Table]]
"""(the place of its first row in the data, rows)"""

_PIECE = 1 << 14  # rows that are a Table at a time
_PART_BYTES = 1 << 24  # of a text file
_READ = 1 << 20


class Source(ABC):
    """Rows in parts. ``survey`` goes over all of them once; then parts are read in any order.

    names    of the columns
    rows     how many there are; 0 before the survey where only reading tells
    parts    how many can be read independently of each other
    """

    names: tuple[str, ...]
    rows: int
    parts: int

    @abstractmethod
    def survey(self, kinds: Mapping[str, str], weight: str | None = None) -> Profile:
        """What is known of all columns, in one pass; ``weight`` names a column of weights."""

    @abstractmethod
    def read(self, part: int) -> Pieces:
        """The rows of a part in their order, some at a time."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Sizes, and a CRC-32 of the first and the last MiB: what tells one file from another in no time."""

    def check_columns(self, wanted: Sequence[str]) -> None:
        """DataError where a column is missing, with the nearest name."""
        for name in wanted:
            if name not in self.names:
                raise DataError(f"the data has no column {name!r}; {nearest(name, self.names)}")


def open_source(data: Any, columns: Sequence[str] | None = None, **options: Any) -> Source:
    """A source of a file (CSV, TSV, .gz of them, Parquet), a folder or pattern of Parquet files, or a dict of
    arrays such as memory-mapped ones. ``options`` are read_table's, for text files.

    >>> source = open_source({"x": np.arange(5.0), "y": np.arange(5)})
    >>> source.rows, source.names
    (5, ('x', 'y'))
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, Mapping):
        return ArraySource(data, columns)
    paths = _paths(data)
    how = FORMATS.get(ending(paths[0]), "text")
    if how == "parquet":
        return ParquetSource(paths, columns)
    if how != "text" or len(paths) > 1:
        raise DataError(
            f"{os.fspath(paths[0])} cannot be streamed; give one CSV file, Parquet files, or memory-mapped "
            "arrays: {'x': np.load('x.npy', mmap_mode='r'), …}"
        )
    return CsvSource(paths[0], columns, **options)


def _paths(data: Any) -> list[str]:
    given = [data] if isinstance(data, str | os.PathLike) else list(data)
    found: list[str] = []
    for item in given:
        path = str(os.fspath(item))
        if os.path.isdir(path):
            found += sorted(map(str, [*Path(path).glob("*.parquet"), *Path(path).glob("*.pq")]))
        else:
            found += sorted(glob(path)) or [path]
    if not found:
        raise DataError(f"there are no Parquet files in {data}; give a folder that holds some")
    return found


# ------------------------------------------------------------------ arrays


class ArraySource(Source):
    """Arrays of equal length by name, such as ``np.load("x.npy", mmap_mode="r")``: only what is needed is
    read. A 2-D array "x" is the columns x0, x1, …"""

    def __init__(self, arrays: Mapping[str, Any], columns: Sequence[str] | None = None) -> None:
        if not arrays:
            raise DataError("a source without arrays; give at least one array of values")
        self.columns: dict[str, tuple[Array, int | None]] = {}
        for name, array in arrays.items():
            self.columns.update(_columns(str(name), np.asanyarray(array)))
        self.names = check_names(self.columns if columns is None else columns)
        self.check_columns(self.names)
        lengths = {name: len(array) for name, (array, _) in self.columns.items()}
        first, self.rows = next(iter(lengths.items()))
        for name, rows in lengths.items():
            if rows != self.rows:
                raise DataError(
                    f"{name!r} has {rows} rows, {first!r} has {self.rows}; arrays are equally long"
                )
        if not self.rows:
            raise DataError("the arrays have no rows; give at least one")
        self.parts = -(-self.rows // _PIECE)

    def check_columns(self, wanted: Sequence[str]) -> None:
        for name in wanted:
            if name not in self.columns:
                raise DataError(f"the data has no column {name!r}; {nearest(name, self.columns)}")

    def survey(self, kinds: Mapping[str, str], weight: str | None = None) -> Profile:
        return _surveyed(self, kinds, weight)

    def fingerprint(self) -> str:
        found = []
        for name in self.names:
            array, j = self.columns[name]
            if array.dtype.kind != "O":
                ends = [_values(array, j, rows).tobytes() for rows in (slice(None, 1000), slice(-1000, None))]
                found.append(f"{name}:{len(array)}:{zlib.crc32(b''.join(ends)):08x}")
        return " ".join(found)

    def read(self, part: int) -> Pieces:
        start = part * _PIECE
        rows = slice(start, start + _PIECE)
        yield start, as_table({n: _values(*self.columns[n], rows) for n in self.names})


def _columns(name: str, array: Array) -> dict[str, tuple[Array, int | None]]:
    if array.ndim == 1:
        return {name: (array, None)}
    if array.ndim == 2:
        return {f"{name}{j}": (array, j) for j in range(array.shape[1])}
    raise DataError(f"{name!r} has shape {array.shape}; give arrays (rows,) or (rows, columns)")


def _values(array: Array, column: int | None, rows: slice) -> Array:
    return np.asarray(array[rows] if column is None else array[rows, column])


# ------------------------------------------------------------------ Parquet


class ParquetSource(Source):
    """Parquet files of the same columns. A part is a row group, unpacked 16,384 rows at a time."""

    def __init__(self, paths: Sequence[str], columns: Sequence[str] | None = None) -> None:
        from chainrule.data.tables.binary import readable

        self.names, self.rows = (), 0
        self.groups: list[tuple[str, int, int]] = []  # file, row group, its first row
        for path in paths:
            with readable(path, "Parquet"):
                from chainrule.data.tables.binary import open_parquet

                file = open_parquet(path)
                names = check_names(file.schema_arrow.names, path)
                if self.names and names != self.names:
                    differ = ", ".join(sorted({*names} ^ {*self.names})[:5]) or "their order"
                    raise DataError(
                        f"{path} has other columns than {paths[0]} ({differ}); stream files of one table"
                    )
                self.names = names
                for group in range(file.metadata.num_row_groups):
                    self.groups.append((path, group, self.rows))
                    self.rows += file.metadata.row_group(group).num_rows
        if columns is not None:
            self.check_columns(columns)
            self.names = tuple(columns)
        if not self.rows:
            raise DataError(f"{paths[0]} has columns but no rows; give at least one row of values")
        self.parts = len(self.groups)

    def survey(self, kinds: Mapping[str, str], weight: str | None = None) -> Profile:
        return _surveyed(self, kinds, weight)

    def fingerprint(self) -> str:
        return " ".join(_fingerprint(path) for path in dict.fromkeys(path for path, _, _ in self.groups))

    def read(self, part: int) -> Pieces:
        import pyarrow as pa

        from chainrule.data.tables.binary import open_parquet, readable

        path, group, first = self.groups[part]
        with readable(path, "Parquet"):
            file = open_parquet(path)
            batches = file.iter_batches(
                _PIECE, row_groups=[group], columns=list(self.names), use_threads=False
            )
            for batch in batches:
                if batch.num_rows:
                    yield first, as_table(pa.Table.from_batches([batch]))
                    first += batch.num_rows


# ------------------------------------------------------------------ CSV


class CsvSource(Source):
    """A CSV file. The survey finds out what its columns hold, and where its lines begin: a part is about 16
    MiB of whole lines. A file packed by gzip, or of UTF-16, is one part, since it can only be read from its
    beginning.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: Sequence[str] | None = None,
        *,
        kinds: Mapping[str, str] | None = None,
        missing: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        self.path = os.fspath(path)
        self.dialect: Dialect = sniff(path, **options)
        self.gaps = GAPS if missing is None else frozenset(["", *missing])
        self.names = self.dialect.names
        if columns is not None:
            self.check_columns(columns)
            self.names = tuple(columns)
        self.known: dict[str, str] = {}
        self.ends: list[int] = []
        self.firsts: list[int] = [0]
        self.rows, self.parts = 0, 1

    def survey(self, kinds: Mapping[str, str], weight: str | None = None) -> Profile:
        text = {n: "text" for n, k in kinds.items() if k in ("categorical", "ordinal", "text", "boolean")}
        while True:
            scan = self._scan(text)
            try:
                profile = describe_blocks(_weighted(map(_as_block, scan), kinds, weight))
            except Widen as found:
                text.update(dict.fromkeys(found.names, "text"))
                continue
            self.known = scan.kinds
            self.rows = profile.described
            self.ends = _line_ends(self.path, self.dialect)
            self.parts, self.firsts = max(len(self.ends) - 1, 1), [0]
            return profile

    def fingerprint(self) -> str:
        return _fingerprint(self.path)

    def read(self, part: int) -> Pieces:
        if not self.known:
            raise ConfigError("a CSV file is read in parts after its survey; call survey first")
        span = (self.ends[part], self.ends[part + 1]) if self.ends else None
        first = self.ends[part] if self.ends else 0  # a place that no other row has, in bytes
        for block in self._scan(self.known, span):
            table = _as_block(block)
            yield first, table
            first += len(table)

    def _scan(self, kinds: Mapping[str, str], span: tuple[int, int] | None = None) -> Scan:
        return Scan(
            self.path, self.dialect, self.gaps, kinds=kinds, columns=self.names, block=_PIECE, span=span
        )


def _as_block(columns: Mapping[str, Array]) -> Table:
    return Table(dict(columns))


def _line_ends(path: str, dialect: Dialect) -> list[int]:
    """Where parts begin and end, in bytes; empty where a file has one part only. A line ends at its newline
    outside of quotes: where the number of quotes before it is even."""
    with open(path, "rb") as file:
        start = file.read(3)
        if start[:2] in (b"\x1f\x8b", b"\xff\xfe", b"\xfe\xff") or "16" in (dialect.encoding or ""):
            return []
        file.seek(0)
        ends, inside, at = [0], 0, 0
        while data := file.read(_READ):
            if at + len(data) - ends[-1] >= _PART_BYTES:
                found = np.frombuffer(data, np.uint8)
                within = (np.cumsum(found == ord('"')) + inside) % 2
                lines = np.flatnonzero((found == ord("\n")) & (within == 0))
                if lines.size:
                    ends.append(at + int(lines[-1]) + 1)
            inside = (inside + data.count(b'"')) % 2
            at += len(data)
    if ends[-1] < at:
        ends.append(at)
    return ends if len(ends) > 2 else []


# ------------------------------------------------------------------ shared


def _fingerprint(path: str) -> str:
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        crc = zlib.crc32(file.read(1 << 20))
        file.seek(max(size - (1 << 20), 0))
        return f"{size}:{zlib.crc32(file.read(1 << 20), crc):08x}"


def _surveyed(source: Source, kinds: Mapping[str, str], weight: str | None) -> Profile:
    tables = (table for part in range(source.parts) for _, table in source.read(part))
    return describe_blocks(_weighted(tables, kinds, weight))


def _weighted(
    tables: Iterator[Table], kinds: Mapping[str, str], weight: str | None
) -> Iterator[tuple[Table, Array | None]]:
    for table in tables:
        found = conform(table, kinds)
        yield found, None if weight is None else found[weight]
