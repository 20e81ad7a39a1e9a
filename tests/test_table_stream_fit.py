"""Tables as streams: parts, fits and files are those of tables in memory, as far as they can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.data.tables import Table, stream_table
from chainrule.errors import ConfigError, DataError
from chainrule.tasks.interval import interval
from chainrule.tasks.table_stream import choose_stream, fit_stream, stream_parts
from chainrule.train.state import digest

SMALL = {"hidden": (16,), "epochs": 12, "learning_rate": 0.01, "executor": "reference"}


def shops(rows: int = 3000) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    size, kind = rng.normal(size=rows), rng.integers(0, 3, rows)
    sales = 2 * size + np.array([0.0, 1.0, -1.0])[kind] + 0.3 * rng.normal(size=rows)
    return {
        "row": np.arange(rows) * 1.0,
        "size": np.where(rng.random(rows) < 0.1, np.nan, size),
        "kind": np.array(["food", "tools", "books"], object)[kind],
        "street": np.array([f"s{i}" for i in rng.integers(0, 70, rows)], object),
        "sales": sales,
        "pays": np.where(sales > 0, "yes", "no").astype(object),
        "level": np.digitize(sales, [-2.0, 2.0]),
    }


def stream_of(target: str, **said: Any) -> Any:
    others = {"sales", "pays", "level"} - {target}
    kinds = {**dict.fromkeys(others, "identifier"), "row": "identifier"}
    return choose_stream(shops(), target, **{**SMALL, "kinds": kinds, **said})


def test_both_sides_of_a_split_are_all_rows_in_order() -> None:
    data = shops()
    stream = stream_table(data, "sales", kinds={"row": "identifier"}, seed=4)
    assert stream.table()["row"].tolist() == data["row"].tolist()
    rows, held = (side.table()["row"].astype(int).tolist() for side in stream.split(0.3))
    assert sorted([*rows, *held]) == list(range(3000))
    assert rows == sorted(rows)
    assert len(held) == pytest.approx(900, abs=80)


def test_a_share_of_a_side_is_drawn_from_all_of_it() -> None:
    """Whether a row is drawn has nothing to do with the side it is on."""
    rows, held = stream_table(shops(), "sales", kinds={"row": "identifier"}).split(0.5)
    for side in (rows, held):
        drawn = set(side.table(0.4)["row"])
        assert drawn <= set(side.table()["row"])
        assert len(drawn) / side.rows == pytest.approx(0.4, abs=0.05)
        assert drawn == set(side.table(0.4)["row"])
    with pytest.raises(DataError, match="holds none"):
        rows.table(1e-9)


def test_parts_are_disjoint_and_of_the_shares_asked_for() -> None:
    chosen, stream = stream_of("pays", test=0.2, validation=0.25)
    parts = stream_parts(chosen.plan, stream)
    sides = [set(t["row"]) for t in (parts.train.table(), parts.validation, parts.test)]
    assert sum(map(len, sides)) == 3000 == len(set.union(*sides))
    assert [len(side) / 3000 for side in sides] == pytest.approx([0.6, 0.2, 0.2], abs=0.03)
    assert set(parts.known["row"]) <= sides[0]
    yes = [np.mean(t["pays"] == "yes") for t in (parts.validation, parts.test)]
    assert yes[0] == pytest.approx(yes[1], abs=0.01), "alike in classes"


@pytest.mark.parametrize("target", ["pays", "level", "sales"])
def test_a_stream_is_learned_and_its_file_predicts_the_same(target: str, tmp_path: Any) -> None:
    chosen, stream = stream_of(target)
    parts = stream_parts(chosen.plan, stream)
    fitted = fit_stream(chosen.plan, parts)
    test = parts.test
    found = fitted.predictor.predict(test)
    if target == "sales":
        assert chosen.plan.task == "regression"
        assert 1 - np.var(found - test["sales"]) / np.var(test["sales"]) > 0.8
        low, high = interval(fitted.predictor, test)
        assert 0.82 <= np.mean((low <= test["sales"]) & (test["sales"] <= high)) <= 0.98
    else:
        assert chosen.plan.task == "classification"
        assert np.mean(found == test[target]) > 0.8
    fitted.predictor.save(tmp_path / "model.safetensors")
    again = cr.load(tmp_path / "model.safetensors")
    assert (again.predict(test) == found).all()
    assert again.parameters["target"] == target
    assert again.features == stream.encoder.names


class Stop(cr.train.Callback):
    def epoch(self, end: cr.train.EpochEnd) -> None:
        if end.epoch == 2:
            raise KeyboardInterrupt


def test_a_stream_that_was_stopped_goes_on_to_the_same_bits(tmp_path: Any) -> None:
    chosen, stream = stream_of("pays", epochs=5)
    parts = stream_parts(chosen.plan, stream)
    whole = fit_stream(chosen.plan, parts)
    with pytest.raises(KeyboardInterrupt):
        fit_stream(chosen.plan, parts, run_dir=tmp_path, callbacks=[Stop()])
    resumed = fit_stream(chosen.plan, parts, run_dir=tmp_path, resume=True)
    assert digest(resumed.predictor.network.state) == digest(whole.predictor.network.state)
    assert len(resumed.histories[0]) == 5


def test_a_rate_is_found_and_time_is_kept() -> None:
    chosen, stream = stream_of("pays", learning_rate="auto", epochs=10**6, patience=10**6)
    told: list[str] = []
    fitted = fit_stream(chosen.plan, stream_parts(chosen.plan, stream), seconds=1.0, told=told.append)
    assert fitted.stopped == "time"
    assert 3e-4 <= fitted.plan.learning_rate <= 1e-2
    assert told[0].startswith(f"learning rate {fitted.plan.learning_rate:g}, by a range test on ")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"networks": 2}, "networks and log_target"),
        ({"log_target": "log"}, "networks and log_target"),
        ({"epoch": 2}, "did you mean 'epochs'"),
    ],
)
def test_what_takes_tables_in_memory_is_refused(said: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        stream_of("pays", **said)


def test_plans_of_streams_follow_from_their_rows() -> None:
    chosen, stream = stream_of("pays")
    assert (chosen.plan.networks, chosen.plan.batch_size, stream.batch_size) == (1, 64, 64)
    assert chosen.reasons["batch_size"] == "3,000 rows"
    assert isinstance(stream.table(), Table)
