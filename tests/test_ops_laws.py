"""Laws that hold for any input: indexing, broadcasting, reductions and products are NumPy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from chainrule import ops
from chainrule.autodiff import gradient
from chainrule.executors import evaluate

law = settings(max_examples=150)
shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def run(build, *arrays, dtype="float64"):
    """The value of ``build`` on arrays of one dtype."""
    arrays = [np.asarray(a) for a in arrays]
    nodes = [
        ops.input(f"x{i}", a.shape, dtype if a.dtype.kind == "f" else a.dtype) for i, a in enumerate(arrays)
    ]
    return evaluate([build(*nodes)], dict(zip(nodes, arrays, strict=True)))[0]


def numbers(shape):
    return (
        np.random.default_rng(math.prod(shape))
        .permutation(np.arange(1.0, math.prod(shape) + 1))
        .reshape(shape)
    )


# ------------------------------------------------------------------ x[…]


@law
@given(st.data(), shapes)
def test_indexing_is_numpys(data, shape):
    key = data.draw(npst.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    x = numbers(shape)
    np.testing.assert_array_equal(run(lambda x: x[key], x), x[key])


@law
@given(st.data(), npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=7))
def test_slices_with_negative_steps_send_gradients_back_to_their_places(data, shape):
    key = data.draw(npst.basic_indices(shape))
    x, expected = numbers(shape), np.zeros(shape)
    expected[key] = 1
    found = run(lambda x: gradient(ops.sum(x[key]), x), x)
    np.testing.assert_array_equal(found, expected)


@law
@given(st.data(), npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
def test_rows_are_picked_as_numpy_picks_them(data, shape):
    index = data.draw(npst.arrays(np.int64, npst.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=4),
                                  elements=st.integers(-shape[0], shape[0] - 1)))  # fmt: skip
    x = numbers(shape)
    np.testing.assert_array_equal(run(lambda x: x[index], x), x[index])
    expected = np.zeros(shape)
    np.add.at(expected, index, 1)
    np.testing.assert_array_equal(run(lambda x: gradient(ops.sum(x[index]), x), x), expected)


# ------------------------------------------------------------------ shapes


@law
@given(npst.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, max_side=3, min_side=0))
def test_arithmetic_broadcasts_as_numpy_does(found):
    a, b, c = (numbers(s) for s in found.input_shapes)
    result = run(lambda a, b, c: ops.where(a < b, a * b, b - c), a, b, c)
    assert result.shape == found.result_shape
    np.testing.assert_array_equal(result, np.where(a < b, a * b, b - c))


@law
@given(npst.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3, min_side=0))
def test_the_gradient_of_a_broadcast_operand_is_the_sum_over_its_copies(found):
    """∂Σ(a·b)/∂a = Σ over the copies of a of b."""
    a, b = (numbers(s) for s in found.input_shapes)
    got = run(lambda a, b: gradient(ops.sum(a * b), a), a, b)
    wide = np.broadcast_to(b, found.result_shape)
    lead = wide.ndim - a.ndim
    axes = tuple(i for i in range(wide.ndim) if i < lead or a.shape[i - lead] != wide.shape[i])
    np.testing.assert_allclose(got, wide.sum(axes, keepdims=True).reshape(a.shape) if axes else wide)


@law
@given(shapes, st.randoms(use_true_random=False))
def test_reshape_and_transpose_come_back(shape, random):
    x = numbers(shape)
    order = random.sample(range(len(shape)), len(shape))
    back = [order.index(i) for i in range(len(shape))]
    moved = run(
        lambda x: ops.transpose(
            ops.transpose(ops.reshape(ops.reshape(x, -1 if x.size else 0), shape), order), back
        ),
        x,
    )
    np.testing.assert_array_equal(moved, x)
    np.testing.assert_array_equal(run(lambda x: ops.transpose(x, order), x), x.transpose(order))
    np.testing.assert_array_equal(run(lambda x: x.T, x), np.swapaxes(x, -1, -2) if x.ndim > 1 else x)


@law
@given(shapes, st.data())
def test_pad_and_slice_undo_each_other(shape, data):
    sizes = st.lists(st.integers(0, 3), min_size=len(shape), max_size=len(shape))
    before, after, between = data.draw(sizes), data.draw(sizes), data.draw(sizes)
    x = numbers(shape)

    def there_and_back(x):
        wide = ops.pad(x, before, after, between)
        stops = [n - a for n, a in zip(wide.shape, after, strict=True)]
        return ops.slice_axes(wide, before, [max(s, b) for s, b in zip(stops, before, strict=True)],
                              [i + 1 for i in between])  # fmt: skip

    np.testing.assert_array_equal(run(there_and_back, x), x)
    total = run(lambda x: ops.sum(ops.pad(x, before, after, between)), x)
    assert total == x.sum()  # zeros alone were added


@law
@given(npst.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4), st.data())
def test_concat_and_split_undo_each_other(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    parts = [numbers((*shape[: axis % len(shape)], n, *shape[axis % len(shape) + 1 :])) for n in sizes]
    np.testing.assert_array_equal(run(lambda *xs: ops.concat(xs, axis), *parts), np.concatenate(parts, axis))
    whole = np.concatenate(parts, axis)
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(run(lambda x, i=i: ops.split(x, sizes, axis)[i], whole), part)


@law
@given(npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), st.data())
def test_stack_expand_squeeze_flip(shape, data):
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    x = numbers(shape)
    np.testing.assert_array_equal(run(lambda x: ops.stack([x, x], axis), x), np.stack([x, x], axis))
    np.testing.assert_array_equal(run(lambda x: ops.expand(x, axis), x), np.expand_dims(x, axis))
    np.testing.assert_array_equal(run(lambda x: ops.squeeze(ops.expand(x, axis), axis), x), x)
    np.testing.assert_array_equal(run(lambda x: ops.flip(x), x), np.flip(x))


# ------------------------------------------------------------------ reductions, products, order


@law
@given(shapes, st.data())
def test_reductions_are_numpys(shape, data):
    axes = data.draw(st.one_of(st.none(), st.lists(st.integers(0, len(shape) - 1), unique=True).map(tuple)
                               if shape else st.just(())))  # fmt: skip
    keep = data.draw(st.booleans())
    x = numbers(shape) / 7
    for mine, theirs in ((ops.sum, np.sum), (ops.mean, np.mean), (ops.max, np.max), (ops.min, np.min),
                         (ops.var, np.var), (ops.std, np.std)):  # fmt: skip
        if not x.size and theirs is not np.sum:
            continue
        found = run(lambda x, mine=mine: mine(x, axes, keepdims=keep), x)
        expected = theirs(x, axis=axes, keepdims=keep)
        assert found.shape == np.shape(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@law
@given(npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4), st.data())
def test_running_sums_and_order_are_numpys(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = np.round(numbers(shape) / 2)  # with ties
    np.testing.assert_allclose(run(lambda x: ops.cumsum(x, axis), x), x.cumsum(axis))
    backwards = np.flip(np.flip(x, axis).cumsum(axis), axis)
    np.testing.assert_allclose(run(lambda x: ops.cumsum(x, axis, reverse=True), x), backwards)
    np.testing.assert_array_equal(run(lambda x: ops.argmax(x, axis), x), x.argmax(axis))
    np.testing.assert_array_equal(run(lambda x: ops.argsort(x, axis), x), x.argsort(axis, kind="stable"))


SHAPES_OF_PRODUCTS = [
    ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((6, 1, 2, 3), (5, 3, 4)), ((5, 2, 3), (3,)),
    ((3,), (5, 3, 4)),
    ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((4, 2, 0), (0, 3)), ((0,), (0,)), ((4, 0, 3), (3, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), SHAPES_OF_PRODUCTS)
def test_the_matrix_product_is_numpys(left, right):
    a, b = numbers(left), numbers(right)
    found = run(lambda a, b: a @ b, a, b)
    assert found.shape == (a @ b).shape
    np.testing.assert_array_equal(found, a @ b)


@pytest.mark.parametrize(("left", "right"), SHAPES_OF_PRODUCTS)
def test_the_gradient_of_a_matrix_product_is_that_of_a_sum_of_products(left, right):
    a, b = numbers(left) / 5, numbers(right) / 7
    c = np.cos(np.arange((a @ b).size)).reshape((a @ b).shape)
    found = run(lambda a, b: gradient(ops.sum((a @ b) * c), a), a, b)
    expected = np.zeros(left)
    for place in np.ndindex(*left):  # linear in a: the slope is the value at a unit
        unit = np.zeros(left)
        unit[place] = 1
        expected[place] = np.sum((unit @ b) * c)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_outer_is_numpys():
    a, b = numbers((3,)), numbers((4,))
    np.testing.assert_array_equal(run(ops.outer, a, b), np.outer(a, b))


@law
@given(npst.arrays(np.int64, npst.array_shapes(max_dims=2, max_side=4), elements=st.integers(0, 4)))
def test_one_hot_rows_are_unit_vectors(index):
    found = run(lambda i: ops.one_hot(i, 5, "float64"), index)
    np.testing.assert_array_equal(found, np.eye(5)[index])


@law
@given(npst.arrays(np.float64, (3, 4), elements=st.floats(-1e3, 1e3)), st.floats(-2, 2), st.floats(0, 2))
def test_clip_minimum_maximum_are_numpys(x, low, width):
    assume(width >= 0)
    np.testing.assert_array_equal(
        run(lambda x: ops.clip(x, low, low + width), x), np.clip(x, low, low + width)
    )
    np.testing.assert_array_equal(run(lambda x: ops.minimum(x, low), x), np.minimum(x, low))
    np.testing.assert_array_equal(run(lambda x: ops.maximum(low, x), x), np.maximum(x, low))


@law
@given(npst.arrays(np.float64, (2, 3), elements=st.floats(-3, 3)))
def test_gradients_are_linear_and_products_obey_leibniz(x):
    def slope(f):
        return run(lambda x: gradient(ops.sum(f(x)), x), x)

    f, g = ops.tanh, ops.sin
    np.testing.assert_allclose(
        slope(lambda x: 2 * f(x) - 3 * g(x)), 2 * slope(f) - 3 * slope(g), rtol=1e-12, atol=1e-14
    )
    product = slope(f) * np.sin(x) + np.tanh(x) * slope(g)
    np.testing.assert_allclose(slope(lambda x: f(x) * g(x)), product, rtol=1e-12, atol=1e-14)


@law
@given(
    st.sampled_from(["uint8", "int32", "int64"]),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    npst.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3),
    st.sampled_from(["float32", "float64", "int64", "uint8"]),
)
def test_scatter_add_is_numpys_add_at(kind, shape, rest, dtype):
    generator = np.random.default_rng(len(shape) + len(rest))
    index = generator.integers(0, 4, shape).astype(kind)
    updates = generator.integers(0, 9, (*shape, *rest)).astype(dtype)
    i, u = ops.input("i", shape, kind), ops.input("u", updates.shape, dtype)
    (found,) = evaluate([ops.scatter_add(i, u, rows=4)], {i: index, u: updates})
    expected = np.zeros((4, *rest), dtype)
    np.add.at(expected, index, updates)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype
