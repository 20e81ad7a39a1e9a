"""What a network of distributions has predicted, as arrays: densities that can be asked and sampled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import ShapeError

__all__ = ["PredictedMixture"]

Array = npt.NDArray[np.float64]

_MOST_STEPS = 10_000
_SETTLED = 1e-9  # of the narrowest deviation: the last step to a mode
_BETWEEN = (0.2, 0.4, 0.6, 0.8)  # of the way from one mean to another
_SAME = 1e-3  # of the narrowest deviation: modes that are this close are one


@dataclass(frozen=True, eq=False)
class PredictedMixture:
    """For each of n rows a density  p(y) = Σₘ πₘ N(y; μₘ, Σₘ)  of k numbers: what ``distribution`` of
    GaussianNLL and GaussianMixtureNLL makes of a network's output.

    log_weights    log πₘ (n, M)
    means          μₘ (n, M, k)
    factors        Aₘ (n, M, k, k), upper triangular, of the precisions Σₘ⁻¹ = AₘᵀAₘ

    >>> one = PredictedMixture(np.log([[0.5, 0.5]]), np.array([[[-2.0], [2.0]]]), np.ones((1, 2, 1, 1)))
    >>> one.mean().tolist(), one.modes()[0].round(2).tolist()
    ([[0.0]], [[-2.0], [2.0]])
    """

    log_weights: Array
    means: Array
    factors: Array

    @property
    def weights(self) -> Array:
        """πₘ (n, M)"""
        return np.exp(self.log_weights)

    @property
    def covariances(self) -> Array:
        """Σₘ (n, M, k, k)"""
        inverse: Any = np.linalg.inv(self.factors)
        found: Array = inverse @ np.swapaxes(inverse, -1, -2)
        return found

    def mean(self) -> Array:
        """Σ πₘμₘ (n, k)"""
        return np.einsum("nm,nmk->nk", self.weights, self.means)

    def covariance(self) -> Array:
        """Of the whole mixture: Σ πₘ(Σₘ + μₘμₘᵀ) − μμᵀ (n, k, k)"""
        apart = self.means - self.mean()[:, None]
        between = apart[..., :, None] * apart[..., None, :]
        found: Array = np.einsum("nm,nmij->nij", self.weights, self.covariances + between)
        return found

    def log_density(self, y: npt.ArrayLike) -> Array:
        """log p of one y for each row, (n, k) → (n,), or of several, (n, g, k) → (n, g).

        ShapeError where y has another number of rows or columns.
        """
        points, (n, _, k) = np.asarray(y, np.float64), self.means.shape
        if points.ndim not in (2, 3) or (points.shape[0], points.shape[-1]) != (n, k):
            raise ShapeError(
                f"log_density takes ({n}, {k}), or ({n}, any, {k}) for several points of each row; "
                f"got {points.shape}"
            )
        found = _log_sum(self._joint(points.reshape(n, -1, k)))
        return found if points.ndim == 3 else found[:, 0]

    def sample(self, count: int = 1, seed: int = 0) -> Array:
        """``count`` draws for each row.   → (n, count, k)"""
        rng, (n, _, k) = np.random.Generator(np.random.Philox(seed)), self.means.shape
        ends = np.cumsum(self.weights, 1)
        drawn = (rng.random((n, count, 1)) * ends[:, None, -1:] > ends[:, None]).sum(-1)
        rows = np.arange(n)[:, None]
        noise = np.linalg.solve(self.factors[rows, drawn], rng.normal(size=(n, count, k, 1)))[..., 0]
        found: Array = self.means[rows, drawn] + noise
        return found

    def modes(self) -> list[Array]:
        """The maxima of each row's density, highest first: n arrays (modes, k).

        From every μₘ, and from places between each two of them, uphill by the fixed point
        y ← (Σ rₘΣₘ⁻¹)⁻¹ Σ rₘΣₘ⁻¹μₘ  with rₘ = p(m | y)  (Carreira-Perpiñán 2000, section 2). A mode that is
        none of these ways' end is missed: where several narrow and wide components crowd, that happens.
        """
        found, kept = self._climbed()
        narrow = 1 / np.linalg.norm(self.factors, axis=(-2, -1)).max(1)
        heights = np.where(kept, self.log_density(found), -np.inf)
        return [
            _apart(found[i][order][: kept[i].sum()], _SAME * narrow[i])
            for i, order in enumerate(np.argsort(-heights, 1, kind="stable"))
        ]

    def mode(self) -> Array:
        """The y of the highest density.   → (n, k)"""
        return np.stack([found[0] for found in self.modes()])

    # ------------------------------------------------------------------ inside

    def _joint(self, y: Array) -> Array:
        """log πₘN(y; μₘ, Σₘ).   y (n, g, k) → (n, g, M)"""
        k = y.shape[-1]
        r = y[:, :, None] - self.means[:, None]
        whitened = np.einsum("nmij,ngmj->ngmi", self.factors, r)
        log_root = np.log(np.diagonal(self.factors, axis1=-2, axis2=-1)).sum(-1)
        constant = self.log_weights + log_root - 0.5 * k * math.log(2 * math.pi)
        found: Array = constant[:, None] - 0.5 * (whitened**2).sum(-1)
        return found

    def _climbed(self) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Where the ways uphill end (n, starts, k), and which ends are maxima (n, starts)."""
        first, second = np.triu_indices(self.means.shape[1], 1)
        between = [(1 - t) * self.means[:, first] + t * self.means[:, second] for t in _BETWEEN]
        y, going = np.concatenate([self.means, *between], 1), np.arange(len(self.means))
        precisions = np.swapaxes(self.factors, -1, -2) @ self.factors
        pulls = (precisions @ self.means[..., None])[..., 0]
        narrow = 1 / np.linalg.norm(self.factors, axis=(-2, -1)).max(1)
        for _ in range(_MOST_STEPS):
            part = PredictedMixture(self.log_weights[going], self.means[going], self.factors[going])
            r = part._shares(y[going])
            left = np.einsum("ngm,nmij->ngij", r, precisions[going])
            new = np.linalg.solve(left, np.einsum("ngm,nmi->ngi", r, pulls[going])[..., None])[..., 0]
            step = np.abs(new - y[going]).max((1, 2))
            y[going] = new
            going = going[step > _SETTLED * narrow[going]]
            if not going.size:
                break
        return y, self._bent_down(y, precisions)

    def _shares(self, y: Array) -> Array:
        """rₘ = p(m | y).   (n, g, k) → (n, g, M)"""
        joint = self._joint(y)
        return np.exp(joint - _log_sum(joint)[..., None])

    def _bent_down(self, y: Array, precisions: Array) -> npt.NDArray[np.bool_]:
        """Where the density bends down in every direction: not so at a saddle where a start happens to lie.
        The highest of a row always counts."""
        r = self._shares(y)
        pull = np.einsum("nmij,ngmj->ngmi", precisions, y[:, :, None] - self.means[:, None])
        bend = np.einsum("ngm,ngmi,ngmj->ngij", r, pull, pull) - np.einsum("ngm,nmij->ngij", r, precisions)
        top = np.linalg.eigvalsh(bend)[..., -1]
        heights = self.log_density(y)
        found: npt.NDArray[np.bool_] = (top < 0) | (heights >= heights.max(1, keepdims=True))
        return found


def _log_sum(x: Array) -> Array:
    top = x.max(-1, keepdims=True)
    found: Array = (top + np.log(np.exp(x - top).sum(-1, keepdims=True)))[..., 0]
    return found


def _apart(points: Array, least: Any) -> Array:
    """Those that are no nearer than ``least`` to one before them."""
    kept: list[Array] = []
    for point in points:
        if all(np.linalg.norm(point - other) > least for other in kept):
            kept.append(point)
    return np.array(kept)
