"""PyTorch's own samples (OpInfo) through our operations: values, gradients, second order, refusals.

A table names our form of each PyTorch operation. A form returns None for a sample that asks for something
we do not have (another output dtype, …); each must meet at least half of its samples.
"""

from __future__ import annotations

import math
import re
import warnings

import numpy as np
import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

from chainrule import ops
from chainrule.autodiff import vjp
from chainrule.errors import ChainruleError
from chainrule.executors import evaluate
from chainrule.graph import Expr, apply
from chainrule.spec import is_float, normalize_axes

OP_INFOS = {(op.name, op.variant_test_name): op for op in op_db}

# ------------------------------------------------------------------ our form of each operation


def axes_of(dim):
    return None if dim is None or dim == () or dim == [] else dim


def reduction(function):
    def form(x, dim=None, keepdim=False, dtype=None):
        if dtype is not None:
            return None
        return function(
            x, axes_of(dim) if x.ndim else None, keepdims=keepdim
        )  # theirs has an axis 0 in a scalar

    return form


def spread(function):
    """var and std: PyTorch's several ways to say how many degrees of freedom are lost."""

    def form(x, dim=None, unbiased=None, keepdim=False, correction=None):
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        ddof = correction if correction is not None else int(unbiased if unbiased is not None else True)
        return function(x, axes_of(dim), keepdims=keepdim, ddof=ddof)

    return form


def along(function, x, dim, *others):
    """Apply what works on the first axis along another one."""
    if not x.ndim:
        return None
    (dim,) = normalize_axes(dim, x.ndim, "along")
    order = [dim % x.ndim, *(a for a in range(x.ndim) if a != dim % x.ndim)]
    back = [order.index(a) for a in range(x.ndim)]
    return ops.transpose(function(ops.transpose(x, order), *(ops.transpose(o, order) for o in others)), back)


def index_add(x, dim, index, source, alpha=1):
    if not x.ndim or not index.ndim:
        return None
    return along(lambda x, s: x + alpha * ops.scatter_add(index, s, rows=x.shape[0]), x, dim, source)


def clamp(x, min=None, max=None):
    if not isinstance(min, Expr) and not isinstance(max, Expr) and None not in (min, max):
        return ops.clip(x, min, max)
    x = x if min is None else ops.maximum(x, min)
    return x if max is None else ops.minimum(x, max)


