"""The first step in a fresh process, and its memory: one line of JSON.

python -m bench.start <subject> <workload> <epochs> <module> …      0 epochs: one single step
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


def peak_megabytes() -> float:
    """The most memory that this program had; Linux's ru_maxrss would count the program that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    scale = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def measure(subject: str, workload: str, epochs: int, modules: list[str]) -> dict[str, Any]:
    began = time.perf_counter()
    for module in modules:  # first of all, so that NumPy counts too
        importlib.import_module(module)
    imported = time.perf_counter()
    import dataclasses

    from bench.peers import OURS, SUBJECTS
    from bench.workloads import WORKLOADS

    peer, w = SUBJECTS[subject], WORKLOADS[workload]
    compiling = _watch_compiler() if subject == OURS and not epochs else []
    peer.ready(w if epochs else dataclasses.replace(w, rows=w.batch)).train(max(epochs, 1))
    done = time.perf_counter()
    found = {"import": imported - began, "first": done - imported, "end": time.time()}
    return {**found, "compile": sum(compiling) or None, "peak": peak_megabytes()}


def _watch_compiler() -> list[float]:
    """Seconds that pass from a program to a function ready to run, collected while training goes on."""
    from chainrule.train import loop

    if importlib.util.find_spec("llvmlite"):  # loading the compiler is no compiling
        importlib.import_module("chainrule.executors.cpu.executor")
        importlib.import_module("chainrule.executors.cpu.target").host()
    make, seconds = loop.epoch, []

    def timed(*program: Any, **options: Any) -> Any:
        began = time.perf_counter()
        found = make(*program, **options)
        seconds.append(time.perf_counter() - began)
        return found

    loop.epoch = timed
    return seconds


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])))
