"""fit_table: parts, committees, deadlines, resumption, intervals; and the search before it."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, ops
from chainrule.data.tables import Table
from chainrule.errors import ConfigError, DataError
from chainrule.tasks import table_fit
from chainrule.tasks.committee import committee
from chainrule.tasks.interval import interval, radius
from chainrule.tasks.plan import TablePlan, choose_plan
from chainrule.tasks.prepared import parts_of, prepare
from chainrule.tasks.search import candidates, search
from chainrule.tasks.table_fit import fit_table
from chainrule.train.state import digest

SMALL = {"hidden": (8,), "epochs": 6, "networks": 2, "learning_rate": 0.01, "executor": "reference"}


def shops(rows: int = 300, seed: int = 0, noise: float = 0.3) -> Table:
    """Sales by size and kind, with gaps, many streets, and whether they pay."""
    rng = np.random.default_rng(seed)
    size, kind = rng.normal(size=rows), rng.integers(0, 3, rows)
    sales = 2 * size + np.array([0.0, 1.0, -1.0])[kind] + noise * rng.normal(size=rows)
    return Table(
        {
            "size": np.where(rng.random(rows) < 0.1, np.nan, size),
            "kind": np.array(["food", "tools", None], object)[kind],
            "street": np.array([f"s{i}" for i in rng.integers(0, 70, rows)], object),
            "sales": sales,
            "pays": np.where(sales > 0, "yes", "no").astype(object),
        }
    )


def plan_of(table: Table, target: str, **said: object) -> TablePlan:
    return choose_plan(table, target, **{**SMALL, **said}).plan


# ------------------------------------------------------------------ parts


def test_parts_are_disjoint_and_whole_and_follow_from_the_seed():
    table = shops()
    plan = plan_of(table, "pays")
    known, test = parts_of(plan, table)
    assert sorted([*known, *test]) == list(range(300))
    assert len(test) == 45
    share = [np.mean(table["pays"][part] == "yes") for part in (known, test)]
    assert share[0] == pytest.approx(share[1], abs=0.02)
    other = parts_of(plan_of(table, "pays", seed=1), table)[1]
    assert set(other) != set(test)
    held = [prepare(plan, table).held_out(plan, k)[1] for k in (0, 1)]
    assert set(held[0]) != set(held[1])


def test_a_class_of_one_row_stays_in_training():
    table = shops()
    table.columns["pays"][7] = "never"
    for seed in range(5):
        plan = plan_of(table, "pays", seed=seed)
        known, _ = parts_of(plan, table)
        place = list(known).index(7)
        assert all(place in prepare(plan, table).held_out(plan, k)[0] for k in range(3))


def test_nothing_is_learned_of_the_test():
    """Whatever the test's rows hold, encoders, target and networks are the same to the bit."""
    table = shops()
    plan = plan_of(table, "sales")
    _, test = parts_of(plan, table)
    changed = Table({name: column.copy() for name, column in table.columns.items()})
    changed.columns["size"][test] *= 100
    changed.columns["sales"][test] += 1000
    changed.columns["kind"][test] = "new"
    one, two = fit_table(plan, table), fit_table(plan, changed)
    assert digest(one.predictor.network.state) == digest(two.predictor.network.state)
    assert one.predictor.encoder == two.predictor.encoder
    assert one.predictor.parameters == two.predictor.parameters


# ------------------------------------------------------------------ committees


def member(seed: int, hidden: tuple[int, ...], *, embedded: bool, norm: bool) -> cr.Network:
    steps: list[nn.Step] = [nn.Columns(((5, 3), (4, 2)))] if embedded else []
    for units in hidden:
        steps += [nn.Dense(units), *([nn.BatchNorm()] if norm else []), ops.tanh, nn.Dropout(0.2)]
    inputs = {"x": cr.ops.input("x", (3,)).spec}
    if embedded:
        inputs["codes"] = cr.ops.input("c", (2,), "int32").spec
    net = cr.Network(nn.sequential(*steps, nn.Dense(2)), seed=seed).build(**inputs)
    rng = np.random.default_rng(seed)
    for name in net.state:
        net[name] = np.abs(rng.normal(size=net[name].shape)) + 0.1
    return net


@pytest.mark.parametrize(
    ("hidden", "embedded", "norm"), list(itertools.product([(), (6,), (6, 4)], [False, True], [False, True]))
)
def test_a_committee_is_the_mean_of_its_members(hidden, embedded, norm):
    nets = [member(seed, hidden, embedded=embedded, norm=norm) for seed in range(3)]
    rng = np.random.default_rng(9)
    x = rng.normal(size=(11, 3)).astype("float32")
    codes = np.stack([rng.integers(0, 5, 11), rng.integers(0, 4, 11)], axis=1).astype("int32")
    given = {"x": x, "codes": codes} if embedded else x
    mean = np.mean([net.output(given).astype(np.float64) for net in nets], axis=0)
    np.testing.assert_allclose(committee(nets).output(given), mean, rtol=2e-6, atol=1e-6)


