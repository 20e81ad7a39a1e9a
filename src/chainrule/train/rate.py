"""Choosing a learning rate: the range test, and ``learning_rate="auto"``."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from chainrule import data as batching
from chainrule.errors import ConfigError, DivergenceError
from chainrule.executors import Array
from chainrule.train.loop import Fit
from chainrule.train.solve import Solve
from chainrule.train.state import snapshot

__all__ = ["RateTest", "automatic_rate", "choose_rates", "range_test"]

_AUTO_STEPS = 200
_UNSETTLED = 10


@dataclass(frozen=True)
class RateTest:
    """Learning rates that rise step by step, the smoothed loss at each, and the suggested one.

    suggestion    a tenth of the rate at which the smoothed loss was lowest
    """

    rates: Array = field(repr=False)
    losses: Array = field(repr=False)
    suggestion: float


def _trial(fit: Fit, rates: Array, tried: Collection[str]) -> Array:
    """The losses of steps at the given rates, from a copy of the state; fewer where the numbers gave out.

    tried    the groups that take these rates; the others keep their own
    """
    state, rows = snapshot(fit.state), fit.rows
    _, ready = fit.compiled(rows)
    data = fit.feed.sample(fit.past + fit.position.epoch)
    per_epoch = max(len(data) // rows, 1)
    epochs = -(-len(rates) // per_epoch)
    orders = [batching.order(len(data), fit.seed, e, True)[: per_epoch * rows] for e in range(epochs)]
    index = np.concatenate(orders).reshape(-1, rows)[: len(rates)]
    arrays = list(data.arrays.values())
    dtype = fit.objective.model.dtype
    scalars = [
        np.arange(1, len(rates) + 1).astype(dtype),
        np.full(len(rates), fit.seed),
        np.arange(len(rates)),
    ]
    for name, own in fit.rates.items():
        scalars.append(rates.astype(dtype) if name in tried else np.full(len(rates), own, dtype))
    _, found = ready.run(state, arrays, index, scalars)
    return found["loss"].astype(np.float64) / np.where(found["weight"] > 0, found["weight"], 1)


def range_test(fit: Fit | Solve, low: float = 1e-6, high: float = 10.0, steps: int = 100) -> RateTest:
    """The learning-rate range test (Smith 2017, section 3.3): the loss while the rate rises geometrically.

    The losses are smoothed by a bias-corrected moving average of 0.9; the test ends where the smoothed loss
    is four times its minimum. The suggestion is a tenth of the rate at that minimum: where the loss falls
    fastest per decade is told apart from noise too seldom. The first ten steps, of which the average is one
    of few, do not count.
    """
    if isinstance(fit, Solve):
        raise ConfigError(f"{type(fit.solver).__name__} has no learning rate to be found")
    if not 0 < low < high < np.inf or not isinstance(steps, int | np.integer) or steps < 1:
        raise ConfigError(f"rates rise from low > 0 to high in some steps, got {low}, {high} and {steps}")
    rates = np.geomspace(low, high, steps)
    try:
        losses = _trial(fit, rates, fit.rates)
    finally:
        fit.feed.close()
    smooth, running, best = [], 0.0, np.inf
    for k, loss in enumerate(losses):
        running = 0.9 * running + 0.1 * float(loss)
        smooth.append(running / (1 - 0.9 ** (k + 1)))
        best = min(best, smooth[-1])
        if k > _UNSETTLED and smooth[-1] > 4 * best:
            break
    curve = np.array(smooth)
    if not len(curve):
        raise DivergenceError(
            "the loss is not finite before the first step; check the parameters and the data's scale"
        )
    start = min(_UNSETTLED, len(curve) - 1)
    return RateTest(rates[: len(curve)], curve, float(rates[start + int(np.argmin(curve[start:]))]) / 10)


def choose_rates(fit: Fit | Solve) -> None:
    """Puts a number in the place of every ``"auto"``."""
    if isinstance(fit, Fit) and "auto" in fit.rates.values():
        try:
            rate = automatic_rate(fit)
        except BaseException:
            fit.feed.close()
            raise
        fit.rates = {name: rate if r == "auto" else r for name, r in fit.rates.items()}
        fit.note = f"learning rate {rate:g} chosen by trial"


def automatic_rate(fit: Fit) -> float:
    """``learning_rate="auto"``: 1, then 0.1, 0.01 … until training no longer diverges, and further while a
    smaller rate learns more.

    A rate is judged by the mean loss over the last quarter of a trial of up to 200 steps, and refused where
    that is not below the first loss or not finite. Every trial begins from the same state.
    """
    steps = max(10, min(_AUTO_STEPS, fit.total))
    best, found = np.inf, 0.0
    for rate in 10.0 ** -np.arange(8):
        losses = _trial(fit, np.full(steps, rate), [name for name, r in fit.rates.items() if r == "auto"])
        reached = float(np.mean(losses[-max(steps // 4, 1) :])) if len(losses) == steps else np.inf
        if found and reached >= best:
            return found
        if len(losses) and reached < losses[0]:
            best, found = reached, float(rate)
    if found:
        return found
    raise DivergenceError(
        'learning_rate="auto" found no rate between 1 and 1e-7 at which the loss falls; '
        "check the data (scale, labels) and the loss"
    )
