"""scikit-learn: MLPClassifier and MLPRegressor. They know neither dropout nor batch normalisation."""

from __future__ import annotations

import warnings
from typing import Any

from bench.ready import EPSILON, Peer, Ready
from bench.workloads import Array, Workload, perceptron


def comparable(w: Workload) -> bool:
    """Two classes are one logistic output there, so the common weights do not fit."""
    return w.loss != "cross_entropy" or w.sizes[-1] > 2


def ready(w: Workload) -> Ready:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    warnings.simplefilter("ignore")  # it warns that one epoch is not convergence
    x, y = w.data()
    y = y.ravel()
    classifies = w.loss == "cross_entropy"
    model: Any = (MLPClassifier if classifies else MLPRegressor)(
        hidden_layer_sizes=w.sizes[1:-1], activation=w.activation, solver=w.optimizer, batch_size=w.batch,
        max_iter=1, alpha=0, warm_start=True, learning_rate_init=w.learning_rate, n_iter_no_change=10**6,
        momentum=0, epsilon=EPSILON,
    )  # fmt: skip
    first: list[Any] = []
    for c in range(w.sizes[-1]) if classifies else (0,):  # shapes are made by a fit that sees each class
        first += [int((y == c).argmax())] if classifies else [0]
    with warnings.catch_warnings():
        model.set_params(batch_size=len(first)).fit(x[first], y[first])
    model.set_params(batch_size=w.batch)
    if comparable(w) and model.n_outputs_ == w.sizes[-1]:  # few rows may lack a class
        model.coefs_ = [weight.copy() for weight, _ in w.weights()]
        model.intercepts_ = [bias.copy() for _, bias in w.weights()]

    def checked(epochs: int) -> float:
        model.set_params(max_iter=epochs, shuffle=False).fit(x, y)
        model.set_params(shuffle=True)
        return float(model.loss_curve_[-1]) * (1 if classifies else 2)  # its squared error is halved

    def train(epochs: int) -> None:
        model.set_params(max_iter=epochs).fit(x, y)

    def predict(rows: Array) -> Array:
        found: Array = model.predict_proba(rows) if classifies else model.predict(rows)
        return found

    return Ready(train, checked, predict)


SCIKIT = Peer(
    "scikit-learn",
    "scikit-learn",
    ("sklearn.neural_network",),
    ready,
    takes=lambda w: perceptron(w) and not w.filters and not w.dropout and not w.batch_norm,
    comparable=comparable,
)
