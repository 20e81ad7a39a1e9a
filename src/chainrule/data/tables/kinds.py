"""What a column is: a kind, and the reason, so that a report can say what was assumed."""

from __future__ import annotations

import re
from typing import NamedTuple

from chainrule.data.tables.cells import LARGEST_EXACT
from chainrule.data.tables.profile import ColumnProfile
from chainrule.data.tables.scales import order_of

__all__ = ["KINDS", "LEFT_OUT", "TRUTHS", "Kind", "infer_kind"]

KINDS = ("numeric", "categorical", "ordinal", "boolean", "date", "text", "identifier", "constant", "empty")
"""What a column can be. text is handled as categorical."""

LEFT_OUT = ("identifier", "constant", "empty")

TRUTHS = (("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"), ("off", "on"), ("0", "1"))
_ENOUGH = 20  # rows from which "every row has another value" says something
_NEARLY_ALL = 0.9
_ID_NAME = re.compile(
    r"(?:^|[^a-zA-Z])(?i:ids?|uuid|guid|index|key|row|rownum)$|[a-z](?:Id|ID|UUID)$|^Unnamed: 0$"
)
_TIME_NAME = re.compile(
    r"(?:^|[^a-z])(?:t|time|second|minute|hour|day|week|month|quarter|year|epoch|step)s?(?:$|[^a-z])",
    re.IGNORECASE,
)
_ROUNDING = 1e-14
_LARGEST_NAME = 2.0**64  # names that are numbers have 64 bits; the mass of a star is a quantity


class Kind(NamedTuple):
    """A kind, why, and for truth values and ordinal columns the values in their order."""

    kind: str
    reason: str
    order: tuple[str, ...] = ()


def infer_kind(column: ColumnProfile) -> Kind:
    """What a column seems to be. Whole numbers are numeric, unless they are 0 and 1, or number the rows.

    >>> from chainrule.data.tables import as_table
    >>> from chainrule.data.tables.profile import describe
    >>> profile = describe(as_table({"size": ["S", "M", "L", "S"], "paid": ["no", "yes", "no", "no"]}))
    >>> infer_kind(profile["size"])
    Kind(kind='ordinal', reason='words of a scale', order=('S', 'M', 'L'))
    >>> infer_kind(profile["paid"])[:2]
    ('boolean', 'no and yes')
    """
    if not column.present:
        return Kind("empty", "it holds no value")
    if (only := _only_value(column)) is not None and not column.missing:
        return Kind("constant", f"every row holds {only[:40]}")
    if column.is_text:
        return _text(column)
    if "date" in column.sorts:
        return Kind("date", "it holds dates")
    if column.sorts == {"truth"}:
        return Kind("boolean", "true and false", ("False", "True"))
    return _number(column)


def _only_value(column: ColumnProfile) -> str | None:
    if column.counts is not None and len(column.counts) == 1 and column.distinct == 1:
        return next(iter(column.counts))
    if column.is_text or (column.whole and "date" not in column.sorts):
        return None
    if column.high - column.low <= _ROUNDING * max(abs(column.low), abs(column.high)):
        return f"{column.low:.6g}" + (" but for rounding" if column.high > column.low else "")
    return None


def _text(column: ColumnProfile) -> Kind:
    found = sorted(column.counts or {})
    if pair := _truth(found):
        return Kind("boolean", " and ".join(pair), pair)
    if column.present >= _ENOUGH and column.distinct > _NEARLY_ALL * column.distinct_of:
        return Kind("identifier", f"{column.distinct} of {column.distinct_of} rows have a text of their own")
    if column.levels:
        return Kind("ordinal", "the data came with an order", column.levels)
    if column.distinct == len(found) and (ordered := order_of(found)):
        return Kind("ordinal", ordered[1], ordered[0])
    return Kind("categorical", f"{column.distinct} different texts")


def _truth(found: list[str]) -> tuple[str, str] | None:
    """Two words for false and true, in this order, as they are written."""
    if len(found) != 2:
        return None
    by_word = {text.lower(): text for text in found}
    pair = next((p for p in TRUTHS if by_word.keys() == set(p)), None)
    return None if pair is None else (by_word[pair[0]], by_word[pair[1]])


def _number(column: ColumnProfile) -> Kind:
    if column.counts is not None and (pair := _truth(sorted(column.counts))):
        return Kind("boolean", "0 and 1", pair)
    if column.whole and column.unique and not column.missing and column.rows >= _ENOUGH:
        from_start = column.low in (0, 1) and column.high - column.low == column.rows - 1
        timed = _TIME_NAME.search(column.name) is not None
        if from_start and column.rising and column.sorts == {"whole"} and not timed:
            return Kind("identifier", "it numbers the rows")
        if _ID_NAME.search(column.name):
            return Kind("identifier", "every row has a number of its own, and its name says so")
    if column.whole and LARGEST_EXACT < max(abs(column.low), abs(column.high)) < _LARGEST_NAME:
        if column.counts is not None and column.distinct <= column.distinct_of / 2:
            return Kind("categorical", f"{column.distinct} whole numbers beyond 2⁵³: names, not quantities")
        return Kind("identifier", "whole numbers beyond 2⁵³: names, not quantities")
    return Kind("numeric", "whole numbers" if column.whole else "numbers")
