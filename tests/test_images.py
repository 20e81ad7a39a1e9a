"""Folders of pictures: what was written comes back, with its class; whatever is odd is told."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from chainrule import data, nn, ops
from chainrule.data import read_images
from chainrule.errors import DataError, MissingExtraError
from chainrule.network import Network
from chainrule.png import write_png

RNG = np.random.default_rng


def fill(folder, pictures):
    """{"class/name": array} as PNG files."""
    for name, picture in pictures.items():
        path = folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        write_png(path, picture)


def test_classes_are_folders_and_pictures_come_back_in_the_order_of_names(tmp_path):
    grey = {f"{c}/{i}": RNG(i).integers(0, 256, (5, 4)).astype("uint8") for c in "ba" for i in (2, 1)}
    fill(tmp_path, grey)
    (tmp_path / "notes.txt").write_text("no picture")
    found = read_images(tmp_path)
    assert found.x.shape == (4, 5, 4, 1)
    assert found.x.dtype == np.uint8
    assert found.labels.tolist() == ["a", "a", "b", "b"]
    assert [f"{p.parent.name}/{p.stem}" for p in found.paths] == ["a/1", "a/2", "b/1", "b/2"]
    for x, path in zip(found.x, found.paths, strict=True):
        np.testing.assert_array_equal(x[..., 0], grey[f"{path.parent.name}/{path.stem}"])


def test_pictures_without_folders_have_no_class(tmp_path):
    fill(tmp_path, {"x": np.zeros((2, 2), "uint8")})
    assert read_images(tmp_path).labels.tolist() == [""]


def test_one_colour_makes_all_rgb_and_channels_can_be_asked_for(tmp_path):
    colour, grey = RNG(0).integers(0, 256, (3, 4, 3)).astype("uint8"), np.full((3, 4), 7, "uint8")
    fill(tmp_path, {"a/colour": colour, "a/grey": grey})
    x = read_images(tmp_path).x
    np.testing.assert_array_equal(x[0], colour)
    np.testing.assert_array_equal(x[1], np.full((3, 4, 3), 7))
    (first, second) = read_images(tmp_path, channels=1).x[..., 0]
    np.testing.assert_array_equal(first, np.rint(colour @ [0.299, 0.587, 0.114]))
    np.testing.assert_array_equal(second, grey)


def test_what_is_transparent_is_white(tmp_path):
    half = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 0, 0, 128]]], "uint8")
    fill(tmp_path, {"a": half})
    np.testing.assert_array_equal(read_images(tmp_path).x[0, 0], [[255] * 3, [10, 20, 30], [127] * 3])


def test_pillow_reads_what_is_no_png(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = RNG(1).integers(0, 256, (6, 5, 3)).astype("uint8")
    (tmp_path / "a").mkdir()
    image.fromarray(pixels).save(tmp_path / "a" / "x.bmp")
    image.fromarray(pixels).save(tmp_path / "a" / "y.tiff")
    np.testing.assert_array_equal(read_images(tmp_path).x, [pixels, pixels])
    (tmp_path / "a" / "z.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(DataError, match=r"z.jpg.*no picture at all"):
        read_images(tmp_path)


def test_without_pillow_the_remedy_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    (tmp_path / "x.jpg").write_bytes(b"")
    with pytest.raises(MissingExtraError, match="pip install pillow"):
        read_images(tmp_path)


def test_mistakes_are_told(tmp_path):
    with pytest.raises(DataError, match="holds no picture"):
        read_images(tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        read_images(tmp_path / "nowhere")
    fill(tmp_path, {"a/1": np.zeros((4, 5), "uint8"), "b/2": np.zeros((4, 6), "uint8")})
    with pytest.raises(DataError, match=r"2.png is 6 × 4 pixels, 1.png 5 × 4 \(1 of 2 differ\); scale"):
        read_images(tmp_path)
    with pytest.raises(DataError, match="channels is 2"):
        read_images(tmp_path, channels=2)
    (tmp_path / "a" / "1.png").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"1.png"):
        read_images(tmp_path)


def test_a_network_learns_from_a_folder(tmp_path):
    rng = RNG(0)
    dark = {f"dark/{i}": rng.integers(0, 100, (6, 6)).astype("uint8") for i in range(20)}
    bright = {f"bright/{i}": rng.integers(120, 256, (6, 6)).astype("uint8") for i in range(20)}
    fill(tmp_path, dark | bright)
    found = read_images(tmp_path)
    names, y = np.unique(found.labels, return_inverse=True)
    net = Network(nn.Rescale(1 / 255), nn.Conv2D(4), ops.relu, nn.GlobalAveragePool(), nn.Dense(2))
    net.fit(found.x, y, epochs=60, batch_size=20, learning_rate=0.05, verbose=0)
    assert (net.predict(found.x) == y).mean() > 0.95
    assert names.tolist() == ["bright", "dark"]
    assert data.read_images is read_images
