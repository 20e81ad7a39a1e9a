"""The plans whose text is kept in tests/data/plans, and plans as objects, for any number of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from steps import classifier, objective, perceptron, relu_network

from chainrule import executors, losses, nn, ops, optim
from chainrule.executors import Program
from chainrule.executors.cpu import plan
from chainrule.executors.cpu.module import emit_module
from chainrule.executors.cpu.plan import Plan
from chainrule.executors.cpu.target import Target
from chainrule.graph.expr import Expr
from chainrule.passes import optimize

__all__ = ["FOLDER", "TARGETS", "TEXTS", "function_plan", "ir", "program_plan"]

FOLDER = Path(__file__).parents[1] / "data" / "plans"
LINUX = "x86_64-unknown-linux-gnu"
TARGETS = {
    16: Target("avx512", LINUX, "x86-64-v4", "", lanes=16, registers=32, fma=True),
    4: Target("sse2", LINUX, "x86-64", "", lanes=4, registers=16, fma=False),
}
"""By the lanes of a register. IR is written for them without llvmlite."""


def on_any_machine() -> Any:
    """So many threads as are asked for, on a machine with fewer processors, too."""
    return mock.patch.object(plan, "thread_limit", lambda asked=None: asked or 2)


def program_plan(program: Program, threads: int = 1) -> Plan:
    """What the executor plans: simplified first."""
    with on_any_machine():
        return plan.plan_program(executors.optimized(program), threads)


def function_plan(outputs: Sequence[Expr], inputs: Sequence[Expr], threads: int = 1) -> Plan:
    found = optimize(outputs)
    with on_any_machine():
        return plan.plan_function(found, inputs, plan.wants_padding(found, inputs), threads)


def ir(found: Plan, lanes: int = 16) -> str:
    return emit_module(found.found, found.schedule, TARGETS[lanes], found.threads, found.batch)


# ------------------------------------------------------------------ the texts that are kept


def _text(program: Program, threads: int) -> str:
    with on_any_machine():
        return executors.plan_program(program, threads)


def _dropout() -> str:
    made = classifier(*perceptron((225, 144, 10), ops.relu, nn.Dropout(0.5)))
    return _text(made.training(100), 2)


def _batch_norm() -> str:
    made = classifier(*perceptron((225, 144, 10), nn.BatchNorm(), ops.relu))
    return _text(made.training(100), 2)


def _layer_norm() -> str:
    x, y = np.zeros((1, 100)), np.zeros((1, 1))
    steps = perceptron((256, 256, 1), nn.LayerNorm(), ops.tanh)
    made = objective(*steps, x=x, y=y, loss=losses.MeanSquaredError(), dtype="float64")
    return _text(made.training(256), 2)


def _embedding() -> str:
    steps = [nn.Embedding(50, 16), nn.Flatten(), nn.Dense(32), ops.relu, nn.Dense(5)]
    words, y = np.zeros((1, 6), np.int64), np.zeros(1, np.int64)
    return _text(objective(*steps, x=words, y=y, loss=losses.CrossEntropy()).training(64), 2)


def _lstm() -> str:
    x, y = np.zeros((1, 28, 28), np.float32), np.zeros(1, np.int64)
    made = objective(nn.LSTM(128), nn.Dense(10), x=x, y=y, loss=losses.CrossEntropy())
    return _text(made.training(128), 2)


def _convolutions() -> str:
    convolved = [nn.Conv2D(32), ops.relu, nn.Conv2D(64), ops.relu, nn.MaxPool(2), nn.Flatten()]
    x, y = np.zeros((1, 28, 28, 1), np.float32), np.zeros(1, np.int64)
    steps = [*convolved, *perceptron((128, 10), ops.relu)]
    return _text(objective(*steps, x=x, y=y, loss=losses.CrossEntropy()).training(64), 2)


def _one_row() -> str:
    model = relu_network().model
    x = model.batch_inputs(1)
    outputs, run = model.trace(x, training=False)
    return executors.plan_function(list(outputs.values()), [*x.values(), *run.inputs.values()], 1)


TEXTS: dict[str, Callable[[], str]] = {
    "adam_1_thread": lambda: _text(relu_network().training(100), 1),
    "adam_2_threads": lambda: _text(relu_network().training(100), 2),
    "dropout": _dropout,
    "batch_norm": _batch_norm,
    "layer_norm_float64": _layer_norm,
    "embedding": _embedding,
    "clip_norm": lambda: _text(relu_network(optim.Adam(clip_norm=1.0)).training(100), 2),
    "lstm": _lstm,
    "predict_one_row": _one_row,
    "convolutions": _convolutions,
}
"""By the name of the file, without its ending: what writes the text anew."""
