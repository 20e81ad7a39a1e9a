"""Ensembles of estimators."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin

from chainrule.errors import ConfigError
from chainrule.tasks import EnsembleClassifier, EnsembleRegressor, MLPClassifier, MLPRegressor

SMALL: dict[str, Any] = {"hidden_layer_sizes": (10,), "learning_rate_init": 0.02, "max_iter": 100}
SMALL |= {"executor": "reference"}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def waves(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, size=(rows, 2))
    return x, np.sin(2 * x[:, 0]) * x[:, 1] + 0.3 * rng.normal(size=rows)


def test_a_mean_is_better_than_its_members() -> None:
    """The squared error of the mean is at most the mean of the squared errors (Jensen), here well below."""
    (x, y), (new, t) = waves(150), waves(500, 1)
    model = EnsembleRegressor(MLPRegressor(**SMALL), 5, random_state=0).fit(x, y)
    alone = [np.mean((member.predict(new) - t) ** 2) for member in model.estimators_]
    together = np.mean((model.predict(new) - t) ** 2)
    assert together < np.mean(alone)
    np.testing.assert_allclose(model.predict(new), np.mean([m.predict(new) for m in model.estimators_], 0))
    classes = EnsembleClassifier(MLPClassifier(**SMALL), 3, random_state=0).fit(x, y > 0)
    p = np.mean([m.predict_proba(new) for m in classes.estimators_], 0)
    np.testing.assert_allclose(classes.predict_proba(new), p)
    np.testing.assert_array_equal(classes.predict(new), p[:, 1] > 0.5)


def test_members_that_are_far_off_count_little() -> None:
    """With weights 1/σ² of the rows that a member has not drawn; equal shares without."""
    x, y = waves(150)
    model = EnsembleRegressor(
        MLPRegressor(**SMALL), 4, bootstrap=True, weights="inverse_variance", random_state=0
    ).fit(x, y)
    assert model.weights_.sum() == pytest.approx(1)
    assert len(set(model.weights_)) == 4
    seeds = np.random.RandomState(0).randint(0, 2**31 - 1, size=4)
    errors = []
    for member, seed in zip(model.estimators_, seeds, strict=True):
        unseen = np.setdiff1d(np.arange(150), np.random.default_rng(int(seed)).integers(0, 150, 150))
        errors.append(np.mean((member.predict(x[unseen]) - y[unseen]) ** 2))
    np.testing.assert_allclose(model.weights_, (1 / np.array(errors)) / np.sum(1 / np.array(errors)))
    with pytest.raises(ConfigError, match="bootstrap"):
        EnsembleRegressor(weights="inverse_variance").fit(x, y)
    with pytest.raises(ConfigError, match="uniform"):
        EnsembleRegressor(weights="best").fit(x, y)


class Signs(RegressorMixin, BaseEstimator):
    """Off by one of two orthogonal patterns of ±σ: the first member by ±1, the second by ±2."""

    def __init__(self, random_state: int = 0) -> None:
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> Signs:
        self.second_ = bool(self.random_state == SEEDS[1])
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return 2 * X[:, 1] if self.second_ else X[:, 0]


SEEDS = np.random.RandomState(0).randint(0, 2**31 - 1, size=2)


def test_shares_by_inverse_variance_give_the_least_variance() -> None:
    """V = (1, 4) → shares (0.8, 0.2); error variance 0.8 against 1.25 of the plain mean, correlation 0."""
    x = np.tile([[1, 1], [1, -1], [-1, 1], [-1, -1]], (10, 1)).astype(float)
    y = np.zeros(40)
    found = {}
    for weights in ("uniform", "inverse_variance"):
        model = EnsembleRegressor(Signs(), 2, bootstrap=True, weights=weights, random_state=0).fit(x, y)
        found[weights] = (model.predict(x) ** 2).mean()
    np.testing.assert_allclose(model.weights_, [0.8, 0.2])
    assert found == pytest.approx({"uniform": 1.25, "inverse_variance": 0.8})
    np.testing.assert_allclose(model.error_correlation(x, y), np.eye(2), atol=1e-12)


def test_the_correlation_of_errors_foretells_the_error_of_the_mean() -> None:
    """The mean's squared error is that of the covariance of the members' errors: by hand, of both kinds."""
    (x, y), (new, t) = waves(150), waves(400, 1)
    model = EnsembleRegressor(MLPRegressor(**SMALL), 4, random_state=0).fit(x, y)
    errors = np.array([member.predict(new) - t for member in model.estimators_])
    ρ, σ = model.error_correlation(new, t), errors.std(axis=1)
    np.testing.assert_allclose(ρ * np.outer(σ, σ), np.cov(errors, bias=True), atol=1e-9)
    assert (model.predict(new) - t).std() ** 2 == pytest.approx((ρ * np.outer(σ, σ)).mean())
    classes = EnsembleClassifier(MLPClassifier(**SMALL), 3, random_state=0).fit(x, y > 0)
    p = [m.predict_proba(new)[:, 1] - (t > 0) for m in classes.estimators_]
    np.testing.assert_allclose(
        classes.error_correlation(new, t > 0)[0, 1], np.corrcoef(_both(p[0]), _both(p[1]))[0, 1]
    )


def _both(p: np.ndarray) -> np.ndarray:
    return np.concatenate([p, -p])


def test_deviations_grow_where_there_were_no_rows() -> None:
    x, y = waves(150)
    for member in (MLPRegressor(**SMALL), MLPRegressor("gaussian", **SMALL)):
        model = EnsembleRegressor(member, 4, random_state=0).fit(x, y)
        mean, inside = model.predict(x, return_std=True)
        _, outside = model.predict(x * 4, return_std=True)
        np.testing.assert_array_equal(mean, model.predict(x))
        assert outside.mean() > 1.5 * inside.mean()


def test_several_processes_find_the_same() -> None:
    x, y = waves(60)
    found = [
        EnsembleRegressor(MLPRegressor(**SMALL), 3, random_state=1, n_jobs=jobs).fit(x, y).predict(x)
        for jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*found)
    again = pickle.loads(pickle.dumps(EnsembleRegressor(MLPRegressor(**SMALL), 2, random_state=1).fit(x, y)))
    assert again.predict(x).shape == (60,)


def test_tables() -> None:
    table = {"a": np.linspace(0, 1, 60), "b": np.array(["p", "q", None] * 20, object)}
    y = np.where(table["a"] > 0.5, "high", "low")
    model = EnsembleClassifier(
        MLPClassifier(**SMALL), 3, bootstrap=True, weights="inverse_variance", random_state=0
    )
    assert model.fit(table, y).score(table, y) > 0.9
