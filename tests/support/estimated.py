"""Small data for estimators, and what their users would compute from coefs_."""

from __future__ import annotations

from typing import Any

import numpy as np

QUICK: dict[str, Any] = {
    "hidden_layer_sizes": (8,),
    "max_iter": 30,
    "random_state": 0,
    "executor": "reference",
}


def table(rows: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three columns of different scales, and three classes that follow from two of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3)) * [1, 100, 0.01] + [0, 1e4, 5]
    z = (x - [0, 1e4, 5]) / [1, 100, 0.01]
    return x, np.where(z[:, 0] > 0.4, "far", np.where(z[:, 1] > 0, "up", "down"))


def numbers(rows: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    x, _ = table(rows, seed)
    return x, 500 + 30 * x[:, 0] - 0.2 * (x[:, 1] - 1e4)


def forward(model: Any, x: np.ndarray, hidden: Any) -> np.ndarray:
    """The network as scikit-learn's users write it down: from coefs_ and intercepts_ alone."""
    for W, b in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        x = hidden(x @ W + b)
    return x @ model.coefs_[-1] + model.intercepts_[-1]


def relu(z: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0)
