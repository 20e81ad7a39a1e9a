"""as_table: arrays, dicts and data frames, whatever they hold; what is no table is refused by name."""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from chainrule.data.tables import Table, as_table, concatenate, is_missing, read_table
from chainrule.errors import DataError, MissingExtraError

NAN, NAT = float("nan"), np.datetime64("NaT")
NAType = type("NAType", (), {})
csr_matrix = type("csr_matrix", (), {"__module__": "scipy.sparse._csr"})


def assert_column(found, wanted):
    """The same values and kinds of values; wanted decides between 1 and 1.0, True and "True"."""
    if found.dtype.kind == "M":
        assert np.array_equal(found, np.array(wanted, "datetime64[us]"), equal_nan=True)
        return
    kinds = {type(v) for v in wanted} - {type(None)}
    assert {"f": {float}, "i": {int}, "b": {bool}, "O": {str}}[found.dtype.kind] == kinds
    if found.dtype.kind == "f":
        assert np.array_equal(found, np.array(wanted), equal_nan=True)
    else:
        assert found.tolist() == wanted


# ------------------------------------------------------------------ columns of every dtype

COLUMNS = {
    "floats": (np.array([1.5, NAN]), [1.5, NAN]),
    "half": (np.array([1.5, 2], np.float16), [1.5, 2.0]),
    "big-endian": (np.array([1.5, 2], ">f4"), [1.5, 2.0]),
    "strided": (np.arange(6.0)[::3], [0.0, 3.0]),
    "whole": (np.array([1, -2], np.int8), [1, -2]),
    "unsigned": (np.array([1, 2], np.uint64), [1, 2]),
    "unsigned beyond int64": (np.array([1, 2**63], np.uint64), ["1", "9223372036854775808"]),
    "truth": (np.array([True, False]), [True, False]),
    "text": (np.array(["a", "bc"]), ["a", "bc"]),
    "dates": (np.array(["2024-01-31", "NaT"], "datetime64[D]"), ["2024-01-31", NAT]),
    "nanoseconds": (
        np.array(["2024-01-31T10:00:00.123456789"], "datetime64[ns]"),
        ["2024-01-31T10:00:00.123456"],
    ),
    "durations": (np.array([90, "NaT"], "timedelta64[m]"), [5400.0, NAN]),
    "masked": (np.ma.masked_equal(np.array([1, 7, 3]), 7), [1.0, NAN, 3.0]),
    "a list of numbers": ([1, 2], [1, 2]),
    "a list with gaps": ([1, None, 2.5], [1.0, NAN, 2.5]),
    "whole with gaps": ([1, None], [1.0, NAN]),
    "whole with gaps, large": ([2**60 + 1, None], ["1152921504606846977", None]),
    "whole beyond 64 bits": ([2**70, 1], ["1180591620717411303424", "1"]),
    "text with gaps": (["a", None, NAN, NAType()], ["a", None, None, None]),
    "truth with gaps": ([True, None, False], ["True", None, "False"]),
    "truth among numbers": ([True, 2], [1, 2]),
    "numbers of all kinds": (
        [decimal.Decimal("1.5"), fractions.Fraction(1, 4), np.float32(2), 3],
        [1.5, 0.25, 2.0, 3.0],
    ),
    "Python's dates": ([dt.date(2024, 1, 31), None], ["2024-01-31", NAT]),
    "Python's times": (
        [dt.datetime(2024, 1, 31, 10, tzinfo=dt.timezone(dt.timedelta(hours=2)))],
        ["2024-01-31T08:00"],
    ),
    "Python's durations": ([dt.timedelta(minutes=1), None], [60.0, NAN]),
    "few numbers among words": (["a", "b", "a", 3, 3.0], ["a", "b", "a", "3", "3"]),
    "nothing but gaps": ([None, None], [NAN, NAN]),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_a_column_of_any_dtype(case):
    given, wanted = COLUMNS[case]
    before = given.copy() if isinstance(given, np.ndarray) else list(given)
    assert_column(as_table({"a": given})["a"], wanted)
    if isinstance(given, np.ndarray):
        assert np.array_equal(given, before, equal_nan=given.dtype.kind in "fmM")


def test_a_column_is_nobody_elses():
    values = np.ones(3)
    values.setflags(write=False)
    column = as_table({"a": values})["a"]
    assert column.flags.writeable
    assert not np.shares_memory(column, values)


REFUSED = {
    "complex": ({"a": np.array([1j])}, "column 'a' holds complex", "real and imaginary"),
    "complex objects": ({"a": [1, 2j]}, "column 'a' holds a complex in row 1"),
    "records": ({"a": np.zeros(2, [("x", float)])}, "column 'a' holds values of dtype"),
    "bytes": ({"a": np.array([b"x"])}, "bytes in row 0", "decode"),
    "bytes in objects": ({"a": ["x", b"y"]}, "bytes in row 1"),
    "lists": ({"a": [[1, 2], [3]]}, "column 'a' holds a list in row 0"),
    "a matrix as a column": ({"a": np.eye(2)}, "column 'a' has shape (2, 2)"),
    "one text": ({"a": "abc"}, "column 'a' has shape ()"),
    "a word among numbers": ({"a": [1.5, 2, 3, 4, "x"]}, "column 'a' holds 'x' in row 4"),
    "a date among words": ({"a": ["x", dt.date(2024, 1, 1)]}, "column 'a' holds 'x' in row 0"),
    "strangers": ({"a": [object()]}, "column 'a' holds a object in row 0"),
    "beyond float64": ({"a": [10**400, 1.5]}, "1.8e308"),
    "dates of the far future": (
        {"a": np.array(["300000-01-01", "2024-01-01"], "datetime64[D]")},
        "290,000",
        "1 row (0)",
    ),
    "unequal columns": ({"a": [1, 2], "b": [1]}, "'b' has 1 rows, 'a' has 2"),
    "no columns": ({}, "without columns"),
    "names twice": ({"a": [1], "a ": [2]}, "2 columns called 'a'", "1, 2"),
    "a blank name": ({"": [1], "b": [1]}, "column 1 of the table lacks a name"),
    "one-dimensional": (np.zeros(3), "shape (3,)", "reshape(-1, 1)"),
    "three-dimensional": (np.zeros((3, 2, 2)), "flatten each row"),
    "no width": (np.zeros((3, 0)), "shape (3, 0)"),
    "a number": (3.5, "a dict {name: values}"),
    "ragged": ([[1, 2], [3]], "ragged"),
    "sparse": (csr_matrix(), "sparse", ".toarray()"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_is_refused(case):
    given, *fragments = REFUSED[case]
    with pytest.raises(DataError) as caught:
        as_table(given)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_arrays_become_columns():
    table = as_table(np.array([[1, 2.5], [3, 4]]))
    assert (table.names, table["x1"].tolist()) == (("x0", "x1"), [2.5, 4.0])
    table = as_table([[1, "a"], [2, "b"]])
    assert (table["x0"].tolist(), table["x1"].tolist()) == ([1, 2], ["a", "b"])
    table = as_table(np.array([(1, "a"), (2, "b")], [("n", int), ("s", "U1")]))
    assert (table["n"].tolist(), table["s"].tolist()) == ([1, 2], ["a", "b"])


def test_arrays_of_every_layout(tmp_path):
    wanted = np.arange(12.0).reshape(4, 3)
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(4, 3))
    mapped[:] = wanted
    for array in (np.asfortranarray(wanted), wanted.astype(">f8"), mapped, np.array(wanted)[::-1][::-1]):
        table = as_table(array)
        assert all(table[f"x{j}"].tolist() == wanted[:, j].tolist() for j in range(3))
        assert all(column.flags.c_contiguous for column in table.columns.values())


def test_what_a_table_can_do():
    table = as_table({"a": [1, 2, 3], "b": ["x", None, "z"]})
    assert as_table(table) is table
    assert (len(table), table.names, "a" in table, "c" in table) == (3, ("a", "b"), True, False)
    assert table.take([2, 0])["b"].tolist() == ["z", "x"]
    assert table.take(slice(1, 3))["a"].tolist() == [2, 3]
    assert table.drop("a").names == ("b",)
    assert table.select(["b", "a"]).names == ("b", "a")
    assert is_missing(table["b"]).tolist() == [False, True, False]
    assert is_missing(np.array(["NaT"], "datetime64[us]")).tolist() == [True]
    assert concatenate([table, table.take([0])])["b"].tolist() == ["x", None, "z", "x"]
    with pytest.raises(DataError, match="no column 'bb'; did you mean 'b'"):
        table["bb"]
    with pytest.raises(DataError, match="no column 'c'"):
        table.drop("c")
    with pytest.raises(DataError, match="nothing is left"):
        table.drop("a", "b")
    with pytest.raises(DataError, match="as_table makes one"):
        Table({"a": np.zeros((2, 2))})


def test_parts_of_a_column_may_differ_as_gaps_make_them():
    parts = [as_table({"n": n, "t": t}) for n, t in [([1, 2], [True, False]), ([1.5, None], [None, True])]]
    table = concatenate(parts)
    assert_column(table["n"], [1.0, 2.0, 1.5, NAN])
    assert_column(table["t"], ["True", "False", None, "True"])
    with pytest.raises(DataError, match="column 'n' is int64 and object"):
        concatenate([parts[0], as_table({"n": ["x"], "t": [True]})])


# ------------------------------------------------------------------ data frames

WANTED = {
    "whole": [1, 2, 3],
    "whole_gaps": [1.0, NAN, 3.0],
    "large_gaps": ["1152921504606846976", None, "1"],
    "number": [1.5, NAN, 2.0],
    "text": ["a", None, "b"],
    "truth": [True, False, True],
    "truth_gaps": ["True", None, "False"],
    "when": ["2024-01-31T08:00", NAT, "2024-02-29"],
    "zoned": ["2024-01-31T08:00", NAT, "2024-02-29"],
    "long": [3600.0, NAN, 1.0],
    "category": ["y", None, "x"],
}


def pandas_frame():
    pd = pytest.importorskip("pandas")
    when = pd.to_datetime(pd.Series(["2024-01-31T08:00:00", None, "2024-02-29T00:00:00"]))
    return pd.DataFrame(
        {
            "whole": [1, 2, 3],
            "whole_gaps": pd.array([1, None, 3], dtype="Int32"),
            "large_gaps": pd.array([2**60, None, 1], dtype="Int64"),
            "number": [1.5, None, 2.0],
            "text": ["a", None, "b"],
            "truth": [True, False, True],
            "truth_gaps": pd.array([True, None, False], dtype="boolean"),
            "when": when.array,
            "zoned": when.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo").array,
            "long": pd.to_timedelta([3600, None, 1], unit="s"),
            "category": pd.Categorical(["y", None, "x"], categories=["y", "x"], ordered=True),
        },
        index=[7, 7, 9],
    )


def arrow_table():
    pa = pytest.importorskip("pyarrow")
    when = [dt.datetime(2024, 1, 31, 8), None, dt.datetime(2024, 2, 29)]
    return pa.table(
        {
            "whole": pa.array([1, 2, 3], pa.int16()),
            "whole_gaps": [1, None, 3],
            "large_gaps": [2**60, None, 1],
            "number": pa.array([1.5, None, 2.0], pa.float32()),
            "text": ["a", None, "b"],
            "truth": [True, False, True],
            "truth_gaps": [True, None, False],
            "when": pa.array(when, pa.timestamp("ms")),
            "zoned": pa.array(when, pa.timestamp("ns", "Asia/Tokyo")),
            "long": pa.array([3600, None, 1], pa.duration("s")),
            "category": pa.array(["y", None, "x"]).dictionary_encode(),
        }
    )


def polars_frame():
    pl = pytest.importorskip("polars")
    return pl.from_arrow(arrow_table()).with_columns(pl.col("category").cast(pl.Enum(["y", "x"])))


@pytest.mark.parametrize("make", [pandas_frame, arrow_table, polars_frame])
def test_data_frames(make):
    table = as_table(make())
    assert list(table.names) == list(WANTED)
    for name, wanted in WANTED.items():
        assert_column(table[name], wanted)
    assert dict(table.levels) == ({"category": ("y", "x")} if make is pandas_frame else {})


def test_pandas_oddities():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame([[1, "a"], [2, "b"]])
    assert as_table(frame).names == ("0", "1")
    assert as_table(pd.Series([1, 2], name="n"))["n"].tolist() == [1, 2]
    with pytest.raises(DataError, match="2 columns called 'a'"):
        as_table(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(DataError, match="'a' holds 'x' in row 4"):
        as_table(pd.DataFrame({"a": [1, 2.5, 3, 4, "x"]}))
    with pytest.raises(DataError, match="no columns"):
        as_table(pd.DataFrame(index=[1, 2]))
    table = as_table(pd.DataFrame({("a", "x"): [1], ("a", "y"): [2]}))
    assert len(table.names) == 2


def test_lazy_frames_of_polars():
    pl = pytest.importorskip("polars")
    assert as_table(pl.LazyFrame({"a": [1, 2]}))["a"].tolist() == [1, 2]


def test_without_narwhals_one_line_says_what_to_install(monkeypatch):
    pd = pytest.importorskip("pandas")
    monkeypatch.setitem(sys.modules, "narwhals", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'chainrule\[tables\]'"):
        as_table(pd.DataFrame({"a": [1]}))


# ------------------------------------------------------------------ other files

FILES = ["data.parquet", "data.feather"]


def save(frame, file):
    getattr(frame, {".parquet": "to_parquet", ".feather": "to_feather", ".xlsx": "to_excel"}[file.suffix])(
        file, **({"index": False} if file.suffix == ".xlsx" else {})
    )
    return file


@pytest.mark.parametrize("name", FILES)
def test_parquet_and_feather(tmp_path, name):
    pytest.importorskip("pyarrow")
    frame = pandas_frame().reset_index(drop=True)
    table = read_table(save(frame, tmp_path / name))
    for column, wanted in WANTED.items():
        assert_column(table[column], wanted)
    assert read_table(tmp_path / name, columns=["text", "whole"]).names == ("text", "whole")
    with pytest.raises(DataError, match="no column 'txt'; did you mean 'text'"):
        read_table(tmp_path / name, columns=["txt"])


def test_excel(tmp_path):
    pytest.importorskip("openpyxl")
    frame = pandas_frame()[["whole", "number", "text", "truth", "when"]]
    table = read_table(save(frame, tmp_path / "data.xlsx"))
    assert list(table.names) == list(frame.columns)
    for column in table.names:
        assert_column(table[column], WANTED[column])
    frame[:0].to_excel(tmp_path / "none.xlsx", index=False)
    with pytest.raises(DataError, match="a header but no rows"):
        read_table(tmp_path / "none.xlsx")
    with pytest.raises(DataError, match="MB of memory"):
        read_table(tmp_path / "data.xlsx", memory=1000)


def test_numpy_files(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(3, 2))
    assert read_table(tmp_path / "a.npy")["x1"].tolist() == [1.0, 3.0, 5.0]
    np.savez(tmp_path / "b.npz", n=np.arange(2), s=np.array(["x", "y"]))
    assert read_table(tmp_path / "b.npz", columns=["s"])["s"].tolist() == ["x", "y"]
    np.save(tmp_path / "c.npy", np.array([{}], object))
    with pytest.raises(DataError, match="cannot be read as NumPy"):
        read_table(tmp_path / "c.npy")
    with pytest.raises(DataError, match="MB of memory"):
        read_table(tmp_path / "a.npy", memory=10)


@pytest.mark.parametrize("name", [*FILES, "data.xlsx", "data.npy", "data.npz"])
def test_files_that_are_something_else(tmp_path, name):
    pytest.importorskip("pyarrow")
    pytest.importorskip("openpyxl")
    with pytest.raises(DataError, match="there is no file"):
        read_table(tmp_path / name)
    for content in (b"", b"hello world" * 20, b"PK\x03\x04" + bytes(100), b"PAR1" + bytes(100) + b"PAR1"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError):
            read_table(tmp_path / name)
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("hello.txt", "world")
    with pytest.raises(DataError):
        read_table(tmp_path / name)


@pytest.mark.parametrize("name", FILES)
def test_small_files_of_large_tables_stop_at_the_gate(tmp_path, name):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    file = save(pd.DataFrame({"a": np.zeros(2_000_000)}), tmp_path / name)
    with pytest.raises(DataError, match="about 32 MB of memory, 20 MB are allowed"):
        read_table(file, memory=20_000_000)
    file = save(pd.DataFrame({"a": [f"{i:01000}" for i in range(50_000)]}), tmp_path / name)
    with pytest.raises(DataError, match="of memory, 20 MB are allowed"):
        read_table(file, memory=20_000_000)


def test_a_long_word_that_recurs_is_kept_once(tmp_path):
    """A file of some KB; 2 GB, were each of the words made."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    words = pa.DictionaryArray.from_arrays(pa.array([0, None] * 20_000, pa.int32()), ["x" * 100_000])
    file = tmp_path / "word.parquet"
    parquet.write_table(pa.table({"a": words}), file, store_schema=False)
    assert file.stat().st_size < 50_000
    tracemalloc.start()
    table = read_table(file, memory=100_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(table), len(table["a"][0]), table["a"][1]) == (40_000, 100_000, None)
    assert max(peak, pa.total_allocated_bytes()) < 20e6


def test_no_rows(tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="no rows"):
        read_table(save(pd.DataFrame({"a": np.zeros(0)}), tmp_path / "none.parquet"))
