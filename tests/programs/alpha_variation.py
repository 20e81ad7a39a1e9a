"""Regularisation: the same network with five values of alpha on moons, circles and two clouds."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import make_circles, make_classification, make_moons
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LEARNED = 0.7


def main(seed: int) -> float:
    names, classifiers = [], []
    for alpha in np.logspace(-1, 1, 5):
        classifiers.append(
            make_pipeline(
                StandardScaler(),
                MLPClassifier(
                    solver="lbfgs",
                    alpha=alpha,
                    random_state=seed,
                    max_iter=2000,
                    early_stopping=True,
                    hidden_layer_sizes=[10, 10],
                ),
            )
        )
        names.append(f"alpha {alpha:.2f}")

    X, y = make_classification(
        n_features=2, n_redundant=0, n_informative=2, random_state=0, n_clusters_per_class=1
    )
    X += 2 * np.random.RandomState(2).uniform(size=X.shape)
    datasets = [
        make_moons(noise=0.3, random_state=0),
        make_circles(noise=0.2, factor=0.5, random_state=1),
        (X, y),
    ]
    scores = []
    for X, y in datasets:
        X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=seed)
        xx, yy = np.meshgrid(
            np.arange(X[:, 0].min() - 0.5, X[:, 0].max() + 0.5, 0.1),
            np.arange(X[:, 1].min() - 0.5, X[:, 1].max() + 0.5, 0.1),
        )
        for name, clf in zip(names, classifiers, strict=True):
            clf.fit(X_train, y_train)
            scores.append(clf.score(X_test, y_test))
            Z = clf.predict_proba(np.column_stack([xx.ravel(), yy.ravel()]))[:, 1].reshape(xx.shape)
            print(name, scores[-1], np.histogram(Z, bins=4, range=(0, 1))[0])
    return float(np.mean(scores))
