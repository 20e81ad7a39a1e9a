"""The objective: a model, its losses and metrics as graphs, made ready for an executor."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule import losses, nn, optim
from chainrule.autodiff import gradient
from chainrule.data import Vicinity
from chainrule.errors import ConfigError, ShapeError, nearest
from chainrule.executors import Array, Program
from chainrule.graph.expr import Expr, input, scope
from chainrule.nn.padded import there
from chainrule.ops import cast, full_like, guard, is_finite, reshape, where
from chainrule.ops import sum as total
from chainrule.spec import Spec
from chainrule.train import curvature
from chainrule.train.callbacks import Watch
from chainrule.train.once import Once, described
from chainrule.train.vicinal import moved, vicinal

__all__ = ["Model", "Objective", "over_steps"]

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
    once: Once = field(default_factory=lambda: Once(_GRAPHS), repr=False)  # what is made of it

    @staticmethod
    def of(layer: Any, inputs: dict[str, Spec], dtype: np.dtype) -> Model:
        """A new model, or the one that was made of an equal configuration: it holds no arrays."""
        shapes = {name: f"{s.dtype} {s.shape}" for name, s in inputs.items()}
        return _MODELS(described(layer, shapes, dtype.name), lambda: Model(layer, inputs, dtype))

    def __post_init__(self) -> None:
        _, run = self.trace(self.batch_inputs(2), training=True)
        self.parameters, self.buffers = dict(run.parameters), dict(run.buffers)
        self.batch_statistics = run.uses_batch_statistics

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "once": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, once=Once(_GRAPHS))

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


_GRAPHS = 16  # of each of them
_MODELS = Once(16)


@dataclass(frozen=True, eq=False)
class _Forward:
    """A step up to its objective: what it reads, what it computes on the way, what it delivers."""

    batch: list[Expr]
    t: Expr
    run: nn.Run
    outputs: dict[str, Expr]
    targets: dict[str, Expr]
    θ: dict[str, Expr]
    slots: dict[str, Expr]
    delivered: dict[str, Expr]


@dataclass(frozen=True, eq=False)
class Objective:
    """Losses and metrics, one value per sample each, for every output by name; and the optimizer."""

    model: Model
    losses: Mapping[str, Function]
    metrics: Mapping[str, str | Function]
    targets: Mapping[str, Spec]  # one sample of each target
    optimizer: optim.Rule | optim.Solver | None = None
    masks: bool = False  # whether training meets weights of 0, which must hide a loss that is not finite
    vicinity: Vicinity | None = None  # what stands in for the examples in training

    def target_inputs(self, batch: int) -> dict[str, Expr]:
        return {name: input(f"target/{name}", (batch, *s.shape), s.dtype) for name, s in self.targets.items()}

    def per_sample(
        self,
        outputs: Mapping[str, Expr],
        targets: Mapping[str, Expr],
        terms: Mapping[str, Expr],
        run: nn.Run,
    ) -> dict[str, Expr]:
        """ "loss" and each metric, (batch,); the losses of several outputs, and what layers add for each
        sample, are summed up and also told one by one. ``run`` knows how long sequences are."""
        if set(outputs) != set(self.losses):
            raise ConfigError(
                f"the network's outputs are {sorted(outputs)}, the losses are for {sorted(self.losses)}"
            )
        found: dict[str, Expr] = {}
        added = {name: v for name, v in terms.items() if v.shape}
        for name, loss in self.losses.items():
            suffix = "" if len(self.losses) == 1 else f"/{name}"
            value = _checked(loss, outputs[name], targets[name], f"loss{suffix}", run, over_steps(loss))
            found["loss"] = found["loss"] + value if "loss" in found else value
            if suffix or added:
                found[f"loss/{name}"] = value
            for metric, given in self.metrics.items():
                if not losses.suits(given, loss):
                    continue
                function = losses.resolve_metric(given, loss)
                found[f"{metric}{suffix}"] = _checked(
                    function,
                    outputs[name],
                    targets[name],
                    f"metric {metric!r}",
                    run,
                    over_steps(loss) and "mean",
                )
        for name, value in added.items():
            found["loss"] = found["loss"] + value
            found[f"loss/{name}"] = value
        return found

    @property
    def rule(self) -> optim.Rule | optim.Solver:
        """The optimizer, which training needs and evaluation does not."""
        if self.optimizer is None:
            raise ConfigError("this objective has no optimizer: it can be evaluated, not trained")
        return self.optimizer

    def _once(self, what: str, batch: int, make: Callable[[], Program]) -> Program:
        """A program for so many rows, made once for objectives that are alike."""
        shapes = {name: f"{s.dtype} {s.shape}" for name, s in self.targets.items()}
        parts = self.losses, self.metrics, shapes, self.optimizer, self.masks, self.vicinity
        return self.model.once(described(what, batch, *parts), make)

    def evaluation(self, batch: int) -> Program:
        """Weighted sums of the loss and metrics over a batch, in inference mode."""
        return self._once("evaluation", batch, lambda: self._evaluation(batch))

    def _evaluation(self, batch: int) -> Program:
        x, y = self.model.batch_inputs(batch), self.target_inputs(batch)
        outputs, run = self.model.trace(x, training=False)
        weight = input("weight", (batch,), self.model.dtype)
        values = self.per_sample(outputs, y, run.losses, run)
        sums = {name: total(guard(weight, v)) for name, v in values.items()}
        return Program(
            {**sums, "weight": total(weight)}, [*x.values(), *y.values(), weight], (), [*run.inputs.values()]
        )

    def training(self, batch: int, watches: Sequence[Watch] = ()) -> Program:
        """One step: forward, backward, update; the loss is the batch's weighted mean plus penalties."""
        if watches:
            return self._training(batch, watches)
        return self._once("training", batch, lambda: self._training(batch, ()))

    def _training(self, batch: int, watches: Sequence[Watch]) -> Program:
        rule, step = self.rule, self._forward(batch)
        if isinstance(rule, optim.Solver):
            raise ConfigError(f"{type(rule).__name__} takes no steps on batches; it has a loop of its own")
        θ, slots = step.θ, step.slots
        seen = {**step.run.outputs, **θ}
        g = _gradients(step.delivered["objective"], θ, seen, watches)
        moves = {θ[name]: at for name, at in optim.look_ahead(rule, θ, slots).items()}
        g, delivered, buffers, seen = moved(moves, g, step.delivered, step.run.updates, seen)
        rates = {name: input(name, (), self.model.dtype) for name in optim.rate_names(rule)}
        with scope("", operation="optimizer"):
            own = {name: g[name] for name in θ}
            new_θ, new_slots = optim.apply_rule(rule, self.model.parameters, θ, own, slots, step.t, rates)
        return Program(
            outputs={**delivered, **_watched(watches, {**seen, **θ}, g, θ, new_θ)},
            batch=step.batch,
            scalars=[step.t, step.run.seed, step.run.step, *rates.values()],
            state=[*step.run.inputs.values(), *slots.values()],
            updates={**new_θ, **new_slots, **buffers},
            healthy=is_finite(delivered["objective"]),
        )

    def whole(self, batch: int) -> Program:
        """The mean loss of a batch with penalties, and its gradient (``"gradient:…"``), without any update:
        what a solver asks for."""
        return self._once("whole", batch, lambda: self._whole(batch))

    def _whole(self, batch: int) -> Program:
        step = self._forward(batch)
        trained = {name: step.θ[name] for name in self.trained}
        g = gradient(step.delivered["objective"], list(trained.values()))
        return Program(
            outputs={**step.delivered, **{f"gradient:{n}": v for n, v in zip(trained, g, strict=True)}},
            batch=step.batch,
            scalars=[step.run.seed, step.run.step],
            state=[*step.run.inputs.values()],
        )

    @property
    def trained(self) -> dict[str, optim.Setting]:
        """The settings of the parameters that are trained, by name."""
        return optim.settings(self.rule, self.model.parameters)

    def curvature(self, batch: int, asks: optim.Asks) -> Program:
        """How the same mean bends: products with a matrix, of a solver that asks for more than gradients."""
        return self._once(asks, batch, lambda: self._curvature(batch, asks))

    def _curvature(self, batch: int, asks: optim.Asks) -> Program:
        step = self._forward(batch)
        θ = {name: step.θ[name] for name in self.trained}
        v, objective = curvature.tangents(θ), step.delivered["objective"]
        if asks == "residuals":
            found = curvature.residuals(self.losses, step.outputs, step.targets, step.run.losses, θ, v)
        elif asks == "gauss_newton":
            found = curvature.gauss_newton(objective, step.outputs, θ, v)
        else:
            found = curvature.hessian(objective, θ, v)
        return Program(
            outputs={"weight": step.delivered["weight"], **found},
            batch=step.batch,
            scalars=[step.run.seed, step.run.step],
            state=[*step.run.inputs.values(), *v.values()],
        )

    def _forward(self, batch: int) -> _Forward:
        """The graph of one step up to what it makes small."""
        dtype, parameters = self.model.dtype, self.model.parameters
        x, y = self.model.batch_inputs(batch), self.target_inputs(batch)
        weight = input("weight", (batch,), dtype)
        seed, step = input("seed", (), "int64"), input("step", (), "int64")
        rests = functools.partial(optim.is_frozen, self.rule)
        outputs, run = self.model.trace(x, training=True, seed=seed, step=step, resting=rests)
        weights = total(weight)
        shares = where(weights <= 0, 1, weights)  # a batch of weight 0 has loss 0, not 0/0

        def mean(values: Expr) -> Expr:
            return self._weighted_sum(values, weight) / shares

        if self.vicinity is None:
            values = self.per_sample(outputs, y, run.losses, run)
        else:
            values = vicinal(self.vicinity, x, y, outputs, run, self.per_sample, mean)
        θ = {name: run.inputs[name] for name in parameters}
        with scope("", operation="objective"):
            sums = {name: self._weighted_sum(v, weight) for name, v in values.items()}
            objective = sums["loss"] / shares
            for v in run.losses.values():
                objective = objective if v.shape else objective + v
            if (penalty := optim.penalty(self.rule, θ, parameters)) is not None:
                objective = objective + penalty
        specs = optim.slot_specs(self.rule, parameters)
        return _Forward(
            batch=[*x.values(), *y.values(), weight],
            t=input("t", (), dtype),
            run=run,
            outputs=outputs,
            targets=y,
            θ=θ,
            slots={name: input(name, spec.shape, spec.dtype) for name, spec in specs.items()},
            delivered={**sums, "weight": weights, "objective": objective},
        )

    def _weighted_sum(self, values: Expr, weight: Expr) -> Expr:
        """Σ w·v over the batch; a weight of 0 leaves its row out, whatever v is there."""
        return total(guard(weight, values) if self.masks else values * weight)


