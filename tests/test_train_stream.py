"""Training on streams: the bits of a fit in memory that has the same order, and every row once an epoch."""

from __future__ import annotations

import threading
import tracemalloc
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from streamed import BATCH, POOL, ROWS, SMALL, Scale, arrays, columns, make, network, order, told

import chainrule as cr
from chainrule import ops
from chainrule.data import stream_table
from chainrule.data.tables import Stream, sources
from chainrule.executors import EXECUTORS
from chainrule.nn import Dense, Embedding
from chainrule.train import Callback, EarlyStopping, Plateau, Recorder, Watch
from chainrule.train.prepare import Request

QUIET: dict[str, Any] = {"epochs": 4, "learning_rate": 0.02, "verbose": 0}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(sources, "_PIECE", SMALL)


# ------------------------------------------------------------------ the same bits


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("pool", [1000, POOL, 2 * BATCH + 1])
@pytest.mark.parametrize("rows", [ROWS, 200, 201, 7])
def test_without_shuffling_the_bits_are_those_of_arrays(executor, pool, rows):
    """In one block or many; with a whole last batch, a short one, one that takes a single row along (201),
    and fewer rows than a batch."""
    stream = make(rows, pool=pool, shuffle=False, weight="w")
    streamed = network().fit(stream, executor=executor, **QUIET)
    memory = network().fit(**arrays(stream), batch_size=BATCH, shuffle=False, executor=executor, **QUIET)
    assert streamed.sha256 == memory.sha256
    assert told(streamed) == told(memory)
    assert (streamed.executor, streamed.reason) == (memory.executor, memory.reason)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("pool", [1000, POOL])
@pytest.mark.parametrize("ahead", [True, False])
def test_with_shuffling_the_bits_are_those_of_arrays_in_the_same_order(executor, pool, ahead):
    stream = make(pool=pool, ahead=ahead)
    streamed = network().fit(stream, executor=executor, **QUIET)
    asked = Request(batch_size=BATCH, epochs=4, learning_rate=0.02, executor=executor)
    fit = network()._prepare(**arrays(stream), asked=asked)
    merged = replace(stream, merge_single=True)
    fit.feed.orders = lambda epoch, count: order(merged, epoch)[None]
    memory = fit.run()
    assert streamed.sha256 == memory.sha256
    assert told(streamed) == told(memory)
    orders = [order(merged, epoch).tolist() for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(ROWS))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_step_does_what_is_written_down_here(executor):
    """Linear regression by stochastic gradient descent, by hand, over the blocks of a stream."""
    x, weights = columns()["x"], columns()["w"]
    data = {"x": x, "y": x @ [1.0, -2.0, 0.5, 3.0], "w": weights}
    stream = stream_table(
        data, "y", task="regression", scaling="none", batch_size=BATCH, pool=POOL, weight="w"
    )
    net = cr.Network(Dense(1, init=cr.nn.Zeros()), dtype="float64")
    rate, epochs = 0.05, 3
    net.fit(
        stream, loss="mean_squared_error", optimizer=cr.optim.SGD(rate), epochs=epochs,
        schedule=cr.optim.Constant(), executor=executor, verbose=0,
    )  # fmt: skip
    w, b = np.zeros((4, 1)), np.zeros(1)
    for epoch in range(epochs):
        for block in stream.epoch(epoch):
            for rows in [*block.index, *([] if block.tail is None else block.tail)]:
                given = block.inputs["x"], block.targets["y"], block.weight
                x, y, weight = (a[rows].astype(float) for a in given)
                if not weight.any():
                    continue
                share = weight[:, None] / weight.sum()
                error = share * (x @ w + b - y)
                w, b = w - rate * 2 * x.T @ error, b - rate * 2 * error.sum(0)
    assert np.allclose(net["dense_0/W"], w, rtol=1e-9)
    assert np.allclose(net["dense_0/b"], b, rtol=1e-9)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_bits_do_not_depend_on_the_length_of_calls(executor):
    found = []
    for chunk in (1, 3, 1000):
        fit = network()._prepare(make(), None, Request(epochs=4, learning_rate=0.02, executor=executor))
        fit.chunk_steps = fit.pace = chunk
        found.append((fit.run().sha256, told(fit.history)))
    assert found[0] == found[1] == found[2]


