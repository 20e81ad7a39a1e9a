"""Same seed, machine, versions, executor: same bits, whatever the chunks and threads. And compiled once."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from seconds import least_seconds

import chainrule as cr
from chainrule import nn
from chainrule.executors import EXECUTORS, epoch
from chainrule.graph.expr import toposort
from chainrule.nn import BatchNorm, Dense, Dropout, Embedding, Flatten, GaussianNoise, LayerNorm
from chainrule.ops import relu, tanh
from chainrule.train import Model, Objective
from chainrule.train.prepare import Request
from chainrule.train.state import digest

OTHERS = sorted(set(EXECUTORS) - {"reference"})
RUNS = 20

NETWORKS: dict[str, tuple[Any, ...]] = {
    "dense": (Dense(96), relu, Dense(64), tanh, Dense(10)),
    "noise": (Dense(96), relu, Dropout(0.3), Dense(64), GaussianNoise(0.1), relu, Dense(10)),
    "norms": (Dense(80), BatchNorm(), relu, Dense(70), LayerNorm(), relu, Dense(10)),
    "rows": (Embedding(50, 9), Flatten(), Dense(65), relu, Dense(10)),
}
OPTIMIZERS = {
    "dense": cr.optim.Adam(1e-3, clip_norm=1.0),
    "noise": cr.optim.Momentum(0.01, average=cr.optim.EMA(0.9)),
    "norms": cr.optim.Muon(),
    "rows": cr.optim.AdamW(1e-3, l2=1e-4),
}


def data(name: str) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 50, (450, 7)) if name == "rows" else rng.normal(size=(450, 100))
    return x, rng.integers(0, 10, 450)


def options(executor: str, threads: int | None) -> dict[str, Any]:
    """The reference has no threads to choose."""
    chosen = {} if threads is None or executor == "reference" else {"threads": threads}
    return {"executor": executor, **chosen}


def prepared(name: str, executor: str, threads: int | None = None, chunk: int | None = None) -> Any:
    """A small fit with a partial last batch, in chunks of a given length."""
    net = cr.Network(*NETWORKS[name], seed=3)
    x, y = data(name)
    asked = Request(optimizer=OPTIMIZERS[name], epochs=2, batch_size=64, **options(executor, threads))
    fit = net._prepare(x, y, asked)
    if chunk:
        fit.chunk_steps = fit.pace = chunk
    return fit


def bits(name: str, executor: str, threads: int | None = None, chunk: int | None = None) -> str:
    """SHA-256 over everything that a fit has learned and remembers, and over its losses."""
    fit = prepared(name, executor, threads, chunk)
    history = fit.run()
    return digest({**fit.state, "losses": history["loss"]})


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("executor", "threads", "runs"),
    [("reference", None, 3), *((name, threads, RUNS) for name in OTHERS for threads in (1, 2))],
)
def test_twenty_runs_have_the_same_bits(executor, threads, runs, name):
    assert len({bits(name, executor, threads) for _ in range(runs)}) == 1


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("executor", OTHERS)
def test_threads_do_not_change_bits(executor, name):
    assert bits(name, executor, 1) == bits(name, executor, 2)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_length_of_chunks_does_not_change_bits(executor, name):
    assert len({bits(name, executor, 2, chunk) for chunk in (None, 1, 3, 100)}) == 1


PROGRAM = """
import numpy as np, chainrule as cr
from chainrule.nn import Dense, Dropout
rng = np.random.default_rng(0)
net = cr.Network(Dense(40), cr.ops.relu, Dropout(0.2), Dense(3), seed=1)
h = net.fit(rng.normal(size=(200, 20)), rng.integers(0, 3, 200), epochs=2, executor="{executor}", verbose=0)
print(h.sha256)
"""


@pytest.mark.parametrize("executor", OTHERS)
def test_another_process_and_an_empty_cache_give_the_same_bits(executor, tmp_path, monkeypatch):
    """Compiled, taken from the disk, without a cache: the same code."""
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path))

    def run() -> str:
        command = [sys.executable, "-c", PROGRAM.format(executor=executor)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    found = {run(), run()}
    monkeypatch.setenv("CHAINRULE_CACHE", "0")
    assert len(found | {run()}) == 1


# ------------------------------------------------------------------ compiled once


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    """One empty folder for all of these tests: code that is still in memory is not written again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


