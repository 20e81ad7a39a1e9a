"""L-BFGS: Newton's method with an inverse Hessian made of the last few steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from chainrule.errors import within
from chainrule.optim.linesearch import Line, strong_wolfe
from chainrule.optim.solver import Asks, Function, Iterate, Solver, Vector, begin

__all__ = ["LBFGS"]

Pairs = deque[tuple[Vector, Vector, float]]  # s = Δx, y = Δg, ρ = 1/(y·s)


@dataclass(frozen=True)
class LBFGS(Solver):
    """x ← x + αp,  p = −H∇f, with H from the last m pairs s = Δx, y = Δ∇f by the two-loop recursion, and α by
    a line search for the strong Wolfe conditions  (Liu & Nocedal 1989; Nocedal & Wright 2006, algorithms 7.4,
    7.5, 3.5 and 3.6).

    memory        m; 3 to 20 pairs are customary
    tolerance     it stops where max |∇f| is at most this
    reduction     … and where a step lowers f by less than this share of max(|f|, 1); the default is SciPy's
    evaluations   of f and its gradient, at most, besides ``epochs`` iterations
    c1, c2        of the Wolfe conditions: enough descent, and enough loss of slope

    Parameters are moved in float64; a network of dtype float64 lets it come closer to the minimum.

    >>> import numpy as np
    >>> for found in LBFGS().iterates(lambda x: (float((x - 3) @ (x - 3)), 2 * (x - 3)), np.zeros(2)):
    ...     pass
    >>> found.x, found.stopped
    (array([3., 3.]), 'gradient')
    """

    memory: int = 10
    tolerance: float = 1e-5
    reduction: float = 2.22e-9
    evaluations: int = 15_000
    c1: float = 1e-4
    c2: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, "memory", "[1, inf)", whole=True)
        within(self, "tolerance", "[0, inf)")
        within(self, "reduction", "[0, inf)")
        within(self, "evaluations", "[1, inf)", whole=True)
        within(self, "c1", "(0, 0.5)")
        within(self, "c2", f"({self.c1}, 1)")

    @property
    def asks(self) -> Asks:
        return "gradient"

    def iterates(self, function: Function, x: Vector) -> Iterator[Iterate]:
        """See :class:`Solver`. The first one given is the start itself where nothing is left to do there."""
        now = begin(x, *function(x), self.tolerance)
        if now.stopped:
            yield now
            return
        pairs: Pairs = deque(maxlen=self.memory)
        while not now.stopped:
            now = self._next(function, now, pairs)
            yield now

    def _next(self, function: Function, now: Iterate, pairs: Pairs) -> Iterate:
        p = _direction(now.gradient, pairs)
        found, used = self._search(function, now, p, first=not pairs)
        if found is None and pairs:  # old pairs may mislead: once more, straight down
            pairs.clear()
            p = -now.gradient
            found, more = self._search(function, now, p, first=True)
            used += more
        evaluations = now.evaluations + used
        if found is None:
            return Iterate(now.x, now.value, now.gradient, 0.0, evaluations, "precision")
        _remember(pairs, found.x - now.x, found.gradient - now.gradient)
        then = Iterate(found.x, found.value, found.gradient, found.step, evaluations)
        return replace(then, stopped=self._reason(now, then))

    def _search(self, function: Function, now: Iterate, p: Vector, *, first: bool) -> tuple[Line | None, int]:
        """The next point along p, or None; and how many evaluations it took."""
        if not now.gradient @ p < 0:
            return None, 0
        start = Line(0.0, now.x, now.value, now.gradient, float(now.gradient @ p))
        step = min(1.0, 1.0 / float(np.abs(now.gradient).sum())) if first else 1.0
        return strong_wolfe(function, start, p, step, self.c1, self.c2)

    def _reason(self, now: Iterate, then: Iterate) -> str:
        if np.abs(then.gradient).max(initial=0.0) <= self.tolerance:
            return "gradient"
        if now.value - then.value <= self.reduction * max(abs(now.value), abs(then.value), 1.0):
            return "progress"
        return "evaluations" if then.evaluations >= self.evaluations else ""


def _direction(g: Vector, pairs: Pairs) -> Vector:
    """−H g by the two-loop recursion (Nocedal & Wright, algorithm 7.4), H₀ = (s·y)/(y·y) (eq. 7.20)."""
    q, shares = g.copy(), []
    for s, y, ρ in reversed(pairs):
        shares.append(ρ * float(s @ q))
        q -= shares[-1] * y
    if pairs:
        s, y, ρ = pairs[-1]
        q *= 1.0 / (ρ * float(y @ y))
    for (s, y, ρ), share in zip(pairs, reversed(shares), strict=True):
        q += (share - ρ * float(y @ q)) * s
    return -q


def _remember(pairs: Pairs, s: Vector, y: Vector) -> None:
    """A pair without curvature would make H indefinite; the Wolfe conditions rule it out but for rounding."""
    curvature = float(s @ y)
    if curvature > np.finfo(np.float64).eps * float(y @ y):
        pairs.append((s, y, 1.0 / curvature))
