"""Callbacks: what they watch, when they are asked, what early stopping, plateau and progress make of it."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from small import LABELS, QUIET, X, Y, classifier, network

import chainrule as cr
from chainrule import ops
from chainrule.errors import ConfigError, DataError
from chainrule.nn import Dense
from chainrule.ops import relu
from chainrule.train import Callback, EarlyStopping, EpochEnd, Plateau, Progress, Recorder, Start, Watch

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


@pytest.mark.parametrize(("batch", "rows"), [(53, 1), (10, 0)])
def test_a_stop_within_an_epoch_leaves_it_unless_it_is_complete(batch, rows):
    class Once(Callback):
        def chunk(self, chunk):
            return True

    history = network().fit(X, Y, epochs=9, batch_size=batch, callbacks=[Once()], **QUIET)
    assert (len(history), history.stopped) == (rows, "callback")
    assert history.sha256


# ------------------------------------------------------------------ what validation decides


def test_early_stopping_returns_to_the_best_epoch():
    net = cr.Network(Dense(30), relu, Dense(30), relu, Dense(2), seed=1)
    noisy = np.random.default_rng(1).integers(0, 2, 53)
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
