"""Slips of common teaching material: here the right form holds, and the wrong one would be noticed.

Those that a recurrence, a formula or a standard deviation already tells apart stand with their optimizers,
losses and initialisers; docs/catalogue.md (part N) names the test of each.
"""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import losses, nn, ops, optim
from chainrule.autodiff import gradient
from chainrule.executors import evaluate
from chainrule.network import Network
from chainrule.optim import Constant, Linear

RNG = np.random.default_rng


def dense(**options):
    """A network of one linear unit that starts at 0."""
    return Network(nn.Dense(1, init=nn.Zeros(), **options), dtype="float64")


QUIET = {"verbose": 0, "shuffle": False, "schedule": Constant(), "executor": "reference"}


@pytest.mark.parametrize("rule", [optim.AdaGrad, optim.RMSProp, optim.Adam, optim.AdaDelta])
def test_every_element_has_a_size_of_its_own(rule):
    """g⊙g, not gᵀg: slopes of 1 and 1000 move their weights equally far in the first step."""
    net = dense(bias=False)
    x, y = np.array([[1.0, 1000.0]]), np.array([[1.0]])
    net.fit(x, y, loss="half_squared_error", optimizer=rule(), epochs=1, batch_size=1, **QUIET)
    small, large = net["dense_0/W"][:, 0]
    assert small == pytest.approx(large, rel=2e-3)


def test_batch_norm_moves_and_scales_and_makes_nothing_gaussian():
    """Mean 0 and variance 1, but the shape stays: two heaps are two heaps."""
    x = np.where(RNG(0).random((4000, 1)) < 0.3, 5.0, -1.0)
    node = ops.input("x", x.shape, "float64")
    y, _ = nn.trace(nn.BatchNorm(scale=False, offset=False), node, training=True, dtype="float64")
    (z,) = evaluate([y], {node: x})
    assert z.mean() == pytest.approx(0, abs=1e-12)
    assert z.var() == pytest.approx(1, rel=1e-5)
    assert len(np.unique(z.round(9))) == 2
    heaps = (x - x.mean()) / x.std()
    for power in (3, 4):  # skewness and kurtosis are those of x; a Gaussian has 0 and 3
        assert (z**power).mean() == pytest.approx((heaps**power).mean(), rel=1e-4)


def test_a_weight_leads_from_its_row_to_its_column():
    """z = x W: W[j, k] carries input j to unit k."""
    net = Network(nn.Dense(3), dtype="float64").build(2)
    net["dense_0/W"] = [[0, 0, 7], [0, 0, 0]]
    np.testing.assert_array_equal(net.output(np.array([[1.0, 0.0], [0.0, 1.0]])), [[0, 0, 7], [0, 0, 0]])


def test_both_terms_of_binary_cross_entropy_are_negated_and_averaged():
    """−(y log p + (1 − y) log(1 − p)): without the parentheses labels of 0 would push the wrong way."""
    z, y = np.array([2.0, -1.0, 0.5]), np.array([1.0, 0.0, 0.0])
    node = ops.input("z", z.shape, "float64")
    each = losses.BinaryCrossEntropy()(node, ops.constant(y))
    value, slope = evaluate([each, gradient(ops.sum(each), node)], {node: z})
    p = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(value, np.where(y == 1, -np.log(p), -np.log(1 - p)), rtol=1e-14)
    assert (value > 0).all()
    np.testing.assert_array_equal(np.sign(slope), [-1, 1, 1])


def test_decay_helps_adam_too():
    """With noisy gradients a constant rate circles at a distance, a falling one comes closer."""
    truth, far = np.array([[2.0], [-1.0]]), {}
    for schedule in (Constant(), Linear()):
        squares = []
        for seed in range(3):
            x = RNG(seed).normal(size=(1000, 2))
            y = x @ truth + RNG(seed + 10).normal(size=(1000, 1))
            net = dense(bias=False)
            options = {**QUIET, "schedule": schedule, "optimizer": optim.Adam(0.05), "batch_size": 1}
            net.fit(x, y, loss="mean_squared_error", epochs=1, **options)
            squares.append(((net["dense_0/W"] - truth) ** 2).sum())
        far[type(schedule)] = np.mean(squares)
    assert far[Linear] < 0.5 * far[Constant]


@pytest.mark.parametrize("prior", ["Gaussian", "Laplace", "uniform"])
def test_the_penalised_fit_is_the_maximum_of_likelihood_times_prior(prior):
    """p(x|θ)p(θ), the numerator of the posterior: Gaussian prior → L2, Laplace → L1, uniform → likelihood."""
    x = np.array([0.9, 1.4, 0.2, 1.1])[:, None]  # x ~ N(θ, 1)
    α = 1.5
    log_prior = {
        "Gaussian": lambda θ: -0.5 * α * θ**2,  # N(0, 1/α)
        "Laplace": lambda θ: -α * np.abs(θ),  # of scale 1/α
        "uniform": lambda θ: 0 * θ,
    }[prior]
    grid = np.linspace(-1, 3, 400_001)
    log_posterior = -0.5 * ((x - grid) ** 2).sum(0) + log_prior(grid)
    share = {"Gaussian": {"l2": α / 4}, "Laplace": {"l1": α / 4}, "uniform": {}}[prior]  # a mean over 4
    net = dense(bias=False)
    net.fit(
        np.ones((4, 1)), x, loss="half_squared_error", optimizer=optim.SGD(0.2, **share), epochs=200,
        batch_size=4, **QUIET,
    )  # fmt: skip
    assert net["dense_0/W"].item() == pytest.approx(grid[log_posterior.argmax()], abs=1e-5)


def test_a_sum_over_samples_is_a_mean_with_a_larger_rate_and_smaller_penalties():
    """Σᵢ Lᵢ + ½α‖w‖² = n (mean L + ½(α/n)‖w‖²): the rate is divided by n, the penalty multiplied."""
    x, n = RNG(0).normal(size=(8, 3)), 8
    y = x @ [[1.0], [-2.0], [0.5]] + 0.1 * RNG(1).normal(size=(8, 1))
    half = losses.HalfSquaredError()
    found = []
    for loss, rule in (
        (half, optim.SGD(0.1, l2=0.3 / n)),
        (lambda prediction, target: n * half(prediction, target), optim.SGD(0.1 / n, l2=0.3)),
    ):
        net = dense()
        net.fit(x, y, loss=loss, optimizer=rule, epochs=20, batch_size=n, **QUIET)
        found.append(net["dense_0/W"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)
    assert np.abs(found[0]).max() > 0.5
