"""Predictors of tables: encoder, its state and the classes travel in the file, and into an ONNX file."""

from __future__ import annotations

import contextlib
import json
import warnings
from typing import Any

import numpy as np
import pytest
from mutation import mutants

import chainrule as cr
from chainrule import Network, nn, ops
from chainrule.data.tables import Date, Number, Table, TableEncoder, choose_encoders
from chainrule.errors import DataError
from chainrule.tasks.logarithms import Logarithms
from chainrule.tasks.predictor import Predictor
from chainrule.tasks.scaling import Affine, identity
from chainrule.tasks.targets import Numbers, OneOf

ROWS = 150


def table(seed: int = 0, rows: int = ROWS) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    cities = np.array([f"city {i}" for i in range(70)], object)
    found = {
        "age": np.where(rng.random(rows) < 0.1, np.nan, rng.integers(18, 90, rows)),
        "income": rng.lognormal(10, 2, rows),
        "size": rng.choice(np.array(["low", "medium", "high", None], object), rows),
        "colour/hue": rng.choice(np.array(["red", "grün", "blue"], object), rows),
        "city": rng.choice(cities, rows),
        "member": rng.choice(np.array(["no", "yes", None], object), rows),
        "since": np.datetime64("2001-02-03", "us") + rng.integers(0, 10**15, rows) * np.timedelta64(1, "us"),
        "shop": np.array(["A"] * rows, object),
    }  # fmt: skip
    found["since"][::17] = np.datetime64("NaT")
    return found


def predictor(kind: str = "classes", **options: Any) -> Predictor:
    data = table()
    encoder = choose_encoders(data, **{"embed_from": 50, "scaling": "auto", **options})
    learned = encoder.fit(data)
    inputs = encoder.encode(data, learned)
    scaling = (
        Affine(np.full(encoder.width, 0.1), np.full(encoder.width, 2.0))
        if kind == "scaled"
        else identity(encoder.width)
    )
    if "x" in inputs:
        inputs["x"] = scaling.apply(inputs["x"], np.dtype("f4"))
    hours = np.nan_to_num(data["age"], nan=40.0)
    if kind == "numbers":
        target: Any = Numbers(Affine(hours.mean(keepdims=True), hours.std(keepdims=True)), True)
        y = target.encode(hours, np.dtype("f4"))
    elif kind.startswith("log"):
        target = Logarithms.seen(data["income"], plus_one=kind == "log1p")
        y = target.encode(data["income"], np.dtype("f4"))
    else:
        target = OneOf(np.array(["old", "young"]))
        y = target.encode(np.where(hours > 50, "old", "young"), np.dtype("f4"))
    branches = {}
    if "codes" in inputs:
        ((categories, units),) = encoder.embeddings
        branches["codes"] = nn.sequential(nn.Embedding(categories, units), nn.Flatten())
    if "x" in inputs and branches:
        branches["x"] = nn.Dense(6)
    first = [nn.parallel(**{k: branches[k] for k in inputs})] if len(inputs) > 1 else list(branches.values())
    net = Network(*first, ops.relu, nn.Dense(1), seed=2)
    net.fit(inputs if len(inputs) > 1 else next(iter(inputs.values())), y, epochs=3, verbose=0)
    return Predictor("MLPClassifier", {}, encoder.names, scaling, net, target, (), encoder, learned)


KINDS = {
    "classes": {}, "scaled": {}, "numbers": {}, "log": {}, "log1p": {}, "no embedding": {"embed_from": None},
    "one column": {
        "kinds": dict.fromkeys(("age", "income", "size", "colour/hue", "member", "since"), "identifier"),
    },
    "quantile": {"scaling": "quantile"},
}  # fmt: skip


@pytest.fixture(scope="module")
def made() -> dict[str, Predictor]:
    return {}


def one(made: dict[str, Predictor], name: str) -> Predictor:
    if name not in made:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # identifiers are left out
            made[name] = predictor(name, **KINDS[name])
    return made[name]


