"""Programs on the executor cpu whose arrays end where memory ends: what reads or writes past them dies.

Run as a program (a death takes the process along): it prints the name of every case before the case runs.

    python guarded.py                  all of them
    python guarded.py 7 12             random networks of these seeds
"""

from __future__ import annotations

import ctypes
import mmap
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from random_networks import STEPS, random_network

import chainrule.executors.cpu.executor
import chainrule.executors.cpu.memory
from chainrule import ops
from chainrule.executors import Program, epoch
from chainrule.graph.expr import Expr

Array = np.ndarray[Any, Any]
PAGE = mmap.PAGESIZE
_LINE = 64  # of the cache, to which compiled code may expect its own memory to be aligned
_kept: list[mmap.mmap] = []


def guarded(nbytes: int, align: int = _LINE) -> Array:
    """Zero bytes between two pages that nobody may touch; the end lies at the second."""
    pages = -(-max(nbytes, 1) // PAGE)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    _kept.append(memory)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for page in (0, pages + 1):
        if protect(start + page * PAGE, PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    end = (pages + 1) * PAGE - (-nbytes % align) - nbytes
    return np.frombuffer(memory, np.uint8)[end : end + nbytes]


def at_the_edge(a: Array) -> Array:
    """A copy whose last byte is the last that may be read."""
    a = np.asarray(a, order="C")  # of no axes, too
    if not a.size:
        return a
    copy = guarded(a.nbytes, 1).view(a.dtype).reshape(a.shape)
    copy[...] = a
    return copy


def guard_the_executor() -> None:
    """Its own memory too: the arena, and states in padded rows."""
    for module in (chainrule.executors.cpu.executor, chainrule.executors.cpu.memory):
        module.aligned = guarded  # type: ignore[attr-defined]


# ------------------------------------------------------------------ cases

CASES: dict[str, Callable[[Expr, Expr, Expr], Expr]] = {
    "copied": lambda x, y, w: x + 1,
    "reduced by rows": lambda x, y, w: ops.sum(x * x, 1),
    "reduced by columns": lambda x, y, w: ops.sum(x * x, 0),
    "reduced": lambda x, y, w: ops.sum(x),
    "greatest": lambda x, y, w: ops.max(x, 1),
    "place of the greatest": lambda x, y, w: ops.argmax(x, 1),
    "sorted": lambda x, y, w: ops.argsort(x, 0),
    "summed up": lambda x, y, w: ops.cumsum(x, 0),
    "turned": lambda x, y, w: x.T,
    "flipped": lambda x, y, w: ops.flip(x),
    "joined": lambda x, y, w: ops.concat([x, y], 1),
    "softmax": lambda x, y, w: ops.softmax(x),
    "product": lambda x, y, w: x @ w,
    "product with the turned": lambda x, y, w: x.T @ y,
    "product of the turned": lambda x, y, w: w @ y.T,
    "product with itself": lambda x, y, w: x @ x.T,
    "a target in the epilogue": lambda x, y, w: ops.sum(ops.square(x @ w - y)),
    "a target in the gradient": lambda x, y, w: x.T @ (2 * (x @ w - y)),
    "a target beside tanh": lambda x, y, w: ops.sum(ops.square(ops.tanh(x @ w) - y), 1),
    "a row of a target": lambda x, y, w: (x @ w) * y[:, :1],
    "cast": lambda x, y, w: ops.cast(x, "int32"),
}


def run_cases() -> None:
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        for rows, n, k in ((7, 5, 3), (3, 70, 33)):
            for name, build in CASES.items():
                print(f"{name}, {dtype}, {rows}x{n} and {rows}x{k}", flush=True)
                x, y = ops.input("x", (rows, n), dtype), ops.input("y", (rows, k), dtype)
                w = ops.input("w", (n, k), dtype)
                program = Program({"out": build(x, y, w)}, [x, y], [], [w], {"w": w * 0.5})
                data = [at_the_edge(rng.normal(size=(2 * rows, m)).astype(dtype)) for m in (n, k)]
                index = at_the_edge(np.arange(2 * rows).reshape(2, rows)[::-1])
                state = {"w": at_the_edge(rng.normal(size=(n, k)).astype(dtype))}
                epoch(program, executor="cpu", threads=1).run(state, data, index, [])


def run_network(seed: int) -> None:
    job = random_network(seed)
    print(job.name, flush=True)
    data = [at_the_edge(a) for a in job.data]
    state = {name: at_the_edge(a) for name, a in job.state.items()}
    for k in random.Random(seed).sample(range(STEPS), 2):
        program = job.program(len(job.batches[k]), False)
        scalars = [at_the_edge(s[k : k + 1]) for s in job.scalars]
        epoch(program, executor="cpu", threads=job.threads).run(state, data, job.batches[k][None], scalars)


if __name__ == "__main__":
    guard_the_executor()
    if len(sys.argv) == 1:
        run_cases()
    for number in sys.argv[1:]:
        run_network(int(number))
    print("all", flush=True)
