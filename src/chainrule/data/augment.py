"""Augmentation: every epoch sees each image shifted, turned, stretched and bent a little differently."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data.warp import (
    RMS,
    Workspace,
    bilinear,
    elastic_field,
    inverse_affine,
    source,
    spline_weights,
)
from chainrule.errors import ConfigError, DataError, DTypeError
from chainrule.ops.random import path_key, philox

__all__ = ["Augment"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.floating]
Rows = npt.NDArray[np.uint64]

_PIXELS_AT_ONCE = 100_000  # few enough for the processor's cache, enough to hide Python's own time
_AFFINE_WORDS = 6  # two shifts, an angle, two scales, a shear
_PURPOSES = {"geometry": 0, "noise": 1}


@dataclass(frozen=True)
class Augment:
    """Random small deformations of images.    x (n, …) of h·w·c pixels each → the same shape and dtype.

    An image is turned, sheared, stretched and shifted, then bent by a smooth random field; it is bilinear
    between pixels and zero outside. Amounts are drawn evenly between minus and plus their limit; zero
    leaves one out. The result follows from the image and (seed, epoch, row), not from threads or other rows.

    shift: pixels, up and down and sideways.
    rotate: degrees.
    scale: ratio; 0.1 makes height and width, each for itself, up to 1.1 times larger or smaller.
    shear: ratio; 0.1 slants upright lines by up to 0.1 pixel sideways for each pixel of height.
    elastic: pixels; root of the mean squared displacement in each direction.
    elastic_smoothing: pixels; the standard deviation σ of what smooths the random field. Simard's Gaussian is
        replaced by cubic B-splines √3·σ apart: the same standard deviation, far fewer random numbers.
    noise: standard deviation as a share of the full range, which is 255 for uint8 and 1 for floats.

    Simard, Steinkraus & Platt 2003, section 2 (their σ = 4, α = 34 displace by 1.4 pixels); Cireşan, Meier,
    Gambardella & Schmidhuber 2010, arXiv:1003.0358. The defaults suit handwritten digits of 28 × 28.

    >>> digits = np.zeros((5, 784), np.uint8)
    >>> Augment(rotate=15)(digits, seed=0, epoch=3).shape
    (5, 784)
    """

    shift: float = 1.0
    rotate: float = 10.0
    scale: float = 0.1
    shear: float = 0.1
    elastic: float = 1.0
    elastic_smoothing: float = 4.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ConfigError(f"Augment: {field.name} is a finite number, 0 or more, got {value!r}")
        if self.elastic and self.elastic_smoothing < 1:
            raise ConfigError(
                f"Augment: elastic_smoothing is at least 1 (pixel), got {self.elastic_smoothing}"
            )

    def __call__(
        self,
        x: Array,
        image_shape: tuple[int, ...] | None = None,
        seed: int = 0,
        epoch: int = 0,
        threads: int = 1,
        first: int = 0,
    ) -> Array:
        """A new array.

        image_shape: (height, width) or (height, width, channels); None takes it from x (n, height, width, …),
            or a square of grey pixels from x (n, side²).
        first: the row number of ``x[0]``, for data that come in pieces.
        """
        images = _as_images(x, image_shape)
        out = np.empty(images.shape, images.dtype)
        step = max(1, _PIXELS_AT_ONCE // (images.shape[1] * images.shape[2]))
        starts = range(0, len(images), step)
        if not 0 <= epoch < 1 << 32 or not 0 <= first < (1 << 32) - len(images):
            raise ConfigError(
                f"Augment: epoch and rows lie in [0, 2³²), got epoch {epoch} and first row {first}"
            )

        def work(mine: range) -> None:
            space = Workspace()
            for start in mine:
                some = images[start : start + step]
                rows = np.arange(first + start, first + start + len(some), dtype=np.uint64)
                moved = self._moved(some, seed, epoch, rows, space)
                np.copyto(out[start : start + step], moved, casting="unsafe")

        threads = min(threads, len(starts))
        if threads <= 1:
            work(starts)
        else:
            from concurrent.futures import ThreadPoolExecutor  # brings logging: 4 ms at import

            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(work, [starts[i::threads] for i in range(threads)]))
        return out.reshape(x.shape)

    def _moved(self, images: Array, seed: int, epoch: int, rows: Rows, space: Workspace) -> Array:
        """Images few enough for the cache, deformed; whole numbers from 0 to 255 if they are uint8."""
        moved = images
        if any((self.shift, self.rotate, self.scale, self.shear, self.elastic)):
            moved = bilinear(images, *self._source(images, seed, epoch, rows, space), space)
        whole = images.dtype == np.uint8
        if self.noise:
            std = np.float32(self.noise * 255 if whole else self.noise)
            moved = moved + std * _normal(seed, epoch, rows, moved[0].size).reshape(moved.shape)
            if whole:
                np.clip(moved, 0, 255, out=moved)
        return np.rint(moved, out=moved) if whole and moved is not images else moved

    def _source(
        self, images: Array, seed: int, epoch: int, rows: Rows, space: Workspace
    ) -> tuple[Floats, Floats]:
        n, height, width, _ = images.shape
        spacing = math.sqrt(3) * self.elastic_smoothing
        down, across = spline_weights(height, spacing), spline_weights(width, spacing)
        controls = 2 * len(down) * len(across) if self.elastic else 0
        words = _words(seed, epoch, rows, _AFFINE_WORDS + -(-controls // 4), "geometry")
        even = words[:, :_AFFINE_WORDS] * 2.0**-31 - 1  # U[−1, 1)
        scale = (1 + self.scale) ** even[:, 3:5]
        matrix = inverse_affine(self.rotate * even[:, 2], scale, self.shear * even[:, 5])
        y, x = source(matrix, self.shift * even[:, :2], height, width, space)
        if self.elastic:
            drawn = words[:, _AFFINE_WORDS:].astype("<u4").view(np.uint8)[:, :controls]
            field = elastic_field(drawn.reshape(2 * n, len(across), len(down)), down, across, space)
            field *= np.float32(self.elastic / RMS)
            y += field[0::2]
            x += field[1::2]
        return y, x


def _as_images(x: Array, image_shape: tuple[int, ...] | None) -> Array:
    """(n, height, width, channels), a view."""
    if image_shape is None:
        side = math.isqrt(x.size // max(1, len(x)))
        if x.ndim == 2 and x.shape[1] != side**2:
            raise DataError(
                f"Augment: rows of {x.shape[1]} values are no square of pixels; give image_shape, or x as "
                "(n, height, width, channels) to a network that begins with Flatten()"
            )
        image_shape = (side, side) if x.ndim == 2 else x.shape[1:]
    if len(image_shape) not in (2, 3) or min(image_shape) < 1:
        raise ConfigError(f"Augment: image_shape is (height, width[, channels]), got {image_shape}")
    if x.dtype not in (np.uint8, np.float32, np.float64):
        raise DTypeError(f"Augment: images are uint8, float32 or float64, not {x.dtype}; convert them first")
    if x.ndim < 2 or math.prod(x.shape[1:]) != math.prod(image_shape):
        raise DataError(
            f"Augment: x has shape {x.shape}, images of {image_shape} have {math.prod(image_shape)} values; "
            "image_shape is (height, width) or (height, width, channels)"
        )
    return x.reshape(len(x), *image_shape[:2], math.prod(image_shape[2:]))


def _words(seed: int, epoch: int, rows: Rows, count: int, purpose: str) -> npt.NDArray[np.uint64]:
    """``count`` random words of 32 bits for each row; counter = (number, row, epoch, purpose)."""
    blocks = -(-count // 4)
    counter = np.empty((4, len(rows), blocks), np.uint64)
    counter[0] = np.arange(blocks, dtype=np.uint64)
    counter[1] = rows[:, None]
    counter[2] = epoch
    counter[3] = _PURPOSES[purpose]
    key = (seed ^ path_key("augment")) & (1 << 64) - 1
    drawn = philox(counter.reshape(4, -1), (key & 0xFFFFFFFF, key >> 32))
    return drawn.reshape(4, len(rows), blocks).transpose(1, 2, 0).reshape(len(rows), -1)[:, :count]


def _normal(seed: int, epoch: int, rows: Rows, size: int) -> npt.NDArray[np.float32]:
    """N(0, 1) by Box & Muller 1958, both halves of each pair used.   → (rows, size)"""
    pairs = -(-size // 2)
    words = _words(seed, epoch, rows, 2 * pairs, "noise").astype(np.float32)
    radius = np.sqrt(-2 * np.log((words[:, :pairs] + np.float32(1)) * np.float32(2.0**-32)))
    angle = words[:, pairs:] * np.float32(2 * math.pi * 2.0**-32)
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], 1)[:, :size]