def pad(x, widths, mode="constant", value=0):
    pairs = [(0, 0)] * (x.ndim - len(widths) // 2) + list(zip(widths[::2], widths[1::2], strict=True))[::-1]
    cut = [max(-a, 0) for a, _ in pairs], [n - max(-b, 0) for n, (_, b) in zip(x.shape, pairs, strict=True)]
    x = ops.slice_axes(x, *cut, [1] * x.ndim) - (value or 0)
    return ops.pad(x, [max(a, 0) for a, _ in pairs], [max(b, 0) for _, b in pairs]) + (value or 0)


def split(x, sizes, dim=0):
    if isinstance(sizes, int):
        n = x.shape[dim]
        sizes = [min(sizes, n - start) for start in range(0, n, sizes)]
    return ops.split(x, sizes, dim)


def narrow(x, dim, start, n):
    def part(x):
        first = start + x.shape[0] if start < 0 else start
        return ops.slice_axes(x, [first] + [0] * (x.ndim - 1), [first + n, *x.shape[1:]], [1] * x.ndim)

    return None if isinstance(start, Expr) else along(part, x, dim)


def transpose(x, a, b):
    order = list(range(x.ndim))
    if x.ndim:
        order[a], order[b] = order[b], order[a]
    return ops.transpose(x, order)


def expand(x, *shape):
    shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
    own = (None,) * (len(shape) - x.ndim) + x.shape
    return ops.broadcast(x, [o if n == -1 else n for n, o in zip(shape, own, strict=True)])


def squeeze(x, dim=None):
    dims = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    drop = {d % x.ndim for d in dims if x.ndim and x.shape[d] == 1}
    return ops.reshape(x, [n for a, n in enumerate(x.shape) if a not in drop])


def argmax(x, dim=None, keepdim=False):
    if dim is None:
        found = ops.argmax(ops.reshape(x, (x.size,)))
        return ops.reshape(found, (1,) * x.ndim if keepdim else ())
    if not x.ndim:
        return None
    found = ops.argmax(x, dim)
    return ops.expand(found, dim % x.ndim) if keepdim else found


def extreme(function, index):
    def form(x, dim, keepdim=False):
        return [function(x, dim, keepdims=keepdim), index(x, dim, keepdim)] if x.ndim else None

    return form


def embedding(weight, index, padding_idx=None, max_norm=None, scale_grad_by_freq=False, sparse=False, **_):
    plain = padding_idx is None and max_norm is None and not scale_grad_by_freq and not sparse
    return ops.gather(weight, index) if plain else None


def elementwise(function):
    return lambda x, inplace=False, dtype=None: function(x) if dtype is None else None


NORMS = {
    0: lambda x, axes, keepdims: ops.sum(
        ops.where(ops.equal(x, 0), ops.full_like(x, 0), 1), axes, keepdims=keepdims
    ),
    1: lambda x, axes, keepdims: ops.sum(ops.abs(x), axes, keepdims=keepdims),
    2: ops.norm,
    math.inf: lambda x, axes, keepdims: ops.max(ops.abs(x), axes, keepdims=keepdims),
    -math.inf: lambda x, axes, keepdims: ops.min(ops.abs(x), axes, keepdims=keepdims),
}


def vector_norm(x, ord=2, dim=None, keepdim=False, dtype=None):
    def by_powers(x, axes, keepdims):
        return ops.sum(ops.abs(x) ** ord, axes, keepdims=keepdims) ** (1 / ord)

    return reduction(NORMS.get(ord, by_powers))(x, dim, keepdim, dtype)


def softplus(x, beta=1, threshold=20):
    return ops.where(beta * x > threshold, x, ops.softplus(beta * x) / beta)


def along_dim(function):
    return lambda x, dim, dtype=None: function(x, dim) if x.ndim and dtype is None else None


FORMS = {
    ("abs", ""): ops.abs,
    ("exp", ""): ops.exp,
    ("expm1", ""): ops.expm1,
    ("log", ""): ops.log,
    ("log1p", ""): ops.log1p,
    ("sqrt", ""): ops.sqrt,
    ("sin", ""): ops.sin,
    ("cos", ""): ops.cos,
    ("tanh", ""): ops.tanh,
    ("sigmoid", ""): ops.sigmoid,
    ("erf", ""): ops.erf,
    ("neg", ""): ops.neg,
    ("sign", ""): ops.sign,
    ("square", ""): ops.square,
    ("isfinite", ""): ops.is_finite,
    ("reciprocal", ""): lambda x: 1 / x,
    ("rsqrt", ""): lambda x: 1 / ops.sqrt(x),
    ("add", ""): lambda x, y, alpha=1: x + alpha * y,
    ("sub", ""): lambda x, y, alpha=1: x - alpha * y,
    ("mul", ""): lambda x, y: x * y,
    ("div", "no_rounding_mode"): lambda x, y, rounding_mode=None: x / y,
    ("pow", ""): lambda x, y: x**y if isinstance(x, Expr) else ops.pow(x, y),
    ("maximum", ""): ops.maximum,
    ("minimum", ""): ops.minimum,
    ("max", "binary"): ops.maximum,
    ("min", "binary"): ops.minimum,
    ("max", "reduction_no_dim"): ops.max,
    ("min", "reduction_no_dim"): ops.min,
    ("max", "reduction_with_dim"): extreme(ops.max, argmax),
    ("min", "reduction_with_dim"): extreme(ops.min, lambda x, d, k: argmax(-x, d, k)),
    ("amax", ""): reduction(ops.max),
    ("amin", ""): reduction(ops.min),
    ("sum", ""): reduction(ops.sum),
    ("mean", ""): reduction(ops.mean),
    ("logsumexp", ""): reduction(ops.logsumexp),
    ("var", ""): spread(ops.var),
    ("std", ""): spread(ops.std),
    ("var", "unbiased"): spread(ops.var),
    ("std", "unbiased"): spread(ops.std),
    ("linalg.vector_norm", ""): vector_norm,
    ("softmax", ""): along_dim(ops.softmax),
    ("log_softmax", ""): along_dim(ops.log_softmax),
    ("nn.functional.softmin", ""): along_dim(lambda x, dim: ops.softmax(-x, dim)),
    ("nn.functional.relu", ""): elementwise(ops.relu),
    ("nn.functional.selu", ""): elementwise(ops.selu),
    ("nn.functional.silu", ""): elementwise(ops.silu),
    ("nn.functional.logsigmoid", ""): elementwise(ops.log_sigmoid),
    ("nn.functional.hardsigmoid", ""): elementwise(ops.hard_sigmoid),
    ("nn.functional.hardswish", ""): elementwise(ops.hard_swish),
    ("nn.functional.hardtanh", ""): lambda x, min_val=-1.0, max_val=1.0, inplace=False: ops.clip(
        x, min_val, max_val
    ),
    ("nn.functional.leaky_relu", ""): lambda x, negative_slope=0.01, inplace=False: ops.leaky_relu(
        x, negative_slope
    ),
    ("nn.functional.elu", ""): lambda x, alpha=1.0, inplace=False: ops.elu(x, alpha),
    ("nn.functional.gelu", ""): lambda x, approximate="none": {"none": ops.gelu, "tanh": ops.gelu_tanh}[
        approximate
    ](x),
    ("nn.functional.softplus", ""): softplus,
    ("clamp", ""): clamp,
    ("clamp_min", ""): ops.maximum,
    ("clamp_max", ""): ops.minimum,
    ("where", ""): lambda x, condition, other: ops.where(condition, x, other),
    ("masked_fill", ""): lambda x, mask, value: ops.where(mask, value, x),
    ("reshape", ""): ops.reshape,
    ("view", ""): lambda x, shape: None if isinstance(shape, torch.dtype) else ops.reshape(x, shape),
    ("permute", ""): ops.transpose,
    ("transpose", ""): transpose,
    ("t", ""): ops.transpose,
    ("flip", ""): lambda x, dims: ops.flip(x, dims),
    ("unsqueeze", ""): ops.expand,
    ("squeeze", ""): squeeze,
    ("squeeze", "multiple"): squeeze,
    ("expand", ""): expand,
    ("broadcast_to", ""): ops.broadcast,
    ("cat", ""): lambda xs, dim=0: ops.concat([x for x in xs if x.shape != (0,)] or xs[:1], dim),
    ("stack", ""): ops.stack,
    ("split", ""): split,
    ("split", "list_args"): split,
    ("unbind", ""): lambda x, dim=0: [ops.squeeze(p, dim) for p in ops.split(x, [1] * x.shape[dim], dim)],
    ("narrow", ""): narrow,
    ("select", ""): lambda x, dim, index: ops.squeeze(along(lambda x: x[index][None], x, dim), dim),
    ("constant_pad_nd", ""): lambda x, widths, value=0: pad(x, widths, value=value),
    ("nn.functional.pad", "constant"): pad,
    ("index_select", ""): lambda x, dim, index: (
        along(lambda x: ops.gather(x, index), x, dim) if index.ndim else None
    ),
    ("index_add", ""): index_add,
    ("nn.functional.embedding", ""): embedding,
    ("cumsum", ""): along_dim(ops.cumsum),
    ("argmax", ""): argmax,
    ("argsort", ""): lambda x, dim=-1, descending=False, stable=False: (
        None if descending or not x.ndim else ops.argsort(x, dim)
    ),
    ("matmul", ""): ops.matmul,
    ("mm", ""): ops.matmul,
    ("bmm", ""): ops.matmul,
    ("mv", ""): ops.matmul,
    ("dot", ""): ops.matmul,
    ("outer", ""): ops.outer,
    ("addmm", ""): lambda x, a, b, beta=1, alpha=1: beta * x + alpha * (a @ b),
    ("nn.functional.linear", ""): lambda x, w, b=None: x @ w.T if b is None else x @ w.T + b,
    ("lt", ""): ops.less,
    ("le", ""): ops.less_equal,
    ("eq", ""): ops.equal,
    ("gt", ""): lambda x, y: ops.less(y, x),
    ("ge", ""): lambda x, y: ops.less_equal(y, x),
    ("logical_and", ""): ops.logical_and,
    ("logical_or", ""): ops.logical_or,
    ("logical_not", ""): ops.logical_not,
    ("nn.functional.one_hot", ""): lambda x, n=-1, num_classes=-1: (
        ops.one_hot(x, max(n, num_classes), "int64") if max(n, num_classes) > 0 else None
    ),
}

ROUNDED = {"nn.functional.hardsigmoid"}
"""PyTorch multiplies this gradient with 1/6 rounded to float32."""


# ------------------------------------------------------------------ a sample, ours and theirs


class Sample:
    """Tensors become nodes, wherever they stand among the arguments."""

    def __init__(self, sample):
        self.given: dict[Expr, torch.Tensor] = {}
        self.ours = (
            [self.node(a) for a in (sample.input, *sample.args)],
            {k: self.node(v) for k, v in sample.kwargs.items()},
        )

    def node(self, value):
        if isinstance(value, torch.Tensor):
            name = f"x{len(self.given)}"
            x = ops.input(name, tuple(value.shape), value.detach().numpy().dtype)
            self.given[x] = value
            return x
        if isinstance(value, list | tuple) and any(isinstance(v, torch.Tensor) for v in value):
            return [self.node(v) for v in value]
        return tuple(value) if isinstance(value, torch.Size) else value

    def build(self, form):
        args, kwargs = self.ours
        found = form(*args, **kwargs)
        return found if found is None or isinstance(found, list) else [found]

    def run(self, nodes):
        return evaluate(nodes, {x: t.detach().numpy() for x, t in self.given.items()})


def dtype_of(op):
    return (
        next(d for d in (torch.float64, torch.bool, torch.int64) if d in op.dtypes)
        if op.name[:7] != "logical"
        else torch.bool
    )


def tensors(found):
    return [found] if isinstance(found, torch.Tensor) else list(found)


def close(mine, theirs, rtol, what):
    theirs = theirs.detach().numpy(force=True)
    assert mine.shape == theirs.shape, what
    assert mine.dtype == theirs.dtype, what
    scale = np.max(np.abs(theirs[np.isfinite(theirs)]), initial=1.0) if theirs.dtype.kind == "f" else 1.0
    np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=rtol * 1e-2 * scale, err_msg=what)


