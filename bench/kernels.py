"""Where a step's time goes: ``python -m bench.kernels a [threads]`` prints µs beside each kernel."""

from __future__ import annotations

import sys
import time

import numpy as np

import chainrule as cr
from bench.peers.ours import network
from bench.workloads import WORKLOADS
from chainrule.executors import optimized
from chainrule.executors.cpu.executor import CpuEpoch
from chainrule.train.prepare import Request

TURNS = 10


def main(workload: str, threads: int) -> None:
    """Steps over the whole data, some times; the clock's pace is taken from the same runs."""
    w = WORKLOADS[workload]
    x, y = w.data()
    loss = cr.losses.CrossEntropy() if w.loss == "cross_entropy" else cr.losses.MeanSquaredError()
    asked = Request(
        loss=loss, optimizer=w.optimizer, learning_rate=w.learning_rate, batch_size=w.batch, metrics=[]
    )
    fit = network(w)._prepare(x, y, asked)
    epoch = CpuEpoch(optimized(fit.step()), threads=threads, timed=True)
    index = np.random.default_rng(0).permutation(w.rows)[: w.steps * w.batch].reshape(w.steps, w.batch)
    given = list(fit.feed.arrays), index, fit._scalars(w.steps)
    epoch.run(fit.state, *given)
    epoch.take_cycles()
    began = time.perf_counter()
    for _ in range(TURNS):
        epoch.run(fit.state, *given)
    microseconds = (time.perf_counter() - began) * 1e6 / TURNS / w.steps
    cycles = epoch.take_cycles()
    head, columns, *lines = str(epoch.plan).splitlines()
    print(f"{head}\n{microseconds:9.2f} µs a step\n{'µs':>9}  {columns}")
    spent = iter(cycles / cycles.sum() * microseconds)
    for line in lines:
        print(line if line.startswith("---") else f"{next(spent):9.2f}  {line}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1)
