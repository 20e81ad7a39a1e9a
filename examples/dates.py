"""Dates as people write them, read by a network: "3rd of March 1987" → 1987-03-03.

Sequence to sequence (Sutskever, Vinyals and Le 2014) with attention (Vaswani et al. 2017): an encoder reads
the characters, a decoder that attends to them writes the ISO form. Nobody told it the months, what an ordinal
is, or that (day first) at the end turns 04/03/87 around: it saw pairs. It is tested on days that it never
saw in any form; beside it stands the parser of dateutil, a program of a thousand lines, which knows neither
Roman months nor the remark in brackets. The picture shows where the decoder looks while it writes each
character (mean of its heads).
"""

from __future__ import annotations

import datetime as dt

import numpy as np
from dateutil.parser import ParserError, parse
from matplotlib.figure import Figure

import chainrule as cr
from chainrule.tasks.vocabulary import padded
from gallery import picture, run

EXPECTED = {"characters right, unseen days": (0.6, 1)}
ROMAN = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"]
FIRST, DAYS = dt.date(1930, 1, 1), 36525  # 100 years
FORMS = (
    "{Y}/{m:02}/{d:02}", "{Y}{m:02}{d:02}", "{d} {B} {Y}", "{B} {d}, {Y}", "{b} {d}, {Y}", "{o} of {B} {Y}",
    "{B} the {o}, {Y}", "{d:02}-{b}-{Y}", "{d}.{m}.{Y}", "{a}, {d} {b} {Y}", "{d} {R} {Y}", "{Y}, {B} {d}",
    "{d} {U} '{y:02}", "{m:02}/{d:02}/{y:02} (month first)", "{d:02}/{m:02}/{y:02} (day first)",
)  # fmt: skip


def written(day: dt.date, form: str) -> str:
    """A day in one of the forms."""
    ending = "th" if day.day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    return form.format(
        d=day.day, m=day.month, Y=day.year, y=day.year % 100, o=f"{day.day}{ending}", R=ROMAN[day.month - 1],
        B=day.strftime("%B"), b=day.strftime("%b"), U=day.strftime("%b").upper(), a=day.strftime("%a"),
    )  # fmt: skip


def pairs(n: int, days: np.ndarray, forms: tuple[str, ...], seed: int) -> tuple[list[str], list[str]]:
    """Some of the days, written in forms chosen at random, and in ISO's."""
    rng = np.random.default_rng(seed)
    chosen = [FIRST + dt.timedelta(int(day)) for day in rng.choice(days, n)]
    return [written(day, forms[rng.integers(len(forms))]) for day in chosen], [str(day) for day in chosen]


def parsed(text: str) -> str:
    """What dateutil makes of it."""
    try:
        return str(parse(text).date())
    except ParserError:
        return ""


def looks(model: cr.SequenceToSequence, text: str) -> tuple[str, np.ndarray]:
    """The answer, and how much of each character of the text goes into each of its own."""
    net, (answer,) = model.network_, model.predict([text])
    source = padded(model.source_.encode([text], "X"), net.model.inputs["source"].shape[0])
    shown = np.full((1, net.model.inputs["target"].shape[0]), 1)
    shown[0, 1 : len(answer) + 1] = model.target_.encode([answer], "y")[0][: len(answer)]
    signals = net.signals({"source": source, "target": shown})
    (name,) = (n for n in signals if n.endswith("block_0/cross_attention/weights"))
    return answer, signals[name][0].mean(axis=0)[: len(answer), : len(text)]


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Learn from pairs of most days, answer the rest."""
    days, forms = np.random.default_rng(0).permutation(DAYS), FORMS[:2] if short else FORMS
    X, y = pairs(900 if short else 12000, days[:30000], forms, seed=1)
    unseen, wanted = pairs(100 if short else 2000, days[30000:], forms, seed=2)
    size = {"width": 32, "max_iter": 6, "batch_size": 30} if short else {"width": 48, "max_iter": 16}
    model = cr.SequenceToSequence(
        layers=1, learning_rate_init=0.004, random_state=0, threads=1,
        executor="reference" if short else "auto", **size,
    ).fit(X, y)  # fmt: skip
    found = model.predict(unseen)
    right = [a == b for one, two in zip(found, wanted, strict=True) for a, b in zip(one, two, strict=False)]
    figures = {
        "exact, unseen days": float(np.mean([a == b for a, b in zip(found, wanted, strict=True)])),
        "exact, dateutil": float(np.mean([parsed(x) == b for x, b in zip(unseen, wanted, strict=True)])),
        "characters right, unseen days": sum(right) / (10 * len(wanted)),
    }
    figure, axes = picture(1, 2, size=(4.6, 3.4))
    texts = ["1987/03/21", "20040229"] if short else ["21st of March 1987", "04/03/87 (day first)"]
    for axis, text in zip(axes, texts, strict=True):
        answer, weights = looks(model, text)
        axis.imshow(weights, aspect="auto", vmin=0)
        axis.set_xticks(range(len(text)), text)
        axis.set_yticks(range(len(answer)), answer)
        axis.set(title=f"{text} → {answer}", xlabel="read", ylabel="written")
    return figures, figure


if __name__ == "__main__":
    run(main)
