"""What the estimators have beyond scikit-learn's: options, losses, callbacks, intervals, tables."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from estimated import QUICK, forward, numbers, relu, table

from chainrule import losses, nn, ops, optim, train
from chainrule.errors import ConfigError, DataError
from chainrule.tasks import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ------------------------------------------------------------------ what is ours


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "gelu"}, {"activation": ops.silu}, {"activation": lambda z: z * ops.sigmoid(z)},
        {"activation": nn.PReLU()}, {"dropout": 0.2}, {"batch_norm": True}, {"layer_norm": True},
        {"weight_decay": 0.01}, {"clip_norm": 1.0}, {"schedule": "cosine"}, {"schedule": optim.OneCycle()},
        {"init": nn.HeNormal()}, {"solver": "adamw", "max_iter": 600},
        {"solver": optim.Lion(1e-2)}, {"solver": optim.LBFGS()},
        {"learning_rate_init": "auto"}, {"scaling": "quantile"}, {"scaling": "robust"}, {"threads": 1},
    ],
)  # fmt: skip
def test_options_of_ours_learn(options: dict[str, Any]) -> None:
    x, y = table(150)
    given = {**QUICK, "max_iter": 80, "learning_rate_init": 0.02, **options}
    assert MLPClassifier(**given).fit(x, y).score(x, y) > 0.8
    x, t = numbers(150)
    assert MLPRegressor(**given).fit(x, t).score(x, t) > 0.5


@pytest.mark.parametrize(
    "loss", ["focal", losses.CrossEntropy(label_smoothing=0.1), losses.BinaryCrossEntropy(), "log_loss"]
)
def test_losses_of_classes(loss: Any) -> None:
    x, y = table(150)
    model = MLPClassifier(**{**QUICK, "max_iter": 100, "learning_rate_init": 0.02}, loss=loss).fit(
        x, y == "far"
    )
    assert model.score(x, y == "far") > 0.9
    assert model.predict_proba(x).shape == (150, 2)


@pytest.mark.parametrize(
    "loss",
    ["absolute_error", "huber", losses.Huber(5.0), losses.MeanSquaredError(), losses.Quantile(0.5),
     lambda z, y: ops.mean(ops.square(z - y), -1) / 1000],
)  # fmt: skip
def test_losses_of_numbers(loss: Any) -> None:
    x, t = numbers(150)
    own = callable(loss) and not isinstance(loss, losses.Loss)
    options = {"solver": "lbfgs", "target_scaling": "none"} if own else {"learning_rate_init": 0.05}
    model = MLPRegressor(**{**QUICK, "max_iter": 200, **options}, loss=loss).fit(x, t)
    assert model.score(x, t) > 0.8


def test_our_callbacks_are_called() -> None:
    x, y = table()

    class Stop(train.Callback):
        def epoch(self, end: train.EpochEnd) -> bool:
            return end.epoch == 6

    assert MLPClassifier(**QUICK, callbacks=Stop()).fit(x, y).n_iter_ == 7
    recorder = train.Recorder("*/W")
    MLPClassifier(**QUICK, callbacks=[recorder]).fit(x, y)
    assert len(recorder) > 0


class Log:
    """A callback by scikit-learn's protocol."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.told: list[Any] = []
        self.stop_after = stop_after

    def setup(self, estimator: Any, context: Any) -> None:
        self.told.append("setup")

    def teardown(self, estimator: Any, context: Any) -> None:
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        self.told.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, X: Any = None, y: Any = None, fitted_estimator: Any = None
    ) -> bool:
        if context.task_name == "epoch":
            self.told.append(("score", fitted_estimator.score(X, y)))
        self.told.append(("end", context.task_name, context.task_id))
        return context.task_name == "epoch" and context.task_id == self.stop_after


