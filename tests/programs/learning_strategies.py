"""How stochastic gradient descent learns: rates, momentum and Adam on four small sets."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import MinMaxScaler

LEARNED = 0.8

SGD = {"solver": "sgd", "learning_rate_init": 0.2}
STRATEGIES = {
    "constant": {**SGD, "learning_rate": "constant", "momentum": 0},
    "constant with momentum": {
        **SGD, "learning_rate": "constant", "momentum": 0.9, "nesterovs_momentum": False
    },
    "constant with Nesterov's momentum": {
        **SGD, "learning_rate": "constant", "momentum": 0.9, "nesterovs_momentum": True
    },
    "inv-scaling": {**SGD, "learning_rate": "invscaling", "momentum": 0},
    "inv-scaling with momentum": {
        **SGD, "learning_rate": "invscaling", "momentum": 0.9, "nesterovs_momentum": False
    },
    "adaptive": {**SGD, "learning_rate": "adaptive", "momentum": 0.9},
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
}  # fmt: skip


def main(seed: int) -> float:
    iris, digits = datasets.load_iris(), datasets.load_digits()
    sets = {
        "iris": (iris.data, iris.target, 100),
        "digits": (digits.data, digits.target, 15),
        "circles": (*datasets.make_circles(noise=0.2, factor=0.5, random_state=1), 100),
        "moons": (*datasets.make_moons(noise=0.3, random_state=0), 100),
    }
    scores = []
    for name, (X, y, max_iter) in sets.items():
        X = MinMaxScaler().fit_transform(X)
        for label, options in STRATEGIES.items():
            mlp = MLPClassifier(random_state=seed, max_iter=max_iter, **options)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", category=ConvergenceWarning)
                mlp.fit(X, y)
            scores.append(mlp.score(X, y))
            print(f"{name}, {label}: {scores[-1]:.3f}, loss {mlp.loss_:.3f}, {len(mlp.loss_curve_)} epochs")
    return float(np.mean(scores))
