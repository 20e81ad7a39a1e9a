"""Early stopping: the epoch that validation likes best.

A network of 64 hidden units learns scikit-learn's digits from 500 images, a fifth of them with labels drawn
at random. On those images the loss falls for ever (on the left): first the network learns what digits look
like, then which of them are mislabelled. The loss on 200 images that it does not learn from turns, and there
early stopping ends the run, once ten epochs brought nothing better, and returns to the parameters of the best
one (Prechelt 1998). On the right, 1,097 test images with true labels: the error of each seed at the last of
100 epochs and at the epoch that was kept. It is regularisation that costs less than none: most epochs are
saved.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import chainrule as cr
from chainrule.nn import Dense
from chainrule.ops import relu
from chainrule.train import Callback, EarlyStopping, History
from gallery import COLOURS, picture, run

EXPECTED = {
    "test error at the last epoch, %": (8, 35),
    "test error at the epoch that was kept, %": (3, 15),
    "less error, on the mean of seeds, %": (2, 30),
}
Part = tuple[np.ndarray, np.ndarray]


def parts(seed: int) -> tuple[Part, Part, Part]:
    """Training and validation rows, a fifth of them mislabelled, and test rows with true labels."""
    digits, rng = load_digits(), np.random.default_rng(seed)
    order = rng.permutation(len(digits.target))
    x, y = (digits.data[order] / 16).astype("float32"), digits.target[order]
    told = np.where(rng.random(len(y)) < 0.2, rng.integers(0, 10, len(y)), y)
    return (x[:500], told[:500]), (x[500:700], told[500:700]), (x[700:], y[700:])


def learn(
    seed: int, train: Part, held: Part, *stops: Callback, epochs: int = 100
) -> tuple[cr.Network, History]:
    """A fit, and its history."""
    network = cr.Network(Dense(64), relu, Dense(10), seed=seed)
    history = network.fit(
        *train, epochs=epochs, batch_size=25, validation=held, callbacks=stops, verbose=0,
        optimizer=cr.optim.Adam(3e-3), schedule="constant",
    )  # fmt: skip
    return network, history


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Curves of one seed, and both errors of several."""
    errors, saved = [], []
    for seed in range(3 if short else 20):
        train, held, (x, y) = parts(seed)
        last, whole = learn(seed, train, held, epochs=60 if short else 100)
        kept, stopped = learn(seed, train, held, EarlyStopping(patience=10))
        errors.append([100 * float((net.predict(x) != y).mean()) for net in (last, kept)])
        saved.append(1 - len(stopped) / 100)
        if seed == 0:
            curves, best, end = whole, stopped.kept, len(stopped)
    found = np.array(errors)
    figure, (left, right) = picture(1, 2, size=(3.3, 2.5))
    left.plot(curves["loss"], label="training, a fifth mislabelled")
    left.plot(curves["val_loss"], label="validation")
    left.plot(best, curves["val_loss"][best], "o", color=COLOURS[2], label="kept")
    left.axvline(end, color="#888888", linestyle="--", linewidth=1, label="stopped")
    left.set(title="cross-entropy of one seed", xlabel="epoch", ylim=(0, 3.6))
    left.legend(fontsize=8, loc="upper right")
    right.plot([0, 1], found.T, color="#bbbbbb", linewidth=0.8)
    for place, colour in enumerate(COLOURS[1:3]):
        right.scatter(np.full(len(found), place), found[:, place], s=14, color=colour, zorder=2)
        right.hlines(found[:, place].mean(), place - 0.15, place + 0.15, color=colour, linewidth=3)
    right.set(title="test error of each seed", ylabel="%", xlim=(-0.4, 1.4), ylim=(0, None))
    right.set_xticks([0, 1], ["last epoch", "kept epoch"])
    return {
        "test error at the last epoch, %": float(found[:, 0].mean()),
        "test error at the epoch that was kept, %": float(found[:, 1].mean()),
        "less error, on the mean of seeds, %": float((found[:, 0] - found[:, 1]).mean()),
        "seeds with less error": float((found[:, 1] < found[:, 0]).sum()),
        "share of 100 epochs that was saved": float(np.mean(saved)),
    }, figure


if __name__ == "__main__":
    run(main)
