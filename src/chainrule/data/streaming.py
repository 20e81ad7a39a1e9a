"""Streams: rows that need not fit into memory, block by block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.spec import Spec

__all__ = ["Block", "Buffers", "RowStream"]

Array = npt.NDArray[Any]
Buffers = list[dict[str, Array]]
"""Memory of a stream's blocks, by name: what an epoch leaves here, the next one uses again."""


@dataclass(frozen=True, eq=False)
class Block:
    """Rows in memory, and the order of its steps: what ``Epoch.run(state, arrays, index, scalars)`` takes.

    inputs, targets, weight    (rows, …) each; they are valid until the next block is asked for
    index                      (steps, batch) row numbers
    tail                       (1, rest) of the last block, where the rows do not fill a batch; else None
    """

    inputs: dict[str, Array]
    targets: dict[str, Array]
    weight: Array
    index: Array
    tail: Array | None

    @property
    def steps(self) -> int:
        return len(self.index) + (self.tail is not None)

    @property
    def rows(self) -> Array:
        """The numbers of all its rows, step after step."""
        parts = [self.index, *([] if self.tail is None else [self.tail])]
        return np.concatenate([part.reshape(-1) for part in parts])


class RowStream(ABC):
    """What ``Network.fit`` takes in the place of arrays. ``data.stream_table`` makes one of a table; write
    your own for other rows.

    rows          of an epoch
    batch_size    rows of a step
    shuffle       whether the order is drawn anew for each epoch
    """

    rows: int
    batch_size: int
    shuffle: bool

    @property
    @abstractmethod
    def inputs(self) -> dict[str, Spec]:
        """One row of each input by name: shape and dtype."""

    @property
    @abstractmethod
    def examples(self) -> dict[str, Array]:
        """A few targets by name, among them the least and the greatest class: they decide which loss is
        chosen, and are checked before the first step."""

    @property
    @abstractmethod
    def weighted(self) -> bool:
        """Whether weights are given, of which some may be 0; else all are 1."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Tells whether a run is resumed on its own data: of the rows, and of what decides their order."""

    @abstractmethod
    def for_batch_statistics(self) -> RowStream:
        """The same rows, but a last one alone goes into the batch before it, as ``data.plan`` has it."""

    @abstractmethod
    def split(self, share: float) -> tuple[RowStream, RowStream]:
        """(training, held out)"""

    @abstractmethod
    def epoch(self, number: int, buffers: Buffers | None = None) -> Iterator[Block]:
        """The blocks of an epoch: every row in one step, the same ones for the same number. ``buffers``, an
        empty list at first, keeps the memory of one epoch for the next."""
