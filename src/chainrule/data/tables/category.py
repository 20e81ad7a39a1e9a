"""Categories, orders and truth values as features, or as codes of an embedding."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.data.tables.cast import as_places
from chainrule.data.tables.encoder import ColumnEncoder, Notes, check_fits, check_texts
from chainrule.data.tables.kinds import TRUTHS
from chainrule.data.tables.moments import Sample
from chainrule.data.tables.profile import ColumnProfile
from chainrule.data.tables.table import Array
from chainrule.errors import ConfigError, within

__all__ = ["Boolean", "Category", "Ordinal"]

_SAME = {"0": 1, "1": 2, "False": 1, "True": 2, "false": 1, "true": 2, "FALSE": 1, "TRUE": 2}
_STEPS = 16  # categories of an order up to which each step is a feature


@dataclass(frozen=True)
class Category(ColumnEncoder):
    """One of several categories: a feature of 0 and 1 for each, or a code for an embedding.

    categories   as text, in the order of their features
    embedding    units of the learned vector; 0 is one-hot
    rare         training had categories that were too rare: they share a feature, or a code
    drop_first   one-hot without a feature for the first category ("dummies"): then features and a bias
                 determine one solution. What is no category looks like the first one

    One-hot, a value that is no category has the rare ones' feature, or where there were none 0 in all.
    Codes are 0 for that, 1 … K for the categories, K + 1 for gaps. Such values are counted, as gaps are
    where training had none.

    >>> Category("sex", categories=("F", "M"), missing=True).features
    ('sex=F', 'sex=M', 'sex is missing')
    """

    categories: tuple[str, ...] = ()
    embedding: int = 0
    rare: bool = False
    drop_first: bool = False
    kind: ClassVar[str] = "categorical"

    def __post_init__(self) -> None:
        check_texts(self, self.categories, least=1)
        within(self, "embedding", "[0, inf)", whole=True)
        if self.drop_first and self.embedding:
            raise ConfigError(
                f"column {self.name!r}: an embedding has no feature to drop; leave drop_first out"
            )

    @property
    def codes(self) -> int:  # type: ignore[override]
        return len(self.categories) + 1 + self.missing if self.embedding else 0

    @property
    def features(self) -> tuple[str, ...]:
        if self.embedding:
            return (self.name,)
        rare = (f"{self.name} is rare",) if self.rare else ()
        shown = self.categories[self.drop_first :]
        return (*(f"{self.name}={c}" for c in shown), *rare, *self._gap_feature)

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {text: i + 1 for i, text in enumerate(self.categories)}

    def fit(self, profile: ColumnProfile, sample: Sample) -> dict[str, Array]:
        return {}

    def encode(self, column: Array, state: Mapping[str, Array], out: Array, notes: Notes) -> None:
        gap = len(self.categories) + 1
        places = as_places(column, self._places, gap)
        if unseen := int(np.count_nonzero(places == 0)):
            notes.unseen[self.name] += unseen
        gaps = places == gap
        if self.embedding:
            self._count_gaps(gaps, notes)
            out[:] = places if self.missing else np.where(gaps, 0, places)
            return
        first = 1 + self.drop_first
        hot = np.flatnonzero((places >= first) & ~gaps)
        out[hot, places[hot] - first] = 1
        if self.rare:
            out[:, len(self.categories) - self.drop_first] = places == 0
        self._fill(gaps, out, notes)

    def _count_gaps(self, gaps: Array, notes: Notes) -> None:
        if not self.missing and (count := int(gaps.sum())):
            notes.filled[self.name] += count


@dataclass(frozen=True)
class Ordinal(ColumnEncoder):
    """Categories with an order: a feature for each step,  x_k = 1 where the category lies above the k-th
    (thermometer code); from 17 categories on their rank, standardised.

    Gaps and values that are no category are filled with the features' means; gaps are marked where
    training had any.

    >>> Ordinal("size", categories=("S", "M", "L")).features
    ('size>S', 'size>M')
    """

    categories: tuple[str, ...] = ()
    kind: ClassVar[str] = "ordinal"

    def __post_init__(self) -> None:
        check_texts(self, self.categories, least=2)

    @property
    def _steps(self) -> bool:
        return len(self.categories) <= _STEPS

    @property
    def features(self) -> tuple[str, ...]:
        names = [f"{self.name}>{c}" for c in self.categories[:-1]] if self._steps else [f"{self.name} rank"]
        return (*names, *self._gap_feature)

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {text: i + 1 for i, text in enumerate(self.categories)}

    def fit(self, profile: ColumnProfile, sample: Sample) -> dict[str, Array]:
        counts = profile.counts or {}
        times = np.array([counts.get(c, 0) for c in self.categories], np.float64)
        share = times / max(times.sum(), 1.0)
        if self._steps:
            return {"mean": share[::-1].cumsum()[::-1][1:].copy()}
        rank = np.arange(len(share))
        mean = float(share @ rank)
        std = float(np.sqrt(share @ (rank - mean) ** 2))
        return {"mean": np.array(mean), "scale": np.array(std or 1.0)}

    def encode(self, column: Array, state: Mapping[str, Array], out: Array, notes: Notes) -> None:
        places = as_places(column, self._places, -1)
        gaps, unseen = places < 0, places == 0
        if count := int(unseen.sum()):
            notes.unseen[self.name] += count
        rank = (places - 1)[:, None]
        if self._steps:
            found = np.where(
                (gaps | unseen)[:, None], state["mean"], rank > np.arange(len(self.categories) - 1)
            )
        else:
            found = np.where((gaps | unseen)[:, None], 0.0, (rank - state["mean"]) / state["scale"])
        out[:, : found.shape[1]] = found
        self._fill(gaps, out, notes)


@dataclass(frozen=True)
class Boolean(ColumnEncoder):
    """False and true as 0 and 1. Gaps and other values are filled with the share that is true.

    values   the texts of false and true, in this order

    >>> Boolean("paid", values=("no", "yes")).features
    ('paid=yes',)
    """

    values: tuple[str, ...] = ("False", "True")
    kind: ClassVar[str] = "boolean"

    def __post_init__(self) -> None:
        check_texts(self, self.values, least=2)

    @property
    def features(self) -> tuple[str, ...]:
        return (f"{self.name}={self.values[1]}", *self._gap_feature)

    def _places(self, column: Array) -> Array:
        """1 for false, 2 for true, 0 for other values, −1 for gaps. Where the words are those of truth, 0 and
        1 and true and false say the same."""
        if column.dtype.kind == "b":
            return column.astype(np.int32) + 1
        words = _SAME if tuple(v.lower() for v in self.values) in TRUTHS else {}
        return as_places(column, {**words, self.values[0]: 1, self.values[1]: 2}, -1)

    def fit(self, profile: ColumnProfile, sample: Sample) -> dict[str, Array]:
        counts = profile.counts or {}
        false, true = (counts.get(value, 0) for value in self.values)
        return {"mean": np.array(true / max(false + true, 1))}

    def encode(self, column: Array, state: Mapping[str, Array], out: Array, notes: Notes) -> None:
        places = self._places(column)
        if count := int(np.count_nonzero(places == 0)):
            notes.unseen[self.name] += count
        out[:, 0] = np.where(places > 0, places - 1, state["mean"])
        check_fits(out[:, 0], self.name, out)
        self._fill(places < 0, out, notes)
