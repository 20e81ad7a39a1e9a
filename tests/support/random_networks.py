"""Random training jobs: layers × losses × optimizers × sizes × batches × threads, each from its seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from random_layers import hidden, inputs
from random_losses import head
from random_rules import SCHEDULES, rule

from chainrule import losses, nn, optim
from chainrule.executors import Program
from chainrule.nn import Step
from chainrule.spec import Spec
from chainrule.train import Model, Objective, Watch
from chainrule.train.prepare import sample_specs

__all__ = ["STEPS", "Job", "random_network"]

Array = np.ndarray[Any, Any]

STEPS = 5
LEAST_BATCH = 8  # of batch statistics: the variance of two or three rows magnifies rounding


@dataclass(eq=False)
class Job:
    """Five steps of training.

    state      parameters, buffers and slots before the first step
    data       what a program gathers from, in its order
    batches    the rows of every step; the last one may be shorter
    scalars    one array (steps,) for each of a program's
    """

    name: str
    threads: int
    objective: Objective
    state: dict[str, Array]
    data: list[Array]
    batches: list[Array]
    scalars: list[Array]
    programs: dict[tuple[int, bool], Program] = field(default_factory=dict)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.objective.model.dtype

    @property
    def rule(self) -> optim.Rule:
        return self.objective.rule

    def program(self, rows: int, watched: bool) -> Program:
        """The training program of a batch; watched, it delivers the gradient of every parameter and the value
        of every layer too."""
        key = (rows, watched)
        if key not in self.programs:
            watches = [Watch(name, "gradient") for name in self.objective.model.parameters]
            self.programs[key] = self.objective.training(rows, [*watches, Watch("*")] if watched else [])
        return self.programs[key]


def random_network(seed: int, draw: int = 0) -> Job:
    """A job from its seed; ``draw`` gives another where the first one is of no use for a comparison."""
    draws, rng = random.Random(f"{seed}.{draw}"), np.random.default_rng([seed, draw])
    dtype = np.dtype("float64" if seed % 2 else "float32")
    rows = draws.choice([1, 2, 3, 5, 7, 8, 16, 17, 31, 32, 33, 64, 100])
    count = 4 * rows + draws.randint(1, 9)
    x, first = inputs(draws, rng, count)
    middle = hidden(draws)
    if any(isinstance(step, nn.BatchNorm) for step in middle):
        rows = max(rows, LEAST_BATCH)
    positions = x["x"].shape[1] if not first and x.get("x", np.zeros(0)).ndim == 3 else None
    last, loss, y = head(draws, rng, count, positions)
    model, named = _model(draws, [*first, *middle], last, x, dtype)
    targets = {name: _target(loss, y, spec, dtype) for name, spec in named.items()}
    weight, masks = _weights(draws, rng, count)
    chosen = optim.resolve_average(rule(draws, model.parameters), STEPS, STEPS)
    metrics = _metrics(draws, loss)
    objective = Objective(
        model, dict.fromkeys(named, loss), metrics, sample_specs(targets), chosen, masks=masks
    )
    arrays = [*_cast(x, dtype).values(), *targets.values(), weight.astype(dtype)]
    slots = optim.slot_specs(chosen, model.parameters)
    parts = (type(chosen).__name__, type(loss).__name__, dtype.name, f"batch {rows}")
    return Job(
        name=f"seed {seed}, draw {draw}: {', '.join(parts)}, {_described([*first, *middle, *last])}",
        threads=1 + seed // 2 % 2,
        objective=objective,
        state=model.initial(seed) | {name: np.zeros(s.shape, s.dtype) for name, s in slots.items()},
        data=arrays,
        batches=_batches(draws, rng, count, rows, least=LEAST_BATCH if model.batch_statistics else 1),
        scalars=_scalars(draws, seed, chosen, dtype),
    )


def _described(steps: list[Step]) -> str:
    return " → ".join(step.__name__ if callable(step) and not isinstance(step, nn.Layer) else repr(step)
                      for step in steps)  # fmt: skip


def _model(
    draws: random.Random, body: list[Step], last: list[Step], x: Mapping[str, Array], dtype: np.dtype[Any]
) -> tuple[Model, dict[str, Spec]]:
    """The model, and what its outputs look like: one, or two heads of one kind, each with its own loss."""
    if draws.random() < 0.12:
        heads = nn.parallel(join="dict", near=nn.sequential(*last), far=nn.sequential(*last))
        layer = nn.sequential(*body, heads)
    else:
        layer = nn.sequential(*body, *last)
    model = Model(layer, sample_specs(_cast(x, dtype)), dtype)
    outputs, _ = model.trace(model.batch_inputs(LEAST_BATCH), training=False)
    return model, {name: node.spec for name, node in outputs.items()}


def _cast(x: Mapping[str, Array], dtype: np.dtype[Any]) -> dict[str, Array]:
    return {name: a.astype(dtype) if a.dtype.kind == "f" else a for name, a in x.items()}


def _target(loss: Any, y: Array, output: Spec, dtype: np.dtype[Any]) -> Array:
    found = loss.check_target(y, output)
    return found.astype(dtype) if found.dtype.kind == "f" else found


def _weights(draws: random.Random, rng: np.random.Generator, rows: int) -> tuple[Array, bool]:
    """One weight for each row, and whether some are 0."""
    kind = draws.random()
    if kind < 0.7:
        return np.ones(rows), False
    weight = rng.uniform(0.5, 2.0, rows)
    if kind < 0.85:
        weight[:: draws.randint(2, 5)] = 0.0
    return weight, not weight.all()


def _metrics(draws: random.Random, loss: Any) -> dict[str, str]:
    if draws.random() < 0.6 or isinstance(loss, losses.Quantile):  # several levels are no single distance
        return {}
    kind = "absolute_error" if type(loss).__name__ in _OF_NUMBERS else "accuracy"
    return {kind: kind}


_OF_NUMBERS = {
    "MeanSquaredError", "HalfSquaredError", "MeanAbsoluteError", "Huber", "GaussianNLL", "GaussianMixtureNLL",
    "PoissonNLL",
}  # fmt: skip


def _batches(
    draws: random.Random, rng: np.random.Generator, count: int, rows: int, least: int
) -> list[Array]:
    """Rows for every step: four or five full batches, now and then a partial last one."""
    sizes = [rows] * STEPS
    if rows > least and draws.random() < 0.35:
        sizes[-1] = draws.randint(least, rows - 1)
    return [rng.permutation(count)[:n] for n in sizes]


def _scalars(draws: random.Random, seed: int, chosen: optim.Rule, dtype: np.dtype[Any]) -> list[Array]:
    """The step from 1, the seed, the step from 0, and every learning rate under a schedule."""
    schedule, step = draws.choice(SCHEDULES), np.arange(STEPS)
    factors = [schedule.factor(k, STEPS, STEPS) for k in range(STEPS)]
    rates = [np.multiply(factors, rate).astype(dtype) for rate in optim.rate_names(chosen).values()]
    return [(step + 1).astype(dtype), np.full(STEPS, seed), step, *rates]
