"""Named arrays and a JSON header in one safetensors file: written atomically, read with suspicion.

Our own reader and writer, because the public writer stores arrays wrongly that are not C-contiguous and never
flushes to the disk, and because a file from a stranger must be checked before anything of its size is
allocated. The format is the public one: :mod:`chainrule.storage.layout` describes it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from chainrule.errors import ModelFileError
from chainrule.storage.atomic import atomic_write
from chainrule.storage.foreign import SNIFF_LENGTH, missing_file, not_a_model
from chainrule.storage.layout import (
    MAX_HEADER_BYTES,
    Entry,
    Layout,
    check_tensor_name,
    code_of,
    header_bytes,
    parse_header,
    parse_public_header,
    plan_entries,
)

__all__ = ["read_header", "read_public_tensors", "read_tensors", "write_tensors"]

_BLOCK = 2**20


def write_tensors(
    path: str | os.PathLike[str], arrays: Mapping[str, npt.ArrayLike], header: Mapping[str, object]
) -> str:
    """Save named arrays and a JSON header as one safetensors file; the SHA-256 of the tensors' bytes.

    The file replaces ``path`` only after it was read back and found whole: see
    :func:`~chainrule.storage.atomic_write`. The arrays are bool, uint8, int32, int64, float32 or
    float64 of any shape, memory layout and byte order, called by paths such as "dense_0/W". ``header`` keeps
    the order of its keys; ``format``, ``sha256`` and ``header_sha256`` are set here, whatever it says.

    Raises ModelFileError for a name, dtype or header value that a model file cannot hold (a NaN in the
    header: store None), OSError when the disk refuses. Either way the old file is as it was.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "model.safetensors")
    >>> digest = write_tensors(path, {"dense_0/W": np.eye(2)}, {"classes": ["no", "yes"]})
    >>> header, arrays = read_tensors(path)
    >>> header["classes"], header["sha256"] == digest, arrays["dense_0/W"].tolist()
    (['no', 'yes'], True, [[1.0, 0.0], [0.0, 1.0]])
    >>> folder.cleanup()
    """
    import hashlib

    copies = {check_tensor_name(name): _little_endian_copy(name, array) for name, array in arrays.items()}
    entries = plan_entries(copies)
    in_order = [_bytes_of(copies[entry.name]) for entry in Layout({}, entries).in_file_order()]
    digest = hashlib.sha256()
    for data in in_order:
        digest.update(data)
    start = header_bytes(header, entries, digest.hexdigest())
    with atomic_write(path) as file:
        file.write(len(start).to_bytes(8, "little") + start)
        for data in in_order:
            file.write(data)
        file.flush()
        _check_file(file.name, f"{os.fspath(path)} (as read back while saving)")
    return digest.hexdigest()


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """The header and the arrays of a model file; the arrays are new, writable, in the order they were saved.

    Runs nothing from the file, opens no other file, and allocates nothing before the sizes in the header
    agree with the bytes that are there.

    Raises ModelFileError if the file is missing, unreadable, not a file, foreign, from a newer chainrule,
    truncated, altered or contradicts itself; the message says which, and what to do.
    """
    import hashlib

    shown = os.fspath(path)
    with _opened(shown) as (file, size):
        layout = _read_layout(file, size, shown)
        digest = hashlib.sha256()
        arrays = {}
        for entry in layout.in_file_order():
            arrays[entry.name] = _read_array(file, entry, shown)
            digest.update(_bytes_of(arrays[entry.name]))
    _check_hash(digest.hexdigest(), layout, shown)
    for entry in layout.entries:
        if entry.code == "BOOL" and arrays[entry.name].view(np.uint8).max(initial=0) > 1:
            raise ModelFileError(f"{shown}: tensor {entry.name!r} has bytes that are neither false nor true")
    native = {e.name: arrays[e.name].astype(e.dtype.newbyteorder("="), copy=False) for e in layout.entries}
    return layout.header, native


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The header alone, quickly: checked as in :func:`read_tensors`, but without reading the tensors' bytes.

    Raises ModelFileError as :func:`read_tensors` does.
    """
    shown = os.fspath(path)
    with _opened(shown) as (file, size):
        return _read_layout(file, size, shown).header


