"""Probabilities that mean what they say: a network with and without calibration."""

from __future__ import annotations

import warnings

from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

LEARNED = -0.2


def main(seed: int) -> float:
    X, y = make_classification(
        n_samples=1200, n_features=20, n_informative=4, n_redundant=10, flip_y=0.1, random_state=seed
    )
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=seed)
    mlp = MLPClassifier((50,), max_iter=100, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        mlp.fit(X_train, y_train)
        sigmoid = CalibratedClassifierCV(mlp, cv=3, method="sigmoid").fit(X_train, y_train)
        isotonic = CalibratedClassifierCV(mlp, cv=3, method="isotonic").fit(X_train, y_train)
    found = {}
    for name, clf in {"raw": mlp, "sigmoid": sigmoid, "isotonic": isotonic}.items():
        p = clf.predict_proba(X_test)[:, 1]
        found[name] = brier_score_loss(y_test, p)
        true, predicted = calibration_curve(y_test, p, n_bins=5)
        print(f"{name}: Brier {found[name]:.3f}, log loss {log_loss(y_test, p):.3f}", true - predicted)
    return -found["sigmoid"]
