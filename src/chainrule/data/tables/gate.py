"""The gate of text files: unpacked, decoded, and bounded in length before anything is made of them."""

from __future__ import annotations

import io
import os
from typing import IO, Any, cast

from chainrule.errors import DataError

__all__ = ["memory_budget", "open_text", "over_budget"]

_LONGEST_LINE = 1 << 24
_BUFFER = 1 << 18
_GZIP = b"\x1f\x8b"
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_NOT_TEXT = {
    b"PK\x03\x04": "a ZIP archive (or an Excel file); unpack it, or give it the ending .xlsx",
    b"PAR1": "a Parquet file; give it the ending .parquet",
    b"ARROW1": "an Arrow file; give it the ending .feather",
    b"BZh": "packed by bzip2; unpack it, or pack it by gzip",
    b"\xfd7zXZ\x00": "packed by xz; unpack it, or pack it by gzip",
    b"\x28\xb5\x2f\xfd": "packed by Zstandard; unpack it, or pack it by gzip",
    b"\x89PNG": "a picture",
    b"\x93NUMPY": "a NumPy array; give it the ending .npy",
    b'{"': "JSON; write it as CSV",
    b'[{"': "JSON; write it as CSV",
    b"%PDF": "a PDF; write the table as CSV",
}


def memory_budget() -> int:
    """Bytes that a table may take unless the caller says otherwise: half of the machine's memory, or of what
    its container is allowed."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 1 << 32
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            total = min(total, int(file.read()))
    except (OSError, ValueError):  # no cgroup, or "max"
        pass
    return total // 2


def over_budget(path: object, needed: int, budget: int, *, at_least: bool = False) -> DataError:
    """What is said where a table does not fit."""
    return DataError(
        f"{path} would take {'more than' if at_least else 'about'} {_size(needed)} of memory, {_size(budget)}"
        " are allowed; read fewer columns, stream it in blocks, or allow more: memory=bytes"
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


class _Gate(io.RawIOBase):
    """Bytes of a file, refused where they hold a NUL or a line without end.

    Text of a packed file may be a thousand times as long as the file: a line is all that is ever kept whole.
    """

    def __init__(self, file: IO[bytes], below: IO[bytes], path: object, wide: bool, left: int | None) -> None:
        self.file, self.below, self.path, self.left = file, below, path, left
        self.wide = wide  # UTF-16 is full of NULs
        self.lines, self.since = 1, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        import zlib

        try:
            data = self.file.read(len(buffer) if self.left is None else min(len(buffer), self.left))
        except EOFError:
            raise DataError(f"{self.path} breaks off in the middle; copy or pack it again") from None
        except (OSError, zlib.error) as error:
            raise DataError(f"{self.path} cannot be unpacked: {error}; copy or pack it again") from None
        if self.left is not None:
            self.left -= len(data)
        if not self.wide and (nul := data.find(0)) >= 0:
            line = self.lines + data.count(b"\n", 0, nul)
            raise DataError(
                f"line {line} of {self.path} holds a NUL character, which text has none of; if the file is "
                "UTF-16 say encoding='utf-16', else correct the line"
            )
        last = max(data.rfind(b"\n"), data.rfind(b"\r"))
        self.since = self.since + len(data) if last < 0 else len(data) - last - 1
        if self.since > _LONGEST_LINE:
            line = self.lines + data.count(b"\n")
            raise DataError(
                f"line {line} of {self.path} is longer than {_LONGEST_LINE >> 20} "
                "MiB; this is no table of text"
            )
        self.lines += data.count(b"\n")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.file.close()
        self.below.close()  # which gzip leaves open
        super().close()


def open_text(
    path: str | os.PathLike[str], encoding: str | None = None, span: tuple[int, int] | None = None
) -> io.TextIOWrapper:
    """A text file, or one packed by gzip, as lines with their own ends. UTF-8 or what a byte-order mark says,
    unless ``encoding`` is given; of ``span``, (first byte, end), where that is. DataError where the file is
    missing, no text, or a folder."""
    try:
        raw: IO[bytes] = open(path, "rb")  # noqa: SIM115 - the caller closes it
    except FileNotFoundError:
        raise DataError(f"there is no file {os.fspath(path)}; {_neighbours(path)}") from None
    except OSError as error:
        raise DataError(f"{os.fspath(path)} cannot be read: {error.strerror}; give a file of text") from None
    try:
        file, start = raw, raw.read(6)
        raw.seek(0)
        if start.startswith(_GZIP):
            import gzip

            file = cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="rb"))
            start = _first(file, path)
        if what := next((text for mark, text in _NOT_TEXT.items() if start.startswith(mark)), None):
            raise DataError(f"{os.fspath(path)} is no text but {what}")
        marked = next((code for mark, code in _MARKS.items() if start.startswith(mark)), None)
        code = marked or encoding or "utf-8"
        if span is not None:
            file.seek(span[0])
        left = None if span is None else span[1] - span[0]
        gate = _Gate(file, raw, os.fspath(path), wide="16" in code or "32" in code, left=left)
        return io.TextIOWrapper(io.BufferedReader(gate, _BUFFER), encoding=_known(code), newline="")
    except BaseException:
        raw.close()
        raise


def _first(file: Any, path: object) -> bytes:
    """The first bytes of what is packed; the file stands at its beginning again."""
    import zlib

    try:
        start = file.read(6)
        file.rewind()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be unpacked: {error}; copy or pack it again") from None
    return start


def _known(encoding: str) -> str:
    import codecs

    try:
        return codecs.lookup(encoding).name if encoding != "utf-8-sig" else encoding
    except LookupError:
        raise DataError(f"unknown encoding {encoding!r}; such as 'utf-8', 'cp1252', 'latin-1'") from None


def _neighbours(path: str | os.PathLike[str]) -> str:
    """The files of its folder whose names are nearest."""
    import difflib

    folder, name = os.path.split(os.fspath(path))
    try:
        found = difflib.get_close_matches(name, os.listdir(folder or "."), n=3)
    except OSError:
        return f"its folder {folder!r} is missing too; check the path"
    return f"did you mean {', '.join(found)}?" if found else "check the path"
