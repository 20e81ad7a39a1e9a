"""Windows of arrays; and their sizes, strides and borders as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import ConfigError
from chainrule.spec import Shape

__all__ = ["PaddingLike", "PerAxis", "padding_pairs", "per_axis", "strided_windows"]

PerAxis = int | Sequence[int]
"""One number for all axes, or one for each."""
PaddingLike = str | int | Sequence[int | tuple[int, int]]
"""``"valid"``, ``"same"``, one number for all sides, or for each axis a number or (before, after)."""


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= least


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
    """(before, after) for every axis. "same": ⌈n/stride⌉ places, of an odd border the larger half behind."""
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
    return tuple((int(a), int(b)) for a, b in pairs)


def strided_windows(
    x: npt.NDArray[Any], *, first: int, sizes: Shape, strides: Shape, dilations: Shape
) -> npt.NDArray[Any]:
    """y[…, i, …, k, …] = x[…, i·stride + k·dilation, …] as a view of x, which may not be written."""
    end = first + len(sizes)
    own, metas = x.strides[first:end], (x.shape[first:end], sizes, strides, dilations)
    counts = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(*metas, strict=True)]
    steps = [n * s for n, s in zip(own, strides, strict=True)]
    inner = [n * d for n, d in zip(own, dilations, strict=True)]
    shape = (*x.shape[:first], *counts, *sizes, *x.shape[end:])
    places = (*x.strides[:first], *steps, *inner, *x.strides[end:])
    return np.lib.stride_tricks.as_strided(x, shape, places, writeable=False)
