"""Copies of networks and estimators, by every way of making one: equal predictions at every stage,
and equal bits where learning goes on."""

from __future__ import annotations

import copy
import html.parser
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import chainrule as cr
from chainrule import Network, losses, nn, ops, optim
from chainrule.errors import ConfigError
from chainrule.tasks import EnsembleClassifier, EnsembleRegressor, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4))
NUMBERS = X[:, 0] * 3 + 7
NAMES = np.where(X[:, 0] > 0.3, "far", np.where(X[:, 1] > 0, "up", "down"))
TABLE = {"a": X[:, 0], "b": np.where(X[:, 1] > 0, "p", "q").astype(object)}


def by_pickle(protocol: int) -> Callable[[Any], Any]:
    return lambda value: pickle.loads(pickle.dumps(value, protocol))


WAYS = {
    **{f"pickle {n}": by_pickle(n) for n in range(2, pickle.HIGHEST_PROTOCOL + 1)},
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}
EXECUTORS = ("reference", "cpu")

# ------------------------------------------------------------------ estimators

QUICK: dict[str, Any] = {"hidden_layer_sizes": (6,), "max_iter": 4, "random_state": 0, "batch_size": 20}
# name: (estimator, X, y)
ESTIMATORS: dict[str, tuple[Any, Any, Any]] = {
    "classes": (MLPClassifier(**QUICK), X, NAMES),
    "two classes": (MLPClassifier(**QUICK, early_stopping=True, calibrate=True), X, NAMES == "far"),
    "labels": (MLPClassifier(**QUICK), X, np.stack([NAMES == "far", NAMES == "up"], 1).astype(int)),
    "targets": (MLPClassifier(**QUICK), X, np.stack([NAMES, NAMES], 1)),
    "table": (MLPClassifier(**QUICK, class_weight={"far": 2.0}, dropout=0.2, batch_norm=True), TABLE, NAMES),
    "numbers": (MLPRegressor(**QUICK, solver=optim.AdamW(0.01), schedule=optim.Cosine()), X, NUMBERS),
    "layers": (MLPRegressor(**QUICK, activation=nn.PReLU(), init=nn.HeNormal()), X, NUMBERS),
    "lbfgs": (MLPRegressor(**QUICK, solver="lbfgs"), X, np.stack([NUMBERS, NUMBERS], 1)),
    "sgd": (MLPRegressor(**QUICK, solver="sgd", learning_rate="adaptive"), X, NUMBERS),
    "gaussian": (MLPRegressor("gaussian", **QUICK), X, NUMBERS),
    "quantiles": (MLPRegressor(losses.Quantile((0.1, 0.5, 0.9)), **QUICK), X, NUMBERS),
    "ensemble": (EnsembleClassifier(MLPClassifier(**QUICK), 2, bootstrap=True, random_state=0), X, NAMES),
    "numbers together": (EnsembleRegressor(MLPRegressor(**QUICK), 2, random_state=0), X, NUMBERS),
    "pipeline": (make_pipeline(StandardScaler(), MLPClassifier(**QUICK)), X, NAMES),
}


def with_executor(estimator: Any, executor: str) -> Any:
    """A fresh one that computes by it."""
    fresh = clone(estimator)
    names = [name for name in fresh.get_params() if name.rpartition("__")[2] == "executor"]
    assert len(names) == 1
    return fresh.set_params(**{names[0]: executor})


def predictions(model: Any, x: Any) -> list[np.ndarray]:
    found = [model.predict(x)]
    for method in ("predict_proba", "predict_log_proba"):
        given = getattr(model, method)(x) if hasattr(model, method) else []
        found += given if isinstance(given, list) else [given]
    return found


