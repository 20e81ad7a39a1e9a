"""SAMPLES: for every primitive the inputs on which inference, gradients and each executor are checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.graph.primitive import Primitive
from chainrule.spec import Shape

__all__ = ["SAMPLES", "Case", "case"]


@dataclass(frozen=True, eq=False)
class Case:
    """Shapes, dtypes and ranges of the inputs, and the metadata, of one use of a primitive."""

    shapes: tuple[Shape, ...]
    dtypes: tuple[str, ...]
    low: float
    high: float
    distinct: bool
    meta: Mapping[str, Any] = field(default_factory=dict)

    def arrays(self, seed: int = 0, dtype: str = "float64") -> list[npt.NDArray[Any]]:
        """The inputs; ``float`` in the case stands for ``dtype``."""
        generator = np.random.Generator(np.random.Philox(seed))
        return [
            np.array(self._draw(generator, place, shape, kind), dtype if kind == "float" else kind)
            for place, (shape, kind) in enumerate(zip(self.shapes, self.dtypes, strict=True))
        ]

    def _draw(self, generator: np.random.Generator, place: int, shape: Shape, kind: str) -> Any:
        if kind == "bool":
            return generator.random(shape) < 0.5
        if kind != "float":
            return generator.integers(int(self.low), int(self.high) + 1, shape)
        if not self.distinct:
            return generator.uniform(self.low, self.high, shape)
        size = math.prod(
            shape
        )  # evenly spaced, shuffled: no ties, not between inputs either, no kink at the middle
        spaced = (np.arange(size) + 0.37 + 0.31 * place) / max(size, 1)
        return generator.permutation(self.low + (self.high - self.low) * spaced).reshape(shape)


def case(
    *shapes: Shape,
    dtypes: tuple[str, ...] | None = None,
    low: float = -2.0,
    high: float = 2.0,
    distinct: bool = False,
    **meta: Any,
) -> Case:
    """``case((3, 4), axes=(1,))``: one float input of that shape in (−2, 2), metadata ``axes=(1,)``."""
    return Case(shapes, dtypes or ("float",) * len(shapes), low, high, distinct, meta)


SAMPLES: dict[Primitive, list[Case]] = {}
"""One list drives many checks; a primitive without an entry fails the tests."""
