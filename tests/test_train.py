"""The training loop against NumPy by hand: exact weighting, watching, stopping, divergence."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn, ops
from chainrule.errors import ConfigError, DataError, DivergenceError, ShapeError
from chainrule.nn import BatchNorm, Dense, Dropout
from chainrule.ops import relu, tanh
from chainrule.train import Callback, EarlyStopping, EpochEnd, Plateau, Progress, Recorder, Start, Watch
from chainrule.train.prepare import Request

rng = np.random.default_rng(0)
X = rng.normal(size=(53, 4))
Y = np.sin(X @ rng.normal(size=(4, 2)))
LABELS = (X[:, 0] * X[:, 1] > 0).astype("int32")
QUIET = {"verbose": 0, "schedule": cr.optim.Constant()}


def network(**options):
    return cr.Network(Dense(6), tanh, Dense(2), **{"seed": 3, "dtype": "float64", **options})


def classifier(**options):
    return cr.Network(Dense(8), relu, Dense(2), **{"seed": 3, **options})


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
    weight = rng.uniform(0.5, 2, 53) if weighted else None
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
    assert fit.validation.targets["y"].sum() == 2
    assert len(fit.validation) == 11


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
    images = rng.integers(0, 256, (53, 4)).astype("uint8")
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


# ------------------------------------------------------------------ watching


def test_watched_values_are_those_of_the_step():
    net = network().build(4, dtype="float64")
    W = net["dense_1/W"]
    h = np.tanh(X @ net["dense_0/W"] + net["dense_0/b"])
    residual = h @ W + net["dense_1/b"] - Y
    recorder = Recorder(
        Watch("dense_1/W"),
        Watch("dense_1/W", of="gradient"),
        Watch("tanh_0"),
        Watch("*/W", "update", ops.norm),
    )
    net.fit(
        X,
        Y,
        optimizer=cr.optim.SGD(0.5),
        epochs=1,
        batch_size=53,
        shuffle=False,
        callbacks=[recorder],
        **QUIET,
    )
    g = h.T @ (2 * residual / residual.size)
    np.testing.assert_allclose(recorder["value:dense_1/W"], W[None])
    np.testing.assert_allclose(recorder["gradient:dense_1/W"], g[None], rtol=1e-10)
    np.testing.assert_allclose(recorder["value:tanh_0"], h[None], rtol=1e-12)
    np.testing.assert_allclose(recorder["update:dense_1/W:norm"], [0.5 * np.linalg.norm(g)], rtol=1e-10)
    np.testing.assert_allclose(recorder.losses, [(residual**2).mean()])
    assert "update:dense_0/W:norm" in recorder


def test_nesterov_takes_its_gradient_at_the_look_ahead_and_watches_the_parameter_itself():
    recorder = Recorder(Watch("dense_1/W"), Watch("dense_1/W", of="gradient"))
    net = network().build(4, dtype="float64")
    W, v = net["dense_1/W"], 0.0
    first = net["dense_0/W"]
    rule = cr.optim.Nesterov(
        0.1, groups=(cr.optim.Group("dense_0/*", frozen=True), cr.optim.Group("*/b", frozen=True))
    )
    net.fit(X, Y, optimizer=rule, epochs=5, batch_size=53, shuffle=False, callbacks=[recorder], **QUIET)
    h = np.tanh(X @ first)
    for k in range(5):
        np.testing.assert_allclose(recorder["value:dense_1/W"][k], W, rtol=1e-10)
        g = h.T @ (2 * (h @ (W + 0.9 * v) - Y) / Y.size)
        np.testing.assert_allclose(recorder["gradient:dense_1/W"][k], g, rtol=1e-9, atol=1e-12)
        v = 0.9 * v - 0.1 * g
        W = W + v
    np.testing.assert_allclose(net["dense_1/W"], W, rtol=1e-10)


def test_each_callback_receives_what_it_asked_for_and_no_more():
    narrow = Recorder(Watch("*/W", of="gradient", reduce=ops.norm), every=2)
    wide = Recorder(Watch("*/b", of="gradient"), "dense_0/W", every=3)
    network().fit(X, Y, epochs=2, batch_size=10, callbacks=[narrow, wide], **QUIET)
    assert sorted(narrow) == ["gradient:dense_0/W:norm", "gradient:dense_1/W:norm"]
    assert sorted(wide) == ["gradient:dense_0/b", "gradient:dense_1/b", "value:dense_0/W"]
    assert len(narrow["gradient:dense_0/W:norm"]) == len(narrow.steps) == 6
    assert len(wide["gradient:dense_0/b"]) == len(wide.steps) == 4


def test_two_reductions_of_one_name_are_told_apart():
    watches = [
        Watch("dense_0/W", reduce=lambda a: ops.norm(a)),
        Watch("dense_0/W", reduce=lambda a: ops.mean(a)),
    ]
    with pytest.raises(ConfigError, match="both are called '<lambda>'"):
        network().fit(X, Y, callbacks=[Recorder(*watches)], **QUIET)


def test_unknown_watch_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'dense_0/W'"):
        network().fit(X, Y, callbacks=[Recorder("dense_0/w")], **QUIET)


def test_hooks_come_in_order_and_stop_is_obeyed():
    calls = []

    class Spy(Callback):
        def begin(self, start):
            calls.append(f"begin {start.samples} {start.steps_per_epoch}")

        def chunk(self, chunk):
            calls.append(f"chunk {len(chunk.losses)}")

        def epoch(self, end):
            calls.append(f"epoch {end.epoch}")
            return end.epoch == 1

        def end(self, history):
            calls.append("end")

    history = network().fit(X, Y, epochs=9, batch_size=53, callbacks=[Spy()], **QUIET)
    assert calls == ["begin 53 1", "chunk 1", "epoch 0", "chunk 1", "epoch 1", "end"]
    assert len(history) == 2
    assert history.stopped == "early stopping"


# ------------------------------------------------------------------ what validation decides


def test_early_stopping_returns_to_the_best_epoch():
    net = cr.Network(Dense(30), relu, Dense(30), relu, Dense(2), seed=1)
    noisy = rng.integers(0, 2, 53)
    stopping = EarlyStopping(patience=4)
    history = net.fit(
        X, noisy, epochs=200, batch_size=10, validation=0.4, learning_rate=0.02, callbacks=[stopping], **QUIET
    )
    best = int(np.argmin(history["val_loss"]))
    assert history.stopped == "early stopping"
    assert history.kept == best == stopping.best_epoch
    assert len(history) == best + 1 + 4
    _, held = cr.data.split(53, 0.4, 1, stratify=noisy)
    assert net.evaluate(X[held], noisy[held])["loss"] == pytest.approx(history["val_loss"][best], rel=1e-6)


def test_every_callback_that_began_ends_whatever_the_others_do():
    ended = []

    class Ending(Callback):
        def __init__(self, name, fails=""):
            self.name, self.fails = name, fails

        def begin(self, start):
            if self.fails == "begin":
                raise RuntimeError(self.name)

        def chunk(self, chunk):
            if self.fails == "chunk":
                raise RuntimeError(self.name)

        def end(self, history):
            ended.append((self.name, history.seconds > 0))
            if self.fails == "end":
                raise RuntimeError(self.name)

    for fails, expected in [("begin", "a"), ("chunk", "abc"), ("end", "abc")]:
        ended.clear()
        net = classifier()
        with pytest.raises(RuntimeError, match="b"):
            net.fit(X, LABELS, epochs=2, callbacks=[Ending("a"), Ending("b", fails), Ending("c")], **QUIET)
        assert sorted(name for name, _ in ended) == list(expected)
        assert all(timed for _, timed in ended) or fails == "begin"
        assert (net.history is None) == (fails == "begin")


def test_early_stopping_without_restore_keeps_the_last():
    history = classifier().fit(
        X, LABELS, epochs=3, callbacks=[EarlyStopping(restore=False, patience=50)], **QUIET
    )
    assert history.kept == 2


def test_callbacks_begin_anew_in_every_fit():
    stopping, plateau = EarlyStopping(patience=3), Plateau(patience=1)
    for _ in range(2):
        classifier().fit(X, LABELS, epochs=6, validation=0.2, callbacks=[stopping, plateau], **QUIET)
        assert stopping.best_epoch >= 0
        first = getattr(stopping, "first", (stopping.memory(), plateau.memory()))
        stopping.first = first
        assert (stopping.memory(), plateau.memory()) == first
    classifier().fit(X, LABELS, epochs=2, callbacks=[stopping], **QUIET)  # now without validation
    assert stopping.memory()["metric"] == "loss"


def test_accuracy_is_better_when_larger_also_of_one_output_of_several():
    stopping = EarlyStopping("val_accuracy/kind")
    stopping.begin(Start(1, 1, 1, 1, 0, 1, "reference", ("loss", "val_loss", "val_accuracy/kind")))
    found = [
        stopping.improved(EpochEnd(k, k, {"val_accuracy/kind": v}, lambda: None))
        for k, v in enumerate((0.5, 0.4, 0.6))
    ]
    assert found == [True, False, True]


def test_whether_larger_is_better_must_be_said_of_ones_own_metric():
    def f1(output, target):
        return ops.sum(output, -1)

    with pytest.raises(ConfigError, match="mode='max'"):
        classifier().fit(X, LABELS, metrics=[f1], callbacks=[EarlyStopping("f1")], **QUIET)
    classifier().fit(X, LABELS, metrics=[f1], callbacks=[EarlyStopping("f1", mode="max")], epochs=1, **QUIET)


def test_plateau_divides_the_rate():
    plateau = Plateau("loss", patience=1, factor=0.1, min_delta=1e9)  # nothing counts as better
    history = classifier().fit(
        X, LABELS, epochs=4, learning_rate=1.0, optimizer="sgd", callbacks=[plateau], **QUIET
    )
    np.testing.assert_allclose(history["learning_rate"], [1.0, 1.0, 0.1, 0.01], rtol=1e-6)


def test_a_metric_that_does_not_exist_is_refused_before_the_first_step():
    with pytest.raises(ConfigError, match="did you mean 'val_loss'"):
        classifier().fit(X, LABELS, validation=0.2, callbacks=[EarlyStopping("val_los")], **QUIET)


def test_linear_schedule_is_the_default_and_ends_near_zero():
    history = classifier().fit(X, LABELS, epochs=10, batch_size=53, learning_rate=0.1, verbose=0)
    np.testing.assert_allclose(history["learning_rate"], 0.1 * (1 - np.arange(10) / 10), rtol=1e-5)


# ------------------------------------------------------------------ divergence


def test_divergence_names_place_and_keeps_the_last_good_state():
    net = cr.Network(Dense(30), relu, Dense(30), relu, Dense(1), seed=1)
    with pytest.raises(DivergenceError) as caught:
        net.fit(
            X * 100, X[:, :1] * 100, optimizer="sgd", learning_rate=10.0, epochs=50, batch_size=10, **QUIET
        )
    message = str(caught.value)
    for part in ("epoch", "batch", "learning_rate 10", "gradient norm", "Try a learning rate"):
        assert part in message
    assert all(np.isfinite(v).all() for v in net.parameters.values())


@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_the_node_where_nan_began_is_named(chunk):
    """The target of one row makes the loss's log see a negative number."""

    def loss(output, target):
        return ops.sum(ops.square(output), -1) + 0 * ops.log(target)

    y = np.ones(53)
    y[17] = -1.0
    net = network()
    fit = net._prepare(
        X, y, Request(loss=loss, optimizer=cr.optim.SGD(0.01), epochs=1, batch_size=10, shuffle=False)
    )
    fit.chunk_steps = fit.pace = chunk
    with pytest.raises(DivergenceError, match=r"epoch 1, batch 2.*log in loss"):
        fit.run()


