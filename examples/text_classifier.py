"""A bag of words: which part of Python's library a paragraph is about.

The text is real and at hand: the documentation inside Python's own modules, cut into paragraphs. Every word
has a vector, learned; a paragraph is the mean of its words' vectors, whatever their order, and a softmax
regression on it names the topic (as in fastText, Joulin et al. 2016). Whole docstrings are kept apart for
the test. Naive Bayes on the counts of words is the baseline. The picture shows how alike the vectors are of
seven telling words of each topic.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.naive_bayes import MultinomialNB

import chainrule as cr
from chainrule import nn, ops
from gallery import picture, run

TOPICS = {
    "mail, web": ("email", "http", "urllib", "smtplib", "ftplib", "imaplib", "mailbox"),
    "numbers": ("decimal", "fractions", "statistics", "_pydecimal", "random", "colorsys", "numbers"),
    "concurrency": ("asyncio", "threading", "multiprocessing", "concurrent", "queue", "sched"),
    "files": (
        "shutil",
        "pathlib",
        "zipfile",
        "tarfile",
        "tempfile",
        "gzip",
        "fileinput",
        "posixpath",
        "glob",
    ),
    "dates": ("datetime", "_pydatetime", "calendar", "zoneinfo", "_strptime"),
    "XML": ("xml", "html", "plistlib"),
}
EXPECTED = {"accuracy": (0.6, 1), "accuracy of the most frequent topic": (0.15, 0.5)}
LENGTH, WORDS = 60, 3000


@dataclass(frozen=True)
class MeanOfWords(nn.Layer):
    """Word numbers, 0 where there is none (batch, length) → the mean of their vectors (batch, units)"""

    units: int

    def __call__(self, x: Any, run: nn.Run) -> Any:
        there = ops.cast(x > 0, run.dtype)[..., None]
        vectors = run.apply("words", nn.Embedding(WORDS, self.units), x)
        return ops.sum(vectors * there, 1) / ops.maximum(ops.sum(there, 1), 1)


def docstrings(module: str) -> list[str]:
    """Of a module or package: every docstring in its files."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return []
    files = [Path(spec.origin)]
    if spec.submodule_search_locations:
        files = sorted(Path(spec.origin).parent.rglob("*.py"))
    nodes = [node for f in files for node in ast.walk(ast.parse(f.read_text(encoding="utf-8")))]
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [text for node in nodes if isinstance(node, kinds) and (text := ast.get_docstring(node))]


def read() -> tuple[list[list[str]], np.ndarray, np.ndarray]:
    """Paragraphs as words, their topics, and whether they are for the test: every fourth docstring."""
    words, labels, test, seen = [], [], [], set()
    for label, modules in enumerate(TOPICS.values()):
        texts = [text for module in modules for text in docstrings(module)]
        for number, text in enumerate(texts):
            for paragraph in re.split(r"\n\s*\n", text):
                found = re.findall(r"[a-z]{2,}", paragraph.lower())
                if len(found) >= 5 and tuple(found) not in seen:
                    seen.add(tuple(found))
                    words.append(found)
                    labels.append(label)
                    test.append(number % 4 == 3)
    return words, np.array(labels), np.array(test)


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Number the words, train, compare, draw the words."""
    paragraphs, topic, test = read()
    counts = Counter(w for p, held in zip(paragraphs, test, strict=True) if not held for w in p)
    number = {word: i + 1 for i, (word, _) in enumerate(counts.most_common(WORDS - 1))}
    x = np.zeros((len(paragraphs), LENGTH), int)
    for row, words in zip(x, paragraphs, strict=True):
        known = [number[w] for w in words if w in number][:LENGTH]
        row[: len(known)] = known
    network = cr.Network(MeanOfWords(32), nn.Dropout(0.3), nn.Dense(len(TOPICS)), seed=0)
    rule = cr.optim.Adam(0.01, l2=1e-4)
    network.fit(x[~test], topic[~test], optimizer=rule, epochs=8 if short else 15, verbose=0)
    bags = np.stack([np.bincount(row, minlength=WORDS) for row in x])[:, 1:]
    bayes = MultinomialNB().fit(bags[~test], topic[~test])
    figures = {
        "paragraphs to learn from": float((~test).sum()),
        "accuracy": network.evaluate(x[test], topic[test])["accuracy"],
        "accuracy of naive Bayes": bayes.score(bags[test], topic[test]),
        "accuracy of the most frequent topic": np.bincount(topic[test]).max() / test.sum(),
    }
    vectors = network["mean_of_words_0/words/W"]
    by_topic = np.stack([bags[topic == t].sum(0) / bags[topic == t].sum() for t in range(len(TOPICS))])
    share = by_topic / (by_topic.sum(0) + 1e-12)
    score = (share - 0.5) * np.sqrt(by_topic.sum(0))
    telling = np.concatenate([np.argsort(-score[t])[:7] for t in range(len(TOPICS))])
    unit = vectors[telling + 1] / np.linalg.norm(vectors[telling + 1], axis=1, keepdims=True)
    figure, axis = picture(size=(5.4, 5.0))
    shown = axis.imshow(unit @ unit.T, cmap="RdBu_r", vmin=-1, vmax=1)
    axis.set_yticks(range(len(telling)), [list(number)[w] for w in telling], fontsize=7)
    axis.set_xticks(np.arange(len(TOPICS)) * 7 + 3, list(TOPICS), fontsize=8)
    axis.tick_params(length=0)
    figure.colorbar(shown, shrink=0.6, label="cosine of two words' vectors")
    return figures, figure


if __name__ == "__main__":
    run(main)
