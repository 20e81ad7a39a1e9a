"""Every library on every workload in one run: ``python -m bench``; the figures go to docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from bench import page, tables
from bench.accuracy import race
from bench.gates import GATES, failed
from bench.peers import REFERENCE, RIVALS, SUBJECTS
from bench.results import Results
from bench.starting import start_all
from bench.turns import Effort, take_turns
from bench.workloads import QUICK, WORKLOADS

PARTS = ("turns", "starting", "accuracy")
PACKAGES = tuple(dict.fromkeys(SUBJECTS[name].package for name in RIVALS))


def options() -> argparse.Namespace:
    quick = os.environ.get("QUICK", "") not in ("", "0")
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", default=quick, help="three minutes; also QUICK=1")
    parser.add_argument("--all", action="store_true", help="torch.compile too, which is slow to start")
    parser.add_argument("--executor", help="ours; default: cpu where it exists, else reference")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=None)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=None)
    parser.add_argument("--cores", nargs="+", choices=("one", "all"), default=("one", "all"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, help="of one call of training")
    parser.add_argument("--page", type=Path, help="default: docs/benchmarks.md, after a whole run")
    return parser.parse_args()


def measure(asked: argparse.Namespace) -> Results:
    results = Results()
    subjects = [s for s, peer in SUBJECTS.items() if asked.all or not peer.optional]
    names = asked.workloads or (QUICK if asked.quick else list(WORKLOADS))
    effort = Effort(
        asked.rounds, asked.seconds or (0.3 if asked.quick else 1.5), 0.06 if asked.quick else 0.3
    )
    parts = asked.parts or (("turns", "starting") if asked.quick else PARTS)
    trained = [s for s in subjects if s in RIVALS or SUBJECTS[s].accuracy is not None]
    if "starting" in parts:
        start_all(results, trained, 1 if asked.quick else asked.rounds)
    for cores in asked.cores if "turns" in parts else ():
        take_turns(results, cores, names, _present(subjects, cores), effort)
    if "accuracy" in parts:
        race(results, trained, asked.rounds)
    return results


def _present(subjects: list[str], cores: str) -> list[str]:
    """The reference executor is measured once, for information."""
    return [s for s in subjects if cores == "all" or s != REFERENCE]


def main() -> int:
    asked, began = options(), time.perf_counter()
    if asked.executor:
        os.environ["BENCH_EXECUTOR"] = asked.executor
    results = measure(asked)
    sections = tables.page(results)
    for title, lines in sections.items():
        print(f"\n## {title}\n\n" + "\n".join(lines))
    whole = not (asked.quick or asked.parts or asked.workloads or len(asked.cores) < 2)
    if asked.page or whole:
        for title, lines in sections.items():
            page.write_section(title, [*lines, "", page.machine(*PACKAGES)], asked.page or page.PAGE)
    problems = [*tables.disagreements(results), *failed(results, whole=whole)]
    print(f"\n{page.machine(*PACKAGES)}")
    for problem in problems:
        print(f"FAILED  {problem}")
    passed = sum(g.verdict(results).startswith("pass") for g in GATES)
    seconds = time.perf_counter() - began
    print(f"{passed} of {len(GATES)} gates passed, {len(problems)} problems, {seconds:.0f} s")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