def assert_same(a: list[np.ndarray], b: list[np.ndarray]) -> None:
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_copied_estimator_predicts_the_same(name: str, executor: str) -> None:
    given, x, y = ESTIMATORS[name]
    model = with_executor(given, executor)
    unfitted = {way: make(model) for way, make in WAYS.items()}
    model.fit(x, y)
    wanted = predictions(model, x)
    for way, make in WAYS.items():
        assert_same(predictions(make(model), x), wanted)  # of a fitted one
        assert_same(predictions(make(make(model)), x), wanted)  # and of its copy
        assert_same(predictions(unfitted[way].fit(x, y), x), wanted)
    for fresh in (clone(model), clone(WAYS["deepcopy"](model))):
        with pytest.raises(Exception, match="not fitted"):
            fresh.predict(x)
        assert repr(fresh) == repr(model)
        assert_same(predictions(fresh.fit(x, y), x), wanted)
    assert_same(predictions(model, x), wanted)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", ["classes", "labels", "table", "numbers", "sgd", "gaussian"])
@pytest.mark.parametrize("going_on", ["fit", "partial_fit"])
def test_a_copy_of_an_estimator_goes_on_to_the_same_bits(going_on: str, name: str, executor: str) -> None:
    """The optimizer's state, the place in the schedule and the order of rows are copied too; and what a copy
    learns the original does not."""
    given, x, y = ESTIMATORS[name]
    model = with_executor(given, executor).set_params(warm_start=True).fit(x, y)
    early = predictions(model, x)
    copies = [make(model) for way, make in WAYS.items() if way != "copy"]
    for other in copies:
        getattr(other, going_on)(x, y)
        assert_same(predictions(model, x), early)
    getattr(model, going_on)(x, y)
    wanted = predictions(model, x)
    assert any((a != b).any() for a, b in zip(early, wanted, strict=True))
    for other in copies:
        assert_same(predictions(other, x), wanted)
        assert other.loss_curve_ == model.loss_curve_


def test_a_pickle_is_read_by_a_process_of_its_own(tmp_path: Path) -> None:
    models = {name: clone(given).fit(x, y) for name, (given, x, y) in ESTIMATORS.items()}
    wanted = {name: models[name].predict(ESTIMATORS[name][1]) for name in models}
    (tmp_path / "models").write_bytes(pickle.dumps((models, {n: ESTIMATORS[n][1] for n in models}, wanted)))
    code = (
        "import pickle, sys; models, xs, wanted = pickle.load(open(sys.argv[1], 'rb')); "
        "print(all((m.predict(xs[n]) == wanted[n]).all() for n, m in models.items()), len(models))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "models")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", str(len(ESTIMATORS))]


# ------------------------------------------------------------------ networks

Y = (X[:, 0] > 0).astype(int)
FIT: dict[str, Any] = {"epochs": 3, "batch_size": 20, "verbose": 0}
# name: (network, options of fit)
NETWORKS: dict[str, tuple[Callable[[], Network], dict[str, Any]]] = {
    "plain": (lambda: Network(nn.Dense(5), ops.tanh, nn.Dense(2), seed=1), {}),
    "named, float64": (
        lambda: Network(hidden=nn.Dense(5), act=ops.relu, head=nn.Dense(2), dtype="float64"), {},
    ),
    "running statistics and noise": (
        lambda: Network(nn.Dense(5), nn.BatchNorm(), ops.relu, nn.Dropout(0.3), nn.Dense(2)), {},
    ),
    "solver": (lambda: Network(nn.Dense(5), ops.tanh, nn.Dense(2)), {"optimizer": "lbfgs"}),
    "no slots": (lambda: Network(nn.Dense(2)), {"optimizer": "sgd"}),
}  # fmt: skip


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_copied_network_predicts_the_same_and_goes_on_to_the_same_bits(name: str, executor: str) -> None:
    make_network, options = NETWORKS[name]
    options = {**FIT, "executor": executor, **options}
    net = make_network()
    stages: list[Callable[[Any], object]] = [
        lambda n: n.build(4),
        lambda n: n.fit(X, Y, **options),
        lambda n: n.fit(X, Y, warm_start=True, **options),
    ]
    copies = [make(net) for way, make in WAYS.items() if way != "copy"]
    for stage in stages:
        stage(net)
        wanted, state = net.output(X), net.state
        assert_same([WAYS["copy"](net).output(X)], [wanted])
        for other in copies:
            stage(other)
            np.testing.assert_array_equal(other.output(X), wanted)
        assert_same([*net.state.values()], [*state.values()])  # the original was not touched
        copies = [make(net) for way, make in WAYS.items() if way != "copy"]
        for other in copies:
            np.testing.assert_array_equal(other.output(X), wanted)
            assert repr(other) == repr(net)
            assert other.summary() == net.summary()
    assert net.history is not None
    assert copies[0].history.to_json() == net.history.to_json()


