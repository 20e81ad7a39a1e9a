"""Recurrent layers: sequences of unequal length, networks of them, what they learn."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import nn, ops
from chainrule.autodiff import gradient
from chainrule.data import Sequence
from chainrule.errors import ConfigError, DataError, ShapeError
from chainrule.executors import EXECUTORS, evaluate
from chainrule.losses import CrossEntropy
from chainrule.network import Network
from chainrule.spec import Spec

KINDS = [
    nn.Elman(4), nn.Elman(4, activation="relu"), nn.GRU(4), nn.LSTM(4), nn.LSTM(4, reverse=True),
    nn.Bidirectional(nn.LSTM(3)), nn.Bidirectional(nn.GRU(3)),
]  # fmt: skip
each_kind = pytest.mark.parametrize("layer", KINDS, ids=lambda layer: repr(layer)[:40])
LENGTHS = np.array([5, 1, 3, 2])
SPECS = {"x": Spec((5, 2), np.dtype("float32")), "x/lengths": Spec((), np.dtype("int64"))}


def with_sequences(layer):
    import dataclasses

    if isinstance(layer, nn.Bidirectional):
        return nn.Bidirectional(dataclasses.replace(layer.layer, sequences=True))
    return dataclasses.replace(layer, sequences=True)


def traced(layer, x, lengths):
    given = {"x": ops.input("x", x.shape, "float64")}
    known = {given["x"]: x}
    if lengths is not None:
        given["x/lengths"] = ops.input("x/lengths", lengths.shape, "int64")
        known[given["x/lengths"]] = lengths
    y, run = nn.trace(layer, given if lengths is not None else given["x"], training=True, dtype="float64")
    return y, run, known, given["x"]


def values_of(run, shape_only=None):
    return {
        run.inputs[name]: 0.7 * np.random.default_rng(i).normal(size=p.spec.shape)
        for i, (name, p) in enumerate(run.parameters.items())
    }


def rows(seed=0, batch=4, steps=5, n=2):
    return np.random.default_rng(seed).normal(size=(batch, steps, n))


@each_kind
@pytest.mark.parametrize("every", [False, True], ids=["last", "sequences"])
def test_a_padded_sequence_is_the_sequence_alone(layer, every):
    """Each row, cut to its length and alone, gives the same values and the same gradients; behind its end
    outputs are 0, and so is the gradient by the inputs."""
    layer, x = with_sequences(layer) if every else layer, rows()
    y, run, known, node = traced(layer, x, LENGTHS)
    weights = values_of(run)
    c = np.random.default_rng(9).normal(size=y.shape)
    slopes = gradient(ops.sum(y * ops.constant(c)), [node, *weights])
    found, by_x, *by_weights = evaluate([y, *slopes], {**known, **weights})
    total = [np.zeros_like(w) for w in by_weights]
    for i, n in enumerate(LENGTHS):
        ya, alone, given, cut = traced(layer, x[i : i + 1, :n], None)
        own = {alone.inputs[k.meta["name"]]: v for k, v in weights.items()}
        seed = c[i : i + 1, :n] if every else c[i : i + 1]
        value, gx, *gw = evaluate(
            [ya, *gradient(ops.sum(ya * ops.constant(seed)), [cut, *own])], {**given, **own}
        )
        np.testing.assert_allclose(found[i, :n] if every else found[i], value[0], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(by_x[i, :n], gx[0], rtol=1e-12, atol=1e-14)
        assert not by_x[i, n:].any()
        if every:
            assert not found[i, n:].any()
        total = [a + b for a, b in zip(total, gw, strict=True)]
    for mine, theirs in zip(by_weights, total, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-11, atol=1e-13)


@each_kind
def test_what_stands_in_the_padding_changes_nothing(layer):
    x = rows().astype("float32")
    other = x.copy()
    for i, n in enumerate(LENGTHS):
        other[i, n:] = 1e3
    net = Network(with_sequences(layer), nn.Dense(3)).build(**SPECS)
    labels = np.random.default_rng(0).integers(0, 3, (4, 5))
    wrong = labels.copy()
    wrong[np.arange(5) >= LENGTHS[:, None]] = 77
    net.fit(Sequence(x, LENGTHS), Sequence(labels, LENGTHS), epochs=1, verbose=0)
    first, second = (
        net.evaluate(Sequence(a, LENGTHS), Sequence(y, LENGTHS)) for a, y in ((x, labels), (other, wrong))
    )
    assert first == second


def test_the_loss_of_every_step_is_the_mean_within_the_lengths():
    specs = {**SPECS, "x": Spec((5, 2), np.dtype("float64"))}
    net = Network(nn.GRU(4, sequences=True), nn.Dense(3), dtype="float64").build(**specs)
    x, labels = rows(), np.random.default_rng(0).integers(0, 3, (4, 5))
    net.fit(Sequence(x, LENGTHS), Sequence(labels, LENGTHS), epochs=1, verbose=0)
    z = net.output(Sequence(x, LENGTHS))
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    picked = np.take_along_axis(log_p, labels[..., None], -1)[..., 0]
    expected = np.mean([-picked[i, :n].mean() for i, n in enumerate(LENGTHS)])
    right = np.mean([(z[i, :n].argmax(-1) == labels[i, :n]).mean() for i, n in enumerate(LENGTHS)])
    found = net.evaluate(Sequence(x, LENGTHS), labels)
    np.testing.assert_allclose([found["loss"], found["accuracy"]], [expected, right], rtol=1e-12)


def test_a_loss_that_is_told_what_to_ignore_decides_itself():
    """-1 stands past the ends and once within: that step does not count, in the mean either."""
    net = Network(nn.GRU(4, sequences=True), nn.Dense(3)).build(**SPECS)
    x, labels = rows().astype("float32"), np.random.default_rng(0).integers(0, 3, (4, 5))
    labels[np.arange(5) >= LENGTHS[:, None]] = -1
    labels[0, 1] = -1
    net.fit(Sequence(x, LENGTHS), labels, loss=CrossEntropy(ignore_index=-1), epochs=1, verbose=0)
    z = net.output(Sequence(x, LENGTHS)).astype("float64")
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    picked = np.take_along_axis(log_p, np.maximum(labels, 0)[..., None], -1)[..., 0]
    expected = np.mean([-picked[i][labels[i] >= 0].mean() for i in range(4)])
    np.testing.assert_allclose(net.evaluate(Sequence(x, LENGTHS), labels)["loss"], expected, rtol=1e-5)


def test_lengths_must_agree_and_be_whole():
    net = Network(nn.GRU(4, sequences=True), nn.Dense(3)).build(**SPECS)
    x, labels = rows(), np.zeros((4, 5), int)
    with pytest.raises(DataError, match="not the lengths of x"):
        net.fit(Sequence(x, LENGTHS), Sequence(labels, LENGTHS[::-1]), verbose=0)
    pooled = Network(nn.MaxPool(2), nn.LSTM(3))
    with pytest.raises(ShapeError, match="has changed their number"):
        pooled.fit(Sequence(x, LENGTHS), np.zeros(4, int), epochs=1, verbose=0)


def test_several_inputs_keep_their_own_lengths():
    x = {"a": Sequence(rows(1), LENGTHS), "b": Sequence(rows(2, steps=3), [1, 2, 3, 3]), "c": rows(3)[:, 0]}
    net = Network(nn.parallel(a=nn.LSTM(3), b=nn.GRU(2), c=nn.Dense(2)), nn.Dense(2))
    net.fit(x, np.array([0, 1, 0, 1]), epochs=1, verbose=0)
    before = net.output(x)
    changed = {
        **x,
        "a": Sequence(np.where(np.arange(5)[:, None] < LENGTHS[:, None, None], rows(1), 9), LENGTHS),
    }
    np.testing.assert_array_equal(net.output(changed), before)


def test_global_pools_heed_lengths():
    x = rows()
    for pool, reduce in ((nn.GlobalAveragePool(), np.mean), (nn.GlobalMaxPool(), np.max)):
        y, _, known, _ = traced(pool, x, LENGTHS)
        (found,) = evaluate([y], known)
        expected = [reduce(x[i, :n], axis=0) for i, n in enumerate(LENGTHS)]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_refusals_say_what_to_do():
    with pytest.raises(ShapeError, match=r"x\[..., None\]"):
        nn.trace(nn.LSTM(3), ops.input("x", (5, 4)), training=True)
    with pytest.raises(ConfigError, match="runs forwards"):
        nn.Bidirectional(nn.LSTM(3, reverse=True))
    with pytest.raises(ConfigError, match="LSTM\\(64\\)"):
        nn.Bidirectional(nn.Dense(3))
    with pytest.raises(ConfigError, match="activation"):
        nn.Elman(3, activation="sigmoid")
    with pytest.raises(ConfigError, match="ConstantParts"):
        nn.LSTM(3, forget_bias=float("nan"))
    with pytest.raises(ShapeError, match="equal parts"):
        nn.ConstantParts((0.0, 1.0)).sample("b", 0, (3,), (3, 3), np.dtype("float32"))


def test_the_forget_gate_starts_open_and_the_state_at_zero():
    net = Network(nn.LSTM(3), seed=1).build(4, 2)
    assert net["lstm_0/b"].tolist() == [0] * 3 + [1] * 3 + [0] * 6
    U = net["lstm_0/U"]
    np.testing.assert_allclose(U @ U.T, np.eye(3), atol=1e-6)
    assert not Network(nn.Elman(3)).build(4, 2).output(np.zeros((1, 4, 2))).any()


# ------------------------------------------------------------------ learning


@pytest.mark.parametrize("executor", EXECUTORS)
def test_parity_is_learned(executor):
    """Whether the number of ones is even, in sequences of 1 to 8 bits: every step counts."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (512, 8, 1)).astype("float32")
    lengths = rng.integers(1, 9, 512)
    y = np.array([[bits[i, :n].sum() % 2] for i, n in enumerate(lengths)]).astype(int)
    net = Network(nn.LSTM(16), nn.Dense(1), seed=1)
    net.fit(
        Sequence(bits, lengths), y, epochs=60, learning_rate=0.01, schedule="constant", verbose=0,
        executor=executor,
    )  # fmt: skip
    assert net.evaluate(Sequence(bits, lengths), y)["accuracy"] == 1


def test_a_saved_network_predicts_the_same(tmp_path):
    x, y = rows(batch=16).astype("float32"), np.arange(16) % 2
    net = Network(nn.Bidirectional(nn.GRU(4, sequences=True)), nn.Dropout(0.1), nn.LSTM(3), nn.Dense(2))
    lengths = np.arange(16) % 5 + 1
    net.fit(Sequence(x, lengths), y, epochs=1, verbose=0)
    net.save(tmp_path / "n.safetensors")
    from chainrule import load

    again = load(tmp_path / "n.safetensors")
    np.testing.assert_array_equal(again.output(Sequence(x, lengths)), net.output(Sequence(x, lengths)))
    assert "bidirectional_0/backward" in net.summary()
