"""MLPRegressor: scikit-learn's parameters and attributes, and what was asked for there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.validation import validate_data

from chainrule import losses
from chainrule.executors import Array
from chainrule.tasks.base import BaseMLP
from chainrule.tasks.parameters import store
from chainrule.tasks.targets import Numbers, Target

__all__ = ["MLPRegressor"]

_LOSSES = {
    "squared_error": losses.HalfSquaredError(),
    "absolute_error": losses.MeanAbsoluteError(),
    "poisson": losses.PoissonNLL(),
}  # scikit-learn's names


class MLPRegressor(RegressorMixin, BaseMLP):
    """A network that predicts numbers, with the interface of scikit-learn's ``MLPRegressor``.

    Whatever runs with theirs runs with this one; see :class:`MLPClassifier` for the parameters. Here

    loss             "squared_error", "poisson" (for y ≥ 0; the network predicts its logarithm),
                     "absolute_error", "huber" (δ in units of y), a loss of chainrule, or a function of
                     (output, target)
    target_scaling   of y: "standard" shows every number to the network by its distance from the mean in
                     deviations, "none" as it is. A function of your own sees y as it is. Predictions,
                     ``coefs_`` and ``loss_`` are in units of y; ``tol`` is in units of the scaled y.
    scoring          None: R²

    y is (n,) or (n, targets).

    >>> import numpy as np
    >>> x = np.linspace(-2, 2, 200)[:, None]
    >>> y = 1000 + 50 * np.abs(x[:, 0])
    >>> model = MLPRegressor(solver="lbfgs", random_state=0).fit(x, y)
    >>> model.score(x, y) > 0.99
    True
    """

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: Any = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        batch_norm: bool = False,
        layer_norm: bool = False,
        weight_decay: Any = None,
        clip_norm: Any = None,
        schedule: Any = None,
        init: Any = "auto",
        scaling: str = "standard",
        target_scaling: str = "standard",
        scoring: Any = None,
        callbacks: Any = None,
        executor: str = "auto",
        threads: Any = None,
    ) -> None:
        store(self, locals())

    def _checked_target(self, X: Any, y: Any, *, reset: bool) -> tuple[Array, Array]:
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc", "coo"], multi_output=True, y_numeric=True,
            dtype=(np.float64, np.float32), reset=reset,
        )  # fmt: skip
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return self._dense(X), y.astype(np.float64, copy=False)

    def _learned(self, y: Array, weight: Array | None) -> tuple[Target, Any]:
        named = _LOSSES.get(self.loss) if isinstance(self.loss, str) else None
        loss: Any = losses.resolve_loss(self.loss) if named is None else named
        target = Numbers.seen(y, weight, loss, self.target_scaling)
        if isinstance(loss, losses.Huber):
            loss = replace(loss, delta=loss.delta / float(target.scale.scale[0]))
        return target, loss

    def _weigh(self, y: Array, weight: Array | None, *, incremental: bool) -> Array | None:
        return weight

    def _default_score(self, z: Any, y: Array, weight: Array | None) -> float:
        """R², 1 − Σ(y − ŷ)²/Σ(y − ȳ)², the mean over the columns; of a column that is constant, 1 where it is
        met and else 0."""
        found = self._target.predict(z).reshape(len(y), -1).astype(np.float64)
        y = y.reshape(len(y), -1)
        left = np.average((y - found) ** 2, axis=0, weights=weight)
        spread = np.average((y - np.average(y, axis=0, weights=weight)) ** 2, axis=0, weights=weight)
        share = np.divide(left, spread, out=(left > 0).astype(np.float64), where=spread > 0)
        return float(np.mean(1 - share))

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """One epoch over more rows; the network and the optimizer go on from where they are.

        X and y are scaled as the first call's were. Nothing is held out, also with ``early_stopping``.
        """
        self._learn(X, y, sample_weight, None, incremental=True)
        return self

    @property
    def n_outputs_(self) -> int:
        """Numbers that are predicted for a row."""
        target = self._target
        return len(target.scale.mean) if isinstance(target, Numbers) else 1

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