@pytest.mark.parametrize("name", KINDS)
def test_what_is_loaded_predicts_the_same_bits(made, name, tmp_path):
    before = one(made, name)
    before.save(tmp_path / "m")
    after = cr.load(tmp_path / "m")
    assert isinstance(after, Predictor)
    assert after.encoder == before.encoder
    for rows in (table(0), table(1, 40)):
        np.testing.assert_array_equal(after.predict(rows), before.predict(rows))
    after.save(tmp_path / "again")
    assert (tmp_path / "m").read_bytes() == (tmp_path / "again").read_bytes()


def test_new_values_gaps_and_orders_of_columns(made, tmp_path):
    one(made, "classes").save(tmp_path / "m")
    found = cr.load(tmp_path / "m")
    rows = table(2, 30)
    shuffled = {name: rows[name] for name in reversed(rows)} | {"more": np.arange(30)}
    np.testing.assert_array_equal(found.predict_proba(shuffled), found.predict_proba(rows))
    rows["city"] = np.array(["nowhere"] * 30, object)
    rows["age"] = np.full(30, np.nan)
    assert np.isfinite(found.predict_proba(rows)).all()
    with pytest.raises(DataError, match="lacks 1 column that the network was trained on: 'income'"):
        found.predict({k: v for k, v in rows.items() if k != "income"})


@pytest.mark.parametrize("name", ["classes", "quantile"])
def test_mutated_headers_give_a_predictor_or_one_error(made, name, tmp_path):
    path = tmp_path / "m"
    one(made, name).save(path)
    outcomes = []
    for found in mutants(path):
        outcomes.append(found is not None)
        if (
            isinstance(found, Predictor)
            and found.encoder is not None
            and set(found.encoder.names) <= set(table())
        ):
            with contextlib.suppress(DataError):
                found.predict(table(3, 3))
    assert 0.01 < np.mean(outcomes) < 0.8


@pytest.mark.parametrize("plus_one", [False, True])
def test_a_logarithm_comes_back_and_refuses_what_has_none(plus_one):
    y = np.array([[0.5, 1e-3], [2.0, 1e6], [7.0, 3.0]])
    target = Logarithms.seen(y, plus_one=plus_one)
    z = target.encode(y, np.dtype("f8"))
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(target.predict(z), y, rtol=1e-9)
    for bad in (-1.0, np.nan, *([] if plus_one else [0.0])):
        with pytest.raises(DataError, match="but a logarithm takes numbers"):
            target.encode(np.array([[1.0, bad]]), np.dtype("f8"))


# ------------------------------------------------------------------ ONNX


def as_given(encoder: TableEncoder, rows: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for column in encoder.columns:
        if isinstance(column, Number) and column.features:
            found[column.name] = rows[column.name].astype("float64")
        elif isinstance(column, Date):
            found[column.name] = rows[column.name].astype("datetime64[us]").view("int64")
        elif column.features:
            found[column.name] = np.array(["" if v is None else v for v in rows[column.name]], object)
    return found


@pytest.mark.parametrize("name", KINDS)
def test_onnxruntime_predicts_the_same_from_the_columns(made, name, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    found = one(made, name)
    found.export(tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    session = ort.InferenceSession(str(tmp_path / "model.onnx"))
    assert {t.name for t in model.graph.initializer} <= {
        name for node in model.graph.node for name in node.input
    }
    columns = json.loads(session.get_modelmeta().custom_metadata_map["columns"])
    assert [c["name"] for c in columns] == list(found.encoder.names) == [x.name for x in session.get_inputs()]
    names = [y.name for y in session.get_outputs()]
    strange = table(5, 40)
    strange["city"][::3] = "nowhere"
    for rows in (table(4, 1), table(4, 2), table(4, 17), strange):
        given = as_given(found.encoder, rows)
        for values in (session.run(names, given), ReferenceEvaluator(model).run(names, given)):
            said = dict(zip(names, values, strict=True))
            if "prediction" in said:
                np.testing.assert_allclose(said["prediction"], found.predict(rows), rtol=1e-5)
            else:
                np.testing.assert_allclose(
                    said["probabilities"], found.predict_proba(rows), rtol=1e-5, atol=1e-5
                )
                np.testing.assert_array_equal(said["classes"].astype(str), found.predict(rows))


def test_a_table_of_the_wrong_form_is_refused_by_the_predictor(made):
    with pytest.raises(DataError):
        one(made, "classes").predict(Table({"age": np.zeros(2)}))
