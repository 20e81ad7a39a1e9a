"""Divergence: which step, layer and operation left the finite numbers, and what state is left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from small import LABELS, QUIET, X, Y, network

import chainrule as cr
from chainrule import nn, ops
from chainrule.errors import DataError, DivergenceError
from chainrule.nn import BatchNorm, Dense
from chainrule.ops import relu
from chainrule.train.prepare import Request


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
    categories = np.random.default_rng(1).integers(0, 7, (60, 3))
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
