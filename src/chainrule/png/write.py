"""From pixels to the bytes of a PNG file."""

from __future__ import annotations

import os
import struct
import zlib
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from chainrule.errors import DataError
from chainrule.png.filters import apply_filters
from chainrule.png.layout import COLOUR_OF_SAMPLES, MAX_SIDE, SIGNATURE
from chainrule.storage import atomic_write

__all__ = ["encode_png", "write_png"]


def write_png(target: str | os.PathLike[str] | BinaryIO, pixels: npt.NDArray[np.uint8]) -> None:
    """Write ``pixels`` (see :func:`encode_png`) to a path, whole or not at all, or to an open binary file.

    >>> import io
    >>> file = io.BytesIO()
    >>> write_png(file, np.zeros((2, 2), np.uint8))
    >>> file.getvalue()[1:4]
    b'PNG'
    """
    data = encode_png(pixels)
    if isinstance(target, (str, os.PathLike)):
        with atomic_write(target) as file:
            file.write(data)
    else:
        target.write(data)


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG file that shows ``pixels``, 8 bits a sample.

    ``pixels`` is uint8 of shape (h, w) or (h, w, 1) for grey, (h, w, 2) for grey with alpha, (h, w, 3) for
    RGB, (h, w, 4) for RGBA. Stored with or without filters, whichever is smaller: filters help photographs
    and hinder drawings.

    Raises :class:`~chainrule.errors.DataError` for any other dtype or shape.

    >>> encode_png(np.zeros((28, 28), np.uint8))[:8]
    b'\\x89PNG\\r\\n\\x1a\\n'
    """
    pixels = np.asarray(pixels)
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or samples not in COLOUR_OF_SAMPLES:
        raise DataError(
            f"encode_png: {pixels.dtype} of shape {pixels.shape}; give uint8 of shape (h, w) for grey, "
            "(h, w, 2) for grey with alpha, (h, w, 3) for RGB or (h, w, 4) for RGBA"
        )
    height, width = pixels.shape[:2]
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise DataError(f"encode_png: {height:,} × {width:,} pixels; give 1 to {MAX_SIDE:,} rows and columns")
    rows = pixels.reshape(height, width * samples)
    unfiltered = np.pad(rows, [(0, 0), (1, 0)])
    filtered = apply_filters(rows, samples)
    stored = min((zlib.compress(r.tobytes()) for r in (unfiltered, filtered)), key=len)
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR_OF_SAMPLES[samples], 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", stored) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    """Length, type, body, CRC (section 5.3)."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
