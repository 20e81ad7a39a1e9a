"""Random changes to JSON values and to bytes, for files that are signed again afterwards."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chainrule.errors import ModelFileError
from chainrule.modelfile import load

__all__ = ["file_parts", "mutants", "mutated_bytes", "mutated_json", "signed"]

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**18, 0.5, -0.0, 1e308, 5e-324, "", "x", "nan",
    "../x", "a" * 300, "\u0000", "θ", [], {}, [[]], [None], {"": None}, [0, 0], [2**31, 2**31],
    {"type": "Dense"}, {"type": "Dense", "units": 3}, {"type": "Sequential", "steps": []},
    {"function": "relu"}, {"function": "eval"},
    {"float": "nan"}, {"float": "inf"}, {"dict": {}}, {"type": "os.system"}, {"type": "__import__"},
    {"type": "Shared", "name": "s", "layer": {"type": "Dense", "units": 2}},
    {"type": "Residual", "body": {"function": "tanh"}}, {"type": "Adam"}, {"type": "CrossEntropy"},
)  # fmt: skip


def mutated_json(value: Any, draws: random.Random) -> Any:
    """A copy with one to three places changed: another value, another key, a part lost, doubled or moved."""
    found = copy.deepcopy(value)
    for _ in range(draws.randint(1, 3)):
        _change(found, draws)
    return found


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything inside."""
    found, waiting = [], [value]
    while waiting:
        container = waiting.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                waiting.append(container[key])
    return found


def _change(value: Any, draws: random.Random) -> None:
    places = _places(value)
    if not places:
        return
    container, key = draws.choice(places)
    other, elsewhere = draws.choice(places)
    kind = draws.randrange(7)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, dict):
        container[draws.choice(["type", "version", "x", "", "units", str(key) + "_"])] = container.pop(key)
    elif kind == 2 and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    elif kind == 3:
        container[key] = copy.deepcopy(other[elsewhere])
    elif kind == 4 and isinstance(container[key], int | float) and not isinstance(container[key], bool):
        container[key] = container[key] * draws.choice([-1, 0, 2, 1000, 10**12]) + draws.choice([0, 1, -1])
    elif kind == 5 and isinstance(container[key], str):
        container[key] = draws.choice([container[key][:-1], container[key] + "x", container[key].upper()])
    else:
        container[key] = copy.deepcopy(draws.choice(ODD))


def mutated_bytes(text: bytes, draws: random.Random) -> bytes:
    """Bytes changed, cut out, put in or repeated, at one to four places."""
    found = bytearray(text)
    for _ in range(draws.randint(1, 4)):
        start = draws.randrange(len(found) + 1)
        stop = min(len(found), start + draws.choice([0, 1, 1, 2, 9, 60]))
        new = draws.choice(
            [
                b"",
                draws.randbytes(1),
                draws.randbytes(3),
                found[start:stop] * 2,
                b'"',
                b"{",
                b"]",
                b",",
                b"\\",
                b"\xff",
                b"1e999",
                b"NaN",
            ]
        )
        found[start:stop] = new
    return bytes(found)


def signed(table: dict[str, Any] | bytes, header: Any, data: bytes) -> bytes:
    """A file whose hashes are right, whatever is in it.

    table     the tensors' entries; or the raw header, in which the header's hash is 64 zeros
    header    chainrule's own, a JSON value (with right hashes put in) or text
    """
    if isinstance(table, bytes):
        raw = table
    else:
        if isinstance(header, dict):
            header = {
                "format": 1,
                **header,
                "sha256": hashlib.sha256(data).hexdigest(),
                "header_sha256": "0" * 64,
            }
        text = header if isinstance(header, str) else json.dumps(header)
        raw = json.dumps({"__metadata__": {"chainrule": text}, **table}).encode()
    raw = raw.replace(b"0" * 64, hashlib.sha256(raw).hexdigest().encode(), 1)
    return len(raw).to_bytes(8, "little") + raw + data


def file_parts(path: Path) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """(tensors' entries, chainrule's header, the whole header as text with zeros for its hash, the data)"""
    whole = path.read_bytes()
    n = int.from_bytes(whole[:8], "little")
    raw, data = whole[8 : 8 + n], whole[8 + n :]
    table = json.loads(raw)
    header = json.loads(table.pop("__metadata__")["chainrule"])
    return table, header, raw.replace(header["header_sha256"].encode(), b"0" * 64), data


def mutants(path: Path, count: int = 250) -> Iterator[Any]:
    """What loading gives for a file whose header was changed and signed again, None where it is refused by
    one error that names the file."""
    table, header, _, data = file_parts(path)
    for seed in range(count):
        path.write_bytes(signed(table, mutated_json(header, random.Random(seed)), data))
        try:
            yield load(path)
        except ModelFileError as error:
            if str(path) not in str(error):
                raise
            yield None
