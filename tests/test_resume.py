"""Stopped at any point and resumed: the same final bits as a run that was never stopped (promise 2)."""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import storage
from chainrule.errors import ConfigError, DataError, RunInUseError
from chainrule.nn import BatchNorm, Dense, Dropout
from chainrule.ops import relu
from chainrule.storage import atomic, read_tensors
from chainrule.train import EarlyStopping, History, Plateau, rate
from chainrule.train.checkpoint import RunFolder
from chainrule.train.prepare import Request

PROGRAM = """
import sys, numpy as np, chainrule as cr
from chainrule.nn import BatchNorm, Dense, Dropout
from chainrule.train import EarlyStopping, Plateau
rng = np.random.default_rng(0)
x = rng.normal(size=(83, 5)).astype("float32")
y = (x[:, 0] * x[:, 1] > 0).astype("int32")
net = cr.Network(Dense(16), BatchNorm(), cr.ops.relu, Dropout(0.2), Dense(2), seed=4)
history = net.fit(
    x, y, epochs=EPOCHS, batch_size=7, validation=0.2, learning_rate=0.01, run_dir=sys.argv[1], resume=True,
    optimizer=cr.optim.Adam(average=cr.optim.EMA(0.9)), schedule=cr.optim.Cosine(), checkpoint_every=3,
    callbacks=[EarlyStopping(patience=100), Plateau(patience=2)], verbose=0,
)
print(history.sha256, flush=True)
"""


