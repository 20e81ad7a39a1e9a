"""Columns: the numbers of a table beside learned vectors of its categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chainrule.errors import ConfigError, ShapeError
from chainrule.graph.expr import Expr
from chainrule.nn.embedding import Embedding
from chainrule.nn.layer import Layer, floating, need_axes, single
from chainrule.nn.run import Run
from chainrule.ops import concat

__all__ = ["Columns"]


@dataclass(frozen=True)
class Columns(Layer):
    """The rows of a table as one array  y = [x, W₀[c₀], W₁[c₁], …].    → y (batch, n + Σ units)

    Takes what :class:`~chainrule.data.tables.TableEncoder` gives: a dict of "x" (batch, n), the numbers, and
    "codes" (batch, k), integers; or one of the two alone. Every column of codes has an
    :class:`Embedding` of its own, ``code_0/W`` and so on.

    sizes   (categories, units) of each column of codes

    ShapeError where there are not so many columns of codes as sizes.

    >>> from chainrule import nn, ops
    >>> table = {"x": ops.input("x", (5, 4)), "codes": ops.input("codes", (5, 2), "int32")}
    >>> nn.trace(Columns(((100, 8), (70, 6))), table, training=True)[0].shape
    (5, 18)
    """

    sizes: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        good = isinstance(self.sizes, tuple) and all(isinstance(s, tuple) and len(s) == 2 for s in self.sizes)
        if not good or not self.sizes:
            raise ConfigError(f"Columns: sizes is {self.sizes!r}; give (categories, units) for each column")
        for categories, units in self.sizes:
            Embedding(categories, units)  # which checks both

    def __call__(self, x: Any, run: Run) -> Expr:
        given = dict(x) if isinstance(x, Mapping) else {"codes": x}
        if "codes" not in given or given.keys() - {"x", "codes"}:
            raise ConfigError(f"Columns takes a dict of 'x' and 'codes', or codes alone; got {sorted(given)}")
        codes = single(self, given["codes"])
        need_axes(self, codes, 2, "codes (batch, k)")
        if codes.shape[1:] != (len(self.sizes),):
            raise ShapeError(
                f"Columns: codes have shape {codes.shape}, but there are {len(self.sizes)} sizes"
            )
        parts = [
            run.apply(f"code_{j}", Embedding(categories, units), codes[:, j])
            for j, (categories, units) in enumerate(self.sizes)
        ]
        if "x" in given:
            parts.insert(0, floating(self, given["x"], run.dtype))
        return concat(parts, -1) if len(parts) > 1 else parts[0]
