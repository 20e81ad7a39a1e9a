"""What estimators of sequences share: parameters, checked sequences, one fit, what is kept of it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from chainrule import losses, nn, optim, train
from chainrule.data import Sequence
from chainrule.errors import ConfigError, DataError, nearest, within
from chainrule.executors import Array
from chainrule.network import Network
from chainrule.tasks.predictor import parameters_of
from chainrule.tasks.sequence_predictor import SequencePredictor
from chainrule.tasks.vocabulary import SPLITS, Vectors, Vocabulary, listed, padded, padded_length, seen

__all__ = ["ENCODERS", "NOTHING", "SequenceLearner", "paired", "reader"]

NOTHING = -1
"""Stands in a target past its end."""


# ------------------------------------------------------------------ what reads a sequence


def _attending(estimator: Any) -> dict[str, Any]:
    """Blocks that attend, which have to be told places apart."""
    block = nn.TransformerBlock(estimator.heads, dropout=estimator.dropout)
    return {"blocks": (block,) * estimator.layers}


def _recurrent(cell: Callable[..., nn.Layer]) -> Callable[[Any], dict[str, Any]]:
    """Recurrent layers, forwards and backwards, which know places by themselves."""

    def made(estimator: Any) -> dict[str, Any]:
        block = nn.Bidirectional(cell(estimator.width // 2, sequences=True))
        return {"blocks": (block,) * estimator.layers, "position": None}

    return made


ENCODERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "attention": _attending,
    "lstm": _recurrent(nn.LSTM),
    "gru": _recurrent(nn.GRU),
}
"""What ``encoder`` may be: from an estimator's parameters to those of the SequenceStack that reads."""


def reader(estimator: Any, source: Vocabulary | Vectors) -> nn.SequenceStack:
    """The stack that reads sequences of a source."""
    made = ENCODERS[estimator.encoder](estimator)
    return nn.SequenceStack(source.embedding(estimator.width), dropout=estimator.dropout, **made)


# ------------------------------------------------------------------ what the two share


