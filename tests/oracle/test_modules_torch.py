"""PyTorch's own samples of its modules (module_db) through our layers: values and gradients, by inputs and
parameters, in training and inference.

A form says which step of ours a module is, and between which layouts: PyTorch has channels first, and a
sample without a batch axis is a batch of one. What does not fit: tests/oracle/support/module_samples.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from module_samples import (
    INFOS,
    UNFIT,
    WITHOUT,
    agree,
    names,
    reasons,
    refusals,
    same,
    samples,
    unexplained,
    unfit,
    whole,
)

from chainrule import nn, ops
from chainrule.errors import ChainruleError
from chainrule.executors import evaluate
from chainrule.graph import Expr

# ------------------------------------------------------------------ layouts


def first(x):
    """Channels to the front."""
    return ops.transpose(x, (0, x.ndim - 1, *range(1, x.ndim - 1)))


def last(x):
    return ops.transpose(x, (0, *range(2, x.ndim), 1))


def row(x):
    """A batch of one."""
    return ops.reshape(x, (1, *x.shape))


def kernel(w):
    """(out, in, kernel…) → (kernel…, in, out)."""
    return np.moveaxis(w, (0, 1), (-1, -2))


def flat(w):
    return w.reshape(-1)


# ------------------------------------------------------------------ our form of each module


@dataclass(frozen=True)
class Form:
    """step       a layer, or a function of nodes
    before, after  from their layout to ours, and back
    weights        {our parameter or buffer: (their name, how the array is turned)}
    """

    step: nn.Layer | Callable[..., Expr]
    before: Callable[[Expr], Expr] = same
    after: Callable[[Expr], Expr] = same
    weights: dict = field(default_factory=dict)


def inside(m, x, axes):
    """Between (batch, channels, axes…) or a single sample and (batch, axes…, channels)."""
    if x.ndim == axes + 2:
        return last, first
    return (lambda x: last(row(x))), lambda y: ops.reshape(first(y), (y.shape[-1], *y.shape[1:-1]))


def linear(m, x):
    weights = {"W": ("weight", np.transpose)} | ({"b": ("bias", same)} if m.bias is not None else {})
    layer = nn.Dense(m.out_features, bias=m.bias is not None)
    if x.ndim > 1:
        return Form(layer, weights=weights)
    return Form(layer, row, lambda y: ops.reshape(y, y.shape[1:]), weights)


def convolution(kind, axes):
    def form(m, x):
        m(x)  # a lazy one learns its channels now
        padding = m.padding if isinstance(m.padding, str) else tuple(m.padding)
        layer = kind(m.out_channels, m.kernel_size, m.stride, padding, m.dilation, m.groups)
        return Form(layer, *inside(m, x, axes), {"W": ("weight", kernel), "b": ("bias", same)})

    return form


def transposed(kind, axes):
    def form(m, x):
        m(x)
        layer = kind(m.out_channels, m.kernel_size, m.stride, tuple(m.padding), m.dilation, m.groups)
        return Form(layer, *inside(m, x, axes), {"W": ("weight", kernel), "b": ("bias", same)})

    return form


def pool(kind, axes):
    def form(m, x):
        size, stride, padding = (whole(v, axes) for v in (m.kernel_size, m.stride, m.padding))
        before, after = inside(m, x, axes)
        if kind is nn.AveragePool and any(padding):  # theirs counts the border, ours never does
            wide = (0, *padding, 0)
            return Form(kind(size, stride), lambda x: ops.pad(before(x), wide, wide), after)
        return Form(kind(size, stride, padding), before, after)

    return form


def to_one(axes):
    def form(m, x):
        before, _ = inside(m, x, axes)
        return Form(nn.GlobalAveragePool(), before, lambda y: ops.reshape(y, (*y.shape, *(1,) * axes)))

    return form


def batch_norm(m, x):
    weights = {"scale": ("weight", same)} if m.weight is not None else {}
    weights |= {"offset": ("bias", same)} if m.bias is not None else {}
    if m.track_running_stats:
        weights |= {"mean": ("running_mean", same), "variance": ("running_var", same)}
    layer = nn.BatchNorm(
        1 - (m.momentum or 0.1), m.eps, scale=m.weight is not None, offset=m.bias is not None
    )
    return Form(layer, *((last, first) if x.ndim > 2 else (same, same)), weights)


def layer_norm(m, x):
    """Over several axes: those axes are one."""
    weights = {"scale": ("weight", flat)} if m.weight is not None else {}
    weights |= {"offset": ("bias", flat)} if m.bias is not None else {}
    layer = nn.LayerNorm(m.eps, scale=m.weight is not None, offset=m.bias is not None)
    outer = tuple(x.shape[: x.ndim - len(m.normalized_shape)])
    width = int(np.prod(m.normalized_shape))
    return Form(
        layer,
        lambda x: ops.reshape(x, (*outer, width)),
        lambda y: ops.reshape(y, (*outer, *m.normalized_shape)),
        weights,
    )


def embedding(m, x):
    return Form(nn.Embedding(m.num_embeddings, m.embedding_dim), weights={"W": ("weight", same)})


def prelu(m, x):
    shape = tuple(x.shape)
    if m.num_parameters == 1:
        weights = {"slope": ("weight", lambda w: w.reshape(()))}
        return Form(
            nn.PReLU(shared=True),
            lambda x: ops.reshape(x, (x.size, 1)),
            lambda y: ops.reshape(y, shape),
            weights,
        )
    return Form(nn.PReLU(), last, first, {"slope": ("weight", same)})


def function(f):
    return lambda m, x: Form(f)


def along(f):
    """Scalars have no axis here; theirs pretends to one."""
    return lambda m, x: Form(lambda x: f(x, m.dim) if x.ndim else ops.reshape(f(row(x), -1), ()))


FORMS = {
    "Linear": linear,
    "Conv1d": convolution(nn.Conv1D, 1),
    "Conv2d": convolution(nn.Conv2D, 2),
    "LazyConv1d": convolution(nn.Conv1D, 1),
    "LazyConv2d": convolution(nn.Conv2D, 2),
    "ConvTranspose1d": transposed(nn.ConvTranspose1D, 1),
    "ConvTranspose2d": transposed(nn.ConvTranspose2D, 2),
    "LazyConvTranspose1d": transposed(nn.ConvTranspose1D, 1),
    "LazyConvTranspose2d": transposed(nn.ConvTranspose2D, 2),
    "MaxPool1d": pool(nn.MaxPool, 1),
    "MaxPool2d": pool(nn.MaxPool, 2),
    "AvgPool1d": pool(nn.AveragePool, 1),
    "AvgPool2d": pool(nn.AveragePool, 2),
    "AdaptiveAvgPool1d": to_one(1),
    "AdaptiveAvgPool2d": to_one(2),
    "BatchNorm1d": batch_norm,
    "BatchNorm2d": batch_norm,
    "BatchNorm3d": batch_norm,
    "LayerNorm": layer_norm,
    "Embedding": embedding,
    "PReLU": prelu,
    "ReLU": function(ops.relu),
    "LeakyReLU": lambda m, x: Form(lambda x: ops.leaky_relu(x, m.negative_slope)),
    "ELU": lambda m, x: Form(lambda x: ops.elu(x, m.alpha)),
    "SELU": function(ops.selu),
    "GELU": lambda m, x: Form({"none": ops.gelu, "tanh": ops.gelu_tanh}[m.approximate]),
    "SiLU": function(ops.silu),
    "Sigmoid": function(ops.sigmoid),
    "LogSigmoid": function(ops.log_sigmoid),
    "Hardswish": function(ops.hard_swish),
    "Hardtanh": lambda m, x: Form(lambda x: ops.clip(x, m.min_val, m.max_val)),
    "Tanh": function(ops.tanh),
    "Softplus": lambda m, x: Form(
        lambda x: ops.where(m.beta * x > m.threshold, x, ops.softplus(m.beta * x) / m.beta)
    ),
    "Softmax": along(ops.softmax),
    "LogSoftmax": along(ops.log_softmax),
    "Softmin": along(lambda x, dim: ops.softmax(-x, dim)),
    "Softmax2d": lambda m, x: Form(lambda x: ops.softmax(x, -3)),
}

# ------------------------------------------------------------------ the comparison


def compare_layer(name, module, x, training, what):
    form = FORMS[name](module, x)
    node = ops.input("x", tuple(x.shape), x.detach().numpy().dtype)
    if isinstance(form.step, nn.Layer):
        y, run = nn.trace(form.step, form.before(node), training=training, dtype="float64")
        assert set(run.parameters) <= set(form.weights) <= {*run.parameters, *run.buffers}, what
    else:
        y = form.step(form.before(node))
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    leaves = [(node, x, same)] + [
        (run.inputs[path], state[their], turn) for path, (their, turn) in form.weights.items()
    ]
    given = {leaf: np.array(turn(t.detach().numpy())) for leaf, t, turn in leaves}
    agree(form.after(y), leaves, given, module(x), what)
    return form.step


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", FORMS)
def test_pytorchs_samples(name, training, compared):
    met = [
        compare_layer(name, module, *inputs, training, f"{name}({description})")
        for module, inputs, description in samples(name, training)
        if unfit(name, module, inputs, training) is None
    ]
    assert met
    if isinstance(met[0], nn.Layer):
        compared("layers", type(met[0]).__name__, "PyTorch's samples", len(met))
    else:
        compared("operations", f"nn.{name}", "PyTorch's samples", len(met))


def test_every_module_of_pytorch_has_a_form_or_a_reason():
    left = {name for name in INFOS if not name.endswith("Loss")} - set(FORMS)
    assert not unexplained(left - {"RNN", "GRU", "LSTM"})  # test_module_recurrent_torch.py


@pytest.mark.parametrize("pattern", WITHOUT)
def test_every_reason_is_one(pattern):
    assert set(names(pattern)) - set(FORMS)


@pytest.mark.parametrize(("pattern", "why"), [(pattern, why) for pattern, _, why in UNFIT])
def test_every_row_of_what_does_not_fit_is_needed(pattern, why):
    assert why in {found for name in names(pattern) for t in (True, False) for found in reasons(name, t)}


@pytest.mark.parametrize(("name", "module", "inputs"), [case[:3] for case in refusals(FORMS)])
def test_what_pytorch_refuses_we_refuse(name, module, inputs):
    (x,) = (t.numpy(force=True) for t in inputs)
    node = ops.input("x", x.shape, x.dtype)

    def attempt():
        form = FORMS[name](module, node)
        y, run = nn.trace(form.step, form.before(node), training=True, dtype="float64")
        known = {run.inputs[path]: np.ones(p.spec.shape) for path, p in run.parameters.items()}
        evaluate([y], {node: x} | known)

    with pytest.raises(ChainruleError):
        attempt()
