"""The loss in the vicinity of the examples, where a fit is asked for it (:mod:`chainrule.data.vicinity`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chainrule import nn
from chainrule.data import Vicinity
from chainrule.errors import ConfigError, nearest
from chainrule.graph.expr import Expr, scope, substitute
from chainrule.ops import RandomKey
from chainrule.spec import is_float

__all__ = ["moved", "vicinal"]

Nodes = Mapping[str, Expr]
PerSample = Callable[[Nodes, Nodes, Nodes, nn.Run], dict[str, Expr]]


def vicinal(
    vicinity: Vicinity, x: Nodes, y: Nodes, outputs: Nodes, run: nn.Run,
    per_sample: PerSample, mean: Callable[[Expr], Expr],
) -> dict[str, Expr]:  # fmt: skip
    """The loss and metrics (batch,) of the neighbours that stand in for the examples; the trace becomes the
    first one's.

    per_sample    (outputs, targets, penalties, run) → loss and metrics, one value for each row
    mean          over the batch, as the objective takes it
    """
    point, loss = _point(vicinity, x, run), per_sample(outputs, y, run.losses, run)["loss"]
    key = RandomKey(run.seed, run.step, f"vicinity/{vicinity.at}")
    traced, found = (run.losses, run.updates, run.outputs), dict[str, Expr]()
    with scope(vicinity.at, operation=type(vicinity).__name__):
        for k, one in enumerate(vicinity.neighbours(point, y, loss, mean, key)):
            there, losses, updates, seen = moved({point: one.point}, outputs, *traced)
            if not k:
                run.losses, run.updates, run.outputs = losses, updates, seen
            for name, value in per_sample(there, one.targets, losses, run).items():
                part = one.weight * value
                found[name] = found[name] + part if name in found else part
    return found


def _point(vicinity: Vicinity, x: Nodes, run: nn.Run) -> Expr:
    """The node that a vicinity moves."""
    name, at = type(vicinity).__name__, vicinity.at
    if at and at not in run.outputs:
        raise ConfigError(f"{name}: no layer is called {at!r}; {nearest(at, run.outputs)}")
    if not at and len(x) > 1:
        raise ConfigError(f"{name}: the network takes {sorted(x)}; name the layer to be moved with at=…")
    point = run.outputs[at] if at else next(iter(x.values()))
    if not is_float(point.dtype):
        raise ConfigError(
            f"{name}: {at or 'the input'} is {point.dtype.name}, which cannot be moved a little; give "
            "floats, or name the layer that makes floats of it: at='rescale_0'"
        )
    return point


def moved(moves: Mapping[Expr, Expr], *groups: Nodes) -> list[dict[str, Expr]]:
    """Every group of nodes, computed with some nodes replaced by others."""
    moves = {old: new for old, new in moves.items() if new is not old}
    if not moves:
        return [dict(group) for group in groups]
    flat = substitute([x for group in groups for x in group.values()], moves)
    nodes = iter(flat)
    return [{name: next(nodes) for name in group} for group in groups]
