"""What a table's report says, against scikit-learn's metrics and inspection, and against plain counting."""

from __future__ import annotations

import dataclasses
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
metrics = pytest.importorskip("sklearn.metrics")

from sklearn.calibration import calibration_curve  # noqa: E402
from sklearn.inspection import partial_dependence, permutation_importance  # noqa: E402
from sklearn.linear_model import LogisticRegression, Ridge  # noqa: E402

from chainrule import losses  # noqa: E402
from chainrule.data.tables import Table, as_table  # noqa: E402
from chainrule.errors import ConfigError, DataError  # noqa: E402
from chainrule.report.table import examine_table, fit_baselines, scores, view_columns, view_target  # noqa: E402
from chainrule.report.table.columns import alone, warnings_of  # noqa: E402
from chainrule.report.table.influence import _affordable, dependence, importances, permutations  # noqa: E402
from chainrule.report.table.rows import Rows, truth_of  # noqa: E402
from chainrule.tasks import MLPClassifier, MLPRegressor  # noqa: E402
from chainrule.tasks.predictor import predictor_of  # noqa: E402

ROWS, TRAIN = 900, 600


def frame() -> Any:
    """Numbers, categories, truth values and dates, with gaps; what matters is x, then shop."""
    rng = np.random.default_rng(5)
    x, z = rng.normal(size=ROWS), rng.normal(size=ROWS)
    shop = rng.choice(["A", "B", "C", "D"], ROWS, p=[0.5, 0.3, 0.15, 0.05]).astype(object)
    weight = {"A": 0.0, "B": 1.0, "C": -1.5, "D": 2.0}
    signal = 1.5 * x + np.array([weight[s] for s in shop]) + 0.3 * rng.normal(size=ROWS)
    shop[rng.random(ROWS) < 0.05] = None
    z[rng.random(ROWS) < 0.1] = np.nan
    table = pd.DataFrame({"x": x, "shop": shop, "z": z, "n": rng.integers(0, 6, ROWS)})
    table["paid"] = rng.random(ROWS) < 0.5
    table["day"] = np.datetime64("2021-03-01") + rng.integers(0, 900, ROWS).astype("timedelta64[D]")
    return table, signal