@pytest.mark.skipif(not hasattr(MLPClassifier, "set_callbacks"), reason="scikit-learn before 1.9")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_scikit_learns_callbacks(solver: str) -> None:
    x, y = table()
    log = Log()
    model = MLPClassifier(**{**QUICK, "max_iter": 4, "solver": solver}).set_callbacks(log).fit(x, y)
    assert log.told[:2] == ["setup", ("begin", "fit", 0)]
    assert log.told[-2:] == [("end", "fit", 0), "teardown"]
    epochs = [t for t in log.told if t[0] in ("begin", "end") and t[1] == "epoch"]
    assert epochs == [(what, "epoch", k) for k in range(4) for what in ("begin", "end")]
    scores = [t[1] for t in log.told if t[0] == "score"]
    assert scores[-1] == model.score(x, y)
    stopped = MLPClassifier(**{**QUICK, "solver": solver}).set_callbacks(Log(stop_after=2)).fit(x, y)
    assert stopped.n_iter_ == 3


@pytest.mark.parametrize("classes", [2, 3])
def test_calibration_makes_probabilities_honest(classes: int) -> None:
    """Labels that are noise to a share: a network that has learned them by heart is far too sure."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1200, 5))
    y = np.where(rng.random(1200) < 0.3, rng.integers(0, classes, 1200), (x[:, 0] > 0) * (classes - 1))
    options = {
        "hidden_layer_sizes": (50,),
        "solver": "lbfgs",
        "random_state": 0,
        "max_iter": 150,
        "alpha": 0.0,
    }
    held, seen = (x[800:], y[800:]), (x[:400], y[:400])
    losses_of, best = [], []
    for calibrated in (False, True):
        model = MLPClassifier(**options, calibrate=calibrated).fit(
            *seen, validation_data=(x[400:800], y[400:800])
        )
        p = model.predict_proba(held[0])
        losses_of.append(-np.log(p[np.arange(400), held[1]]).mean())
        best.append(model.predict(held[0]))
        np.testing.assert_allclose(p.sum(1), 1)
    np.testing.assert_array_equal(best[0], best[1])
    assert losses_of[1] < 0.5 * losses_of[0]
    with pytest.raises(ConfigError, match="held out"):
        MLPClassifier(calibrate=True).fit(*seen)


def test_intervals_hold_what_they_say() -> None:
    """Noise that grows with x: both kinds of intervals cover their share of new rows, and grow too."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, size=(3000, 1))
    y = 100 + 50 * x[:, 0] + rng.normal(size=3000) * (1 + 9 * x[:, 0])
    options = {"hidden_layer_sizes": (20,), "max_iter": 120, "learning_rate_init": 0.01, "random_state": 0}
    for loss in ("gaussian", losses.GaussianNLL("log_variance"), losses.Quantile((0.05, 0.5, 0.95))):
        model = MLPRegressor(loss, **options).fit(x[:2000], y[:2000])
        low, high = model.predict_interval(x[2000:], coverage=0.9)
        inside = np.mean((low <= y[2000:]) & (y[2000:] <= high))
        assert 0.85 < inside < 0.95
        middle = model.predict(x[2000:])
        assert (low < middle).all()
        assert (middle < high).all()
        assert np.corrcoef(high - low, x[2000:, 0])[0, 1] > 0.9
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.predict_interval(x)[0], model.predict_interval(x)[0])
    quantiles = model.predict_quantiles(x)
    assert quantiles.shape == (3000, 3)
    np.testing.assert_array_equal(quantiles[:, 1], model.predict(x))
    with pytest.raises(ConfigError, match=r"0\.25"):
        model.predict_interval(x, coverage=0.5)
    with pytest.raises(ConfigError, match="gaussian"):
        model.predict(x, return_std=True)
    with pytest.raises(ConfigError, match="Quantile"):
        MLPRegressor(**QUICK).fit(x, y).predict_quantiles(x)


