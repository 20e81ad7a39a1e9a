"""One list drives many tests: every function, layer, loss and optimizer alone, on every executor.

Where a random network fails, the smallest part that fails too stands here.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from random_layers import translated
from random_losses import HEADS
from random_rules import RATES

from chainrule import nn, ops, optim
from chainrule.autodiff import gradient
from chainrule.executors import EXECUTORS, epoch
from chainrule.graph.expr import Expr
from chainrule.losses import LOSSES
from chainrule.ops.functions import FUNCTIONS
from chainrule.optim import EMA, SWA, Group
from chainrule.testing import compare_executors
from chainrule.train import Model, Objective
from chainrule.train.prepare import sample_specs

FLOATS = ("float32", "float64")
OTHERS = sorted(set(EXECUTORS) - {"reference"})
BATCH = 9

on_every_executor = pytest.mark.parametrize("executor", EXECUTORS)
in_both_dtypes = pytest.mark.parametrize("dtype", FLOATS)


def spread(shape: tuple[int, ...], seed: int = 0) -> Any:
    """Numbers off every kink of the registered functions."""
    x = np.random.default_rng(seed).uniform(-3.9, 3.9, shape)
    return np.where(np.abs(x - np.round(x)) < 0.05, x + 0.1, x)


# ------------------------------------------------------------------ functions


@on_every_executor
@pytest.mark.parametrize(("dtype", "shape"), [("float64", (9, 7)), ("float32", (2, 3, 5))])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_and_its_gradients(name, shape, dtype, executor):
    """To second order: gradients of gradients are graphs like any other."""
    x = ops.input("x", shape, dtype)
    y = FUNCTIONS[name](x)
    weights = ops.constant(spread(shape, 1), dtype)
    first = gradient(ops.sum(y * weights), x)
    second = gradient(ops.sum(first * weights), x)
    compare_executors([y, first, second], {x: spread(shape)}, [executor], atol=1e-15)


# ------------------------------------------------------------------ layers

CONVOLUTIONS = nn.sequential(
    nn.Conv2D(6, bias=False), nn.BatchNorm(), ops.relu, nn.Conv2D(5, padding="same"), ops.tanh, nn.MaxPool(2),
    nn.Flatten(), nn.Dense(3),
)  # fmt: skip

LAYERS: dict[str, tuple[Any, tuple[int, ...], str]] = {
    "AveragePool": (nn.AveragePool(2), (6, 5, 3), ""),
    "AveragePool padded": (nn.AveragePool(3, 2, "same"), (7, 17), ""),
    "BatchNorm": (nn.BatchNorm(), (7,), ""),
    "BatchNorm of sequences": (nn.BatchNorm(scale=False), (3, 5), ""),
    "BatchNorm inside": (nn.sequential(nn.Dense(5), ops.tanh, nn.BatchNorm(), nn.Dense(3)), (17,), ""),
    "Columns": (nn.Columns(((7, 5), (9, 3))), (2,), "int32"),
    "Conv1D": (nn.Conv1D(5, 3, 2, "same"), (9, 4), ""),
    "Conv1D in groups": (nn.Conv1D(6, 2, dilation=2, groups=2), (8, 4), ""),
    "Conv2D": (nn.Conv2D(5), (6, 5, 3), ""),
    "Conv2D of bytes": (nn.Conv2D(17, (2, 3), (2, 1), ((1, 0), (2, 2))), (6, 5, 1), "uint8"),
    "Conv2D each channel": (nn.Conv2D(3, padding=1, groups=3, bias=False), (4, 4, 3), ""),
    "Conv2D network": (CONVOLUTIONS, (8, 7, 2), ""),
    "ConvTranspose1D": (nn.ConvTranspose1D(4, 4, 2), (5, 6), ""),
    "ConvTranspose2D": (nn.ConvTranspose2D(4, 3, 2, "same", groups=2), (4, 3, 6), ""),
    "Dense": (nn.Dense(11), (7,), ""),
    "Dense 1": (nn.Dense(1, bias=False), (1,), ""),
    "Dense wide": (nn.Dense(70), (130,), ""),
    "Dense of sequences": (nn.Dense(6), (4, 5), ""),
    "Dense with noise": (nn.Dense(6, weight_noise=0.1), (5,), ""),
    "Dropout": (nn.Dropout(0.3), (7,), ""),
    "Dropout weights": (nn.Dropout(0.5, "weights"), (33,), ""),
    "Embedding": (nn.Embedding(7, 5), (3,), "int64"),
    "Embedding, flat": (nn.sequential(nn.Embedding(7, 5), nn.Flatten(), nn.Dense(3)), (3,), "uint8"),
    "Elman": (nn.Elman(17), (4, 3), ""),
    "Elman of relu": (nn.Elman(5, sequences=True, reverse=True, activation="relu"), (4, 3), ""),
    "GRU": (nn.GRU(19), (5, 3), ""),
    "LSTM": (nn.LSTM(16), (5, 3), ""),
    "LSTM, deep": (nn.sequential(nn.LSTM(5, sequences=True), nn.LSTM(33), nn.Dense(2)), (4, 3), ""),
    "LSTM of one step": (nn.LSTM(3), (1, 3), ""),
    "Bidirectional": (nn.Bidirectional(nn.GRU(4, sequences=True)), (3, 2), ""),
    "Flatten": (nn.sequential(nn.Flatten(), nn.Dense(3)), (3, 4), ""),
    "Reshape": (nn.sequential(nn.Reshape((4, 3)), nn.Dense(3)), (3, 4), ""),
    "GaussianNoise": (nn.GaussianNoise(0.2), (7,), ""),
    "GaussianSample": (nn.GaussianSample(), (8,), ""),
    "GlobalAveragePool": (nn.GlobalAveragePool(), (4, 3, 5), ""),
    "GlobalMaxPool": (nn.GlobalMaxPool(), (4, 3, 5), ""),
    "HideCells": (nn.HideCells("any", (0, 1, 1, 2, 3), (0.0, 1.0, 0.5, 0.0, 0.0)), (5,), ""),
    "LayerNorm": (nn.LayerNorm(), (7,), ""),
    "LayerNorm of sequences": (nn.LayerNorm(offset=False), (3, 17), ""),
    "MaskedDense": (nn.MaskedDense((1, 2, 2), (0, 1, 2, 1, 2)), (3,), ""),
    "MaxPool": (nn.MaxPool(2), (6, 5, 3), ""),
    "MaxPool padded": (nn.MaxPool((3, 2), (2, 1), (1, 0)), (6, 5, 3), ""),
    "MaxPool of sequences": (nn.MaxPool(3, 1, "same"), (7, 17), ""),
    "Maxout": (nn.Maxout(6, pieces=3), (7,), ""),
    "Maxout wide": (nn.sequential(nn.Maxout(20, pieces=5), nn.Maxout(33)), (17,), ""),
    "PReLU": (nn.PReLU(), (7,), ""),
    "PReLU shared": (nn.PReLU(shared=True), (7,), ""),
    "Parallel concat": (nn.parallel(a=nn.Dense(3), b=nn.Dense(18)), (7,), ""),
    "Parallel sum": (nn.parallel(join="sum", a=nn.Dense(5), b=nn.Dense(5)), (7,), ""),
    "Parallel dict": (nn.parallel(join="dict", a=nn.Dense(5), b=nn.Dense(2)), (7,), ""),
    "Rescale": (nn.Rescale(), (5, 5), "uint8"),
    "Residual": (nn.Residual(nn.sequential(nn.Dense(4), ops.tanh, nn.Dense(7))), (7,), ""),
    "Residual shortcut": (nn.Residual(nn.Dense(5), nn.Dense(5, bias=False)), (7,), ""),
    "Sequential": (nn.sequential(nn.Dense(20), ops.relu, nn.Dense(17), ops.relu, nn.Dense(3)), (7,), ""),
    "Shared": (nn.sequential(*[nn.Shared("s", nn.Dense(7)), ops.tanh] * 2), (7,), ""),
    "TiedDense": (nn.sequential(nn.Dense(5), ops.tanh, nn.TiedDense("dense_0")), (7,), ""),
    "EncoderDecoder": (translated(nn.Embedding(7, 6)), (8,), "int64"),
    "MultiHeadAttention": (nn.MultiHeadAttention(2), (5, 6), ""),
    "MultiHeadAttention, causal": (nn.MultiHeadAttention(1, causal=True, bias=False), (17, 3), ""),
    "PositionalEncoding": (nn.PositionalEncoding(), (5, 7), ""),
    "PositionalEncoding learned": (nn.PositionalEncoding(learned=9), (5, 7), ""),
    "SequenceStack": (
        nn.SequenceStack(nn.Embedding(7, 6), (nn.TransformerBlock(2),)),
        (4,),
        "int64",
    ),
    "TransformerBlock": (nn.TransformerBlock(2), (5, 6), ""),
}


def test_every_layer_stands_here():
    assert {name.split()[0].rstrip(",") for name in LAYERS} == set(nn.LAYERS)


def layer_input(shape: tuple[int, ...], kind: str, dtype: str) -> tuple[Expr, Any]:
    x = ops.input("x", (BATCH, *shape), kind or dtype)
    values = np.random.default_rng(0).integers(0, 7, x.shape) if kind else spread(x.shape)
    return x, values


@on_every_executor
@pytest.mark.parametrize(("dtype", "training"), [("float32", True), ("float64", True), ("float32", False)])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_and_its_gradients(name, training, dtype, executor):
    """Output, running statistics, and the gradient by the input and every parameter."""
    layer, shape, kind = LAYERS[name]
    x, values = layer_input(shape, kind, dtype)
    found, run = nn.trace(layer, x, training=training, dtype=dtype)
    outputs = list(found.values()) if isinstance(found, dict) else [found]
    weighted = [ops.sum(y * ops.constant(spread(y.shape, 1), dtype)) for y in outputs]
    total = sum(weighted[1:], weighted[0])
    wanted = [run.inputs[n] for n in run.parameters] + ([] if kind else [x])
    slopes = [gradient(total, w) for w in wanted]
    given = {x: values, run.seed: 5, run.step: 2}
    given |= {run.inputs[n]: p.initial(1) + 0.05 for n, p in run.parameters.items()}
    given |= {run.inputs[n]: b.initial() + 0.2 for n, b in run.buffers.items()}
    compare_executors([*outputs, *run.updates.values(), *slopes], given, [executor], atol=1e-15)


# ------------------------------------------------------------------ losses


@on_every_executor
@in_both_dtypes
@pytest.mark.parametrize("draw", range(2))
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_gradient(name, draw, dtype, executor):
    """Of the output itself: what a network ends in stands before it."""
    draws, rng = random.Random(f"{name}{draw}"), np.random.default_rng(draw)
    steps, loss, y = HEADS[name](draws, rng, (BATCH,))
    width = steps[0].units
    z = ops.input("z", (BATCH, width), dtype)
    output = z
    for function in steps[1:]:
        output = function(output)
    target = loss.check_target(y, output.spec)
    t = ops.input("t", target.shape, dtype if target.dtype.kind == "f" else target.dtype)
    value = loss(output, t)
    nodes = [value, ops.mean(value), gradient(ops.mean(value), z)]
    compare_executors(nodes, {z: rng.normal(size=z.shape), t: target}, [executor], atol=1e-15)


# ------------------------------------------------------------------ optimizers

SETTINGS: dict[str, dict[str, Any]] = {
    "alone": {},
    "weight_decay": {"weight_decay": 0.1},
    "l2": {"l2": 0.05},
    "l1": {"l1": 0.05},
    "max_norm": {"max_norm": 0.8},
    "clip_norm": {"clip_norm": 0.1},
    "clip_value": {"clip_value": 0.01},
    "EMA": {"average": EMA(0.9)},
    "SWA": {"average": SWA(1, 2)},
    "frozen": {"groups": (Group("dense_0/*", frozen=True),)},
    "groups": {"groups": (Group("*/b", learning_rate=1e-3, biases=True, l2=0.1),)},
}


def trained(rule: optim.Rule, dtype: str, executor: str) -> dict[str, Any]:
    """The state after three steps of a small network."""
    model = Model(
        nn.sequential(nn.Dense(19), ops.tanh, nn.Dense(3)),
        sample_specs({"x": np.zeros((1, 6), dtype)}),
        np.dtype(dtype),
    )
    mean_squared = LOSSES["MeanSquaredError"]()
    program = Objective(
        model, {"y": mean_squared}, {}, sample_specs({"y": np.zeros((1, 3), dtype)}), rule
    ).training(BATCH)
    rng = np.random.default_rng(0)
    data = [rng.normal(size=(40, n)).astype(dtype) for n in (6, 3)] + [np.ones(40, dtype)]
    slots = {x.meta["name"]: np.zeros(x.shape, x.dtype) for x in program.state}
    state = slots | model.initial(0)
    steps = np.arange(3)
    rates = [np.full(3, r, dtype) for r in optim.rate_names(rule).values()]
    done, _ = epoch(program, executor=executor).run(
        state, data, rng.integers(0, 40, (3, BATCH)), [(steps + 1).astype(dtype), steps * 0, steps, *rates]
    )
    assert done == 3
    return state


def check_optimizer(name: str, setting: str, dtype: str, executor: str) -> None:
    """Three steps. In float32 to 1e-4: what divides a small gradient by itself magnifies its rounding."""
    rule = optim.resolve_average(optim.OPTIMIZERS[name](RATES[name], **SETTINGS[setting]), 3, 3)
    expected, found = trained(rule, dtype, "reference"), trained(rule, dtype, executor)
    assert set(found) == set(expected)
    for key, a in expected.items():
        allowed = {"float32": 1e-4, "float64": 1e-12}[dtype] * np.max(np.abs(a), initial=0.0)
        np.testing.assert_allclose(found[key], a, rtol=0, atol=allowed, err_msg=key)


@pytest.mark.parametrize("executor", OTHERS)
@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_an_optimizer_alone(name, executor):
    check_optimizer(name, "alone", "float64", executor)


@pytest.mark.parametrize("executor", OTHERS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_what_all_optimizers_share(setting, executor):
    check_optimizer("Momentum", setting, "float32", executor)


@pytest.mark.long
@pytest.mark.parametrize("executor", OTHERS)
@in_both_dtypes
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_an_optimizer_with_each_setting(name, setting, dtype, executor):
    check_optimizer(name, setting, dtype, executor)
