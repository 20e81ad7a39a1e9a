"""Every layer against PyTorch in float64: values to 1e-10, gradients to 1e-8, in training and inference."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as fn

from chainrule import nn, ops
from chainrule.autodiff import gradient
from chainrule.executors import evaluate
from chainrule.nn import LAYERS
from chainrule.ops.functions import FUNCTIONS

BLOCK = nn.Shared("block", nn.Dense(4))


def batch_norm(x, p, training, prefix="", momentum=0.1, eps=1e-5):
    """PyTorch's, with its own copies of the running statistics; the channel is our last axis, its second."""
    rows = x.reshape(-1, x.shape[-1])
    mean, variance = (p[f"{prefix}{name}"].clone() for name in ("mean", "variance"))
    γ, β = p.get(f"{prefix}scale"), p.get(f"{prefix}offset")
    return fn.batch_norm(rows, mean, variance, γ, β, training, momentum, eps).reshape(x.shape)


def first(x):
    """Channels in front, as PyTorch has them."""
    return torch.movedim(x, -1, 1)


def last(x):
    return torch.movedim(x, 1, -1)


def kernel(w):
    """(kernel…, in, out) as (out, in, kernel…)."""
    return torch.permute(w, (w.ndim - 1, w.ndim - 2, *range(w.ndim - 2)))


def deep(x, p, training):
    h = fn.linear(x, p["dense_0/W"].T, p["dense_0/b"])
    h = torch.relu(batch_norm(h, p, training, "batch_norm_0/"))
    h = h + torch.tanh(fn.linear(h, p["residual_0/body/dense_0/W"].T, p["residual_0/body/dense_0/b"]))
    h = fn.layer_norm(h, (6,), p["layer_norm_0/scale"], p["layer_norm_0/offset"])
    return fn.log_softmax(fn.linear(h, p["dense_1/W"].T, p["dense_1/b"]), -1)


def recurrent(kind, sequences=False, **options):
    """PyTorch's layer with our parameters: its second bias is the c of a GRU, else 0."""

    def weights(p, way):
        units, width = p[f"{way}U"].shape
        second = torch.zeros(width, dtype=torch.float64)
        if f"{way}c" in p:
            second = torch.cat([second[: 2 * units], p[f"{way}c"]])
        return [p[f"{way}W"].T, p[f"{way}U"].T, p[f"{way}b"], second]

    def function(x, p, training):
        ways = ("forward/", "backward/") if "bidirectional" in options else ("",)
        units = p[f"{ways[0]}U"].shape[0]
        layer = kind(x.shape[-1], units, batch_first=True, dtype=torch.float64, **options)
        names = [name for name, _ in layer.named_parameters()]
        given = dict(zip(names, [w for way in ways for w in weights(p, way)], strict=True))
        every, last = torch.func.functional_call(layer, given, (x,))
        last = last[0] if isinstance(last, tuple) else last
        return every if sequences else torch.cat(list(last), -1)

    return function


DEEP = nn.sequential(
    nn.Dense(6), nn.BatchNorm(), ops.relu, nn.Residual(nn.sequential(nn.Dense(6), ops.tanh)), nn.LayerNorm(),
    nn.Dense(3), ops.log_softmax,
)  # fmt: skip

