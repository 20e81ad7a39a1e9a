"""History: one row of numbers per epoch, and how the fit ended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import DataError, nearest

__all__ = ["History"]

_MOST_ROWS = 10_000


@dataclass(repr=False)
class History:
    """What a fit reports: ``history["val_loss"]`` is a column over epochs, ``history[-1]`` the last row.

    stopped     why it ended: "epochs" (all were run), "early stopping", "callback" (within an epoch),
                "interrupted", "divergence"
    kept        the epoch, from 0 as in the rows, whose parameters the network has now
    sha256      of the final parameters: the same seed, machine, versions, executor and threads give the same
    executor    which executor ran it; on how many ``threads``; and the ``reason`` for choosing it

    >>> History([{"epoch": 0, "loss": 0.5, "learning_rate": 0.1, "seconds": 0.2}], stopped="interrupted")
    <History 1 epoch, loss 0.5, ended by interrupted>
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    stopped: str = ""
    kept: int = -1
    sha256: str = ""
    executor: str = ""
    threads: int = 1
    reason: str = ""
    seconds: float = 0.0

    def __getitem__(self, key: str | int) -> Any:
        if isinstance(key, int):
            return self.rows[key]
        if self.rows and key not in self.rows[0]:
            raise DataError(f"history has no column {key!r}; {nearest(key, self.rows[0])}")
        return np.array([row[key] for row in self.rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, float]]:
        return iter(self.rows)

    def __repr__(self) -> str:
        """The last epoch in one line; a long history would fill the screen."""
        hidden = ("epoch", "learning_rate", "seconds")
        last = self.rows[-1] if self.rows else {}
        parts = [f"{len(self)} epoch{'s' * (len(self) != 1)}"]
        parts += [f"{name} {value:.4g}" for name, value in last.items() if name not in hidden]
        if self.stopped not in ("", "epochs"):
            parts.append(f"ended by {self.stopped}")
        if 0 <= self.kept < len(self) - 1:
            parts.append(f"kept epoch {self.kept}")
        return f"<History {', '.join(parts)}>"

    def columns(self) -> list[str]:
        return list(self.rows[0]) if self.rows else []

    def lines(self) -> list[dict[str, float | None]]:
        """One JSON object per epoch; non-finite values become null, since JSON has no NaN."""
        return [{k: v if math.isfinite(v) else None for k, v in row.items()} for row in self.rows]

    def ending(self) -> dict[str, Any]:
        """Everything but the rows."""
        return {k: v for k, v in vars(self).items() if k != "rows"}

    def to_json(self) -> dict[str, Any]:
        """One list per column, and how the fit ended. Of more than 10,000 epochs some are left out, evenly,
        but never the last: the header of a model file is not for more."""
        lines = self.lines()
        step = -(-len(lines) // _MOST_ROWS) or 1
        lines = lines[(len(lines) - 1) % step :: step]
        columns = {name: [line[name] for line in lines] for name in self.columns()}
        return {**self.ending(), "columns": columns}

    @staticmethod
    def from_json(saved: Mapping[str, Any]) -> History:
        """What ``to_json`` gave."""
        rest = {k: v for k, v in saved.items() if k != "columns"}
        columns = saved["columns"]
        rows = zip(*columns.values(), strict=True)
        named = [dict(zip(columns, map(_number, row), strict=True)) for row in rows]
        return History(rows=named, **rest)

    def table(self) -> npt.NDArray[np.float64]:
        """(epochs, columns)"""
        return np.array([list(row.values()) for row in self.rows], np.float64).reshape(
            len(self), len(self.columns())
        )

    @staticmethod
    def from_table(
        table: npt.NDArray[np.float64], names: Sequence[str], ending: Mapping[str, Any]
    ) -> History:
        """What ``table``, ``columns`` and ``ending`` gave."""
        rows = [dict(zip(names, map(float, row), strict=True)) for row in table]
        return History(rows=[{**row, "epoch": int(row["epoch"])} for row in rows], **ending)


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if not isinstance(value, int | float):
        raise DataError(f"a history holds numbers, not {value!r}")
    return value
