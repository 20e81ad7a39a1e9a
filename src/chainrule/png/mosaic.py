"""Many small images as one large one: digits, or the weights of hidden units drawn as images."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from chainrule.errors import DataError

__all__ = ["tile"]


def tile(images: npt.ArrayLike, columns: int | None = None, pad: int = 1, fill: float = 0) -> npt.NDArray:
    """Lay images out row by row, with ``pad`` pixels of ``fill`` around and between them.

    ``images`` (n, h, w) or (n, h, w, samples), of any dtype → (rows·(h + pad) + pad, columns·(w + pad) + pad)
    or the same with samples. Without ``columns`` the mosaic has ⌈√n⌉. Cells left over are ``fill``.

    >>> tile(np.ones((3, 2, 2), np.uint8), columns=2)
    array([[0, 0, 0, 0, 0, 0, 0],
           [0, 1, 1, 0, 1, 1, 0],
           [0, 1, 1, 0, 1, 1, 0],
           [0, 0, 0, 0, 0, 0, 0],
           [0, 1, 1, 0, 0, 0, 0],
           [0, 1, 1, 0, 0, 0, 0],
           [0, 0, 0, 0, 0, 0, 0]], dtype=uint8)
    """
    images = np.asarray(images)
    if images.ndim not in (3, 4) or images.size == 0:
        raise DataError(f"tile: images of shape {images.shape}; give (n, h, w) or (n, h, w, samples), none 0")
    n, height, width, *samples = images.shape
    across = math.ceil(math.sqrt(n)) if columns is None else columns
    if across < 1 or pad < 0:
        raise DataError(f"tile: columns={columns}, pad={pad}; give at least 1 column and a pad of at least 0")
    down, high, wide = -(-n // across), height + pad, width + pad
    mosaic = np.full((down * high + pad, across * wide + pad, *samples), fill, images.dtype)
    for i, image in enumerate(images):
        top, left = i // across * high + pad, i % across * wide + pad
        mosaic[top : top + height, left : left + width] = image
    return mosaic
