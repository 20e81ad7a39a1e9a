"""Reading CSV and TSV: every bad file by its line, every good one as pandas reads it."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.data.tables import as_table, read_table
from chainrule.errors import ConfigError, DataError


def write(tmp_path, content, name="data.csv"):
    file = tmp_path / name
    data = content.encode() if isinstance(content, str) else content
    file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return file


def people(n=60, **changed):
    """Lines of a good file, with cells changed: age_30="old" is row 30."""
    lines = ["id,age,height,sex"]
    for i in range(n):
        cells = {"id": f"p{i}", "age": str(18 + i), "height": f"{1.5 + i / 100:.2f}", "sex": "MF"[i % 2]}
        cells.update({k.split("_")[0]: v for k, v in changed.items() if k.endswith(f"_{i}")})
        lines.append(",".join(cells.values()))
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------ bad files: what, where, remedy

BAD = {
    "empty": ("", "is empty"),
    "blank lines alone": ("\n\n \n", "is empty"),
    "a byte-order mark alone": (b"\xef\xbb\xbf", "is empty"),
    "header only": ("a,b\n", "has a header but no rows"),
    "header without an end": ("a,b", "has a header but no rows"),
    "a short line": ("a,b,c\n1,2,3\n4,5\n", "line 3", "has 2 values, not 3"),
    "a long line": (
        "a,b\n1,2\n\n4,5,6\n7,8,9\n",
        "line 4",
        "has 3 values, not 2",
        "2 such lines",
        "in quotes",
    ),
    "a long line after one that goes over two": ('a,b\n"x\ny",2\n4,5,6\n', "line 4"),
    "blank names": ("a,,c,\n1,2,3,4\n", "columns 2, 4", "lack a name"),
    "row numbers of pandas": (",age\n0,31\n1,27\n", "column 1", "lacks a name", "index=False"),
    "row names of R": ("age,sex\n1,31,F\n2,27,M\n", "3 values", "2 names", "row.names"),
    "a delimiter announced above nothing": ("sep=;\na;b\n", "a header but no rows"),
    "a stray word below an announced delimiter": ("sep=;\nn;m\n1;2\n3;2\n5;2\n7;2\nx;2\n", "line 7"),
    "a name twice": ("age,sex, age\n1,F,2\n", "2 columns called 'age'", "columns 1, 3"),
    "no header": ("1,2.5\n2,3.5\n", "holds numbers, not column names", "header=False"),
    "a stray word": (people(age_30="old"), "column 'age' holds 'old' in line 32", "categorical"),
    "a stray word at the beginning": (people(age_0="old"), "'old' in line 2"),
    "a stray word beside few": ("n\n1\n2\n7\nx\n", "column 'n' holds 'x' in line 5"),
    "a stray word after 20,000 rows": (
        "n\n" + "\n".join(map(str, range(20_000))) + "\nx\n5\n",
        "column 'n' holds 'x' in line 20002",
    ),
    "four stray words": (
        people(age_3="a", age_5="b", age_7="c", age_9="d"),
        "'a' in line 5, 'b' in line 7, 'c' in line 9 (and 1 more)",
    ),
    "a decimal comma among points": (people(height_9='"1,65"'), "'1,65' in line 11"),
    "a word among dates": ("d\n" + "2024-01-31\n" * 9 + "soon\n", "'soon' in line 11", "not a date"),
    "a day that is none": ("d\n" + "2024-01-31\n" * 9 + "2024-02-31\n", "'2024-02-31' in line 11"),
    "an unclosed quote": ('a,b\n1,2\n3,"four\n5,6\n', "line 3", "quote that is never closed"),
    "an unclosed quote in a long file": ('a,b\n1,"2\n' + "3,4\n" * 50_000, "line 2", "never closed"),
    "text after a quote": ('a,b\n1,"x"y\n', "line 2", "after a closing quote"),
    "a huge cell": ("a,b\n1," + "x" * 200_000 + "\n", "line 2", "131072 characters"),
    "NUL": ("a,b\n1,2\n3,\0\n", "line 3", "NUL"),
    "UTF-16 without a mark": ("a,b\n1,2\n".encode("utf-16-le"), "line 1", "NUL", "utf-16"),
    "Latin-1": ("name\nJosé\n".encode("latin-1"), "not utf-8", "cp1252"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(20), "a picture"),
    "an Excel file of another name": (b"PK\x03\x04" + bytes(20), ".xlsx"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz"])
def test_a_bad_file_is_refused_with_its_line(tmp_path, case, name):
    content, *fragments = BAD[case]
    with pytest.raises(DataError) as caught:
        read_table(write(tmp_path, content, name))
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert ";" in str(caught.value) or "but" in str(caught.value), "a remedy follows what is wrong"


def test_files_that_are_not_there(tmp_path):
    write(tmp_path, "a\n1\n", "people.csv")
    with pytest.raises(DataError, match=r"there is no file .*did you mean people\.csv"):
        read_table(tmp_path / "peple.csv")
    with pytest.raises(DataError, match="is missing too"):
        read_table(tmp_path / "nowhere" / "people.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)


def test_a_packed_file_that_is_broken(tmp_path):
    whole = gzip.compress(people(5000).encode())
    for content, words in [
        (whole[: len(whole) // 2], "breaks off|cannot be unpacked"),
        (whole[:-8] + bytes(8), "cannot be unpacked"),
        (whole[:40] + b"\xff" * 60 + whole[100:], "cannot be unpacked|breaks off|not utf-8"),
        (b"\x1f\x8b\x08", "cannot be unpacked"),
    ]:
        (tmp_path / "broken.csv.gz").write_bytes(content)
        with pytest.raises(DataError, match=words):
            read_table(tmp_path / "broken.csv.gz")


def test_bombs_stop_at_the_gate(tmp_path):
    """One endless line, and endless rows: refused while little was unpacked."""
    line = tmp_path / "line.csv.gz"
    with gzip.open(line, "wb", compresslevel=1) as file:
        file.write(b"a,b\n")
        for _ in range(64):
            file.write(bytes(b"1" * (1 << 20)))
    rows = tmp_path / "rows.csv.gz"
    with gzip.open(rows, "wb", compresslevel=1) as file:
        file.write(b"a,b\n")
        for _ in range(20):
            file.write(b"1,2\n" * 100_000)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"line 2 of .* is longer than 16 MiB"):
        read_table(line)
    with pytest.raises(DataError, match=r"more than 1[0-9.]+ MB of memory, 10 MB are allowed"):
        read_table(rows, memory=10_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6


def test_options_that_mean_nothing(tmp_path):
    file = write(tmp_path, people())
    for options in ({"delimiter": ",,"}, {"decimal": ";"}):
        with pytest.raises(ConfigError):
            read_table(file, **options)
    with pytest.raises(DataError, match="unknown encoding"):
        read_table(file, encoding="utf-99")
    with pytest.raises(DataError, match="no column 'agee'; did you mean 'age'"):
        read_table(file, columns=["agee"])
    assert read_table(file, kinds={"agee": "categorical"}).names == ("id", "age", "height", "sex")


# ------------------------------------------------------------------ good files

NAN = float("nan")
GOOD = {
    "CRLF": ("a,b\r\n1,x\r\n2,y\r\n", {"a": [1, 2], "b": ["x", "y"]}),
    "CR": ("a,b\r1,x\r2,y\r", {"a": [1, 2], "b": ["x", "y"]}),
    "no end of the last line": ("a,b\n1,x\n2,y", {"a": [1, 2], "b": ["x", "y"]}),
    "a byte-order mark": (b"\xef\xbb\xbfa,b\n1,x\n", {"a": [1], "b": ["x"]}),
    "UTF-16": ("a,b\n1,ü\n".encode("utf-16"), {"a": [1], "b": ["ü"]}),
    "one row": ("a,b\n1,x\n", {"a": [1], "b": ["x"]}),
    "one column": ("a\n1\n2\n", {"a": [1, 2]}),
    "one column of text": ("name\nx y\nz, w\n".replace(",", ""), {"name": ["x y", "z w"]}),
    "semicolons": ("a;b\n1;x, y\n2;z\n", {"a": [1, 2], "b": ["x, y", "z"]}),
    "a line of Excel that says the delimiter": ("sep=;\na;b\n1;x, y\n", {"a": [1], "b": ["x, y"]}),
    "that line with CRLF": ("sep=,\r\na,b\r\n1,x\r\n", {"a": [1], "b": ["x"]}),
    "tabs": ("a\tb\n1\tx,y\n2\tz\n", {"a": [1, 2], "b": ["x,y", "z"]}),
    "bars": ("a|b\n1|x\n2|z\n", {"a": [1, 2], "b": ["x", "z"]}),
    "decimal commas": ("a;b\n1,5;1\n-2;2\n", {"a": [1.5, -2.0], "b": [1, 2]}),
    "decimal commas and points of thousands": ("a;b\n1.234,5;1\n7;2\n", {"a": [1234.5, 7.0], "b": [1, 2]}),
    "commas of thousands": ('a,b\n"1,234.5",1\n7,2\n', {"a": [1234.5, 7.0], "b": [1, 2]}),
    "quotes": ('a,b\n"x, ""y""",1\n"z\nw",2\n', {"a": ['x, "y"', "z\nw"], "b": [1, 2]}),
    "blanks around": ("a , b\n 1 , x \n 2 ,y\n", {"a": [1, 2], "b": ["x", "y"]}),
    "blank lines": ("\na,b\n\n1,x\n\n\n2,y\n\n", {"a": [1, 2], "b": ["x", "y"]}),
    "a delimiter at each end": ("a,b,\n1,x,\n2,y,\n", {"a": [1, 2], "b": ["x", "y"]}),
    "gaps": (
        "n,i,t,s\n1.5,1,true,x\nNA,,,NA\n,3,False,?\n",
        {"n": [1.5, NAN, NAN], "i": [1.0, NAN, 3.0], "t": ["True", None, "False"], "s": ["x", None, None]},
    ),
    "None is a word among words": (
        "n,m\nNone,None\nOne,1\nTwo,2\nOne,3\n",
        {"n": ["None", "One", "Two", "One"], "m": [NAN, 1, 2, 3]},
    ),
    "nothing at all in a column": ("a,b\n1,\n2,\n", {"a": [1, 2], "b": [NAN, NAN]}),
    "truth": ("t\ntrue\nFALSE\nTrue\n", {"t": [True, False, True]}),
    "numbers with exponents": ("a\n1e3\n-2.5E-1\n.5\n+4\n", {"a": [1000.0, -0.25, 0.5, 4.0]}),
    "infinite": ("a\ninf\n-Infinity\n1\n", {"a": [np.inf, -np.inf, 1.0]}),
    "postcodes": ("z\n00501\n10001\n", {"z": ["00501", "10001"]}),
    "postcodes with gaps": ("z,a\n00501,1\n,2\n10001,3\n", {"z": ["00501", None, "10001"], "a": [1, 2, 3]}),
    "0 and 0.5 are no codes": ("a,b\n0,0.5\n10,0.25\n", {"a": [0, 10], "b": [0.5, 0.25]}),
    "underscores": ("a\n1_000\n2_000\n", {"a": ["1_000", "2_000"]}),
    "beyond 2⁵³": ("a\n9007199254740993\n1\n", {"a": [9007199254740993, 1]}),
    "beyond 2⁵³ with gaps": ("a,b\n9007199254740993,1\n,2\n", {"a": ["9007199254740993", None], "b": [1, 2]}),
    "beyond 2⁵³ with fractions": ("a\n9007199254740993\n1.5\n", {"a": [9007199254740992.0, 1.5]}),
    "beyond 64 bits": ("a\n99999999999999999999\n1\n", {"a": ["99999999999999999999", "1"]}),
    "counts with an open end": ("c\n" + "0\n1\n2\n3+\n" * 6, {"c": ["0", "1", "2", "3+"] * 6}),
    "categories that look like numbers here and there": (
        "c\n" + "A1\nB2\n3\n" * 3,
        {"c": ["A1", "B2", "3"] * 3},
    ),
    "dates": (
        "d\n2024-02-29\n\n2023-12-31T23:59:30\n".replace("\n\n", "\nNA\n"),
        {"d": ["2024-02-29T00:00:00", "NaT", "2023-12-31T23:59:30"]},
    ),
    "dates with zones": (
        "d\n2024-02-29T12:00:00+02:00\n2024-02-29 10:00:00Z\n",
        {"d": ["2024-02-29T10:00:00"] * 2},
    ),
    "dates of Germany": (
        "d\n1.2.2024\n3.4.2024 12:30\n",
        {"d": ["2024-02-01T00:00:00", "2024-04-03T12:30:00"]},
    ),
    "dates of America": ("d\n1/2/2024\n3/31/2024\n", {"d": ["2024-01-02T00:00:00", "2024-03-31T00:00:00"]}),
    "dates that nobody can tell": ("d\n1/2/2024\n3/4/2024\n", {"d": ["1/2/2024", "3/4/2024"]}),
}


