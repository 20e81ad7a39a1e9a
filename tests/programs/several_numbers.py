"""Several numbers at once: the sine and cosine of a noisy angle and of its double."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import mean_squared_error
from sklearn.neural_network import MLPRegressor

LEARNED = 0.8


def main(seed: int) -> float:
    rng = np.random.RandomState(seed)
    X = np.sort(2 * np.pi * rng.rand(400, 1) - np.pi, axis=0)
    y = np.hstack([np.sin(X), np.cos(X), np.sin(2 * X), np.cos(2 * X)]) + 0.1 * rng.randn(400, 4)
    order = rng.permutation(400)
    train, test = order[:300], order[300:]

    regr = MLPRegressor(
        hidden_layer_sizes=(50, 50), activation="tanh", learning_rate_init=0.01, max_iter=150,
        random_state=seed,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        regr.fit(X[train], y[train])
    assert regr.predict(X[:3]).shape == (3, 4)
    print(mean_squared_error(y[test], regr.predict(X[test]), multioutput="raw_values"))
    return regr.score(X[test], y[test])
