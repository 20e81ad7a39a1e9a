"""Memory for compiled code: aligned, in padded rows where it wants them, in huge pages where it is much."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.executors.cpu.kernels import Buffer
from chainrule.executors.cpu.layout import padded
from chainrule.spec import DType, Shape

__all__ = ["aligned", "resident"]

_PAGE, _LINE = 4096, 64
_APART = 5 * _LINE  # between arrays, so that equal places of them do not meet in the same lines of a cache
_MUCH = 1 << 20  # bytes that are asked of the system itself
_HUGE = 1 << 21  # bytes of a huge page
Array = npt.NDArray[Any]


class _Memory(np.ndarray[Any, Any]):
    """Bytes that compiled code may use; arrays that lie in them are known by it."""

    layout: tuple[Shape, DType] | None = None


def aligned(nbytes: int) -> Array:
    """Zero bytes, from the start of a page."""
    memory = _zeros(nbytes + _PAGE)
    return memory[-memory.ctypes.data % _PAGE :][:nbytes]


def resident(arrays: Sequence[Array]) -> list[Array]:
    """The arrays, each in memory of its own, in rows that are padded as compiled code wants its state: those
    themselves that lie so already, copies of the others."""
    seen, ready = set[int](), list[Array | None]()
    for array in arrays:
        base = array.base
        laid = isinstance(base, _Memory) and base.layout == (array.shape, array.dtype)
        ready.append(array if laid and id(base) not in seen else None)
        seen.add(id(base))
    copies = iter(_copies([a for a, found in zip(arrays, ready, strict=True) if found is None]))
    return [next(copies) if found is None else found for found in ready]


def _copies(arrays: Sequence[Array]) -> list[Array]:
    """In padded rows, one after another."""
    layouts = [padded(a.shape, a.dtype) for a in arrays]
    sizes = [-(-Buffer(layout, "state").nbytes // _LINE) * _LINE for layout in layouts]
    memory = _zeros(sum(sizes) + len(sizes) * _APART + _LINE)
    start, found = -memory.ctypes.data % _LINE, []
    for array, layout, size in zip(arrays, layouts, sizes, strict=True):
        part: Any = memory[start : start + size]
        part.layout = array.shape, array.dtype
        strides = tuple(s * array.dtype.itemsize for s in layout.strides)
        copy: Array = np.ndarray(array.shape, array.dtype, part, 0, strides)
        copy[...] = array
        found.append(copy)
        start += size + _APART
    return found


def _zeros(nbytes: int) -> _Memory:
    """So many zero bytes."""
    if nbytes < _MUCH:
        memory = _Memory(nbytes, np.uint8)
        memory.fill(0)
        return memory
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    pages = mmap.mmap(-1, nbytes + _HUGE, **private)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    start = -np.frombuffer(pages, np.uint8).ctypes.data % _HUGE
    return _Memory(nbytes, np.uint8, pages, start)
