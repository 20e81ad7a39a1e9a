"""The door, splits, batches: every bad input by name, no needless copy, orders against Philox by hand."""

from __future__ import annotations

import collections
import decimal
import fractions
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import ops
from chainrule.data import (
    Orders,
    Sequence,
    as_named,
    batches,
    check_inputs,
    check_rows,
    check_weights,
    order,
    permutation,
    plan,
    split,
)
from chainrule.errors import ChainruleError, ConfigError, DataError
from chainrule.executors import EXECUTORS, compile
from chainrule.ops.random import path_key


def checked(x, what: str = "x", **options):
    """What comes through the door for one array."""
    return check_inputs(as_named(x, what), what=what, **options)[what]


def refused(x, *fragments: str, what: str = "x", **options) -> None:
    with pytest.raises(DataError) as caught:
        check_inputs(as_named(x, what), what=what, **options)
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert ";" in str(caught.value) or ":" in str(caught.value), "a remedy follows what is wrong"


def holes(shape, *places, dtype="float64"):
    """Ones with the values given as (index, value)."""
    x = np.ones(shape, dtype)
    for place, value in places:
        x[place] = value
    return x


class Frame:
    """Like a data frame: no sequence, no array, but NumPy can ask it for one."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)


NAType = type("NAType", (), {"__repr__": lambda self: "<NA>"})
csr_matrix = type("csr_matrix", (), {"__module__": "scipy.sparse._csr"})
dok_matrix = type("dok_matrix", (dict,), {"__module__": "scipy.sparse._dok"})


# ------------------------------------------------------------------ what is refused, where, and what to do


NAN, INF = float("nan"), float("inf")
FEATURES = {
    "one NaN": (holes((9, 4), ((5, 2), NAN)), "x holds 1 NaN in column 2, 1 row (5)", "drop", "median"),
    "NaN and Inf in a column": (
        holes((99, 4), (np.s_[10:70:10, 3], NAN), ((98, 3), -INF)),
        "6 NaN and 1 Inf in column 3, 7 rows (10, 20, 30, 40, 50, …)",
    ),
    "several columns": (
        holes((9, 8), ((1, 0), NAN), ((2, 4), INF), ((3, 5), NAN), ((4, 6), NAN), ((4, 7), NAN)),
        "1 NaN in column 0, 1 row (1); 1 Inf in column 4, 1 row (2); 1 NaN in column 5, 1 row (3); "
        "and in 2 more of 8 columns",
    ),
    "NaN in an image": (holes((3, 8, 8), ((1, 5, 6), NAN)), "1 NaN in position (5, 6), 1 row (1)"),
    "NaN in float16": (holes((3, 2), ((2, 0), NAN), dtype="float16"), "1 NaN in column 0"),
    "NaN in big-endian, F-order": (
        holes((3, 2), ((2, 0), NAN), dtype=">f4").copy("F"),
        "column 0, 1 row (2)",
    ),
    "NaN in a list": ([[1.0, 2.0], [NAN, 3.0]], "1 NaN in column 0, 1 row (1)"),
    "too large for float32": (
        holes((5, 3), ((4, 1), -1e39)),
        "x has -1e+39 in row 4, column 1",
        "3.4e+38",
        "float64",
    ),
    "too large after NumPy made it an integer": ([[1, 2.0], [10**40, 3]], "1e+40 in row 1, column 0"),
    "beyond float64": (np.array([[1, 10**400]], object), "1.8e308", "leave the column out"),
    "no rows": (np.zeros((0, 4)), "x has no rows", "(0, 4)"),
    "no columns": (np.zeros((4, 0)), "x has no columns", "(4, 0)"),
    "empty list": ([], "no rows"),
    "a single number": (3.5, "x is a single value, ", "3.5", "one row per sample"),
    "None": (None, "x is a single value, None"),
    "a file's name": ("data.csv", "x is a single value", "data.csv"),
    "one-dimensional": (np.zeros(5), "one-dimensional", "(5,)", "x.reshape(-1, 1)", "x.reshape(1, -1)"),
    "sparse dict": (dok_matrix({(0, 0): 1.0}), "sparse", "x.toarray()"),
    "sparse": (csr_matrix(), "sparse", "x.toarray()"),
    "masked": (np.ma.masked_greater(np.arange(6.0).reshape(3, 2), 3), "2 masked values", "x.filled(0)"),
    "text among objects": (
        np.array([[1, "red"], [2, "blue"]], object),
        "x holds 'red' in row 0, column 1, which is not a number",
        "encode",
    ),
    "a stray word in a list": (
        [[1.0, 2.0], [3.0, "n/a"]],
        "x holds 'n/a' in row 1, column 1",
        "not a number",
    ),
    "text": (np.array([["1.5", "2"], ["7", "tall"]]), "'tall' in row 1, column 1", "encode"),
    "bytes": (np.array([[b"a"]]), "row 0, column 0, which is not a number"),
    "numbers as text": (np.array([["1.5", "2"]]), "numbers written as text", "'1.5'", "x.astype(float)"),
    "a long text": (np.array([["y" * 500]]), "yyy…"),
    "None in a cell": ([[1, None]], "missing value (None) in row 0, column 1", "fill in"),
    "pandas' NA": (Frame([[1, NAType()]]), "missing value (<NA>) in row 0, column 1"),
    "complex": (np.ones((2, 2), complex), "complex data is not supported", "two columns"),
    "a complex object": (np.array([[1, 2j]], object), "complex data is not supported (row 0, column 1)"),
    "dates": (np.array([["2024-01-01"]], "datetime64[D]"), "datetime64[D]", "np.timedelta64(1, 'D')"),
    "durations": (np.array([[3]], "timedelta64[s]"), "dates or times"),
    "records": (np.zeros(3, [("age", "f4"), ("size", "f4")]).reshape(3, 1), "records (age, size)", "dict"),
    "raw memory": (np.zeros((3, 1), "V8"), "holds no numbers"),
    "ragged": (
        [[1, 2], [3, 4], [5]],
        "ragged: row 0 has 2 values, row 2 has 1 value;",
        "Sequence(values, lengths)",
    ),
    "ragged with a number": ([[1, 2], 3], "ragged: row 0 has 2 values, row 1 is a single value"),
    "ragged deeper down": ([[[1], [2]], [[3], [4, 5]]], "cannot be read as an array"),
    "ragged objects": (np.array([[1, 2], [3]], object), "ragged (row 0 holds 2 values)", "Sequence"),
    "integers above 2⁵³": (
        np.array([[1, 2], [3, 2**53 + 1]]),
        "9007199254740993 in row 1, column 1",
        "identifier",
        "x.astype(float)",
    ),
    "integers below −2⁵³": (np.array([[-(2**60), 0]]), "-1152921504606846976 in row 0, column 0"),
    "the least integer": (np.array([[-(2**63)]]), "-9223372036854775808"),
    "unsigned above 2⁶³": (np.array([[2**64 - 1]], np.uint64), "18446744073709551615"),
    "an empty dict": ({}, "empty dict"),
    "a blank name": ({" ": np.ones((2, 2))}, "' '", "not blank"),
    "a name that is no text": ({0: np.ones((2, 2))}, "named 0"),
    "a name given twice": (
        {"s": Sequence(np.ones((2, 3)), [1, 2]), "s/lengths": np.ones(2)},
        "two arrays named 's/lengths'",
    ),
    "rows that differ": ({"a": np.ones((3, 2)), "b": np.ones((4, 2))}, "x['a'] has 3 rows but x['b'] has 4"),
    "NaN under a name": (
        {"a": np.ones((3, 2)), "b": holes((3, 2), ((2, 1), NAN))},
        "x['b'] holds 1 NaN in column 1",
    ),
    "a length too large": (
        Sequence(np.ones((3, 5)), [1, 6, 7]),
        "x['x/lengths']",
        "1 and the padded length 5",
        "2 rows (1, 2)",
    ),
    "a length of zero": (Sequence(np.ones((3, 5)), [1, 0, 5]), "1 row (1)"),
    "lengths that are not whole": (
        Sequence(np.ones((3, 5)), [1.5, 2, 3]),
        "lengths (rows,) of whole numbers",
    ),
    "too few lengths": (Sequence(np.ones((3, 5)), [1, 2]), "3 rows", "has 2"),
    "a sequence without time": (Sequence(np.ones(3), [1, 1, 1]), "x"),
}


@pytest.mark.parametrize("case", FEATURES)
def test_bad_features_are_refused(case):
    x, *fragments = FEATURES[case]
    refused(x, *fragments)


@pytest.mark.parametrize(
    ("y", "fragments"),
    [
        (holes(5, (3, NAN)), ["y holds 1 NaN in 1 row (3)", "never guessed", "drop these rows from x and y"]),
        (holes((5, 2), ((3, 1), INF)), ["y holds 1 Inf in column 1, 1 row (3)", "never guessed"]),
        (["cat", "dog"], ["y holds 'cat' in row 0", "np.unique(y, return_inverse=True)"]),
        (np.array(["cat", "dog"]), ["np.unique(y, return_inverse=True)"]),
        ([1, None, 2], ["missing value (None) in row 1", "drop the row"]),
        (np.array([2**60]), ["row 0", "y.astype(float)"]),
        (np.array([1.0, 1e300]), ["y has 1e+300 in row 1"]),
        ([], ["y has no rows"]),
    ],
)
def test_bad_labels_are_refused(y, fragments):
    refused(y, *fragments, what="y")


def test_row_counts_name_both_sides():
    refused(np.zeros(4), "x has 3 rows but y has 4", what="y", rows=3)
    refused(np.zeros(4), "images has 3 rows but y has 4", what="y", rows=3, beside="images")
    refused(np.zeros((4, 1)), "x has 3 rows but x has 4", rows=3)
    with pytest.raises(DataError, match="x has 3 rows but sample_weight has 2"):
        check_rows({"x": 3, "y": 3, "sample_weight": 2})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, -2.0, 3.0, -1.0], r"negative in 2 rows \(1, 3\); give 0"),
        ([1.0, NAN, 3.0, 1.0], r"1 NaN in 1 row \(1\)"),
        ([1.0, INF, 3.0, 1.0], r"1 Inf in 1 row \(1\)"),
        ([0, 0, 0, 0], "zero in every row"),
        ([1.0, 2.0, 3.0], "x has 4 rows but sample_weight has 3"),
        (np.ones((4, 1)), r"shape \(4, 1\), not one number per row; use sample_weight.ravel\(\)"),
        (2.0, "single value"),
        ({"a": [1, 1, 1, 1]}, "single value"),
        (["a", "b", "c", "d"], "'a' in row 0"),
        ([1.0, 1.0, 1e300, 1.0], "1e\\+300 in row 2"),
    ],
)
def test_bad_weights_are_refused(weights, message):
    with pytest.raises(DataError, match=message):
        check_weights(weights, rows=4)


@pytest.mark.parametrize("weights", [[1, 0, 2, 1], [True, False, True, True], np.array([1.0, 0, 2, 1])[::1]])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_become_floats(weights, dtype):
    found = check_weights(weights, rows=4, dtype=dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.asarray(weights, float))


def test_what_cannot_be_read_at_all_is_a_data_error():
    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("it requires grad")

    refused(Broken(), "cannot be read as an array (it requires grad)")


def test_a_network_is_float():
    with pytest.raises(ConfigError, match="float32 or float64, not int64"):
        checked([[1]], dtype="int64")


# ------------------------------------------------------------------ what comes through, and as what


@pytest.mark.parametrize(
    ("given_as", "comes_as"),
    [
        ("bool", "bool"),
        ("uint8", "uint8"),
        ("int8", "int32"),
        ("int16", "int32"),
        ("uint16", "int32"),
        ("int32", "int32"),
        (">i4", "int32"),
        ("uint32", "int64"),
        ("int64", "int64"),
        (">i8", "int64"),
        ("uint64", "int64"),
        ("float16", "float32"),
        ("float32", "float32"),
        (">f4", "float32"),
        ("float64", "float32"),
        (">f8", "float32"),
        ("longdouble", "float32"),
    ],
)
@pytest.mark.parametrize(
    "layout", ["C", "F", "every second", "reversed", "broadcast", "read-only", "frame", "object"]
)
def test_every_dtype_and_layout_keeps_its_values(given_as, comes_as, layout):
    x = (np.arange(60).reshape(6, 10) % 2 if given_as == "bool" else np.arange(60).reshape(6, 10)).astype(
        given_as
    )
    x = {
        "C": lambda: x,
        "F": lambda: np.asfortranarray(x),
        "every second": lambda: x[::2, 1::3],
        "reversed": lambda: x[::-1, ::-1],
        "broadcast": lambda: np.broadcast_to(x[0], (4, 10)),
        "read-only": lambda: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
        "frame": lambda: Frame(x),
        "object": lambda: x.astype(object),
    }[layout]()
    found = checked(x)
    if layout == "object":
        assert found.dtype == ("int64" if np.dtype(comes_as).kind in "iu" else comes_as)
    else:
        assert found.dtype == comes_as
    assert found.flags.c_contiguous
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, np.asarray(x).astype(found.dtype))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32", "float64"])
def test_nothing_is_copied_that_is_right_already(dtype, tmp_path):
    x = np.ones((6, 10), dtype)
    assert checked(x, dtype="float64" if dtype == "float64" else "float32") is x
    mapped = np.memmap(tmp_path / "x", dtype, "w+", shape=(6, 10))
    mapped[:] = 1
    found = checked(mapped, dtype="float64" if dtype == "float64" else "float32")
    assert np.shares_memory(found, mapped)
    x.setflags(write=False)
    assert checked(x, dtype="float64" if dtype == "float64" else "float32") is x


def test_float64_stays_where_the_network_is_float64():
    x = np.array([[1e300, 0.1]])
    assert checked(x, dtype="float64") is x


def test_numbers_of_any_python_kind_are_numbers():
    mixed = [
        [1, 2.5],
        [fractions.Fraction(1, 4), decimal.Decimal("0.5")],
        [True, np.float32(3)],
        [np.bool_(1), -1],
    ]
    np.testing.assert_array_equal(
        checked(np.array(mixed, object)), np.float32([[1, 2.5], [0.25, 0.5], [1, 3], [1, -1]])
    )
    whole = checked(np.array([[1, 2], [3, 4]], object))
    assert whole.dtype == np.int64
    np.testing.assert_array_equal(checked(np.array([[1.0, NAN]], object).copy()[:, :1]), [[1]])


def test_masked_arrays_without_a_masked_value_are_arrays():
    np.testing.assert_array_equal(checked(np.ma.array([[1.0, 2.0]])), [[1, 2]])


@pytest.mark.parametrize(
    "x", [[[1.0, 2.0]], ((1.0, 2.0),), np.ones((1, 2)), np.ones((1, 28, 28)), np.ones((2, 3, 4, 5))]
)
def test_one_row_and_many_axes_are_fine(x):
    np.testing.assert_array_equal(checked(x), np.asarray(x))


def test_tiny_numbers_and_the_largest_float32_come_through():
    x = np.array([[1e-60, float(np.finfo(np.float32).max), -0.0]])
    np.testing.assert_array_equal(checked(x), x.astype(np.float32))


def test_the_last_exact_whole_number_comes_through():
    x = np.array([[2**53, -(2**53)]])
    assert checked(x) is x


def test_a_dict_keeps_names_and_order_and_may_hold_one_value_per_row():
    named = {"pixels": np.ones((3, 4), "uint8"), "age": [1.0, 2.0, 3.0], "word": np.arange(3)}
    found = check_inputs(as_named(collections.OrderedDict(named), "x"))
    assert {k: (v.shape, v.dtype.name) for k, v in found.items()} == {
        "pixels": ((3, 4), "uint8"),
        "age": ((3,), "float32"),
        "word": ((3,), "int64"),
    }
    assert list(found) == list(named)


def test_a_sequence_is_its_values_and_its_lengths():
    values = np.ones((3, 5, 2), "float32")
    found = check_inputs(as_named({"sound": Sequence(values, [5, 1, 3]), "who": np.ones((3, 1))}, "x"))
    assert list(found) == ["sound", "sound/lengths", "who"]
    assert found["sound"] is values
    np.testing.assert_array_equal(found["sound/lengths"], [5, 1, 3])
    assert found["sound/lengths"].dtype == np.int64
    lengths = check_inputs(as_named(Sequence(values, np.uint8([1, 2, 3])), "x"))["x/lengths"]
    assert lengths.dtype == np.int64


@pytest.mark.parametrize("place", [0, 1, 131071, 131072, 131073, 262143, 262144, -2, -1])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_one_bad_value_is_found_wherever_it_is(place, value):
    x = np.ones((3 * (1 << 17) + 5, 1), np.float32)
    x[place] = value
    refused(x, f"in column 0, 1 row ({range(len(x))[place]})")


def test_the_check_costs_about_one_look_at_the_data():
    x = np.ones((20_000, 784), np.float32)
    assert cost(lambda: checked(x)) < 8 * cost(lambda: x.sum(dtype=np.float32))  # 1.1 where this was written
    x = np.ones((60_000, 784), np.uint8)
    assert cost(lambda: checked(x)) < 0.01  # never looks: every uint8 is a number


def cost(work) -> float:
    best = INF
    for _ in range(4):
        start = time.thread_time()
        work()
        best = min(best, time.thread_time() - start)
    return best


# ------------------------------------------------------------------ order and batches


def philox(c, k):
    """Philox4x32-10 with Python's integers; Salmon et al. 2011."""
    a, b, d, e = c
    low, high = k
    for _ in range(10):
        p, q = 0xD2511F53 * a, 0xCD9E8D57 * d
        a, b, d, e = (q >> 32) ^ b ^ low, q & 0xFFFFFFFF, (p >> 32) ^ e ^ high, p & 0xFFFFFFFF
        low, high = (low + 0x9E3779B9) & 0xFFFFFFFF, (high + 0xBB67AE85) & 0xFFFFFFFF
    return a, b, d, e


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (42, 7), (-1, 3), (2**62, 2**33)])
@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_the_order_sorts_63_random_bits(n, seed, epoch):
    key = (seed ^ path_key("shuffle")) & 2**64 - 1
    words = []
    for block in range(n // 2 + 1):
        words += philox((block, epoch & 0xFFFFFFFF, epoch >> 32, 0), (key & 0xFFFFFFFF, key >> 32))
    draws = [(words[2 * i] << 32 | words[2 * i + 1]) >> 1 for i in range(n)]
    assert order(n, seed, epoch).tolist() == sorted(range(n), key=draws.__getitem__)


@pytest.mark.parametrize("n", [1, 999, 60_000])
def test_the_order_is_what_a_compiled_graph_draws(n):
    seed, epoch = ops.input("seed", (), "int64"), ops.input("epoch", (), "int64")
    graph = ops.permutation(ops.RandomKey(seed, epoch, "shuffle"), n)
    drawn = compile([graph], [seed, epoch], executor="reference")(np.int64(3), np.int64(11))[0]
    found = order(n, 3, 11)
    np.testing.assert_array_equal(found, drawn)
    assert found.dtype == np.int64


def test_orders_are_the_same_everywhere():
    """Golden: a change here changes every run that was ever recorded."""
    assert order(8, seed=0, epoch=0).tolist() == GOLDEN_ORDER
    assert split(12, 0.25, seed=0)[1].tolist() == GOLDEN_SPLIT


GOLDEN_ORDER = [4, 0, 7, 1, 6, 3, 5, 2]
GOLDEN_SPLIT = [3, 6, 7]


def test_every_row_comes_once_and_epochs_differ():
    epochs = [order(1000, 1, e) for e in range(20)]
    for rows in epochs:
        np.testing.assert_array_equal(np.sort(rows), np.arange(1000))
    together = np.corrcoef(np.stack(epochs))[np.triu_indices(20, 1)]
    assert np.abs(together).max() < 0.15  # 4.7 standard deviations of 1/√1000
    np.testing.assert_array_equal(order(5, 1, 2, shuffle=False), [0, 1, 2, 3, 4])
    assert (permutation(1000, 1, 0, "shuffle") != permutation(1000, 1, 0, "split")).any()


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("n", [1, 2, 150, 400, 401, 3000, 20_000])
def test_orders_drawn_ahead_are_those_of_each_epoch(n, executor):
    """Also where so many are asked for that the bits are drawn by compiled code, in whatever sequence."""
    orders = Orders(n, -7, epochs=1 << 20, executor=executor)
    for epoch, count in ((0, 1), (1, 3), (2, 1), (2**33, 2), (1, 2)):
        found = orders(epoch, count)
        assert found.dtype == np.int64
        assert found.tolist() == [order(n, -7, e).tolist() for e in range(epoch, epoch + count)]
    plain = Orders(n, -7, epochs=9, shuffle=False)
    assert plain(3, 2).tolist() == [list(range(n))] * 2


@given(
    st.integers(1, 3),
    st.sampled_from([5, 400, 401, 700, 20_000]),
    st.sampled_from([1, 20, 40, 63]),
    st.data(),
)
@settings(max_examples=25, deadline=None)
def test_sorting_by_digits_is_a_stable_argsort(lines, n, distinct, data):
    """Also of draws of which many are equal, in their high bits or wholly."""
    draws = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 2**63, (lines, n))
    draws = draws & ~((1 << 63 - distinct) - 1) if data.draw(st.booleans()) else draws >> 63 - distinct
    assert (batches._sorting(draws) == np.argsort(draws, axis=1, kind="stable")).all()


