"""Storage on good days: arrays of every dtype and memory layout, and JSON, come back as they were."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import hypothesis.extra.numpy as arrays_of
import hypothesis.strategies as st
import json_suite
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings

from chainrule.errors import ModelFileError
from chainrule.storage import (
    canonical_dump,
    read_header,
    read_tensors,
    strict_dump,
    strict_json,
    write_tensors,
)

DTYPES = ["bool", "uint8", "int32", "int64", "float32", "float64"]


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Bit for bit, whatever the memory layout: NaN payloads and the sign of zero count."""
    return a.shape == b.shape and a.dtype == b.dtype.newbyteorder("=") and a.tobytes() == _little(b).tobytes()


def _little(a: np.ndarray) -> np.ndarray:
    return a.astype(a.dtype.newbyteorder("<"))


# ---------------------------------------------------------------- arrays


def _layouts(dtype: str, folder: Path) -> dict[str, np.ndarray]:
    base = (np.arange(24) % 2 if dtype == "bool" else np.arange(24)).astype(dtype).reshape(4, 6)
    read_only = base.copy()
    read_only.flags.writeable = False
    mapped = np.memmap(folder / "mapped", dtype=dtype, mode="w+", shape=(4, 6))
    mapped[:] = base
    odd = np.empty(base.nbytes + 1, np.uint8)[1:].view(dtype).reshape(4, 6)
    odd[:] = base
    return {
        "plain": base,
        "transposed": base.T,
        "fortran": np.asfortranarray(base),
        "strided": base[::2, 1::3],
        "reversed": base[::-1, ::-1],
        "broadcast": np.broadcast_to(base[0], (3, 6)),
        "no dimension": base[1, 1:2].reshape(()),
        "NumPy scalar": base[2, 3],
        "empty": base[:0],
        "empty inside": base[:, :0].reshape(4, 0, 2),
        "big-endian": base.astype(base.dtype.newbyteorder(">")),
        "read-only": read_only,
        "memory-mapped": mapped,
        "misaligned": odd,
        "a window": np.lib.stride_tricks.sliding_window_view(base[0], 3),
    }


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_memory_layout_comes_back(dtype, tmp_path):
    given_arrays = _layouts(dtype, tmp_path)
    write_tensors(tmp_path / "m", given_arrays, {})
    _, back = read_tensors(tmp_path / "m")
    foreign = safetensors.numpy.load_file(tmp_path / "m")
    assert list(back) == list(given_arrays), "the order of the arrays is kept"
    for name, array in given_arrays.items():
        wanted = np.asarray(array)
        assert _same(back[name], wanted), name
        assert _same(foreign[name], wanted), f"{name}, as the safetensors package reads it"
        assert back[name].flags.writeable
        assert back[name].flags.aligned


_TENSOR = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays_of.arrays(
        dtype, arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
    )
)
_NAME = st.from_regex(r"[a-zθ_0-9][a-z_0-9. ]{0,8}(/[a-zA-Z_]{1,5}){0,3}", fullmatch=True)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_FINITE = st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | _FINITE | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None, max_examples=60)  # a disk may take its time
@given(arrays=st.dictionaries(_NAME, _TENSOR, max_size=5), notes=_JSON)
def test_whatever_is_written_is_read(arrays, notes, tmp_path_factory):
    path = tmp_path_factory.mktemp("round") / "m"
    digest = write_tensors(path, arrays, {"notes": notes})
    header, back = read_tensors(path)
    assert header["notes"] == notes
    assert header == read_header(path)
    assert list(back) == list(arrays)
    assert all(_same(back[name], arrays[name]) for name in arrays)
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    assert start % 8 == 0
    assert digest == header["sha256"] == hashlib.sha256(raw[start:]).hexdigest()
    table = json.loads(raw[8:start])
    for name, array in arrays.items():
        assert table[name]["data_offsets"][0] % array.dtype.itemsize == 0, "each tensor lies aligned"


def test_the_safetensors_package_reads_the_metadata(tmp_path):
    write_tensors(
        tmp_path / "m", {"dense_0/W": np.eye(3)}, {"classes": ["ja", "näh"], "history": [0.5, None]}
    )
    with safetensors.safe_open(tmp_path / "m", "np") as file:
        header = json.loads(file.metadata()["chainrule"])
        assert (header["format"], header["classes"], header["history"]) == (1, ["ja", "näh"], [0.5, None])
        np.testing.assert_array_equal(file.get_tensor("dense_0/W"), np.eye(3))


