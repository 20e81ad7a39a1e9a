"""One library in a process of its own: told over a pipe what to do, it answers with what it measured.

python -m bench.child <cores: one|all> <subject>      one JSON object a line, in and out
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

CHECKED_STEPS, CHECKED_EPOCHS = 5, 2
"""After ten steps in a fixed order losses must agree. More would not tell: in float32 Adam divides gradients
near zero by themselves, and rounding grows from step to step."""
SEEN = 200  # rows whose predicted classes are compared


def pin(cores: str) -> None:
    """One core: the last that we may use, before any library counts them."""
    if cores == "one" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


class Worker:
    """The answers to the parent's questions, by their name."""

    def __init__(self, subject: str) -> None:
        from bench.peers import SUBJECTS

        self.peer = SUBJECTS[subject]
        self.work: Any = None
        self.ready: Any = None
        self.fresh: Any = None  # with the common weights, for predictions
        self.count = 1

    def open(self, workload: str) -> dict[str, Any]:
        """Makes a workload ready and warm. → its loss after some steps, predicted classes"""
        import dataclasses

        from bench.workloads import PREDICTED, WORKLOADS

        w = self.work = WORKLOADS[workload]
        self.ready = self.fresh = None
        answer: dict[str, Any] = {}
        if workload in PREDICTED or self.peer.takes(w):
            self.fresh = self.peer.ready(dataclasses.replace(w, rows=CHECKED_STEPS * w.batch))
        if workload in PREDICTED:
            answer["classes"] = self.fresh.predict(w.data()[0][:SEEN]).argmax(1).tolist()
        if self.peer.takes(w):
            # Dropout draws its own masks in each library.
            loss = self.fresh.checked(CHECKED_EPOCHS)
            if self.peer.comparable(w) and not w.dropout:
                answer["loss"] = loss
            self.ready = self.peer.ready(w)
            self.ready.train(1)
        return answer

    def pace(self, seconds: float) -> dict[str, Any]:
        """Finds how many epochs fill so many seconds: long calls, so that beginning one does not weigh."""
        self.count, spent = 1, 0.0
        while spent < seconds / 4:
            if spent:
                self.count = max(self.count + 1, min(8 * self.count, round(self.count * seconds / spent / 2)))
            spent = _seconds(lambda: self.ready.train(self.count))
        self.count = max(1, round(self.count * seconds / spent))
        return {"epochs": self.count}

    def train(self) -> dict[str, Any]:
        """One long call. → µs a step, the share of the time in which this process computed"""
        cpu = time.process_time()
        spent = _seconds(lambda: self.ready.train(self.count))
        share = (time.process_time() - cpu) / spent
        return {"microseconds": spent / self.count / self.work.steps * 1e6, "share": share}

    def predict(self, rows: int, seconds: float) -> dict[str, Any]:
        """µs a call, the median of three groups of calls."""
        import numpy as np

        x = np.random.default_rng(3).random((rows, self.work.sizes[0]), dtype=np.float32)
        self.fresh.predict(x)
        once = min(_seconds(lambda: self.fresh.predict(x)) for _ in range(3))
        count = max(1, round(seconds / 3 / once))

        def calls() -> None:
            for _ in range(count):
                self.fresh.predict(x)

        return {"microseconds": sorted(_seconds(calls) / count * 1e6 for _ in range(3))[1]}

    def floor(self) -> dict[str, Any]:
        """µs of the pure matrix products of a step."""
        from bench.floor import gemm_floor

        return {"microseconds": gemm_floor(self.work)}

    def accuracy(self, seed: int) -> dict[str, Any]:
        """After each epoch: seconds of training so far, test accuracy."""
        from bench.accuracy_recipe import Digits

        assert self.peer.accuracy is not None
        return {"epochs": self.peer.accuracy(Digits.load(), seed)}


def _seconds(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def main() -> None:
    pin(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    worker = Worker(sys.argv[2])
    for line in sys.stdin:
        asked = json.loads(line)
        answer = getattr(worker, asked.pop("do"))(**asked)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
