"""What the first layer has learned of digits: its weights as pictures."""

from __future__ import annotations

import warnings

from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

LEARNED = 0.9


def main(seed: int) -> float:
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16.0, y, random_state=seed, test_size=0.4)

    mlp = MLPClassifier(
        hidden_layer_sizes=(40,),
        max_iter=8,
        alpha=1e-4,
        solver="sgd",
        random_state=seed,
        learning_rate_init=0.2,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning, module="sklearn")
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        mlp.fit(X_train, y_train)

    print(f"training score: {mlp.score(X_train, y_train):.3f}")
    vmin, vmax = mlp.coefs_[0].min(), mlp.coefs_[0].max()
    shades = " .:-=+*#%@"
    for coef in mlp.coefs_[0].T[:2]:
        for row in coef.reshape(8, 8):
            print("".join(shades[int(9 * (value - vmin) / (vmax - vmin))] for value in row))
    return mlp.score(X_test, y_test)