def over_steps(loss: Any) -> str:
    """What becomes of the steps of a sequence, "mean" or "sum"; nothing where the loss itself is told which
    of them count."""
    if isinstance(loss, losses.Classification):
        return loss.positions if loss.ignore_index is None else ""
    return str(getattr(loss, "outputs", "mean")) if isinstance(loss, losses.Loss) else "mean"


def _checked(function: Function, output: Expr, target: Expr, what: str, run: nn.Run, over: str) -> Expr:
    lengths = run.lengths_of(output) if over else None
    with scope("", operation=what):
        if lengths is None or target.shape[1:2] != output.shape[1:2]:
            value = function(output, target)
        else:
            value = _inside(function, output, target, lengths, what, over)
    if value.shape != output.shape[:1]:
        raise ShapeError(
            f"{what} gave {value.spec} for an output {output.spec} and a target {target.spec}; it must give "
            f"one value per sample, shape {output.shape[:1]}: take a mean or sum over the other axes"
        )
    return cast(value, output.dtype)


def _inside(function: Function, output: Expr, target: Expr, lengths: Expr, what: str, over: str) -> Expr:
    """The mean, or the sum, over the steps of each sequence, with every step a sample of its own; none behind
    the end counts, whatever stands there."""
    batch, steps = output.shape[:2]
    value = function(*(reshape(x, (batch * steps, *x.shape[2:])) for x in (output, target)))
    if value.shape != (batch * steps,):
        raise ShapeError(
            f"{what} gave {value.spec} for the {steps} steps of {batch} sequences; it must give one value "
            "for each row of the output"
        )
    value = where(there(lengths, steps), reshape(cast(value, output.dtype), (batch, steps)), 0)
    return total(value, 1) if over == "sum" else total(value, 1) / cast(lengths, output.dtype)