def assert_column(found, wanted):
    if found.dtype.kind == "M":
        wanted = np.array(wanted, found.dtype)
        assert np.array_equal(found, wanted, equal_nan=True)
    elif found.dtype.kind == "f":
        assert np.array_equal(found, np.array(wanted, float), equal_nan=True)
    else:
        assert found.tolist() == wanted
        kinds = {type(v) for v in wanted} - {type(None)}
        assert {"i": {int}, "b": {bool}, "O": {str}}[found.dtype.kind] == kinds


@pytest.mark.parametrize("case", GOOD)
def test_a_good_file_is_understood(tmp_path, case):
    content, wanted = GOOD[case]
    table = read_table(write(tmp_path, content))
    assert list(table.names) == list(wanted)
    for name, values in wanted.items():
        assert_column(table[name], values)


def test_what_is_said_is_believed(tmp_path):
    file = write(tmp_path, people(age_30="unknown"))
    assert np.isnan(read_table(file, missing=["unknown"])["age"][30])
    assert read_table(file, kinds={"age": "categorical"})["age"][30] == "unknown"
    assert read_table(file, columns=["sex", "height"]).names == ("sex", "height")
    assert read_table(write(tmp_path, "1;2\n3;4\n"), header=False)["x1"].tolist() == [2, 4]
    assert read_table(write(tmp_path, "a;b\n1;2\n"), delimiter=",").names == ("a;b",)
    assert read_table(write(tmp_path, "a;b\n1,5;2\n"), decimal=".", kinds={"a": "text"})["a"].tolist() == [
        "1,5"
    ]
    assert read_table(write(tmp_path, "n\nJosé\n".encode("cp1252")), encoding="cp1252")["n"][0] == "José"


