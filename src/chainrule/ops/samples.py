"""SAMPLES: for every primitive the inputs on which inference, gradients and each executor are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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

    def arrays(self, seed: int = 0, dtype: str = "float64") -> list[np.ndarray]:
        """The inputs; ``float`` in the case stands for ``dtype``."""
        generator = np.random.Generator(np.random.Philox(seed))
        return [self._array(generator, s, d, dtype) for s, d in zip(self.shapes, self.dtypes, strict=True)]

    def _array(self, generator: np.random.Generator, shape: Shape, dtype: str, floating: str) -> np.ndarray:
        if dtype == "bool":
            return generator.random(shape) < 0.5
        if dtype != "float":
            return generator.integers(int(self.low), int(self.high) + 1, shape).astype(dtype)
        size = int(np.prod(shape))
        if self.distinct:  # evenly spaced, shuffled: no ties, no point near a kink at the middle
            spaced = self.low + (self.high - self.low) * (np.arange(size) + 0.37) / max(size, 1)
            return generator.permutation(spaced).reshape(shape).astype(floating)
        return generator.uniform(self.low, self.high, shape).astype(floating)


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