def _gradients(
    objective: Expr, θ: Mapping[str, Expr], seen: Mapping[str, Expr], watches: Sequence[Watch]
) -> dict[str, Expr]:
    """∂objective/∂x for every parameter, and for whatever else is watched."""
    wanted = [name for w in watches if w.of == "gradient" for name in _matching(w.names, seen)]
    names = list(dict.fromkeys([*θ, *wanted]))
    return dict(zip(names, gradient(objective, [seen[name] for name in names]), strict=True))


def _matching(pattern: str, names: Mapping[str, Expr]) -> list[str]:
    found = [n for n in names if n == pattern or fnmatch.fnmatchcase(n, pattern)]
    if not found:
        raise ConfigError(f"Watch: nothing is called {pattern!r}; {nearest(pattern, names)}")
    return found


def _watched(
    watches: Sequence[Watch],
    seen: Mapping[str, Expr],
    g: Mapping[str, Expr],
    θ: Mapping[str, Expr],
    new: Mapping[str, Expr],
) -> dict[str, Expr]:
    """What is watched, by key."""
    found: dict[str, Expr] = {}
    reduced: dict[str, Any] = {}
    for w in watches:
        for name in _matching(w.names, seen):
            key = w.key(name)
            if reduced.setdefault(key, w.reduce) is not w.reduce:
                raise ConfigError(
                    f"Watch: two functions reduce {key.rpartition(':')[0]!r} and both are called "
                    f"{key.rpartition(':')[2]!r}; give one of them another name"
                )
            if w.of == "update":
                if name not in θ:
                    raise ConfigError(
                        f"Watch: {name!r} is not a parameter, so it has no update; {nearest(name, θ)}"
                    )
                value = new[name] - θ[name] if name in new else full_like(θ[name], 0)
            else:
                value = g[name] if w.of == "gradient" else seen[name]
            found[key] = value if w.reduce is None else w.reduce(value)
    return found
