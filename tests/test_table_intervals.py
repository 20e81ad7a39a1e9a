"""Intervals are as wide as the errors on rows held out; parts of a table have the shares asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from chainrule.data.tables import Table
from chainrule.report.table.scores import Bin
from chainrule.tasks import table_fit
from chainrule.tasks.interval import LEVEL, interval, radius
from chainrule.tasks.plan import TablePlan
from chainrule.tasks.predictor import Predictor
from chainrule.tasks.table_stream import choose_stream, fit_stream, stream_parts

QUICK: dict[str, Any] = {"hidden": (8,), "epochs": 4, "learning_rate": 0.01, "executor": "reference"}


def lines(rows: int = 160, seed: int = 1) -> Table:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    return Table({"x": x, "z": rng.normal(size=rows), "y": 5 + 3 * x + rng.normal(size=rows)})


@pytest.mark.parametrize("n", [1, 5, 8, 9, 10, 19, 99, 100])
def test_a_new_error_is_as_likely_in_each_place_among_the_old_ones(n: int) -> None:
    """So the k-th smallest of n holds a new one with probability k/(n + 1): the least k for which this is
    the level, if there is one."""
    errors = np.random.default_rng(n).permutation(np.arange(1.0, n + 1))
    k = next((k for k in range(1, n + 1) if 10 * k >= 9 * (n + 1)), n)
    assert radius(errors) == k
    assert LEVEL == 0.9


def covered(predictor: Predictor, rows: Table) -> int:
    ends = interval(predictor, rows.drop("y"))
    assert ends is not None
    low, high = (np.asarray(end, np.float64) for end in ends)
    slack = 1e-5 * (high - low)  # of float32: one error is the radius itself
    return int(np.count_nonzero((low - slack <= rows["y"]) & (rows["y"] <= high + slack)))


def test_the_interval_of_one_network_holds_the_level_of_the_rows_that_it_was_stopped_by() -> None:
    table = lines()
    fitted = table_fit.fit_table(TablePlan("y", "regression", networks=1, **QUICK), table)
    held = table.take(fitted.held[0])
    assert covered(fitted.predictor, held) == math.ceil((len(held) + 1) * LEVEL)


def test_rows_that_several_networks_held_out_count_once_with_the_mean_of_their_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    members: list[Any] = []
    made = table_fit._member
    monkeypatch.setattr(table_fit, "_member", lambda *a: members.append(made(*a)) or members[-1])
    table = lines()
    plan = TablePlan("y", "regression", networks=4, validation=0.4, test=0.2, **QUICK)
    fitted = table_fit.fit_table(plan, table)
    x, y = (np.asarray(a) for a in table_fit.prepare(plan, table).take(np.arange(len(fitted.train))))
    found: dict[int, list[float]] = {}
    for member, held in zip(members, fitted.held, strict=True):
        for place in np.searchsorted(fitted.train, held).tolist():
            found.setdefault(place, []).append(float((member.network.output(x[[place]]) - y[[place]])[0, 0]))
    assert max(map(len, found.values())) > 1
    wanted = np.sort([abs(np.mean(errors)) for errors in found.values()])
    k = math.ceil((len(wanted) + 1) * LEVEL)
    assert fitted.predictor.parameters["interval"]["radius"] == pytest.approx(wanted[k - 1], rel=1e-4)


def test_a_streams_interval_holds_the_level_of_its_validation_rows() -> None:
    chosen, stream = choose_stream(dict(lines(600).columns), "y", **QUICK)
    parts = stream_parts(chosen.plan, stream)
    fitted = fit_stream(chosen.plan, parts)
    rows = parts.validation
    assert covered(fitted.predictor, rows) == math.ceil((len(rows) + 1) * LEVEL)


def test_the_parts_of_a_stream_have_the_shares_of_the_plan() -> None:
    rows = 4000
    chosen, stream = choose_stream(dict(lines(rows).columns), "y", test=0.3, validation=0.1, **QUICK)
    parts = stream_parts(chosen.plan, stream)
    held = [len(parts.test), len(parts.validation), parts.train.rows]
    assert sum(held) == rows
    np.testing.assert_allclose(np.array(held) / rows, [0.3, 0.07, 0.63], atol=0.03)


def test_a_bins_error_is_that_of_what_was_said() -> None:
    """Of what was found it would be 0 where all of a few rows came true."""
    assert Bin(said=0.5, found=1.0, rows=4).error == 0.25
