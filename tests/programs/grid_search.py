"""A search over a pipeline: scaling, then a network, by cross-validation."""

from __future__ import annotations

import warnings

from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import classification_report
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

LEARNED = 0.9


def main(seed: int) -> float:
    X, y = load_wine(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed, stratify=y)
    pipe = Pipeline([("scale", StandardScaler()), ("mlp", MLPClassifier(max_iter=100, random_state=seed))])
    param_grid = {
        "mlp__hidden_layer_sizes": [(10,), (30, 10)],
        "mlp__alpha": [1e-4, 1.0],
        "mlp__activation": ["relu", "tanh"],
    }
    search = GridSearchCV(pipe, param_grid, cv=3, scoring="accuracy")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        search.fit(X_train, y_train)
    print(search.best_params_, search.best_score_)
    print(classification_report(y_test, search.predict(X_test)))
    return search.score(X_test, y_test)
