"""L1 and L2: which weights a penalty leaves.

A linear network learns scikit-learn's diabetes table under penalties of growing strength α. L1, α‖w‖₁, is
taken by a proximal step after each update, sign(w) max(|w| − ηα, 0), which makes weights exactly zero, one
after another (on the left; circles are ours, lines scikit-learn's Lasso, which works in another way). L2,
½α‖w‖², makes them all smaller and none zero (in the middle; lines: the closed form). Seen along the axes of
the loss's Hessian it is simple: where the curvature is λ the optimum shrinks by λ/(λ + α), so what the data
say little about goes first (on the right; Goodfellow, Bengio and Courville 2016, equation 7.13).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes
from sklearn.linear_model import lasso_path

import chainrule as cr
from chainrule.nn import Dense, Zeros
from gallery import COLOURS, picture, run

EXPECTED = {
    "farthest from scikit-learn's Lasso": (0, 0.02),
    "farthest from λ/(λ + α)": (0, 0.02),
    "weights that are exactly zero, largest L1": (5, 10),
}


def table() -> tuple[np.ndarray, np.ndarray]:
    """Ten standardised columns; the target standardised as well."""
    x, y = load_diabetes(return_X_y=True)
    return (x - x.mean(0)) / x.std(0), ((y - y.mean()) / y.std())[:, None]


def weights(x: np.ndarray, y: np.ndarray, steps: int, **penalty: Any) -> np.ndarray:
    """The minimum of ½ mean (y − w·x)² with a penalty, by gradient descent on all rows."""
    network = cr.Network(Dense(1, bias=False, init=Zeros()), dtype="float64")
    steepest = np.linalg.norm(x, 2) ** 2 / len(x) + penalty.get("l2", 0)
    network.fit(
        x, y, loss="half_squared_error", optimizer=cr.optim.SGD(1 / steepest, **penalty), schedule="constant",
        batch_size=len(x), epochs=steps, verbose=0,
    )  # fmt: skip
    return network["dense_0/W"][:, 0]


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Both paths, and the shrinkage along the Hessian's axes."""
    x, y = table()
    steps = 2500 if short else 6000
    strengths = np.geomspace(0.003, 0.4, 4 if short else 12)
    lasso = np.array([weights(x, y, steps, l1=α) for α in strengths])
    grid = np.geomspace(strengths[0], strengths[-1], 100)
    _, theirs, _ = lasso_path(x, y[:, 0], alphas=grid[::-1], tol=1e-9, max_iter=100_000)
    _, same, _ = lasso_path(x, y[:, 0], alphas=strengths[::-1], tol=1e-9, max_iter=100_000)
    λ, axes = np.linalg.eigh(x.T @ x / len(x))
    free = axes.T @ np.linalg.solve(x.T @ x, x.T @ y)[:, 0]  # the optimum without a penalty
    ridges = np.geomspace(0.01, 10, len(strengths))
    ridge = np.array([weights(x, y, steps, l2=α) for α in ridges])
    kept = (ridge @ axes) / free
    figure, (left, middle, right) = picture(1, 3, size=(2.3, 2.1))
    smooth = np.geomspace(ridges[0], ridges[-1], 100)
    exact = np.array([axes @ (free * λ / (λ + α)) for α in smooth])
    for k in range(10):
        colour = COLOURS[k % len(COLOURS)]
        left.semilogx(grid, theirs[k, ::-1], color=colour, linewidth=0.8)
        left.semilogx(strengths, lasso[:, k], "o", color=colour, markersize=3, fillstyle="none")
        middle.semilogx(smooth, exact[:, k], color=colour, linewidth=0.8)
        middle.semilogx(ridges, ridge[:, k], "o", color=colour, markersize=3, fillstyle="none")
    left.set(title="L1", xlabel="α", ylabel="weight")
    middle.set(title="L2", xlabel="α", ylabel="weight")
    ratio = np.geomspace(1e-3, 1e3, 200)
    right.semilogx(ratio, 1 / (1 + ratio), color="#888888", label="$λ / (λ + α)$")
    right.semilogx(ridges[:, None] / λ, kept, "o", color=COLOURS[0], markersize=3, fillstyle="none")
    right.set(title="L2, the Hessian's axes", xlabel="α / λ", ylabel="share that is left")
    right.legend()
    zeros = (lasso == 0).sum(1)
    return {
        "farthest from scikit-learn's Lasso": float(np.abs(lasso - same[:, ::-1].T).max()),
        "farthest from λ/(λ + α)": float(np.abs(kept - λ / (λ + ridges[:, None])).max()),
        "weights that are exactly zero, smallest L1": float(zeros[0]),
        "weights that are exactly zero, largest L1": float(zeros[-1]),
        "weights that are exactly zero, any L2": float((ridge == 0).sum()),
    }, figure


if __name__ == "__main__":
    run(main)
