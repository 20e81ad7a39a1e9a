"""Python in colours: every character of a line of code gets its kind.

Tagging: as many answers as the sequence has places. The data are real, the modules of Python's own standard
library, and the truth is its tokenizer. "in" is a keyword, but not in "print", nor between quotes: a
character's kind follows from its neighbours, to which the network attends. It is tested on modules that it
did not see; beside it stand the most frequent kind of every character, and that of every character with the
two beside it. In the picture its answers are the colours.
"""

from __future__ import annotations

import io
import keyword
import sysconfig
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr
from gallery import COLOURS, picture, run

EXPECTED = {"characters right, unseen modules": (0.6, 1)}
Tagged = list[tuple[str, list[str]]]
KINDS = ("blank", "name", "keyword", "number", "operator", "string", "comment")
OF_TOKEN = {
    tokenize.NAME: "name", tokenize.NUMBER: "number", tokenize.OP: "operator", tokenize.STRING: "string",
    tokenize.COMMENT: "comment",
}  # fmt: skip
SEEN = (
    "argparse", "ast", "calendar", "cmd", "csv", "difflib", "fractions", "ftplib", "functools", "heapq",
    "inspect", "locale", "mailbox", "optparse", "pickle", "random", "smtplib", "tarfile",
)  # fmt: skip
UNSEEN = ("bisect", "colorsys", "configparser", "gettext", "pprint", "shlex", "statistics", "textwrap")


def tagged(module: str, longest: int) -> Tagged:
    """The lines of a module that stand alone, each with the kinds of its characters."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    text = (folder / f"{module}.py").read_text(encoding="utf-8")
    lines = text.split("\n")
    kinds = [["blank"] * len(line) for line in lines]
    whole = [True] * len(lines)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        (first, start), (last, end) = token.start, token.end
        kind = "keyword" if keyword.iskeyword(token.string) else OF_TOKEN.get(token.type)
        if kind and first == last:
            kinds[first - 1][start:end] = [kind] * (end - start)
        elif kind:
            whole[first - 1 : last] = [False] * (last - first + 1)
    found = [
        (line.strip(), kind[len(line) - len(line.lstrip()) : len(line.rstrip())])
        for line, kind, alone in zip(lines, kinds, whole, strict=True)
        if alone
    ]
    return [pair for pair in found if 8 <= len(pair[0]) <= longest]


def windows(pairs: Tagged, beside: int) -> Iterator[tuple[str, str]]:
    """Each character with so many on both sides, and its kind."""
    for line, kinds in pairs:
        wide = f"{' ' * beside}{line}{' ' * beside}"
        for place, kind in enumerate(kinds):
            yield wide[place : place + 2 * beside + 1], kind


def most_frequent(train: Tagged, test: Tagged, beside: int) -> float:
    """The share of characters that have the most frequent kind of those that stand so."""
    counts: dict[str, Counter[str]] = {}
    for window, kind in windows(train, beside):
        counts.setdefault(window, Counter())[kind] += 1
    best = {window: count.most_common(1)[0][0] for window, count in counts.items()}
    return float(np.mean([best.get(window, "name") == kind for window, kind in windows(test, beside)]))


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Learn from some modules, tag others."""
    longest = 23 if short else 47
    train, test = ([pair for m in modules for pair in tagged(m, longest)] for modules in (SEEN, UNSEEN))
    order = np.random.default_rng(0).permutation(len(train))[: 800 if short else None]
    train = [train[i] for i in order]
    size = (
        {"width": 24, "layers": 1, "max_iter": 6, "batch_size": 25}
        if short
        else {"width": 48, "max_iter": 12}
    )
    model = cr.SequenceClassifier(
        each=True, learning_rate_init=0.008 if short else 0.003, random_state=0, threads=1,
        executor="reference" if short else "auto", **size,
    ).fit(*zip(*train, strict=True))  # fmt: skip
    figures = {
        "characters right, unseen modules": model.score(*zip(*test, strict=True)),
        "most frequent kind": most_frequent(train, test, 0),
        "with the characters beside it": most_frequent(train, test, 1),
    }
    figure, axis = picture(size=(6.4, 3.6))
    varied = [line for line, kinds in test if len(set(kinds)) >= (3 if short else 5)]
    shown = varied[:: max(len(varied) // 14, 1)][:14]
    colour = dict(zip(KINDS, ("#000000", "#000000", *COLOURS), strict=False))
    for row, (line, kinds) in enumerate(zip(shown, model.predict(shown), strict=True)):
        for place, (character, kind) in enumerate(zip(line, kinds, strict=True)):
            axis.text(place, -row, character, color=colour[kind], family="monospace", ha="center")
    for place, kind in enumerate(KINDS[1:]):
        axis.text(place * longest / 6, 1.4, kind, color=colour[kind], weight="bold")
    axis.set(xlim=(-1, longest), ylim=(-len(shown), 2.5))
    axis.axis("off")
    return figures, figure


if __name__ == "__main__":
    run(main)
