"""ColumnEncoder: how one column becomes numbers. Configuration; what it learned of the data is state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from chainrule.data import faults
from chainrule.data.tables.moments import Sample
from chainrule.data.tables.profile import ColumnProfile
from chainrule.data.tables.table import Array
from chainrule.errors import ConfigError, DataError

__all__ = ["ColumnEncoder", "Ignored", "Notes", "check_fits", "check_texts"]


@dataclass(frozen=True)
class Notes:
    """What an encoding met that training had not.

    unseen     values that are no category of training, by column
    filled     gaps in columns that had none in training, filled with the column's mean, by column
    ignored    columns that the network does not know
    """

    unseen: Counter[str] = field(default_factory=Counter)
    filled: Counter[str] = field(default_factory=Counter)
    ignored: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{n} of {name!r} not seen in training" for name, n in self.unseen.items()]
        parts += [f"{n} missing of {name!r} filled with its mean" for name, n in self.filled.items()]
        parts += [f"columns ignored: {', '.join(self.ignored)}"] if self.ignored else []
        return "; ".join(parts)


@dataclass(frozen=True)
class ColumnEncoder(ABC):
    """How one column becomes numbers: a part of "x", and where it is embedded one code.

    name      of the column
    missing   training had gaps here: they get a feature (or a category) of their own. Where it had none,
              a gap is filled with the mean and counted
    reason    why this encoder was chosen
    """

    name: str
    missing: bool = False
    reason: str = ""

    kind: ClassVar[str]
    codes: ClassVar[int] = 0
    """How many categories its embedding has; 0 where it is not embedded."""

    @property
    @abstractmethod
    def features(self) -> tuple[str, ...]:
        """The names of its columns of "x"; of its code where it is embedded."""

    @abstractmethod
    def fit(self, profile: ColumnProfile, sample: Sample) -> dict[str, Array]:
        """What is learned of the column, by short names: "mean", "scale"."""

    @abstractmethod
    def encode(self, column: Array, state: Mapping[str, Array], out: Array, notes: Notes) -> None:
        """Fills ``out`` (rows, features), which is 0, or the codes (rows,) of an embedding."""

    @property
    def _gap_feature(self) -> tuple[str, ...]:
        return (f"{self.name} is missing",) if self.missing else ()

    def _fill(self, gaps: Array, out: Array, notes: Notes) -> None:
        """Marks gaps in the last feature, or counts them."""
        if self.missing:
            out[:, -1] = gaps
        elif count := int(gaps.sum()):
            notes.filled[self.name] += count


@dataclass(frozen=True)
class Ignored(ColumnEncoder):
    """A column from which nothing is taken: an identifier, a constant, one without values.

    >>> Ignored("row", why="identifier", reason="it numbers the rows").features
    ()
    """

    why: str = "identifier"
    kind: ClassVar[str] = "ignored"

    @property
    def features(self) -> tuple[str, ...]:
        return ()

    def fit(self, profile: ColumnProfile, sample: Sample) -> dict[str, Array]:
        return {}

    def encode(self, column: Array, state: Mapping[str, Array], out: Array, notes: Notes) -> None:
        pass


def check_fits(values: Array, name: str, out: Array) -> None:
    """DataError where a value leaves the dtype of ``out``."""
    limit = float(np.finfo(out.dtype).max)
    if values.size and not float(np.abs(values).max()) <= limit:
        bad = ~(np.abs(values) <= limit)
        raise DataError(faults.overflow(values, bad, f"column {name!r}, scaled,", out.dtype))


def check_texts(owner: ColumnEncoder, values: Any, least: int) -> None:
    """ConfigError unless a field is a tuple of different texts."""
    good = isinstance(values, tuple) and all(isinstance(v, str) for v in values)
    if not good or len(set(values)) != len(values) or len(values) < least:
        raise ConfigError(
            f"{type(owner).__name__} of column {owner.name!r}: its categories are {least} or more different "
            "texts in a tuple"
        )
