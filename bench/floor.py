"""The floor of a training step: its matrix products alone, at the speed of the compiler's own kernel."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from bench.workloads import Recurrence, Workload
from chainrule import ops
from chainrule.executors import Program, epoch


@dataclass(frozen=True)
class Product:
    """(rows, inner) @ (inner, columns).

    kind   "forward" x W, "weights" xᵀ g, "inputs" g Wᵀ
    """

    kind: str
    rows: int
    inner: int
    columns: int


def products(w: Workload) -> list[Product]:
    """Of one step: every layer's output and weight gradient, and the gradients of all inputs but the data."""
    if isinstance(w, Recurrence):
        return _recurrent(w)
    found = []
    for layer, (m, n) in enumerate(zip(w.sizes, w.sizes[1:], strict=False)):
        found += [Product("forward", w.batch, m, n), Product("weights", m, w.batch, n)]
        if layer:
            found.append(Product("inputs", w.batch, n, m))
    return found


def _recurrent(w: Recurrence) -> list[Product]:
    """Of all steps together."""
    units, rows = w.sizes[1], w.length * w.batch
    found = [Product("inputs", rows, 4 * units, units)]
    for inner in (w.width, units):
        found += [Product("forward", rows, inner, 4 * units), Product("weights", inner, rows, 4 * units)]
    return found


def gemm_floor(w: Workload, steps: int = 20, turns: int = 5) -> float | None:
    """µs of the products of one step, one after another, each stored as it comes; the least of some turns.
    None where convolutions do most of the work."""
    if w.filters:
        return None
    listed, state, updates, arrays = products(w), [], {}, {}
    generator = np.random.default_rng(0)
    for i, p in enumerate(listed):
        left = (p.inner, p.rows) if p.kind == "weights" else (p.rows, p.inner)
        shapes = {f"a{i}": left, f"b{i}": (p.inner, p.columns), f"c{i}": (p.rows, p.columns)}
        a, b, c = (ops.input(name, shape) for name, shape in shapes.items())
        state += [a, b, c]
        updates[f"c{i}"] = (a.T if p.kind == "weights" else a) @ b
        arrays |= {name: generator.random(shape, dtype=np.float32) for name, shape in shapes.items()}
    run = epoch(Program({}, state=state, updates=updates), executor="cpu").run
    index = np.zeros((steps, 1), np.int64)
    run(arrays, [], index, [])
    taken = []
    for _ in range(turns):
        began = time.perf_counter()
        run(arrays, [], index, [])
        taken.append(time.perf_counter() - began)
    return min(taken) / steps * 1e6
