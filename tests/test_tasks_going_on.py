"""Estimators that go on learning, and how they stop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from estimated import QUICK, numbers, table
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score

from chainrule import optim
from chainrule.errors import ConfigError, DivergenceError
from chainrule.tasks import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ------------------------------------------------------------------ going on


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_is_a_fit_epoch_by_epoch(solver: str, early: bool) -> None:
    """The optimizer's state goes on: ten calls are one fit of ten epochs, to the bit."""
    x, y = table()
    options = {**QUICK, "solver": solver, "max_iter": 10, "n_iter_no_change": 100, "alpha": 0.1}
    whole = MLPClassifier(**options).fit(x, y)
    parts = MLPClassifier(**options, early_stopping=early)
    for _ in range(10):
        parts.partial_fit(x, y, classes=np.unique(y))
    np.testing.assert_array_equal(parts.predict_proba(x), whole.predict_proba(x))
    assert parts.loss_curve_ == whole.loss_curve_
    assert parts.t_ == whole.t_ == 800


def test_partial_fit_with_early_stopping_of_numbers_labels_and_targets() -> None:
    """Nothing is held out, no score is kept, and a fit afterwards stops early as if nothing had been."""
    x, y = table()
    labels = np.stack([y == "far", y == "up"], axis=1).astype(int)
    options = {**QUICK, "max_iter": 3, "n_iter_no_change": 100, "batch_size": 9, "alpha": 0.1}
    kinds: list[tuple[Any, np.ndarray, dict[str, Any]]] = [
        (MLPRegressor, numbers()[1], {}),
        (MLPRegressor, x[:, :2], {}),
        (MLPClassifier, labels, {}),
        (MLPClassifier, np.stack([y, y], axis=1), {"classes": [np.unique(y)] * 2}),
    ]
    for kind, target, classes in kinds:
        whole = kind(**options).fit(x, target)
        parts = kind(**options, early_stopping=True).partial_fit(x, target, **classes)
        parts.partial_fit(x, target).partial_fit(x, target)
        for a, b in zip(parts.coefs_, whole.coefs_, strict=True):
            np.testing.assert_array_equal(a, b)
        assert parts.validation_scores_ is None
        afresh = kind(**options, early_stopping=True).fit(x, target)
        np.testing.assert_array_equal(parts.fit(x, target).predict(x), afresh.predict(x))
        assert len(parts.validation_scores_) == 3


def test_partial_fit_of_new_classes_and_numbers() -> None:
    x, y = table()
    with pytest.raises(ValueError, match="classes must be passed"):
        MLPClassifier(**QUICK).partial_fit(x, y)
    model = MLPClassifier(**QUICK).partial_fit(x[:5], y[:5], classes=["down", "far", "up", "never"])
    assert model.predict_proba(x).shape == (80, 4)
    with pytest.raises(ValueError, match="classes not in"):
        model.partial_fit(x, np.full(80, "new"))
    with pytest.raises(ValueError, match="not the same"):
        model.partial_fit(x, y, classes=["up", "down"])
    _, t = numbers()
    regressor = MLPRegressor(**QUICK)
    errors = [np.abs(regressor.partial_fit(x, t).predict(x) - t).mean() for _ in range(60)]
    assert errors[-1] < errors[0]


def test_warm_start_goes_on() -> None:
    x, y = table()
    options = {**QUICK, "max_iter": 5, "n_iter_no_change": 100}
    twice = MLPClassifier(**options, warm_start=True).fit(x, y)
    twice.fit(x, y)
    once = MLPClassifier(**{**options, "max_iter": 10}).fit(x, y)
    np.testing.assert_array_equal(twice.predict_proba(x), once.predict_proba(x))
    assert len(twice.loss_curve_) == 10
    assert twice.n_iter_ == 5
    with pytest.raises(ValueError, match="warm_start"):
        twice.fit(x, np.where(y == "up", "down", y))
    assert len(MLPClassifier(**options).fit(x, y).fit(x, y).loss_curve_) == 5


# ------------------------------------------------------------------ stopping


def test_early_stopping_keeps_the_best() -> None:
    x, y = table(150)
    model = MLPClassifier(**{**QUICK, "max_iter": 200, "learning_rate_init": 0.05}, early_stopping=True)
    model.fit(x, y)
    assert model.n_iter_ < 200
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == model.n_iter_
    assert model.best_loss_ is None


