"""Initialisation: signals that shrink, grow, or stay.

The second moment of a signal is multiplied in every layer by the variance of a weight times the number of
inputs, and halved by ReLU. U(±1/√n) has the variance 1/(3n): a third is left after each linear layer, a
sixth with ReLU, and after ten layers nothing. Glorot's keeps linear layers even and loses half with ReLU;
He's twice as large variance makes up for it. The gradient on its way back meets the same factors (on the
right). From equal weights hidden units never part: every gradient is the same for all of them.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from chainrule import nn, ops
from chainrule.autodiff import gradient
from chainrule.executors import evaluate
from gallery import picture, run

INITS = {
    "N(0, 0.01²)": nn.Normal(), "U(±1/√n)": nn.Uniform(), "Glorot": nn.GlorotNormal(),
    "LeCun": nn.LeCunNormal(), "orthogonal": nn.Orthogonal(), "He": nn.HeNormal(),
}  # fmt: skip
EXPECTED = {
    "per layer with ReLU, U(±1/√n)": (0.15, 0.184),
    "per layer with ReLU, Glorot": (0.46, 0.54),
    "per layer with ReLU, He": (0.92, 1.08),
    "most by which hidden units from a constant differ": (0, 1e-6),
}


def moments(init: nn.Init, width: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Second moments of the signals after each layer, and of the gradient that arrives there."""
    steps = [step for _ in range(depth) for step in (nn.Dense(width, init), ops.relu)]
    x = ops.input("x", (width, width))
    y, made = nn.trace(nn.sequential(*steps), x, training=True)
    rng = np.random.default_rng(0)
    known = {made.inputs[path]: p.initial(1) for path, p in made.parameters.items()}
    known[x] = rng.normal(size=x.shape)
    layers = [x, *(made.outputs[f"relu_{i}"] for i in range(depth))]
    slopes = gradient(ops.sum(y * ops.constant(rng.normal(size=y.shape), "float32")), layers)
    found = evaluate([ops.mean(ops.square(node)) for node in (*layers, *slopes)], known)
    return np.array(found[: depth + 1]), np.array(found[depth + 1 :])


def alike() -> float:
    """How far the gradients of hidden units differ where all weights are 0.3."""
    x = ops.input("x", (6, 5))
    y, made = nn.trace(nn.sequential(nn.Dense(4, nn.Constant(0.3)), ops.tanh, nn.Dense(1)), x, training=True)
    known = {made.inputs[path]: p.initial(0) for path, p in made.parameters.items()}
    known[made.inputs["dense_1/W"]] = np.full((4, 1), 0.3, "float32")
    known[x] = np.random.default_rng(0).normal(size=(6, 5))
    return float(
        np.ptp(evaluate([gradient(ops.sum(y**2), made.inputs["dense_0/W"])], known)[0], axis=1).max()
    )


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Ten layers of ReLU from each start."""
    width, depth = (200, 4) if short else (500, 10)
    figures = {}
    figure, (left, right) = picture(1, 2, sharey=True)
    for name, init in INITS.items():
        signals, slopes = moments(init, width, depth)
        figures[f"per layer with ReLU, {name}"] = (signals[-1] / signals[0]) ** (1 / depth)
        left.semilogy(signals, "o-", markersize=3, label=name)
        right.semilogy(slopes / slopes[-1], "o-", markersize=3)
    figures["most by which hidden units from a constant differ"] = alike()
    left.set(title="signals, forward", xlabel="layer", ylabel="second moment", ylim=(1e-14, 10))
    right.set(title="gradients, backward", xlabel="layer")
    left.legend(fontsize=7)
    return figures, figure


if __name__ == "__main__":
    run(main)