def test_the_executor_is_chosen_as_for_arrays():
    """By the number of all steps, not of those in a block."""
    for epochs in (1, 10**5):
        options = {"epochs": epochs}
        streamed = network()._prepare(make(), None, Request(**options))
        memory = network()._prepare(**arrays(make()), asked=Request(batch_size=BATCH, **options))
        assert streamed.history.executor == memory.history.executor
        assert streamed.total == memory.total
    assert streamed.history.executor == "cpu"


# ------------------------------------------------------------------ every row once an epoch


class Counting(Callback):
    """The row numbers that went through the network, epoch by epoch."""

    watch = (Watch("through_0"),)

    def __init__(self) -> None:
        self.seen: dict[int, Counter[int]] = {}

    def chunk(self, chunk: Any) -> None:
        rows = chunk.watched["value:through_0"][..., 0].astype(int)
        assert rows.size == chunk.samples
        self.seen.setdefault(chunk.epoch, Counter()).update(rows.ravel().tolist())


@dataclass(frozen=True)
class Through(cr.nn.Layer):
    """Passes x on, to be watched."""

    def __call__(self, x: Any, run: Any) -> Any:
        return x + 0.0


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("share", [None, 0.2])
def test_every_row_is_used_once_an_epoch(executor, share):
    counting, stream = Counting(), make(ahead=True)
    net = cr.Network(Through(), Scale(), Dense(2))
    history = net.fit(stream, validation=share, callbacks=[counting], executor=executor, **QUIET)
    rows = set(range(ROWS)) if share is None else set(order(stream.split(share)[0], 0).tolist())
    assert len(history) == len(counting.seen) == 4
    assert (share is None) == (len(rows) == ROWS)
    for seen in counting.seen.values():
        assert seen == Counter(rows)


# ------------------------------------------------------------------ validation, weights, rates


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("ahead", [True, False])
def test_validation_on_a_stream_is_that_on_its_rows(executor, ahead):
    stream = make(weight="w", ahead=ahead)
    train, held = stream.split(0.3)
    rows = order(held, 0)
    given = arrays(stream)
    as_arrays = tuple(given[name][rows] for name in ("x", "y", "sample_weight"))
    options = {**QUIET, "executor": executor, "metrics": ["accuracy", "error"]}

    def fit(data: Any, validation: Any) -> Any:
        callbacks = [EarlyStopping(), Plateau(patience=1)]
        return network().fit(data, validation=validation, callbacks=callbacks, **options)

    found = [fit(stream, 0.3), fit(train, held), fit(train, as_arrays)]
    assert found[0].sha256 == found[1].sha256 == found[2].sha256
    assert found[0]["val_error"].tolist() == found[1]["val_error"].tolist()
    for name in ("val_loss", "val_accuracy"):
        assert np.allclose(found[0][name], found[2][name], rtol=1e-6)


def test_early_stopping_returns_to_the_best_parameters():
    class Best(Callback):
        states: list[Any]

        def begin(self, start: Any) -> None:
            self.states = []

        def epoch(self, end: Any) -> None:
            self.states.append({name: a.copy() for name, a in end.state().items()})

    best, net = Best(), network()
    history = net.fit(
        make(), validation=0.3, epochs=60, learning_rate=0.3, verbose=0,
        callbacks=[best, EarlyStopping(patience=2)],
    )  # fmt: skip
    assert history.stopped == "early stopping"
    assert len(history) < 60
    assert history.kept == history["val_loss"].argmin()
    assert all((net[name] == a).all() for name, a in best.states[history.kept].items())


def test_evaluate_takes_a_stream():
    stream, net = make(weight="w"), network()
    net.fit(stream, **QUIET)
    streamed, memory = net.evaluate(stream), net.evaluate(**arrays(stream))
    assert streamed.keys() == memory.keys()
    assert streamed == pytest.approx(memory, rel=1e-6)


