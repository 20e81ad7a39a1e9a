"""Optimizers: twelve rules on the same network.

Each starts from the same weights, sees the same batches of scikit-learn's digits for the same number of
epochs, and takes the rate of three that brings its training loss lowest: what is good for one rule is far
too small or too large for another, so that one rate for all would be a race of rates. All rates fall
linearly to zero. AdaGrad's steps fade by themselves, since it divides by the sum of all past squares;
Lion's have one size, the rate; Muon brings each matrix of its momentum to singular values near 1 before it
steps.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import chainrule as cr
from chainrule.nn import Dense
from chainrule.ops import relu
from gallery import COLOURS, picture, run

RATES = {
    "SGD": (0.3, 1.0, 3.0), "Momentum": (0.03, 0.1, 0.3), "Nesterov": (0.03, 0.1, 0.3),
    "AdaGrad": (0.03, 0.1, 0.3), "AdaDelta": (3.0, 10.0, 30.0), "RMSProp": (3e-3, 1e-2, 3e-2),
    "Adam": (3e-3, 1e-2, 3e-2), "AdamW": (3e-3, 1e-2, 3e-2), "AMSGrad": (3e-3, 1e-2, 3e-2),
    "NAdam": (3e-3, 1e-2, 3e-2), "Lion": (1e-3, 3e-3, 1e-2), "Muon": (0.03, 0.1, 0.3),
}  # fmt: skip
EXPECTED = {f"last loss, {name}": (0.0, 0.8) for name in RATES}


def losses(name: str, rate: float, x: np.ndarray, y: np.ndarray, epochs: int) -> np.ndarray:
    """The training loss of every epoch."""
    network = cr.Network(Dense(32), relu, Dense(10))
    more = {"rest": cr.optim.AdamW(rate / 10)} if name == "Muon" else {}
    rule = cr.optim.OPTIMIZERS[name](rate, weight_decay=0.0, **more)
    return network.fit(x, y, optimizer=rule, epochs=epochs, batch_size=50, verbose=0)["loss"]


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Every rule at its three rates; the best is drawn."""
    digits = load_digits()
    x, y = (digits.data / 16).astype("float32"), digits.target
    figures = {}
    figure, axes = picture(2, 2, size=(3.0, 2.5), sharex=True, sharey=True)
    families = (
        ("SGD", "Momentum", "Nesterov"), ("AdaGrad", "AdaDelta", "RMSProp"),
        ("Adam", "AdamW", "AMSGrad", "NAdam"), ("Adam", "Lion", "Muon"),
    )  # fmt: skip
    curves = {}
    for name, rates in RATES.items():
        tried = {rate: losses(name, rate, x, y, 4 if short else 20) for rate in rates[1 if short else 0 :]}
        best = min(tried, key=lambda rate: tried[rate][-1])
        curves[name] = best, tried[best]
        figures[f"last loss, {name}"] = tried[best][-1]
    for place, family in zip(axes.flat, families, strict=True):
        for name, colour in zip(family, COLOURS, strict=False):
            rate, curve = curves[name]
            place.semilogy(range(1, len(curve) + 1), curve, color=colour, label=f"{name}, {rate:g}")
        place.legend(fontsize=8)
    for place in axes[1]:
        place.set_xlabel("epoch")
    for place in axes[:, 0]:
        place.set_ylabel("training loss")
    return figures, figure


if __name__ == "__main__":
    run(main)
