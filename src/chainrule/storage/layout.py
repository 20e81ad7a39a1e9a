"""What a model file looks like inside, and every check that its header must pass.

    8 bytes   n, the length of the header, little-endian
    n bytes   JSON, padded with spaces so that 8 divides 8 + n:
              {"__metadata__": {"chainrule": "<JSON text>"},
               "<tensor>": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
    the rest  the tensors, C order, little-endian, one after the other

This is the safetensors format (https://github.com/huggingface/safetensors, "Format"), so its readers open it.
The JSON text in the metadata is the caller's header with three keys of ours in front:

``format``         1; a file with a higher number comes from a newer chainrule
``sha256``         of the tensors' bytes as they lie in the file
``header_sha256``  of the n header bytes, with these 64 digits themselves as zeros

so that no bit of the file can change unnoticed. (That guards against damage, not against forgery.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import ModelFileError
from chainrule.storage.strict import MAX_JSON_BYTES, strict_dump, strict_json

__all__ = [
    "FORMAT",
    "Entry",
    "Layout",
    "check_tensor_name",
    "code_of",
    "header_bytes",
    "parse_header",
    "parse_public_header",
    "plan_entries",
    "sha256",
]

FORMAT = 1
MAX_HEADER_BYTES = MAX_JSON_BYTES
MAX_NAME_LENGTH = 512
MAX_DIMENSIONS = 32  # what every NumPy supports

_DTYPES = {"BOOL": "|b1", "U8": "|u1", "I32": "<i4", "I64": "<i8", "F32": "<f4", "F64": "<f8"}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_PUBLIC = {
    **_DTYPES,
    "I8": "|i1",
    "I16": "<i2",
    "F16": "<f2",
    "BF16": "<u2",
}  # what others write; BF16 as bits
_UNKNOWN_HASH = "0" * 64
_OURS = ("format", "sha256", "header_sha256")


class Entry(NamedTuple):
    """One tensor: its name, its dtype's code in the file, its shape, and where its bytes lie in the data."""

    name: str
    code: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(_PUBLIC[self.code])


class Layout(NamedTuple):
    """A checked header: the caller's part with our three keys, and the tensors in the order given."""

    header: dict[str, Any]
    entries: tuple[Entry, ...]

    def in_file_order(self) -> list[Entry]:
        return sorted(self.entries, key=lambda entry: (entry.begin, entry.end))


def sha256(data: bytes) -> str:
    """64 hexadecimal digits (FIPS 180-4)."""
    import hashlib

    return hashlib.sha256(data).hexdigest()


def code_of(dtype: np.dtype[Any], name: str) -> str:
    """The file's code for a dtype of either byte order.

    Raises ModelFileError for a dtype that chainrule does not compute with.
    """
    code = _CODES.get(dtype.newbyteorder("<").str)
    if code is None:
        raise ModelFileError(
            f"tensor {name!r} has dtype {dtype}, which a model file does not hold: "
            "convert it to bool, uint8, int32, int64, float32 or float64"
        )
    return code


def check_tensor_name(name: object) -> str:
    """Names are paths such as "dense_0/W". They open no files, but they must not tempt anybody to.

    Raises ModelFileError for anything else.
    """
    if not isinstance(name, str):
        raise ModelFileError(f"a tensor's name is text, not {_brief(name)}")
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        raise ModelFileError(f"a tensor's name has 1 to {MAX_NAME_LENGTH} characters, not {len(name)}")
    parts_bad = any(part in ("", ".", "..") for part in name.split("/"))
    if parts_bad or "\\" in name or not name.isprintable() or re.match("[A-Za-z]:", name):
        raise ModelFileError(f"a tensor's name is a path such as 'dense_0/W', which {_brief(name)} is not")
    if name == "__metadata__":
        raise ModelFileError("a tensor cannot be called '__metadata__': safetensors keeps its header there")
    return name


def plan_entries(arrays: Mapping[str, np.ndarray[Any, Any]]) -> tuple[Entry, ...]:
    """Where each array goes: the widest dtypes first, so that each lies aligned without holes between."""
    places: dict[str, Entry] = {}
    position = 0
    for name, array in sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize):
        end = position + array.nbytes
        places[name] = Entry(check_tensor_name(name), code_of(array.dtype, name), array.shape, position, end)
        position = end
    return tuple(places[name] for name in arrays)


def header_bytes(header: Mapping[str, object], entries: tuple[Entry, ...], data_sha256: str) -> bytes:
    """The padded JSON of the whole header, with both hashes in it.

    Raises ModelFileError for a header that is not JSON (a float that is not finite, …) or too long.
    """
    ours = {"format": FORMAT, "sha256": data_sha256, "header_sha256": _UNKNOWN_HASH}
    rest = {key: value for key, value in header.items() if key not in _OURS}
    text = strict_dump({**ours, **rest}, "the model's header")
    table: dict[str, object] = {"__metadata__": {"chainrule": text}}
    for entry in entries:
        offsets = [entry.begin, entry.end]
        table[entry.name] = {"dtype": entry.code, "shape": list(entry.shape), "data_offsets": offsets}
    raw = strict_dump(table, "the file's header").encode("utf-8")
    raw += b" " * (-len(raw) % 8)
    if len(raw) > MAX_HEADER_BYTES:
        raise ModelFileError(f"the header has {len(raw)} bytes, at most {MAX_HEADER_BYTES} are read back")
    # Ours is the first run of 64 zeros: only "format" and the data's hash stand before it.
    return raw.replace(_UNKNOWN_HASH.encode(), sha256(raw).encode(), 1)