def test_a_gradient_that_is_not_finite_is_found_in_the_step_before():
    """√ at 0 has an infinite slope: the loss of step 1 is finite, its update is not."""

    def loss(output, target):
        return ops.sqrt(ops.sum(ops.square(output - target), -1))

    net = cr.Network(Dense(2), seed=0)
    y = np.zeros((20, 2), "float32")
    y[:, 0] = 1
    x = np.zeros((20, 3), "float32")
    net.build(3)
    net["dense_0/b"] = np.array([1 + 1e-30, 0])
    with pytest.raises(DivergenceError):
        net.fit(
            x,
            y,
            loss=lambda o, t: loss(o, t) * ops.log(ops.sum(ops.square(o - t), -1)),
            epochs=2,
            batch_size=5,
            **QUIET,
        )
    assert all(np.isfinite(v).all() for v in net.parameters.values())


def steep(output, target):
    """√s: where the target is 0 the loss is finite, its slope is not (the root's own rule would guard it)."""
    s = ops.sum(ops.square(output), -1) * target
    return ops.exp(0.5 * ops.log(s + 1e-320))


def failed(net, x, y, chunk, **options):
    """The message of a fit that diverges with chunks of one length, and the state that is left."""
    fit = net._prepare(x, y, Request(shuffle=False, schedule=cr.optim.Constant(), **options))
    fit.chunk_steps = fit.pace = chunk
    with pytest.raises(DivergenceError) as caught:
        fit.run()
    assert fit.history.stopped == "divergence"
    return str(caught.value), fit.state


