"""Estimators that learn rows from themselves, against closed forms and what else is known of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bad_tables import BAD_ROWS, GOOD
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score

import chainrule as cr
from chainrule.data.tables import Table, as_table, read_table
from chainrule.errors import ConfigError, DataError
from chainrule.tasks import (
    AnomalyDetector,
    AutoEncoder,
    Denoiser,
    DensityEstimator,
    Imputer,
    MLPClassifier,
    MLPRegressor,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
LINEAR: dict[str, Any] = {"hidden_layer_sizes": (), "solver": "lbfgs", "random_state": 0, "alpha": 0.0}
QUICK: dict[str, Any] = {"hidden_layer_sizes": (20,), "learning_rate_init": 0.01, "random_state": 0}


def plane(rows: int = 300, noise: float = 0.1, seed: int = 0) -> np.ndarray:
    """Rows near a plane through five columns."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 2)) @ rng.normal(size=(2, 5)) + noise * rng.normal(size=(rows, 5)) + 3


def people(rows: int = 600, gaps: float = 0.2) -> tuple[dict[str, Any], dict[str, Any]]:
    """(with gaps, whole): a number, a category and a truth value that follow from each other, and a date."""
    rng = np.random.default_rng(0)
    age = rng.uniform(18, 80, rows).round(1)
    day = np.datetime64("2020-01-01") - (age * 365).astype("timedelta64[D]")
    whole = {
        "age": age,
        "stage": np.where(age < 30, "young", np.where(age < 60, "middle", "old")).astype(object),
        "retired": (age > 65).astype(str).astype(object),
        "born": day.astype("datetime64[us]"),
        "place": np.full(rows, "here", object),
    }
    found = {}
    for name, column in whole.items():
        gap = {"f": np.nan, "O": None, "M": np.datetime64("NaT")}[column.dtype.kind]
        found[name] = np.where(rng.random(rows) < gaps, gap, column).astype(column.dtype)
    return found, whole


# ------------------------------------------------------------------ auto-encoders


def test_a_linear_code_spans_the_plane_of_the_principal_components() -> None:
    """Baldi & Hornik 1989: the code is any basis of it, the reconstruction is the projection on it."""
    x = plane(noise=0.3) - 3
    model = AutoEncoder(2, scaling="none", **LINEAR, tol=1e-9, max_iter=2000).fit(x)
    pca = PCA(2).fit(x)
    projected = pca.inverse_transform(pca.transform(x))
    np.testing.assert_allclose(model.reconstruct(x), projected, atol=5e-3)
    both = np.hstack([pca.transform(x), np.ones((len(x), 1))])
    left = model.transform(x) - both @ np.linalg.lstsq(both, model.transform(x), rcond=None)[0]
    assert np.abs(left).max() < 1e-2 * np.abs(model.transform(x)).max()


def test_decoding_a_code_is_the_reconstruction() -> None:
    x = plane().astype(np.float32)
    model = AutoEncoder(2, **QUICK, max_iter=20).fit(x)
    codes = model.transform(x)
    assert (codes.shape, codes.dtype) == ((300, 2), np.float32)
    np.testing.assert_allclose(model.inverse_transform(codes), model.reconstruct(x), rtol=1e-5, atol=1e-5)
    assert model.get_feature_names_out().tolist() == ["autoencoder0", "autoencoder1"]
    with pytest.raises(DataError, match="2 numbers"):
        model.inverse_transform(codes[:, :1])


def test_a_table_comes_back_as_its_own_kind() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(people(300)[0])
    model = AutoEncoder(3, **QUICK, max_iter=150).fit(frame)
    found = model.inverse_transform(model.transform(frame))
    assert isinstance(found, pandas.DataFrame)
    assert set(found["stage"]) == {"young", "middle", "old"}
    known = frame["stage"].notna() & frame["age"].notna()
    assert (found["stage"] == frame["stage"])[known].mean() > 0.9
    assert found["born"].dtype.kind == "M"
    as_dict = AutoEncoder(3, **QUICK, max_iter=2).fit(people(100)[0])
    assert isinstance(as_dict.inverse_transform(as_dict.transform(people(100)[0])), dict)


@pytest.mark.parametrize(("corruption", "noise"), [("gaussian", 0.5), ("masking", 0.3)])
def test_a_denoiser_removes_what_it_was_taught_to(corruption: str, noise: float) -> None:
    clean = plane(1000, 0.0)
    shift = RNG.normal(size=clean.shape) * noise * clean.std(0)
    noisy = clean + shift
    if corruption == "masking":
        noisy = np.where(RNG.random(clean.shape) < noise, clean.mean(0), clean)
    plain = AutoEncoder(4, **QUICK).fit(clean)
    model = Denoiser(corruption, noise, 4, early_stopping=True, **QUICK).fit(clean)
    before, after = (np.square(rows - clean).mean() for rows in (noisy, model.transform(noisy)))
    assert after < 0.7 * before
    assert after < np.square(plain.reconstruct(noisy) - clean).mean()


