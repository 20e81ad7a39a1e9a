"""Predictions: any number of rows, any memory that holds them, and always the parameters of now."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from callers import at_once

import chainrule as cr
from chainrule import nn, ops
from chainrule.errors import ChainruleError, ConfigError, DataError, ShapeError
from chainrule.executors import EXECUTORS, compile
from chainrule.nn import Dense
from chainrule.train import predict

rng = np.random.default_rng(0)
X = rng.normal(size=(700, 20)).astype("float32")

on_every_executor = pytest.mark.parametrize("executor", EXECUTORS)


def network(width: int = 24) -> cr.Network:
    return cr.Network(Dense(width), ops.relu, Dense(3), seed=1).build(20)


def by_hand(net: cr.Network, x: np.ndarray) -> np.ndarray:
    p = {name: a.astype("float64") for name, a in net.parameters.items()}
    return np.maximum(x @ p["dense_0/W"] + p["dense_0/b"], 0) @ p["dense_1/W"] + p["dense_1/b"]


def check(net: cr.Network, x: np.ndarray, executor: str) -> None:
    np.testing.assert_allclose(net.output(x, executor=executor), by_hand(net, x), rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------ how many rows


@on_every_executor
@pytest.mark.parametrize("rows", [1, 2, 15, 16, 17, 63, 64, 65, 128, 129, 700])
def test_any_number_of_rows(executor, rows):
    net = network()
    found = net.output(X[:rows], executor=executor)
    assert (found.shape, found.dtype) == ((rows, 3), np.dtype("float32"))
    check(net, X[:rows], executor)


@on_every_executor
@pytest.mark.parametrize("blocks", [1, 3])
def test_rows_in_many_turns(executor, blocks, monkeypatch):
    monkeypatch.setattr(predict, "_BYTES", blocks * 64 * X[0].nbytes)
    for rows in (64, 191, 192, 193, 700):
        check(network(), X[:rows], executor)


@pytest.mark.skipif("cpu" not in EXECUTORS, reason="threads of compiled code")
@pytest.mark.parametrize("threads", ["1", "2"])
def test_rows_shared_by_threads(threads, monkeypatch):
    monkeypatch.setenv("CHAINRULE_THREADS", threads)
    net = network(width=2000)
    check(net, X[:333], "cpu")
    check(net, X[:3], "cpu")


# ------------------------------------------------------------------ what holds them


def variants(x: np.ndarray) -> dict[str, object]:
    read_only, wide = x.copy(), np.zeros((len(x), 2 * x.shape[1]), "float32")
    read_only.flags.writeable = False
    wide[:, ::2] = x
    unaligned = np.zeros(x.nbytes + 1, "uint8")[1:].view("float32").reshape(x.shape)
    unaligned[...] = x
    return {
        "list": x.tolist(),
        "float64": x.astype("float64"),
        "big-endian": x.astype(">f4"),
        "columns first": np.asfortranarray(x),
        "every second": wide[:, ::2],
        "backwards": x[::-1][::-1],
        "read-only": read_only,
        "unaligned": unaligned,
        "masked": np.ma.masked_array(x),
    }


@on_every_executor
@pytest.mark.parametrize("rows", [1, 20, 100])
def test_memory_of_any_kind(executor, rows):
    net = network()
    expected = net.output(X[:rows], executor=executor)
    for name, x in variants(X[:rows]).items():
        assert (net.output(x, executor=executor) == expected).all(), name


@on_every_executor
@pytest.mark.parametrize("rows", [1, 20, 64, 200])
def test_a_result_is_the_callers_own(executor, rows):
    net = network()
    first = net.output(X[:rows], executor=executor)
    kept = first.copy()
    net.output(X[-rows:], executor=executor)
    assert (first == kept).all()
    first[...] = 0
    assert (net.output(X[:rows], executor=executor) == kept).all()


# ------------------------------------------------------------------ what is refused


@on_every_executor
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("rows", "row"), [(1, 0), (10, 9), (64, 5), (700, 0), (700, 400), (700, 699)])
def test_what_is_not_finite_is_named(executor, value, rows, row, monkeypatch):
    monkeypatch.setattr(predict, "_BYTES", 128 * X[0].nbytes)
    x = X[:rows].copy()
    x[row, 7] = value
    with pytest.raises(DataError, match=rf"column 7, 1 row \({row}\)"):
        network().output(x, executor=executor)


@on_every_executor
@pytest.mark.parametrize("rows", [1, 100, 700])
def test_large_numbers_are_taken(executor, rows):
    net = cr.Network(Dense(2), seed=0).build(20)
    x = X[:rows] * np.float32(1e30)
    expected = x.astype("float64") @ net["dense_0/W"]
    np.testing.assert_allclose(net.output(x, executor=executor), expected, rtol=1e-4, atol=1e25)


@on_every_executor
def test_other_features_and_no_rows_are_refused(executor):
    net = network()
    net.output(X[:1], executor=executor)
    for x, error, match in (
        (X[:1, :5], ShapeError, "built for"),
        (X[0], DataError, "one-dimensional"),
        (X[:0], DataError, "no rows"),
        (X[:1].astype(complex), DataError, "complex"),
        ({"other": X[:1]}, DataError, "other"),
    ):
        with pytest.raises(error, match=match):
            net.output(x, executor=executor)


@on_every_executor
@pytest.mark.parametrize(("rows", "row"), [(1, 0), (20, 19), (64, 3), (300, 299)])
def test_an_index_outside_is_named(executor, rows, row):
    net = cr.Network(nn.Embedding(10, 4), nn.Flatten(), Dense(2), seed=0).build(3, dtype="int64")
    x = rng.integers(0, 10, (rows, 3))
    assert np.isfinite(net.output(x, executor=executor)).all()
    x[row, 1] = 77
    with pytest.raises(ChainruleError, match="77"):
        net.output(x, executor=executor)
    x[row, 1] = 7
    assert np.isfinite(net.output(x, executor=executor)).all()


@dataclass(frozen=True)
class Total(nn.Layer):
    """One number for all rows."""

    def __call__(self, x: ops.Expr, run: nn.Run) -> ops.Expr:
        return ops.sum(x)


def test_a_network_gives_a_row_for_each_row():
    with pytest.raises(ShapeError, match=r"shape \(\) for 1 rows"):
        cr.Network(Total()).build(20).output(X[:1])


# ------------------------------------------------------------------ which parameters


@on_every_executor
def test_parameters_are_those_of_now(executor):
    net = network()
    counts = (1, 5, 30, 200)
    for rows in counts:
        check(net, X[:rows], executor)
    net["dense_1/b"] = [5, 6, 7]
    for rows in counts:
        check(net, X[:rows], executor)
    net["dense_0/W"] = 2 * net["dense_0/W"]
    for rows in reversed(counts):
        check(net, X[:rows], executor)
    before = net.output(X[:1], executor=executor)
    net.unit_variance(X)
    assert not np.allclose(net.output(X[:1], executor=executor), before)
    check(net, X[:1], executor)


@on_every_executor
def test_parameters_are_laid_out_once(executor):
    net = network()
    net.output(X[:1], executor=executor)
    state = dict(net._state)
    bound = [ready.held for ready in net._predictors["output"]._compiled.values()]
    net.output(X[1:2], executor=executor)
    assert all(net._state[name] is a for name, a in state.items())
    after = [ready.held for ready in net._predictors["output"]._compiled.values()]
    assert all(x is y for x, y in zip(bound, after, strict=True))


@on_every_executor
def test_single_rows_from_many_threads(executor):
    net = network()
    expected = [net.output(X[k : k + 1], executor=executor) for k in range(8)]
    wrong: list[int] = []

    def work(k: int) -> None:
        found = [net.output(X[k : k + 1], executor=executor) for _ in range(200)]
        wrong.extend(k for a in found if (a != expected[k]).any())

    at_once(work)
    assert not wrong


# ------------------------------------------------------------------ who computes


@pytest.mark.skipif("cpu" not in EXECUTORS, reason="a choice needs two")
def test_auto_judges_all_rows():
    predictor = predict.Predictor(network(width=500).model, {}, "output")
    chosen = [predictor._choose(n) for n in (1, 64, 1000, 10**5, 10**7)]
    assert chosen[:3] == ["reference"] * 3
    assert chosen[-1] == "cpu"
    assert chosen == sorted(chosen, reverse=True)


@on_every_executor
def test_blocks_equal_calls(executor):
    x, z, w = ops.input("x", (8, 5)), ops.input("z", (8,)), ops.input("w", (5, 3))
    function = compile([x @ w, z * z], [x, z, w], executor=executor, rows=2)
    xs, zs, ws = X[:40, :5].copy(), X[:40, 0].copy(), X[:5, :3].copy()
    found = [np.zeros((40, 3), "float32"), np.zeros(40, "float32")]
    blocks = function.bound([ws], 8)
    blocks([xs, zs], found, 16, 2)
    assert not any(a[:16].any() or a[32:].any() for a in found)
    np.testing.assert_allclose(found[0][16:32], xs[16:32] @ ws, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[1][16:32], zs[16:32] ** 2, rtol=1e-6)
    called = function(xs[16:24], zs[16:24], ws)
    assert all((a[16:24] == b).all() for a, b in zip(found, called, strict=True))
    few = blocks.one([xs[:3], zs[:3]])
    np.testing.assert_allclose(few[0], xs[:3] @ ws, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(few[1], zs[:3] ** 2, rtol=1e-6)


@pytest.mark.skipif("cpu" not in EXECUTORS, reason="compiled code only")
def test_too_few_arrays_are_not_bound():
    x, w = ops.input("x", (8, 5)), ops.input("w", (5, 3))
    with pytest.raises(ConfigError, match="1 arrays are to be bound, 0 were given"):
        compile([x @ w], [x, w], executor="cpu", rows=1).bound([], 8)
