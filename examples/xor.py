"""XOR: two layers of step units do it, one unit cannot.

A perceptron (Rosenblatt 1958) answers 1 where w·x + b ≥ 0. Its learning rule adds the input of a mistake to
the weights, or takes it away, and ends where a line parts the classes: for AND it does. For XOR there is no
such line, and the rule circles for ever (Minsky and Papert 1969). A second layer removes the limit: one
hidden unit answers OR, one AND, and the output says "OR, but not AND". Its weights were set by hand.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr
from chainrule.nn import Dense, Zeros
from chainrule.ops import step
from gallery import COLOURS, picture, run

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
AND, XOR = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 0])
EXPECTED = {
    "mistakes, two layers by hand, XOR": (0, 0),
    "mistakes, one unit, AND": (0, 0),
    "mistakes, one unit, XOR": (1, 4),
}


def by_hand() -> cr.Network:
    """Hidden units: x₁ + x₂ ≥ 0.5 is OR, x₁ + x₂ ≥ 1.5 is AND. Output: OR − AND ≥ 0.5."""
    network = cr.Network(Dense(2), step, Dense(1), step)
    network.build(2)
    network["dense_0/W"] = [[1, 1], [1, 1]]
    network["dense_0/b"] = [-0.5, -1.5]
    network["dense_1/W"] = [[1], [-1]]
    network["dense_1/b"] = [-0.5]
    return network


def perceptron(targets: np.ndarray) -> np.ndarray:
    """Descent with rate 1 on one example at a time: w ← w + (y − ŷ) x, b ← b + (y − ŷ); mistakes by epoch."""
    one_by_one = {"batch_size": 1, "shuffle": False, "schedule": cr.optim.Constant()}
    history = cr.Network(Dense(1, init=Zeros())).fit(
        INPUTS, targets[:, None], loss=cr.losses.Perceptron(), optimizer=cr.optim.SGD(1.0),
        metrics="error", epochs=20, verbose=0, **one_by_one,
    )  # fmt: skip
    return len(targets) * history["error"]


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Two layers on XOR; the learning rule on AND and on XOR."""
    network, easy, hard = by_hand(), perceptron(AND), perceptron(XOR)
    figures = {
        "mistakes, two layers by hand, XOR": float(np.sum(network.output(INPUTS)[:, 0] != XOR)),
        "mistakes, one unit, AND": easy[-1],
        "mistakes, one unit, XOR": hard[-1],
    }
    figure, (left, right) = picture(1, 2)
    grid = np.linspace(-0.5, 1.5, 81 if short else 401, dtype="float32")
    plane = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    answers = network.output(plane).reshape(len(grid), -1)
    left.contourf(grid, grid, answers, levels=[-0.5, 0.5, 1.5], colors=COLOURS[:2], alpha=0.2)
    left.scatter(*INPUTS.T, c=[COLOURS[y] for y in XOR], zorder=2)
    left.set(title="two layers of step units", xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    right.step(range(1, 21), easy, where="mid", label="AND")
    right.step(range(1, 21), hard, where="mid", label="XOR")
    right.set(title="the learning rule of one unit", xlabel="epoch", ylabel="mistakes", ylim=(-0.2, 4.2))
    right.legend(loc="center right")
    return figures, figure


if __name__ == "__main__":
    run(main)
