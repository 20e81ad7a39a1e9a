"""What the command line says to do can be done there; rows are what they were in training, however a
program wrote them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from chainrule.cli.table_words import score_words
from chainrule.report.table import drawings, sections

Call = Callable[..., tuple[int, str, str]]
QUICK = ("--epochs", 2, "--networks", 1, "--hidden", 4, "--learning-rate", 0.01, "--executor", "reference")


def table(path: Path, header: str, line: Callable[[int], str], rows: int = 40) -> None:
    path.write_text("\n".join([header, *map(line, range(rows))]) + "\n")


def refused(call: Call, *arguments: object) -> str:
    code, out, err = call("train", *arguments, *QUICK)
    assert (code, out) == (2, ""), err
    assert not Path("runs").exists()
    return " ".join(err.split())


def test_a_word_among_numbers_is_remedied_by_an_option(call: Call, here: Path) -> None:
    table(here / "t.csv", "a b,y", lambda i: f"{'n.v.' if i == 7 else i / 3},{i * 0.7}")
    assert "--kinds 'a b=categorical'" in refused(call, "t.csv", "--target", "y")
    assert call("train", "t.csv", "--target", "y", "--kinds", "a b=categorical", *QUICK)[0] == 0


def test_a_word_among_the_numbers_of_the_target_makes_classes(call: Call, here: Path) -> None:
    table(here / "t.csv", "a,y", lambda i: f"{i / 3},{'n.v.' if i == 7 else i // 2 + 0.5}")
    said = refused(call, "t.csv", "--target", "y")
    assert "--task classification" in said
    assert "kinds" not in said
    assert (
        call("train", "t.csv", "--target", "y", "--task", "classification", "--run-dir", "r", *QUICK)[0] == 0
    )
    code, out, _ = call("evaluate", "r", "t.csv", "--json")
    assert (code, json.loads(out)["rows"]) == (0, 40)
    assert call("train", "--resume", "--run-dir", "r")[0] == 0
    assert call("report", "r")[0] == 0


@pytest.mark.parametrize(
    ("line", "options", "words"),
    [
        (lambda i: f"{i},{'' if i % 7 == 0 else i % 2}", (), ["6 rows (0, 7", "row 0 is the first below"]),
        (lambda i: f"{i / 7},{i / 3 - 1}", ("--log-target", "log"), ["leave out --log-target"]),
        (lambda i: f"{i / 7},3.5", (), ["y is 3.5 in every row", "nothing to learn"]),
        (lambda i: f"1,{i / 3}", (), ["--kinds name=kind"]),
        (lambda i: f"{i}e299,{i / 3}", (), ["give its logarithm, or --scaling quantile"]),
        (lambda i: f"{i / 7},{i / 3}", ("--kinds", "y=numeric"), ["--kinds names y", "--task regression"]),
        (lambda i: f"{i / 7},{i / 3}", ("--weight-decay", "nan"), ["--weight-decay is nan"]),
    ],
)
def test_remedies_are_options(
    line: Callable[[int], str], options: tuple[str, ...], words: list[str], call: Call, here: Path
) -> None:
    table(here / "t.csv", "a,y", line, 41)
    said = refused(call, "t.csv", "--target", "y", *options)
    assert all(word in said for word in words), said


def test_files_that_are_no_table_of_text(call: Call, here: Path) -> None:
    (here / "t.json").write_text('{"a": 1}')
    assert "is no text but JSON; write it as CSV" in refused(call, "t.json", "--target", "y")
    (here / "t.csv").write_bytes("ä;y\nö;1\n".encode("cp1252"))
    assert "iconv -f cp1252 -t utf-8" in refused(call, "t.csv", "--target", "y")
    (here / "n.csv").write_text("1,2,3\n4,5,6\n")
    assert "header=" not in refused(call, "n.csv", "--target", "y")


def test_a_network_beyond_the_memory_is_refused_at_once(call: Call, here: Path) -> None:
    table(here / "t.csv", "a,y", lambda i: f"{i / 7},{i / 3}")
    code, _, err = call("train", "t.csv", "--target", "y", "--hidden", "10000000,10000000")
    assert code == 2
    assert "--hidden 10000000,10000000 makes networks of 100,000,040,000,001 weights" in " ".join(err.split())
    assert not (here / "runs").exists()


def test_settings_that_name_a_file_elsewhere(call: Call, here: Path) -> None:
    (here / "run.toml").write_text('data = "gone/t.csv"\ntarget = "y"\n')
    said = refused(call, "--config", "run.toml")
    assert "no file gone/t.csv, which run.toml names" in said


def test_truths_and_codes_are_the_same_with_a_point(call: Call, here: Path) -> None:
    """Programs that keep gaps in floats write 1.0 where others write 1."""
    rng = random.Random(0)
    rows = [(rng.randint(0, 1), rng.randint(1, 3), rng.random()) for _ in range(60)]
    for name, point in (("whole", ""), ("point", ".0")):
        table(
            here / f"{name}.csv",
            "flag,zone,x,y",
            lambda i, point=point: (
                f"{rows[i][0]}{point},{rows[i][1]}{point},{rows[i][2]},{rows[i][0] * 3.5 + 1}"
            ),
            60,
        )
    answers = {}
    for learned in ("whole", "point"):
        options = ("--kinds", "zone=categorical", "--run-dir", learned)
        assert call("train", f"{learned}.csv", "--target", "y", *options, *QUICK)[0] == 0
        for given in ("whole", "point"):
            code, out, err = call("predict", learned, f"{given}.csv")
            assert (code, "not seen" in err) == (0, False), err
            answers[learned, given] = [line.split(",")[4:] for line in out.splitlines()[1:]]
    assert len(set(map(str, answers.values()))) == 1


def test_scores_that_are_none_are_not_told() -> None:
    assert score_words(True, {"accuracy": 1.0, "log loss": 0.5, "AUC": float("nan")}) == (
        "error 0.00 %, log loss 0.5000"
    )
    assert score_words(False, {"RMSE": 470926.4, "R²": float("nan")}) == "RMSE 470,926"


def test_the_report_counts_rows_as_the_file_does(call: Call, here: Path) -> None:
    table(here / "t.csv", "a,y", lambda i: f"{i / 7},{1000 + i}", 60)
    assert call("train", "t.csv", "--target", "y", "--run-dir", "r", *QUICK)[0] == 0
    page = (here / "r" / "report.html").read_text()
    worst = page[page.index("Rows are counted from 1 in the whole table") :]
    assert "There are 9 test rows only" in page
    cells = [int(text) for text in re.findall(r"<td[^>]*>(\d+)</td>", worst)[:2]]
    assert cells[1] == 1000 + cells[0] - 1


def test_trials_are_drawn_in_the_order_in_which_they_were_tried() -> None:
    """The best comes first in what a search gives; drawn so, there would be nothing to see."""
    rows = [{"trial": t, "hidden": [8, 4], "val_loss": loss} for t, loss in ((2, 0.1), (0, 0.5), (1, 0.9))]
    ordered = sorted(rows, key=lambda row: int(str(row["trial"])))
    assert drawings.trials(rows, "val_loss") == drawings.trials(ordered, "val_loss")
    (_, parts), *_ = sections.learning((), None, 1, [*rows, {**rows[0], "trial": 3, "hidden": []}])
    assert "8, 4" in parts[-1]
    assert "none" in parts[-1]
    assert "[" not in parts[-1]
