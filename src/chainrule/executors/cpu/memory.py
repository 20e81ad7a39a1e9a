"""Memory for compiled code: aligned, and in padded rows where the code wants them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.executors.cpu.kernels import Buffer
from chainrule.executors.cpu.layout import padded
from chainrule.spec import DType, Shape

__all__ = ["aligned", "resident", "resident_like"]

_PAGE, _LINE = 4096, 64
Array = npt.NDArray[Any]


class _Memory(np.ndarray):
    """Bytes that compiled code may use; arrays that lie in them are known by it."""

    layout: tuple[Shape, DType] | None = None


def aligned(nbytes: int) -> Array:
    """Zero bytes, from the start of a page."""
    memory = _Memory(nbytes + _PAGE, np.uint8)
    memory.fill(0)
    return memory[-memory.ctypes.data % _PAGE :][:nbytes]


def resident_like(shape: Shape, dtype: DType) -> Array:
    """An array of zeros whose rows are padded as compiled code wants its state."""
    layout = padded(shape, dtype)
    memory = _Memory(Buffer(layout, "state").nbytes + _LINE, np.uint8)
    memory.fill(0)
    memory.layout = shape, dtype
    strides = tuple(s * dtype.itemsize for s in layout.strides)
    return np.ndarray(shape, dtype, memory, -memory.ctypes.data % _LINE, strides)


def resident(array: Array) -> Array:
    """The array itself where its rows are padded already, else a copy that is."""
    if isinstance(array.base, _Memory) and array.base.layout == (array.shape, array.dtype):
        return array
    copy = resident_like(array.shape, array.dtype)
    copy[...] = array
    return copy
