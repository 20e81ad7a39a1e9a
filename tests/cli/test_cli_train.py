"""``chainrule train``: what a run leaves, resumes to, and says when it fails."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from chainrule import datasets, optim, recipes
from chainrule.cli import training
from chainrule.modelfile import load
from chainrule.recipes import RECIPES
from chainrule.train.state import digest

Call = Callable[..., tuple[int, str, str]]
Process = Callable[..., subprocess.Popen[str]]
SOURCE = str(Path(datasets.__file__).resolve().parents[2])


def test_train_ends_with_what_can_be_counted_again(call: Call, here: Path) -> None:
    code, out, err = call("train", "mnist", "--epochs", 2, "--seed", 4)
    assert code == 0, err
    folder = here / "runs" / "mnist-quick-4"
    net, data = load(folder / "model.safetensors"), datasets.mnist()
    wrong = int((net.predict(data.x_test) != data.y_test).sum())
    assert 0 < wrong < 80, "the small data set is learned, not wholly"
    assert f"test error        {wrong / 1.2:.2f} % ({wrong} of 120 wrong)\n" in out
    assert f"final weights     SHA-256 {digest(net.parameters)}\n" in out
    assert re.search(r"^training time     \d+\.\d s$", out, re.M)
    assert "report            runs/mnist-quick-4/report.html" in out
    assert "epoch 2/2" in err
    names = {p.name for p in folder.iterdir()}
    texts = {"command.json", "config.json", "environment.json", "history.jsonl", "result.json"}
    assert names == {*texts, ".lock", "checkpoint.safetensors", "model.safetensors", "report.html"}
    assert len((folder / "history.jsonl").read_text().splitlines()) == 2
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "chainrule train mnist --recipe quick --epochs 2 --seed 4<" in report


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "quick"])
def test_every_recipe_runs_and_repeats(recipe: str, call: Call, here: Path) -> None:
    sums = set()
    for folder in ("a", "b"):
        code, out, err = call("train", "mnist", "--recipe", recipe, "--epochs", 1, "--run-dir", folder, "-q")
        assert code == 0, err
        net, data = load(here / folder / "model.safetensors"), datasets.mnist()
        wrong = int((net.predict(data.x_test) != data.y_test).sum())
        assert f"({wrong} of 120 wrong)" in out
        sums.add(digest(net.parameters))
    assert len(sums) == 1


def test_quiet_says_only_the_result(call: Call) -> None:
    code, out, err = call("train", "mnist", "--epochs", 1, "-q")
    assert (code, err) == (0, "")
    assert [line.split("  ")[0] for line in out.splitlines()] == [
        "test error", "training time", "final weights", "model", "report",
    ]  # fmt: skip


def test_runs_that_exist_are_left_alone(call: Call, here: Path) -> None:
    sums = []
    for _ in range(3):
        code, out, _ = call("train", "mnist", "--epochs", 1, "-q", "--seed", 2)
        assert code == 0
        sums.append(re.search(r"SHA-256 (\w{64})", out)[1])  # type: ignore[index]
    assert {p.name for p in (here / "runs").iterdir()} == {
        "mnist-quick-2", "mnist-quick-2-2", "mnist-quick-2-3",
    }  # fmt: skip
    assert len(set(sums)) == 1, "the same seed gives the same bits"


def test_held_out_judges_on_the_last_sixth_and_reads_no_test_set(
    call: Call, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = datasets.mnist()
    monkeypatch.setattr(
        training, "load_dataset", lambda name: dataclasses.replace(data, x_test=None, y_test=None)
    )
    code, out, err = call("train", "mnist", "--epochs", 2, "--held-out", "--run-dir", "held")
    assert code == 0, err
    wrong = int((load("held/model.safetensors").predict(data.x_train[500:]) != data.y_train[500:]).sum())
    assert f"validation error  {wrong:.2f} % ({wrong} of 100 wrong)" in out
    assert "500 samples" in err
    rows = [json.loads(line) for line in Path("held/history.jsonl").read_text().splitlines()]
    assert rows[-1]["val_accuracy"] == pytest.approx(1 - wrong / 100)
    code, out, _ = call("evaluate", "held", "--held-out", "--json")
    assert (code, json.loads(out)["wrong"]) == (0, wrong)


def test_ctrl_c_saves_and_a_resumed_run_ends_in_the_same_bits(process: Process, here: Path) -> None:
    begin = ["train", "mnist", "--epochs", "25", "--seed", "1", "--run-dir"]
    child = process(here, *begin, "my run")
    assert child.stderr is not None
    lines = []
    while not (lines and "accuracy" in lines[-1]):  # an epoch is done
        lines.append(child.stderr.readline())
        assert lines[-1], "".join(lines)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, "")
    again = "chainrule train mnist --run-dir 'my run' --resume"
    assert err.endswith(f"Interrupted. A checkpoint is saved in my run; go on with:\n  {again}\n")
    assert not (here / "my run" / "model.safetensors").exists()
    ends = []
    for arguments in ([*begin[:2], "--run-dir", "my run", "--resume", "-q"], [*begin, "whole", "-q"]):
        child = process(here, *arguments)
        out, err = child.communicate(timeout=120)
        assert (child.returncode, err) == (0, "")
        ends.append([line for line in out.splitlines() if line.startswith(("test error", "final weights"))])
    assert ends[0] == ends[1]
    assert len(ends[0]) == 2
    rows = [Path(f, "history.jsonl").read_text().splitlines() for f in ("my run", "whole")]
    assert [len(r) for r in rows] == [25, 25]
    curves = [json.loads(Path(f, "result.json").read_text())["loss_curve"] for f in ("my run", "whole")]
    assert curves[0] == curves[1]


def test_resume_without_a_folder_takes_the_newest_of_that_recipe_and_seed(call: Call, here: Path) -> None:
    for _ in range(2):
        assert call("train", "mnist", "--epochs", 1, "-q")[0] == 0
    (here / "runs" / "mnist-quick-0-x").mkdir()  # none of ours
    code, out, _ = call("train", "mnist", "--resume", "-q")
    assert code == 0
    assert "runs/mnist-quick-0-2/report.html" in out


def test_divergence_is_failed_work(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    wild = dataclasses.replace(RECIPES["quick"], optimizer=optim.SGD(1e30))
    monkeypatch.setitem(recipes.RECIPES, "quick", wild)
    code, out, err = call("train", "mnist", "-q")
    assert (code, out) == (1, "")
    assert err.startswith("Error: training diverged in epoch 1")
    assert "Traceback" not in err


def test_a_full_disk_is_told_with_a_remedy(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "runs/x")

    monkeypatch.setattr(training, "write_result", full)
    code, _, err = call("train", "mnist", "--epochs", 1, "-q")
    assert code == 2
    assert err.startswith("Error: No space left on device: runs/x; free some space")
    assert len(err.splitlines()) == 1


def test_out_of_memory_is_told_with_a_remedy(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def huge(name: str) -> None:
        raise MemoryError

    monkeypatch.setattr(training, "load_dataset", huge)
    code, _, err = call("train", "mnist")
    assert code == 1
    assert re.fullmatch(r"Error: out of memory: .*; give a smaller --batch-size, .* or fewer rows\n", err)
