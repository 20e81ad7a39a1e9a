"""Fitted estimators in files: what is loaded predicts the same without scikit-learn, and in onnxruntime."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from mutation import mutants

pytest.importorskip("sklearn")

import chainrule as cr
from chainrule.errors import ConfigError, DataError, ModelFileError
from chainrule.tasks import MLPClassifier, MLPRegressor
from chainrule.tasks.predictor import Predictor, predictor_of

rng = np.random.default_rng(0)
X = rng.normal(size=(120, 4)) * [1, 30, 0.01, 1] + [0, 1000, 5, -1]
CODES = (X[:, 0] > 0).astype(int) + (X[:, 1] > 1010)


def classifier(y: Any, X: Any = X, **options: Any) -> Any:
    return fitted(MLPClassifier((8,), max_iter=4, random_state=0, **options), X, y)


def regressor(y: Any, X: Any = X, **options: Any) -> Any:
    return fitted(MLPRegressor(hidden_layer_sizes=(8,), max_iter=4, random_state=0, **options), X, y)


def fitted(model: Any, X: Any, y: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it stops early
        return model.fit(X, y)


MODELS = {
    "text": lambda: classifier(np.array(["no", "yes", "zürich"])[CODES]),
    "objects": lambda: classifier(np.array(["no", "yes"], object)[CODES % 2]),
    "two numbers": lambda: classifier(np.where(CODES > 0, 7, -3)),
    "bytes": lambda: classifier(CODES.astype("int8")),
    "whole floats": lambda: classifier(CODES.astype(float)),
    "truth": lambda: classifier(CODES > 0),
    "one class": lambda: classifier(np.full(120, "only")),
    "float32": lambda: classifier(CODES, X.astype("f4")),
    "unscaled": lambda: classifier(CODES, X / 1000, scaling="none"),
    "focal": lambda: classifier(CODES, loss="focal", class_weight={0: 1.0, 1: 2.0, 2: 1.0}),
    "labels": lambda: classifier(np.eye(3, dtype=int)[CODES]),
    "several": lambda: classifier(np.c_[CODES, np.arange(120) % 4]),
    "normed": lambda: classifier(CODES, batch_norm=True, dropout=0.2),
    "adam": lambda: classifier(CODES, solver=cr.optim.Adam(0.01), activation=("gelu",)),
    "numbers": lambda: regressor(X[:, 1] * 10),
    "several numbers": lambda: regressor(X[:, :2]),
    "one column": lambda: regressor(X[:, :1]),
    "counts": lambda: regressor(CODES.astype(float), loss="poisson"),
    "float32 numbers": lambda: regressor(X[:, 1], X.astype("f4"), target_scaling="none"),
    "quantiles": lambda: regressor(X[:, 1], loss=cr.losses.Quantile((0.9, 0.1, 0.5))),
    "quantiles of two": lambda: regressor(X[:, :2], loss=cr.losses.Quantile((0.1, 0.5, 0.9))),
    "deviation": lambda: regressor(X[:, 1], loss="gaussian"),
    "deviations": lambda: regressor(X[:, :2], loss=cr.losses.GaussianNLL("log_variance")),
    "lbfgs": lambda: regressor(X[:, 1], solver="lbfgs"),
}


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {}


def model_of(models: dict[str, Any], name: str) -> Any:
    if name not in models:
        models[name] = MODELS[name]()
    return models[name]


def same(found: Any, wanted: Any, tolerance: float = 0.0) -> None:
    pairs = zip(found, wanted, strict=True) if isinstance(wanted, list) else [(found, wanted)]
    for a, b in pairs:
        assert a.shape == b.shape
        if b.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("name", MODELS)
def test_what_is_loaded_predicts_the_same_bits(models, name, tmp_path):
    model = model_of(models, name)
    predictor_of(model).save(tmp_path / "m")
    found = cr.load(tmp_path / "m")
    assert isinstance(found, Predictor)
    wanted = model.predict(X)
    assert found.predict(X).dtype == wanted.dtype
    same(found.predict(X), wanted)
    if name.startswith("quantiles"):
        same(found.predict_quantiles(X), model.predict_quantiles(X))
    if name.startswith("deviation"):
        same(found.predict(X, return_std=True)[1], model.predict(X, return_std=True)[1])
    if hasattr(model, "predict_proba"):
        same(found.predict_proba(X), model.predict_proba(X))
        same(found.classes, model.classes_)
    assert found.parameters["max_iter"] == 4


def test_saved_again_a_file_has_the_same_bytes(models, tmp_path):
    predictor_of(model_of(models, "text")).save(tmp_path / "a", optimizer=True)
    cr.load(tmp_path / "a").save(tmp_path / "b", optimizer=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_process_without_scikit_learn_predicts_the_same(models, tmp_path):
    for name in ("text", "several numbers"):
        predictor_of(model_of(models, name)).save(tmp_path / name)
    np.save(tmp_path / "X.npy", X)
    code = (
        "import sys\n"
        "class Nothing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('sklearn', 'scipy', 'pandas', 'narwhals', 'onnx', 'joblib'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Nothing())\n"
        "import numpy as np, chainrule as cr\n"
        "X = np.load('X.npy')\n"
        "np.save('classes.npy', cr.load('text').predict(X))\n"
        "np.save('numbers.npy', cr.load('several numbers').predict(X))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "classes.npy"), model_of(models, "text").predict(X))
    wanted = model_of(models, "several numbers").predict(X)
    np.testing.assert_array_equal(np.load(tmp_path / "numbers.npy"), wanted)


def test_columns_of_a_data_frame_are_found_by_name(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    model = classifier(CODES, frame)
    predictor_of(model).save(tmp_path / "m")
    found = cr.load(tmp_path / "m")
    assert found.features == ("a", "b", "c", "d")
    np.testing.assert_array_equal(found.predict(frame[["c", "a", "d", "b"]]), model.predict(frame))
    with pytest.raises(DataError, match="lacks the column 'b'"):
        found.predict(frame[["a", "c", "d"]])


def test_sparse_rows(models):
    sparse = pytest.importorskip("scipy.sparse")
    found = predictor_of(model_of(models, "text"))
    np.testing.assert_array_equal(found.predict(sparse.csr_matrix(X)), found.predict(X))


def test_copies_and_pickles_predict_the_same(models):
    found = predictor_of(model_of(models, "text"))
    for other in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        np.testing.assert_array_equal(other.predict(X), found.predict(X))


def test_a_data_frame_of_many_kinds_through_an_estimator(tmp_path):
    """Text, dates and gaps: from the fit to the file to ONNX."""
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, 300).astype(float),
            "city": rng.choice([f"c{i}" for i in range(80)], 300),
            "job": rng.choice(["a", "b", None], 300),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, 300), unit="D"),
        }
    )
    frame.loc[7, "age"] = np.nan
    model = classifier(np.where(frame.age > 50, "old", "young"), frame)
    model.save(tmp_path / "m")
    found = cr.load(tmp_path / "m")
    same(found.predict_proba(frame), model.predict_proba(frame))
    same(found.predict(frame[["job", "since", "age", "city"]]), model.predict(frame))
    ort = pytest.importorskip("onnxruntime")
    found.export(tmp_path / "model.onnx")
    given = {
        "age": frame.age.to_numpy(),
        "city": frame.city.to_numpy(object),
        "job": frame.job.astype(object).where(frame.job.notna(), "").to_numpy(object),
        "since": frame.since.to_numpy("datetime64[us]").view("int64"),
    }
    classes, probabilities = ort.InferenceSession(str(tmp_path / "model.onnx")).run(None, given)
    same(probabilities, model.predict_proba(frame), 1e-5)
    assert (classes == model.predict(frame)).all()


def test_what_cannot_be_saved_of_the_parameters_is_named(tmp_path):
    model = classifier(CODES, callbacks=[cr.train.EarlyStopping()])
    predictor_of(model).save(tmp_path / "m")
    found = cr.load(tmp_path / "m")
    assert set(found.left_out) | set(found.parameters) == set(model.get_params())


def test_a_function_of_ones_own_is_given_to_load(tmp_path):
    def bent(z: Any) -> Any:
        return z * cr.ops.sigmoid(z)

    model = classifier(CODES, activation=bent)
    predictor_of(model).save(tmp_path / "m")
    with pytest.raises(ModelFileError, match=r"names bent.*custom=\[bent\]"):
        cr.load(tmp_path / "m")
    np.testing.assert_array_equal(cr.load(tmp_path / "m", custom=[bent]).predict(X), model.predict(X))


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[:, :3], r"shape \(120, 3\).*fitted on 4 columns"),
        (X[0], r"shape \(4,\)"),
        (np.full((2, 4), np.nan), "NaN|missing|not finite"),
        (np.full((2, 4), np.inf), "Inf"),
        ([["a", "b", "c", "d"]], "not numbers"),
    ],
)
def test_rows_that_cannot_be_predicted_for(models, x, message):
    with pytest.raises(DataError, match=message):
        predictor_of(model_of(models, "text")).predict(x)


def test_numbers_have_no_classes(models):
    found = predictor_of(model_of(models, "numbers"))
    with pytest.raises(ConfigError, match="no probabilities"):
        found.predict_proba(X)
    with pytest.raises(AttributeError, match="no classes"):
        found.classes  # noqa: B018


def test_an_estimator_that_is_not_fitted():
    with pytest.raises(ConfigError, match="not fitted yet"):
        predictor_of(MLPClassifier())


@pytest.mark.parametrize("name", ["text", "several", "numbers"])
def test_mutated_headers_give_a_predictor_or_one_error(models, name, tmp_path):
    path = tmp_path / "m"
    predictor_of(model_of(models, name)).save(path, optimizer=True)
    found = list(mutants(path))
    assert all(x is None or isinstance(x, Predictor | cr.Network) for x in found)
    assert 0.01 < np.mean([x is not None for x in found]) < 0.7


# ------------------------------------------------------------------ ONNX


@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_predicts_the_same(models, name):
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    from onnx.reference import ReferenceEvaluator

    from chainrule.tasks.onnx import predictor_to_onnx

    model = model_of(models, name)
    predictor = predictor_of(model)
    proto = predictor_to_onnx(predictor)
    session = ort.InferenceSession(proto.SerializeToString())
    names = [y.name for y in session.get_outputs()]
    for n in (1, 2, 17):
        x = X[:n].astype(predictor.network.dtype) / (1000 if name == "unscaled" else 1)
        for values in (session.run(names, {"x": x}), ReferenceEvaluator(proto).run(names, {"x": x})):
            found = dict(zip(names, values, strict=True))
            compare(found, predictor, x)


def compare(found: dict[str, Any], predictor: Predictor, x: Any) -> None:
    wanted = predictor.predict(x)
    if "prediction" in found:
        same(found["prediction"], wanted, 1e-5)
        if "quantiles" in found:
            same(found["quantiles"], predictor.predict_quantiles(x), 1e-5)
        if "deviation" in found:
            same(found["deviation"], predictor.predict(x, return_std=True)[1], 1e-5)
        return
    probable = predictor.predict_proba(x)
    if isinstance(probable, list):
        for i, p in enumerate(probable):
            same(found[f"y{i}_probabilities"], p, 1e-5)
            np.testing.assert_array_equal(found[f"y{i}_classes"], wanted[:, i])
        return
    same(found["probabilities"], probable, 1e-5)
    np.testing.assert_array_equal(np.asarray(found["classes"]), wanted)
