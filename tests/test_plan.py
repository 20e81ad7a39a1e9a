"""Plans of tables: what is chosen from the data, what is refused, and what a plan is as JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chainrule.config import from_json, to_json
from chainrule.data.tables import Table
from chainrule.errors import ChainruleError, ConfigError, DataError
from chainrule.tasks.plan import TablePlan, choose_plan


def table(rows: int = 60, **columns: object) -> Table:
    x = np.linspace(0, 1, rows)
    return Table({"x": x, **{name: np.asarray(column) for name, column in columns.items()}})


@pytest.mark.parametrize(
    ("y", "task", "reason"),
    [
        (np.array(["a", "b"] * 30, object), "classification", "2 different texts"),
        (np.arange(60) % 3, "classification", "3 different whole numbers"),
        (np.arange(60) % 2 == 0, "classification", "true and false"),
        (np.arange(60), "regression", "whole numbers"),
        (np.linspace(0, 3, 60) ** 2, "regression", "numbers"),
    ],
)
def test_the_task_follows_from_the_target(y, task, reason):
    chosen = choose_plan(table(y=y), "y")
    assert (chosen.plan.task, chosen.reasons["task"]) == (task, reason)


def test_what_is_said_is_kept_and_has_no_reason():
    said = {"task": "regression", "hidden": (7,), "batch_size": 5, "seed": 3}
    chosen = choose_plan(table(y=np.arange(60) % 3), "y", **said, patience=None)
    assert all(getattr(chosen.plan, name) == value for name, value in said.items())
    assert "batch_size" not in chosen.reasons
    assert "patience" in chosen.reasons, "None is nothing said"


def test_batches_grow_and_networks_become_fewer_with_the_rows():
    plans = [choose_plan(table(n, y=np.linspace(0, 1, n)), "y").plan for n in (100, 10_000, 200_000)]
    assert [p.batch_size for p in plans] == sorted({p.batch_size for p in plans})
    assert [p.networks for p in plans] == [4, 4, 2]
    assert [p.weight_decay for p in plans] == [1.0, 1.0, 0.1]
    assert [p.patience for p in plans] == sorted({p.patience for p in plans}, reverse=True)


def test_a_plan_is_json_and_back():
    plan = TablePlan(
        "y", "regression", {"zip": "categorical"}, hidden=(), log_target="log", learning_rate=0.01
    )
    text = json.dumps(to_json(plan))
    assert from_json(json.loads(text), {"TablePlan": TablePlan}, {}) == plan
    assert dict(plan.rows())["hidden"] == "none"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task": "clasification"}, ["did you mean 'classification'"]),
        ({"scaling": "standart"}, ["did you mean 'standard'"]),
        ({"activation": "relo"}, ["did you mean 'relu'"]),
        ({"executor": "gpu"}, ["unknown executor 'gpu'"]),
        ({"kinds": {"x": "categoric"}}, ["column 'x'", "did you mean 'categorical'"]),
        ({"log_target": "log"}, ["log_target", "classification"]),
        ({"dropout": 1.0}, ["dropout is 1.0", "[0, 1)"]),
        ({"hidden": (64, 0)}, ["hidden is (64, 0)", "64,32"]),
        ({"hidden": [64]}, ["hidden is [64]"]),
        ({"batch_size": 0}, ["batch_size is 0"]),
        ({"networks": True}, ["networks is True"]),
        ({"learning_rate": "fast"}, ["learning_rate is 'fast'"]),
        ({"learning_rate": -1.0}, ["learning_rate is -1.0"]),
        ({"validation": 0.6, "test": 0.4}, ["no rows to learn from"]),
        ({"seed": -1}, ["seed is -1"]),
        ({"batch_norm": "yes"}, ["batch_norm is 'yes'"]),
        ({"epoch": 3}, ["no 'epoch'", "did you mean 'epochs'"]),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, words):
    with pytest.raises(ConfigError) as error:
        choose_plan(table(y=np.arange(60) % 3), "y", **settings)
    assert all(word in str(error.value) for word in words), error.value


def test_a_target_of_one_value_is_refused_as_classes_and_as_numbers():
    for task, words in ((None, "one class only"), ("regression", "nothing to learn")):
        with pytest.raises(DataError, match=words):
            choose_plan(table(y=np.zeros(60)), "y", task=task)


@pytest.mark.parametrize(
    ("columns", "target", "words"),
    [
        ({"price": np.arange(60.0)}, "prise", ["no column 'prise'", "did you mean 'price'"]),
        ({"y": np.full(60, "a", object)}, "y", ["one class only", "'a'"]),
        ({"y": np.array([None, *"ab" * 29, "a"], object)}, "y", ["no value in", "never guessed"]),
        ({"y": np.array([np.nan, *np.linspace(0, 1, 59)])}, "y", ["no value in"]),
        ({"y": np.array([np.inf, *np.linspace(0, 1, 59)])}, "y", ["infinite"]),
    ],
)
def test_targets_that_cannot_be_learned_are_refused(columns, target, words):
    with pytest.raises(ChainruleError) as error:
        choose_plan(table(**columns), target)
    assert all(word in str(error.value) for word in words), error.value


def test_few_rows_and_a_target_alone_are_refused():
    with pytest.raises(DataError, match="9 rows; give 10 or more"):
        choose_plan(table(9, y=np.arange(9.0)), "y")
    with pytest.raises(DataError, match="nothing is left"):
        choose_plan(table(60), "x")
