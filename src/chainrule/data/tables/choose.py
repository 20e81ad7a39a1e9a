"""choose_encoders: what every column is taken for, and how it becomes numbers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from chainrule.data.tables.category import Boolean, Category, Ordinal
from chainrule.data.tables.encoder import ColumnEncoder, Ignored
from chainrule.data.tables.frames import as_table
from chainrule.data.tables.kinds import KINDS, LEFT_OUT, Kind, infer_kind
from chainrule.data.tables.number import SCALINGS, Date, Number, parts_of
from chainrule.data.tables.profile import ColumnProfile, Profile, describe
from chainrule.data.tables.table_encoder import TableEncoder, conform
from chainrule.errors import ConfigError, DataError, nearest

__all__ = ["choose_encoders", "embedding_units"]

_RARE = 3
_RARE_IN = 100  # rows from which rare categories are put together
_FAR = 20.0  # standard deviations
_MOST = 1 << 19  # categories of all columns: half of what a model file's header holds
_MOST_LETTERS = 1 << 22


def choose_encoders(
    table: Any,
    *,
    kinds: Mapping[str, str] | None = None,
    scaling: str = "standard",
    embed_from: int | None = 64,
    drop_first: bool = False,
    weight: Any = None,
) -> TableEncoder:
    """An encoder for every column, each with the reason for its kind; ``table`` may be a Profile.

    kinds        {name: kind} where you know better: numeric, categorical, ordinal, boolean, date, text (as
                 categorical), identifier (left out)
    scaling      of numbers, see Number; "auto" takes quantiles for those that reach beyond 20 standard
                 deviations, and standardises the others
    embed_from   categories from which a column is embedded instead of one-hot; None: never
    drop_first   one-hot without the first category, see Category

    Columns of one value, without values, and identifiers are left out; a warning (UserWarning) names the
    identifiers. In 100 rows and more, categories of less than 3 rows are put together as rare.
    DataError for a column that kinds names and the table lacks, or that cannot be of this kind, or where
    nothing is left.

    >>> table = as_table({"age": [31, 27, 54], "size": ["S", "L", "M"], "shop": ["A", "A", "A"]})
    >>> for column in choose_encoders(table).columns:
    ...     column.name, type(column).__name__, column.reason
    ('age', 'Number', 'whole numbers')
    ('size', 'Ordinal', 'words of a scale')
    ('shop', 'Ignored', 'every row holds A')
    """
    asked = _checked(kinds or {})
    if scaling not in ("auto", *SCALINGS):
        raise ConfigError(f"unknown scaling {scaling!r}; {nearest(scaling, ('auto', *SCALINGS))}")
    profile = table if isinstance(table, Profile) else describe(conform(as_table(table), asked), weight)
    for name in asked:
        if name not in profile.columns:
            raise DataError(f"kinds names {name!r}, which is no column; {nearest(name, profile.columns)}")
    found = []
    for name, column in profile.columns.items():
        kind = _said(column, asked[name]) if name in asked else infer_kind(column)
        found.append(_encoder(column, kind, scaling, embed_from, drop_first))
    _check(found, profile)
    return TableEncoder(tuple(found))


def embedding_units(categories: int) -> int:
    """Units for a number of categories:  1.6 n^0.56, at most 50 (the rule of thumb of Howard's fastai).

    >>> embedding_units(64), embedding_units(1000)
    (16, 50)
    """
    return min(50, round(1.6 * categories**0.56))


def _checked(kinds: Mapping[str, str]) -> Mapping[str, str]:
    for name, kind in kinds.items():
        if kind not in KINDS:
            raise ConfigError(f"unknown kind {kind!r} of column {name!r}; {nearest(kind, KINDS)}")
    return kinds


def _said(column: ColumnProfile, kind: str) -> Kind:
    """A kind that was given; DataError where the column cannot be of it."""
    reason = "you said so"
    values = tuple(sorted(column.counts or {}))
    if kind in LEFT_OUT:
        return Kind(kind, reason)
    if not column.present:
        return Kind("empty", "it holds no value")
    if kind in ("categorical", "text", "ordinal", "boolean") and column.counts is None:
        raise DataError(
            f"column {column.name!r} cannot be {kind}: it holds {column.distinct} different values, or more; "
            "say numeric"
        )
    if kind == "ordinal":
        guessed = infer_kind(column)
        order = guessed.order if guessed.kind == "ordinal" else column.levels or _by_value(values)
        if len(order) < 2:
            raise DataError(
                f"column {column.name!r} cannot be ordinal: it holds one value only; say identifier"
            )
        return Kind("ordinal", reason, order)
    if kind == "boolean":
        if len(values) != 2:
            shown = ", ".join(values[:4])
            raise DataError(
                f"column {column.name!r} cannot be boolean: it holds {len(values)} values ({shown} …)"
            )
        guessed = infer_kind(column)
        return Kind("boolean", reason, guessed.order if guessed.kind == "boolean" else values)
    return Kind("categorical" if kind == "text" else kind, reason)


def _by_value(values: tuple[str, ...]) -> tuple[str, ...]:
    """Numbers in their order, texts in the alphabet's."""
    try:
        return tuple(sorted(values, key=float))
    except ValueError:
        return values


def _encoder(
    column: ColumnProfile, kind: Kind, scaling: str, embed_from: int | None, drop_first: bool
) -> ColumnEncoder:
    name, missing, reason = column.name, column.missing > 0, kind.reason
    if kind.kind in LEFT_OUT:
        return Ignored(name, reason=reason, why=kind.kind)
    if kind.kind == "numeric":
        return Number(name, missing, reason, scaling=_scaling(column, scaling))
    if kind.kind == "date":
        return Date(name, missing, reason, parts=parts_of(column))
    if kind.kind == "boolean":
        return Boolean(name, missing, reason, values=kind.order)
    if kind.kind == "ordinal":
        return Ordinal(name, missing, reason, categories=kind.order)
    categories, rare = _categories(column)
    embedded = embed_from is not None and len(categories) >= embed_from
    units = embedding_units(len(categories)) if embedded else 0
    return Category(
        name, missing, reason, categories=categories, embedding=units, rare=rare,
        drop_first=drop_first and not embedded,
    )  # fmt: skip


def _scaling(column: ColumnProfile, scaling: str) -> str:
    if scaling != "auto":
        return scaling
    std, mean = column.moments.std, column.moments.mean
    return "standard" if max(column.high - mean, mean - column.low) <= _FAR * std else "quantile"


def _categories(column: ColumnProfile) -> tuple[tuple[str, ...], bool]:
    """(those that are kept, whether rare ones were put together)"""
    counts = column.counts or {}
    kept = [text for text, n in counts.items() if n >= _RARE]
    if column.present < _RARE_IN or len(kept) < 2:
        kept = list(counts)
    return tuple(_by_value(tuple(sorted(kept)))), len(kept) < column.distinct


def _check(found: list[ColumnEncoder], profile: Profile) -> None:
    if not any(column.features for column in found):
        reasons = "; ".join(f"{c.name!r}: {c.reason}" for c in found[:4])
        raise DataError(
            f"no column is left to learn from ({reasons}); say what they are: kinds={{name: kind}}"
        )
    many = [c for c in found if isinstance(c, Category)]
    total = sum(len(c.categories) for c in many)
    letters = sum(len(text) for c in many for text in c.categories)
    if total > _MOST or letters > _MOST_LETTERS:
        worst = max(many, key=lambda c: sum(map(len, c.categories)))
        raise DataError(
            f"the columns have {total} categories of {letters} letters, more than a model keeps; leave out "
            f"{worst.name!r}: kinds={{{worst.name!r}: 'identifier'}}"
        )
    for column in found:
        if isinstance(column, Ignored) and column.why == "identifier" and column.reason != "you said so":
            warnings.warn(
                f"column {column.name!r} is left out as an identifier: {column.reason}; to use it, "
                f"kinds={{{column.name!r}: 'categorical'}} or 'numeric'",
                UserWarning,
                stacklevel=3,
            )
