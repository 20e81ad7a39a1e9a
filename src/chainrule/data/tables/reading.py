"""A column of a text file while it is read: block after block, in the narrowest kind that holds all of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from chainrule.data.tables.cells import (
    LARGEST_EXACT,
    date_order,
    looks_like_numbers,
    numbers,
    to_dates,
    whole,
)
from chainrule.data.tables.columns import mixed
from chainrule.data.tables.table import Array
from chainrule.errors import DataError

__all__ = ["KINDS", "Column", "Widen"]

KINDS = ("whole", "number", "truth", "iso", "dmy", "mdy", "text")
"""What a column of a text file can be; the three in the middle are dates, by the order of their parts."""

_TRUTH = {"true": 1, "false": 0}
_SHOWN = 3
_POOLED = 1 << 17  # texts that are kept to be shared
_ENOUGH = 1000  # words after which a column of numbers is one of text, without reading on

Line = Callable[[int], int]
"""The line of the file in which a row of the block begins."""


class Widen(Exception):  # noqa: N818 - caught by who reads the file: it begins again
    """Columns that must be read as text from the first row on."""

    def __init__(self, *names: str) -> None:
        self.names = names


class Column:
    """Reads one column.

    kind     of KINDS, once a block had a value; given in advance, it is believed
    fixed    the kind was given: whatever does not fit is a DataError, not another kind
    """

    def __init__(self, name: str, decimal: str, gaps: frozenset[str], kind: str | None = None) -> None:
        self.name, self.decimal, self.gaps, self.kind = name, decimal, gaps, kind
        self.fixed = kind is not None
        self.words: list[tuple[str, str]] = []
        self.count = self.present = 0  # words; cells that hold something
        self.sample: Array = np.zeros(0)  # of the numbers
        self.largest = 0.0
        self.pool = _Pool(gaps)

    def add(self, cells: Sequence[str], line: Line) -> Array:
        """The block's values. Widen where it turns out that the column is text."""
        if self.kind is None:
            self.kind = self._first(cells)
            if self.kind is None:
                return np.full(len(cells), np.nan)
        if self.kind == "text":
            return self._texts(cells)
        if self.kind == "truth":
            return self._truth(cells)
        if self.kind in ("whole", "number"):
            return self._numbers(cells, line)
        return self._dates(cells, line)

    def finish(self) -> None:
        """DataError where words stand among numbers or dates by mistake, Widen where there are too many."""
        if not self.count:
            return
        if self.kind in ("whole", "number"):
            mistake = looks_like_numbers(self.sample, 0) and 4 * self.count <= self.present
        else:
            mistake = 4 * self.count <= self.present
        if mistake or self.fixed:
            sort = "number" if self.kind in ("whole", "number") else "date"
            raise DataError(mixed(self.name, self.words, self.count, sort))
        raise Widen(self.name)

    # ------------------------------------------------------------------ one kind each

    def _first(self, cells: Sequence[str]) -> str | None:
        """What the first values are: the narrowest kind."""
        present = [text for cell in cells if (text := cell.strip()) not in self.gaps]
        if not present:
            return None
        if all(text.lower() in _TRUTH for text in present):
            return "truth"
        found = whole(present)
        if isinstance(found, str) and found == "code":
            return "text"
        if not isinstance(found, str):
            return "whole"
        values, words = numbers(present, self.decimal, self.gaps)
        if len(words) < len(present) and (not words or looks_like_numbers(values, len(words))):
            return "number"
        return date_order(present) or self._mostly_dates(present) or "text"

    def _mostly_dates(self, present: Sequence[str]) -> str | None:
        """ISO dates with at most a quarter of mistakes."""
        good = [text for text in present if text[:4].isdigit() and date_order([text]) == "iso"]
        return "iso" if 4 * len(good) >= 3 * len(present) else None

    def _texts(self, cells: Sequence[str]) -> Array:
        column = np.empty(len(cells), object)
        column[:] = list(map(self.pool.__getitem__, cells))
        return column

    def _truth(self, cells: Sequence[str]) -> Array:
        try:
            return np.array([_TRUTH[cell.strip().lower()] for cell in cells], bool)
        except KeyError:
            pass
        texts = [cell.strip() for cell in cells]
        if any(t not in self.gaps and t.lower() not in _TRUTH for t in texts):
            raise Widen(self.name)
        column = np.empty(len(cells), object)
        column[:] = [None if t in self.gaps else t.capitalize() for t in texts]
        return column

    def _numbers(self, cells: Sequence[str], line: Line) -> Array:
        values = self._whole(cells) if self.kind == "whole" else None
        if values is None:
            values, words = numbers(cells, self.decimal, self.gaps)
            self._mistakes(words, cells, line)
            if self.kind == "whole":
                self.kind = "number"
            elif self.largest > LARGEST_EXACT:
                raise Widen(self.name)
        if len(self.sample) < 1 << 14:
            self.sample = np.append(self.sample, values[: 1 << 12])
        self.present += int(np.count_nonzero(~np.isnan(values))) if values.dtype.kind == "f" else len(values)
        return values

    def _whole(self, cells: Sequence[str]) -> Array | None:
        """Whole numbers, with gaps as float64; None where there are fractions or words."""
        found = whole(cells)
        if not isinstance(found, str):
            self._remember(found)
            return found
        full = [cell not in self.gaps for cell in cells]
        present = list(itertools.compress(cells, full))
        if len(present) == len(cells) and found == "not whole":
            return None
        found = whole(present)
        if isinstance(found, str):
            if found == "code" and not self.fixed:
                raise Widen(self.name)
            return None
        self._remember(found)
        if self.largest > LARGEST_EXACT and not self.fixed:
            raise Widen(self.name)
        values = np.full(len(cells), np.nan)
        values[full] = found
        return values

    def _remember(self, values: Array) -> None:
        if values.size:
            self.largest = max(self.largest, abs(float(values.max())), abs(float(values.min())))

    def _dates(self, cells: Sequence[str], line: Line) -> Array:
        values, words = to_dates(cells, str(self.kind), self.gaps)
        self._mistakes(words, cells, line)
        self.present += int(np.count_nonzero(~np.isnat(values)))
        return values

    def _mistakes(self, words: Sequence[int], cells: Sequence[str], line: Line) -> None:
        self.count += len(words)
        self.present += len(words)
        for i in words[: _SHOWN - len(self.words)]:
            self.words.append((f"line {line(i)}", cells[i].strip()))
        if self.count > _ENOUGH and 4 * self.count > self.present and not self.fixed:
            raise Widen(self.name)


class _Pool(dict[str, str | None]):
    """Cells → texts, each kept once, without blanks around; gaps are None."""

    def __init__(self, gaps: frozenset[str]) -> None:
        self.gaps, self.nbytes = gaps, 0

    def __missing__(self, cell: str) -> str | None:
        text: str | None = cell.strip()
        if text in self.gaps:
            text = None
        elif text != cell and text is not None:
            text = self.setdefault(text, text)
        self.nbytes += 150 + 2 * len(cell)  # the dict's entry and the text
        if len(self) > _POOLED:
            self.clear()
        self[cell] = text
        return text
