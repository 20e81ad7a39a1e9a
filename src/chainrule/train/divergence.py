"""When training leaves the finite numbers: which layer and operation did it, and what to try."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.errors import DivergenceError
from chainrule.executors import Program, evaluate
from chainrule.graph.expr import CONSTANT, Expr, toposort
from chainrule.spec import is_float

__all__ = ["exploded", "first_non_finite", "gradient_norm", "report"]

_EXPLOSION = 1e6


def exploded(loss: float, first: float) -> bool:
    """Finite, but a million times the loss that training began with."""
    return not math.isfinite(loss) or abs(loss) > _EXPLOSION * (abs(first) + 1)


def first_non_finite(program: Program, arrays: Mapping[Expr, Any]) -> Expr | None:
    """Replays one step on the reference executor, node by node: the first whose value is not finite."""
    outputs = [*program.outputs.values(), *program.updates.values()]
    order = toposort(outputs)
    constant = {n for n in order if n.primitive is CONSTANT}
    for node in order:
        if node.inputs and all(x in constant for x in node.inputs):
            constant.add(node)
    seen = [n for n in order if n not in constant and len(n.outputs) == 1 and is_float(n.dtype)]
    values = evaluate(seen, {x: arrays[x] for x in arrays})
    return next((n for n, v in zip(seen, values, strict=True) if not np.all(np.isfinite(v))), None)


def report(
    node: Expr | None,
    *,
    epoch: int,
    batch: int,
    loss: float,
    rates: Mapping[str, float],
    norm: float,
    explosion: bool,
) -> DivergenceError:
    """One error that says when, at which rate, where it began, and what to try."""
    rate = ", ".join(f"{name} {value:g}" for name, value in rates.items())
    what = f"the loss grew to {loss:g}" if explosion else f"the loss became {loss:g}"
    place = f"; first non-finite value: {node.primitive.name} in {node.origin}" if node is not None else ""
    return DivergenceError(
        f"training diverged in epoch {epoch + 1}, batch {batch + 1}: {what} ({rate}, gradient norm {norm:g}){place}. "
        "The network keeps the last good state. Try a learning rate ten times smaller, clip_norm=1.0, "
        'learning_rate="auto", or standardised inputs'
    )


def gradient_norm(gradients: Sequence[Any]) -> float:
    """√Σ g² over all arrays, in float64."""
    return math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradients))
