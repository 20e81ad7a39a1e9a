"""From any picture of one digit to an input like MNIST's.

MNIST's images were made so: a digit of white ink on black, scaled into a box of 20 × 20 pixels with its
proportions kept, then moved within 28 × 28 so that its centre of mass lies in the middle. A picture that
was drawn or photographed has to take the same way, or a network trained on MNIST sees what it never learned.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from chainrule.errors import DataError

__all__ = ["digit_from_image"]

_SIDE, _BOX = 28, 20
# Rec. ITU-R BT.601, the luminance of R, G, B.
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_LEAST_CONTRAST = 16
_INK = 0.2
"""Pixels with less than this part of the strongest ink count as paper."""


def digit_from_image(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A picture of one digit, of any size and ink, as one row like MNIST's: uint8 (784,), white on black.

    ``image`` is what :func:`chainrule.png.read_png` returns: uint8 (h, w) grey, or (h, w, samples) with 1 or
    2 samples (grey, alpha) or 3 or 4 (RGB, alpha). The border tells which the background is; a light one is
    inverted. The ink's bounding box is scaled to a longer side of 20 pixels by averaging areas, the ink
    brightened until half of it is at 255, and its centre of mass put on pixel (14, 14), as in MNIST. An image
    of exactly 28 × 28 is taken as framed already: on a dark background it is returned unchanged, on a light
    one inverted.

    Raises :class:`~chainrule.errors.DataError` for other arrays and for a picture without ink.

    >>> page = np.full((200, 120), 255, np.uint8)
    >>> page[40:160, 55:65] = 30                      # a stroke of a dark pen
    >>> row = digit_from_image(page)
    >>> row.shape, int(row.max())
    ((784,), 255)
    >>> rows, columns = np.nonzero(row.reshape(28, 28))
    >>> int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    (20, 2)
    """
    grey = _grey(_checked(image))
    background = float(np.median(_border(grey)))
    light = background >= 128
    ink = background - grey if light else grey - background
    strongest = float(ink.max())
    if strongest < _LEAST_CONTRAST:
        raise DataError(
            f"digit_from_image: no ink found, every pixel of {grey.shape[0]} × {grey.shape[1]} is nearly "
            f"{background:.0f} of 255; give a picture of one digit that stands out from its background"
        )
    if grey.shape == (_SIDE, _SIDE):
        return np.rint(255 - grey if light else grey).astype(np.uint8).reshape(-1)
    return _centred(_scaled(_cut(np.maximum(ink, 0), _INK * strongest))).reshape(-1)


def _checked(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(h, w, samples)."""
    image = np.asarray(image)
    picture = image[:, :, None] if image.ndim == 2 else image
    if image.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (1, 2, 3, 4) or not image.size:
        raise DataError(
            f"digit_from_image: {image.dtype} of shape {image.shape}; give one picture as uint8 (h, w), or "
            "(h, w, samples) with 1 to 4 samples: grey, grey and alpha, RGB, RGBA"
        )
    return picture


def _border(picture: npt.NDArray) -> npt.NDArray:
    """The outermost pixels."""
    return np.concatenate([picture[0], picture[-1], picture[1:-1, 0], picture[1:-1, -1]])


def _grey(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Luminance 0 to 255 over an opaque background: (h, w, samples) → (h, w)."""
    samples = picture.shape[2]
    colour = picture[:, :, : 1 if samples < 3 else 3].astype(np.float32)
    grey = colour[:, :, 0] if samples < 3 else colour @ _LUMINANCE
    if samples in (1, 3):
        return grey
    alpha = picture[:, :, -1].astype(np.float32) / np.float32(255)
    return grey * alpha + _behind(grey, alpha) * (1 - alpha)


def _behind(grey: npt.NDArray[np.float32], alpha: npt.NDArray[np.float32]) -> float:
    """What is seen through holes: the picture's background, or where that is clear, what sets off its ink."""
    if np.median(_border(alpha)) >= 0.5:
        return float(np.median(_border(grey)))
    total = float(alpha.sum(dtype=np.float64))
    mean = float((grey * alpha).sum(dtype=np.float64)) / total if total else 255.0
    return 255.0 if mean < 128 else 0.0


def _cut(ink: npt.NDArray[np.float32], least: float) -> npt.NDArray[np.float32]:
    """The bounding box of the pixels with at least this much ink."""
    rows, columns = np.flatnonzero((ink >= least).any(axis=1)), np.flatnonzero((ink >= least).any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _scaled(ink: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The longer side to 20 pixels, the other in proportion; a pixel is the mean of the area it covers.

    A thin pen's line covers little of a pixel and comes out grey, while MNIST's lines are broad and white:
    hence the median of the ink, not its maximum, becomes 255.
    """
    longer = max(ink.shape)
    height, width = (max(1, round(n * _BOX / longer)) for n in ink.shape)
    small = _areas(ink.shape[0], height) @ ink @ _areas(ink.shape[1], width).T
    white = np.median(small[small >= _INK * small.max()])
    return np.rint(np.minimum(small * (255 / white), 255)).astype(np.uint8)


def _areas(n: int, parts: int) -> npt.NDArray[np.float32]:
    """(parts, n): which share of each of n pixels falls into each of so many equal parts; rows sum to 1."""
    edges = np.arange(parts + 1) * (n / parts)
    pixels = np.arange(n)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.maximum(overlap, 0) * (parts / n)).astype(np.float32)


def _centred(ink: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Within 28 × 28, the centre of mass on pixel (14, 14), or as near as the ink stays inside."""
    canvas = np.zeros((_SIDE, _SIDE), np.uint8)
    weights = ink / ink.sum(dtype=np.float64)
    place = []
    for axis, n in enumerate(ink.shape):
        centre = float(weights.sum(axis=1 - axis) @ np.arange(n))
        place.append(min(max(round(_SIDE / 2 - centre), 0), _SIDE - n))
    top, left = place
    canvas[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return canvas
