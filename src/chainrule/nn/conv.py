"""Convolutions over sequences and images, channels last, and their transposes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

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
class Conv1D(Layer):
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

    filters: int
    kernel: Whole = 3
    stride: Whole = 1
    padding: Padding = "valid"
    dilation: Whole = 1
    groups: int = 1
    init: Init = HeNormal()
    bias: bool = True
    bias_init: Init = Zeros()

    def __post_init__(self) -> None:
        _check(self, 1)

    def __call__(self, x: Any, run: Run) -> Expr:
        return _convolved(self, x, run, 1)


@dataclass(frozen=True)
class Conv2D(Layer):
    """Convolution of images  y = x ∗ W + b.    x (batch, height, width, in) → y (batch, …, …, filters)

    As :class:`Conv1D`, with one number or (along height, along width) for kernel, stride and dilation.

    W        (kernel, kernel, in/groups, filters)
    padding  "valid", "same", a number, (rows, columns), or ((top, bottom), (left, right))

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(Conv2D(32, 3), ops.input("x", (64, 28, 28, 1), "uint8"), training=True)
    >>> y.shape, run.parameters["W"].spec.shape
    ((64, 26, 26, 32), (3, 3, 1, 32))
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

    def __post_init__(self) -> None:
        _check(self, 2)

    def __call__(self, x: Any, run: Run) -> Expr:
        return _convolved(self, x, run, 2)


@dataclass(frozen=True)
class ConvTranspose1D(Layer):
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

    filters: int
    kernel: Whole = 3
    stride: Whole = 1
    padding: Padding = "valid"
    dilation: Whole = 1
    groups: int = 1
    init: Init = HeNormal()
    bias: bool = True
    bias_init: Init = Zeros()

    def __post_init__(self) -> None:
        _check(self, 1)

    def __call__(self, x: Any, run: Run) -> Expr:
        return _spread_out(self, x, run, 1)


@dataclass(frozen=True)
class ConvTranspose2D(Layer):
    """Transposed convolution of images: every element of x adds a filter to y, ``stride`` places apart.

    x (batch, height, width, in) → y (batch, …, …, filters). As :class:`ConvTranspose1D`, with one number or
    (along the height, along the width) for kernel, stride and dilation.

    W  (kernel, kernel, filters/groups, in)

    >>> from chainrule import nn, ops
    >>> up = ConvTranspose2D(8, 3, stride=2, padding="same")
    >>> nn.trace(up, ops.input("x", (5, 7, 7, 16)), training=True)[0].shape
    (5, 14, 14, 8)
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

    def __post_init__(self) -> None:
        _check(self, 2)

    def __call__(self, x: Any, run: Run) -> Expr:
        return _spread_out(self, x, run, 2)


Convolution = Conv1D | Conv2D | ConvTranspose1D | ConvTranspose2D


def _check(layer: Convolution, axes: int) -> None:
    check_whole(layer, "filters")
    check_per_axis(layer, axes, "kernel", "stride", "dilation")
    check_padding(layer, axes)
    check_whole(layer, "groups")
    check_flag(layer, "bias")
    check_init(layer, "init", "bias_init")
    if layer.filters % layer.groups:
        raise ConfigError(
            f"{type(layer).__name__}: groups={layer.groups} does not divide filters={layer.filters}"
        )


def _prepared(layer: Convolution, x: Any, run: Run, axes: int) -> tuple[Expr, dict[str, Any]]:
    """x in the run's dtype, and the arguments of the operation."""
    x = floating(layer, x, run.dtype)
    need_inner_axes(layer, x, axes)
    if x.shape[-1] % layer.groups:
        raise ShapeError(
            f"{type(layer).__name__}: groups={layer.groups} does not divide the {x.shape[-1]} channels of x, "
            f"which has shape {x.shape}"
        )
    names = ("stride", "padding", "dilation", "groups")
    return x, {name: getattr(layer, name) for name in names}


def _convolved(layer: Conv1D | Conv2D, x: Any, run: Run, axes: int) -> Expr:
    x, meta = _prepared(layer, x, run, axes)
    kernel, inputs = per_axis("kernel", layer.kernel, axes), x.shape[-1] // layer.groups
    places = math.prod(kernel)
    W = run.parameter(
        "W", (*kernel, inputs, layer.filters), layer.init,
        fan=(places * inputs, places * layer.filters // layer.groups),
    )  # fmt: skip
    return _offset(layer, conv(x, W, **meta), run)


def _spread_out(layer: ConvTranspose1D | ConvTranspose2D, x: Any, run: Run, axes: int) -> Expr:
    x, meta = _prepared(layer, x, run, axes)
    kernel, outputs = per_axis("kernel", layer.kernel, axes), layer.filters // layer.groups
    places, apart = math.prod(kernel), math.prod(per_axis("stride", layer.stride, axes))
    terms = max(places * x.shape[-1] // layer.groups // apart, 1)  # of the sum that an element of y is
    W = run.parameter("W", (*kernel, outputs, x.shape[-1]), layer.init, fan=(terms, places * outputs))
    return _offset(layer, conv_transpose(x, W, **meta), run)


def _offset(layer: Convolution, y: Expr, run: Run) -> Expr:
    if not layer.bias:
        return y
    return y + run.parameter("b", (layer.filters,), layer.bias_init, role="bias")