def compare(op, sample, form) -> bool:
    """Values, gradients, second order of one sample; False where our form does not cover it."""
    mine = Sample(sample)
    outputs = mine.build(form)
    if outputs is None:
        return False
    theirs = tensors(op(sample.input, *sample.args, **sample.kwargs))
    what = f"{op.formatted_name}{sample.summary()}"
    assert len(outputs) == len(theirs), what
    for a, b in zip(mine.run(outputs), theirs, strict=True):
        close(a, b, 1e-10, what)
    pairs = [(y, t) for y, t in zip(outputs, theirs, strict=True) if is_float(y.dtype) and t.requires_grad]
    wrt = [(x, t) for x, t in mine.given.items() if t.requires_grad]
    if pairs and wrt and all(torch.isfinite(t).all() for t in theirs):
        differentiate(op, mine, pairs, wrt, what)
    return True


def differentiate(op, mine, pairs, wrt, what):
    generator = np.random.default_rng(0)
    cotangents = [generator.uniform(0.5, 1.5, y.shape) for y, _ in pairs]
    nodes, leaves = [x for x, _ in wrt], [t for _, t in wrt]
    gradients = vjp([y for y, _ in pairs], nodes, [ops.constant(c) for c in cotangents])
    theirs = torch.autograd.grad(
        [t for _, t in pairs],
        leaves,
        [torch.from_numpy(np.asarray(c)) for c in cotangents],
        create_graph=op.supports_gradgrad,
        materialize_grads=True,
    )
    for a, b in zip(mine.run(gradients), theirs, strict=True):
        close(a, b, 1e-7 if op.name in ROUNDED else 1e-8, f"gradient of {what}")
    second = [(g, t) for g, t in zip(gradients, theirs, strict=True) if t.requires_grad]
    if not second:
        return
    vectors = [generator.uniform(0.5, 1.5, g.shape) for g, _ in second]
    ours = vjp([g for g, _ in second], nodes, [ops.constant(v) for v in vectors])
    again = torch.autograd.grad(
        [t for _, t in second],
        leaves,
        [torch.from_numpy(np.asarray(v)) for v in vectors],
        materialize_grads=True,
    )
    for a, b in zip(mine.run(ours), again, strict=True):
        close(a, b, 1e-7, f"second order of {what}")


