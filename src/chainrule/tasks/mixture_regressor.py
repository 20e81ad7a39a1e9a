"""MixtureDensityRegressor: of every row not one number, but the density of what y may be."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import ConfigError, nearest
from chainrule.executors import Array
from chainrule.losses.predicted import PredictedMixture
from chainrule.tasks.mixtures import Mixtures
from chainrule.tasks.parameters import store
from chainrule.tasks.regressor import BaseRegressor
from chainrule.tasks.targets import Target

__all__ = ["MixtureDensityRegressor"]


class MixtureDensityRegressor(BaseRegressor):
    """A network that predicts a mixture of Gaussians for every row (Bishop 1994): where y may be here or
    there, it says so, while a regression answers with a place in between.

    components    Gaussians of the mixture
    covariance    "diagonal"; "full": several numbers of one row depend on each other within a component, too

    All other parameters are those of :class:`MLPRegressor`. ``early_stopping`` follows the likelihood.
    ``loss_`` is the negative log-likelihood of y in its own units, a row. ``coefs_`` and ``intercepts_`` give
    what the loss reads, for y in deviations from its mean.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(-1, 1, size=(400, 1))
    >>> y = np.where(rng.random(400) < 0.5, 1, -1) * (2 + x[:, 0]) + 0.1 * rng.normal(size=400)
    >>> model = MixtureDensityRegressor(2, (10,), learning_rate_init=0.02, random_state=0).fit(x, y)
    >>> np.sort(model.predict_distribution([[0.0]]).modes()[0].ravel()).round()
    array([-2.,  2.])
    """

    def __init__(
        self,
        components: int = 3,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        covariance: str = "diagonal",
        solver: Any = "adam",
        alpha: Any = "auto",
        batch_size: Any = "auto",
        learning_rate_init: Any = 0.001,
        max_iter: int = 200,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: Any = 10,
        dropout: float = 0.0,
        schedule: Any = None,
        scaling: str = "auto",
        kinds: Any = None,
        embed_from: Any = 64,
        hide_inputs: Any = 0.0,
        callbacks: Any = None,
        executor: str = "auto",
        threads: Any = None,
    ) -> None:
        store(self, locals())

    def _learned(self, y: Array, weight: Array | None, every_y: Array) -> tuple[Target, Any]:
        target = Mixtures.seen(y, weight, self.components, self.covariance)
        return target, target.loss

    def predict_distribution(self, X: Any) -> PredictedMixture:
        """The density of y for every row, in its own units: ``weights``, ``means``, ``covariances``,
        ``mean()``, ``modes()``, ``log_density(y)``, ``sample(count)``."""
        z = self._raw(X)
        return self._mixtures.distribution(z)

    def predict(self, X: Any, at: str = "mean") -> Array:
        """One prediction for every row, of the shape of y.

        at    "mean"; or "mode": where the density is highest
        """
        z = self._raw(X)
        if at not in ("mean", "mode"):
            raise ConfigError(f"predict: unknown place {at!r} of a density; {nearest(at, ('mean', 'mode'))}")
        if at == "mean":
            return self._mixtures.predict(z)
        return self._mixtures.shaped(self._mixtures.distribution(z).mode()).astype(z.dtype)

    def sample(self, X: Any, count: int = 1, random_state: int = 0) -> Array:
        """Draws of y for every row.   (n, count), or (n, count, numbers)"""
        found = self.predict_distribution(X).sample(count, random_state)
        return found[..., 0] if self._mixtures.flat else found

    def log_likelihood(self, X: Any, y: Any) -> Array:
        """The log density of y in each row.   (n,)"""
        values = np.asarray(y, np.float64)
        return self.predict_distribution(X).log_density(values.reshape(len(values), -1))

    @property
    def _mixtures(self) -> Mixtures:
        if not isinstance(self._target, Mixtures):
            raise TypeError("a mixture density network learns a mixture")
        return self._target
