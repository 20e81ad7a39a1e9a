"""Bagging and dropout: many networks err less than one.

On a small noisy table (scikit-learn's diabetes: 442 rows, half of them to learn from) a network with 4,900
weights learns the noise as well. Bagging (Breiman 1996) averages ten of them, each fitted to its own draw of
the rows: the part of an error that differs between members averages out, the part that they share stays, so
ten members of error correlation ρ keep (1 + 9ρ)/10 of one's error variance. Dropout (Srivastava et al. 2014)
trains as many networks as there are masks in one, at the cost of one. Each grey line is one split of the rows
and one seed; on the right the same as differences from the one network, with the mean and its 95 % interval.
A straight line is hard to beat here: the dashed line is linear regression.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split

from chainrule.tasks import EnsembleRegressor, MLPRegressor
from gallery import COLOURS, picture, run

EXPECTED = {
    "bagging: difference from one network": (-25, -3),
    "dropout: difference from one network": (-35, -5),
    "correlation of the members' errors": (0.4, 0.95),
}
NETWORK: dict[str, Any] = {
    "hidden_layer_sizes": (64, 64), "alpha": 0.0, "max_iter": 60, "n_iter_no_change": 60, "batch_size": 32,
    "learning_rate_init": 3e-3,
}  # fmt: skip
METHODS = ("one network", "bagging", "dropout", "both")


def error(model: Any, x: np.ndarray, y: np.ndarray) -> float:
    """Root of the mean squared error, in points of the disease's progression."""
    return float(np.sqrt(np.mean((model.predict(x) - y) ** 2)))


def measure(seed: int, members: int) -> tuple[list[float], float, float]:
    """Test errors of the methods, that of linear regression, and how alike the bagged members' errors are."""
    rows = train_test_split(*load_diabetes(return_X_y=True), test_size=0.5, random_state=seed)
    x, new, y, truth = rows
    one, dropped = MLPRegressor(**NETWORK, random_state=seed), MLPRegressor(**NETWORK, dropout=0.5)
    bagged, both = (
        EnsembleRegressor(network, members, bootstrap=True, random_state=seed) for network in (one, dropped)
    )
    models = one, bagged, dropped.set_params(random_state=seed), both
    errors = [error(model.fit(x, y), new, truth) for model in models]
    alike = bagged.error_correlation(new, truth)[np.triu_indices(members, 1)].mean()
    return errors, error(LinearRegression().fit(x, y), new, truth), float(alike)


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """The four methods on several splits; paired differences."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # all of them stop where they are told to
    found = [measure(seed, 3 if short else 10) for seed in range(3 if short else 20)]
    errors, lines, alike = (np.array(part) for part in zip(*found, strict=True))
    apart = errors[:, 1:] - errors[:, :1]
    means, half = apart.mean(0), 2.09 * apart.std(0, ddof=1) / np.sqrt(len(apart))  # Student's t, 19
    figure, (left, right) = picture(1, 2, size=(3.3, 2.5))
    places = np.arange(len(METHODS))
    left.plot(places, errors.T, color="#bbbbbb", linewidth=0.7)
    for place, colour in zip(places, COLOURS, strict=False):
        left.scatter(np.full(len(errors), place), errors[:, place], s=14, color=colour, zorder=2)
        left.hlines(errors[:, place].mean(), place - 0.25, place + 0.25, color=colour, linewidth=3)
    left.axhline(lines.mean(), linestyle="--", color="#555555", linewidth=1)
    left.set(title="test error of each seed", ylabel="root mean squared error", ylim=(50, None))
    left.set_xticks(places, METHODS)
    right.axhline(0, color="#555555", linewidth=1)
    for place, colour in zip(places[1:], COLOURS[1:], strict=False):
        spread = np.linspace(-0.2, 0.2, len(apart))
        right.scatter(place + spread, apart[:, place - 1], s=10, color=colour, alpha=0.5)
        right.errorbar(place, means[place - 1], half[place - 1], color="black", marker="o", capsize=6)
    right.set(title="paired differences", ylabel="test error less one network's")
    right.set_xticks(places[1:], METHODS[1:])
    figures = {f"error of {name}": float(v) for name, v in zip(METHODS, errors.mean(0), strict=True)}
    figures |= {"error of linear regression": float(lines.mean())}
    for name, mean, wide in zip(METHODS[1:], means, half, strict=True):
        figures |= {f"{name}: difference from one network": float(mean), f"{name}: ± (95 %)": float(wide)}
    return {**figures, "correlation of the members' errors": float(alike.mean())}, figure


if __name__ == "__main__":
    run(main)
