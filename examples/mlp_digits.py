"""784-225-144-10: handwritten digits, from pixels to classes.

The reference network of this library: 210,619 parameters, ReLU, softmax with cross-entropy, trained on
MNIST with Adam and a rate that falls to zero. (`chainrule train mnist` is the same with regularisation, to
an error of 1.2 % and less.) Left: the error on the images learned from and on 10,000 unseen ones, epoch by
epoch: where the two part, the network learns by heart. Middle: what training added to the weights of 36
units of the first layer, as images. Right: the unseen images of which the network is most sure and wrong,
with its answer.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr
from chainrule.nn import Dense, Flatten, Rescale
from chainrule.ops import relu
from gallery import picture, run

EXPECTED = {"test error": (0.0, 0.12), "parameters": (210_619, 210_619)}


def tiles(images: np.ndarray, columns: int) -> np.ndarray:
    """Images side by side, with a gap between them."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    return np.vstack([np.hstack([*row]) for row in padded.reshape(-1, columns, *padded.shape[1:])])


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Train; look at the weights and at the mistakes."""
    data = cr.datasets.mnist()
    limit = 6000 if short else 60_000
    x, y = data.x_train[:limit].reshape(-1, 28, 28), data.y_train[:limit]
    unseen, truth = data.x_test.reshape(-1, 28, 28), data.y_test
    network = cr.Network(Flatten(), Rescale(), Dense(225), relu, Dense(144), relu, Dense(10))
    before = network.build(28, 28, dtype="uint8")["dense_0/W"]
    history = network.fit(
        x,
        y,
        epochs=5 if short else 20,
        batch_size=100,
        metrics="error",
        validation=(unseen, truth),
        verbose=0,
    )
    said = network.predict_proba(unseen)
    answers = said.argmax(1)
    wrong = np.flatnonzero(answers != truth)
    worst = wrong[np.argsort(-said[wrong, answers[wrong]])][:36]
    figures = {
        "parameters": float(sum(a.size for a in network.parameters.values())),
        "test error": len(wrong) / len(truth),
        "error on what was learned": history["error"][-1],
        "epochs": float(len(history)),
    }
    figure, (left, middle, right) = picture(1, 3, size=(2.9, 2.9))
    epochs = np.arange(1, len(history) + 1)
    left.plot(epochs, 100 * history["error"], label="learned from")
    left.plot(epochs, 100 * history["val_error"], label="unseen")
    left.set(title="error, %", xlabel="epoch", ylim=(0, 6))
    left.legend()
    W = network["dense_0/W"] - before
    most = np.argsort(-np.linalg.norm(W, axis=0))[:36]
    shown = tiles(W.T[most].reshape(-1, 28, 28), 6)
    size = np.nanpercentile(np.abs(shown), 99)
    middle.imshow(shown, cmap="RdBu_r", vmin=-size, vmax=size)
    middle.set(title="learned by the first layer")
    right.imshow(tiles(255.0 - unseen[worst], 6), cmap="gray", vmin=0, vmax=255)
    for place, image in enumerate(worst):
        right.text(
            30 * (place % 6) + 28, 30 * (place // 6) + 8, answers[image], color="C1", fontsize=7, ha="right"
        )
    right.set(title="worst mistakes, and the answers")
    for axis in (middle, right):
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figures, figure


if __name__ == "__main__":
    run(main)
