"""Fourteen regularisers, or what keeps a network from learning the noise.

A network of two hidden layers learns scikit-learn's digits, 8 × 8 pixels, from 300 images, a fifth of them
with labels drawn at random, for 100 epochs, in which it could learn them by heart. The other images, with
true labels, are the test. Each dot is one seed (other images, other weights), each bar the mean; strengths
were chosen roughly, on other seeds. Shifts and turns know that these are images. All others would do as well
if the pixels were shuffled: dropout and noise on inputs, and adversarial examples, which are moved a little
to where the loss is larger. The samples come from a model of the training images, a Gaussian for each class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import chainrule as cr
from chainrule.data import Adversarial, Augment, Mixup
from chainrule.nn import BatchNorm, Dense, Dropout, GaussianNoise
from chainrule.ops import relu
from chainrule.optim import EMA, Adam
from gallery import COLOURS, picture, run

EXPECTED = {"without any": (12, 30), "adversarial examples": (2, 12)}
PLAIN = (Dense(128), relu, Dense(128), relu, Dense(10))
DROPPED = (Dropout(0.2), Dense(128), relu, Dropout(0.5), Dense(128), relu, Dropout(0.5), Dense(10))
NORMED = (Dense(128), BatchNorm(), relu, Dense(128), BatchNorm(), relu, Dense(10))
NOISY = tuple(Dense(k, weight_noise=0.1) if k else relu for k in (128, 0, 128, 0, 10))
BENT = Augment(shift=0.7, rotate=10, scale=0.1, shear=0.1, elastic=0.3, elastic_smoothing=2)
METHODS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "without any": (PLAIN, {}),
    "L2": (PLAIN, {"optimizer": Adam(2e-3, l2=0.03)}),
    "L1": (PLAIN, {"optimizer": Adam(2e-3, l1=0.3)}),
    "weight decay": (PLAIN, {"optimizer": Adam(2e-3, weight_decay=3.0)}),
    "max-norm": (PLAIN, {"optimizer": Adam(2e-3, max_norm=0.7)}),
    "averaged weights": (PLAIN, {"optimizer": Adam(2e-3, average=EMA(0.99))}),
    "label smoothing": (PLAIN, {"loss": cr.losses.CrossEntropy(label_smoothing=0.4)}),
    "batch normalisation": (NORMED, {}),
    "noise on weights": (NOISY, {}),
    "noise on inputs": ((GaussianNoise(0.5), *PLAIN), {}),
    "dropout": (DROPPED, {}),
    "samples from a model": (PLAIN, {}),
    "mixup": (PLAIN, {"augment": Mixup(1.0)}),
    "adversarial examples": (PLAIN, {"augment": Adversarial(1.0, norm="euclidean")}),
    "shifts and turns": (PLAIN, {"augment": BENT}),
}


def sampler(x: np.ndarray, y: np.ndarray) -> Any:
    """In every epoch half of the images are draws from a Gaussian of their class; all share a covariance."""
    means = np.array([x[y == k].mean(0) for k in range(10)])
    root = np.linalg.cholesky(np.cov((x - means[y]).T) + 1e-4 * np.eye(64))

    def drawn(given: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        rng = np.random.default_rng((seed, epoch))
        new = means[y] + rng.normal(size=given.shape) @ root.T
        return np.where(rng.random((len(given), 1)) < 0.5, np.clip(new, 0, 1), given).astype(given.dtype)

    return drawn


def measure(name: str, seed: int, epochs: int) -> float:
    """The test error in per cent."""
    digits, rng = load_digits(), np.random.default_rng(seed)
    order = rng.permutation(len(digits.target))
    x, y = (digits.data[order] / 16).astype("float32"), digits.target[order]
    told = np.where(rng.random(300) < 0.2, rng.integers(0, 10, 300), y[:300])
    layers, options = METHODS[name]
    if name == "samples from a model":
        options = {"augment": sampler(x[:300], told)}
    network, options = cr.Network(*layers, seed=seed), {"optimizer": Adam(2e-3), **options}
    network.fit(x[:300], told, epochs=epochs, batch_size=20, verbose=0, **options)
    return 100 * float((network.predict(x[300:]) != y[300:]).mean())


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Every regulariser on the same seeds."""
    names = ["without any", "adversarial examples"] if short else list(METHODS)
    seeds = range(100, 102 if short else 110)
    errors = {name: [measure(name, seed, 80 if short else 100) for seed in seeds] for name in names}
    figure, axes = picture(size=(5.5, 3.4))
    for place, found in enumerate(errors.values()):
        colour = COLOURS[0] if place else COLOURS[1]
        axes.barh(place, np.mean(found), color=colour, alpha=0.35)
        axes.plot(found, np.full(len(found), place), "o", color=colour, markersize=3)
    axes.axvline(np.mean(errors["without any"]), color="#555555", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(errors)), list(errors))
    axes.invert_yaxis()
    axes.set(title="300 images to learn from, a fifth mislabelled", xlabel="test error, %")
    return {name: float(np.mean(found)) for name, found in errors.items()}, figure


if __name__ == "__main__":
    run(main)
