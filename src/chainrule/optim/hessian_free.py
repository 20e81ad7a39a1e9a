"""Hessian-free optimization: Newton's step by conjugate gradients, from products with the curvature alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from chainrule.errors import ConfigError, within
from chainrule.optim.solver import Asks, Curved, Iterate, Product, Solver, Vector, begin

__all__ = ["HessianFree"]

_SPACING = 1.3  # every ⌈1.3ʲ⌉th point of the conjugate gradients may become the step
_KEPT = 0.95  # of the last step, with which the next conjugate gradients begin
_SHRINK, _TRIES = 0.8, 60  # of the line search
_DAMPENED = 20  # times that damping is raised before the solver gives up


Found = tuple[float, Vector, Product]  # what the function gives


@dataclass(frozen=True, eq=False)
class _Point:
    """A point of the conjugate gradients: the step, and the model there, gᵀp + ½pᵀ(B + λI)p."""

    p: Vector
    model: float


@dataclass(frozen=True)
class HessianFree(Solver):
    """x ← x + αp,  p about −(B + λI)⁻¹∇f by conjugate gradients  (Martens 2010, algorithm 2).

    curvature    B: "gauss_newton", JᵀH_LJ with the Jacobian J of the network's outputs and the Hessian H_L
                 of the loss in them, never negative for a convex loss; or "hessian"
    damping      λ at first. λ ← 3/2 λ after a step with ρ < ¼, 2/3 λ with ρ > ¾, where ρ is the reduction
                 of f over that of its quadratic model (section 4.1)
    iterations   of the conjugate gradients, at most. They end where the last k = max(10, i/10) of i lowered
                 the model by less than the share k·precision of it (section 4.4), or where B + λI is not
                 positive; they begin with 0.95 of the last step (section 4.5)
    precision    see above
    c1           the first Wolfe condition, which a backtracking line search sees to
    tolerance    it stops where max |∇f| is at most this
    reduction    … and where a step lowers f by less than this share of max(|f|, 1)

    From the last point of the conjugate gradients it goes back as long as f falls (section 4.6). A product
    costs about two gradients; there is no Hessian, so that networks of any size can be trained. Curvature is
    that of all rows; the paper takes a part of them, and preconditions.
    ``iterates`` asks for a function x → (f, ∇f, V → BV).

    >>> import numpy as np
    >>> H = np.diag([1.0, 100.0])
    >>> solver = HessianFree(damping=1e-6)
    >>> for found in solver.iterates(lambda x: (x @ H @ x / 2, H @ x, H.__matmul__), np.ones(2)):
    ...     pass
    >>> found.stopped, bool(np.abs(found.x).max() < 1e-6)
    ('gradient', True)
    """

    curvature: Literal["gauss_newton", "hessian"] = "gauss_newton"
    damping: float = 1.0
    iterations: int = 250
    precision: float = 5e-4
    c1: float = 1e-2
    tolerance: float = 1e-5
    reduction: float = 2.22e-9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.curvature not in ("gauss_newton", "hessian"):
            raise ConfigError(
                f"HessianFree: curvature is {self.curvature!r}; it must be 'gauss_newton' or 'hessian'"
            )
        within(self, "damping", "(0, inf)")
        within(self, "iterations", "[1, inf)", whole=True)
        within(self, "precision", "(0, 1)")
        within(self, "c1", "(0, 0.5)")
        within(self, "tolerance", "[0, inf)")
        within(self, "reduction", "[0, inf)")

    @property
    def asks(self) -> Asks:
        return self.curvature

    def iterates(self, function: Curved, x: Vector) -> Iterator[Iterate]:
        """See :class:`Solver`."""
        value, g, product = function(x)
        now, λ, last = begin(x, value, g, self.tolerance), self.damping, np.zeros_like(x)
        if now.stopped:
            yield now
        while not now.stopped:
            now, product, λ, last = self._next(function, now, product, λ, last)
            yield now

    def _next(
        self, function: Curved, now: Iterate, product: Product, λ: float, last: Vector
    ) -> tuple[Iterate, Product, float, Vector]:
        """The next point, the curvature there, the next λ, and where the conjugate gradients ended."""
        used = now.evaluations
        for _ in range(_DAMPENED):
            points, products = self._conjugate(now.gradient, product, λ, _KEPT * last)
            best, found, tried = _least(function, now, points)
            step, found, searched = self._search(function, now, best.p, found)
            used += products + tried + searched
            if step:
                value, g, product = found
                model = best.model - 0.5 * λ * float(best.p @ best.p)  # of f itself, without the damping
                ρ = (value - now.value) / model if step == 1 and model < 0 else 0.0
                λ *= 3 / 2 if ρ < 0.25 else 2 / 3 if ρ > 0.75 else 1.0
                then = begin(now.x + step * best.p, value, g, self.tolerance)
                small = now.value - value <= self.reduction * max(abs(now.value), abs(value), 1.0)
                reason = then.stopped or ("progress" if small else "")
                return replace(then, step=step, evaluations=used, stopped=reason), product, λ, points[-1].p
            λ, last = 4 * λ, np.zeros_like(last)
        return replace(now, step=0.0, evaluations=used, stopped="precision"), product, λ, last

    def _conjugate(self, g: Vector, product: Product, λ: float, p: Vector) -> tuple[list[_Point], int]:
        """Points on the way to where gᵀp + ½pᵀ(B + λI)p is least, from p on; how many products it took."""
        products = int(p.any())
        r = product(p) + λ * p + g if products else g  # the model's gradient
        d, square = -r, float(r @ r)
        models, points = [0.5 * float(p @ (r + g))], list[_Point]()
        for i in range(1, self.iterations + 1):
            Ad = product(d) + λ * d
            products += 1
            bend = float(d @ Ad)
            if not bend > 0:  # negative curvature, or nothing left to do
                if not p.any():
                    p, models = d, [float(g @ d) + 0.5 * bend]
                break
            α = square / bend
            p, r = p + α * d, r + α * Ad
            models.append(0.5 * float(p @ (r + g)))
            if _settled(models, self.precision):
                break
            if i >= _SPACING ** len(points):
                points.append(_Point(p, models[-1]))
            square, before = float(r @ r), square
            d = square / before * d - r
        if not points or points[-1].p is not p:
            points.append(_Point(p, models[-1]))
        return points, products

    def _search(self, function: Curved, now: Iterate, p: Vector, found: Found) -> tuple[float, Found, int]:
        """The largest α = 0.8ᵏ with f(x + αp) ≤ f(x) + c₁α∇fᵀp, or 0; what the function gives there, known
        for α = 1; and how many more values that took."""
        slope, α = float(now.gradient @ p), 1.0
        for tried in range(_TRIES if slope < 0 else 0):
            value, g, _ = found
            if math.isfinite(value) and np.isfinite(g).all() and value <= now.value + self.c1 * α * slope:
                return α, found, tried
            α *= _SHRINK
            found = function(now.x + α * p)
        return 0.0, found, _TRIES if slope < 0 else 0


def _settled(models: list[float], precision: float) -> bool:
    """Whether the last k steps have lowered the model by less than the share k·precision of it."""
    i = len(models) - 1
    k = max(10, i // 10)
    return i > k and models[-1] < 0 and (models[-1] - models[-1 - k]) / models[-1] < k * precision


def _least(function: Curved, now: Iterate, points: list[_Point]) -> tuple[_Point, Found, int]:
    """Back from the last point as long as f falls; what is found there, and how often f was asked."""
    best, found = points[-1], function(now.x + points[-1].p)
    for tried, point in enumerate(reversed(points[:-1]), 2):
        earlier = function(now.x + point.p)
        if not earlier[0] <= found[0] and math.isfinite(found[0]):
            return best, found, tried
        best, found = point, earlier
    return best, found, len(points)