@pytest.mark.parametrize("name", FORMS, ids=lambda name: ".".join(filter(None, name)))
def test_pytorchs_samples(name, compared):
    op, form = OP_INFOS[name], FORMS[name]
    dtype = dtype_of(op)
    torch.manual_seed(0)
    samples = list(
        op.sample_inputs("cpu", dtype, requires_grad=dtype.is_floating_point and op.supports_autograd)
    )
    met = sum(compare(op, sample, form) for sample in samples)
    assert met >= max(1, len(samples) / 2), f"{met} of {len(samples)} samples"
    compared("operations", ".".join(filter(None, name)), "PyTorch's samples", met)


# ------------------------------------------------------------------ refusals

NOT_SHARED = [
    "",  # PyTorch's own argument parser: a number or an integer array beside a tensor, which we promote
    "unsupported operation|single memory location|input and out to match|must be tuple of Tensors",  # out=
    "64 dims|expects a tensor with <= 2|0-dimensional value|'weight' must be 2-D|0-dim",  # not our limits
    "could not infer output dtype|got None",  # a mean of integers is float32 here
    "approximate argument|tensor has no dimensions|Dimension specified|Dimension out of range",  # forms
]
DIMENSIONS_ARE_OURS = {"amax", "amin", "cat", "narrow"}


