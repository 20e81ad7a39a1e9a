"""Plain NumPy: prediction alone, the least that can be written by hand."""

from __future__ import annotations

import numpy as np

from bench.ready import Peer, Ready
from bench.workloads import Array, Workload


def ready(w: Workload) -> Ready:
    layers = w.weights()

    def predict(rows: Array) -> Array:
        h = rows
        for weight, bias in layers[:-1]:
            h = h @ weight
            h += bias
            h = np.maximum(h, 0, out=h) if w.activation == "relu" else np.tanh(h, out=h)
        return h @ layers[-1][0] + layers[-1][1]

    def never(_: int) -> float:
        raise ValueError("plain NumPy only predicts")

    return Ready(never, never, predict)


NUMPY = Peer("NumPy", "numpy", ("numpy",), ready, takes=lambda w: False)
