"""Sizes, strides and borders of windows, as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import ConfigError
from chainrule.spec import Shape

__all__ = ["PaddingLike", "PerAxis", "padding_pairs", "per_axis"]

PerAxis = int | Sequence[int]
"""One number for all axes, or one for each."""
PaddingLike = str | int | Sequence[int | tuple[int, int]]
"""``"valid"``, ``"same"``, one number for all sides, or for each axis a number or (before, after)."""


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= least


def per_axis(what: str, value: PerAxis, n: int, least: int = 1) -> Shape:
    """A number for each of n axes; ConfigError for anything else."""
    found = tuple(value) if isinstance(value, tuple | list) else (value,) * n
    if len(found) != n or not all(_whole(v, least) for v in found):
        raise ConfigError(
            f"{what} is a whole number of at least {least}, or one for each of {n} axes, got {value!r}"
        )
    return tuple(int(v) for v in found)  # type: ignore[arg-type]


def padding_pairs(
    operation: str, padding: PaddingLike, space: Shape, kernel: Shape, strides: Shape, dilations: Shape
) -> tuple[tuple[int, int], ...]:
    """(before, after) for every axis. "same" gives ⌈n/stride⌉ places; of an odd border the larger half is behind."""
    n = len(space)
    if padding == "valid":
        return ((0, 0),) * n
    if padding == "same":
        found = []
        for size, k, s, d in zip(space, kernel, strides, dilations, strict=True):
            total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
            found.append((total // 2, total - total // 2))
        return tuple(found)
    sides = list(padding) if isinstance(padding, tuple | list) else [padding] * n
    pairs = [tuple(p) if isinstance(p, tuple | list) else (p, p) for p in sides]
    if len(pairs) != n or not all(len(p) == 2 and _whole(p[0], 0) and _whole(p[1], 0) for p in pairs):
        raise ConfigError(
            f'{operation}: padding is "valid", "same", a whole number, or for each of {n} axes a number or '
            f"(before, after), got {padding!r}"
        )
    return tuple((int(a), int(b)) for a, b in pairs)  # type: ignore[arg-type]