# name: (our layer, shape of x or (shape, categories), PyTorch's function of (x, parameters, training))
MASK = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 1], [1, 0, 0]])
PAIRS = {
    "dense": (nn.Dense(3), (5, 4), lambda x, p, training: fn.linear(x, p["W"].T, p["b"])),
    "dense_sequence": (nn.Dense(3, bias=False), (5, 2, 4), lambda x, p, training: fn.linear(x, p["W"].T)),
    "masked": (
        nn.MaskedDense((1, 2, 2), (0, 1, 2, 1)), (5, 3),
        lambda x, p, t: fn.linear(x, p["W"].T * MASK, p["b"]),
    ),
    "conv": (
        nn.Conv1D(6, 3, 2, 1, 2, groups=2), (3, 9, 4),
        lambda x, p, t: last(fn.conv1d(first(x), kernel(p["W"]), p["b"], 2, 1, 2, 2)),
    ),
    "conv_image": (
        nn.Conv2D(6, (3, 2), (1, 2), (1, 0)), (3, 6, 5, 4),
        lambda x, p, t: last(fn.conv2d(first(x), kernel(p["W"]), p["b"], (1, 2), (1, 0))),
    ),
    "conv_transpose": (
        nn.ConvTranspose1D(6, 3, 2, ((1, 0),), groups=2), (3, 5, 4),
        lambda x, p, t: last(fn.conv_transpose1d(first(x), kernel(p["W"]), p["b"], 2, 1, 1, 2)),
    ),
    "conv_transpose_image": (
        nn.ConvTranspose2D(6, 3, 2, 1, 2), (2, 4, 3, 4),
        lambda x, p, t: last(fn.conv_transpose2d(first(x), kernel(p["W"]), p["b"], 2, 1, 0, 1, 2)),
    ),
    "max_pool": (
        nn.MaxPool(3, 2, 1), (2, 7, 6, 4), lambda x, p, t: last(fn.max_pool2d(first(x), 3, 2, 1)),
    ),
    "average_pool": (
        nn.AveragePool(3, 2, 1), (2, 7, 6, 4),
        lambda x, p, t: last(fn.avg_pool2d(first(x), 3, 2, 1, count_include_pad=False)),
    ),
    "global_average_pool": (
        nn.GlobalAveragePool(), (2, 3, 5, 4),
        lambda x, p, t: torch.flatten(fn.adaptive_avg_pool2d(first(x), 1), 1),
    ),
    "global_max_pool": (
        nn.GlobalMaxPool(), (2, 6, 4), lambda x, p, t: torch.flatten(fn.adaptive_max_pool1d(first(x), 1), 1),
    ),
    "prelu": (nn.PReLU(), (5, 4), lambda x, p, training: fn.prelu(x, p["slope"])),
    "prelu_shared": (nn.PReLU(shared=True), (5, 4), lambda x, p, t: fn.prelu(x, p["slope"].reshape(1))),
    "maxout": (
        nn.Maxout(3), (5, 4),
        lambda x, p, training: fn.max_pool1d(fn.linear(x, p["W"].T, p["b"]).unsqueeze(1), 2)[:, 0],
    ),
    "batch_norm": (nn.BatchNorm(), (6, 4), batch_norm),
    "batch_norm_image": (
        nn.BatchNorm(epsilon=0.1), (3, 2, 2, 4), lambda x, p, training: batch_norm(x, p, training, eps=0.1),
    ),
    "batch_norm_plain": (nn.BatchNorm(scale=False, offset=False), (6, 4), batch_norm),
    "layer_norm": (nn.LayerNorm(), (5, 4), lambda x, p, t: fn.layer_norm(x, (4,), p["scale"], p["offset"])),
    "layer_norm_plain": (
        nn.LayerNorm(1e-3, scale=False, offset=False), (5, 2, 4),
        lambda x, p, training: fn.layer_norm(x, (4,), eps=1e-3),
    ),
    "embedding": (nn.Embedding(7, 3), ((5, 2), 7), lambda x, p, training: fn.embedding(x, p["W"])),
    "columns": (
        nn.Columns(((7, 3),)), ((5, 1), 7),
        lambda x, p, training: fn.embedding(x[:, 0], p["code_0/W"]),
    ),
    "elman": (nn.Elman(3), (4, 5, 2), recurrent(torch.nn.RNN)),
    "elman_relu": (
        nn.Elman(3, sequences=True, activation="relu"), (4, 5, 2),
        recurrent(torch.nn.RNN, sequences=True, nonlinearity="relu"),
    ),
    "gru": (nn.GRU(3), (4, 5, 2), recurrent(torch.nn.GRU)),
    "lstm": (nn.LSTM(3, sequences=True), (4, 5, 2), recurrent(torch.nn.LSTM, sequences=True)),
    "bidirectional": (
        nn.Bidirectional(nn.LSTM(3, sequences=True)), (4, 5, 2),
        recurrent(torch.nn.LSTM, sequences=True, bidirectional=True),
    ),
    "bidirectional_last": (
        nn.Bidirectional(nn.GRU(3)), (4, 5, 2), recurrent(torch.nn.GRU, bidirectional=True),
    ),
    "flatten": (nn.Flatten(), (5, 2, 3), lambda x, p, training: torch.flatten(x, 1)),
    "reshape": (nn.Reshape((3, 2, 1)), (5, 2, 3), lambda x, p, training: torch.reshape(x, (5, 3, 2, 1))),
    "rescale": (nn.Rescale(2.0, 1.0), (5, 4), lambda x, p, training: torch.add(1.0, x, alpha=2.0)),
    "residual": (
        nn.Residual(nn.Dense(4)), (5, 4),
        lambda x, p, training: x + fn.linear(x, p["body/W"].T, p["body/b"]),
    ),
    "parallel": (
        nn.parallel(a=nn.Dense(2), b=ops.identity), (5, 4),
        lambda x, p, training: torch.cat([fn.linear(x, p["a/W"].T, p["a/b"]), x], -1),
    ),
    "tied": (
        nn.sequential(nn.Dense(3), ops.tanh, nn.TiedDense("dense_0")), (5, 4),
        lambda x, p, training: fn.linear(
            torch.tanh(fn.linear(x, p["dense_0/W"].T, p["dense_0/b"])), p["dense_0/W"], p["tied_dense_0/b"]
        ),
    ),
    "shared": (
        nn.sequential(BLOCK, ops.sigmoid, BLOCK), (5, 4),
        lambda x, p, training: fn.linear(
            torch.sigmoid(fn.linear(x, p["block/W"].T, p["block/b"])), p["block/W"].T, p["block/b"]
        ),
    ),
    "deep": (DEEP, (7, 4), deep),
}  # fmt: skip