def fit_once(rows: int = 320, *, epochs: int = 2, rate: float = 0.01, seed: int = 0, **more: Any) -> None:
    """Rows in multiples of the batch: a tail is another size, compiled by itself."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(rows, 12)).astype("float32"), rng.integers(0, 3, rows)
    net = cr.Network(Dense(21), relu, Dropout(0.1), Dense(3), seed=seed)
    net.fit(x, y, learning_rate=rate, epochs=epochs, batch_size=32, executor="cpu", verbose=0, **more)
    net.predict(x, executor="cpu")


@pytest.mark.skipif("cpu" not in EXECUTORS, reason="counts compilations of the executor cpu")
@pytest.mark.parametrize(
    "change",
    [
        {"rows": 640},
        {"epochs": 5},
        {"rate": 0.003},
        {"seed": 9},
        {"schedule": cr.optim.Cosine()},
        {"shuffle": False},
        {"rows": 960, "epochs": 1, "rate": 0.1, "seed": 4, "schedule": cr.optim.WarmUp(3)},
    ],
    ids=str,
)
def test_what_changes_from_run_to_run_is_no_reason_to_compile(change, own_cache):
    """In this process nothing is compiled again; in another one the code comes from the disk."""
    from chainrule.executors.cpu.native import counts

    fit_once()
    before = counts.compiled
    fit_once(**change)
    assert counts.compiled == before


@pytest.mark.skipif("cpu" not in EXECUTORS, reason="counts compilations of the executor cpu")
def test_another_network_is_a_reason_to_compile(own_cache):
    """The count counts."""
    from chainrule.executors.cpu.native import counts

    fit_once()
    before = counts.compiled
    rng = np.random.default_rng(0)
    net = cr.Network(Dense(22), relu, Dense(3))
    net.fit(rng.normal(size=(64, 12)), rng.integers(0, 3, 64), epochs=1, executor="cpu", verbose=0)
    assert counts.compiled > before


# ------------------------------------------------------------------ large graphs


def deep_program(layers: int) -> Any:
    """A multilayer perceptron of many equal layers with Adam: about forty nodes a layer."""
    steps = [step for _ in range(layers) for step in (Dense(24), tanh)]
    model = Model(nn.sequential(*steps, Dense(3)), {"x": cr.spec.Spec((24,), "float32")}, np.dtype("float32"))
    target = {"y": cr.spec.Spec((3,), "float32")}
    objective = Objective(model, {"y": cr.losses.MeanSquaredError()}, {}, target, cr.optim.Adam())
    return model, objective.training(32)


@pytest.mark.parametrize("executor", OTHERS)
def test_two_thousand_nodes_compile_in_two_seconds(executor, monkeypatch, tmp_path):
    """From the graph to code, with an empty cache."""
    folders = map(str, map(tmp_path.joinpath, "abcdefgh"))
    _, program = deep_program(40)
    nodes = toposort([*program.outputs.values(), *program.updates.values()])
    assert len(nodes) >= 2000

    def cold() -> None:
        monkeypatch.setenv("CHAINRULE_CACHE_DIR", next(folders))
        epoch(deep_program(40)[1], executor=executor)

    assert least_seconds(cold, 2) <= 2


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_deep_graph_trains(executor):
    """Forty layers: one step, finite, and not where it began."""
    model, program = deep_program(40)
    state = {x.meta["name"]: np.zeros(x.shape, x.dtype) for x in program.state} | model.initial(0)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(64, n)).astype("float32") for n in (24, 3)] + [np.ones(64, "float32")]
    scalars = [np.ones(1, "f"), np.zeros(1, int), np.zeros(1, int), np.full(1, 1e-3, "f")]
    before = {name: a.copy() for name, a in state.items()}
    done, found = epoch(program, executor=executor).run(state, arrays, np.arange(32)[None], scalars)
    assert done == 1
    assert np.isfinite(found["loss"]).all()
    assert all((state[name] != before[name]).any() for name in model.parameters)
