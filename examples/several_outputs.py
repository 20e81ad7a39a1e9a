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
    "error, 300 pairs: shared tower, digits named": (0.03, 0.22),
    "sharing over not, 300 pairs": (0.3, 0.95),
    "naming over not, 300 pairs": (0.4, 1.0),
}
LOSSES = {"same": "binary_cross_entropy", "left": "cross_entropy", "right": "cross_entropy"}


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
    """The three networks on few pairs and on many; three draws of the pairs."""
    images, digits = load_digits(return_X_y=True)
    images = (images / 16).astype("float32")
    unseen_x, unseen_y = pairs(images[1200:], digits[1200:], 3000, 100)
    kinds = {
        "two towers": Pair(share=False, name=False),
        "shared tower": Pair(name=False),
        "shared tower, digits named": Pair(),
    }
    counts, draws = ([300], 2) if short else ([300, 1000, 3000], 3)
    errors = np.zeros((len(kinds), len(counts), draws))
    for kind, place, seed in np.ndindex(errors.shape):
        layer, n = list(kinds.values())[kind], counts[place]
        x, y = pairs(images[:1200], digits[:1200], n, seed)
        outputs = ["same", "left", "right"] if layer.name else ["same"]
        network = cr.Network(layer, seed=seed)
        network.fit(
            x, {k: y[k] for k in outputs}, loss={k: LOSSES[k] for k in outputs}, metrics="error",
            epochs=max(20, 20_000 // n), learning_rate=3e-3, verbose=0,
        )  # fmt: skip
        told = network.evaluate(unseen_x, {k: unseen_y[k] for k in outputs})
        errors[kind, place, seed] = told["error/same" if layer.name else "error"]
    mean = errors.mean(2)
    figures = {f"error, 300 pairs: {title}": found[0] for title, found in zip(kinds, mean, strict=True)}
    figures |= {f"error, {counts[-1]} pairs: {title}": e[-1] for title, e in zip(kinds, mean, strict=True)}
    figures["sharing over not, 300 pairs"] = mean[1, 0] / mean[0, 0]
    figures["naming over not, 300 pairs"] = mean[2, 0] / mean[1, 0]
    figures["error of the names"] = told["error/left"]
    figure, axis = picture(size=(5.0, 3.0))
    for title, found in zip(kinds, errors, strict=True):
        (line,) = axis.plot(counts, found.mean(1), "o-", label=title)
        axis.fill_between(counts, found.min(1), found.max(1), color=line.get_color(), alpha=0.15)
    axis.set(title="same digit or not: error on unseen images", xlabel="pairs to learn from", xscale="log")
    axis.set(ylim=(0, None), xticks=counts, xticklabels=counts)
    axis.minorticks_off()
    axis.legend()
    return figures, figure


if __name__ == "__main__":
    run(main)
