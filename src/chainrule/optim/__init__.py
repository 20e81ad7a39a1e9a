"""Optimizers, each its formula; what they share; schedules of the rate; averages of the parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chainrule.errors import ConfigError, nearest
from chainrule.optim.adam import Adam, AdamW, AMSGrad, NAdam
from chainrule.optim.adaptive import AdaDelta, AdaGrad, RMSProp
from chainrule.optim.average import AVERAGES, EMA, SWA, Average
from chainrule.optim.clip import clip_by_norm, clip_by_value, global_norm
from chainrule.optim.descent import SGD, Momentum, Nesterov
from chainrule.optim.hessian_free import HessianFree
from chainrule.optim.lbfgs import LBFGS
from chainrule.optim.levenberg_marquardt import LevenbergMarquardt
from chainrule.optim.muon import Muon, orthogonalize
from chainrule.optim.newton import Newton
from chainrule.optim.rule import Group, Rate, Rule, Slots, Trainable
from chainrule.optim.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    Length,
    Linear,
    OneCycle,
    Schedule,
    Step,
    WarmUp,
)
from chainrule.optim.sign import Lion
from chainrule.optim.solver import Asks, Iterate, Product, Solver
from chainrule.optim.walk import (
    Setting,
    apply_rule,
    averaged,
    is_frozen,
    look_ahead,
    penalty,
    rate_names,
    resolve_average,
    settings,
    slot_specs,
)

__all__ = [
    "AVERAGES",
    "EMA",
    "LBFGS",
    "OPTIMIZERS",
    "SCHEDULES",
    "SGD",
    "SOLVERS",
    "SWA",
    "AMSGrad",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Asks",
    "Average",
    "Constant",
    "Cosine",
    "Exponential",
    "Group",
    "HessianFree",
    "Iterate",
    "Length",
    "LevenbergMarquardt",
    "Linear",
    "Lion",
    "Momentum",
    "Muon",
    "NAdam",
    "Nesterov",
    "Newton",
    "OneCycle",
    "Product",
    "RMSProp",
    "Rate",
    "Rule",
    "Schedule",
    "Setting",
    "Slots",
    "Solver",
    "Step",
    "Trainable",
    "WarmUp",
    "apply_rule",
    "averaged",
    "clip_by_norm",
    "clip_by_value",
    "global_norm",
    "is_frozen",
    "look_ahead",
    "orthogonalize",
    "penalty",
    "rate_names",
    "resolve_average",
    "resolve_optimizer",
    "resolve_schedule",
    "settings",
    "slot_specs",
]

OPTIMIZERS: dict[str, type[Rule]] = {
    rule.__name__: rule
    for rule in (
        SGD, Momentum, Nesterov, AdaGrad, AdaDelta, RMSProp, Adam, AdamW, AMSGrad, NAdam, Lion, Muon,
    )
}  # fmt: skip
"""Every rule by class name. One list drives the tests: whatever is added inherits every check."""

SOLVERS: dict[str, type[Solver]] = {
    solver.__name__: solver for solver in (LBFGS, Newton, HessianFree, LevenbergMarquardt)
}
"""Every solver by class name: what works on all data at once, and needs no learning rate."""


def resolve_optimizer(optimizer: Rule | Solver | str, learning_rate: Rate | None = None) -> Rule | Solver:
    """A rule or solver as it is, or one with its defaults by name; case, ``_`` and ``-`` do not matter.

    learning_rate    replaces the rule's own, if given; a solver has none, so that is a ConfigError

    >>> resolve_optimizer("adamw", learning_rate=0.01) == AdamW(0.01)
    True
    >>> resolve_optimizer("l-bfgs").memory
    10
    """
    if isinstance(optimizer, Solver):
        found: Rule | Solver = optimizer
    else:
        found = _resolve(optimizer, {**OPTIMIZERS, **SOLVERS}, Rule, "optimizer")
    if learning_rate is None:
        return found
    if isinstance(found, Solver):
        raise ConfigError(f"{type(found).__name__} searches for its step lengths; leave learning_rate out")
    return replace(found, learning_rate=learning_rate)


def resolve_schedule(schedule: Schedule | str) -> Schedule:
    """A schedule as it is, or one with its defaults by name.

    >>> resolve_schedule("one_cycle").rise
    0.3
    """
    return _resolve(schedule, SCHEDULES, Schedule, "schedule")


def _resolve(given: Any, table: dict[str, Any], kind: type, what: str) -> Any:
    if isinstance(given, kind):
        return given
    if isinstance(given, str):
        plain = given.replace("_", "").replace("-", "").lower()
        for name, found in table.items():
            if name.lower() == plain:
                return found()
        raise ConfigError(f"unknown {what} {given!r}; {nearest(given, table)}")
    remedy = f"call it: {given.__name__}()" if isinstance(given, type) else f"known names: {', '.join(table)}"
    raise ConfigError(f"{what} is {given!r}, not a {kind.__name__} or its name; {remedy}")