def test_a_committee_of_one_is_that_one_and_of_strangers_is_refused():
    one, two = member(0, (6,), embedded=False, norm=False), member(1, (5,), embedded=False, norm=False)
    assert committee([one]) is one
    with pytest.raises(ConfigError, match="same layers"):
        committee([one, two])


# ------------------------------------------------------------------ a fit


@pytest.mark.parametrize("target", ["sales", "pays"])
def test_a_fit_learns_and_its_file_predicts_the_same(target, tmp_path):
    table = shops(600)
    fitted = fit_table(plan_of(table, target, epochs=40, hidden=(16,)), table)
    test = table.take(fitted.test)
    predictor = fitted.predictor
    if target == "pays":
        assert np.mean(predictor.predict(test) == test["pays"]) > 0.85
    else:
        residuals = predictor.predict(test) - test["sales"]
        assert 1 - residuals.var() / test["sales"].var() > 0.8
    predictor.save(tmp_path / "model.safetensors")
    found = cr.load(tmp_path / "model.safetensors")
    assert (found.predict(test) == predictor.predict(test)).all()
    assert found.parameters["target"] == target
    assert found.encoder is not None
    assert found.encoder.embeddings, "the streets have learned vectors"


def test_the_same_plan_gives_the_same_bits_and_another_seed_others():
    table = shops()
    sums = [
        digest(fit_table(plan_of(table, "pays", seed=seed), table).predictor.network.state)
        for seed in (0, 0, 1)
    ]
    assert sums[0] == sums[1] != sums[2]


@pytest.mark.parametrize("log", ["log", "log1p"])
def test_a_logarithm_of_the_target_gives_back_its_units(log):
    table = shops(400)
    money = np.exp(table["sales"])
    table = Table({**table.columns, "money": money}).drop("sales", "pays")
    fitted = fit_table(plan_of(table, "money", log_target=log, epochs=40, hidden=(16,)), table)
    found = fitted.predictor.predict(table.take(fitted.test))
    truth = money[fitted.test]
    assert np.corrcoef(np.log1p(np.maximum(found, 0)), np.log1p(truth))[0, 1] > 0.8
    low, high = interval(fitted.predictor, table.take(fitted.test))
    assert (low < high).all()
    assert 0.7 <= np.mean((low <= truth) & (truth <= high)) <= 1


def test_negative_numbers_have_no_logarithm():
    table = shops()
    with pytest.raises(DataError, match="log"):
        fit_table(plan_of(table, "sales", log_target="log"), table)


def test_intervals_hold_nine_truths_in_ten():
    table = shops(3000, noise=1.0)
    fitted = fit_table(plan_of(table, "sales", epochs=15), table)
    test = table.take(fitted.test)
    low, high = interval(fitted.predictor, test)
    held = np.mean((low <= test["sales"]) & (test["sales"] <= high))
    assert 0.85 <= held <= 0.95, "450 rows: a deviation of 1.4 %"
    assert np.ptp(high - low) < 1e-4, "of one width"


def test_the_radius_is_a_sorted_error():
    errors = np.random.default_rng(0).exponential(size=99)
    assert radius(errors, 0.9) == np.sort(errors)[89]
    assert radius(errors[:3], 0.9) == errors[:3].max(), "too few: the largest"


def test_a_deadline_stops_and_still_gives_a_network():
    table = shops(2000)
    told: list[str] = []
    began = time.monotonic()
    plan = plan_of(table, "pays", epochs=100_000, patience=100_000, networks=3)
    fitted = fit_table(plan, table, seconds=1.0, told=told.append)
    assert time.monotonic() - began < 60
    assert fitted.stopped == "time"
    assert len(fitted.histories) == 1
    assert told[-1] == "no time for network 2 of 3"
    assert fitted.histories[0].kept <= len(fitted.histories[0])
    assert fitted.predictor.predict(table.take([0, 1])).shape == (2,)


def test_the_last_network_joins_only_where_it_is_as_good_when_time_is_up():
    def one(loss: float, stopped: str) -> table_fit._Member:
        net = member(0, (), embedded=False, norm=False)
        net.history = cr.train.History([{"epoch": 0, "val_loss": loss}])
        return table_fit._Member(net, np.zeros(0), stopped)

    good, bad, late = one(1.0, "patience"), one(2.0, "time"), one(0.5, "time")
    assert table_fit._chosen([good, bad]) == [good]
    assert table_fit._chosen([good, late]) == [good, late]
    assert table_fit._chosen([bad]) == [bad]


class Stop(cr.train.Callback):
    """Breaks off a fit as Ctrl-C does, in some epoch of some network."""

    def __init__(self, network: int, epoch: int) -> None:
        self.waiting, self.at = network, epoch

    def begin(self, start: cr.train.Start) -> None:
        self.waiting -= 1

    def epoch(self, end: cr.train.EpochEnd) -> None:
        if self.waiting < 0 and end.epoch == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("network", "epoch"), [(0, 1), (1, 0), (1, 3)])
