"""scikit-learn's own checks of what calls itself an estimator, on ours in every setting that matters.

Expected to fail is one check alone: that a weight of 2 is a row given twice. That holds where every step sees
all rows; with smaller batches, or rows held out, the rows are drawn, as in scikit-learn's SGD learners, which
mark the same check.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from chainrule.tasks import MLPClassifier, MLPRegressor

DRAWN = {
    "check_sample_weight_equivalence_on_dense_data": "rows are drawn, one by one",
    "check_sample_weight_equivalence_on_sparse_data": "rows are drawn, one by one",
}
SETTINGS: list[dict[str, Any]] = [{}, {"early_stopping": True}, {"batch_size": 4}, {"solver": "lbfgs"}]


def expected(estimator: Any) -> dict[str, str]:
    return DRAWN if estimator.early_stopping or estimator.batch_size != "auto" else {}


def estimators(executor: str, settings: list[dict[str, Any]], **more: Any) -> list[Any]:
    kinds = (MLPClassifier, MLPRegressor)
    return [kind(executor=executor, **setting, **more) for kind in kinds for setting in settings]


def run(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


SMALL: dict[str, Any] = {"hidden_layer_sizes": (10,), "learning_rate_init": 0.02, "max_iter": 100}
FEW, MANY = estimators("reference", SETTINGS[:1], **SMALL), estimators("reference", SETTINGS[1:], **SMALL)
AS_THEY_ARE = [e for name in ("reference", "cpu", "auto") for e in estimators(name, SETTINGS)]


@parametrize_with_checks(FEW, expected_failed_checks=expected)
def test_small_networks(estimator: Any, check: Any) -> None:
    run(estimator, check)


@pytest.mark.long
@parametrize_with_checks(MANY, expected_failed_checks=expected)
def test_small_networks_in_other_settings(estimator: Any, check: Any) -> None:
    run(estimator, check)


@pytest.mark.long
@parametrize_with_checks(AS_THEY_ARE, expected_failed_checks=expected)
def test_as_they_are(estimator: Any, check: Any) -> None:
    run(estimator, check)
