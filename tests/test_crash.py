"""Killed, failed and full: whichever step of a save goes wrong, the old file loads or the new one does.

Three ways to break a save, each at every step in turn:

* inside the process (always): each system call of the writer raises, or "kills", which means that nothing
  after it happens, no clean-up either;
* by the kernel (always, on Linux and macOS): a limit on the size of files makes a write stop half-way;
* from outside (``make long``, Linux): strace kills the process at a system call or makes the call fail, and
  SIGKILL arrives at random moments.
"""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.storage import RunLock, atomic, read_tensors, write_tensors

OLD = {"W": np.zeros((50, 40)), "b": np.zeros(3, "float32")}
NEW = {"W": np.ones((60, 70)), "b": np.ones(5, "float32"), "on": np.array([True])}


def _save(path: Path, arrays: dict[str, np.ndarray], version: str) -> None:
    write_tensors(path, arrays, {"version": version})


def _version(path: Path) -> str:
    """Which version the file holds; raises if it is neither, whole."""
    header, arrays = read_tensors(path)
    wanted = {"old": OLD, "new": NEW}[header["version"]]
    assert arrays.keys() == wanted.keys()
    assert all(np.array_equal(arrays[name], wanted[name]) for name in wanted)
    return header["version"]


def _leftovers(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]


# ---------------------------------------------------------------- inside the process


class _Killed(BaseException):
    """The process is gone: whoever calls the system after this is not there any more."""


class _Faults:
    """Stands in for ``os`` and ``open`` in the writer; step number ``at`` goes wrong."""

    def __init__(self, at: int | None = None, error: int | None = None) -> None:
        self.at, self.error, self.steps = at, error, [""]
        self.dead = False
        self.raw: list[Any] = []

    def step(self, name: str, before: Callable[[], object] = lambda: None) -> None:
        if self.dead:
            raise _Killed
        self.steps.append(name)
        if len(self.steps) - 1 == self.at:
            before()
            if self.error is not None:
                raise OSError(self.error, os.strerror(self.error))
            self.dead = True
            raise _Killed

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in ("open", "stat", "fsync", "replace", "chmod", "chown", "unlink", "close"):
            return real

        def call(*args: Any) -> Any:
            self.step(name)
            return real(*args)

        return call

    def open_file(self, path: str, mode: str, opener: Any) -> _FaultyFile:
        self.step("create")
        self.raw.append(open(path, mode, opener=opener, buffering=0))  # noqa: SIM115
        return _FaultyFile(self, self.raw[-1])