def fitted(kind: str) -> SimpleNamespace:
    table, signal = frame()
    y: Any = {
        "two": np.where(signal > 0.3, "yes", "no"),
        "three": np.digitize(signal, [-1.0, 1.0]) * 10,
        "number": 100 + 20 * signal,
    }[kind]
    cls: Any = MLPRegressor if kind == "number" else MLPClassifier
    extra = {"embed_from": 3} if kind == "three" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = cls(hidden_layer_sizes=(8,), max_iter=15, learning_rate_init=0.02, random_state=0, **extra)
        model.fit(table[:TRAIN], y[:TRAIN])
    whole = as_table(table.assign(y=y))
    return SimpleNamespace(
        model=model, predictor=predictor_of(model), table=whole, X=table[TRAIN:], y=y[TRAIN:],
        train=whole.take(slice(0, TRAIN)), test=whole.take(slice(TRAIN, None)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def fits() -> dict[str, SimpleNamespace]:
    return {kind: fitted(kind) for kind in ("two", "three", "number")}


def rows_of(fit: SimpleNamespace) -> tuple[Rows, np.ndarray]:
    truth = truth_of(fit.predictor, fit.test["y"], "y")
    return Rows.of(fit.predictor, fit.test.drop("y")), truth


# ------------------------------------------------------------------ scores


def tied(n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Truths and probabilities of which many are equal."""
    rng = np.random.default_rng(0)
    p = rng.integers(0, 12, n) / 11
    return (rng.random(n) < 0.2 + 0.5 * p).astype(int), p


def test_areas_and_curves_are_scikit_learns() -> None:
    for y, p in (tied(), tied(40)):
        assert scores.roc_auc(y, p) == pytest.approx(metrics.roc_auc_score(y, p), abs=1e-12)
        assert scores.average_precision(y, p) == pytest.approx(metrics.average_precision_score(y, p))
        theirs = metrics.roc_curve(y, p, drop_intermediate=False)
        for mine, other in zip(scores.roc_curve(y, p), theirs[:2], strict=True):
            np.testing.assert_allclose(mine, other)
        precision, recall, _ = metrics.precision_recall_curve(y, p)
        mine_recall, mine_precision = scores.precision_recall_curve(y, p)
        np.testing.assert_allclose(mine_recall, recall[-2::-1])
        np.testing.assert_allclose(mine_precision, precision[-2::-1])


@pytest.mark.parametrize("bins", [3, 10])
def test_reliability_is_scikit_learns_calibration_curve(bins: int) -> None:
    rng = np.random.default_rng(1)
    p = rng.random(800)
    y = rng.random(800) < p**2
    for truth, said in ((y, p), tied()):
        found = scores.reliability(truth, said, bins)
        theirs_found, theirs_said = calibration_curve(truth, said, n_bins=bins, strategy="quantile")
        np.testing.assert_allclose([b.found for b in found], theirs_found)
        np.testing.assert_allclose([b.said for b in found], theirs_said)
        assert sum(b.rows for b in found) == len(said)


def test_calibration_error_counts_rows_one_by_one() -> None:
    y, p = tied()
    bins = scores.reliability(y, p, 5)
    start, total = 0, 0.0
    order = np.argsort(p, kind="stable")
    for b in bins:  # rows in rising order fill the bins
        part = order[start : start + b.rows]
        total += abs(sum(y[i] - p[i] for i in part)) / len(y)
        start += b.rows
    assert scores.calibration_error(bins) == pytest.approx(total, abs=1e-12)


def test_class_figures_are_scikit_learns() -> None:
    rng = np.random.default_rng(2)
    y, guess = rng.integers(0, 4, 200), rng.integers(0, 3, 200)  # the last class is never predicted
    theirs = metrics.precision_recall_fscore_support(y, guess, zero_division=0)
    found = scores.class_figures(metrics.confusion_matrix(y, guess))
    for mine, other in zip(found, theirs[:3], strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12)


def test_standard_errors_of_rmse_are_those_of_the_bootstrap() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(size=400)
    a, b = 3 * noise, 3 * noise + rng.normal(size=400)  # paired: nearly the same rows are hard
    influence = scores.rmse_influence(a) - scores.rmse_influence(b)
    mean, error = scores.mean_and_error(influence)
    rmse = [float(np.sqrt(np.mean(v**2))) for v in (a, b)]
    assert mean == pytest.approx(rmse[0] - rmse[1], rel=1e-12)
    draws = rng.integers(0, 400, (2000, 400))
    spread = np.std(np.sqrt(np.mean(a[draws] ** 2, axis=1)) - np.sqrt(np.mean(b[draws] ** 2, axis=1)))
    assert error == pytest.approx(spread, rel=0.1)


# ------------------------------------------------------------------ findings


@pytest.mark.parametrize("kind", ["two", "three"])
def test_findings_of_classes_are_scikit_learns(fits: dict[str, SimpleNamespace], kind: str) -> None:
    fit = fits[kind]
    found = examine_table(fit.predictor, fit.test, "y", top=0)
    p, guess = fit.model.predict_proba(fit.X), fit.model.predict(fit.X)
    np.testing.assert_allclose(found.answer, p, rtol=1e-5)
    assert found.scores["accuracy"] == metrics.accuracy_score(fit.y, guess)
    assert found.scores["log loss"] == pytest.approx(metrics.log_loss(fit.y, p), rel=1e-5)
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(fit.y, guess))
    if kind == "two":
        truth = fit.y == fit.model.classes_[1]
        assert found.scores["AUC"] == pytest.approx(metrics.roc_auc_score(truth, p[:, 1]), rel=1e-6)
    said = p[:, 1] if kind == "two" else p.max(axis=1)
    happened = fit.y == (fit.model.classes_[1] if kind == "two" else guess)
    theirs = calibration_curve(happened, said, n_bins=10, strategy="quantile")
    np.testing.assert_allclose(
        [(b.found, b.said) for b in found.calibration], np.transpose(theirs), rtol=1e-5
    )
    share = found.scores["accuracy"]
    assert found.errors["accuracy"] == pytest.approx(np.sqrt(share * (1 - share) / (len(found) - 1)))
    of_truth = p[np.arange(len(p)), np.searchsorted(fit.model.classes_, fit.y)]
    wrong = np.flatnonzero(guess != fit.y)
    assert found.worst(5).tolist() == wrong[np.argsort(of_truth[wrong], kind="stable")][:5].tolist()


def test_findings_of_numbers_are_scikit_learns(fits: dict[str, SimpleNamespace]) -> None:
    fit = fits["number"]
    found = examine_table(fit.predictor, fit.test, "y", top=0)
    guess = fit.model.predict(fit.X)
    assert found.scores["RMSE"] == pytest.approx(metrics.root_mean_squared_error(fit.y, guess), rel=1e-5)
    assert found.scores["MAE"] == pytest.approx(metrics.mean_absolute_error(fit.y, guess), rel=1e-5)
    assert found.scores["R²"] == pytest.approx(metrics.r2_score(fit.y, guess), rel=1e-5)
    assert found.worst(1)[0] == np.argmax(np.abs(fit.y - guess))
    assert not found.bounds


def test_rows_without_a_truth_are_left_out_and_counted(fits: dict[str, SimpleNamespace]) -> None:
    fit = fits["two"]
    y = fit.test["y"].copy()
    y[[3, 7]] = None
    found = examine_table(fit.predictor, Table({**fit.test.columns, "y": y}), "y", top=0)
    whole = examine_table(fit.predictor, fit.test, "y", top=0)
    assert (len(found), found.without_truth) == (len(whole) - 2, 2)
    np.testing.assert_allclose(found.answer, np.delete(whole.answer, [3, 7], axis=0), rtol=1e-5)


def test_what_cannot_be_examined_is_told(fits: dict[str, SimpleNamespace]) -> None:
    fit = fits["two"]
    odd = fit.test["y"].copy()
    odd[4] = "yess"
    with pytest.raises(
        DataError, match=r"'y' holds 'yess' in 1 row .4.*none of the model's 2 classes.*'yes'"
    ):
        examine_table(fit.predictor, Table({**fit.test.columns, "y": odd}), "y")
    none = Table({**fit.test.columns, "y": np.full(len(odd), None, object)})
    with pytest.raises(DataError, match="no row has a value of 'y'"):
        examine_table(fit.predictor, none, "y")
    with pytest.raises(DataError, match=r"lacks 1 column.*'shop'"):
        examine_table(fit.predictor, fit.test.drop("shop"), "y")
    several = MLPRegressor(hidden_layer_sizes=(2,), solver="lbfgs", max_iter=2)
    x = np.arange(20.0).reshape(10, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        several.fit(x, x)
    with pytest.raises(ConfigError, match="several targets"):
        examine_table(predictor_of(several), as_table({"x0": x[:, 0], "x1": x[:, 1], "y": x[:, 0]}), "y")


def test_bounds_hold_as_many_truths_as_they_say() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (3000, 1))
    y = 5 * x[:, 0] + rng.normal(size=3000) * (0.2 + x[:, 0])
    table = as_table({"x0": x[:, 0], "y": y})
    for loss in ("gaussian", losses.Quantile((0.1, 0.5, 0.9))):
        model = MLPRegressor(loss, (16,), random_state=0, max_iter=60, learning_rate_init=0.01)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(x[:2000], y[:2000])
        found = examine_table(predictor_of(model), table.take(slice(2000, None)), "y", top=0)
        assert {0.1, 0.9} <= set(found.bounds)
        for level, bound in found.bounds.items():
            assert np.mean(found.truth <= bound) == pytest.approx(level, abs=0.06)
        if loss == "gaussian":
            low, high = model.predict_interval(x[2000:], coverage=0.8)
            np.testing.assert_allclose(found.bounds[0.1], low, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(found.bounds[0.9], high, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------ importance and dependence


def plain_loss(fit: SimpleNamespace, truth: np.ndarray, table: Table) -> float:
    if fit.y.dtype.kind == "f":
        return float(metrics.root_mean_squared_error(truth, fit.predictor.predict(table)))
    p = fit.predictor.predict_proba(table)[np.arange(len(truth)), truth]  # theirs stops at 1e-7 in float32
    return float(-np.mean(np.log(p.astype(np.float64))))


@pytest.mark.parametrize("kind", ["two", "three", "number"])
def test_importance_is_what_shuffling_a_column_of_the_table_gives(
    fits: dict[str, SimpleNamespace], kind: str
) -> None:
    """Shuffled as encoded, or in the table: the same; embedded columns too."""
    fit = fits[kind]
    rows, truth = rows_of(fit)
    found = {i.column: i for i in importances(rows, truth, repeats=2, seed=9)}
    for j, column in enumerate(rows.places):
        rises = []
        for order in permutations(9, j, len(rows), 2):
            shuffled = Table({**rows.table.columns, column: rows.table[column][order]})
            loss = [plain_loss(fit, truth, table) for table in (shuffled, rows.table)]
            rises.append(loss[0] - loss[1])
        assert found[column].mean == pytest.approx(np.mean(rises), rel=1e-3, abs=1e-5), column
        assert found[column].deviation == pytest.approx(np.std(rises), rel=1e-2, abs=1e-5), column


@pytest.mark.parametrize(
    ("kind", "scoring"), [("two", "neg_log_loss"), ("number", "neg_root_mean_squared_error")]
)
def test_importance_is_scikit_learns(fits: dict[str, SimpleNamespace], kind: str, scoring: str) -> None:
    """Other random orders, so the same within their spread; and the same order of columns."""
    fit = fits[kind]
    rows, truth = rows_of(fit)
    found = importances(rows, truth, repeats=25)
    theirs = permutation_importance(fit.model, fit.X, fit.y, scoring=scoring, n_repeats=25, random_state=0)
    for i in found:
        j = list(fit.X.columns).index(i.column)
        apart = np.hypot(i.deviation, theirs.importances_std[j]) / 5
        assert abs(i.mean - theirs.importances_mean[j]) < 4 * apart + 1e-6, i.column
    assert [i.column for i in found[:2]] == ["x", "shop"]


def test_importance_of_some_rows_says_how_many(fits: dict[str, SimpleNamespace]) -> None:
    rows, truth = rows_of(fits["two"])
    found = importances(rows, truth, most=100)
    assert {i.rows for i in found} == {100}
    assert found[0].column == "x"


@pytest.mark.parametrize("kind", ["two", "number"])
@pytest.mark.parametrize("column", ["x", "z", "n"])
def test_dependence_on_numbers_is_scikit_learns(
    fits: dict[str, SimpleNamespace], kind: str, column: str
) -> None:
    fit = fits[kind]
    rows, _ = rows_of(fit)
    found = dependence(rows, column, most=len(rows))
    numeric = fit.X.assign(n=fit.X["n"].astype(float))
    theirs = partial_dependence(
        fit.model, numeric, [column], custom_values={column: found.values.astype(float)},
        kind="average", method="brute", categorical_features=["shop", "paid"],
    )  # fmt: skip
    mine = found.answers[:, 1] if kind == "two" else found.answers
    np.testing.assert_allclose(mine, theirs["average"][0], rtol=1e-4)
    assert found.places is not None
    if column == "x":
        assert len(found.values) == 24
        np.testing.assert_allclose(found.values[[0, -1]], np.quantile(fit.X["x"], [0.02, 0.98]))
        assert np.ptp(np.diff(found.values)) < 1e-12
    if column == "n":
        assert found.values.tolist() == [0, 1, 2, 3, 4, 5]
    assert (found.rug[0], found.rug[-1]) == (fit.X[column].min(), fit.X[column].max())
    np.testing.assert_array_equal(found.places, found.values.astype(float))


@pytest.mark.parametrize("column", ["shop", "paid", "day"])
def test_dependence_on_others_is_the_mean_over_a_frame_set_to_each_value(
    fits: dict[str, SimpleNamespace], column: str
) -> None:
    fit = fits["three"]
    rows, _ = rows_of(fit)
    found = dependence(rows, column, most=len(rows))
    for value, answer in zip(found.values.tolist(), found.answers, strict=True):
        table = fit.X.copy()
        if column == "day":
            table[column] = np.datetime64(value, "us")
        else:
            table[column] = pd.Series([value] * len(table), index=table.index, dtype=table[column].dtype)
        np.testing.assert_allclose(answer, fit.model.predict_proba(table).mean(axis=0), rtol=1e-4)
    if column == "shop":
        assert (*found.names[:2], found.names[-1]) == ("A", "B", "(missing)")


def test_dependence_on_many_categories_shows_the_most_frequent() -> None:
    rng = np.random.default_rng(0)
    words = np.array([f"w{min(i, 29):02d}" for i in rng.geometric(0.12, 600)], object)
    table = {"word": words, "x": rng.normal(size=600)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MLPClassifier((4,), max_iter=3, random_state=0).fit(table, words > "w05")
    found = dependence(Rows.of(predictor_of(model), as_table(table)), "word")
    times = pd.Series(words).value_counts()
    assert len(found.names) == 10
    assert found.left_out == times.size - 10
    assert min(times[list(found.names)]) >= times.iloc[9]


# ------------------------------------------------------------------ baselines


def test_linear_baseline_is_scikit_learns_logistic_regression(fits: dict[str, SimpleNamespace]) -> None:
    for kind in ("two", "three"):
        fit = fits[kind]
        if kind == "three":
            encoder = fit.predictor.encoder
            assert encoder is not None
            assert encoder.code_names, "its embedded column makes it another model than theirs"
        found = examine_table(
            fit.predictor, fit.test, "y", baselines=fit_baselines(fit.predictor, fit.train, "y"), top=0
        )
        constant, linear = found.comparisons
        shares = np.bincount(truth_of(fit.predictor, fit.train["y"], "y")) / TRAIN
        assert constant.scores["log loss"] == pytest.approx(-np.mean(np.log(shares[found.truth])))
        assert constant.scores["accuracy"] == np.mean(found.truth == shares.argmax())
        mean, error = constant.differences["accuracy"]
        each = (found.predicted == found.truth) * 1.0 - (found.truth == shares.argmax())
        assert mean == pytest.approx(found.scores["accuracy"] - constant.scores["accuracy"])
        assert error == pytest.approx(np.std(each, ddof=1) / np.sqrt(len(each)))
        if kind == "three":
            continue
        train, test = (Rows.of(fit.predictor, t.drop("y")).inputs["x"] for t in (fit.train, fit.test))
        model = LogisticRegression(C=1.0, max_iter=2000, tol=1e-8).fit(train, fit.train["y"].astype(str))
        np.testing.assert_allclose(linear.answer, model.predict_proba(test), atol=2e-3)


def test_linear_baseline_of_numbers_is_scikit_learns_ridge(fits: dict[str, SimpleNamespace]) -> None:
    fit = fits["number"]
    found = examine_table(
        fit.predictor, fit.test, "y", baselines=fit_baselines(fit.predictor, fit.train, "y"), top=0
    )
    mean, linear = found.comparisons
    np.testing.assert_allclose(mean.answer, fit.train["y"].mean())
    train, test = (Rows.of(fit.predictor, t.drop("y")).inputs["x"] for t in (fit.train, fit.test))
    scale = fit.train["y"].std()
    model = Ridge(alpha=1.0).fit(train, fit.train["y"] / scale)
    np.testing.assert_allclose(linear.answer, model.predict(test) * scale, atol=0.02 * scale)
    assert linear.differences["RMSE"][0] == pytest.approx(found.scores["RMSE"] - linear.scores["RMSE"])


# ------------------------------------------------------------------ columns


def test_columns_are_described_as_they_are(fits: dict[str, SimpleNamespace]) -> None:
    fit = fits["two"]
    views = {v.name: v for v in view_columns(fit.train, fit.predictor.encoder, "y")}
    assert list(views) == list(fit.X.columns)
    kinds = ["numeric", "categorical", "numeric", "numeric", "boolean", "date"]
    assert [view.kind for view in views.values()] == kinds
    frame_ = pd.DataFrame(dict(fit.train.columns))
    for name, view in views.items():
        assert view.missing == pytest.approx(frame_[name].isna().mean()), name
        assert view.distinct == frame_[name].nunique(), name
        assert sum(view.heights) == frame_[name].notna().sum(), name
    np.testing.assert_array_equal(views["z"].heights, np.histogram(frame_["z"].dropna(), 24)[0])
    assert views["shop"].heights == tuple(frame_["shop"].value_counts().tolist())
    assert views["shop"].words.startswith("A ")


def test_columns_that_tell_the_target_are_found_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=4000)
    y = x + rng.normal(size=4000)
    assert alone(3 * y + 1, y) > 0.98
    assert alone(np.digitize(y, [0.0]).astype(str).astype(object), y > 0) == 1.0
    assert 0.3 < alone(x, y) < 0.6  # R² = ½
    assert abs(alone(rng.permutation(x), y)) < 0.1
    keys = np.array([f"k{i}" for i in range(4000)], object)
    assert not alone(keys, y > 0) > 0.1, "a key tells nothing out of sample"
    view = view_columns(Table({"copy": -y, "x": x, "y": y}), None, "y")
    words = warnings_of(view, view_target(y, "y"))
    assert len(words) == 1
    assert words[0].startswith("copy alone tells 9")


def test_rare_classes_gaps_and_what_is_left_out_are_told() -> None:
    n = 400
    table = as_table({
        "key": [f"C{i}" for i in range(n)], "one": ["NOK"] * n, "x": [1.5, None, None, None] * (n // 4),
        "y": ["rare"] * 5 + ["common"] * (n - 5),
    })  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MLPClassifier((2,), max_iter=1, random_state=0).fit(table.drop("y"), table["y"].astype(str))
    view = view_columns(table, predictor_of(model).encoder, "y")
    words = " ".join(warnings_of(view, view_target(table["y"], "y", ("common", "rare"))))
    for part in ("rare has 5 of 400 rows", "key", "one", "Mostly gaps: x (75\u00a0%)"):
        assert part in words


def test_figures_are_plain_values_for_json(fits: dict[str, SimpleNamespace]) -> None:
    import json

    fit = fits["number"]
    found = examine_table(
        fit.predictor, fit.test, "y", baselines=fit_baselines(fit.predictor, fit.train, "y"), top=0
    )
    flat = dataclasses.replace(found, truth=np.full(len(found), 3.0))  # its R² is not defined
    for value in (found, flat):
        again = json.loads(json.dumps(value.figures(), allow_nan=False))
        assert again["scores"]["RMSE"] == pytest.approx(value.scores["RMSE"])
    assert again["scores"]["R²"] is None


@pytest.mark.parametrize("classes", [2, 3, 1000])
def test_importance_takes_as_many_rows_as_its_answers_leave_memory_for(classes: int) -> None:
    """Of 800,000 rows, shuffled five times, a thousand classes would be 32 GB."""
    target = SimpleNamespace(outputs={"y": classes if classes > 2 else 1})
    rows: Any = SimpleNamespace(
        places=dict.fromkeys(range(10)), width=10, predictor=SimpleNamespace(target=target)
    )
    count = _affordable(rows, 5)
    assert count * 5 * classes * 8 < 1e9
    assert count == {2: 800_000, 3: 800_000, 1000: 6_000}[classes]
