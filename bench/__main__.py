"""Alternating rounds of every library on every workload; medians, ratios, and docs/benchmarks.md."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from statistics import median
from typing import Any

from bench.page import ROOT, machine, write_section
from bench.subjects import SUBJECTS
from bench.workloads import WORKLOADS

QUICK = os.environ.get("QUICK", "") not in ("", "0")
ROUNDS, SECONDS = (3, 0.5) if QUICK else (3, 1.0)
GATES = {("a", "PyTorch eager, fused"): 1.3}  # the reference executor's time over the peer's, at most
PEERS = ("torch", "jax", "scikit-learn")
EXPLANATION = [
    "Microseconds per training step: shuffling, gathering the batch, forward, backward, update. In",
    "parentheses a peer's time over ours: below 1 it is faster than we are. Medians of alternating rounds,",
    "all cores, float32, from the same initial weights; after five steps on the same batches the losses",
    "agree within 0.01 % (scikit-learn's initial weights cannot be given). Command: `make bench`.",
]
LOSS_TOLERANCE = 1e-4  # relative: float32 sums are made in another order by each library


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
        if not math.isnan(got) and not abs(got - expected) <= LOSS_TOLERANCE * abs(expected):
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
    if not QUICK:
        end = ["", f"Peak memory in b: {memory}.", "", machine(*PEERS)]
        write_section("Training speed", [*EXPLANATION, "", *lines, *end])
    for problem in problems:
        print(f"FAILED  {problem}")
    print(f"{len(GATES) + len(WORKLOADS) - len(problems)} passed, {len(problems)} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
