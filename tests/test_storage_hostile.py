"""Damaged, foreign and hostile files: one error type, within a second, in bounded memory, nothing run."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
import safetensors.numpy
from seconds import least_seconds

from chainrule.errors import ModelFileError
from chainrule.storage import read_header, read_tensors
from chainrule.storage.strict import MAX_JSON_BYTES, MAX_JSON_DEPTH

SECONDS = 1.0
MEMORY = 64 * 2**20
ZEROS = b"0" * 64
INNER = '{"format":1,"sha256":"@data","header_sha256":"@header"}'


def _frame(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def _signed(header: str | bytes, data: bytes = b"") -> bytes:
    """A whole file whose two hashes are right, so that only the intended fault remains."""
    raw = header.encode() if isinstance(header, str) else header
    raw = raw.replace(b"@data", hashlib.sha256(data).hexdigest().encode()).replace(b"@header", ZEROS, 1)
    return _frame(raw.replace(ZEROS, hashlib.sha256(raw).hexdigest().encode(), 1), data)


def _outer(tensors: str = "", inner: str = INNER) -> str:
    return '{"__metadata__":' + json.dumps({"chainrule": inner}) + ("," if tensors else "") + tensors + "}"


def _tensor(name: str = "a", dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> str:
    return f"{json.dumps(name)}:" + json.dumps({"dtype": dtype, "shape": shape, "data_offsets": offsets})


def _one(data: bytes = bytes(8), **fields: object) -> bytes:
    return _signed(_outer(_tensor(**fields)), data)  # type: ignore[arg-type]


def _two(first: tuple[int, int], second: tuple[int, int], data: bytes) -> bytes:
    entries = [_tensor(n, "U8", [b - a], [a, b]) for n, (a, b) in zip("ab", (first, second), strict=True)]
    return _signed(_outer(",".join(entries)), data)


def _inner(text: str) -> bytes:
    return _signed(_outer(inner=text))


def _with(extra: str) -> bytes:
    """A sound header with one more value in it."""
    return _inner(INNER[:-1] + f',"x":{extra}}}')


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    return buffer.getvalue()


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    return buffer.getvalue()


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("exploded",))


_DEEP = "[" * 100_000 + "]" * 100_000
_MANY = ",".join(f'"t{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for i in range(25_000))

# name: (bytes, or a function that makes them; what the message says)
HOSTILE: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    # ---- the frame
    "empty": (b"", "empty"),
    "one byte": (b"\x01", "not a chainrule model"),
    "seven bytes": (bytes(7), "not a chainrule model"),
    "length only": (bytes(8), "not a chainrule model"),
    "length 0": (bytes(8) + b"{}", "header length of 0|not valid JSON"),
    "length 1": (_frame(b"{"), "not a chainrule model"),
    "length 2**63": ((2**63).to_bytes(8, "little") + b'{"a":1}', "9223372036854775808"),
    "length 2**64 - 1": (b"\xff" * 8 + b'{"a":1}', "18446744073709551615"),
    "length beyond the file": ((1000).to_bytes(8, "little") + b'{"a":1}', "truncated: the header has 1000"),
    "length beyond the bound": (lambda: _frame(b"{" + b" " * MAX_JSON_BYTES), "at most 16777216"),
    "length one too small": (lambda: _shift(_one(), -1), "not valid JSON"),
    "length one too large": (lambda: _shift(_one(), 1), "not valid JSON|altered"),
    # ---- JSON
    "not JSON": (_frame(b"{header}"), "not valid JSON"),
    "a list": (_frame(b"[1,2,3]  "), "not a chainrule model"),
    "half a header": (_frame(b'{"__metadata__":{"chai'), "not valid JSON"),
    "Latin-1": (_frame('{"é":1}'.encode("latin-1")), "UTF-8"),
    "UTF-16": (_frame('{"a":1}'.encode("utf-16-le")), "not valid JSON"),
    "NUL bytes": (_frame(b"{\0\0\0\0\0\0}"), "not valid JSON"),
    "half a surrogate pair": (_with(r'"\ud800"'), "UTF-8"),
    "duplicate tensor": (_signed(_outer(_tensor() + "," + _tensor()), bytes(8)), "'a' appears twice"),
    "duplicate metadata": (_signed('{"__metadata__":{},' + _outer()[1:]), "'__metadata__' appears twice"),
    "duplicate key inside": (_with('{"lr":1,"lr":2}'), "'lr' appears twice"),
    "duplicate by escape": (_with(r'{"lr":1,"\u006cr":2}'), "'lr' appears twice"),
    "NaN": (_with("NaN"), "NaN is not JSON"),
    "Infinity": (_with("[Infinity]"), "Infinity is not JSON"),
    "minus Infinity": (_with("-Infinity"), "-Infinity is not JSON"),
    "1e400": (_with("1e400"), "1e400 does not fit"),
    "-1e400": (_with("[-1e400]"), "does not fit"),
    "100,000 digits": (_with("9" * 100_000), "a number of 100000 digits"),
    "100,000 decimals": (_with("0." + "9" * 100_000), "a number of 100002 characters"),
    "deep in the table": (_signed(_outer('"a":' + _DEEP)), "nested deeper"),
    "deep in our header": (_with(_DEEP), "nested deeper"),
    "deep objects": (_with('{"a":' * 50_000 + "1" + "}" * 50_000), "nested deeper"),
    "one level too deep": (_with("[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH), "nested deeper"),
    "a million lists": (lambda: _with("[" + "[]," * 2**20 + "0]"), "more than 1048576 values"),
    "2**17 keys": (lambda: _with("{" + ",".join(f'"{i}":0' for i in range(2**17)) + "}"), "65536 keys"),
    "our header is not JSON": (_inner("{format: 1}"), "chainrule's header: not valid JSON"),
    "our header is a list": (_inner("[1]"), "not a JSON object"),
    "our header is null": (_inner("null"), "not a JSON object"),
    # ---- metadata, format, hashes
    "metadata null": (_frame(b'{"__metadata__":null}'), "not a JSON object"),
    "metadata list": (_frame(b'{"__metadata__":["chainrule"]}'), "not a JSON object"),
    "metadata not text": (_frame(b'{"__metadata__":{"chainrule":{"format":1}}}'), "is not text"),
    "other metadata not text": (_frame(b'{"__metadata__":{"chainrule":"{}","n":1}}'), "is not text"),
    "no metadata": (_frame(b"{" + _tensor().encode() + b"}", bytes(8)), "that chainrule did not write"),
    "somebody's metadata": (_frame(b'{"__metadata__":{"format":"pt"}}'), "that chainrule did not write"),
    "no format": (_inner(INNER.replace('"format":1,', "")), "'format' is None"),
    "format as text": (_inner(INNER.replace(":1,", ':"1",')), "'format' is '1'"),
    "format true": (_inner(INNER.replace(":1,", ":true,")), "'format' is True"),
    "format 1.0": (_inner(INNER.replace(":1,", ":1.0,")), "'format' is 1.0"),
    "format 0": (_inner(INNER.replace(":1,", ":0,")), "'format' is 0"),
    "format -1": (_inner(INNER.replace(":1,", ":-1,")), "'format' is -1"),
    "format 2": (_inner(INNER.replace(":1,", ":2,")), "newer chainrule.*upgrade"),
    "format 10**30": (_inner(INNER.replace(":1,", f":{10**30},")), "newer chainrule"),
    "format 2, nothing else known": (_inner('{"format":2}'), "newer chainrule"),
    "no hashes": (_inner('{"format":1}'), "'sha256' is None"),
    "hash a number": (_inner(INNER.replace('"@data"', "1")), "'sha256' is 1"),
    "hash too short": (_inner(INNER.replace("@data", "abc")), "'sha256' is 'abc'"),
    "hash in capitals": (_inner(INNER.replace("@data", "A" * 64)), "'sha256' is 'AAA"),
    "no header hash": (_inner(INNER.replace(',"header_sha256":"@header"', "")), "'header_sha256' is None"),
    "header hash wrong": (_frame(_outer().replace("@data", "0" * 64).replace("@header", "1" * 64).encode()),
                          "header was altered"),
    "data altered": (_one()[:-1] + b"\x01", "tensors were altered"),
    # ---- tensors
    "tensor null": (_signed(_outer('"a":null')), "not dtype, shape and data_offsets"),
    "tensor a list": (_signed(_outer('"a":["F32",[2],[0,8]]'), bytes(8)), "not dtype, shape and"),
    "no dtype": (_signed(_outer('"a":{"shape":[2],"data_offsets":[0,8]}'), bytes(8)), "not dtype, shape"),
    "one field more": (_signed(_outer(_tensor()[:-1] + ',"run":"me"}'), bytes(8)), "not dtype, shape"),
    "dtype BF16": (_one(dtype="BF16"), "unknown dtype 'BF16'.*Known: BOOL"),
    "dtype of a pickle": (_one(dtype="|O"), "unknown dtype"),
    "dtype null": (_one(dtype=None), "unknown dtype"),
    "dtype a list": (_one(dtype=["F32"]), "unknown dtype"),
    "dtype long": (_one(dtype="F" * 100_000), "unknown dtype"),
    "shape a number": (_one(shape=2), "impossible shape"),
    "shape null": (_one(shape=None), "impossible shape"),
    "shape of floats": (_one(shape=[2.0]), "impossible shape"),
    "shape of booleans": (_one(dtype="F64", shape=[True]), "impossible shape"),
    "shape of text": (_one(shape=["2"]), "impossible shape"),
    "shape negative": (_one(shape=[-2, -1]), "impossible shape"),
    "shape 2**63": (_one(shape=[2**63, 0], offsets=[0, 0], data=b""), "impossible shape"),
    "shape overflows to 8 bytes": (_one(shape=[2**32, 2**31, 2]), "impossible shape"),
    "shape overflows to 0": (_one(shape=[2**32, 2**32], offsets=[0, 0], data=b""), "impossible shape"),
    "shape too large beside 0": (_one(shape=[0, 2**62, 3], offsets=[0, 0], data=b""), "impossible shape"),
    "33 dimensions": (_one(shape=[1] * 32 + [2]), "impossible shape"),
    "100,000 dimensions": (lambda: _one(shape=[1] * 10**5), "impossible shape"),
    "shape larger than offsets": (_one(shape=[3]), "needs 12 bytes, has 8"),
    "shape smaller than offsets": (_one(shape=[]), "needs 4 bytes, has 8"),
    "2**40 bytes claimed": (_one(dtype="U8", shape=[2**40], offsets=[0, 2**40]), "truncated"),
    "offsets null": (_one(offsets=None), "impossible data_offsets"),
    "one offset": (_one(offsets=[8]), "impossible data_offsets"),
    "three offsets": (_one(offsets=[0, 8, 8]), "impossible data_offsets"),
    "offsets negative": (_one(offsets=[-8, 0]), "impossible data_offsets"),
    "offsets reversed": (_one(offsets=[8, 0]), "impossible data_offsets"),
    "offsets as floats": (_one(offsets=[0.0, 8.0]), "impossible data_offsets"),
    "offsets as booleans": (_one(dtype="U8", shape=[1], offsets=[False, True]), "impossible data_offsets"),
    "offsets at 2**63": (_one(offsets=[2**63, 2**63 + 8]), "impossible data_offsets"),
    "offsets beyond the file": (_one(offsets=[10**6, 10**6 + 8]), "belong to no tensor"),
    "hole in front": (_one(offsets=[4, 12], data=bytes(12)), "4 bytes between the header and 'a'"),
    "hole between": (_two((0, 4), (8, 12), bytes(12)), "4 bytes between 'a' and 'b'"),
    "overlap": (_two((0, 8), (4, 12), bytes(12)), "'a' and 'b' overlap"),
    "one place for two": (_two((0, 8), (0, 8), bytes(8)), "'a' and 'b' overlap"),
    "one inside the other": (_two((0, 12), (4, 8), bytes(12)), "'a' and 'b' overlap"),
    "cut by one byte": (_one(data=bytes(7)), "truncated: the tensors need 8 bytes, only 7"),
    "cut at the data": (_one(data=b""), "truncated"),
    "one byte too many": (_one(data=bytes(9)), "1 bytes follow the last tensor"),
    "data without tensors": (_signed(_outer(), bytes(100)), "100 bytes follow"),
    "neither false nor true": (_one(dtype="BOOL", shape=[8], data=b"\0\1\0\1\2\0\1\0"), "neither false nor"),
    "25,000 tensors": (lambda: _signed(_outer(_MANY)), "65536 keys"),
    "10**7 tensors": (lambda: _frame(b"{" + b'"a":{},' * 10**7 + b"}"), "at most 16777216"),
    # ---- names
    **{f"name {name!r:.20}": (_one(name=name), "tensor's name") for name in (
        "", ".", "..", "../a", "a/../b", "/etc/passwd", "a//b", "a/", "a\0b", "a\\b", "..\\a", "C:\\a", "C:a",
        "a\nb", "\x1b[2J", "a\u202eb", "x" * 513)},
    # ---- other people's files
    "pickle, protocol 0": (pickle.dumps(_Bomb(), 0), "pickle"),
    "pickle, protocol 1": (pickle.dumps({"a": _Bomb()}, 1), "pickle|not a chainrule model"),
    "pickle, protocol 2": (pickle.dumps(_Bomb(), 2), "looks like a Python pickle"),
    "pickle, protocol 5": (pickle.dumps({"W": np.ones(9), "b": _Bomb()}, 5), "looks like a Python pickle"),
    "pickle in place of the header": (_frame(pickle.dumps(_Bomb())), "not a chainrule model"),
    "ZIP (PyTorch, Keras, npz)": (_zip(), "ZIP archive"),
    "npy": (_npy(), r"NumPy \.npy"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "gzip": (gzip.compress(b"x" * 100), "gzip.*unpack"),
    "ONNX": (b"\x08\x08\x12\x07pytorch" + bytes(50), "not a chainrule model"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(50), "PNG"),
    "web page": (b"<!DOCTYPE html><html>404</html>", "failed download"),
    "JSON": (b'{"layers": []}', "JSON text"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "CSV": (b"count,colour\n1,red\n", "not a chainrule model"),
    "zeros": (bytes(10_000), "not a chainrule model"),
    "safetensors": (safetensors.numpy.save({"a": np.ones(2), "b": np.ones(1)}), "'a', 'b'.*Read its"),
}  # fmt: skip


def _shift(file: bytes, by: int) -> bytes:
    return (int.from_bytes(file[:8], "little") + by).to_bytes(8, "little") + file[8:]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, message = HOSTILE[name]
    content = make() if callable(make) else make
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)

    def refused() -> pytest.ExceptionInfo[ModelFileError]:
        with pytest.raises(ModelFileError, match=message) as caught:
            read_tensors(path)
        return caught

    assert least_seconds(refused, SECONDS) < SECONDS
    caught = refused()
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 800
    assert str(caught.value).isprintable()
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError):
            read_tensors(path)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_the_crafted_files_are_sound_but_for_their_fault(tmp_path):
    """Otherwise every case above could be refused for the same wrong reason."""
    for content in (_one(), _two((0, 8), (8, 12), bytes(12)), _two((8, 12), (0, 8), bytes(12)), _with("[1]")):
        (tmp_path / "m").write_bytes(content)
        read_tensors(tmp_path / "m")
    deepest = "[" * (MAX_JSON_DEPTH - 1) + "]" * (MAX_JSON_DEPTH - 1)
    (tmp_path / "m").write_bytes(_with(deepest))
    read_tensors(tmp_path / "m")
    (tmp_path / "m").write_bytes(_one(shape=[1] * 31 + [2]))
    assert read_tensors(tmp_path / "m")[1]["a"].shape == (1,) * 31 + (2,)
    (tmp_path / "m").write_bytes(_one(shape=[0, 2**60], offsets=[0, 0], data=b""))
    assert read_tensors(tmp_path / "m")[1]["a"].shape == (0, 2**60)


def test_a_header_at_every_limit_is_refused_in_bounded_time_and_memory(tmp_path):
    """The most that passes every check but the last must not be a weapon either."""
    many = ",".join(f'"t{i:010}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for i in range(16_000))
    keys = ",".join(f'"{i}":0' for i in range(2**16 - 5))
    numbers = ",".join(["0.123456"] * (2**20 - 2**16 - 3))
    last = _tensor("last", "BOOL", [1], [0, 1])
    content = _signed(_outer(f"{many},{last}", INNER[:-1] + f',"k":{{{keys}}},"n":[{numbers}]}}'), b"\x02")
    assert 10 * 2**20 < len(content) < MAX_JSON_BYTES
    (tmp_path / "m").write_bytes(content)

    def refused() -> None:
        with pytest.raises(ModelFileError, match="'last' has bytes that are neither false nor true"):
            read_tensors(tmp_path / "m")

    assert least_seconds(refused, 2 * SECONDS) < 2 * SECONDS
    tracemalloc.start()
    read_header(tmp_path / "m")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * MEMORY
