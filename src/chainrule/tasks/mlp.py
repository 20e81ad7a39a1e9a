"""What the multi-layer perceptrons share beside the fit: predictions, files, scikit-learn's attributes."""

from __future__ import annotations

import os
from abc import ABC
from typing import Any

from chainrule import nn
from chainrule.executors import Array
from chainrule.tasks import architecture
from chainrule.tasks.base import Learner
from chainrule.tasks.monitor import with_callbacks
from chainrule.tasks.predictor import predictor_of
from chainrule.tasks.weights import folded

__all__ = ["BaseMLP"]


class BaseMLP(Learner, ABC):
    """A multi-layer perceptron as an estimator; see MLPClassifier and MLPRegressor."""

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, validation_data: Any = None) -> Any:
        """Learns from X (rows, features) and y; again from the start, unless ``warm_start``.

        sample_weight    one number per row, 0 or more; rows of weight 0 are left out
        validation_data  (X, y) or (X, y, sample_weight): rows to judge by, instead of a share of those of X
        """
        return self._learn(X, y, sample_weight, validation_data, incremental=False)

    def _layers(self) -> nn.Layer:
        return architecture.network_layers(
            self, self._shown.width, self._target.outputs, self._shown.front(self.hide_inputs)
        )

    def predict(self, X: Any) -> Any:
        """The predictions for rows of X: classes, or numbers."""
        z = self._raw(X)
        return self._target.predict(z)

    # ------------------------------------------------------------------ files

    def save(self, path: str | os.PathLike[str], *, optimizer: bool = False) -> None:
        """One safe file, which :func:`chainrule.load` gives back as a Predictor: it predicts without
        scikit-learn. ``optimizer`` adds the optimizer's state."""
        predictor_of(self).save(path, optimizer=optimizer)

    def export(self, path: str | os.PathLike[str]) -> None:
        """An ONNX file, with scaling and classes inside: :func:`chainrule.tasks.onnx.predictor_to_onnx`."""
        predictor_of(self).export(path)

    # ------------------------------------------------------------------ inside, by scikit-learn's names

    @property
    def coefs_(self) -> list[Array]:
        """The weights of every Dense layer, (n_in, n_out): with ``intercepts_`` they are the whole network
        for X as it was given. (The network itself sees scaled columns; that is folded in here.)"""
        return folded(self.network_, self._scaling, self._target)[0]

    @property
    def intercepts_(self) -> list[Array]:
        """The biases of every Dense layer, (n_out,)."""
        return folded(self.network_, self._scaling, self._target)[1]

    @property
    def n_layers_(self) -> int:
        """Layers of units, inputs and outputs included."""
        self.network_  # noqa: B018  # not there before a fit, so that neither is this
        return len(architecture.hidden_sizes(self.hidden_layer_sizes)) + 2

    @property
    def n_outputs_(self) -> int:
        """Outputs of the network."""
        return sum(self._target.outputs.values())

    @property
    def out_activation_(self) -> str:
        """What turns outputs into predictions."""
        return self._target.activation
