"""Find a data set's files in this machine's folders, or fetch them; believe neither before the hash agrees.

A file is looked for in this order, and the first whole copy is taken:

1. ``$CHAINRULE_DATA/<data set>``
2. the repository's copy: ``data/<data set>`` in the current folder, the package's, or a folder above either
3. ``<the user's cache>/chainrule/<data set>``
4. the mirrors, in turn; what comes from there is kept in the cache
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule.errors import ConfigError, DataError
from chainrule.storage import atomic_write

if TYPE_CHECKING:
    import urllib.request

__all__ = ["DataFile", "cache_folder", "folders", "locate", "obtain", "unpack"]

STALL_SECONDS = 30.0
"""A mirror that is silent for so long is given up."""
FILE_SECONDS = 600.0
"""A mirror that takes longer than this for one file is given up."""
_BLOCK = 2**16


@dataclass(frozen=True)
class DataFile:
    """One gzip-compressed file. Whoever compressed it, its content has this many bytes and this hash."""

    name: str
    size: int
    sha256: str

    @property
    def limit(self) -> int:
        """More bytes than gzip needs for this content, even where nothing can be compressed."""
        return self.size + self.size // 1000 + 4096


def obtain(dataset: str, file: DataFile, mirrors: Sequence[str]) -> bytes:
    """The content of ``file``, uncompressed and checked, from the first place that has it.

    Raises :class:`~chainrule.errors.DataError` that names every place and why it did not serve,
    :class:`~chainrule.errors.ConfigError` for a mirror that is no web address.
    """
    failures = []
    for folder in folders(dataset):
        path = os.path.join(folder, file.name)
        try:
            return unpack(_read(path, file), file)
        except (OSError, DataError) as error:
            failures.append(f"{path}: {_reason(error)}")
    for mirror in (mirrors,) if isinstance(mirrors, str) else mirrors:
        url = f"{mirror.rstrip('/')}/{file.name}"
        try:
            packed = _download(url, file.limit)
            content = unpack(packed, file)
        except (OSError, DataError) as error:
            failures.append(f"{url}: {_reason(error)}")
            continue
        _keep(dataset, file, packed)
        return content
    raise DataError(_nowhere(dataset, file, failures))


def locate(dataset: str, files: Sequence[DataFile]) -> str | None:
    """The first folder that has every file, without a look inside; None where there is none."""
    for folder in folders(dataset):
        if all(os.path.isfile(os.path.join(folder, file.name)) for file in files):
            return folder
    return None


# ---------------------------------------------------------------- folders


def folders(dataset: str) -> list[str]:
    """Where ``dataset`` may lie here, in the order of search; repository folders only where they exist."""
    found = []
    if chosen := os.environ.get("CHAINRULE_DATA"):
        found.append(os.path.join(os.path.expanduser(chosen), dataset))
    found += [folder for folder in _repository_folders(dataset) if os.path.isdir(folder)]
    if cache := cache_folder():
        found.append(os.path.join(cache, dataset))
    return list(dict.fromkeys(found))


def _repository_folders(dataset: str) -> Iterator[str]:
    starts = [os.path.dirname(os.path.realpath(__file__))]
    with contextlib.suppress(OSError):  # the current folder may have been deleted
        starts.insert(0, os.getcwd())
    for start in starts:
        folder, below = start, ""
        while folder != below:
            yield os.path.join(folder, "data", dataset)
            folder, below = os.path.dirname(folder), folder


def cache_folder() -> str | None:
    """This user's cache for chainrule, by the custom of the system; None for a user without a home."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        if not os.path.isabs(base):  # unset, or invalid by the XDG base directory specification
            base = "~/.cache"
    expanded = os.path.expanduser(base)
    return os.path.join(expanded, "chainrule") if os.path.isabs(expanded) else None


# ---------------------------------------------------------------- contents


def _read(path: str, file: DataFile) -> bytes:
    if os.path.exists(path) and not os.path.isfile(path):
        raise DataError("not a file")  # a pipe of that name would be waited for
    with open(path, "rb") as stream:
        return stream.read(file.limit + 1)


def unpack(packed: bytes, file: DataFile) -> bytes:
    """Uncompress ``packed``, never beyond the size known beforehand, and compare its SHA-256.

    Raises :class:`~chainrule.errors.DataError` for anything but exactly the expected content.
    """
    import hashlib

    if len(packed) > file.limit:
        raise DataError(f"larger than the {file.limit:,} bytes that {file.name} can take")
    stream = zlib.decompressobj(wbits=31)  # gzip alone
    try:
        content = stream.decompress(packed, file.size + 1)
    except zlib.error as error:
        raise DataError(f"not a whole gzip file ({error})") from None
    if len(content) > file.size:
        raise DataError(f"uncompresses to more than the {file.size:,} bytes of {file.name}")
    if not stream.eof:
        raise DataError("cut short")
    if stream.unused_data or hashlib.sha256(content).hexdigest() != file.sha256:
        raise DataError(f"another content than {file.name} (SHA-256 differs)")
    return content


# ---------------------------------------------------------------- mirrors


def _download(url: str, limit: int) -> bytes:
    """The bytes at ``url``, ``limit`` + 1 of them at most. Raises OSError or DataError."""
    import http.client
    import time
    import urllib.request

    deadline = time.monotonic() + FILE_SECONDS
    received = bytearray()
    try:
        with urllib.request.urlopen(_request(url), timeout=STALL_SECONDS) as response:  # noqa: S310 (http alone)
            while len(received) <= limit and (block := response.read1(_BLOCK)):
                received += block
                if time.monotonic() > deadline:
                    raise DataError(f"not there within {FILE_SECONDS:.0f} s")
    except http.client.HTTPException as error:
        raise DataError(f"no proper HTTP answer ({error!r})") from None
    return bytes(received)


def _request(url: str) -> urllib.request.Request:
    import urllib.parse
    import urllib.request

    try:
        parts = urllib.parse.urlsplit(url)
        proper = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        proper = False
    if not proper:
        raise ConfigError(f"mirror {url!r}: a mirror is a web address, which begins with https://")
    return urllib.request.Request(url, headers={"User-Agent": "chainrule"})  # noqa: S310


def _keep(dataset: str, file: DataFile, packed: bytes) -> None:
    """Keep a download for the next time; a cache that cannot be written costs that, not this run."""
    cache = cache_folder()
    if cache is None:
        return
    try:
        os.makedirs(os.path.join(cache, dataset), exist_ok=True)
        with atomic_write(os.path.join(cache, dataset, file.name)) as stream:
            stream.write(packed)
    except OSError as error:
        warnings.warn(f"{file.name} was downloaded but not kept: {error}", stacklevel=4)


# ---------------------------------------------------------------- what to say


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "not there"
    if error.args and isinstance(error.args[0], OSError):  # urllib wraps what went wrong
        return _reason(error.args[0])
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or type(error).__name__


def _nowhere(dataset: str, file: DataFile, failures: Sequence[str]) -> str:
    cache = cache_folder()
    where = f"into {os.path.join(cache, dataset)}, or " if cache else ""
    return "\n  ".join(
        [
            f"{dataset}: no whole copy of {file.name} was found. Places tried:",
            *failures,
            f"remedy: connect to the internet and try again, or put the files of {dataset} {where}into a "
            f"folder {dataset} and set CHAINRULE_DATA to the folder that holds it",
        ]
    )
