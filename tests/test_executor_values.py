"""What every executor computes: special numbers, integers that overflow, sizes no vector fits, long sums."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from chainrule import losses, ops
from chainrule.autodiff import gradient
from chainrule.errors import DataError
from chainrule.executors import EXECUTORS, Program, compile, epoch, evaluate
from chainrule.graph import apply
from chainrule.graph.expr import Expr
from chainrule.ops.elementwise import ELEMENTWISE
from chainrule.ops.samples import SAMPLES
from chainrule.testing import compare_executors

pytestmark = pytest.mark.parametrize("executor", EXECUTORS)

FLOATS = ("float32", "float64")
INF, NAN = math.inf, math.nan
SPECIAL = [
    NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 1e-10, -1e-10, 20.0, -20.0, 80.0,
    -80.0, 1e4, -1e4, 1e30, -1e30, 1e-30, -1e-30,
]  # fmt: skip
NAMES = {p.name: p for p in ELEMENTWISE}
ONES = ["neg", "abs", "sign", "exp", "expm1", "log", "log1p", "sqrt", "tanh", "sigmoid", "softplus", "erf",
        "is_finite", "stop_gradient"]  # fmt: skip
WAVES = ["sin", "cos"]
TWOS = ["add", "sub", "mul", "div", "maximum", "guard", "less", "less_equal", "equal"]
SIGN_OF_ZERO = {"maximum"}  # either is right: +0 and −0 are equal
CLOSE = {"float32": 6e-7, "float64": 1e-14}
"""Relative, for single elements: a few units in the last place."""


def named_outputs(names: Sequence[str], *inputs: Expr) -> dict[str, Expr]:
    return {name: apply(NAMES[name], *inputs) for name in names}


def check_special(outputs: dict[str, Expr], given: dict[Expr, Any], executor: str, rtol: float) -> None:
    """NaN, infinities and the sign of zero as the reference has them; other numbers to ``rtol`` each."""
    nodes = list(outputs.values())
    expected = evaluate(nodes, given)
    found = compile(nodes, list(given), executor=executor)(*given.values())
    wrong = []
    for name, a, b in zip(outputs, expected, found, strict=True):
        for place in np.ndindex(a.shape):
            at = [float(np.asarray(v)[place]) for v in given.values()]
            if not _same(a[place], b[place], rtol, signed=name not in SIGN_OF_ZERO):
                wrong.append(f"{name}{at} = {b[place]}, the reference gives {a[place]}")
    assert not wrong, f"{len(wrong)} differ:\n" + "\n".join(wrong[:20])


def _same(a: Any, b: Any, rtol: float, *, signed: bool) -> bool:
    if a.dtype.kind != "f":
        return a == b
    if np.isnan(a) or np.isnan(b):
        return np.isnan(a) and np.isnan(b)
    if abs(a) < np.finfo(a.dtype).tiny:  # subnormal numbers may count as zero
        return abs(b) < np.finfo(a.dtype).tiny and (not signed or np.signbit(a) == np.signbit(b))
    return a == b or abs(float(b) - float(a)) <= rtol * abs(float(a))


# ------------------------------------------------------------------ special numbers, element by element


def test_every_elementwise_primitive_is_listed_here(executor):
    others = {"pow", "where", "cast", "logical_and", "logical_or", "logical_not"}
    assert {*ONES, *WAVES, *TWOS, *others} == set(NAMES)


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_special_number(executor, dtype):
    x = ops.input("x", (len(SPECIAL),), dtype)
    check_special(named_outputs(ONES, x), {x: np.array(SPECIAL, dtype)}, executor, CLOSE[dtype])


@pytest.mark.parametrize("dtype", FLOATS)
def test_waves_of_special_numbers(executor, dtype):
    """Multiples of π in the last bit too, where the result is nothing but what the reduction left."""
    values = [v for v in SPECIAL if not 1e5 < abs(v) < INF] + [k * math.pi / 4 for k in range(-40, 41)]
    x = ops.input("x", (len(values),), dtype)
    check_special(named_outputs(WAVES, x), {x: np.array(values, dtype)}, executor, CLOSE[dtype])


@pytest.mark.parametrize("dtype", FLOATS)
def test_two_special_numbers(executor, dtype):
    pairs = np.array(list(itertools.product(SPECIAL, SPECIAL)), dtype)
    x, y = (ops.input(name, (len(pairs),), dtype) for name in "xy")
    given = {x: pairs[:, 0].copy(), y: pairs[:, 1].copy()}
    check_special(named_outputs(TWOS, x, y), given, executor, CLOSE[dtype])


@pytest.mark.parametrize("dtype", FLOATS)
def test_powers_of_special_numbers(executor, dtype):
    """x⁰ = 1 for every x, NaN too; 1ʸ = 1; whole exponents of negative numbers; ∞ where C has it."""
    exponents = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 1.5, INF, -INF, NAN]
    pairs = np.array(list(itertools.product(SPECIAL, exponents)), dtype)
    x, y = (ops.input(name, (len(pairs),), dtype) for name in "xy")
    check_special(
        {"pow": apply(NAMES["pow"], x, y)},
        {x: pairs[:, 0].copy(), y: pairs[:, 1].copy()},
        executor,
        CLOSE[dtype],
    )


@pytest.mark.parametrize("dtype", FLOATS)
def test_choosing_passes_every_number_on_as_it_is(executor, dtype):
    count = len(SPECIAL)
    m, x = ops.input("m", (count,), "bool"), ops.input("x", (count,), dtype)
    zero = ops.full_like(x, 0)
    outputs = {"where": ops.where(m, x, zero), "other": ops.where(m, zero, x), "relu": ops.relu(x)}
    outputs |= {"clip": ops.clip(x, -1.0, 1.0), "minimum": ops.minimum(x, 0.5)}
    check_special(
        outputs, {m: np.arange(count) % 2 == 0, x: np.array(SPECIAL, dtype)}, executor, CLOSE[dtype]
    )


@pytest.mark.parametrize("dtype", FLOATS)
def test_subnormal_numbers_count_as_themselves_or_as_zero(executor, dtype):
    tiny = np.finfo(dtype).tiny / 8
    x = ops.input("x", (4,), dtype)
    nodes = [x * 2, x + x, ops.sqrt(ops.abs(x)), ops.exp(x), ops.tanh(x), x * tiny]
    given = np.array([tiny, -tiny, 0, -0.0], dtype)
    expected = evaluate(nodes, {x: given})
    at_zero = evaluate(nodes, {x: given * 0})
    for a, z, b in zip(expected, at_zero, compile(nodes, [x], executor=executor)(given), strict=True):
        assert ((a == b) | (z == b)).all()


# ------------------------------------------------------------------ integers and booleans


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_integers_wrap_around(executor, dtype):
    limits = np.iinfo(dtype)
    values = [limits.min, limits.min + 1, 0, 1, 2, 3, 7, limits.max // 2, limits.max - 1, limits.max]
    pairs = np.array(list(itertools.product(values, values)), dtype)
    x, y = (ops.input(name, (len(pairs),), dtype) for name in "xy")
    two = ("add", "sub", "mul", "maximum", "less", "less_equal", "equal")
    outputs = named_outputs(two, x, y) | named_outputs(("neg", "abs", "sign"), x)
    outputs |= {"where": ops.where(x < y, x, y), "minimum": ops.minimum(x, y)}
    check_special(outputs, {x: pairs[:, 0].copy(), y: pairs[:, 1].copy()}, executor, 0.0)


CASTS = {
    "bool": [False, True],
    "uint8": [0, 1, 127, 128, 255],
    "int32": [0, 1, -1, 255, 256, 300, -300, 2**31 - 1, -(2**31), 2**24 + 1],
    "int64": [0, 1, -1, 255, 256, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63), 2**32 + 5],
    "float32": [0.0, -0.0, 0.9, -0.9, 1.5, 2.5, 100.7, 16777216.0],
    "float64": [0.0, -0.0, 0.9, -0.9, 1.5, 2.5, 100.7, 1 + 2**-30],
}


@pytest.mark.parametrize("target", CASTS)
@pytest.mark.parametrize("dtype", CASTS)
def test_casts(executor, dtype, target):
    """Integers keep their low bits, floats are cut towards zero or rounded to nearest, even on a tie. Floats
    outside an integer's range have no meaning and are left out."""
    limits = np.iinfo(target) if target in ("uint8", "int32", "int64") else None
    values = [v for v in CASTS[dtype] if dtype[0] != "f" or limits is None or limits.min <= v <= limits.max]
    if target == "bool" and dtype[0] == "f":
        values += [NAN, INF]
    x = ops.input("x", (len(values),), dtype)
    check_special({"cast": ops.cast(x, target)}, {x: np.array(values, dtype)}, executor, 0.0)


