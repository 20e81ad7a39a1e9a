"""MNIST from the repository's copy, the toys, and the list of both."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from seconds import least_seconds

from chainrule import datasets
from chainrule.datasets import files, toys
from chainrule.datasets.idx import parse_idx
from chainrule.datasets.mnist import FILES
from chainrule.errors import ConfigError, DataError

FOLDER = Path(__file__).resolve().parent.parent / "data" / "mnist"
# Published with the data set, long before this project compressed the files again.
MD5 = {
    "x_train": "6bbc9ace898e44ae57da46a324031adb",
    "y_train": "a25bea736e30d166cdddb491f175f624",
    "x_test": "2646ac647ad5339dbf082846283269ea",
    "y_test": "27ae3e4e09519cfbb04c329615203637",
}
TOYS = {name: getattr(datasets, name) for name in ("xor", "spirals", "circles", "moons", "blobs", "sines")}
CLASSIFICATION = [name for name in TOYS if name != "sines"]


@pytest.fixture(scope="module")
def digits():
    return datasets.mnist(mirrors=())


# ---------------------------------------------------------------- MNIST


@pytest.mark.parametrize("part", FILES)
def test_the_repository_holds_the_published_contents(part):
    content = files.unpack((FOLDER / FILES[part].name).read_bytes(), FILES[part])
    assert hashlib.md5(content).hexdigest() == MD5[part]


def test_mnist_has_the_known_shapes_and_statistics(digits):
    assert (digits.x_train.shape, digits.x_train.dtype) == ((60_000, 784), np.uint8)
    assert (digits.x_test.shape, digits.x_test.dtype) == ((10_000, 784), np.uint8)
    assert (digits.y_train.shape, digits.y_train.dtype) == ((60_000,), np.int32)
    assert (digits.y_test.shape, digits.y_test.dtype) == ((10_000,), np.int32)
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(digits.y_train).tolist() == train
    assert np.bincount(digits.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # The mean and deviation with which everyone standardises MNIST.
    assert digits.x_train.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert digits.x_train.std() / 255 == pytest.approx(0.3081, abs=5e-5)


def test_mnist_says_what_it_is(digits):
    assert digits.classes == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    assert digits.image_shape == (28, 28)
    assert digits.name == "mnist"
    assert digits.licence == "CC BY-SA 3.0"
    assert all(name in digits.source for name in ("LeCun", "Cortes", "Burges"))
    assert "60,000 rows to train, 10,000 to test" in repr(digits)


def test_mnist_cannot_be_altered_by_accident(digits):
    for array in (digits.x_train, digits.y_train, digits.x_test, digits.y_test):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(AttributeError):
        digits.x_train = None


def test_mnist_is_read_fast():
    assert least_seconds(lambda: datasets.mnist(mirrors=()), 1) < 1  # 0.2 s where this was written


def test_licence_lies_beside_the_data_with_the_same_hashes():
    text = (FOLDER / "LICENSE.md").read_text(encoding="utf-8")
    assert "creativecommons.org/licenses/by-sa/3.0" in text
    for part, file in FILES.items():
        assert file.sha256 in text
        assert MD5[part] in text


def test_import_is_light():
    heavy = ("urllib.request", "http.client", "ssl", "sklearn", "rich", "click", "matplotlib")
    code = f"import sys, chainrule.datasets; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------- IDX


@pytest.mark.parametrize(
    ("kind", "dtype"), [(0x08, "u1"), (0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")]
)
def test_idx_types(kind, dtype):
    values = np.arange(-12, 12).astype(dtype).reshape(2, 3, 4)
    content = bytes([0, 0, kind, 3]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    parsed = parse_idx(content + values.astype(np.dtype(dtype).newbyteorder(">")).tobytes())
    assert parsed.dtype == np.dtype(dtype)
    assert parsed.dtype.isnative
    np.testing.assert_array_equal(parsed, values)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x08\0" + b"x",  # no dimensions
        b"\0\1\x08\1\0\0\0\1x",  # not zero
        b"\0\0\x07\1\0\0\0\1x",  # no such type
        b"\0\0\x08\2\0\0\0\1",  # a dimension is missing
        b"\0\0\x08\1\0\0\0\2x",  # a value is missing
        b"\0\0\x08\1\0\0\0\1xy",  # a value too many
        b"\0\0\x0e\1\0\0\0\1" + b"x" * 7,
        b"\0\0\x08\3" + b"\xff" * 12 + b"x",  # 2⁹⁶ values
        b"\0\0\x08\xff" + b"\xff" * 1020,
    ],
)
def test_idx_refuses_what_does_not_add_up(content):
    with pytest.raises(DataError, match=r"^digits: .*fetch the file again"):
        parse_idx(content, "digits")


# ---------------------------------------------------------------- toys


def philox4x64(counter: int, key: int) -> list[int]:
    """Salmon et al. 2011, section 3.3, in Python's integers."""
    mask = 2**64 - 1
    c, k = [(counter >> 64 * i) & mask for i in range(4)], [key & mask, key >> 64]
    for _ in range(10):
        low, high = c[0] * 0xD2E7470EE14C6C93, c[2] * 0xCA5A826395121157
        c = [high >> 64 ^ c[1] ^ k[0], high & mask, low >> 64 ^ c[3] ^ k[1], low & mask]
        k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
    return c


