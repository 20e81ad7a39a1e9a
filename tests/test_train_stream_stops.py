"""Streams that are stopped, resumed, spoiled, refused: a fit keeps its promises wherever its rows lie."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from streamed import ROWS, SMALL, arrays, columns, make, network, told

import chainrule as cr
from chainrule import nn, ops
from chainrule.data import Block, RowStream, stream_table
from chainrule.data.tables import sources
from chainrule.errors import ChainruleError, ConfigError, DataError, DivergenceError, ShapeError
from chainrule.executors import EXECUTORS
from chainrule.nn import Dense
from chainrule.ops import tanh
from chainrule.spec import Spec
from chainrule.storage import read_tensors
from chainrule.train import Callback, EarlyStopping, trail
from chainrule.train.prepare import Request
from chainrule.train.state import digest

QUIET: dict[str, Any] = {"epochs": 4, "learning_rate": 0.02, "verbose": 0}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(sources, "_PIECE", SMALL)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def run(folder: Any, stream: Any = None, **options: Any) -> Any:
    """Dropout, batch statistics, slots, averages, kept parameters: all of a state takes part."""
    settings = {
        **QUIET,
        "validation": 0.2,
        "run_dir": folder,
        "resume": True,
        "optimizer": cr.optim.Adam(average=cr.optim.EMA(0.9)),
        "schedule": cr.optim.Cosine(),
        "checkpoint_every": 3,
        "callbacks": [EarlyStopping(patience=100)],
    }
    return network().fit(make() if stream is None else stream, **{**settings, **options})


# ------------------------------------------------------------------ going on


class PressAt(Callback):
    """Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.at = step

    def chunk(self, chunk: Any) -> None:
        if chunk.step <= self.at < chunk.step + len(chunk.losses):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("step", [0, 7, 17, 40])
def test_stopped_in_any_block_it_resumes_to_the_same_bits(tmp_path, executor, ahead, step):
    stream = make(ahead=ahead)
    expected = run(tmp_path / "whole", stream, executor=executor)
    stopping = [EarlyStopping(patience=100), PressAt(step)]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", stream, executor=executor, callbacks=stopping)
    header, _ = read_tensors(tmp_path / "run" / "checkpoint.safetensors")
    assert header["position"]["batch"] > 0
    found = run(tmp_path / "run", replace(stream, ahead=not ahead), executor=executor)
    assert found.sha256 == expected.sha256
    assert told(found) == told(expected)


def test_a_callback_may_stop_a_fit_within_a_block():
    class Stop(Callback):
        def chunk(self, chunk: Any) -> bool:
            return chunk.step + len(chunk.losses) >= 8

    history = network().fit(make(ahead=True), callbacks=[Stop()], **QUIET)
    assert history.stopped == "callback"


PROGRAM = """
import sys
sys.path.insert(0, SUPPORT)
from streamed import SMALL, make, network
import chainrule as cr
from chainrule.data.tables import sources
from chainrule.train import EarlyStopping
sources._PIECE = SMALL
history = network().fit(
    make(ahead=True), epochs=EPOCHS, learning_rate=0.02, validation=0.2, run_dir=sys.argv[1], resume=True,
    checkpoint_every=3, callbacks=[EarlyStopping(patience=100)], verbose=0, executor="reference",
)
print(history.sha256, flush=True)
"""


def killed_runs(tmp_path: Any, count: int, epochs: int) -> None:
    """kill -9 at random moments until the run comes through; the bits are those of a whole run."""
    support = os.path.dirname(sys.modules["streamed"].__file__ or "")
    program = PROGRAM.replace("EPOCHS", str(epochs)).replace("SUPPORT", repr(support))
    command = [sys.executable, "-c", program]
    began = time.perf_counter()
    whole = subprocess.run([*command, tmp_path / "whole"], capture_output=True, text=True, check=True)
    patience, moments, killed = time.perf_counter() - began, random.Random(5), 0
    while True:
        process = subprocess.Popen([*command, tmp_path / "run"], stdout=subprocess.PIPE, text=True)
        try:
            out, _ = process.communicate(timeout=moments.uniform(0.4, 0.9) * patience)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed, patience = killed + 1, patience * 1.2
            continue
        assert process.returncode == 0
        assert out == whole.stdout
        if killed >= count:
            return
        (tmp_path / "run").rename(tmp_path / f"run {killed} {random.Random(time.time()).random()}")
        patience /= 1.5


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    killed_runs(tmp_path, count=1, epochs=12)


@pytest.mark.long
def test_twenty_kills_at_random_moments(tmp_path):
    killed_runs(tmp_path, count=20, epochs=200)


