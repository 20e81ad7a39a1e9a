"""Embeddings for recommendations: who likes what, told from a few ratings.

Each user and each item has a vector, learned; a rating is their product plus what the user and the item add
to the mean (Koren, Bell and Volinsky 2009). The ratings are made up so that the truth is known: tastes of
three dimensions, 800 users, 400 items, each user has rated about 24 items with noise of deviation 0.5. No
model can have a smaller error than that on unseen pairs; biases alone stay far above it. Left: the error by
the length of the vectors, chosen on a part of the ratings. Right: unseen ratings without noise against what
is predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr
from chainrule import nn, ops
from gallery import picture, run

USERS, ITEMS, RANK, NOISE = 800, 400, 3, 0.5
EXPECTED = {"error, vectors": (0.5, 0.85), "vectors over biases alone": (0.3, 0.8)}


@dataclass(frozen=True)
class Ratings(nn.Layer):
    """rating = uᵢ·vⱼ + bᵢ + cⱼ + b.    {"user": (batch,), "item": (batch,)} → (batch, 1)"""

    units: int

    def __call__(self, x: Any, run: nn.Run) -> Any:
        sides = {"user": USERS, "item": ITEMS}
        bias = [run.apply(f"{side}_bias", nn.Embedding(n, 1), x[side]) for side, n in sides.items()]
        rating = bias[0] + bias[1] + run.parameter("b", (1,), nn.Zeros(), role="bias")
        if not self.units:
            return rating
        u, v = (
            run.apply(side, nn.Embedding(n, self.units, nn.Normal(0.3)), x[side]) for side, n in sides.items()
        )
        return rating + ops.sum(u * v, -1, keepdims=True)


def made_up(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Pairs, their ratings with noise and without: about 24 of each user."""
    rng = np.random.default_rng(seed)
    tastes, traits = rng.normal(size=(USERS, RANK)), rng.normal(size=(ITEMS, RANK))
    truth = 3 + 0.6 * rng.normal(size=(USERS, 1)) + 0.6 * rng.normal(size=ITEMS) + 0.6 * tastes @ traits.T
    user, item = np.nonzero(rng.random(truth.shape) < 24 / ITEMS)
    order = rng.permutation(len(user))
    user, item = user[order], item[order]
    exact = truth[user, item][:, None]
    return {"user": user, "item": item}, exact + NOISE * rng.normal(size=exact.shape), exact


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Vectors of several lengths; the best one on unseen pairs."""
    x, y, exact = made_up(0)
    parts = np.split(np.arange(len(y)), [int(0.7 * len(y)), int(0.85 * len(y))])
    rows, held, unseen = [({k: v[part] for k, v in x.items()}, y[part]) for part in parts]
    found, kept = {}, {}
    for units in (0, RANK) if short else (0, 1, 2, 3, 4, 6, 8):
        network = cr.Network(Ratings(units))
        stop = cr.train.EarlyStopping(patience=3)
        network.fit(
            *rows, validation=held, optimizer=cr.optim.AdamW(0.02, weight_decay=0.1), batch_size=128,
            epochs=25 if short else 40, callbacks=stop, verbose=0,
        )  # fmt: skip
        kept[units], found[units] = network, stop.best**0.5
    best = min(found, key=found.get)

    def error(predicted: np.ndarray) -> float:
        return float(((predicted - unseen[1]) ** 2).mean() ** 0.5)

    figures = {
        "error, mean of all ratings": error(rows[1].mean()),
        "error, biases alone": error(kept[0].predict(unseen[0])),
        "error, vectors": error(kept[best].predict(unseen[0])),
        "length of the vectors that was chosen": best,
        "error, the truth": error(exact[parts[2]]),
    }
    figures["vectors over biases alone"] = figures["error, vectors"] / figures["error, biases alone"]
    figure, (left, right) = picture(1, 2)
    left.plot(list(found), list(found.values()), "o-")
    left.axhline(NOISE, color="black", linestyle="--", label="noise of the ratings")
    left.set(
        title="error on held-out ratings", xlabel="length of the vectors (0: biases alone)", ylim=(0, None)
    )
    left.legend(loc="lower right")
    right.scatter(exact[parts[2]], kept[best].predict(unseen[0]), s=2, alpha=0.3)
    right.axline((3, 3), slope=1, color="black", linestyle="--", linewidth=1)
    right.set(title="unseen pairs", xlabel="truth, without noise", ylabel="predicted", aspect="equal")
    return figures, figure


if __name__ == "__main__":
    run(main)