def test_booleans(executor):
    x, y = ops.input("x", (4,), "bool"), ops.input("y", (4,), "bool")
    outputs = named_outputs(("logical_and", "logical_or", "equal"), x, y) | named_outputs(("logical_not",), x)
    given = {x: np.array([False, False, True, True]), y: np.array([False, True, False, True])}
    check_special(outputs, given, executor, 0.0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_orders_and_extremes_of_special_numbers(executor, dtype):
    rows = np.array([[1, NAN, 3, NAN], [0.0, -0.0, -1, 0], [INF, -INF, INF, 1], [-INF] * 4], dtype)
    x = ops.input("x", rows.shape, dtype)
    outputs = {
        "max": ops.max(x, 1), "max of all": ops.max(x), "argmax": ops.argmax(x, 1),
        "argmax 0": ops.argmax(x, 0), "argsort": ops.argsort(x, 1), "sum": ops.sum(x, 1),
        "cumsum": ops.cumsum(x, 1), "min": ops.min(x, 0),
    }  # fmt: skip
    expected = evaluate(list(outputs.values()), {x: rows})
    found = compile(list(outputs.values()), [x], executor=executor)(rows)
    for name, a, b in zip(outputs, expected, found, strict=True):
        np.testing.assert_array_equal(b, a, err_msg=name)


# ------------------------------------------------------------------ sizes that fit no vector


SHAPES = [(1,), (7,), (16,), (33,), (17, 31), (5, 1, 19), (2, 128), (1030,)]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_elementwise_primitives_of_every_size(executor, dtype, shape):
    """All in one graph, so that they are fused as far as an executor fuses."""
    rng = np.random.default_rng(0)
    x, y, m = ops.input("x", shape, dtype), ops.input("y", shape, dtype), ops.input("m", shape, "bool")
    nodes = []
    for name, primitive in sorted(NAMES.items()):
        if primitive.reference is None or name == "cast":
            continue
        kinds = SAMPLES[primitive][0].dtypes
        pool = iter((m, ops.logical_not(m), m) if set(kinds) == {"bool"} else (x, y))
        nodes.append(
            apply(primitive, *[m if kind == "bool" and name == "where" else next(pool) for kind in kinds])
        )
    nodes += [ops.cast(x, "int32"), ops.cast(x, "float64"), ops.cast(x, "float32"), ops.cast(m, dtype)]
    given = {x: rng.uniform(0.3, 3, shape), y: rng.uniform(-3, 3, shape), m: rng.random(shape) < 0.5}
    compare_executors(nodes, given, [executor])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "shape", [(17, 33), (3, 1100), (1100, 3), (5, 19, 16), (1, 64), (2, 3, 4, 5)], ids=str
)
def test_reductions_over_every_axis(executor, dtype, shape):
    x = ops.input("x", shape, dtype)
    axes = [c for n in range(len(shape) + 1) for c in itertools.combinations(range(len(shape)), n)]
    nodes = [f(x, c) for c in axes for f in (ops.sum, ops.max, ops.mean)]
    nodes += [f(x, a) for a in range(len(shape)) for f in (ops.argmax, ops.argsort, ops.cumsum, ops.softmax)]
    nodes += [ops.cumsum(x, a, reverse=True) for a in range(len(shape))]
    compare_executors(nodes, {x: np.random.default_rng(0).normal(size=shape)}, [executor])


