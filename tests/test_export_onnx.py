"""Networks as ONNX files: onnxruntime and ONNX's own evaluator give what predict gives, for any batch."""

from __future__ import annotations

import builtins
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from onnx.reference import ReferenceEvaluator  # noqa: E402
from random_layers import hidden, inputs, translated  # noqa: E402

from chainrule import Network, losses, nn, ops  # noqa: E402
from chainrule.errors import ConfigError, MissingExtraError  # noqa: E402
from chainrule.export import to_onnx  # noqa: E402
from chainrule.ops.functions import FUNCTIONS  # noqa: E402
from chainrule.spec import Spec, as_dtype  # noqa: E402

ROWS = (1, 2, 17)
FLOATS = ("float32", "float64")
F4 = as_dtype("float32")
# By onnxruntime, which takes scales into a product's float32 attribute, and by the reference evaluator.
TOLERANCES = {"float32": (1e-5, 1e-5), "float64": (1e-6, 1e-10)}

# A layer, the shape of a sample, its dtype where it is not the network's.
LAYERS: dict[str, tuple[Any, tuple[int, ...], str]] = {
    "AveragePool": (nn.AveragePool(2), (6, 5, 3), ""),
    "AveragePool padded": (nn.AveragePool(3, 2, "same"), (7, 4), ""),
    "BatchNorm": (nn.BatchNorm(), (7,), ""),
    "BatchNorm of sequences": (nn.BatchNorm(scale=False), (3, 5), ""),
    "BatchNorm alone": (nn.BatchNorm(scale=False, offset=False), (5,), ""),
    "Columns": (nn.Columns(((7, 5), (9, 3))), (2,), "int32"),
    "Conv1D": (nn.Conv1D(5, 3, 2, "same"), (9, 4), ""),
    "Conv1D in groups": (nn.Conv1D(6, 2, dilation=2, groups=2), (8, 4), ""),
    "Conv2D": (nn.Conv2D(5), (6, 5, 3), ""),
    "Conv2D of bytes": (nn.Conv2D(7, (2, 3), (2, 1), ((1, 0), (2, 2))), (6, 5, 1), "uint8"),
    "ConvTranspose1D": (nn.ConvTranspose1D(4, 4, 2), (5, 6), ""),
    "ConvTranspose2D": (nn.ConvTranspose2D(4, 3, 2, "same", groups=2), (4, 3, 6), ""),
    "Dense": (nn.Dense(11), (7,), ""),
    "Dense without bias": (nn.Dense(1, bias=False), (1,), ""),
    "Dense of sequences": (nn.Dense(6), (4, 5), ""),
    "Dense of bytes": (nn.Dense(6), (5,), "uint8"),
    "Dropout": (nn.Dropout(0.3), (7,), ""),
    "Dropout weights": (nn.Dropout(0.5, "weights"), (33,), ""),
    "Embedding": (nn.Embedding(7, 5), (3,), "int64"),
    "Embedding of bytes": (nn.sequential(nn.Embedding(7, 5), nn.Flatten(), nn.Dense(3)), (3,), "uint8"),
    "Elman": (nn.Elman(5), (4, 3), ""),
    "Elman of relu": (nn.Elman(5, sequences=True, reverse=True, activation="relu"), (4, 3), ""),
    "GRU": (nn.GRU(5), (4, 3), ""),
    "LSTM": (nn.sequential(nn.LSTM(5, sequences=True), nn.LSTM(3), nn.Dense(2)), (4, 3), ""),
    "Bidirectional": (nn.Bidirectional(nn.LSTM(4, sequences=True)), (3, 2), ""),
    "Flatten": (nn.sequential(nn.Flatten(), nn.Dense(3)), (3, 4), ""),
    "Reshape": (nn.sequential(nn.Reshape((4, 3)), nn.Dense(3)), (3, 4), ""),
    "GaussianNoise": (nn.GaussianNoise(0.2), (7,), ""),
    "GaussianSample": (nn.GaussianSample(), (8,), ""),
    "GlobalAveragePool": (nn.GlobalAveragePool(), (4, 3, 5), ""),
    "GlobalMaxPool": (nn.GlobalMaxPool(), (4, 3, 5), ""),
    "HideCells": (nn.HideCells("any", (0, 1, 1, 2, 3), (0.0, 1.0, 0.5, 0.0, 0.0)), (5,), ""),
    "LayerNorm": (nn.LayerNorm(), (7,), ""),
    "LayerNorm of sequences": (nn.LayerNorm(offset=False), (3, 17), ""),
    "MaskedDense": (nn.MaskedDense((1, 2, 2), (0, 1, 2, 1, 2)), (3,), ""),
    "MaxPool": (nn.MaxPool(2), (6, 5, 3), ""),
    "MaxPool padded": (nn.MaxPool((3, 2), (2, 1), (1, 0)), (6, 5, 3), ""),
    "Maxout": (nn.Maxout(6, pieces=3), (7,), ""),
    "PReLU": (nn.PReLU(), (7,), ""),
    "PReLU shared": (nn.PReLU(shared=True), (7,), ""),
    "PReLU of sequences": (nn.PReLU(), (3, 4), ""),
    "Parallel concat": (nn.parallel(a=nn.Dense(3), b=nn.Dense(18)), (7,), ""),
    "Parallel sum": (nn.parallel(join="sum", a=nn.Dense(5), b=nn.Dense(5)), (7,), ""),
    "Parallel dict": (nn.parallel(join="dict", a=nn.Dense(5), b=nn.Dense(2)), (7,), ""),
    "Rescale": (nn.Rescale(), (5, 5), "uint8"),
    "Rescale with offset": (nn.Rescale(2.0, -1.0), (5,), ""),
    "Residual": (nn.Residual(nn.sequential(nn.Dense(4), ops.tanh, nn.Dense(7))), (7,), ""),
    "Residual shortcut": (nn.Residual(nn.Dense(5), nn.Dense(5, bias=False)), (7,), ""),
    "Sequential": (nn.sequential(nn.Dense(20), ops.relu, nn.Dense(17), ops.relu, nn.Dense(3)), (7,), ""),
    "Sequential of nothing": (nn.sequential(), (7,), ""),
    "Shared": (nn.sequential(*[nn.Shared("s", nn.Dense(7)), ops.tanh] * 2), (7,), ""),
    "TiedDense": (nn.sequential(nn.Dense(5), ops.tanh, nn.TiedDense("dense_0")), (7,), ""),
    "EncoderDecoder": (translated(nn.Embedding(7, 6)), (8,), "int64"),
    "MultiHeadAttention": (nn.MultiHeadAttention(2), (5, 6), ""),
    "MultiHeadAttention causal": (nn.MultiHeadAttention(1, causal=True, bias=False), (17, 3), ""),
    "PositionalEncoding": (nn.PositionalEncoding(), (5, 7), ""),
    "PositionalEncoding learned": (nn.PositionalEncoding(learned=9), (5, 7), ""),
    "SequenceStack": (
        nn.SequenceStack(nn.Embedding(7, 6), (nn.TransformerBlock(2),)),
        (4,),
        "int64",
    ),
    "TransformerBlock": (nn.TransformerBlock(2), (5, 6), ""),
}


