"""Each layer against its formula in plain NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from chainrule import nn, ops
from chainrule.autodiff import gradient
from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.executors import evaluate

SEED, STEP = 11, 5


def draw(shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


def compute(layer, x, *, training=False, values=None, seed=SEED, step=STEP, want=None):
    """The output of a layer for an array, or what ``want(y, run, x)`` asks for, in the dtype of x."""
    given = ops.input("x", x.shape, x.dtype)
    y, run = nn.trace(layer, given, training=training, dtype=x.dtype if x.dtype.kind == "f" else "float64")
    arrays = {path: p.initial(0) for path, p in run.parameters.items()}
    arrays |= {path: b.initial() for path, b in run.buffers.items()} | (values or {})
    known = {given: x, run.seed: seed, run.step: step} | {run.inputs[path]: a for path, a in arrays.items()}
    found = evaluate([y] if want is None else want(y, run, given), known)
    return found if want is not None else found[0]


# ------------------------------------------------------------------ Dense, TiedDense


def test_dense_is_x_w_plus_b():
    x = draw((5, 4))
    W, b = draw((4, 3), seed=2), draw((3,), seed=3)
    np.testing.assert_allclose(compute(nn.Dense(3), x, values={"W": W, "b": b}), x @ W + b, rtol=1e-13)
    x = draw((5, 2, 4))
    np.testing.assert_allclose(
        compute(nn.Dense(3), x, values={"W": W, "b": b}), np.einsum("btn,nm->btm", x, W) + b, rtol=1e-13
    )


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "bool"])
@pytest.mark.parametrize("working", ["float32", "float64"])
def test_dense_casts_integers_to_the_dtype_of_the_run(dtype, working):
    x = np.arange(20).reshape(5, 4).astype(dtype)
    given = ops.input("x", x.shape, x.dtype)
    y, run = nn.trace(nn.Dense(3), given, training=False, dtype=working)
    arrays = {path: p.initial(0) for path, p in run.parameters.items()}
    (found,) = evaluate([y], {given: x} | {run.inputs[p]: a for p, a in arrays.items()})
    assert found.dtype == working
    np.testing.assert_allclose(found, x.astype(working) @ arrays["W"], rtol=1e-5)


def test_the_reference_network_has_210_619_parameters():
    net = nn.sequential(nn.Dense(225), ops.relu, nn.Dense(144), ops.relu, nn.Dense(10))
    _, run = nn.trace(net, ops.input("x", (100, 784)), training=True)
    assert sum(p.spec.size for p in run.parameters.values()) == 210_619
    assert list(run.parameters) == [f"dense_{i}/{name}" for i in range(3) for name in "Wb"]
    assert [p.role for p in run.parameters.values()] == ["weight", "bias"] * 3
    assert [p.fan for p in run.parameters.values()][::2] == [(784, 225), (225, 144), (144, 10)]


def test_a_network_of_identities_is_one_linear_map():
    net = nn.sequential(nn.Dense(6), ops.identity, nn.Dense(2))
    w = {
        "dense_0/W": draw((4, 6), seed=2),
        "dense_0/b": draw((6,), seed=3),
        "dense_1/W": draw((6, 2), seed=4),
        "dense_1/b": draw((2,), seed=5),
    }
    x = draw((5, 4))
    W, b = w["dense_0/W"] @ w["dense_1/W"], w["dense_0/b"] @ w["dense_1/W"] + w["dense_1/b"]
    np.testing.assert_allclose(compute(net, x, values=w), x @ W + b, rtol=1e-12)


def test_a_hand_wired_step_network_solves_xor():
    net = nn.sequential(nn.Dense(2), ops.step, nn.Dense(1), ops.step)
    w = {
        "dense_0/W": np.ones((2, 2)), "dense_0/b": np.array([-0.5, -1.5]),
        "dense_1/W": np.array([[1.0], [-1.0]]), "dense_1/b": np.array([-0.5]),
    }  # fmt: skip
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
    assert compute(net, x, values=w)[:, 0].tolist() == [0, 1, 1, 0]


def test_a_bias_free_relu_network_is_its_active_paths():
    net = nn.sequential(
        nn.Dense(6, bias=False), ops.relu, nn.Dense(5, bias=False), ops.relu, nn.Dense(2, bias=False)
    )
    W1, W2, W3 = draw((4, 6), seed=2), draw((6, 5), seed=3), draw((5, 2), seed=4)
    x = draw((1, 4))
    on1 = (x[0] @ W1 > 0).astype(float)
    on2 = ((x[0] @ W1 * on1) @ W2 > 0).astype(float)
    paths = W1 @ np.diag(on1) @ W2 @ np.diag(on2) @ W3
    w = {"dense_0/W": W1, "dense_1/W": W2, "dense_2/W": W3}
    np.testing.assert_allclose(compute(net, x, values=w), x @ paths, rtol=1e-12)

    def slopes(y, run, given):
        return [gradient(y[0, k], given) for k in range(2)]

    np.testing.assert_allclose(np.stack(compute(net, x, values=w, want=slopes), -1)[0], paths, rtol=1e-12)


def test_weight_noise_has_its_std_and_vanishes_in_inference():
    layer, x = nn.Dense(400, bias=False, weight_noise=0.3), np.eye(300)
    W = draw((300, 400), seed=2)
    noise = compute(layer, x, training=True, values={"W": W}) - W
    assert abs(noise.mean()) < 3 * 0.3 / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(0.3, rel=0.01)
    assert np.array_equal(compute(layer, x, values={"W": W}), W)


def loss_and_gradients(y, run, x):
    """½‖y − x‖² of an auto-encoder, and its gradient by every parameter."""
    loss = 0.5 * ops.sum(ops.square(y - x))
    return [loss, *gradient(loss, list(run.inputs.values()))]


def test_the_gradient_of_a_tied_matrix_is_the_sum_over_both_places():
    x = draw((5, 4))
    W, b, c = draw((4, 3), seed=2), draw((3,), seed=3), draw((4,), seed=4)
    tied = nn.sequential(encoder=nn.Dense(3), act=ops.tanh, decoder=nn.TiedDense("encoder"))
    free = nn.sequential(encoder=nn.Dense(3), act=ops.tanh, decoder=nn.Dense(4))
    loss, gW, gb, gc = compute(
        tied,
        x,
        training=True,
        values={"encoder/W": W, "encoder/b": b, "decoder/b": c},
        want=loss_and_gradients,
    )
    other = compute(
        free,
        x,
        training=True,
        values={"encoder/W": W, "encoder/b": b, "decoder/W": W.T, "decoder/b": c},
        want=loss_and_gradients,
    )
    np.testing.assert_allclose(loss, other[0], rtol=1e-13)
    np.testing.assert_allclose(gW, other[1] + other[3].T, rtol=1e-12)
    np.testing.assert_allclose(gb, other[2], rtol=1e-12)
    np.testing.assert_allclose(gc, other[4], rtol=1e-12)
    h = np.tanh(x @ W + b)
    error = h @ W.T + c - x
    np.testing.assert_allclose(gW, x.T @ (error @ W * (1 - h**2)) + error.T @ h, rtol=1e-12)


def test_the_gradient_of_a_shared_layer_is_the_sum_over_its_uses():
    x = draw((5, 4))
    W, b = draw((4, 4), seed=2), draw((4,), seed=3)
    block = nn.Shared("block", nn.Dense(4))
    shared = nn.sequential(block, ops.tanh, block)
    free = nn.sequential(one=nn.Dense(4), act=ops.tanh, two=nn.Dense(4))
    loss, gW, gb = compute(
        shared, x, training=True, values={"block/W": W, "block/b": b}, want=loss_and_gradients
    )
    other = compute(
        free,
        x,
        training=True,
        values={"one/W": W, "one/b": b, "two/W": W, "two/b": b},
        want=loss_and_gradients,
    )
    np.testing.assert_allclose(loss, other[0], rtol=1e-13)
    np.testing.assert_allclose(gW, other[1] + other[3], rtol=1e-12)
    np.testing.assert_allclose(gb, other[2] + other[4], rtol=1e-12)


# ------------------------------------------------------------------ activations that learn


def test_prelu_is_the_generalised_rectifier_also_above_slope_one():
    z = np.array([[-2.0, -1.0], [0.0, 3.0], [np.nan, -4.0]])
    slope = np.array([0.5, 2.0])
    expected = np.maximum(0, z) + slope * np.minimum(0, z)
    np.testing.assert_allclose(compute(nn.PReLU(), z, values={"slope": slope}), expected, rtol=1e-15)
    assert compute(nn.PReLU(), z, values={"slope": slope})[2, 1] == -8.0


def test_prelu_starts_at_its_slope_and_has_it_as_derivative_at_zero():
    _, run = nn.trace(nn.PReLU(slope=0.1), ops.input("z", (5, 3)), training=True)
    assert run.parameters["slope"].initial(0).tolist() == [np.float32(0.1)] * 3
    assert run.parameters["slope"].role == "scale"
    _, run = nn.trace(nn.PReLU(shared=True), ops.input("z", (5, 3)), training=True)
    assert run.parameters["slope"].spec.shape == ()

    def slope_at_zero(y, run, z):
        return [gradient(ops.sum(y), z)]

    (found,) = compute(
        nn.PReLU(), np.zeros((1, 2)), values={"slope": np.array([0.3, 1.7])}, want=slope_at_zero
    )
    assert found.tolist() == [[0.3, 1.7]]


def test_maxout_is_the_largest_of_its_pieces():
    x, W, b = draw((5, 4)), draw((4, 6), seed=2), draw((6,), seed=3)
    expected = np.stack([(x @ W + b)[:, 2 * i : 2 * i + 2].max(1) for i in range(3)], 1)
    np.testing.assert_allclose(
        compute(nn.Maxout(3, pieces=2), x, values={"W": W, "b": b}), expected, rtol=1e-13
    )


@pytest.mark.parametrize(
    ("pieces", "function"), [((1, 0), lambda z: np.maximum(z, 0)), ((1, -1), np.abs), ((1, 1), lambda z: z)]
)
def test_maxout_of_two_pieces_can_be_relu_abs_and_identity(pieces, function):
    x = np.linspace(-3, 3, 13)[:, None]
    found = compute(nn.Maxout(1), x, values={"W": np.array([pieces], float), "b": np.zeros(2)})
    np.testing.assert_allclose(found, function(x))


# ------------------------------------------------------------------ noise


def test_inverted_dropout_keeps_the_mean_and_drops_its_share():
    x = np.ones((400, 500))
    y = compute(nn.Dropout(0.2), x, training=True)
    assert set(np.unique(y)) == {0.0, 1.25}
    assert (y == 0).mean() == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / x.size))
    assert np.array_equal(compute(nn.Dropout(0.2), x), x)


def test_dropout_draws_a_fresh_mask_for_every_example_update_place_and_use():
    x, dropout = np.ones((50, 40)), nn.Dropout(0.5)

    def mask(step=0, seed=0, layer=dropout):
        return compute(layer, x, training=True, step=step, seed=seed)

    assert np.array_equal(mask(), mask())
    assert len({row.tobytes() for row in mask()}) == 50, (
        "one mask for a whole batch would be the slip of catalogue N"
    )
    once, twice = nn.sequential(dropout), nn.Shared("d", dropout)
    masks = [mask(), mask(step=1), mask(seed=1), mask(layer=once)]
    pair = nn.sequential(twice, nn.Rescale(1.0), twice)
    first, _, both = compute(
        pair, x, training=True, want=lambda y, run, x: [run.outputs[p] for p in ("d", "rescale_0", "d#2")]
    )
    masks += [first / 2, np.where(first != 0, both / 4, -1)]
    for a, b in itertools.combinations([m.astype(bool) for m in masks[:5]], 2):
        assert abs((a == b).mean() - 0.5) < 0.05, "independent masks agree in half of the places"
    assert abs((both[first != 0] != 0).mean() - 0.5) < 0.07, "a layer used twice draws anew"


GOLDEN_MASK = [[1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 0, 1], [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0]]


def test_dropout_masks_stay_the_same_numbers_for_ever():
    y = compute(nn.sequential(nn.Dropout(0.5)), np.ones((2, 12)), training=True, seed=7, step=3)
    assert (y != 0).astype(int).tolist() == GOLDEN_MASK


def test_dropout_by_weight_scaling_is_exact_for_one_softmax_layer():
    """The normalised geometric mean over all 16 masks equals the scaled weights."""
    net, x = nn.sequential(nn.Dropout(0.5, scaling="weights"), nn.Dense(3), ops.softmax), draw((2, 4))
    W, b = draw((4, 3), seed=2), draw((3,), seed=3)
    log_mean = np.zeros((2, 3))
    for mask in itertools.product([0, 1], repeat=4):
        z = (x * mask) @ W + b
        log_mean += (z - np.log(np.exp(z).sum(1, keepdims=True))) / 16
    mean = np.exp(log_mean) / np.exp(log_mean).sum(1, keepdims=True)
    np.testing.assert_allclose(compute(net, x, values={"dense_0/W": W, "dense_0/b": b}), mean, rtol=1e-12)
    masked = compute(nn.Dropout(0.5, scaling="weights"), np.ones((50, 50)), training=True)
    assert set(np.unique(masked)) == {0.0, 1.0}


def test_gaussian_noise_has_its_std_in_training_only():
    x = draw((300, 200))
    noise = compute(nn.GaussianNoise(0.25), x, training=True) - x
    assert abs(noise.mean()) < 4 * 0.25 / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(0.25, rel=0.015)
    assert np.array_equal(compute(nn.GaussianNoise(0.25), x), x)
    assert not np.array_equal(noise, compute(nn.GaussianNoise(0.25), x, training=True, step=STEP + 1) - x)


# ------------------------------------------------------------------ normalisation


def test_batch_norm_by_hand_over_several_updates():
    layer = nn.BatchNorm()
    γ, β = draw((4,), seed=2), draw((4,), seed=3)
    mean, variance = np.zeros(4), np.ones(4)
    for step in range(5):
        x = 3 * draw((6, 2, 4), seed=10 + step) + 1
        state = {"scale": γ, "offset": β, "mean": mean, "variance": variance}
        y, new_mean, new_variance = compute(
            layer,
            x,
            training=True,
            values=state,
            want=lambda y, run, x: [y, run.updates["mean"], run.updates["variance"]],
        )
        μ, var = x.mean((0, 1)), x.var((0, 1))  # biased
        np.testing.assert_allclose(y, γ * (x - μ) / np.sqrt(var + 1e-5) + β, rtol=1e-10)
        mean, variance = 0.9 * mean + 0.1 * μ, 0.9 * variance + 0.1 * var
        np.testing.assert_allclose(new_mean, mean, rtol=1e-12)
        np.testing.assert_allclose(new_variance, variance, rtol=1e-12)
    x = draw((1, 4), seed=20)
    state = {"scale": γ, "offset": β, "mean": mean, "variance": variance}
    np.testing.assert_allclose(
        compute(layer, x, values=state), γ * (x - mean) / np.sqrt(variance + 1e-5) + β, rtol=1e-12
    )


def test_batch_norm_gives_mean_0_and_variance_1_and_can_restore_the_identity():
    x = 3 * draw((64, 4)) + 7
    plain = compute(nn.BatchNorm(scale=False, offset=False), x, training=True)
    np.testing.assert_allclose(plain.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(plain.var(0), 1, rtol=1e-5)
    restored = {"scale": np.sqrt(x.var(0) + 1e-5), "offset": x.mean(0)}
    np.testing.assert_allclose(compute(nn.BatchNorm(), x, training=True, values=restored), x, rtol=1e-12)


def test_batch_norm_survives_a_large_offset_in_float32():
    x = (draw((4096, 2)) + 1e4).astype("float32")
    (variance,) = compute(
        nn.BatchNorm(momentum=0.0), x, training=True, want=lambda y, run, x: [run.updates["variance"]]
    )
    np.testing.assert_allclose(variance, x.astype("float64").var(0), rtol=1e-5)


def test_batch_norm_starts_with_statistics_0_and_1_and_flags_the_run():
    _, run = nn.trace(nn.sequential(nn.BatchNorm()), ops.input("x", (5, 3)), training=True)
    assert run.uses_batch_statistics
    assert run.buffers["batch_norm_0/mean"].initial().tolist() == [0, 0, 0]
    assert run.buffers["batch_norm_0/variance"].initial().tolist() == [1, 1, 1]
    assert {p: d.role for p, d in run.parameters.items()} == {
        "batch_norm_0/scale": "scale",
        "batch_norm_0/offset": "bias",
    }


def test_batch_norm_refuses_a_batch_of_one_in_training_only():
    with pytest.raises(
        ShapeError, match=r"1 value per channel.*larger batch[^$]*layer 'batch_norm_0'"
    ) as caught:
        nn.trace(nn.sequential(nn.BatchNorm()), ops.input("x", (1, 3)), training=True)
    assert "(1, 3)" in str(caught.value)
    nn.trace(nn.BatchNorm(), ops.input("x", (1, 3)), training=False)
    nn.trace(nn.BatchNorm(), ops.input("x", (1, 2, 3)), training=True)


def test_a_shared_batch_norm_counts_both_batches():
    norm = nn.Shared("n", nn.BatchNorm(momentum=0.5))
    x = draw((8, 3)) + 2
    net = nn.sequential(norm, nn.Rescale(1.0, 4.0), norm)
    state = {"n/mean": np.zeros(3), "n/variance": np.ones(3), "n/scale": np.ones(3), "n/offset": np.zeros(3)}
    (mean,) = compute(net, x, training=True, values=state, want=lambda y, run, x: [run.updates["n/mean"]])
    np.testing.assert_allclose(mean, 0.5 * (0.5 * x.mean(0)) + 0.5 * 4, rtol=1e-10)


def test_layer_norm_by_hand():
    x, γ, β = draw((5, 2, 4)), draw((4,), seed=2), draw((4,), seed=3)
    expected = γ * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) + β
    for training in (True, False):
        np.testing.assert_allclose(
            compute(nn.LayerNorm(), x, training=training, values={"scale": γ, "offset": β}),
            expected,
            rtol=1e-10,
        )
    assert np.isfinite(compute(nn.LayerNorm(), np.full((2, 4), 3.0))).all()


# ------------------------------------------------------------------ embedding, form


def test_embedding_is_dense_on_one_hot_and_its_gradient_adds_repeated_rows():
    x, W = np.array([[0, 2], [2, 2]]), draw((4, 3), seed=2)
    y, g = compute(
        nn.Embedding(4, 3),
        x,
        values={"W": W},
        want=lambda y, run, x: [y, gradient(ops.sum(y), run.inputs["W"])],
    )
    np.testing.assert_allclose(y, np.eye(4)[x] @ W)
    assert g[:, 0].tolist() == [1, 0, 3, 0]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_embedding_takes_integers_only_and_none_outside(dtype):
    found = compute(nn.Embedding(4, 3), np.array([3, 0], dtype), values={"W": np.eye(4, 3)})
    assert found.tolist() == [[0, 0, 0], [1, 0, 0]]
    with pytest.raises(DTypeError, match="Embedding takes integers"):
        nn.trace(nn.Embedding(4, 3), ops.input("x", (5,), "float32"), training=True)
    with pytest.raises(DataError, match="index 4"):
        compute(nn.Embedding(4, 3), np.array([4], dtype))


def test_rescale_turns_bytes_into_the_runs_dtype_and_flatten_keeps_bytes():
    images = np.arange(24, dtype="uint8").reshape(2, 3, 4)
    given = ops.input("x", images.shape, "uint8")
    y, run = nn.trace(nn.sequential(nn.Flatten(), nn.Rescale()), given, training=True)
    assert run.outputs["flatten_0"].dtype == "uint8"
    (found,) = evaluate([y], {given: images})
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, images.reshape(2, 12) / 255, rtol=1e-6)
    assert nn.trace(nn.Flatten(), ops.input("x", (5,)), training=True)[0].shape == (5, 1)
