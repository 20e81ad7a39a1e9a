"""The choice of an executor: ``python -m bench.auto`` times whole fits with each of them and with "auto".

Every call in a process of its own: cold, with an empty folder for compiled code, and warm, after the same
call has filled it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.page import PAGE, ROOT, machine, write_section
from bench.peers.ours import network
from bench.workloads import Workload

EXECUTORS = ("reference", "cpu", "auto")
GATE = 1.1


@dataclass(frozen=True)
class Job:
    """A workload and for how many epochs it is trained."""

    workload: Workload
    epochs: int
    dtype: str = "float32"

    def __str__(self) -> str:
        w = self.workload
        kind = "" if self.dtype == "float32" else f", {self.dtype}"
        return f"{w.rows:,} × {'-'.join(map(str, w.sizes))}, batch {w.batch}{kind}"


IRIS = Workload((4, 16, 16, 3), 32, 150)
WINE = Workload((13, 32, 3), 16, 178)
TABLE = Workload((20, 64, 64, 2), 64, 1000)
DIGITS = Workload((64, 128, 10), 32, 1797)
SMOOTH = Workload((100, 256, 256, 1), 256, 5120, activation="tanh", loss="squared_error")
DEEP = Workload((20, *[32] * 8, 2), 32, 2000)
NORM = Workload((30, 64, 64, 2), 32, 569, batch_norm=True)
WIDE = Workload((50, 1024, 1024, 5), 128, 2560)
MNIST = Workload((784, 225, 144, 10), 100, 60_000)

JOBS = [
    *(Job(IRIS, epochs) for epochs in (10, 100, 200, 1000)),
    *(Job(WINE, epochs) for epochs in (50, 500)),
    *(Job(TABLE, epochs) for epochs in (10, 50, 100)),
    *(Job(TABLE, epochs, "float64") for epochs in (50, 100)),
    *(Job(NORM, epochs) for epochs in (10, 50)),
    *(Job(DIGITS, epochs) for epochs in (5, 10, 30)),
    *(Job(DEEP, epochs) for epochs in (2, 5, 20)),
    *(Job(SMOOTH, epochs) for epochs in (2, 10)),
    *(Job(SMOOTH, epochs, "float64") for epochs in (2, 10)),
    *(Job(WIDE, epochs) for epochs in (1, 5)),
    *(Job(Workload(MNIST.sizes, MNIST.batch, rows), 1) for rows in (6_000, 60_000)),
    Job(Workload((784, 512, 512, 10), 128, 60_000), 1),
]


@dataclass(frozen=True)
class Times:
    """Seconds of one job by executor, and what auto took."""

    seconds: dict[str, float]
    chosen: str

    @property
    def ratio(self) -> float:
        """auto's time over the better of the two."""
        return self.seconds["auto"] / min(self.seconds["reference"], self.seconds["cpu"])


def fit(job: Job, executor: str) -> tuple[float, str]:
    """Seconds of one whole fit in this process, and the executor that it used."""
    net, (x, y) = network(job.workload, job.dtype), job.workload.data()
    x = x.astype(job.dtype)
    began = time.perf_counter()
    history = net.fit(x, y, epochs=job.epochs, batch_size=job.workload.batch, executor=executor, verbose=0)
    return time.perf_counter() - began, history.executor


def _alone(number: int, executor: str, cache: str) -> tuple[float, str]:
    """`fit` of the job of this number in a fresh process, with compiled code in the folder ``cache``. Python
    may keep bytecode, as in an installation."""
    places = {"CHAINRULE_CACHE_DIR": cache, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [sys.executable, "-m", "bench.auto", "--alone", str(number), executor],
        cwd=ROOT, env={**os.environ, **places}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{JOBS[number]} with {executor} failed:\n{done.stderr[-4000:]}")
    seconds, chosen = json.loads(done.stdout)
    return seconds, chosen


def measure(number: int, rounds: int) -> dict[str, Times]:
    """The executors in turns, round after round; medians. → cold and warm"""
    found: dict[str, dict[str, list[float]]] = {
        kind: {executor: [] for executor in EXECUTORS} for kind in ("cold", "warm")
    }
    chosen = ""
    for _ in range(rounds):
        for executor in EXECUTORS:
            with tempfile.TemporaryDirectory() as cache:
                for kind in ("cold", "warm"):
                    seconds, chosen = _alone(number, executor, cache)
                    found[kind][executor].append(seconds)
    return {
        kind: Times({executor: median(seconds) for executor, seconds in times.items()}, chosen)
        for kind, times in found.items()
    }


def table(results: Iterable[tuple[Job, dict[str, Times]]]) -> list[str]:
    """Lines of Markdown; milliseconds."""
    lines = [
        "| rows × network | epochs | reference | cpu, cold | cpu, warm | auto takes | auto over the better, "
        "cold | warm |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |",
    ]
    for job, times in results:
        cold, warm = times["cold"], times["warm"]
        figures = cold.seconds["reference"], cold.seconds["cpu"], warm.seconds["cpu"]
        told = " | ".join(f"{1e3 * seconds:,.0f}" for seconds in figures)
        missed = "**" if cold.ratio > GATE else ""
        lines.append(
            f"| {job} | {job.epochs:,} | {told} | {cold.chosen} | {missed}{cold.ratio:.2f}{missed} | "
            f"{warm.ratio:.2f} |"
        )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.auto", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, nargs="+", default=range(len(JOBS)), help="by number, from 0")
    parser.add_argument("--page", type=Path, nargs="?", const=PAGE, help="write the table there")
    parser.add_argument("--alone", nargs=2, metavar=("job", "executor"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.alone:
        print(json.dumps(fit(JOBS[int(asked.alone[0])], asked.alone[1])))
        return 0
    results = []
    for number in asked.jobs:
        results.append((JOBS[number], measure(number, asked.rounds)))
        print("\n".join(table(results)[-1 if len(results) > 1 else 0 :]), flush=True)
    late = sum(times["cold"].ratio > GATE for _, times in results)
    print(f"{late} of {len(results)} jobs more than {100 * (GATE - 1):.0f} % behind the better one, cold")
    if asked.page:
        write_section(
            "The choice of an executor", [*_words(asked.rounds), *table(results), "", machine()], asked.page
        )
    return 1 if late else 0


def _words(rounds: int) -> list[str]:
    return [
        "Milliseconds of a whole `fit`, each in a fresh process; cold: nothing compiled before, warm: the",
        "same fit has run before, in another process. What is chosen depends on the job alone, never on",
        "caches: where cold and warm ask for different executors, cold decides. Medians of rounds in turns,",
        f"number: {rounds}; **bold**: more than {100 * (GATE - 1):.0f} % behind the better executor, cold.",
        "Command: `python -m bench.auto --page`.",
        "",
    ]


if __name__ == "__main__":
    sys.exit(main())
