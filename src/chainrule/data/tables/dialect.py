"""How a text file is written: its delimiter, its decimal mark, its header."""

from __future__ import annotations

import contextlib
import csv
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from chainrule.data.tables.cells import number
from chainrule.data.tables.frames import check_names
from chainrule.data.tables.gate import open_text
from chainrule.errors import ConfigError, DataError

__all__ = ["Dialect", "not_decoded", "sniff"]

_DELIMITERS = (",", ";", "\t", "|")
_LOOK = 1 << 17  # characters looked at
_ROWS = 200
_COMMA = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+")
_SEP = re.compile(r'"?sep=([^\r\n"])"?(?:\r\n|\n|\r)', re.IGNORECASE)
_POINT = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class Dialect:
    """How a text file is written.

    names      of the columns, in the file's order
    header     whether its first line holds them
    trailing   whether each line ends in a delimiter, after which nothing stands
    announced  whether a line such as sep=; stands above all, as Excel has it
    """

    delimiter: str
    decimal: str
    encoding: str | None
    names: tuple[str, ...]
    header: bool = True
    trailing: bool = False
    announced: bool = False

    @property
    def lines_above(self) -> int:
        """Lines above the rows."""
        return self.announced + self.header


def sniff(
    path: str | os.PathLike[str],
    *,
    delimiter: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    header: bool = True,
) -> Dialect:
    """What the first 128 KiB of a file say; whatever is given is believed.

    The delimiter is the one of , ; tab | that cuts most lines into the header's number of cells, two at
    least; none where it is a single column. The decimal mark is a comma where numbers have one and none
    has a point. DataError for an empty file, a header alone, names that are blank or occur twice.
    """
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise ConfigError(f"delimiter is one character, such as ';' or '\\t', got {delimiter!r}")
    if decimal not in (None, ".", ","):
        raise ConfigError(f"decimal is '.' or ',', got {decimal!r}")
    text = _start(path, encoding)
    shown = os.fspath(path)
    if not text.strip():
        raise DataError(f"{shown} is empty; give a file with a line of column names and rows below it")
    announced = _SEP.match(text)
    if announced is not None:
        text, delimiter = text[announced.end() :], delimiter or announced[1]
    found = delimiter or _delimiter(text)
    rows = _rows(text, found)
    trailing = len(rows[0]) > 1 and all(row[-1].strip() == "" for row in rows if len(row) == len(rows[0]))
    first = [cell.strip() for cell in rows[0][: -1 if trailing else None]]
    if header:
        _check_header(first, rows, shown)
        names = check_names(first, shown)
    else:
        names = tuple(f"x{j}" for j in range(len(first)))
    mark = decimal or _decimal(rows[1:], found)
    return Dialect(found, mark, encoding, names, header, trailing, announced is not None)


def _start(path: str | os.PathLike[str], encoding: str | None) -> str:
    """The first characters, without a line that is cut off."""
    with open_text(path, encoding) as file:
        try:
            text = file.read(_LOOK)
        except UnicodeDecodeError as error:
            raise not_decoded(os.fspath(path), error, 1) from None
    if len(text) < _LOOK:
        return text
    return text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text


def not_decoded(path: str, error: UnicodeError, line: int) -> DataError:
    """A file that is in another encoding than was thought."""
    code = getattr(error, "encoding", "utf-8")
    return DataError(
        f"{path} is not {code} text (near line {line}); say what it is: Excel on Windows writes "
        "encoding='cp1252', older programs 'latin-1'"
    )


def _rows(text: str, delimiter: str) -> list[list[str]]:
    """The first lines that are not blank. A quote that is not closed ends the look, not the reading."""
    rows: list[list[str]] = []
    reader = csv.reader(_lines(text), delimiter=delimiter)
    with contextlib.suppress(csv.Error):
        rows.extend(row for row in itertools.islice(reader, _ROWS) if row)
    return rows or [[text]]


def _lines(text: str) -> Iterator[str]:
    start = 0
    for match in re.finditer(r"\r\n|\n|\r", text):
        yield text[start : match.end()]
        start = match.end()
    if start < len(text):
        yield text[start:]


def _delimiter(text: str) -> str:
    best, chosen = 0.0, ","
    for delimiter in _DELIMITERS:
        rows = _rows(text, delimiter)
        cells = len(rows[0])
        alike = sum(len(row) == cells for row in rows) / len(rows)
        score = alike if cells > 1 else 0.0
        if alike > 0.9:  # among those that fit, the one that cuts finest
            score += min(cells, 1000) if cells > 1 else 0
        if score > best:
            best, chosen = score, delimiter
    return chosen


def _decimal(rows: list[list[str]], delimiter: str) -> str:
    if delimiter == ",":
        return "."
    cells = [cell.strip() for row in rows for cell in row]
    commas = sum(_COMMA.fullmatch(cell) is not None for cell in cells)
    points = sum(_POINT.fullmatch(cell) is not None and not _COMMA.fullmatch(cell) for cell in cells)
    return "," if commas > points else "."


def _check_header(first: list[str], rows: list[list[str]], shown: str) -> None:
    if len(rows) > 1 and all(number(cell) is not None for cell in first):
        raise DataError(
            f"the first line of {shown} holds numbers, not column names ({', '.join(first[:4])} …); "
            "write names above it, or say header=False"
        )
    widths = {len(row) for row in rows[1:]}
    if widths == {len(first) + 1} and any(row[-1].strip() for row in rows[1:]):
        raise DataError(
            f"every line of {shown} has {len(first) + 1} values, its header {len(first)} names; give the "
            "first column a name too (R: row.names = FALSE), or put texts in quotes that hold the delimiter"
        )
