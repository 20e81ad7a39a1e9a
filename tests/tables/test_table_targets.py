"""Targets: labels of every sort and numbers; what is no label is refused."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.config import from_json, to_json
from chainrule.data.tables import ENCODERS, Classes, Scaled, as_table, choose_target
from chainrule.errors import ConfigError, DataError

NAN = float("nan")

LABELS = {
    "text": (["no", "yes", "no"], ("no", "yes"), "text"),
    "text array": (np.array(["b", "a", "b"]), ("a", "b"), "text"),
    "objects": (np.array(["b", "a"], object), ("a", "b"), "text"),
    "truth": ([True, False], (False, True), "truth"),
    "truth array": (np.array([True, False]), (False, True), "truth"),
    "0 and 1": ([0, 1, 1], (0, 1), "whole"),
    "1 … K": (np.array([3, 1, 2], np.int8), (1, 2, 3), "whole"),
    "negative": ([-1, 1], (-1, 1), "whole"),
    "floats that are whole": (np.array([1.0, 2.0, 1.0, 1.0], np.float32), (1.0, 2.0), "number"),
    "fractions that recur": ([0.5, 1.5, 0.5, 1.5], (0.5, 1.5), "number"),
    "large": ([2**60, 2**60 + 1], (2**60, 2**60 + 1), "whole"),
    "a column": (np.array([["a"], ["b"]]), ("a", "b"), "text"),
    "a table": (as_table({"y": ["b", "a"]}), ("a", "b"), "text"),
    "brackets": (["[75.000-", "-10.000)"], ("-10.000)", "[75.000-"), "text"),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_of_every_sort(case):
    y, labels, sort = LABELS[case]
    classes = Classes.of(y)
    assert (classes.labels, classes.sort, len(classes)) == (labels, sort, len(labels))
    codes = classes.encode(y)
    assert codes.dtype == np.int64
    back = classes.decode(codes)
    given = y["y"] if case == "a table" else np.asarray(y).ravel()
    assert back.tolist() == given.tolist()
    assert back.dtype.kind == {"text": "U", "truth": "b", "whole": "i", "number": "f"}[sort]
    assert sum(classes.counts(y).values()) == len(given)
    assert from_json(to_json(classes), ENCODERS, {}) == classes


def test_pandas_labels():
    pd = pytest.importorskip("pandas")
    y = pd.Series(["b", "a", "b"], index=[5, 5, 7], name="y")
    assert Classes.of(y).encode(y).tolist() == [1, 0, 1]
    assert Classes.of(pd.Series(pd.Categorical(["x", "y"]))).labels == ("x", "y")
    with pytest.raises(DataError, match="2 columns, where one is expected"):
        Classes.of(pd.DataFrame({"a": [1, 2], "b": [1, 2]}))


REFUSED = {
    "a gap": (["a", None, "b"], "no value in 1 row (1)", "never guessed"),
    "NaN": ([0.0, NAN, 1.0, NAN], "no value in 2 rows (1, 3)", "drop"),
    "one class": (["a", "a"], "one class only, 'a'"),
    "one class of numbers": ([1, 1, 1], "one class only, 1"),
    "quantities": (np.random.default_rng(0).normal(size=99), "99 different numbers in 99 rows", "regressor"),
    "many fractions": (np.arange(99).repeat(3) / 7, "99 different numbers", "regressor"),
    "dates": (np.array(["2024-01-01", "2024-01-02"], "datetime64[D]"), "dates"),
    "no rows": ([], "no rows"),
    "complex": (np.array([1j, 2]), "complex"),
    "two columns": (np.eye(3), "shape (3, 3)"),
    "words and numbers": ([1, 2, 3, 4, 5, 6, "x"], "'x' in row 6"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_label(case):
    y, *words = REFUSED[case]
    with pytest.raises(DataError) as caught:
        Classes.of(y)
    for word in words:
        assert word in str(caught.value)


def test_labels_that_are_not_known():
    classes = Classes.of(["setosa", "virginica"])
    with pytest.raises(DataError, match=r"label 'setos' in 2 rows \(0, 2\).*did you mean 'setosa'"):
        classes.encode(["setos", "setosa", "setos"])
    with pytest.raises(DataError, match="no value in 1 row"):
        classes.encode(["setosa", None])
    assert Classes.of([1, 2]).encode([2.0, 1.0]).tolist() == [1, 0]
    with pytest.raises(DataError, match="label '3'"):
        Classes.of([1, 2]).encode([3])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Classes(()),
        lambda: Classes(["a"]),
        lambda: Classes(("a", "a")),
        lambda: Classes(("a",), "words"),
        lambda: Scaled("ln"),
        lambda: choose_target([1, 2], "classify"),
    ],
)
def test_configuration_that_means_nothing(make):
    with pytest.raises(ConfigError):
        make()


def test_scaled_is_standardised_and_comes_back():
    rng = np.random.default_rng(0)
    for y in (rng.normal(5, 3, 50), rng.normal(5, 3, (50, 3)), rng.normal(5, 3, (50, 1)), np.arange(9)):
        scaled = Scaled()
        state = scaled.fit(y)
        z = scaled.encode(y, state)
        assert z.shape == np.shape(y)
        assert np.allclose(z.mean(axis=0), 0)
        assert np.allclose(z.std(axis=0), 1)
        assert np.allclose(scaled.decode(z, state), y)
    weight = rng.integers(0, 3, 50)
    y = rng.normal(size=50)
    found, wanted = Scaled().fit(y, weight), Scaled().fit(np.repeat(y, weight))
    assert all(np.allclose(found[key], wanted[key]) for key in wanted)
    assert Scaled().fit([3.0, 3.0])["target/scale"] == 1
    assert Scaled(centred=False).encode([3, 4], {}).tolist() == [3, 4]
    assert from_json(to_json(Scaled("log")), ENCODERS, {}) == Scaled("log")


def test_logarithms():
    y = np.array([1.0, 10.0, 1000.0])
    state = Scaled("log").fit(y)
    assert np.allclose(Scaled("log").encode(y, state), (np.log(y) - np.log(y).mean()) / np.log(y).std())
    assert np.allclose(Scaled("log").decode(Scaled("log").encode(y, state), state), y)
    state = Scaled("log1p").fit([0.0, 5.0])
    assert np.allclose(Scaled("log1p").decode(Scaled("log1p").encode([0.0, 5.0], state), state), [0, 5])
    with pytest.raises(DataError, match=r"holds 0 in 1 row \(1\).*above 0; use transform='log1p'"):
        Scaled("log").fit([1.0, 0.0])
    with pytest.raises(DataError, match=r"holds -1 .*use transform='none'"):
        Scaled("log").fit([1.0, -1.0])
    with pytest.raises(DataError, match="from 0 up"):
        Scaled("log1p").fit([1.0, -1.0])


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([1.0, NAN], r"no value in 1 row \(1\)"),
        ([1.0, np.inf], r"infinite in 1 row \(1\)"),
        (["a", "b"], "holds text, such as 'a'.*classifier"),
        (np.array(["2024-01-01"], "datetime64[D]"), "holds dates"),
        (np.array([[1.0, 2.0], [NAN, 3.0]]), "column 0, has no value"),
        ([], "no rows"),
    ],
)
def test_what_is_no_number(y, words):
    with pytest.raises(DataError, match=words):
        Scaled().fit(y)


@pytest.mark.parametrize(
    ("y", "task", "reason"),
    [
        (["a", "b", "a"], Classes, "2 different texts"),
        ([True, False], Classes, "true and false"),
        ([0, 1, 1], Classes, "2 different whole numbers"),
        (np.arange(100) % 10, Classes, "10 different whole numbers"),
        (np.arange(99) % 10, Scaled, "whole numbers"),
        (np.arange(100.0) % 3, Classes, "3 different whole numbers"),
        (np.arange(1000) % 21, Scaled, "whole numbers"),
        ([1.5, 2.5, 2.5], Scaled, "numbers"),
    ],
)
def test_the_task_that_a_target_asks_for(y, task, reason):
    found, why = choose_target(y)
    assert (type(found), why) == (task, reason)
    assert choose_target(y, "classification" if task is Classes else "regression")[1] == "you said so"


def test_a_task_that_does_not_fit():
    with pytest.raises(DataError, match="no classes but quantities"):
        choose_target(np.arange(50) * 1.1, "classification")
    with pytest.raises(DataError, match="a regression takes numbers"):
        choose_target(["a", "b"], "regression")
    with pytest.raises(DataError, match="one class only"):
        choose_target(["a", "a"])
