"""Storage and the file system: a replaced file keeps its mode, links stay, locks lock."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from chainrule.errors import RunInUseError
from chainrule.storage import RunLock, atomic_write, remove_leftovers

needs_posix = pytest.mark.skipif(os.name == "nt", reason="modes, links and signals as POSIX has them")


# ---------------------------------------------------------------- atomic_write


def _save(path: str | Path, data: bytes = b"new") -> None:
    with atomic_write(path) as file:
        file.write(data)


@needs_posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664, 0o755, 0o4755])
def test_an_existing_file_keeps_its_mode(mode, tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(mode)
    chmod, created = os.chmod, []

    def watched(name: str, mode: int) -> None:
        created.append(stat.S_IMODE(os.stat(name).st_mode))
        chmod(name, mode)

    monkeypatch.setattr(os, "chmod", watched)
    _save(path)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", mode)
    assert created[0] & ~mode == 0, (
        "not for a moment can anybody read the new file who could not read the old one"
    )


@needs_posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_gets_the_mode_that_open_would_give(umask, tmp_path):
    before = os.umask(umask)
    try:
        _save(tmp_path / "ours")
        (tmp_path / "opened").write_bytes(b"")
    finally:
        os.umask(before)
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "opened")}
    assert modes == {0o666 & ~umask}


@needs_posix
@pytest.mark.parametrize(
    "link_text", ["elsewhere/f", "{root}/elsewhere/f", "elsewhere/second", "elsewhere/new"]
)
def test_a_link_stays_and_its_target_is_replaced(link_text, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "f").write_bytes(b"old")
    (tmp_path / "elsewhere" / "second").symlink_to("f")
    link = tmp_path / "link"
    link.symlink_to(link_text.format(root=tmp_path))
    _save(link)
    assert link.is_symlink()
    assert link.read_bytes() == b"new"
    assert (tmp_path / "elsewhere" / "second").is_symlink()
    assert not any(".tmp" in name for name in os.listdir(tmp_path / "elsewhere"))


def _break_off(path: Path, error: type[BaseException]) -> None:
    with atomic_write(path) as file:
        file.write(b"half")
        raise error


def test_an_error_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    for error in (ValueError, KeyboardInterrupt, OSError):
        with pytest.raises(error):
            _break_off(tmp_path / "f", error)
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


@needs_posix
def test_what_is_not_a_file_is_never_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "folder", tmp_path / "pipe", tmp_path / "loop", "/dev/null"):
        with pytest.raises(OSError, match=str(path)):
            _save(path)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert sorted(os.listdir(tmp_path)) == ["folder", "loop", "pipe"]


def test_a_write_protected_file_is_respected(tmp_path, monkeypatch):
    (tmp_path / "f").write_bytes(b"old")
    (tmp_path / "f").chmod(0o444)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(PermissionError, match="f"):
        _save(tmp_path / "f")
    (tmp_path / "f").chmod(0o644)
    assert (tmp_path / "f").read_bytes() == b"old"


def test_errors_name_the_file_that_was_to_be_saved(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        _save(tmp_path / "nowhere" / "model")
    assert caught.value.filename == str(tmp_path / "nowhere" / "model")


def test_the_longest_possible_name_can_be_saved(tmp_path):
    _save(tmp_path / ("x" * 255))
    assert os.listdir(tmp_path) == ["x" * 255]


def test_two_writers_of_one_file_leave_one_of_the_two(tmp_path):
    choices = [bytes([letter]) * 100_000 for letter in b"abcd"]
    threads = [
        threading.Thread(target=lambda d=d: [_save(tmp_path / "f", d) for _ in range(20)]) for d in choices
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if (tmp_path / "f").exists():
            assert (tmp_path / "f").read_bytes() in choices
    assert os.listdir(tmp_path) == ["f"]


# ---------------------------------------------------------------- RunLock

_HOLD = (
    "import sys, time; from chainrule.storage import RunLock\nlock = RunLock(sys.argv[1]); lock.acquire()\n"
)


def _holder(folder: Path, then: str = "print('held', flush=True); time.sleep(60)") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _HOLD + then, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("held")
    return process


def test_the_second_process_is_told_who_holds_the_folder(tmp_path):
    with _holder(tmp_path) as process:
        try:
            year = time.strftime("%Y")
            with pytest.raises(
                RunInUseError, match=rf"in use by PID {process.pid} since {year}-.*choose another"
            ):
                RunLock(tmp_path).acquire()
        finally:
            process.kill()
    RunLock(tmp_path).acquire(), "a killed process holds nothing"


def test_a_lock_is_given_back_at_the_end_of_the_block_and_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), RunLock(tmp_path):
            _ = 1 / 0
        with RunLock(tmp_path), pytest.raises(RunInUseError, match=f"PID {os.getpid()}"):
            RunLock(tmp_path).acquire()
    lock = RunLock(tmp_path)
    lock.release()
    with lock, pytest.raises(RunInUseError):
        lock.acquire()
    assert (tmp_path / ".lock").read_bytes() == b"", "nobody is named who no longer holds it"


@needs_posix
@pytest.mark.parametrize("does", ["pass", "lock.release()", "os.closerange(3, 64)"])
def test_a_forked_child_neither_keeps_nor_breaks_the_lock(does, tmp_path):
    then = (
        "import os\n"
        "child = os.fork()\n"
        f"if child == 0:\n    {does}; print('held', os.getpid(), flush=True); time.sleep(60)\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-W", "ignore", "-c", _HOLD + then, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline().split()[1])
        try:
            with pytest.raises(RunInUseError, match=f"PID {process.pid} since"):
                RunLock(tmp_path).acquire()
            process.kill()
            process.wait()
            with RunLock(tmp_path):
                os.kill(child, 0)  # the orphan is still there, and the folder free
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("text", [b"", b"\xff" * 5000, b"12 \x1b[2J\n", b"99999999999999999999999 x\n"])
def test_rubbish_in_the_lock_file_is_not_repeated(text, tmp_path):
    with RunLock(tmp_path):
        (tmp_path / ".lock").write_bytes(text)
        with pytest.raises(RunInUseError, match="in use by another process: wait"):
            RunLock(tmp_path).acquire()


def test_taking_the_lock_clears_what_killed_saves_left(tmp_path):
    for name in (".chainrule-123-abc.tmp", ".chainrule-9-ff.tmp", "kept.tmp", ".chainrule", "model"):
        (tmp_path / name).write_bytes(b"x")
    with RunLock(tmp_path):
        assert sorted(os.listdir(tmp_path)) == [".chainrule", ".lock", "kept.tmp", "model"]
    assert remove_leftovers(tmp_path) == 0


def test_a_missing_run_folder_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        RunLock(tmp_path / "nowhere").acquire()
