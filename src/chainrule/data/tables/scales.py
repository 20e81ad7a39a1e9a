"""The order of categories, where it is certain: brackets of numbers, and words of a known scale."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable

__all__ = ["order_of"]

_NUMBER = r"\d+(?:[.,]\d+)*"
_RANGE = re.compile(rf"[\[(]?\s*(?P<low>{_NUMBER})?\s*(?:-|–|—|\bto\b|\.\.)\s*(?P<high>{_NUMBER})?\s*[\])]?")
_FROM = re.compile(rf"(?:(?:>=|>|≥|over|above|more than)\s*(?P<after>{_NUMBER})|(?P<plus>{_NUMBER})\s*\+)")
_UNTIL = re.compile(rf"(?:<=|<|≤|under|below|less than)\s*(?P<until>{_NUMBER})")
_ONE = re.compile(rf"(?P<one>{_NUMBER})")
_UNIT = re.compile(
    r"\s*\b(?:years?|yrs?|months?|weeks?|days?|hours?|k|km|kg|cm|eur|usd)\b|[$€£%]", re.IGNORECASE
)

_SCALES: tuple[tuple[tuple[str, ...], ...], ...] = tuple(
    tuple(tuple(step.split("=")) for step in line.split(", "))
    for line in (
        "very low, low, medium=moderate=middle=average=normal, high, very high",
        "very small, small, medium, large, very large",
        "xxs, xs, s, m, l, xl, xxl, xxxl",
        "very poor=terrible=very bad, poor=bad, fair=average=ok, good, very good, excellent",
        "never, rarely=seldom, sometimes=occasionally, often=frequently, usually, always",
        "strongly disagree, disagree, neutral=undecided, agree, strongly agree",
        "very dissatisfied, dissatisfied, neutral, satisfied, very satisfied",
        "none, mild, moderate, severe",
        "first=1st, second=2nd, third=3rd, fourth=4th, fifth=5th",
        "none=zero, one, two, three, four, five, six, seven, eight, nine, ten",
    )
)
_OPEN_END = re.compile(r"\s+(?:or more|and more|or over|and over|plus)$|\+$")


def order_of(categories: Iterable[str]) -> tuple[tuple[str, ...], str] | None:
    """The categories in their order, and how that is known; None where it is not certain.

    Brackets must not overlap: "14-17", "18-24", "65+"; "-10.000)", "[10.000-15.000)"; "<5", "5 to 9 years".
    Words must all lie on one scale, three of them at least: low, medium, high; One, Two, …, Nine or more.

    >>> order_of(["65+", "18-24", "14-17"])
    (('14-17', '18-24', '65+'), 'brackets of numbers')
    >>> order_of(["high", "low", "Medium"])
    (('low', 'Medium', 'high'), 'words of a scale')
    >>> order_of(["red", "green", "blue"]) is None
    True
    """
    found = sorted(categories)
    if len(found) < 3:
        return None
    return _brackets(found) or _words(found)


def _brackets(found: list[str]) -> tuple[tuple[str, ...], str] | None:
    """Sorted by where they begin; certain where each ends before the next begins, and at least two are
    ranges rather than single numbers."""
    ends = [_ends(text) for text in found]
    if any(e is None for e in ends):
        return None
    placed = sorted((e for e in zip(ends, found, strict=True)), key=lambda e: e[0])  # type: ignore[arg-type,return-value]
    spans = [span for span, _ in placed if span is not None]
    if sum(low != high for low, high in spans) < 2:
        return None
    if any(low > high for low, high in spans):  # 2020-01 is a month
        return None
    if any(a[1] > b[0] or a == b for a, b in itertools.pairwise(spans)):
        return None
    return tuple(text for _, text in placed), "brackets of numbers"


def _ends(text: str) -> tuple[float, float] | None:
    bare = _UNIT.sub("", text.lower()).strip()
    if match := _RANGE.fullmatch(bare):
        if match["low"] is None and match["high"] is None:
            return None
        low = -math.inf if match["low"] is None else _value(match["low"])
        return low, math.inf if match["high"] is None else _value(match["high"])
    if match := _FROM.fullmatch(bare):
        return _value(match["after"] or match["plus"]), math.inf
    if match := _UNTIL.fullmatch(bare):
        return -math.inf, _value(match["until"])
    if match := _ONE.fullmatch(bare):
        return _value(match["one"]), _value(match["one"])
    return None


def _value(text: str) -> float:
    """1.000 and 1,000 are a thousand, 1.5 is one and a half."""
    if re.fullmatch(r"\d{1,3}(?:[.,]\d{3})+", text):
        return float(re.sub(r"[.,]", "", text))
    return float(text.replace(",", ".")) if text.count(".") + text.count(",") <= 1 else math.nan


def _words(found: list[str]) -> tuple[tuple[str, ...], str] | None:
    bare = [_OPEN_END.sub("", text.strip().lower()) for text in found]
    for scale in _SCALES:
        rank = {word: i for i, step in enumerate(scale) for word in step}
        if all(word in rank for word in bare) and len({rank[word] for word in bare}) == len(found):
            ordered = sorted(zip(bare, found, strict=True), key=lambda pair: rank[pair[0]])
            return tuple(text for _, text in ordered), "words of a scale"
    return None
