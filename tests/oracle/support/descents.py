"""One small network, one start: what an optimizer of ours makes of it, and what one of PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from chainrule import ops, optim
from chainrule.autodiff import gradient
from chainrule.executors import Program, epoch
from chainrule.spec import Spec, as_dtype

STEPS = 100
GENERATOR = np.random.Generator(np.random.Philox(11))
X, Y = GENERATOR.normal(size=(9, 3)), GENERATOR.normal(size=(9, 2))
START = {
    "hidden/W": GENERATOR.normal(size=(3, 4)),
    "hidden/b": GENERATOR.normal(size=4),
    "out/W": GENERATOR.normal(size=(4, 2)),
}
Arrays = dict[str, np.ndarray]
Factor = Callable[[int], float]


@dataclass(frozen=True)
class Parameter:
    name: str
    spec: Spec
    role: str


def constant(k: int) -> float:
    return 1.0


def ours(
    rule: optim.Rule,
    factor: Factor = constant,
    *,
    steps: int = STEPS,
    sign: int = 1,
    slot: float = 0.0,
) -> tuple[Arrays, Arrays, Arrays]:
    """The parameters at the end, the state at the end, and the parameters after every step.

    sign    −1 climbs
    slot    where what the rule remembers starts
    """
    double = as_dtype("float64")
    parameters = {
        n: Parameter(n, Spec(a.shape, double), "bias" if n.endswith("b") else "weight")
        for n, a in START.items()
    }
    θ = {n: ops.input(n, a.shape, double) for n, a in START.items()}
    slots = {n: ops.input(n, s.shape, s.dtype) for n, s in optim.slot_specs(rule, parameters).items()}
    t, rates = ops.input("t", (), double), {n: ops.input(n, (), double) for n in optim.rate_names(rule)}
    at = optim.look_ahead(rule, θ, slots)
    r = ops.tanh(X @ at["hidden/W"] + at["hidden/b"]) @ at["out/W"] - Y
    loss = sign * ops.mean(r * r)
    penalty = optim.penalty(rule, at, parameters)
    loss = loss if penalty is None else loss + penalty
    g = dict(zip(θ, gradient(loss, list(at.values())), strict=True))
    new, remembered = optim.apply_rule(rule, parameters, θ, g, slots, t, rates)
    made = Program(new, (), [t, *rates.values()], [*θ.values(), *slots.values()], {**new, **remembered})
    state = {n: np.array(a) for n, a in START.items()} | {n: np.full(x.shape, slot) for n, x in slots.items()}
    factors = np.array([factor(k) for k in range(steps)])
    scalars = [np.arange(1.0, steps + 1), *(float(r) * factors for r in optim.rate_names(rule).values())]
    done, path = epoch(made).run(state, [], np.zeros((steps, 1), int), scalars)
    assert done == steps
    return {n: state[n] for n in START}, state, path


def theirs(
    make: Callable[..., torch.optim.Optimizer],
    factor: Factor = constant,
    decay: float | None = None,
    clip: Callable[[list[torch.Tensor]], Any] | None = None,
    average: Any = None,
    steps: int = STEPS,
) -> Arrays:
    """``decay`` goes to the weights alone, as ours does."""
    θ = {n: torch.tensor(a, requires_grad=True) for n, a in START.items()}
    groups = [
        {"params": [p], **({} if decay is None else {"weight_decay": 0.0 if n.endswith("b") else decay})}
        for n, p in θ.items()
    ]
    optimizer = make(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for _ in range(steps):
        optimizer.zero_grad()
        r = torch.tanh(torch.tensor(X) @ θ["hidden/W"] + θ["hidden/b"]) @ θ["out/W"] - torch.tensor(Y)
        (r * r).mean().backward()
        if clip is not None:
            clip(list(θ.values()))
        optimizer.step()
        schedule.step()
        if average is not None:
            average(θ)
    return {n: p.detach().numpy() for n, p in θ.items()}
