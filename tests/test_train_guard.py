"""The guard and its trail: whenever the state is looked at, the step that is named and what is left are the
same as if it were looked at after every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, ops
from chainrule.errors import DataError, DivergenceError
from chainrule.executors import EXECUTORS
from chainrule.nn import Dense
from chainrule.ops import tanh
from chainrule.storage import read_tensors
from chainrule.train import Callback, trail
from chainrule.train.prepare import Request
from chainrule.train.state import digest

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 4))
X[23, 0] = 99.0  # batch 5 of 8 where rows come as they are
Y = np.sin(X)
ALWAYS, NEVER = 0.0, 1e9


@dataclass(frozen=True)
class Growing(nn.Layer):
    """Passes x on. What it remembers grows at one row until it is too large; no loss ever shows it."""

    times: float = 1e15

    def __call__(self, x: Any, run: Any) -> Any:
        growth = ops.where(ops.max(x) > 50, self.times, 1.0)
        run.update("size", run.state("size", (), 1.0) * growth)
        return x


def looked_at(monkeypatch: Any, seconds: float) -> None:
    """How long a trail may become."""
    monkeypatch.setattr(trail, "_LONGEST", seconds)
    monkeypatch.setattr(trail, "_SHARE", 1e12)


def prepared(chunk: int, *layers: Any, x: Any = X, y: Any = Y, **more: Any) -> Any:
    net = cr.Network(*(layers or (Growing(), Dense(6), tanh, Dense(4))), seed=3, dtype="float32")
    rule = cr.optim.Adam(more.pop("learning_rate", 1e-3))
    options = {"epochs": 6, "batch_size": 5, "shuffle": False, "optimizer": rule, **more}
    fit = net._prepare(x, y, Request(schedule=cr.optim.Constant(), **options))
    fit.chunk_steps = fit.pace = chunk
    return fit


def outcome(fit: Any) -> tuple[str, str, int, int, int]:
    with pytest.raises(DivergenceError) as caught:
        fit.run()
    at = fit.position
    return str(caught.value), digest(fit.state), at.epoch, at.batch, len(fit.history)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("times", [1e15, 3e38])
def test_a_spoiled_state_is_found_at_the_same_step_whenever_it_is_looked_at(executor, times, monkeypatch):
    """1, 1e15, 1e30, ∞: in the third epoch; or in the second. The fit goes on meanwhile, in calls of one
    step, of some, of several epochs, with a look after every call or none until the end."""
    found = []
    for seconds in (ALWAYS, NEVER):
        looked_at(monkeypatch, seconds)
        found += [
            outcome(prepared(chunk, Growing(times), Dense(6), tanh, Dense(4), executor=executor))
            for chunk in (1, 3, 8, 1000)
        ]
    epoch = 2 if times == 1e15 else 1
    message, _, *place = found[0]
    assert f"epoch {epoch + 1}, batch 5: the update after a loss of" in message
    assert place == [epoch, 4, epoch]
    assert all(other == found[0] for other in found)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_state_that_is_left_is_that_before_the_step(executor, monkeypatch):
    looked_at(monkeypatch, NEVER)
    fit = prepared(1000, executor=executor)
    outcome(fit)

    class Stop(Callback):
        def chunk(self, chunk: Any) -> bool:
            return chunk.step + len(chunk.losses) == 2 * 8 + 4

    whole = prepared(1, executor=executor, callbacks=[Stop()])
    whole.run()
    assert digest(fit.state) == digest(whole.state)
    assert fit.state["growing_0/size"] == pytest.approx(1e30, rel=1e-6)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_explosion_goes_back_to_its_epochs_start_wherever_the_trail_began(executor, monkeypatch):
    x, y = X[:, 1:], 10 * Y[:, :1]  # a line that is overshot a little further at every step
    found = []
    for seconds in (ALWAYS, NEVER):
        looked_at(monkeypatch, seconds)
        for chunk in (1, 3, 1000):
            options = {"optimizer": cr.optim.SGD(0.9), "epochs": 50, "executor": executor}
            found.append(outcome(prepared(chunk, Dense(1), x=x, y=y, **options)))
    message, _, epoch, batch, rows = found[0]
    assert "the loss grew to" in message
    assert 0 < epoch == rows
    assert batch == 0
    assert found == [found[0]] * 6


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("seconds", [ALWAYS, NEVER])
def test_an_error_in_the_middle_of_a_trail_leaves_the_state_of_its_chunks_beginning(
    executor, seconds, monkeypatch
):
    looked_at(monkeypatch, seconds)
    categories = rng.integers(0, 7, (40, 3))
    layers = nn.Embedding(7, 4), nn.Flatten(), Dense(2)
    states = []
    for rows, bad in ((40, 9), (20, 0)):
        x = categories.copy()
        x[24, 0] = bad
        fit = prepared(2, *layers, x=x[:rows], y=np.arange(rows) % 2, executor=executor, epochs=1)
        if bad:
            with pytest.raises(DataError, match="index 9"):
                fit.run()
        else:
            fit.run()
        states.append(digest(fit.state))
    assert states[0] == states[1]


class Keeping(Callback):
    """Keeps every epoch, and fails in the third if it is asked to."""

    def __init__(self, fails: bool = False) -> None:
        self.fails, self.epochs = fails, 0

    def epoch(self, end: Any) -> None:
        self.epochs += 1
        if not self.fails:
            end.keep()
        if self.fails and self.epochs == 3:
            raise RuntimeError("from a callback")


@pytest.mark.parametrize("validation", [None, (X, Y)])
def test_nobody_evaluates_or_keeps_a_state_that_is_not_finite(validation, monkeypatch):
    """Validation comes before callbacks are told of the epoch, keeping while they are."""
    looked_at(monkeypatch, NEVER)
    keeping = Keeping()
    fit = prepared(3, validation=validation, callbacks=[keeping])
    message, *_ = outcome(fit)
    assert "epoch 3, batch 5" in message
    assert keeping.epochs == (2 if validation else 3)
    assert np.isfinite(fit.kept["growing_0/size"])
    assert fit.history.kept == 1


def test_no_checkpoint_holds_a_state_that_is_not_finite(monkeypatch, tmp_path):
    looked_at(monkeypatch, NEVER)
    net = cr.Network(Growing(), Dense(6), tanh, Dense(4), seed=3, dtype="float32")
    with pytest.raises(DivergenceError, match="epoch 3, batch 5"):
        net.fit(
            X,
            Y,
            epochs=6,
            batch_size=5,
            shuffle=False,
            run_dir=tmp_path / "run",
            checkpoint_every=3,
            verbose=0,
        )
    _, arrays = read_tensors(tmp_path / "run" / "checkpoint.safetensors")
    assert arrays["state/growing_0/size"] == pytest.approx(1e30, rel=1e-6)


def test_whatever_breaks_off_a_fit_no_state_is_left_that_is_not_finite(monkeypatch):
    looked_at(monkeypatch, NEVER)
    fit = prepared(3, callbacks=[Keeping(fails=True)])
    with pytest.raises(RuntimeError, match="from a callback"):
        fit.run()
    assert fit.state["growing_0/size"] == pytest.approx(1e30, rel=1e-6)
    expected = prepared(1)
    outcome(expected)
    assert digest(fit.state) == digest(expected.state)


def test_the_state_is_looked_at_now_and_then(monkeypatch):
    """Rarely where that is allowed, after every call where it is not, and always once at the end."""
    looks = []
    original = trail.Trail.spoils

    def spoils(self: Any, state: Any) -> bool:
        looks.append(self.stop)
        return original(self, state)

    monkeypatch.setattr(trail.Trail, "spoils", spoils)
    for seconds, expected in ((NEVER, 1), (ALWAYS, 16)):
        looked_at(monkeypatch, seconds)
        looks.clear()
        prepared(3, Dense(4), epochs=16 // 3 + 1, batch_size=5).run()
        assert len([stop for stop in looks if stop]) >= expected
        assert looks[-1] == 48
        assert (len(looks) > 10) == (seconds == ALWAYS)
