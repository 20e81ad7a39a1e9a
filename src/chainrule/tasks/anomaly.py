"""AnomalyDetector: rows that an auto-encoder cannot give back."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted

from chainrule.errors import within
from chainrule.executors import Array
from chainrule.tasks.autoencoder import BaseAutoEncoder
from chainrule.tasks.monitor import with_callbacks
from chainrule.tasks.parameters import store

__all__ = ["AnomalyDetector"]


class AnomalyDetector(OutlierMixin, BaseAutoEncoder):
    """Tells rows that are unlike the others by how badly an auto-encoder gives them back (Hawkins, He,
    Williams & Baxter 2002), with the interface of scikit-learn's ``IsolationForest``.

    contamination    the share of the rows given to ``fit`` that are taken for anomalies, in (0, 0.5]: it
                     decides ``offset_``, the score below which a row is one

    All other parameters are those of :class:`AutoEncoder`. A row's error is the mean over its known cells.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(300, 1)) @ [[1.0, 2.0, -1.0]]
    >>> model = AnomalyDetector(0.01, 1, (), solver="lbfgs", random_state=0).fit(x)
    >>> model.predict([[1.0, 2.0, -1.0], [1.0, -2.0, 1.0]]).tolist()
    [1, -1]
    """

    _answers = "anomalies"

    def __init__(
        self,
        contamination: float = 0.1,
        code_size: Any = "auto",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: Any = "auto",
        batch_size: Any = "auto",
        learning_rate_init: Any = 0.001,
        max_iter: int = 200,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: Any = 10,
        schedule: Any = None,
        scaling: str = "auto",
        kinds: Any = None,
        callbacks: Any = None,
        executor: str = "auto",
        threads: Any = None,
    ) -> None:
        store(self, locals())

    def _prepare(self, *, holds_out: bool) -> None:
        within(self, "contamination", "(0, 0.5]")

    @with_callbacks
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> AnomalyDetector:
        """Learns from X (rows, columns), and which scores are those of anomalies. ``y`` is not used."""
        self._learn(X, None, sample_weight, None, incremental=False)
        scores = self._scores(self._rows(X, reset=False))
        weight = np.ones(len(scores)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        self.offset_ = _quantile(scores, self.contamination, np.broadcast_to(weight, scores.shape))
        self._target.offset = self.offset_
        return self

    def score_samples(self, X: Any) -> Array:
        """Minus the error of each row: the lower, the stranger.   (n,)"""
        check_is_fitted(self, "network_")
        return self._scores(self._rows(X, reset=False))

    def _scores(self, rows: Any) -> Array:
        return self._target.scores(self.network_.output(self._shown(rows)), rows)

    def decision_function(self, X: Any) -> Array:
        """``score_samples`` minus ``offset_``: below 0 for anomalies.   (n,)"""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> Array:
        """−1 for anomalies, 1 for the others.   (n,)"""
        return np.where(self.decision_function(X) < 0, -1, 1)


def _quantile(values: Array, share: float, weight: Array) -> float:
    """The value below which a share of the weight lies; between two of them their mean.

    >>> _quantile(np.array([4.0, 1.0, 2.0, 3.0]), 0.25, np.ones(4))
    1.5
    """
    values, weight = values[weight > 0], weight[weight > 0]
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weight[order]) - share * weight.sum()
    rounding = 1e-9 * weight.sum()
    ends = [int(np.argmax(below >= -rounding)), int(np.argmax(below > rounding))]
    return float(values[order][ends].mean())
