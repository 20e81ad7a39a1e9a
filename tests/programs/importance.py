"""Which columns count: permutation importance of a network for numbers."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import make_regression
from sklearn.inspection import permutation_importance
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LEARNED = 0.9


def main(seed: int) -> float:
    X, y, coef = make_regression(
        n_samples=500, n_features=8, n_informative=3, noise=10.0, coef=True, random_state=seed
    )
    X_train, X_val, y_train, y_val = train_test_split(X, y, random_state=seed)
    model = make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=(20,), solver="lbfgs", alpha=1.0, max_iter=500,
                                       random_state=seed)
    ).fit(X_train, y_train)  # fmt: skip
    result = permutation_importance(model, X_val, y_val, n_repeats=10, random_state=seed)
    for i in result.importances_mean.argsort()[::-1]:
        print(f"column {i}: {result.importances_mean[i]:.3f} ± {result.importances_std[i]:.3f}")
    assert set(np.argsort(result.importances_mean)[-2:]) == set(np.argsort(np.abs(coef))[-2:])
    return model.score(X_val, y_val)
