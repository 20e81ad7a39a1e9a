"""Estimators of sequences: text or tokens → text (SequenceToSequence), sequences → classes
(SequenceClassifier)."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin

from chainrule import nn
from chainrule.errors import DataError, within
from chainrule.executors import Array
from chainrule.tasks.parameters import store
from chainrule.tasks.sequence_base import NOTHING, SequenceLearner, paired, reader
from chainrule.tasks.sequence_predictor import Labeller, Translator
from chainrule.tasks.targets import OUTPUT, OneOf
from chainrule.tasks.vocabulary import BOUNDARY, Vocabulary, pad, padded_length, seen

__all__ = ["SequenceClassifier", "SequenceToSequence"]


# ------------------------------------------------------------------ sequence → sequence


class SequenceToSequence(SequenceLearner):
    """Learns to answer a sequence with a sequence: transcription, translation, spelling out.

    An encoder reads the sequence, a decoder that attends to it writes the answer, token after token (Vaswani
    et al. 2017, arXiv:1706.03762; norms in front: Xiong et al. 2020).

    split           of text into "characters" or "words"; lists are their "tokens". "auto": text's characters.
                    A pair where X and y differ: ("words", "characters")
    encoder         "attention", or "lstm" or "gru", each forwards and backwards; the decoder attends
    width, layers, heads   units at a place, blocks of encoder and decoder each, heads of attention
    dropout         share of what each part adds that training drops
    beam            answers that are followed at once when predicting
    min_count       sequences in which a token of X must occur; rarer ones are unknown, as those are that come
                    later
    max_iter        epochs; batch_size: sequences of a step
    learning_rate_init     of Adam, with gradients clipped at norm 1; or give an ``optimizer``
    schedule        of ``chainrule.optim``; None: warm-up, then a cosine to 0
    early_stopping  on ``validation_fraction`` of the sequences, after ``n_iter_no_change`` epochs without
                    gain; the best epoch's parameters are kept
    random_state, verbose, callbacks, executor, threads    as in MLPClassifier

    X and y are lists of strings, or of lists of strings. An answer is at most as long as the longest in
    training (to the next of the sizes 4, 6, 8, 12, 16 …); what would be longer is cut off. An empty string is
    a sequence like any other.

    ``source_``, ``target_``: the vocabularies; ``loss_curve_``, ``validation_loss_curve_``, ``n_iter_``,
    ``network_``.

    >>> X = ["ab", "ba", "aab", "b", "abb", "bbab"] * 10
    >>> model = SequenceToSequence(width=16, layers=1, heads=2, max_iter=60, batch_size=12, random_state=0)
    >>> model.fit(X, [x.upper() for x in X]).predict(["bbab", "ab"])
    ['BBAB', 'AB']
    """

    def __init__(
        self,
        *,
        split: str | tuple[str, str] = "auto",
        encoder: str = "attention",
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
        beam: int = 1,
        min_count: int = 1,
        max_iter: int = 20,
        batch_size: int = 64,
        learning_rate_init: float = 2e-3,
        optimizer: Any = None,
        schedule: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        random_state: Any = None,
        verbose: Any = False,
        callbacks: Any = None,
        executor: str = "auto",
        threads: Any = None,
    ) -> None:
        store(self, locals())

    def _check(self) -> None:
        super()._check()
        within(self, "beam", "[1, inf)", whole=True)

    def _begin(self, rows: list[Any], y: list[Any]) -> nn.Layer:
        found = seen(y, self._splits()[1], "y")
        if not isinstance(found, Vocabulary):
            raise DataError("y holds numbers; SequenceToSequence answers with strings, or lists of them")
        self.target_ = found
        self._longest = padded_length(max(map(len, found.encode(y, "y"))))
        block = nn.TransformerBlock(self.heads, causal=True, dropout=self.dropout)
        writer = nn.SequenceStack(found.embedding(self.width), (block,) * self.layers, dropout=self.dropout)
        head = nn.Dense(len(found), nn.GlorotUniform())
        return nn.EncoderDecoder(reader(self, self.source_), writer, head)

    def _data(self, rows: list[Any], y: list[Any], length: int | None) -> tuple[Any, Array]:
        answers = self.target_.encode(y, "y")
        if (longest := max(map(len, answers))) > self._longest:
            raise DataError(
                f"y has an answer of {longest - 1} tokens, those of training have up to {self._longest - 1}; "
                "validate on answers that are not longer"
            )
        shown = [np.concatenate([[BOUNDARY], row[:-1]]) for row in answers]
        source = self._padded(rows, "X", length)
        return {"source": source, "target": pad(shown, self._longest, BOUNDARY)}, pad(
            answers, self._longest, NOTHING
        )

    def _made(self) -> Translator:
        return Translator(**self._shared(), target=self.target_, longest=self._longest, beam=int(self.beam))

    def predict_log_likelihood(self, X: Any) -> tuple[list[Any], Array]:
        """The answers, and the logarithm of the probability that the network gives each of them."""
        return self._fitted().predict_log_likelihood(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of sequences whose answer is right in every token."""
        _, targets = paired(X, y, "X", "y")
        right = [found == given for found, given in zip(self.predict(X), targets, strict=True)]
        return float(np.average(right, weights=sample_weight))