def test_a_published_file_stays_readable(tmp_path):
    """If reading fails, old files have become unreadable. If only writing does, the writer has changed."""
    raw = base64.b64decode((Path(__file__).parent / "data" / "format1.safetensors.b64").read_text())
    (tmp_path / "old").write_bytes(raw)
    header, arrays = read_tensors(tmp_path / "old")
    assert header["note"] == "format 1, θ"
    assert arrays["dense_0/W"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert arrays["mask"].tolist() == [True, False, True]
    write_tensors(tmp_path / "new", arrays, header)
    assert (tmp_path / "new").read_bytes() == raw, "equal content gives equal bytes"


@pytest.mark.parametrize(
    ("arrays", "header", "message"),
    [
        ({"a": np.zeros(2, "float16")}, {}, "'a' has dtype float16"),
        ({"a": np.zeros(2, "complex128")}, {}, "complex128"),
        ({"a": np.array([None])}, {}, "object"),
        ({"a": np.array(["x"])}, {}, "<U1"),
        ({"a": np.zeros(2, "datetime64[s]")}, {}, "datetime64"),
        ({"a": np.zeros(2, [("x", "f4")])}, {}, "dtype"),
        ({"a": np.ma.masked_equal([1, 2], 2)}, {}, "masked"),
        ({"../a": np.zeros(2)}, {}, "'../a'"),
        ({"": np.zeros(2)}, {}, "1 to 512 characters"),
        ({"a" * 513: np.zeros(2)}, {}, "513"),
        ({"a\nb": np.zeros(2)}, {}, "path such as"),
        ({"\ud800": np.zeros(2)}, {}, "path such as"),
        ({"__metadata__": np.zeros(2)}, {}, "__metadata__"),
        ({3: np.zeros(2)}, {}, "is text, not 3"),
        ({}, {"loss": [1.0, float("nan")]}, r"\['loss'\]\[1\] is nan.*store None"),
        ({}, {"a": {"b": float("-inf")}}, r"\['a'\]\['b'\] is -inf"),
        ({}, {"a": {1: 2}}, "key 1 of .*'a'.* is not text"),
        ({}, {"a": np.float32(1)}, "is a float32, not JSON"),
        ({}, {"a": {1, 2}}, "is a set"),
        ({}, {"a": "\udc00"}, "UTF-8"),
        ({}, {"a": 10**400}, "300 digits"),
        ({}, {"a": "x" * 2**24}, "at most 16777216"),
        ({}, {"a": [0] * 2**20 + [1]}, "more than 1048576 values"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_and_the_old_file_stays(arrays, header, message, tmp_path):
    write_tensors(tmp_path / "m", {"old": np.ones(3)}, {})
    before = (tmp_path / "m").read_bytes()
    with pytest.raises(ModelFileError, match=message):
        write_tensors(tmp_path / "m", arrays, header)
    assert (tmp_path / "m").read_bytes() == before
    assert os.listdir(tmp_path) == ["m"]


def test_a_list_that_contains_itself_is_refused():
    loop: list[object] = []
    loop += [loop, loop]
    with pytest.raises(ModelFileError, match="nested deeper"):
        strict_dump(loop)


def test_the_keys_that_storage_owns_cannot_be_forged(tmp_path):
    header = {"format": 99, "sha256": "0" * 64, "header_sha256": "0" * 64, "note": "0" * 64}
    write_tensors(tmp_path / "m", {"a": np.ones(2)}, header)
    back, _ = read_tensors(tmp_path / "m")
    assert back["format"] == 1
    assert back["note"] == "0" * 64
    write_tensors(tmp_path / "again", {"a": np.ones(2)}, back)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


def test_memory_is_one_copy_of_the_arrays(tmp_path):
    array = np.zeros((1000, 4000))
    peaks = []
    for work in (
        lambda: write_tensors(tmp_path / "m", {"a": array}, {}),
        lambda: read_tensors(tmp_path / "m"),
    ):
        tracemalloc.start()
        work()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < array.nbytes + 4 * 2**20


def test_importing_storage_is_light():
    code = (
        "import sys, numpy; before = set(sys.modules); import chainrule.storage\n"
        "heavy = {'json', 'hashlib', 'tempfile', 'pathlib', 'random', 'logging', 'subprocess', 'asyncio'}\n"
        "print(sorted((set(sys.modules) - before) & heavy))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


# ---------------------------------------------------------------- JSON


@given(_JSON)
def test_json_comes_back_with_its_keys_in_order(value):
    text = strict_dump(value)
    assert strict_json(text) == value
    assert strict_json(text.encode()) == json.loads(text)
    assert json.dumps(strict_json(text)) == json.dumps(value)


@given(_JSON)
def test_canonical_text_does_not_depend_on_the_order_of_keys(value):
    def backwards(item):
        if isinstance(item, dict):
            return {key: backwards(item[key]) for key in reversed(item)}
        return [backwards(x) for x in item] if isinstance(item, list) else item

    assert canonical_dump(backwards(value)) == canonical_dump(value)


def _nested(depth: int, inside: str) -> str:
    return "[" * depth + inside + "]" * depth


@pytest.mark.parametrize(
    "string", [r'"\""', r'"\\"', r'"\\\""', r'"\\\\"', r'"["', r'"\"[\\"', r'"]]"', r'"\\]"']
)
@pytest.mark.parametrize("filler", ["", "[{]}" * 2**19], ids=["short", "longer than a block"])
def test_depth_counts_brackets_outside_of_strings_only(string, filler):
    """Without this bound the parser would recurse; with a wrong one it would refuse honest text."""
    assert strict_json(_nested(128, f'{string},"{filler}",{string},"{"[" * 200}"'))
    for deep in (
        f"{string},{_nested(128, string)}",
        f'"{filler}",{_nested(128, "0")}',
        f'{string},"{filler}",[[]]',
    ):
        with pytest.raises(ModelFileError, match="nested deeper than 128"):
            strict_json(_nested(127, deep))


def test_json_test_suite():
    texts = json_suite.cases()
    assert len(texts) == 318
    assert json_suite.misjudged(texts, strict_json) == []
