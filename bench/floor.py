"""The floor of a training step: its matrix products alone, at the speed of the compiler's own kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.workloads import Workload


@dataclass(frozen=True)
class Product:
    """(rows, inner) @ (inner, columns).

    kind   "forward" x W, "weights" xᵀ g, "inputs" g Wᵀ
    """

    kind: str
    rows: int
    inner: int
    columns: int


MEASURE: Callable[[list[Product]], float] | None = None
"""products → µs of all of them, one after another, on as many threads as a fit would use; None: no figure"""


def products(w: Workload) -> list[Product]:
    """Of one step: every layer's output and weight gradient, and the gradients of all inputs but the data."""
    found = []
    for layer, (m, n) in enumerate(zip(w.sizes, w.sizes[1:], strict=False)):
        found += [Product("forward", w.batch, m, n), Product("weights", m, w.batch, n)]
        if layer:
            found.append(Product("inputs", w.batch, n, m))
    return found


def gemm_floor(w: Workload) -> float | None:
    """µs; None where there is no compiled kernel to measure."""
    return None if MEASURE is None else MEASURE(products(w))
