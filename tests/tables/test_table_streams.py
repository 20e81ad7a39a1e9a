"""Streams: every row once an epoch, the same rows for the same seed, what the table in memory would give."""

from __future__ import annotations

import gzip
import threading
import tracemalloc
import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from chainrule.data.ahead import ahead
from chainrule.data.tables import (
    Classes,
    Scaled,
    Table,
    as_table,
    choose_encoders,
    read_table,
    sources,
    stream_table,
)
from chainrule.data.tables.sources import ArraySource, CsvSource, ParquetSource, open_source
from chainrule.errors import ConfigError, DataError

N = 3001


def frame(n=N, seed=0):
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, n).astype(float)
    return {
        "number": rng.permutation(n) * 1.5,  # a value of its own for each row
        "age": np.where(rng.random(n) < 0.1, np.nan, age),
        "city": rng.choice(np.array(["Bern", "Rome, Italy", 'the "big"\none', None], object), n),
        "when": np.datetime64("2020-01-01", "us") + rng.integers(0, 10**9, n) * np.timedelta64(10**5, "us"),
        "y": rng.choice(["no", "yes"], n),
        "w": rng.integers(0, 3, n).astype(float),
    }


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """So that few rows have many parts and pieces."""
    monkeypatch.setattr(sources, "_PIECE", 97)
    monkeypatch.setattr(sources, "_PART_BYTES", 5000)
    monkeypatch.setattr(sources, "_READ", 1000)


def given(form, tmp_path, table=None):
    """The rows as a dict of memory-mapped arrays, Parquet files, CSV, packed CSV."""
    table = frame() if table is None else table
    if form == "arrays":
        found = {}
        for name, values in table.items():
            if values.dtype == object:
                found[name] = values
            else:
                np.save(tmp_path / f"{name}.npy", values)
                found[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
        return found
    pd = pytest.importorskip("pandas")
    pandas = pd.DataFrame(table)
    if form == "parquet":
        pytest.importorskip("pyarrow")
        for i, start in enumerate(range(0, len(pandas), 1300)):
            pandas[start : start + 1300].to_parquet(tmp_path / f"part{i}.parquet", row_group_size=400)
        return tmp_path
    text = pandas.to_csv(index=False)
    if form == "csv":
        (tmp_path / "data.csv").write_text(text, newline="")
        return tmp_path / "data.csv"
    (tmp_path / "data.csv.gz").write_bytes(gzip.compress(text.encode()))
    return tmp_path / "data.csv.gz"


FORMS = ["arrays", "parquet", "csv", "packed csv"]


def numbers_of(stream, number):
    """For each batch of an epoch, the rows' own numbers."""
    mean, scale = (stream.state[f"encoder/number/{key}"] for key in ("mean", "scale"))
    column = stream.encoder.feature_names.index("number")
    for block in stream.epoch(number):
        rows = np.rint((block.inputs["x"][:, column].astype(float) * scale + mean) / 1.5).astype(int)
        for batch in [*block.index, *([] if block.tail is None else block.tail)]:
            yield rows[batch].copy()


# ------------------------------------------------------------------ rows


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("batch", "pool"), [(32, 500), (7, 100), (100, 100), (5000, 0), (1, 64)])
def test_every_row_once_an_epoch(tmp_path, form, batch, pool):
    stream = stream_table(given(form, tmp_path), "y", batch_size=batch, pool=pool, weight="w")
    assert stream.rows == N
    batches = list(numbers_of(stream, 0))
    assert sorted(np.concatenate(batches)) == list(range(N))
    assert len(batches) == stream.steps
    assert {len(b) for b in batches[:-1]} <= {batch}
    assert len(batches[-1]) == (N - 1) % batch + 1


@pytest.mark.parametrize("form", FORMS)
def test_what_comes_out_is_what_the_table_in_memory_gives(tmp_path, form):
    data = given(form, tmp_path)
    stream = stream_table(data, "y", pool=400, weight="w", embed_from=2)
    table = as_table(frame())
    x = table.drop("y", "w")
    encoder = choose_encoders(x, embed_from=2, weight=table["w"])
    assert stream.encoder == encoder
    state = encoder.fit(x, table["w"])
    for key, value in state.items():
        assert np.allclose(stream.state[key], value, rtol=1e-12), key
    assert stream.target == Classes(("no", "yes"))
    wanted = encoder.encode(x, stream.state)
    place = {float(v): i for i, v in enumerate(wanted["x"][:, encoder.feature_names.index("number")])}
    codes = stream.target.encode(table["y"])
    for block in stream.epoch(0):
        order = [place[float(v)] for v in block.inputs["x"][:, encoder.feature_names.index("number")]]
        assert np.array_equal(block.inputs["x"], wanted["x"][order])
        assert np.array_equal(block.inputs["codes"], wanted["codes"][order])
        assert np.array_equal(block.targets["y"], codes[order])
        assert np.array_equal(block.weight, table["w"][order].astype(np.float32))


