"""Every column encoder inside an ONNX file gives what the encoder itself does: also for gaps, for values that
training had not, and at the edges of years."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from onnx.reference import ReferenceEvaluator  # noqa: E402

from chainrule.data.tables import Table  # noqa: E402
from chainrule.data.tables.category import Boolean, Category, Ordinal  # noqa: E402
from chainrule.data.tables.encoder import ColumnEncoder, Notes  # noqa: E402
from chainrule.data.tables.number import PARTS, SCALINGS, Date, Number  # noqa: E402
from chainrule.data.tables.profile import describe  # noqa: E402
from chainrule.export.columns import HOW_COLUMN, input_dtype, write_column  # noqa: E402
from chainrule.export.emit import Emitter, tensor_type  # noqa: E402
from chainrule.export.onnx import finish  # noqa: E402

FLOAT = np.dtype("float32")


def exported(column: ColumnEncoder, state: dict[str, Any]) -> Any:
    e = Emitter("x")
    e.free("x")
    e.free("y")
    y = write_column(e, column, "x", state, FLOAT)
    given = e.onnx.helper.make_tensor_value_info("x", tensor_type(input_dtype(column)), ["batch"])
    dtype = np.dtype("int32") if column.codes else FLOAT
    width = len(column.features)
    return finish(
        e,
        [given],
        {"y": y},
        [e.onnx.helper.make_tensor_value_info("y", tensor_type(dtype), ["batch", width])],
        "",
    )


def agree(column: ColumnEncoder, fitted: Any, shown: Any) -> None:
    """``fitted`` is what the encoder learns from, ``shown`` what is predicted for."""
    profile = describe(Table({column.name: fitted}))
    state = column.fit(profile[column.name], profile.sample)
    model = exported(column, state)
    for rows in (1, 2, len(shown)):
        part = shown[:rows]
        wanted = np.zeros(
            rows if column.codes else (rows, len(column.features)), "int32" if column.codes else FLOAT
        )
        column.encode(part, state, wanted, Notes())
        given = {"x": as_given(part)}
        session = ort.InferenceSession(model.SerializeToString())
        with np.errstate(all="ignore"):
            both = [session.run(None, given)[0], ReferenceEvaluator(model).run(None, given)[0]]
        for found in both:
            np.testing.assert_allclose(found, wanted.reshape(found.shape), rtol=1e-5, atol=2e-6)
            assert found.dtype == wanted.dtype
            assert found.shape == (rows, len(column.features))


def as_given(column: Any) -> Any:
    """As the file's reader is told to give a column."""
    if column.dtype.kind == "M":
        return column.astype("datetime64[us]").view("int64")
    if column.dtype.kind == "O":
        return np.array(["" if v is None else v for v in column], object)
    return column.astype("float64")


def test_every_encoder_has_a_rule():
    def below(cls: type) -> set[type]:
        return {cls, *(c for sub in cls.__subclasses__() for c in below(sub))}

    assert HOW_COLUMN.keys() == below(ColumnEncoder) - {ColumnEncoder}


# ------------------------------------------------------------------ numbers

VALUES = np.concatenate([np.random.default_rng(0).lognormal(2, 1, 40), [np.nan, 7.0, 7.0, 7.0, -3.0]])
SHOWN = np.concatenate([[np.nan, 7.0, -1e9, 1e9, 0.0], np.random.default_rng(1).lognormal(2, 1, 30), VALUES])


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_numbers(scaling, missing):
    agree(Number("age", missing, scaling=scaling), VALUES, SHOWN)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_numbers_with_an_offset_keep_their_digits(scaling):
    agree(Number("year", scaling=scaling), VALUES[:40] * 1e-3 + 1e6, VALUES[:40] * 1e-3 + 1e6)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_few_and_equal_numbers(scaling):
    for values in (np.array([3.0]), np.array([3.0, 3.0]), np.array([1.0, 2.0])):
        agree(Number("age", True, scaling=scaling), values, np.array([3.0, 1.0, 2.5, np.nan, -8.0]))


def test_a_thousand_knots():
    values = np.random.default_rng(0).normal(size=5000)
    agree(Number("z", scaling="quantile"), values, np.random.default_rng(1).normal(size=300) * 2)


# ------------------------------------------------------------------ categories

WORDS = np.array(["b", "a", None, "c", "zürich", "b", "b", None, " a"], object)
STRANGE = np.array(["c", None, "nowhere", "a", "zürich", "B", "a ", " a", "b"], object)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("rare", [False, True])
@pytest.mark.parametrize("embedding", [0, 3])
def test_categories(embedding, rare, missing):
    column = Category("city", missing, categories=("a", "b", "zürich"), embedding=embedding, rare=rare)
    agree(column, WORDS, STRANGE)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("rare", [False, True])
def test_dummies(rare, missing):
    column = Category("city", missing, categories=("a", "b", "zürich"), rare=rare, drop_first=True)
    agree(column, WORDS, STRANGE)


@pytest.mark.parametrize("missing", [False, True])
def test_a_category_that_is_empty_text_is_no_gap(missing):
    column = Category("city", missing, categories=("", "a"))
    agree(column, np.array(["", "a", ""], object), np.array(["", "a", "b"], object))


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("count", [2, 3, 16, 17, 30])
def test_orders(count, missing):
    steps = tuple(f"step {i}" for i in range(count))
    fitted = np.array([steps[i % count] for i in range(2 * count + 1)] + [None], object)
    shown = np.array([None, "nothing", *steps], object)
    agree(Ordinal("size", missing, categories=steps), fitted, shown)


@pytest.mark.parametrize("missing", [False, True])
def test_truth(missing):
    column = Boolean("paid", missing, values=("no", "yes"))
    agree(
        column, np.array(["no", "yes", "yes", None], object), np.array(["yes", None, "perhaps", "no"], object)
    )


def test_whole_numbers_with_a_point_are_whole_numbers():
    shown = np.array(["0.0", "1", "1.0", "0", "-7.0", "2.0", None, "7"], object)
    agree(Boolean("flag", values=("0", "1")), np.array(["0", "1", "1"], object), shown)
    agree(Category("zone", categories=("-7", "0.0", "1", "1.0")), np.array(["1", "0.0"], object), shown)


# ------------------------------------------------------------------ dates

DATES = np.array(
    [
        "1970-01-01", "1969-12-31T23:59:59.999999", "2000-02-29", "2000-12-31T23:59", "1900-01-01",
        "1900-03-01",
        "2024-12-31", "2025-01-01", "2023-07-14T09:30:15", "1600-02-29", "2100-02-28T12", "0001-01-01", "NaT",
        "2399-12-31T23:59:59", "-0004-02-29",
    ],
    "datetime64[us]",
)  # fmt: skip


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("parts", [PARTS, *[(p,) for p in PARTS]])
def test_dates(parts, missing):
    agree(Date("born", missing, parts=parts), DATES, DATES)


def test_many_days_of_many_years():
    days = np.datetime64("1850-01-01", "us") + np.arange(0, 365 * 300, 13) * np.timedelta64(
        86400 * 10**6 + 12345, "us"
    )
    agree(Date("born", parts=PARTS), days, days)
