"""Curve fitting: a formula of one's own, by Levenberg-Marquardt.

A formula is a layer: a frozen dataclass that asks for its parameters where it uses them. This one, a ratio
of two cubics, is the mobility of electrons against the logarithm of their density (NIST StRD, "Thurber";
seven parameters, certified to 11 digits). Their units are far apart and they make up for each other, so that
the sum of squares is a long, bent valley. Adam and L-BFGS see its slope only and stay on its floor, where the
curve looks right and its parameters are wrong. Levenberg-Marquardt sees how every residual depends on every
parameter. The standard errors are the roots of the diagonal of s²(JᵀJ)⁻¹; JᵀJ is the Gauss-Newton matrix of
the mean square, times half the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr
from chainrule import nn
from chainrule.ops import Expr
from gallery import picture, run

MOBILITY = np.array([
    80.574, 84.248, 87.264, 87.195, 89.076, 89.608, 89.868, 90.101, 92.405, 95.854, 100.696, 101.06,
    401.672, 390.724, 567.534, 635.316, 733.054, 759.087, 894.206, 990.785, 1090.109, 1080.914, 1122.643,
    1178.351, 1260.531, 1273.514, 1288.339, 1327.543, 1353.863, 1414.509, 1425.208, 1421.384, 1442.962,
    1464.35, 1468.705, 1447.894, 1457.628,
])  # fmt: skip
LOG_DENSITY = np.array([
    -3.067, -2.981, -2.921, -2.912, -2.84, -2.797, -2.702, -2.699, -2.633, -2.481, -2.363, -2.322, -1.501,
    -1.46, -1.274, -1.212, -1.1, -1.046, -0.915, -0.714, -0.566, -0.545, -0.4, -0.309, -0.109, -0.103, 0.01,
    0.119, 0.377, 0.79, 0.963, 1.006, 1.115, 1.572, 1.841, 2.047, 2.2,
])  # fmt: skip
START = (1000.0, 1000.0, 400.0, 40.0, 0.7, 0.3, 0.03)
CERTIFIED = np.array([
    1288.1396800, 1491.0792535, 583.23836877, 75.416644291, 0.96629502864, 0.39797285797, 0.049727297349,
])  # fmt: skip
DEVIATIONS = np.array([
    4.6647963344, 39.571156086, 28.698696102, 5.5675370270, 0.031333340687, 0.014984928198, 0.0065842344623,
])  # fmt: skip
EXPECTED = {
    "right digits, levenberg_marquardt": (6, 12),
    "right digits, lbfgs": (-2, 4),
    "right digits, adam": (-2, 4),
    "right digits of the standard errors": (5, 12),
}


@dataclass(frozen=True)
class Ratio(nn.Layer):
    """(b₁ + b₂x + b₃x² + b₄x³)/(1 + b₅x + b₆x² + b₇x³)"""

    start: tuple[float, ...]

    def __call__(self, x: Expr, run: nn.Run) -> Expr:
        b = [run.parameter(f"b{i}", (), nn.Constant(value)) for i, value in enumerate(self.start, 1)]
        x = x[:, 0]
        return (b[0] + x * (b[1] + x * (b[2] + x * b[3]))) / (1 + x * (b[4] + x * (b[5] + x * b[6])))


def values(network: cr.Network) -> np.ndarray:
    """The parameters, in their order."""
    return np.array([float(value) for value in network.parameters.values()])


def digits(found: np.ndarray, right: np.ndarray) -> float:
    """How many digits of the worst number are right."""
    return float(-np.log10(np.abs(found / right - 1).max()))


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Three optimizers from the first of NIST's starts."""
    x, y, fits, losses = LOG_DENSITY[:, None], MOBILITY, {}, {}
    for name, options in {
        "levenberg_marquardt": {"epochs": 100},
        "lbfgs": {"epochs": 1000},
        "adam": {"epochs": 500 if short else 20_000, "batch_size": len(y), "learning_rate": 0.03},
    }.items():
        fits[name] = cr.Network(Ratio(START), dtype="float64")
        losses[name] = fits[name].fit(x, y, optimizer=name, verbose=0, **options)["loss"]
    found = cr.inspect.curvature(fits["levenberg_marquardt"], x, y, gauss_newton=True)
    s2 = found.value * len(y) / (len(y) - len(START))
    errors = np.sqrt(np.diag(s2 * np.linalg.inv(len(y) / 2 * found.matrix())))
    figures = {f"right digits, {name}": digits(values(net), CERTIFIED) for name, net in fits.items()}
    figures["right digits of the standard errors"] = digits(errors, DEVIATIONS)
    figures |= {f"mean square, {name}": loss[-1] for name, loss in losses.items()}
    figures |= {f"steps, {name}": len(loss) for name, loss in losses.items()}
    figure, (left, right) = picture(1, 2, size=(4.2, 3.0))
    fine = np.linspace(-3.1, 2.2, 500)[:, None]
    for name, network in fits.items():
        left.plot(fine, network.predict(fine), label=name)
        right.loglog(np.arange(1, len(losses[name]) + 1), losses[name], label=name)
    left.plot(x, y, "k.", markersize=5, zorder=5)
    left.set(xlabel="log density", ylabel="mobility", title="37 measurements and three fits")
    right.set(xlabel="step", ylabel="mean square", title="from the same start")
    left.legend()
    return figures, figure


if __name__ == "__main__":
    run(main)