def test_the_held_out_rows_of_a_denoiser_have_noise_of_their_own() -> None:
    """Else it would be stopped by how well it gives clean rows back: they would cost next to nothing."""
    x = plane(500, 0.0)
    model = Denoiser("gaussian", 1.0, 2, early_stopping=True, **QUICK).fit(x)
    plain = AutoEncoder(2, early_stopping=True, **QUICK).fit(x)
    assert -model.best_validation_score_ > 5 * -plain.best_validation_score_


# ------------------------------------------------------------------ anomalies


def test_anomalies_off_a_curve_are_told_from_the_rest() -> None:
    """Outliers inside the range of every column: only how columns hang together tells them."""
    rng = np.random.default_rng(1)
    t = rng.uniform(-2, 2, 600)
    x = np.stack([t, t**2 - 1, np.sin(2 * t)], 1) + 0.05 * rng.normal(size=(600, 3))
    odd = rng.permuted(x[:60], axis=0)
    mixed, is_odd = np.vstack([x, odd]), np.r_[np.zeros(600), np.ones(60)]
    model = AnomalyDetector(60 / 660, 1, hidden_layer_sizes=(30, 30), activation="tanh", **{
        k: v for k, v in QUICK.items() if k != "hidden_layer_sizes"}).fit(mixed)  # fmt: skip
    ours = roc_auc_score(is_odd, -model.score_samples(mixed))
    theirs = roc_auc_score(is_odd, -IsolationForest(random_state=0).fit(mixed).score_samples(mixed))
    assert ours > 0.85
    assert ours > theirs
    assert (model.predict(mixed) == -1).sum() == 60
    np.testing.assert_array_equal(model.decision_function(mixed) < 0, model.predict(mixed) == -1)
    np.testing.assert_array_equal(model.fit_predict(mixed), model.predict(mixed))


def test_the_offset_weighs_rows() -> None:
    x = plane(60)
    weight = np.arange(60) % 3
    options = {"executor": "reference", **LINEAR}
    weighted = AnomalyDetector(0.2, 2, **options).fit(x, sample_weight=weight)
    repeated = AnomalyDetector(0.2, 2, **options).fit(np.repeat(x, weight, axis=0))
    assert weighted.offset_ == pytest.approx(repeated.offset_, rel=1e-3)


def test_a_row_of_gaps_is_no_anomaly_and_gaps_do_not_count() -> None:
    rows = people(200)[0]
    model = AnomalyDetector(code_size=2, **QUICK, max_iter=20).fit(rows)
    empty = {name: column[:1].copy() for name, column in rows.items()}
    empty |= {"age": np.array([np.nan]), "stage": [None], "retired": [None], "born": [None], "place": [None]}
    assert model.score_samples(empty).tolist() == [0.0]


# ------------------------------------------------------------------ gaps


def test_an_imputer_is_near_the_conditional_mean_of_a_gaussian() -> None:
    """E[x_o | x_k] = μ_o + Σ_ok Σ_kk⁻¹ (x_k − μ_k), for whichever cells are known."""
    rng = np.random.default_rng(2)
    A = rng.normal(size=(4, 4)) + np.eye(4)
    x = rng.normal(size=(4000, 4)) @ A.T
    gaps = rng.random((500, 4)) < 0.4
    test = rng.normal(size=(500, 4)) @ A.T
    Σ = A @ A.T
    best = test.copy()
    for i, gap in enumerate(gaps):
        known = ~gap
        if gap.any():
            best[i, gap] = Σ[np.ix_(gap, known)] @ np.linalg.solve(Σ[np.ix_(known, known)], test[i, known])
    holed = np.where(gaps, np.nan, test)
    found = Imputer(hidden_layer_sizes=(60,), learning_rate_init=3e-3, random_state=0).fit(x).transform(holed)
    np.testing.assert_array_equal(found[~gaps], test[~gaps])
    mean = SimpleImputer().fit(x).transform(holed)
    least, ours, plain = (np.square(rows - test)[gaps].mean() for rows in (best, found, mean))
    assert least < ours < least + 0.3 * (plain - least)


