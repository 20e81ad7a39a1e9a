"""Learning rates: schedules, and why even Adam likes one.

A schedule is a factor of the optimizer's rate (left). Adam measures its own steps, yet does not make them
smaller: with noisy gradients it circles around the minimum at a distance that the rate decides, and comes
closer only when the rate falls (in the middle; a line fitted to noisy points, one point a step, mean of 20
runs). Which rate to start from is seen by a range test: it rises from step to step, and the loss shows
where learning begins and where it breaks (on the right).
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import chainrule as cr
from chainrule.nn import Dense, Zeros
from chainrule.ops import relu
from chainrule.optim import Constant, Cosine, Exponential, Linear, OneCycle, Step, WarmUp
from gallery import picture, run

SCHEDULES = {
    "constant": Constant(), "linear": Linear(), "exponential": Exponential(0.7), "step": Step(0.3),
    "cosine": Cosine(), "warm-up, cosine": WarmUp(0.1), "one cycle": OneCycle(),
}  # fmt: skip
EXPECTED = {"error of the line with a falling rate, over that with a constant one": (0.0, 0.6)}


def distances(schedule: cr.optim.Schedule, runs: int, steps: int) -> np.ndarray:
    """How far a line y = 2x₁ − x₂ is from the truth, from epoch to epoch, where every target is noisy."""
    truth, found = np.array([[2.0], [-1.0]]), []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(steps, 2)).astype("float32")
        y = (x @ truth + rng.normal(size=(steps, 1))).astype("float32")
        network = cr.Network(Dense(1, bias=False, init=Zeros()))
        watched = cr.train.Recorder("dense_0/W", every=1)
        network.fit(
            x, y, loss="mean_squared_error", optimizer=cr.optim.Adam(0.05), schedule=schedule, epochs=1,
            batch_size=1, verbose=0, callbacks=watched,
        )  # fmt: skip
        found.append(((watched["value:dense_0/W"] - truth) ** 2).sum((1, 2)))
    return np.sqrt(np.mean(found, 0))


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Draw the schedules, let Adam circle, look for a rate."""
    figure, (left, middle, right) = picture(1, 3, size=(2.7, 2.5))
    steps = np.arange(201)
    for name, schedule in SCHEDULES.items():
        left.plot(steps / 200, schedule.factors(0, 201, 200, 20), label=name)
    left.set(title="schedules", xlabel="share of the run", ylabel="factor of the rate", ylim=(0, 1.8))
    left.legend(fontsize=7, ncols=2, loc="upper center")
    far = {
        name: distances(SCHEDULES[name], 4 if short else 20, 500 if short else 3000)
        for name in ("constant", "linear")
    }
    for name, curve in far.items():
        middle.semilogy(curve, label=name)
    middle.set(title="Adam among noise", xlabel="step", ylabel="distance from the truth")
    middle.legend()
    digits = load_digits()
    network = cr.Network(Dense(32), relu, Dense(10))
    test = network.find_learning_rate(
        (digits.data / 16).astype("float32"), digits.target, low=1e-5, high=10.0
    )
    right.semilogx(test.rates, test.losses)
    right.axvline(test.suggestion, linestyle="--", color="#888888", label=f"suggested: {test.suggestion:.2g}")
    right.set(title="range test", xlabel="learning rate", ylabel="loss")
    right.legend(loc="upper center")
    tail = {name: float(np.mean(curve[-50:])) for name, curve in far.items()}
    return {
        "distance from the truth, constant rate": tail["constant"],
        "distance from the truth, falling rate": tail["linear"],
        "error of the line with a falling rate, over that with a constant one": tail["linear"]
        / tail["constant"],
        "rate that the range test suggests": float(test.suggestion),
    }, figure


if __name__ == "__main__":
    run(main)
