"""Random optimizers with random settings, and schedules."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from chainrule import nn, optim
from chainrule.optim import EMA, SWA, Group

RATES = {
    "SGD": 0.05, "Momentum": 0.02, "Nesterov": 0.02, "AdaGrad": 0.02, "AdaDelta": 1.0, "RMSProp": 2e-3,
    "Adam": 3e-3, "AdamW": 3e-3, "AMSGrad": 1e-3, "NAdam": 3e-3, "Lion": 1e-3, "Muon": 0.02,
}  # fmt: skip

OWN: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "Momentum": lambda d: {"momentum": d.choice([0.5, 0.9])},
    "Nesterov": lambda d: {"momentum": d.choice([0.5, 0.9])},
    "AdaDelta": lambda d: {"rho": d.choice([0.9, 0.95])},
    "RMSProp": lambda d: {"centered": d.random() < 0.5, "momentum": d.choice([0.0, 0.9])},
    "Adam": lambda d: {"beta1": d.choice([0.0, 0.9]), "epsilon": d.choice([1e-8, 1e-4])},
    "Lion": lambda d: {"beta1": d.choice([0.5, 0.9])},
    "Muon": lambda d: {"nesterov": d.random() < 0.5, "newton_schulz_steps": d.choice([1, 5])},
}

SCHEDULES = (
    optim.Constant(), optim.Linear(0.1), optim.Exponential(0.9, "step"), optim.Step(0.5), optim.Cosine(0.1),
    optim.WarmUp(2), optim.OneCycle(2),
)  # fmt: skip


def _maybe(draws: random.Random, chance: float, *choices: Any) -> Any:
    """One of the choices, or None most of the time."""
    chosen = draws.choice(choices)
    return chosen if draws.random() < chance else None


def _group(draws: random.Random, names: list[str]) -> Group:
    name = draws.choice(names)
    pattern = draws.choice([name, f"{name.rpartition('/')[0]}/*", f"*/{name.rpartition('/')[2]}"])
    return Group(
        pattern,
        learning_rate=_maybe(draws, 0.5, 1e-3, 5e-3),
        weight_decay=_maybe(draws, 0.3, 0.0, 0.1),
        l2=_maybe(draws, 0.3, 0.0, 0.01),
        l1=_maybe(draws, 0.2, 0.01),
        max_norm=_maybe(draws, 0.3, 0.7, float("inf")),
        biases=draws.random() < 0.3,
        frozen=draws.random() < 0.3,
    )


def rule(draws: random.Random, parameters: Mapping[str, nn.Parameter]) -> optim.Rule:
    """An optimizer for these parameters, of which at least one is not frozen."""
    name = draws.choice(sorted(optim.OPTIMIZERS))
    found = optim.OPTIMIZERS[name](
        RATES[name],
        l2=_maybe(draws, 0.25, 1e-3, 0.05) or 0.0,
        l1=_maybe(draws, 0.15, 1e-3, 0.05) or 0.0,
        max_norm=_maybe(draws, 0.2, 0.5, 1.0, 3.0),
        clip_norm=_maybe(draws, 0.25, 0.05, 1.0, 10.0),
        clip_value=_maybe(draws, 0.15, 0.003, 0.1),
        average=_maybe(draws, 0.25, EMA(0.9), EMA(0.99, debias=False), SWA(1, 2)),
        **({"weight_decay": 0.1} if draws.random() < 0.25 else {}),
        **OWN.get(name, lambda _: {})(draws),
    )
    if draws.random() < 0.3:
        grouped = replace(found, groups=(_group(draws, list(parameters)),))
        found = grouped if optim.settings(grouped, parameters) else found
    return found