def shared(name: str, regex: str) -> bool:
    if name in DIMENSIONS_ARE_OURS and "Dimension out of range" in regex:
        return True
    return bool(regex) and not any(re.search(known, regex) for known in NOT_SHARED if known)


def refusals():
    return [
        pytest.param(op, form, found, id=f"{'.'.join(filter(None, name))}-{i}")
        for name, form in FORMS.items()
        for op in [OP_INFOS[name]]
        for i, found in enumerate(op.error_inputs("cpu") if op.error_inputs_func else ())
        if shared(op.name, found.error_regex)
    ]


@pytest.mark.parametrize(("op", "form", "refused"), refusals())
def test_what_pytorch_refuses_we_refuse(op, form, refused):
    def attempt():
        sample = Sample(refused.sample_input)
        sample.run(sample.build(form))

    with pytest.raises(ChainruleError):
        attempt()


def test_many_refusals_are_shared():
    assert len(refusals()) >= 40


# ------------------------------------------------------------------ PyTorch as the judge of our gradients


def as_torch(outputs, inputs):
    """A graph as a PyTorch function whose backward is our gradient graph, again as a PyTorch function."""

    class Ours(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            ctx.save_for_backward(*tensors)
            values = evaluate(outputs, {x: t.detach().numpy() for x, t in zip(inputs, tensors, strict=True)})
            return tuple(torch.from_numpy(np.array(v)) for v in values)

        @staticmethod
        def backward(ctx, *cotangents):
            seeds = [ops.input(f"g{i}", y.shape, y.dtype) for i, y in enumerate(outputs)]
            wrt = [x for x in inputs if is_float(x.dtype)]
            sent = as_torch(vjp(outputs, wrt, seeds), [*inputs, *seeds])(*ctx.saved_tensors, *cotangents)
            found = dict(zip(wrt, sent, strict=True))
            return tuple(found.get(x) for x in inputs)

    return Ours.apply


JUDGED = [
    pytest.param(primitive, case, id=f"{primitive}-{i}")
    for primitive, cases in ops.SAMPLES.items()
    for i, case in enumerate(cases)
    if "float" in case.dtypes
    and 0 not in [n for s in case.shapes for n in s]
    and primitive.name != "stop_gradient"
]


@pytest.mark.parametrize(("primitive", "case"), JUDGED)
def test_pytorchs_gradcheck_judges_every_primitive(primitive, case, compared):
    arrays = case.arrays(seed=5)
    inputs = [ops.input(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    y = apply(primitive, *inputs, **case.meta)
    if not is_float(y.dtype):
        with pytest.raises(ChainruleError, match="not floating-point"):
            vjp([y], [x for x in inputs if is_float(x.dtype)], [y])
        return
    tensors_ = [torch.from_numpy(a).requires_grad_(is_float(a.dtype)) for a in arrays]
    function = as_torch([y], inputs)
    assert torch.autograd.gradcheck(function, tensors_, eps=1e-6, atol=1e-5, rtol=1e-3)
    assert torch.autograd.gradgradcheck(function, tensors_, eps=1e-6, atol=1e-5, rtol=1e-3)
    compared("operations", primitive.name, "PyTorch")
