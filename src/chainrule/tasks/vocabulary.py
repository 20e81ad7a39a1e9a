"""What sequences are made of, as numbers: tokens of a vocabulary, or vectors; and padded to a few lengths."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule import data, nn
from chainrule.errors import ConfigError, DataError, nearest
from chainrule.executors import Array

__all__ = [
    "BOUNDARY",
    "SPLITS",
    "UNKNOWN",
    "Vectors",
    "Vocabulary",
    "listed",
    "pad",
    "padded",
    "padded_length",
    "seen",
]

UNKNOWN, BOUNDARY = 0, 1  # the numbers of what is no token
SPLITS = ("auto", "characters", "words", "tokens")
_FIRST = 2  # of the tokens


def padded_length(n: int) -> int:
    """The least of 4, 6, 8, 12, 16, 24, 32 … that is not below n: few sizes, at most half as much again.

    >>> [padded_length(n) for n in (1, 5, 9, 13, 33)]
    [4, 6, 12, 16, 48]
    """
    power = max(4, 1 << max(n - 1, 1).bit_length())
    return power * 3 // 4 if n <= power * 3 // 4 and power > 4 else power


def pad(rows: Sequence[Array], length: int, value: float = 0) -> Array:
    """Rows of different lengths as one array (n, length, …), filled up with a value."""
    first = rows[0]
    found = np.full((len(rows), length, *first.shape[1:]), value, first.dtype)
    for i, row in enumerate(rows):
        found[i, : len(row)] = row
    return found


def listed(given: Any, what: str) -> list[Any]:
    """Sequences as a list; DataError for a lone one, for None, for none at all."""
    if isinstance(given, str | bytes):
        raise DataError(f"{what} is one string; give a list of them: [{given[:20]!r}]")
    if hasattr(given, "tolist") and not isinstance(given, np.ndarray):
        given = given.tolist()  # a column of a data frame
    if not isinstance(given, list | tuple | np.ndarray) or getattr(given, "ndim", 1) == 0:
        raise DataError(f"{what} is a {type(given).__name__}; give a list of sequences")
    if not len(given):
        raise DataError(f"{what} is empty; give at least one sequence")
    return list(given)


def seen(rows: list[Any], split: str, what: str, least: int = 1) -> Vocabulary | Vectors:
    """What the rows are made of, from the first of them: text, tokens or vectors.

    least    rows in which a token must occur; rarer ones are unknown
    """
    first = next((row for row in rows if hasattr(row, "__len__") and len(row)), rows[0])
    if split == "auto":
        split = "characters" if isinstance(first, str) else "tokens"
    if split == "tokens" and _is_numeric(first):
        return Vectors.seen(rows, what)
    return Vocabulary.seen(rows, split, what, least)


def _is_numeric(row: Any) -> bool:
    try:
        return isinstance(row, list | tuple | np.ndarray) and np.asarray(row).dtype.kind in "fiub"
    except ValueError:  # ragged
        return False


# ------------------------------------------------------------------ tokens


@dataclass(eq=False)
class Vocabulary:
    """Tokens by number: 0 is what is unknown, 1 the boundary before and after a sequence, then the tokens.

    tokens    in their order
    split     of a sequence: into "characters", into "words" between blanks; or "tokens", where it is a list

    >>> found = Vocabulary(np.array(["a", "b"], object), "characters")
    >>> found.encode(["ab?", ""], "X")
    [array([2, 3, 0, 1]), array([1])]
    >>> found.decode([3, 2])
    'ba'
    """

    tokens: Array
    split: str

    def __post_init__(self) -> None:
        if self.split not in SPLITS[1:]:
            raise ConfigError(f"split is {self.split!r}; {nearest(self.split, SPLITS)}")
        if len(set(self.tokens)) < len(self.tokens) or not all(isinstance(t, str) for t in self.tokens):
            raise ConfigError("the tokens of a vocabulary are strings, each of them once")
        self._numbers = {token: number for number, token in enumerate(self.tokens, _FIRST)}

    @staticmethod
    def seen(rows: list[Any], split: str, what: str, least: int = 1) -> Vocabulary:
        """The tokens of some sequences, in the order of their text."""
        empty = Vocabulary(np.array([], object), split)
        counts = Counter(token for i, row in enumerate(rows) for token in set(empty.parts(row, i, what)))
        return Vocabulary(np.array(sorted(t for t, n in counts.items() if n >= least), object), split)

    def __len__(self) -> int:
        """Numbers in use: those of the tokens, the unknown and the boundary."""
        return _FIRST + len(self.tokens)

    def parts(self, row: Any, i: int, what: str) -> list[str]:
        """One sequence as a list of tokens; DataError for what is none."""
        if self.split == "tokens":
            if not isinstance(row, list | tuple | np.ndarray) or not all(isinstance(t, str) for t in row):
                raise DataError(f"{what}[{i}] is {_short(row)}; it must be a list of strings, its tokens")
            return [str(t) for t in row]
        if not isinstance(row, str):
            raise DataError(f"{what}[{i}] is {_short(row)}; it must be a string")
        return list(row) if self.split == "characters" else row.split()

    def encode(self, rows: Iterable[Any], what: str) -> list[Array]:
        """The numbers of each sequence, and the boundary at its end."""
        get = self._numbers.get
        return [
            np.array([*(get(t, UNKNOWN) for t in self.parts(row, i, what)), BOUNDARY], np.int64)
            for i, row in enumerate(rows)
        ]

    def decode(self, numbers: Iterable[int]) -> Any:
        """A sequence from numbers, as those are that it was seen in; what is unknown is left out."""
        parts = [self.tokens[n - _FIRST] for n in numbers if n >= _FIRST]
        return parts if self.split == "tokens" else ("" if self.split == "characters" else " ").join(parts)

    def embedding(self, width: int) -> nn.Layer:
        return nn.Embedding(len(self), width, nn.Normal(std=1.0))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 40 else f"{text[:36]} …"


# ------------------------------------------------------------------ vectors


@dataclass(eq=False)
class Vectors:
    """Vectors by their distance from the mean in deviations, each feature for itself.

    >>> found = Vectors.seen([np.array([[0.0], [2.0]])], "X")
    >>> found.encode([np.array([[1.0], [3.0], [2.0]])], "X")[0].ravel().tolist()
    [0.0, 2.0, 1.0]
    """

    mean: Array
    scale: Array

    @staticmethod
    def seen(rows: list[Any], what: str) -> Vectors:
        checked = [_vectors(row, i, what, None) for i, row in enumerate(rows)]
        widths = {row.shape[1] for row in checked}
        if len(widths) > 1:
            raise DataError(f"{what} has sequences of {sorted(widths)} features; all need the same")
        together = np.concatenate(checked)
        scale = together.std(axis=0)
        return Vectors(together.mean(axis=0), np.where(scale > 0, scale, 1.0))

    def encode(self, rows: Iterable[Any], what: str) -> list[Array]:
        """Each sequence as float32 (time, features)."""
        checked = (_vectors(row, i, what, len(self.mean)) for i, row in enumerate(rows))
        return [((row - self.mean) / self.scale).astype(np.float32) for row in checked]

    def embedding(self, width: int) -> nn.Layer:
        return nn.Dense(width, nn.GlorotUniform())


def _vectors(row: Any, i: int, what: str, features: int | None) -> Array:
    """(time, features) in float64; a list of numbers has one feature."""
    try:
        found = np.asarray(row, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{what}[{i}] is {_short(row)}; it must be an array (time, features)") from None
    found = found[:, None] if found.ndim == 1 else found
    if found.ndim != 2 or not found.size:
        raise DataError(f"{what}[{i}] has shape {found.shape}; it must be (time, features), of one at least")
    if features is not None and found.shape[1] != features:
        raise DataError(f"{what}[{i}] has {found.shape[1]} features, it was fitted with {features}")
    if not math.isfinite(found.sum()) and not np.isfinite(found).all():
        raise DataError(f"{what}[{i}] holds NaN or infinity; fill it, or leave the sequence out")
    return found


def padded(rows: Sequence[Array], length: int) -> data.Sequence:
    """Rows as a padded sequence with their lengths."""
    return data.Sequence(pad(rows, length), np.array([len(row) for row in rows]))
