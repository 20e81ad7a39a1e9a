"""Convolution and pooling: by their sums, at ties and borders; networks that learn; what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chainrule import Network, nn, ops, optim
from chainrule.autodiff import gradient
from chainrule.errors import ConfigError, ShapeError
from chainrule.executors import EXECUTORS, compile, evaluate
from chainrule.inspect import count_multiply_adds, count_paths
from chainrule.testing import check_gradients

RNG = np.random.default_rng


def values(build, *arrays):
    inputs = [ops.input(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    return evaluate([build(*inputs)], dict(zip(inputs, arrays, strict=True)))[0]


# ------------------------------------------------------------------ convolution


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), ((1, 2), (2, 1))])
@pytest.mark.parametrize("padding", ["valid", "same", 1, (2, 0), ((1, 0), (2, 1))])
def test_a_convolution_is_its_sum(padding, stride, dilation, groups):
    """Term by term, in plain loops."""
    rng = RNG(0)
    x, w = rng.normal(size=(2, 6, 5, 4)), rng.normal(size=(3, 2, 4 // groups, 6))
    y = values(
        lambda x, w: ops.conv(x, w, stride=stride, padding=padding, dilation=dilation, groups=groups), x, w
    )
    strides, dilations = np.broadcast_to(stride, 2), np.broadcast_to(dilation, 2)
    if padding == "same":
        assert y.shape[1:3] == tuple(-(-n // s) for n, s in zip((6, 5), strides, strict=True))
        spans = [(k - 1) * d + 1 for k, d in zip((3, 2), dilations, strict=True)]
        totals = [
            max((m - 1) * s + e - n, 0)
            for m, s, e, n in zip(y.shape[1:3], strides, spans, (6, 5), strict=True)
        ]
        pairs = [(t // 2, t - t // 2) for t in totals]
    else:
        sides = (0, 0) if padding == "valid" else (padding, padding) if isinstance(padding, int) else padding
        pairs = [p if isinstance(p, tuple) else (p, p) for p in sides]
    wide = np.pad(x, ((0, 0), *pairs, (0, 0)))
    for place in np.ndindex(y.shape[1:]):
        i, j, o = place
        group = o // (6 // groups)
        total = np.zeros(2)
        for a, b, c in np.ndindex(3, 2, 4 // groups):
            row, column = i * strides[0] + a * dilations[0], j * strides[1] + b * dilations[1]
            total += wide[:, row, column, group * (4 // groups) + c] * w[a, b, c, o]
        np.testing.assert_allclose(y[:, i, j, o], total, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("padding", ["valid", "same", 1, ((0, 1),)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (2, 3), (4, 3)])
def test_the_transpose_is_the_gradient_by_the_input(kernel, stride, padding, groups):
    rng = RNG(1)
    w = rng.normal(size=(kernel, 6 // groups, 3))
    g = rng.normal(size=(2, 4, 3))
    y = values(lambda g, w: ops.conv_transpose(g, w, stride=stride, padding=padding, groups=groups), g, w)
    if padding == "same":
        assert y.shape == (2, 4 * stride, 6)
    x = ops.input("x", y.shape, "float64")
    forward = ops.conv(x, ops.constant(w), stride=stride, padding=padding, groups=groups)
    assert forward.shape == g.shape
    (back,) = evaluate([gradient(ops.sum(forward * ops.constant(g)), x)], {x: np.zeros(x.shape)})
    np.testing.assert_allclose(y, back, rtol=1e-12)


def test_float32_images_of_one_kernel_size_are_one_product():
    x, w = RNG(2).normal(size=(3, 4, 4, 2)).astype("f"), RNG(3).normal(size=(4, 4, 2, 5)).astype("f")
    y = values(ops.conv, x, w)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y[:, 0, 0], x.reshape(3, -1) @ w.reshape(-1, 5), rtol=1e-5)


def test_work_and_paths_are_counted():
    x, w = ops.input("x", (1, 5, 5, 2)), ops.input("w", (3, 3, 2, 4))
    y = ops.conv(x, w)
    assert count_multiply_adds(y) == count_paths(y, x) == count_paths(y, w) == 9 * 9 * 2 * 4
    assert count_paths(ops.average_pool(x, 2), x) == count_paths(ops.max_pool(x, 2), x) == 4 * 4 * 2
    padded = ops.conv(x, w, padding="same")
    assert count_paths(padded, x) == (9 * 9 + 4 * 3 * 6 + 4 * 4) * 2 * 4  # inner places, sides, corners


# ------------------------------------------------------------------ pooling


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_first_of_tied_elements_receives_the_gradient(executor):
    """In the order of rows, then columns, also where windows overlap."""
    x = np.zeros((1, 4, 4, 1))
    x[0, 1, 2, 0] = 1.0
    node = ops.input("x", x.shape, "float64")
    for stride, expected in [
        (2, [[1, 0, 0, 0], [0, 0, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0]]),
        (1, [[1, 0, 0, 0], [0, 0, 4, 0], [1, 1, 1, 0], [0, 0, 0, 0]]),
    ]:
        if stride == 1:
            expected[1][0] = 1
        slope = gradient(ops.sum(ops.max_pool(node, 2, stride=stride)), node)
        (found,) = compile([slope], [node], executor=executor)(x)
        np.testing.assert_array_equal(found[0, :, :, 0], expected)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_borders_never_win_and_are_not_counted(executor):
    x = ops.input("x", (1, 3, 1), "float64")
    largest, mean = ops.max_pool(x, 3, stride=1, padding=1), ops.average_pool(x, 3, stride=1, padding=1)
    given = np.array([-5.0, -7.0, -6.0]).reshape(1, 3, 1)
    found = compile([largest, mean], [x], executor=executor)(given)
    np.testing.assert_array_equal(found[0].ravel(), [-5, -5, -6])
    np.testing.assert_allclose(found[1].ravel(), [-6, -6, -6.5])


@pytest.mark.parametrize("executor", EXECUTORS)
def test_nan_passes_through_pooling(executor):
    x = ops.input("x", (1, 4, 2), "float64")
    given = np.array([[1, 2], [math.nan, 3], [4, 5], [6, -math.inf]]).reshape(1, 4, 2)
    (found,) = compile([ops.max_pool(x, 2)], [x], executor=executor)(given)
    np.testing.assert_array_equal(found, [[[math.nan, 3], [6, 5]]])


@pytest.mark.parametrize(("size", "stride", "padding"), [(2, None, 0), (3, 2, 1), ((2, 3), (1, 2), "same")])
def test_pooling_has_gradients_to_second_order(size, stride, padding):
    x = RNG(4).permutation(2 * 6 * 5 * 2).reshape(2, 6, 5, 2) * 0.1
    check_gradients(lambda x: ops.max_pool(x, size, stride=stride, padding=padding) ** 2, x, order=2)
    check_gradients(lambda x: ops.average_pool(x, size, stride=stride, padding=padding) ** 2, x, order=2)


# ------------------------------------------------------------------ layers


def test_parameters_fans_and_shapes_of_a_network():
    net = Network(
        nn.Conv2D(32), ops.relu, nn.Conv2D(64), nn.BatchNorm(), ops.relu, nn.MaxPool(2), nn.Flatten(),
        nn.Dense(10), seed=0,
    )  # fmt: skip
    net.build(28, 28, 1)
    assert net["conv2d_0/W"].shape == (3, 3, 1, 32)
    assert net["batch_norm_0/mean"].shape == (64,)
    lines = net.summary().splitlines()
    assert any("(batch, 26, 26, 32)" in line and line.split()[-1] == "320" for line in lines)
    assert any("(batch, 12, 12, 64)" in line for line in lines)
    assert net["conv2d_1/W"].std() == pytest.approx(math.sqrt(2 / (9 * 32)), rel=0.03)


def test_the_signal_keeps_its_size_through_a_transposed_convolution():
    """Each output is a sum of kernel·in/stride terms."""
    x = ops.input("x", (8, 16, 16, 32), "float64")
    layer = nn.ConvTranspose2D(32, 4, 2, padding="same", init=nn.LeCunNormal(), bias=False)
    y, run = nn.trace(layer, x, training=True, dtype="float64")
    given = {x: RNG(5).normal(size=x.shape), run.inputs["W"]: run.parameters["W"].initial(0)}
    assert evaluate([y], given)[0][:, 4:-4, 4:-4].std() == pytest.approx(1, rel=0.05)


def stripes(n, seed=0):
    """Images of noise with a horizontal or a vertical stripe at a random place."""
    rng = RNG(seed)
    x, y = rng.normal(size=(n, 9, 9, 1)) * 0.2, np.arange(n) % 2
    for image, kind in zip(x, y, strict=True):
        place = rng.integers(1, 8)
        image[(slice(None), place) if kind else (place, slice(None))] += 1
    return x.astype("f"), y


def striped_network():
    return Network(
        nn.Conv2D(8, 5), nn.BatchNorm(), ops.relu, nn.MaxPool(2), nn.Conv2D(8, 2), ops.relu,
        nn.GlobalMaxPool(), nn.Dense(2), seed=0,
    )  # fmt: skip


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_small_network_learns_wherever_the_stripe_is(executor):
    net, (x, y) = striped_network(), stripes(200)
    net.fit(x, y, epochs=12, batch_size=20, optimizer=optim.Adam(0.01), executor=executor, verbose=0)
    far, kinds = stripes(100, seed=1)
    assert (net.predict(far) == kinds).mean() >= 0.98


def test_executors_train_alike_and_threads_change_no_bit():
    x, y = stripes(44)
    states = []
    for executor, threads in [("reference", None), ("cpu", 1), ("cpu", 2)]:
        net = striped_network()
        net.fit(
            x,
            y,
            epochs=2,
            batch_size=20,
            optimizer=optim.SGD(0.05),
            executor=executor,
            threads=threads,
            verbose=0,
        )
        states.append(net.state)
    for name, value in states[0].items():
        np.testing.assert_allclose(states[1][name], value, rtol=1e-3, atol=1e-5, err_msg=name)
        np.testing.assert_array_equal(states[1][name], states[2][name], err_msg=name)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (nn.Conv2D(4), (5, 28, 28), r"\(batch, height, width, channels\).*x\[..., None\]"),
        (nn.Conv1D(4), (5, 28), r"\(batch, length, channels\).*x\[..., None\]"),
        (nn.MaxPool(), (5, 28), r"x\[..., None\]"),
        (nn.Conv2D(4, 7), (5, 6, 6, 1), "pad more, or take a smaller kernel"),
        (nn.Conv2D(4, groups=2), (5, 6, 6, 3), "groups=2 does not divide the 3 channels"),
        (nn.MaxPool(7), (5, 6, 6, 3), "take smaller ones"),
        (nn.MaxPool(2, padding=2), (5, 6, 6, 3), "must be smaller than the windows"),
        (nn.ConvTranspose1D(4, 2, padding=3), (5, 2, 3), "leaves nothing"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(layer, shape, words):
    with pytest.raises(ShapeError, match=words):
        nn.trace(layer, ops.input("x", shape), training=True)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: nn.Conv2D(0), "filters"),
        (lambda: nn.Conv2D(4, (3, 3, 3)), "kernel must be .* tuple of 2"),
        (lambda: nn.Conv2D(4, [3, 3]), "kernel"),
        (lambda: nn.Conv1D(4, stride=0), "stride"),
        (lambda: nn.Conv1D(4, padding="full"), "unknown padding"),
        (lambda: nn.Conv1D(4, padding=(1, 2)), "padding"),
        (lambda: nn.Conv2D(4, padding=((1, -1), 0)), "padding"),
        (lambda: nn.Conv2D(4, groups=3), "groups=3 does not divide filters=4"),
        (lambda: nn.MaxPool(True), "size"),
        (lambda: nn.AveragePool(2, padding=1.5), "padding"),
        (lambda: ops.conv(ops.input("x", (1, 5, 2)), ops.input("w", (3, 2, 4)), padding=-1), "padding"),
        (lambda: ops.conv(ops.input("x", (1, 5, 2)), ops.input("w", (3, 2, 4)), stride=(1, 2)), "stride"),
    ],
)
def test_arguments_that_mean_nothing(build, words):
    with pytest.raises(ConfigError, match=words):
        build()


@pytest.mark.parametrize(
    ("x", "w", "words"),
    [
        ((1, 5, 2), (3, 3, 4), "x .* has 2 channels, w .* takes 3"),
        ((1, 5, 2), (3, 3, 2, 4), "do not fit"),
        ((5, 2), (2, 4), "do not fit"),
    ],
)
def test_kernels_that_do_not_fit(x, w, words):
    with pytest.raises(ShapeError, match=words):
        ops.conv(ops.input("x", x), ops.input("w", w))
