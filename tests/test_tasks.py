"""The estimators: what they promise beyond scikit-learn's own checks (those are in test_tasks_checks.py)."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import mean_poisson_deviance, r2_score
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.preprocessing import StandardScaler

from chainrule import losses, nn, ops, optim, train
from chainrule.errors import ConfigError, DataError, DivergenceError
from chainrule.tasks import MLPClassifier, MLPRegressor
from chainrule.tasks.scaling import by_unit, standard

QUICK: dict[str, Any] = {
    "hidden_layer_sizes": (8,),
    "max_iter": 30,
    "random_state": 0,
    "executor": "reference",
}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def table(rows: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three columns of different scales, and three classes that follow from two of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3)) * [1, 100, 0.01] + [0, 1e4, 5]
    z = (x - [0, 1e4, 5]) / [1, 100, 0.01]
    return x, np.where(z[:, 0] > 0.4, "far", np.where(z[:, 1] > 0, "up", "down"))


def numbers(rows: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    x, _ = table(rows, seed)
    return x, 500 + 30 * x[:, 0] - 0.2 * (x[:, 1] - 1e4)


def forward(model: Any, x: np.ndarray, hidden: Any) -> np.ndarray:
    """The network as scikit-learn's users write it down: from coefs_ and intercepts_ alone."""
    for W, b in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        x = hidden(x @ W + b)
    return x @ model.coefs_[-1] + model.intercepts_[-1]


def relu(z: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0)


# ------------------------------------------------------------------ the names are theirs


@pytest.mark.parametrize(
    ("ours", "theirs"), [(MLPClassifier, TheirClassifier), (MLPRegressor, TheirRegressor)]
)
def test_every_parameter_of_theirs_with_its_default(ours: Any, theirs: Any) -> None:
    here, there = (inspect.signature(kind).parameters for kind in (ours, theirs))
    assert here.keys() >= there.keys()
    for name, parameter in there.items():
        assert here[name].default == parameter.default, name
        assert here[name].kind == parameter.kind, name
    positional = [n for n, p in there.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert list(here)[: len(positional)] == positional


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "sgd"}, {"solver": "lbfgs"}])
@pytest.mark.parametrize(
    ("ours", "theirs", "data"),
    [(MLPClassifier, TheirClassifier, table), (MLPRegressor, TheirRegressor, numbers)],
)
def test_every_attribute_of_theirs(ours: Any, theirs: Any, data: Any, options: dict[str, Any]) -> None:
    x, y = data()
    scaled = StandardScaler().fit_transform(x)
    y = y if y.dtype.kind == "U" else (y - y.mean()) / y.std()
    there = (
        theirs((8,), max_iter=30, random_state=0, **options)
        if theirs is TheirClassifier
        else theirs(hidden_layer_sizes=(8,), max_iter=30, random_state=0, **options)
    )
    there.fit(scaled, y)
    here = ours(**{**QUICK, **options}).fit(scaled, y)
    public = {n for n in vars(there) if n.endswith("_") and not n.startswith("_")}
    for name in public:
        assert hasattr(here, name), name
        a, b = getattr(here, name), getattr(there, name)
        if options.get("solver") != "lbfgs" and name != "loss_":
            assert type(a) is type(b) or isinstance(a, type(b)) or np.isscalar(a) == np.isscalar(b), name
    for name in ("coefs_", "intercepts_"):
        assert [a.shape for a in getattr(here, name)] == [a.shape for a in getattr(there, name)]
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(here, name) == getattr(there, name), name
    assert here.loss_ == here.loss_curve_[-1]
    assert here.n_iter_ == len(here.loss_curve_)


def test_before_a_fit_there_are_no_attributes() -> None:
    for name in (
        "coefs_",
        "intercepts_",
        "n_layers_",
        "n_outputs_",
        "out_activation_",
        "encoder_",
        "classes_",
    ):
        assert not hasattr(MLPClassifier(), name)


def test_importing_chainrule_imports_no_scikit_learn() -> None:
    code = "import sys, chainrule as cr; print('sklearn' in sys.modules, cr.MLPClassifier.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "MLPClassifier"]


# ------------------------------------------------------------------ what it computes