def test_a_learning_rate_is_tried_on_the_first_block(monkeypatch):
    """In one block without shuffling: the trial of a fit in memory, and the fit's bits. In many: no thread is
    left, and the fit begins with the block that the trial used."""
    stream = make(pool=1000, shuffle=False)
    options = {**QUIET, "learning_rate": "auto"}
    streamed = network().fit(stream, **options)
    memory = network().fit(**arrays(stream), batch_size=BATCH, shuffle=False, **options)
    assert streamed.sha256 == memory.sha256
    assert streamed["learning_rate"].tolist() == memory["learning_rate"].tolist()
    threads = threading.active_count()
    many, asked, epoch = make(ahead=True), [], Stream.epoch
    monkeypatch.setattr(Stream, "epoch", lambda s, n, buffers: asked.append(n) or epoch(s, n, buffers))
    assert network().fit(many, **options)["learning_rate"][0] > 0
    assert asked == [0, 1, 2, 3]
    test = network().find_learning_rate(many, steps=30)
    assert 0 < test.suggestion < 10
    assert threading.active_count() == threads


@pytest.mark.parametrize("executor", EXECUTORS)
def test_calling_fit_again_goes_on_with_later_epochs(executor):
    stream, net = make(), network()
    net.fit(stream, executor=executor, **QUIET)
    seen = []

    class Watching(Callback):
        watch = (Watch("scale_0"),)

        def chunk(self, chunk: Any) -> None:
            seen.extend(np.rint(chunk.watched["value:scale_0"][..., 0].ravel() * 100).astype(int).tolist())

    net.fit(stream, callbacks=[Watching()], executor=executor, warm_start=True, **QUIET)
    assert seen[:ROWS] == order(replace(stream, merge_single=True), 4).tolist()


# ------------------------------------------------------------------ what a stream may hold


@dataclass(frozen=True)
class Both(cr.nn.Layer):
    """Numbers, and codes through an embedding."""

    head: Dense = Dense(1)
    city: Embedding = Embedding(8, 3)

    def __call__(self, x: Any, run: Any) -> Any:
        city = run.apply("city", self.city, x["codes"])
        flat = ops.reshape(city, (city.shape[0], -1))
        return run.apply("head", self.head, ops.concat([x["x"], flat], axis=1))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_codes_go_to_an_embedding_and_two_classes_to_one_output(executor):
    rng = np.random.default_rng(0)
    city = rng.choice(np.array(["Bern", "Rome", "Oslo"], object), 300)
    data = {"x": rng.normal(size=300), "city": city, "y": np.where(city == "Rome", "hot", "cold")}
    stream = stream_table(data, "y", embed_from=2, batch_size=20, pool=60)
    assert list(stream.inputs) == ["x", "codes"]
    net = cr.Network(Both())
    history = net.fit(stream, epochs=20, learning_rate=0.1, executor=executor, verbose=0)
    assert type(net.loss["y"]).__name__ == "BinaryCrossEntropy"
    assert history["accuracy"][-1] == 1.0


def test_a_network_of_float64_takes_a_stream():
    stream = make(shuffle=False)
    streamed = network(dtype="float64").fit(stream, **QUIET)
    memory = network(dtype="float64").fit(**arrays(stream), batch_size=BATCH, shuffle=False, **QUIET)
    assert streamed.sha256 == memory.sha256


def test_recorders_and_progress_see_the_whole_epoch():
    recorder = Recorder(Watch("*/W", of="gradient", reduce=ops.norm), every=7)
    stream = make()
    network().fit(stream, callbacks=[recorder], **QUIET)
    assert recorder.losses.shape == (4 * stream.steps,)
    assert recorder.steps.tolist() == list(range(0, 4 * stream.steps, 7))


def test_memory_is_that_of_the_pools(monkeypatch):
    """Of 20,000 rows in a pool of 1,000: no more in four epochs than in one."""
    monkeypatch.setattr(sources, "_PIECE", 1000)
    rows = 20_000
    x = np.random.default_rng(0).normal(size=(rows, 20)).astype("float32")
    stream = stream_table(
        {"x": x, "y": x[:, 0] > 0}, "y", scaling="none", batch_size=100, pool=1000, ahead=True
    )
    peaks = []
    for epochs in (1, 4):
        net = cr.Network(Dense(2))
        tracemalloc.start()
        net.fit(stream, epochs=epochs, executor="reference", verbose=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[0] < stream.nbytes + 4_000_000
    assert stream.nbytes < x.nbytes / 5
