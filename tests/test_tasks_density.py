"""Densities that are exact: against closed forms, by integration, and by what is sampled from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.datasets import make_moons
from sklearn.mixture import GaussianMixture

import chainrule as cr
from chainrule.errors import ConfigError
from chainrule.tasks import DensityEstimator, MixtureDensityRegressor, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
QUICK: dict[str, Any] = {"learning_rate_init": 0.01, "random_state": 0, "schedule": cr.optim.Linear()}

# ------------------------------------------------------------------ of rows


def test_the_density_of_a_gaussian_in_its_own_units() -> None:
    """One Gaussian for each factor, and straight ways, are every Gaussian."""
    rng = np.random.default_rng(0)
    μ, A = np.array([100.0, -3.0, 0.5]), np.array([[20.0, 0, 0], [1, 0.5, 0], [0.01, 0.02, 0.03]])
    x = μ + rng.normal(size=(3000, 3)) @ A.T
    model = DensityEstimator(1, (), solver="lbfgs", random_state=0).fit(x)
    truth = multivariate_normal(μ, A @ A.T).logpdf(x)
    found = model.score_samples(x)
    assert model.score(x) == pytest.approx(truth.mean(), abs=0.02)
    assert np.sqrt(np.mean((found - truth) ** 2)) < 0.1
    drawn = model.sample(20_000, random_state=1)
    assert (np.abs(drawn.mean(0) - x.mean(0)) < 0.03 * x.std(0)).all()
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.corrcoef(x.T), atol=0.03)
    np.testing.assert_allclose(drawn.std(0), x.std(0), rtol=0.03)


def test_a_density_of_two_numbers_integrates_to_one() -> None:
    x, _ = make_moons(800, noise=0.1, random_state=0)
    model = DensityEstimator(4, (30, 30), max_iter=60, **QUICK).fit(x)
    side = np.linspace(-4, 5, 451)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    assert np.exp(model.score_samples(grid)).sum() * (side[1] - side[0]) ** 2 == pytest.approx(1, abs=2e-3)


def test_two_moons_are_told_as_by_eight_gaussians_and_better_than_by_four() -> None:
    """And what is sampled has the density that it is sampled from."""
    x, test = (make_moons(2000, noise=0.1, random_state=s)[0] for s in (0, 1))
    model = DensityEstimator(8, (50, 50), max_iter=120, early_stopping=False, **QUICK).fit(x)
    assert model.score(test) > GaussianMixture(4, random_state=0).fit(x).score(test) + 0.1
    assert model.score(test) > GaussianMixture(8, random_state=0).fit(x).score(test) - 0.1
    drawn = model.sample(4000, random_state=0)
    assert model.score(drawn) == pytest.approx(model.score(test), abs=0.25)
    cells = [np.histogram2d(*rows.T, bins=8, range=((-1.5, 2.5), (-1, 1.5)))[0] for rows in (drawn, test)]
    assert np.abs(cells[0] / 4000 - cells[1] / 2000).sum() < 0.25  # twice the total variation


def test_each_factor_sees_the_columns_before_its_own_alone() -> None:
    x = np.random.default_rng(0).normal(size=(200, 4))
    model = DensityEstimator(2, (12,), max_iter=3, **QUICK).fit(x)
    rows = model._shown(x[:1])
    before = model.network_.output(rows)
    for j in range(4):
        moved = rows.copy()
        moved[:, j] += 10
        differs = (model.network_.output(moved) != before).reshape(4, 6).any(axis=1)
        assert differs.tolist() == [k > j for k in range(4)]


def test_a_table_of_categories_has_probabilities_that_add_up_to_one() -> None:
    """Of six joint values, and they are those of the data."""
    rng = np.random.default_rng(0)
    a = rng.choice(["p", "q"], 3000, p=[0.3, 0.7]).astype(object)
    b = np.where(rng.random(3000) < 0.8, np.where(a == "p", "x", "y"), "z").astype(object)
    model = DensityEstimator(2, (20,), max_iter=80, **QUICK).fit({"a": a, "b": b})
    every = {"a": np.repeat(["p", "q"], 3).astype(object), "b": np.array(["x", "y", "z"] * 2, object)}
    p = np.exp(model.score_samples(every))
    assert p.sum() == pytest.approx(1, abs=1e-5)
    wanted = [np.mean((a == u) & (b == v)) for u, v in zip(every["a"], every["b"], strict=True)]
    np.testing.assert_allclose(p, wanted, atol=0.02)
    drawn = model.sample(5000, random_state=0)
    assert isinstance(drawn, dict)
    shares = [np.mean((drawn["a"] == u) & (drawn["b"] == v)) for u, v in zip(*every.values(), strict=True)]
    np.testing.assert_allclose(shares, p, atol=0.02)


def test_missing_cells_are_left_out_and_samples_are_data_frames() -> None:
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame({"n": rng.normal(50, 9, 400), "kind": rng.choice(["a", "b"], 400)})
    frame.loc[::5, "n"] = np.nan
    model = DensityEstimator(1, (), solver="lbfgs", random_state=0).fit(frame)
    gap = model.score_samples(pandas.DataFrame({"n": [np.nan], "kind": ["a"]}))
    assert np.exp(gap) == pytest.approx((frame["kind"] == "a").mean(), abs=0.05)
    drawn = model.sample(300, random_state=0)
    assert isinstance(drawn, pandas.DataFrame)
    assert drawn["n"].mean() == pytest.approx(50, abs=2)
    assert set(drawn["kind"]) == {"a", "b"}
    with pytest.raises(ConfigError, match="components"):
        DensityEstimator(0).fit(frame)


# ------------------------------------------------------------------ of y in each row


def branches(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """y = ±(20 + 10 x) + noise, as often up as down."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=(rows, 1))
    return x, rng.choice([-1, 1], rows) * (20 + 10 * x[:, 0]) + rng.normal(size=rows)


