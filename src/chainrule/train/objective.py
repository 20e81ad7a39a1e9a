"""The objective: a model, its losses and metrics as graphs, made ready for an executor."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule import losses, nn, optim
from chainrule.autodiff import gradient
from chainrule.errors import ConfigError, ShapeError, nearest
from chainrule.executors import Array, Program
from chainrule.graph.expr import Expr, input, scope, substitute
from chainrule.ops import cast, full_like, guard, is_finite, where
from chainrule.ops import sum as total
from chainrule.spec import Spec
from chainrule.train.callbacks import Watch

__all__ = ["Model", "Objective"]

Function = Callable[[Expr, Expr], Expr]
SINGLE = "y"  # the name of the only output of a network that has one


@dataclass(eq=False)
class Model:
    """A layer, the parameters and buffers that its first trace declared, and what its inputs look like."""

    layer: Any
    inputs: dict[str, Spec]  # one sample of each: (…), without the batch axis
    dtype: np.dtype
    parameters: dict[str, nn.Parameter] = field(default_factory=dict)
    buffers: dict[str, nn.Buffer] = field(default_factory=dict)
    batch_statistics: bool = False

    def __post_init__(self) -> None:
        _, run = self.trace(self.batch_inputs(2), training=True)
        self.parameters, self.buffers = dict(run.parameters), dict(run.buffers)
        self.batch_statistics = run.uses_batch_statistics

    def initial(self, seed: int) -> dict[str, Array]:
        """First values of parameters and buffers by name."""
        found = {name: p.initial(seed) for name, p in self.parameters.items()}
        return {**found, **{name: b.initial() for name, b in self.buffers.items()}}

    def batch_inputs(self, batch: int) -> dict[str, Expr]:
        return {name: input(f"data/{name}", (batch, *s.shape), s.dtype) for name, s in self.inputs.items()}

    def unused(self, name: str) -> Expr:
        """An input for a parameter that inference does not read."""
        spec = (self.parameters[name] if name in self.parameters else self.buffers[name]).spec
        return input(name, spec.shape, spec.dtype)

    def trace(
        self, x: Mapping[str, Expr], *, training: bool, **inputs: Any
    ) -> tuple[dict[str, Expr], nn.Run]:
        """The outputs by name, and the trace with all that it declared."""
        given = next(iter(x.values())) if list(x) == ["x"] else dict(x)
        known: dict[str, nn.Parameter | nn.Buffer] = {**self.parameters, **self.buffers}
        found, run = nn.trace(
            self.layer, given, training=training, dtype=self.dtype, known=known or None, **inputs
        )
        return (found if isinstance(found, dict) else {SINGLE: found}), run


@dataclass(frozen=True, eq=False)
class Objective:
    """Losses and metrics, one value per sample each, for every output by name; and the optimizer."""

    model: Model
    losses: Mapping[str, Function]
    metrics: Mapping[str, str | Function]
    targets: Mapping[str, Spec]  # one sample of each target
    optimizer: optim.Rule | None = None
    masks: bool = False  # whether training meets weights of 0, which must hide a loss that is not finite

    def target_inputs(self, batch: int) -> dict[str, Expr]:
        return {name: input(f"target/{name}", (batch, *s.shape), s.dtype) for name, s in self.targets.items()}

    def per_sample(self, outputs: Mapping[str, Expr], targets: Mapping[str, Expr]) -> dict[str, Expr]:
        """ "loss" and each metric, (batch,); the losses of several outputs are added."""
        if set(outputs) != set(self.losses):
            raise ConfigError(
                f"the network's outputs are {sorted(outputs)}, the losses are for {sorted(self.losses)}"
            )
        found: dict[str, Expr] = {}
        for name, loss in self.losses.items():
            suffix = "" if len(self.losses) == 1 else f"/{name}"
            value = _checked(loss, outputs[name], targets[name], f"loss{suffix}")
            found["loss"] = found["loss"] + value if "loss" in found else value
            if suffix:
                found[f"loss{suffix}"] = value
            for metric, given in self.metrics.items():
                if not losses.suits(given, loss):
                    continue
                function = losses.resolve_metric(given, loss)
                found[f"{metric}{suffix}"] = _checked(
                    function, outputs[name], targets[name], f"metric {metric!r}"
                )
        return found

    @property
    def rule(self) -> optim.Rule:
        """The optimizer, which training needs and evaluation does not."""
        if self.optimizer is None:
            raise ConfigError("this objective has no optimizer: it can be evaluated, not trained")
        return self.optimizer

    def evaluation(self, batch: int) -> Program:
        """Weighted sums of the loss and metrics over a batch, in inference mode."""
        x, y = self.model.batch_inputs(batch), self.target_inputs(batch)
        outputs, run = self.model.trace(x, training=False)
        weight = input("weight", (batch,), self.model.dtype)
        sums = {name: total(guard(weight, v)) for name, v in self.per_sample(outputs, y).items()}
        return Program(
            {**sums, "weight": total(weight)}, [*x.values(), *y.values(), weight], (), [*run.inputs.values()]
        )

    def training(self, batch: int, watches: Sequence[Watch] = ()) -> Program:
        """One step: forward, backward, update; the loss is the batch's weighted mean plus penalties."""
        rule, dtype = self.rule, self.model.dtype
        x, y = self.model.batch_inputs(batch), self.target_inputs(batch)
        weight, t = input("weight", (batch,), dtype), input("t", (), dtype)
        seed, step = input("seed", (), "int64"), input("step", (), "int64")
        outputs, run = self.model.trace(x, training=True, seed=seed, step=step)
        values = self.per_sample(outputs, y)
        with scope("", operation="objective"):
            sums = {name: self._weighted_sum(v, weight) for name, v in values.items()}
            weights = total(weight)
            shares = where(weights <= 0, 1, weights)  # a batch of weight 0 has loss 0, not 0/0
            θ = {name: run.inputs[name] for name in self.model.parameters}
            slots = {
                name: input(name, s.shape, s.dtype)
                for name, s in optim.slot_specs(rule, self.model.parameters).items()
            }
            penalties = [
                self._weighted_sum(v, weight) / shares if v.shape else v for v in run.losses.values()
            ]
            penalty = optim.penalty(rule, θ, self.model.parameters)
            penalties += [] if penalty is None else [penalty]
            objective = sums["loss"] / shares
            for p in penalties:
                objective = objective + p
        watched = {**run.outputs, **θ}
        wanted = [n for w in watches if w.of == "gradient" for n in _matching(w.names, watched)]
        wrt = dict.fromkeys([*θ, *wanted])
        g = dict(zip(wrt, gradient(objective, [watched[n] for n in wrt]), strict=True))
        delivered = {**sums, "weight": weights, "objective": objective}
        rates = {name: input(name, (), dtype) for name in optim.rate_names(rule)}
        at = optim.look_ahead(rule, θ, slots)
        g, delivered, buffers, moved = _moved(at, θ, g, delivered, run.updates, watched)
        watched = {**moved, **θ}
        with scope("", operation="optimizer"):
            new_θ, new_slots = optim.apply_rule(
                rule, self.model.parameters, θ, {n: g[n] for n in θ}, slots, t, rates
            )
        for w in watches:
            for name in _matching(w.names, watched):
                delivered[w.key(name)] = _watched(w, name, watched, g, θ, new_θ)
        return Program(
            outputs=delivered,
            batch=[*x.values(), *y.values(), weight],
            scalars=[t, seed, step, *rates.values()],
            state=[*run.inputs.values(), *slots.values()],
            updates={**new_θ, **new_slots, **buffers},
            healthy=is_finite(delivered["objective"]),
        )

    def _weighted_sum(self, values: Expr, weight: Expr) -> Expr:
        """Σ w·v over the batch; a weight of 0 leaves its row out, whatever v is there."""
        return total(guard(weight, values) if self.masks else values * weight)


