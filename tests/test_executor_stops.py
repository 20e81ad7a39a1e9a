"""Stopped while compiled code runs: Ctrl-C, kill −9, a number that is not finite. On every executor."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.errors import DataError, DivergenceError
from chainrule.executors import EXECUTORS
from chainrule.nn import BatchNorm, Dense, Dropout, Embedding, Flatten
from chainrule.ops import relu, tanh
from chainrule.storage import read_tensors
from chainrule.train.prepare import Request
from chainrule.train.state import digest

OTHERS = sorted(set(EXECUTORS) - {"reference"})
rng = np.random.default_rng(0)
X = rng.normal(size=(400, 20)).astype("float32")
LABELS = rng.integers(0, 3, 400)


def network() -> cr.Network:
    return cr.Network(Dense(48), BatchNorm(), relu, Dropout(0.2), Dense(3), seed=4)


def asked(executor: str, **more: Any) -> dict[str, Any]:
    """A run in whose state everything takes part: dropout, statistics, slots, averages."""
    optimizer = cr.optim.Adam(average=cr.optim.EMA(0.9))
    return {"epochs": 30, "batch_size": 16, "optimizer": optimizer, "executor": executor, **more}


# ------------------------------------------------------------------ Ctrl-C


class Press(cr.train.Callback):
    """Ctrl-C from outside, some seconds after the first chunk: the main thread is in compiled code then."""

    def __init__(self, after: float) -> None:
        self.timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
        self.pressed = 0.0

    def chunk(self, chunk: Any) -> None:
        if not self.pressed:
            self.pressed = time.perf_counter() + self.timer.interval
            self.timer.start()

    def join(self) -> None:
        """A fit that was faster than the finger: the key comes now."""
        if self.pressed:
            with contextlib.suppress(KeyboardInterrupt):
                self.timer.join()
                time.sleep(0.2)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_ctrl_c_in_the_middle_of_a_chunk_leaves_the_last_complete_step(executor):
    """The whole chunk is one call here. What is left is the state after as many steps as the fit has counted,
    bit for bit that of a fit that was made to stop there."""
    net = network()
    fit = net._prepare(X, LABELS, Request(**asked(executor, epochs=100_000)))
    fit.chunk_steps = fit.pace = 25
    fit.callbacks = [Press(0.2)]
    with pytest.raises(KeyboardInterrupt):
        fit.run()
    steps = fit.steps
    assert 0 < steps < fit.total
    again = network()._prepare(X, LABELS, Request(**asked(executor, epochs=100_000)))
    again.chunk_steps = again.pace = 25
    again.callbacks = [_StopAt(steps)]
    again.run()
    assert again.steps == steps
    unaveraged = {n: a for n, a in fit.state.items() if n not in fit.averages}
    assert digest(unaveraged) == digest({n: again.state[n] for n in unaveraged})


class _StopAt(cr.train.Callback):
    def __init__(self, steps: int) -> None:
        self.steps = steps

    def chunk(self, chunk: Any) -> bool:
        return chunk.step + len(chunk.losses) >= self.steps


@pytest.mark.parametrize("executor", EXECUTORS)
def test_ctrl_c_answers_soon(executor):
    """Chunks follow the clock: a fraction of a second after the key the fit has ended."""
    finger = Press(0.3)
    with pytest.raises(KeyboardInterrupt):
        network().fit(X, LABELS, **asked(executor, epochs=100_000), callbacks=finger, verbose=0)
    assert time.perf_counter() - finger.pressed < 5  # a fit to its end would take an hour


@pytest.mark.parametrize("executor", EXECUTORS)
def test_ctrl_c_and_resumed_gives_the_same_bits(executor, tmp_path):
    whole = network().fit(X, LABELS, **asked(executor), verbose=0).sha256
    folder = {"run_dir": tmp_path / "run", "resume": True, "checkpoint_every": 7, "verbose": 0}
    for after in (0.01, 0.03, 0.09):
        finger = Press(after)
        with contextlib.suppress(KeyboardInterrupt):
            network().fit(X, LABELS, **asked(executor), **folder, callbacks=finger)
            finger.join()
    found = network().fit(X, LABELS, **asked(executor), **folder).sha256
    assert found == whole


# ------------------------------------------------------------------ kill −9


PROGRAM = """
import sys, numpy as np, chainrule as cr
from chainrule.nn import BatchNorm, Dense, Dropout
rng = np.random.default_rng(0)
x = rng.normal(size=(2000, 20)).astype("float32")
net = cr.Network(Dense(48), BatchNorm(), cr.ops.relu, Dropout(0.2), Dense(3), seed=4)
history = net.fit(
    x, rng.integers(0, 3, 2000), epochs={epochs}, batch_size=16, run_dir=sys.argv[1], resume=True,
    optimizer=cr.optim.Adam(average=cr.optim.EMA(0.9)), checkpoint_every=50, executor="{executor}", verbose=0,
)
print(history.sha256, flush=True)
"""


def killed_until_through(executor: str, folder: Path, kills: int, epochs: int) -> None:
    """kill −9 at random moments, then one run that may end: the bits are those of a whole run."""
    program = PROGRAM.format(executor=executor, epochs=epochs)

    def start(where: str) -> Any:
        command = [sys.executable, "-c", program, str(folder / where)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    began = time.perf_counter()
    whole, _ = start("whole").communicate()
    seconds, moments = time.perf_counter() - began, random.Random(5)
    for _ in range(kills):
        process = start("run")
        try:
            process.communicate(timeout=moments.uniform(0.3, 0.95) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    process = start("run")
    out, _ = process.communicate()
    assert process.returncode == 0
    assert out == whole != ""


@pytest.mark.parametrize("executor", OTHERS)
def test_killed_in_compiled_code_and_resumed_gives_the_same_bits(executor, tmp_path):
    killed_until_through(executor, tmp_path, kills=1, epochs=4)


@pytest.mark.long
@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("run", range(5))
def test_six_kills_five_times(executor, run, tmp_path):
    killed_until_through(executor, tmp_path, kills=6, epochs=20 + 10 * run)


# ------------------------------------------------------------------ numbers that are not finite


def _log_of_a_negative(output: Any, target: Any) -> Any:
    return ops.sum(ops.square(output), -1) + 0 * ops.log(target)


def _steep(output: Any, target: Any) -> Any:
    """Where the target is 0 the loss is finite, its slope is not."""
    return (ops.sum(ops.square(output), -1) * target) ** 0.25


def _divergence(executor: str, kind: str, chunk: int) -> tuple[str, dict[str, Any], Any]:
    """The message, the state that is left, and the fit."""
    net = cr.Network(Dense(6), tanh, Dense(5), tanh, Dense(2), seed=3, dtype="float64")
    x, y = X[:53, :4].astype("float64"), np.ones(53)
    options: dict[str, Any] = {"optimizer": cr.optim.SGD(1e-3), "epochs": 2, "batch_size": 5}
    if kind == "nan in the loss":
        y[17], options["loss"] = -1.0, _log_of_a_negative
    elif kind == "infinite slope":
        y[21], options["loss"] = 0.0, _steep
    elif kind == "explosion":
        y[23], options["loss"] = 1e12, lambda o, t: ops.sum(ops.square(o), -1) * t
        options["optimizer"] = cr.optim.SGD(1e-20)
    else:
        net = cr.Network(Dense(6), tanh, Dense(5), ops.exp, ops.exp, Dense(2), seed=3, dtype="float64")
        x[31] *= 1e6  # in the second exponential
        net.build(4)
        net["dense_1/b"] = np.full(5, 5.0)
        options["loss"] = lambda o, t: ops.sum(ops.square(o), -1) * t
    asked = Request(shuffle=False, schedule=cr.optim.Constant(), executor=executor, **options)
    fit = net._prepare(x, y, asked)
    fit.chunk_steps = fit.pace = chunk
    with np.errstate(all="raise", under="ignore"), pytest.raises(DivergenceError) as caught:
        fit.run()
    return str(caught.value), fit.state, fit


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("kind", ["nan in the loss", "infinite slope", "explosion", "overflow in a layer"])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_divergence_says_the_same_on_every_executor(executor, kind, chunk):
    """Epoch, batch, layer, operation, norms; and the state is that before the step, within rounding."""
    message, state, fit = _divergence(executor, kind, chunk)
    expected, known, reference = _divergence("reference", kind, 1)
    assert _rounded(message) == _rounded(expected)
    assert (fit.position.epoch, fit.history.stopped) == (reference.position.epoch, "divergence")
    for name, a in known.items():
        np.testing.assert_allclose(state[name], a, rtol=1e-12, atol=1e-300, err_msg=name)


def _rounded(message: str) -> str:
    """Numbers to three digits: the norm of a gradient differs in its last ones."""
    return re.sub(r"\d+\.?\d*(e[-+]?\d+)?", lambda m: f"{float(m[0]):.3g}", message)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_step_that_is_not_finite_is_the_last_of_its_call(executor):
    """Whatever the chunk, and with every thread: nothing after it is run, nothing of it is kept."""
    message, state, _ = _divergence(executor, "nan in the loss", 100)
    assert "epoch 1, batch 4" in message
    assert all(np.isfinite(a).all() for a in state.values())


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_index_out_of_range_leaves_the_state_of_the_chunks_beginning(executor):
    categories = np.random.default_rng(1).integers(0, 7, (60, 3))
    categories[40, 1] = 9
    net = cr.Network(Embedding(7, 4), Flatten(), Dense(2), seed=0)
    fit = net._prepare(categories, LABELS[:60] % 2, Request(batch_size=10, shuffle=False, executor=executor))
    before = digest(fit.state)
    fit.chunk_steps = fit.pace = 6
    with pytest.raises(DataError, match="index 9"):
        fit.run()
    assert digest(fit.state) == before


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_folder_begun_on_an_executor_tells_which(executor, tmp_path):
    network().fit(X, LABELS, **asked(executor, epochs=1), run_dir=tmp_path / "run", verbose=0)
    header, _ = read_tensors(tmp_path / "run" / "checkpoint.safetensors")
    assert f'"{executor}"' in (tmp_path / "run" / "config.json").read_text()
    assert header["position"]["epoch"] == 1
