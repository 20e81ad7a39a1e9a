"""A denoising auto-encoder: what is left when noise is taken away.

The first layer adds noise, fresh at every step; the target is the image without it (Vincent et al. 2010).
So the network cannot copy: it learns what handwritten digits look like, and gives that. In use the layer is
silent, and images come with noise of their own. An auto-encoder of the same size that was trained without
noise copies noise too; principal components, as many as do best, cut off what is sharp in an image along
with it. Rows of the picture: clean, noisy, by principal components, by the network; none of these images
was learned from.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr
from chainrule.nn import Dense, GaussianNoise
from chainrule.ops import relu, sigmoid
from gallery import picture, run

NOISE = 0.5
EXPECTED = {"error, of that of the noise: network": (0.03, 0.13), "network over PCA": (0.2, 1.0)}


def components(x: np.ndarray, noisy: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """The noisy images seen through the principal components of x: so many as leave the least error."""
    mean = x.mean(0)
    basis = np.linalg.svd(x[:3000] - mean, full_matrices=False)[2]
    made = [mean + (noisy - mean) @ basis[:k].T @ basis[:k] for k in (10, 20, 30, 40, 60, 80)]
    return min(made, key=lambda images: ((images - clean) ** 2).mean())


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """With noise in training, without, and principal components."""
    data = cr.datasets.mnist()
    x, clean = (images.reshape(len(images), -1) / np.float32(255) for images in (data.x_train, data.x_test))
    x, clean = (x[:6000], clean[:500]) if short else (x[:20_000], clean[:2000])
    noisy = clean + NOISE * np.random.default_rng(0).normal(size=clean.shape).astype("float32")
    made = {"PCA": components(x, noisy, clean)}
    for name, noise in (("trained without noise", 0.0), ("network", NOISE)):
        network = cr.Network(GaussianNoise(noise), Dense(128 if short else 300), relu, Dense(784), sigmoid)
        network.fit(x, x, epochs=8 if short else 12, batch_size=100, learning_rate=2e-3, verbose=0)
        made[name] = network.predict(noisy)
    before = ((noisy - clean) ** 2).mean()
    figures = {
        f"error, of that of the noise: {k}": ((v - clean) ** 2).mean() / before for k, v in made.items()
    }
    figures["network over PCA"] = (
        figures["error, of that of the noise: network"] / figures["error, of that of the noise: PCA"]
    )
    figure, axes = picture(4, 1, size=(6.4, 0.7))
    rows = {"clean": clean, "noisy": noisy, "PCA": made["PCA"], "network": made["network"]}
    for axis, (title, images) in zip(axes, rows.items(), strict=True):
        axis.imshow(np.hstack([*images[:10].reshape(-1, 28, 28)]), cmap="gray_r", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
        axis.set_ylabel(title, rotation=0, ha="right", va="center")
        axis.spines[:].set_visible(False)
    return figures, figure


if __name__ == "__main__":
    run(main)
