"""Two small networks and data for them, which many tests of training share."""

from __future__ import annotations

from typing import Any

import numpy as np

import chainrule as cr
from chainrule.nn import Dense
from chainrule.ops import relu, tanh

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(53, 4))
Y = np.sin(X @ _RNG.normal(size=(4, 2)))
LABELS = (X[:, 0] * X[:, 1] > 0).astype("int32")
QUIET: dict[str, Any] = {"verbose": 0, "schedule": cr.optim.Constant()}


def network(**options: Any) -> cr.Network:
    """For X and Y."""
    return cr.Network(Dense(6), tanh, Dense(2), **{"seed": 3, "dtype": "float64", **options})


def classifier(**options: Any) -> cr.Network:
    """For X and LABELS."""
    return cr.Network(Dense(8), relu, Dense(2), **{"seed": 3, **options})