def test_the_first_step_is_theirs() -> None:
    """From their weights, one full-batch step of SGD: the same gradient, penalty and rate, to rounding."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)), rng.integers(0, 3, 20)
    options: dict[str, Any] = {
        "alpha": 0.5,
        "learning_rate_init": 0.1,
        "momentum": 0.0,
        "max_iter": 1,
        "solver": "sgd",
    }
    theirs = TheirClassifier((5,), warm_start=True, random_state=0, **options).fit(x, y)
    ours = MLPClassifier(
        (5,), warm_start=True, scaling="none", executor="reference", random_state=0, **options
    ).fit(x, y)
    for i, name in enumerate(("dense_0", "dense_1")):
        ours.network_[f"{name}/W"], ours.network_[f"{name}/b"] = theirs.coefs_[i], theirs.intercepts_[i]
    ours.fit(x, y)
    theirs.fit(x, y)
    for a, b in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["squared_error", "poisson"])
def test_the_loss_is_reported_as_theirs(kind: str) -> None:
    """From loss_curve_: the mean loss in units of y with the penalty, as scikit-learn defines them."""
    x, y = numbers()
    model = MLPRegressor(**QUICK, loss=kind, alpha=0.0, learning_rate_init=1e-12).fit(x, y)
    found = model.predict(x)
    wanted = (
        0.5 * np.mean((y - found) ** 2) if kind == "squared_error" else 0.5 * mean_poisson_deviance(y, found)
    )
    assert model.loss_ == pytest.approx(wanted, rel=1e-6)
    heavy = MLPRegressor(**QUICK, loss=kind, alpha=10.0, learning_rate_init=1e-12).fit(x, y)
    assert heavy.loss_ > model.loss_


@pytest.mark.parametrize(
    "options",
    [{}, {"hidden_layer_sizes": ()}, {"activation": ("tanh", "relu"), "hidden_layer_sizes": (6, 5)},
     {"loss": "poisson"}, {"target_scaling": "none"}, {"scaling": "none", "max_iter": 2}],
)  # fmt: skip
def test_coefs_are_the_whole_network_for_x_as_it_is(options: dict[str, Any]) -> None:
    x, y = numbers()
    y = np.abs(y)
    model = MLPRegressor(**{**QUICK, **options}).fit(x, y)
    if options.get("activation"):
        h = np.tanh(x @ model.coefs_[0] + model.intercepts_[0])
        h = relu(h @ model.coefs_[1] + model.intercepts_[1])
        z = h @ model.coefs_[2] + model.intercepts_[2]
    else:
        z = forward(model, x, relu)
    z = np.exp(z) if options.get("loss") == "poisson" else z
    np.testing.assert_allclose(z[:, 0], model.predict(x), rtol=1e-8)


def test_scaling_inside_makes_units_indifferent() -> None:
    x, y = table()
    there = MLPClassifier(**QUICK).fit(x * 1000 - 7, y)
    here = MLPClassifier(**QUICK).fit(x, y)
    np.testing.assert_allclose(there.predict_proba(x * 1000 - 7), here.predict_proba(x), atol=1e-6)
    _, t = numbers()
    a, b = MLPRegressor(**QUICK).fit(x, t), MLPRegressor(**QUICK).fit(x, t * 1e6 + 5)
    np.testing.assert_allclose(a.predict(x) * 1e6 + 5, b.predict(x), rtol=1e-6)


def test_columns_of_one_unit_keep_their_proportions() -> None:
    """Pixels share one scale, other columns have their own; a constant column is only centred."""
    rng = np.random.default_rng(0)
    pixels = np.where(rng.random((200, 5)) < [0.01, 0.1, 0.3, 0.5, 0.7], 16.0, 0.0)
    x = np.hstack([pixels, rng.normal(size=(200, 1)), np.full((200, 1), 3.0)])
    scale = by_unit(x).scale
    np.testing.assert_allclose(scale[:5], np.sqrt(np.mean(pixels.var(axis=0))))
    np.testing.assert_allclose(scale[5:], [x[:, 5].std(), 1.0])
    far = x + 1e9
    np.testing.assert_allclose(standard(far).apply(far, np.dtype("float32"))[:, 5].std(), 1, rtol=1e-3)
    assert (standard(x).apply(x, np.dtype("float64"))[:, 6] == 0).all()


def test_the_same_random_state_gives_the_same_bits() -> None:
    x, y = table()
    for options in ({}, {"early_stopping": True}, {"dropout": 0.5}, {"solver": "lbfgs"}):
        a, b, other = (MLPClassifier(**{**QUICK, "random_state": s}, **options).fit(x, y) for s in (3, 3, 4))
        np.testing.assert_array_equal(a.predict_proba(x), b.predict_proba(x))
        assert (a.predict_proba(x) != other.predict_proba(x)).any()
    stream = np.random.RandomState(0)
    a, b = (MLPClassifier(**{**QUICK, "random_state": stream}).fit(x, y) for _ in range(2))
    assert (a.predict_proba(x) != b.predict_proba(x)).any()


@pytest.mark.parametrize(
    "labels", [["no", "yes"], [True, False], [5, 9], [1.0, 2.0], ["a", "b", "c"], [3, 1, 2]]
)
def test_any_labels(labels: list[Any]) -> None:
    x, _ = table()
    y = np.array(labels)[np.arange(80) % len(labels)]
    model = MLPClassifier(**QUICK).fit(x, y)
    assert model.classes_.tolist() == sorted(labels)
    assert set(model.predict(x)) <= set(labels)
    p = model.predict_proba(x)
    np.testing.assert_allclose(p.sum(1), 1)
    np.testing.assert_array_equal(model.classes_[p.argmax(1)], model.predict(x))
    np.testing.assert_allclose(model.predict_log_proba(x), np.log(p), rtol=1e-9)


def test_several_labels_and_several_targets() -> None:
    x, y = table(200)
    labels = np.stack([y == "far", y == "up"], axis=1).astype(int)
    options = {**QUICK, "max_iter": 200, "learning_rate_init": 0.02}
    model = MLPClassifier(**options).fit(x, labels)
    assert (model.out_activation_, model.n_outputs_) == ("logistic", 2)
    assert (model.predict(x) == labels).mean() > 0.9
    pair = np.stack([y, np.where(x[:, 0] > 0, "right", "left")], axis=1)
    both = MLPClassifier(**options, early_stopping=True).fit(x, pair)
    assert [c.tolist() for c in both.classes_] == [["down", "far", "up"], ["left", "right"]]
    assert (both.predict(x) == pair).mean() > 0.9
    assert [p.shape for p in both.predict_proba(x)] == [(200, 3), (200, 2)]
    assert both.coefs_[-1].shape == (8, 5)
    again = MLPClassifier(**QUICK).partial_fit(x, pair, classes=[["down", "far", "up"], ["left", "right"]])
    assert again.predict(x).shape == pair.shape


# ------------------------------------------------------------------ weights


def test_rows_of_weight_0_are_not_there() -> None:
    """Also with small batches, where what is left decides which rows meet."""
    x, y = table()
    weight = (np.arange(80) % 3 > 0).astype(float)
    a = MLPClassifier(**QUICK, batch_size=7).fit(x, y, weight)
    b = MLPClassifier(**QUICK, batch_size=7).fit(x[weight > 0], y[weight > 0])
    np.testing.assert_array_equal(a.predict_proba(x), b.predict_proba(x))
    with pytest.raises(ValueError, match="zero"):
        MLPClassifier(**QUICK).fit(x, y, np.zeros(80))
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        MLPClassifier(**QUICK).fit(x, y, -weight)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("executor", ["reference", "cpu"])
def test_batches_of_weight_0_are_skipped(solver: str, executor: str) -> None:
    """Rows in their order, in batches of eight: the second and the fifth weigh nothing, and no step is taken
    for them: no momentum goes on, no penalty shrinks the weights, no step is counted."""
    x, t = numbers()
    weight = np.ones(80)
    weight[8:16] = weight[32:40] = 0
    options = {**QUICK, "solver": solver, "executor": executor, "batch_size": 8, "shuffle": False, "alpha": 1}
    a = MLPRegressor(**options).fit(x, t, weight)
    b = MLPRegressor(**options).fit(x[weight > 0], t[weight > 0])
    np.testing.assert_array_equal(a.predict(x), b.predict(x))
    assert a.t_ == b.t_
    with pytest.raises(ValueError, match="zero"):
        a.partial_fit(x, t, np.zeros(80))
    np.testing.assert_array_equal(a.predict(x), b.predict(x))
    with pytest.raises(ValueError, match="zero"):
        MLPRegressor(**options).fit(x, t, validation_data=(x, t, np.zeros(80)))


def test_class_weights_are_weights_of_rows() -> None:
    x, y = table()
    by_class = {"far": 3.0, "up": 1.0, "down": 0.5}
    a = MLPClassifier(**QUICK, class_weight=by_class).fit(x, y)
    b = MLPClassifier(**QUICK).fit(x, y, [by_class[c] for c in y])
    np.testing.assert_array_equal(a.predict_proba(x), b.predict_proba(x))
    balanced = MLPClassifier(**QUICK, class_weight="balanced").fit(x, y)
    counts = {c: np.mean(y == c) for c in set(y)}
    c = MLPClassifier(**QUICK).fit(x, y, [1 / (3 * counts[label]) for label in y])
    np.testing.assert_allclose(balanced.predict_proba(x), c.predict_proba(x), atol=1e-9)
    with pytest.raises(ConfigError, match="balanced"):
        MLPClassifier(**QUICK, class_weight="balanced").partial_fit(x, y, classes=["down", "far", "up"])


# ------------------------------------------------------------------ going on


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_is_a_fit_epoch_by_epoch(solver: str, early: bool) -> None:
    """The optimizer's state goes on: ten calls are one fit of ten epochs, to the bit."""
    x, y = table()
    options = {**QUICK, "solver": solver, "max_iter": 10, "n_iter_no_change": 100}
    whole = MLPClassifier(**options).fit(x, y)
    parts = MLPClassifier(**options, early_stopping=early)
    for _ in range(10):
        parts.partial_fit(x, y, classes=np.unique(y))
    np.testing.assert_array_equal(parts.predict_proba(x), whole.predict_proba(x))
    assert parts.loss_curve_ == whole.loss_curve_
    assert parts.t_ == whole.t_ == 800


