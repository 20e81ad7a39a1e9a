"""Compiled convolutions, their gradients and pooling, against the reference: shapes that fill no tile."""

from __future__ import annotations

import numpy as np
import pytest
from plans import function_plan, ir

from chainrule import ops
from chainrule.autodiff import gradient
from chainrule.executors import compile
from chainrule.executors.cpu.kernels import Border, Convolution, Nest

RNG = np.random.default_rng
NEAR = {"float64": 1e-12, "float32": 3e-6}  # of the largest element


def both(outputs, inputs, arrays, threads=1):
    """By the compiler and by the reference."""
    found = compile(outputs, inputs, executor="cpu", threads=threads)(*arrays)
    return found, compile(outputs, inputs, executor="reference")(*arrays)


def assert_near(found, wanted):
    for y, z in zip(found, wanted, strict=True):
        assert (y.dtype, y.shape) == (z.dtype, z.shape)
        np.testing.assert_allclose(y, z, rtol=0, atol=NEAR[z.dtype.name] * max(np.abs(z).max(initial=0), 1))


def layer(x_shape, w_shape, dtype, **options):
    """A layer with bias and activation, and everything that its training asks for."""
    x, w, b = (ops.input(n, s, dtype) for n, s in (("x", x_shape), ("w", w_shape), ("b", w_shape[-1:])))
    y = ops.relu(ops.conv(x, w, **options) + b)
    target = ops.input("t", y.shape, dtype)
    loss = ops.sum(y * target)
    slopes = [gradient(loss, i) for i in (x, w, b)]
    return [y, *slopes], [x, w, b, target]


def arrays_of(inputs, seed=0):
    rng = RNG(seed)
    return [rng.normal(size=x.shape).astype(x.dtype) for x in inputs]


CHANNELS = [(1, 1), (1, 33), (3, 5), (5, 17), (17, 3), (17, 1), (33, 33), (3, 17), (33, 5), (5, 3)]


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize(("channels", "filters"), CHANNELS)
def test_channels_that_fill_no_register(channels, filters, dtype):
    outputs, inputs = layer((3, 7, 9, channels), (3, 2, channels, filters), dtype)
    assert_near(*both(outputs, inputs, arrays_of(inputs)))


GEOMETRY = [
    ((2, 11, 13, 3), (3, 3, 3, 8), {"stride": 2}),
    ((2, 11, 13, 8), (3, 3, 8, 5), {"dilation": 2}),
    ((2, 9, 8, 6), (3, 4, 6, 17), {"padding": ((2, 0), (1, 3))}),
    ((3, 6, 7, 33), (2, 3, 33, 16), {"padding": "same", "stride": (1, 2), "dilation": (2, 1)}),
    ((2, 29, 31, 1), (5, 5, 1, 20), {"padding": "same"}),
    ((1, 8, 40, 16), (1, 1, 16, 64), {}),
    ((5, 4, 4, 16), (4, 4, 16, 70), {}),
    ((2, 50, 5), (7, 5, 33), {"padding": "same"}),
    ((4, 33, 17), (3, 17, 5), {"stride": 3, "padding": ((1, 2),)}),
    ((2, 30, 1), (9, 1, 4), {"dilation": 2, "padding": 3}),
    ((2, 9, 10, 6), (3, 3, 3, 4), {"groups": 2, "padding": "same"}),
    ((0, 6, 6, 4), (3, 3, 4, 8), {}),
]


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize(("x", "w", "options"), GEOMETRY)
def test_strides_dilations_and_borders(x, w, options, dtype):
    outputs, inputs = layer(x, w, dtype, **options)
    assert_near(*both(outputs, inputs, arrays_of(inputs)))


@pytest.mark.parametrize(("x", "w", "options"), GEOMETRY)
def test_threads_change_no_bit(x, w, options):
    outputs, inputs = layer(x, w, "float32", **options)
    arrays = arrays_of(inputs)
    one, two = (compile(outputs, inputs, executor="cpu", threads=n)(*arrays) for n in (1, 2))
    for y, z in zip(one, two, strict=True):
        np.testing.assert_array_equal(y, z)


# ------------------------------------------------------------------ pooling


def pooled(shape, size, dtype, **options):
    """Pooling between an activation and a bias, as layers put it, and its gradient."""
    x, b = ops.input("x", shape, dtype), ops.input("b", shape[-1:], dtype)
    y = ops.max_pool(ops.relu(x + b), size, **options)
    target = ops.input("t", y.shape, dtype)
    loss = ops.sum(y * target)
    return [y, gradient(loss, x), gradient(loss, b)], [x, b, target]


