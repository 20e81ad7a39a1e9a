"""Run: names, sharing, what later traces find; layers made of layers; and every refusal with its remedy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from chainrule import nn, ops
from chainrule.autodiff import gradient
from chainrule.config import from_json, to_json
from chainrule.errors import ConfigError, DTypeError, ShapeError
from chainrule.executors import evaluate
from chainrule.graph.expr import toposort
from chainrule.ops.functions import FUNCTIONS


def x_of(*shape, dtype="float32", name="x"):
    return ops.input(name, shape, dtype)


def trace(layer, x, **options):
    return nn.trace(layer, x, **{"training": True, **options})


# ------------------------------------------------------------------ names


def test_unnamed_steps_are_numbered_per_type_and_named_ones_keep_their_name():
    net = nn.sequential(nn.Dense(4), ops.relu, nn.Dense(3), nn.BatchNorm(), ops.relu, head=nn.Dense(2))
    _, run = trace(net, x_of(5, 6))
    assert list(run.outputs) == ["dense_0", "relu_0", "dense_1", "batch_norm_0", "relu_1", "head"]
    assert list(run.parameters) == [
        "dense_0/W", "dense_0/b", "dense_1/W", "dense_1/b", "batch_norm_0/scale", "batch_norm_0/offset",
        "head/W", "head/b",
    ]  # fmt: skip
    assert list(run.inputs) != list(run.parameters), "buffers are inputs too"
    assert all(run.inputs[path].meta["name"] == path for path in run.inputs)


def test_nodes_know_their_layer_and_the_operation_that_made_them():
    y, run = trace(nn.sequential(block=nn.sequential(nn.Dense(3), ops.relu)), x_of(5, 4))
    origins = {(n.origin.path, n.origin.operation) for n in toposort([y])}
    assert {("block/dense_0", "matmul"), ("block/dense_0", "add"), ("block/relu_0", "relu")} <= origins
    assert run.outputs["block/relu_0"] is y
    assert run.outputs["block"] is y


def test_outputs_of_a_dict_and_of_a_second_use_have_names_of_their_own():
    heads = nn.Shared("s", nn.parallel(a=nn.Dense(2), b=nn.Dense(3), join="dict"))
    _, run = trace(nn.sequential(one=heads), x_of(5, 4))
    assert set(run.outputs) == {"s/a", "s/b", "one/a", "one/b"}, "a dict's entries are the sub-layers' own"
    dense = nn.Shared("s", nn.Dense(4))
    _, run = trace(nn.sequential(one=dense, two=dense), x_of(5, 4))
    assert set(run.outputs) == {"s", "s#2", "one", "two"}


def test_seed_and_step_are_inputs_unless_given():
    _, run = trace(nn.Dropout(), x_of(5, 4))
    assert [(n.meta["name"], str(n.spec)) for n in (run.seed, run.step)] == [
        ("seed", "int64[]"),
        ("step", "int64[]"),
    ]
    seed, step = ops.constant(1, "int64"), ops.constant(2, "int64")
    y, run = trace(nn.Dropout(), x_of(5, 4), seed=seed, step=step)
    assert {seed, step} <= set(toposort([y]))


@dataclass(frozen=True)
class Drawing(nn.Layer):
    """Two draws in one place, and one under another name."""

    def __call__(self, x, run):
        draws = [ops.uniform(run.random(), x.shape), ops.uniform(run.random(), x.shape)]
        draws += [ops.normal(run.random(), x.shape), ops.uniform(run.random("other"), x.shape)]
        return dict(zip("abcd", draws, strict=True))


def test_every_draw_of_a_layer_is_another_stream():
    y, run = trace(Drawing(), x_of(100, 100))
    found = evaluate(list(y.values()), {run.seed: 1, run.step: 2})
    correlation = np.corrcoef([a.ravel() for a in found])
    assert np.abs(correlation - np.eye(4)).max() < 0.05


# ------------------------------------------------------------------ a graph with branches


@dataclass(frozen=True)
class TwoTowers(nn.Layer):
    """Two inputs, a tower used on both, two outputs, a penalty."""

    tower: nn.Layer
    rating: nn.Layer
    genre: nn.Layer
    strength: float = 0.1

    def __call__(self, x, run):
        with run.shared("tower"):
            user = run.apply("tower", self.tower, x["user"])
            item = run.apply("tower", self.tower, x["item"])
        both = ops.concat([user, item], -1)
        run.add_loss("activity", self.strength * ops.mean(ops.square(both), -1))
        return {
            "rating": run.apply("rating", self.rating, both),
            "genre": run.apply("genre", self.genre, both),
        }


TOWERS = TwoTowers(nn.sequential(nn.Dense(3), ops.tanh), nn.Dense(1), nn.Dense(4))


def test_a_dataclass_of_layers_is_a_graph_with_several_inputs_and_outputs():
    x = {"user": x_of(5, 2, name="user", dtype="float64"), "item": x_of(5, 2, name="item", dtype="float64")}
    y, run = trace(TOWERS, x, dtype="float64")
    assert {name: node.shape for name, node in y.items()} == {"rating": (5, 1), "genre": (5, 4)}
    assert list(run.parameters) == [
        "tower/dense_0/W", "tower/dense_0/b", "rating/W", "rating/b", "genre/W", "genre/b",
    ]  # fmt: skip
    assert {name: node.shape for name, node in run.losses.items()} == {"activity": (5,)}
    assert {"tower", "tower#2", "tower/dense_0", "tower/dense_0#2", "rating", "genre"} <= set(run.outputs)
    generator = np.random.default_rng(0)
    w = {path: generator.normal(size=p.spec.shape) for path, p in run.parameters.items()}
    a = {name: generator.normal(size=(5, 2)) for name in x}
    known = {x[name]: a[name] for name in x} | {run.inputs[path]: w[path] for path in w}
    loss = ops.sum(y["rating"]) + ops.sum(y["genre"]) + ops.sum(run.losses["activity"])
    rating, activity, g = evaluate(
        [y["rating"], run.losses["activity"], gradient(loss, run.inputs["tower/dense_0/W"])], known
    )
    h = {name: np.tanh(a[name] @ w["tower/dense_0/W"] + w["tower/dense_0/b"]) for name in x}
    both = np.concatenate([h["user"], h["item"]], 1)
    np.testing.assert_allclose(rating, both @ w["rating/W"] + w["rating/b"], rtol=1e-12)
    np.testing.assert_allclose(activity, 0.1 * (both**2).mean(1), rtol=1e-12)
    δ = (w["rating/W"].sum(1) + w["genre/W"].sum(1)) + 0.2 * both / 6
    δ = {"user": δ[:, :3] * (1 - h["user"] ** 2), "item": δ[:, 3:] * (1 - h["item"] ** 2)}
    np.testing.assert_allclose(g, sum(a[name].T @ δ[name] for name in x), rtol=1e-10)


def test_a_users_layer_round_trips_when_its_class_is_given():
    tables = {**nn.LAYERS, **nn.INITS, "TwoTowers": TwoTowers}
    assert from_json(to_json(TOWERS), tables, FUNCTIONS) == TOWERS
    with pytest.raises(ConfigError, match="unknown type 'TwoTowers'"):
        from_json(to_json(TOWERS), {**nn.LAYERS, **nn.INITS}, FUNCTIONS)


def test_residual_adds_and_parallel_joins():
    generator = np.random.default_rng(0)
    x, W = generator.normal(size=(5, 4)), generator.normal(size=(4, 4))
    given = x_of(5, 4, dtype="float64")

    def value(layer):
        y, run = trace(layer, given, dtype="float64")
        return evaluate([y], {given: x} | dict.fromkeys(run.inputs.values(), W))[0]

    body = nn.Dense(4, bias=False)
    np.testing.assert_allclose(value(nn.Residual(body)), x + x @ W, rtol=1e-12)
    np.testing.assert_allclose(value(nn.Residual(ops.tanh, shortcut=body)), x @ W + np.tanh(x), rtol=1e-12)
    np.testing.assert_allclose(
        value(nn.parallel(a=body, b=ops.identity)), np.concatenate([x @ W, x], 1), rtol=1e-12
    )
    np.testing.assert_allclose(
        value(nn.parallel(a=body, b=ops.tanh, join="sum")), x @ W + np.tanh(x), rtol=1e-12
    )


def test_an_empty_sequence_is_the_identity():
    x = x_of(5, 4)
    assert trace(nn.sequential(), x)[0] is x


# ------------------------------------------------------------------ sharing, finding


@dataclass(frozen=True)
class Nested(nn.Layer):
    """An auto-encoder inside another layer: tied_to is found from where it stands, outwards."""

    inner: nn.Layer

    def __call__(self, x, run):
        return run.apply("inner", self.inner, x)


def test_tied_weights_are_found_beside_and_around_the_layer():
    decoder = nn.sequential(nn.TiedDense("encoder/dense_1"), ops.tanh, nn.TiedDense("encoder/dense_0"))
    encoder = nn.sequential(nn.Dense(5), ops.tanh, nn.Dense(2))
    y, run = trace(Nested(nn.sequential(encoder=encoder, decoder=decoder)), x_of(3, 7))
    assert y.shape == (3, 7)
    assert "inner/decoder/tied_dense_0/b" in run.parameters
    assert sum(p.role == "weight" for p in run.parameters.values()) == 2


def test_shared_counts_from_the_root_wherever_it_stands():
    block = nn.Shared("common/block", nn.Dense(4))
    _, run = trace(nn.sequential(a=nn.sequential(block), b=nn.Residual(block)), x_of(3, 4))
    assert list(run.parameters) == ["common/block/W", "common/block/b"]


@dataclass(frozen=True)
class Twice(nn.Layer):
    """Uses one name twice, without saying that it is shared."""

    def __call__(self, x, run):
        return run.apply("part", nn.Dense(4), run.apply("part", nn.Dense(4), x))


def test_one_path_twice_is_refused_outside_shared():
    with pytest.raises(ConfigError, match=r"'twice_0/part/W' is created twice.*run.shared\('twice_0/part'\)"):
        trace(nn.sequential(Twice()), x_of(5, 4))


def test_shared_places_must_have_one_shape():
    block = nn.Shared("block", nn.Dense(3))
    with pytest.raises(ShapeError, match=r"'block/W' is float32\[4, 3\], now asked for as float32\[3, 3\]"):
        trace(nn.sequential(block, block), x_of(5, 4))


# ------------------------------------------------------------------ later traces


def known_of(layer, x, **options):
    _, run = trace(layer, x, **options)
    return {**run.parameters, **run.buffers}


def test_another_shape_later_names_layer_both_shapes_and_the_remedy():
    net = nn.sequential(nn.Dense(3), ops.relu)
    known = known_of(net, x_of(5, 784))
    with pytest.raises(ShapeError) as caught:
        trace(net, x_of(5, 28, 28), known=known)
    for part in (
        "'dense_0/W'", "[784, 3]", "[28, 3]", "float32[5, 28, 28]", "Flatten()", "layer 'dense_0'",
        "test_nn_run.py",
    ):  # fmt: skip
        assert part in str(caught.value)


def test_another_dtype_later_is_a_dtype_error():
    known = known_of(nn.Dense(3), x_of(5, 4))
    with pytest.raises(DTypeError, match=r"'W' is float32\[4, 3\], now asked for as float64\[4, 3\]"):
        trace(nn.Dense(3), x_of(5, 4, dtype="float64"), dtype="float64", known=known)


def test_a_parameter_that_was_not_there_at_first_is_refused():
    known = known_of(nn.Dense(3, bias=False), x_of(5, 4))
    with pytest.raises(ConfigError, match="'b' was not there in the first trace"):
        trace(nn.Dense(3), x_of(5, 4), known=known)


@dataclass(frozen=True)
class Confused(nn.Layer):
    """Asks for a parameter at first and for a statistic later."""

    def __call__(self, x, run):
        return x + (run.parameter("a", (), nn.Zeros()) if run.training else run.state("a", ()))


def test_a_parameter_stays_a_parameter():
    known = known_of(Confused(), x_of(5, 4))
    with pytest.raises(ConfigError, match="'a' was a parameter, now a buffer is asked for"):
        trace(Confused(), x_of(5, 4), known=known, training=False)


# ------------------------------------------------------------------ refusals


@dataclass(frozen=True)
class Asks(nn.Layer):
    """Calls one method of run."""

    what: str

    def __call__(self, x, run):
        {
            "init": lambda: run.parameter("W", (2,), "he"),
            "role": lambda: run.parameter("W", (2,), nn.Zeros(), role="weigth"),
            "shape": lambda: run.parameter("W", (-2,), nn.Zeros()),
            "name": lambda: run.parameter("a/b", (2,), nn.Zeros()),
            "glob": lambda: run.apply("a*", ops.relu, x),
            "update": lambda: run.update("mean", x),
            "update shape": lambda: (run.state("mean", (3,)), run.update("mean", x)),
            "loss": lambda: run.add_loss("penalty", x),
            "find": lambda: run.find("dense_1/W"),
            "string": lambda: run.apply("a", "relu", x),
            "class": lambda: run.apply("a", nn.Dense, x),
            "lambda": lambda: run.apply("a", lambda z: z, x),
            "number": lambda: run.apply("a", 3, x),
            "nothing": lambda: None,
        }[self.what]()
        return None if self.what == "nothing" else x


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        ("init", ConfigError, "init must be an initialiser such as nn.HeNormal(), got 'he'"),
        ("role", ConfigError, "unknown role 'weigth'; did you mean 'weight'?"),
        ("shape", ShapeError, "non-negative"),
        ("name", ConfigError, "'a/b' is no name"),
        ("glob", ConfigError, "'a*' is no name"),
        ("update", ConfigError, "ask run.state for it first"),
        ("update shape", ShapeError, "must be float32[3], got float32[5, 4]"),
        ("loss", ShapeError, "scalar or (batch,), got float32[5, 4]"),
        ("find", ConfigError, "the layer that owns it comes first; did you mean 'dense_0/W'?"),
        ("string", ConfigError, "got the string 'relu'; give the function itself. did you mean 'relu'?"),
        ("class", ConfigError, "Dense is a class; write Dense(…)"),
        ("lambda", ConfigError, "'<lambda>' is not registered"),
        ("number", ConfigError, "must be a layer or a registered function, got 3"),
        ("nothing", ConfigError, "must return a graph node or a dict of them by name, got NoneType"),
    ],
)  # fmt: skip
def test_what_run_refuses_names_the_layer(what, error, says):
    with pytest.raises(error) as caught:
        trace(nn.sequential(nn.Dense(4), asking=Asks(what)), x_of(5, 4))
    assert says in str(caught.value)
    assert "asking" in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "x", "error", "says"),
    [
        (nn.Dense(3), x_of(5), ShapeError, "(batch, …, n_in), got shape (5,); x.reshape(-1, 1)"),
        (nn.Dense(3), x_of(), ShapeError, "got shape ()"),
        (nn.Dense(3), x_of(5, 28, 28, dtype="uint8"), ShapeError, "nn.Flatten() before it to get (5, 784)"),
        (nn.Dense(3), x_of(5, 4, dtype="float64"), DTypeError, "float64[5, 4] in a network of dtype float32"),
        (nn.Dense(3), {"a": x_of(5, 4)}, ConfigError, "Dense takes one array, got a dict of ['a']"),
        (ops.relu, {"a": x_of(5, 4)}, ConfigError, "relu takes one array, got a dict of ['a']"),
        (nn.Dense(3), np.ones((5, 4)), ConfigError, "takes a graph node, got ndarray"),
        (nn.PReLU(), x_of(5), ShapeError, "PReLU takes (batch, …, n)"),
        (nn.Maxout(3), x_of(5), ShapeError, "Maxout takes (batch, …, n_in)"),
        (nn.LayerNorm(), x_of(5), ShapeError, "LayerNorm takes (batch, …, n)"),
        (nn.BatchNorm(), x_of(5), ShapeError, "BatchNorm takes (batch, …, channels)"),
        (nn.Embedding(3, 2), x_of(dtype="int64"), ShapeError, "Embedding takes (batch, …)"),
        (nn.Flatten(), x_of(), ShapeError, "Flatten takes (batch, …)"),
        (nn.Reshape((2, 3)), x_of(5, 4), ShapeError, "a sample (4,) has 4 elements, (2, 3) needs 6"),
        (nn.Residual(nn.Dense(3)), x_of(5, 4), ShapeError, "around it (5, 4); give shortcut=nn.Dense(3"),
        (nn.Residual(nn.Dense(1)), x_of(5, 4), ShapeError, "the body gives (5, 1)"),
        (nn.parallel(a=nn.Flatten(), b=ops.relu), x_of(5, 2, 2), ShapeError, "b (5, 2, 2) do not fit"),
        (nn.parallel(a=nn.Dense(3), b=nn.Dense(2), join="sum"), x_of(5, 4), ShapeError, "for 'sum'"),
        (nn.parallel(a=ops.relu), x_of(5), ShapeError, "a (5,) do not fit"),
        (nn.parallel(age=nn.Dense(3)), {"agee": x_of(5, 4)}, ConfigError, "'age'; did you mean 'agee'?"),
        (nn.parallel(age=ops.relu), {"age": 1, "agf": 2}, ConfigError, "'agf'; did you mean 'age'?"),
        (nn.TiedDense("dense_0"), x_of(5, 4), ConfigError, "there is no parameter 'dense_0/W' yet"),
        (nn.sequential(nn.Dense(3), nn.TiedDense("dense_0"), nn.TiedDense("dense_0")), x_of(5, 4), ShapeError,
         "x Wᵀ needs (…, 3), got (5, 4)"),
    ],
)  # fmt: skip
def test_bad_inputs_are_refused_when_the_graph_is_built(layer, x, error, says):
    with pytest.raises(error) as caught:
        trace(layer, x)
    assert says in str(caught.value)
    with pytest.raises(error, match="layer 'inside"):
        trace(nn.sequential(inside=layer), x)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: nn.Dense(0), "Dense: units must be a whole number of at least 1, got 0"),
        (lambda: nn.Dense(2.0), "units must be a whole number"),
        (lambda: nn.Dense(True), "units must be a whole number"),
        (lambda: nn.Dense(3, init="he"), "init must be an initialiser such as HeNormal(), got 'he'"),
        (lambda: nn.Dense(3, init=nn.HeNormal), "did you mean 'HeNormal'?"),
        (lambda: nn.Dense(3, bias=1), "bias must be True or False, got 1"),
        (lambda: nn.Dense(3, weight_noise=-1), "weight_noise must be a number in [0, inf)"),
        (lambda: nn.Dropout(1.0), "rate must be a number in [0, 1), got 1.0"),
        (lambda: nn.Dropout("0.5"), "rate must be a number"),
        (lambda: nn.Dropout(float("nan")), "rate must be a number"),
        (lambda: nn.Dropout(scaling="invertd"), "unknown scaling 'invertd'; did you mean 'inverted'?"),
        (lambda: nn.GaussianNoise(-0.1), "std must be a number in [0, inf)"),
        (lambda: nn.BatchNorm(momentum=1.5), "momentum must be a number in [0, 1]"),
        (lambda: nn.BatchNorm(epsilon=0), "epsilon must be a number in (0, inf)"),
        (lambda: nn.LayerNorm(scale=None), "scale must be True or False"),
        (lambda: nn.Embedding(0, 3), "categories must be a whole number"),
        (lambda: nn.Maxout(3, pieces=1), "pieces must be a whole number of at least 2"),
        (lambda: nn.PReLU(slope=float("inf")), "slope must be a number in (-inf, inf)"),
        (lambda: nn.Rescale("a"), "scale must be a number"),
        (lambda: nn.TiedDense(""), "TiedDense: tied_to"),
        (lambda: nn.TiedDense(3), "TiedDense: tied_to"),
        (lambda: nn.Shared("a*", nn.Dense(3)), "'a*' is no name"),
        (lambda: nn.Shared("a", "relu"), "got the string 'relu'"),
        (lambda: nn.Residual(nn.Dense), "Dense is a class"),
        (lambda: nn.parallel(), "at least one branch"),
        (lambda: nn.parallel(a=ops.relu, join="concatenate"), "unknown join 'concatenate'; did you mean"),
        (lambda: nn.Sequential([("a", ops.relu)]), "steps is a tuple of (name, step)"),
        (lambda: nn.Sequential((("a", ops.relu), ("a", ops.tanh))), "the name 'a' is given twice; nn.Shared"),
        (lambda: nn.sequential(nn.Dense(3), dense_0=nn.Dense(2)), "the name 'dense_0' is given twice"),
        (lambda: nn.sequential(nn.Dense(3), np.tanh), "step 1: the function 'tanh' is not registered"),
        (lambda: nn.sequential(lambda z: z), "not registered"),
    ],
)  # fmt: skip
def test_configurations_without_meaning_are_refused_where_they_are_made(make, says):
    with pytest.raises(ConfigError) as caught:
        make()
    assert says in str(caught.value)


def test_a_layer_must_be_a_frozen_dataclass():
    class Plain(nn.Layer):
        def __call__(self, x, run):
            return x

    @dataclass
    class Mutable(nn.Layer):
        def __call__(self, x, run):
            return x

    class Heir(nn.Dense):
        pass

    for layer in (Plain(), Mutable(), Heir(3)):
        with pytest.raises(ConfigError, match=r"not a frozen dataclass; write @dataclass\(frozen=True\)"):
            nn.sequential(layer)


def test_a_network_is_float32_or_float64():
    with pytest.raises(DTypeError, match="not int64"):
        trace(nn.Dense(3), x_of(5, 4), dtype="int64")


def test_registering_a_function_makes_it_a_step(monkeypatch):
    def cube(z):
        return z * z * z

    with pytest.raises(ConfigError, match=r"'cube' is not registered.*FUNCTIONS\['cube'\] = cube"):
        nn.sequential(cube)
    monkeypatch.setitem(FUNCTIONS, "cube", cube)
    _, run = trace(nn.sequential(cube), x_of(5, 4))
    assert list(run.outputs) == ["cube_0"]