def read_public_tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a safetensors file that any program may have written, such as a PyTorch model's weights.

    Checked as in :func:`read_tensors`, but for the hashes, which only our files have. float16 and bfloat16
    become float32, int8 and int16 int32.

    Raises ModelFileError as :func:`read_tensors` does.
    """
    shown = os.fspath(path)
    with _opened(shown) as (file, size):
        layout = _read_layout(file, size, shown, parse_public_header)
        arrays = {entry.name: _read_array(file, entry, shown) for entry in layout.in_file_order()}
    return {e.name: _widened(arrays[e.name], e.code) for e in layout.entries}


def _widened(array: np.ndarray[Any, Any], code: str) -> np.ndarray[Any, Any]:
    """In a dtype that chainrule computes with. The upper half of a float32's bits is a bfloat16."""
    if code == "BF16":
        bits = array.astype(np.uint32) << np.uint32(16)
        return bits.view(np.float32)
    wider = {"F16": np.float32, "I8": np.int32, "I16": np.int32}.get(code, array.dtype.newbyteorder("="))
    return array.astype(wider, copy=False)


def _little_endian_copy(name: str, array: npt.ArrayLike) -> np.ndarray[Any, Any]:
    """A copy, so that nothing can change between hashing and writing; ``np.array`` keeps 0-d as it is."""
    given = np.asanyarray(array)
    if isinstance(given, np.ma.MaskedArray):
        raise ModelFileError(f"tensor {name!r} is a masked array: a file holds no mask, use .filled()")
    code_of(given.dtype, name)
    return np.array(given, dtype=given.dtype.newbyteorder("<"), order="C")


def _bytes_of(array: np.ndarray[Any, Any]) -> memoryview:
    """The bytes of a C-contiguous array in place, writable."""
    return array.reshape(-1).view(np.uint8).data


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[BinaryIO, int]]:
    """The open file and its size. Folders, pipes and devices are refused without waiting for them."""
    if "\0" in path:
        raise ModelFileError(f"{path!r}: a path cannot contain a NUL character")
    try:
        _expect_regular(os.stat(path), path)
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            _expect_regular(status, path)
            yield file, status.st_size
    except FileNotFoundError:
        raise missing_file(path) from None
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise ModelFileError(f"{path}: does not fit into memory") from error


def _open_without_waiting(path: str, flags: int) -> int:
    # Should a pipe take the file's place after the first look, this open returns instead of waiting.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _expect_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ModelFileError(f"{path}: a folder, not a model file: give the file inside it")
    if not stat.S_ISREG(status.st_mode):
        raise ModelFileError(f"{path}: a pipe or a device, not a model file: save it to a file first")


def _read_layout(
    file: BinaryIO, size: int, shown: str, parse: Callable[[bytes, int, str], Layout] = parse_header
) -> Layout:
    start = file.read(SNIFF_LENGTH)
    if not start:
        raise ModelFileError(f"{shown}: the file is empty: copy or download it again")
    length, rest = int.from_bytes(start[:8], "little"), size - 8
    if rest < 2 or start[8:9] != b"{" or length > MAX_HEADER_BYTES:
        problem = f"it begins with a header length of {length} in a file of {size} bytes"
        raise not_a_model(start, shown, f"{problem}, and at most {MAX_HEADER_BYTES} are read")
    if length > rest:
        problem = f"truncated: the header has {length} bytes, only {rest} are there"
        raise not_a_model(start, shown, f"{problem}: copy or download it again")
    file.seek(8)
    return parse(file.read(length), rest - length, shown)


def _read_array(file: BinaryIO, entry: Entry, shown: str) -> np.ndarray[Any, Any]:
    array = np.empty(entry.shape, entry.dtype)
    read = cast(Any, file).readinto(_bytes_of(array))
    if read != array.nbytes:
        raise ModelFileError(f"{shown}: became shorter while it was read: try again")
    return array


def _check_file(path: str, shown: str) -> None:
    """Everything that :func:`read_tensors` checks, without keeping the arrays."""
    import hashlib

    digest = hashlib.sha256()
    with _opened(path) as (file, size):
        layout = _read_layout(file, size, shown)
        while block := file.read(_BLOCK):
            digest.update(block)
    _check_hash(digest.hexdigest(), layout, shown)


def _check_hash(digest: str, layout: Layout, shown: str) -> None:
    if digest != layout.header["sha256"]:
        raise ModelFileError(f"{shown}: the tensors were altered since they were written: use a good copy")
