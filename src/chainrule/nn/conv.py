"""Convolutions over sequences and images, channels last, and their transposes."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from chainrule.errors import ConfigError, ShapeError
from chainrule.graph.expr import Expr
from chainrule.nn.fields import check_flag, check_padding, check_per_axis, check_whole
from chainrule.nn.init import HeNormal, Init, Zeros, check_init
from chainrule.nn.layer import Layer, floating, need_inner_axes
from chainrule.nn.run import Run
from chainrule.ops import conv, conv_transpose
from chainrule.ops.spatial import per_axis

__all__ = ["Conv1D", "Conv2D", "ConvTranspose1D", "ConvTranspose2D"]

Whole = int | tuple[int, ...]
Padding = str | int | tuple[int | tuple[int, int], ...]


@dataclass(frozen=True)
class _Convolution(Layer):
    """What the four have in common; the fields are told in :class:`Conv1D`.

    axes    between batch and channels
    """

    filters: int
    kernel: Whole = 3
    stride: Whole = 1
    padding: Padding = "valid"
    dilation: Whole = 1
    groups: int = 1
    init: Init = HeNormal()
    bias: bool = True
    bias_init: Init = Zeros()

    axes: ClassVar[int]

    def __post_init__(self) -> None:
        check_whole(self, "filters")
        check_per_axis(self, self.axes, "kernel", "stride", "dilation")
        check_padding(self, self.axes)
        check_whole(self, "groups")
        check_flag(self, "bias")
        check_init(self, "init", "bias_init")
        if self.filters % self.groups:
            raise ConfigError(
                f"{type(self).__name__}: groups={self.groups} does not divide filters={self.filters}"
            )

    def __call__(self, x: Any, run: Run) -> Expr:
        x = floating(self, x, run.dtype)
        need_inner_axes(self, x, self.axes)
        if x.shape[-1] % self.groups:
            raise ShapeError(
                f"{type(self).__name__}: groups={self.groups} does not divide the {x.shape[-1]} channels of "
                f"x, which has shape {x.shape}"
            )
        names = ("stride", "padding", "dilation", "groups")
        y = self._linear(x, run, {name: getattr(self, name) for name in names})
        return y + run.parameter("b", (self.filters,), self.bias_init, role="bias") if self.bias else y

    @abstractmethod
    def _linear(self, x: Expr, run: Run, options: dict[str, Any]) -> Expr:
        """y without the bias."""


@dataclass(frozen=True)
class _Conv(_Convolution):
    def _linear(self, x: Expr, run: Run, options: dict[str, Any]) -> Expr:
        kernel, inputs = per_axis("kernel", self.kernel, self.axes), x.shape[-1] // self.groups
        places = math.prod(kernel)
        fan = places * inputs, places * self.filters // self.groups
        return conv(x, run.parameter("W", (*kernel, inputs, self.filters), self.init, fan=fan), **options)


@dataclass(frozen=True)
class _ConvTranspose(_Convolution):
    def _linear(self, x: Expr, run: Run, options: dict[str, Any]) -> Expr:
        kernel, outputs = per_axis("kernel", self.kernel, self.axes), self.filters // self.groups
        places, apart = math.prod(kernel), math.prod(per_axis("stride", self.stride, self.axes))
        terms = max(places * x.shape[-1] // self.groups // apart, 1)  # of the sum that an element of y is
        W = run.parameter("W", (*kernel, outputs, x.shape[-1]), self.init, fan=(terms, places * outputs))
        return conv_transpose(x, W, **options)


@dataclass(frozen=True)
class Conv1D(_Conv):
    """Convolution of sequences  y = x ∗ W + b.    x (batch, length, in) → y (batch, places, filters)

    Every filter sees ``kernel`` neighbours of all channels of its group at once: :func:`chainrule.ops.conv`.

    W         (kernel, in/groups, filters)
    stride    places from one window to the next
    padding   "valid" none; "same" so many zeros that there are ⌈length/stride⌉ places; a number of zeros on
              both sides; ((before, after),), such as ((kernel − 1, 0),) for a causal convolution
    dilation  places from one element of a window to the next
    groups    parts of the channels that do not mix; it divides in and filters
    init      He's variance, 2/(kernel·in/groups), for what is followed by ReLU

    ShapeError for sequences without a channel axis, for kernels that do not fit, for a changed number of
    channels.

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(Conv1D(8, 3, padding="same"), ops.input("x", (5, 20, 4)), training=True)
    >>> y.shape, run.parameters["W"].spec.shape, run.parameters["W"].fan
    ((5, 20, 8), (3, 4, 8), (12, 24))
    """

    axes = 1


@dataclass(frozen=True)
class Conv2D(_Conv):
    """Convolution of images  y = x ∗ W + b.    x (batch, height, width, in) → y (batch, …, …, filters)

    As :class:`Conv1D`, with one number or (along height, along width) for kernel, stride and dilation.

    W        (kernel, kernel, in/groups, filters)
    padding  "valid", "same", a number, (rows, columns), or ((top, bottom), (left, right))

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(Conv2D(32, 3), ops.input("x", (64, 28, 28, 1), "uint8"), training=True)
    >>> y.shape, run.parameters["W"].spec.shape
    ((64, 26, 26, 32), (3, 3, 1, 32))
    """

    axes = 2


@dataclass(frozen=True)
class ConvTranspose1D(_ConvTranspose):
    """Transposed convolution of sequences: every element of x adds a filter to y, ``stride`` places apart.

    x (batch, places, in) → y (batch, length, filters): :func:`chainrule.ops.conv_transpose`. It undoes the
    shape of a :class:`Conv1D` with the same kernel, stride, padding and dilation.

    W        (kernel, filters/groups, in)
    padding  what is cut off:  length = (places − 1)·stride + (kernel − 1)·dilation + 1 − before − after;
             "same": so much that length = places·stride
    init     He's variance; the fans are (kernel·in/groups/stride, kernel·filters/groups)

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(ConvTranspose1D(8, 4, stride=2), ops.input("x", (5, 10, 6)), training=True)
    >>> y.shape, run.parameters["W"].spec.shape, run.parameters["W"].fan
    ((5, 22, 8), (4, 8, 6), (12, 32))
    """

    axes = 1


@dataclass(frozen=True)
class ConvTranspose2D(_ConvTranspose):
    """Transposed convolution of images: every element of x adds a filter to y, ``stride`` places apart.

    x (batch, height, width, in) → y (batch, …, …, filters). As :class:`ConvTranspose1D`, with one number or
    (along the height, along the width) for kernel, stride and dilation.

    W  (kernel, kernel, filters/groups, in)

    >>> from chainrule import nn, ops
    >>> up = ConvTranspose2D(8, 3, stride=2, padding="same")
    >>> nn.trace(up, ops.input("x", (5, 7, 7, 16)), training=True)[0].shape
    (5, 14, 14, 8)
    """

    axes = 2