@pytest.mark.parametrize("chunk", [1, 3, 8])
@pytest.mark.parametrize("at", [0, 2, 3])
def test_an_update_that_is_not_finite_is_taken_back(chunk, at):
    """Also where no later loss would show it."""
    y = np.where(np.arange(20) // 5 == at, 0.0, 1.0)
    message, state = failed(
        network(), X[:20], y, chunk, loss=steep, optimizer=cr.optim.SGD(1e-9), epochs=1, batch_size=5
    )
    assert f"batch {at + 1}: the update after a loss of" in message
    assert "gradient norm inf" in message or "gradient norm nan" in message
    assert all(np.isfinite(v).all() for v in state.values())


@pytest.mark.parametrize("chunk", [3, 7, 11])
def test_an_explosion_is_found_at_the_same_step_whatever_the_chunks(chunk):
    target = np.ones(53)
    target[20:25] = 1e12

    def run(chunk):
        options = {"optimizer": cr.optim.SGD(1e-20), "epochs": 1, "batch_size": 5}
        return failed(
            network(), X, target, chunk, loss=lambda o, t: ops.sum(ops.square(o), -1) * t, **options
        )

    message, state = run(chunk)
    assert "batch 5: the loss grew to" in message
    expected, alone = run(1)
    assert message == expected
    assert all((state[n] == v).all() for n, v in alone.items())


def test_a_first_batch_of_weight_zero_is_no_measure_of_an_explosion():
    weight = np.where(np.arange(53) < 10, 0, 1)
    history = cr.Network(Dense(2), seed=0).fit(
        X, Y * 1e5, batch_size=10, shuffle=False, sample_weight=weight, epochs=2, **QUIET
    )
    assert history["loss"][0] > 1e6


@dataclass(frozen=True)
class Smallest(nn.Layer):
    """Passes x on and remembers the smallest value ever seen, which begins at ∞."""

    def __call__(self, x, run):
        run.update("least", ops.minimum(run.state("least", (), np.inf), ops.min(x)))
        return x


def test_a_running_statistic_may_begin_at_infinity():
    net = cr.Network(Smallest(), Dense(2), seed=0)
    net.fit(X, LABELS, epochs=2, **QUIET)
    assert net["smallest_0/least"] == X.astype("float32").min()


@pytest.mark.parametrize(("chunk", "rows"), [(1, 30), (2, 20), (6, 0)])
def test_an_error_in_the_middle_of_a_chunk_leaves_the_state_of_its_beginning(chunk, rows):
    """An index out of range is only found while a step is computed."""
    categories = rng.integers(0, 7, (60, 3))
    categories[30, 0] = 9
    layers = nn.Embedding(7, 4), nn.Flatten(), BatchNorm(), Dense(2)
    net, whole = cr.Network(*layers, seed=0), cr.Network(*layers, seed=0)
    fit = net._prepare(categories, LABELS[np.arange(60) % 53], Request(batch_size=10, shuffle=False))
    fit.chunk_steps = fit.pace = chunk
    with pytest.raises(DataError, match="index 9"):
        fit.run()
    if not rows:
        before = whole.build(3, dtype="int64").state
        assert all((fit.state[n] == v).all() for n, v in before.items())
        return
    half = whole._prepare(categories[:rows], LABELS[:rows], Request(batch_size=10, shuffle=False, epochs=1))
    half.total = fit.total
    half.run()
    assert all((fit.state[n] == v).all() for n, v in half.state.items())


def test_a_finite_explosion_is_divergence_too():
    with pytest.raises(DivergenceError, match="grew to"):
        network().fit(X, Y, learning_rate=1e6, epochs=20, **QUIET)


@pytest.mark.parametrize("chunk", [1, 8])
def test_an_explosion_inside_a_chunk_is_found_at_any_chunk_length(chunk):
    """The loss of one row is enormous and the next losses are small again."""
    y = np.where(np.arange(53) == 17, 1e9, 1.0)[:, None] * np.ones((53, 2))
    fit = network()._prepare(
        X, y, Request(optimizer=cr.optim.SGD(1e-12), epochs=1, batch_size=10, shuffle=False)
    )
    fit.chunk_steps = fit.pace = chunk
    with pytest.raises(DivergenceError, match="epoch 1, batch 2: the loss grew to"):
        fit.run()


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"epochs": 0}, ConfigError, "epochs"),
        ({"batch_size": 2.5}, ConfigError, "batch_size"),
        ({"optimizer": "adamm"}, ConfigError, "did you mean 'Adam'"),
        ({"loss": "crossentropi"}, ConfigError, "CrossEntropy"),
        ({"metrics": ["acuracy"]}, ConfigError, "accuracy"),
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


