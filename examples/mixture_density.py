"""A mixture density network: one question, several answers.

A wave is drawn sideways: x = t + 0.3 sin 2πt plus noise, and t is to be told from x (Bishop 1994). Where
the wave folds back, three values of t have the same x. A network with one Gaussian spreads over all of them
and is highest where no data are; one with three Gaussians per x keeps them apart, if their means begin
apart. Here Bayes' rule tells the truth, so what both miss can be told. Left: modes of the predicted mixture
(dark: the highest) on the data, and the single Gaussian's mean. Right: what is predicted for x = 0.5, draws
from it, and the truth.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr
from chainrule.losses import GaussianMixtureNLL, GaussianNLL, PredictedMixture
from chainrule.nn import Dense, Rescale
from chainrule.ops import tanh
from gallery import COLOURS, picture, run

NOISE = 0.05
EXPECTED = {
    "log-likelihood gained over one Gaussian, nats": (0.4, 1.2),
    "share of x with the right modes": (0.7, 1),
}


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, t), a column each."""
    rng = np.random.default_rng(seed)
    t = rng.random((n, 1))
    return wave(t) + NOISE * rng.normal(size=(n, 1)), t


def wave(t: np.ndarray) -> np.ndarray:
    """x without the noise."""
    return t + 0.3 * np.sin(2 * np.pi * t)


def truth(x: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """p(t | x) on a grid of t over [0, 1], by Bayes' rule: t is uniform.   x (n, 1) → (n, grid)"""
    likelihood = np.exp(-0.5 * ((x - wave(grid)) / NOISE) ** 2)
    return likelihood / (likelihood.mean(1, keepdims=True))


def learn(loss: GaussianNLL | GaussianMixtureNLL, start: np.ndarray, data: tuple, short: bool) -> cr.Network:
    """`start` is what the last layer says before it has learned anything: means, raw scales."""
    network = cr.Network(Rescale(4, -2), Dense(40), tanh, Dense(40), tanh, Dense(len(start))).build(1)
    network["dense_2/W"], network["dense_2/b"] = 0.1 * network["dense_2/W"], start
    epochs = 150 if short else 400
    network.fit(*data, loss=loss, epochs=epochs, batch_size=100, learning_rate=0.01, verbose=0)
    return network


def count(density: np.ndarray) -> np.ndarray:
    """How many maxima each row has, of those at least a twentieth as high as the highest."""
    padded = np.pad(density, ((0, 0), (1, 1)))
    top = (density > padded[:, :-2]) & (density >= padded[:, 2:])
    return (top & (density > 0.05 * density.max(1, keepdims=True))).sum(1)


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """One Gaussian against three; the truth beside both."""
    data, (x, t) = draw(4000, 0), draw(4000, 1)
    single, several = GaussianNLL(), GaussianMixtureNLL(3)
    one = single.distribution(learn(single, np.array([0.5, -2]), data, short).output(x))
    network = learn(several, np.array([0, 0, 0, 0.1, 0.5, 0.9, -2, -2, -2]), data, short)
    mixture = several.distribution(network.output(x))
    grid = np.linspace(0, 1, 501)
    exact = np.array([np.interp(b, grid, row) for b, row in zip(t[:, 0], truth(x, grid), strict=True)])
    xs = np.linspace(0.05, 0.95, 181)[:, None]
    along: PredictedMixture = several.distribution(network.output(xs))
    density = np.exp(along.log_density(np.tile(grid[None, :, None], (len(xs), 1, 1))))
    figures = {
        "log-likelihood of one Gaussian, nats": one.log_density(t).mean(),
        "log-likelihood of the mixture, nats": mixture.log_density(t).mean(),
        "log-likelihood of the truth, nats": np.log(exact).mean(),
        "share of x with the right modes": (count(density) == count(truth(xs, grid))).mean(),
    }
    gained = figures["log-likelihood of the mixture, nats"] - figures["log-likelihood of one Gaussian, nats"]
    figures["log-likelihood gained over one Gaussian, nats"] = gained

    figure, (left, right) = picture(1, 2, size=(3.6, 3.0))
    left.plot(*[a[:1500] for a in draw(1500, 2)], ".", color="#cccccc", markersize=2, zorder=0)
    for row, modes in enumerate(along.modes()):
        shade = np.interp(modes[:, 0], grid, density[row] / density[row].max())
        seen = shade > 0.05
        left.scatter(np.repeat(xs[row], seen.sum()), modes[seen, 0], s=5, color=COLOURS[0], alpha=shade[seen])
    order = np.argsort(x[:, 0])
    left.plot(x[order], one.mean()[order], color=COLOURS[1], label="mean of one Gaussian")
    left.set(title="modes of the mixture", xlabel="x", ylabel="t", xlim=(-0.1, 1.1), ylim=(-0.05, 1.25))
    left.legend(loc="upper left")
    middle = several.distribution(network.output(np.array([[0.5]])))
    right.hist(middle.sample(10_000)[0, :, 0], 60, range=(0, 1), density=True, color="#cccccc", label="drawn")
    right.plot(grid, np.exp(middle.log_density(grid[None, :, None])[0]), label="predicted")
    right.plot(grid, truth(np.array([[0.5]]), grid)[0], "--", label="truth")
    right.set(title="for x = 0.5", xlabel="t", ylabel="density", ylim=(0, 3.9))
    right.legend(ncols=3, loc="upper center", handlelength=1.2, columnspacing=1)
    return figures, figure


if __name__ == "__main__":
    run(main)