def test_an_order_of_sixty_thousand_takes_milliseconds():
    assert cost(lambda: order(60_000, 0, 0)) < 0.1  # 0.009 where this was written


@given(n=st.integers(1, 500), batch_size=st.integers(1, 60), merge=st.booleans())
def test_batches_cover_every_row_once(n, batch_size, merge):
    if merge and (n == 1 or batch_size == 1):
        return
    full, tail = plan(n, batch_size, merge)
    assert full * batch_size + tail == n
    assert full >= 0
    assert tail != 1 or not merge
    assert 0 <= tail < batch_size or (merge and tail == batch_size + 1)


def test_plans():
    assert plan(60_000, 100, True) == (600, 0)
    assert plan(101, 100, False) == (1, 1)
    assert plan(101, 100, True) == (0, 101)
    assert plan(7, 100, True) == (0, 7)


@pytest.mark.parametrize(
    ("n", "batch_size", "merge", "error", "message"),
    [
        (0, 10, False, DataError, "0 rows"),
        (10, 0, False, ConfigError, "batch_size .* got 0"),
        (10, 2.5, False, ConfigError, "got 2.5"),
        (1, 10, True, DataError, "one row cannot train"),
        (10, 1, True, ConfigError, "at least 2"),
    ],
)
def test_plans_without_meaning_are_refused(n, batch_size, merge, error, message):
    with pytest.raises(error, match=message):
        plan(n, batch_size, merge)


