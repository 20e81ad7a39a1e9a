"""Units: what they answer, and how steep they are.

Each panel shows a hidden unit (line) and its slope (dashed). A sigmoid is nowhere steeper than 1/4, tanh
reaches 1 and is centred, rectifiers keep the slope 1 however large the signal: what a chain of slopes does
to a gradient in a deep network can be read off here. All stay finite, values and slopes, for signals of
±10,000, where log(1 + eᶻ) or e²ᶻ written down naively would be infinite. PReLU learns its slope, maxout all
of its pieces.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from chainrule import nn, ops
from chainrule.autodiff import gradient
from chainrule.executors import evaluate
from chainrule.graph import substitute
from gallery import COLOURS, picture, run

FUNCTIONS = (
    ops.step, ops.identity, ops.sigmoid, ops.tanh, ops.relu, ops.leaky_relu, ops.abs, ops.softplus, ops.elu,
    ops.selu, ops.gelu, ops.silu, ops.hard_sigmoid, ops.hard_tanh, ops.hard_swish, ops.log_sigmoid,
)  # fmt: skip
EXPECTED = {
    "steepest sigmoid": (0.2499, 0.25),
    "steepest tanh": (0.9999, 1.0),
    "values and slopes that are not finite at ±10,000": (0, 0),
    "most by which tanh(z) and 2σ(2z) − 1 differ": (0, 1e-15),
}


def unit(function, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Its values, and its slopes by back-propagation."""
    x = ops.input("z", z.shape, "float64")
    y = function(x)
    return tuple(evaluate([y, gradient(ops.sum(y), x)], {x: z}))


def learned(layer: nn.Layer, values: dict[str, list]) -> object:
    """A layer of one unit as a function, with these parameters."""

    def function(z):
        y, made = nn.trace(layer, ops.reshape(z, (z.size, 1)), training=False, dtype="float64")
        known = {made.inputs[path]: ops.constant(np.array(value)) for path, value in values.items()}
        return ops.reshape(substitute([y], known)[0], z.shape)

    return function


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Draw them all; look far out."""
    z = np.linspace(-4, 4, 81 if short else 401)
    far = [unit(function, np.array([-1e4, 1e4])) for function in FUNCTIONS]
    figures = {
        "steepest sigmoid": unit(ops.sigmoid, z)[1].max(),
        "steepest tanh": unit(ops.tanh, z)[1].max(),
        "values and slopes that are not finite at ±10,000": float(np.sum(~np.isfinite(far))),
        "most by which tanh(z) and 2σ(2z) − 1 differ": np.abs(
            unit(ops.tanh, z)[0] - (2 * unit(ops.sigmoid, 2 * z)[0] - 1)
        ).max(),
    }
    shown = {function.__name__.replace("_", " "): function for function in FUNCTIONS}
    shown["PReLU, slope −0.5"] = learned(nn.PReLU(), {"slope": [-0.5]})
    pieces = {"W": [[-1.0, 0.2, 1.5]], "b": [-1.0, 0.5, -1.5]}
    shown["maxout of three"] = learned(nn.Maxout(1, 3), pieces)
    figure, axes = picture(3, 6, size=(1.4, 1.35), sharex=True)
    for place, (name, function) in zip(axes.flat, shown.items(), strict=True):
        value, slope = unit(function, z)
        place.plot(z, value, color=COLOURS[0])
        place.plot(z, slope, "--", color=COLOURS[1], linewidth=1)
        place.set_title(name)
        place.set_ylim(-1.6, 2.6)
        place.axhline(0, color="#bbbbbb", linewidth=0.5, zorder=0)
    return figures, figure


if __name__ == "__main__":
    run(main)
