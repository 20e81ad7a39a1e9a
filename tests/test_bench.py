"""The machinery of `make bench`: taking turns, gates, tables. No other library is needed here."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bench import auto, kernels, published, tables
from bench.family import Family
from bench.floor import gemm_floor, products
from bench.gates import GATES, behind, failed
from bench.page import write_section
from bench.peers import NUMPY, OURS, SUBJECTS
from bench.peers.ours import ready
from bench.results import Results
from bench.workloads import WORKLOADS

JAX, TORCH = "JAX scan", "PyTorch eager, fused"
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def times(ours: float, **peers: float) -> Results:
    results = Results()
    for name, value in {OURS: ours, JAX: peers.get("jax", 10.0), TORCH: peers.get("torch", 20.0)}.items():
        for noise in (0.9, 1.0, 5.0):  # the median counts
            results.add(("train", "one", "a", name), value * noise)
    return results


@linux
def test_idle_child_is_stopped_and_a_failure_shows_its_reason():
    with Family([NUMPY], "one") as children:
        child = children[NUMPY]
        answer = child.ask("open", workload="a")
        assert child.ask("predict", rows=1, seconds=0.01)["microseconds"] > 0
        pid, deadline = child.process.pid, time.monotonic() + 5
        while state(pid) != "T" and time.monotonic() < deadline:
            time.sleep(0.001)
        used = cpu_ticks(pid)
        time.sleep(0.05)
        assert (state(pid), cpu_ticks(pid)) == ("T", used)
        assert len(os.sched_getaffinity(pid)) == 1
        w = WORKLOADS["a"]
        output = ready(w, "reference").predict(w.data()[0][:200])
        assert np.mean(output.argmax(1) == answer["classes"]) > 0.99
        with pytest.raises(SystemExit, match=r"NumPy failed:\nTraceback"):
            child.ask("pace", seconds=0.01)
    assert child.process.returncode is not None


def test_the_best_peer_decides_by_medians():
    results = times(5.0)
    assert results.ratio("train", "one", "a") == 2
    assert results.best("train", "one", "a") == (JAX, 10)
    assert results.ratio("train", "all", "a") is None


@pytest.mark.parametrize(
    ("ours", "verdict"), [(5, "pass"), (8, "pass, aim missed"), (8.4, "FAIL"), (20, "FAIL")]
)
def test_a_gate_is_reached_or_not(ours: float, verdict: str):
    gate = next(g for g in GATES if g.what.startswith("a, one core: the best"))
    assert gate.verdict(times(ours)) == verdict


def test_a_whole_run_fails_by_what_was_not_measured():
    results = times(5.0)
    assert failed(results, whole=False) == []
    assert len(failed(results, whole=True)) == sum(not g.information for g in GATES) - 1


def test_where_a_peer_is_ahead_is_told():
    assert behind(times(5.0)) == []
    assert behind(times(20.0)) == ["- a, one core, train: JAX scan takes 0.50 of our time"]
    assert any("JAX scan takes 0.50" in line for line in tables.page(times(20.0))["Gates"])


def test_a_held_up_peer_makes_the_row_void(monkeypatch: pytest.MonkeyPatch):
    results = Results()
    results.add(("train", "all", "a", OURS), 500)
    results.add(("train", "all", "a", JAX), 782 * 1.2)
    results.add(("train", "all", "a", TORCH), 1205 * 1.1)
    monkeypatch.setattr(published, "same_machine", lambda: True)
    assert [(w, p) for w, p, _ in published.void(results)] == [("a", JAX)]
    assert any(line.startswith("| a †") for line in tables.training(results, "all"))
    monkeypatch.setattr(published, "same_machine", lambda: False)
    assert published.void(results) == []


def test_losses_that_differ_are_told():
    results = times(5.0)
    results.losses = {("one", "a", OURS): 2.0, ("one", "a", JAX): 2.0003, ("one", "a", TORCH): 2.01}
    assert [p.split(":")[1].split(" has")[0] for p in tables.disagreements(results)] == [f" {TORCH}"]
    results.losses["one", "a", JAX] = float("nan")
    assert len(tables.disagreements(results)) == 2


def test_a_section_replaces_its_like_alone(tmp_path: Path):
    page = tmp_path / "page.md"
    for title, text in (("One", "1"), ("Two", "2"), ("One", "3 \\1")):
        write_section(title, [text], page)
    assert page.read_text(encoding="utf-8").split("## ", 1)[1] == "One\n\n3 \\1\n\n## Two\n\n2\n"


def test_products_of_a_step():
    w = WORKLOADS["a"]
    pairs = [m * n for m, n in zip(w.sizes, w.sizes[1:], strict=False)]
    macs = sum(p.rows * p.inner * p.columns for p in products(w))
    assert macs == w.batch * (3 * sum(pairs) - pairs[0])  # no gradient of the data
    assert gemm_floor(w) is None or gemm_floor(w) > 0


def test_every_workload_has_its_subjects():
    for name, w in WORKLOADS.items():
        x, y = w.data()
        assert len(x) == len(y) == w.rows == w.steps * w.batch, name
        assert SUBJECTS[OURS].takes(w)
        assert not SUBJECTS[NUMPY].takes(w)


def test_every_kernel_of_a_step_is_timed(capsys: pytest.CaptureFixture[str]):
    kernels.main("d", 1)
    head, total, _, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == int(head.split()[0])
    spent = [float(line.split()[0]) for line in lines]
    assert sum(spent) == pytest.approx(float(total.split()[0]), abs=0.01 * len(lines))


def test_every_executor_fits_a_job_cold_and_warm(monkeypatch: pytest.MonkeyPatch):
    calls, alone = [], auto._alone

    def watched(number: int, executor: str, cache: str) -> tuple[float, str]:
        before = len(list(Path(cache).rglob("*.object")))
        found = alone(number, executor, cache)
        calls.append((executor, found[1], before, len(list(Path(cache).rglob("*.object")))))
        return found

    monkeypatch.setattr(auto, "_alone", watched)
    times = auto.measure(0, rounds=1)
    assert [(executor, chosen) for executor, chosen, *_ in calls[::2]] == [
        ("reference", "reference"), ("cpu", "cpu"), ("auto", "reference"),
    ]  # fmt: skip
    kept = [(before, after) for executor, _, before, after in calls if executor == "cpu"]
    assert kept[0][0] == 0 < kept[0][1] == kept[1][0] == kept[1][1]
    assert {kind: t.chosen for kind, t in times.items()} == {"cold": "reference", "warm": "reference"}
    head, _, line = auto.table([(auto.JOBS[0], times)])
    assert head.count("|") == line.count("|")


@pytest.mark.parametrize(("seconds", "shown"), [(1.05, "1.05"), (1.2, "**1.20**")])
def test_a_choice_that_costs_too_much_is_bold(seconds: float, shown: str):
    times = auto.Times({"reference": 1.0, "cpu": 2.0, "auto": seconds}, "reference")
    assert auto.table([(auto.JOBS[0], {"cold": times, "warm": times})])[-1].split(" | ")[6] == shown
