"""Noise that is learned: a network that says how sure it is.

At each x the network tells a mean and a deviation, trained by the likelihood of a Gaussian (Nix and Weigend
1994). The measurements here are of a damped swing whose noise grows with x; the truth is known. A network
of the same size trained on squared errors has one deviation for all x: its 90 % intervals hold 90 % over
all, but far too many where it is quiet and too few where it is not.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr
from chainrule.losses import GaussianNLL
from chainrule.nn import Dense, Rescale
from chainrule.ops import tanh
from gallery import COLOURS, picture, run

EXPECTED = {
    "log-likelihood gained, nats": (0.15, 0.8),
    "within 90 %, quiet third": (0.82, 0.97),
    "within 90 %, loud third": (0.82, 0.97),
}
NINETY = 1.6449  # deviations


def swing(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The true mean and deviation."""
    return np.sin(2.5 * x) * np.exp(-0.2 * x), 0.03 + 0.1 * x


def measure(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, y), a column each."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 5, (n, 1))
    mean, deviation = swing(x)
    return x, mean + deviation * rng.normal(size=(n, 1))


def learn(units: int, loss: object, data: tuple, epochs: int) -> cr.Network:
    """One of the two networks."""
    network = cr.Network(Rescale(0.8, -2), Dense(32), tanh, Dense(32), tanh, Dense(units))
    network.fit(*data, loss=loss, epochs=epochs, learning_rate=0.01, verbose=0)
    return network


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Both networks; how often their intervals hold, where it is quiet and where it is loud."""
    data, (x, y) = measure(1500, 0), measure(20_000, 1)
    loss, epochs = GaussianNLL(), 100 if short else 300
    network = learn(2, loss, data, epochs)
    plain = learn(1, "mean_squared_error", data, epochs)
    constant = np.std(data[1] - plain.predict(data[0]))
    said = loss.distribution(network.output(x))
    own = np.sqrt(said.covariance()[:, :, 0])
    quiet, loud = x[:, 0] < 5 / 3, x[:, 0] > 10 / 3
    errors, plain_errors = np.abs(y - said.mean()) / own, np.abs(y - plain.predict(x)) / constant
    gaussian = -0.5 * plain_errors**2 - np.log(constant) - 0.5 * np.log(2 * np.pi)
    _, deviation = swing(x)
    figures = {
        "log-likelihood gained, nats": (said.log_density(y) - gaussian[:, 0]).mean(),
        "error of the deviation, of the true one": np.abs(own / deviation - 1).mean(),
        "within 90 %, quiet third": (errors[quiet] < NINETY).mean(),
        "within 90 %, loud third": (errors[loud] < NINETY).mean(),
        "within 90 %, quiet third, one deviation for all": (plain_errors[quiet] < NINETY).mean(),
        "within 90 %, loud third, one deviation for all": (plain_errors[loud] < NINETY).mean(),
    }
    grid = np.linspace(0, 5, 301)[:, None]
    curve = loss.distribution(network.output(grid))
    bands = {
        "mean and deviation": (curve.mean()[:, 0], np.sqrt(curve.covariance()[:, 0, 0])),
        "mean alone": (plain.predict(grid)[:, 0], np.full(len(grid), constant)),
    }
    figure, axes = picture(1, 2, size=(3.6, 2.8), sharey=True)
    for axis, (title, (mean, spread)) in zip(axes, bands.items(), strict=True):
        axis.plot(data[0][:700], data[1][:700], ".", color="#bbbbbb", markersize=2)
        axis.fill_between(
            grid[:, 0], mean - NINETY * spread, mean + NINETY * spread, alpha=0.25, label="90 %"
        )
        axis.plot(grid, mean, label="predicted")
        axis.plot(grid, swing(grid)[0], "--", color=COLOURS[1], label="truth")
        axis.set(title=title, xlabel="x")
    axes[0].legend(loc="lower left", ncols=3, handlelength=1.2, columnspacing=1)
    return figures, figure


if __name__ == "__main__":
    run(main)
