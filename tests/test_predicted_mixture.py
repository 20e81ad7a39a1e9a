"""Predicted mixtures: densities, samples and modes against integrals, moments and brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule import losses, ops
from chainrule.errors import ShapeError
from chainrule.executors import evaluate
from chainrule.losses import GaussianMixtureNLL, GaussianNLL, PredictedMixture

RNG = np.random.default_rng(3)
LOSSES = [
    (GaussianNLL(), 3, 6),
    (GaussianNLL("log_variance"), 1, 2),
    (GaussianMixtureNLL(4), 1, 12),
    (GaussianMixtureNLL(3, "full"), 2, 18),
    (GaussianMixtureNLL(2, "full", "log_variance"), 3, 20),
    (GaussianMixtureNLL(3, "diagonal", "log_variance"), 2, 15),
]


def made(loss: Any, width: int, rows: int = 7) -> PredictedMixture:
    return loss.distribution(RNG.normal(size=(rows, width)))


def mixture(weights: Any, means: Any, deviations: Any) -> PredictedMixture:
    """One row, one number."""
    factors = (1 / np.array(deviations, float)).reshape(1, -1, 1, 1)
    return PredictedMixture(np.log([weights]), np.array(means, float).reshape(1, -1, 1), factors)


@pytest.mark.parametrize(("loss", "k", "width"), LOSSES, ids=repr)
def test_the_density_is_what_the_loss_says(loss, k, width):
    output, y = RNG.normal(size=(7, width)), RNG.normal(size=(7, k))
    z = ops.input("z", output.shape, "float64")
    (cost,) = evaluate([loss(z, ops.constant(y))], {z: output})
    found = loss.distribution(output)
    np.testing.assert_allclose(found.log_density(y), -cost, rtol=1e-10)
    np.testing.assert_allclose(found.log_density(np.stack([y, y], 1)), np.stack([-cost, -cost], 1))
    (predicted,) = evaluate([loss.predict(z)], {z: output})
    np.testing.assert_allclose(found.mean(), predicted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("loss", "k", "width"), LOSSES, ids=repr)
def test_samples_have_the_moments_and_the_surprise_of_the_density(loss, k, width):
    found = made(loss, width, 3)
    drawn = found.sample(40_000, seed=5)
    assert drawn.shape == (3, 40_000, k)
    scale = np.sqrt(np.diagonal(found.covariance(), axis1=1, axis2=2))
    np.testing.assert_allclose(drawn.mean(1) / scale, found.mean() / scale, atol=0.03)
    for row, covariance in zip(drawn, found.covariance(), strict=True):
        np.testing.assert_allclose(
            np.cov(row.T).reshape(k, k), covariance, atol=0.06 * np.abs(covariance).max()
        )
    again = found.sample(40_000, seed=6)  # the entropy, from two independent sets of draws
    np.testing.assert_allclose(found.log_density(drawn).mean(1), found.log_density(again).mean(1), atol=0.05)
    np.testing.assert_array_equal(drawn, found.sample(40_000, seed=5))


def test_how_often_each_component_is_drawn():
    found = mixture([0.2, 0.5, 0.3], [-10, 0, 10], [1, 1, 1])
    drawn = found.sample(50_000, seed=1).ravel()
    shares = [(drawn < -5).mean(), (abs(drawn) < 5).mean(), (drawn > 5).mean()]
    np.testing.assert_allclose(shares, [0.2, 0.5, 0.3], atol=0.01)


def test_a_density_of_one_number_integrates_to_one_and_its_modes_are_those_of_a_fine_grid():
    loss = GaussianMixtureNLL(5)
    found = loss.distribution(RNG.normal(size=(60, 15)) * [[1.0] * 5 + [3.0] * 5 + [1.5] * 5])
    grid = np.linspace(-16, 16, 16_001)
    heights = found.log_density(np.tile(grid[None, :, None], (60, 1, 1)))
    np.testing.assert_allclose(np.exp(heights).sum(1) * (grid[1] - grid[0]), 1, rtol=1e-3)
    counted = 0
    for row, modes in zip(heights, found.modes(), strict=True):
        tops = grid[1:-1][(row[1:-1] > row[:-2]) & (row[1:-1] >= row[2:])]
        np.testing.assert_allclose(np.sort(modes[:, 0]), tops, atol=3e-3)
        at = np.interp(modes[:, 0], grid, row)
        assert (np.diff(at) <= 1e-3).all()  # highest first
        counted += len(tops)
    assert counted > 100  # many rows have several


def test_two_equal_humps_part_at_two_deviations_and_a_mean_in_a_valley_is_no_mode():
    assert [m.round(3).tolist() for m in mixture([0.5, 0.5], [-0.99, 0.99], [1, 1]).modes()] == [[[0.0]]]
    (parted,) = mixture([0.5, 0.5], [-1.2, 1.2], [1, 1]).modes()
    assert len(parted) == 2
    (outer,) = mixture([0.499, 0.002, 0.499], [-3, 0, 3], [1, 5, 1]).modes()
    np.testing.assert_allclose(np.sort(outer[:, 0]), [-3, 3], atol=0.01)


@pytest.mark.parametrize("loss", [GaussianMixtureNLL(3, "full"), GaussianMixtureNLL(3)], ids=repr)
def test_modes_of_two_numbers_are_stationary_and_higher_than_around_them(loss):
    found = made(loss, loss.width(2), 30)
    for i, modes in enumerate(found.modes()):
        alone = PredictedMixture(found.log_weights[[i]], found.means[[i]], found.factors[[i]])
        narrow = 1 / np.linalg.norm(found.factors[i], axis=(-2, -1)).max()
        circle = 1e-2 * narrow * np.stack([np.cos(t := np.linspace(0, 6, 40)), np.sin(t)], 1)
        for mode in modes:
            here = alone.log_density(mode[None])[0]
            assert (alone.log_density((mode + circle)[None])[0] < here).all()
        top = alone.log_density(alone.mode())[0]
        assert top >= alone.log_density(alone.sample(500, seed=2)).max() - 1e-9


def test_points_of_another_shape_are_refused():
    found = made(GaussianMixtureNLL(2, "full"), 12)
    with pytest.raises(ShapeError, match=r"takes \(7, 2\).*got \(7, 3\)"):
        found.log_density(np.zeros((7, 3)))
    with pytest.raises(ShapeError, match=r"got \(2,\)"):
        found.log_density(np.zeros(2))
    with pytest.raises(ShapeError, match="width of 6 for k = 1"):
        losses.GaussianMixtureNLL(2).distribution(np.zeros((7, 7)))