PRODUCTS = [
    (1, 1, 1), (1, 784, 10), (3, 5, 2), (17, 33, 65), (64, 64, 64), (100, 1, 7), (7, 130, 1), (33, 257, 31),
    (128, 20, 16),
]  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("m", "k", "n"), PRODUCTS)
def test_products_of_every_size_and_transposition(executor, dtype, m, k, n):
    rng = np.random.default_rng(0)
    a, b = ops.input("a", (m, k), dtype), ops.input("b", (k, n), dtype)
    c, d = ops.input("c", (k, m), dtype), ops.input("d", (n, k), dtype)
    nodes = [a @ b, c.T @ b, a @ d.T, c.T @ d.T, ops.relu(a @ b + b[0]), ops.sum(a @ b, 0), a @ a.T]
    given = {x: rng.normal(size=x.shape) for x in (a, b, c, d)}
    compare_executors(nodes, given, [executor])


@pytest.mark.parametrize("dtype", FLOATS)
def test_products_in_stacks(executor, dtype):
    rng = np.random.default_rng(0)
    a, b = ops.input("a", (3, 17, 9), dtype), ops.input("b", (3, 9, 20), dtype)
    c = ops.input("c", (2, 3, 9, 9), dtype)
    nodes = [a @ b, ops.transpose(a, (0, 2, 1)) @ a, c @ c, a @ b[0], ops.transpose(b, (0, 2, 1)) @ b]
    compare_executors(nodes, {x: rng.normal(size=x.shape) for x in (a, b, c)}, [executor])


