"""Imputation: digits of which half the pixels were lost.

A network learns to guess hidden cells from those that are left: in every step another half of the known ones
is hidden, so that it can answer for any gaps. Here half of the pixels of 8×8 digits are taken
away, in training and in testing, and filled by the mean of the pixel, by the nearest neighbours, by a linear
regression of each pixel on all others, again and again (scikit-learn's imputers), and by the network.
Left: some digits and what was made of them. Right: how far filled pixels are off, for other shares lost.
"""

from __future__ import annotations

import warnings

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

import chainrule as cr
from gallery import COLOURS, picture, run

GREY = colormaps["gray"].with_extremes(bad="#9ecae1")  # blue is what was lost
EXPECTED = {"error of the network": (0.4, 0.92), "error of the mean": (0.9, 1.1)}


def fillers(short: bool) -> dict[str, object]:
    """What fills gaps, by name."""
    ours = cr.Imputer(
        0.5, (500,), learning_rate_init=3e-3, max_iter=20 if short else 100, early_stopping=False,
        schedule=cr.optim.Linear(), tol=0.0, random_state=0,
    )  # fmt: skip
    named = {"mean": SimpleImputer(keep_empty_features=True), "network": ours}
    if not short:
        named["neighbours"] = KNNImputer(n_neighbors=5, keep_empty_features=True)
        named["regressions"] = IterativeImputer(max_iter=5, random_state=0, keep_empty_features=True)
    return named


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Every way of filling at several shares; the pictures at a half."""
    warnings.filterwarnings("ignore", message=".*(converge|IterativeImputer)")
    x, rng = load_digits().data / 16, np.random.default_rng(0)
    train, test = x[:1200], x[1200:]
    shares = (0.5,) if short else (0.2, 0.5, 0.8)
    errors: dict[str, list[float]] = {}
    shown: dict[str, np.ndarray] = {}
    for share in shares:
        holes = [np.where(rng.random(part.shape) < share, np.nan, part) for part in (train, test)]
        gaps = np.isnan(holes[1])
        for name, filler in fillers(short).items():
            filled = filler.fit(holes[0]).transform(holes[1])
            error = np.sqrt(np.square(filled - test)[gaps].mean())
            errors.setdefault(name, []).append(float(error))
            if share == 0.5:
                shown |= {"lost": holes[1], name: filled}
    half = shares.index(0.5)
    unit = float(np.sqrt(np.square(test - train.mean(0)).mean()))
    figures = {f"error of the {name}": found[half] / unit for name, found in errors.items()}

    figure, (left, right) = picture(1, 2, size=(3.6, 3.2), width_ratios=(1.2, 1))
    order = [name for name in ("lost", "mean", "neighbours", "regressions", "network") if name in shown]
    rows = [test, *(shown[name] for name in order)]
    image = np.ones((9 * len(rows) + 1, 9 * 8 + 1))
    for i, part in enumerate(rows):
        for j in range(8):
            image[9 * i + 1 : 9 * i + 9, 9 * j + 1 : 9 * j + 9] = 1 - np.clip(part[j].reshape(8, 8), 0, 1)
    left.imshow(image, cmap=GREY, vmin=0, vmax=1)
    left.set(yticks=9 * np.arange(len(rows)) + 5, yticklabels=["whole", *order], xticks=[])
    for (name, found), colour in zip(errors.items(), COLOURS, strict=False):
        right.plot(shares, np.array(found) / unit, "o-", color=colour, label=name, markersize=4)
    right.set(xlabel="share of the pixels lost", ylabel="error of filled pixels, deviations", ylim=(0, 1.1))
    right.legend()
    return figures, figure


if __name__ == "__main__":
    run(main)