POOLS = [
    ((3, 8, 6, 17), 2, {}),
    ((2, 9, 7, 5), 2, {}),
    ((2, 9, 8, 33), (3, 2), {}),
    ((2, 7, 12, 4), (1, 5), {}),
    ((4, 11, 3), 4, {}),
    ((2, 8, 8, 16), 3, {"stride": 2}),
    ((2, 8, 7, 3), 2, {"padding": "same"}),
    ((2, 6, 6, 1), 2, {}),
    ((0, 4, 4, 2), 2, {}),
]


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize(("shape", "size", "options"), POOLS)
def test_pooling_of_shapes_that_fill_no_window(shape, size, options, dtype):
    outputs, inputs = pooled(shape, size, dtype, **options)
    assert_near(*both(outputs, inputs, arrays_of(inputs)))


@pytest.mark.parametrize("size", [(2, 2), (3, 1), (2, 3)])
def test_ties_and_nan_choose_the_same_element(size):
    """Small whole numbers are often equal; NaN is the largest, the first one wins."""
    x, t = ops.input("x", (4, 6, 6, 5)), ops.input("t", (4, 6 // size[0], 6 // size[1], 5))
    slope = gradient(ops.sum(ops.max_pool(x, size) * t), x)
    given = [RNG(1).integers(-1, 2, x.shape).astype("f"), RNG(2).normal(size=t.shape).astype("f")]
    given[0][RNG(3).random(x.shape) < 0.1] = np.nan
    found, wanted = both([ops.max_pool(x, size), slope], [x, t], given)
    for y, z in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(y, z)
    assert np.count_nonzero(found[1]) == t.size


def test_a_network_of_all_of_it_is_the_same_on_two_threads():
    """Borders around what a kernel computes, pooling behind an activation, gradients of gradients' inputs."""
    x, (w, v) = (
        ops.input("x", (6, 9, 10, 3)),
        (ops.input(n, s) for n, s in (("w", (3, 3, 3, 8)), ("v", (3, 3, 8, 9)))),
    )
    h = ops.max_pool(ops.relu(ops.conv(x, w, padding="same")), 2)
    y = ops.relu(ops.conv(h, v, padding="same", stride=2))
    loss = ops.sum(y**2)
    outputs, inputs = [y, *(gradient(loss, i) for i in (x, w, v))], [x, w, v]
    arrays = arrays_of(inputs)
    found, wanted = both(outputs, inputs, arrays)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())
    for a, b in zip(found, both(outputs, inputs, arrays, threads=2)[0], strict=True):
        np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------------ plans


def test_samples_stream_through_kernels_that_follow_one_another():
    """A convolution's output is pooled while it is near; every kernel runs once, in its order."""
    x, w = ops.input("x", (16, 20, 20, 3)), ops.input("w", (3, 3, 3, 32))
    schedule = function_plan([ops.max_pool(ops.relu(ops.conv(x, w)), 2)], [x, w]).schedule
    assert [k for stream in schedule.streams for k in stream.kernels] == schedule.kernels
    (stream,) = (s for s in schedule.streams if s.rows)
    assert [type(k) for k in stream.kernels] == [Convolution, Nest]
    assert 1 <= stream.rows < 16


def test_a_border_lies_around_what_is_computed():
    """The activation writes among the zeros; nothing is copied."""
    x, v, w = ops.input("x", (4, 8, 8, 3)), ops.input("v", (3, 3, 3, 16)), ops.input("w", (3, 3, 16, 8))
    y = ops.conv(ops.relu(ops.conv(x, v)), w, padding="same")
    kernels = function_plan([y], [x, v, w]).schedule.kernels
    (border,) = (k for k in kernels if isinstance(k, Border))
    (first,) = (k for k in kernels if isinstance(k, Convolution) and k.product.shape[-1] == 16)
    assert first.stores[-1][1].buffer is border.stores[0][1].buffer


@pytest.mark.parametrize(("width", "before", "among"), [(40, 0, True), (48, 32, True), (40, 40, False)])
def test_what_is_written_among_zeros_does_not_reach_into_the_next_line(width, before, among):
    """Loops write whole vectors. The last line of a thread would reach into the first one of the next."""
    x = ops.input("x", (33, 4, width), "float64")
    y = ops.pad(ops.tanh(x), (0, 0, before), (0, 0, 80 - before - width))
    nest, border = function_plan([ops.sum(y * y, 2)], [x], 2).schedule.kernels[:2]
    assert isinstance(border, Border)
    assert (nest.stores[-1][1].buffer is border.stores[0][1].buffer) == among


@pytest.mark.parametrize("lanes", [4, 16])
def test_a_training_step_has_no_windows(lanes):
    outputs, inputs = layer((8, 12, 12, 5), (3, 3, 5, 20), "float32", padding="same", stride=2)
    plan = function_plan(outputs, inputs, 2)
    names = {n.primitive.name for k in plan.schedule.kernels for n in k.nodes}
    assert names >= {"conv", "conv_kernel_gradient"}
    assert not names & {"windows", "matmul", "fold"}
    assert "gradient_tile" in ir(plan, lanes)
