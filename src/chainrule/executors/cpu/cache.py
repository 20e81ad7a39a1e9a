"""Compiled code on disk, so that the second run of a program starts at once.

An entry is native code: who can write it can make the process that loads it do anything. A checksum finds
damage, not malice, for whoever can write the code can write the checksum. Hence an entry is believed only if
the operating system says that nobody but this user could have written it: the folder and the file belong to
the user, neither is writable by others, and no link leads to either (a link may lead to the folder if it is
the user's own). The folder is opened once and everything in it is reached through that handle, so that it
cannot be exchanged between the check and the use. Where the check fails the cache is not used, with one
warning.

Nothing here ever stops a computation: a full or read-only disk, a damaged entry, two processes at once only
mean that something is compiled again.

    CHAINRULE_CACHE=0      no cache
    CHAINRULE_CACHE_DIR    another folder
"""

from __future__ import annotations

import functools
import os
import stat
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ObjectCache", "default_folder", "key", "object_cache"]

LIMIT = 256 << 20  # bytes of all entries together
FORMAT = b"chainrule objects 2\n"
CHECKSUM = 32  # bytes
SUFFIX = ".object"
LEFT_BEHIND = 3600.0  # seconds after which a temporary file is nobody's
_POSIX = os.name == "posix"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def _digest(*parts: bytes) -> bytes:
    from hashlib import blake2b

    found = blake2b(digest_size=CHECKSUM)
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.digest()


@functools.cache
def _versions() -> bytes:
    import llvmlite
    from llvmlite.binding import llvm_version_info

    from chainrule import __version__

    return repr((llvm_version_info, llvmlite.__version__, __version__)).encode()


def key(*parts: str) -> str:
    """BLAKE2b-256 of the texts and of the versions of LLVM, llvmlite and chainrule, in hexadecimal."""
    return _digest(_versions(), *(part.encode() for part in parts)).hex()


class _UntrustedError(Exception):
    """Somebody else could have written this."""


@dataclass(frozen=True, slots=True)
class ObjectCache:
    """Entries by key in one folder; the least recently used go first where they exceed ``limit`` bytes."""

    folder: Path
    limit: int = LIMIT

    def get(self, key: str) -> bytes | None:
        """The code kept under ``key``; None if there is none that is whole and surely this user's."""
        try:
            with _opened(self.folder, create=False) as place:
                return _read(place, key)
        except _UntrustedError as error:
            _warn(str(error))
        except OSError:
            pass
        return None

    def put(self, key: str, code: bytes) -> None:
        """Keeps ``code``, in one step: a reader sees all of it or nothing."""
        if len(code) + len(FORMAT) + CHECKSUM > self.limit:
            return
        try:
            with _opened(self.folder, create=True) as place:
                _write(place, key, code)
                _make_room(place, self.limit)
        except _UntrustedError as error:
            _warn(str(error))
        except OSError:
            pass


def object_cache() -> ObjectCache | None:
    """The user's cache; None if CHAINRULE_CACHE=0 or there is no place for one."""
    if os.environ.get("CHAINRULE_CACHE", "1").strip().lower() in ("0", "no", "off", "false"):
        return None
    folder = default_folder()
    return None if folder is None else ObjectCache(folder)


def default_folder() -> Path | None:
    """CHAINRULE_CACHE_DIR, or ``chainrule`` in the platform's folder for caches; None without a home."""
    if chosen := os.environ.get("CHAINRULE_CACHE_DIR"):
        return Path(chosen)
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "darwin":
        base = home / "Library" / "Caches"
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
        if not base.is_absolute():  # the XDG specification: to be ignored
            base = home / ".cache"
    return base / "chainrule"


# ------------------------------------------------------------------ the folder


@dataclass(frozen=True, slots=True)
class _Place:
    """An open folder: a handle where the system has them, else (Windows) its path."""

    path: Path
    handle: int | None

    def open(self, name: str, flags: int) -> int:
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        # Non-blocking: a pipe put in the place of an entry must not hold us up.
        flags |= getattr(os, "O_NONBLOCK", 0)
        return os.open(self._name(name), flags, 0o600, dir_fd=self.handle)

    def replace(self, source: str, name: str) -> None:
        os.replace(self._name(source), self._name(name), src_dir_fd=self.handle, dst_dir_fd=self.handle)

    def remove(self, name: str) -> None:
        with suppress(OSError):
            os.unlink(self._name(name), dir_fd=self.handle)

    def files(self) -> list[tuple[str, os.stat_result]]:
        found = []
        with os.scandir(self.path if self.handle is None else self.handle) as entries:
            for entry in entries:
                with suppress(OSError):  # gone in between
                    found.append((entry.name, entry.stat(follow_symlinks=False)))
        return found

    def _name(self, name: str) -> str:
        return name if self.handle is not None else str(self.path / name)


@contextmanager
def _opened(folder: Path, *, create: bool) -> Iterator[_Place]:
    if create:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    if not _POSIX:  # profiles on Windows are their user's by their access lists
        yield _Place(folder, None)
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if stat.S_ISLNK((link := os.lstat(folder)).st_mode) and link.st_uid != os.geteuid():
            raise _UntrustedError(f"{folder} is another user's link")
        _check(os.fstat(handle), str(folder))
        yield _Place(folder, handle)
    finally:
        os.close(handle)


def _check(found: os.stat_result, name: str) -> None:
    """Refuses what somebody else could have written."""
    if not _POSIX:
        return
    if found.st_uid != os.geteuid():
        raise _UntrustedError(f"{name} belongs to another user")
    if found.st_mode & _OTHERS_WRITE:
        raise _UntrustedError(f"{name} is writable by others")


def _warn(reason: str) -> None:
    """Once in a process."""
    if not _warned:
        _warned.add(reason)
        warnings.warn(
            f"compiled code is not kept on disk: {reason}. Give CHAINRULE_CACHE_DIR a folder of your own",
            RuntimeWarning,
            stacklevel=4,
        )


_warned: set[str] = set()


# ------------------------------------------------------------------ entries


def _read(place: _Place, key: str) -> bytes | None:
    name = key + SUFFIX
    file = place.open(name, os.O_RDONLY)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise _UntrustedError(f"{place.path / name} is not a file")
        _check(found, str(place.path / name))
        with open(file, "rb", closefd=False) as stream:
            data = stream.read()
        start = len(FORMAT) + CHECKSUM
        code = data[start:]
        # The key is part of the checksum: an entry under another's name is damage too.
        if data[:start] == FORMAT + _digest(key.encode(), code):
            with suppress(OSError):
                os.utime(file if os.utime in os.supports_fd else place.path / name)
            return code
    finally:
        os.close(file)
    place.remove(name)
    return None


def _write(place: _Place, key: str, code: bytes) -> None:
    temporary = f".{os.getpid()}-{os.urandom(8).hex()}.tmp"
    file = place.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with open(file, "wb") as stream:
            stream.write(FORMAT + _digest(key.encode(), code) + code)
        place.replace(temporary, key + SUFFIX)
    except BaseException:
        place.remove(temporary)
        raise


def _make_room(place: _Place, limit: int) -> None:
    files, now = place.files(), time.time()
    for name, found in files:
        if name.endswith(".tmp") and now - found.st_mtime > LEFT_BEHIND:
            place.remove(name)
    entries = sorted((f.st_mtime_ns, f.st_size, name) for name, f in files if name.endswith(SUFFIX))
    total = sum(size for _, size, _ in entries)
    for _, size, name in entries:
        if total <= limit:
            break
        place.remove(name)
        total -= size