def test_partial_fit_with_early_stopping_of_numbers_labels_and_targets() -> None:
    """Nothing is held out, no score is kept, and a fit afterwards stops early as if nothing had been."""
    x, y = table()
    labels = np.stack([y == "far", y == "up"], axis=1).astype(int)
    options = {**QUICK, "max_iter": 3, "n_iter_no_change": 100, "batch_size": 9}
    kinds: list[tuple[Any, np.ndarray, dict[str, Any]]] = [
        (MLPRegressor, numbers()[1], {}),
        (MLPRegressor, x[:, :2], {}),
        (MLPClassifier, labels, {}),
        (MLPClassifier, np.stack([y, y], axis=1), {"classes": [np.unique(y)] * 2}),
    ]
    for kind, target, classes in kinds:
        whole = kind(**options).fit(x, target)
        parts = kind(**options, early_stopping=True).partial_fit(x, target, **classes)
        parts.partial_fit(x, target).partial_fit(x, target)
        for a, b in zip(parts.coefs_, whole.coefs_, strict=True):
            np.testing.assert_array_equal(a, b)
        assert parts.validation_scores_ is None
        afresh = kind(**options, early_stopping=True).fit(x, target)
        np.testing.assert_array_equal(parts.fit(x, target).predict(x), afresh.predict(x))
        assert len(parts.validation_scores_) == 3


