"""Density estimation: how likely a point is, and points that might have been.

A density is learned factor by factor, p(x₁) p(x₂ | x₁), by one network whose masks let each factor see the
columns before its own alone (MADE: Germain, Gregor, Murray and Larochelle 2015); each factor is a mixture of
Gaussians. So the density is exact, which a sum over a grid confirms, and is drawn from column by column.
Left: the density of two moons. Right: points that were learned from, and as many that were drawn.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import make_moons
from sklearn.mixture import GaussianMixture

import chainrule as cr
from gallery import COLOURS, picture, run

EXPECTED = {
    "integral over a grid": (0.99, 1.01),
    "nats a point better than one Gaussian": (0.5, 1.5),
}


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Two moons: the density, and draws from it."""
    rows = 1000 if short else 5000
    x, test = (make_moons(rows, noise=0.1, random_state=seed)[0] for seed in (0, 1))
    model = cr.DensityEstimator(
        8, (64, 64), learning_rate_init=0.01, max_iter=60 if short else 150, early_stopping=False,
        schedule=cr.optim.Linear(), random_state=0,
    ).fit(x)  # fmt: skip
    drawn = model.sample(1500, random_state=0)
    side = np.linspace(-3, 4, 281), np.linspace(-2.5, 3, 221)
    grid = np.stack(np.meshgrid(*side), -1)
    density = np.exp(model.score_samples(grid.reshape(-1, 2))).reshape(grid.shape[:2])
    mixtures = {k: GaussianMixture(k, random_state=0).fit(x).score(test) for k in (1, 8)}
    figures = {
        "log-likelihood of new points, nats": model.score(test),
        "log-likelihood of points drawn from it": model.score(drawn),
        "one Gaussian": mixtures[1],
        "a mixture of 8 Gaussians in the plane": mixtures[8],
        "nats a point better than one Gaussian": model.score(test) - mixtures[1],
        "integral over a grid": density.sum() * np.diff(side[0])[0] * np.diff(side[1])[0],
    }
    figure, (left, right) = picture(1, 2, size=(3.6, 2.6), sharex=True, sharey=True)
    left.contourf(*side, density, levels=np.geomspace(0.01, density.max(), 12), extend="min", norm="log")
    left.set(title="density", xlim=(-1.6, 2.6), ylim=(-1.1, 1.6), aspect="equal")
    right.scatter(*x[:1500].T, s=3, color="#bbbbbb", linewidths=0, label="learned from")
    right.scatter(*drawn.T, s=3, color=COLOURS[1], linewidths=0, label="drawn")
    right.set(title="points", aspect="equal")
    right.legend(loc="upper right", markerscale=4)
    return figures, figure


if __name__ == "__main__":
    run(main)