def parse_header(raw: bytes, data_size: int, shown: str) -> Layout:
    """Check the header against itself and against the ``data_size`` bytes that follow it.

    Raises ModelFileError for whatever is wrong; ``shown`` names the file.
    """
    table, metadata = _parts(raw, shown)
    if "chainrule" not in metadata:
        raise ModelFileError(_foreign(shown, list(table)))
    what = f"{shown}: chainrule's header"
    header = _expect_dict(strict_json(metadata["chainrule"], what), what)
    _check_format(header.get("format"), shown)
    _check_header_hash(header, raw, shown)
    return _layout(header, table, data_size, shown, _DTYPES)


def parse_public_header(raw: bytes, data_size: int, shown: str) -> Layout:
    """The header of anybody's safetensors file, checked in the same way but for our version and hashes."""
    table, metadata = _parts(raw, shown)
    return _layout(metadata, table, data_size, shown, _PUBLIC)


def _parts(raw: bytes, shown: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(tensors by name, the metadata), as the file has them."""
    table = _expect_dict(strict_json(raw, f"{shown}: the header"), f"{shown}: the header")
    metadata = _expect_dict(table.pop("__metadata__", {}), f"{shown}: __metadata__")
    if bad := [key for key, value in metadata.items() if not isinstance(value, str)]:
        raise ModelFileError(f"{shown}: __metadata__[{_brief(bad[0])}] is not text: no safetensors file")
    return table, metadata


def _layout(
    header: dict[str, Any], table: dict[str, Any], data_size: int, shown: str, dtypes: Mapping[str, str]
) -> Layout:
    try:
        layout = Layout(header, tuple(_entry(name, fields, dtypes) for name, fields in table.items()))
        _check_places(layout, data_size)
    except ModelFileError as error:
        raise ModelFileError(f"{shown}: {error}") from None
    return layout


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _foreign(shown: str, names: list[str]) -> str:
    some = ", ".join(_brief(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
    return (
        f"{shown}: a safetensors file of {len(names)} tensors ({some}) that chainrule did not write: it "
        "holds no network. Read its arrays by chainrule.export.load_torch_state(net, path)"
    )


def _check_format(number: object, shown: str) -> None:
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ModelFileError(f"{shown}: 'format' is {_brief(number)}, not a version: the header is damaged")
    if number > FORMAT:
        raise ModelFileError(
            f"{shown}: written by a newer chainrule (format {_brief(number)}; this one reads up to "
            f"{FORMAT}): pip install --upgrade chainrule"
        )


def _check_header_hash(header: dict[str, Any], raw: bytes, shown: str) -> None:
    for key in ("sha256", "header_sha256"):
        digits = header.get(key)
        if not isinstance(digits, str) or not re.fullmatch("[0-9a-f]{64}", digits):
            raise ModelFileError(f"{shown}: {key!r} is {_brief(digits)}: the header is damaged")
    stated = header["header_sha256"]
    if sha256(raw.replace(stated.encode(), _UNKNOWN_HASH.encode(), 1)) != stated:
        raise ModelFileError(f"{shown}: the header was altered after it was written: use an unaltered copy")


def _expect_dict(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ModelFileError(f"{what} is {_brief(value)}, not a JSON object")
    return value


def _entry(name: str, fields: object, dtypes: Mapping[str, str]) -> Entry:
    check_tensor_name(name)
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise ModelFileError(f"tensor {name!r} is {_brief(fields)}, not dtype, shape and data_offsets")
    code, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(code, str) or code not in dtypes:
        known = ", ".join(dtypes)
        raise ModelFileError(f"tensor {name!r} has the unknown dtype {_brief(code)}. Known: {known}")
    if not _sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise ModelFileError(f"tensor {name!r} has the impossible shape {_brief(shape)}")
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ModelFileError(f"tensor {name!r} has the impossible data_offsets {_brief(offsets)}")
    itemsize = np.dtype(dtypes[code]).itemsize
    # NumPy refuses an empty array too if its other sizes multiply beyond 2**63.
    if itemsize * math.prod(size or 1 for size in shape) >= 2**63:
        raise ModelFileError(f"tensor {name!r} has the impossible shape {_brief(shape)}")
    needed, present = itemsize * math.prod(shape), offsets[1] - offsets[0]
    if needed != present:
        raise ModelFileError(f"tensor {name!r} of {code} {_brief(shape)} needs {needed} bytes, has {present}")
    return Entry(name, code, tuple(shape), offsets[0], offsets[1])


def _sizes(value: object) -> bool:
    """A list of numbers from 0 to 2**63 - 1, and no booleans, which Python counts as integers."""
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _check_places(layout: Layout, data_size: int) -> None:
    position, before = 0, "the header"
    for entry in layout.in_file_order():
        if entry.begin > position:
            gap = entry.begin - position
            raise ModelFileError(f"{gap} bytes between {before} and {entry.name!r} belong to no tensor")
        if entry.begin < position:
            raise ModelFileError(f"tensors {before} and {entry.name!r} overlap")
        position, before = entry.end, repr(entry.name)
    if position > data_size:
        raise ModelFileError(
            f"truncated: the tensors need {position} bytes, only {data_size} are there: "
            "copy or download it again"
        )
    if position < data_size:
        raise ModelFileError(f"{data_size - position} bytes follow the last tensor and belong to none")
