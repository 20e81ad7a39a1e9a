"""Training steps to plan and to compile: from layers to an objective, its first state, and some steps."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from chainrule import losses, nn, ops, optim
from chainrule.executors import Program
from chainrule.nn import Step
from chainrule.train import Model, Objective
from chainrule.train.prepare import sample_specs

__all__ = ["classifier", "job", "objective", "perceptron", "relu_network", "run_steps"]

Array = np.ndarray[Any, Any]


def objective(
    *layers: Step, x: Array, y: Array, loss: Any, rule: optim.Rule | None = None, dtype: str = "float32"
) -> Objective:
    """A network with its loss and optimizer, for samples like the rows of x and y."""
    model = Model(nn.sequential(*layers), sample_specs({"x": x}), np.dtype(dtype))
    return Objective(model, {"y": loss}, {}, sample_specs({"y": y}), rule or optim.Adam())


def perceptron(sizes: tuple[int, ...], *after: Step) -> list[Step]:
    """Dense layers of these sizes; ``after`` stands behind each but the last."""
    return [step for n in sizes[:-1] for step in (nn.Dense(n), *after)] + [nn.Dense(sizes[-1])]


def classifier(
    *layers: Step, features: int = 784, rule: optim.Rule | None = None, dtype: str = "float32"
) -> Objective:
    """Of samples with so many features, by cross-entropy."""
    x, y = np.zeros((1, features), dtype), np.zeros(1, np.int64)
    return objective(*layers, x=x, y=y, loss=losses.CrossEntropy(), rule=rule, dtype=dtype)


@functools.cache
def relu_network(rule: optim.Rule | None = None) -> Objective:
    """784-225-144-10."""
    return classifier(*perceptron((225, 144, 10), ops.relu), rule=rule)


def job(made: Objective, steps: int, seed: int = 3) -> tuple[dict[str, Array], list[Array]]:
    """The state before the first step; and one array (steps,) for each scalar of the program."""
    model, rule = made.model, made.rule
    slots = optim.slot_specs(rule, model.parameters)
    state = model.initial(seed) | {name: np.zeros(s.shape, s.dtype) for name, s in slots.items()}
    count = np.arange(steps)
    rates = [np.full(steps, rate, model.dtype) for rate in optim.rate_names(rule).values()]
    return state, [(count + 1).astype(model.dtype), np.full(steps, seed), count, *rates]


def run_steps(
    epoch: Any, program: Program, made: Objective, data: list[Array], index: Array
) -> tuple[dict[str, Array], dict[str, Array]]:
    """All steps of the index from the first state. → (the state after them, what they delivered)"""
    state, scalars = job(made, len(index))
    done, delivered = epoch.run(state, data, index, scalars)
    assert done == len(index)
    assert list(delivered) == list(program.outputs)
    return {name: np.array(a) for name, a in state.items()}, delivered
