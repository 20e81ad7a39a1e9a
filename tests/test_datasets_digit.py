"""Pictures of digits, of any size, ink and paper, become what MNIST would have made of them."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import datasets
from chainrule.datasets import digit_from_image
from chainrule.errors import DataError


@pytest.fixture(scope="module")
def digits():
    return datasets.mnist(mirrors=())


def enlarged(row, factor=8):
    """White on black, (28 factor, 28 factor)."""
    return np.kron(row.reshape(28, 28), np.ones((factor, factor), np.uint8))


def on_paper(ink, paper=255, pen=0, height=400, width=500, top=30, left=200):
    """Ink of 0 to 255 on a page, somewhere off its middle."""
    page = np.full((height, width), float(paper))
    page[top : top + len(ink), left : left + ink.shape[1]] += ink * ((pen - paper) / 255)
    return np.rint(page).astype(np.uint8)


def centre_of_mass(row):
    image = row.reshape(28, 28) / row.sum()
    return image.sum(axis=1) @ np.arange(28), image.sum(axis=0) @ np.arange(28)


def test_mnist_itself_passes_unchanged(digits):
    for row in digits.x_train[:300]:
        image = row.reshape(28, 28)
        np.testing.assert_array_equal(digit_from_image(image), row)
        np.testing.assert_array_equal(digit_from_image(image[:, :, None]), row)
        np.testing.assert_array_equal(digit_from_image(np.stack([image] * 3, axis=2)), row)
        np.testing.assert_array_equal(digit_from_image(255 - image), row)


def test_the_ink_is_framed_as_in_mnist(digits):
    for row in digits.x_train[:200]:
        framed = digit_from_image(on_paper(enlarged(row)))
        rows, columns = np.nonzero(framed.reshape(28, 28))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
        assert centre_of_mass(framed) == pytest.approx((14, 14), abs=0.51)
        assert np.corrcoef(framed, row)[0, 1] > 0.6
        assert framed.max() == 255


def test_a_reader_of_mnist_reads_the_pictures(digits):
    """A linear classifier fitted to plain MNIST loses next to nothing on digits drawn large on paper."""

    def features(x):
        return np.hstack([x / np.float32(255), np.ones((len(x), 1), np.float32)])

    x, y = features(digits.x_train[:6000]), np.eye(10, dtype=np.float32)[digits.y_train[:6000]]
    weights = np.linalg.solve(x.T @ x + 30 * np.eye(785), x.T @ y)

    def accuracy(rows):
        return np.mean((features(np.array(rows)) @ weights).argmax(axis=1) == digits.y_train[-400:])

    plain = digits.x_train[-400:]
    pictures = [on_paper(enlarged(row), paper=210, pen=40) for row in plain]
    unframed = [picture[::14, ::14][:28, :28].reshape(-1) for picture in pictures]
    assert accuracy(plain) > 0.83
    assert accuracy([digit_from_image(p) for p in pictures]) > accuracy(plain) - 0.02
    assert accuracy(unframed) < 0.5  # that is what the framing is for


def test_every_way_to_store_a_drawing_gives_the_same_digit(digits):
    ink = enlarged(digits.x_train[0])
    black, white = np.zeros_like(ink), np.full_like(ink, 255)
    expected = digit_from_image(ink)
    same = {
        "dark on light": 255 - ink,
        "grey with alpha, black ink": np.stack([black, ink], axis=2),
        "grey with alpha, white ink": np.stack([white, ink], axis=2),
        "RGB": np.stack([255 - ink] * 3, axis=2),
        "RGBA, black ink on nothing": np.stack([black] * 3 + [ink], axis=2),
        "RGBA, white ink on nothing": np.stack([white] * 3 + [ink], axis=2),
        "RGBA, all opaque": np.stack([255 - ink] * 3 + [white], axis=2),
        "on a page": on_paper(ink),
        "not contiguous": np.asfortranarray(255 - ink),
    }
    for name, image in same.items():
        assert np.abs(digit_from_image(image).astype(int) - expected).max() <= 1, name


def test_colours_count_by_their_luminance():
    page = np.zeros((60, 40, 3), np.uint8)
    page[:, :] = (255, 255, 0)  # yellow paper, luminance 226
    page[10:40, 15:25] = (0, 0, 255)  # blue ink, luminance 29
    page[40:50, 15:25] = (255, 0, 0)  # red ink, luminance 76
    row = digit_from_image(page).reshape(28, 28)
    values, counts = np.unique(row, return_counts=True)
    assert values.tolist() == [0, round(255 * (226 - 76.2) / (226 - 29)), 255]
    assert counts.tolist() == [784 - 100, 25, 75]


def test_rounded_corners_are_not_ink(digits):
    ink = enlarged(digits.x_train[0])
    image = np.stack([255 - ink] * 3 + [np.full_like(ink, 255)], axis=2)
    expected = digit_from_image(image)
    for corner in (image[:20, :20], image[:20, -20:], image[-20:, :20], image[-20:, -20:]):
        corner[:] = 0  # transparent, and black where nobody sees it
    np.testing.assert_array_equal(digit_from_image(image), expected)


def test_areas_are_averaged():
    ink = np.zeros((102, 62), np.uint8)
    ink[1:101, 1:61] = np.random.default_rng(0).integers(120, 256, (100, 60))
    ink[1:101, [1, 60]] = ink[[1, 100], 1:61] = 255  # the box is 100 × 60: each pixel the mean of 5 × 5
    small = ink[1:101, 1:61].reshape(20, 5, 12, 5).mean(axis=(1, 3))
    expected = np.minimum(np.rint(small * 255 / np.median(small)), 255)
    row = digit_from_image(ink).reshape(28, 28)
    rows, columns = np.nonzero(row)
    found = row[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert np.abs(found - expected).max() <= 1


def test_small_pictures_are_enlarged():
    ink = np.zeros((9, 9), np.uint8)
    ink[2:7, 3:5] = 255
    row = digit_from_image(ink).reshape(28, 28)
    np.testing.assert_array_equal(np.unique(row), [0, 255])
    assert ((row == 255).sum(axis=0).max(), (row == 255).sum(axis=1).max()) == (20, 8)


def test_the_line_of_a_thin_pen_becomes_bright():
    page = np.full((600, 600), 255, np.uint8)
    page[100:500, 200:203] = 0
    page[100:103, 200:400] = 0  # 3 pixels of 400: a seventh of a pixel of 20
    row = digit_from_image(page)
    assert np.median(row[row > 0]) == 255


def test_ink_that_leans_to_one_side_stays_inside():
    page = np.zeros((120, 120), np.uint8)
    page[10:110, 10:14] = 60
    page[10:110, 100:110] = 255
    page[58:62, 10:110] = 60
    row = digit_from_image(page).reshape(28, 28)
    assert np.ptp(np.nonzero(row)[1]) + 1 == 20


@pytest.mark.parametrize(
    "image",
    [
        np.full((50, 50), 255, np.uint8),
        np.zeros((28, 28), np.uint8),
        np.full((28, 28), 200, np.uint8),
        np.random.default_rng(0).integers(240, 256, (50, 50)).astype(np.uint8),
        np.zeros((40, 40, 4), np.uint8),
        np.array([[7]], np.uint8),
    ],
)
def test_a_blank_picture_is_refused(image):
    with pytest.raises(DataError, match=r"no ink found.*give a picture of one digit"):
        digit_from_image(image)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((28, 28)),
        np.zeros((28, 28), bool),
        np.zeros(784, np.uint8),
        np.zeros((1, 28, 28, 1), np.uint8),
        np.zeros((28, 28, 5), np.uint8),
        np.zeros((0, 28), np.uint8),
    ],
)
def test_other_arrays_are_refused(image):
    with pytest.raises(DataError, match=r"digit_from_image: .*give one picture as uint8"):
        digit_from_image(image)
