"""When training leaves the finite numbers: which layer and operation did it, and what to try."""

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
from chainrule.train.state import finite, snapshot

__all__ = ["Steps", "exploded", "first_non_finite", "gradient_norm", "locate", "report"]

_EXPLOSION = 1e6


@dataclass(frozen=True, eq=False)
class Steps:
    """A chunk of steps as it was run."""

    program: Program
    ready: Epoch
    arrays: Sequence[Array]
    index: Array
    scalars: Sequence[Array]

    def run(self, state: dict[str, Array], k: int) -> None:
        """Step ``k`` alone."""
        self.ready.run(state, self.arrays, self.index[k : k + 1], [s[k : k + 1] for s in self.scalars])


def exploded(losses: Array, first: float) -> int | None:
    """The first of some losses that is a million times the one that training began with, finite or not.

    Every step is looked at, so that it does not depend on chunk lengths whether a fit diverges.
    """
    large = np.flatnonzero(~(np.abs(losses) <= _EXPLOSION * (abs(first) + 1)))
    return int(large[0]) if len(large) else None


def locate(
    steps: Steps, state: dict[str, Array], before: Mapping[str, Array], done: int
) -> tuple[int, Expr | None]:
    """Which step of a chunk left the finite numbers, and the node where; ``state`` becomes that before it.

    The loss of step ``done`` was not finite; but an update before it may have been the cause.
    """
    state.update(before)
    bad = done
    for k in range(done):
        good = snapshot(state)
        steps.run(state, k)
        if not finite(state):
            state.update(good)
            bad = k
            break
    program = steps.program
    values = [*(a[steps.index[bad]] for a in steps.arrays), *(s[bad] for s in steps.scalars)]
    values += [state[x.meta["name"]] for x in program.state]
    inputs = [*program.batch, *program.scalars, *program.state]
    return bad, first_non_finite(program, dict(zip(inputs, values, strict=True)))


def first_non_finite(program: Program, given: Mapping[Expr, Any]) -> Expr | None:
    """Replays one step on the reference executor, node by node: the first whose value is not finite."""
    order = toposort([*program.outputs.values(), *program.updates.values()])
    constant = {n for n in order if n.primitive is CONSTANT}
    for node in order:
        if node.inputs and constant.issuperset(node.inputs):
            constant.add(node)
    seen = [n for n in order if n not in constant and len(n.outputs) == 1 and is_float(n.dtype)]
    values = evaluate(seen, given)
    return next((n for n, v in zip(seen, values, strict=True) if not np.isfinite(v).all()), None)


def gradient_norm(objective: Objective, state: Mapping[str, Array], steps: Steps, k: int) -> float:
    """√Σ g² over all parameters at step ``k``, summed in float64; NaN where the loss itself is not finite."""
    rows = steps.index[k : k + 1]
    watches = [Watch(name, of="gradient") for name in objective.model.parameters]
    ready = epoch(objective.training(rows.size, watches), executor="reference")
    done, found = ready.run(snapshot(state), steps.arrays, rows, [s[k : k + 1] for s in steps.scalars])
    gradients = [v for name, v in found.items() if name.startswith("gradient:")]
    return (
        math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradients)) if done else math.nan
    )


def report(
    node: Expr | None, *, epoch: int, batch: int, loss: float, rates: Mapping[str, float], norm: float
) -> DivergenceError:
    """One error that says when, at which rate, where it began, and what to try."""
    rate = ", ".join(f"{name} {value:g}" for name, value in rates.items())
    what = f"the loss grew to {loss:g}" if math.isfinite(loss) else "the loss left the finite numbers"
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