@pytest.mark.parametrize("late", [30, 9_000, 20_000])
def test_kinds_that_show_late(tmp_path, late):
    """Whole, then fractions; whole, then codes; truth, then words; numbers, then words; gaps, then text."""
    first = {"a": "7", "b": "12", "c": "true", "d": "5", "e": "", "f": ""}
    then = {"a": "7.5", "b": "012", "c": "maybe", "d": "x1", "e": "word", "f": "2024-01-31"}
    n = 30_000
    rows = [",".join((first if i < late else then).values()) for i in range(n)]
    table = read_table(write(tmp_path, "a,b,c,d,e,f\n" + "\n".join(rows)))
    for name in "abcdef":
        values = [first[name]] * late + [then[name]] * (n - late)
        if name == "a":
            assert table[name].tolist() == [7.0] * late + [7.5] * (n - late)
        elif name == "f":
            assert np.isnat(table[name]).sum() == late
        else:
            assert table[name].tolist() == [v or None for v in values]


def test_it_reads_what_pandas_reads(tmp_path):
    pd = pytest.importorskip("pandas")
    rng, n = np.random.default_rng(0), 20_000
    frame = pd.DataFrame(
        {
            "whole": rng.integers(-(10**12), 10**12, n),
            "number": rng.normal(size=n) * 10.0 ** rng.integers(-300, 300, n),
            "gaps": np.where(rng.random(n) < 0.1, np.nan, rng.random(n)),
            "whole_gaps": np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 9, n)),
            "text": rng.choice(['a "quoted" one', "two, with comma", "line\nbreak", "ünï", "zzz"], n),
            "truth": rng.random(n) < 0.5,
            "when": pd.Timestamp("2001-01-01") + pd.to_timedelta(rng.integers(0, 10**9, n), unit="s"),
        }
    )
    for sep, decimal in [(",", "."), (";", ","), ("\t", "."), ("|", ".")]:
        file = tmp_path / "frame.csv"
        frame.to_csv(file, index=False, sep=sep, decimal=decimal)
        ours = read_table(file)
        theirs = as_table(pd.read_csv(file, sep=sep, decimal=decimal, parse_dates=["when"]))
        wanted = as_table(frame)
        assert ours.names == theirs.names
        for name in ours.names:
            assert ours[name].dtype == theirs[name].dtype
            assert np.array_equal(ours[name], wanted[name], equal_nan=ours[name].dtype.kind in "fM")


text = st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=60)
@given(
    st.integers(2, 4).flatmap(
        lambda k: st.lists(
            st.lists(text.map(lambda t: f"w{t}w"), min_size=k, max_size=k), min_size=1, max_size=12
        )
    ),
    st.sampled_from(",;\t|"),
)
def test_whatever_csv_writes_comes_back(tmp_path_factory, rows, delimiter):
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerows([[f"name {j}" for j in range(len(rows[0]))], *rows])
    file = tmp_path_factory.mktemp("csv") / "any.csv"
    file.write_bytes(out.getvalue().encode())
    table = read_table(file, delimiter=delimiter)
    assert [list(row) for row in zip(*table.columns.values(), strict=True)] == rows


@settings(max_examples=150)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_data_error(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("bytes") / "any.csv"
    file.write_bytes(data)
    with contextlib.suppress(DataError):
        assert len(read_table(file)) > 0