def test_with_lbfgs_rows_are_held_out_where_they_are_given_alone() -> None:
    """As in scikit-learn, early_stopping is of steps; validation_data is ours, and so is optim.LBFGS()."""
    x, t = numbers(150)
    options = {**QUICK, "max_iter": 60, "early_stopping": True, "alpha": 0.0}
    plain = MLPRegressor(**{**options, "early_stopping": False}, solver="lbfgs").fit(x, t)
    same = MLPRegressor(**options, solver="lbfgs").fit(x, t)
    np.testing.assert_array_equal(same.predict(x), plain.predict(x))
    assert same.validation_scores_ is None
    noise = np.random.default_rng(0).normal(size=(2, 40))
    held = numbers(40, seed=2)[0], numbers(40, seed=2)[1] + 100 * noise[0]
    judged = MLPRegressor(**options, solver="lbfgs").fit(
        x[:40], t[:40] + 100 * noise[1], validation_data=held
    )
    assert judged.n_iter_ < 60
    assert judged.best_validation_score_ == pytest.approx(judged.score(*held), abs=1e-3)
    assert len(MLPRegressor(**options, solver=optim.LBFGS()).fit(x, t).validation_scores_) > 0
    with pytest.raises(ConfigError, match="validation_data"):
        MLPClassifier(solver="lbfgs", early_stopping=True, calibrate=True).fit(x, t > 500)


def test_validation_data_and_scorers() -> None:
    x, t = numbers(150)
    held = numbers(60, seed=1)
    options = {**QUICK, "learning_rate_init": 0.05, "early_stopping": True}
    model = MLPRegressor(**options).fit(x, t, validation_data=held)
    assert model.best_validation_score_ == pytest.approx(r2_score(held[1], model.predict(held[0])), abs=1e-4)
    curve = MLPRegressor(**options, scoring="loss").fit(x, t, validation_data=held)
    np.testing.assert_allclose(
        curve.best_validation_score_, -curve.network_.history["val_loss"].min(), atol=1e-4
    )
    scored = MLPRegressor(**options, scoring="neg_mean_absolute_error").fit(x, t, validation_data=held)
    error = np.abs(scored.predict(held[0]) - held[1]).mean()
    assert scored.best_validation_score_ == pytest.approx(-error, abs=1e-4)
    weight = np.linspace(0, 2, 60)
    weighed = MLPRegressor(**options).fit(x, t, validation_data=(*held, weight))
    assert weighed.best_validation_score_ == pytest.approx(
        weighed.score(*held, sample_weight=weight), abs=1e-4
    )
    watched = MLPRegressor(**QUICK).fit(x, t, validation_data=held)
    assert len(watched.validation_scores_) == 30


def test_it_stops_where_nothing_changes_and_says_where_it_has_not_converged() -> None:
    x, y = table()
    still = MLPClassifier(**{**QUICK, "max_iter": 100, "tol": 10.0, "n_iter_no_change": 3}).fit(x, y)
    assert still.n_iter_ == 5, "one that is better than nothing, and more than three that are not"
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        MLPClassifier(**QUICK).fit(x, y)
    options = {**QUICK, "max_iter": 100, "tol": 10.0, "n_iter_no_change": 3, "learning_rate_init": 0.1}
    adaptive = MLPClassifier(**options, solver="sgd", learning_rate="adaptive").fit(x, y)
    rates = adaptive.network_.history["learning_rate"]
    np.testing.assert_allclose(sorted(set(rates), reverse=True)[:3], [0.1, 0.02, 0.004], rtol=1e-6)
    falling = MLPClassifier(**QUICK, solver="sgd", learning_rate="invscaling", power_t=0.5).fit(x, y)
    wanted = 0.001 * np.array([1.0, *(80 * k + 1 for k in range(1, 30))]) ** -0.5
    np.testing.assert_allclose(falling.network_.history["learning_rate"], wanted, rtol=1e-6)


def test_a_rate_of_a_million_is_told() -> None:
    x, t = numbers()
    with pytest.raises(DivergenceError, match="learning rate"):
        MLPRegressor(**QUICK, learning_rate_init=1e30).fit(x, t)
