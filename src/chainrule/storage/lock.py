"""One process per run folder."""

from __future__ import annotations

import errno
import os
import re
import sys
import weakref
from types import TracebackType

from chainrule.errors import RunInUseError
from chainrule.storage.atomic import remove_leftovers

__all__ = ["RunLock"]

_FILE_NAME = ".lock"


class RunLock:
    """Exclusive use of a run folder while the ``with`` block runs.

    The lock belongs to the process: the system drops it when the process ends, however it ends, so there is
    no stale lock to delete. The file ``.lock`` stays; it only carries the lock and says who holds it. Taking
    the lock removes what killed saves left in the folder.

    Raises RunInUseError on entry when another process (or this one) already holds it, OSError when the folder
    is missing, not writable, or on a disk without file locks.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, RunLock(folder):
    ...     RunLock(folder).acquire()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    chainrule.errors.RunInUseError: run folder ... is in use by PID ... since ...
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock now, or raise; it never waits."""
        name = os.path.join(self.path, _FILE_NAME)
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _try_lock(descriptor):
                raise RunInUseError(
                    f"run folder {self.path} is in use by {_holder(descriptor)}: "
                    "wait until it ends, or choose another run folder"
                )
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"{os.getpid()} {_now()}\n".encode("ascii"))
            remove_leftovers(self.path)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = name
            raise
        self._descriptor = descriptor
        _held.add(self)

    def release(self) -> None:
        """Give the lock back; does nothing if it is not held."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)  # so that nobody is named who no longer holds it
            self._close()

    def _close(self) -> None:
        # Closing, not unlocking: a forked child shares the lock, and must not open it for others.
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


_held: weakref.WeakSet[RunLock] = weakref.WeakSet()


def _forget_in_child() -> None:
    """A forked child that outlives its parent would otherwise keep the run folder locked."""
    for lock in _held:
        lock._close()


def _holder(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, 100)
    found = re.fullmatch(rb"(\d{1,20}) ([0-9T:+-]{10,40})\n", text)
    if found is None:  # taken a moment ago and not signed yet
        return "another process"
    return f"PID {found[1].decode()} since {found[2].decode().replace('T', ' ')}"


def _now() -> str:
    import datetime as dt

    return dt.datetime.now().astimezone().isoformat(timespec="seconds")


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        # Windows locks bytes and forbids reading them: lock one far behind the text.
        os.lseek(descriptor, 2**30, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            raise
        return True

    os.register_at_fork(after_in_child=_forget_in_child)