def run(model: Any, given: Any) -> list[dict[str, Any]]:
    """The outputs by name, by onnxruntime and by the reference evaluator."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [y.name for y in session.get_outputs()]
    with np.errstate(all="ignore"):
        found = [session.run(names, given), ReferenceEvaluator(model).run(names, given)]
    return [dict(zip(names, values, strict=True)) for values in found]


def close(found: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def moved(net: Network, seed: int = 0) -> Network:
    """With parameters and statistics off their first values, which are often 0 and 1."""
    rng = np.random.default_rng(seed)
    for name, value in net.state.items():
        net[name] = value + rng.uniform(0.05, 0.3, value.shape)
    return net


def rows_of(shape: tuple[int, ...], dtype: str, n: int) -> Any:
    rng = np.random.default_rng(n)
    x = rng.integers(0, 7, (n, *shape)) if dtype[0] in "iu" else rng.normal(size=(n, *shape)) * 2
    return x.astype(dtype)


# ------------------------------------------------------------------ every layer and function


def test_every_layer_stands_here():
    assert {name.split()[0] for name in LAYERS} == set(nn.LAYERS)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer(name, dtype):
    layer, shape, kind = LAYERS[name]
    net = moved(Network(layer, seed=3, dtype=dtype).build(*shape, dtype=kind or dtype))
    model = to_onnx(net)
    for n in ROWS:
        x = rows_of(shape, kind or dtype, n)
        wanted = net.output(x)
        for found, tolerance in zip(run(model, {"x": x}), TOLERANCES[dtype], strict=True):
            for key, value in (wanted if isinstance(wanted, dict) else {"output": wanted}).items():
                close(found[key], value, tolerance)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_between_layers(name, dtype):
    net = Network(nn.Dense(6), FUNCTIONS[name], nn.Dense(2), dtype=dtype).build(5)
    model = to_onnx(net)
    for n in ROWS:
        x = rows_of((5,), dtype, n)
        for found, tolerance in zip(run(model, {"x": x}), TOLERANCES[dtype], strict=True):
            close(found["output"], net.output(x), tolerance)


@pytest.mark.parametrize("seed", range(40))
def test_a_random_network(seed):
    """Any layers in any order, with images, categories, sequences and several inputs."""
    draws, rng = random.Random(seed), np.random.default_rng(seed)
    data, front = inputs(draws, rng, 17)
    data = {k: v.astype("f4") if v.dtype.kind == "f" else v for k, v in data.items()}
    net = Network(*front, *hidden(draws), nn.Flatten(), nn.Dense(3), seed=seed)
    net.fit(data if len(data) > 1 else data["x"], np.arange(17) % 3, epochs=1, batch_size=17, verbose=0)
    model = to_onnx(net)
    for n in ROWS:
        part = {k: v[:n] for k, v in data.items()}
        given = part if len(part) > 1 else part["x"]
        for found in run(model, part):
            close(found["probabilities"], net.predict_proba(given))
            close(found["logits"], net.output(given), 2e-5)


# ------------------------------------------------------------------ what the outputs stand for

x = np.random.default_rng(0).normal(size=(30, 4)).astype("f4")
CLASSES = np.arange(30) % 3
SAID = {"classes", "probabilities", "logits"}
TARGETS: dict[str, tuple[Any, int, Any, set[str]]] = {
    "CrossEntropy": (None, 3, CLASSES, SAID),
    "Focal": (losses.Focal(), 3, CLASSES, SAID),
    "KLDivergence": (losses.KLDivergence(), 3, np.eye(3)[CLASSES], SAID),
    "BinaryCrossEntropy": ("binary_cross_entropy", 1, CLASSES[:, None] % 2, SAID),
    "Perceptron": (losses.Perceptron(), 2, np.eye(3)[CLASSES][:, :2], SAID),
    "BinaryFocal": (losses.BinaryFocal(), 2, np.eye(3)[CLASSES][:, :2], SAID),
    "MeanSquaredError": ("mean_squared_error", 2, x[:, :2], {"prediction"}),
    "GaussianNLL": (losses.GaussianNLL(), 4, x[:, :2], {"prediction", "output"}),
    "GaussianMixtureNLL": (losses.GaussianMixtureNLL(2), 6, x[:, :1], {"prediction", "output"}),
    "PoissonNLL": (losses.PoissonNLL(), 1, CLASSES[:, None], {"prediction", "output"}),
    "Quantile": (losses.Quantile(), 1, x[:, :1], {"prediction"}),
}  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_outputs_of_a_loss(name):
    loss, units, y, outputs = TARGETS[name]
    net = Network(nn.Dense(8), ops.tanh, nn.Dense(units))
    net.fit(x, y, loss=loss, epochs=2, verbose=0)
    model = to_onnx(net)
    assert {v.name for v in model.graph.output} == outputs
    for n in ROWS:
        for found in run(model, {"x": x[:n]}):
            close(found.get("classes", found.get("prediction")), net.predict(x[:n]))
            close(found.get("logits", found.get("output", found.get("prediction"))), net.output(x[:n]))
            if "probabilities" in found:
                close(found["probabilities"], net.predict_proba(x[:n]))


@pytest.mark.parametrize("of", ["probabilities", "log_probabilities"])
def test_outputs_that_are_probabilities(of):
    end = ops.functions.softmax if of == "probabilities" else ops.functions.log_softmax
    net = Network(nn.Dense(3), end)
    net.fit(x, CLASSES, loss=losses.NegativeLogLikelihood(of=of), epochs=1, verbose=0)
    model = to_onnx(net)
    assert {v.name for v in model.graph.output} <= {"classes", "probabilities", "output"}
    for found in run(model, {"x": x}):
        close(found["probabilities"], net.predict_proba(x))
        close(found["classes"], net.predict(x))


def test_several_inputs_and_outputs_by_name():
    front = nn.parallel(size=nn.Dense(4), city=nn.sequential(nn.Embedding(5, 3), nn.Flatten()))
    net = Network(front, ops.relu, nn.parallel(join="dict", price=nn.Dense(1), kind=nn.Dense(3)))
    data = {"size": x, "city": CLASSES[:, None]}
    net.fit(
        data, {"price": x[:, :1], "kind": CLASSES},
        loss={"price": "mean_squared_error", "kind": "cross_entropy"}, epochs=1, verbose=0,
    )  # fmt: skip
    model = to_onnx(net)
    assert [v.name for v in model.graph.input] == ["size", "city"]
    for found in run(model, data):
        said = net.predict(data)
        close(found["price_prediction"], said["price"])
        close(found["kind_classes"], said["kind"])
        close(found["kind_logits"], net.output(data)["kind"])


def test_names_that_would_meet_are_told_apart():
    """An output that is called as an input is, layers called as operators are."""
    front = nn.parallel(a_b=nn.Dense(2), x=nn.Dense(3))
    heads = nn.parallel(join="dict", x=nn.Dense(1), Add=nn.Dense(2))
    net = Network(front, MatMul=ops.relu, heads=heads).build(a_b=Spec((2,), F4), x=Spec((3,), F4))
    model = to_onnx(net)
    assert [v.name for v in model.graph.input] == ["a_b", "x"]
    assert [v.name for v in model.graph.output] == ["x_2", "Add"]
    given = {"a_b": x[:, :2], "x": x[:, :3]}
    for found in run(model, given):
        close(found["x_2"], net.output(given)["x"])
        close(found["Add"], net.output(given)["Add"])


def test_a_loss_that_is_a_function_gives_the_raw_output():
    net = Network(nn.Dense(1))
    net.fit(x, x[:, :1], loss=lambda y, t: ops.mean(ops.abs(y - t), 1), epochs=1, verbose=0)
    assert [v.name for v in to_onnx(net).graph.output] == ["output"]


# ------------------------------------------------------------------ the file


def fitted(dtype: str = "float32") -> Network:
    net = Network(hidden=nn.Dense(6), act=ops.relu, head=nn.Dense(3), dtype=dtype)
    net.fit(x, CLASSES, epochs=1, verbose=0)
    return net


def test_versions_names_and_weights_of_a_file(tmp_path):
    net = fitted()
    net.export(tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    assert model.opset_import[0].version == 18
    assert model.ir_version <= 10
    assert model.producer_name == "chainrule"
    assert "hidden=Dense(units=6)" in model.doc_string
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert shape[0].dim_param == "batch"
    assert shape[1].dim_value == 4
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for name, value in net.parameters.items():
        np.testing.assert_array_equal(weights[name], value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx"]


def test_known_patterns_are_written_as_what_they_are():
    net = Network(nn.Dense(3), ops.relu, ops.functions.leaky_relu, nn.PReLU(), nn.Dense(3))
    net.fit(x, CLASSES, epochs=1, verbose=0)
    used = [node.op_type for node in to_onnx(net).graph.node]
    expected = ["MatMul", "Add", "Relu", "LeakyRelu", "PRelu", "MatMul", "Add", "ArgMax", "Softmax"]
    assert sorted(used) == sorted(expected)


def test_the_same_network_gives_the_same_bytes():
    net = fitted()
    assert to_onnx(net).SerializeToString() == to_onnx(net).SerializeToString()


def test_a_category_outside_the_embedding_is_an_error_there_too():
    model = to_onnx(Network(nn.Embedding(5, 2)).build(dtype="int64"))
    session = ort.InferenceSession(model.SerializeToString())
    with pytest.raises(Exception, match="indices element out of data bounds"):
        session.run(None, {"x": np.array([5])})


# ------------------------------------------------------------------ refusals


def test_a_network_without_parameters_is_refused():
    with pytest.raises(ConfigError, match="no parameters yet: call fit"):
        to_onnx(Network(nn.Dense(3)))


def test_a_missing_package_is_named_with_the_remedy(monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "onnx":
            raise ModuleNotFoundError("No module named 'onnx'", name="onnx")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r'pip install "chainrule\[onnx\]"'):
        fitted().export(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True)
class Noisy(nn.Layer):
    """Draws random numbers in prediction too."""

    def __call__(self, x: Any, run: nn.Run) -> Any:
        return x + ops.normal(run.random(), x.shape, 0.0, 1.0)


@dataclass(frozen=True)
class Halved(nn.Layer):
    """Gives half of the rows."""

    def __call__(self, x: Any, run: nn.Run) -> Any:
        return x[: max(1, len(x) // 2)]


def test_a_layer_that_draws_random_numbers_is_named():
    net = Network(first=nn.Dense(3), noisy=Noisy()).build(4)
    with pytest.raises(ConfigError, match="layer 'noisy'"):
        to_onnx(net)


def test_a_layer_that_depends_on_the_rows_is_named():
    with pytest.raises(ConfigError, match=r"another number of rows .*'halved'"):
        to_onnx(Network(first=nn.Dense(3), halved=Halved()).build(4))
