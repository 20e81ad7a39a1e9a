"""Layers: one list of cases drives every general check."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import numpy as np
import pytest

from chainrule import nn, ops
from chainrule.config import from_json, to_json
from chainrule.executors import evaluate
from chainrule.graph.expr import substitute, toposort
from chainrule.nn import LAYERS
from chainrule.ops.functions import FUNCTIONS
from chainrule.testing import check_gradients, compare_executors

SEED, STEP = 11, 5


@dataclass(frozen=True)
class Case:
    name: str
    layer: object
    inputs: object  # shape, or {name: shape}; integer inputs are (shape, categories)
    output: object  # shape, or {name: shape}


BLOCK = nn.Shared("block", nn.Dense(4))
SMOOTH = nn.TransformerBlock(1, 3, activation=ops.tanh)
ENCODER = nn.SequenceStack(nn.Dense(4), (nn.TransformerBlock(2),), dropout=0.2)
DECODER = nn.SequenceStack(
    nn.Embedding(5, 4), (nn.TransformerBlock(2, 3, causal=True, dropout=0.2, activation=ops.tanh),)
)
CASES = [
    Case("dense", nn.Dense(3), (5, 4), (5, 3)),
    Case("dense_sequence", nn.Dense(3, nn.GlorotUniform(), bias=False), (5, 2, 4), (5, 2, 3)),
    Case("dense_noise", nn.Dense(3, weight_noise=0.3, bias_init=nn.Constant(0.1)), (5, 4), (5, 3)),
    Case("masked", nn.MaskedDense((1, 2, 2), (0, 1, 2, 1)), (5, 3), (5, 4)),
    Case("conv", nn.Conv1D(4, 3, padding="same"), (2, 5, 3), (2, 5, 4)),
    Case("conv_image", nn.Conv2D(4, (2, 3), stride=2, groups=2), (2, 5, 4, 2), (2, 2, 1, 4)),
    Case("conv_transpose", nn.ConvTranspose1D(2, 3, stride=2), (2, 3, 2), (2, 7, 2)),
    Case("conv_transpose_image", nn.ConvTranspose2D(1, 2, padding=1), (2, 3, 4, 2), (2, 2, 3, 1)),
    Case("max_pool", nn.MaxPool(2), (2, 4, 5, 2), (2, 2, 2, 2)),
    Case("average_pool", nn.AveragePool(3, 2, 1), (2, 5, 2), (2, 3, 2)),
    Case("global_average_pool", nn.GlobalAveragePool(), (2, 3, 2, 3), (2, 3)),
    Case("global_max_pool", nn.GlobalMaxPool(), (2, 4, 3), (2, 3)),
    Case("prelu", nn.PReLU(), (5, 4), (5, 4)),
    Case("prelu_shared", nn.PReLU(shared=True, slope=1.5), (5, 2, 4), (5, 2, 4)),
    Case("maxout", nn.Maxout(3, pieces=3), (5, 4), (5, 3)),
    Case("dropout", nn.Dropout(0.4), (5, 4), (5, 4)),
    Case("dropout_weights", nn.Dropout(0.2, scaling="weights"), (5, 4), (5, 4)),
    Case("gaussian_noise", nn.GaussianNoise(0.5), (5, 4), (5, 4)),
    Case("code_with_noise", nn.GaussianSample(0.5), (5, 6), (5, 3)),
    Case("hide_cells", nn.HideCells(0.4, (0, 1, 1, 2), (0.0, 1.0, 0.5, 0.0)), (5, 4), (5, 4)),
    Case(
        "hide_codes", nn.sequential(nn.HideCells("any", (0, 0), (0.0, 1.0), (6,)), nn.Columns(((7, 3),))),
        {"x": (5, 2), "codes": ((5, 1), 6)}, (5, 5),
    ),
    Case("batch_norm", nn.BatchNorm(), (6, 4), (6, 4)),
    Case("batch_norm_image", nn.BatchNorm(momentum=0.7, scale=False), (3, 2, 2, 4), (3, 2, 2, 4)),
    Case("batch_norm_plain", nn.BatchNorm(epsilon=1e-3, scale=False, offset=False), (6, 4), (6, 4)),
    Case("layer_norm", nn.LayerNorm(), (5, 4), (5, 4)),
    Case("layer_norm_plain", nn.LayerNorm(scale=False, offset=False), (5, 2, 4), (5, 2, 4)),
    Case("embedding", nn.Embedding(7, 3), ((5, 2), 7), (5, 2, 3)),
    Case("columns", nn.Columns(((9, 3), (7, 2))), {"x": (5, 4), "codes": ((5, 2), 7)}, (5, 9)),
    Case("columns_of_codes", nn.Columns(((9, 3),)), ((5, 1), 9), (5, 3)),
    Case("elman", nn.Elman(3), (2, 4, 3), (2, 3)),
    Case("elman_relu", nn.Elman(3, sequences=True, reverse=True, activation="relu"), (2, 4, 3), (2, 4, 3)),
    Case("gru", nn.GRU(3), (2, 3, 2), (2, 3)),
    Case("lstm", nn.LSTM(2, sequences=True), (2, 3, 2), (2, 3, 2)),
    Case("bidirectional", nn.Bidirectional(nn.LSTM(2)), (2, 3, 2), (2, 4)),
    Case("flatten", nn.Flatten(), (5, 2, 3), (5, 6)),
    Case("reshape", nn.Reshape((3, 2, 1)), (5, 2, 3), (5, 3, 2, 1)),
    Case("rescale", nn.Rescale(2.0, -1.0), (5, 4), (5, 4)),
    Case("residual", nn.Residual(nn.sequential(nn.Dense(4), ops.tanh)), (5, 4), (5, 4)),
    Case("residual_shortcut", nn.Residual(nn.Dense(3), shortcut=nn.Dense(3, bias=False)), (5, 4), (5, 3)),
    Case("parallel", nn.parallel(a=nn.Dense(2), b=ops.identity), (5, 4), (5, 6)),
    Case("parallel_sum", nn.parallel(a=nn.Dense(2), b=nn.Dense(2), join="sum"), (5, 4), (5, 2)),
    Case("outputs", nn.parallel(a=nn.Dense(2), b=ops.exp, join="dict"), (5, 4), {"a": (5, 2), "b": (5, 4)}),
    Case("inputs", nn.parallel(a=nn.Dense(2), b=nn.Embedding(9, 3)), {"a": (5, 4), "b": ((5,), 9)}, (5, 5)),
    Case("sequential", nn.sequential(nn.Dense(3), ops.tanh, nn.BatchNorm(), o=nn.Dense(2)), (6, 4), (6, 2)),
    Case("shared", nn.sequential(BLOCK, ops.tanh, BLOCK), (5, 4), (5, 4)),
    Case("tied", nn.sequential(nn.Dense(3), ops.tanh, nn.TiedDense("dense_0")), (5, 4), (5, 4)),
    Case("attention", nn.MultiHeadAttention(2), (3, 4, 4), (3, 4, 4)),
    Case("attention_dropout", nn.MultiHeadAttention(1, causal=True, dropout=0.3), (3, 4, 2), (3, 4, 2)),
    Case("cross_attention", nn.MultiHeadAttention(2), {"x": (3, 2, 4), "memory": (3, 3, 5)}, (3, 2, 4)),
    Case("positions", nn.PositionalEncoding(), (3, 4, 3), (3, 4, 3)),
    Case("positions_learned", nn.PositionalEncoding(learned=6), (3, 4, 3), (3, 4, 3)),
    Case("transformer", SMOOTH, (3, 3, 2), (3, 3, 2)),
    Case("stack", nn.SequenceStack(nn.Dense(2), (SMOOTH,)), (3, 3, 2), (3, 3, 2)),
    Case(
        "encoder_decoder_dropout", nn.EncoderDecoder(ENCODER, DECODER, nn.Dense(3)),
        {"source": (3, 2, 3), "target": ((3, 2), 5)}, (3, 2, 3),
    ),
    *[
        Case(f"function_{name}", nn.sequential(nn.Dense(3), function), (5, 4), (5, 3))
        for name, function in FUNCTIONS.items()
    ],
]  # fmt: skip

each_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
each_mode = pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])


def draw(wanted, dtype="float64", seed=1):
    """An array for a shape, integers for (shape, categories), a dict of arrays for a dict."""
    if isinstance(wanted, dict):
        return {name: draw(w, dtype, seed + i) for i, (name, w) in enumerate(wanted.items())}
    generator = np.random.default_rng(seed)
    if wanted and isinstance(wanted[0], tuple):
        return generator.integers(0, wanted[1], wanted[0])
    return generator.normal(size=wanted).astype(dtype)


def nodes(arrays):
    if isinstance(arrays, dict):
        return {name: ops.input(name, a.shape, a.dtype) for name, a in arrays.items()}
    return ops.input("x", arrays.shape, arrays.dtype)


def entries(tree):
    return list(tree.values()) if isinstance(tree, dict) else [tree]


def values_of(run, seed=0):
    """An array for every parameter and buffer; no zeros and ones, which could hide a mistake."""
    generator = np.random.default_rng(seed)
    drawn = {path: generator.normal(size=p.spec.shape) * 0.5 for path, p in run.parameters.items()}
    drawn |= {path: generator.uniform(0.5, 2.0, b.spec.shape) for path, b in run.buffers.items()}
    return drawn


def inference(layer, x):
    """The outputs of a layer for arrays, in float64."""
    given = nodes(x)
    y, run = nn.trace(layer, given, training=False, dtype="float64")
    arrays = values_of(run)
    known = dict(zip(entries(given), entries(x), strict=True))
    known |= {node: arrays[path] for path, node in run.inputs.items()}
    return evaluate(entries(y), known)


# ------------------------------------------------------------------ every layer


def types_in(value):
    """The layer classes that occur in a configuration."""
    if isinstance(value, tuple):
        return set().union(*map(types_in, value))
    if not isinstance(value, nn.Layer):
        return set()
    return {type(value)}.union(*[types_in(getattr(value, f.name)) for f in dataclasses.fields(value)])


def test_the_cases_cover_every_layer_of_the_table():
    assert set().union(*[types_in(c.layer) for c in CASES]) == set(LAYERS.values())


@each_case
@each_mode
def test_gradients_to_second_order(case, training):
    x = draw(case.inputs)
    given = nodes(x)
    _, declared = nn.trace(case.layer, given, training=training, dtype="float64")
    start = values_of(declared)
    paths = list(start)

    def function(*args):
        xs, parameters = args[: len(entries(x))], args[len(entries(x)) :]
        inner = dict(zip(x, xs, strict=True)) if isinstance(x, dict) else xs[0]
        seed, step = ops.constant(SEED, "int64"), ops.constant(STEP, "int64")
        y, run = nn.trace(case.layer, inner, training=training, dtype="float64", seed=seed, step=step)
        return substitute(entries(y), {run.inputs[p]: a for p, a in zip(paths, parameters, strict=True)})

    check_gradients(function, *entries(x), *start.values(), order=2)


@each_case
@each_mode
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_dtypes(case, training, dtype):
    x = draw(case.inputs, dtype)
    y, run = nn.trace(case.layer, nodes(x), training=training, dtype=dtype)
    shapes = {name: node.shape for name, node in y.items()} if isinstance(y, dict) else y.shape
    assert shapes == case.output
    floats = [n for n in toposort([*entries(y), *run.updates.values()]) if n.outputs[0].dtype.kind == "f"]
    if case.name != "flatten":
        assert {n.outputs[0].dtype.name for n in floats} == {dtype}, "never a silent float64"
    for path, parameter in run.parameters.items():
        first = parameter.initial(3)
        assert (first.shape, first.dtype) == (parameter.spec.shape, np.dtype(dtype))
        assert run.inputs[path].spec == parameter.spec


@each_case
@each_mode
def test_float32_agrees_with_float64_and_every_executor_with_the_reference(case, training):
    wide, narrow = draw(case.inputs, "float64"), draw(case.inputs, "float32")
    arrays = {}
    for x, dtype in ((wide, "float64"), (narrow, "float32")):
        given = nodes(x)
        y, run = nn.trace(case.layer, given, training=training, dtype=dtype)
        known = dict(zip(entries(given), entries(x), strict=True))
        known |= {node: values_of(run)[path] for path, node in run.inputs.items()} | {
            run.seed: SEED,
            run.step: STEP,
        }
        compare_executors([*entries(y), *run.updates.values()], known)
        arrays[dtype] = evaluate(entries(y), known)
    noisy = training and ("dropout" in case.name or "noise" in case.name)  # 24 and 53 random bits differ
    if not noisy:
        for a, b in zip(arrays["float32"], arrays["float64"], strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


@each_case
def test_json_round_trip(case):
    text = json.dumps(to_json(case.layer, FUNCTIONS), allow_nan=False)
    assert from_json(json.loads(text), {**LAYERS, **nn.INITS}, FUNCTIONS) == case.layer


@each_case
def test_inference_draws_nothing_and_treats_every_row_alone(case):
    x = draw(case.inputs)
    y, run = nn.trace(case.layer, nodes(x), training=False, dtype="float64")
    assert not {run.seed, run.step} & set(toposort(entries(y)))
    assert not run.updates
    assert not run.uses_batch_statistics
    part = {name: a[:2] for name, a in x.items()} if isinstance(x, dict) else x[:2]
    for a, b in zip(inference(case.layer, x), inference(case.layer, part), strict=True):
        np.testing.assert_allclose(a[:2], b, rtol=1e-12)


@each_case
def test_a_later_trace_finds_what_the_first_created(case):
    x = draw(case.inputs)
    _, first = nn.trace(case.layer, nodes(x), training=True, dtype="float64")
    known = {**first.parameters, **first.buffers}
    part = {name: a[:3] for name, a in x.items()} if isinstance(x, dict) else x[:3]
    for training in (True, False):
        _, later = nn.trace(case.layer, nodes(part), training=training, dtype="float64", known=known)
        assert later.parameters == first.parameters
        assert later.buffers == first.buffers


@each_case
def test_configuration_is_frozen_hashable_and_equal_to_its_like(case):
    assert case.layer == dataclasses.replace(case.layer)
    assert len({case.layer, dataclasses.replace(case.layer)}) == 1
    for field in dataclasses.fields(case.layer):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(case.layer, field.name, None)
