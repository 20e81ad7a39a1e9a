"""Convolution: few weights that look everywhere.

The digits of scikit-learn, 8×8 pixels, 450 of them to learn from. The convolutional network has about as
many weights as the dense one, yet each of its filters sees 3×3 pixels and meets every place of the image,
and pooling keeps its strongest answer, wherever that was. On digits that were shifted by a pixel, which
neither has seen, the dense network is lost. The picture shows filters that the first layer has learned,
what each answers at every place of a digit, and the strongest of every four.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import chainrule as cr
from chainrule.nn import Conv2D, Dense, Flatten, GlobalMaxPool
from chainrule.ops import relu
from gallery import picture, run

EXPECTED = {
    "test error, convolutional": (0.0, 0.25),
    "shifted by a pixel, convolutional": (0.0, 0.45),
    "shifted, dense over convolutional": (1.3, 20.0),
}


def networks() -> dict[str, cr.Network]:
    """Two networks of about as many weights."""
    return {
        "convolutional": cr.Network(
            Conv2D(16, 3, padding="same"),
            relu,
            Conv2D(32, 3, padding="same"),
            relu,
            GlobalMaxPool(),
            Dense(10),
        ),
        "dense": cr.Network(Flatten(), Dense(64), relu, Dense(10)),
    }


def shifted(images: np.ndarray) -> np.ndarray:
    """Each a pixel to the left, the right, up, or down."""
    moves = [(0, -1), (0, 1), (-1, 0), (1, 0)]
    return np.stack([np.roll(image, moves[i % 4], (0, 1)) for i, image in enumerate(images)])


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Train both on 450 digits, test on the others, as they are and shifted."""
    digits = load_digits()
    x, y = (digits.images / 16).astype("float32")[..., None], digits.target
    train, test = cr.data.split(len(x), 0.75, seed=0, stratify=y)
    found, figures = networks(), {}
    for name, network in found.items():
        network.fit(x[train], y[train], epochs=30 if short else 100, batch_size=50, verbose=0)
        for what, images in (("test error", x[test]), ("shifted by a pixel", shifted(x[test]))):
            figures[f"{what}, {name}"] = float(np.mean(network.predict(images) != y[test]))
    figures["shifted, dense over convolutional"] = (
        figures["shifted by a pixel, dense"] / figures["shifted by a pixel, convolutional"]
    )
    network = found["convolutional"]
    kernels, image = network["conv2d_0/W"], x[test][:1]
    maps = network.signals(image)["relu_0"][0]
    figure, axes = picture(3, 9, size=(0.95, 0.95))
    axes[1, 0].imshow(image[0, ..., 0], cmap="gray_r")
    for i in range(8):
        axes[0, i + 1].imshow(kernels[..., 0, i], cmap="RdBu_r", vmin=-1, vmax=1)
        axes[1, i + 1].imshow(maps[..., i])
        axes[2, i + 1].imshow(maps[..., i].reshape(4, 2, 4, 2).max((1, 3)))
    for place in axes.flat:
        place.set_axis_off()
    for place, label in zip(axes[:, 0], ("filters", "", "pooled"), strict=True):
        place.set_title(label)
    return figures, figure


if __name__ == "__main__":
    run(main)
