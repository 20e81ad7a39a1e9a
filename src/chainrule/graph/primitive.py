"""What a node means: how its type is inferred, how NumPy computes it, what its gradient is, as more nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["PRIMITIVES", "Primitive"]

PRIMITIVES: dict[str, Primitive] = {}
"""Every primitive by name: the closed set that each executor's table must cover."""


@dataclass(frozen=True, eq=False)
class Primitive:
    """An operation of the closed set. Arrays are positional everywhere, metadata keyword-only.

    infer(*specs, **meta)        → Spec, or a tuple of them for several outputs; raises ShapeError, DTypeError
    vjp(g, y, *inputs, **meta)   → a tuple with an Expr or None for each input; g is the cotangent of y
                                   (a tuple of cotangents where y has several outputs)
    reference(*arrays, **meta)   → the value, by NumPy (a tuple for several outputs); a plain ``np.ufunc``
                                   tells the executor that the result may overwrite an operand
    """

    name: str
    infer: Callable[..., Any]
    vjp: Callable[..., tuple[Any, ...]] | None = None
    reference: Callable[..., Any] | None = field(default=None)

    def __post_init__(self) -> None:
        if self.name in PRIMITIVES:
            raise ValueError(f"primitive {self.name!r} is defined twice")
        PRIMITIVES[self.name] = self

    def __repr__(self) -> str:
        return self.name
