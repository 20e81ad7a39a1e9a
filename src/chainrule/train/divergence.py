"""When training leaves the finite numbers: which step, layer and operation did it, and what to try."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import DivergenceError
from chainrule.executors import Array, Epoch, Program, epoch, evaluate
from chainrule.graph.expr import CONSTANT, Expr, toposort
from chainrule.spec import is_float
from chainrule.train.callbacks import Watch
from chainrule.train.objective import Objective
from chainrule.train.state import snapshot

__all__ = [
    "Failure",
    "Steps",
    "examine",
    "first_failure",
    "first_non_finite",
    "gradient_norm",
    "mean_losses",
    "report",
    "spoiled",
]

_EXPLOSION = 1e6


@dataclass(frozen=True, eq=False)
class Steps:
    """A chunk of steps as it was run.

    first    the number of its first step in the fit
    """

    program: Program
    ready: Epoch
    arrays: Sequence[Array]
    index: Array
    scalars: Sequence[Array]
    first: int

    def __len__(self) -> int:
        return len(self.index)

    def run(self, state: dict[str, Array], start: int = 0, stop: int | None = None) -> dict[str, Array]:
        """The steps ``start`` to ``stop`` of the chunk, or all: what each healthy one delivered."""
        scalars = [s[start:stop] for s in self.scalars]
        return self.ready.run(state, self.arrays, self.index[start:stop], scalars)[1]

    def given(self, state: Mapping[str, Array], k: int) -> dict[Expr, Array]:
        """The value of every input at step ``k``."""
        program = self.program
        values = [*(a[self.index[k]] for a in self.arrays), *(s[k] for s in self.scalars)]
        values += [state[x.meta["name"]] for x in program.state]
        return dict(zip([*program.batch, *program.scalars, *program.state], values, strict=True))


@dataclass(frozen=True, eq=False)
class Failure:
    """A step that failed: number ``k`` of its chunk.

    state       what it began from
    loss        NaN where it was not finite
    exploded    whether the loss was finite, but too large
    node        where the first value appeared that is not finite
    """

    steps: Steps
    k: int
    state: dict[str, Array]
    loss: float
    exploded: bool = False
    node: Expr | None = None

    @property
    def step(self) -> int:
        """Its number in the fit."""
        return self.steps.first + self.k

    def rates(self, groups: int) -> list[float]:
        """The learning rates at the step; they are the last scalars."""
        return [float(rate[self.k]) for rate in self.steps.scalars[-groups:]]


def first_failure(losses: Array, steps: int, first_loss: float) -> int | None:
    """The first of so many steps whose loss failed: it is a million times the one that training began with,
    or no longer finite: ``losses`` has one for each step that was healthy."""
    grown = np.flatnonzero(_exploded(losses, first_loss))
    if grown.size:
        return int(grown[0])
    return len(losses) if len(losses) < steps else None


def _exploded(losses: Array, first_loss: float) -> Array:
    return np.abs(losses) > _EXPLOSION * (abs(first_loss) + 1)


def examine(steps: Steps, k: int, state: dict[str, Array], first_loss: float) -> Failure:
    """What step ``k``, of which it is known that it fails, does to the state."""
    found = steps.run(snapshot(state), k, k + 1)
    healthy = len(found["loss"]) == 1
    loss = float(mean_losses(found)[0]) if healthy else math.nan
    if healthy and _exploded(np.array(loss), first_loss):
        return Failure(steps, k, state, loss, exploded=True)
    return Failure(steps, k, state, loss, node=first_non_finite(steps.program, steps.given(state, k)))


def mean_losses(found: Mapping[str, Array]) -> Array:
    """The mean loss of every step; 0 where nothing weighs."""
    weight = found["weight"]
    losses: Array = found["loss"] / np.where(weight > 0, weight, 1)
    return losses


def spoiled(before: Mapping[str, Array], after: Mapping[str, Array]) -> bool:
    """Whether something that was finite no longer is. (A running minimum may begin at ∞.)"""
    return any(not np.isfinite(a).all() and np.isfinite(before[name]).all() for name, a in after.items())


def first_non_finite(program: Program, given: Mapping[Expr, Any]) -> Expr | None:
    """Replays one step on the reference executor, node by node: the first whose value is not finite."""
    order = toposort([*program.outputs.values(), *program.updates.values()])
    constant = {n for n in order if n.primitive is CONSTANT}
    for node in order:
        if node.inputs and constant.issuperset(node.inputs):
            constant.add(node)
    seen = [n for n in order if n.inputs and n not in constant and len(n.outputs) == 1 and is_float(n.dtype)]
    values = evaluate(seen, given)
    return next((n for n, v in zip(seen, values, strict=True) if not np.isfinite(v).all()), None)


def gradient_norm(objective: Objective, failed: Failure) -> float:
    """√Σ g² over all parameters at the failed step, summed in float64; NaN where the loss is not finite."""
    steps, rows = failed.steps, failed.steps.index[failed.k : failed.k + 1]
    watches = [Watch(name, of="gradient") for name in objective.model.parameters]
    ready = epoch(objective.training(rows.size, watches), executor="reference")
    scalars = [s[failed.k : failed.k + 1] for s in steps.scalars]
    done, found = ready.run(snapshot(failed.state), steps.arrays, rows, scalars)
    gradients = [v for name, v in found.items() if name.startswith("gradient:")]
    return (
        math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradients)) if done else math.nan
    )


def report(
    failed: Failure, *, epoch: int, batch: int, rates: Mapping[str, float], norm: float
) -> DivergenceError:
    """One error that says when, at which rate, where it began, and what to try."""
    rate = ", ".join(f"{name} {value:g}" for name, value in rates.items())
    node, what = failed.node, "the loss left the finite numbers"
    if math.isfinite(failed.loss):
        update = f"the update after a loss of {failed.loss:g} left the finite numbers"
        what = f"the loss grew to {failed.loss:g}" if failed.exploded else update
    place = (
        f"; the first value that is not finite: {node.primitive.name} in {node.origin}"
        if node is not None
        else ""
    )
    return DivergenceError(
        f"training diverged in epoch {epoch + 1}, batch {batch + 1}: {what} ({rate}, gradient norm {norm:g})"
        f"{place}. The network keeps the last good state. Try a learning rate ten times smaller, "
        'clip_norm=1.0, learning_rate="auto", or standardised inputs'
    )
