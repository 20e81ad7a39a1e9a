"""Levenberg-Marquardt: least squares by lines through the residuals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from chainrule.errors import within
from chainrule.optim.damping import Damping
from chainrule.optim.solver import Asks, Iterate, Residuals, Solver, Vector

__all__ = ["LevenbergMarquardt"]

Matrix = npt.NDArray[np.float64]
_ENOUGH = 1e-4  # of the foretold reduction, for a step to be taken
_NOISE = 16 * float(np.finfo(np.float64).eps)  # a share of ½‖r‖² that says nothing
_PART = 0.1  # of a step, from which the second derivative along it is found
_STRAIGHT = 1e-5  # a step that is shorter, as a share of x, needs no acceleration and rounding would spoil it
_MOST_TRIES = 60


@dataclass(eq=False)
class _Linear:
    """r + Jp at a point, by the singular values of J D⁻¹: U diag(σ) Vᵀ."""

    x: Vector
    r: Vector
    J: Matrix
    D: Vector

    def __post_init__(self) -> None:
        self.U, self.σ, self.Vt = np.linalg.svd(self.J / self.D, full_matrices=False)

    @property
    def value(self) -> float:
        return _half_square(self.r)

    def solve(self, r: Vector, μ: float) -> Vector:
        """p that makes ½‖r + Jp‖² + ½μ‖Dp‖² least."""
        return -(self.Vt.T @ (self.U.T @ r * _inverse(self.σ, μ))) / self.D

    def step(self, μ: float) -> Vector:
        return self.solve(self.r, μ)

    def reduction(self, μ: float) -> float:
        """How much lower ½‖r + Jp‖² is after that step: ½Σc²(1 − (μ/(σ² + μ))²)."""
        share = self.σ * _inverse(self.σ, μ)
        return 0.5 * float(np.sum((self.U.T @ self.r) ** 2 * share * (2 - share)))

    def cosine(self) -> float:
        """The largest |cos| of the angles between r and the columns of J: 0 at a minimum, whatever units."""
        sizes = _column_norms(self.J, 0.0) * np.linalg.norm(self.r)
        slopes = np.abs(self.J.T @ self.r)
        return float(np.divide(slopes, sizes, out=np.zeros_like(slopes), where=sizes > 0).max(initial=0.0))


@dataclass(frozen=True)
class LevenbergMarquardt(Solver):
    """x ← x + p,  p the least of ½‖r + Jp‖² + ½μ‖Dp‖²  for the residuals r(x), their Jacobian J, and D the
    largest norm so far of each column of J, so that the units of the parameters do not matter  (Levenberg
    1944; Marquardt 1963; D by Moré 1978, μ by Nielsen 1999). p is found by singular values, never by JᵀJ.

    damping      μ at first, in units of the squared columns of JD⁻¹, which are at most 1. Small, it begins as
                 Gauss and Newton would
    geodesic     whether a step follows the curve that r takes, to second order, at the price of one more r
                 (Transtrum & Sethna 2012, arXiv:1201.5885, h = 0.1, α = ¾): curved valleys take a third of
                 the steps
    tolerance    it stops where no column of J makes an angle with r whose |cos| is more than this
    shortest     … or where ‖Dp‖ is at most this share of ‖Dx‖

    For losses that are sums of squares: MeanSquaredError, HalfSquaredError, any
    :class:`~chainrule.losses.LeastSquares`. A step costs P products with J for P parameters, O(nP²) for n
    residuals, and n·P numbers, of which 10⁸ are the most that it takes. Use it in float64.
    ``iterates`` asks for a function x → (r, V → JV), and makes ½‖r‖² small.

    >>> import numpy as np
    >>> t = np.arange(5.0)
    >>> def fit(x):  # y = a exp(−bt)
    ...     J = np.stack([np.exp(-x[1] * t), -x[0] * t * np.exp(-x[1] * t)], 1)
    ...     return x[0] * np.exp(-x[1] * t) - 3 * np.exp(-0.5 * t), J.__matmul__
    >>> for found in LevenbergMarquardt().iterates(fit, np.array([1.0, 0.1])):
    ...     pass
    >>> found.x.round(9)
    array([3. , 0.5])
    """

    most_numbers: ClassVar[float] = 100_000_000

    damping: float = 1e-3
    geodesic: bool = True
    tolerance: float = 1e-10
    shortest: float = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, "damping", "(0, inf)")
        within(self, "tolerance", "[0, inf)")
        within(self, "shortest", "[0, inf)")

    @property
    def asks(self) -> Asks:
        return "residuals"

    def iterates(self, function: Residuals, x: Vector) -> Iterator[Iterate]:
        """See :class:`Solver`. ConfigError for a Jacobian of more than 10⁸ numbers."""
        r, product = function(x)
        self.check_size(len(x), len(r))
        if not math.isfinite(_half_square(r)):
            yield Iterate(x, math.inf, np.full(len(x), math.nan), 0.0, 1, "precision")
            return
        J = product(np.eye(len(x)))
        at, damping = _Linear(x, r, J, _column_norms(J)), Damping(self.damping)
        now = Iterate(x, at.value, J.T @ r, 0.0, 1, "gradient" if at.cosine() <= self.tolerance else "")
        if now.stopped:
            yield now
        while not now.stopped:
            at, now = self._next(function, at, now, damping)
            yield now

    def _next(
        self, function: Residuals, at: _Linear, now: Iterate, damping: Damping
    ) -> tuple[_Linear, Iterate]:
        used = now.evaluations
        for _ in range(_MOST_TRIES):
            μ = damping.strength
            p, foretold = at.step(μ), at.reduction(μ)
            length = float(np.linalg.norm(at.D * p) / (np.linalg.norm(at.D * at.x) or 1.0))
            if self.geodesic and length > _STRAIGHT:
                used += 1
                bend = _bend(function, at, p, μ)
                if bend is None:  # the line is no guide as far as that
                    damping.failed()
                    continue
                p = p + bend
            r, product = function(at.x + p)
            used += 1
            ratio = _ratio(at, r, foretold)
            J = product(np.eye(len(p))) if ratio > _ENOUGH else at.J
            if ratio > _ENOUGH and np.isfinite(J).all() and not _lost(at, r, J, foretold):
                damping.succeeded(ratio)
                then = _Linear(at.x + p, r, J, np.maximum(at.D, _column_norms(J, 0.0)))
                reason = "progress" if length <= self.shortest else ""
                reason = "gradient" if then.cosine() <= self.tolerance else reason
                return then, Iterate(then.x, then.value, J.T @ r, 1.0, used, reason)
            if length <= self.shortest:
                return at, replace(now, step=0.0, evaluations=used, stopped="progress")
            damping.failed()
        return at, replace(now, step=0.0, evaluations=used, stopped="precision")


def _bend(function: Residuals, at: _Linear, p: Vector, μ: float) -> Vector | None:
    """½a, half the geodesic acceleration: what the second derivative of r along p adds to the step; None
    where it is more than ⅜ of p, too much for a small correction  (Transtrum & Sethna 2012, eq. 15)."""
    r, _ = function(at.x + _PART * p)
    if not np.isfinite(r).all():
        return None
    second = 2 / _PART * ((r - at.r) / _PART - at.J @ p)
    half = 0.5 * at.solve(second, μ)
    small = np.linalg.norm(at.D * half) <= 0.375 * np.linalg.norm(at.D * p)
    return half if small else None


def _half_square(r: Vector) -> float:
    """½‖r‖², which may be infinite."""
    with np.errstate(over="ignore"):
        return 0.5 * float(r @ r)


def _inverse(σ: Vector, μ: float) -> Vector:
    """σ/(σ² + μ); 0 where both are 0."""
    below = σ**2 + μ
    return np.divide(σ, below, out=np.zeros_like(σ), where=below > 0)


def _column_norms(J: Matrix, otherwise: float = 1.0) -> Vector:
    largest = np.abs(J).max(axis=0, initial=0.0)  # so that squares neither overflow nor vanish
    safe = np.where(largest > 0, largest, 1.0)
    return np.where(largest > 0, safe * np.linalg.norm(J / safe, axis=0), otherwise)


def _ratio(at: _Linear, r: Vector, foretold: float) -> float:
    """How much of the foretold reduction of ½‖r‖² came; 1 where rounding hides it."""
    if not math.isfinite(_half_square(r)) or not foretold > 0:
        return 0.0
    came = 0.5 * float((at.r - r) @ (at.r + r))  # a difference of squares keeps its digits
    return 1.0 if max(foretold, abs(came)) <= _NOISE * at.value else came / foretold


def _lost(at: _Linear, r: Vector, J: Matrix, foretold: float) -> bool:
    """Where ½‖r‖² cannot tell, whether the slopes have not become less."""
    if foretold > _NOISE * at.value:
        return False
    return bool(np.linalg.norm(J.T @ r / at.D) >= np.linalg.norm(at.J.T @ at.r / at.D))
