"""How a prediction depends on single columns: partial dependence on known functions of them."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.inspection import partial_dependence
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

LEARNED = 0.8


def main(seed: int) -> float:
    X, y = make_friedman1(n_samples=1500, n_features=6, noise=1.0, random_state=seed)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=seed)
    est = make_pipeline(
        QuantileTransformer(n_quantiles=100),
        MLPRegressor(
            hidden_layer_sizes=(30, 15), learning_rate_init=0.01, early_stopping=True, random_state=seed
        ),
    )
    est.fit(X_train, y_train)
    print(f"test R²: {est.score(X_test, y_test):.2f}")

    for column, wanted in [(2, lambda x: 20 * (x - 0.5) ** 2), (3, lambda x: 10 * x), (4, lambda x: 5 * x)]:
        found = partial_dependence(est, X_train[:200], [column], kind="average", grid_resolution=20)
        curve, grid = found["average"][0], found["grid_values"][0]
        print(f"column {column}: correlation {np.corrcoef(curve, wanted(grid))[0, 1]:.2f}")
    pair = partial_dependence(est, X_train[:100], [(0, 1)], kind="average", grid_resolution=5)
    print(pair["average"].shape)
    return est.score(X_test, y_test)
