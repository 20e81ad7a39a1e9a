"""Replace a file whole or not at all, through crashes, full disks and power cuts.

The order is the whole idea: write a temporary file in the same folder, flush it to the disk, rename it over
the old one (the one step that a file system makes atomic), then flush the folder, which holds the name.
Whenever this stops, the path holds the old file or the new one, each complete.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["atomic_write", "remove_leftovers"]

_PREFIX, _SUFFIX = ".chainrule-", ".tmp"


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file whose content replaces ``path`` when the block ends without an error.

    A symbolic link stays and its target is replaced. An existing file keeps its mode (and, where the system
    allows, its owner); a new one gets what ``open`` would give it. After any error the old file is untouched
    and the temporary one gone; after a kill the temporary one stays: see :func:`remove_leftovers`.

    Raises OSError: what the system says (disk full, no permission, not a regular file …), naming ``path``.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "note.txt")
    >>> with atomic_write(path) as file:
    ...     _ = file.write(b"whole")
    >>> os.listdir(folder.name)
    ['note.txt']
    >>> folder.cleanup()
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f"{_PREFIX}{os.getpid()}-{os.urandom(8).hex()}{_SUFFIX}")
    try:
        old = _replaceable(target)
        try:
            with _create(temporary, old) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_folder(folder)
    except OSError as error:
        # A failed write names no file, a failed rename the temporary one: say which one was being saved.
        if error.filename in (None, temporary):
            error.filename, error.filename2 = os.fspath(path), None
        raise


def remove_leftovers(folder: str | os.PathLike[str]) -> int:
    """Delete the temporary files that killed saves left in ``folder``; how many there were.

    Only for a folder that nobody is writing to: taking a :class:`~chainrule.storage.RunLock` does it.
    """
    with os.scandir(folder) as entries:
        found = [e.path for e in entries if e.name.startswith(_PREFIX) and e.name.endswith(_SUFFIX)]
    removed = 0
    for leftover in found:
        with contextlib.suppress(OSError):
            os.unlink(leftover)
            removed += 1
    return removed


def _replaceable(target: str) -> os.stat_result | None:
    """The existing file's status, None where there is none; devices, pipes and folders are never replaced."""
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    if not stat.S_ISREG(old.st_mode):
        raise OSError(errno.EINVAL, "not a regular file, so it is not replaced", target)
    if not os.access(target, os.W_OK):  # a rename would not ask
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), target)
    return old


def _create(temporary: str, old: os.stat_result | None) -> BinaryIO:
    # Never wider than the old file's mode, not even before chmod. The umask applies, as for any new file.
    mode = 0o666 if old is None else stat.S_IMODE(old.st_mode) & 0o777
    file = open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
    if old is None:
        return file
    try:
        if sys.platform != "win32" and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
            with contextlib.suppress(PermissionError):
                os.chown(temporary, old.st_uid, old.st_gid)
        os.chmod(temporary, stat.S_IMODE(old.st_mode))
    except BaseException:
        file.close()
        raise
    return file


def _sync_folder(folder: str) -> None:
    """Make the rename itself survive a power cut. Windows cannot open folders, nor needs it."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder in which one may write but not read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no such call
            raise
    finally:
        os.close(descriptor)
