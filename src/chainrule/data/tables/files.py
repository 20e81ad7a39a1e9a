"""read_table: a file as a Table, by its ending."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chainrule.data.tables.cells import GAPS
from chainrule.data.tables.delimited import read_delimited
from chainrule.data.tables.dialect import sniff
from chainrule.data.tables.table import Table
from chainrule.errors import DataError, nearest

__all__ = ["FORMATS", "ending", "read_table"]

FORMATS = {
    ".csv": "text",
    ".tsv": "text",
    ".tab": "text",
    ".txt": "text",
    ".data": "text",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "feather",
    ".arrow": "feather",
    ".xlsx": "excel",
    ".npy": "numpy",
    ".npz": "numpy",
}
"""Endings of files and how they are read; .gz may follow one of text."""

_AS_TEXT = ("categorical", "ordinal", "text", "identifier", "boolean")


def read_table(
    path: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    header: bool = True,
    missing: Iterable[str] | None = None,
    memory: int | None = None,
) -> Table:
    """A file as a table: CSV, TSV (also .gz), Parquet, Feather, Excel (.xlsx), .npy or .npz.

    columns      those to read, in this order; all by default
    kinds        {name: kind} as for choose_encoders, or ``encoder.kinds``, so that a file to predict is read
                 as the one to train on was; a column that is to be categorical is read as text
    delimiter, decimal, encoding, header
                 of text files, found out where they are not given; header=False calls columns x0, x1, …
    missing      cells of text that are gaps, beside the empty one; GAPS by default
    memory       bytes that the table may take; half of the machine's by default

    Of text files: columns are whole numbers, numbers, true/false, dates (2024-02-29, 29.2.2024; 1/2/2024 is
    text, since nobody can tell) or text. Codes with leading zeros and numbers beyond 64 bits are text. A word
    among numbers is no reason to take them for categories: it is a DataError that names the cell.

    DataError also for: no such file, empty, a header alone, lines of unequal length, names that are blank or
    occur twice, a quote that is never closed, NUL, another encoding, a table beyond the memory allowed; each
    with its line.
    MissingExtraError for Parquet and Feather without pyarrow, Excel without openpyxl.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = Path(folder.name, "people.csv")
    >>> _ = file.write_text("age;income;born\\n31;1.200,50;1993-01-31\\n;980,00;1961-12-24\\n")
    >>> table = read_table(file)
    >>> table["age"].tolist(), table["income"].tolist(), table["born"].dtype.name
    ([31.0, nan], [1200.5, 980.0], 'datetime64[us]')
    >>> folder.cleanup()
    """
    how = FORMATS.get(ending(path), "text")
    if os.path.isdir(path):
        raise DataError(f"{os.fspath(path)} is a folder; give one file of it")
    if how != "text":
        from chainrule.data.tables import binary  # only where such a file is read

        return binary.READERS[how](path, columns, memory)
    dialect = sniff(path, delimiter=delimiter, decimal=decimal, encoding=encoding, header=header)
    _check_columns(columns or (), dialect.names, path)
    text = {
        name: "text" for name, kind in (kinds or {}).items() if kind in _AS_TEXT and name in dialect.names
    }
    gaps = GAPS if missing is None else frozenset(["", *missing])
    return read_delimited(path, dialect, gaps, kinds=text, columns=columns, memory=memory)


def ending(path: Any) -> str:
    """Of a file's name, in small letters, without .gz.

    >>> ending("People.CSV.gz")
    '.csv'
    """
    name = os.fspath(path).lower().removesuffix(".gz")
    return Path(name).suffix


def _check_columns(wanted: Iterable[str], names: Sequence[str], path: Any) -> None:
    for name in wanted:
        if name not in names:
            raise DataError(f"{os.fspath(path)} has no column {name!r}; {nearest(name, names)}")
