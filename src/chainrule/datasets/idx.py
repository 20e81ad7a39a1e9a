"""The IDX format of MNIST: a magic number, the dimensions, then the values.

Two zero bytes, a byte for the type, a byte for the number of dimensions, each dimension as a big-endian
32-bit integer, the values in C order. Source: "The MNIST database of handwritten digits", "File formats".
"""

from __future__ import annotations

import math
import struct

import numpy as np
import numpy.typing as npt

from chainrule.errors import DataError

__all__ = ["parse_idx"]

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def parse_idx(content: bytes, name: str = "IDX data") -> npt.NDArray:
    """The array in ``content``; a read-only view where the values are single bytes, native byte order always.

    Raises :class:`~chainrule.errors.DataError` unless every byte is accounted for; ``name`` tells which file.

    >>> parse_idx(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes(range(6)))
    array([[0, 1, 2],
           [3, 4, 5]], dtype=uint8)
    """
    zeros, kind, ndim = struct.unpack_from(">HBB", content) if len(content) >= 4 else (1, 0, 0)
    start = 4 + 4 * ndim
    if zeros or kind not in _DTYPES or not ndim or len(content) < start:
        raise DataError(
            f"{name}: begins with {bytes(content[:4]).hex(' ') or 'nothing'}, not with the magic number and "
            "dimensions of an IDX file; fetch the file again"
        )
    shape = struct.unpack_from(f">{ndim}I", content, 4)
    dtype = np.dtype(_DTYPES[kind])
    size = start + math.prod(shape) * dtype.itemsize
    if len(content) != size:
        raise DataError(
            f"{name}: {len(content):,} bytes, where {dtype.name} of shape {shape} takes {size:,}; "
            "fetch the file again"
        )
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=False)
