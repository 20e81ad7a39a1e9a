"""Toys: data made from a formula, small enough to draw and hard enough to need a hidden layer.

Row i belongs to class i mod classes, so that any stretch of rows holds the classes in equal parts: nothing
has to be shuffled before it is split. Coordinates are float32, classes int32.

The same arguments give the same numbers in every NumPy version: NumPy promises that for the raw bits of its
Philox generator, not for its ``Generator.normal``, so the step from bits to numbers is made here. (The last
bit may differ between machines whose ``log`` or ``cos`` round differently.)
"""

from __future__ import annotations

import math
import operator

import numpy as np
import numpy.typing as npt

from chainrule.errors import ConfigError

__all__ = ["blobs", "circles", "moons", "sines", "spirals", "xor"]

Rows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]
Draws = npt.NDArray[np.float64]


def xor(n: int = 400, noise: float = 0.1, seed: int = 0) -> tuple[Rows, Labels]:
    """Exclusive or: the corners (a, b) of the unit square, y = a ⊕ b.    x (n, 2), y (n,) in {0, 1}

    x = (a, b) + noise · N(0, 1). No line separates the classes. Four rows without noise are the truth table:

    >>> x, y = xor(4, noise=0)
    >>> x
    array([[0., 0.],
           [0., 1.],
           [1., 0.],
           [1., 1.]], dtype=float32)
    >>> y
    array([0, 1, 1, 0], dtype=int32)
    """
    n, draw = _count(n), _Draw(seed)
    corner = np.arange(n) % 4
    a, b = corner // 2, corner % 2
    return _blurred(np.stack([a, b], axis=1), noise, draw), (a ^ b).astype(np.int32)


def spirals(
    n: int = 400, classes: int = 2, turns: float = 1.0, noise: float = 0.03, seed: int = 0
) -> tuple[Rows, Labels]:
    """Arms of a spiral around the origin, one a class.    x (n, 2), y (n,) in 0 … classes − 1

    x = r (cos φ, sin φ) + noise · N(0, 1) with φ = 2π (turns · r + y / classes) and r = √U(0, 1), so that the
    points lie about evenly along an arm.

    >>> x, y = spirals(6, classes=3, noise=0)
    >>> y
    array([0, 1, 2, 0, 1, 2], dtype=int32)
    >>> bool(np.all(np.hypot(x[:, 0], x[:, 1]) <= 1))
    True
    """
    n, classes, draw = _count(n), _count(classes, "classes"), _Draw(seed)
    y = np.arange(n) % classes
    r = np.sqrt(draw.uniform(n))
    return _blurred(_polar(r, _finite(turns, "turns") * r + y / classes), noise, draw), y.astype(np.int32)


def circles(n: int = 400, factor: float = 0.5, noise: float = 0.05, seed: int = 0) -> tuple[Rows, Labels]:
    """A circle inside a circle, radii 1 (class 0) and ``factor`` (class 1).    x (n, 2), y (n,) in {0, 1}

    x = r (cos φ, sin φ) + noise · N(0, 1) with φ = 2π U(0, 1).

    >>> x, y = circles(4, factor=0.25, noise=0)
    >>> np.hypot(x[:, 0], x[:, 1])
    array([1.  , 0.25, 1.  , 0.25], dtype=float32)
    """
    n, draw = _count(n), _Draw(seed)
    y = np.arange(n) % 2
    r = np.where(y == 0, 1.0, _finite(factor, "factor"))
    return _blurred(_polar(r, draw.uniform(n)), noise, draw), y.astype(np.int32)


