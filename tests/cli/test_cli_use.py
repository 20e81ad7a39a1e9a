"""Commands that use a model, and the program itself: help, completion, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chainrule import datasets
from chainrule.cli import commands, options, train
from chainrule.cli.command import TrainCommand
from chainrule.errors import DataError
from chainrule.executors import EXECUTORS
from chainrule.modelfile import load
from chainrule.png import encode_png
from chainrule.recipes import RECIPES

Call = Callable[..., tuple[int, str, str]]
Process = Callable[..., subprocess.Popen[str]]
SOURCE = str(Path(datasets.__file__).resolve().parents[2])


# ------------------------------------------------------------------ using a model


def test_evaluate_says_what_training_said(call: Call, trained: Path) -> None:
    said = json.loads((trained / "result.json").read_text())
    for model in (trained, trained / "model.safetensors"):
        code, out, _ = call("evaluate", model)
        assert code == 0
        assert f"test error {100 * said['error']:.2f} % ({said['wrong']} of 120 wrong)" in out
    code, out, _ = call("evaluate", trained, "mnist", "--json")
    found = json.loads(out)
    assert code == 0
    assert {k: said[k] for k in found} == {**found, "cross_entropy": pytest.approx(found["cross_entropy"])}


def test_predict_reads_pictures_of_any_size_and_arrays(call: Call, trained: Path, here: Path) -> None:
    data = datasets.mnist()
    p = load(trained / "model.safetensors").predict_proba(data.x_test[:4])
    (here / "plain.png").write_bytes(encode_png(data.x_test[0].reshape(28, 28)))
    np.save("one.npy", data.x_test[1])
    np.save("images.npy", data.x_test[2:4].reshape(2, 28, 28))
    np.savez("pack.npz", x=data.x_test[:1], y=data.y_test)
    drawn = np.full((90, 60, 3), 240, np.uint8)
    drawn[20:70, 25:33] = (10, 20, 90)  # an upright stroke of a blue pen
    (here / "drawn.png").write_bytes(encode_png(drawn))
    files = ["plain.png", "one.npy", "images.npy", "pack.npz", "drawn.png"]
    code, out, err = call("predict", trained, *files, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [r["input"] for r in found] == [
        "plain.png", "one.npy", "images.npy[0]", "images.npy[1]", "pack.npz", "drawn.png",
    ]  # fmt: skip
    for r, row in zip(found, p[[0, 1, 2, 3, 0]], strict=False):
        best = np.argsort(row)[::-1][:2]
        assert [r["class"], r["runner_up"]] == best.tolist()
        assert [r["probability"], r["runner_up_probability"]] == pytest.approx(row[best].tolist(), rel=1e-5)
    _, out, _ = call("predict", trained / "model.safetensors", "plain.png")
    assert out.split()[:4] == ["plain.png", str(p[0].argmax()), f"{100 * p[0].max():.2f}", "%"]


def test_report_can_be_written_again_with_a_picture(process: Process, trained: Path, here: Path) -> None:
    before = (trained / "report.html").read_bytes()
    (trained / "report.html").unlink()
    child = process(here, "report", str(trained), "--picture", "run.svg")
    _, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert (trained / "report.html").read_bytes() == before
    assert (here / "run.svg").read_text(encoding="utf-8").startswith("<svg ")


def test_summary_and_datasets(call: Call, trained: Path, small: Path) -> None:
    code, out, _ = call("summary", trained)
    assert code == 0
    assert "210,619 parameters" in out
    code, out, _ = call("datasets")
    assert code == 0
    assert str(small / "mnist") in out
    assert [line.split()[0] for line in out.splitlines()[1:]] == [e.name for e in datasets.available()]


# ------------------------------------------------------------------ the program itself


def test_exit_codes_and_messages_of_a_whole_process(process: Process, here: Path) -> None:
    child = process(here, "train", "mnist", "--recipe", "quik")
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (2, "")
    assert "did you mean 'quick'?" in err
    assert "Traceback" not in err


def test_help_imports_neither_numpy_nor_rich_and_shows_examples(here: Path) -> None:
    program = "import sys; from chainrule.cli import main; main({}); print(*sys.modules, file=sys.stderr)"
    for arguments in (["--help"], *([name, "--help"] for name in commands.chainrule.commands)):
        done = subprocess.run(
            [sys.executable, "-c", program.format(arguments)], env={**os.environ, "PYTHONPATH": SOURCE},
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert "Examples:\n" in done.stdout
        assert not {"numpy", "rich", "chainrule.network", "zipfile"} & set(done.stderr.split())


def test_version_and_no_arguments(call: Call) -> None:
    from chainrule import __version__

    assert call("--version")[:2] == (0, f"chainrule, version {__version__}\n")
    code, out, err = call()
    assert code == 2
    assert "Commands:" in out + err


def test_shell_completion_knows_commands_and_names(here: Path) -> None:
    for words, wanted in (("chainrule tr", "train"), ("chainrule train mnist --recipe le", "lecture")):
        environment = {
            **os.environ, "PYTHONPATH": SOURCE, "_CHAINRULE_COMPLETE": "bash_complete", "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "chainrule"], env=environment, capture_output=True, text=True, timeout=60
        )
        assert f"plain,{wanted}" in done.stdout.splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise there")
def test_a_reader_that_leaves_gets_no_traceback(process: Process, here: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    child = process(here, "datasets", stdout=writing)
    os.close(writing)
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (1, "")


def test_names_on_the_command_line_are_those_of_the_library() -> None:
    assert tuple(RECIPES) == train._RECIPES
    assert set(options.EXECUTORS) == {"auto", *EXECUTORS}
    assert set(options.DATASETS) <= {entry.name for entry in datasets.available()}


def test_command_json_is_believed_only_when_whole(tmp_path: Path) -> None:
    command = TrainCommand("mnist", "best", 3, 50, 9, True, "reference")
    assert TrainCommand.from_json(json.loads(json.dumps(command.to_json())), tmp_path) == command
    line = command.line(epochs=100, batch_size=100)
    own, places = "--epochs 3 --batch-size 50", "--seed 9 --executor reference --held-out"
    assert line == f"chainrule train mnist --recipe best {own} {places}"
    for change in ({"epochs": True}, {"epochs": "3"}, {"more": 1}):
        with pytest.raises(DataError):
            TrainCommand.from_json({**command.to_json(), **change}, tmp_path)
