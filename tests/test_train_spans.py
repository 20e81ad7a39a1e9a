"""Calls that run several epochs: when, and that neither bits nor what callbacks are told depends on them."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.errors import ConfigError, DivergenceError
from chainrule.executors import EXECUTORS
from chainrule.nn import BatchNorm, Dense, Dropout
from chainrule.ops import relu
from chainrule.train import Callback, EarlyStopping, Plateau, Progress, Recorder, Watch
from chainrule.train.prepare import Request

rng = np.random.default_rng(0)
X = rng.normal(size=(50, 4)).astype("float32")
LABELS = rng.integers(0, 2, 50)
EPOCHS, PER_EPOCH = 12, 10


def prepared(chunk: int, **more: Any) -> Any:
    net = cr.Network(Dense(8), BatchNorm(), relu, Dropout(0.3), Dense(2), seed=2)
    asked = {"epochs": EPOCHS, "batch_size": 5, "schedule": cr.optim.Cosine(), **more}
    fit = net._prepare(X, LABELS, Request(**asked))
    fit.chunk_steps = fit.pace = chunk
    return fit


class Told(Callback):
    """What is told, chunks of an epoch put together."""

    steers = False

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def chunk(self, chunk: Any) -> None:
        self.calls += [
            ("step", chunk.epoch, chunk.step + k, loss) for k, loss in enumerate(chunk.losses.tolist())
        ]
        assert chunk.samples == 5 * len(chunk.losses)

    def epoch(self, end: Any) -> None:
        told = {name: v for name, v in end.metrics.items() if name != "seconds"}
        self.calls.append(("epoch", end.epoch, end.step, told))
        assert end.metrics["seconds"] > 0


def calls_of(fit: Any) -> list[int]:
    """The number of steps of each call of the executor, during a run."""
    _, ready = fit.compiled(5)
    lengths, run = [], ready.run

    def counted(state: Any, data: Any, index: Any, scalars: Any) -> Any:
        lengths.append(len(index))
        return run(state, data, index, scalars)

    ready.run = counted
    fit.run()
    return lengths


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("shuffle", [True, False])
def test_bits_and_what_is_told_do_not_depend_on_the_span(executor, shuffle):
    """Not on the number of epochs in a call, nor on whether any call could hold several."""
    found = []
    for chunk, more in [(1, []), (7, []), (25, []), (1000, []), (1000, [Callback()])]:
        told = Told()
        fit = prepared(chunk, executor=executor, shuffle=shuffle, callbacks=[told, *more])
        assert fit.spans == (not more)
        fit.run()
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in fit.history.rows]
        found.append((fit.history.sha256, rows, told.calls))
    assert found[0][1][-1]["epoch"] == EPOCHS - 1
    for other in found[1:]:
        assert other == found[0]


@pytest.mark.parametrize(("chunk", "expected"), [(4, [4, 4, 2] * 12), (25, [20] * 6), (1000, [120])])
def test_a_call_holds_whole_epochs_where_nobody_is_asked_between_them(chunk, expected):
    assert calls_of(prepared(chunk, callbacks=[Recorder(), Progress()])) == expected


@pytest.mark.parametrize(
    "more",
    [
        {"callbacks": [Callback()]},
        {"callbacks": [Recorder(), EarlyStopping("loss")]},
        {"callbacks": [Plateau("loss")]},
        {"validation": (X, LABELS)},
        {"augment": lambda x, seed, epoch: x},
        {"checkpoint_every": 50},
    ],
    ids=["own", "early stopping", "plateau", "validation", "augmentation", "checkpoints"],
)
def test_a_call_ends_with_the_epoch_where_somebody_is_asked(more):
    assert max(calls_of(prepared(1000, **more))) == PER_EPOCH


def test_a_last_batch_of_another_size_has_its_own_call():
    fit = prepared(1000, batch_size=8)
    assert not fit.spans
    assert len(fit.run()) == EPOCHS


def test_what_is_watched_now_and_then_cuts_the_span():
    """Every step, a few, or none: the recorder's steps are the same as in calls of one step."""
    for every in (1, 7, 10, 25):
        seen = []
        for chunk in (1, 1000):
            recorder = Recorder(Watch("*/W", of="gradient", reduce=ops.norm), every=every)
            prepared(chunk, callbacks=[recorder]).run()
            seen.append(recorder)
        assert seen[0].steps.tolist() == seen[1].steps.tolist() == list(range(0, 120, every))
        for key in seen[0]:
            assert seen[0][key].tobytes() == seen[1][key].tobytes()


