"""Logistic regression is a network without hidden layers.

One layer, cross-entropy, a Gaussian prior on the weights, which is an L2 penalty: the loss is convex,
L-BFGS finds its one minimum, and that is what scikit-learn's LogisticRegression finds as well. With two
classes it is the logistic function, with more the softmax; a hidden layer is one line more. Left: irises by
two measures of their petals, the probabilities of the three kinds as colours. Right: tumours (569, 30
measures), each probability from the network beside scikit-learn's, for the test rows.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LogisticRegression

import chainrule as cr
from chainrule.nn import Dense
from gallery import COLOURS, picture, run

EXPECTED = {
    "accuracy, tumours": (0.93, 1),
    "largest difference of a probability, tumours": (0, 2e-3),
    "largest difference of a probability, irises": (0, 2e-3),
}


def both(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> tuple[cr.Network, np.ndarray, np.ndarray]:
    """Our network; the probabilities of the last class for `rows`, ours and scikit-learn's.

    C = 1 there weighs the sum of the losses, an L2 penalty of 1/n here the mean of them: the same thing.
    """
    classes = len(np.unique(y))
    network = cr.Network(Dense(1 if classes == 2 else classes), dtype="float64")
    solver = cr.optim.LBFGS(l2=1 / len(x))
    network.fit(x, y[:, None] if classes == 2 else y, optimizer=solver, epochs=500, verbose=0)
    theirs = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(x, y)
    return network, network.predict_proba(rows)[:, -1], theirs.predict_proba(rows)[:, -1]


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Three irises, two kinds of tumours."""
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x[:400].mean(0)) / x[:400].std(0)
    _, ours, theirs = both(x[:400], y[:400], x[400:])
    petals, kinds = load_iris(return_X_y=True)
    petals = petals[:, 2:]
    grid = np.stack(np.meshgrid(np.linspace(0.5, 7.5, 60 if short else 300), np.linspace(-0.2, 2.9, 200)), -1)
    network, flowers, their_flowers = both(petals, kinds, grid.reshape(-1, 2))
    figures = {
        "accuracy, tumours": np.mean((ours > 0.5) == y[400:]),
        "accuracy of scikit-learn, tumours": np.mean((theirs > 0.5) == y[400:]),
        "largest difference of a probability, tumours": np.abs(ours - theirs).max(),
        "largest difference of a probability, irises": np.abs(flowers - their_flowers).max(),
        "accuracy, irises, on what was learned": network.evaluate(petals, kinds)["accuracy"],
    }
    figure, (left, right) = picture(1, 2)
    palette = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in COLOURS[:3]])
    shares = network.predict_proba(grid.reshape(-1, 2)) @ palette
    extent = (0.5, 7.5, -0.2, 2.9)
    left.imshow(shares.reshape(*grid.shape[:2], 3), extent=extent, origin="lower", aspect="auto", alpha=0.4)
    for kind, name in enumerate(load_iris().target_names):
        left.plot(*petals[kinds == kind].T, "o", color=COLOURS[kind], markersize=3, label=name)
    left.set(title="irises", xlabel="length of the petal, cm", ylabel="width, cm")
    left.legend(loc="upper left")
    right.plot(theirs, ours, "o", markersize=3, alpha=0.5)
    right.set(title="tumours: probability of benign", xlabel="scikit-learn", ylabel="network", aspect="equal")
    return figures, figure


if __name__ == "__main__":
    run(main)
