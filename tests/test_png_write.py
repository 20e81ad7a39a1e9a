"""Writing PNG, with Pillow as the reader, and laying out mosaics."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from chainrule.errors import DataError
from chainrule.png import MAX_SIDE, encode_png, read_png, tile, write_png

# ---------------------------------------------------------------- writing


@pytest.mark.parametrize(
    "shape", [(1, 1), (28, 28), (5, 300), (300, 5), (40, 30, 2), (40, 30, 3), (40, 30, 4)]
)
@pytest.mark.parametrize("content", ["noise", "smooth", "flat"])
def test_pillow_reads_what_was_written(shape, content):
    smooth = (np.indices(shape) * np.arange(3, 3 + len(shape))[(...,) + (None,) * len(shape)]).sum(axis=0)
    noise = np.random.default_rng(4).integers(0, 256, shape)
    pixels = {"noise": noise, "smooth": smooth, "flat": np.full(shape, 9)}[content].astype(np.uint8)
    data = encode_png(pixels)
    image = Image.open(io.BytesIO(data))
    image.load()
    np.testing.assert_array_equal(np.asarray(image), pixels)
    np.testing.assert_array_equal(read_png(data), pixels)


def test_filters_make_photographs_smaller_and_leave_drawings_alone():
    row, column = np.mgrid[:200, :200]
    photograph = (100 + 60 * np.sin(row / 30) + 60 * np.cos(column / 40)).astype(np.uint8)
    squares = np.random.default_rng(7).integers(0, 2, (25, 25)) * 235 + 20
    drawing = np.kron(squares, np.ones((8, 8))).astype(np.uint8)  # a third larger with filters
    for pixels, bound in ((photograph, 0.6), (drawing, 1.0)):
        unfiltered = zlib.compress(np.pad(pixels, [(0, 0), (1, 0)]).tobytes())
        assert len(encode_png(pixels)) - 57 <= bound * len(unfiltered)  # 57 bytes of chunks around them


def test_layout_of_the_array_does_not_matter():
    pixels = np.random.default_rng(5).integers(0, 256, (12, 9, 3)).astype(np.uint8)
    expected = encode_png(pixels)
    assert encode_png(np.asfortranarray(pixels)) == expected
    assert encode_png(np.repeat(pixels, 2, axis=1)[:, ::2]) == expected
    assert encode_png(pixels[::-1])[:33] == expected[:33]
    np.testing.assert_array_equal(read_png(encode_png(pixels[::-1, ::-1])), pixels[::-1, ::-1])
    np.testing.assert_array_equal(read_png(encode_png(pixels[:, :, :1])), pixels[:, :, 0])
    assert read_png(expected).flags.writeable


def test_writing_to_a_path_or_a_file(tmp_path):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    file = io.BytesIO()
    write_png(file, pixels)
    write_png(tmp_path / "a.png", pixels)
    write_png(str(tmp_path / "b.png"), pixels)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes() == file.getvalue()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((3, 3)),
        np.zeros((3, 3), bool),
        np.zeros(3, np.uint8),
        np.zeros((3, 3, 5), np.uint8),
        np.zeros((3, 3, 0), np.uint8),
        np.zeros((1, 3, 3, 1), np.uint8),
        np.zeros((0, 3), np.uint8),
        np.zeros((1, MAX_SIDE + 1), np.uint8),
    ],
)
def test_what_cannot_be_a_picture_is_refused(pixels, tmp_path):
    with pytest.raises(DataError, match=r"^encode_png: .*; give"):
        write_png(tmp_path / "x.png", pixels)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- mosaics


@pytest.mark.parametrize("samples", [(), (3,)])
@pytest.mark.parametrize(
    ("n", "columns", "pad"), [(1, None, 1), (7, 3, 2), (10, None, 0), (4, 9, 1), (6, 1, 3)]
)
def test_tile_puts_every_image_in_its_place(n, columns, pad, samples):
    images = np.random.default_rng(6).normal(size=(n, 4, 5, *samples)).astype(np.float32)
    mosaic = tile(images, columns, pad, fill=-9)
    across = columns or int(np.ceil(np.sqrt(n)))
    down = int(np.ceil(n / across))
    assert mosaic.shape == (down * (4 + pad) + pad, across * (5 + pad) + pad, *samples)
    assert mosaic.dtype == np.float32
    for i, image in enumerate(images):
        top, left = pad + i // across * (4 + pad), pad + i % across * (5 + pad)
        np.testing.assert_array_equal(mosaic[top : top + 4, left : left + 5], image)
        mosaic[top : top + 4, left : left + 5] = -9
    assert (mosaic == -9).all()


@pytest.mark.parametrize("shape", [(28, 28), (0, 28, 28), (3, 0, 28), (2, 2, 2, 2, 2)])
def test_tile_refuses_other_shapes(shape):
    with pytest.raises(DataError, match="tile: images of shape"):
        tile(np.zeros(shape))


@pytest.mark.parametrize("options", [{"columns": 0}, {"pad": -1}])
def test_tile_refuses_senseless_options(options):
    with pytest.raises(DataError, match=r"tile: columns=.*; give"):
        tile(np.zeros((2, 3, 3)), **options)