# ------------------------------------------------------------------ sequence → class


class SequenceClassifier(ClassifierMixin, SequenceLearner):
    """Tells classes of sequences apart: of text, of lists of tokens, of arrays (time, features); or, with
    ``each``, gives every token of a sequence its own (tagging).

    An encoder reads the sequence; the mean over its places, or each place, goes to a softmax.

    each    whether y holds a list of classes for each sequence, one for every token

    The other parameters are those of :class:`SequenceToSequence`. Features of arrays are standardised.
    Lengths may differ; padding influences nothing.

    ``classes_``, ``source_``, ``loss_curve_``, ``validation_loss_curve_``, ``n_iter_``, ``network_``.

    >>> X = ["(a)", "a)", "(a", "((a))", "(a))", "()", ")(a", "a"] * 10
    >>> y = ["open" if x.count("(") > x.count(")") else "closed" for x in X]
    >>> model = SequenceClassifier(width=16, layers=1, heads=2, max_iter=20, batch_size=16, random_state=0)
    >>> model.fit(X, y).predict(["(a", "()"]).tolist()
    ['open', 'closed']
    """

    def __init__(
        self,
        *,
        each: bool = False,
        split: str = "auto",
        encoder: str = "attention",
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
        min_count: int = 1,
        max_iter: int = 20,
        batch_size: int = 64,
        learning_rate_init: float = 2e-3,
        optimizer: Any = None,
        schedule: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        random_state: Any = None,
        verbose: Any = False,
        callbacks: Any = None,
        executor: str = "auto",
        threads: Any = None,
    ) -> None:
        store(self, locals())

    def _begin(self, rows: list[Any], y: list[Any]) -> nn.Layer:
        labels = [label for row in y for label in _labels(row)] if self.each else y
        try:
            classes = np.unique(np.array(labels))
        except (TypeError, ValueError):
            raise DataError(
                "y holds values of several kinds, or lists; give one class for each sequence, or each=True "
                "and one for every token"
            ) from None
        if classes.dtype.kind == "O" or classes.ndim != 1 or np.ndim(labels[0]):
            raise DataError(
                "y holds what is no class (None, lists); for a class for every token give each=True"
            )
        self._target = OneOf(classes, wide=True)
        self.classes_ = classes
        head = nn.Dense(self._target.outputs[OUTPUT], nn.GlorotUniform())
        pool: dict[str, nn.Layer] = {} if self.each else {"pool": nn.GlobalAveragePool()}
        return nn.sequential(encoder=reader(self, self.source_), **pool, head=head)

    def _data(self, rows: list[Any], y: list[Any], length: int | None) -> tuple[Any, Array]:
        x = self._padded(rows, "X", length)
        if not self.each:
            return {"x": x}, self._target.encode(np.array(y), np.dtype(np.float32))
        extra = int(isinstance(self.source_, Vocabulary))  # the boundary at the end has no label
        found = []
        for i, (row, n) in enumerate(zip(y, x.lengths, strict=True)):
            if len(row := _labels(row)) != n - extra:
                raise DataError(f"y[{i}] has {len(row)} classes for the {n - extra} tokens of X[{i}]")
            codes = self._target.encode(np.array(row), np.dtype(np.float32)) if row else np.zeros(0, np.int64)
            found.append(np.concatenate([codes, np.full(extra, NOTHING)]).astype(np.int64))
        return {"x": x}, pad(found, x.values.shape[1], NOTHING)

    def _made(self) -> Labeller:
        return Labeller(**self._shared(), target=self._target, each=bool(self.each))

    def predict_proba(self, X: Any) -> Any:
        """(n, classes) in the order of ``classes_``; with ``each`` a list of (tokens, classes)."""
        return self._fitted().predict_proba(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of sequences, or of tokens with ``each``, whose class is right."""
        if not self.each:
            return float(super().score(X, y, sample_weight))
        _, targets = paired(X, y, "X", "y")
        pairs = list(zip(self.predict(X), map(_labels, targets), strict=True))
        right = [float(np.sum(np.array(a) == np.array(b))) for a, b in pairs]
        weight = np.ones(len(pairs)) if sample_weight is None else np.asarray(sample_weight, float)
        return float(weight @ right / (weight @ [len(b) for _, b in pairs]))


def _labels(row: Any) -> list[Any]:
    """The classes of one sequence's tokens."""
    if not isinstance(row, list | tuple | np.ndarray):
        raise DataError(
            f"y holds {row!r} for a sequence; each=True needs a list of classes, one for every token"
        )
    return list(row)
