"""Fresh inputs every epoch: made beside the epoch before, with the same bits whatever the timing."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.data import Augment
from chainrule.executors.cpu.threads import thread_limit
from chainrule.nn import Dense, Rescale
from chainrule.ops import relu
from chainrule.train import Callback, EarlyStopping, feed

RNG = np.random.default_rng(5)
X = RNG.integers(0, 256, (60, 36)).astype("uint8")
Y = RNG.integers(0, 3, 60)
QUIET: dict[str, Any] = {"verbose": 0, "batch_size": 10, "epochs": 5}
STEADY = Augment(noise=0.1)


def network() -> cr.Network:
    return cr.Network(Rescale(), Dense(8), relu, Dense(3), seed=1)


def slow(x, seed, epoch):
    time.sleep(0.02 * (epoch % 2))
    return STEADY(x, seed=seed, epoch=epoch)


def running() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "chainrule-ahead"]


@pytest.mark.parametrize("executor", ["reference", "cpu"])
def test_bits_depend_neither_on_timing_nor_on_the_thread(executor, monkeypatch):
    """A processor to spare or none, a slow function or a fast one, and the arrays made by hand."""
    found = []
    for limit, augment in ((1, STEADY), (2, STEADY), (2, slow)):
        monkeypatch.setattr(feed, "thread_limit", lambda limit=limit: limit)
        found.append(network().fit(X, Y, augment=augment, executor=executor, **QUIET).sha256)
    assert len(set(found)) == 1
    by_hand = network()
    for epoch in range(5):
        moved = STEADY(X, seed=1, epoch=epoch)
        by_hand.fit(
            moved, Y, executor=executor, warm_start=True, schedule="constant", **{**QUIET, "epochs": 1}
        )
    constant = network().fit(X, Y, augment=slow, executor=executor, schedule="constant", **QUIET)
    assert constant.sha256 == by_hand.history.sha256
    assert not running()


def test_the_next_epoch_is_made_while_one_is_trained_on(monkeypatch):
    monkeypatch.setattr(feed, "thread_limit", lambda: 2)
    made, seen = [threading.Event() for _ in range(5)], []

    def told(x, seed, epoch):
        made[epoch].set()
        return x.copy()

    class Waiting(Callback):
        def chunk(self, chunk: Any) -> None:
            seen.append(chunk.epoch)
            assert made[min(chunk.epoch + 1, 4)].wait(30)

    network().fit(X, Y, augment=told, callbacks=[Waiting()], **QUIET)
    assert sorted(set(seen)) == [0, 1, 2, 3, 4]


def test_no_more_is_made_than_one_epoch_ahead_and_none_after_the_last(monkeypatch):
    monkeypatch.setattr(feed, "thread_limit", lambda: 2)
    made: list[int] = []

    def told(x, seed, epoch):
        made.append(epoch)
        return x

    network().fit(X, Y, augment=told, **QUIET)
    assert made == [0, 1, 2, 3, 4]
    made.clear()
    stop = EarlyStopping("loss", patience=2, min_delta=1e9)
    history = network().fit(X, Y, augment=told, callbacks=[stop], **{**QUIET, "epochs": 50})
    assert len(history) < 50
    assert made == list(range(len(made)))
    assert len(history) <= len(made) <= len(history) + 1
    assert not running()


@pytest.mark.parametrize("limit", [1, 2])
def test_an_error_of_the_function_is_raised_by_the_fit(limit, monkeypatch):
    monkeypatch.setattr(feed, "thread_limit", lambda: limit)

    def failing(x, seed, epoch):
        if epoch == 2:
            raise OSError("no images")
        return x

    net = network()
    with pytest.raises(OSError, match="no images"):
        net.fit(X, Y, augment=failing, **QUIET)
    assert len(net.history) == 2
    assert np.isfinite(net["dense_0/W"]).all()
    assert not running()


def test_the_thread_has_a_processor_of_its_own():
    wide = [cr.Network(Rescale(), Dense(512), relu, Dense(512), relu, Dense(3), seed=0) for _ in range(3)]
    x, y = np.tile(X, (4, 1)), np.tile(Y, 4)
    options = {"executor": "cpu", "verbose": 0, "batch_size": 120, "epochs": 1}
    plain = wide[0].fit(x, y, **options).threads
    if plain < 2:
        pytest.skip("one processor")
    beside = wide[1].fit(x, y, augment=STEADY, **options).threads
    asked = wide[2].fit(x, y, augment=STEADY, threads=plain, **options).threads
    assert (beside, asked) == (plain - 1 if plain == thread_limit() else plain, plain)


def test_samples_of_a_model_may_stand_in_for_examples():
    """Rows that say nothing, and in their place fresh draws of two Gaussians in every epoch: a sigmoid unit
    finds their Bayes rule, w = Σ⁻¹(μ₁ − μ₀), b = −½ w·(μ₀ + μ₁)."""
    means, root = np.array([[0.0, 0.0], [1.0, -0.5]]), np.array([[1.0, 0.0], [0.6, 0.8]])
    labels = np.arange(2000) % 2

    def drawn(x, seed, epoch):
        noise = np.random.default_rng((seed, epoch)).normal(size=x.shape)
        return (means[labels] + noise @ root.T).astype("float32")

    net = cr.Network(Dense(1), seed=0)
    net.fit(
        np.zeros((2000, 2), "float32"), labels[:, None], augment=drawn, epochs=60, batch_size=200, verbose=0,
        optimizer=cr.optim.Adam(0.05), loss="binary_cross_entropy",
    )  # fmt: skip
    w = np.linalg.solve(root @ root.T, means[1] - means[0])
    np.testing.assert_allclose(net["dense_0/W"][:, 0], w, atol=0.08)
    np.testing.assert_allclose(net["dense_0/b"], -0.5 * w @ means.sum(0), atol=0.08)