def test_partial_fit_of_new_classes_and_numbers() -> None:
    x, y = table()
    with pytest.raises(ValueError, match="classes must be passed"):
        MLPClassifier(**QUICK).partial_fit(x, y)
    model = MLPClassifier(**QUICK).partial_fit(x[:5], y[:5], classes=["down", "far", "up", "never"])
    assert model.predict_proba(x).shape == (80, 4)
    with pytest.raises(ValueError, match="classes not in"):
        model.partial_fit(x, np.full(80, "new"))
    with pytest.raises(ValueError, match="not the same"):
        model.partial_fit(x, y, classes=["up", "down"])
    _, t = numbers()
    regressor = MLPRegressor(**QUICK)
    errors = [np.abs(regressor.partial_fit(x, t).predict(x) - t).mean() for _ in range(60)]
    assert errors[-1] < errors[0]


def test_warm_start_goes_on() -> None:
    x, y = table()
    options = {**QUICK, "max_iter": 5, "n_iter_no_change": 100}
    twice = MLPClassifier(**options, warm_start=True).fit(x, y)
    twice.fit(x, y)
    once = MLPClassifier(**{**options, "max_iter": 10}).fit(x, y)
    np.testing.assert_array_equal(twice.predict_proba(x), once.predict_proba(x))
    assert len(twice.loss_curve_) == 10
    assert twice.n_iter_ == 5
    with pytest.raises(ValueError, match="warm_start"):
        twice.fit(x, np.where(y == "up", "down", y))
    assert len(MLPClassifier(**options).fit(x, y).fit(x, y).loss_curve_) == 5


