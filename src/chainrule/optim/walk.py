"""The walk over all parameters, written once: groups, clipping, decay, the formula, bounds, averages."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import cast as typed

from chainrule.errors import ConfigError, ShapeError, nearest
from chainrule.graph.expr import Expr
from chainrule.graph.origin import scope
from chainrule.ops import cast, square
from chainrule.ops import sum as total
from chainrule.optim.clip import clip_by_norm, clip_by_value, limit_unit_norms, shrink
from chainrule.optim.rule import Group, Rate, Rule, Slots, Trainable
from chainrule.optim.solver import Solver
from chainrule.spec import Spec

__all__ = [
    "Setting",
    "apply_rule",
    "averaged",
    "is_frozen",
    "look_ahead",
    "penalty",
    "rate_names",
    "resolve_average",
    "settings",
    "slot_specs",
]

_BASE = "learning_rate"
_DECAYED = ("weight", "embedding")


@dataclass(frozen=True)
class Setting:
    """How one parameter is trained.

    rule          whose formula updates it
    rate          the name of its learning-rate input
    max_norm      None where there is no limit
    """

    rule: Rule | Solver
    rate: str
    weight_decay: float
    l2: float
    l1: float
    max_norm: float | None


# ------------------------------------------------------------------ which settings each parameter has


def settings(rule: Rule | Solver, parameters: Mapping[str, Trainable]) -> dict[str, Setting]:
    """The setting of every parameter that is trained, by name; frozen ones are left out.

    Raises ConfigError for a group whose pattern matches nothing.
    """
    for group in rule.groups:
        if not any(fnmatch.fnmatchcase(name, group.pattern) for name in parameters):
            raise ConfigError(
                f"{type(rule).__name__}: the group {group.pattern!r} matches no parameter; "
                f"{nearest(group.pattern, parameters)}"
            )
    others = rule.others(parameters)
    found = {}
    for name, parameter in parameters.items():
        if not is_frozen(rule, name):
            found[name] = _setting(rule, others.get(name), _group(rule, name), parameter)
    return found


def is_frozen(rule: Rule | Solver, name: str) -> bool:
    """Whether a parameter or running statistic of that name stays as it is.

    >>> from chainrule.optim import SGD, Group
    >>> is_frozen(SGD(0.1, groups=(Group("body/*", frozen=True),)), "body/batch_norm_0/mean")
    True
    """
    return _group(rule, name).frozen


def _group(rule: Rule | Solver, name: str) -> Group:
    """The first group that matches, else one that inherits everything."""
    return next((g for g in rule.groups if fnmatch.fnmatchcase(name, g.pattern)), Group("*"))


def _setting(rule: Rule | Solver, delegate: str | None, group: Group, parameter: Trainable) -> Setting:
    own: Rule | Solver = getattr(rule, delegate) if delegate else rule
    decays = parameter.role in _DECAYED or group.biases
    column_norms = parameter.role == "weight" and parameter.spec.ndim >= 2
    limit = own.max_norm if group.max_norm is None else group.max_norm
    return Setting(
        rule=own,
        rate=_rate_name(delegate if group.learning_rate is None else group.pattern),
        weight_decay=_inherit(group.weight_decay, own.weight_decay) if decays else 0.0,
        l2=_inherit(group.l2, own.l2) if decays else 0.0,
        l1=_inherit(group.l1, own.l1) if decays else 0.0,
        max_norm=limit if column_norms and limit != math.inf else None,
    )


def _inherit(own: float | None, inherited: float) -> float:
    return inherited if own is None else own


def _rate_name(suffix: str | None) -> str:
    return f"{_BASE}/{suffix}" if suffix else _BASE


def rate_names(rule: Rule) -> dict[str, Rate]:
    """The names of the learning-rate inputs and their base rates: the rule's, its delegates', its groups'.

    >>> from chainrule.optim import SGD, Group
    >>> rate_names(SGD(0.1, groups=(Group("head/*", learning_rate=0.01),)))
    {'learning_rate': 0.1, 'learning_rate/head/*': 0.01}
    """
    found: dict[str, Rate] = {_BASE: rule.learning_rate}
    own = [(d, getattr(rule, d).learning_rate) for d in rule.delegates]
    own += [(g.pattern, g.learning_rate) for g in rule.groups if g.learning_rate is not None]
    for suffix, rate in own:
        if _rate_name(suffix) in found:
            raise ConfigError(f"{type(rule).__name__}: two groups are called {suffix!r}; drop the second")
        found[_rate_name(suffix)] = rate
    return found


# ------------------------------------------------------------------ what is remembered


def _slot_name(slot: str, parameter: str) -> str:
    """``"optimizer/m/dense_0/W"``"""
    return f"optimizer/{slot}/{parameter}"


def slot_specs(rule: Rule | Solver, parameters: Mapping[str, Trainable]) -> dict[str, Spec]:
    """The slots of every trained parameter, by name; all start at 0."""
    found = {}
    for name, setting in settings(rule, parameters).items():
        spec = parameters[name].spec
        for slot in setting.rule.slots:
            found[_slot_name(slot, name)] = spec.with_shape(()) if slot in setting.rule.scalars else spec
        if rule.average is not None:
            found[_slot_name("average", name)] = spec
    return found


def averaged(rule: Rule | Solver, names: Iterable[str]) -> dict[str, str]:
    """Parameter → the slot that holds its average; empty where nothing is averaged."""
    if rule.average is None:
        return {}
    return {name: _slot_name("average", name) for name in names if not is_frozen(rule, name)}


def resolve_average(rule: Rule, total: int, per_epoch: int) -> Rule:
    """The rule with the average's shares of the run turned into step numbers, for a run of ``total`` steps.

    >>> from chainrule.optim import SGD, SWA
    >>> resolve_average(SGD(0.1, average=SWA()), total=1000, per_epoch=100).average
    SWA(start=750, every=100)
    """
    return rule if rule.average is None else replace(rule, average=rule.average.resolve(total, per_epoch))


def _slots_of(rule: Rule, name: str, slots: Mapping[str, Expr]) -> Slots:
    return Slots(**{slot: slots[_slot_name(slot, name)] for slot in rule.slots})


# ------------------------------------------------------------------ one step, as a graph


def look_ahead(rule: Rule, θ: Mapping[str, Expr], slots: Mapping[str, Expr]) -> dict[str, Expr]:
    """The point at which the gradient is taken; the very same node wherever that is θ itself."""
    return {
        name: rule.at(node, _slots_of(rule, name, slots)) if _has_slots(rule, name, slots) else node
        for name, node in θ.items()
    }


def _has_slots(rule: Rule, name: str, slots: Mapping[str, Expr]) -> bool:
    """Whether this rule itself, and no delegate, updates the parameter."""
    return all(_slot_name(slot, name) in slots for slot in rule.slots)


def penalty(rule: Rule | Solver, θ: Mapping[str, Expr], parameters: Mapping[str, Trainable]) -> Expr | None:
    """Σ ½α‖w‖² over the weights with ``l2``, a scalar to add to the loss; None where there are none."""
    found: Expr | None = None
    for name, setting in settings(rule, parameters).items():
        if setting.l2:
            with scope(name, operation="l2"):
                term = 0.5 * setting.l2 * total(square(θ[name]))
                found = term if found is None else found + term
    return found


def apply_rule(
    rule: Rule,
    parameters: Mapping[str, Trainable],
    θ: Mapping[str, Expr],
    g: Mapping[str, Expr],
    slots: Mapping[str, Expr],
    t: Expr,
    rates: Mapping[str, Expr],
) -> tuple[dict[str, Expr], dict[str, Expr]]:
    """The next parameters and the next slots, by name; frozen parameters are left out.

    t        the step number, 1 at the first
    rates    an input for each of :func:`rate_names`

    Order: ``clip_value``, ``clip_norm``; decay; the formula; ``l1``'s proximal step; ``max_norm``; average.
    """
    plan = settings(rule, parameters)
    gradients = {name: g[name] for name in plan}
    if rule.clip_value is not None:
        gradients = clip_by_value(gradients, rule.clip_value)
    if rule.clip_norm is not None:
        gradients = clip_by_norm(gradients, rule.clip_norm)
    new_θ: dict[str, Expr] = {}
    new_slots: dict[str, Expr] = {}
    for name, setting in plan.items():
        with scope(name, operation=type(setting.rule).__name__):
            time, η = cast(t, θ[name].dtype), cast(rates[setting.rate], θ[name].dtype)
            new_θ[name], remembered = _step(setting, name, θ[name], gradients[name], slots, time, η)
            new_slots |= remembered
            if rule.average is not None:
                place = _slot_name("average", name)
                new_slots[place] = slots[place] + rule.average.rate(time) * (new_θ[name] - slots[place])
    return new_θ, new_slots


def _step(
    setting: Setting, name: str, θ: Expr, g: Expr, slots: Mapping[str, Expr], t: Expr, η: Expr
) -> tuple[Expr, dict[str, Expr]]:
    """One parameter: decay, formula, what keeps its norms in bounds."""
    rule = typed(Rule, setting.rule)  # a solver takes no such steps
    s = _slots_of(rule, name, slots)
    decayed = θ - η * setting.weight_decay * θ if setting.weight_decay else θ
    new, remembered = rule.update(decayed, g, s, t, η)
    _check(rule, new, θ, remembered, s)
    if setting.l1:
        new = shrink(new, η * setting.l1)
    if setting.max_norm is not None:
        new = limit_unit_norms(new, setting.max_norm)
    return new, {_slot_name(slot, name): node for slot, node in remembered.items()}


def _check(rule: Rule, new: Expr, θ: Expr, remembered: Mapping[str, Expr], s: Slots) -> None:
    """What a formula must give back, so that a user's own fails here and not in the loop."""
    if set(remembered) != set(rule.slots):
        raise ConfigError(
            f"{type(rule).__name__}.update gave slots {sorted(remembered)}, it declares {sorted(rule.slots)}"
        )
    pairs = {"θ": (new, θ), **{slot: (node, getattr(s, slot)) for slot, node in remembered.items()}}
    for what, (found, wanted) in pairs.items():
        if found.spec != wanted.spec:
            raise ShapeError(
                f"{type(rule).__name__}.update gave {found.spec} for {what}, which is {wanted.spec}; "
                "it must keep shape and dtype (Python numbers and t, η do not change the dtype)"
            )
