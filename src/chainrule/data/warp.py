"""Moves the pixels of many small images at once: where each output pixel comes from, and what lies there.

The output at u (pixels from the centre) shows the input at  M u − shift + d(u):  an affine map and a field.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import ConfigError

__all__ = ["RMS", "Workspace", "bilinear", "elastic_field", "inverse_affine", "source", "spline_weights"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.floating]

_UNIT = 4096  # spline weights are multiples of 1/4096
_HALF = 1024  # what the values between the two directions are rounded to

RMS = math.sqrt((256**2 - 1) / 3) * (151 / 315) * (_UNIT / _HALF) * _UNIT
"""The root mean square of ``elastic_field``: of the controls, times Σ weight² = 151/315 each way."""


class Workspace:
    """Arrays by name that serve again for the next images: fresh memory costs as much as the arithmetic does.

    What one call returns is overwritten by the next of the same name. New memory is zero.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, np.dtype], Array] = {}

    def __call__(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Array:
        size, key = math.prod(shape), (name, np.dtype(dtype))
        if key not in self._kept or self._kept[key].size < size:
            self._kept[key] = np.zeros(size, dtype)
        return self._kept[key][:size].reshape(shape)


def inverse_affine(rotate: Array, scale: Array, shear: Array) -> Floats:
    """The matrices that take an output pixel to its source:  M = (R·K·S)⁻¹ = S⁻¹·K⁻¹·R⁻¹.

    rotate (n,) in degrees, counter-clockwise; scale (n, 2) ratios of height and width; shear (n,) pixels to
    the right for each pixel upwards → (n, 2, 2) in the order (y, x), y pointing down.
    """
    angle = np.radians(rotate)
    cos, sin = np.cos(angle), np.sin(angle)
    rows = np.stack([np.stack([cos, sin], -1), np.stack([shear * cos - sin, cos + shear * sin], -1)], -2)
    return rows / scale[:, :, None]


def source(matrix: Array, shift: Array, height: int, width: int, space: Workspace) -> tuple[Floats, Floats]:
    """Where every output pixel comes from.   matrix (n, 2, 2), shift (n, 2) → y and x (n, height, width)."""
    v = np.arange(height) - (height - 1) / 2
    u = np.arange(width) - (width - 1) / 2
    found = []
    for axis, centre in enumerate(((height - 1) / 2, (width - 1) / 2)):
        down = (matrix[:, axis, 0, None] * v).astype(np.float32)
        across = (matrix[:, axis, 1, None] * u + (centre - shift[:, axis, None])).astype(np.float32)
        along = space(f"source {axis}", (len(matrix), height, width))
        found.append(np.add(down[:, :, None], across[:, None, :], out=along))
    return found[0], found[1]


@functools.lru_cache(maxsize=16)
def spline_weights(length: int, spacing: float) -> Floats:
    """Cubic B-spline weights of control points ``spacing`` pixels apart.   → (controls, length), in 1/4096.

    The control points are centred on the image; those just outside it count too.
    """
    place = (np.arange(length) - (length - 1) / 2) / spacing
    control = np.arange(math.floor(place[0]) - 1, math.floor(place[-1]) + 3)
    t = np.abs(place - control[:, None])
    inner = 2 / 3 - t**2 + t**3 / 2
    outer = np.maximum(2 - t, 0) ** 3 / 6
    weights = np.rint(_UNIT * np.where(t < 1, inner, outer)).astype(np.float32)
    weights.setflags(write=False)
    return weights


def elastic_field(controls: Array, down: Floats, across: Floats, space: Workspace) -> Floats:
    """A smooth random field from a coarse grid.   controls (n, columns, rows), bytes → (n, height, width).

    Every product and sum is a whole number below 2²⁴, so float32 holds it exactly: the bits depend neither on
    the order in which a matrix product adds, nor on the machine, nor on the number of rows at a time.
    """
    n, columns, _ = controls.shape
    height, width = down.shape[1], across.shape[1]
    signed = np.float32(2) * controls.astype(np.float32) - np.float32(255)
    # Image by image: BLAS would share larger products among threads of its own, which training needs.
    tall = np.matmul(signed, down, out=space("tall", (n, columns, height)))
    tall *= np.float32(1 / _HALF)  # below 1026
    half = space("half", (n, height, columns))
    np.rint(tall.transpose(0, 2, 1), out=half)
    return np.matmul(half, across, out=space("field", (n, height, width)))


def bilinear(images: Array, y: Floats, x: Floats, space: Workspace) -> Floats:
    """The images at real-valued places, zero outside.   images (n, h, w, c), y and x (n, h, w) → (n, h, w, c)

    float64 images give float64, all others float32. ``y`` and ``x`` are used up.
    """
    n, height, width, channels = images.shape
    tall, wide = height + 2, width + 2  # a border of zeros on every side
    if n * tall * wide > 1 << 24:  # the last whole number up to which float32 counts
        raise ConfigError(f"{n} images of {height} × {width} are too many pixels at once; the limit is 2²⁴")
    dtype = np.result_type(images.dtype, np.float32)
    place = _places(y, x, tall, wide, space)
    table = space("table", (n * tall * wide + wide + 1,), dtype)
    bordered = table[: n * tall * wide].reshape(n, tall, wide)
    result = space("result", images.shape, dtype)
    for channel in range(channels):
        bordered[:, 1:-1, 1:-1] = images[..., channel]
        top = _between(table, place, x, space, "top")
        bottom = _between(table[wide:], place, x, space, "bottom")
        result[..., channel] = _towards(top, bottom, y)
    return result


def _places(y: Floats, x: Floats, tall: int, wide: int, space: Workspace) -> npt.NDArray[np.intp]:
    """Where the pixel above and left lies in the bordered images end to end; y and x keep the fractions."""
    above, left = space("top", y.shape, y.dtype), space("bottom", x.shape, x.dtype)
    for along, size, whole in ((y, tall, above), (x, wide, left)):
        along += np.float32(1)
        np.clip(along, 0, size - 1, out=along)
        np.floor(along, out=whole)
        along -= whole
    above *= np.float32(wide)
    above += left
    above += (np.arange(len(y)) * (tall * wide)).astype(np.float32)[:, None, None]
    place = space("place", y.shape, np.intp)
    np.copyto(place, above, casting="unsafe")
    return place


def _between(table: Floats, place: npt.NDArray[np.intp], x: Floats, space: Workspace, name: str) -> Floats:
    left = table.take(place, mode="clip", out=space(name, place.shape, table.dtype))
    right = table[1:].take(place, mode="clip", out=space("right", place.shape, table.dtype))
    return _towards(left, right, x)


def _towards(a: Floats, b: Floats, fraction: Floats) -> Floats:
    """(1 − f)·a + f·b in the place of a, written so that f = 0 gives a itself."""
    b -= a
    b *= fraction
    a += b
    return a