# ------------------------------------------------------------------ progress


def test_progress_is_plain_where_there_is_no_terminal():
    file = io.StringIO()
    classifier().fit(X, LABELS, epochs=2, validation=0.2, callbacks=[Progress(file)], **QUIET)
    lines = file.getvalue().splitlines()
    assert lines[0].startswith("42 samples, batch 32, 58 parameters, 2 epochs of 2 steps, executor reference")
    assert lines[1].startswith("epoch 1/2  loss ")
    assert "val_accuracy" in lines[1]
    assert len(lines) == 3


def test_progress_leaves_out_epochs_that_nobody_could_read():
    file = io.StringIO()
    classifier().fit(X, LABELS, epochs=40, callbacks=[Progress(file), EarlyStopping(patience=99)], **QUIET)
    lines = file.getvalue().splitlines()
    assert lines[1].startswith("epoch 1/40 ")
    assert lines[-1].startswith("epoch 40/40 ")
    assert len(lines) < 20  # 40 epochs of this take a few hundredths of a second


def test_history_is_one_line_however_long():
    stopping = EarlyStopping("loss", patience=2, min_delta=1e9)
    history = classifier().fit(X, LABELS, epochs=9, callbacks=[stopping], **QUIET)
    loss, accuracy = history[-1]["loss"], history[-1]["accuracy"]
    ended = f"loss {loss:.4g}, accuracy {accuracy:.4g}, ended by early stopping, kept epoch 0"
    assert repr(history) == f"<History 3 epochs, {ended}>"
    assert repr(cr.train.History()) == "<History 0 epochs>"


