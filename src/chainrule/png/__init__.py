"""PNG pictures to arrays and back, with zlib and NumPy alone.

========================  ==================================================================
``read_png``              a file, or its bytes, as an array of uint8
``write_png``             an array as a file, replaced whole or not at all
``encode_png``            an array as the bytes of a PNG file
``tile``                  many small images as one mosaic
========================  ==================================================================

The reader takes every picture that the standard defines (all colour types and depths, all five filters,
Adam7 interlacing, transparency) and refuses everything else: the CRC of each chunk must hold, and no size is
believed before it is checked against the bytes present. Colours are given as stored; gamma and colour
profiles are not applied.

Source: Portable Network Graphics (PNG) Specification, second edition, ISO/IEC 15948:2004; "section" below is
one of its sections.
"""

from __future__ import annotations

from chainrule.png.layout import MAX_PIXELS, MAX_SIDE
from chainrule.png.mosaic import tile
from chainrule.png.read import read_png
from chainrule.png.write import encode_png, write_png

__all__ = ["MAX_PIXELS", "MAX_SIDE", "encode_png", "read_png", "tile", "write_png"]
