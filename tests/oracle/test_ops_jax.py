"""JAX's gradients of every primitive on our SAMPLES, of the registered functions, and of a whole network."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, nn
from jax.test_util import check_vjp

from chainrule import ops
from chainrule.autodiff import gradient, hessian, hvp, vjp
from chainrule.executors import compile, evaluate
from chainrule.graph import PRIMITIVES, apply
from chainrule.ops.functions import FUNCTIONS
from chainrule.spec import is_float


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def flipped_cumsum(x, *, axis, reverse):
    return lax.cumsum(x, axis, reverse=reverse)


def their_conv(x, w, *, strides, padding, dilation, spread, groups):
    n = x.ndim - 2
    space = "HW"[:n]
    return lax.conv_general_dilated(
        x, w, strides, padding, lhs_dilation=spread, rhs_dilation=dilation, feature_group_count=groups,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
    )  # fmt: skip


def their_places(counts, sizes, strides, dilations):
    """For every axis of windows: which element lies at [window, place in it]."""
    axes = zip(counts, sizes, strides, dilations, strict=True)
    return [np.arange(m)[:, None] * s + np.arange(k) * d for m, k, s, d in axes]


def their_windows(x, *, first, sizes, strides, dilations):
    n = len(sizes)
    space = x.shape[first : first + n]
    counts = [
        (m - (k - 1) * d - 1) // s + 1 for m, k, s, d in zip(space, sizes, strides, dilations, strict=True)
    ]
    for i, places in enumerate(their_places(counts, sizes, strides, dilations)):
        x = jnp.take(x, places, axis=first + 2 * i)
    inside = [first + 2 * i + 1 for i in range(n)]
    return jnp.moveaxis(x, inside, [first + n + i for i in range(n)])


def their_fold(y, *, first, space, strides, dilations):
    n = len(space)
    sizes = y.shape[first + n : first + 2 * n]
    zeros = jnp.zeros((*y.shape[:first], *space, *y.shape[first + 2 * n :]), y.dtype)
    meta = {"first": first, "sizes": sizes, "strides": strides, "dilations": dilations}
    return jax.vjp(lambda x: their_windows(x, **meta), zeros)[1](y)[0]


THEIRS = {
    "cast": lambda x, *, dtype: x.astype(dtype),
    "stop_gradient": lax.stop_gradient,
    "reshape": lambda x, *, shape: x.reshape(shape),
    "transpose": lambda x, *, axes: x.transpose(axes),
    "broadcast": lambda x, *, shape: jnp.broadcast_to(x, shape),
    "slice": lambda x, *, starts, stops, steps: lax.slice(x, starts, stops, steps),
    "pad": lambda x, *, before, after, between: lax.pad(
        x, 0.0, list(zip(before, after, between, strict=True))
    ),
    "concat": lambda *xs, axis: jnp.concatenate(xs, axis),
    "flip": lambda x, *, axes: jnp.flip(x, axes),
    "neg": jnp.negative,
    "abs": jnp.abs,
    "sign": jnp.sign,
    "exp": jnp.exp,
    "expm1": jnp.expm1,
    "log": jnp.log,
    "log1p": jnp.log1p,
    "sqrt": jnp.sqrt,
    "sin": jnp.sin,
    "cos": jnp.cos,
    "tanh": jnp.tanh,
    "sigmoid": nn.sigmoid,
    "softplus": nn.softplus,
    "erf": lax.erf,
    "is_finite": jnp.isfinite,
    "logical_not": jnp.logical_not,
    "add": jnp.add,
    "sub": jnp.subtract,
    "mul": jnp.multiply,
    "div": jnp.divide,
    "pow": jnp.power,
    "maximum": jnp.maximum,
    "guard": lambda g, d: jnp.where(g == 0, g, g * d),
    "less": jnp.less,
    "less_equal": jnp.less_equal,
    "equal": jnp.equal,
    "logical_and": jnp.logical_and,
    "logical_or": jnp.logical_or,
    "where": jnp.where,
    "sum": lambda x, *, axes: x.sum(axes),
    "max": lambda x, *, axes: x.max(axes),
    "argmax": lambda x, *, axis: x.argmax(axis),
    "cumsum": flipped_cumsum,
    "gather": lambda x, index: x[index],
    "scatter_add": lambda index, u, *, rows: (
        jnp.zeros((rows, *u.shape[index.ndim :]), u.dtype).at[index].add(u)
    ),
    "argsort": lambda x, *, axis: x.argsort(axis),
    "matmul": jnp.matmul,
    "conv": their_conv,
    "windows": their_windows,
    "fold": their_fold,
}

WITHOUT = {"input", "constant", "item", "call", "scan", "random_bits"}
"""Structure, and the numbers that are ours by definition (tests/test_random.py has the published vectors)."""

CASES = [
    pytest.param(primitive, case, id=f"{primitive}-{i}")
    for primitive, cases in ops.SAMPLES.items()
    if primitive.name not in WITHOUT
    for i, case in enumerate(cases)
]


def test_every_primitive_is_compared():
    assert set(THEIRS) | WITHOUT == set(PRIMITIVES)


def close(mine, theirs, rtol):
    np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=rtol * 1e-2)
    assert np.shape(mine) == np.shape(theirs)


@pytest.mark.parametrize(("primitive", "case"), CASES)
def test_values_and_gradients_of_every_primitive(primitive, case, compared):
    arrays = case.arrays(seed=6)
    inputs = [ops.input(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    given = dict(zip(inputs, arrays, strict=True))
    y = apply(primitive, *inputs, **case.meta)
    floating = [i for i, x in enumerate(inputs) if is_float(x.dtype)]

    def theirs(*moving):
        places = dict(zip(floating, moving, strict=True))
        return THEIRS[primitive.name](
            *[places.get(i, jnp.asarray(a)) for i, a in enumerate(arrays)], **case.meta
        )

    value, pull = jax.vjp(theirs, *[jnp.asarray(arrays[i]) for i in floating])
    close(evaluate([y], given)[0], value, 1e-10)
    compared("operations", primitive.name, "JAX")
    if not floating or not is_float(y.dtype):
        return
    cotangent = np.random.default_rng(1).normal(size=y.shape)
    mine = vjp([y], [inputs[i] for i in floating], [ops.constant(np.asarray(cotangent))])
    for a, b in zip(evaluate(mine, given), pull(jnp.asarray(cotangent)), strict=True):
        close(a, b, 1e-8)


FUNCTIONS_THERE = {
    "identity": lambda z: z,
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
    "elu": nn.elu,
    "selu": nn.selu,
    "gelu": lambda z: nn.gelu(z, approximate=False),
    "gelu_tanh": lambda z: nn.gelu(z, approximate=True),
    "silu": nn.silu,
    "hard_sigmoid": nn.hard_sigmoid,
    "hard_tanh": nn.hard_tanh,
    "hard_swish": nn.hard_swish,
    "log_sigmoid": nn.log_sigmoid,
    "sigmoid": nn.sigmoid,
    "tanh": jnp.tanh,
    "softplus": nn.softplus,
    "softmax": nn.softmax,
    "log_softmax": nn.log_softmax,
    "abs": jnp.abs,
    "exp": jnp.exp,
    "square": jnp.square,
    "step": lambda z: jnp.heaviside(z, 1.0),
}


def test_every_registered_function_is_compared():
    assert set(FUNCTIONS_THERE) == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS_THERE)
def test_registered_functions(name, compared):
    """Values, gradients and Hessian-vector products, away from the kinks and far out."""
    value = np.array([[-30.0, -4.2, -2.1, -0.5], [0.3, 1.7, 2.8, 25]])
    c, v = np.random.default_rng(2).normal(size=(2, 2, 4))
    x = ops.input("x", (2, 4), "float64")
    y = FUNCTIONS[name](x)
    mine = [y, gradient(ops.sum(y * c), x), hvp(ops.sum(y * c), [x], [ops.constant(v)])[0]]

    def loss(z):
        return (FUNCTIONS_THERE[name](z) * c).sum()

    first = jax.grad(loss)(value)
    second = jax.jvp(jax.grad(loss), (jnp.asarray(value),), (jnp.asarray(v),))[1]
    for a, b, rtol in zip(
        evaluate(mine, {x: value}),
        (FUNCTIONS_THERE[name](value), first, second),
        (1e-10, 1e-8, 1e-7),
        strict=True,
    ):
        scale = np.abs(np.asarray(b)).max()
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-15 * max(scale, 1))
    compared("operations", name, "JAX")


def test_a_network_its_gradient_and_its_hessian():
    shapes = [(5, 4), (4, 6), (6,), (6, 3), (3,)]
    generator = np.random.default_rng(3)
    arrays = [generator.normal(size=s) for s in shapes]
    labels = np.array([0, 2, 1, 1, 0])

    def theirs(x, W1, b1, W2, b2):
        z = jnp.tanh(x @ W1 + b1) @ W2 + b2
        return -nn.log_softmax(z)[jnp.arange(5), labels].mean()

    x, W1, b1, W2, b2 = nodes = [ops.input(f"x{i}", s, "float64") for i, s in enumerate(shapes)]
    z = ops.tanh(x @ W1 + b1) @ W2 + b2
    loss = ops.mean(ops.logsumexp(z) - ops.sum(z * ops.one_hot(ops.constant(labels), 3, "float64"), -1))
    mine = compile([loss, *gradient(loss, nodes), hessian(loss, b1)], nodes, executor="reference")(*arrays)
    close(mine[0], theirs(*arrays), 1e-10)
    for a, b in zip(mine[1:6], jax.grad(theirs, argnums=tuple(range(5)))(*arrays), strict=True):
        close(a, b, 1e-8)
    close(mine[6], jax.hessian(theirs, argnums=2)(*arrays), 1e-8)


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"step"}))
def test_jax_judges_our_gradients(name):
    """jax.test_util.check_vjp: their differences against our rule, as for any function of theirs."""
    x = ops.input("x", (2, 3), "float64")
    g = ops.input("g", (2, 3), "float64")
    y = FUNCTIONS[name](x)
    value = compile([y], [x], executor="reference")
    slope = compile(vjp([y], [x], [g]), [x, g], executor="reference")

    def mine(a):
        return value(np.asarray(a))[0]

    def pullback(a):
        return mine(a), lambda g: (slope(np.asarray(a), np.asarray(g))[0],)

    point = np.array([[-1.9, -0.7, 0.4], [0.6, 1.3, 2.2]])
    check_vjp(mine, pullback, (point,), atol=1e-5, rtol=1e-3, eps=1e-6)


def test_the_where_trap_is_closed_here_and_open_there():
    """The promise of spec/reliability, and why it is worth one: their gradient is NaN."""

    def theirs(x):
        return jnp.where(x > 0, jnp.sqrt(x), 0.0).sum()

    x = ops.input("x", (2,), "float64")
    mine = gradient(ops.sum(ops.where(x > 0, ops.sqrt(x), 0)), x)
    value = np.array([0.0, 4.0])
    assert np.isnan(jax.grad(theirs)(value)[0])
    np.testing.assert_array_equal(evaluate([mine], {x: value})[0], [0, 0.25])
