"""Program: what an executor is asked to run, step after step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from chainrule.graph.expr import Expr

__all__ = ["Array", "Blocks", "Epoch", "Function", "Program", "State"]

Array = npt.NDArray[Any]
State = dict[str, Array]
"""Named arrays that live in the executor while it runs; replaced, never changed from outside."""


@dataclass(frozen=True, eq=False)
class Program:
    """One step of a computation that is repeated.

    outputs    what every step delivers, by name
    batch      inputs filled by gathering rows of the data
    scalars    inputs that receive one value per step: learning rates, the step number, the seed
    state      inputs that persist from step to step
    updates    the next value of a state, by the state's name; what is not named stays
    healthy    a boolean scalar: where it is False the step ends before any update
    """

    outputs: Mapping[str, Expr]
    batch: Sequence[Expr] = ()
    scalars: Sequence[Expr] = ()
    state: Sequence[Expr] = ()
    updates: Mapping[str, Expr] = field(default_factory=dict)
    healthy: Expr | None = None


class Epoch(Protocol):
    """A program made ready to run many steps in one call, on so many ``threads``."""

    threads: int

    def run(
        self, state: State, data: Sequence[Array], index: Array, scalars: Sequence[Array]
    ) -> tuple[int, dict[str, Array]]:
        """Run one step for every row of ``index`` (steps, batch), which picks rows of each array in ``data``.

        ``scalars`` holds an array (steps,) for each of the program's. ``state`` is brought up to date.
        → (number of healthy steps, outputs stacked over those steps)
        """


class Blocks(Protocol):
    """A function whose last arrays are known, applied to block after block of rows of the others.

    arrays    those last ones, where the function reads them: no call copies them
    """

    arrays: list[Array]

    def __call__(self, rows: Sequence[Array], found: Sequence[Array], start: int, count: int) -> None:
        """Computes ``count`` blocks, from row ``start`` of ``rows`` on, into the same rows of ``found``.

        All arrays have the dtypes and the shapes of rows that the function takes and gives, lie in C order
        and have the rows that are asked for: nothing is checked here.
        """

    def one(self, rows: Sequence[Array]) -> list[Array]:
        """The outputs for the rows of one block, or for fewer."""


class Function(Protocol):
    """A compiled graph: arrays in, arrays out. Safe to call from several threads."""

    def __call__(self, *arrays: Any) -> list[Array]: ...

    def bound(self, arrays: Sequence[Array], size: int) -> Blocks:
        """With these for the last inputs, such as parameters, and blocks of ``size`` rows for the others."""
        return _Calls(self, list(arrays), size)


@dataclass
class _Calls(Blocks):
    """One call of a function for every block."""

    function: Function
    arrays: list[Array]
    size: int

    def __call__(self, rows: Sequence[Array], found: Sequence[Array], start: int, count: int) -> None:
        for first in range(start, start + count * self.size, self.size):
            block = slice(first, first + self.size)
            for array, value in zip(
                found, self.function(*(a[block] for a in rows), *self.arrays), strict=True
            ):
                array[block] = value

    def one(self, rows: Sequence[Array]) -> list[Array]:
        n = len(rows[0])
        values = self.function(*(a if n == self.size else _filled(a, self.size) for a in rows), *self.arrays)
        return [a[:n] for a in values]


def _filled(a: Array, size: int) -> Array:
    """With rows of zeros up to so many."""
    whole = np.zeros((size, *a.shape[1:]), a.dtype)
    whole[: len(a)] = a
    return whole