@pytest.mark.parametrize(
    "changed",
    [
        {"data seed": 1},
        {"pool": 60},
        {"seed": 6},
        {"scaling": "standard"},
        {"weight": "w"},
        {"shuffle": False},
    ],
    ids=str,
)
def test_a_run_is_resumed_on_its_own_stream_only(tmp_path, changed):
    run(tmp_path, epochs=1)
    options = dict(changed)
    seed = options.pop("data seed", 0)
    other = make(seed_of_data=seed, **options)
    with pytest.raises((DataError, ConfigError), match=r"other data|begun with another"):
        run(tmp_path, other)


# ------------------------------------------------------------------ numbers that are not finite

WIDE = np.random.default_rng(0).normal(size=(40, 4))
WIDE[23, 0] = 99.0  # batch 5 of 8


@dataclass(frozen=True)
class Growing(nn.Layer):
    """Passes x on. What it remembers grows at one row until it is too large; no loss ever shows it."""

    times: float = 1e15

    def __call__(self, x: Any, run: Any) -> Any:
        growth = ops.where(ops.max(x) > 50, self.times, 1.0)
        run.update("size", run.state("size", (), 1.0) * growth)
        return x


def spoiled(executor: str, chunk: int, pool: int | None, *layers: Any, **options: Any) -> tuple[Any, ...]:
    """How a fit ends: on a stream, or on arrays where there is no pool."""
    y = np.sin(WIDE[:, 1])
    net = cr.Network(*layers, seed=3)
    asked = {"epochs": 6, "optimizer": cr.optim.SGD(1e-3), "schedule": cr.optim.Constant(), **options}
    if pool is None:
        request = Request(batch_size=5, shuffle=False, executor=executor, **asked)
        scaled = ((y - y.mean()) / y.std()).astype("float32")[:, None]
        fit = net._prepare(WIDE, scaled, request)
    else:
        data = {"x": WIDE, "y": y}
        stream = stream_table(
            data, "y", task="regression", scaling="none", batch_size=5, pool=pool, shuffle=False, ahead=True
        )
        fit = net._prepare(stream, None, Request(executor=executor, **asked))
    fit.chunk_steps = fit.pace = chunk
    with pytest.raises(DivergenceError) as caught:
        fit.run()
    at, said = fit.position, re.sub(r"py:\d+", "", str(caught.value))  # the line that asked for the fit
    return said, digest(fit.state), at.epoch, at.batch, len(fit.history)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_a_spoiled_state_is_found_before_its_rows_are_given_back(executor, seconds, monkeypatch):
    """1, 1e15, 1e30, ∞: in batch 5 of the third epoch, whenever one looks, whatever the blocks are."""
    monkeypatch.setattr(trail, "_LONGEST", seconds)
    monkeypatch.setattr(trail, "_SHARE", 1e12)
    layers = Growing(), Dense(6), tanh, Dense(1)
    expected = spoiled(executor, 1, None, *layers)
    assert "epoch 3, batch 5: the update after a loss of" in expected[0]
    for pool in (5, 15, 100):
        for chunk in (1, 3, 1000):
            assert spoiled(executor, chunk, pool, *layers) == expected


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_explosion_goes_back_to_its_epochs_start(executor, monkeypatch):
    monkeypatch.setattr(trail, "_LONGEST", 1e9)
    monkeypatch.setattr(trail, "_SHARE", 1e12)
    options = {"optimizer": cr.optim.SGD(0.9), "epochs": 50}
    expected = spoiled(executor, 1, None, Growing(1.0), Dense(1), **options)
    assert "the loss" in expected[0]
    assert expected[3] == 0 or "finite" in expected[0]
    for pool in (5, 15, 100):
        for chunk in (1, 1000):
            assert spoiled(executor, chunk, pool, Growing(1.0), Dense(1), **options) == expected


def test_data_that_changed_since_are_told_and_the_state_stays_good():
    stream = make()
    given = columns()
    given["x"][150, 2] = np.inf
    broken = replace(stream, source=sources.ArraySource(given))
    net = network()
    with pytest.raises(DataError, match="x2"):
        net.fit(broken, **QUIET)
    assert all(np.isfinite(a).all() for a in net.state.values())
    fewer = replace(stream, source=sources.ArraySource(columns(ROWS - 5)))
    with pytest.raises(DataError, match=f"less than the {ROWS} rows"):
        network().fit(fewer, **QUIET)
    more = replace(stream, source=sources.ArraySource(columns(ROWS + 5)), ahead=True)
    with pytest.raises(DataError, match=f"more than the {ROWS} rows"):
        network().fit(more, **QUIET)


# ------------------------------------------------------------------ what is refused