# ------------------------------------------------------------------ files


@pytest.mark.parametrize(
    "name", [n for n in ESTIMATORS if "ogether" not in n and n not in ("ensemble", "pipeline")]
)
def test_a_file_without_the_optimizer_predicts_the_same(name: str, tmp_path: Path) -> None:
    given, x, y = ESTIMATORS[name]
    model = clone(given).fit(x, y)
    model.save(tmp_path / "default")
    model.save(tmp_path / "without", optimizer=False)
    model.save(tmp_path / "with", optimizer=True)
    sizes = [(tmp_path / n).stat().st_size for n in ("default", "without", "with")]
    assert sizes[0] == sizes[1]
    slots = model.network_._slots
    assert sizes[2] - sizes[1] >= sum(a.nbytes for a in slots.values())
    assert (sizes[2] > sizes[1]) == bool(slots)
    for file in ("without", "with"):
        found = cr.load(tmp_path / file).predict(x)
        if found.dtype.kind == "f":
            np.testing.assert_allclose(found, model.predict(x), rtol=1e-12)
        else:
            np.testing.assert_array_equal(found, model.predict(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_saved_without_the_optimizer_does_not_go_on_with_it(name: str, tmp_path: Path) -> None:
    make_network, options = NETWORKS[name]
    net = make_network()
    net.fit(X, Y, **FIT, **options)
    net.save(tmp_path / "without", optimizer=False)
    net.save(tmp_path / "with", optimizer=True)
    without, whole = cr.load(tmp_path / "without"), cr.load(tmp_path / "with")
    for other in (without, whole):
        np.testing.assert_array_equal(other.output(X), net.output(X))
    assert without._slots == {}
    if net._slots:
        with pytest.raises(ConfigError, match="optimizer=True"):
            without.fit(X, Y, warm_start=True, **FIT, **options)
    net.fit(X, Y, warm_start=True, **FIT, **options)
    whole.fit(X, Y, warm_start=True, **FIT, **options)
    np.testing.assert_array_equal(whole.output(X), net.output(X))


# ------------------------------------------------------------------ notebooks


class Tags(html.parser.HTMLParser):
    """Counts cells, and refuses what is closed without having been opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.scripts = 0
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[Any]) -> None:
        self.open.append(tag)
        self.scripts += tag == "script"
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.cells[-1] += data


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_show_themselves(name: str) -> None:
    given, x, y = ESTIMATORS[name]
    model = clone(given)
    before, after = model._repr_html_(), model.fit(x, y)._repr_html_()
    assert type(model).__name__ in before
    assert "Not fitted" in before
    assert "Not fitted" not in after
    assert model._repr_mimebundle_()["text/html"].count("sk-estimator") == after.count("sk-estimator")


def test_networks_show_their_layers() -> None:
    net = Network(**{"<script>": nn.Dense(3), "act": ops.relu, "head": nn.Dense(2)})
    before = Tags(net._repr_html_())
    assert before.cells == ["<script>", "Dense(units=3)", "act", "relu", "head", "Dense(units=2)"]
    after = Tags(net.build(4)._repr_html_())
    assert after.cells[:3] == ["input x", "(batch, 4)", ""]
    assert after.cells[3:6] == ["<script>", "(batch, 3)", "15"]
    assert after.cells[-3:] == ["head", "(batch, 2)", "8"]
    assert before.scripts == after.scripts == 0
    for line in net.summary().splitlines()[1:-1]:
        assert line.split("  ")[0] in after.cells