def test_a_mixture_finds_both_branches_where_a_regression_answers_between() -> None:
    (x, y), (new, t) = branches(1500, 0), branches(500, 1)
    model = MixtureDensityRegressor(2, (20,), max_iter=200, **QUICK).fit(x, y)
    one = MLPRegressor("gaussian", (20,), max_iter=200, **QUICK).fit(x, y)
    mean, deviation = (a.astype(np.float64) for a in one.predict(new, return_std=True))
    gaussian = -0.5 * np.log(2 * np.pi) - np.log(deviation) - 0.5 * ((t - mean) / deviation) ** 2
    truth = -0.5 * np.log(2 * np.pi) - 0.5 - np.log(2)  # the mean of the best log density
    assert model.log_likelihood(new, t).mean() == pytest.approx(truth, abs=0.1)
    assert model.log_likelihood(new, t).mean() > gaussian.mean() + 1
    modes = model.predict_distribution([[0.5]]).modes()[0].ravel()
    np.testing.assert_allclose(np.sort(modes), [-25, 25], atol=1)
    assert abs(model.predict([[0.5]])[0]) < 6
    assert abs(model.predict([[0.5]], at="mode")[0]) == pytest.approx(25, abs=1)
    drawn = model.sample([[0.5]], 2000)
    assert drawn.shape == (1, 2000)
    assert np.abs(drawn).mean() == pytest.approx(25, abs=0.5)
    assert model.loss_ == pytest.approx(-model.log_likelihood(x, y).mean(), abs=0.05)
    with pytest.raises(ConfigError, match="did you mean 'mode'"):
        model.predict(x, at="modes")


def test_several_numbers_of_one_row_hang_together_in_a_full_covariance() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 2))
    e = rng.normal(size=(1500, 1))
    y = np.hstack([x[:, :1] + e, 100 * (e + 0.1 * rng.normal(size=(1500, 1)))])
    full, diagonal = (
        MixtureDensityRegressor(1, (10,), covariance=c, max_iter=100, **QUICK).fit(x, y)
        for c in ("full", "diagonal")
    )
    assert full.log_likelihood(x, y).mean() > diagonal.log_likelihood(x, y).mean() + 1
    covariance = full.predict_distribution(x[:1]).covariances[0, 0]
    np.testing.assert_allclose(covariance, [[1, 100], [100, 10100]], rtol=0.25)
    assert full.predict(x).shape == (1500, 2)
    assert full.sample(x[:3], 7).shape == (3, 7, 2)


def test_a_mixture_travels_in_a_file(tmp_path: Any) -> None:
    x, y = branches(200, 0)
    model = MixtureDensityRegressor(2, (5,), max_iter=5, **QUICK).fit(x, y)
    model.save(tmp_path / "m")
    found = cr.load(tmp_path / "m")
    np.testing.assert_array_equal(found.predict(x), model.predict(x))
    density = found.predict_distribution(x)
    np.testing.assert_array_equal(density.log_density(y[:, None]), model.log_likelihood(x, y))
    assert "numbers" in repr(found)
    MLPRegressor(hidden_layer_sizes=(3,), max_iter=2).fit(x, y).save(tmp_path / "other")
    with pytest.raises(ConfigError, match="learned no density"):
        cr.load(tmp_path / "other").predict_distribution(x)