def moons(n: int = 400, noise: float = 0.1, seed: int = 0) -> tuple[Rows, Labels]:
    """Two half circles that reach into each other.    x (n, 2), y (n,) in {0, 1}

    x = (cos φ, sin φ) + noise · N(0, 1) for class 0, (1 − cos φ, ½ − sin φ) + noise · N(0, 1) for class 1,
    with φ = π U(0, 1).

    >>> x, y = moons(100, noise=0)
    >>> bool(np.all(x[y == 0, 1] >= 0)), bool(np.all(x[y == 1, 1] <= 0.5))
    (True, True)
    """
    n, draw = _count(n), _Draw(seed)
    y = np.arange(n) % 2
    upper = _polar(np.ones(n), draw.uniform(n) / 2)
    points = np.where(y[:, None] == 0, upper, np.array([1.0, 0.5]) - upper)
    return _blurred(points, noise, draw), y.astype(np.int32)


def blobs(
    n: int = 400, classes: int = 3, features: int = 2, spread: float = 1.0, box: float = 10.0, seed: int = 0
) -> tuple[Rows, Labels]:
    """Clouds around random centres, one a class.    x (n, features), y (n,) in 0 … classes − 1

    x = c_y + spread · N(0, 1) with every coordinate of the centres c from U(−box, box).

    >>> x, y = blobs(5, classes=5, features=7)
    >>> x.shape, y
    ((5, 7), array([0, 1, 2, 3, 4], dtype=int32))
    """
    n, classes, draw = _count(n), _count(classes, "classes"), _Draw(seed)
    y = np.arange(n) % classes
    centres = _finite(box, "box") * (2 * draw.uniform(classes, _count(features, "features")) - 1)
    return _blurred(centres[y], spread, draw, "spread"), y.astype(np.int32)


def sines(n: int = 200, noise: float = 0.1, periods: float = 1.0, seed: int = 0) -> tuple[Rows, Rows]:
    """A sine to fit: y = sin x + noise · N(0, 1), x from U(−π, π) · periods.    x (n, 1), y (n, 1)

    >>> x, y = sines(50, noise=0)
    >>> bool(np.allclose(y, np.sin(x), atol=1e-6))
    True
    """
    n, draw = _count(n), _Draw(seed)
    x = math.pi * _finite(periods, "periods") * (2 * draw.uniform(n, 1) - 1)
    return x.astype(np.float32), _blurred(np.sin(x), noise, draw)


class _Draw:
    """Random numbers from the raw bits of Philox4x64-10 (Salmon et al. 2011), keyed by the seed."""

    def __init__(self, seed: int) -> None:
        key = operator.index(seed)
        if not 0 <= key < 2**64:
            raise ConfigError(f"seed={seed}; give a whole number from 0 to 2⁶⁴ − 1")
        self._bits = np.random.Philox(key=key)

    def uniform(self, *shape: int) -> Draws:
        """From [0, 1): the upper 53 bits of 64."""
        raw = self._bits.random_raw(math.prod(shape))
        return (raw >> np.uint64(11)).reshape(shape).astype(np.float64) * 2.0**-53

    def normal(self, *shape: int) -> Draws:
        """Mean 0, variance 1 (Box & Muller 1958): √(−2 ln u) cos 2πv with u from (0, 1]."""
        u, v = 1 - self.uniform(*shape), self.uniform(*shape)
        return np.sqrt(-2 * np.log(u)) * np.cos(2 * math.pi * v)


def _polar(r: Draws, turn: Draws) -> Draws:
    """Points at distance r, ``turn`` times around: (n, 2)."""
    return np.stack([r * np.cos(2 * math.pi * turn), r * np.sin(2 * math.pi * turn)], axis=1)


def _blurred(points: npt.NDArray, noise: float, draw: _Draw, name: str = "noise") -> Rows:
    if not 0 <= noise < math.inf:
        raise ConfigError(f"{name}={noise}; give a standard deviation of 0 or more")
    return (points + noise * draw.normal(*points.shape)).astype(np.float32)


def _count(value: int, name: str = "n") -> int:
    if (count := operator.index(value)) < 1:
        raise ConfigError(f"{name}={value}; give 1 or more")
    return count


def _finite(value: float, name: str) -> float:
    if not math.isfinite(value):
        raise ConfigError(f"{name}={value}; give a finite number")
    return value
