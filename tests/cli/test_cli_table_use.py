"""Models of tables on the command line: predict, evaluate, export; made-up tables, completion."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from shops import QUICK, shops

import chainrule as cr
from chainrule import datasets
from chainrule.cli import look, train
from chainrule.cli.writing import neutral, write_rows
from chainrule.data.tables import Table, read_table
from chainrule.tasks.plan import TablePlan
from chainrule.tasks.prepared import parts_of

Call = Callable[..., tuple[int, str, str]]
Process = Callable[..., subprocess.Popen[str]]

# ------------------------------------------------------------------ predicting


def test_predictions_are_those_of_python_whatever_the_order_of_columns(
    run: Path, call: Call, here: Path
) -> None:
    table = read_table(run.parent / "shops.csv")
    model = cr.load(run / "model.safetensors")
    code, out, err = call("predict", run, run.parent / "shops.csv", "-o", "out.csv")
    assert (code, out) == (0, "")
    assert "ignored" not in err, "what was left out, or is the target, is no news"
    rows = list(csv.DictReader(io.StringIO((here / "out.csv").read_text(encoding="utf-8"))))
    assert [r["prediction"] for r in rows] == model.predict(table).tolist()
    shares = np.array([[float(r[f"probability_{c}"]) for c in ("no", "yes")] for r in rows])
    np.testing.assert_array_equal(shares.astype("float32"), model.predict_proba(table))
    assert rows[0]["size"] in ("", f"{table['size'][0]}")
    text = (run.parent / "shops.csv").read_text(encoding="utf-8").splitlines()
    moved = [";".join(["x", *reversed(line.split(";")[1:3])]) for line in text[:6]]
    moved[0] = "more;kind;size"
    moved[2] = "x;toys;1,5"
    (here / "new.csv").write_text("\n".join(moved) + "\n", encoding="utf-8")
    code, out, err = call("predict", run, "new.csv")
    assert code == 0
    assert "note: 1 of 'kind' not seen in training" in err
    assert "note: columns ignored: more" in err
    again = list(csv.DictReader(io.StringIO(out)))
    assert [again[i]["prediction"] for i in (0, 2, 3, 4)] == [rows[i]["prediction"] for i in (0, 2, 3, 4)]


def test_a_file_of_one_number_has_the_decimal_mark_of_training(run: Path, call: Call, here: Path) -> None:
    """Alone, 1,234 might be a thousand; the model learned from a file where it is little more than one."""
    (here / "one.csv").write_text("size;kind\n1,234;food\n")
    (here / "point.csv").write_text("size,kind\n1.234,food\n")
    found = [list(csv.DictReader(io.StringIO(call("predict", run, f)[1]))) for f in ("one.csv", "point.csv")]
    assert found[0] == found[1]
    assert found[0][0]["size"] == "1.234"


@pytest.mark.parametrize("name", ["out.tsv", "out.parquet", "out.feather", "out.xlsx"])
def test_predictions_in_every_format(name: str, run: Path, call: Call, here: Path) -> None:
    pytest.importorskip("openpyxl" if name.endswith("xlsx") else "pyarrow")
    code, _, err = call("predict", run, run.parent / "shops.csv", "-o", name)
    assert code == 0, err
    found, table = read_table(here / name), read_table(run.parent / "shops.csv")
    assert found.names == (*table.names, "prediction", "probability_no", "probability_yes")
    for column in table.names:
        if table[column].dtype.kind in "if":
            np.testing.assert_array_equal(found[column], table[column])
        else:
            assert found[column].tolist() == table[column].tolist()


def test_no_cell_of_text_becomes_a_formula(tmp_path: Path) -> None:
    cells = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "a=b", "-5", "+1,5", "1e-5", None, "-"]
    table = Table(
        {"=name": np.array(cells, object), "n": np.array([-1.5] * len(cells)), "i": np.full(len(cells), -7)}
    )
    for name in ("t.csv", "t.tsv"):
        write_rows(table, tmp_path / name)
        delimiter = "," if name == "t.csv" else "\t"
        text = (tmp_path / name).read_text(encoding="utf-8")
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
        assert rows[0] == ["'=name", "n", "i"]
        assert [row[0] for row in rows[1:]] == [
            "'=1+1", "'+cmd|' /C calc'!A0", "'-2+3", "'@SUM(A1)", "'\t=1", "a=b", "-5", "+1,5", "1e-5", "",
            "'-",
        ]  # fmt: skip
        assert {tuple(row[1:]) for row in rows[1:]} == {("-1.5", "-7")}
    openpyxl = pytest.importorskip("openpyxl")
    write_rows(table, tmp_path / "t.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "t.xlsx").active
    assert {cell.data_type for row in sheet.iter_rows() for cell in row} <= {"s", "n"}, "none is a formula"
    assert neutral("'=1") == "'=1"


def test_a_column_that_is_called_like_an_answer_stays(run: Path, call: Call, here: Path) -> None:
    (here / "new.csv").write_text("size;kind;prediction\n1,5;food;mine\n2,5;food;mine\n")
    code, out, _ = call("predict", run, "new.csv")
    assert code == 0
    row = next(csv.DictReader(io.StringIO(out)))
    assert row["prediction"] == "mine"
    assert row["prediction_"] in ("no", "yes")


def test_evaluate_says_what_training_said(run: Path, call: Call, here: Path) -> None:
    table = read_table(run.parent / "shops.csv")
    _, test = parts_of(TablePlan("pays", "classification"), table)
    write_rows(table.take(test), here / "test.csv")
    said = json.loads((run / "result.json").read_text())
    code, out, _ = call("evaluate", run, "test.csv", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["rows"], found["target"]) == (30, "pays")
    assert found["scores"] == pytest.approx(said["scores"])
    code, out, _ = call("evaluate", run / "model.safetensors", "test.csv")
    assert out.startswith(f"30 rows: error {100 * (1 - said['scores']['accuracy']):.2f} %, log loss")


def test_export_predicts_the_same_in_onnxruntime(run: Path, call: Call, here: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    code, out, err = call("export", run, "shops.onnx")
    assert (code, out) == (0, "shops.onnx\n"), err
    table = read_table(run.parent / "shops.csv")
    session = onnxruntime.InferenceSession("shops.onnx")
    kind = np.array(["" if v is None else v for v in table["kind"]], object)
    classes, shares = session.run(None, {"size": table["size"], "kind": kind})
    model = cr.load(run / "model.safetensors")
    np.testing.assert_allclose(shares, model.predict_proba(table), atol=1e-5)
    assert classes.tolist() == model.predict(table).tolist()


def test_summary_knows_models_of_tables(run: Path, call: Call) -> None:
    code, out, _ = call("summary", run)
    assert code == 0
    assert out.startswith("table network of 2 columns\n")
    assert "members/network_1" in out


# ------------------------------------------------------------------ beside it


@pytest.mark.parametrize("name", look.MADE)
def test_sets_made_on_demand_are_written_as_tables(name: str, call: Call, here: Path) -> None:
    code, out, err = call("datasets", name, "--rows", 30, "--seed", 3, "-o", "made.csv")
    assert (code, out, err) == (0, "made.csv\n", "")
    table = read_table(here / "made.csv")
    found: Any = getattr(datasets, name)(30, seed=3)
    assert len(table) == 30
    if isinstance(found, tuple):
        np.testing.assert_allclose(table["y"], found[1].reshape(-1), rtol=1e-6)
    else:
        assert table.names == tuple(found)
    assert call("datasets", name, "--rows", 30, "--seed", 3)[1] == (here / "made.csv").read_text()


def test_sets_made_on_demand_are_all_that_the_catalogue_has() -> None:
    assert set(look.MADE) == {e.name for e in datasets.available() if e.where == "made on demand"}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("chainrule train shops.csv --target s", ["plain,shop id", "plain,size", "plain,sales"]),
        ("chainrule train shops.csv --tar", ["plain,--target"]),
        ("chainrule train shops.csv --task r", ["plain,regression"]),
        ("chainrule train mn", ["plain,mnist", "file,mn"]),
        ("chainrule ex", ["plain,export"]),
    ],
)
def test_shell_completion_knows_options_columns_and_names(words: str, wanted: list[str], here: Path) -> None:
    shops(here / "shops.csv", 20)
    environment = {
        **os.environ, "PYTHONPATH": str(Path(cr.__file__).parents[1]), "_CHAINRULE_COMPLETE": "bash_complete",
        "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "chainrule"],
        env=environment,
        cwd=here,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == wanted, done.stderr


def test_help_names_every_setting_and_shows_examples(call: Call) -> None:
    out = call("train", "--help")[1]
    for param in train.train.params:
        if isinstance(param, click.Option):
            assert param.opts[-1] in out
    assert "chainrule train people.csv --target income --time 2m" in out


@pytest.fixture
def bare(here: Path) -> dict[str, str]:
    """An environment in which no extra can be imported."""
    hidden = here / "hidden"
    hidden.mkdir()
    for name in ("sklearn", "scipy", "pandas", "pyarrow", "narwhals", "onnx", "joblib", "matplotlib"):
        (hidden / f"{name}.py").write_text("raise ImportError('hidden')\n")
    source = str(Path(cr.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(hidden), source]), "OPENBLAS_NUM_THREADS": "1"}


def test_the_default_install_is_enough(bare: dict[str, str], here: Path) -> None:
    shops(here / "shops.csv")
    for line in (
        ["train", "shops.csv", "--target", "pays", *QUICK, "--run-dir", "run", "-q"],
        ["predict", "run", "shops.csv", "-o", "out.csv"],
        ["evaluate", "run", "shops.csv"],
        ["report", "run"],
        ["summary", "run"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "chainrule", *line], cwd=here, env=bare, capture_output=True, text=True,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    for line, extra in (
        (["export", "run", "m.onnx"], "onnx"),
        (["predict", "run", "shops.csv", "-o", "o.parquet"], "tables"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "chainrule", *line], cwd=here, env=bare, capture_output=True, text=True,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 2
        assert f"chainrule[{extra}]" in done.stderr
        assert len(done.stderr.splitlines()) == 1 or extra == "tables"
        assert not (here / line[-1]).exists()
