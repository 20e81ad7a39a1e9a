"""Rows as a file: CSV, TSV, Parquet, Feather or Excel, by its ending; CSV on standard output."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from chainrule.data.tables import Table
from chainrule.errors import DataError, MissingExtraError, nearest
from chainrule.storage import atomic_write

__all__ = ["WRITTEN", "check_ending", "neutral", "write_rows"]

WRITTEN = (".csv", ".tsv", ".parquet", ".feather", ".xlsx")
_BLOCK = 10_000
_EXACT = 2.0**53
_NUMBER = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?%?")


def check_ending(path: Path | None) -> None:
    """DataError for an ending that is not written; None is standard output."""
    if path is None:
        return
    if path.suffix.lower() not in WRITTEN:
        raise DataError(f"{path}: rows are not written so; {nearest(path.suffix, WRITTEN)}")
    if not path.absolute().parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}; make it first")


def neutral(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: with ' before = + - @ and before what a spreadsheet
    skips on the way there. Numbers stay as they are.

    >>> neutral("=1+1"), neutral("-5,3"), neutral("a=b")
    ("'=1+1", '-5,3', 'a=b')
    """
    if text[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


def write_rows(table: Table, path: Path | None) -> None:
    """Writes a table, whole or not at all. MissingExtraError where a format needs a package."""
    if path is None:
        _delimited(table, sys.stdout, ",")
        return
    how = path.suffix.lower()
    if how in (".csv", ".tsv"):
        with atomic_write(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            _delimited(table, text, "," if how == ".csv" else "\t")
            text.flush()
            text.detach()
        return
    with atomic_write(path) as file:
        file.write(_excel(table) if how == ".xlsx" else _arrow(table, how, path))


def _delimited(table: Table, file: TextIO, delimiter: str) -> None:
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow([neutral(name) for name in table.names])
    for rows in _blocks(table):
        writer.writerows(rows)


def _blocks(table: Table) -> Iterator[list[tuple[str, ...]]]:
    whole = {name: _is_whole(table[name]) for name in table.names}
    for start in range(0, len(table), _BLOCK):
        part = table.take(slice(start, start + _BLOCK))
        yield list(zip(*(_cells(part[name], whole[name]) for name in part.names), strict=True))


def _is_whole(column: Any) -> bool:
    """Whether numbers are whole, with gaps among them: they are written as they were read, 1989."""
    if column.dtype.kind != "f":
        return False
    known = column[~np.isnan(column)]
    return bool(((known == np.floor(known)) & (np.abs(known) < _EXACT)).all())


def _cells(column: Any, whole: bool) -> list[str]:
    """A gap is an empty cell."""
    kind = column.dtype.kind
    if kind == "O":
        return ["" if v is None else neutral(v) for v in column.tolist()]
    if kind == "M":
        return ["" if v is None else _moment(v) for v in column.tolist()]
    if kind == "b":
        return ["true" if v else "false" for v in column.tolist()]
    if kind == "f":
        return ["" if v != v else str(int(v) if whole else v) for v in column.tolist()]
    return [str(v) for v in column.tolist()]


def _moment(value: Any) -> str:
    """A point in time; one before the year 1 or after 9999 is a number of microseconds to Python."""
    far = isinstance(value, int)
    text = str(np.datetime64(value, "us")).replace(".000000", "") if far else value.isoformat()
    return str(text).removesuffix("T00:00:00")


def _columns(table: Table) -> Mapping[str, Any]:
    return {name: table[name] for name in table.names}


def _arrow(table: Table, how: str, path: Path) -> bytes:
    try:
        import pyarrow as pa
        from pyarrow import feather, parquet
    except ImportError as error:
        raise MissingExtraError(
            f"{path} needs pyarrow; install it: pip install 'chainrule[tables]', or write .csv"
        ) from error
    found = pa.table({name: pa.array(column, from_pandas=True) for name, column in _columns(table).items()})
    sink = io.BytesIO()
    (parquet.write_table if how == ".parquet" else feather.write_feather)(found, sink)
    return sink.getvalue()


def _excel(table: Table) -> bytes:
    try:
        import openpyxl
    except ImportError as error:
        raise MissingExtraError(
            "an .xlsx file needs openpyxl; install it: pip install 'chainrule[tables]', or write .csv"
        ) from error
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("rows")
    sheet.append([_excel_text(name) for name in table.names])
    columns = [_excel_cells(column) for column in _columns(table).values()]
    for row in zip(*columns, strict=True):
        sheet.append(row)
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def _excel_cells(column: Any) -> list[Any]:
    values = column.tolist()
    if column.dtype.kind == "O":
        return [None if v is None else _excel_text(v) for v in values]
    if column.dtype.kind == "M":
        return [_moment(v) if isinstance(v, int) else v for v in values]
    return [None if v != v else v for v in values]


def _excel_text(text: str) -> str:
    """A cell of text, with � for what a sheet cannot hold."""
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    return str(ILLEGAL_CHARACTERS_RE.sub("\ufffd", neutral(text)))
