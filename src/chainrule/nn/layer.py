"""Layer: what a step of a network is; and the checks on steps and on what flows between them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import ConfigError, DTypeError, ShapeError, nearest
from chainrule.graph.expr import Expr
from chainrule.ops import cast
from chainrule.ops.functions import FUNCTIONS
from chainrule.spec import is_float

if TYPE_CHECKING:
    from chainrule.nn.run import Run

__all__ = [
    "Layer",
    "Step",
    "check_step",
    "describe",
    "floating",
    "need_axes",
    "need_inner_axes",
    "single",
    "step_name",
]


class Layer(ABC):
    """A frozen dataclass that turns an input into an output; ``run`` gives it parameters, noise, statistics.

    An input or output is one node, or a dict of nodes by name. Fields hold numbers, strings, functions,
    initialisers and other layers, never arrays; sub-layers are called by ``run.apply(name, layer, x)`` only.

    >>> from dataclasses import dataclass
    >>> from chainrule import nn, ops
    >>> @dataclass(frozen=True)
    ... class Halve(nn.Layer):
    ...     body: nn.Layer
    ...     def __call__(self, x, run):
    ...         return 0.5 * run.apply("body", self.body, x)
    >>> y, run = nn.trace(Halve(nn.Dense(3)), ops.input("x", (5, 4)), training=True)
    >>> y.shape, list(run.parameters)
    ((5, 3), ['body/W', 'body/b'])
    """

    @abstractmethod
    def __call__(self, x: Any, run: Run) -> Any:
        """The output as a graph. ``x`` and the result: an Expr, or a dict of them by name."""


Step = Layer | Callable[..., Expr]
"""A layer, or a function registered in ``chainrule.ops.functions.FUNCTIONS``."""


# ------------------------------------------------------------------ steps


def check_step(step: Any, place: str = "a step") -> None:
    """``step`` is a layer or a registered function; ConfigError says what to write instead."""
    if isinstance(step, Layer):
        _check_frozen(step)
    elif isinstance(step, type):
        raise ConfigError(f"{place}: {step.__name__} is a class; write {step.__name__}(…)")
    elif isinstance(step, str):
        raise ConfigError(
            f"{place}: got the string {step!r}; give the function itself. {nearest(step, FUNCTIONS)}"
        )
    elif not callable(step):
        remedy = "; write Network(*layers) for the layers in a list" if isinstance(step, list | tuple) else ""
        raise ConfigError(f"{place} must be a layer or a registered function, got {step!r}{remedy}")
    elif FUNCTIONS.get(name := getattr(step, "__name__", repr(step))) is not step:
        raise ConfigError(
            f"{place}: the function {name!r} is not registered, so a saved network could not name it; "
            f"{nearest(name, FUNCTIONS)}. Write a frozen dataclass with the base nn.Layer, or register "
            f"yours: ops.functions.FUNCTIONS[{name!r}] = {name if name.isidentifier() else 'function'}"
        )


def _check_frozen(layer: Layer) -> None:
    cls = type(layer)
    own = vars(cls).get("__dataclass_params__")  # of this class, not of its base
    if own is None or not own.frozen:
        raise ConfigError(
            f"layer {cls.__name__} is not a frozen dataclass; write @dataclass(frozen=True) above the class"
        )


def step_name(step: Step) -> str:
    """What an unnamed step is called, before its number: the type's or function's name in snake_case.

    >>> from chainrule import nn, ops
    >>> [step_name(s) for s in (nn.BatchNorm(), nn.PReLU(), ops.leaky_relu)]
    ['batch_norm', 'prelu', 'leaky_relu']
    """
    name = type(step).__name__ if isinstance(step, Layer) else step.__name__
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", name).lower()


# ------------------------------------------------------------------ what flows between steps


def describe(x: Any) -> str:
    """``float32[100, 784]``, or the same for every entry of a dict."""
    if isinstance(x, Mapping):
        return "{" + ", ".join(f"{name}: {describe(v)}" for name, v in x.items()) + "}"
    return str(x.spec) if isinstance(x, Expr) else type(x).__name__


def single(owner: Step, x: Any) -> Expr:
    """The one array that most layers take."""
    if isinstance(x, Expr):
        return x
    if isinstance(x, Mapping) and set(x) == {"x", "x/lengths"} and isinstance(x["x"], Expr):
        return x["x"]  # one padded sequence; who needs its lengths finds them in the run
    if isinstance(x, Mapping):
        raise ConfigError(
            f"{_title(owner)} takes one array, got a dict of {sorted(x)}; bring them together first, "
            "with nn.parallel or a layer of your own"
        )
    raise ConfigError(
        f"{_title(owner)} takes a graph node, got {type(x).__name__}; make one with ops.input or ops.constant"
    )


def floating(owner: Step, x: Any, dtype: np.dtype) -> Expr:
    """One array in the run's dtype: integers and booleans are cast, the other floating dtype is refused."""
    node = single(owner, x)
    if node.dtype != dtype and is_float(node.dtype):
        raise DTypeError(
            f"{_title(owner)} got {node.spec} in a network of dtype {dtype.name}; cast the input (ops.cast), "
            f"or make the network {node.dtype.name}"
        )
    return cast(node, dtype)


def need_axes(owner: Step, x: Expr, least: int, wanted: str) -> None:
    """ShapeError where x has fewer axes than ``wanted`` shows."""
    if x.ndim < least:
        remedy = "; x.reshape(-1, 1) makes n samples of one value, x.reshape(1, -1) one sample"
        raise ShapeError(
            f"{_title(owner)} takes {wanted}, got shape {x.shape}{remedy if x.ndim == 1 else ''}"
        )


def need_inner_axes(owner: Step, x: Expr, axes: int | None) -> None:
    """ShapeError where x has not one axis for each of ``axes`` (at least one where None) between batch and
    channels."""
    if (x.ndim < 3) if axes is None else (x.ndim != axes + 2):
        wanted = {1: "(batch, length, channels)", 2: "(batch, height, width, channels)"}
        both = " or ".join(wanted.values())
        remedy = ""
        if x.ndim == (axes or 1) + 1:
            remedy = f"; x[..., None] makes one channel: {(*x.shape, 1)}"
        raise ShapeError(
            f"{_title(owner)} takes {wanted[axes] if axes else both}, got shape {x.shape}{remedy}"
        )


def _title(owner: Step) -> str:
    return type(owner).__name__ if isinstance(owner, Layer) else owner.__name__