class Deciding(Callback):
    """Says that it does not steer, and does."""

    steers = False

    def __init__(self, how: str) -> None:
        self.how = how

    def epoch(self, end: Any) -> None:
        if self.how == "keep":
            end.keep()
        if self.how == "look":
            end.state()


@pytest.mark.parametrize("how", ["look", "keep"])
def test_whoever_steers_must_say_so(how):
    with pytest.raises(ConfigError, match="set steers = True"):
        prepared(1000, callbacks=[Deciding(how)]).run()


class Stopping(Callback):
    """Stops after an epoch, from one hook or the other."""

    def __init__(self, epoch: int, how: str, steers: bool) -> None:
        self.at, self.how, self.steers = epoch, how, steers

    def chunk(self, chunk: Any) -> bool:
        ends = (chunk.step + len(chunk.losses)) % PER_EPOCH == 0
        return self.how == "chunk" and chunk.epoch == self.at and ends

    def epoch(self, end: Any) -> bool:
        return self.how == "epoch" and end.epoch == self.at


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("how", ["chunk", "epoch"])
@pytest.mark.parametrize("epoch", [0, 4, EPOCHS - 1])
def test_whoever_stops_within_a_span_stops_there(executor, how, epoch):
    """State, history and what others were told are those of a fit that asked after every epoch."""
    found = []
    for steers in (True, False):
        told = Told()
        fit = prepared(1000, executor=executor, callbacks=[told, Stopping(epoch, how, steers)])
        assert fit.spans == (not steers)
        fit.run()
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in fit.history.rows]
        state = {name: a.tobytes() for name, a in fit.state.items()}
        found.append((rows, told.calls, fit.history.stopped, fit.history.kept, fit.history.sha256, state))
    assert len(found[0][0]) == epoch + 1
    assert found[0] == found[1]


def test_what_goes_wrong_after_a_stop_never_happened():
    """The loss explodes in an epoch that was run ahead; before it somebody stops."""
    more = {"optimizer": cr.optim.SGD(1e5), "schedule": cr.optim.Constant(), "loss": "mean_squared_error"}
    y = rng.normal(size=(50, 1)).astype("float32")
    net = cr.Network(Dense(1), seed=2)

    def fit(callback: Callback) -> Any:
        asked = {"epochs": EPOCHS, "batch_size": 50, **more, "callbacks": [callback]}
        fit = net._prepare(X, y, Request(**asked))
        fit.chunk_steps = fit.pace = 1000
        return fit

    ahead = fit(Stopping(EPOCHS, "epoch", False))
    with pytest.raises(DivergenceError):
        ahead.run()
    good = len(ahead.history.rows)
    assert 0 < good < EPOCHS
    found = [fit(Stopping(good - 1, "epoch", steers)) for steers in (True, False)]
    hashes = {one.run().sha256 for one in found}
    assert len(hashes) == 1
    assert [len(one.history) for one in found] == [good, good]


class Press(Callback):
    """Ctrl-C after a step, without a say in the fit."""

    steers = False

    def __init__(self, step: int) -> None:
        self.at = step

    def chunk(self, chunk: Any) -> None:
        if chunk.step <= self.at < chunk.step + len(chunk.losses):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("step", [3, 57])
def test_a_fit_that_was_interrupted_in_a_span_ends_with_the_same_bits(executor, step, tmp_path):
    def run(folder: str, *callbacks: Callback) -> Any:
        net = cr.Network(Dense(8), BatchNorm(), relu, Dropout(0.3), Dense(2), seed=2)
        return net.fit(
            X, LABELS, epochs=EPOCHS, batch_size=5, executor=executor, run_dir=tmp_path / folder, resume=True,
            callbacks=callbacks, verbose=0,
        )  # fmt: skip

    expected = run("whole")
    with contextlib.suppress(KeyboardInterrupt):
        run("run", Press(step))
    found = run("run")
    assert found.sha256 == expected.sha256
    for name in ("loss", "accuracy", "learning_rate"):
        assert found[name].tolist() == expected[name].tolist()
