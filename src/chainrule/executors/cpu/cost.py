"""What a step costs, roughly: enough to choose a number of threads. A function of sizes alone."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.executors.cpu.kernels import (
    Contraction,
    Draw,
    Kernel,
    KernelGradient,
    Loop,
    every_kernel,
)

__all__ = ["choose_threads", "microseconds"]

_CONTRACTION = 1e5  # FLOP in a microsecond, on one core of a wide machine
_ELEMENTS = 3.2e4  # element-wise results in a microsecond
_WORTH = 25.0  # microseconds of work that a thread must have, to be worth two or three meetings
_ROWS = 4  # rows of a product that a thread must have


def microseconds(kernels: Sequence[Kernel]) -> float:
    """Of one step on one thread."""
    total = 0.0
    for kernel, times in every_kernel(kernels):
        if isinstance(kernel, Contraction | KernelGradient):
            total += times * kernel.flops / _CONTRACTION
        elif not isinstance(kernel, Loop):
            total += times * kernel.flops * (8 if isinstance(kernel, Draw) else 1) / _ELEMENTS
    return total


def choose_threads(kernels: Sequence[Kernel], limit: int) -> int:
    """As many as are worth it, ``limit`` at most: small steps are done before threads have met.

    Work that is only element-wise counts, too: adding up 10⁷ numbers is worth two threads.
    """
    products = [k for k, _ in every_kernel(kernels) if isinstance(k, Contraction)]
    rows = max((k.product.shape[k.shared_axis] for k in products), default=1 << 20)
    return max(1, min(limit, int(microseconds(kernels) // _WORTH), rows // _ROWS))
