"""Newton's method: a quadratic model of the function, and the step to where it is least."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from chainrule.errors import within
from chainrule.optim.damping import Damping
from chainrule.optim.solver import Asks, Curved, Iterate, Product, Solver, Vector, begin

__all__ = ["Newton"]

_ENOUGH = 1e-4  # of the foretold reduction, for a step to be taken
_NOISE = 16 * float(np.finfo(np.float64).eps)  # of a value, that says nothing
_MOST_TRIES = 60


@dataclass(frozen=True, eq=False)
class _Model:
    """f(x) + gᵀp + ½pᵀHp, in the basis of the eigenvectors of H."""

    eigenvalues: Vector  # ascending
    vectors: npt.NDArray[np.float64]
    slopes: Vector  # Qᵀg

    def step(self, divisors: Vector) -> Vector:
        """p = −Q (Qᵀg)/d, without what d = 0 would divide."""
        safe = np.where(divisors == 0, 1.0, divisors)
        return -(self.vectors @ np.where(divisors == 0, 0.0, self.slopes / safe))

    def reduction(self, divisors: Vector) -> float:
        """How much lower the model is after that step."""
        share = self.slopes**2 / divisors
        return float(np.sum(share - 0.5 * self.eigenvalues * share / divisors))


@dataclass(frozen=True)
class Newton(Solver):
    """x ← x − (H + μI)⁻¹∇f,  H = ∇²f by its eigenvalues and eigenvectors  (Nocedal & Wright 2006, sec. 3.4).

    damping       μ ≥ 0. At first, where it is adaptive; else at every step, so that 0 is the plain method,
                  which is drawn to saddles and maxima as well
    saddle_free   |H|, with the absolute eigenvalues, in the place of H: negative curvature is left, not
                  approached  (Dauphin et al. 2014, arXiv:1406.2572, algorithm 1)
    adaptive      μ grows until a step lowers f, and at least until H + μI has no negative eigenvalue; it
                  falls after steps that lower f as much as the model says (Nielsen 1999)
    tolerance     it stops where max |∇f| is at most this

    A step costs P products with H for P parameters and then O(P³), so 2,000 parameters are the most that it
    takes. ``iterates`` asks for a function x → (f, ∇f, V → HV).

    >>> import numpy as np
    >>> H = np.array([[3.0, 1.0], [1.0, 2.0]])
    >>> steps = Newton(damping=0.0).iterates(lambda x: (x @ H @ x / 2, H @ x, H.__matmul__), np.ones(2))
    >>> [(float(np.abs(s.x).max().round(9)), s.stopped) for s in steps]
    [(0.0, 'gradient')]
    """

    most_parameters: ClassVar[float] = 2_000

    damping: float = 1e-3
    saddle_free: bool = False
    adaptive: bool = True
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, "damping", "[0, inf)")
        within(self, "tolerance", "[0, inf)")

    @property
    def asks(self) -> Asks:
        return "hessian"

    def iterates(self, function: Curved, x: Vector) -> Iterator[Iterate]:
        """See :class:`Solver`. ConfigError for more parameters than 2,000."""
        self.check_size(len(x))
        value, g, product = function(x)
        now, damping = begin(x, value, g, self.tolerance), Damping(self.damping)
        if now.stopped:
            yield now
        while not now.stopped:
            now, product = self._next(function, now, _model(now.gradient, product), damping)
            yield now

    def _next(
        self, function: Curved, now: Iterate, model: _Model, damping: Damping
    ) -> tuple[Iterate, Product]:
        """The next point, and the curvature there; the same point where there is none."""
        used = now.evaluations
        largest = float(np.abs(model.eigenvalues).max())
        for _ in range(_MOST_TRIES if self.adaptive else 1):
            divisors = self._divisors(model, damping.strength, largest)
            p = model.step(divisors)
            value, g, product = function(now.x + p)
            used += 1
            ratio = self._ratio(now, value, g, model.reduction(divisors)) if self.adaptive else 1.0
            if math.isfinite(value) and np.isfinite(g).all() and ratio > _ENOUGH:
                if self.adaptive:
                    damping.succeeded(ratio)
                then = begin(now.x + p, value, g, self.tolerance)
                return replace(then, step=1.0, evaluations=used), product
            damping.failed(1e-6 * largest)
        return replace(now, step=0.0, evaluations=used, stopped="precision"), product

    def _divisors(self, model: _Model, μ: float, largest: float) -> Vector:
        """What the slope along each eigenvector is divided by."""
        λ = np.abs(model.eigenvalues) if self.saddle_free else model.eigenvalues
        if not self.adaptive:
            return λ + μ
        least = float(np.finfo(np.float64).eps) * max(largest, 1e-300)
        return λ + max(μ, least, μ - 2 * float(λ[0]) if λ[0] < 0 else 0.0)

    @staticmethod
    def _ratio(now: Iterate, value: float, g: Vector, foretold: float) -> float:
        """How much of the foretold reduction came; where f cannot tell, by whether the slopes are less."""
        noise = _NOISE * max(abs(now.value), abs(value))
        if foretold <= noise and abs(now.value - value) <= noise:
            return 1.0 if np.linalg.norm(g) < np.linalg.norm(now.gradient) else 0.0
        return (now.value - value) / foretold if foretold > 0 else 0.0


def _model(g: Vector, product: Product) -> _Model:
    H = product(np.eye(len(g)))
    eigenvalues, vectors = np.linalg.eigh(0.5 * (H + H.T))
    return _Model(eigenvalues, vectors, vectors.T @ g)
