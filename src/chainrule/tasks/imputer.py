"""Imputer: a network that fills the gaps of rows from what is known of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from chainrule import nn
from chainrule.data.tables import Table
from chainrule.errors import ConfigError
from chainrule.tasks import architecture
from chainrule.tasks.parameters import store
from chainrule.tasks.row_learner import RowLearner

__all__ = ["Imputer"]


class Imputer(OneToOneFeatureMixin, TransformerMixin, RowLearner):
    """Fills missing cells with what a network expects there: of numbers and dates the mean, of categories the
    likeliest one. It learns by hiding known cells from itself and guessing them.

    hide_inputs    the share of cells that is hidden, anew in every step; "any": another share for each row,
                   so that few gaps and many are learned

    All other parameters are those of :class:`MLPClassifier`; ``early_stopping`` judges by cells that are
    hidden from the rows held out, and is patient, since what is hidden from others changes with every step.

    X is an array with NaN in its gaps, a data frame, or a dict of columns. What is known stays as it is, and
    a data frame keeps its dtypes and index. Where training had no value of a column, its gaps stay.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(300, 1)) @ [[1.0, 2.0, -1.0]]
    >>> model = Imputer(hidden_layer_sizes=(20,), learning_rate_init=0.01, random_state=0).fit(x)
    >>> model.transform([[1.0, np.nan, np.nan]]).round()
    array([[ 1.,  2., -1.]])
    """

    _answers = "gaps"

    def __init__(
        self,
        hide_inputs: Any = "any",
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
        n_iter_no_change: Any = 30,
        schedule: Any = None,
        scaling: str = "auto",
        kinds: Any = None,
        callbacks: Any = None,
        executor: str = "auto",
        threads: Any = None,
    ) -> None:
        store(self, locals())

    def _prepare(self, *, holds_out: bool) -> None:
        if not self._gaps:
            raise ConfigError("Imputer: hide_inputs is 0: nothing would be guessed; give a share, or 'any'")

    def _layers(self) -> nn.Layer:
        """Beside the hidden layers a straight way, by which known cells pass at once."""
        body = architecture.network_layers(self, self._shown.width, self._target.outputs)
        straight = nn.Dense(self._target.loss.width, init=nn.Zeros(), bias=False)
        return nn.sequential(*self._shown.front(self.hide_inputs), nn.Residual(body, straight))

    def _judged(self, shown: Any, target: Any) -> tuple[Any, Any]:
        """With cells hidden, and those alone to be guessed: of every row a share as in training."""
        layer, rows, rng = self._shown.hiding(self.hide_inputs), len(shown), np.random.default_rng(self._seed)
        share = rng.random((rows, 1)) if self.hide_inputs == "any" else float(self.hide_inputs)
        away = rng.random((rows, max(layer.cells) + 1)) < share
        shown = np.where(away[:, layer.cells], np.array(layer.hidden, shown.dtype), shown)
        order = [self._shown.names.index(name) for name in (*self._target.numbers, *self._target.names)]
        target = target.copy()
        target[:, len(order) :] *= away[:, order]
        return shown, target

    def transform(self, X: Any) -> Any:
        """X with its gaps filled: an array, or what X is."""
        check_is_fitted(self, "network_")
        rows = self._rows(X, reset=False)
        z = self.network_.output(self._shown(rows))
        return self._target.fill(z, X if isinstance(rows, Table) else rows)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
