"""Pooling over the axes between batch and channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from chainrule.graph.expr import Expr
from chainrule.nn.fields import check_padding, check_per_axis
from chainrule.nn.layer import Layer, floating, need_inner_axes
from chainrule.nn.run import Run
from chainrule.ops import average_pool, cast, max_pool, mean, reshape, where
from chainrule.ops import sum as total

__all__ = ["AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"]

Whole = int | tuple[int, ...]
Padding = str | int | tuple[int | tuple[int, int], ...]


@dataclass(frozen=True)
class _Windows(Layer):
    """What is taken of windows; the fields are told in :class:`MaxPool`."""

    size: Whole = 2
    stride: Whole | None = None
    padding: Padding = "valid"

    def __post_init__(self) -> None:
        check_per_axis(self, None, "size")
        if self.stride is not None:
            check_per_axis(self, None, "stride")
        check_padding(self, None)


@dataclass(frozen=True)
class MaxPool(_Windows):
    """The largest element of every window, in each channel.   x (batch, n…, channels) → (batch, m…, channels)

    Sequences (batch, length, channels) and images (batch, height, width, channels) alike. Of tied elements
    the first receives the gradient.

    size     of a window: one number, or one for every axis
    stride   from one window to the next; None: the size, so that windows do not overlap
    padding  "valid", "same", numbers as of :class:`Conv2D`; borders never win. What fills no window is left
             out

    >>> from chainrule import nn, ops
    >>> nn.trace(MaxPool(2), ops.input("x", (5, 24, 24, 8)), training=True)[0].shape
    (5, 12, 12, 8)
    """

    def __call__(self, x: Any, run: Run) -> Expr:
        return max_pool(_inner(self, x, run), self.size, stride=self.stride, padding=self.padding)


@dataclass(frozen=True)
class AveragePool(_Windows):
    """The mean of every window, in each channel.    x (batch, n…, channels) → y (batch, m…, channels)

    Arguments as of :class:`MaxPool`; borders are not counted.

    >>> from chainrule import nn, ops
    >>> nn.trace(AveragePool(3, 2, "same"), ops.input("x", (5, 9, 8)), training=True)[0].shape
    (5, 5, 8)
    """

    def __call__(self, x: Any, run: Run) -> Expr:
        return average_pool(_inner(self, x, run), self.size, stride=self.stride, padding=self.padding)


@dataclass(frozen=True)
class GlobalAveragePool(Layer):
    """The mean over all places, in each channel.    x (batch, n…, channels) → y (batch, channels)

    Of sequences of unequal length over those within.

    >>> from chainrule import nn, ops
    >>> nn.trace(GlobalAveragePool(), ops.input("x", (5, 7, 7, 8)), training=True)[0].shape
    (5, 8)
    """

    def __call__(self, x: Any, run: Run) -> Expr:
        x = _inner(self, x, run)
        inside = run.inside(x, self)
        if run.lengths is None or inside is None:
            return mean(x, range(1, x.ndim - 1))
        found = total(where(_along(inside, x), x, 0), range(1, x.ndim - 1))
        places = math.prod(x.shape[2:-1])
        return found / reshape(cast(run.lengths, x.dtype) * places, (x.shape[0], 1))


@dataclass(frozen=True)
class GlobalMaxPool(Layer):
    """The largest element over all places, in each channel.    x (batch, n…, channels) → y (batch, channels)

    Of sequences of unequal length over those within. Of tied elements the first receives the gradient.

    >>> from chainrule import nn, ops
    >>> nn.trace(GlobalMaxPool(), ops.input("x", (5, 30, 8)), training=True)[0].shape
    (5, 8)
    """

    def __call__(self, x: Any, run: Run) -> Expr:
        x = _inner(self, x, run)
        if (inside := run.inside(x, self)) is not None:
            x = where(_along(inside, x), x, -math.inf)
        return reshape(max_pool(x, x.shape[1:-1]), (x.shape[0], x.shape[-1]))


def _along(inside: Expr, x: Expr) -> Expr:
    """(batch, steps) as x stands: (batch, steps, 1, …)."""
    return reshape(inside, (*inside.shape, *(1 for _ in x.shape[2:])))


def _inner(layer: Layer, x: Any, run: Run) -> Expr:
    x = floating(layer, x, run.dtype)
    need_inner_axes(layer, x, None)
    return x
