"""Anomalies: what an auto-encoder cannot give back.

An auto-encoder whose code is one number can give back one curve. Rows near it come back as they were, others
do not, and the error is a score of strangeness (Hawkins, He, Williams and Baxter 2002). The odd points here
lie inside the range of both coordinates, so only how these hang together tells them; a tenth of the points
that it learns from are odd, and nobody says which. Left: the error over the plane, with the border that a
contamination of 0.1 gives. Right: how many odd points are found at how many false alarms, beside
scikit-learn's isolation forest.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score, roc_curve

import chainrule as cr
from gallery import COLOURS, picture, run

EXPECTED = {"area under the curve, auto-encoder": (0.8, 1)}


def draw(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(points, whether each is odd): a spiral arm, and a tenth of points anywhere around it."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(-2, 2, rows)
    points = np.stack([1.5 * t, np.sin(2.2 * t) + 0.3 * t], 1) + 0.08 * rng.normal(size=(rows, 2))
    odd = rng.random(rows) < 0.1
    points[odd] = rng.uniform(points.min(0), points.max(0), (int(odd.sum()), 2))
    return points, odd


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """The auto-encoder and the isolation forest, on points that neither has seen."""
    (x, _), (test, odd) = draw(1000, 0), draw(2000, 1)
    model = cr.AnomalyDetector(
        0.1, code_size=1, hidden_layer_sizes=(40, 40), activation="tanh", learning_rate_init=0.01,
        max_iter=150 if short else 400, schedule=cr.optim.Linear(), tol=0.0, random_state=0,
    ).fit(x)  # fmt: skip
    scores = {
        "auto-encoder": -model.score_samples(test),
        "isolation forest": -IsolationForest(random_state=0).fit(x).score_samples(test),
    }
    figures = {f"area under the curve, {name}": roc_auc_score(odd, s) for name, s in scores.items()}
    called = model.predict(test) == -1
    figures["share of odd points found"] = called[odd].mean()
    figures["share of alarms that are false"] = 1 - odd[called].mean()

    figure, (left, right) = picture(1, 2, size=(3.6, 3.0))
    side = np.linspace(-3.6, 3.6, 181), np.linspace(-2.1, 2.1, 141)
    grid = np.stack(np.meshgrid(*side), -1)
    height = -model.score_samples(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    left.contourf(*side, np.sqrt(height), levels=12, cmap="Greys", alpha=0.7)
    left.contour(*side, height, levels=[-model.offset_], colors=[COLOURS[1]], linewidths=1.2)
    for kind, colour, label in ((~odd, COLOURS[0], "usual"), (odd, COLOURS[1], "odd")):
        left.scatter(*test[kind][:400].T, s=5, color=colour, linewidths=0, label=label)
    left.set(title="error, and the border of alarm")
    left.legend(loc="upper left", markerscale=3, frameon=True)
    for (name, score), colour in zip(scores.items(), COLOURS, strict=False):
        right.plot(*roc_curve(odd, score)[:2], color=colour, label=name)
    right.plot([0, 1], [0, 1], color="#cccccc", zorder=0)
    right.set(title="new points", xlabel="share of usual points called odd", ylabel="share of odd ones found")
    right.legend(loc="lower right")
    return figures, figure


if __name__ == "__main__":
    run(main)