# ------------------------------------------------------------------ splits


def disjoint(n, train, held):
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held])), np.arange(n))
    assert len(train) >= 1
    assert len(held) >= 1
    assert (np.diff(train) > 0).all()
    assert (np.diff(held) > 0).all()
    assert train.dtype == held.dtype == np.int64


@given(n=st.integers(2, 300), share=st.floats(0.001, 0.999), seed=st.integers(-(2**63), 2**63 - 1))
def test_a_split_has_two_sides_of_the_sizes_asked_for(n, share, seed):
    train, held = split(n, share, seed)
    disjoint(n, train, held)
    assert len(held) == min(max(round(share * n), 1), n - 1)


def test_every_row_is_held_out_equally_often():
    counts = sum(np.bincount(split(40, 0.25, seed)[1], minlength=40) for seed in range(2000))
    assert np.abs(counts - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)


@given(
    classes=st.lists(st.integers(0, 6), min_size=2, max_size=200),
    share=st.floats(0.01, 0.9),
    seed=st.integers(0, 100),
)
def test_strata_give_their_share_to_within_one_and_never_their_last_row(classes, share, seed):
    labels = np.array(classes)
    names, counts = np.unique(labels, return_counts=True)
    if counts.max() == 1:
        return
    train, held = split(len(labels), share, seed, stratify=labels)
    disjoint(len(labels), train, held)
    wanted = min(max(round(share * len(labels)), 1), len(labels) - 1)
    assert len(held) <= wanted
    for name, count in zip(names, counts, strict=True):
        taken = (labels[held] == name).sum()
        assert taken < count
        assert taken == count - 1 or abs(taken - wanted * count / len(labels)) < 1
    if counts.min() > 1 and share < 0.4:
        assert len(held) == wanted


