"""Times one library on one workload in a process of its own, and prints one line of JSON."""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
import time

import numpy as np

from bench.subjects import SUBJECTS
from bench.workloads import WORKLOADS


def measure(subject: str, name: str, seconds: float) -> dict[str, float | str]:
    w = WORKLOADS[name]
    began = time.perf_counter()
    # Five steps in fixed order from the common weights: the losses must agree. More would not tell: in
    # float32 Adam divides gradients near zero by themselves, and rounding grows from step to step.
    epochs, loss = SUBJECTS[subject](dataclasses.replace(w, rows=5 * w.batch))
    epochs(False)
    first = time.perf_counter() - began
    agreed = loss()
    epochs, _ = SUBJECTS[subject](w)
    epochs(False)
    began = time.perf_counter()
    epochs(True)
    once = time.perf_counter() - began
    count = max(1, round(0.6 / once))  # long calls, so that building the graph does not weigh
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        began = time.perf_counter()
        epochs(True, count)
        times.append(time.perf_counter() - began)
    return {
        "subject": subject,
        "workload": name,
        "microseconds": float(np.median(times)) / count / w.steps * 1e6,
        "loss": agreed,
        "first_steps_seconds": first,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
