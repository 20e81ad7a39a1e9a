"""What losses mean: classes and their masks, maximum likelihood, densities, extremes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, nn, ops
from chainrule.autodiff import gradient, jacobian
from chainrule.errors import ConfigError, ShapeError
from chainrule.executors import evaluate
from chainrule.testing import check_gradients

Array = np.ndarray
GENERATOR = np.random.Generator(np.random.Philox(8))
Z = GENERATOR.normal(size=(4, 3)) * 2  # outputs, or logits of three classes
R = GENERATOR.normal(size=(4, 3))
WIDE, MIXED = GENERATOR.normal(size=(4, 6)), GENERATOR.normal(size=(4, 18))
LABELS = np.array([2, 0, 1, 2])
SOFT = GENERATOR.dirichlet(np.ones(3), 4)
BITS = (GENERATOR.random((4, 3)) < 0.5).astype(float)
SEQUENCE, STEPS = GENERATOR.normal(size=(2, 4, 3)), np.array([[0, -1, 2, 1], [-1, -1, -1, -1]])


def log_s(z: Array) -> Array:
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def σ(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def softplus(s: Array) -> Array:
    return np.log1p(np.exp(s))


def np_cross_entropy(z: Array, t: Array) -> Array:
    t = np.eye(z.shape[-1])[t] if t.ndim < z.ndim else t
    return -(t * log_s(z)).sum(-1)


def value(loss: Any, output: Any, target: Any, dtype: str = "float64") -> Array:
    z = ops.input("z", np.shape(output), dtype)
    return evaluate([loss(z, ops.constant(np.asarray(target)))], {z: output})[0]


def slope(loss: Any, output: Any, target: Any, dtype: str = "float64") -> Array:
    """∂(Σ losses)/∂output"""
    z = ops.input("z", np.shape(output), dtype)
    return evaluate([gradient(ops.sum(loss(z, ops.constant(np.asarray(target)))), z)], {z: output})[0]


# ------------------------------------------------------------------ classes


def test_softmax_and_cross_entropy_together_give_softmax_minus_onehot() -> None:
    s = np.exp(log_s(Z))
    np.testing.assert_allclose(slope(losses.CrossEntropy(), Z, LABELS), s - np.eye(3)[LABELS], rtol=1e-12)
    np.testing.assert_allclose(slope(losses.CrossEntropy(), Z, SOFT), s - SOFT, rtol=1e-10)
    np.testing.assert_allclose(slope(losses.KLDivergence(), Z, SOFT), s - SOFT, rtol=1e-10)
    two_steps = slope(
        lambda z, y: losses.NegativeLogLikelihood("probabilities")(ops.softmax(z), y), Z, LABELS
    )
    np.testing.assert_allclose(two_steps, s - np.eye(3)[LABELS], rtol=1e-10)
    np.testing.assert_allclose(
        slope(losses.BinaryCrossEntropy(outputs="sum"), Z, BITS), σ(Z) - BITS, rtol=1e-12
    )


def test_the_hessian_of_cross_entropy_is_the_softmax_jacobian() -> None:
    """∂²/∂zᵢ∂zⱼ = sᵢ(δᵢⱼ − sⱼ), whatever the label."""
    z = ops.input("z", (1, 3), "float64")
    g = gradient(ops.sum(losses.CrossEntropy()(z, ops.constant([1]))), z)
    s = np.exp(log_s(Z[:1]))[0]
    found = evaluate([jacobian(g, z)], {z: Z[:1]})[0].reshape(3, 3)
    np.testing.assert_allclose(found, np.diag(s) - np.outer(s, s), rtol=1e-10, atol=1e-14)


def test_a_small_loss_beside_large_logits_keeps_its_digits() -> None:
    """z − logsumexp(z) in float32 would give 0 or 0.001 here."""
    found = value(losses.CrossEntropy(), [[1e4, 1e4 - 10]], [0], "float32")
    assert found[0] == pytest.approx(math.log1p(math.exp(-10)), rel=1e-3)


def test_labels_of_every_integer_dtype_and_one_hot_rows_agree() -> None:
    expected = np_cross_entropy(Z, LABELS)
    for dtype in ("uint8", "int32", "int64"):
        np.testing.assert_allclose(value(losses.CrossEntropy(), Z, LABELS.astype(dtype)), expected)
        np.testing.assert_allclose(value(losses.CrossEntropy(), Z, np.eye(3, dtype=dtype)[LABELS]), expected)
    two = value(losses.CrossEntropy(), Z[:, :2], np.array([True, False, True, True]))
    np.testing.assert_allclose(two, np_cross_entropy(Z[:, :2], np.array([1, 0, 1, 1])))


def test_impossible_classes_cost_nothing_where_they_are_not_the_label() -> None:
    """A logit of −∞ masks a class out."""
    z = np.array([[0.0, -np.inf, 0.0]])
    assert value(losses.CrossEntropy(), z, [0])[0] == pytest.approx(math.log(2))
    np.testing.assert_allclose(slope(losses.CrossEntropy(), z, [0]), [[-0.5, 0.0, 0.5]])
    assert value(losses.CrossEntropy(), z, [[0.5, 0.0, 0.5]])[0] == pytest.approx(math.log(2))
    zero = losses.NegativeLogLikelihood("probabilities")
    assert value(zero, [[1.0, 0.0]], [0])[0] == 0
    assert value(zero, [[1.0, 0.0]], [1])[0] == np.inf
    np.testing.assert_allclose(slope(zero, [[1.0, 0.0]], [0]), [[-1.0, 0.0]])


def test_ignored_positions_do_not_count() -> None:
    each = np_cross_entropy(SEQUENCE[0], np.array([0, 0, 2, 1]))
    mean = losses.CrossEntropy(ignore_index=-1)
    np.testing.assert_allclose(value(mean, SEQUENCE, STEPS), [each[[0, 2, 3]].mean(), 0])
    added = losses.CrossEntropy(ignore_index=-1, positions="sum")
    np.testing.assert_allclose(value(added, SEQUENCE, STEPS), [each[[0, 2, 3]].sum(), 0])
    g = slope(mean, SEQUENCE, STEPS)
    assert not g[0, 1].any()
    assert not g[1].any()
    plain = losses.CrossEntropy()
    np.testing.assert_allclose(value(plain, SEQUENCE[:1], [[0, 1, 2, 1]])[0], np.mean(
        np_cross_entropy(SEQUENCE[0], np.array([0, 1, 2, 1]))))  # fmt: skip


def test_predictions_and_probabilities() -> None:
    z = ops.input("z", (4, 3), "float64")
    cross, binary, nll = losses.CrossEntropy(), losses.BinaryCrossEntropy(), losses.NegativeLogLikelihood()
    classes, p, bits, q, r = evaluate(
        [
            cross.predict(z),
            cross.probabilities(z),
            binary.predict(z),
            binary.probabilities(z),
            nll.probabilities(z),
        ],
        {z: Z},
    )
    np.testing.assert_array_equal(classes, Z.argmax(1))
    np.testing.assert_allclose(p, np.exp(log_s(Z)))
    np.testing.assert_array_equal(bits, Z >= 0)
    np.testing.assert_allclose(q, σ(Z))
    np.testing.assert_allclose(r, np.exp(Z))
    assert {classes.dtype, bits.dtype} == {np.dtype("int64")}
    for loss in (losses.MeanSquaredError(), losses.Quantile(), losses.GaussianNLL(), losses.PoissonNLL()):
        with pytest.raises(ConfigError, match="no class probabilities"):
            loss.probabilities(z)


# ------------------------------------------------------------------ maximum likelihood


def test_squared_error_on_a_sigmoid_stalls_where_cross_entropy_does_not() -> None:
    squared = slope(lambda z, y: losses.MeanSquaredError()(ops.sigmoid(z), y), [-10.0], [1.0])[0]
    assert squared == pytest.approx(-9.1e-5, rel=5e-3)
    assert slope(losses.BinaryCrossEntropy(), [-10.0], [1.0])[0] == pytest.approx(-0.99995, abs=5e-6)


NINE = np.array([2.1, 3.4, 1.9, 2.8, 3.0, 2.2, 2.5, 4.0, 1.7])


def test_the_gaussian_likelihood_of_nine_samples_is_largest_at_their_mean() -> None:
    mean = np.full(9, NINE.mean())
    assert slope(losses.HalfSquaredError(), mean, NINE).sum() == pytest.approx(0, abs=1e-12)
    here = value(losses.HalfSquaredError(), mean, NINE).sum()
    assert all(value(losses.HalfSquaredError(), mean + d, NINE).sum() > here for d in (-0.1, 0.1))
    both = np.stack([mean, np.full(9, 2 * math.log(NINE.std()))], 1)  # mean and variance together
    g = slope(losses.GaussianNLL("log_variance"), both, NINE[:, None])
    np.testing.assert_allclose(g.sum(0), 0, atol=1e-12)


@pytest.mark.parametrize("τ", [0.2, 0.5, 0.9])
def test_the_pinball_loss_is_smallest_at_the_quantile(τ: float) -> None:
    grid = np.linspace(1, 5, 4001)
    total = [value(losses.Quantile(τ), np.full(9, f), NINE).sum() for f in grid[::40]]
    best = grid[::40][int(np.argmin(total))]
    low, high = np.quantile(NINE, τ, method="lower"), np.quantile(NINE, τ, method="higher")
    assert low - 0.05 <= best <= high + 0.05
    if τ == 0.5:
        halves = 2 * value(losses.Quantile(0.5), NINE * 0, NINE)
        np.testing.assert_allclose(halves, value(losses.MeanAbsoluteError(), NINE * 0, NINE))


@pytest.mark.parametrize("kind", ["categorical", "Bernoulli", "Poisson"])
def test_the_expected_score_is_zero_at_the_true_distribution(kind: str) -> None:
    """Σ_y P(y) ∂/∂z [−log Q(y; z)] = 0 where Q = P."""
    if kind == "categorical":
        outcomes, p = np.arange(3), np.exp(log_s(Z[0]))
        g = slope(losses.CrossEntropy(), np.tile(Z[0], (3, 1)), outcomes)
    elif kind == "Bernoulli":
        outcomes, p = np.array([0.0, 1.0]), np.array([1 - σ(Z[0, 0]), σ(Z[0, 0])])
        g = slope(losses.BinaryCrossEntropy(), np.full(2, Z[0, 0]), outcomes)
    else:
        outcomes, rate = np.arange(60.0), 2.5
        p = np.array([math.exp(-rate) * rate**k / math.factorial(int(k)) for k in outcomes])
        g = slope(losses.PoissonNLL(), np.full(60, math.log(rate)), outcomes)
    np.testing.assert_allclose(np.tensordot(p, g, 1), 0, atol=1e-12)
    assert np.abs(g).max() > 0.1


def density(loss: Any, output: Array, y: Array) -> Array:
    return np.exp(-value(loss, np.tile(output, (len(y), 1)), y))


def test_densities_integrate_to_one() -> None:
    y, step = np.linspace(-30, 30, 6001, retstep=True)
    for loss, width in ((losses.GaussianNLL(), 2), (losses.GaussianMixtureNLL(3), 9)):
        assert density(loss, WIDE.reshape(-1)[:width], y[:, None]).sum() * step == pytest.approx(1, abs=1e-6)
    side = np.linspace(-12, 12, 241)
    plane = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    full = losses.GaussianMixtureNLL(2, "full")
    found = density(full, 0.5 * MIXED[0, : full.width(2)], plane).sum() * 0.1**2
    assert found == pytest.approx(1, abs=1e-4)


def test_full_and_diagonal_mixtures_are_one_where_nothing_is_correlated() -> None:
    full, diagonal = losses.GaussianMixtureNLL(2, "full"), losses.GaussianMixtureNLL(2)
    assert (full.width(1), diagonal.width(1), full.width(3), diagonal.width(3)) == (6, 6, 20, 14)
    np.testing.assert_allclose(value(full, WIDE, R[:, :1]), value(diagonal, WIDE, R[:, :1]))
    padded = np.concatenate([MIXED[:, :14], np.zeros((4, 6))], 1)
    np.testing.assert_allclose(value(full, padded, R), value(diagonal, MIXED[:, :14], R))


def test_one_component_is_the_gaussian_and_predict_is_the_mean() -> None:
    one = np.concatenate([np.zeros((4, 1)), WIDE], 1)
    np.testing.assert_allclose(
        value(losses.GaussianMixtureNLL(1), one, R), value(losses.GaussianNLL(), WIDE, R)
    )
    z = ops.input("z", (4, 14), "float64")
    π = np.exp(log_s(MIXED[:, :2]))
    expected = (π[:, :, None] * MIXED[:, 2:8].reshape(4, 2, 3)).sum(1)
    np.testing.assert_allclose(
        evaluate([losses.GaussianMixtureNLL(2).predict(z)], {z: MIXED[:, :14]})[0], expected
    )
    μ, deviation = losses.GaussianNLL().moments(z)
    found = evaluate([μ, deviation, losses.GaussianNLL().predict(z)], {z: MIXED[:, :14]})
    np.testing.assert_allclose(found[1], softplus(MIXED[:, 7:14]) + 1e-3)
    np.testing.assert_array_equal(found[0], found[2])


def test_gaussian_kl_is_the_integral() -> None:
    mean, log_variance = ops.input("m", (1, 2), "float64"), ops.input("v", (1, 2), "float64")
    m, v = np.array([[0.7, -1.0]]), np.array([[0.3, -2.0]])
    found = evaluate([losses.gaussian_kl(mean, log_variance)], {mean: m, log_variance: v})[0]
    x, step = np.linspace(-20, 20, 40_001, retstep=True)
    expected = 0.0
    for μ, s in zip(m[0], np.exp(v[0]), strict=True):
        log_q = -0.5 * (np.log(2 * np.pi * s) + (x - μ) ** 2 / s)
        log_p = -0.5 * (np.log(2 * np.pi) + x**2)
        expected += (np.exp(log_q) * (log_q - log_p)).sum() * step
    np.testing.assert_allclose(found, [expected], rtol=1e-8)
    check_gradients(losses.gaussian_kl, m, v)
    with pytest.raises(ShapeError, match=r"must both be \(batch, k\)"):
        losses.gaussian_kl(mean, ops.input("v", (1, 3), "float64"))


# ------------------------------------------------------------------ the perceptron


def test_descent_on_the_perceptron_loss_is_rosenblatts_rule_also_at_zero() -> None:
    """Ten epochs over random points, one at a time, from weights of 0, where z = 0 is answered by 1."""
    rng = np.random.default_rng(2)
    x = rng.integers(-3, 4, (30, 3)).astype("float32")
    y = (x @ [2, -1, 0.5] > 0.3).astype("float32")[:, None]
    net = cr.Network(nn.Dense(1, nn.Zeros()))
    history = net.fit(
        x, y, loss=losses.Perceptron(), metrics="error", optimizer=cr.optim.SGD(1.0),
        schedule=cr.optim.Constant(), epochs=10, batch_size=1, shuffle=False, verbose=0,
    )  # fmt: skip
    w, b, mistakes = np.zeros(3), 0.0, np.zeros(10)
    for epoch in range(10):
        for row, target in zip(x, y[:, 0], strict=True):
            wrong = target - float(w @ row + b >= 0)
            w, b, mistakes[epoch] = w + wrong * row, b + wrong, mistakes[epoch] + abs(wrong)
    np.testing.assert_array_equal(net["dense_0/W"][:, 0], w)
    np.testing.assert_array_equal(net["dense_0/b"], [b])
    np.testing.assert_allclose(history["error"] * 30, mistakes, rtol=1e-6)
    assert mistakes[0] > 3
    np.testing.assert_array_equal(net.predict(x), net.output(x) >= 0)
