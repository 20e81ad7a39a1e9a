"""Every primitive, from its SAMPLES: inference equals computation, gradients to second order, executors."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import ops
from chainrule.autodiff import gradient
from chainrule.errors import ChainruleError, ConfigError, DataError, DTypeError, ShapeError
from chainrule.executors import EXECUTORS, evaluate
from chainrule.graph import PRIMITIVES, apply, check
from chainrule.ops.convert import STOP_GRADIENT
from chainrule.ops.elementwise import ELEMENTWISE
from chainrule.ops.functions import FUNCTIONS
from chainrule.ops.samples import SAMPLES
from chainrule.testing import check_gradients, compare_executors

STRUCTURAL = {"input", "constant", "item", "call", "scan"}
"""Primitives that stand for the graph itself: values given, known, one of several outputs, a subgraph, a
subgraph that is repeated (test_scan.py)."""

CASES = [
    pytest.param(primitive, case, id=f"{primitive}-{i}")
    for primitive, cases in SAMPLES.items()
    for i, case in enumerate(cases)
]


def test_every_primitive_has_samples_or_is_structural():
    assert {p.name for p in SAMPLES} | STRUCTURAL == set(PRIMITIVES)
    assert not {p.name for p in SAMPLES} & STRUCTURAL
    assert all(cases for cases in SAMPLES.values())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("primitive", "case"), CASES)
def test_inference_equals_what_is_computed(primitive, case, dtype):
    arrays = case.arrays(seed=1, dtype=dtype)
    inputs = [ops.input(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    node = apply(primitive, *inputs, **case.meta)
    check([node])
    with np.errstate(all="ignore"):
        raw = primitive.reference(*arrays, **case.meta)
    assert (np.shape(raw), raw.dtype) == (node.shape, node.dtype)
    (found,) = evaluate([node], dict(zip(inputs, arrays, strict=True)))
    np.testing.assert_array_equal(found, raw)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("primitive", "case"), CASES)
def test_every_executor_agrees_with_the_reference(primitive, case, dtype, executor):
    arrays = case.arrays(seed=2, dtype=dtype)
    inputs = [ops.input(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    node = apply(primitive, *inputs, **case.meta)
    compare_executors([node], dict(zip(inputs, arrays, strict=True)), [executor])


@pytest.mark.parametrize(("primitive", "case"), [c for c in CASES if c.values[0] is not STOP_GRADIENT])
def test_gradients_to_second_order_equal_differences(primitive, case):
    check_gradients(lambda *xs: apply(primitive, *xs, **case.meta), *case.arrays(seed=3), order=2)


def test_elementwise_means_element_by_element():
    """On a permuted input the output is permuted: what constant folding and fusing rely on."""
    order = np.random.default_rng(0).permutation(12)
    for primitive in ELEMENTWISE:
        for case in SAMPLES[primitive]:
            arrays = case.arrays(seed=4)
            if arrays[0].size != 12:
                continue
            moved = [a.reshape(-1)[order].reshape(a.shape) for a in arrays]
            y, z = (primitive.reference(*xs, **case.meta) for xs in (arrays, moved))
            np.testing.assert_array_equal(y.reshape(-1)[order], z.reshape(-1), err_msg=primitive.name)
    others = set(SAMPLES) - ELEMENTWISE
    assert {"sum", "matmul", "reshape", "broadcast", "gather", "cumsum", "random_bits"} <= {
        p.name for p in others
    }


# ------------------------------------------------------------------ user functions: dtypes


def spec_of(build, *specs) -> str:
    return str(build(*[ops.input(f"x{i}", shape, dtype) for i, (shape, dtype) in enumerate(specs)]).spec)


@pytest.mark.parametrize(
    ("build", "dtype", "expected"),
    [
        (lambda x: x + 1, "uint8", "uint8"),
        (lambda x: x + 1, "int32", "int32"),
        (lambda x: x + 1.5, "int32", "float32"),
        (lambda x: x + 1.5, "float64", "float64"),
        (lambda x: x + True, "float32", "float32"),
        (lambda x: x / 2, "int64", "float32"),
        (lambda x: x**2, "int64", "float32"),
        (lambda x: x**3, "int64", "float32"),
        (lambda x: x**0.5, "float64", "float64"),
        (lambda x: -x, "int32", "int32"),
        (ops.exp, "uint8", "float32"),
        (ops.exp, "bool", "float32"),
        (ops.sum, "bool", "int64"),
        (ops.sum, "uint8", "int64"),
        (ops.sum, "int32", "int64"),
        (ops.sum, "float32", "float32"),
        (ops.cumsum, "uint8", "int64"),
        (ops.max, "uint8", "uint8"),
        (ops.min, "int32", "int32"),
        (ops.mean, "uint8", "float32"),
        (ops.mean, "float64", "float64"),
        (ops.argmax, "float64", "int64"),
        (ops.argsort, "float64", "int64"),
        (lambda x: x == x, "float32", None),
        (lambda x: ops.equal(x, x), "bool", "bool"),
        (lambda x: x < 0.5, "int64", "bool"),
        (lambda x: ops.one_hot(x, 3), "uint8", "float32"),
        (lambda x: ops.one_hot(x, 3, "float64"), "uint8", "float64"),
        (lambda x: x * np.float64(2), "float32", "float32"),  # NumPy's scalar is a Python float
        (lambda x: x * np.ones(3), "float32", "float64"),  # an array keeps its dtype
        (lambda x: x @ x, "int64", "float32"),
        (lambda x: ops.minimum(x, 0.1), "float64", "float64"),
        (lambda x: ops.clip(x, 0.0, 1.0), "float64", "float64"),
    ],
)
def test_dtypes_follow_the_rules(build, dtype, expected):
    x = ops.input("x", (3,), dtype)
    found = build(x)
    assert found is True if expected is None else found.dtype.name == expected


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_registered_functions_keep_shape_and_dtype(name, dtype):
    x = ops.input("x", (4, 3), dtype)
    y = FUNCTIONS[name](x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert name == FUNCTIONS[name].__name__
    (found,) = evaluate([y], {x: np.linspace(-3, 3, 12).reshape(4, 3)})
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"step"}))
def test_registered_functions_have_gradients_to_second_order(name):
    """Off the kinks; the highest margin is what hard_swish needs around ±3."""
    x = np.array([-4.1, -2.3, -0.6, 0.4, 0.7, 2.2, 3.9]).reshape(1, 7)
    check_gradients(FUNCTIONS[name], x, order=2)


def test_step_has_no_gradient():
    x = ops.input("x", (3,), "float64")
    value, slope = evaluate([ops.step(x), gradient(ops.sum(ops.step(x)), x)], {x: [-1, 0, 2]})
    np.testing.assert_array_equal(value, [0, 1, 1])
    np.testing.assert_array_equal(slope, 0)


def test_scalars_keep_float64_precision_in_minimum():
    x = ops.input("x", (1,), "float64")
    assert evaluate([ops.minimum(x, 0.1)], {x: [5.0]})[0][0] == 0.1


def test_sums_of_pixels_do_not_wrap_around():
    x = ops.input("x", (1000,), "uint8")
    assert evaluate([ops.sum(x)], {x: np.full(1000, 255)})[0] == 255_000
    assert evaluate([ops.mean(x)], {x: np.full(1000, 255)})[0] == 255
    assert evaluate([ops.cumsum(x)], {x: np.full(1000, 255)})[0][-1] == 255_000


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_minima_of_integers_reach_the_lowest_value(dtype):
    limits = np.iinfo(dtype)
    x, y = ops.input("x", (3,), dtype), ops.input("y", (3,), dtype)
    a, b = np.array([limits.min, 5, limits.max], dtype), np.array([limits.max, 3, limits.max], dtype)
    low, pair = evaluate([ops.min(x), ops.minimum(x, y)], {x: a, y: b})
    assert low == a.min()
    np.testing.assert_array_equal(pair, np.minimum(a, b))


# ------------------------------------------------------------------ accumulation


def test_float32_is_summed_in_float64():
    x = ops.input("x", (1_000_000,))
    total, running = evaluate([ops.sum(x), ops.cumsum(x)], {x: np.full(1_000_000, 0.1, "f")})
    exact = 1_000_000 * float(np.float32(0.1))
    assert abs(total - exact) <= 0.01
    assert abs(running[-1] - exact) <= 0.01


def test_the_variance_of_offset_data_keeps_its_digits():
    """N(1e4, 1) over 1e5 rows: NumPy's float32 axis-0 sum gives 56, not 1."""
    rows = (1e4 + np.random.default_rng(0).standard_normal((100_000, 1))).astype("f")
    x = ops.input("x", rows.shape)
    (found,) = evaluate([ops.var(x, 0)], {x: rows})
    np.testing.assert_allclose(found, rows.astype("d").var(0), rtol=1e-5)