# ------------------------------------------------------------------ stopping


def test_early_stopping_keeps_the_best() -> None:
    x, y = table(150)
    model = MLPClassifier(**{**QUICK, "max_iter": 200, "learning_rate_init": 0.05}, early_stopping=True)
    model.fit(x, y)
    assert model.n_iter_ < 200
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == model.n_iter_
    assert model.best_loss_ is None


def test_with_lbfgs_rows_are_held_out_where_they_are_given_alone() -> None:
    """As in scikit-learn, early_stopping is of steps; validation_data is ours, and so is optim.LBFGS()."""
    x, t = numbers(150)
    options = {**QUICK, "max_iter": 60, "early_stopping": True, "alpha": 0.0}
    plain = MLPRegressor(**{**options, "early_stopping": False}, solver="lbfgs").fit(x, t)
    same = MLPRegressor(**options, solver="lbfgs").fit(x, t)
    np.testing.assert_array_equal(same.predict(x), plain.predict(x))
    assert same.validation_scores_ is None
    noise = np.random.default_rng(0).normal(size=(2, 40))
    held = numbers(40, seed=2)[0], numbers(40, seed=2)[1] + 100 * noise[0]
    judged = MLPRegressor(**options, solver="lbfgs").fit(
        x[:40], t[:40] + 100 * noise[1], validation_data=held
    )
    assert judged.n_iter_ < 60
    assert judged.best_validation_score_ == pytest.approx(judged.score(*held), abs=1e-3)
    assert len(MLPRegressor(**options, solver=optim.LBFGS()).fit(x, t).validation_scores_) > 0
    with pytest.raises(ConfigError, match="validation_data"):
        MLPClassifier(solver="lbfgs", early_stopping=True, calibrate=True).fit(x, t > 500)


def test_validation_data_and_scorers() -> None:
    x, t = numbers(150)
    held = numbers(60, seed=1)
    options = {**QUICK, "learning_rate_init": 0.05, "early_stopping": True}
    model = MLPRegressor(**options).fit(x, t, validation_data=held)
    assert model.best_validation_score_ == pytest.approx(r2_score(held[1], model.predict(held[0])), abs=1e-4)
    curve = MLPRegressor(**options, scoring="loss").fit(x, t, validation_data=held)
    np.testing.assert_allclose(
        curve.best_validation_score_, -curve.network_.history["val_loss"].min(), atol=1e-4
    )
    scored = MLPRegressor(**options, scoring="neg_mean_absolute_error").fit(x, t, validation_data=held)
    error = np.abs(scored.predict(held[0]) - held[1]).mean()
    assert scored.best_validation_score_ == pytest.approx(-error, abs=1e-4)
    weight = np.linspace(0, 2, 60)
    weighed = MLPRegressor(**options).fit(x, t, validation_data=(*held, weight))
    assert weighed.best_validation_score_ == pytest.approx(
        weighed.score(*held, sample_weight=weight), abs=1e-4
    )
    watched = MLPRegressor(**QUICK).fit(x, t, validation_data=held)
    assert len(watched.validation_scores_) == 30


