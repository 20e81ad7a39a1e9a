"""Frequencies of claims: the Poisson loss, with exposures as weights of rows."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import d2_tweedie_score, mean_poisson_deviance
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LEARNED = 0.05


def main(seed: int) -> float:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(3000, 4))
    exposure = rng.uniform(0.5, 2.0, size=3000)
    rate = np.exp(0.5 * X[:, 0] - 0.4 * np.abs(X[:, 1]) + 0.2 * X[:, 2] * X[:, 3])
    frequency = rng.poisson(rate * exposure) / exposure
    parts = train_test_split(X, frequency, exposure, random_state=seed)
    X_train, X_test, y_train, y_test, w_train, w_test = parts

    model = make_pipeline(
        StandardScaler(),
        MLPRegressor(
            loss="poisson", hidden_layer_sizes=(20,), learning_rate_init=0.01, early_stopping=True,
            random_state=seed,
        ),
    )  # fmt: skip
    model.fit(X_train, y_train, mlpregressor__sample_weight=w_train)
    found = model.predict(X_test)
    assert (found > 0).all()
    print(f"deviance {mean_poisson_deviance(y_test, found, sample_weight=w_test):.3f}")
    return d2_tweedie_score(y_test, found, sample_weight=w_test, power=1)
