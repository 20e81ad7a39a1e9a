"""CSV and TSV: Python's csv cuts lines into cells, block by block; every mistake is told with its line."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from chainrule.data.tables.cells import LARGEST_EXACT
from chainrule.data.tables.dialect import Dialect, not_decoded
from chainrule.data.tables.gate import memory_budget, open_text, over_budget
from chainrule.data.tables.reading import Column, Line, Widen
from chainrule.data.tables.table import Array, Table, join
from chainrule.errors import DataError

__all__ = ["BLOCK", "Scan", "read_delimited"]

BLOCK = 1 << 13
"""Rows that are cells of text at a time: they stay in the processor's cache."""


class Scan:
    """One pass over a text file: an iterator of blocks, each {name: values}.

    kinds      of columns that are known in advance (see :data:`~chainrule.data.tables.reading.KINDS`)
    columns    names to read, all by default
    span       the bytes of some of its lines, all by default
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dialect: Dialect,
        gaps: frozenset[str],
        *,
        kinds: Mapping[str, str] | None = None,
        columns: Sequence[str] | None = None,
        block: int = BLOCK,
        span: tuple[int, int] | None = None,
    ) -> None:
        self.file, self.dialect, self.block, self.span = os.fspath(path), dialect, block, span
        self.path = self.file if span is None else f"{self.file} (from byte {span[0]} on)"
        wanted = dialect.names if columns is None else columns
        known = kinds or {}
        self.columns = {n: Column(n, dialect.decimal, gaps, known.get(n)) for n in wanted}
        self.places = [(dialect.names.index(n), self.columns[n]) for n in wanted]

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for rows, line in self._rows():
            cells = list(zip(*rows, strict=True))
            yield {column.name: column.add(cells[j], line) for j, column in self.places}
        for column in self.columns.values():
            column.finish()

    @property
    def kinds(self) -> dict[str, str]:
        """Of all columns, once all was read. One without a single value counts as one of numbers."""
        return {name: column.kind or "number" for name, column in self.columns.items()}

    @property
    def nbytes(self) -> int:
        """Of the texts that are kept."""
        return sum(column.pool.nbytes for column in self.columns.values())

    def _rows(self) -> Iterator[tuple[list[list[str]], Line]]:
        dialect = self.dialect
        with open_text(self.file, dialect.encoding, self.span) as file:
            reader = csv.reader(file, delimiter=dialect.delimiter, strict=True)
            above = dialect.lines_above if self.span is None or self.span[0] == 0 else 0
            width = len(dialect.names) + dialect.trailing
            while True:
                start = reader.line_num
                try:
                    found = list(itertools.islice(reader, self.block))
                except csv.Error as error:
                    raise self._broken(str(error)) from None
                except UnicodeError as error:
                    raise not_decoded(self.path, error, reader.line_num + 1) from None
                if not found:
                    return
                rows, places = _without_blanks(found)
                if above:
                    rows, places, above = rows[above:], places[above:], max(above - len(rows), 0)
                if rows and set(map(len, rows)) != {width}:
                    raise self._ragged(rows, places, width, found, start)
                if rows:
                    yield rows, _Lines(found, places, start)

    def _ragged(
        self, rows: list[list[str]], places: Sequence[int], width: int, found: list[list[str]], start: int
    ) -> DataError:
        i, row = next((i, row) for i, row in enumerate(rows) if len(row) != width)
        line, mark = _Lines(found, places, start)(i), self.dialect.delimiter
        many = sum(len(row) != width for row in rows)
        also = f" ({many} such lines here)" if many > 1 else ""
        return DataError(
            f"line {line} of {self.path} has {len(row)} value{'s' * (len(row) != 1)}, not {width} as line 1"
            f"{also}; a text that holds {mark!r} stands in quotes, an empty value keeps its {mark!r}"
        )

    def _broken(self, reason: str) -> DataError:
        """Reads again, line by line, to tell where."""
        with open_text(self.file, self.dialect.encoding, self.span) as file:
            reader = csv.reader(file, delimiter=self.dialect.delimiter, strict=True)
            line = 1
            try:
                for _ in reader:
                    line = reader.line_num + 1
            except csv.Error:
                pass
        if "unexpected end" in reason or ("field larger" in reason and reader.line_num > line):
            return DataError(
                f"line {line} of {self.path} opens a quote that is never closed; close it, or write a quote "
                'inside of a text twice: ""'
            )
        if "field larger" in reason:
            return DataError(
                f"line {line} of {self.path} has a cell of over {csv.field_size_limit()} characters; it is "
                "no table of numbers and categories"
            )
        if "expected after" in reason:
            return DataError(
                f"line {line} of {self.path} goes on after a closing quote; write a quote inside of a text "
                'twice: ""'
            )
        return DataError(f"line {line} of {self.path} cannot be read: {reason}; correct the line")


def _without_blanks(found: list[list[str]]) -> tuple[list[list[str]], Sequence[int]]:
    """Rows, and their places among all lines. Blank lines are left out, also in a table of one column."""
    if [] not in found:
        return found, range(len(found))
    places = [i for i, row in enumerate(found) if row]
    return [found[i] for i in places], places


class _Lines:
    """The line in which a row begins: texts in quotes may hold ends of lines."""

    def __init__(self, found: list[list[str]], places: Sequence[int], start: int) -> None:
        self.found, self.places, self.start = found, places, start

    def __call__(self, row: int) -> int:
        before = self.found[: self.places[row]]
        return self.start + 1 + sum(1 + sum(cell.count("\n") for cell in cells) for cells in before)


def read_delimited(
    path: str | os.PathLike[str],
    dialect: Dialect,
    gaps: frozenset[str],
    *,
    kinds: Mapping[str, str] | None = None,
    columns: Sequence[str] | None = None,
    memory: int | None = None,
) -> Table:
    """The whole file. Where words show up in what seemed numbers, it is read again, that column as text."""
    known = dict(kinds or {})
    while True:
        try:
            return _read_once(Scan(path, dialect, gaps, kinds=known, columns=columns), memory)
        except Widen as found:
            known.update(dict.fromkeys(found.names, "text"))


def _read_once(scan: Scan, memory: int | None) -> Table:
    budget = memory_budget() if memory is None else memory
    parts: dict[str, list[Array]] = {name: [] for name in scan.columns}
    used = 0
    for block in scan:
        for name, values in block.items():
            parts[name].append(values)
            used += values.nbytes
        if 2 * used + scan.nbytes > budget:  # twice, while parts are joined
            raise over_budget(scan.path, 2 * used + scan.nbytes, budget, at_least=True)
    if not used:
        raise DataError(f"{scan.path} has a header but no rows; give at least one row of values")
    return Table({name: _whole_column(parts.pop(name), scan.columns[name]) for name in scan.columns})


def _whole_column(parts: list[Array], column: Column) -> Array:
    """Blocks before the first value are gaps of whatever came then."""
    if column.kind in ("truth", "text"):
        parts = [np.full(len(p), None, object) if p.dtype.kind == "f" else p for p in parts]
    elif column.kind in ("iso", "dmy", "mdy"):
        parts = [np.full(len(p), "NaT", "datetime64[us]") if p.dtype.kind == "f" else p for p in parts]
    elif column.largest > LARGEST_EXACT and len({p.dtype.kind for p in parts}) > 1:
        raise Widen(column.name)
    return join(parts, column.name)