def test_deviations_of_several_numbers() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2))
    y = np.stack([x[:, 0] + rng.normal(size=500) * 3, 100 * x[:, 1] + rng.normal(size=500) * 50], axis=1)
    model = MLPRegressor("gaussian", **{**QUICK, "max_iter": 150, "learning_rate_init": 0.02}).fit(x, y)
    mean, deviation = model.predict(x, return_std=True)
    assert mean.shape == deviation.shape == (500, 2)
    np.testing.assert_allclose(deviation.mean(0), [3, 50], rtol=0.2)
    σ = deviation
    wanted = (0.5 * np.log(2 * np.pi) + np.log(σ) + 0.5 * ((y - mean) / σ) ** 2).sum(1).mean()
    assert model.loss_ == pytest.approx(wanted, rel=0.02)
    z = forward(model, x, relu)
    np.testing.assert_allclose(z[:, :2], mean, rtol=1e-9)
    several = MLPRegressor(losses.Quantile((0.9, 0.1)), **QUICK).fit(x, y)
    found = several.predict_quantiles(x)
    assert found.shape == (500, 2, 2)
    assert (found[..., 0] >= found[..., 1]).all()


# ------------------------------------------------------------------ tables


def people(rows: int = 200) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    age = np.where(rng.random(rows) < 0.1, np.nan, rng.uniform(18, 80, rows))
    sex, city = rng.choice(["F", "M"], rows), rng.choice([f"city {i}" for i in range(80)], rows)
    return {"age": age, "sex": sex, "city": city}, np.where((age > 45) ^ (sex == "F"), "yes", "no")


def test_a_table_with_text_gaps_and_many_categories() -> None:
    x, y = people()
    model = MLPClassifier(**{**QUICK, "max_iter": 150, "learning_rate_init": 0.02}).fit(x, y)
    assert model.score(x, y) > 0.9
    assert model.feature_names_in_.tolist() == ["age", "sex", "city"]
    assert model.n_features_in_ == 3
    assert "sex=F" in model.encoder_.feature_names
    shuffled = {name: x[name] for name in ("city", "age", "sex")}
    np.testing.assert_array_equal(model.predict_proba(shuffled), model.predict_proba(x))
    new = {"age": [30.0, np.nan], "sex": ["F", "D"], "city": ["nowhere", None]}
    assert model.predict(new).shape == (2,)
    with pytest.raises(DataError, match="city"):
        model.predict({"age": [30.0], "sex": ["F"]})
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))


def test_tables_with_early_stopping_weights_and_partial_fit() -> None:
    x, y = people()
    weight = np.arange(200) % 3
    model = MLPClassifier(**QUICK, early_stopping=True, class_weight="balanced").fit(x, y, weight)
    assert len(model.validation_scores_) == model.n_iter_
    scored = MLPClassifier(**QUICK, early_stopping=True, scoring="roc_auc").fit(x, y)
    assert 0 <= scored.best_validation_score_ <= 1
    part = MLPClassifier(**QUICK).partial_fit(x, y, classes=["no", "yes"]).partial_fit(x, y)
    assert part.t_ == 400


def test_data_frames_of_numbers_are_arrays() -> None:
    pandas = pytest.importorskip("pandas")
    x, y = table()
    frame = pandas.DataFrame(x, columns=["a", "b", "c"])
    model = MLPClassifier(**QUICK).fit(frame, y)
    assert model.encoder_ is None
    np.testing.assert_array_equal(
        model.predict_proba(frame), MLPClassifier(**QUICK).fit(x, y).predict_proba(x)
    )
    mixed = frame.assign(d=np.where(x[:, 0] > 0, "p", "q"))
    of_polars = MLPClassifier(**QUICK).fit(mixed, y)
    assert of_polars.encoder_ is not None
    polars = pytest.importorskip("polars")
    same = MLPClassifier(**QUICK).fit(polars.DataFrame({c: mixed[c].to_numpy() for c in mixed}), y)
    np.testing.assert_array_equal(same.predict_proba(mixed), of_polars.predict_proba(mixed))
