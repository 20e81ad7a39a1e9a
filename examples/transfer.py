"""Another head on a trained body: digits of another kind from a handful of them.

A network has learned MNIST. Other digits, scikit-learn's, were written by other people, scanned otherwise
and measured on a grid of 8 by 8; here they are blown up to MNIST's size. Only 2 to 20 of each are labelled.
`net.replace(head=…)` puts a new head on what was learned and keeps all else. Three ways to go on from the
same few images: the body frozen, by name (`Group("body/*", frozen=True)`: its arrays keep their bits); the
body learning at a twenty-fifth of the head's rate; and a new network that knows nothing. Shown are mean and
range over draws of the few images, on images that none has seen.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import zoom
from sklearn.datasets import load_digits

import chainrule as cr
from chainrule.nn import Dense, sequential
from chainrule.ops import relu
from chainrule.optim import Adam, Group
from gallery import picture, run

EXPECTED = {
    "error with 5 of each, body slow": (0.05, 0.22),
    "body slow over nothing known, 5 of each": (0.3, 0.95),
    "elements of the frozen body that changed": (0, 0),
}


def network() -> cr.Network:
    """784-200-100 and a head of ten."""
    return cr.Network(body=sequential(Dense(200), relu, Dense(100), relu), head=Dense(10)).build(784)


def other_digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits in the middle of 28 by 28 pixels; their labels."""
    images, labels = load_digits(return_X_y=True)
    large = np.stack([zoom(image, 2.5, order=1) for image in images.reshape(-1, 8, 8)])
    return np.pad(large / 16, ((0, 0), (4, 4), (4, 4))).reshape(-1, 784).astype("float32"), labels


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Learn MNIST; then three ways to the other digits."""
    mnist = cr.datasets.mnist()
    limit = 20_000 if short else 60_000
    net = network()
    net.fit(
        mnist.x_train[:limit].reshape(-1, 784) / np.float32(255), mnist.y_train[:limit],
        epochs=4 if short else 8, batch_size=100, learning_rate=2e-3, verbose=0,
    )  # fmt: skip
    x, y = other_digits()
    unseen, truth, x, y = x[900:], y[900:], x[:900], y[:900]
    ways = {
        "nothing known": (Adam(0.002), False),
        "body frozen": (Adam(0.005, groups=(Group("body/*", frozen=True),)), True),
        "body slow": (Adam(0.005, groups=(Group("body/*", learning_rate=2e-4),)), True),
    }
    counts, draws, changed = ([5], 2, 0) if short else ([2, 5, 10, 20], 5, 0)
    errors: dict[str, list[list[float]]] = {way: [[] for _ in counts] for way in ways}
    for place, seed in np.ndindex(len(counts), draws):
        rng = np.random.default_rng(seed)
        few = np.concatenate([rng.choice(np.flatnonzero(y == d), counts[place], False) for d in range(10)])
        for way, (rule, kept) in ways.items():
            learner = net.replace(head=Dense(10)) if kept else network()
            learner.fit(x[few], y[few], optimizer=rule, epochs=40, batch_size=10, verbose=0)
            errors[way][place].append(np.mean(learner.predict(unseen) != truth))
            if way == "body frozen":
                changed += sum((learner[n] != net[n]).sum() for n in net.state if n.startswith("body/"))
    at = counts.index(5)
    figures = {"error without any label": float(np.mean(net.predict(unseen) != truth))}
    figures |= {f"error with 5 of each, {way}": float(np.mean(found[at])) for way, found in errors.items()}
    slow, nothing = (figures[f"error with 5 of each, {way}"] for way in ("body slow", "nothing known"))
    figures["body slow over nothing known, 5 of each"] = slow / nothing
    figures["elements of the frozen body that changed"] = float(changed)
    figure, axis = picture(size=(5.0, 3.2))
    for way, found in errors.items():
        (line,) = axis.plot(counts, np.mean(found, 1), "o-", label=way)
        axis.fill_between(counts, np.min(found, 1), np.max(found, 1), color=line.get_color(), alpha=0.15)
    axis.set(
        title="error on unseen images", xlabel="labelled images of each digit", xscale="log", ylim=(0, None)
    )
    axis.set_xticks(counts, map(str, counts))
    axis.minorticks_off()
    axis.legend()
    return figures, figure


if __name__ == "__main__":
    run(main)