def regression(**options: Any) -> Any:
    return stream_table({"x": WIDE, "y": WIDE[:, 0]}, "y", task="regression", batch_size=5, **options)


MISTAKES = [
    (lambda: network().fit(make(), batch_size=32, **QUIET), ConfigError, "steps of 10 rows.* asked for 32"),
    (lambda: network().fit(make(), shuffle=False, **QUIET), ConfigError, "give shuffle=False where"),
    (lambda: network().fit(make(), sample_weight=np.ones(ROWS), **QUIET), ConfigError, "weight=…"),
    (lambda: network().fit(make(), augment=cr.data.Augment(), **QUIET), ConfigError, "augment is of arrays"),
    (lambda: network().fit(make(), np.ones(ROWS), **QUIET), ConfigError, "leave y out"),
    (lambda: network().fit(arrays(make())["x"], **QUIET), ConfigError, "y is missing"),
    (lambda: network().fit(make(), optimizer="lbfgs", epochs=1), ConfigError, "LBFGS looks at all rows"),
    (lambda: network().fit(**arrays(make()), validation=make(), **QUIET), ConfigError, "validation is a Str"),
    (lambda: network().fit(make(), validation=0.0, **QUIET), ConfigError, "between 0 and 1"),
    (
        lambda: network().fit(make().split(0.2)[0], validation=0.1, **QUIET),
        ConfigError,
        "one side of a split",
    ),
    (lambda: network().fit(make(), validation=regression(), **QUIET), ShapeError, "^validation: x: rows of"),
    (lambda: network().fit(make(), validation=(WIDE, WIDE), **QUIET), ShapeError, "^validation: x: rows of"),
    (lambda: network().build(5).fit(make(), **QUIET), ShapeError, r"rows of shape \(6,\)"),
    (lambda: network().fit(regression(), **QUIET), DataError, "MeanSquaredError: the output needs a target"),
    (lambda: cr.Network(Dense(1)).fit(make(), loss="cross_entropy", **QUIET), ChainruleError, "CrossEntropy"),
    (lambda: network().fit(make(batch_size=1), **QUIET), ConfigError, "batch_size=1 cannot train"),
    (lambda: network().evaluate(make()), ConfigError, "call fit first"),
]


@pytest.mark.parametrize(("mistake", "error", "says"), MISTAKES, ids=[says for _, _, says in MISTAKES])
def test_mistakes_are_one_clear_error_before_the_first_step(mistake, error, says):
    with pytest.raises(error, match=says):
        mistake()


@dataclass(frozen=True)
class Own(RowStream):
    """Rows of somebody else's making, one block an epoch."""

    rows: int = 40
    batch_size: int = 5
    shuffle: bool = False
    fault: str = ""
    weighted: bool = False
    fingerprint: str = "own"

    @property
    def inputs(self) -> dict[str, Spec]:
        return {"x": Spec((4,), np.dtype("float32"))}

    @property
    def examples(self) -> dict[str, Any]:
        return {"y": np.zeros((1, 1))}

    def for_batch_statistics(self) -> Own:
        return self

    def split(self, share: float) -> tuple[Own, Own]:
        raise ConfigError("this stream cannot be split")

    def epoch(self, number: int, buffers: Any = None) -> Iterator[Block]:
        x, y = WIDE.astype("float32"), WIDE[:, :1].astype("float32")
        x[7, 1] = np.nan if self.fault == "nan" else x[7, 1]
        index = np.arange(40).reshape(8, 5)
        if self.fault == "steps":
            index = index.reshape(4, 10)
        if self.fault == "short":
            index = index[:6]
        weight = np.ones(39 if self.fault == "rows" else 40)
        yield Block({"x": x[:, :3] if self.fault == "wide" else x}, {"y": y}, weight, index, None)


def test_a_stream_of_ones_own_is_taken():
    streamed = cr.Network(Dense(1)).fit(Own(), **QUIET)
    memory = cr.Network(Dense(1)).fit(WIDE, WIDE[:, :1], batch_size=5, shuffle=False, **QUIET)
    assert streamed.sha256 == memory.sha256


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        ("nan", DataError, r"x holds 1 NaN in column 1, 1 row \(7\)"),
        ("steps", DataError, r"gave steps of \(4, 10\)"),
        ("short", DataError, "ended after 6 of 8 steps"),
        ("rows", DataError, "39"),
        ("wide", ShapeError, "rows of shape"),
    ],
)
def test_a_stream_that_breaks_its_word_is_told(fault, error, says):
    with pytest.raises(error, match=says):
        cr.Network(Dense(1)).fit(Own(fault=fault), **QUIET)
