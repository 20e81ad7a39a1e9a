"""Watching a network learn: one epoch at a time by warm_start, until it gets no better."""

from __future__ import annotations

import warnings

from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

LEARNED = 0.94


def main(seed: int) -> float:
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16.0, y, test_size=0.3, random_state=seed)
    clf = MLPClassifier(
        (32,), learning_rate_init=0.01, max_iter=1, warm_start=True, batch_size=64, random_state=seed
    )
    losses = []
    for _epoch in range(25):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=ConvergenceWarning)
            clf.fit(X_train, y_train)
        losses.append(log_loss(y_test, clf.predict_proba(X_test)))
        if len(losses) > 5 and min(losses[-5:]) > min(losses[:-5]):
            break
    print(f"{len(clf.loss_curve_)} epochs, least log loss {min(losses):.3f}, n_iter_ {clf.n_iter_}")
    return clf.score(X_test, y_test)