def test_blocks_that_are_read_ahead_are_the_same(tmp_path):
    data = given("arrays", tmp_path)
    one, two = (stream_table(data, "y", pool=400, ahead=ahead) for ahead in (False, True))
    assert two.nbytes == 2 * one.nbytes
    for a, b in zip(numbers_of(one, 3), numbers_of(two, 3), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("rows", [101, 201, 300, 1, 64])
@pytest.mark.parametrize("pool", [100, 130, 1000])
def test_a_last_row_alone_goes_into_the_batch_before_it(rows, pool):
    rng = np.random.default_rng(0)
    data = {"number": rng.permutation(rows + 1)[:rows] * 1.5, "y": np.arange(rows) % 2}
    if rows == 1:
        with pytest.raises(DataError):
            stream_table(data, "y")
        return
    stream = replace(stream_table(data, "y", batch_size=50, pool=pool), merge_single=True)
    sizes = [len(b) for b in numbers_of(stream, 0)]
    assert sum(sizes) == rows
    assert len(sizes) == stream.steps
    assert sizes[-1] == {101: 51, 201: 51, 300: 50, 64: 14}[rows]
    assert set(sizes[:-1]) <= {50}


def test_a_fingerprint_tells_other_data(tmp_path):
    found = set()
    for form in FORMS:
        (tmp_path / form).mkdir()
        stream = stream_table(given(form, tmp_path / form), "y")
        found |= {stream.fingerprint, replace(stream, seed=1).fingerprint}
        assert stream_table(given(form, tmp_path / form), "y").fingerprint == stream.fingerprint
        other = tmp_path / f"{form} again"
        other.mkdir()
        found.add(stream_table(given(form, other, frame(seed=1)), "y").fingerprint)
    assert len(found) == 3 * len(FORMS)


def test_reading_ahead_ends_with_who_asked():
    made = []

    def blocks(fail_at):
        for i in range(fail_at):
            made.append(i)
            yield i
        raise DataError("broken")

    iterator = ahead(blocks(3))
    assert [next(iterator) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="broken"):
        next(iterator)
    made.clear()
    threads = threading.active_count()
    iterator = ahead(blocks(1000))
    next(iterator)
    iterator.close()
    assert threading.active_count() == threads
    assert len(made) <= 3, "at most the next block is made"


def test_the_order_follows_from_seed_and_epoch(tmp_path):
    data = given("arrays", tmp_path)
    streams = [stream_table(data, "y", pool=400, seed=seed) for seed in (0, 0, 1)]
    first, again, other = ([np.concatenate(list(numbers_of(s, e))) for e in (0, 1)] for s in streams)
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], other[0])
    order = np.array([int(v / 1.5) for v in frame()["number"]])
    assert abs(np.corrcoef(np.argsort(order)[first[0]], np.arange(N))[0, 1]) < 0.15, "parts come in any order"


def test_without_shuffling_rows_come_as_they_are(tmp_path):
    stream = replace(stream_table(given("arrays", tmp_path), "y", pool=400), shuffle=False)
    order = np.rint(frame()["number"] / 1.5).astype(int)
    assert np.array_equal(np.concatenate(list(numbers_of(stream, 5))), order)


@pytest.mark.parametrize("form", FORMS)
def test_a_split_holds_out_the_same_rows_in_every_epoch(tmp_path, form):
    stream = stream_table(given(form, tmp_path), "y", pool=500)
    train, held = stream.split(0.2)
    assert train.rows + held.rows == N
    assert 0.15 * N < held.rows < 0.25 * N
    sides = [[set(np.concatenate(list(numbers_of(side, e)))) for e in (0, 3)] for side in (train, held)]
    assert sides[0][0] == sides[0][1]
    assert sides[1][0] == sides[1][1]
    assert len(sides[0][0]) == train.rows
    assert len(sides[1][0]) == held.rows
    assert not sides[0][0] & sides[1][0]
    with pytest.raises(ConfigError, match="one side of a split"):
        train.split(0.1)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        stream.split(1.0)


# ------------------------------------------------------------------ sources


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_parts_of_a_csv_file_are_whole_lines(tmp_path, ends):
    table = frame()
    file = given("csv", tmp_path, table)
    file.write_bytes(file.read_bytes().replace(b"\n", ends.encode()))
    source = CsvSource(file)
    source.survey({})
    assert source.parts > 10
    found = Counter()
    for part in np.random.default_rng(0).permutation(source.parts):
        for first, rows in source.read(int(part)):
            assert isinstance(rows, Table)
            found.update(zip(rows["number"].tolist(), rows["city"].tolist(), strict=True))
            assert first >= 0
    cities = read_table(file)["city"].tolist()
    assert found == Counter(zip(table["number"].tolist(), cities, strict=True))


def test_kinds_that_show_late_in_a_csv_file(tmp_path):
    """Whole numbers and codes, then words: known after the survey for every part."""
    lines = ["n,c,y", *[f"{i},0{i},{i % 2}" if i > 500 else f"{i * 7 % 11},{i},{i % 2}" for i in range(1000)]]
    (tmp_path / "late.csv").write_text("\n".join(lines))
    source = open_source(tmp_path / "late.csv")
    profile = source.survey({})
    assert profile["c"].is_text
    assert {str(rows["c"].dtype) for part in range(source.parts) for _, rows in source.read(part)} == {
        "object"
    }


