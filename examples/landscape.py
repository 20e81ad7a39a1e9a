"""A tiny landscape: descent, momentum and Newton on two weights.

C = (w₁w₂ − 1.5)² + 0.04(w₁² + w₂²) has two minima and a saddle between them, as one weight after another has.
At a minimum it bends 36.5 times more across the valley than along it (eigenvalues of the Hessian 5.84 and
0.16): descent is stable below a rate of 2/5.84 = 0.342 and slow along the valley even there; at 0.35 it ends
in a cycle of two points. Momentum 0.9 circles the minimum; where its gradients are noisy, it leaves the
saddle (×), at which the exact ones are zero. Newton's method divides each slope by its curvature and so runs
to the saddle as readily as to a minimum (★); with absolute curvatures (Dauphin et al. 2014) it finds a
minimum. Steps are counted until the weights stay within a millionth of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr
from chainrule import nn, ops, optim
from gallery import COLOURS, picture, run

MINIMUM = np.sqrt(1.46)
EXPECTED = {
    "steps of descent, rate 0.25": (280, 290),
    "lower point of the cycle, rate 0.35": (1.1098, 1.1100),
    "upper point of the cycle, rate 0.35": (1.2871, 1.2873),
    "steps of momentum, rate 0.1": (220, 266),
    "steps of Newton from (1, 1)": (4, 6),
    "C where Newton ends, from (0.5, 0.5)": (2.2499, 2.2501),
    "C where saddle-free Newton ends": (0.1184, 0.11841),
}


def height(w1: Any, w2: Any) -> Any:
    """C, of numbers or of graphs."""
    return (w1 * w2 - 1.5) ** 2 + 0.04 * (w1**2 + w2**2)


@dataclass(frozen=True)
class Landscape(nn.Layer):
    """A network whose output is its own loss; with noise its gradient is that much off."""

    start: tuple[float, float]
    noise: float = 0.0

    def __call__(self, x: ops.Expr, run: nn.Run) -> ops.Expr:
        w = [run.parameter(f"w{i}", (), nn.Constant(v)) for i, v in enumerate(self.start, 1)]
        off = ops.normal(run.random(), (2,), std=self.noise, dtype="float64") if self.noise else (0, 0)
        return x[:, 0] + height(*w) + off[0] * w[0] + off[1] * w[1]


class Path(cr.train.Callback):
    """Where the weights are after each step."""

    def __init__(self, start: tuple[float, float]) -> None:
        self.points = [start]

    def epoch(self, end: cr.train.EpochEnd) -> None:
        self.points.append(tuple(float(end.state()[name]) for name in ("w1", "w2")))


def path(optimizer: Any, start: tuple[float, float], steps: int, noise: float = 0.0) -> np.ndarray:
    """The points that an optimizer visits, (steps + 1, 2)."""
    seen, nothing = Path(start), np.zeros((1, 1))
    options = {} if isinstance(optimizer, optim.Solver) else {"schedule": optim.Constant()}
    cr.Network(Landscape(start, noise), dtype="float64").fit(
        nothing, nothing[:, 0], loss=lambda output, target: output, optimizer=optimizer, epochs=steps,
        callbacks=seen, verbose=0, **options,
    )  # fmt: skip
    return np.array(seen.points)


def arrival(points: np.ndarray) -> int:
    """After how many steps it is, for good, within a millionth of the minimum."""
    return int(np.flatnonzero(np.abs(points - MINIMUM).max(1) >= 1e-6).max(initial=-1)) + 1


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Paths of descent, of momentum, and of Newton's method from three places."""
    descent, cycle = path(optim.SGD(0.25), (1, 0.5), 300), path(optim.SGD(0.35), (1, 0.5), 600)
    momentum, slower = path(optim.Momentum(0.1), (1, 0.5), 320), path(optim.Momentum(0.02), (-0.5, 1.9), 200)
    noisy = path(optim.Momentum(0.02), (0, 0), 200, noise=0.3)
    starts, plain = ((0.5, 0.5), (2.0, 0.2), (1.0, 1.0)), optim.Newton(0.0, adaptive=False, tolerance=1e-9)
    newton, free = ([path(o, w, 50) for w in starts] for o in (plain, optim.Newton(saddle_free=True)))
    figures = {
        "steps of descent, rate 0.25": arrival(descent),
        "lower point of the cycle, rate 0.35": cycle[-2:, 0].min(),
        "upper point of the cycle, rate 0.35": cycle[-2:, 0].max(),
        "steps of momentum, rate 0.1": arrival(momentum),
        "steps of Newton from (1, 1)": arrival(newton[2]),
        "C where Newton ends, from (0.5, 0.5)": height(*newton[0][-1]),
        "C where saddle-free Newton ends": height(*free[0][-1]),
    }
    figure, axes = picture(1, 3, size=(2.7, 2.9))
    for place, title, window, paths in (
        (axes[0], "descent", (0.9, 1.5), {"rate 0.25": [descent], "rate 0.35, at last": [cycle[-3:]]}),
        (axes[1], "momentum 0.9", (-2.1, 2.6), {"exact gradients": [slower], "noisy gradients": [noisy]}),
        (axes[2], "Newton", (-1.0, 2.9), {"plain": newton, "saddle-free": free}),
    ):
        grid = np.linspace(*window, 100 if short else 300)
        heights = height(*np.meshgrid(grid, grid))
        place.contourf(grid, grid, np.log(heights), 8, cmap="Greys", alpha=0.35)
        for colour, (name, lines) in zip(COLOURS, paths.items(), strict=False):
            for number, points in enumerate(lines):
                place.plot(*points.T, ".-", c=colour, ms=3, lw=1, label=None if number else name)
        place.plot(0, 0, "kx")
        place.plot([-MINIMUM, MINIMUM], [-MINIMUM, MINIMUM], "k*", zorder=5)
        place.set(title=title, xlabel="$w_1$", xlim=window, ylim=window, aspect="equal")
        place.legend(fontsize=8, loc="upper right" if title == "Newton" else "lower right")
    axes[0].set_ylabel("$w_2$")
    return figures, figure


if __name__ == "__main__":
    run(main)
