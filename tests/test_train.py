"""The training loop against NumPy by hand, and its promises: exact weighting, same bits, refused input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import LABELS, QUIET, X, Y, classifier, network

import chainrule as cr
from chainrule import nn, ops
from chainrule.errors import ConfigError, DataError, ShapeError
from chainrule.nn import BatchNorm, Dense, Dropout
from chainrule.ops import relu
from chainrule.train import Recorder, Watch
from chainrule.train.prepare import Request


def by_hand(net, x, y, orders, batch, rate, weight=None):
    """SGD on the mean squared error of Dense-tanh-Dense; the losses of each epoch are weighted by rows."""
    W0, b0, W1, b1 = (net[f"dense_{i}/{n}"] for i in (0, 1) for n in ("W", "b"))
    weight = np.ones(len(x)) if weight is None else weight
    history = []
    for order in orders:
        total = 0.0
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            h = np.tanh(x[rows] @ W0 + b0)
            residual = h @ W1 + b1 - y[rows]
            w = weight[rows] / weight[rows].sum()
            total += (weight[rows] * (residual**2).mean(1)).sum()
            d1 = w[:, None] * 2 * residual / residual.shape[1]
            d0 = (d1 @ W1.T) * (1 - h**2)
            W1, b1 = W1 - rate * h.T @ d1, b1 - rate * d1.sum(0)
            W0, b0 = W0 - rate * x[rows].T @ d0, b0 - rate * d0.sum(0)
        history.append(total / weight.sum())
    return [W0, b0, W1, b1], history


@pytest.mark.parametrize("batch", [53, 10, 1, 52])
@pytest.mark.parametrize("weighted", [False, True])
def test_fit_equals_numpy_by_hand(batch, weighted):
    net = network().build(4, dtype="float64")
    weight = np.random.default_rng(1).uniform(0.5, 2, 53) if weighted else None
    orders = [cr.data.order(53, 3, e) for e in range(3)]
    expected, losses = by_hand(net, X, Y, orders, batch, 0.1, weight)
    history = net.fit(
        X, Y, optimizer=cr.optim.SGD(0.1), epochs=3, batch_size=batch, sample_weight=weight, **QUIET
    )
    for name, value in zip(["dense_0/W", "dense_0/b", "dense_1/W", "dense_1/b"], expected, strict=True):
        np.testing.assert_allclose(net[name], value, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-12)


def test_a_weight_of_two_is_a_row_given_twice():
    twice, weighted = network(), network()
    twice.fit(np.concatenate([X, X[:5]]), np.concatenate([Y, Y[:5]]), epochs=5, batch_size=58, **QUIET)
    weighted.fit(X, Y, epochs=5, batch_size=53, sample_weight=np.where(np.arange(53) < 5, 2, 1), **QUIET)
    for name, value in twice.parameters.items():
        np.testing.assert_allclose(weighted[name], value, rtol=1e-9, atol=1e-12)


def test_a_batch_of_weight_zero_gives_no_nan():
    net = network()
    net.fit(X, Y, epochs=2, batch_size=10, sample_weight=np.arange(53) < 2, **QUIET)
    assert all(np.isfinite(v).all() for v in net.parameters.values())


@pytest.mark.parametrize("batch", [10, 53])
def test_a_weight_of_zero_hides_whatever_the_row_gives(batch):
    """As in several tasks of which a sample has only some: the loss of the others may be NaN."""

    def loss(output, target):
        return ops.sum(ops.square(output), -1) + ops.log(target * ops.sum(ops.square(output), -1))

    y, weight = np.ones(53), np.ones(53)
    y[[3, 30]], weight[[3, 30]] = -1, 0
    present = np.flatnonzero(weight)
    masked, alone = network(), network()
    options = {"loss": loss, "metrics": {"own": loss}, "epochs": 3, "batch_size": 53, **QUIET}
    history = masked.fit(X, y, sample_weight=weight, **options)
    expected = alone.fit(X[present], y[present], **options)
    for name, value in alone.parameters.items():
        np.testing.assert_allclose(masked[name], value, rtol=1e-9)
    np.testing.assert_allclose(history["own"], expected["own"], rtol=1e-9)
    found = masked.evaluate(X, y, sample_weight=weight)
    assert found["own"] == pytest.approx(alone.evaluate(X[present], y[present])["own"], rel=1e-9)
    masked.fit(X, y, sample_weight=weight, **{**options, "batch_size": batch})


def test_rows_held_out_must_weigh_something():
    with pytest.raises(DataError, match="rows held out"):
        classifier().fit(X, LABELS, validation=0.1, sample_weight=np.arange(53) == 50, **QUIET)


@pytest.mark.parametrize("shape", [(53,), (53, 1)])
@pytest.mark.parametrize("dtype", ["bool", "int32", "float64"])
def test_rows_held_out_are_stratified_also_for_one_output(shape, dtype):
    labels = (np.arange(53) < 10).astype(dtype).reshape(shape)
    layer = Dense(1) if len(shape) == 2 else Single()
    net = cr.Network(layer, seed=1)
    fit = net._prepare(X, labels, Request(loss="binary_cross_entropy", validation=0.2))
    ((arrays, rows),) = fit.validation.parts()
    assert arrays[1].sum() == 2
    assert len(rows) == fit.validation.rows == 11


@dataclass(frozen=True)
class Single(nn.Layer):
    """One number for each sample, (batch,)."""

    dense: Dense = Dense(1)

    def __call__(self, x, run):
        return run.apply("dense", self.dense, x)[:, 0]


def test_an_output_without_an_axis_for_units_is_one_unit():
    history = cr.Network(Single(), seed=1).fit(X, LABELS, epochs=1, **QUIET)
    assert history["loss"][0] < 5
    assert "accuracy" in history.columns()


def test_whole_numbers_that_are_no_classes_can_be_held_out():
    def loss(output, target):
        return ops.square(output[:, 0] - ops.cast(target, output.dtype))

    assert len(cr.Network(Dense(1)).fit(X, np.arange(53), loss=loss, validation=0.2, epochs=1, **QUIET)) == 1


def own(output, target):
    return ops.sum(ops.square(output), -1) * ops.cast(ops.sum(target, -1), output.dtype)


@pytest.mark.parametrize(
    ("y", "held", "says"),
    [
        (Y, Y[:, :1], r"rows of shape \(1,\), that of training \(2,\)"),
        (LABELS[:, None], LABELS[:, None] + 0.5, "validation: y holds float"),
    ],
)
def test_targets_of_ones_own_loss_are_held_out_as_they_are_trained_on(y, held, says):
    with pytest.raises((ShapeError, DataError), match=says):
        network().fit(X, y, loss=own, validation=(X, held), **QUIET)


@pytest.mark.parametrize(
    "wrong", [lambda x: x / 3, lambda x: x[:10], lambda x: x.tolist(), lambda x: x.astype("int64")]
)
def test_augmentation_keeps_shape_and_dtype(wrong):
    images = np.random.default_rng(1).integers(0, 256, (53, 4)).astype("uint8")
    net = cr.Network(nn.Rescale(), Dense(2))
    with pytest.raises(ConfigError, match="must keep shape and dtype"):
        net.fit(images, LABELS, augment=lambda x, seed, epoch: wrong(x), epochs=1, **QUIET)


def test_same_seed_same_bits_and_other_seeds_differ():
    hashes = [classifier(seed=s).fit(X, LABELS, epochs=2, verbose=0).sha256 for s in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_two_warm_fits_equal_one():
    one, two = (cr.Network(Dense(8), relu, Dropout(0.5), Dense(2), seed=1) for _ in range(2))
    one.fit(X, LABELS, epochs=4, batch_size=10, **QUIET)
    two.fit(X, LABELS, epochs=1, batch_size=10, **QUIET)
    two.fit(X, LABELS, epochs=3, batch_size=10, warm_start=True, **QUIET)
    assert all(one[name].tobytes() == two[name].tobytes() for name in one.parameters)


# ------------------------------------------------------------------ chunks


def fixed_chunks(net, chunk, callbacks=(), **options):
    """A fit whose chunks have one length; -> the final bits."""
    fit = net._prepare(
        X, LABELS, Request(epochs=2, batch_size=5, validation=0.2, callbacks=callbacks, **options)
    )
    fit.chunk_steps = fit.pace = chunk
    fit.run()
    return fit


@given(chunk=st.integers(1, 40), every=st.integers(1, 7))
@settings(max_examples=12, deadline=None)
def test_chunk_lengths_never_change_bits(chunk, every):
    def build():
        return cr.Network(Dense(8), BatchNorm(), relu, Dropout(0.3), Dense(2), seed=2)

    watch = Watch("*/W", of="gradient", reduce=ops.norm)
    seen = [Recorder(watch, every=every), Recorder(watch, every=every)]
    one = fixed_chunks(build(), 1, [seen[0]])
    many = fixed_chunks(build(), chunk, [seen[1]])
    assert one.history.sha256 == many.history.sha256
    assert one.history.rows[-1]["loss"] == many.history.rows[-1]["loss"]
    assert seen[0].steps.tolist() == seen[1].steps.tolist() == list(range(0, one.total, every))
    for key in seen[0]:
        assert seen[0][key].tobytes() == seen[1][key].tobytes()
    assert seen[0].losses.tobytes() == seen[1].losses.tobytes()


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"epochs": 0}, ConfigError, "epochs"),
        ({"batch_size": 2.5}, ConfigError, "batch_size"),
        ({"optimizer": "adamm"}, ConfigError, "did you mean 'Adam'"),
        ({"loss": "crossentropi"}, ConfigError, "CrossEntropy"),
        ({"metrics": ["acuracy"]}, ConfigError, "accuracy"),
        ({"metrics": {"loss": "accuracy"}}, ConfigError, "uses that name itself"),
        ({"metrics": {"weight": "accuracy"}}, ConfigError, "uses that name itself"),
        ({"metrics": {"val_loss": "accuracy"}}, ConfigError, "uses that name itself"),
        ({"metrics": {"a:b": "accuracy"}}, ConfigError, "uses that name itself"),
        ({"executor": "referenc"}, ConfigError, "reference"),
        ({"schedule": "cosin"}, ConfigError, "Cosine"),
        ({"sample_weight": np.ones(3)}, DataError, "53"),
        ({"validation": 1.5}, Exception, "1.5"),
        ({"loss": lambda o, t: ops.mean(o)}, ShapeError, "one value per sample"),
    ],
)
def test_bad_options_are_refused_before_the_first_step(options, error, says):
    net = classifier()
    with pytest.raises(error, match=says):
        net.fit(X, LABELS, **{**QUIET, **options})


def test_labels_outside_the_classes_are_refused():
    with pytest.raises(DataError, match="row"):
        classifier().fit(X, np.where(np.arange(53) == 7, 5, LABELS), **QUIET)


def test_lengths_must_agree():
    with pytest.raises(DataError, match=r"53.*50"):
        classifier().fit(X, LABELS[:50], **QUIET)


def test_a_fitted_network_refuses_other_features():
    net = classifier()
    net.fit(X, LABELS, epochs=1, **QUIET)
    with pytest.raises(ShapeError, match=r"\(3,\).*\(4,\)"):
        net.predict(X[:, :3])


def test_the_accuracy_of_several_labels_counts_labels():
    labels = (X[:, :3] > 0).astype("int32")
    net = cr.Network(Dense(3), seed=0)
    net.fit(X, labels, loss="binary_cross_entropy", metrics=["accuracy"], epochs=3, **QUIET)
    expected = ((net.output(X) > 0) == labels).mean()
    assert net.evaluate(X, labels)["accuracy"] == pytest.approx(expected)