def test_a_csv_file_that_changes_is_an_error(tmp_path):
    file = given("csv", tmp_path)
    stream = stream_table(file, "y")
    text = file.read_text().splitlines()
    text[-1] = text[-1].replace(",", ",x", 1)
    file.write_text("\n".join(text))
    with pytest.raises(DataError):
        list(stream.epoch(0))


def test_parquet_files(tmp_path):
    source = open_source(given("parquet", tmp_path), columns=["age", "y"])
    assert isinstance(source, ParquetSource)
    assert (source.rows, source.names, source.parts) == (N, ("age", "y"), 10)
    assert [first for part in range(3) for first, _ in source.read(part)][:3] == [0, 97, 194]
    same = open_source(str(tmp_path / "*.parquet"))
    assert same.rows == N


def test_arrays():
    source = open_source({"x": np.arange(6.0).reshape(3, 2), "y": np.array([1, 2, 3])}, columns=["x1", "y"])
    assert isinstance(source, ArraySource)
    ((first, table),) = source.read(0)
    assert (first, table["x1"].tolist(), table["y"].tolist()) == (0, [1, 3, 5], [1, 2, 3])


BAD = {
    "no arrays": ({}, "without arrays"),
    "unequal arrays": ({"a": np.zeros(3), "b": np.zeros(4)}, "'b' has 4 rows, 'a' has 3"),
    "no rows": ({"a": np.zeros(0)}, "no rows"),
    "cubes": ({"a": np.zeros((2, 2, 2))}, "shape"),
    "an Excel file": ("data.xlsx", "cannot be streamed"),
    "several CSV files": (["a.csv", "b.csv"], "cannot be streamed"),
    "no file": ("none.csv", "there is no file"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_source(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    data, words = BAD[case]
    with pytest.raises(DataError, match=words):
        open_source(data)


def test_bad_streams(tmp_path):
    data = given("arrays", tmp_path)
    with pytest.raises(DataError, match="no column 'yy'; did you mean 'y'"):
        stream_table(data, "yy")
    with pytest.raises(DataError, match="no column 'weights'"):
        stream_table(data, "y", weight="weights")
    with pytest.raises(DataError, match=r"'age' has no value in [0-9]+ rows; a label is never guessed"):
        stream_table(data, "age")
    with pytest.raises(DataError, match="no classes but quantities"):
        stream_table({**data, "z": np.random.default_rng(0).normal(size=N)}, "z", task="classification")
    with pytest.raises(DataError, match="no column to learn from"):
        stream_table({"y": data["y"]}, "y")
    with pytest.raises(ConfigError, match="batch_size"):
        stream_table(data, "y", batch_size=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no Parquet files"):
        open_source(tmp_path / "empty")
    with pytest.raises(ConfigError, match="survey first"):
        next(CsvSource(given("csv", tmp_path)).read(0))


def test_targets_of_a_stream(tmp_path):
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=500), "y": rng.normal(5, 2, 500), "k": rng.integers(0, 3, 500)}
    stream = stream_table(data, "y")
    assert stream.target == Scaled()
    z = np.concatenate([b.targets["y"][b.index.ravel(), 0] for b in stream.epoch(0)])
    assert abs(z.mean()) < 0.1
    assert np.isclose(float(stream.target_state["target/mean"]), data["y"].mean())
    assert stream_table(data, "k").target == Classes((0, 1, 2), "whole")
    assert stream_table(data, "k", task="regression").target == Scaled()
    truth = {"x": data["x"], "y": data["x"] > 0}
    assert stream_table(truth, "y").target == Classes((False, True), "truth")
    kinds = stream_table({**data, "t": data["y"].astype(str)}, "k", kinds={"t": "numeric"})
    assert kinds.encoder.feature_names == ("x", "y", "t")
    assert next(iter(kinds.epoch(0))).inputs["x"].shape[1] == 3


def test_memory_is_what_is_said(tmp_path, monkeypatch):
    """8 columns of 400,000 rows are 26 MB; the pool is 1 MB, and nothing else grows with the rows."""
    monkeypatch.setattr(sources, "_PIECE", 4096)
    rng, n = np.random.default_rng(0), 400_000
    arrays = {}
    for j in range(8):
        np.save(tmp_path / f"{j}.npy", rng.normal(size=n))
        arrays[f"x{j}"] = np.load(tmp_path / f"{j}.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream = stream_table(arrays, "x0", batch_size=100, pool=20_000, ahead=False)
        assert stream.nbytes == 20_000 * (7 * 4 + 20)
        assert replace(stream, ahead=True).nbytes == 2 * stream.nbytes
        tracemalloc.start()
        rows = sum(block.index.size for block in stream.epoch(0))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert rows == n
    assert peak < 8e6


def test_targets_that_predictions_cannot_hold_are_refused() -> None:
    x = np.arange(60.0)
    with pytest.raises(DataError, match=r"'y' reaches 1e\+40, but float32"):
        stream_table({"x": x, "y": np.where(x == 7, -1e40, x + 0.5)}, "y")
