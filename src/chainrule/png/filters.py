"""The five filters: a row is stored as its differences from what its neighbours predict (section 9)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from chainrule.png.layout import damaged

__all__ = ["apply_filters", "undo_filters"]

Bytes = npt.NDArray[np.uint8]
Wide = npt.NDArray[np.int16]


def apply_filters(rows: Bytes, unit: int) -> Bytes:
    """Filter each row as makes its differences smallest: (h, stride) → (h, 1 + stride), its number first.

    Smallest is the sum of absolute differences, read as signed bytes (section 12.8).
    """
    height, stride = rows.shape
    framed = np.zeros((height + 1, unit + stride), np.int16)
    framed[1:, unit:] = rows
    left, above, corner = framed[1:, :-unit], framed[:-1, unit:], framed[:-1, :-unit]
    best = np.zeros((height, 1 + stride), np.uint8)
    least = np.full(height, np.iinfo(np.int64).max)
    for kind in range(5):
        difference = (framed[1:, unit:] - _predict(kind, left, above, corner)).astype(np.uint8)
        total = np.abs(difference.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64)
        better = total < least
        least[better] = total[better]
        best[better, 0] = kind
        best[better, 1:] = difference[better]
    return best


def undo_filters(rows: Bytes, unit: int) -> Bytes:
    """Restore the rows: (h, 1 + stride) with the filter's number first → (h, stride).

    A pixel depends on those to its left, above and above left. All with the same row + column are therefore
    independent of each other: they are restored together, one antidiagonal after the other. In a flat array
    with a border of zeros above and to the left, an antidiagonal is a slice; its step is one less than a row.
    """
    kinds, filtered = rows[:, 0], rows[:, 1:]
    if kinds.max() > 4:
        raise damaged(f"row {kinds.argmax()} has filter {kinds.max()} of 0 to 4")
    if not kinds.any():
        return filtered
    height, stride = filtered.shape
    width = stride // unit
    framed = np.zeros((height + 1, width + 1, unit), np.uint8)
    framed[1:, 1:] = filtered.reshape(height, width, unit)
    pixels = framed.reshape(-1, unit)
    rows_of = [(kind, (kinds == kind)[:, None]) for kind in np.unique(kinds) if kind]
    for diagonal in range(height + width - 1):
        top, bottom = max(0, diagonal - width + 1), min(diagonal, height - 1) + 1
        first = (top + 1) * (width + 1) + (diagonal - top) + 1
        end = first + width * (bottom - top - 1) + 1
        left, above, corner = (
            pixels[first - back : end - back : width].astype(np.int16) for back in (1, width + 1, width + 2)
        )
        here = pixels[first:end:width]
        for kind, mask in rows_of:
            prediction = _predict(kind, left, above, corner).astype(np.uint8)
            np.add(here, prediction, out=here, where=mask[top:bottom])
    return framed[1:, 1:].reshape(height, stride)


def _predict(kind: int, left: Wide, above: Wide, corner: Wide) -> Wide:
    """What filter ``kind`` expects of a byte: nothing, left, above, the average, Paeth's choice."""
    if kind < 3:
        return (np.zeros_like(left), left, above)[kind]
    if kind == 3:
        return (left + above) >> 1
    return _paeth(left, above, corner)


def _paeth(left: Wide, above: Wide, corner: Wide) -> Wide:
    """The neighbour nearest to left + above − corner; ties go to the left, then above (section 9.4)."""
    from_left, from_above = np.abs(above - corner), np.abs(left - corner)
    from_corner = np.abs(left + above - 2 * corner)
    above_or_corner = np.where(from_above <= from_corner, above, corner)
    return np.where((from_left <= from_above) & (from_left <= from_corner), left, above_or_corner)
