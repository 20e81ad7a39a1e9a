"""Numbers spelled out, read by a network: "siebenhundertdreiundzwanzig" → 723, "two hundred and seven" → 207.

Sequence to sequence, letter by letter, for English and German words and Roman numerals at once. German says
the units before the tens ("three and twenty"), so the order must be turned around; Roman numerals have no
places at all. A tenth of the numbers up to 3999 is held out in all three: what the network says to them
follows from how the others are built. The left picture shows where it looks while it writes the digits, the
right one what it gets right.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr
from dates import looks
from gallery import COLOURS, picture, run

EXPECTED = {"exact, English, unseen": (0.5, 1)}
ENGLISH = (
    "", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
GERMAN = (
    "", "ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf",
    "dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn",
)  # fmt: skip
ZEHNER = ("", "", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig")
ROMAN = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")


def english(n: int) -> str:
    """two hundred and seven"""
    if n >= 1000:
        return f"{ENGLISH[n // 1000]} thousand {english(n % 1000) if n % 1000 else ''}".strip()
    if n >= 100:
        rest = f" and {english(n % 100)}" if n % 100 else ""
        return f"{ENGLISH[n // 100]} hundred{rest}"
    return ENGLISH[n] if n < 20 else f"{TENS[n // 10]} {ENGLISH[n % 10]}".strip()


def german(n: int) -> str:
    """zweihundertsieben"""
    if n >= 1000:
        return f"{GERMAN[n // 1000]}tausend{german(n % 1000) if n % 1000 else ''}"
    if n >= 100:
        return f"{GERMAN[n // 100]}hundert{german(n % 100) if n % 100 else ''}"
    if n < 20:
        return "eins" if n == 1 else GERMAN[n]
    return f"{GERMAN[n % 10]}und{ZEHNER[n // 10]}" if n % 10 else ZEHNER[n // 10]


def roman(n: int) -> str:
    """CCVII: what stands for the units, with X, L, C or C, D, M for I, V, X"""
    digits = [ROMAN[n // place % 10] for place in (100, 10, 1)]
    names = ("CDM", "XLC", "IVX")
    parts = [d.translate(str.maketrans("IVX", to)) for d, to in zip(digits, names, strict=True)]
    return "M" * (n // 1000) + "".join(parts)


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Learn most of the numbers in each language, read the others."""
    languages: dict[str, Callable[[int], str]] = {"English": english, "German": german, "Roman": roman}
    if short:
        languages = {"English": english}
    order = np.random.default_rng(0).permutation(np.arange(1, 1000 if short else 4000))
    seen, unseen = np.split(order, [len(order) * 9 // 10])
    pairs = [(spell(int(n)), str(n)) for spell in languages.values() for n in seen]
    size = {"width": 64, "batch_size": 50, "max_iter": 14}
    if short:
        size = {"width": 32, "batch_size": 25, "max_iter": 8, "split": ("words", "characters")}
    model = cr.SequenceToSequence(
        layers=1, learning_rate_init=0.006 if short else 0.004, random_state=0, threads=1,
        executor="reference" if short else "auto", **size,
    ).fit(*zip(*pairs, strict=True))  # fmt: skip
    figures = {
        f"exact, {name}, {'unseen' if numbers is unseen else 'seen'}": model.score(
            [spell(int(n)) for n in numbers], [str(n) for n in numbers]
        )
        for name, spell in languages.items()
        for numbers in (seen, unseen)
    }
    figure, (left, right) = picture(1, 2, size=(4.4, 3.2))
    text = english(723) if short else german(1723)
    answer, weights = looks(model, text)
    read = text.split() if short else list(text)
    left.imshow(weights[:, : len(read)], aspect="auto", vmin=0)
    left.set_xticks(range(len(read)), read)
    left.set_yticks(range(len(answer)), answer)
    left.set(title=f"{text} → {answer}", xlabel="read", ylabel="written")
    right.barh(list(figures), list(figures.values()), color=COLOURS[:2])
    right.set(title="share of exact answers", xlim=(0, 1))
    return figures, figure


if __name__ == "__main__":
    run(main)
