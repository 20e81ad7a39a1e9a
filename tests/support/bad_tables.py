"""Files of which no model can be made, each with what its one error says: for Python and the command line.

Every sample names what is wrong with it in ``words``; messages that are right also say where, and what to do.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["BAD_MODELS", "BAD_ROWS", "BAD_TABLES", "GOOD", "Bad", "good"]


def good(rows: int = 40, **cells: str) -> str:
    """A table from which can be learned: two columns and the target y. ``cells`` stand in row 4, which is
    line 6."""
    lines = ["size,kind,y"]
    for i in range(rows):
        row = {"size": f"{i * 7 % 40 / 4}", "kind": "abc"[i % 3], "y": "yes" if i % 2 else "no"}
        row |= cells if i == 4 else {}
        lines.append(",".join(row.values()))
    return "\n".join(lines) + "\n"


GOOD = good()


@dataclass(frozen=True)
class Bad:
    """A file, and what is said of it.

    content    of the file
    words      that the error holds, in this order or another
    options    of the command line, beside the target; ``settings`` are the same for Python
    """

    content: str | bytes
    words: tuple[str, ...]
    name: str = "rows.csv"
    target: str = "y"
    options: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: str = ""

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        data = self.content if isinstance(self.content, bytes) else self.content.encode()
        path.write_bytes(gzip.compress(data) if self.name.endswith(".gz") else data)
        return path


def _numbers(last: str = "1.5") -> str:
    return "size,y\n" + "".join(f"{i},{i}.5\n" for i in range(30)) + f"30,{last}\n"


BAD_TABLES: dict[str, Bad] = {
    # the file
    "empty": Bad("", ("rows.csv is empty",)),
    "blank": Bad("\n\n  \n", ("rows.csv is empty",)),
    "header only": Bad("size,kind,y\n", ("rows.csv", "header", "row")),
    "one row": Bad("size,kind,y\n1,a,yes\n", ("rows.csv", "1 row;", "10 or more")),
    "few rows": Bad(good(6), ("6 rows", "10 or more")),
    "ragged": Bad(GOOD + "1,a\n", ("rows.csv", "line 42", "2 values", "not 3")),
    "too long a line": Bad(GOOD + "1,a,no,7\n", ("rows.csv", "line 42", "4 values", "not 3")),
    "duplicate names": Bad(GOOD.replace("size", "kind", 1), ("rows.csv", "2 columns called 'kind'")),
    "blank name": Bad(GOOD.replace("size", "", 1), ("rows.csv", "name")),
    "unclosed quote": Bad(good(kind='"a'), ("rows.csv", "line 6", "quote")),
    "NUL": Bad(good(kind="a\0"), ("rows.csv", "NUL")),
    "another encoding": Bad(good(kind="\xe4").encode("latin-1"), ("rows.csv", "encoding")),
    "no gzip": Bad(b"\x1f\x8b and nothing more", ("rows.csv",)),
    "a picture": Bad(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ("rows.png",), name="rows.png"),
    "no Parquet": Bad(b"PAR1 and no more", ("rows.parquet", "Parquet"), name="rows.parquet", needs="pyarrow"),
    "no Feather": Bad(b"ARROW1 and no more", ("rows.feather",), name="rows.feather", needs="pyarrow"),
    "no Excel": Bad(b"PK\x03\x04 and no more", ("rows.xlsx",), name="rows.xlsx", needs="openpyxl"),
    "no array": Bad(b"\x93NUMPY\x01\x00", ("rows.npy",), name="rows.npy"),
    # columns
    "a stray word": Bad(good(size="many"), ("'size'", "line 6", "'many'")),
    "infinite": Bad(good(size="inf"), ("rows.csv", "'size'", "1 Inf in 1 row (4)")),
    "target beyond float32": Bad(_numbers("-1e40"), ("1e+40", "float32", "another unit")),
    "beyond floats": Bad(good(size="-1e400"), ("'size'", "1 Inf in 1 row (4)")),
    "kinds of no column": Bad(
        GOOD, ("'sise'", "did you mean 'size'"), options=("--kinds", "sise=numeric"),
        settings={"kinds": {"sise": "numeric"}},
    ),
    "an unknown kind": Bad(
        GOOD, ("'categoric'", "did you mean 'categorical'"), options=("--kinds", "kind=categoric"),
        settings={"kinds": {"kind": "categoric"}},
    ),
    "text said to be numbers": Bad(
        GOOD, ("'kind'", "'a'"), options=("--kinds", "kind=numeric"), settings={"kinds": {"kind": "numeric"}}
    ),
    "nothing left": Bad(
        "id,y\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(30)), ("no column is left", "'id'")
    ),
    "the target alone": Bad("y\n" + "a\nb\n" * 20, ("nothing is left", "'y'")),
    # the target
    "no such target": Bad(GOOD, ("'why'", "Known: kind, size, y"), target="why"),
    "a near target": Bad(GOOD, ("'kinds'", "did you mean 'kind'"), target="kinds"),
    "a label missing": Bad(good(y=""), ("rows.csv", "y has no value in 1 row (4)", "never guessed")),
    "one class": Bad(GOOD.replace("yes", "no"), ("y has one class only", "'no'")),
    "numbers told apart": Bad(
        _numbers(), ("y holds", "quantities"), options=("--task", "classification"),
        settings={"task": "classification"},
    ),
    "words regressed": Bad(
        GOOD, ("y holds text", "'no'", "classifier"), options=("--task", "regression"),
        settings={"task": "regression"},
    ),
    "an infinite number": Bad(_numbers("inf"), ("y", "inf")),
    "no logarithm": Bad(
        _numbers("-4"), ("-4", "log"), options=("--log-target", "log"), settings={"log_target": "log"}
    ),
    "logarithm of classes": Bad(
        GOOD, ("log_target", "classification"), options=("--log-target", "log"),
        settings={"log_target": "log"},
    ),
    "parts of nothing": Bad(
        GOOD, ("no rows to learn from",), options=("--test", "0.5", "--validation", "0.5"),
        settings={"test": 0.5, "validation": 0.5},
    ),
}  # fmt: skip
"""What can be wrong with a table to learn from."""

BAD_ROWS: dict[str, Bad] = {
    "empty": Bad("", ("rows.csv is empty",)),
    "a column missing": Bad(
        GOOD.replace("size", "sice", 1), ("lacks 1 column", "'size'", "did you mean 'sice'")
    ),
    "words for numbers": Bad("size,kind\nsmall,a\nlarge,b\n", ("'size'", "'small'")),
    "infinite": Bad(good(size="inf"), ("rows.csv", "'size'", "1 Inf in 1 row (4)")),
    "ragged": Bad(GOOD + "1,a\n", ("line 42",)),
    "duplicate names": Bad(GOOD.replace("size", "kind", 1), ("rows.csv", "2 columns called 'kind'")),
}
"""What can be wrong with rows to predict, for a model of GOOD."""


def _altered(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def _newer(data: bytes) -> bytes:
    return data.replace(b'\\"format\\":1', b'\\"format\\":9', 1)


BAD_MODELS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "longer": lambda data: data + b"\0",
    "altered": _altered,
    "newer": _newer,
    "a pickle": lambda data: b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins\x94.",
    "a zip": lambda data: b"PK\x03\x04" + data,
    "no header": lambda data: b"\xff" * 8 + data[8:],
    "text": lambda data: b"I am no model\n" * 20,
}
"""What can happen to a model file: from its bytes to others."""
