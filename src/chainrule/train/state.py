"""Named arrays: copies, checks, and the hash that two equal runs share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from chainrule.executors import Array

__all__ = ["digest", "snapshot"]


def snapshot(state: Mapping[str, Array]) -> dict[str, Array]:
    """A copy that later steps do not touch."""
    return {name: np.array(a, order="C") for name, a in state.items()}


def digest(state: Mapping[str, Array]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes."""
    found = hashlib.sha256()
    for name in sorted(state):
        a = np.array(state[name], order="C")
        found.update(f"{name}:{a.dtype.str}:{a.shape};".encode())
        found.update(a.data)
    return found.hexdigest()