def test_history_columns_and_json():
    history = classifier().fit(X, LABELS, epochs=2, validation=0.2, verbose=0)
    assert history.columns() == [
        "epoch",
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "learning_rate",
        "seconds",
    ]
    assert len(history["val_loss"]) == len(history) == 2
    with pytest.raises(DataError, match="did you mean 'val_loss'"):
        history["val_los"]
    history.rows[0]["loss"] = math.inf
    assert history.to_json()["columns"]["loss"][0] is None
    assert math.isnan(cr.train.History.from_json(history.to_json()).rows[0]["loss"])
    assert cr.train.History.from_json(history.to_json()).rows[1] == history.rows[1]


def test_progress_draws_a_bar_in_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    file = Terminal()
    classifier().fit(X, LABELS, epochs=2, validation=0.2, callbacks=[Progress(file)], **QUIET)
    text = file.getvalue()
    assert "\x1b[" in text
    assert "val_accuracy" in text


def test_the_accuracy_of_several_labels_counts_labels():
    labels = (X[:, :3] > 0).astype("int32")
    net = cr.Network(Dense(3), seed=0)
    net.fit(X, labels, loss="binary_cross_entropy", metrics=["accuracy"], epochs=3, **QUIET)
    expected = ((net.output(X) > 0) == labels).mean()
    assert net.evaluate(X, labels)["accuracy"] == pytest.approx(expected)
