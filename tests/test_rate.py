"""Learning rates found by trial: the range test, and learning_rate="auto"."""

from __future__ import annotations

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ConfigError, DivergenceError
from chainrule.nn import Dense
from chainrule.ops import relu, tanh
from chainrule.train.prepare import Request
from chainrule.train.rate import _trial

rng = np.random.default_rng(0)
X = rng.normal(size=(53, 4))
Y = np.sin(X @ rng.normal(size=(4, 2)))
QUIET = {"verbose": 0, "schedule": cr.optim.Constant()}


def network(seed=3):
    return cr.Network(Dense(6), tanh, Dense(2), seed=seed, dtype="float64")


def test_groups_with_a_rate_of_their_own_keep_it_during_trials():
    net = network().build(4, dtype="float64")

    def losses(rate, **group):
        rule = cr.optim.SGD(rate, groups=(cr.optim.Group("dense_0/*", **group),))
        return _trial(net._prepare(X, Y, Request(optimizer=rule, batch_size=10)), rates, ["learning_rate"])

    rates = np.full(20, 0.1)
    expected = losses(0.1, frozen=True)
    np.testing.assert_allclose(losses("auto", learning_rate=1e-30), expected, rtol=1e-12)


def test_batches_of_weight_zero_take_part_in_no_trial():
    found = network().find_learning_rate(X, Y, sample_weight=np.arange(53) < 2, batch_size=5, steps=20)
    assert np.isfinite(found.losses).all()


@pytest.mark.parametrize("wrong", [{"low": 0}, {"low": 1, "high": 0.1}, {"high": math.inf}, {"steps": 0}])
def test_a_range_that_is_none_is_refused(wrong):
    with pytest.raises(ConfigError, match="rates rise"):
        network().find_learning_rate(X, Y, **wrong)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "lion"])
def test_automatic_rate_learns_more_than_ten_times_larger_or_smaller_ones(optimizer):
    def reached(rate):
        net = network(seed=1)
        try:
            net.fit(X, Y, optimizer=optimizer, learning_rate=rate, epochs=40, batch_size=10, **QUIET)
        except DivergenceError:
            return math.inf, rate
        return net.history["loss"][-1], net.history["learning_rate"][0]

    loss, rate = reached("auto")
    assert math.log10(rate) == pytest.approx(round(math.log10(rate)))
    assert loss < reached(10 * rate)[0]
    assert loss < reached(rate / 10)[0]


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "adamw", "rmsprop"])
def test_the_suggested_rate_trains_whatever_the_noise_of_small_batches(optimizer):
    x, y = cr.datasets.spirals(400)
    net = cr.Network(Dense(32), relu, Dense(32), relu, Dense(2))
    found = net.find_learning_rate(x, y, optimizer=optimizer)
    assert repr(found) == f"RateTest(suggestion={found.suggestion!r})"
    net.fit(x, y, optimizer=optimizer, learning_rate=found.suggestion, epochs=10, verbose=0)
    assert net.history["loss"][-1] < 0.1  # chance is 0.69


def test_range_test_leaves_the_network_as_it_was():
    net = network().build(4, dtype="float64")
    before = net.parameters
    found = net.find_learning_rate(X, Y, optimizer="sgd", batch_size=10)
    assert 1e-6 <= found.suggestion <= 10
    assert len(found.rates) == len(found.losses)
    assert all((net[n] == v).all() for n, v in before.items())


def test_a_loss_that_is_not_finite_from_the_start_is_told():
    net = network().build(4, dtype="float64")
    net["dense_0/b"] = np.full(6, np.nan)
    with pytest.raises(DivergenceError, match="not finite before the first step"):
        net.find_learning_rate(X, Y)


def test_data_from_which_nothing_is_learned_has_no_automatic_rate():
    net = cr.Network(Dense(1), seed=0)
    with pytest.raises(DivergenceError, match="found no rate"):
        net.fit(np.zeros((8, 1)), np.zeros((8, 1)), learning_rate="auto", **QUIET)