def test_a_data_frame_keeps_its_kinds_and_what_is_known() -> None:
    pandas = pytest.importorskip("pandas")
    holed, whole = people()
    frame = pandas.DataFrame(holed, index=pandas.RangeIndex(7, 607))
    frame["stage"] = frame["stage"].astype("category")
    frame["whole"] = pandas.array(np.round(whole["age"]).astype(int), dtype="Int64")
    frame.loc[10:40, "whole"] = pandas.NA
    frame["member"] = pandas.array(whole["retired"] == "True", dtype="boolean")
    frame.loc[50:80, "member"] = pandas.NA
    before = frame.copy()
    found = Imputer(**QUICK).fit(frame).transform(frame)
    pandas.testing.assert_frame_equal(frame, before)
    assert found.index.equals(frame.index)
    assert (found.dtypes == frame.dtypes).all()
    assert not found.isna().any().any()
    for name in frame.columns:
        known = frame[name].notna()
        assert (found[name][known] == frame[name][known]).all()
    taken = np.asarray(frame["stage"].isna())
    assert (np.asarray(found["stage"])[taken] == whole["stage"][taken]).mean() > 0.85
    assert np.abs(np.asarray(found["age"]) - whole["age"]).max() < 40
    assert (found["place"] == "here").all()


@pytest.mark.parametrize("library", ["polars", "pyarrow", "dict", "Table"])
def test_every_kind_of_table_is_filled_as_such(library: str) -> None:
    holed, _ = people(200)
    if library in ("polars", "pyarrow"):
        module = pytest.importorskip(library)
        given = module.DataFrame(holed) if library == "polars" else module.table(
            {n: module.array(c.tolist(), from_pandas=True) for n, c in holed.items()}
        )  # fmt: skip
    else:
        given = holed if library == "dict" else as_table(holed)
    found = Imputer(**QUICK, max_iter=5).fit(given).transform(given)
    assert type(found) is type(given)
    if library == "polars":
        assert found.schema == given.schema
    table = as_table(found)
    assert table.names == tuple(holed)
    assert not any(cr.data.tables.is_missing(table[name]).any() for name in table.names)


def test_columns_without_values_stay_as_they_are() -> None:
    x = plane(100)
    x[:, 1] = np.nan
    found = Imputer(**QUICK, max_iter=3).fit(x).transform(np.full((2, 5), np.nan))
    assert np.isnan(found[:, 1]).all()
    assert np.isfinite(np.delete(found, 1, axis=1)).all()


def test_an_imputer_that_hides_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="hide_inputs is 0"):
        Imputer(0.0).fit(plane(20))
    with pytest.raises(ConfigError, match="hide_inputs"):
        Imputer(1.0).fit(plane(20))


# ------------------------------------------------------------------ inputs that may be missing


