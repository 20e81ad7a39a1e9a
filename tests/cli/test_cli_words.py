"""What reaches a terminal, a sheet and a file of rows, whatever the data hold."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chainrule.cli.folders import base_name
from chainrule.cli.predict_table import _renamed
from chainrule.cli.say import printable
from chainrule.cli.writing import write_rows
from chainrule.data.tables import Table
from chainrule.tasks.interval import interval
from chainrule.tasks.predictor import Predictor

Call = Callable[..., tuple[int, str, str]]
QUICK = ("--epochs", 2, "--networks", 1, "--hidden", 4, "--learning-rate", 0.01, "--executor", "reference")
STEERS = "\x1b]0;title\x07\x1b[2J"


def test_no_text_of_the_data_steers_the_terminal(call: Call, here: Path) -> None:
    """Names of columns, categories and classes are told; as text."""
    rows = [["size", f"a{STEERS}", "two\nlines", f"goal{STEERS}\u202e"]]
    rows += [
        [str(i), f"{'xyz'[i % 3]}{STEERS}", str(i % 7), f"{'no' if i % 2 else 'yes'}{STEERS}"]
        for i in range(40)
    ]
    with (here / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    target = rows[0][3]
    found = [call("train", "rows.csv", "--target", target, "--run-dir", "run", *QUICK)]
    found.append(call("train", "rows.csv"))
    (here / "less.csv").write_text("size\n1\n")
    (here / "more.csv").write_text((here / "rows.csv").read_text().replace(STEERS, "", 1).replace("x", "w"))
    found += [call("summary", "run"), call("evaluate", "run", "rows.csv"), call("predict", "run", "less.csv")]
    found.append(call("predict", "run", "rows.csv", "-o", "out.csv"))
    assert [code for code, _, _ in found] == [0, 2, 0, 0, 2, 0]
    for _, out, err in found:
        assert all(line.isprintable() or "\xa0" in line for line in (out + err).split("\n")), out + err
    assert r"a\x1b]0;title\x07\x1b[2J" in found[0][2]
    assert r"two\nlines" in found[0][2]
    assert printable("8 500 Straße") == "8 500 Straße"


def test_folders_are_called_so_that_a_disk_takes_it(tmp_path: Path) -> None:
    """Columns may have long names, of letters that take several bytes."""
    for name in ("列" * 200, "..", "a/b\0c", "x" * 300, "\udcff"):
        folder = tmp_path / "runs" / base_name(name, name, 0)
        folder.mkdir(parents=True)
        assert folder.resolve().parent == (tmp_path / "runs").resolve()
    assert base_name("income", "job title/2", 0) == "income-job_title_2-0"


def test_columns_of_answers_never_share_a_name() -> None:
    """Classes called "a" and "a_" of a table that has a column of that name already."""
    columns = {name: np.zeros(1) + i for i, name in enumerate(["probability_a", "probability_a_"])}
    found = _renamed(columns, ["probability_a"])
    assert {name: column.tolist() for name, column in found.items()} == {
        "probability_a_": [0.0],
        "probability_a__": [1.0],
    }


def test_sheets_hold_any_text_and_any_date(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    when = np.array(["2020-02-03", "12000-01-01T12:00", "NaT"], "datetime64[us]")
    table = Table({"a\x01": np.array(["x\x01y", "=1\x1b", None], object), "when": when})
    write_rows(table, tmp_path / "t.xlsx")
    found = list(openpyxl.load_workbook(tmp_path / "t.xlsx").active.iter_rows(values_only=True))[:3]
    assert found == [
        ("a\ufffd", "when"),
        ("x\ufffdy", dt.datetime(2020, 2, 3)),
        ("'=1\ufffd", "12000-01-01T12:00:00"),
    ]


def test_dates_that_python_does_not_know_are_written(tmp_path: Path) -> None:
    when = np.array(["12000-01-01", "-0005-03-01T06:00:00.5", "2020-02-03T04:05", "NaT"], "datetime64[us]")
    write_rows(Table({"when": when, "n": np.arange(4)}), tmp_path / "t.csv")
    rows = list(csv.reader(io.StringIO((tmp_path / "t.csv").read_text())))[1:]
    assert [row[0] for row in rows[:3]] == [
        "12000-01-01",
        "-005-03-01T06:00:00.500000",
        "2020-02-03T04:05:00",
    ]
    assert np.array([row[0] or "NaT" for row in rows], "datetime64[us]").tolist() == when.tolist()


@pytest.mark.parametrize("radius", [-1.0, float("inf"), float("nan"), True, "1", None])
def test_a_radius_that_is_none_gives_no_interval(radius: object) -> None:
    """A file of a model says anything; an interval upside down would be believed."""
    model = object.__new__(Predictor)
    model.parameters = {"interval": {"level": 0.9, "radius": radius}}
    assert interval(model, None) is None
