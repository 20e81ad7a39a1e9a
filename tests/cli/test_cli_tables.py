"""Tables on the command line: one command from a file to a model, a report and predictions."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shops import QUICK, shops

import chainrule as cr
from chainrule.cli import table_options, train
from chainrule.cli.options import seconds_of
from chainrule.cli.table_command import TableCommand, read_settings
from chainrule.cli.toml import to_toml
from chainrule.data.tables import read_table
from chainrule.errors import ConfigError, DataError
from chainrule.tasks.plan import TablePlan
from chainrule.tasks.prepared import parts_of
from chainrule.train.state import digest

Call = Callable[..., tuple[int, str, str]]
Process = Callable[..., subprocess.Popen[str]]

FILES = {
    "config.toml", "config.json", "environment.json", "history.jsonl", "model.safetensors", "report.html",
    "result.json", "networks", ".lock",
}  # fmt: skip


# ------------------------------------------------------------------ training


def test_training_says_what_it_assumed(run: Path) -> None:
    said = (run.parent / "said.txt").read_text()
    for line in (
        "shops.csv: 200 rows, 5 columns",
        "pays: classification, 2 classes; the commonest is",
        "shop id  left out: identifier: ",
        "size     numeric, with gaps: numbers",
        "kind     categorical, with gaps: 2 different texts",
        "sales    left out: identifier: you said so",
        "170 rows to learn from, of which 26 decide when to stop, other ones for each of 2 networks; 30 rows",
        "; to use it: --kinds 'shop id=numeric' (or categorical)",
        "batches of 16 (200 rows)",
        "network 2 of 2",
        "epoch 4/4",
    ):
        assert line in said, said
    assert "learning rate" not in said.partition("network 1")[0], "it was given"


def test_training_leaves_a_folder_whose_figures_can_be_counted_again(run: Path) -> None:
    assert {p.name for p in run.iterdir()} == FILES
    table = read_table(run.parent / "shops.csv")
    plan = TablePlan("pays", "classification")
    _, test = parts_of(plan, table)
    model = cr.load(run / "model.safetensors")
    wrong = float(np.mean(model.predict(table.take(test)) != table["pays"][test]))
    out = (run.parent / "result.txt").read_text()
    assert f"final weights     SHA-256 {digest(model.network.parameters)}\n" in out
    assert f"network           error {100 * wrong:.2f} %" in out
    assert [line[:18].strip() for line in out.splitlines()] == [
        "test rows", "network", "commonest class", "linear model", "time", "final weights", "model", "report",
    ]  # fmt: skip
    result = json.loads((run / "result.json").read_text())
    assert 1 - result["scores"]["accuracy"] == pytest.approx(wrong)
    assert (result["rows"], result["stopped"], result["trials"]) == (30, "epochs", [])
    assert result["baselines"].keys() == {"commonest class", "linear model"}
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [(r["network"], r["epoch"]) for r in rows] == [(k, e) for k in (0, 1) for e in range(4)]
    assert result["networks"][1]["val_loss"] == min(r["val_loss"] for r in rows if r["network"] == 1)
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "chainrule train shops.csv --target pays" in report
    assert "shop id" in report


def test_a_report_is_written_again_as_it_was(run: Path, call: Call, here: Path) -> None:
    before = (run / "report.html").read_bytes()
    code, _, err = call("report", run)
    assert code == 2
    assert "shops.csv is not there" in err
    shops(here / "other.csv", seed=1)
    code, _, err = call("report", run, "--data", "other.csv")
    assert code == 2
    assert "other.csv is not the file on which the run was trained" in err
    (run / "report.html").unlink()
    code, out, err = call("report", run, "--data", run.parent / "shops.csv")
    assert (code, out) == (0, f"{run / 'report.html'}\n"), err
    assert (run / "report.html").read_bytes() == before


def test_a_regression_ends_with_its_scores_and_predicts_intervals(call: Call, here: Path) -> None:
    shops(here / "shops.csv")
    code, out, err = call("train", "shops.csv", "--target", "sales", *QUICK, "-q")
    assert (code, err) == (0, "")
    assert re.search(r"^network +RMSE [\d.]+, MAE [\d.]+, R² -?[\d.]+$", out, re.M)
    assert "runs/shops-sales-0/report.html" in out
    code, out, _ = call("predict", "runs/shops-sales-0", "shops.csv")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0])[-3:] == ["prediction", "prediction_low", "prediction_high"]
    ends = np.array(
        [[float(r[n]) for n in ("prediction_low", "prediction", "prediction_high")] for r in rows]
    )
    assert (np.diff(ends, axis=1) > 0).all()


def test_time_is_kept_and_everything_is_there(call: Call, here: Path) -> None:
    shops(here / "shops.csv")
    endless = ["--epochs", 10**6, "--patience", 10**6, "--hidden", 8, "--learning-rate", 0.01]
    code, out, err = call(
        "train", "shops.csv", "--target", "pays", "--time", "3s", *endless, "--run-dir", "run"
    )
    assert code == 0, err
    assert "no time for network 2 of 4" in err
    assert json.loads((here / "run" / "result.json").read_text())["stopped"] == "time"
    assert {p.name for p in (here / "run").iterdir()} == FILES
    assert "error" in out


# ------------------------------------------------------------------ settings


def test_a_run_and_its_config_give_the_same_bits(run: Path, call: Call, here: Path) -> None:
    (here / "shops.csv").write_bytes((run.parent / "shops.csv").read_bytes())
    code, _, err = call("train", "--config", run / "config.toml", "--run-dir", "again", "-q")
    assert (code, err) == (0, "")
    found = [cr.load(folder / "model.safetensors").network for folder in (run, here / "again")]
    assert digest(found[0].state) == digest(found[1].state)
    assert (here / "again" / "config.toml").read_text() == (run / "config.toml").read_text()
    code, _, err = call("train", "--config", run / "config.toml", "--seed", 5, "--run-dir", "other", "-q")
    assert (code, err) == (0, "")
    assert "seed = 5" in (here / "other" / "config.toml").read_text()


def test_write_config_writes_what_would_be_done_and_no_more(call: Call, here: Path) -> None:
    shops(here / "shops.csv")
    line = ["train", "shops.csv", "--target", "sales", "--kinds", "shop id=numeric", "--search", "5"]
    code, out, err = call(*line, "--hidden", "0", "--time", "1h30m", "--write-config", "run.toml")
    assert (code, out, err) == (0, "run.toml\n", "")
    assert sorted(p.name for p in here.iterdir()) == ["run.toml", "shops.csv"]
    found = tomllib.loads((here / "run.toml").read_text())
    assert (found["data"], found["time"], found["search"]) == ("shops.csv", "1h30m", 5)
    assert (found["task"], found["hidden"], found["kinds"]) == ("regression", [], {"shop id": "numeric"})
    code, out, _ = call("train", "--config", "run.toml", "--write-config", "-")
    assert (code, out) == (0, (here / "run.toml").read_text())


def test_options_settings_and_plan_have_the_same_names() -> None:
    plan = set(TablePlan.__dataclass_fields__)
    options = {param.name for param in train.train.params}
    assert plan <= options
    assert options >= table_options.OF_TABLES
    shared = {"data", "epochs", "batch_size", "seed", "executor", "run_dir", "resume", "quiet", "debug"}
    assert options - table_options.OF_TABLES == {*shared, "recipe", "held_out"}
    text = TableCommand("a.csv", TablePlan("y", "regression")).to_toml()
    assert set(tomllib.loads(text)) == {n.replace("_", "-") for n in plan} | {
        "data",
        "time",
        "search",
        "stream",
    }


@pytest.mark.parametrize(
    "plan",
    [
        TablePlan("y", "regression"),
        TablePlan('a "b" \\ ü\n\x7f\t', "regression", {"c d": "text", "é": "date", 'x="': "ordinal"}),
        TablePlan("y", "classification", hidden=(), learning_rate=1e-05, batch_norm=True, seed=2**63 - 1),
    ],
)
def test_settings_survive_toml_and_json(plan: TablePlan, tmp_path: Path) -> None:
    command = TableCommand("data.csv", plan, "60s", 3, True, "abc", ("data.csv", "--target", plan.target))
    path = tmp_path / "run.toml"
    path.write_text(command.to_toml(), encoding="utf-8")
    found = read_settings(path)
    assert [found.pop(name) for name in ("data", "time", "search", "stream")] == ["data.csv", "60s", 3, True]
    assert TablePlan(**found) == plan
    assert TableCommand.from_json(json.loads(json.dumps(command.to_json())), path) == command
    for change in ({"plan": 3}, {"more": 1}, {"data": None}):
        with pytest.raises(DataError, match="not what"):
            TableCommand.from_json({**command.to_json(), **change}, path)


def test_toml_of_any_text_is_read_back_by_the_standard_library() -> None:
    characters = [chr(i) for i in [*range(0x250), 0x2028, 0xFFFD, 0x1F600]]
    values = {"all": "".join(characters), "true": True, "few": ("a", 1, 2.5), "sub": {"k.e y": -1e300}}
    assert tomllib.loads(to_toml(values)) == {**values, "few": ["a", 1, 2.5]}


def test_lengths_of_time() -> None:
    assert [seconds_of(t) for t in ("90", "60s", "2m", "1h30m", "0.5h")] == [90, 60, 120, 5400, 1800]
    for text in ("", "m", "2 m", "1d", "-3s", "2mm", "0", "0m"):
        with pytest.raises(ConfigError):
            seconds_of(text)


# ------------------------------------------------------------------ stopping and going on


def test_ctrl_c_saves_and_a_resumed_run_ends_in_the_same_bits(
    process: Process, here: Path, run: Path
) -> None:
    (here / "shops.csv").write_bytes((run.parent / "shops.csv").read_bytes())
    begin = ["train", "shops.csv", "--target", "pays", "--epochs", "400", "--patience", "400",
             "--networks", "2", "--executor", "cpu", "--learning-rate", "0.01",
             "--batch-size", "2"]  # fmt: skip
    child = process(here, *begin, "--run-dir", "parts")
    assert child.stderr is not None
    lines: list[str] = []
    while not (lines and lines[-1].startswith("epoch") and "epoch 1/" not in lines[-1]):
        lines.append(child.stderr.readline())
        assert lines[-1], "".join(lines)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, ""), err
    assert err.endswith("saved in parts; go on with:\n  chainrule train shops.csv --run-dir parts --resume\n")
    assert not (here / "parts" / "model.safetensors").exists()
    ends = []
    for arguments in (
        ["train", "shops.csv", "--run-dir", "parts", "--resume"],
        [*begin, "--run-dir", "whole"],
    ):
        child = process(here, *arguments, "-q")
        out, err = child.communicate(timeout=120)
        assert (child.returncode, err) == (0, "")
        ends.append([line for line in out.splitlines() if line.startswith(("network", "final weights"))])
    assert ends[0] == ends[1]
    found = [cr.load(here / f / "model.safetensors").network for f in ("parts", "whole")]
    assert digest(found[0].state) == digest(found[1].state)


@pytest.mark.long
def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bits(process: Process, here: Path) -> None:
    """Wherever it is hit: while it searches, learns, or writes."""
    shops(here / "shops.csv", 600)
    begin = ["train", "shops.csv", "--target", "pays", "--search", "4", "--epochs", "60", "--patience", "60",
             "--networks", "2", "--executor", "cpu", "-q"]  # fmt: skip
    child = process(here, *begin, "--run-dir", "whole")
    child.communicate(timeout=300)
    assert child.returncode == 0
    kills, seconds = 0, 1.0
    line = [*begin, "--run-dir", "parts"]
    while not (here / "parts" / "result.json").exists():
        if (here / "parts" / "config.json").exists():
            line = ["train", "--run-dir", "parts", "--resume", "-q"]
        child = process(here, *line)
        try:
            child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            kills, seconds = kills + 1, seconds + 0.7
    assert kills > 2
    child = process(here, "train", "--run-dir", "parts", "--resume", "-q")
    child.communicate(timeout=300)
    assert child.returncode == 0
    found = [cr.load(here / f / "model.safetensors").network for f in ("parts", "whole")]
    assert digest(found[0].state) == digest(found[1].state)
    trials = [json.loads((here / f / "result.json").read_text())["trials"] for f in ("parts", "whole")]
    assert trials[0] == trials[1]


def test_a_run_goes_on_only_with_its_own_data_and_settings(run: Path, call: Call, here: Path) -> None:
    command = json.loads((run / "config.json").read_text())
    (here / "mine").mkdir()
    shops(here / "shops.csv", seed=1)
    (here / "mine" / "config.json").write_text(json.dumps(command))
    code, _, err = call("train", "--run-dir", "mine", "--resume")
    assert code == 2
    assert "shops.csv is not the file with which mine was begun" in err
    (here / "shops.csv").write_bytes((run.parent / "shops.csv").read_bytes())
    code, _, err = call("train", "--run-dir", "mine", "--resume", "--hidden", "9")
    assert code == 2
    assert "was begun with --hidden (8,), not (9,)" in err
    code, _, err = call("train", "shops.csv", "--run-dir", run, "--target", "pays")
    assert code == 2
    assert f"chainrule train shops.csv --run-dir {run} --resume" in err


def test_resume_without_a_folder_takes_the_newest_of_that_target(call: Call, here: Path) -> None:
    shops(here / "shops.csv")
    line = ["train", "shops.csv", "--target", "pays", *QUICK, "-q"]
    assert [call(*line)[0] for _ in range(2)] == [0, 0]
    code, out, err = call(*line, "--resume")
    assert code == 0, err
    assert "runs/shops-pays-0-2/report.html" in out


def test_a_search_is_told_kept_and_shown(call: Call, here: Path) -> None:
    shops(here / "shops.csv")
    quick = ["--epochs", 4, "--networks", 1, "--executor", "reference", "--learning-rate", 0.01]
    code, _, err = call("train", "shops.csv", "--target", "pays", "--search", 3, *quick, "--run-dir", "run")
    assert code == 0, err
    assert "search: 3 of 3 plans, 4 epochs each" in err
    result = json.loads((here / "run" / "result.json").read_text())
    assert len(result["trials"]) == 3
    assert {"hidden", "dropout", "weight_decay", "val_loss"} <= result["trials"][0].keys()
    losses = [row["val_loss"] for row in result["trials"]]
    assert losses == sorted(losses)
    assert (here / "run" / "search" / "trials.json").exists()


# ------------------------------------------------------------------ from a stream


def test_a_stream_is_learned_resumed_and_reported_like_a_table(call: Call, here: Path) -> None:
    shops(here / "shops.csv", 2000)
    line = ["train", "shops.csv", "--target", "pays", "--stream", "--kinds", "sales=identifier", "--hidden",
            8, "--executor", "reference", "--epochs", 4]  # fmt: skip
    code, out, err = call(*line, "--run-dir", "run")
    assert code == 0, err
    assert "shops.csv: 2,000 rows, 5 columns" in err
    assert "left out: identifier" in err
    assert "Warning" not in err
    error = re.search(r"^network +error ([\d.]+) %", out, re.M)
    assert error is not None
    assert float(error[1]) < 25
    report = (here / "run" / "report.html").read_bytes()
    code, out, err = call("report", "run")
    assert (code, err) == (0, "")
    assert (here / "run" / "report.html").read_bytes() == report
    assert call("predict", "run", "shops.csv", "-o", "out.csv")[0] == 0
    whole = digest(cr.load("run/model.safetensors").network.state)
    code, _, err = call("train", "--run-dir", "run", "--resume", "-q")
    assert (code, err) == (0, "")
    assert digest(cr.load("run/model.safetensors").network.state) == whole
    code, _, err = call("train", "--config", "run/config.toml", "--run-dir", "again", "-q")
    assert (code, err) == (0, "")
    assert digest(cr.load("again/model.safetensors").network.state) == whole
