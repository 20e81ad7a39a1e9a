"""A learning curve by rows, and a validation curve by alpha."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ShuffleSplit, learning_curve, validation_curve
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LEARNED = 0.3


def main(seed: int) -> float:
    X, y = load_diabetes(return_X_y=True)
    y = (y - y.mean()) / y.std()
    model = make_pipeline(
        StandardScaler(),
        MLPRegressor(hidden_layer_sizes=(10,), learning_rate_init=0.01, max_iter=60, random_state=seed),
    )
    cv = ShuffleSplit(n_splits=4, test_size=0.25, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        sizes, train, test = learning_curve(model, X, y, cv=cv, train_sizes=[0.2, 0.5, 1.0])
        alphas = np.logspace(-3, 1, 4)
        _, by_alpha = validation_curve(
            model, X, y, param_name="mlpregressor__alpha", param_range=alphas, cv=cv
        )
    for n, a, b in zip(sizes, train.mean(axis=1), test.mean(axis=1), strict=True):
        print(f"{n} rows: R² {a:.2f} of those learned, {b:.2f} of others")
    print(dict(zip(alphas.tolist(), by_alpha.mean(axis=1).round(3).tolist(), strict=True)))
    return float(by_alpha.mean())