def _checked(function: Function, output: Expr, target: Expr, what: str) -> Expr:
    with scope("", operation=what):
        value = function(output, target)
    if value.shape != output.shape[:1]:
        raise ShapeError(
            f"{what} gave {value.spec} for an output {output.spec} and a target {target.spec}; it must give "
            f"one value per sample, shape {output.shape[:1]}: take a mean or sum over the other axes"
        )
    return cast(value, output.dtype)


def _moved(
    at: Mapping[str, Expr], θ: Mapping[str, Expr], *groups: Mapping[str, Expr]
) -> list[dict[str, Expr]]:
    """Every group of nodes, computed at another point than θ (Nesterov's look-ahead)."""
    moves = {θ[n]: at[n] for n in θ if at[n] is not θ[n]}
    if not moves:
        return [dict(group) for group in groups]
    flat = substitute([x for group in groups for x in group.values()], moves)
    nodes = iter(flat)
    return [{name: next(nodes) for name in group} for group in groups]


def _matching(pattern: str, names: Mapping[str, Expr]) -> list[str]:
    found = [n for n in names if n == pattern or fnmatch.fnmatchcase(n, pattern)]
    if not found:
        raise ConfigError(f"Watch: nothing is called {pattern!r}; {nearest(pattern, names)}")
    return found


def _watched(
    w: Watch,
    name: str,
    values: Mapping[str, Expr],
    g: Mapping[str, Expr],
    θ: Mapping[str, Expr],
    new: Mapping[str, Expr],
) -> Expr:
    if w.of == "update" and name not in θ:
        raise ConfigError(f"Watch: {name!r} is not a parameter, so it has no update; {nearest(name, θ)}")
    found = {
        "value": lambda: values[name],
        "gradient": lambda: g[name],
        "update": lambda: new[name] - θ[name] if name in new else full_like(θ[name], 0),
    }[w.of]()
    return found if w.reduce is None else w.reduce(found)