def test_scatter_add_accumulates_in_float64():
    index, values = np.zeros(1_000_000, "int64"), np.full((1_000_000, 1), 0.1, "f")
    i, u = ops.input("i", index.shape, "int64"), ops.input("u", values.shape)
    (found,) = evaluate([ops.scatter_add(i, u, rows=2)], {i: index, u: values})
    np.testing.assert_allclose(found, [[1e6 * float(np.float32(0.1))], [0]], rtol=1e-7)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("build", "error", "parts"),
    [
        (lambda x, i, m: ops.concat([x, ops.cast(x, "float64")]), DTypeError, ["concat", "ops.cast"]),
        (lambda x, i, m: m + m, DTypeError, ["add", "numeric", "bool[4, 3]", "ops.cast"]),
        (lambda x, i, m: ops.logical_not(x), DTypeError, ["logical_not", "boolean"]),
        (lambda x, i, m: ops.max(m), DTypeError, ["max", "numeric"]),
        (lambda x, i, m: ops.gather(x, x), DTypeError, ["gather", "integer"]),
        (lambda x, i, m: ops.one_hot(x, 3), DTypeError, ["one_hot", "integer"]),
        (lambda x, i, m: ops.where(x, 0, 1), DTypeError, ["where", "boolean"]),
        (lambda x, i, m: i + 2**40, DTypeError, ["1099511627776", "int32", "wider"]),
        (lambda x, i, m: x + 1e300, DTypeError, ["1e+300", "float32"]),
        (lambda x, i, m: ops.max(ops.input("e", (0, 3)), 0), ShapeError, ["max", "no elements"]),
        (lambda x, i, m: ops.argmax(ops.input("e", (0, 3)), 0), ShapeError, ["argmax", "no elements"]),
        (lambda x, i, m: ops.squeeze(x, 0), ShapeError, ["squeeze", "size 4"]),
        (lambda x, i, m: ops.expand(x, 5), ShapeError, ["expand", "position 5"]),
        (lambda x, i, m: ops.split(x, [1, 1], 0), ShapeError, ["split", "[1, 1]", "axis 0"]),
        (lambda x, i, m: ops.concat([]), ShapeError, ["concat", "no arrays"]),
        (lambda x, i, m: ops.transpose(x, (0, 0)), ShapeError, ["transpose", "permutation"]),
        (lambda x, i, m: ops.pad(x, (1,), (1,)), ShapeError, ["pad", "per axis"]),
        (lambda x, i, m: ops.reshape(x, (-1, -1)), ShapeError, ["non-negative"]),
        (lambda x, i, m: ops.reshape(x, (-1, 5)), ShapeError, ["reshape", "does not fill"]),
        (lambda x, i, m: ops.slice_axes(x, (0, 0), (5, 3), (1, 1)), ShapeError, ["slice", "0:5:1", "axis 0"]),
        (lambda x, i, m: ops.gather(ops.sum(x), i), ShapeError, ["gather", "scalar"]),
        (lambda x, i, m: ops.scatter_add(i, x[0], rows=3), ShapeError, ["scatter_add", "begin with"]),
        (lambda x, i, m: ops.scatter_add(i, m, rows=3), DTypeError, ["scatter_add", "numeric"]),
        (lambda x, i, m: ops.sum(x) @ x, ShapeError, ["matmul", "scalar", "*"]),
        (lambda x, i, m: x[0] @ x, ShapeError, ["matmul", "3 columns", "4 rows"]),
        (lambda x, i, m: x[0, 0, 0], ShapeError, ["3 indices", "2 axes"]),
        (lambda x, i, m: x[..., ...], ShapeError, ["2 times '...'"]),
        (lambda x, i, m: x[4], ShapeError, ["x[4]", "axis 0"]),
        (lambda x, i, m: x[1.0], ShapeError, ["float", "ops.gather"]),
        (lambda x, i, m: x[True], ShapeError, ["bool", "ops.where"]),
        (lambda x, i, m: x[[0, 1]], ShapeError, ["list", "ops.gather"]),
        (lambda x, i, m: x[::0], ShapeError, ["step"]),
        (lambda x, i, m: x[np.array([4])], DataError, ["4", "4 rows"]),
        (lambda x, i, m: ops.uniform(ops.RandomKey(0), 3, dtype="int32"), DTypeError, ["float32 or float64"]),
        (lambda x, i, m: ops.bernoulli(ops.RandomKey(0), (3,), 1.5), ConfigError, ["between 0 and 1", "1.5"]),
        (lambda x, i, m: ops.clip(x, 1.0, 0.0), ConfigError, ["clip", "lower bound 1.0", "upper bound 0.0"]),
        (lambda x, i, m: ops.random_bits(ops.RandomKey(0), (3,), 64), DTypeError, ["63 bits"]),
        (lambda x, i, m: ops.random_bits(ops.RandomKey(x), (3,)), ShapeError, ["integer scalars"]),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused_when_it_is_built(build, error, parts):
    x, i, m = ops.input("x", (4, 3)), ops.input("i", (4,), "int32"), ops.input("m", (4, 3), "bool")
    with pytest.raises(error) as caught:
        build(x, i, m)
    assert isinstance(caught.value, ChainruleError)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


@pytest.mark.parametrize("bad", [-1, 3])
def test_an_index_outside_the_rows_is_an_error_of_the_data(bad):
    x, i, u = ops.input("x", (3, 2)), ops.input("i", (2,), "int64"), ops.input("u", (2, 2))
    given = {x: np.zeros((3, 2)), i: [0, bad], u: np.zeros((2, 2))}
    for y in (ops.gather(x, i), ops.scatter_add(i, u, rows=3)):
        with pytest.raises(DataError, match=f"index {bad} lies outside the 3 rows"):
            evaluate([y], given)
