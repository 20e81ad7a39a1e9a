"""Choosing an executor: by the work alone; and what a fit says of it."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, ops
from chainrule.errors import ConfigError
from chainrule.executors import EXECUTORS, check, decide
from chainrule.executors.choice import Work, choose, work_of

X = np.random.default_rng(0).normal(size=(150, 4)).astype("float32")
Y = np.arange(150) % 3


def network(width: int = 8) -> cr.Network:
    return cr.Network(nn.Dense(width), ops.relu, nn.Dense(3))


def test_more_work_costs_more_on_both():
    x, w = ops.input("x", (64, 100)), ops.input("w", (100, 100))
    small, large = work_of([x @ w]), work_of([ops.exp(x @ w) @ w])
    assert small.reference < large.reference
    assert small.cpu < large.cpu
    assert small.compile < large.compile
    assert large.cpu < large.reference


def test_work_on_large_float64_arrays_counts_twice():
    works = [
        work_of([ops.exp(x @ x)]) for x in (ops.input("x", (800, 800), d) for d in ("float32", "float64"))
    ]
    assert works[1].reference == pytest.approx(2 * works[0].reference, rel=0.01)
    assert works[1].cpu == pytest.approx(2 * works[0].cpu, rel=0.01)
    assert works[1].compile == works[0].compile


def test_views_and_constants_cost_nothing():
    x = ops.input("x", (64, 100))
    assert work_of([ops.broadcast(ops.reshape(x, (64, 1, 100)), (64, 5, 100)).T]).reference == 0


def test_few_steps_are_walked_and_many_compiled():
    work = Work(reference=500.0, cpu=5.0, compile=2e5)
    names = [choose(work, steps)[0] for steps in (1, 100, 1_000, 100_000)]
    assert names[0] == "reference"
    assert names[-1] == "cpu"
    assert names == sorted(names, reverse=True)  # from one to the other once


def test_a_second_program_to_compile_moves_the_limit():
    work = Work(reference=500.0, cpu=5.0, compile=8e4)
    assert choose(work, 400, programs=1)[0] == "cpu"
    assert choose(work, 400, programs=2)[0] == "reference"


def test_names_are_checked():
    assert check("auto") == "auto"
    assert [check(name) for name in EXECUTORS] == list(EXECUTORS)
    with pytest.raises(ConfigError, match="did you mean 'reference'"):
        check("referense")


def test_without_llvmlite_the_reference_computes(monkeypatch):
    monkeypatch.setattr("chainrule.executors.cpu.target.available", lambda: False)
    x = ops.input("x", (1000, 1000))
    name, reason = decide("auto", [x @ x], steps=1000)
    assert name == "reference"
    assert "llvmlite" in reason


@pytest.mark.parametrize(("epochs", "wanted"), [(2, "reference"), (5000, "cpu")])
def test_a_fit_chooses_by_its_own_length(epochs, wanted):
    net = network()
    assert net._prepare(X, Y, cr.train.prepare.Request(epochs=epochs)).history.executor == wanted


def test_a_fit_tells_what_computed_and_predictions_follow_it():
    net = network()
    history = net.fit(X, Y, epochs=2, executor="cpu", threads=1, verbose=0)
    assert (history.executor, history.threads, history.reason) == ("cpu", 1, "asked for")
    assert net._like_the_fit("auto") == "cpu"
    np.testing.assert_allclose(net.output(X), net.output(X, executor="reference"), rtol=1e-5, atol=1e-6)
    history = net.fit(X, Y, epochs=2, verbose=0)
    assert history.executor == "reference"
    assert "work" in history.reason


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_a_number_of_threads_is_a_whole_number(threads):
    with pytest.raises(ConfigError, match="threads"):
        network().fit(X, Y, epochs=1, executor="cpu", threads=threads, verbose=0)
