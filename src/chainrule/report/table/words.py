"""What the report of a table says in words: its title, its lead, and figures as people write them."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.report.table.columns import cut
from chainrule.report.table.findings import Comparison, TableFindings
from chainrule.svg import number

__all__ = ["difference", "figure", "lead", "listed", "percent", "title_of", "with_error"]

_SHARES = ("accuracy", "calibration error")
_OF_ONE = ("AUC", "average precision", "R²")


def percent(share: float, digits: int = 1) -> str:
    r"""A share in per cent.

    >>> percent(0.1234), percent(float("nan"))
    ('12.3\xa0%', '–')
    """
    return f"{100 * share:.{digits}f}\u00a0%" if share == share else "–"


def figure(name: str, value: float) -> str:
    r"""A score: shares in per cent, others as numbers.

    >>> figure("accuracy", 0.875), figure("AUC", 0.91234)
    ('87.50\xa0%', '0.9123')
    """
    if value != value:
        return "–"
    if name in _OF_ONE:
        return f"{value:.4f}".replace("-", "−")
    return percent(value, 2) if name in _SHARES else number(value, 4)


def with_error(name: str, value: float, error: float | None) -> str:
    """A score and its standard error: ``86.40 % ± 0.44``."""
    if error is None or error != error:
        return figure(name, value)
    return f"{figure(name, value)} ± {100 * error:.2f}" if name in _SHARES else (
        f"{figure(name, value)} ± {number(error, 2)}"
    )  # fmt: skip


def difference(name: str, pair: tuple[float, float]) -> str:
    """A difference with its sign and its standard error; shares in per cent points."""
    mean, error = pair
    factor = 100.0 if name in _SHARES else 1.0
    sign = "+" if mean > 0 else ""
    words = f"{factor * mean:.2f}".replace("-", "−") if factor == 100.0 else number(mean, 3)
    width = f"{factor * error:.2f}" if factor == 100.0 else number(error, 2)
    return f"{sign}{words} ± {width}" if error == error else f"{sign}{words}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """Names with commas, and a word before the last.

    >>> listed(["a", "b", "c"]), listed(["a"])
    ('a, b and c', 'a')
    """
    return f"{', '.join(names[:-1])} {last} {names[-1]}" if len(names) > 1 else "".join(names)


def title_of(findings: TableFindings) -> str:
    """``income from 12 columns: 13.6 % wrong``."""
    columns = len(findings.importance)
    score = findings.scores
    found = (
        f"{percent(1 - score['accuracy'])} wrong"
        if findings.classifies
        else f"RMSE {number(score['RMSE'], 3)}"
    )
    return f"{cut(findings.target, 40)} from {columns} column{'s' * (columns != 1)}: {found}"  # fmt: skip


def lead(findings: TableFindings, train_rows: int = 0) -> str:
    """What was learned, how well, against what, from which columns: a paragraph."""
    parts = [_learned(findings, train_rows), _how_well(findings), *_beside(findings)]
    top = [cut(i.column, 30) for i in findings.importance[:3] if i.mean > 2 * i.deviation]
    if top:
        parts.append(f"It relies most on {listed(top)}.")
    return " ".join(parts)


def _learned(findings: TableFindings, train_rows: int) -> str:
    goal = cut(findings.target, 40)
    rows = f" of {train_rows:,} rows" if train_rows else ""
    columns = len(findings.importance)
    from_what = f"from {columns} column{'s' * (columns != 1)}{rows}"
    if not findings.classifies:
        return f"A network learned to predict {goal} {from_what}."
    names = [cut(c, 24) for c in findings.classes]
    classes = listed(names) if len(names) <= 4 else f"{len(names)} classes"
    return f"A network learned to predict {goal} ({classes}) {from_what}."


def _how_well(findings: TableFindings) -> str:
    n = f"{len(findings):,} {findings.part} row{'s' * (len(findings) != 1)}"
    score = findings.scores
    if findings.classifies:
        right = with_error("accuracy", score["accuracy"], findings.errors["accuracy"])
        return f"Of {n}, which it had not seen, it gets {right} right."
    rmse = with_error("RMSE", score["RMSE"], findings.errors["RMSE"])
    part = f" and explains {percent(score['R²'])} of the variance" if score["R²"] > 0 else ""
    return f"On {n}, which it had not seen, it is off by {rmse} (root mean square){part}."


def _beside(findings: TableFindings) -> list[str]:
    """What simpler models come to, and whether the network is better than the last of them."""
    key = "accuracy" if findings.classifies else "RMSE"
    found = [f"{_subject(c)} {figure(key, c.scores[key])}" for c in findings.comparisons]
    if not found:
        return []
    verb = "get right" if findings.classifies else "are off by"
    return [
        f"Simpler models {verb}: {', '.join(found)}.",
        _verdict(findings.comparisons[-1], findings.classifies),
    ]


def _subject(other: Comparison) -> str:
    """``always the mean``, ``a linear model``."""
    return f"a {other.name}" if other.name.endswith("model") else f"always the {other.name}"


def _verdict(other: Comparison, classifies: bool) -> str:
    """Whether the network is better than the strongest baseline, as far as these rows can tell."""
    mean, error = other.differences["log loss" if classifies else "RMSE"]
    what = "log loss" if classifies else "error"
    if error != error or abs(mean) <= 2 * error:
        return f"Against the {other.name} the difference of the {what} is within what chance would give."
    better = "lower" if mean < 0 else "higher"
    return f"Its {what} is {better} than that of the {other.name}, by more than chance would give."