def fit(folder, epochs: int = 6, **options: Any) -> str:
    """Every part of the state takes part: dropout, batch statistics, slots, averages, kept weights."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(83, 5)).astype("float32")
    y = (x[:, 0] * x[:, 1] > 0).astype("int32")
    net = cr.Network(Dense(16), BatchNorm(), relu, Dropout(0.2), Dense(2), seed=4)
    settings = {
        "epochs": epochs,
        "batch_size": 7,
        "validation": 0.2,
        "learning_rate": 0.01,
        "run_dir": folder,
        "resume": True,
        "optimizer": cr.optim.Adam(average=cr.optim.EMA(0.9)),
        "schedule": cr.optim.Cosine(),
        "checkpoint_every": 3,
        "callbacks": [EarlyStopping(patience=100), Plateau(patience=2)],
        "verbose": 0,
    }
    return net.fit(x, y, **{**settings, **options}).sha256


class _Killed(BaseException):
    """Nothing after this happens any more."""


class _System:
    """Stands in for ``os`` in the writer: call number ``at`` fails with an error, or is the last one made."""

    def __init__(self, at: int | None, error: int | None) -> None:
        self.at, self.error, self.calls, self.dead = at, error, 0, False

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in ("open", "fsync", "replace", "unlink", "close", "chmod"):
            return real

        def call(*args: Any, **options: Any) -> Any:
            if self.dead:
                raise _Killed
            self.calls += 1
            if self.calls == self.at:
                if self.error is not None:
                    raise OSError(self.error, os.strerror(self.error))
                self.dead = True
                raise _Killed
            return real(*args, **options)

        return call


def broken_fit(folder, at: int | None, error: int | None) -> int:
    """A fit in which one system call goes wrong. → how many calls were made"""
    system = _System(at, error)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "os", system)
        try:
            fit(folder)
        except (_Killed, OSError):
            assert at is not None
    return system.calls


def check_every(tmp_path, error: int | None, stride: int) -> None:
    expected = fit(tmp_path / "whole")
    calls = broken_fit(tmp_path / "counted", None, None)
    assert calls > 50
    for at in range(1, calls + 1, stride):
        folder = tmp_path / str(at)
        broken_fit(folder, at, error)
        if (folder / "checkpoint.safetensors").exists():
            read_tensors(folder / "checkpoint.safetensors")  # whatever happened, the last checkpoint is whole
        assert fit(folder) == expected, f"call {at}"


@pytest.mark.parametrize("error", [None, errno.ENOSPC])
def test_a_run_broken_at_a_system_call_resumes_to_the_same_bits(tmp_path, error):
    check_every(tmp_path, error, stride=41)


@pytest.mark.long
@pytest.mark.parametrize("error", [None, errno.ENOSPC, errno.EIO])
def test_a_run_broken_at_any_system_call_resumes_to_the_same_bits(tmp_path, error):
    check_every(tmp_path, error, stride=1)


def killed_runs(tmp_path, count: int, epochs: int) -> None:
    """kill -9 at random moments until the run comes through; the bits are those of a whole run."""
    program = PROGRAM.replace("EPOCHS", str(epochs))
    began = time.perf_counter()
    whole = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "whole"], capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - began
    moments, killed = random.Random(7), 0
    for run in itertools.count():
        patience = 0.95 * seconds
        while True:
            command = [sys.executable, "-c", program, tmp_path / f"run {run}"]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            try:
                out, _ = process.communicate(timeout=moments.uniform(0.3, 1) * patience)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                killed += 1
                patience *= 1.2  # on a machine that has become busy it must come through too
                continue
            assert process.returncode == 0
            assert out == whole.stdout
            break
        if killed >= count:
            return


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    killed_runs(tmp_path, count=2, epochs=20)


@pytest.mark.long
def test_thirty_kills_at_random_moments(tmp_path):
    killed_runs(tmp_path, count=30, epochs=40)


def test_ctrl_c_keeps_the_last_complete_step_and_resumes_to_the_same_bits(tmp_path):
    expected = fit(tmp_path / "whole")

    class PressAt(cr.train.Callback):
        def chunk(self, chunk):
            if chunk.step >= 20:
                os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", callbacks=[EarlyStopping(patience=100), Plateau(patience=2), PressAt()])
    assert signal.getsignal(signal.SIGINT) is before
    header, _ = read_tensors(tmp_path / "run" / "checkpoint.safetensors")
    assert header["position"]["batch"] > 0
    header["callbacks"].pop()  # the finger is no part of the run
    assert (
        fit(
            tmp_path / "run",
            callbacks=[EarlyStopping(patience=100), Plateau(patience=2), cr.train.Callback()],
        )
        == expected
    )


class PressAfter(cr.train.Callback):
    """Ctrl-C while an epoch is validated."""

    def __init__(self, epoch: int) -> None:
        self.at = epoch

    def epoch(self, end):
        if end.epoch == self.at:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("epoch", [2, 5])
def test_ctrl_c_during_validation_is_not_forgotten(tmp_path, epoch):
    """Nor after the last epoch, where no step follows in which it could be noticed."""
    expected = fit(tmp_path / "whole")
    usual = [EarlyStopping(patience=100), Plateau(patience=2)]
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", callbacks=[*usual, PressAfter(epoch)])
    header, _ = read_tensors(tmp_path / "run" / "checkpoint.safetensors")
    assert header["position"]["epoch"] == epoch + 1
    assert fit(tmp_path / "run") == expected


def test_ctrl_c_stays_ignored_where_it_is_ignored(tmp_path):
    """As in a shell's background job."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        fit(tmp_path, callbacks=[EarlyStopping(patience=100), Plateau(patience=2), PressAfter(2)])
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def noisy_fit(net, folder, **options):
    """Dropout and the shuffle depend on the epochs and steps that were done before."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(53, 4)).astype("float32")
    settings = {
        "epochs": 4,
        "batch_size": 5,
        "run_dir": folder,
        "resume": True,
        "checkpoint_every": 7,
        "verbose": 0,
    }
    return net.fit(x, (x[:, 0] > 0).astype("int32"), **{**settings, **options})


def noisy_network():
    return cr.Network(Dense(8), relu, Dropout(0.3), Dense(2), seed=1)


class PressAt(cr.train.Callback):
    """Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.at = step

    def chunk(self, chunk):
        if chunk.step + len(chunk.losses) > self.at:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("warm", [False, True])
