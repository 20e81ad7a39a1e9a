"""What the header of a PNG file says, and where the bytes of each pixel lie."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from chainrule.errors import DataError

__all__ = [
    "COLOUR_OF_SAMPLES",
    "GREY",
    "MAX_PIXELS",
    "MAX_SIDE",
    "PALETTE",
    "RGB",
    "RGBA",
    "SIGNATURE",
    "Header",
    "Pass",
    "damaged",
]

MAX_PIXELS = 2**25
"""The largest width × height that is read, about 5800 × 5800."""
MAX_SIDE = 2**16
"""The longest side that is read: filters are undone in width + height steps, however few the pixels."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
COLOUR_OF_SAMPLES = {1: GREY, 2: GREY_ALPHA, 3: RGB, 4: RGBA}

_SAMPLES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
_DEPTHS = {
    GREY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GREY_ALPHA: (8, 16),
    RGBA: (8, 16),
}
# (first row, first column, row step, column step) of each of the seven passes: section 8.2.
_ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
_ONE_PASS = ((0, 0, 1, 1),)


def damaged(what: str) -> DataError:
    """The error for a file that is no whole, unaltered PNG."""
    return DataError(f"damaged: {what}; export or fetch the picture again")


@dataclass(frozen=True)
class Pass:
    """One sweep over a picture: ``pixels[row::down, column::right]``, of ``height`` × ``width`` pixels."""

    row: int
    column: int
    down: int
    right: int
    height: int
    width: int


@dataclass(frozen=True)
class Header:
    """Chunk IHDR: size, bits per sample (``depth``), colour type, whether the pixels come in seven passes."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    @classmethod
    def parse(cls, body: memoryview) -> Header:
        """Refuses what no PNG has, and what is too large to read."""
        if len(body) != 13:
            raise damaged(f"chunk IHDR has {len(body)} bytes, not 13")
        width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", body)
        if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
            raise damaged(
                f"no PNG has depth {depth}, colour type {colour}, compression {compression}, "
                f"filter method {filtering}, interlace {interlace}"
            )
        if not width or not height:
            raise damaged(f"a picture of {width} × {height} pixels shows nothing")
        if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
            raise DataError(
                f"{width:,} × {height:,} pixels, where at most {MAX_SIDE:,} a side and {MAX_PIXELS:,} in all "
                "are read; scale the picture down first"
            )
        return cls(width, height, depth, colour, interlace == 1)

    @property
    def samples(self) -> int:
        """Numbers stored per pixel; a palette's index is one."""
        return _SAMPLES[self.colour]

    @property
    def unit(self) -> int:
        """Bytes from one pixel to the next as filters count them, at least 1."""
        return max(1, self.samples * self.depth // 8)

    def stride(self, width: int) -> int:
        """Bytes of a row of ``width`` pixels, the filter byte apart."""
        return (width * self.samples * self.depth + 7) // 8

    def passes(self) -> Iterator[Pass]:
        """Those passes that hold a pixel, in their order in the file."""
        for row, column, down, right in _ADAM7 if self.interlaced else _ONE_PASS:
            if row < self.height and column < self.width:
                height, width = -(-(self.height - row) // down), -(-(self.width - column) // right)
                yield Pass(row, column, down, right, height, width)

    def inflated_size(self) -> int:
        """Bytes of all rows with their filter bytes."""
        return sum(p.height * (1 + self.stride(p.width)) for p in self.passes())
