"""JSONTestSuite: texts of which one knows whether a reader must take them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

from chainrule.errors import ModelFileError

__all__ = ["cases", "misjudged"]

_FILE = Path(__file__).parents[1] / "data" / "json_test_suite.json"


def cases() -> dict[str, bytes]:
    """Texts by name; two deep ones, which the file would be long for, are made here."""
    found = {name: base64.b64decode(text) for name, text in json.loads(_FILE.read_text())["cases"].items()}
    found["n_structure_100000_opening_arrays"] = b"[" * 100_000
    found["n_structure_open_array_object"] = b'[{"":' * 50_000
    return found


def misjudged(texts: dict[str, bytes], read: Callable[[bytes], object]) -> list[str]:
    """y must be read, n refused, i may be either; two equal keys, y there, are refused by design."""
    wrong = []
    for name, text in texts.items():
        try:
            read(text)
            taken = True
        except ModelFileError:
            taken = False
        wanted = name.startswith("y") and "object_duplicated_key" not in name
        if not name.startswith("i") and taken != wanted:
            wrong.append(name)
    return wrong
