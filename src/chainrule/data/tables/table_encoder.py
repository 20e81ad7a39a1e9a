"""TableEncoder: all columns of a table as what a network takes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule.data.tables.cast import as_dates, as_numbers
from chainrule.data.tables.encoder import ColumnEncoder, Notes
from chainrule.data.tables.frames import as_table
from chainrule.data.tables.profile import Profile, describe
from chainrule.data.tables.table import Array, Table
from chainrule.errors import ConfigError, DataError, nearest
from chainrule.spec import as_dtype

__all__ = ["Encoded", "TableEncoder", "conform", "path_of"]

_LONGEST = 100
_SHOWN = 5


class Encoded(NamedTuple):
    """Inputs of a network by name, and what was met on the way that training had not."""

    arrays: dict[str, Array]
    notes: Notes


@dataclass(frozen=True)
class TableEncoder:
    """How a table becomes inputs of a network: configuration. What it learned of the data is its state.

    "x"       (rows, width)     the features of all columns that are not embedded, in the order of ``columns``
    "codes"   (rows, embedded)  int32: one code for each embedded column; ``embeddings`` has their sizes

    An input without columns is left out. State is a dict of arrays called by paths, "encoder/age/mean".

    >>> from chainrule.data.tables import as_table, choose_encoders
    >>> table = as_table({"age": [20.0, 40.0, None], "sex": ["F", "M", "F"]})
    >>> encoder = choose_encoders(table)
    >>> state = encoder.fit(table)
    >>> encoder.feature_names
    ('age', 'age is missing', 'sex=F', 'sex=M')
    >>> encoder.encode(table, state)["x"].tolist()
    [[-1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]]
    """

    columns: tuple[ColumnEncoder, ...]

    def __post_init__(self) -> None:
        if wrong := [c for c in self.columns if not isinstance(c, ColumnEncoder)]:
            raise ConfigError(
                f"TableEncoder: {wrong[0]!r} encodes no column; give encoders such as Number('age')"
            )
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(
                f"TableEncoder: column {twice!r} is encoded twice; give one encoder for each column"
            )

    # ------------------------------------------------------------------ what comes out

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns from which something is taken."""
        return tuple(column.name for column in self.columns if column.features)

    @property
    def kinds(self) -> dict[str, str]:
        """What each column is taken for, also for reading: ``read_table(path, kinds=encoder.kinds)``."""
        return {column.name: column.kind for column in self.columns if column.features}

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Of the columns of "x"."""
        return tuple(name for column in self.columns if not column.codes for name in column.features)

    @property
    def code_names(self) -> tuple[str, ...]:
        """Of the columns of "codes"."""
        return tuple(column.name for column in self.columns if column.codes)

    @property
    def width(self) -> int:
        """Columns of "x"."""
        return sum(len(column.features) for column in self.columns if not column.codes)

    @property
    def embeddings(self) -> tuple[tuple[int, int], ...]:
        """(categories, units) for each column of "codes"."""
        return tuple((c.codes, getattr(c, "embedding", 0)) for c in self.columns if c.codes)

    def gaps(self) -> Table:
        """One row in which every cell is missing."""
        gap = {"numeric": np.array([np.nan]), "date": np.array(["NaT"], "datetime64[us]")}
        return Table({name: gap.get(kind, np.array([None], object)) for name, kind in self.kinds.items()})

    # ------------------------------------------------------------------ state

    def fit(self, table: Any, weight: Any = None) -> dict[str, Array]:
        """What is learned of the data, by path. ``table`` may be a Profile: of blocks that were merged.

        DataError where a column is missing or is not what its encoder takes.
        """
        if isinstance(table, Profile):
            profile = table
        else:
            found = as_table(table)
            self._check_columns(found.names)
            profile = describe(conform(found.select(self.names), self.kinds), weight)
        self._check_columns(profile.columns)
        state = {}
        for column in self.columns:
            if column.features:
                learned = column.fit(profile.columns[column.name], profile.sample)
                state.update(
                    {path_of(column.name, key): np.asarray(v, np.float64) for key, v in learned.items()}
                )
        return state

    # ------------------------------------------------------------------ encoding

    def encode(
        self, table: Any, state: Mapping[str, Array], dtype: npt.DTypeLike = "float32"
    ) -> dict[str, Array]:
        """The inputs of a network by name: ``transform`` without its notes."""
        return self.transform(table, state, dtype).arrays

    def transform(self, table: Any, state: Mapping[str, Array], dtype: npt.DTypeLike = "float32") -> Encoded:
        """The inputs of a network by name, and notes. Columns may come in any order, with others among them.

        DataError: a column is missing (with the nearest names), holds text where numbers were, is infinite.
        """
        found = as_table(table)
        self._check_columns(found.names)
        known = {column.name for column in self.columns}
        notes = Notes(ignored=tuple(name for name in found.names if name not in known))
        rows, arrays = len(found), {}
        if self.width:
            x = arrays["x"] = np.zeros((rows, self.width), as_dtype(dtype))
        if self.code_names:
            codes = arrays["codes"] = np.zeros((rows, len(self.code_names)), np.int32)
        at = code = 0
        for column, learned in self._learned(state):
            if column.codes:
                column.encode(found[column.name], learned, codes[:, code], notes)
                code += 1
            else:
                end = at + len(column.features)
                column.encode(found[column.name], learned, x[:, at:end], notes)
                at = end
        return Encoded(arrays, notes)

    def _learned(self, state: Mapping[str, Array]) -> Iterator[tuple[ColumnEncoder, dict[str, Array]]]:
        by_start: dict[str, dict[str, Array]] = {}
        for key, value in state.items():
            start, _, short = key.rpartition("/")
            by_start.setdefault(start, {})[short] = value
        for column in self.columns:
            if column.features:
                yield column, by_start.get(path_of(column.name, "").removesuffix("/"), {})

    def _check_columns(self, names: Any) -> None:
        missing = [name for name in self.names if name not in names]
        if missing:
            listed = ", ".join(map(repr, missing[:_SHOWN])) + (", …" if len(missing) > _SHOWN else "")
            many = "s" if len(missing) > 1 else ""
            raise DataError(
                f"the table lacks {len(missing)} column{many} that the network was trained on: {listed}; "
                f"for {missing[0]!r} {nearest(missing[0], names)}"
            )


def conform(table: Table, kinds: Mapping[str, str]) -> Table:
    """The table with text that is said to be numbers, or dates, as such.

    >>> conform(Table({"n": np.array(["1", "2"], object)}), {"n": "numeric"})["n"].tolist()
    [1.0, 2.0]
    """
    columns = dict(table.columns)
    for name, kind in kinds.items():
        if name in columns and kind == "numeric" and columns[name].dtype.kind in "OM":
            columns[name] = as_numbers(columns[name], name)
        elif name in columns and kind == "date":
            columns[name] = as_dates(columns[name], name)
    return Table(columns, table.levels)


def path_of(name: str, key: str) -> str:
    """Where a column's statistic lies in the state: "encoder/age/mean". What a path cannot hold is written as
    %XX, as in a web address; of a long name the end is replaced by a checksum.

    >>> path_of("age", "mean"), path_of("in/out", "mean")
    ('encoder/age/mean', 'encoder/in%2Fout/mean')
    """
    safe = "".join(c if c.isprintable() and c not in "/\\%:" else _percent(c) for c in name)
    safe = re.sub(r"^\.+$", lambda dots: "%2E" * len(dots[0]), safe)
    if len(safe) > _LONGEST:
        import zlib

        safe = f"{safe[:_LONGEST]}%{zlib.crc32(name.encode('utf-8', 'surrogatepass')):08X}"
    return f"encoder/{safe}/{key}"


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
