"""Pages of LLVM's own code, which are many and seldom needed: handed back to the system.

LLVM is a library of 180 MB. To load it and to compile one network touches some 60 MB, which count as memory
of the process from then on, although nothing is compiled any more while it trains. They are copies of a file:
the system keeps them as long as it likes, and gives them again, within a millisecond, where LLVM is called
once more.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["hand_back"]

_MAPPINGS = Path("/proc/self/maps")
_DONT_NEED = 4  # MADV_DONTNEED, on every processor that Linux runs on but Alpha


def hand_back(library: str) -> None:
    """Hands back the pages of a shared library whose file's name begins so; where that is not Linux, nothing.

    Only pages that nobody can have written to: for those the system asks the file again.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        system = ctypes.CDLL(None)
        for start, size in _unwritten(library):
            system.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _DONT_NEED)
    except (OSError, AttributeError):  # no /proc, or a C library of another kind
        pass


def _unwritten(library: str) -> Iterator[tuple[int, int]]:
    """(address, bytes) of the code, and of what the dynamic linker alone reads: the file's first part. Other
    parts without leave to write may have had it while the linker filled them in."""
    for line in _MAPPINGS.read_text().splitlines():
        if f"/{library}" not in line:
            continue
        addresses, leave, offset, *_ = line.split()
        if "w" not in leave and ("x" in leave or not int(offset, 16)):
            start, stop = (int(x, 16) for x in addresses.split("-"))
            yield start, stop - start