def test_the_same_network_goes_on_where_ctrl_c_stopped_it(tmp_path, warm):
    """As in a notebook, where the cell is run again: the epochs before the stop do not count twice."""
    whole, stopped = noisy_network(), noisy_network()
    if warm:
        for i, net in enumerate((whole, stopped)):
            noisy_fit(net, tmp_path / f"before {i}", epochs=2)
    options = {"warm_start": warm, "schedule": cr.optim.Constant()}
    expected = noisy_fit(whole, tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        noisy_fit(stopped, tmp_path / "run", **options, callbacks=[PressAt(17)])
    found = noisy_fit(stopped, tmp_path / "run", **options)
    assert found.sha256 == expected.sha256
    assert found["loss"].tolist() == expected["loss"].tolist()
    after = [
        net.fit(np.ones((3, 4)), [0, 1, 0], epochs=1, warm_start=True, verbose=0) for net in (whole, stopped)
    ]
    assert after[0].sha256 == after[1].sha256


def test_a_rate_that_was_found_by_trial_is_not_looked_for_again(tmp_path, monkeypatch):
    options = {"learning_rate": "auto", "optimizer": "sgd"}
    expected = noisy_fit(noisy_network(), tmp_path / "whole", **options).sha256
    with pytest.raises(KeyboardInterrupt):
        noisy_fit(noisy_network(), tmp_path / "run", **options, callbacks=[PressAt(17)])
    monkeypatch.setattr(rate, "automatic_rate", None)
    assert noisy_fit(noisy_network(), tmp_path / "run", **options).sha256 == expected


def test_a_metric_may_leave_the_finite_numbers(tmp_path):
    def infinite(output, target):
        return cr.ops.log(0 * cr.ops.sum(output, -1))

    options = {"metrics": [infinite]}
    expected = noisy_fit(noisy_network(), tmp_path / "whole", **options).sha256
    with pytest.raises(KeyboardInterrupt):
        noisy_fit(noisy_network(), tmp_path / "run", **options, callbacks=[PressAt(17)])
    found = noisy_fit(noisy_network(), tmp_path / "run", **options)
    assert found.sha256 == expected
    assert found["infinite"].tolist() == [-np.inf] * 4


def test_a_rate_may_be_a_number_of_numpy(tmp_path):
    assert len(noisy_fit(noisy_network(), tmp_path, learning_rate=np.float32(0.01))) == 4


class Counter(cr.train.Callback):
    """Has nothing to remember until the second epoch."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def epoch(self, end):
        self.found.append(end.metrics["loss"])

    def memory(self):
        return {"found": self.found} if len(self.found) > 1 else {}

    def remember(self, memory):
        self.found = list(memory["found"])


@pytest.mark.parametrize("stop", [5, 17, 30])
def test_callbacks_are_reminded_by_their_kind(tmp_path, stop):
    """Whatever stands between them, and whether they had something to remember or not."""

    def callbacks():
        return [
            Counter(),
            EarlyStopping(patience=9),
            Plateau(patience=2),
            EarlyStopping("accuracy", patience=9),
        ]

    first = callbacks()
    noisy_fit(noisy_network(), tmp_path / "whole", callbacks=first)
    with pytest.raises(KeyboardInterrupt):
        noisy_fit(noisy_network(), tmp_path / "run", callbacks=[*callbacks(), PressAt(stop)])
    again = callbacks()
    noisy_fit(noisy_network(), tmp_path / "run", callbacks=[cr.train.Recorder(), *again])
    assert again[0].found == first[0].found[-len(again[0].found) :]
    assert [c.memory() for c in again[1:]] == [c.memory() for c in first[1:]]


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ([], "a callback EarlyStopping more"),
        ([EarlyStopping(), Plateau()], "without the callback Plateau"),
        ([EarlyStopping("accuracy")], "the metric 'loss', now it is 'accuracy'"),
    ],
)
def test_other_callbacks_are_refused(tmp_path, now, says):
    noisy_fit(noisy_network(), tmp_path, callbacks=[EarlyStopping()])
    with pytest.raises(ConfigError, match=says):
        noisy_fit(noisy_network(), tmp_path, callbacks=now)


def test_other_weights_and_other_validation_rows_are_refused(tmp_path):
    x, y = np.ones((9, 4), "float32"), np.zeros(9, "int32")
    noisy_fit(noisy_network(), tmp_path, sample_weight=np.arange(53), validation=(x, y))
    for change in (
        {"sample_weight": np.ones(53)},
        {"validation": (2 * x, y)},
        {"validation": (x, y, np.arange(9))},
    ):
        with pytest.raises(DataError, match="other data"):
            noisy_fit(
                noisy_network(), tmp_path, **{"sample_weight": np.arange(53), "validation": (x, y), **change}
            )


def test_a_history_of_any_length_is_saved(tmp_path):
    """A file's header holds a million values; a checkpoint keeps all epochs, a model file 10,000 of them."""
    net = noisy_network()
    noisy_fit(net, tmp_path / "run")
    fit = net._prepare(np.ones((9, 4)), np.zeros(9, int), Request(epochs=300_000))
    rows = [
        {"epoch": k, "loss": 1 / (k + 1), "accuracy": 0.5, "learning_rate": 0.1, "seconds": 0.0}
        for k in range(250_000)
    ]
    rows[7]["loss"] = math.inf
    net.history.rows = fit.history.rows = rows
    fit.folder = RunFolder(tmp_path / "long", {}, resume=True)
    fit._save()
    fit.history = History()
    fit.resume()
    fit.folder.close()
    assert fit.history.rows == rows
    net.save(tmp_path / "model")
    loaded = cr.load(tmp_path / "model").history
    assert 5_000 < len(loaded) <= 10_000
    assert loaded[-1] == rows[-1]
    assert set(loaded["epoch"]) <= set(range(250_000))


def test_a_finished_run_is_not_run_again(tmp_path):
    first = fit(tmp_path / "run")
    history = (tmp_path / "run" / "history.jsonl").read_bytes()
    assert b"seconds" in history, "which another run would not repeat"
    assert fit(tmp_path / "run") == first
    assert (tmp_path / "run" / "history.jsonl").read_bytes() == history


def test_the_folder_tells_the_run(tmp_path):
    fit(tmp_path / "run")
    found = {p.name for p in (tmp_path / "run").iterdir()} - {".lock"}
    assert found == {
        "config.json",
        "environment.json",
        "history.jsonl",
        "checkpoint.safetensors",
        "model.safetensors",
    }
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert len(lines) == 6
    assert json.loads(lines[0])["epoch"] == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["batch_size"] == 7
    assert config["optimizer"]["type"] == "Adam"
    assert cr.load(tmp_path / "run" / "model.safetensors").history.sha256


def test_a_folder_with_a_run_is_not_written_over(tmp_path):
    fit(tmp_path / "run")
    with pytest.raises(ConfigError, match="resume=True"):
        fit(tmp_path / "run", resume=False)


def test_other_data_are_refused(tmp_path):
    fit(tmp_path / "run")
    rng = np.random.default_rng(1)
    net = cr.Network(Dense(16), BatchNorm(), relu, Dropout(0.2), Dense(2), seed=4)
    with pytest.raises((DataError, ConfigError), match=r"other data|another"):
        net.fit(
            rng.normal(size=(83, 5)), rng.integers(0, 2, 83), run_dir=tmp_path / "run", resume=True, verbose=0
        )


@pytest.mark.parametrize(
    "change", [{"batch_size": 8}, {"schedule": cr.optim.Linear()}, {"optimizer": "adam"}]
)
def test_other_settings_are_refused(tmp_path, change):
    fit(tmp_path / "run", epochs=2)
    with pytest.raises(ConfigError, match="begun with another"):
        fit(tmp_path / "run", epochs=2, **change)


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    with storage.RunLock(tmp_path / "run"), pytest.raises(RunInUseError, match="in use by PID"):
        fit(tmp_path / "run")


def test_what_could_not_be_saved_is_refused_before_training(tmp_path):
    with pytest.raises(ConfigError, match=r"lambda|no name"):
        fit(tmp_path / "run", loss=lambda o, t: cr.ops.sum(o, -1))
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").glob("*.json"))


def test_callbacks_are_told_where_a_resumed_run_begins(tmp_path):
    class Spy(cr.train.Callback):
        begun = -1

        def begin(self, start):
            self.begun = start.epoch

    class Crash(Spy):
        def epoch(self, end):
            if end.epoch == 3:
                raise OSError("unplugged")

    first, second = Crash(), Spy()
    with pytest.raises(OSError, match="unplugged"):
        fit(tmp_path, callbacks=[first])
    fit(tmp_path, callbacks=[second])
    assert (first.begun, second.begun) == (0, 3)