class SequenceLearner(BaseEstimator, ABC):
    """Sequences in, one fit, what is kept of it."""

    network_: Network
    source_: Vocabulary | Vectors

    @abstractmethod
    def _begin(self, rows: list[Any], y: list[Any]) -> nn.Layer:
        """The network for what the target holds, which is remembered."""

    @abstractmethod
    def _data(self, rows: list[Any], y: list[Any], length: int | None) -> tuple[Any, Array]:
        """What the network takes and its loss is given, for sequences padded to ``length``."""

    @abstractmethod
    def _made(self) -> SequencePredictor:
        """What predicts, from what was learned."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, validation_data: Any = None) -> Any:
        """Learns y from the sequences of X, from the start.

        sample_weight    one number per sequence, 0 or more
        validation_data  (X, y) or (X, y, sample_weight): sequences to judge by, instead of a share of X
        """
        self._check()
        rows, y = paired(X, y, "X", "y")
        self._seed = int(check_random_state(self.random_state).randint(0, 2**31 - 1, dtype=np.int64))
        self.source_ = seen(rows, self._splits()[0], "X", self.min_count)
        network = Network(self._begin(rows, y), seed=self._seed)
        inputs, targets = self._data(rows, y, None)
        held = self._held(validation_data)
        stopping = []
        if self.early_stopping or validation_data is not None:
            stopping = [train.EarlyStopping("val_loss", int(self.n_iter_no_change))]
        try:
            network.fit(
                inputs,
                targets,
                loss=losses.CrossEntropy(ignore_index=NOTHING),
                optimizer=self._optimizer(),
                epochs=int(self.max_iter),
                batch_size=min(int(self.batch_size), len(rows)),
                validation=held,
                metrics=[],
                schedule=optim.WarmUp() if self.schedule is None else self.schedule,
                callbacks=[*stopping, *self._callbacks()],
                sample_weight=sample_weight,
                executor=self.executor,
                threads=self.threads,
                verbose=int(self.verbose),
            )
        finally:  # also after Ctrl-C: what was learned until then
            if network.history is not None:
                self._keep(network, network.history)
        return self

    def _keep(self, network: Network, history: train.History) -> None:
        self.network_ = network
        self.loss_curve_ = [row["loss"] for row in history.rows]
        self.validation_loss_curve_ = [row["val_loss"] for row in history.rows if "val_loss" in row] or None
        self.n_iter_ = len(self.loss_curve_)
        self._predictor = self._made()

    def _held(self, given: Any) -> Any:
        """What is validated on, as ``Network.fit`` takes it."""
        if given is None:
            return float(self.validation_fraction) if self.early_stopping else None
        if not isinstance(given, tuple | list) or len(given) not in (2, 3):
            raise ConfigError("validation_data is (X, y) or (X, y, sample_weight)")
        X, y, weight = (*given, None)[:3]
        rows, y = paired(X, y, "validation_data's X", "its y")
        return (*self._data(rows, y, self._length), weight)

    def _optimizer(self) -> optim.Rule:
        if isinstance(self.optimizer, optim.Rule):
            return self.optimizer
        return optim.Adam(float(self.learning_rate_init), clip_norm=1.0)

    def _callbacks(self) -> list[train.Callback]:
        given = self.callbacks
        return [] if given is None else [given] if isinstance(given, train.Callback) else list(given)

    def _check(self) -> None:
        """ConfigError for the first parameter that means nothing."""
        title = type(self).__name__
        for name in ("width", "layers", "heads", "max_iter", "batch_size", "n_iter_no_change", "min_count"):
            within(self, name, "[1, inf)", whole=True)
        within(self, "dropout", "[0, 1)")
        within(self, "validation_fraction", "(0, 1)")
        within(self, "learning_rate_init", "(0, inf)")
        asked = [("split", split, SPLITS) for split in self._splits()]
        for name, value, known in [*asked, ("encoder", self.encoder, ENCODERS)]:
            if value not in known:
                raise ConfigError(f"{title}: unknown {name} {value!r}; {nearest(value, known)}")
        if self.width % self.heads:
            raise ConfigError(f"{title}: {self.heads} heads do not divide the width {self.width}")
        if self.width % 2 and self.encoder != "attention":
            raise ConfigError(
                f"{title}: width is {self.width}, of which each direction needs half: make it even"
            )
        if self.optimizer is not None and not isinstance(self.optimizer, optim.Rule):
            raise ConfigError(f"{title}: optimizer is {self.optimizer!r}; give one such as optim.AdamW(1e-3)")

    def _splits(self) -> tuple[Any, Any]:
        """How X and y are split."""
        pair = isinstance(self.split, tuple) and len(self.split) == 2
        return self.split if pair else (self.split, self.split)

    def _padded(self, rows: list[Any], what: str, length: int | None) -> Sequence:
        """The sequences as the network takes them; ``length`` is remembered where it is not known yet."""
        encoded = self.source_.encode(rows, what)
        longest = max(map(len, encoded))
        if length is None:
            length = self._length = padded_length(longest)
        if longest > length:
            raise DataError(
                f"{what} has a sequence of {longest} places, those of training have up to {length}; "
                "validate on sequences that are not longer, or train on some that are as long"
            )
        return padded(encoded, length)

    # ------------------------------------------------------------------ using

    def predict(self, X: Any) -> Any:
        """What was learned, for each sequence of X."""
        return self._fitted().predict(X)

    def _fitted(self) -> Any:
        check_is_fitted(self, "network_")
        return self._predictor

    def save(self, path: str | os.PathLike[str]) -> None:
        """One safe file; :func:`chainrule.load` gives what predicts, without scikit-learn."""
        check_is_fitted(self, "network_")
        self._predictor.save(path)

    def _shared(self) -> dict[str, Any]:
        parameters, left_out = parameters_of(self)
        return {
            "estimator": type(self).__name__,
            "parameters": parameters,
            "left_out": tuple(left_out),
            "network": self.network_,
            "source": self.source_,
            "executor": self.executor,
        }


def paired(X: Any, y: Any, what: str, beside: str) -> tuple[list[Any], list[Any]]:
    """Both as lists, as many of one as of the other."""
    rows, targets = listed(X, what), listed(y, beside)
    if len(rows) != len(targets):
        raise DataError(f"{what} has {len(rows)} sequences, {beside} {len(targets)}; each needs one")
    return rows, targets
