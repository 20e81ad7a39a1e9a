"""Back-propagation: one sweep instead of every path.

The derivative of a network by a weight is a sum over all paths from it to the loss. In 784-225-144-10 there
are 254,016,000 of them from the inputs to the outputs; the sweep adds up what they have in common first and
needs 210,240 multiplications (left). Differences of two losses give the same derivative only to a few
digits, at the one step width that is right (on the right): too wide and the curve bends, too narrow and
rounding is all that is left. The sweep knows nothing of steps. The circuits are those that textbooks work
through by hand.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from chainrule import nn, ops
from chainrule.autodiff import gradient, jacobian
from chainrule.executors import evaluate
from chainrule.inspect import count_multiply_adds, count_paths
from gallery import COLOURS, picture, run

EXPECTED = {
    "(x + y)·z at (−2, 5, −4)": (-12, -12),
    "its derivative by x": (-4, -4),
    "σ(w₀x₀ + w₁x₁ + w₂) by w₀": (-0.19662, -0.19661),
    "paths of 784-225-144-10": (254_016_000, 254_016_000),
    "multiply-adds of the sweep": (210_240, 210_240),
    "Jacobian of a ReLU network, less its product of matrices": (0, 1e-12),
}


def circuits() -> tuple[float, float, float]:
    """f = (x + y)·z, and a sigmoid of two inputs; by hand in any textbook."""
    x, y, z = (ops.input(name, (), "float64") for name in "xyz")
    f = (x + y) * z
    value, slope = evaluate([f, gradient(f, x)], {x: -2, y: 5, z: -4})
    w = ops.input("w", (3,), "float64")
    given = ops.constant(np.array([-1.0, -2.0, 1.0]))
    fused = ops.sigmoid(ops.sum(w * given))
    return float(value), float(slope), float(evaluate([gradient(fused, w)], {w: [2, -3, -3]})[0][0])


def network(sizes: tuple[int, ...]):
    """A network without biases as a graph: (x, y, its parameters' nodes and start)."""
    steps = [step for n in sizes[1:-1] for step in (nn.Dense(n, bias=False), ops.relu)]
    x = ops.input("x", (1, sizes[0]), "float64")
    y, made = nn.trace(
        nn.sequential(*steps, nn.Dense(sizes[-1], bias=False)), x, training=False, dtype="float64"
    )
    return x, y, {made.inputs[path]: p.initial(0) for path, p in made.parameters.items()}


def masked_product() -> float:
    """A ReLU network without biases is W¹ 1[h¹] W² 1[h²] W³ wherever it is looked at."""
    x, y, given = network((6, 5, 4, 3))
    given[x] = np.random.default_rng(0).normal(size=(1, 6))
    J = evaluate([jacobian(y[0], x)], given)[0][:, 0]
    h, product = given[x], np.eye(6)
    *inner, last = [a for node, a in given.items() if node is not x]
    for W in inner:
        product = product @ W * (h @ W > 0)
        h = np.maximum(h @ W, 0)
    return float(np.abs(J - (product @ last).T).max())


def differences(widths: np.ndarray) -> np.ndarray:
    """How far (L(w + ε) − L(w − ε)) / 2ε is from the sweep's derivative, as a share of it."""
    w = ops.input("w", (), "float64")
    loss = ops.square(ops.tanh(3 * ops.sin(w)) - 0.2)
    exact = float(evaluate([gradient(loss, w)], {w: 0.3})[0])
    sides = np.array([[evaluate([loss], {w: 0.3 + s * e})[0] for s in (1, -1)] for e in widths], float)
    return np.abs((sides[:, 0] - sides[:, 1]) / (2 * widths) - exact) / abs(exact)


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Work through the circuits; count; compare with differences."""
    value, slope, sigmoid = circuits()
    figure, (left, right) = picture(1, 2)
    depths, paths, work = range(1, 5 if short else 9), [], []
    for depth in depths:
        x, y, _ = network((20,) * (depth + 1))
        paths.append(count_paths(y, x))
        work.append(count_multiply_adds(y))
    left.semilogy(depths, paths, "o-", label="paths")
    left.semilogy(depths, work, "s-", label="multiply-adds of the sweep")
    left.set(title="layers of 20 units", xlabel="layers")
    left.legend()
    widths = np.logspace(-12, 0, 13 if short else 49)
    right.loglog(widths, differences(widths), color=COLOURS[1])
    right.axhline(2e-16, color=COLOURS[0], label="rounding of float64")
    right.set(title="error of differences", xlabel="step width ε", ylabel="relative error")
    right.legend()
    x, y, _ = network((784, 225, 144, 10))
    return {
        "(x + y)·z at (−2, 5, −4)": value,
        "its derivative by x": slope,
        "σ(w₀x₀ + w₁x₁ + w₂) by w₀": sigmoid,
        "paths of 784-225-144-10": count_paths(y, x),
        "multiply-adds of the sweep": count_multiply_adds(y),
        "Jacobian of a ReLU network, less its product of matrices": masked_product(),
    }, figure


if __name__ == "__main__":
    run(main)