@pytest.mark.parametrize("dtype", [*FLOATS, "int32", "uint8"])
def test_shapes_and_places(executor, dtype):
    """Views of views, joined and spread, in sizes that no vector divides."""
    rng = np.random.default_rng(0)
    x = ops.input("x", (17, 33), dtype)
    nodes = [
        x.T, ops.flip(x, 0), ops.flip(x.T, (0, 1)), ops.reshape(x, (33, 17)), ops.reshape(x.T, (561,)),
        x[3:, ::2], x[::-3, 5:31:4], x[:, 7], x[-1], ops.concat([x, x[:5]], 0), ops.concat([x, x[:, :1]], 1),
        ops.broadcast(x[0], (4, 33)), ops.broadcast(ops.reshape(x[:, 0], (17, 1)), (17, 5)),
        x.T[4:6] + x[1, 0], ops.concat([ops.flip(x.T, 1), x.T], -1),
    ]  # fmt: skip
    compare_executors(nodes, {x: rng.integers(0, 100, (17, 33)).astype(dtype)}, [executor])


@pytest.mark.parametrize("kind", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_rows_by_index(executor, dtype, kind):
    rng = np.random.default_rng(0)
    x, i = ops.input("x", (33, 17), dtype), ops.input("i", (40, 3), kind)
    u = ops.input("u", (40, 3, 5), dtype)
    nodes = [
        ops.gather(x, i),
        ops.scatter_add(i, u, rows=33),
        ops.one_hot(i, 33, dtype),
        ops.gather(x[:, 0], i),
    ]
    given = {x: rng.normal(size=(33, 17)), i: rng.integers(0, 33, (40, 3)), u: rng.normal(size=(40, 3, 5))}
    compare_executors(nodes, given, [executor])


@pytest.mark.parametrize("bad", [-1, 33, 2**40, -(2**62)])
def test_an_index_outside_is_an_error_and_never_a_read(executor, bad):
    x, i = ops.input("x", (33, 3)), ops.input("i", (5,), "int64")
    index = np.array([0, 1, bad, 3, 4])
    with pytest.raises(DataError, match=f"gather: index {bad} lies outside the 33 rows"):
        compile([ops.gather(x, i)], [x, i], executor=executor)(np.zeros((33, 3)), index)
    u = ops.input("u", (5, 2))
    with pytest.raises(DataError, match=f"scatter_add: index {bad} lies outside the 33 rows"):
        compile([ops.scatter_add(i, u, rows=33)], [i, u], executor=executor)(index, np.ones((5, 2)))


@pytest.mark.parametrize("bad", [-1, 7])
def test_an_index_outside_in_the_middle_of_an_epoch(executor, bad):
    w, i = ops.input("w", (7, 2), "float64"), ops.input("i", (4,), "int64")
    row = ops.gather(w, i)
    program = Program({"s": ops.sum(row)}, [i], [], [w], {"w": w + 1.0})
    data = np.arange(20) % 7
    data[13] = bad
    with pytest.raises(DataError, match=f"index {bad}"):
        epoch(program, executor=executor).run(
            {"w": np.zeros((7, 2))}, [data], np.arange(20).reshape(5, 4), []
        )


# ------------------------------------------------------------------ what random networks have found


@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_over_different_shapes_that_share_a_scalar(executor, dtype):
    """Clipping by the global norm: a matrix and a vector are divided by the largest of both, then summed."""
    a, b = ops.input("a", (9, 7), dtype), ops.input("b", (9, 5), dtype)
    g, h = a.T @ b, ops.sum(b, 0)
    top = ops.maximum(ops.max(ops.abs(g)), ops.max(ops.abs(h)))
    whole = ops.sum(ops.square(g / top)) + ops.sum(ops.square(h / top))
    rng = np.random.default_rng(0)
    given = {a: rng.normal(size=a.shape), b: rng.normal(size=b.shape)}
    compare_executors([whole, g / whole, h / whole], given, [executor])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("components", [1, 2])
def test_axes_of_one_element_in_a_likelihood(executor, dtype, components):
    loss = losses.GaussianMixtureNLL(components)
    z, y = ops.input("z", (9, loss.width(1)), dtype), ops.input("y", (9, 1), dtype)
    value = loss(z, y)
    rng = np.random.default_rng(0)
    given = {z: rng.normal(size=z.shape), y: rng.normal(size=y.shape)}
    compare_executors([value, gradient(ops.mean(value), z)], given, [executor], atol=1e-15)


@pytest.mark.parametrize("inner", [(12,), (3, 4), (2, 2, 3)], ids=str)
def test_products_of_rows_that_are_gathered_and_flattened(executor, inner):
    """Images without a layer between them and the first product."""
    x, w = ops.input("x", (8, *inner)), ops.input("w", (12, 5))
    h = ops.reshape(x, (8, 12))
    program = Program({"y": h @ w, "g": h.T @ (h @ w)}, [x], [], [w])
    rng = np.random.default_rng(0)
    data, index = rng.normal(size=(20, *inner)).astype("f"), rng.permutation(20)[:16].reshape(2, 8)
    state = {"w": rng.normal(size=(12, 5)).astype("f")}
    _, found = epoch(program, executor=executor).run(dict(state), [data], index, [])
    rows = data.reshape(20, 12)[index].astype("d")
    np.testing.assert_allclose(found["y"], rows @ state["w"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        found["g"], np.swapaxes(rows, 1, 2) @ (rows @ state["w"]), rtol=1e-4, atol=1e-4
    )


# ------------------------------------------------------------------ long sums


def test_long_float32_sums_keep_their_digits(executor):
    """Blocks of lanes in float32, blocks in float64: plain float32 would be 1 % off here."""
    n = 1_000_000
    x, i = ops.input("x", (n,)), ops.input("i", (n,), "int64")
    tall = ops.reshape(x, (n // 4, 4))
    nodes = [ops.sum(x), ops.cumsum(x)[-1], ops.sum(tall, 0), ops.mean(x), ops.scatter_add(i, x, rows=2)[0]]
    given = [np.full(n, 0.1, "f"), np.zeros(n, "int64")]
    exact = float(np.float32(0.1)) * n
    total, last, columns, mean, scattered = compile(nodes, [x, i], executor=executor)(*given)
    np.testing.assert_allclose([total, last, scattered], exact, rtol=1e-6)
    np.testing.assert_allclose(columns, exact / 4, rtol=1e-6)
    np.testing.assert_allclose(mean, exact / n, rtol=1e-6)


def test_variances_beside_a_large_mean_keep_their_digits(executor):
    rows = (1e4 + np.random.default_rng(0).standard_normal((20_000, 3))).astype("f")
    x = ops.input("x", rows.shape)
    (found,) = compile([ops.var(x, 0)], [x], executor=executor)(rows)
    np.testing.assert_allclose(found, rows.astype("d").var(0), rtol=1e-5)