ELSEWHERE = {  # test_attention_torch.py
    "EncoderDecoder", "MultiHeadAttention", "PositionalEncoding", "SequenceStack", "TransformerBlock",
}  # fmt: skip
RANDOM = {
    "Dropout": (nn.Dropout(0.3), fn.dropout),
    "GaussianNoise": (nn.GaussianNoise(0.3), None),
    "HideCells": (nn.HideCells(0.3, (0, 0, 1, 2), (0.0,) * 4), None),
    "GaussianSample": (nn.GaussianSample(), lambda x, rate, training: x[:, :2]),
}

ACTIVATIONS = {
    "identity": lambda z: z,
    "step": lambda z: torch.heaviside(z.detach(), torch.ones((), dtype=z.dtype)) + 0 * z,
    "relu": fn.relu,
    "leaky_relu": fn.leaky_relu,
    "elu": fn.elu,
    "selu": fn.selu,
    "gelu": fn.gelu,
    "gelu_tanh": lambda z: fn.gelu(z, approximate="tanh"),
    "silu": fn.silu,
    "hard_sigmoid": lambda z: torch.clamp(z / 6 + 0.5, 0, 1),  # fn.hardsigmoid's gradient has a float32 1/6
    "hard_tanh": fn.hardtanh,
    "hard_swish": fn.hardswish,
    "log_sigmoid": fn.logsigmoid,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": lambda z: fn.softplus(z, threshold=1e3),
    "softmax": lambda z: fn.softmax(z, -1),
    "log_softmax": lambda z: fn.log_softmax(z, -1),
    "abs": torch.abs,
    "exp": torch.exp,
    "square": torch.square,
}


def types_in(value):
    if isinstance(value, tuple):
        return set().union(*map(types_in, value))
    if not isinstance(value, nn.Layer):
        return set()
    return {type(value).__name__}.union(
        *[types_in(getattr(value, f.name)) for f in dataclasses.fields(value)]
    )


def test_every_layer_and_function_is_compared():
    compared = set().union(*[types_in(layer) for layer, _, _ in PAIRS.values()])
    assert compared | set(RANDOM) | ELSEWHERE == set(LAYERS)
    assert set(ACTIVATIONS) == set(FUNCTIONS)


def draw(wanted, seed):
    generator = np.random.default_rng(seed)
    if isinstance(wanted[0], tuple):
        return generator.integers(0, wanted[1], wanted[0])
    return generator.normal(size=wanted)


def compare(layer, wanted, function, training):
    x = draw(wanted, 1)
    given = ops.input("x", x.shape, x.dtype)
    y, run = nn.trace(layer, given, training=training, dtype="float64")
    arrays = {
        path: 0.5 * draw(p.spec.shape or (1,), i).reshape(p.spec.shape)
        for i, (path, p) in enumerate(run.parameters.items())
    }
    statistics = {
        path: 0.5 + np.random.default_rng(9).random(b.spec.shape) for path, b in run.buffers.items()
    }
    c = draw(y.shape, 3)
    leaves = {path: run.inputs[path] for path in arrays} | ({"x": given} if x.dtype.kind == "f" else {})
    objective = ops.sum(y * ops.constant(c))
    known = {given: x} | {run.inputs[path]: a for path, a in {**arrays, **statistics}.items()}
    value, *slopes = evaluate([y, *gradient(objective, list(leaves.values()))], known)

    tensors = {path: torch.tensor(a, requires_grad=True) for path, a in arrays.items()}
    tx = torch.tensor(x, requires_grad=x.dtype.kind == "f")
    ty = function(tx, tensors | {path: torch.tensor(a) for path, a in statistics.items()}, training)
    np.testing.assert_allclose(value, ty.detach().numpy(), rtol=1e-10, atol=1e-13)
    (ty * torch.tensor(c)).sum().backward()
    for path, slope in zip(leaves, slopes, strict=True):
        expected = (tx if path == "x" else tensors[path]).grad.numpy()
        np.testing.assert_allclose(slope, expected, rtol=1e-8, atol=1e-11, err_msg=path)


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", PAIRS)
def test_values_and_gradients(name, training, compared):
    compare(*PAIRS[name], training)
    for kind in types_in(PAIRS[name][0]):
        compared("layers", kind, "PyTorch")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_as_steps(name, compared):
    net = nn.sequential(nn.Dense(3), FUNCTIONS[name], nn.Dense(2))

    def function(x, p, training):
        z = fn.linear(x, p["dense_0/W"].T, p["dense_0/b"])
        return fn.linear(ACTIVATIONS[name](z), p["dense_1/W"].T, p["dense_1/b"])

    compare(net, (6, 4), function, training=True)
    compared("operations", name, "PyTorch")


