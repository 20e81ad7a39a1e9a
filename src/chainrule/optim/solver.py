"""Solver: an optimizer that asks for the loss over all data and its gradient as often as it likes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from chainrule.errors import ConfigError, within
from chainrule.optim.rule import Group, Trainable

__all__ = ["Asks", "Curved", "Function", "Iterate", "Product", "Residuals", "Solver", "begin"]

Vector = npt.NDArray[np.float64]
Function = Callable[[Vector], tuple[float, Vector]]
"""x → (f(x), ∇f(x)). A value that is not finite says that x is too far out."""

Product = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
"""V → MV for a matrix M: of a vector, or of the columns of V. Of a matrix at hand: ``M.__matmul__``."""

Curved = Callable[[Vector], tuple[float, Vector, Product]]
"""x → (f(x), ∇f(x), products with a matrix that says how f bends at x)."""

Residuals = Callable[[Vector], tuple[Vector, Product]]
"""x → (r(x), products with the Jacobian of r at x), where ½‖r‖² is to be made small."""

Asks = Literal["gradient", "hessian", "gauss_newton", "residuals"]
"""What a solver wants to know of a function: a Function, a Curved one by its Hessian, a Curved one by its
Gauss-Newton matrix, or Residuals."""


@dataclass(frozen=True, eq=False)
class Iterate:
    """Where a solver has come to.

    step          the length of the last step, in units of the direction it was taken in
    evaluations   of the function, so far; for HessianFree also products
    stopped       why this is the last one: "gradient" (small enough), "progress" (no more to be had),
                  "evaluations" (all used up), "precision" (the function is noise here); else empty
    """

    x: Vector
    value: float
    gradient: Vector
    step: float
    evaluations: int
    stopped: str = ""


@dataclass(frozen=True, kw_only=True)
class Solver(ABC):
    """An optimizer that is no formula for one step, but a loop around one compiled function: the loss over
    all data, its gradient and, for some, its curvature. It suits small data and smooth losses; there are no
    batches and no learning rate.

    l2        α of the penalty ½α‖w‖² in the loss; weights only
    groups    other penalties for some parameters, or ``frozen``
    """

    l2: float = 0.0
    groups: tuple[Group, ...] = ()

    # The largest that it takes: the parameters, and with them the numbers of a Jacobian.
    most_parameters: ClassVar[float] = math.inf
    most_numbers: ClassVar[float] = math.inf

    # What a Rule has beside these, for the walk over the parameters.
    weight_decay: ClassVar[float] = 0.0
    l1: ClassVar[float] = 0.0
    max_norm: ClassVar[float | None] = None
    slots: ClassVar[tuple[str, ...]] = ()
    scalars: ClassVar[tuple[str, ...]] = ()
    average: ClassVar[Any] = None

    def __post_init__(self) -> None:
        within(self, "l2", "[0, inf)")
        if not isinstance(self.groups, tuple) or not all(isinstance(g, Group) for g in self.groups):
            raise ConfigError(f"{type(self).__name__}: groups is {self.groups!r}; give a tuple of Group(…)")

    def others(self, parameters: Mapping[str, Trainable]) -> dict[str, str]:
        """As of a Rule: this solver suits every parameter."""
        return {}

    def check_size(self, parameters: int, residuals: int = 1) -> None:
        """ConfigError for more parameters, or a larger Jacobian, than this solver takes."""
        name = type(self).__name__
        if parameters > self.most_parameters:
            raise ConfigError(
                f"{name}: {parameters:,} parameters need a Hessian of {8e-9 * parameters**2:,.1f} GB and "
                f"O(P³) operations a step; the limit is {self.most_parameters:,}. Use HessianFree or LBFGS"
            )
        if parameters * residuals > self.most_numbers:
            raise ConfigError(
                f"{name}: {residuals:,} residuals by {parameters:,} parameters are a Jacobian of "
                f"{8e-9 * residuals * parameters:,.1f} GB; the limit is {self.most_numbers:,} numbers. Use "
                "LBFGS or HessianFree, or fewer rows"
            )

    @property
    @abstractmethod
    def asks(self) -> Asks:
        """What kind of function ``iterates`` takes."""

    @abstractmethod
    def iterates(self, function: Callable[[Vector], Any], x: Vector) -> Iterator[Iterate]:
        """From x on, better and better; endless unless ``stopped`` says why. At least one is given."""


def begin(x: Vector, value: float, gradient: Vector, tolerance: float) -> Iterate:
    """The start as an iterate; it is the last one where the gradient is small there, or nothing is finite."""
    if not math.isfinite(value):
        return Iterate(x, value, gradient, 0.0, 1, "precision")
    reason = "gradient" if np.abs(gradient).max(initial=0.0) <= tolerance else ""
    return Iterate(x, value, gradient, 0.0, 1, reason)