def test_it_stops_where_nothing_changes_and_says_where_it_has_not_converged() -> None:
    x, y = table()
    still = MLPClassifier(**{**QUICK, "max_iter": 100, "tol": 10.0, "n_iter_no_change": 3}).fit(x, y)
    assert still.n_iter_ == 5, "one that is better than nothing, and more than three that are not"
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        MLPClassifier(**QUICK).fit(x, y)
    options = {**QUICK, "max_iter": 100, "tol": 10.0, "n_iter_no_change": 3, "learning_rate_init": 0.1}
    adaptive = MLPClassifier(**options, solver="sgd", learning_rate="adaptive").fit(x, y)
    rates = adaptive.network_.history["learning_rate"]
    np.testing.assert_allclose(sorted(set(rates), reverse=True)[:3], [0.1, 0.02, 0.004], rtol=1e-6)
    falling = MLPClassifier(**QUICK, solver="sgd", learning_rate="invscaling", power_t=0.5).fit(x, y)
    wanted = 0.001 * np.array([1.0, *(80 * k + 1 for k in range(1, 30))]) ** -0.5
    np.testing.assert_allclose(falling.network_.history["learning_rate"], wanted, rtol=1e-6)


def test_a_rate_of_a_million_is_told() -> None:
    x, t = numbers()
    with pytest.raises(DivergenceError, match="learning rate"):
        MLPRegressor(**QUICK, learning_rate_init=1e30).fit(x, t)


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


# ------------------------------------------------------------------ copies, searches


def test_copies_predict_the_same() -> None:
    x, y = table()
    model = MLPClassifier(**QUICK, activation=nn.PReLU(), schedule=optim.Cosine()).fit(x, y)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        np.testing.assert_array_equal(other.predict_proba(x), model.predict_proba(x))
    fresh = clone(model)
    assert not hasattr(fresh, "network_")
    assert "MLPClassifier" in model._repr_html_()
    again = pickle.loads(pickle.dumps(model)).set_params(warm_start=True).fit(x, y)
    assert len(again.loss_curve_) == 2 * len(model.loss_curve_)


def test_sparse_columns() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    x, y = table()
    x = np.where(x > np.median(x, axis=0), x, 0)
    a, b = MLPClassifier(**QUICK).fit(sparse.csr_matrix(x), y), MLPClassifier(**QUICK).fit(x, y)
    np.testing.assert_array_equal(a.predict_proba(sparse.csc_matrix(x)), b.predict_proba(x))
    huge = sparse.csr_matrix((10**5, 10**5))
    with pytest.raises(DataError, match="75 GiB"):
        MLPClassifier(**QUICK).fit(huge, np.arange(10**5) % 2)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_layer_sizes", (0,)), ("hidden_layer_sizes", (3.5,)), ("activation", "rely"),
        ("activation", ("relu",) * 3), ("solver", "adem"), ("solver", 3), ("alpha", -1), ("batch_size", 0),
        ("batch_size", "all"), ("learning_rate", "fast"), ("learning_rate_init", 0), ("max_iter", 0),
        ("tol", -1), ("momentum", 2), ("validation_fraction", 1.0), ("beta_1", 1), ("epsilon", 0),
        ("n_iter_no_change", 0), ("max_fun", 0), ("shuffle", "yes"), ("loss", "los"), ("dropout", 1.0),
        ("batch_norm", 1), ("weight_decay", -1), ("clip_norm", 0), ("schedule", "fast"), ("init", "he"),
        ("scaling", "minmax"), ("callbacks", [3]), ("executor", "gpu"), ("threads", 0), ("verbose", "loud"),
    ],
)  # fmt: skip
def test_parameters_are_checked_before_anything_is_done(name: str, value: Any) -> None:
    x, y = table(20)
    model = MLPClassifier(**{**QUICK, name: value, **({"solver": "sgd"} if name == "momentum" else {})})
    with pytest.raises((ConfigError, DataError, ValueError), match=r"."):
        model.fit(x, y)
    assert not getattr(model, "loss_curve_", None)


def test_targets_are_checked() -> None:
    x, y = table()
    with pytest.raises(ValueError, match="continuous"):
        MLPClassifier(**QUICK).fit(x, x[:, 0])
    with pytest.raises(ValueError, match="y >= 0"):
        MLPRegressor(**QUICK, loss="poisson").fit(x, -np.abs(x[:, 0]))
    with pytest.raises(ValueError, match="validation_data"):
        MLPClassifier(**QUICK).fit(x, y, validation_data=x)
    with pytest.raises(ValueError, match="inconsistent"):
        MLPClassifier(**QUICK).fit({"a": x[:, 0], "b": y}, y[:-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert MLPClassifier(**QUICK).fit(x, np.full(80, "only")).predict(x[:2]).tolist() == ["only", "only"]
