"""Program: what an executor is asked to run, step after step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy.typing as npt

from chainrule.graph.expr import Expr

__all__ = ["Array", "Epoch", "Function", "Program", "State"]

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


class Function(Protocol):
    """A compiled graph: arrays in, arrays out. Safe to call from several threads."""

    def __call__(self, *arrays: Any) -> list[Array]: ...

    def place(self, arrays: Sequence[Array], first: int = 0) -> list[Array]:
        """The same values for the inputs from ``first`` on, laid out so that no call need copy them: for what
        is given often, such as parameters."""
        return list(arrays)
