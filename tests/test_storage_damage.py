"""Damaged files, things that are not files, and what reading one may touch: itself, nothing else."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from seconds import least_seconds

from chainrule.errors import ModelFileError
from chainrule.storage import read_header, read_tensors, write_tensors

SECONDS = 1.0


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("exploded",))


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "m"
    arrays = {
        "W": np.arange(4, dtype="float32").reshape(2, 2),
        "on": np.array([True]),
        "none": np.zeros((0, 2)),
    }
    write_tensors(path, arrays, {"classes": ["a", "b"]})
    read_tensors(path)
    return path.read_bytes()


def _accepted(content: bytes, path: Path) -> bool:
    path.write_bytes(content)
    try:
        read_tensors(path)
    except ModelFileError:
        return False
    return True


def test_no_bit_of_a_file_can_change_unnoticed(sound, tmp_path):
    for bit in range(8 * len(sound)):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not _accepted(damaged, tmp_path / "m"), f"bit {bit % 8} of byte {bit // 8}"


def test_no_byte_can_be_lost_at_the_end_or_added(sound, tmp_path):
    for length in range(len(sound)):
        assert not _accepted(sound[:length], tmp_path / "m"), f"cut to {length}"
    for more in (b"\0", b" ", b"{", sound):
        assert not _accepted(sound + more, tmp_path / "m")


@settings(deadline=None)
@given(st.data())
def test_random_damage_is_refused(sound, tmp_path_factory, data):
    start = data.draw(st.integers(0, len(sound)))
    stop = data.draw(st.integers(start, len(sound)))
    damaged = sound[:start] + data.draw(st.binary(max_size=40)) + sound[stop:]
    assert _accepted(damaged, tmp_path_factory.getbasetemp() / "damaged") == (damaged == sound)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "random"
    assert not _accepted(content, path)
    assert not _accepted((len(content) + 1).to_bytes(8, "little") + b"{" + content, path)


# ---------------------------------------------------------------- not even a file


def test_a_missing_file_names_the_nearest(tmp_path):
    with pytest.raises(ModelFileError, match="no such file, and no model file beside it"):
        read_tensors(tmp_path / "model.safetensors")
    for name in ("modle.safetensors", "notes.txt", "other.safetensors"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"did you mean 'modle\.safetensors'"):
        read_tensors(tmp_path / "model.safetensors")
    with pytest.raises(ModelFileError, match=r"did you mean 'modle\.safetensors' or 'other\.safetensors'"):
        read_tensors(tmp_path / "zzz")
    with pytest.raises(ModelFileError, match="folder cannot be listed"):
        read_tensors(tmp_path / "nowhere" / "model.safetensors")


@pytest.mark.skipif(os.name == "nt", reason="pipes, devices and sockets as POSIX has them")
@pytest.mark.parametrize("read", [read_tensors, read_header])
def test_what_is_not_a_file_is_refused_without_waiting(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    (tmp_path / "file").write_bytes(b"")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        odd = {
            ".": "a folder",
            "pipe": "a pipe or a device",
            "/dev/zero": "a pipe or a device",
            "socket": "a pipe or a device",
            "loop": "cannot be read",
            "file/inside": "cannot be read",
            "x" * 5000: "cannot be read",
            "a\0b": "NUL",
        }
        for path, message in odd.items():

            def refused(path: str = path, message: str = message) -> None:
                with pytest.raises(ModelFileError, match=message):
                    read(path)

            assert least_seconds(refused, SECONDS) < SECONDS


@pytest.mark.skipif(os.name == "nt", reason="pipes as POSIX has them")
def test_a_pipe_that_takes_the_files_place_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "m")
    (tmp_path / "file").write_bytes(b"x")
    regular, stat = os.stat(tmp_path / "file"), os.stat
    monkeypatch.setattr(os, "stat", lambda path: regular if str(path).endswith("m") else stat(path))
    with pytest.raises(ModelFileError, match="a pipe or a device"):
        read_tensors(tmp_path / "m")


def test_a_file_that_cannot_be_opened_is_refused(sound, tmp_path, monkeypatch):
    (tmp_path / "m").write_bytes(sound)

    def forbid(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", forbid)
    with pytest.raises(ModelFileError, match="cannot be read: Permission denied"):
        read_tensors(tmp_path / "m")


def test_a_file_larger_than_memory_is_refused(sound, tmp_path, monkeypatch):
    (tmp_path / "m").write_bytes(sound)

    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", no_memory)
    with pytest.raises(ModelFileError, match="does not fit into memory"):
        read_tensors(tmp_path / "m")


_WATCHED = """
import hashlib, json, os, sys
from chainrule.errors import ModelFileError
from chainrule.storage import read_tensors
try: read_tensors(sys.argv[2])
except ModelFileError: pass
events = []
sys.addaudithook(lambda event, args: events.append((event, str(args[0]) if args else "")))
for path in sys.argv[1:]:
    try: read_tensors(path)
    except ModelFileError: pass
forbidden = ("import", "compile", "exec", "pickle", "marshal", "subprocess", "os.system", "socket", "ctypes")
bad = [e for e in events if e[0].startswith(forbidden)]
bad += [e for e in events if e[0] == "open" and e[1] not in sys.argv[1:]]
print(len(events) >= len(sys.argv) - 1, bad)
"""


def test_reading_imports_runs_and_opens_nothing_else(sound, tmp_path):
    """Python's own audit events tell: each file is opened, and nothing else happens."""
    write_tensors(tmp_path / "class", {}, {"type": "antigravity.fly", "layers": [{"type": "os:system"}]})
    files = {"sound": sound, "class": (tmp_path / "class").read_bytes(), "pickle": pickle.dumps(_Bomb())}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-c", _WATCHED, *(str(tmp_path / name) for name in files)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "True []"
    assert sorted(os.listdir(tmp_path)) == sorted(files)