def test_a_rare_class_stays_in_training_and_the_rest_keeps_its_proportions():
    labels = np.array(["common"] * 800 + ["seldom"] * 199 + ["once"])
    train, held = split(1000, 0.1, 3, stratify=labels)
    assert collections.Counter(labels[held]) == {"common": 80, "seldom": 20}
    assert "once" in labels[train]
    other = split(1000, 0.1, 4, stratify=labels)[1]
    assert (held != other).any()


@given(
    groups=st.lists(st.integers(0, 12), min_size=2, max_size=150),
    share=st.floats(0.01, 0.9),
    seed=st.integers(0, 100),
)
def test_groups_stay_whole(groups, share, seed):
    groups = np.array(groups)
    sizes = np.bincount(groups)
    if (sizes > 0).sum() < 2:
        return
    train, held = split(len(groups), share, seed, groups=groups)
    disjoint(len(groups), train, held)
    assert not set(groups[train]) & set(groups[held])
    wanted = min(max(round(share * len(groups)), 1), len(groups) - 1)
    assert len(held) <= wanted or len(held) == sizes[sizes > 0].min()
    if len(held) < wanted:  # no group that was left would have fitted
        assert sizes[np.unique(groups[train])].min() > wanted - len(held)


def test_equal_groups_fill_the_share_and_depend_on_the_seed():
    groups = np.repeat([f"patient {i}" for i in range(50)], 4)
    found = [split(200, 0.2, seed, groups=groups)[1] for seed in range(5)]
    assert {len(held) for held in found} == {40}
    assert len({held.tobytes() for held in found}) == 5


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n": 1, "share": 0.1}, DataError, "1 row cannot be split"),
        ({"n": 0, "share": 0.1}, DataError, "0 rows cannot be split"),
        ({"n": 10, "share": 0.0}, ConfigError, "between 0 and 1.*got 0.0"),
        ({"n": 10, "share": 1.0}, ConfigError, "got 1.0"),
        ({"n": 10, "share": NAN}, ConfigError, "got nan"),
        ({"n": 10, "share": "0.1"}, ConfigError, "got '0.1'"),
        ({"n": 3, "share": 0.5, "stratify": [1, 2]}, DataError, r"stratify has shape \(2,\).*3 rows"),
        ({"n": 3, "share": 0.5, "stratify": np.eye(3)}, DataError, r"argmax\(axis=1\)"),
        (
            {"n": 3, "share": 0.5, "stratify": ["a", "b", "c"]},
            DataError,
            "3 classes in 3 rows, so no class can spare",
        ),
        ({"n": 3, "share": 0.5, "groups": [1, 1, 1]}, DataError, "one group only"),
        ({"n": 3, "share": 0.5, "groups": [1, 1]}, DataError, r"groups has shape \(2,\)"),
        ({"n": 2, "share": 0.5, "groups": [1, 2], "stratify": [1, 2]}, ConfigError, "not both"),
        ({"n": 2, "share": 0.5, "groups": np.array([1, "a"], object)}, DataError, "groups mixes"),
    ],
)
def test_splits_without_meaning_are_refused(arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        split(**arguments, seed=0)
    assert isinstance(caught.value, ChainruleError)
