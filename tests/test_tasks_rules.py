"""Rules of estimators and searches one by one: what is kept, what shares a scale, whose variance counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.data.tables import Table
from chainrule.tasks import EnsembleRegressor, MLPRegressor, search
from chainrule.tasks.plan import TablePlan
from chainrule.tasks.prepared import prepare
from chainrule.tasks.progress import Convergence, Progress
from chainrule.tasks.scaling import by_unit
from chainrule.train import Chunk, EpochEnd


def told(scores: list[float], losses: list[float], tol: float) -> tuple[list[int], Progress]:
    """The epochs whose parameters are kept, and the state after them."""
    kept: list[int] = []
    seen = Progress()
    waiting = iter(scores)
    watching = Convergence(
        seen, tol=tol, patience=100, rows=1, score=lambda end: next(waiting), stops_by_score=True
    )
    for k, loss in enumerate(losses):
        watching.epoch(EpochEnd(k, k + 1, {"val_loss": loss}, lambda k=k: kept.append(k), dict, 1.0))  # type: ignore[misc]
    return kept, seen


def test_scores_within_the_tolerance_are_equal_and_then_the_lower_loss_is_better() -> None:
    kept, seen = told([0.8, 0.8005, 0.7995, 0.7, 0.9, 0.8995], [0.5, 0.6, 0.4, 0.1, 0.9, 0.8], tol=1e-3)
    assert kept == [0, 2, 4, 5]
    assert (seen.best_score, seen.best_validation_loss, seen.waited) == (0.9, 0.8, 0)


def test_columns_share_a_scale_that_reach_a_quarter_as_far_as_the_farthest() -> None:
    x = np.array([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]) * [1.0, 1 / 3.9, 1 / 4.1]
    scale = by_unit(x).scale
    assert scale[0] == scale[1] == pytest.approx(np.sqrt((1 + 1 / 3.9**2) / 2))
    assert scale[2] == pytest.approx(1 / 4.1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_deviation_of_an_ensemble_has_what_its_members_expect_in_it() -> None:
    """The variance of a mixture: of the means, and the mean of the variances."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 2))
    member = MLPRegressor("gaussian", hidden_layer_sizes=(4,), max_iter=20, executor="reference", tol=1.0)
    model = EnsembleRegressor(member.set_params(n_iter_no_change=30), 3, random_state=0)
    model.fit(x, x[:, 0] + rng.normal(size=80))
    pairs = [m.predict(x, return_std=True) for m in model.estimators_]
    means, deviations = (np.stack(part).astype(np.float64) for part in zip(*pairs, strict=True))
    mean, deviation = model.predict(x, return_std=True)
    np.testing.assert_allclose(mean, means.mean(0), rtol=1e-5)
    np.testing.assert_allclose(deviation**2, means.var(0) + (deviations**2).mean(0), rtol=1e-5)


def test_a_trial_that_the_clock_broke_off_is_compared_with_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its loss after fewer epochs would be."""

    class Struck(search.Deadline):
        def chunk(self, chunk: Chunk) -> bool:
            self.struck = True
            return True

    x = np.linspace(0, 1, 60)
    said: dict[str, Any] = {"hidden": (4,), "learning_rate": 0.01, "executor": "reference"}
    plan = TablePlan("y", "regression", **said)
    prepared = prepare(plan, Table({"x": x, "y": 3 * x}))
    whole = search._trial(plan, prepared, tmp_path / "whole", 4, float("inf"))
    assert whole is not None
    monkeypatch.setattr(search, "Deadline", Struck)
    assert search._trial(plan, prepared, tmp_path / "broken", 4, float("inf")) is None
