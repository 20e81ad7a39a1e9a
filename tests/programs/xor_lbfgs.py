"""A first network: exclusive or, by L-BFGS."""

from __future__ import annotations

import numpy as np
from sklearn.neural_network import MLPClassifier

LEARNED = 0.9


def main(seed: int) -> float:
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(300, 2))
    y = np.logical_xor(X[:, 0] > 0, X[:, 1] > 0).astype(int)

    clf = MLPClassifier(solver="lbfgs", alpha=1e-5, hidden_layer_sizes=(15, 4), random_state=seed)
    clf.fit(X[:200], y[:200])
    print([coef.shape for coef in clf.coefs_], [b.shape for b in clf.intercepts_])
    print(clf.n_layers_, clf.n_outputs_, clf.out_activation_, clf.classes_, clf.n_iter_, clf.loss_)
    print(clf.predict([[0.5, 0.5], [-0.5, 0.5]]), clf.predict_proba([[0.5, 0.5], [-0.5, 0.5]]))
    return clf.score(X[200:], y[200:])
