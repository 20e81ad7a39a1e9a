"""Losses: which mistake costs how much, and what the gradient makes of it.

A loss is the negative logarithm of a likelihood: a Gaussian makes the square, a Laplace distribution the
absolute value, a Bernoulli variable the cross-entropy. So the best constant for nine numbers is their mean,
their median, or a quantile, as the loss has it (on the right). And it decides whether a network that is
badly wrong learns: a sigmoid that says 0.00005 where 1 is right has a gradient of −0.00009 under the
squared error, and −0.99995 under cross-entropy (in the middle). The focal loss turns away from what is
nearly right.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from chainrule import losses, ops
from chainrule.autodiff import gradient
from chainrule.executors import evaluate
from gallery import picture, run

NINE = np.array([2.1, 3.4, 1.9, 2.8, 3.0, 2.2, 2.5, 4.0, 1.7])
EXPECTED = {
    "slope of squared error at z = −10": (-9.2e-5, -9.0e-5),
    "slope of cross-entropy at z = −10": (-0.99996, -0.99994),
    "best constant under squares, less the mean": (-0.011, 0.011),
    "best constant under absolute values, less the median": (-0.011, 0.011),
    "expected score at the true probabilities": (-1e-9, 1e-9),
}


def of(loss, output: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One value per sample, and its slope by the output."""
    z = ops.input("z", output.shape, "float64")
    value = loss(z, ops.constant(target))
    return tuple(evaluate([value, gradient(ops.sum(value), z)], {z: output}))


def squared_sigmoid(z, y):
    """What happens where a sigmoid meets the squared error."""
    return losses.MeanSquaredError()(ops.sigmoid(z), y)


def best(loss, grid: np.ndarray) -> tuple[np.ndarray, float]:
    """The mean loss of every constant, and the constant that is best."""
    cost = np.array([of(loss, np.full(9, c), NINE)[0].mean() for c in grid])
    return cost, float(grid[cost.argmin()])


def expected_score() -> float:
    """Σ_y P(y) ∂/∂z [−log Q(y; z)], largest component, where Q = P."""
    z = np.array([0.3, -1.0, 2.0])
    p = np.exp(z) / np.exp(z).sum()
    slopes = of(losses.CrossEntropy(), np.tile(z, (3, 1)), np.arange(3))[1]
    return float(np.abs(p @ slopes).max())


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Curves of residuals, of logits, of constants."""
    figure, (left, middle, right) = picture(1, 3, size=(2.7, 2.5))
    residuals, zero = np.linspace(-4, 4, 201), np.zeros(201)
    of_numbers = {
        "half square": losses.HalfSquaredError(), "absolute": losses.MeanAbsoluteError(),
        "Huber": losses.Huber(), "quantile 0.9": losses.Quantile(0.9),
    }  # fmt: skip
    for name, loss in of_numbers.items():
        left.plot(residuals, of(loss, residuals, zero)[0], label=name)
    left.set(title="of numbers", xlabel="prediction − truth", ylim=(0, 4.2))
    logits, one = np.linspace(-10, 6, 201), np.ones(201)
    of_classes = {
        "cross-entropy": losses.BinaryCrossEntropy(), "squared, of a sigmoid": squared_sigmoid,
        "label smoothing 0.1": losses.BinaryCrossEntropy(label_smoothing=0.1),
        "focal": losses.BinaryFocal(alpha=0.999),
    }  # fmt: skip
    for name, loss in of_classes.items():
        middle.plot(logits, of(loss, logits, one)[1], label=name)
    middle.set(title="slope, where the truth is 1", xlabel="logit", ylim=(-1.75, 0.1))
    grid = np.linspace(1.5, 4.5, 301)
    found = {}
    for name, loss in of_numbers.items():
        cost, found[name] = best(loss, grid)
        right.plot(grid, cost - cost.min(), label=f"{name}: {found[name]:.2f}")
    right.plot(NINE, np.zeros(9), "k|")
    right.set(title="one constant for nine numbers", xlabel="constant", ylim=(-0.02, 1.1))
    for axes, place in ((left, "upper center"), (middle, "lower right"), (right, "upper center")):
        axes.legend(fontsize=6, loc=place)
    at, truth = np.array([-10.0]), np.array([1.0])
    return {
        "slope of squared error at z = −10": of(squared_sigmoid, at, truth)[1][0],
        "slope of cross-entropy at z = −10": of(losses.BinaryCrossEntropy(), at, truth)[1][0],
        "best constant under squares, less the mean": found["half square"] - NINE.mean(),
        "best constant under absolute values, less the median": found["absolute"] - np.median(NINE),
        "expected score at the true probabilities": expected_score(),
    }, figure


if __name__ == "__main__":
    run(main)
