"""MLPRegressor: scikit-learn's parameters and attributes, and what was asked for there."""

from __future__ import annotations

from abc import ABC
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d

from chainrule import losses
from chainrule.errors import ConfigError
from chainrule.executors import Array
from chainrule.tasks.mlp import BaseMLP
from chainrule.tasks.parameters import store
from chainrule.tasks.targets import Numbers, Target

__all__ = ["BaseRegressor", "MLPRegressor"]

_LOSSES = {
    "squared_error": losses.HalfSquaredError(),
    "absolute_error": losses.MeanAbsoluteError(),
    "poisson": losses.PoissonNLL(),
    "gaussian": losses.GaussianNLL(),
}  # scikit-learn's names


class BaseRegressor(RegressorMixin, BaseMLP, ABC):
    """A network that predicts numbers."""

    def _checked_target(self, X: Any, y: Any, *, reset: bool) -> tuple[Array, Array]:
        X, y = self._validated(X, y, reset=reset, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y.astype(np.float64, copy=False)

    def _default_score(self, z: Any, y: Array, weight: Array | None) -> float:
        """R², 1 − Σ(y − ŷ)²/Σ(y − ȳ)², the mean over the columns; of a column that is constant, 1 where it is
        met and else 0."""
        found = self._target.predict(z).reshape(len(y), -1).astype(np.float64)
        y = y.reshape(len(y), -1)
        left = np.average((y - found) ** 2, axis=0, weights=weight)
        spread = np.average((y - np.average(y, axis=0, weights=weight)) ** 2, axis=0, weights=weight)
        share = np.divide(left, spread, out=(left > 0).astype(np.float64), where=spread > 0)
        return float(np.mean(1 - share))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class MLPRegressor(BaseRegressor):
    """A network that predicts numbers, with the interface of scikit-learn's ``MLPRegressor``.

    Whatever runs with theirs runs with this one; see :class:`MLPClassifier` for the parameters. Here

    loss             "squared_error", "poisson" (for y ≥ 0; the network predicts its logarithm),
                     "absolute_error", "gaussian" (a deviation is predicted too), "huber" (δ in units
                     of y), a loss of chainrule, or a function of
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
        alpha: Any = "auto",
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
        scaling: str = "auto",
        kinds: Any = None,
        embed_from: Any = 64,
        hide_inputs: Any = 0.0,
        target_scaling: str = "standard",
        scoring: Any = None,
        callbacks: Any = None,
        executor: str = "auto",
        threads: Any = None,
    ) -> None:
        store(self, locals())

    def _learned(self, y: Array, weight: Array | None, every_y: Array) -> tuple[Target, Any]:
        named = _LOSSES.get(self.loss) if isinstance(self.loss, str) else None
        loss: Any = losses.resolve_loss(self.loss) if named is None else named
        target = Numbers.seen(y, weight, loss, self.target_scaling)
        if isinstance(loss, losses.Huber):
            loss = replace(loss, delta=loss.delta / float(target.scale.scale[0]))
        return target, loss

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """One epoch over more rows; the network and the optimizer go on from where they are.

        X and y are scaled as the first call's were. Nothing is held out, also with ``early_stopping``.
        """
        self._learn(X, y, sample_weight, None, incremental=True)
        return self

    @property
    def n_outputs_(self) -> int:
        """Numbers that are predicted for a row."""
        return len(self._numbers.scale.mean)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The predictions for rows of X, of the shape of y: means, or medians of losses that ask for them.

        return_std    the predicted standard deviations too, after a fit with ``loss="gaussian"``
        """
        z = self._raw(X)
        found = self._target.predict(z)
        return (found, self._numbers.deviation(z)) if return_std else found

    def predict_quantiles(self, X: Any) -> Array:
        """Of the levels of ``loss=losses.Quantile((…))``: (n, levels), or (n, numbers, levels)."""
        return self._numbers.quantiles(self._raw(X))

    def predict_interval(self, X: Any, coverage: float = 0.9) -> tuple[Array, Array]:
        """(low, high), between which a share of ``coverage`` of all y is expected; each of y's shape.

        After ``loss="gaussian"`` it is μ ± kσ; after ``losses.Quantile((0.05, …, 0.95))`` it is between the
        quantiles of (1 ∓ coverage)/2, which must be among its levels. ConfigError where there are none.
        """
        if not 0 < coverage < 1:
            raise ConfigError(f"coverage is {coverage!r}; give a share between 0 and 1, such as 0.9")
        target, z = self._numbers, self._raw(X)
        if target.spread:
            half = NormalDist().inv_cdf(0.5 + coverage / 2) * target.deviation(z)
            middle = target.predict(z)
            return middle - half, middle + half
        found, levels = target.quantiles(z), np.array(target.levels)
        places = [np.flatnonzero(np.isclose(levels, 0.5 + side * coverage / 2)) for side in (-1, 1)]
        if not all(map(len, places)):
            raise ConfigError(
                f"an interval of {coverage:g} lies between the quantiles {0.5 - coverage / 2:g} and "
                f"{0.5 + coverage / 2:g}, but those of the loss are {target.levels}; name both in its levels"
            )
        return found[..., int(places[0][0])], found[..., int(places[1][0])]

    @property
    def _numbers(self) -> Numbers:
        if not isinstance(self._target, Numbers):
            raise TypeError("a regressor learns numbers")
        return self._target
