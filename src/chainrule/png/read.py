"""From the bytes of a PNG file to pixels: chunks, inflation, filters, samples, colours."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from chainrule.errors import DataError
from chainrule.png.filters import undo_filters
from chainrule.png.layout import GREY, PALETTE, RGB, RGBA, SIGNATURE, Header, damaged

__all__ = ["read_png"]

_MAX_FILE = 2**29
# Deflate's longest match is 258 bytes for two bits: nothing expands further than 1032 times.
_MAX_EXPANSION = 1032


def read_png(source: str | os.PathLike[str] | bytes | bytearray | memoryview) -> npt.NDArray[np.uint8]:
    """Read a PNG picture, named by its path or given as its bytes.

    Returns uint8 of shape (h, w) for grey, (h, w, 2) for grey with alpha, (h, w, 3) for RGB, (h, w, 4) for
    RGBA. A palette becomes RGB, or RGBA where it has transparency; 1, 2, 4 and 16 bits a sample are scaled to
    8, rounding to nearest.

    Raises :class:`~chainrule.errors.DataError` for whatever is not a whole, unaltered PNG of at most
    ``MAX_PIXELS`` pixels and ``MAX_SIDE`` a side, ``OSError`` where the file cannot be opened.

    >>> from chainrule.png import encode_png
    >>> read_png(encode_png(np.array([[0, 128, 255]], np.uint8)))
    array([[  0, 128, 255]], dtype=uint8)
    """
    name, data = _load(source)
    try:
        header, chunks = _collect(data)
        samples = _samples(header, _inflate(header, chunks[b"IDAT"]))
        return _colours(header, samples, chunks.get(b"PLTE"), chunks.get(b"tRNS"))
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


# ---------------------------------------------------------------- chunks


def _load(source: str | os.PathLike[str] | bytes | bytearray | memoryview) -> tuple[str, bytes]:
    """What to call the picture in errors, and its bytes."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "PNG data", bytes(source)
    name = os.fspath(source)
    with open(name, "rb") as file:
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise DataError(f"{name}: larger than {_MAX_FILE >> 20} MiB; scale the picture down first")
    return name, data


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """(type, body) of every chunk up to IEND; what follows IEND is no part of the picture."""
    at, kind, view = len(SIGNATURE), b"", memoryview(data)
    while kind != b"IEND":
        if at + 12 > len(data):
            raise damaged(f"the file ends at byte {len(data):,}, in the middle of the picture")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if not kind.isalpha():
            raise damaged(f"no chunk begins at byte {at:,}")
        if end > len(data):
            raise damaged(f"the file ends at byte {len(data):,}, in the middle of chunk {kind.decode()}")
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise damaged(f"the checksum of chunk {kind.decode()} at byte {at:,} does not hold")
        yield kind, view[at + 8 : end - 4]
        at = end


def _collect(data: bytes) -> tuple[Header, dict[bytes, bytes | memoryview]]:
    """The header, and the bodies of the chunks that matter (section 5.6 gives their order)."""
    if not data.startswith(SIGNATURE):
        raise DataError("not a PNG picture; convert it with any image program")
    stream = _chunks(data)
    kind, body = next(stream)
    if kind != b"IHDR":
        raise damaged(f"it begins with chunk {kind.decode()}, not IHDR")
    header = Header.parse(body)
    known: dict[bytes, bytes | memoryview] = {}
    pixels: list[memoryview] = []
    previous = kind
    for kind, body in stream:
        if kind == b"IDAT":
            if pixels and previous != b"IDAT":
                raise damaged("its IDAT chunks are not in one piece")
            pixels.append(body)
        elif kind in (b"PLTE", b"tRNS"):
            if kind in known or pixels:
                raise damaged(f"chunk {kind.decode()} comes twice, or after the pixels")
            known[kind] = body
        elif kind[:1].isupper() and kind != b"IEND":
            raise damaged(f"chunk {kind.decode()} has no place here")
        previous = kind
    return header, {**known, b"IDAT": b"".join(pixels)}


