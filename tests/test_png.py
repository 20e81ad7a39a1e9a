"""Reading PNG, against two judges: Pillow, and files built here byte by byte from the specification."""

from __future__ import annotations

import io
import itertools
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image
from seconds import least_seconds

from chainrule.errors import DataError
from chainrule.png import MAX_PIXELS, MAX_SIDE, read_png

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
KINDS = [(0, d) for d in (1, 2, 4, 8, 16)] + [(c, d) for c in (2, 4, 6) for d in (8, 16)]
PALETTES = [(3, d) for d in (1, 2, 4, 8)]
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


# ---------------------------------------------------------------- a writer of every kind of PNG


def chunk(kind, body=b""):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width, height, depth=8, colour=0, interlaced=False):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def picture(*chunks):
    return SIGNATURE + b"".join(chunks)


def packed_row(row, depth):
    """Samples of one row (w, samples) → bytes, by way of a string of bits."""
    bits = "".join(format(int(v), f"0{depth}b") for v in row.reshape(-1))
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def paeth(a, b, c):
    p = a + b - c
    return min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]


def filtered_pass(samples, depth, filters):
    """(h, w, samples) → filtered bytes, one byte at a time as section 9.2 writes it."""
    unit = max(1, samples.shape[2] * depth // 8)
    out, prior = bytearray(), None
    for row in samples:
        raw = packed_row(row, depth)
        prior = prior or [0] * len(raw)
        kind = next(filters)
        out.append(kind)
        for i, value in enumerate(raw):
            a, b, c = (raw[i - unit], prior[i], prior[i - unit]) if i >= unit else (0, prior[i], 0)
            out.append((value - (0, a, b, (a + b) // 2, paeth(a, b, c))[kind]) % 256)
        prior = raw
    return bytes(out)


def build(samples, depth, colour, interlaced=False, filters=(0, 1, 2, 3, 4), between=b"", parts=1):
    """Any PNG: raw samples (h, w, samples), filters taken in turn, ``between`` in front of the pixels."""
    height, width = samples.shape[:2]
    turn = itertools.cycle(filters)
    if interlaced:  # ADAM7 here is (x, y, dx, dy), as section 8.2 has it
        passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7]
        data = b"".join(filtered_pass(p, depth, turn) for p in passes if p.size)
    else:
        data = filtered_pass(samples, depth, turn)
    data = zlib.compress(data)
    cuts = [len(data) * i // parts for i in range(parts + 1)]
    pixels = b"".join(chunk(b"IDAT", data[a:b]) for a, b in itertools.pairwise(cuts))
    return picture(header(width, height, depth, colour, interlaced), between, pixels, chunk(b"IEND"))


def random_samples(height, width, depth, colour, seed=0):
    """Smooth in one half, noise in the other, so that every filter and every tie occurs."""
    random = np.random.default_rng(seed)
    shape = (height, width, SAMPLES[colour])
    noise = random.integers(0, 2**depth, shape)
    smooth = (np.indices(shape).sum(axis=0) * 2 ** max(0, depth - 4)) % 2**depth
    return np.where(np.arange(width)[None, :, None] < width // 2, smooth, noise)


def eight_bits(samples, depth):
    pixels = np.floor(samples * 255 / (2**depth - 1) + 0.5).astype(np.uint8)
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def by_pillow(data, mode):
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_every_colour_type_and_depth(colour, depth, interlaced):
    samples = random_samples(23, 19, depth, colour)
    data = build(samples, depth, colour, interlaced, parts=3)
    read = read_png(data)
    np.testing.assert_array_equal(read, eight_bits(samples, depth))
    mode = {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}[colour]
    if (colour, depth) != (0, 16):  # Pillow clips 16-bit grey instead of scaling it
        assert np.abs(by_pillow(data, mode).astype(int) - read).max() <= (depth == 16)  # it truncates


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize(("colour", "depth"), PALETTES)
def test_palettes(colour, depth, alpha, interlaced):
    random = np.random.default_rng(1)
    colours = random.integers(0, 256, (2**depth, 4 if alpha else 3)).astype(np.uint8)
    between = chunk(b"PLTE", colours[:, :3].tobytes())
    if alpha:
        opaque = 2**depth // 2  # colours without an entry in tRNS are opaque
        colours[opaque:, 3] = 255
        between += chunk(b"tRNS", colours[:opaque, 3].tobytes())
    samples = random_samples(17, 13, depth, colour)
    data = build(samples, depth, colour, interlaced, between=between)
    read = read_png(data)
    np.testing.assert_array_equal(read, colours[samples[:, :, 0]])
    np.testing.assert_array_equal(read, by_pillow(data, "RGBA" if alpha else "RGB"))


@pytest.mark.parametrize(("colour", "depth"), [(c, d) for c, d in KINDS if c in (0, 2)])
def test_one_transparent_colour(colour, depth):
    samples = random_samples(9, 11, depth, colour)
    clear = samples[4, 8]
    if depth == 16:  # the same after scaling to 8 bits, yet not the transparent colour
        samples[0, 0] = clear ^ 1
    between = chunk(b"tRNS", clear.astype(">u2").tobytes())
    read = read_png(build(samples, depth, colour, between=between))
    hidden = (samples == clear).all(axis=2)
    assert 0 < hidden.sum() < hidden.size
    np.testing.assert_array_equal(read[:, :, -1], np.where(hidden, 0, 255))
    np.testing.assert_array_equal(read[:, :, :-1], eight_bits(samples, depth).reshape(*hidden.shape, -1))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4])
def test_each_filter_alone(kind, interlaced):
    for colour, depth in ((0, 1), (0, 8), (2, 8), (6, 16)):
        samples = random_samples(12, 10, depth, colour, seed=kind)
        data = build(samples, depth, colour, interlaced, filters=[kind])
        np.testing.assert_array_equal(read_png(data), eight_bits(samples, depth))


def test_every_small_size():
    """Interlaced pictures of fewer than 5 columns or rows have empty passes."""
    for height, width, interlaced in itertools.product(range(1, 10), range(1, 10), (False, True)):
        for colour, depth in ((0, 1), (2, 8)):
            samples = random_samples(height, width, depth, colour, seed=height)
            data = build(samples, depth, colour, interlaced, filters=(4, 3, 1, 2))
            np.testing.assert_array_equal(read_png(data), eight_bits(samples, depth))
            np.testing.assert_array_equal(by_pillow(data, "L" if colour == 0 else "RGB"), read_png(data))


@pytest.mark.parametrize("shape", [(70, 90), (1, 300), (300, 1), (70, 90, 2), (70, 90, 3), (70, 90, 4)])
def test_what_pillow_writes(shape):
    smooth = np.indices(shape[:2]).sum(axis=0)[(...,) + (None,) * (len(shape) - 2)]
    pixels = (smooth + np.random.default_rng(2).integers(0, 9, shape)).astype(np.uint8)
    for options in ({}, {"optimize": True}, {"compress_level": 0}):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png", **options)
        np.testing.assert_array_equal(read_png(file.getvalue()), pixels)


def test_paths_buffers_and_other_chunks(tmp_path):
    samples = random_samples(5, 6, 8, 2)
    text = chunk(b"tEXt", b"Title\0A digit") + chunk(b"gAMA", struct.pack(">I", 45455))
    suggested = chunk(b"PLTE", bytes(range(9)))  # RGB may carry one, for poor displays
    data = build(samples, 8, 2, between=text + suggested) + b"whatever follows the end"
    path = tmp_path / "digit.png"
    path.write_bytes(data)
    for source in (path, str(path), data, bytearray(data), memoryview(data)):
        np.testing.assert_array_equal(read_png(source), samples)
    with pytest.raises(FileNotFoundError):
        read_png(tmp_path / "none.png")


# ---------------------------------------------------------------- damage


GOOD = build(random_samples(9, 8, 8, 2), 8, 2, between=chunk(b"tEXt", b"Title\0x"), parts=2)
ROWS = zlib.compress(bytes(9 * 8))  # 9 rows of a filter byte and 7 pixels
GREY = header(7, 9)
END = chunk(b"IEND")
IDAT = chunk(b"IDAT", ROWS)
ONE, TWO = (chunk(b"IDAT", zlib.compress(b"\0" + b"\7" * n)) for n in (1, 2))  # a pixel of so many bytes

DAMAGED = {
    "empty": (b"", "not a PNG"),
    "a JPEG": (b"\xff\xd8\xff\xe0" + bytes(100), "not a PNG"),
    "line ends converted": (GOOD.replace(b"\r\n", b"\n", 1), "not a PNG"),
    "signature alone": (SIGNATURE, "ends at byte 8"),
    "no header": (picture(IDAT, END), "not IHDR"),
    "header twice": (picture(GREY, GREY, IDAT, END), "IHDR has no place"),
    "short header": (picture(chunk(b"IHDR", bytes(12)), IDAT, END), "12 bytes, not 13"),
    "no width": (picture(header(0, 9), IDAT, END), "shows nothing"),
    "no height": (picture(header(7, 0), IDAT, END), "shows nothing"),
    "depth 3": (picture(header(7, 9, depth=3), IDAT, END), "depth 3"),
    "palette of 16 bits": (picture(header(7, 9, 16, 3), IDAT, END), "depth 16"),
    "colour type 5": (picture(header(7, 9, colour=5), IDAT, END), "colour type 5"),
    "compression 1": (picture(chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 9, 8, 0, 1, 0, 0))), "compression 1"),
    "filtering 1": (picture(chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 9, 8, 0, 0, 1, 0))), "method 1"),
    "interlace 2": (picture(chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 9, 8, 0, 0, 0, 2))), "interlace 2"),
    "too many pixels": (picture(header(2**15, 2**15), IDAT, END), "scale the picture down"),
    "too long a side": (picture(header(1, MAX_SIDE + 1), IDAT, END), "scale the picture down"),
    "2³² − 1 a side": (picture(header(2**32 - 1, 2**32 - 1, 16, 6), IDAT, END), "scale the picture down"),
    "no pixels": (picture(GREY, END), "cannot hold"),
    "fewer pixels than stated": (picture(header(7, 10), IDAT, END), "ends early"),
    "more pixels than stated": (picture(header(7, 8), IDAT, END), "goes on"),
    "data after the stream": (picture(GREY, chunk(b"IDAT", ROWS + b"x"), END), "goes on"),
    "stream cut": (picture(GREY, chunk(b"IDAT", ROWS[:-1]), END), "ends early"),
    "no stream": (picture(GREY, chunk(b"IDAT", b"x" * 50), END), "does not inflate"),
    "Adler-32": (picture(GREY, chunk(b"IDAT", ROWS[:-1] + b"\x99"), END), "does not inflate"),
    "filter 5": (picture(header(1, 1), chunk(b"IDAT", zlib.compress(b"\5\0")), END), "filter 5"),
    "IDAT in two places": (picture(GREY, IDAT, chunk(b"tEXt", b"a\0b"), IDAT, END), "not in one piece"),
    "unknown and critical": (picture(GREY, chunk(b"ABCD"), IDAT, END), "ABCD has no place"),
    "no chunk": (picture(GREY, b"\0\0\0\0\1\2\3\4\0\0\0\0", IDAT, END), "no chunk begins"),
    "length 2³² − 1": (picture(GREY, b"\xff\xff\xff\xffIDAT" + bytes(20)), "in the middle of chunk IDAT"),
    "no palette": (picture(header(1, 1, 8, 3), ONE, END), "palette of 0 bytes"),
    "palette of 4 bytes": (picture(header(1, 1, 8, 3), chunk(b"PLTE", bytes(4)), ONE, END), "palette of 4"),
    "long palette": (picture(header(1, 1, 1, 3), chunk(b"PLTE", bytes(9)), ONE, END), "palette of 9"),
    "outside the palette": (picture(header(1, 1, 8, 3), chunk(b"PLTE", bytes(21)), ONE, END), "colour 7"),
    "palette twice": (picture(header(1, 1, 8, 3), *[chunk(b"PLTE", bytes(24))] * 2, ONE, END), "twice"),
    "palette too late": (
        picture(header(1, 1, 8, 3), ONE, chunk(b"PLTE", bytes(24)), END),
        "after the pixels",
    ),
    "palette for grey": (picture(GREY, chunk(b"PLTE", bytes(3)), IDAT, END), "grey picture"),
    "tRNS too short": (picture(GREY, chunk(b"tRNS", b"\0"), IDAT, END), "tRNS of 1"),
    "tRNS beside alpha": (
        picture(header(1, 1, 8, 4), chunk(b"tRNS", b"\0\0"), ONE, END),
        "cannot hold|early",
    ),
    "tRNS too long": (
        picture(header(1, 1, 8, 3), chunk(b"PLTE", bytes(24)), chunk(b"tRNS", bytes(9)), ONE, END),
        "9 transparencies",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named(name, tmp_path):
    data, reason = DAMAGED[name]
    with pytest.raises(DataError, match=rf"^PNG data: .*({reason})"):
        read_png(data)
    path = tmp_path / "digit.png"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_png(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "; " in str(caught.value)  # what to do


def test_every_truncation_is_refused():
    for length in range(len(GOOD)):
        with pytest.raises(DataError):
            read_png(GOOD[:length])


def test_every_altered_byte_is_noticed():
    for at in range(len(GOOD)):
        with pytest.raises(DataError):
            read_png(GOOD[:at] + bytes([GOOD[at] ^ 0x20]) + GOOD[at + 1 :])


def test_hostile_chunks_with_valid_checksums_end_in_an_array_or_a_data_error():
    random = np.random.default_rng(3)
    seeds = [
        build(random_samples(6, 7, d, c), d, c, interlaced, between=chunk(b"PLTE", bytes(3 << d)) * (c == 3))
        for c, d in [(0, 1), (2, 8), (3, 2), (6, 16)]
        for interlaced in (False, True)
    ]
    read = 0
    for _ in range(1500):
        data = seeds[random.integers(len(seeds))]
        chunks, at = [], 8
        while at < len(data):
            (length,) = struct.unpack_from(">I", data, at)
            chunks.append([data[at + 4 : at + 8], bytearray(data[at + 8 : at + 8 + length])])
            at += 12 + length
        kind, body = chunks[random.integers(len(chunks) - 1)]
        if kind == b"IDAT" and random.random() < 0.5:
            body[:] = zlib.compress(random.integers(0, 6, random.integers(1, 200)).astype(np.uint8).tobytes())
        else:
            body[random.integers(len(body))] = random.integers(256)
        try:
            assert read_png(picture(*(chunk(k, bytes(b)) for k, b in chunks))).dtype == np.uint8
            read += 1
        except DataError:
            pass
    assert 50 < read < 1450


def test_bombs_stay_small():
    stated = picture(header(5000, 5000, 16, 6), chunk(b"IDAT", zlib.compress(bytes(1000))), END)
    hidden = picture(GREY, chunk(b"IDAT", zlib.compress(bytes(100_000_000))), END)
    for data, reason in ((stated, "cannot hold"), (hidden, "goes on")):
        tracemalloc.start()
        with pytest.raises(DataError, match=reason):
            read_png(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1_000_000


def test_the_worst_shapes_take_seconds_at_most():
    for height, width in ((4000, 2), (2, 4000), (700, 700)):
        assert height * width < MAX_PIXELS
        rows = np.full((height, 1 + width), 4, np.uint8)
        worst = picture(header(width, height), chunk(b"IDAT", zlib.compress(rows.tobytes())), END)
        assert least_seconds(lambda worst=worst: read_png(worst), 2) < 2  # 0.1 s where this was written
