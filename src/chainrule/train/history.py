"""History: one row of numbers per epoch, and how the fit ended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.errors import DataError, nearest

__all__ = ["History"]


@dataclass
class History:
    """What a fit reports: ``history["val_loss"]`` is a column over epochs, ``history[-1]`` the last epoch's row.

    stopped     why it ended: "epochs" (all were run), "early stopping", "interrupted" …
    kept        the epoch whose parameters the network has now
    sha256      of the final parameters: the same seed, machine, versions, executor and threads give the same
    executor    which executor ran it, and why
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    stopped: str = ""
    kept: int = -1
    sha256: str = ""
    executor: str = ""
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

    def columns(self) -> list[str]:
        return list(self.rows[0]) if self.rows else []

    def to_json(self) -> dict[str, Any]:
        """Non-finite values become null: JSON has no NaN."""
        rows = [{k: v if math.isfinite(v) else None for k, v in row.items()} for row in self.rows]
        return {**{k: v for k, v in vars(self).items() if k != "rows"}, "rows": rows}

    @staticmethod
    def from_json(saved: Mapping[str, Any]) -> History:
        rows = [{k: math.nan if v is None else v for k, v in row.items()} for row in saved["rows"]]
        return History(**{**saved, "rows": rows})
