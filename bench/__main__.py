"""Alternating rounds of every library on every workload; medians, ratios, and docs/benchmarks.md."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from bench.subjects import SUBJECTS
from bench.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
QUICK = os.environ.get("QUICK", "") not in ("", "0")
ROUNDS, SECONDS = (3, 0.5) if QUICK else (5, 2.0)
GATES = {("a", "PyTorch eager, fused"): 1.3}  # the reference executor's time over the peer's, at most
LOSS_TOLERANCE = 1e-3  # relative: float32 sums are made in another order by each library


def rounds() -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Every library once per round, round after round, so that a drift of the machine meets all alike."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    environment = {**os.environ, "OMP_WAIT_POLICY": "active"}
    for k in range(ROUNDS):
        for name in WORKLOADS:
            for subject in SUBJECTS:
                command = [sys.executable, "-m", "bench.measure", subject, name, str(SECONDS)]
                done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f"{subject} on {name} failed:\n{done.stderr}")
                row = json.loads(done.stdout.splitlines()[-1])
                found.setdefault((name, subject), []).append(row)
                print(
                    f"round {k + 1}/{ROUNDS}  {name}  {subject:24} {row['microseconds']:10.1f} µs/step",
                    flush=True,
                )
    return found


def check_losses(found: dict[tuple[str, str], list[dict[str, Any]]]) -> list[str]:
    """After the same steps from the same weights the losses must be the same."""
    problems = []
    ours = next(iter(SUBJECTS))
    for (name, subject), rows in found.items():
        expected, got = found[name, ours][0]["loss"], rows[0]["loss"]
        if not math.isnan(got) and abs(got - expected) > LOSS_TOLERANCE * abs(expected):
            problems.append(f"{name}: {subject} has loss {got}, {ours} {expected}")
    return problems


def table(found: dict[tuple[str, str], list[dict[str, Any]]]) -> list[str]:
    ours = next(iter(SUBJECTS))
    lines = [f"| workload | {' | '.join(SUBJECTS)} |", f"| --- |{' ---: |' * len(SUBJECTS)}"]
    for name, workload in WORKLOADS.items():
        base = median(r["microseconds"] for r in found[name, ours])
        cells = []
        for subject in SUBJECTS:
            value = median(r["microseconds"] for r in found[name, subject])
            cells.append(f"{value:,.1f}" + ("" if subject == ours else f" ({value / base:.2f})"))
        lines.append(f"| {name}: {workload} | {' | '.join(cells)} |")
    return lines


def replace_section(title: str, body: str) -> None:
    """Each command writes its own section of the page; the others stay."""
    text = (
        PAGE.read_text()
        if PAGE.exists()
        else "# Benchmarks\n\nEvery figure here was written by a command of this repository.\n"
    )
    section = f"## {title}\n\n{body.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.S | re.M)
    text = (
        pattern.sub(lambda _: section + "\n", text)
        if pattern.search(text)
        else f"{text.rstrip()}\n\n{section}"
    )
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text.rstrip() + "\n")


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*: (.+)", info.read_text())):
        cpu = found[1]
    packages = ("chainrule", "numpy", "torch", "jax", "scikit-learn")
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
    return f"{datetime.date.today()}, {os.cpu_count()} cores of {cpu}, Python {platform.python_version()}, {versions}"


def main() -> int:
    found = rounds()
    lines = table(found)
    print("\n".join(lines))
    problems = check_losses(found)
    for (name, peer), most in GATES.items():
        ours, theirs = (
            median(r["microseconds"] for r in found[name, s]) for s in (next(iter(SUBJECTS)), peer)
        )
        print(f"gate: workload {name}, reference / {peer} = {ours / theirs:.2f} (at most {most})")
        if ours / theirs > most:
            problems.append(
                f"workload {name}: reference takes {ours / theirs:.2f} × {peer}, more than {most}"
            )
    memory = ", ".join(f"{s} {median(r['peak_mb'] for r in found['b', s]):.0f} MB" for s in SUBJECTS)
    body = [
        "Microseconds per training step (forward, backward, update, shuffling and gathering of batches); in parentheses",
        "a peer's time over ours: below 1 it is faster than we are. Medians of alternating rounds, all cores, float32, from",
        "the same initial weights; after one epoch in the same order the losses agree within 0.1 % (scikit-learn's initial",
        "weights cannot be given). `make bench`.",
        "",
        *lines,
        "",
        f"Peak memory in b: {memory}.",
        "",
        f"{machine()}.",
    ]
    if not QUICK:
        replace_section("Training speed", "\n".join(body))
        print(f"written to {PAGE.relative_to(ROOT)}")
    for problem in problems:
        print(f"FAILED  {problem}")
    print(f"{len(GATES) + len(WORKLOADS) - len(problems)} passed, {len(problems)} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