class _FaultyFile:
    """An unbuffered file whose write stops half-way, as it does on a full disk."""

    def __init__(self, faults: _Faults, raw: Any) -> None:
        self.faults, self.raw, self.name = faults, raw, raw.name
        self.fileno = raw.fileno

    def write(self, data: Any) -> None:
        data = memoryview(data).cast("B")
        self.faults.step("write", before=lambda: self.raw.write(data[: len(data) // 2]))
        self.raw.write(data)

    def flush(self) -> None:
        self.faults.step("flush")

    def close(self) -> None:
        if not self.raw.closed:
            if not self.faults.dead:
                self.raw.close()
            self.faults.step("close file")

    def __enter__(self) -> _FaultyFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _faulty_save(path: Path, faults: _Faults) -> BaseException | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "os", faults)
        patch.setattr(atomic, "open", faults.open_file, raising=False)
        try:
            _save(path, NEW, "new")
        except (_Killed, OSError) as error:
            return error
        finally:
            for raw in faults.raw:
                raw.close()
    return None


def _steps_of_a_save(folder: Path, *, over_an_old_file: bool) -> list[str]:
    path = folder / "counted"
    if over_an_old_file:
        _save(path, OLD, "old")
    faults = _Faults()
    assert _faulty_save(path, faults) is None
    path.unlink()
    return faults.steps[1:]


def test_the_order_of_the_steps_survives_a_power_cut(tmp_path):
    """What is not flushed may be lost: data must be down before the name moves, the name before we end."""
    steps = _steps_of_a_save(tmp_path, over_an_old_file=True)
    writes = steps.count("write")
    assert writes >= 1 + len(NEW)
    assert [s for s in steps if s not in ("flush", "stat")] == (
        ["create", "open", "chmod"]
        + ["write"] * writes
        + ["fsync", "close file", "replace", "open", "fsync", "close"]
    )


@pytest.mark.parametrize(
    "error", [None, errno.ENOSPC, errno.EIO, errno.EDQUOT], ids=["kill", "full", "io", "quota"]
)
@pytest.mark.parametrize("over_an_old_file", [True, False])
def test_whatever_step_goes_wrong_the_file_is_whole(error, over_an_old_file, tmp_path):
    steps = _steps_of_a_save(tmp_path, over_an_old_file=over_an_old_file)
    moved = steps.index("replace") + 1
    for at, step in enumerate(steps, start=1):
        folder = tmp_path / f"{at} {step}"
        folder.mkdir()
        path = folder / "model"
        if over_an_old_file:
            _save(path, OLD, "old")
        outcome = _faulty_save(path, _Faults(at, error))
        assert outcome is not None, step
        if at > moved:
            assert _version(path) == "new", step
        elif over_an_old_file:
            assert _version(path) == "old", step
        else:
            assert not path.exists(), step
        if isinstance(outcome, OSError):
            assert outcome.errno == error
            assert outcome.filename == str(path), "the message says which file could not be saved"
            assert _leftovers(folder) == [], step
        with RunLock(folder):
            assert _leftovers(folder) == [], step
        _save(path, NEW, "new")
        assert _version(path) == "new", "the next save works"


def test_a_clean_up_that_fails_too_does_not_hide_the_first_error(tmp_path, monkeypatch):
    _save(tmp_path / "m", OLD, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(os, "unlink", broken)
    with pytest.raises(OSError, match="No space left on device"):
        _save(tmp_path / "m", NEW, "new")
    assert _version(tmp_path / "m") == "old"


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_flush_folders_is_no_error(code, tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}") or not os.fstat(descriptor).st_mode & 0o100000:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    _save(tmp_path / "m", NEW, "new")
    assert _version(tmp_path / "m") == "new"


def test_bytes_that_the_disk_changed_are_noticed_before_the_old_file_goes(tmp_path, monkeypatch):
    _save(tmp_path / "m", OLD, "old")

    class _Lying(_FaultyFile):
        def flush(self) -> None:
            os.pwrite(self.fileno(), b"\x7f", os.fstat(self.fileno()).st_size - 9)

    def open_file(path: str, mode: str, opener: Any) -> _Lying:
        return _Lying(_Faults(), open(path, mode, opener=opener, buffering=0))

    monkeypatch.setattr(atomic, "open", open_file, raising=False)
    with pytest.raises(ValueError, match=r"as read back while saving.*altered"):
        _save(tmp_path / "m", NEW, "new")
    monkeypatch.undo()
    assert _version(tmp_path / "m") == "old"
    assert _leftovers(tmp_path) == []


# ---------------------------------------------------------------- by the kernel


@pytest.mark.skipif(os.name == "nt", reason="setrlimit")
def test_a_write_that_the_kernel_cuts_short_leaves_the_old_file(tmp_path):
    """A limit on file sizes stops a write half-way with EFBIG, through the same paths as a full disk."""
    import resource

    _save(tmp_path / "whole", NEW, "new")
    size = (tmp_path / "whole").stat().st_size
    (tmp_path / "whole").unlink()
    path = tmp_path / "m"
    _save(path, OLD, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in [*range(0, size, size // 40), size - 1]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OSError, match=r"File too large.*m'") as caught:
                _save(path, NEW, "new")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert caught.value.errno == errno.EFBIG
        assert _version(path) == "old"
        assert _leftovers(tmp_path) == []


# ---------------------------------------------------------------- from outside

_SCRIPT = """
import sys, numpy as np
from chainrule.storage import write_tensors
new = {"W": np.ones((60, 70)), "b": np.ones(5, "float32"), "on": np.array([True])}
try:
    write_tensors(sys.argv[1], new, {"version": "new"})
except OSError as error:
    sys.exit(f"errno {error.errno} {error.filename}")
"""
# The calls that change a disk, under every name they have on some machine. Start-up makes none of them.
_CALLS = {
    "write": "write,pwrite64,writev",
    "fsync": "fsync,fdatasync",
    "rename": "?rename,renameat,renameat2",
    "chmod": "?chmod,fchmod,fchmodat",
}
linux = pytest.mark.skipif(sys.platform != "linux", reason="strace is a Linux program")


def _strace(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("strace") is None:
        pytest.fail("strace is needed to break saves from outside: sudo apt install strace (CONTRIBUTING.md)")
    quiet = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [
        "strace",
        "-f",
        "-qq",
        "-o",
        str(path) + ".trace",
        *options,
        sys.executable,
        "-c",
        _SCRIPT,
        str(path),
    ]
    return subprocess.run(command, capture_output=True, text=True, env=quiet, check=False, timeout=60)


def _calls_in_a_save(folder: Path) -> Iterator[tuple[str, int]]:
    """Each call by its kind and its number among those, counted in a save that succeeds."""
    path = folder / "counted"
    _save(path, OLD, "old")
    everything = ",".join(_CALLS.values())
    assert _strace(path, "-e", f"trace={everything}").returncode == 0
    assert _version(path) == "new"
    trace = Path(str(path) + ".trace").read_text()
    for kind, names in _CALLS.items():
        pattern = "|".join(name.strip("?") for name in names.split(","))
        found = re.findall(rf"^\d+ +(?:{pattern})\(", trace, flags=re.M)
        assert found, f"a save makes at least one {kind}"
        yield from ((kind, number) for number in range(1, len(found) + 1))


@linux
@pytest.mark.long
@pytest.mark.parametrize("fault", ["signal=KILL", "error=ENOSPC", "error=EIO"])
def test_strace_breaks_every_call_in_turn(fault, tmp_path):
    calls = list(_calls_in_a_save(tmp_path))
    assert {kind for kind, _ in calls} == set(_CALLS)
    assert ("fsync", 2) in calls
    for kind, number in calls:
        folder = tmp_path / f"{kind}{number}"
        folder.mkdir()
        path = folder / "m"
        _save(path, OLD, "old")
        done = _strace(path, "-e", f"inject={_CALLS[kind]}:{fault}:when={number}")
        after_the_rename = (kind, number) == ("fsync", 2)
        if fault == "signal=KILL":
            # The signal waits at the call's door, or is taken just behind it: either is a moment to die at.
            assert done.returncode == -signal.SIGKILL, (kind, number, done.stderr)
            assert _version(path) in ("old", "new")
            assert _version(path) == ("new" if after_the_rename else "old") or kind == "rename"
        else:
            code = getattr(errno, fault.removeprefix("error="))
            assert f"errno {code} {path}" in done.stderr, (kind, number, done.stderr)
            assert _version(path) == ("new" if after_the_rename else "old")
            assert _leftovers(folder) == []
        with RunLock(folder):
            assert _leftovers(folder) == []
        assert _strace(path).returncode == 0
        assert _version(path) == "new", "the next save works"


_LOOP = """
import sys, numpy as np
from chainrule.storage import RunLock, write_tensors
with RunLock(sys.argv[1]):
    for number in range(1, 10**9):
        arrays = {"W": np.full((300, 400), number), "b": np.full(7, number, "float32")}
        write_tensors(sys.argv[1] + "/m", arrays, {"number": number})
        if number == 1:
            print("saved", flush=True)
"""


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_kills_at_thirty_random_moments(tmp_path):
    moments = random.Random(30)
    for _ in range(30):
        command = [sys.executable, "-c", _LOOP, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "saved\n"
            time.sleep(moments.uniform(0, 0.05))
            process.kill()
        header, arrays = read_tensors(tmp_path / "m")
        assert np.all(arrays["W"] == header["number"])
        assert np.all(arrays["b"] == header["number"])
        with RunLock(tmp_path):
            assert sorted(os.listdir(tmp_path)) == [".lock", "m"]