def halves(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two columns, each of which tells the class alone in nine cases of ten."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    return (2 * y - 1)[:, None] + rng.normal(size=(rows, 2)) / 1.2816, y


def test_a_network_with_hidden_inputs_answers_as_bayes_rule_for_every_part_of_them() -> None:
    """Φ(√k/σ) for k known columns of independent noise; ½ where none is known."""
    x, y = halves(4000, 0)
    test, truth = halves(4000, 1)
    model = MLPClassifier((30,), hide_inputs="any", learning_rate_init=0.01, max_iter=60, random_state=0)
    model.set_params(schedule=cr.optim.Linear()).fit(x, y)
    for known, best in (((0, 1), 0.965), ((0,), 0.9), ((1,), 0.9)):
        rows = np.full_like(test, np.nan)
        rows[:, known] = test[:, known]
        assert model.score(rows, truth) == pytest.approx(best, abs=0.015)
        slope = 2 * 1.2816**2 * np.nansum(rows, axis=1)  # log odds by Bayes' rule
        p = model.predict_proba(rows)[:, 1]
        assert np.abs(p - 1 / (1 + np.exp(-slope))).mean() < 0.03
    nothing = model.predict_proba(np.full((1, 2), np.nan))[0, 1]
    assert nothing == pytest.approx(y.mean(), abs=0.05)


@pytest.mark.parametrize("X", ["array", "table"])
def test_hidden_inputs_travel_in_files_and_go_on_learning(X: str, tmp_path: Any) -> None:
    x, y = halves(200, 0)
    rows: Any = x if X == "array" else {"a": x[:, 0], "city": [f"c{i % 70}" for i in range(200)]}
    model = MLPRegressor(hidden_layer_sizes=(5,), hide_inputs=0.3, max_iter=3, random_state=0).fit(rows, y)
    holed: Any = np.where(np.eye(2)[np.arange(200) % 2] > 0, np.nan, x)
    if X == "table":
        holed = {"a": holed[:, 0], "city": [None, "c1"] * 100}
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(cr.load(tmp_path / "m").predict(holed), model.predict(holed))
    model.partial_fit(holed, y)
    assert np.isfinite(model.predict(holed)).all()
    with pytest.raises(ValueError, match="NaN" if X == "array" else "hide_inputs"):
        MLPRegressor(hide_inputs=0.0 if X == "array" else -0.1).fit(holed, y)


def test_one_column_and_a_last_batch_of_one_row_compile() -> None:
    x = RNG.normal(size=(9, 1))
    model = MLPRegressor(hide_inputs="any", batch_size=4, max_iter=2, executor="cpu", random_state=0)
    assert np.isfinite(model.fit(x, x[:, 0]).predict([[np.nan]])).all()


def test_what_a_network_with_hidden_inputs_is_shown_of_a_gap() -> None:
    """In training a hidden cell looks as a gap does: every feature of it, and nothing else."""
    rows = people(50)[0]
    model = MLPClassifier((3,), hide_inputs=0.5, embed_from=2, max_iter=1, random_state=0)
    model.fit(rows, np.arange(50) % 2)
    shown = model._shown
    layer = shown.hiding(0.5)
    gaps = shown(Table({n: c[:1] for n, c in model.encoder_.gaps().columns.items()}))
    np.testing.assert_allclose(layer.hidden, gaps["x"][0])
    np.testing.assert_array_equal(layer.codes, gaps["codes"][0])
    assert len(layer.cells) == gaps["x"].shape[1]


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("form", ["array", "table"])
@pytest.mark.parametrize("kind", [AutoEncoder, Denoiser, AnomalyDetector, Imputer, DensityEstimator])
def test_a_file_says_of_rows_what_the_estimator_said(kind: Any, form: str, tmp_path: Any) -> None:
    x: Any = plane(80) if form == "array" else people(80)[0]
    model = kind(**QUICK, max_iter=3).fit(x)
    model.save(tmp_path / "m")
    found = cr.load(tmp_path / "m")
    if form == "array" and kind is Imputer:
        x = np.where(RNG.random(x.shape) < 0.3, np.nan, x)
    says = {AnomalyDetector: "predict", Imputer: "transform", DensityEstimator: "score_samples"}
    wanted, again = getattr(model, says.get(kind, "reconstruct"))(x), found.predict(x)
    if isinstance(wanted, dict):
        wanted, again = as_table(wanted), as_table(again)
        assert wanted.names == again.names
        assert all((wanted[name] == again[name]).all() for name in wanted.names)
    else:
        np.testing.assert_array_equal(again, wanted)
    assert "rows" in repr(found)
    with pytest.raises(ConfigError, match="no probabilities"):
        found.predict_proba(x)


# ------------------------------------------------------------------ bad rows


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: Any) -> list[Any]:
    path = tmp_path_factory.mktemp("good") / "good.csv"
    path.write_text(GOOD)
    table = read_table(path).drop("y")
    kinds = (AutoEncoder, Denoiser, AnomalyDetector, Imputer, DensityEstimator)
    return [kind(**QUICK, max_iter=2).fit(table) for kind in kinds]


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows_are_one_error_with_what_where_and_what_to_do(name: str, fitted: Any, tmp_path: Any) -> None:
    path = BAD_ROWS[name].write(tmp_path)
    for model in fitted:
        says = model.score_samples if hasattr(model, "score_samples") else model.transform
        with pytest.raises(DataError) as caught:
            says(read_table(path))
        assert all(word.replace("rows.csv", "") in str(caught.value) for word in BAD_ROWS[name].words)


BAD_ARRAYS: dict[str, tuple[Any, str]] = {
    "one axis": (np.zeros(5), "1D array"),
    "three axes": (np.zeros((5, 5, 5)), "dim 3"),
    "other columns": (np.zeros((5, 3)), "3 features"),
    "no rows": (np.zeros((0, 5)), "0 sample"),
    "infinite": (np.full((5, 5), np.inf), "infinity"),
    "complex": (np.ones((5, 5)) * 1j, "[Cc]omplex"),
    "text": (np.full((5, 5), "a"), "could not convert|numeric"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
@pytest.mark.parametrize("kind", [AutoEncoder, Denoiser, AnomalyDetector, Imputer, DensityEstimator])
def test_bad_arrays_are_refused_in_fit_and_after(kind: Any, name: str) -> None:
    given, words = BAD_ARRAYS[name]
    model = kind(**QUICK, max_iter=1, executor="reference").fit(plane(20))
    says = model.score_samples if hasattr(model, "score_samples") else model.transform
    with pytest.raises(ValueError, match=words):
        says(given)
    if name != "other columns":
        with pytest.raises(ValueError, match=words):
            kind(**QUICK).fit(given)
