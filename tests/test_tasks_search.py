"""Searches over pipelines on several processes find what one process finds, to the bit."""

from __future__ import annotations

from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from chainrule.tasks import EnsembleRegressor, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def search(executor: str, jobs: int | None, rows: int = 150) -> Any:
    """A grid over a pipeline on iris, fitted."""
    x, y = load_iris(return_X_y=True)
    x, y = np.tile(x, (rows // 150, 1)), np.tile(y, rows // 150)
    network = MLPClassifier(max_iter=10, random_state=0, executor=executor, learning_rate_init=0.01)
    pipeline = Pipeline([("scale", StandardScaler()), ("mlp", network)])
    grid = {"mlp__hidden_layer_sizes": [(5,), (20, 10)], "mlp__early_stopping": [False, True]}
    scoring = ["accuracy", "neg_log_loss"]
    options = {"scoring": scoring, "refit": "neg_log_loss", "return_train_score": True}
    return GridSearchCV(pipeline, grid, cv=3, n_jobs=jobs, **options).fit(x, y)


def assert_same(a: Any, b: Any) -> None:
    assert a.best_params_ == b.best_params_
    scores = [n for n in a.cv_results_ if ("_test_" in n or "_train_" in n) and not n.startswith("rank")]
    assert len(scores) == 20  # three folds, mean and deviation; of two scores, learned and held out
    for name in scores:
        np.testing.assert_array_equal(a.cv_results_[name], b.cv_results_[name], err_msg=name)
    x = load_iris().data
    np.testing.assert_array_equal(a.predict_proba(x), b.predict_proba(x))
    for W, V in zip(a.best_estimator_[-1].coefs_, b.best_estimator_[-1].coefs_, strict=True):
        np.testing.assert_array_equal(W, V)


def test_two_processes_of_loky() -> None:
    with joblib.parallel_config("loky"):
        assert_same(search("auto", 2), search("auto", 1))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_inside_of_joblibs_workers_there_is_one_thread(backend: str) -> None:
    assert MLPClassifier()._threads() is None
    inside = joblib.Parallel(n_jobs=2, backend=backend)(
        joblib.delayed(MLPClassifier()._threads)() for _ in "ab"
    )
    assert inside == [1, 1]
    assert MLPClassifier(threads=2)._threads() == 2


@pytest.mark.long
@pytest.mark.parametrize("executor", ["reference", "cpu", "auto"])
@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_every_executor_on_every_backend(executor: str, backend: str) -> None:
    with joblib.parallel_config(backend):
        found = search(executor, 2, rows=1500)
    assert_same(found, search(executor, 1, rows=1500))


@pytest.mark.long
def test_a_cluster_of_dask() -> None:
    """Workers that are processes of their own, on this machine."""
    distributed = pytest.importorskip("distributed")
    x = np.random.default_rng(0).normal(size=(200, 3))
    ensemble = EnsembleRegressor(MLPRegressor(max_iter=10), 4, bootstrap=True, random_state=0)
    alone, alone_together = search("auto", 1), ensemble.fit(x, x[:, 0]).predict(x)
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, distributed.Client(cluster), joblib.parallel_config("dask"):
        assert set(joblib.Parallel()(joblib.delayed(MLPClassifier()._threads)() for _ in range(4))) == {1}
        assert_same(search("auto", None), alone)
        np.testing.assert_array_equal(ensemble.fit(x, x[:, 0]).predict(x), alone_together)
