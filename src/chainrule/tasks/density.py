"""DensityEstimator: how likely a row is, exactly, and rows that might have been."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from chainrule import nn
from chainrule.data.tables import Table
from chainrule.errors import within
from chainrule.executors import Array
from chainrule.tasks import architecture
from chainrule.tasks.filling import like
from chainrule.tasks.parameters import store
from chainrule.tasks.row_learner import RowLearner
from chainrule.tasks.targets import log_softmax

__all__ = ["DensityEstimator"]


class DensityEstimator(DensityMixin, RowLearner):
    """The density of rows  p(x) = Π p(x_j | x_1 … x_{j−1})  by one network whose weights are masked, so that
    each factor sees the columns before its own alone (MADE: Germain, Gregor, Murray & Larochelle 2015). Of a
    number the factor is a mixture of Gaussians, of a category its probabilities, so that the whole is exact:
    it integrates to 1, and is sampled from column by column.

    components            Gaussians of each number's mixture
    hidden_layer_sizes    of the masked network; beside it every factor has a straight way from its columns

    All other parameters are those of :class:`MLPClassifier`; ``early_stopping`` follows the likelihood. Cells
    of a table that are missing are left out of the product.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(5, 2, size=(1000, 1))
    >>> model = DensityEstimator(1, (), solver="lbfgs", random_state=0).fit(x)
    >>> grid = np.linspace(-5, 15, 401)[:, None]
    >>> float(np.exp(model.score_samples(grid)).sum() * 0.05)  # the integral
    1.0
    """

    _answers = "densities"

    def __init__(
        self,
        components: int = 5,
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
        early_stopping: bool = True,
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
        within(self, "components", "[1, inf)", whole=True)
        self._components = int(self.components)

    def _layers(self) -> nn.Layer:
        """Degrees: of a feature its column's place, counted from 1; of hidden units 1 … C − 1 in turn; of an
        output the number of columns before its own."""
        loss, shown = self._target.loss, self._shown
        order = {name: i for i, name in enumerate((*self._target.numbers, *self._target.names))}
        into = tuple(order[shown.names[cell]] + 1 for cell in shown.hiding(0.0).cells)
        out = tuple(i for i, width in enumerate(loss.widths) for _ in range(width))
        sizes = architecture.hidden_sizes(self.hidden_layer_sizes)
        steps: list[nn.Step] = []
        last = into
        for units, activation in zip(
            sizes, architecture.activations(self.activation, len(sizes)), strict=True
        ):
            degrees = tuple(i % max(loss.cells - 1, 1) + 1 for i in range(units))
            steps += [nn.MaskedDense(last, degrees, bias_init=nn.Uniform(1.0)), activation]
            last = degrees
        body = nn.sequential(*steps, nn.MaskedDense(last, out, nn.Normal(std=0.05), nn.Uniform(1.0)))
        straight = nn.MaskedDense(into, out, nn.Zeros())
        return nn.sequential(nn.Residual(body, straight))

    def score_samples(self, X: Any) -> Array:
        """log p of each row, in the units of its columns.   (n,)"""
        check_is_fitted(self, "network_")
        rows = self._rows(X, reset=False)
        return self._target.log_density(self.network_.output(self._shown(rows)), rows)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of ``score_samples``."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Rows drawn from the density: an array, or a table of the kind that was learned from.

        Column by column: each is drawn from its factor, given those before it.
        """
        check_is_fitted(self, "network_")
        rng, target = check_random_state(random_state), self._target
        n = len(target.numbers)
        cells = np.zeros((n_samples, target.loss.cells))
        cells[:, :n] = target.scale.mean
        ends = np.cumsum(target.loss.widths)
        for j, width in enumerate(target.loss.widths):
            z = self.network_.output(self._shown(target.decode(cells)))
            part = z[:, ends[j] - width : ends[j]].astype(np.float64)
            if j < n:
                drawn = target.loss.mixture.distribution(part).sample(1, int(rng.randint(2**31 - 1)))
                cells[:, j] = drawn[:, 0, 0] * target.scale.scale[j] + target.scale.mean[j]
            else:
                below = np.cumsum(np.exp(log_softmax(part)), axis=1)
                cells[:, j] = (rng.random((n_samples, 1)) * below[:, -1:] > below).sum(axis=1)
        found = target.decode(cells)
        return like(found, self._form) if isinstance(found, Table) else found.astype(self._shown.dtype)
