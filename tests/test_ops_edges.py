"""Conventions at the edges, the `where` trap, and values that stay exact far out. On every executor."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chainrule import ops
from chainrule.autodiff import gradient, hvp, jacobian
from chainrule.executors import EXECUTORS, compile

pytestmark = pytest.mark.parametrize("executor", EXECUTORS)

INF, NAN = math.inf, math.nan


def value_and_slope(function, x, executor="reference", dtype="float64"):
    """f(x) and ∂Σf/∂x for an array x."""
    x = np.asarray(x, dtype)
    node = ops.input("x", x.shape, dtype)
    y = function(node)
    with np.errstate(all="raise", under="ignore"):  # an executor silences what it means to
        return compile([y, gradient(ops.sum(y), node)], [node], executor=executor)(x)


# ------------------------------------------------------------------ conventions of spec/reliability


@pytest.mark.parametrize(
    ("function", "x", "value", "slope"),
    [
        (ops.abs, 0.0, 0, 0),
        (ops.relu, 0.0, 0, 0),
        (ops.relu, -0.0, 0, 0),
        (ops.leaky_relu, 0.0, 0, 0.01),
        (ops.sign, 0.0, 0, 0),
        (ops.elu, 0.0, 0, 1),
        (lambda x: ops.clip(x, -1.0, 1.0), 1.0, 1, 1),
        (lambda x: ops.clip(x, -1.0, 1.0), -1.0, -1, 1),
        (lambda x: ops.clip(x, -1.0, 1.0), 1.5, 1, 0),
        (lambda x: ops.maximum(x, 2.0), 2.0, 2, 0.5),
        (lambda x: ops.minimum(x, 2.0), 2.0, 2, 0.5),
        (lambda x: x**0, 0.0, 1, 0),
        (lambda x: x**0.0, 3.0, 1, 0),
        (lambda x: ops.pow(x, ops.constant(0.0, "float64")), 0.0, 1, 0),
        (lambda x: x**1, 0.0, 0, 1),
        (lambda x: x**2, 0.0, 0, 0),
        (lambda x: x**4, 0.0, 0, 0),
        (lambda x: x**3, -2.0, -8, 12),
        (lambda x: x**-1, -2.0, -0.5, -0.25),
    ],
)
def test_values_and_slopes_at_the_kinks(executor, function, x, value, slope):
    found = value_and_slope(function, x, executor)
    assert [float(v) for v in found] == [value, slope]


def test_a_tie_of_maxima_is_split_evenly(executor):
    value, slope = value_and_slope(lambda x: ops.max(x, 1), [[1, 3, 3, 3], [4, 0, 0, 4.0]], executor)
    np.testing.assert_array_equal(value, [3, 4])
    np.testing.assert_array_equal(slope, [[0, 1 / 3, 1 / 3, 1 / 3], [0.5, 0, 0, 0.5]])
    value, slope = value_and_slope(lambda x: ops.min(x), [[1, 3], [1, 1.0]], executor)
    np.testing.assert_array_equal(slope, [[1 / 3, 0], [1 / 3, 1 / 3]])


def test_argmax_takes_the_first_of_tied_elements(executor):
    x = ops.input("x", (2, 4))
    (found,) = compile([ops.argmax(x, 1)], [x], executor=executor)(
        np.array([[1, 3, 3, 0], [0, 0, 0, 0]], "f")
    )
    np.testing.assert_array_equal(found, [1, 0])


def test_the_norm_at_the_origin_has_no_slope(executor):
    value, slope = value_and_slope(lambda x: ops.norm(x, 1), [[0, 0.0], [3, 4]], executor)
    np.testing.assert_array_equal(value, [0, 5])
    np.testing.assert_allclose(slope, [[0, 0], [0.6, 0.8]])


def test_the_deviation_of_a_constant_has_no_slope(executor):
    value, slope = value_and_slope(lambda x: ops.std(x, 1), [[7, 7, 7.0], [1, 2, 3]], executor)
    np.testing.assert_allclose(value, [0, math.sqrt(2 / 3)])
    np.testing.assert_allclose(slope, [[0, 0, 0], np.array([-1, 0, 1]) / 3 / math.sqrt(2 / 3)], atol=1e-16)


@pytest.mark.parametrize(
    "row", [[1e308, 1e308], [-1e308, -1e308], [1e4, -1e4], [0, 710], [INF * -1, 0], [3, 1]]
)
def test_the_gradient_of_logsumexp_is_softmax(executor, row):
    value, slope = value_and_slope(ops.logsumexp, row, executor)
    top = max(row)
    total = sum(math.exp(v - top) for v in row)
    np.testing.assert_allclose(value, top + math.log(total), rtol=1e-15)
    # e⁻⁷¹⁰ is subnormal, which an executor may count as zero
    expected = [math.exp(v - top) / total for v in row]
    np.testing.assert_allclose(slope, expected, rtol=1e-15, atol=1e-307)
    np.testing.assert_allclose(value_and_slope(ops.softmax, row, executor)[0], slope, rtol=1e-15, atol=1e-307)


def test_a_row_that_is_masked_whole(executor):
    row = [-INF, -INF, -INF]
    for function, value in ((ops.softmax, [0, 0, 0]), (ops.logsumexp, -INF), (ops.log_softmax, row)):
        found, slope = value_and_slope(function, row, executor)
        np.testing.assert_array_equal(found, value)
        assert not np.isnan(slope).any()
    np.testing.assert_array_equal(value_and_slope(ops.logsumexp, row, executor)[1], 0)


def test_nan_is_never_hidden(executor):
    functions = [
        *(f for name, f in ops.FUNCTIONS.items() if name != "step"),
        ops.max, ops.min, ops.sum, ops.mean, ops.var, ops.std, ops.norm, ops.logsumexp, ops.cumsum, ops.sign,
        ops.sqrt, ops.log, ops.erf, ops.sin, lambda x: ops.clip(x, 0, 1), lambda x: ops.maximum(x, 0),
        lambda x: ops.minimum(x, 0),
    ]  # fmt: skip
    for function in functions:
        value, _ = value_and_slope(function, [NAN], executor)
        assert np.isnan(value).all(), function


def test_gelu_is_the_exact_form_and_the_approximation_has_its_own_name(executor):
    x = np.linspace(-4, 4, 33)
    exact = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x]
    np.testing.assert_allclose(value_and_slope(ops.gelu, x, executor)[0], exact, rtol=1e-14, atol=1e-16)
    approximate = value_and_slope(ops.gelu_tanh, x, executor)[0]
    assert 1e-5 < np.abs(approximate - exact).max() < 5e-4


def test_integers_and_booleans_receive_no_gradient(executor):
    """What goes through integers changes the value and stops the sweep."""
    x, i, m = ops.input("x", (3,), "float64"), ops.input("i", (3,), "int32"), ops.input("m", (3,), "bool")
    y = ops.sum(ops.where(m, x * i, ops.gather(x, i)) + ops.cast(ops.cast(x, "int64"), "float64"))
    (slope,) = compile([gradient(y, x)], [x, i, m], executor=executor)(
        np.array([1.5, 2.5, 3.5]), np.array([2, 0, 1], "i"), np.array([True, False, True])
    )
    np.testing.assert_array_equal(slope, [2 + 1, 0, 1])  # x₀·2, x[0] in place 1, x₂·1


# ------------------------------------------------------------------ the where trap


TRAPS = {
    "sqrt": (lambda x: ops.where(x > 0, ops.sqrt(x), 0), [0, -1, 4.0], [0, 0, 0.25]),
    "sqrt at 0": (lambda x: ops.where(x >= 1, ops.sqrt(x), 0), [0, 0.0, 4.0], [0, 0, 0.25]),
    "pow ½": (lambda x: ops.where(x > 0, x ** ops.constant(0.5, "float64"), 0), [0, -1, 4.0], [0, 0, 0.25]),
    "pow −1": (lambda x: ops.where(x > 0, x**-1, 0), [0, -1, 4.0], [0, -0.0, -1 / 16]),
    "pow 2ˣ": (lambda x: ops.where(x > 0, x**x, 0), [0, -1, 1.0], [0, 0, 1]),
    "log": (lambda x: ops.where(x > 0, ops.log(x), 0), [0, -1, 4.0], [0, 0, 0.25]),
    "log1p": (lambda x: ops.where(x > -1, ops.log1p(x), 0), [-1, -2, 3.0], [0, 0, 0.25]),
    "div": (lambda x: ops.where(x > 0, 1 / x, 0), [0, -1, 4.0], [0, 0, -1 / 16]),
    "0/x": (lambda x: ops.where(x > 0, x / x, 0), [0, -1, 4.0], [0, 0, 0]),
    "norm": (lambda x: ops.where(ops.norm(x) > 9, ops.norm(x), 0), [0, 0, 0.0], [0, 0, 0]),
    "chain": (lambda x: ops.where(x > 0, ops.log(ops.sqrt(x)), 0), [0, -1, 4.0], [0, 0, 1 / 8]),
    "x log x": (lambda x: ops.where(x > 0, x * ops.log(x), 0), [0, -1, 1.0], [0, 0, 1]),
    "x/x": (lambda x: ops.where(x > 0, x * (1 / x), 0), [0, -1, 4.0], [0, 0, 0]),
    "exp": (lambda x: ops.where(x < 700, ops.exp(x), 0), [800, 1e4, 1], [0, 0, math.e]),
    "expm1": (lambda x: ops.where(x < 700, ops.expm1(x), 0), [800, 1e4, 1], [0, 0, math.e]),
    "elu by hand": (lambda x: ops.where(x > 0, x, ops.exp(x) - 1), [800, 1e4, -1], [1, 1, 1 / math.e]),
    "x eˣ": (lambda x: ops.where(x < 700, x * ops.exp(x), 0), [800, 1e4, 1], [0, 0, 2 * math.e]),
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_branch_not_taken_adds_nothing(executor, name):
    function, x, slope = TRAPS[name]
    value, found = value_and_slope(function, x, executor)
    assert np.isfinite(value).all()
    np.testing.assert_allclose(found, slope, rtol=1e-15)


PRODUCTS = {"x log x", "x/x", "x eˣ"}  # guarded to first order: a plain product in the gradient is not


@pytest.mark.parametrize("name", sorted(set(TRAPS) - PRODUCTS))
def test_a_branch_not_taken_adds_nothing_to_second_order_either(executor, name):
    function, x, _ = TRAPS[name]
    node = ops.input("x", (3,), "float64")
    y = ops.sum(function(node))
    (found,) = compile(hvp(y, [node], [ops.constant(np.ones(3))]), [node], executor=executor)(np.array(x))
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[:2], 0)  # both points lie in branches that were left out


def test_slopes_that_are_infinite_stay_so_where_they_count(executor):
    with np.errstate(all="ignore"):
        assert value_and_slope(ops.sqrt, 0.0, executor)[1] == INF
        assert value_and_slope(ops.log, 0.0, executor)[1] == INF
        assert value_and_slope(lambda x: 1 / x, 0.0, executor)[1] == -INF


# ------------------------------------------------------------------ exact far out

FAR = np.array(
    [-1e4, -1000, -745, -700, -100, -40, -20, -1, -1e-10, 0, 1e-10, 1, 20, 40, 100, 700, 745, 1000, 1e4]
)
PRECISE = np.finfo(np.longdouble).nmant > 52
LD = np.longdouble


def long_sigmoid(z):
    return np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))))


CLOSED_FORMS = {
    "sigmoid": (ops.sigmoid, long_sigmoid),
    "tanh": (ops.tanh, lambda z: np.sign(z) * -np.expm1(-2 * np.abs(z)) / (1 + np.exp(-2 * np.abs(z)))),
    "softplus": (ops.softplus, lambda z: np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))),
    "log_sigmoid": (ops.log_sigmoid, lambda z: np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z)))),
    "silu": (ops.silu, lambda z: z * long_sigmoid(z)),
    "elu": (ops.elu, lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0)))),
    "relu": (ops.relu, lambda z: np.maximum(z, 0)),
    "leaky_relu": (ops.leaky_relu, lambda z: np.where(z > 0, z, LD(0.01) * z)),
}
SLOPES = {
    "softplus": long_sigmoid,
    "log_sigmoid": lambda z: long_sigmoid(-z),
    "elu": lambda z: np.where(z > 0, 1, np.exp(np.minimum(z, 0))),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_values_keep_relative_precision_in_both_tails(executor, name):
    """Against the closed form in extended precision, as far as 1e4; subnormal results only roughly."""
    function, closed = CLOSED_FORMS[name]
    value, slope = value_and_slope(function, FAR, executor)
    with np.errstate(all="ignore"):
        expected = closed(FAR.astype(LD)).astype(np.float64)
    np.testing.assert_allclose(value, expected, rtol=1e-14 if PRECISE else 1e-12, atol=1e-300)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_slopes_stay_exact_to_the_precision_of_one(executor, name):
    function, closed = CLOSED_FORMS[name]
    _, slope = value_and_slope(function, FAR, executor)
    with np.errstate(all="ignore"):
        wide, h = FAR.astype(LD), LD(1e-5)
        difference = (closed(wide + h) - closed(wide - h)) / (2 * h)
    smooth = np.abs(FAR) > 1e-4  # the differences reach across the kink
    np.testing.assert_allclose(slope[smooth], difference[smooth].astype("d"), rtol=1e-7, atol=1e-9)
    if name in SLOPES:
        with np.errstate(all="ignore"):
            expected = SLOPES[name](FAR.astype(LD)).astype(np.float64)
        np.testing.assert_allclose(slope, expected, rtol=1e-14, atol=3e-16 if name == "elu" else 1e-300)


@pytest.mark.parametrize("name", sorted(ops.FUNCTIONS))
def test_every_activation_is_finite_at_ten_thousand(executor, name):
    x = np.array([-1e4, -300, 0, 300, 1e4])
    if name == "exp":
        x = x[:-1]
    for dtype in ("float64",) if name == "exp" else ("float32", "float64"):
        value, slope = value_and_slope(ops.FUNCTIONS[name], x.astype(dtype), executor, dtype)
        assert np.isfinite(value).all()
        assert np.isfinite(slope).all()


def test_naive_forms_would_have_failed_here(executor):
    """log(1 + e⁸⁰⁰), (e²ˣ−1)/(e²ˣ+1) at 400, eˣ/(1+eˣ)² at 800."""
    assert value_and_slope(ops.softplus, 800.0, executor)[0] == 800
    assert [float(v) for v in value_and_slope(ops.tanh, 400.0, executor)] == [1, 0]
    assert [float(v) for v in value_and_slope(ops.sigmoid, 800.0, executor)] == [1, 0]


def test_tanh_is_a_scaled_sigmoid(executor):
    z = np.linspace(-30, 30, 241)
    difference, _ = value_and_slope(lambda z: ops.tanh(z) - (2 * ops.sigmoid(2 * z) - 1), z, executor)
    assert np.abs(difference).max() <= 4e-16


def test_the_bounds_of_the_slopes(executor):
    z = np.linspace(-20, 20, 401)
    assert value_and_slope(ops.sigmoid, z, executor)[1].max() == 0.25
    assert value_and_slope(ops.tanh, z, executor)[1].max() == 1
    assert value_and_slope(ops.relu, [-1, 0, 1e-300], executor)[1].tolist() == [0, 0, 1]


def test_softmax_ignores_a_common_shift(executor):
    z = np.array([[1.0, -2, 0.5], [300, 302, 299]])
    x = ops.input("z", z.shape, "float64")
    nodes = [ops.softmax(x), ops.softmax(x + 1024.0), ops.exp(ops.log_softmax(x))]
    first, shifted, by_logarithm = compile(nodes, [x], executor=executor)(z)
    np.testing.assert_array_equal(first, shifted)  # 1024 is exact beside these numbers
    np.testing.assert_allclose(first, by_logarithm, rtol=1e-13)
    np.testing.assert_allclose(first.sum(1), 1, rtol=1e-15)


def test_the_softmax_jacobian_is_s_times_delta_minus_s(executor):
    z = ops.input("z", (4,), "float64")
    s, J = compile([ops.softmax(z), jacobian(ops.softmax(z), z)], [z], executor=executor)(
        np.array([0.5, -1, 2, 0.1])
    )
    np.testing.assert_allclose(J, np.diag(s) - np.outer(s, s), rtol=1e-13, atol=1e-17)


def test_softmax_and_cross_entropy_together_give_s_minus_onehot(executor):
    z, t = ops.input("z", (5, 4), "float64"), ops.input("t", (5,), "int64")
    loss = ops.sum(ops.logsumexp(z) - ops.sum(z * ops.one_hot(t, 4, "float64"), -1))
    labels = np.array([0, 3, 1, 1, 2])
    logits = np.random.default_rng(0).normal(0, 5, (5, 4))
    s, g = compile([ops.softmax(z), gradient(loss, z)], [z, t], executor=executor)(logits, labels)
    np.testing.assert_allclose(g, s - np.eye(4)[labels], rtol=1e-12, atol=1e-16)


def test_squared_error_on_a_sigmoid_stalls_and_cross_entropy_does_not(executor):
    """Catalogue C: at z = −10, y = 1 the gradients are −9.1e-5 and −0.99995."""
    z = ops.input("z", (), "float64")
    squared, entropy = ops.square(ops.sigmoid(z) - 1.0), ops.softplus(-z)
    found = compile([gradient(squared, z), gradient(entropy, z)], [z], executor=executor)(np.float64(-10))
    np.testing.assert_allclose(found, [-9.1e-5, -0.99995], rtol=3e-3)
    np.testing.assert_allclose(found[1], -1 / (1 + math.exp(-10)), rtol=1e-15)
