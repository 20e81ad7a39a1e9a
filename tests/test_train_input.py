"""What a person may get wrong in a call of fit: refused before the first step with a remedy, or taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, nn, ops, optim
from chainrule.errors import ChainruleError, ConfigError, DataError, ShapeError
from chainrule.nn import Dense
from chainrule.train import Callback, EarlyStopping, Recorder, Watch

X, LABELS = cr.datasets.moons(40)
SINE_X, SINE_Y = cr.datasets.sines(40)
FAST: dict[str, Any] = {"epochs": 1, "verbose": 0}


def classify(x: Any = X, y: Any = LABELS, **options: Any) -> cr.train.History:
    return cr.Network(Dense(4), ops.relu, Dense(2)).fit(x, y, **{**FAST, **options})


def regress(x: Any = SINE_X, y: Any = SINE_Y, units: int = 1, **options: Any) -> cr.train.History:
    return cr.Network(Dense(4), ops.tanh, Dense(units)).fit(x, y, **{**FAST, **options})


class Careless(Callback):
    every = 0


@pytest.mark.parametrize(
    ("mistake", "error", "says"),
    [
        # data
        (lambda: classify(y=LABELS.astype(float)), DataError, r"2 outputs; classes: .*y\.astype\(int\)"),
        (lambda: regress(y=np.arange(40)[:, None]), DataError, "0 to 39.*loss='mean_squared_error'"),
        (lambda: regress(y=np.arange(40) - 7), DataError, "-7 to 32"),
        (lambda: classify(validation=X), ConfigError, "validation is a ndarray; give a share"),
        (lambda: classify(validation=(X,)), ConfigError, "tuple of 1"),
        (lambda: classify(validation=(X, LABELS, None, 1)), ConfigError, "tuple of 4"),
        (lambda: classify(validation="0.2"), ConfigError, "validation is a str"),
        (lambda: classify(validation=True), ConfigError, "validation is a bool"),
        (lambda: classify(validation=(X, LABELS + 5)), DataError, "^validation: CrossEntropy: label outside"),
        (lambda: classify(validation=(X[:, :1], LABELS)), ShapeError, "^validation: x: rows of shape"),
        # options
        (lambda: classify(batch_size=0), ConfigError, "batch_size"),
        (lambda: classify(epochs=True), ConfigError, "epochs"),
        (lambda: classify(resume=True), ConfigError, "resume=True needs .*run_dir"),
        (lambda: classify(checkpoint_every=5), ConfigError, "checkpoint_every needs .*run_dir"),
        (lambda: classify(run_dir=__file__), ConfigError, "is a file; give a folder"),
        # callbacks
        (lambda: classify(callbacks=[print]), ConfigError, "no callback; give objects of the base"),
        (lambda: classify(callbacks=[EarlyStopping]), ConfigError, r"call it: EarlyStopping\("),
        (lambda: classify(callbacks=5), ConfigError, "no callback"),
        (lambda: classify(callbacks=[Careless()]), ConfigError, "Careless: every is 0"),
        (lambda: Recorder("*/W", every=0), ConfigError, "every is 0"),
        (lambda: Watch("*/W", of="grad"), ConfigError, "did you mean 'gradient'"),  # type: ignore[arg-type]
        (lambda: Recorder()["dense_0/W"], ConfigError, "holds no 'dense_0/W'"),
        (lambda: classify(callbacks=EarlyStopping("val_loss")), ConfigError, "give fit validation"),
        # metrics
        (lambda: regress(metrics="accuracy"), ConfigError, "loss of numbers; use 'absolute_error'"),
        (lambda: classify(metrics=["squared_error"]), ConfigError, "loss of classes; use 'accuracy'"),
        (lambda: classify(metrics=[lambda o, t: o[:, 0]]), ConfigError, "has no name"),
        (lambda: classify(metrics={"loss": "error"}), ConfigError, "'loss': the history uses that name"),
        # what is to be trained
        (lambda: cr.Network().fit(X, LABELS, **FAST), ConfigError, "the network has no parameters"),
        (
            lambda: classify(optimizer=optim.SGD(groups=(optim.Group("*", frozen=True),))),
            ConfigError,
            "every parameter is frozen",
        ),
        (lambda: cr.Network([Dense(3), Dense(2)]), ConfigError, r"write Network\(\*layers\)"),
        (lambda: cr.Network(Dense(3)).build("4"), ConfigError, "sizes of one sample"),  # type: ignore[arg-type]
        (lambda: cr.Network(Dense(3)).build(0), ConfigError, "sizes of one sample"),
        (lambda: cr.Network(Dense(3), seed=2**63), ConfigError, "seed must be an integer of 64 bits"),
    ],
)
def test_mistakes_are_refused_with_a_remedy(
    mistake: Callable[[], Any], error: type[ChainruleError], says: str
) -> None:
    with pytest.raises(error, match=says):
        mistake()


def test_an_index_outside_an_embedding_names_the_layer() -> None:
    net = cr.Network(word=nn.Embedding(10, 3), flat=nn.Flatten(), head=Dense(2))
    with pytest.raises(DataError, match=r"10 rows\n  in layer 'word', gather"):
        net.fit(np.arange(40)[:, None], LABELS, **FAST)


def test_one_metric_or_callback_needs_no_list() -> None:
    stopping = EarlyStopping("error")
    history = classify(metrics="error", callbacks=stopping)
    assert "error" in history.columns()
    assert stopping.best == history["error"][0]
    recorder = Recorder("dense_0/b")
    classify(callbacks=recorder)
    assert list(recorder.keys()) == ["value:dense_0/b"]


def confidence(output: ops.Expr, target: ops.Expr) -> ops.Expr:
    return ops.max(ops.softmax(output), -1)


def test_a_function_is_a_metric_under_its_own_name() -> None:
    net = cr.Network(Dense(2), seed=0)
    history = net.fit(X, LABELS, metrics=[confidence], learning_rate=1e-12, **FAST)
    assert history["confidence"][0] == pytest.approx(net.predict_proba(X).max(1).mean(), rel=1e-5)


def test_distances_are_those_of_what_the_loss_predicts() -> None:
    """A Poisson network's output is a logarithm, a Gaussian one's has scales beside the means."""
    counts = np.arange(40)[:, None] % 5
    for loss, y, units in ((losses.PoissonNLL(), counts, 1), (losses.GaussianNLL(), SINE_Y, 2)):
        net = cr.Network(Dense(units), seed=0)
        net.fit(SINE_X, y, loss=loss, metrics=["absolute_error"], **FAST)
        expected = np.abs(net.predict(SINE_X) - y).mean()
        assert net.evaluate(SINE_X, y)["absolute_error"] == pytest.approx(expected, rel=1e-5)


def test_of_several_outputs_each_has_the_metrics_that_suit_it() -> None:
    net = cr.Network(nn.parallel(kind=Dense(2), size=Dense(1), join="dict"))
    y = {"kind": LABELS, "size": X[:, :1]}
    history = net.fit(X, y, metrics=["accuracy", "absolute_error"], **FAST)
    measured = set(history.columns()) - {"epoch", "learning_rate", "seconds"}
    assert measured == {"loss", "loss/kind", "loss/size", "accuracy/kind", "absolute_error/size"}


def test_every_row_of_validation_may_have_a_weight() -> None:
    weight = np.where(np.arange(40) < 10, 1.0, 0.0)
    history = classify(validation=(X, LABELS, weight), learning_rate=1e-12)
    few = classify(validation=[X[:10], LABELS[:10]], learning_rate=1e-12)
    assert history["val_loss"][0] == pytest.approx(few["val_loss"][0], rel=1e-6)