@pytest.mark.parametrize("name", RANDOM)
def test_noise_is_absent_in_inference(name):
    layer, function = RANDOM[name]
    compare(
        layer,
        (5, 4),
        lambda x, p, training: x if function is None else function(x, 0.3, training),
        training=False,
    )


def test_dropout_scales_what_it_keeps_as_pytorch_does():
    given = ops.input("x", (300, 300), "float64")
    y, run = nn.trace(nn.Dropout(0.3), given, training=True, dtype="float64")
    (ours,) = evaluate([y], {given: np.ones((300, 300)), run.seed: 1, run.step: 1})
    theirs = fn.dropout(torch.ones(300, 300, dtype=torch.float64), 0.3, training=True).numpy()
    np.testing.assert_allclose(np.unique(ours), np.unique(theirs), rtol=1e-12)
    assert (ours == 0).mean() == pytest.approx((theirs == 0).mean(), abs=0.01)


def test_batch_norm_over_many_updates_and_what_it_then_predicts():
    """PyTorch's running mean is ours; its running variance is unbiased: the recurrence by hand."""
    module = torch.nn.BatchNorm1d(4, dtype=torch.float64)
    given = ops.input("x", (6, 4), "float64")
    y, run = nn.trace(nn.BatchNorm(), given, training=True, dtype="float64")
    state = {path: b.initial() for path, b in run.buffers.items()}
    state |= {"scale": draw((4,), 5), "offset": draw((4,), 6)}
    with torch.no_grad():
        module.weight.copy_(torch.tensor(state["scale"]))
        module.bias.copy_(torch.tensor(state["offset"]))
    mean, variance = np.zeros(4), np.ones(4)
    for step in range(30):
        x = 2 * draw((6, 4), 10 + step) + 3
        known = {given: x} | {run.inputs[path]: a for path, a in state.items()}
        wanted = [y, run.updates["mean"], run.updates["variance"]]
        value, state["mean"], state["variance"] = evaluate(wanted, known)
        np.testing.assert_allclose(value, module(torch.tensor(x)).detach().numpy(), rtol=1e-10)
        mean = 0.9 * mean + 0.1 * x.sum(0) / 6
        variance = 0.9 * variance + 0.1 * ((x - x.sum(0) / 6) ** 2).sum(0) / 6
    np.testing.assert_allclose(state["mean"], module.running_mean.numpy(), rtol=1e-10)
    np.testing.assert_allclose(state["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(state["variance"], variance, rtol=1e-12)
    unbiased = (
        module.running_var.numpy() - 0.9**30
    ) * 5 / 6 + 0.9**30  # theirs weighs each batch by n/(n − 1)
    np.testing.assert_allclose(state["variance"], unbiased, rtol=1e-10)
    module.eval()
    with torch.no_grad():
        module.running_var.copy_(torch.tensor(variance))
    x = draw((6, 4), 99)
    y, run = nn.trace(nn.BatchNorm(), given, training=False, dtype="float64")
    (value,) = evaluate([y], {given: x} | {run.inputs[path]: a for path, a in state.items()})
    np.testing.assert_allclose(value, module(torch.tensor(x)).detach().numpy(), rtol=1e-10)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (nn.GlorotUniform(), torch.nn.init.xavier_uniform_),
        (nn.GlorotNormal(), torch.nn.init.xavier_normal_),
        (nn.HeNormal(), lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="relu")),
        (nn.HeUniform(), lambda w: torch.nn.init.kaiming_uniform_(w, nonlinearity="relu")),
        (nn.LeCunNormal(), lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="linear")),
        (nn.Orthogonal(), torch.nn.init.orthogonal_),
    ],
    ids=lambda v: getattr(v, "__name__", repr(v)) if isinstance(v, nn.Init) else "",
)  # fmt: skip
def test_initialisers_have_pytorchs_distribution(ours, theirs, compared):
    w = ours.sample("W", 0, (600, 300), (600, 300), np.dtype("float64"))
    torch.manual_seed(0)
    t = theirs(torch.empty(300, 600, dtype=torch.float64)).numpy()  # (out, in) there
    assert w.std() == pytest.approx(t.std(), rel=0.01)
    shares = [0.001, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999]
    np.testing.assert_allclose(np.quantile(w, shares), np.quantile(t, shares), atol=0.1 * t.std())
    compared("initialisers", type(ours).__name__, "PyTorch")
