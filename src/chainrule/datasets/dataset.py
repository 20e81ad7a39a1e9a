"""A data set in memory, with what one must know about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy.typing as npt

__all__ = ["Dataset"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Rows to train on and rows to test on; arrays are read-only: copy one to change it.

    ``x_train`` (n, columns) and ``y_train`` (n,), ``x_test`` and ``y_test`` likewise. Label y is called
    ``classes[y]``; a row is an image of ``image_shape`` (rows, columns) unless that is None.
    """

    name: str
    x_train: npt.NDArray
    y_train: npt.NDArray
    x_test: npt.NDArray
    y_test: npt.NDArray
    classes: tuple[str, ...]
    image_shape: tuple[int, int] | None
    source: str
    licence: str

    def __repr__(self) -> str:
        rows, columns = self.x_train.shape
        return (
            f"<Dataset {self.name}: {rows:,} rows to train, {len(self.x_test):,} to test, {columns} columns "
            f"of {self.x_train.dtype}, {len(self.classes)} classes>"
        )
