"""What rows and classes weigh: in learning, in what a fit is judged by, in an ensemble."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

from chainrule.errors import ConfigError, DataError
from chainrule.tasks import EnsembleClassifier, EnsembleRegressor, MLPClassifier, MLPRegressor

SMALL: dict[str, Any] = {
    "hidden_layer_sizes": (4,),
    "max_iter": 4,
    "executor": "reference",
    "random_state": 0,
}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def blobs(rows: int = 90) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    y = np.arange(rows) % 3 % (1 + (np.arange(rows) % 2) * 2)  # unequal classes
    return rng.normal(size=(rows, 2)) + y[:, None], y


def test_rows_to_judge_by_weigh_what_their_classes_weigh_in_learning() -> None:
    """As if the weights of the training rows' classes had been given by hand; all classes need not occur."""
    x, y = blobs()
    new, t = x[y > 0], y[y > 0]
    shares = {k: len(y) / (3 * np.sum(y == k)) for k in range(3)}
    by_hand = np.array([shares[k] for k in t])
    given = {"balanced": "balanced", "dict": shares}
    curves = {
        name: MLPClassifier(**SMALL, class_weight=weight).fit(x, y, validation_data=(new, t))
        for name, weight in given.items()
    }
    wanted = MLPClassifier(**SMALL).fit(
        x, y, sample_weight=[shares[k] for k in y], validation_data=(new, t, by_hand)
    )
    for model in curves.values():
        np.testing.assert_allclose(model.validation_loss_curve_, wanted.validation_loss_curve_, rtol=1e-6)
    plain = MLPClassifier(**SMALL).fit(x, y, validation_data=(new, t))
    assert not np.allclose(plain.validation_loss_curve_, wanted.validation_loss_curve_)


def test_weights_of_several_targets_multiply_on_rows_to_judge_by() -> None:
    x, y = blobs()
    both = np.stack([y, x[:, 0] > 1], axis=1).astype(int)
    weights = [{0: 1.0, 1: 2.0, 2: 3.0}, {0: 1.0, 1: 4.0}]
    new, t = x[y == 1], both[y == 1]
    by_hand = 2.0 * np.where(t[:, 1] == 1, 4.0, 1.0)
    found = MLPClassifier(**SMALL, class_weight=weights).fit(x, both, validation_data=(new, t))
    every = np.array([1.0, 2.0, 3.0])[both[:, 0]] * np.array([1.0, 4.0])[both[:, 1]]
    wanted = MLPClassifier(**SMALL).fit(x, both, sample_weight=every, validation_data=(new, t, by_hand))
    np.testing.assert_allclose(found.validation_loss_curve_, wanted.validation_loss_curve_, rtol=1e-6)


def test_parts_of_the_rows_need_not_have_every_class_that_has_a_weight() -> None:
    x, y = blobs()
    model = MLPClassifier(**SMALL, class_weight={1: 5.0})
    model.partial_fit(x, y, classes=[0, 1, 2]).partial_fit(x[y == 0], y[y == 0])
    assert model.classes_.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="not in class_weight"):
        MLPClassifier(**SMALL, class_weight={7: 5.0}).partial_fit(x, y, classes=[0, 1, 2])
    with pytest.raises(ConfigError, match="balanced"):
        MLPClassifier(**SMALL, class_weight="balanced").partial_fit(x, y, classes=[0, 1, 2])


def test_rows_to_judge_by_need_not_have_every_class_with_warm_start() -> None:
    x, y = blobs()
    model = MLPClassifier(**SMALL, warm_start=True)
    for _ in range(2):
        model.fit(x, y, validation_data=(x[y == 0], y[y == 0]))
    with pytest.raises(DataError, match="same classes"):
        model.fit(x[y == 0], y[y == 0])


def test_a_warm_start_that_finds_nothing_better_keeps_what_was_best() -> None:
    x, y = blobs()
    judge = x[::3], y[::3]
    model = MLPClassifier(
        **{**SMALL, "max_iter": 40}, early_stopping=True, scoring="loss", n_iter_no_change=40
    ).fit(x, y, validation_data=judge)
    model.set_params(warm_start=True, max_iter=3, learning_rate_init=3.0).fit(x, y, validation_data=judge)
    assert min(model.validation_scores_[-3:]) < model.best_validation_score_  # it went astray
    found = log_loss(judge[1], model.predict_proba(judge[0]), labels=[0, 1, 2])
    assert -found == pytest.approx(model.best_validation_score_, rel=1e-5)


def test_rows_of_no_weight_say_nothing_about_the_members_of_an_ensemble() -> None:
    x, y = blobs()
    weight = np.where(np.arange(len(y)) < 20, 0.0, 1.0 + np.arange(len(y)) % 2)
    other = np.where(weight > 0, y, 2 - y)
    settings: dict[str, Any] = {"bootstrap": True, "weights": "inverse_variance", "random_state": 0}
    found = [
        EnsembleClassifier(MLPClassifier(**SMALL), 3, **settings).fit(x, t, sample_weight=weight).weights_
        for t in (y, other)
    ]
    np.testing.assert_array_equal(*found)
    model = EnsembleRegressor(MLPRegressor(**SMALL), 3, **settings).fit(x, 1.0 * y, sample_weight=weight)
    seeds = np.random.RandomState(0).randint(0, 2**31 - 1, size=3)
    errors = []
    for member, seed in zip(model.estimators_, seeds, strict=True):
        drawn = np.random.default_rng(int(seed)).integers(0, len(y), len(y))
        unseen = np.setdiff1d(np.flatnonzero(weight), drawn)
        errors.append(np.average((member.predict(x[unseen]) - y[unseen]) ** 2, weights=weight[unseen]))
    np.testing.assert_allclose(model.weights_, (1 / np.array(errors)) / np.sum(1 / np.array(errors)))


def test_an_ensemble_of_classifiers_refuses_several_targets() -> None:
    """The mean of their probabilities would be taken for classes of one."""
    x, y = blobs()
    for several in (np.eye(3, dtype=int)[y], np.stack([y, y], axis=1)):
        with pytest.raises(DataError, match="one target"):
            EnsembleClassifier(MLPClassifier(**SMALL), 2).fit(x, several)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, about a column
        assert EnsembleClassifier(MLPClassifier(**SMALL), 2).fit(x, y[:, None]).predict(x).shape == (90,)
