"""The estimators: what they promise beyond scikit-learn's own checks (those are in test_tasks_checks.py)."""

from __future__ import annotations

import inspect
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from estimated import QUICK, forward, numbers, relu, table
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_poisson_deviance
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.preprocessing import StandardScaler

from chainrule import optim
from chainrule.errors import ConfigError, DataError
from chainrule.tasks import MLPClassifier, MLPRegressor
from chainrule.tasks.scaling import by_unit, standard

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ------------------------------------------------------------------ the names are theirs


@pytest.mark.parametrize(
    ("ours", "theirs"), [(MLPClassifier, TheirClassifier), (MLPRegressor, TheirRegressor)]
)
def test_every_parameter_of_theirs_with_its_default(ours: Any, theirs: Any) -> None:
    here, there = (inspect.signature(kind).parameters for kind in (ours, theirs))
    assert here.keys() >= there.keys()
    for name, parameter in there.items():
        assert here[name].default == ("auto" if name == "alpha" else parameter.default), name
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


# ------------------------------------------------------------------ sparse


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
        ("scaling", "min-max"), ("callbacks", [3]), ("executor", "gpu"), ("threads", 0), ("verbose", "loud"),
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


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_penalty_of_auto_is_that_of_ridge_and_logistic_regression(solver, weighted):
    """λ = 1/(weight of all rows); scikit-learn's alpha is divided by the weight of a batch."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=60)
    weight = rng.uniform(1, 3, 60) if weighted else np.ones(60)
    options = {**QUICK, "solver": solver, "batch_size": 20}
    auto = MLPRegressor(**options).fit(x, y, weight)
    share = 1.0 if solver == "lbfgs" else 20 / 60
    given = MLPRegressor(**options, alpha=share).fit(x, y, weight)
    assert auto.network_.optimizer.l2 == pytest.approx(1 / weight.sum())
    assert auto.network_.optimizer.l2 == pytest.approx(given.network_.optimizer.l2)
    np.testing.assert_allclose(auto.coefs_[0], given.coefs_[0], rtol=1e-4, atol=1e-6)


def test_the_penalty_of_auto_is_ridges_in_the_limit_of_no_hidden_layer():
    """A network without hidden layers and with L-BFGS is Ridge(alpha=1) on the same standardised columns."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 3)) * [1, 10, 100]
    y = x @ [1, 0.2, -0.03] + rng.normal(size=40)
    options: dict[str, Any] = {"solver": "lbfgs", "scaling": "standard", "tol": 1e-9, "max_iter": 500}
    ours = MLPRegressor(hidden_layer_sizes=(), **options).fit(x, y)
    z, u = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    expected = Ridge().fit(z, u).predict(z) * y.std() + y.mean()
    np.testing.assert_allclose(ours.predict(x), expected, rtol=1e-5, atol=1e-5)


def test_the_penalty_of_auto_leaves_an_optimizer_of_ones_own_alone_and_parts_of_unknown_number():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=60)
    assert MLPRegressor(**QUICK, solver=optim.Adam(1e-3, l2=0.3)).fit(x, y).network_.optimizer.l2 == 0.3
    assert MLPRegressor(**QUICK).partial_fit(x, y).network_.optimizer.l2 == pytest.approx(1e-4 / 60)
