"""Missing inputs: one network that answers from whatever it is given.

A classifier behind which any input may be missing has learned one function for every set of inputs, instead
of one function (Goodfellow, Bengio and Courville 2016, section 5.1.1). ``hide_inputs="any"`` teaches it so:
in every step other inputs are hidden, of every row another share. Beside it stands the same network, taught
on whole rows, that is given means where inputs are missing. Left: a digit of which more and more is lost, and
what probability both give to the right class, the mean over all new digits. Right: how often the likeliest
class is the right one, five seeds each.
"""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

import chainrule as cr
from gallery import COLOURS, picture, run

GREY = colormaps["gray"].with_extremes(bad="#9ecae1")  # blue is what was lost
SHARES = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
EXPECTED = {"gained with 60 % lost, points": (2, 40), "accuracy, nothing lost, inputs hidden": (0.9, 1)}


def learn(x: np.ndarray, y: np.ndarray, seed: int, short: bool) -> dict[str, object]:
    """The two classifiers."""
    options = {
        "hidden_layer_sizes": (100,), "learning_rate_init": 3e-3, "max_iter": 30 if short else 150,
        "schedule": cr.optim.Linear(), "random_state": seed, "tol": 0.0,
    }  # fmt: skip
    plain = make_pipeline(SimpleImputer(keep_empty_features=True), cr.MLPClassifier(**options))
    return {
        "means filled in": plain.fit(x, y),
        "inputs hidden": cr.MLPClassifier(**options, hide_inputs="any").fit(x, y),
    }


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Accuracies by the share of inputs lost."""
    x, y = load_digits(return_X_y=True)
    accuracy: dict[str, np.ndarray] = {}
    belief: dict[str, list[float]] = {}
    for seed in range(1 if short else 5):
        train, test, of_train, of_test = train_test_split(x, y, test_size=0.3, random_state=seed)
        models = learn(train, of_train, seed, short)
        draws = np.random.default_rng(seed).random(test.shape)
        for name, model in models.items():
            rows = [np.where(draws < share, np.nan, test) for share in SHARES]
            belief[name] = [model.predict_proba(r)[np.arange(len(r)), of_test].mean() for r in rows]
            found = [model.score(r, of_test) for r in rows]
            accuracy[name] = np.vstack([accuracy.get(name, np.empty((0, len(SHARES)))), found])
    hidden, filled = (accuracy[name].mean(0) for name in ("inputs hidden", "means filled in"))
    at = SHARES.index(0.6)
    figures = {
        "accuracy, nothing lost, means filled in": filled[0],
        "accuracy, nothing lost, inputs hidden": hidden[0],
        "accuracy, 60 % lost, means filled in": filled[at],
        "accuracy, 60 % lost, inputs hidden": hidden[at],
        "gained with 60 % lost, points": 100 * (hidden[at] - filled[at]),
    }
    figure, (left, right) = picture(1, 2, size=(3.6, 3.0))
    holes = np.where(draws[0] < np.array(SHARES)[:, None], np.nan, test[0])
    image = np.full((10, 9 * len(SHARES) + 1), 16.0)
    for j, row in enumerate(holes):
        image[1:9, 9 * j + 1 : 9 * j + 9] = 16 - row.reshape(8, 8)
    left.imshow(image, cmap=GREY, extent=(-0.5, len(SHARES) - 0.5, 1.05, 1.45))
    for name, colour in zip(belief, (COLOURS[1], COLOURS[0]), strict=True):
        left.plot(belief[name], "o-", color=colour, label=name)
        right.plot(SHARES, accuracy[name].T, color=colour, alpha=0.25, linewidth=1)
        right.plot(SHARES, accuracy[name].mean(0), "o-", color=colour, label=name)
    percent = [f"{share:.0%}" for share in SHARES]
    left.set(title="probability of the right class, mean", xlabel="lost", aspect="auto", ylim=(0, 1.48))
    left.set_xticks(range(len(SHARES)), percent)
    right.set(title="test accuracy", xlabel="share of the inputs lost", ylim=(0, 1.02))
    right.legend(loc="lower left")
    return figures, figure


if __name__ == "__main__":
    run(main)
