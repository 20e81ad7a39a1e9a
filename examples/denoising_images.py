"""Denoising images: a network that has seen noise takes it away.

A denoising auto-encoder (Vincent, Larochelle, Bengio and Manzagol 2008) is shown digits with noise, fresh in
every step, and learns to give them back without it. The baseline keeps the principal components that do best
on the same noise. Left: digits, the same with noise, and what the two make of them. Right: the error that is
left, by how strong the noise is; the network was taught with one strength (dotted).
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import chainrule as cr
from gallery import COLOURS, picture, run

NOISE = 1.0  # in deviations of the pixels
EXPECTED = {"error left by the network": (0.2, 0.6), "error left by principal components": (0.5, 0.8)}


def best_plane(train: np.ndarray, noise: np.ndarray) -> PCA:
    """As many components as take most noise from training images."""
    found = [PCA(k, random_state=0).fit(train) for k in range(5, 45, 2)]
    return min(found, key=lambda p: np.square(p.inverse_transform(p.transform(train + noise)) - train).mean())


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Both on new digits with noise."""
    x, rng = load_digits().data / 16, np.random.default_rng(0)
    train, test = x[:1300], x[1300:]
    unit = float(np.sqrt(train.var(0).mean()))
    model = cr.Denoiser(
        noise=NOISE * unit, code_size=60, hidden_layer_sizes=(300,), learning_rate_init=2e-3, tol=0.0,
        max_iter=30 if short else 300, schedule=cr.optim.Linear(), scaling="none", random_state=0,
    ).fit(train)  # fmt: skip
    plane = best_plane(train, NOISE * unit * rng.normal(size=train.shape))
    draws = unit * rng.normal(size=test.shape)
    cleaners = {
        "principal components": lambda rows: plane.inverse_transform(plane.transform(rows)),
        "network": model.transform,
    }

    def error(rows: np.ndarray) -> float:
        return float(np.sqrt(np.square(rows - test).mean())) / unit

    strengths = np.linspace(0.25, 2, 8)
    left_over = {
        name: [error(clean(test + s * draws)) for s in strengths] for name, clean in cleaners.items()
    }
    noisy = test + NOISE * draws
    cleaned = {name: clean(noisy) for name, clean in cleaners.items()}
    figures = {"error of the noise": error(noisy)}
    figures |= {
        f"error left by {'the ' * (name == 'network')}{name}": error(r) for name, r in cleaned.items()
    }

    figure, (left, right) = picture(1, 2, size=(3.6, 3.0), width_ratios=(1.2, 1))
    rows = {"clean": test, "noisy": noisy, "components": cleaned["principal components"]}
    rows["network"] = cleaned["network"]
    image = np.ones((9 * len(rows) + 1, 9 * 9 + 1))
    for i, part in enumerate(rows.values()):
        for j in range(9):
            image[9 * i + 1 : 9 * i + 9, 9 * j + 1 : 9 * j + 9] = 1 - np.clip(part[j].reshape(8, 8), 0, 1)
    left.imshow(image, cmap="gray", vmin=0, vmax=1)
    left.set(yticks=9 * np.arange(len(rows)) + 5, yticklabels=list(rows), xticks=[])
    right.plot(strengths, strengths, color="#bbbbbb", label="as it came")
    for (name, errors), colour in zip(left_over.items(), (COLOURS[1], COLOURS[0]), strict=True):
        right.plot(strengths, errors, "o-", color=colour, label=name, markersize=4)
    right.axvline(NOISE, color="#999999", linestyle=":", zorder=0)
    right.set(xlabel="noise, deviations of the pixels", ylabel="error, the same", ylim=(0, 1.3))
    right.legend(loc="lower right")
    return figures, figure


if __name__ == "__main__":
    run(main)
