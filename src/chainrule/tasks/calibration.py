"""Calibration: probabilities that mean what they say, by one temperature for each output."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.executors import Array
from chainrule.network import Network
from chainrule.tasks.targets import log_softmax
from chainrule.tasks.weights import last_layers

__all__ = ["calibrate", "sharpness"]

_LOW, _HIGH = -5.0, 5.0  # of log β: a temperature between 1/148 and 148
_STEPS = 60


def sharpness(z: Array, y: Array, weight: Array | None = None) -> float:
    """β = 1/T for which the probabilities of βz have the least log loss on rows that were not learned from
    (temperature scaling: Guo, Pleiss, Sun & Weinberger 2017, section 4.2).

    z     (n, K) logits of a softmax with y (n,) whole numbers; or logits of yes and no, with y of their shape

    The loss is convex in β, so that halving the interval of log β finds the one minimum.

    >>> z = np.array([[4.0, 0.0]] * 4)
    >>> round(1 / sharpness(z, np.array([0, 0, 0, 1])), 2)  # right three times in four, as log 3 says
    3.64
    """
    low, high = _LOW, _HIGH
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        if _slope(z, y, weight, float(np.exp(middle))) > 0:
            high = middle
        else:
            low = middle
    return float(np.exp(0.5 * (low + high)))


def _slope(z: Array, y: Array, weight: Array | None, β: float) -> float:
    """dL/dβ = mean of Σ (p − t) z."""
    if y.ndim == z.ndim:
        each = ((1 / (1 + np.exp(-np.clip(β * z, -700, 700))) - y) * z).sum(axis=1)
    else:
        p = np.exp(log_softmax(β * z))
        each = (p * z).sum(axis=1) - z[np.arange(len(z)), y]
    return float(np.average(each, weights=weight))


def calibrate(network: Network, z: Any, y: Any, weight: Array | None) -> None:
    """Divides the last layer of every output by its temperature, so that whatever is made of the network is
    calibrated: files, other programs, ``coefs_``. Which class is the likeliest stays.

    z, y    the network's outputs for rows held out, and their targets as the loss takes them
    """
    outputs = z if isinstance(z, dict) else {"": z}
    targets = y if isinstance(y, dict) else {"": y}
    for name, layer in zip(outputs, last_layers(network, len(outputs)), strict=True):
        β = sharpness(outputs[name].astype(np.float64), targets[name], weight)
        for part in ("W", "b"):
            network[f"{layer}/{part}"] = network[f"{layer}/{part}"] * β
