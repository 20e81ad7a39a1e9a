"""Several inputs, several outputs, several losses: two images, are they of the same digit?

Both images go through one tower, with one set of weights (`Shared`; a Siamese network, Bromley et al.
1994), and what it says of the two decides. Its gradient is the sum over both places, and swapping the
images changes nothing. The tower learns more when it must also name the digits: two outputs more, each with
its own loss, all added. Three networks are compared on pairs of digits (scikit-learn's, 8 by 8 pixels),
with images that none has seen: two towers that share nothing, one shared tower, one shared tower with the
two outputs more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import chainrule as cr
from chainrule import nn, ops
from gallery import picture, run

EXPECTED = {
    "error, shared tower, digits named": (0, 0.13),
    "naming digits over not": (0.3, 1.05),
}


@dataclass(frozen=True)
class Pair(nn.Layer):
    """{"left": image, "right": image} → {"same": (batch, 1)}, and the digits of both if they are named"""

    share: bool = True
    name: bool = True

    def __call__(self, x: Any, run: nn.Run) -> Any:
        said = {}
        for side in ("left", "right"):
            body = nn.sequential(nn.Dense(64), ops.relu, nn.Dense(32), ops.relu)
            said[side] = run.apply(side, nn.Shared("tower" if self.share else f"{side}_tower", body), x[side])
        apart = ops.abs(said["left"] - said["right"])
        both = ops.concat([apart, said["left"] * said["right"]], -1)
        same = run.apply("same", nn.Dense(1), both)
        if not self.name:
            return {"same": same}
        digit = nn.Shared("digit", nn.Dense(10))
        return {"same": same, **{side: run.apply(f"{side}_digit", digit, said[side]) for side in said}}


def pairs(images: np.ndarray, digits: np.ndarray, n: int, seed: int) -> tuple[dict, dict]:
    """n pairs, half of them of the same digit: inputs and targets by name."""
    rng = np.random.default_rng(seed)
    left = rng.integers(0, len(images), n)
    alike = rng.random(n) < 0.5
    other = [rng.choice(np.flatnonzero((digits == digits[i]) == a)) for i, a in zip(left, alike, strict=True)]
    targets = {"same": alike[:, None], "left": digits[left], "right": digits[other]}
    return {"left": images[left], "right": images[other]}, targets


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """The three networks; their errors on unseen images, epoch by epoch."""
    images, digits = load_digits(return_X_y=True)
    images = (images / 16).astype("float32")
    x, y = pairs(images[:1200], digits[:1200], 3000, 0)
    unseen_x, unseen_y = pairs(images[1200:], digits[1200:], 3000, 1)
    kinds = {
        "two towers": Pair(share=False, name=False),
        "shared tower": Pair(name=False),
        "shared tower, digits named": Pair(),
    }
    losses = {"same": "binary_cross_entropy", "left": "cross_entropy", "right": "cross_entropy"}
    curves, figures = {}, {}
    for title, layer in kinds.items():
        outputs = ["same", "left", "right"] if layer.name else ["same"]
        history = cr.Network(layer).fit(
            x, {k: y[k] for k in outputs}, loss={k: losses[k] for k in outputs}, metrics="error",
            validation=(unseen_x, {k: unseen_y[k] for k in outputs}), epochs=12 if short else 30,
            learning_rate=3e-3, verbose=0,
        )  # fmt: skip
        curves[title] = history["val_error/same" if layer.name else "val_error"]
        figures[f"error, {title}"] = curves[title][-1]
    figures["error of the names"] = history["val_error/left"][-1]
    named = figures["error, shared tower, digits named"]
    figures["naming digits over not"] = named / figures["error, shared tower"]
    figure, axis = picture(size=(5.2, 3.0))
    for title, curve in curves.items():
        axis.plot(np.arange(1, len(curve) + 1), curve, label=title)
    axis.set(title="same digit or not: error on unseen images", xlabel="epoch", ylim=(0, None))
    axis.legend()
    return figures, figure


if __name__ == "__main__":
    run(main)
