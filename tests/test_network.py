"""Network as a person uses it: predictions, files, several inputs and outputs, concurrency."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading
from dataclasses import dataclass

import numpy as np
import pytest
from callers import at_once
from safetensors.numpy import load_file
from seconds import least_seconds

import chainrule as cr
from chainrule import nn
from chainrule.errors import ConfigError, DataError, ModelFileError, ShapeError
from chainrule.nn import Dense
from chainrule.ops import relu, tanh
from chainrule.storage import read_tensors, write_tensors

rng = np.random.default_rng(0)
X = rng.normal(size=(200, 4)).astype("float32")
LABELS = (X[:, 0] > 0).astype("int64")
Y = X @ rng.normal(size=(4, 2)).astype("float32")


@pytest.fixture(scope="module")
def classifier():
    net = cr.Network(Dense(8), relu, Dense(2), seed=1)
    net.fit(X, LABELS, epochs=5, verbose=0)
    return net


def by_hand(net, x):
    return np.maximum(x @ net["dense_0/W"] + net["dense_0/b"], 0) @ net["dense_1/W"] + net["dense_1/b"]


@pytest.mark.parametrize("rows", [1, 2, 64, 65, 200])
def test_predictions_equal_numpy_whatever_the_number_of_rows(classifier, rows):
    z = by_hand(classifier, X[:rows])
    np.testing.assert_allclose(classifier.output(X[:rows]), z, rtol=1e-4, atol=1e-5)
    assert classifier.predict(X[:rows]).tolist() == z.argmax(1).tolist()
    e = np.exp(z - z.max(1, keepdims=True))
    np.testing.assert_allclose(
        classifier.predict_proba(X[:rows]), e / e.sum(1, keepdims=True), rtol=1e-4, atol=1e-6
    )


def test_evaluate_is_the_weighted_mean(classifier):
    weight = rng.uniform(0, 1, 200)
    z = by_hand(classifier, X.astype("float64"))
    losses = np.log(np.exp(z).sum(1)) - z[np.arange(200), LABELS]
    found = classifier.evaluate(X, LABELS, sample_weight=weight)
    assert found["loss"] == pytest.approx((losses * weight).sum() / weight.sum(), rel=1e-5)
    assert found["accuracy"] == pytest.approx(
        ((z.argmax(1) == LABELS) * weight).sum() / weight.sum(), rel=1e-6
    )


def test_a_regression_predicts_values():
    net = cr.Network(Dense(2), seed=0)
    net.fit(X, Y, epochs=200, learning_rate=0.05, verbose=0)
    np.testing.assert_allclose(net.predict(X), Y, atol=0.05)
    with pytest.raises(ConfigError, match="class probabilities"):
        net.predict_proba(X)


def test_a_file_gives_the_same_network_in_a_fresh_process(classifier, tmp_path):
    path = tmp_path / "model.safetensors"
    classifier.save(path)
    np.save(tmp_path / "x.npy", X)
    program = (
        "import sys, numpy, chainrule; net = chainrule.load(sys.argv[1]);"
        "print(net.output(numpy.load(sys.argv[2])).tobytes().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path, tmp_path / "x.npy"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == classifier.output(X).tobytes().hex()
    loaded = cr.load(path)
    assert loaded.history["loss"].tolist() == classifier.history["loss"].tolist()
    assert loaded.evaluate(X, LABELS) == classifier.evaluate(X, LABELS)


def test_the_public_safetensors_package_reads_the_file(classifier, tmp_path):
    classifier.save(tmp_path / "m.safetensors")
    arrays = load_file(tmp_path / "m.safetensors")
    assert arrays.keys() == classifier.state.keys()
    assert all((arrays[n] == v).all() for n, v in classifier.state.items())


def test_warm_start_goes_on_after_a_file(tmp_path):
    options = {"batch_size": 20, "schedule": cr.optim.Constant(), "verbose": 0}
    one = cr.Network(Dense(8), relu, Dense(2), seed=1)
    one.fit(X, LABELS, epochs=4, **options)
    two = cr.Network(Dense(8), relu, Dense(2), seed=1)
    two.fit(X, LABELS, epochs=2, **options)
    two.save(tmp_path / "m.safetensors", optimizer=True)
    three = cr.load(tmp_path / "m.safetensors")
    three.fit(X, LABELS, epochs=2, warm_start=True, **options)
    assert all(one[n].tobytes() == three[n].tobytes() for n in one.parameters)


def test_a_warm_start_needs_the_optimizer_that_it_goes_on_with(classifier, tmp_path):
    net = copy.deepcopy(classifier)
    frozen = cr.optim.Adam(groups=(cr.optim.Group("dense_0/*", frozen=True),))
    for other in ("momentum", "sgd", frozen):
        with pytest.raises(ConfigError, match=r"only one of the two has optimizer/m/dense_0/W, "):
            net.fit(X, LABELS, optimizer=other, warm_start=True, verbose=0)
    net.save(tmp_path / "m")
    with pytest.raises(ConfigError, match="optimizer=True"):
        cr.load(tmp_path / "m").fit(X, LABELS, warm_start=True, verbose=0)
    fresh = cr.Network(Dense(2), seed=0)
    assert len(fresh.fit(X, LABELS, epochs=1, warm_start=True, verbose=0)) == 1  # nothing to go on with


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda h: h.update(layer={"type": "Danse", "version": 1}), "Danse"),
        (lambda h: h.update(dtype="complex64"), "complex64"),
        (lambda h: h.pop("inputs"), "inputs"),
        (lambda h: h["inputs"]["x"].update(shape=[7]), "dense_0/W"),
        (lambda h: h.update(kind="checkpoint"), "checkpoint"),
        (lambda h: h.update(metrics=["nonsense"]), "nonsense"),
        (lambda h: h.update(seed="three"), "seed"),
        (lambda h: h["inputs"]["x"].update(shape=[2**40]), None),
        (lambda h: h["inputs"]["x"].update(shape=[-4]), "non-negative"),
        (lambda h: h["inputs"]["x"].update(shape="4"), "non-negative"),
        (lambda h: h.update(loss={"y": 5}), "loss"),
        (lambda h: h.update(loss={"y": {"function": "relu"}}), "relu"),
        (lambda h: h.update(loss={"y": h["layer"]}), "loss"),
        (lambda h: h.update(optimizer=h["loss"]["y"]), "optimizer"),
        (lambda h: h.update(seed=2**70), "seed"),
        (lambda h: h.update(steps="many"), "many"),
        (lambda h: h.update(steps=[]), None),
        (lambda h: h["history"]["columns"].update(loss=["low"] * 5), "low"),
        (lambda h: h["history"]["columns"].update(loss=[0.5]), None),
        (lambda h: h["history"].update(rows=[]), "rows"),
        (lambda h: h.update(history=[]), None),
    ],
)
def test_a_header_that_describes_no_network_is_refused(classifier, tmp_path, change, says):
    classifier.save(tmp_path / "m")
    header, arrays = read_tensors(tmp_path / "m")
    change(header)
    write_tensors(tmp_path / "bad", arrays, header)

    def refused():
        with pytest.raises(ModelFileError, match=says):
            cr.load(tmp_path / "bad")

    assert least_seconds(refused, 1) < 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a.update({"dense_0/W": a["dense_0/W"].astype("float64")}), "dense_0/W"),
        (lambda a: a.update({"dense_0/W": a["dense_0/W"].astype("int64")}), "dense_0/W"),
        (lambda a: a.pop("optimizer/v/dense_1/b"), "optimizer/v/dense_1/b"),
        (lambda a: a.update({"optimizer/v/dense_1/b": np.zeros((2, 2), "float32")}), "optimizer/v/dense_1/b"),
        (lambda a: a.update({"optimizer/w/dense_1/b": np.zeros(2, "float32")}), "optimizer/w/dense_1/b"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(classifier, tmp_path, change, says):
    classifier.save(tmp_path / "m", optimizer=True)
    header, arrays = read_tensors(tmp_path / "m")
    change(arrays)
    write_tensors(tmp_path / "bad", arrays, header)
    with pytest.raises(ModelFileError, match=says):
        cr.load(tmp_path / "bad")


def test_a_layer_may_be_called_optimizer(tmp_path):
    net = cr.Network(optimizer=Dense(2), seed=0)
    net.fit(X, Y, epochs=1, verbose=0)
    for slots in (False, True):
        net.save(tmp_path / "m", optimizer=slots)
        assert (cr.load(tmp_path / "m").output(X) == net.output(X)).all()


def test_a_loss_of_ones_own_may_be_called_like_a_function(tmp_path):
    def square(output, target):
        return cr.ops.sum(cr.ops.square(output - target), 1)

    net = cr.Network(Dense(3), cr.ops.square, Dense(2), seed=0)
    net.fit(X, Y, loss=square, epochs=1, verbose=0)
    net.save(tmp_path / "m")
    with pytest.raises(ModelFileError, match=r"custom=\[square\]"):
        cr.load(tmp_path / "m")
    again = cr.load(tmp_path / "m", custom=[square])
    assert again.evaluate(X, Y) == net.evaluate(X, Y)


@dataclass(frozen=True)
class TwoTowers(nn.Layer):
    """Two inputs, two outputs, one shared tower."""

    tower: Dense = Dense(5)
    classes: Dense = Dense(2)
    value: Dense = Dense(1)

    def __call__(self, x, run):
        with run.shared("tower"):
            h = tanh(run.apply("tower", self.tower, x["left"])) + tanh(
                run.apply("tower", self.tower, x["right"])
            )
        return {"kind": run.apply("classes", self.classes, h), "size": run.apply("value", self.value, h)}


def test_several_inputs_outputs_and_losses(tmp_path):
    net = cr.Network(TwoTowers(), seed=0)
    x = {"left": X[:, :2], "right": X[:, 2:]}
    y = {"kind": LABELS, "size": Y[:, :1]}
    history = net.fit(x, y, loss={"kind": None, "size": None}, epochs=60, learning_rate=0.05, verbose=0)
    assert history["loss"][-1] < 0.75 * history["loss"][0]
    np.testing.assert_allclose(history["loss"], history["loss/kind"] + history["loss/size"], rtol=1e-6)
    found = net.predict(x)
    assert found["kind"].shape == (200,)
    assert found["size"].shape == (200, 1)
    net.save(tmp_path / "m")
    with pytest.raises(ModelFileError, match="TwoTowers"):
        cr.load(tmp_path / "m")
    again = cr.load(tmp_path / "m", custom=[TwoTowers])
    assert (again.predict(x)["size"] == found["size"]).all()
    with pytest.raises(DataError, match="left"):
        net.predict({"left": X[:, :2]})


def test_concurrent_predictions_are_safe(classifier):
    expected = [classifier.output(X[k : k + 70]) for k in range(8)]
    wrong = []

    def work(k):
        wrong.extend(k for _ in range(20) if not (classifier.output(X[k : k + 70]) == expected[k]).all())

    at_once(work)
    assert not wrong


def test_a_network_is_written_as_it_is_made():
    net = cr.Network(nn.Rescale(), Dense(8, init=nn.Orthogonal()), relu, head=nn.Dropout(0.1), seed=3)
    layers = "rescale_0=Rescale(), dense_0=Dense(units=8, init=Orthogonal()), relu_0=relu"
    assert repr(net) == f"Network({layers}, head=Dropout(rate=0.1), seed=3, dtype='float32')"
    names = {"relu": relu, **vars(nn), "Network": cr.Network}
    assert eval(repr(net), names).layer == net.layer
    assert repr(cr.Network(TwoTowers())) == "Network(TwoTowers(), seed=0, dtype='float32')"


def test_a_function_as_loss_comes_back_with_the_file(tmp_path):
    def cubic(output, target):
        return cr.ops.mean(cr.ops.abs(output - target) ** 3, 1)

    def largest(output, target):
        return cr.ops.max(cr.ops.abs(output - target), 1)

    net = cr.Network(Dense(2), seed=0)
    net.fit(X, Y, loss=cubic, metrics={"worst": largest, "distance": "absolute_error"}, epochs=1, verbose=0)
    net.save(tmp_path / "m")
    with pytest.raises(ModelFileError, match=r"names cubic, .*load\(path, custom=\[cubic\]\)"):
        cr.load(tmp_path / "m")
    again = cr.load(tmp_path / "m", custom=[cubic])
    found = net.evaluate(X, Y)
    assert found.pop("worst") > 0
    assert again.evaluate(X, Y) == found  # metrics of one's own are left out, aliases are not
    assert found.keys() == {"loss", "distance"}


def test_a_fit_never_writes_to_arrays_that_a_prediction_may_be_reading():
    """Running statistics are brought up to date in place; those of the network itself are not."""
    net = cr.Network(Dense(8), nn.BatchNorm(), relu, Dense(2), seed=1).build(4)
    held = dict(net._state)
    before = {name: a.copy() for name, a in held.items()}
    for warm in (False, True):
        net.fit(X, LABELS, epochs=1, optimizer=cr.optim.Momentum(0.1), warm_start=warm, verbose=0)
        slots = dict(net._slots)
        kept = {name: a.copy() for name, a in slots.items()}
    net.fit(X, LABELS, epochs=1, optimizer=cr.optim.Momentum(0.1), warm_start=True, verbose=0)
    assert all((held[name] == a).all() for name, a in before.items())
    assert all((slots[name] == a).all() for name, a in kept.items())


def test_predictions_during_a_fit_come_from_one_network():
    """Either the one before or the one after, never a mixture of both."""
    net = cr.Network(Dense(8), nn.BatchNorm(), relu, Dense(2), seed=1)
    net.fit(X, LABELS, epochs=1, verbose=0)
    seen, stop = [], threading.Event()

    def watch():
        while not stop.is_set():
            seen.append(net.output(X[:3]).tobytes())

    thread = threading.Thread(target=watch)
    thread.start()
    states = [net.output(X[:3]).tobytes()]
    for _ in range(20):
        net.fit(X, LABELS, epochs=1, verbose=0)
        states.append(net.output(X[:3]).tobytes())
    stop.set()
    thread.join()
    assert set(seen) <= set(states)


def test_a_refused_fit_changes_nothing(classifier):
    net = copy.deepcopy(classifier)
    before = vars(net).copy()
    for wrong in (
        {"y": LABELS[:5]},
        {"y": Y, "loss": "huber", "callbacks": cr.train.EarlyStopping("val_los")},
        {"y": LABELS, "optimizer": "sgd", "executor": "nonsense"},
    ):
        with pytest.raises(cr.ChainruleError):
            net.fit(X, **wrong, verbose=0)
        assert vars(net) == before
    net.find_learning_rate(X, Y, loss="mean_squared_error", steps=10)
    assert vars(net) == before


def test_a_network_whose_first_fit_was_refused_takes_other_features():
    net = cr.Network(Dense(2))
    with pytest.raises(DataError):
        net.fit(X, LABELS[:5], verbose=0)
    net.find_learning_rate(X, LABELS, steps=10)
    net.fit(X[:, :3], LABELS, epochs=1, verbose=0)
    assert net["dense_0/W"].shape == (3, 2)


def test_build_begins_anew(classifier):
    net = copy.deepcopy(classifier).build(3)
    fresh = cr.Network(Dense(8), relu, Dense(2), seed=1).build(3)
    assert net.history is None
    assert net.output(X[:, :3]).tobytes() == fresh.output(X[:, :3]).tobytes()
    again = [n.fit(X[:, :3], LABELS, epochs=2, warm_start=True, verbose=0).sha256 for n in (net, fresh)]
    assert again[0] == again[1]


def test_a_copy_is_independent(classifier):
    net = copy.deepcopy(classifier)
    expected = classifier.output(X)
    assert (net.output(X) == expected).all()
    net.fit(X, LABELS, epochs=1, verbose=0)
    assert (classifier.output(X) == expected).all()
    assert not (net.output(X) == expected).all()


def test_a_network_that_ends_in_probabilities_gives_them():
    from chainrule.ops import softmax

    net = cr.Network(Dense(2), softmax, seed=0)
    net.fit(X, LABELS, loss=cr.losses.NegativeLogLikelihood("probabilities"), epochs=1, verbose=0)
    assert (net.predict_proba(X) == net.output(X)).all()


def test_inputs_may_have_any_name():
    net = cr.Network(Named(), seed=0)
    x = {"dtype": X[:, :2], "shape": X[:, 2:]}
    y = {"dtype": Y, "shape": Y}
    history = net.fit(x, y, epochs=2, validation=0.2, verbose=0)
    assert list(net.find_learning_rate(x, y, steps=5).losses)
    assert net.evaluate(x, y)["loss"] < 2 * history["loss"][0]


@dataclass(frozen=True)
class Named(nn.Layer):
    """Inputs and outputs that share their names, with each other and with arguments."""

    head: Dense = Dense(2)

    def __call__(self, x, run):
        found = run.apply("head", self.head, x["dtype"] + x["shape"])
        return {"dtype": found, "shape": -found}


def test_summary_counts_the_reference_network():
    text = cr.Network(Dense(225), relu, Dense(144), relu, Dense(10)).build(784).summary()
    assert "210,619 parameters" in text
    assert "210,240 multiply-adds a sample" in text
    assert "(batch, 144)" in text


def test_uint8_images_stay_uint8_until_they_are_gathered():
    images = rng.integers(0, 256, (50, 9)).astype("uint8")
    net = cr.Network(nn.Rescale(), Dense(2), seed=0)
    net.fit(images, images[:, 0] % 2, epochs=1, verbose=0)
    assert net.model.inputs["x"].dtype == np.uint8
    np.testing.assert_allclose(
        net.output(images), (images / 255) @ net["dense_0/W"] + net["dense_0/b"], rtol=1e-4, atol=1e-5
    )


def test_float64_networks_compute_in_float64():
    net = cr.Network(Dense(3), tanh, Dense(1), dtype="float64", seed=0)
    net.fit(X.astype("float64"), Y[:, :1].astype("float64"), epochs=1, verbose=0)
    assert net.output(X).dtype == np.float64
    assert all(v.dtype == np.float64 for v in net.parameters.values())


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (lambda: cr.Network(Dense(3), seed=1.5), ConfigError, "seed"),
        (lambda: cr.Network(Dense(3), seed=2**63), ConfigError, "seed"),
        (lambda: cr.Network(Dense(3), dtype="int32"), ConfigError, "float32 or float64"),
        (lambda: cr.Network(Dense), ConfigError, "Dense"),
        (lambda: cr.Network(lambda z: z), ConfigError, None),
        (lambda: cr.Network(Dense(3)).predict(X), ConfigError, "fit"),
        (lambda: cr.Network(Dense(3)).build(4)["dense_0/w"], ConfigError, "dense_0/W"),
        (
            lambda: cr.Network(Dense(3)).build(4).__setitem__("dense_0/W", np.zeros(3)),
            ShapeError,
            "dense_0/W",
        ),
        (lambda: cr.Network(Dense(3)).fit(X, Y, verbose=0), (ShapeError, DataError), None),
        (lambda: cr.Netwrk, AttributeError, "did you mean 'Network'"),
    ],
)
def test_mistakes_are_named(wrong, error, says):
    with pytest.raises(error, match=says):
        wrong()


@pytest.mark.parametrize("rows", [1, 2, 3, 64, 65, 130])
def test_a_row_is_predicted_alike_in_any_company(classifier, rows):
    np.testing.assert_allclose(classifier.output(X[:rows])[0], classifier.output(X)[0], rtol=1e-5, atol=1e-6)


def test_a_network_of_byte_images_refuses_images_between_0_and_1():
    images = rng.integers(0, 256, (50, 9)).astype("uint8")
    net = cr.Network(nn.Rescale(), Dense(2), seed=0)
    net.fit(images, images[:, 0] % 2, epochs=1, verbose=0)
    with pytest.raises(DataError, match="uint8"):
        net.predict(images / 255)
    with pytest.raises(DataError, match="uint8"):
        net.predict(images * 1e30)
    assert (net.output(images.astype("int64")) == net.output(images)).all()


def test_signals_are_the_outputs_of_every_layer(classifier):
    signals = classifier.signals(X[:7])
    hidden = X[:7] @ classifier["dense_0/W"] + classifier["dense_0/b"]
    assert list(signals) == ["dense_0", "relu_0", "dense_1"]
    np.testing.assert_allclose(signals["dense_0"], hidden, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(signals["relu_0"], np.maximum(hidden, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(signals["dense_1"], classifier.output(X[:7]), rtol=1e-5, atol=1e-6)


def test_unit_variance_scales_every_layer():
    layers = [
        Dense(40, init=nn.Orthogonal()),
        relu,
        Dense(40, init=nn.Orthogonal()),
        relu,
        Dense(3, init=nn.Orthogonal()),
    ]
    net = cr.Network(*layers, seed=0).unit_variance(X * 100)
    for name, z in net.signals(X * 100).items():
        if name.startswith("dense"):
            assert z.var() == pytest.approx(1, abs=0.11)