def test_uniforms_are_philox_by_the_book():
    known = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert philox4x64(0, 0) == known  # the authors' known-answer test
    seed = 2**63 + 12345
    bits = [word for block in (1, 2, 3) for word in philox4x64(block, seed)]
    expected = [(word >> 11) / 2**53 for word in bits]
    assert toys._Draw(seed).uniform(12).tolist() == expected
    x, _ = datasets.circles(12, noise=0, seed=seed)
    radius = [1, 0.5] * 6
    turn = [2 * math.pi * u for u in expected]
    points = [(r * math.cos(t), r * math.sin(t)) for r, t in zip(radius, turn, strict=True)]
    np.testing.assert_allclose(x, points, atol=1e-7)


def test_normals_are_normal():
    z = toys._Draw(3).normal(200_000)
    assert abs(z.mean()) < 0.01
    assert z.std() == pytest.approx(1, abs=0.01)
    assert (z**3).mean() == pytest.approx(0, abs=0.03)
    assert (z**4).mean() == pytest.approx(3, abs=0.06)
    assert np.mean(np.abs(z) < 1) == pytest.approx(0.6827, abs=0.005)


@pytest.mark.parametrize("name", TOYS)
def test_a_seed_fixes_every_bit(name):
    toy = TOYS[name]
    for one, two in zip(toy(n=50, seed=4), toy(n=50, seed=4), strict=True):
        assert one.tobytes() == two.tobytes()
    assert toy(n=50, seed=4)[0].tobytes() != toy(n=50, seed=5)[0].tobytes()


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_classes_are_balanced_in_every_stretch(name):
    x, y = TOYS[name](n=97)
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((97, 2), np.float32, (97,), np.int32)
    for part in (y, y[:50], y[50:], y[31:43]):
        counts = np.bincount(part)
        assert counts.max() - counts.min() <= 2


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_the_nearest_neighbour_is_of_the_same_class(name):
    """So there is something to learn; noise at its default does not drown it."""
    x, y = TOYS[name](n=600)
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert np.mean(y[distance.argmin(axis=1)] == y) > 0.97


@pytest.mark.parametrize(
    ("name", "best"), [("xor", 0.77), ("spirals", 0.85), ("circles", 0.72), ("moons", 0.93)]
)
def test_no_line_separates_the_classes(name, best):
    """So a hidden layer is needed. A line can cut off one corner of xor, and get 3/4 right, or a tangent of
    the inner circle the third of the outer one beyond it, which gets 2/3."""
    x, y = TOYS[name](n=400)
    angle = np.linspace(0, math.pi, 90, endpoint=False)
    projected = x @ np.stack([np.cos(angle), np.sin(angle)])
    thresholds = np.linspace(-1.5, 2, 71)
    right = ((projected[:, :, None] > thresholds) == (y == 1)[:, None, None]).mean(axis=0)
    assert np.maximum(right, 1 - right).max() < best


def test_spirals_turn():
    x, y = datasets.spirals(900, classes=3, turns=1.5, noise=0)
    r = np.hypot(x[:, 0], x[:, 1])
    turn = np.arctan2(x[:, 1], x[:, 0]) / (2 * np.pi) - y / 3 - 1.5 * r
    assert np.abs(turn - np.rint(turn)).max() < 1e-4
    assert np.quantile(r**2, [0.01, 0.25, 0.5, 0.75, 0.99]) == pytest.approx(
        [0.01, 0.25, 0.5, 0.75, 0.99], abs=0.05
    )


