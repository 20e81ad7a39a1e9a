"""Where the elements of an array lie in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chainrule.spec import DType, Shape

__all__ = ["PAD", "Layout", "dense", "padded", "row_stride"]

PAD = 16  # rows begin at multiples of so many elements: one AVX-512 register of float32


@dataclass(frozen=True, slots=True)
class Layout:
    """Shape, strides in elements, dtype. A stride of 0 repeats an element."""

    shape: Shape
    strides: Shape
    dtype: DType
    offset: int = 0

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def extent(self) -> int:
        """Elements from the first to the end of the last row, padding included."""
        if not self.shape:
            return PAD
        rows = math.prod(self.shape[:-1])
        inner = self.strides[-2] if self.ndim > 1 else -(-self.shape[-1] // PAD) * PAD
        return max(rows * inner, PAD)


def dense(shape: Shape, dtype: DType) -> Layout:
    """Row-major without gaps, as NumPy lays arrays out.

    >>> import numpy as np
    >>> dense((2, 3), np.dtype("float32")).strides
    (3, 1)
    """
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return Layout(shape, tuple(reversed(strides)), dtype)


def row_stride(n: int, itemsize: int) -> int:
    """n up to a multiple of 16 elements; 16 more where rows would lie a multiple of 1024 bytes apart, for
    then a column's elements would compete for few places of the cache."""
    stride = -(-n // PAD) * PAD
    return stride + PAD if stride * itemsize % 1024 == 0 else stride


def padded(shape: Shape, dtype: DType) -> Layout:
    """Row-major with every row padded, so that loops over a row need no remainder.

    >>> import numpy as np
    >>> padded((100, 10), np.dtype("float32")).strides
    (16, 1)
    """
    if len(shape) < 2:
        return dense(shape, dtype)
    step = row_stride(shape[-1], dtype.itemsize)
    strides = [1]
    for n in reversed(shape[:-1]):
        strides.append(step)
        step *= n
    return Layout(shape, tuple(reversed(strides)), dtype)