def test_a_fit_that_was_stopped_goes_on_to_the_same_bits(network, epoch, tmp_path):
    table = shops()
    plan = plan_of(table, "pays")
    whole = fit_table(plan, table, run_dir=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit_table(plan, table, run_dir=tmp_path / "parts", callbacks=[Stop(network, epoch)])
    resumed = fit_table(plan, table, run_dir=tmp_path / "parts", resume=True)
    assert digest(resumed.predictor.network.state) == digest(whole.predictor.network.state)
    again = fit_table(plan, table, run_dir=tmp_path / "parts", resume=True)
    assert digest(again.predictor.network.state) == digest(whole.predictor.network.state)
    alone = fit_table(plan, table)
    assert digest(alone.predictor.network.state) == digest(whole.predictor.network.state)


# ------------------------------------------------------------------ a search


def test_a_search_keeps_a_third_each_round_and_begins_with_the_plan(tmp_path):
    table = shops()
    plan = plan_of(table, "pays", epochs=12)
    told: list[str] = []
    found = search(plan, table, 6, run_dir=tmp_path, told=told.append)
    assert told == ["search: 6 of 6 plans, 4 epochs each", "search: 2 of 6 plans, 12 epochs each"]
    assert [row["epochs"] for row in found.trials] == [12, 12, 4, 4, 4, 4]
    assert {row["trial"] for row in found.trials} == set(range(6))
    plans = candidates(plan, 6, 0.01)
    assert plans[0] == plan
    best = found.trials[0]
    assert found.plan == plans[best["trial"]]
    assert best["val_loss"] == min(row["val_loss"] for row in found.trials[:2])
    assert search(plan, table, 6).trials == found.trials, "with a folder or without"


@pytest.mark.parametrize("after", [0, 3, 7])
def test_a_search_that_was_stopped_goes_on_to_the_same_end(after, tmp_path, monkeypatch):
    from chainrule.tasks import search as room

    table = shops()
    plan = plan_of(table, "pays", epochs=12)
    whole = search(plan, table, 6)
    kept, count = room._trial, itertools.count()

    def broken(*arguments: object) -> float | None:
        if next(count) == after:
            raise KeyboardInterrupt
        return kept(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(room, "_trial", broken)
        with pytest.raises(KeyboardInterrupt):
            search(plan, table, 6, run_dir=tmp_path)
    done = 0

    def counted(*arguments: object) -> float | None:
        nonlocal done
        done += 1
        return kept(*arguments)

    monkeypatch.setattr(room, "_trial", counted)
    found = search(plan, table, 6, run_dir=tmp_path)
    assert (found.plan, found.trials) == (whole.plan, whole.trials)
    assert done == 8 - after, "what was done is not done again"


def test_a_search_without_time_keeps_the_plan():
    table = shops()
    plan = plan_of(table, "pays")
    found = search(plan, table, 4, seconds=0.0)
    assert (found.plan, found.trials) == (plan, ())


def test_a_search_that_saw_the_first_epochs_alone_keeps_the_plan(monkeypatch):
    from chainrule.tasks import search as room

    plan = plan_of(shops(), "pays", epochs=12)
    kept, count = room._trial, itertools.count()
    monkeypatch.setattr(room, "_trial", lambda *a: kept(*a) if next(count) < 5 else None)
    found = search(plan, shops(), 6)
    assert found.plan == plan
    assert len(found.trials) == 5
    count = itertools.count(-2)  # five more, two of them in the second round
    found = search(plan, shops(), 5)
    assert found.plan == candidates(plan, 5, 0.01)[found.trials[0]["trial"]]
    assert found.trials[0]["epochs"] == 12


def test_a_search_compares_who_came_farthest():
    from chainrule.tasks.search import _found

    plan = TablePlan("y", "regression")
    plans = candidates(plan, 3, 0.01)
    found = _found(plan, plans, {0: (4, 0.1), 1: (12, 0.5), 2: (12, math.inf)})
    assert [row["trial"] for row in found.trials] == [1, 2, 0]


def test_a_trial_that_diverges_counts_as_infinitely_bad_and_ends_nothing(monkeypatch):
    from chainrule.tasks import search as room

    table = shops()
    plan = plan_of(table, "sales", epochs=4)
    bad = candidates(plan, 6, 0.01)[1]

    def rule(asked, rate, rows):
        return cr.optim.SGD(1e9 if asked == bad else 1e-3)

    monkeypatch.setattr(room, "rule_of", rule)
    found = search(plan, table, 6)
    assert [row["trial"] for row in found.trials if row["val_loss"] == math.inf] == [1]
    assert found.trials[-1]["trial"] == 1
    assert found.plan != bad


def test_scores_of_a_search_that_were_altered_are_refused(tmp_path):
    table = shops()
    (tmp_path / "trials.json").write_text('[[0, "four", null]]')
    with pytest.raises(DataError, match="the search begins anew"):
        search(plan_of(table, "sales"), table, 3, run_dir=tmp_path)