def test_moons_lie_on_two_half_circles():
    x, y = datasets.moons(200, noise=0)
    centre = np.where(y[:, None] == 0, [0, 0], [1, 0.5])
    np.testing.assert_allclose(np.linalg.norm(x - centre, axis=1), 1, atol=1e-6)


def test_noise_has_the_stated_deviation():
    x, _ = datasets.xor(20_000, noise=0.25, seed=1)
    clean, _ = datasets.xor(20_000, noise=0, seed=1)
    assert (x - clean).std() == pytest.approx(0.25, rel=0.02)
    x, y = datasets.sines(20_000, noise=0.3, periods=2)
    assert (x.shape, y.shape, x.dtype, y.dtype) == ((20_000, 1), (20_000, 1), np.float32, np.float32)
    assert (y - np.sin(x)).std() == pytest.approx(0.3, rel=0.02)
    assert np.abs(x).max() == pytest.approx(2 * np.pi, rel=1e-3)


def test_blobs_spread_around_their_centres():
    x, y = datasets.blobs(9000, classes=4, features=5, spread=0.5, box=3, seed=2)
    for label in range(4):
        cloud = x[y == label]
        assert cloud.std(axis=0) == pytest.approx([0.5] * 5, rel=0.06)
        assert np.abs(cloud.mean(axis=0)).max() < 3.1


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: datasets.xor(0), "n"),
        (lambda: datasets.moons(noise=-1), "noise"),
        (lambda: datasets.circles(noise=math.nan), "noise"),
        (lambda: datasets.circles(factor=math.inf), "factor"),
        (lambda: datasets.spirals(classes=0), "classes"),
        (lambda: datasets.spirals(turns=math.nan), "turns"),
        (lambda: datasets.blobs(features=0), "features"),
        (lambda: datasets.blobs(spread=math.inf), "spread"),
        (lambda: datasets.blobs(box=math.inf), "box"),
        (lambda: datasets.sines(periods=math.nan), "periods"),
        (lambda: datasets.sines(seed=-1), "seed"),
        (lambda: datasets.sines(seed=2**64), "seed"),
    ],
)
def test_senseless_arguments_are_named(call, name):
    with pytest.raises(ConfigError, match=f"^{name}=.*; give"):
        call()


# ---------------------------------------------------------------- the list


def test_available_lists_what_exists():
    entries = datasets.available()
    assert {entry.name for entry in entries} == {"mnist", "flats", *TOYS}
    assert all(callable(getattr(datasets, entry.name)) for entry in entries)
    for entry in entries:
        if entry.name in TOYS:
            x, y = TOYS[entry.name](n=8)
            assert entry.columns == x.shape[1]
            assert ("regression" in entry.task) == (y.dtype == np.float32)


def test_available_says_where_mnist_is(monkeypatch, tmp_path):
    assert Path(datasets.available()[0].where) == FOLDER
    monkeypatch.setattr(files, "_repository_folders", lambda dataset: iter(()))
    monkeypatch.setattr(files, "cache_folder", lambda: str(tmp_path))
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)
    assert datasets.available()[0].where == "not downloaded"
    (tmp_path / "mnist").mkdir()
    for file in FILES.values():
        assert datasets.available()[0].where == "not downloaded"
        (tmp_path / "mnist" / file.name).touch()
    assert datasets.available()[0].where == str(tmp_path / "mnist")


def test_flats_are_a_table_of_every_kind_of_column():
    table = datasets.flats(3000, seed=4)
    assert entry_of("flats").columns == len(table) - 1
    again, others = datasets.flats(3000, seed=4), datasets.flats(3000, seed=5)
    assert {len(column) for column in table.values()} == {3000}
    assert all(np.array_equal(table[k], again[k], equal_nan=table[k].dtype.kind == "f") for k in table)
    assert not np.array_equal(table["rent"], others["rent"])
    assert {column.dtype.kind for column in table.values()} == {"i", "f", "M", "O"}
    assert np.isnan(table["size"]).any()
    assert None in table["heating"].tolist()
    per_metre = table["rent"] / table["size"]
    by_condition = [
        np.nanmean(per_metre[table["condition"] == c]) for c in ("poor", "fair", "good", "excellent")
    ]
    assert by_condition == sorted(by_condition), "the better the dearer"


def entry_of(name):
    return next(entry for entry in datasets.available() if entry.name == name)