def _inflate(header: Header, data: bytes | memoryview) -> npt.NDArray[np.uint8]:
    """All filtered rows, one after the other; exactly as many bytes as the header asks for."""
    size = header.inflated_size()
    if size > _MAX_EXPANSION * len(data):
        raise damaged(f"{len(data):,} bytes cannot hold {header.width:,} × {header.height:,} pixels")
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(data, size + 1)
    except zlib.error as error:
        raise damaged(f"the pixel data does not inflate ({error})") from None
    if len(raw) > size or stream.unused_data:
        raise damaged("the pixel data goes on after the last pixel")
    if len(raw) < size or not stream.eof:
        raise damaged("the pixel data ends early")
    return np.frombuffer(raw, np.uint8)


# ---------------------------------------------------------------- samples and colours


def _samples(header: Header, raw: npt.NDArray[np.uint8]) -> npt.NDArray:
    """Inflated bytes → the stored samples (h, w, samples), uint16 where they have 16 bits, else uint8."""
    dtype = np.uint16 if header.depth == 16 else np.uint8
    picture = np.empty((header.height, header.width, header.samples), dtype)
    at = 0
    for sweep in header.passes():
        end = at + sweep.height * (1 + header.stride(sweep.width))
        rows = undo_filters(raw[at:end].reshape(sweep.height, -1), header.unit)
        unpacked = _unpack(rows, header.depth, sweep.width * header.samples)
        picture[sweep.row :: sweep.down, sweep.column :: sweep.right] = unpacked.reshape(
            sweep.height, sweep.width, header.samples
        )
        at = end
    return picture


def _unpack(rows: npt.NDArray[np.uint8], depth: int, samples: int) -> npt.NDArray:
    """Rows of bytes → rows of ``samples`` samples; the leftmost of a byte is in its highest bits."""
    if depth == 8:
        return rows
    if depth == 16:
        return np.ascontiguousarray(rows).view(">u2")
    shifts = np.arange(8 - depth, -1, -depth, dtype=np.uint8)
    parts = (rows[:, :, None] >> shifts) & np.uint8(2**depth - 1)
    return parts.reshape(len(rows), -1)[:, :samples]


def _colours(
    header: Header,
    stored: npt.NDArray,
    palette: bytes | memoryview | None,
    transparency: bytes | memoryview | None,
) -> npt.NDArray[np.uint8]:
    """Stored samples → 8-bit grey, grey with alpha, RGB or RGBA."""
    if header.colour == PALETTE:
        return _look_up(stored[:, :, 0], _palette(header, palette, transparency))
    if palette is not None and header.colour not in (RGB, RGBA):
        raise damaged("a grey picture has no palette")
    pixels = _to_8_bits(stored, header.depth)
    if transparency is not None:
        if header.colour not in (GREY, RGB) or len(transparency) != 2 * header.samples:
            raise damaged(f"a chunk tRNS of {len(transparency)} bytes for colour type {header.colour}")
        clear = (stored == np.frombuffer(transparency, ">u2")).all(axis=2, keepdims=True)
        pixels = np.concatenate([pixels, np.where(clear, np.uint8(0), np.uint8(255))], axis=2)
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def _to_8_bits(stored: npt.NDArray, depth: int) -> npt.NDArray[np.uint8]:
    """round(v · 255 / (2^depth − 1)), from a table."""
    if depth == 8:
        return stored
    largest = 2**depth - 1
    values = (np.arange(largest + 1) * 255 + largest // 2) // largest
    return values.astype(np.uint8)[stored]


def _palette(
    header: Header, palette: bytes | memoryview | None, transparency: bytes | memoryview | None
) -> npt.NDArray[np.uint8]:
    """RGB or RGBA of every index."""
    size = 0 if palette is None else len(palette)
    if palette is None or size % 3 or not 0 < size <= 3 << header.depth:
        raise damaged(f"a palette of {size} bytes for a picture of {header.depth} bits a pixel")
    colours = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    if transparency is None:
        return colours
    if len(transparency) > len(colours):
        raise damaged(f"{len(transparency)} transparencies for a palette of {len(colours)} colours")
    alpha = np.full((len(colours), 1), 255, np.uint8)
    alpha[: len(transparency), 0] = np.frombuffer(transparency, np.uint8)
    return np.concatenate([colours, alpha], axis=1)


def _look_up(index: npt.NDArray[np.uint8], colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if index.max() >= len(colours):
        raise damaged(f"a pixel has colour {index.max()} of a palette of {len(colours)}")
    return colours[index]
