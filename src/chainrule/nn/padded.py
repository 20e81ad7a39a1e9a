"""Padded sequences in a network: the values, and of each row how much of it is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.errors import ConfigError, DTypeError, ShapeError, nearest
from chainrule.graph.expr import Expr, constant
from chainrule.nn.layer import Layer
from chainrule.ops import expand, less
from chainrule.spec import is_integer

__all__ = ["entries_of", "there"]


def entries_of(owner: Layer, x: Any, *names: str) -> dict[str, Expr]:
    """What a layer of sequences is given, by name: an array is the first of ``names``.

    Each of ``names`` may have its lengths beside it, (batch,) whole numbers, as
    :class:`~chainrule.data.Sequence` gives them: "x" and "x/lengths".

    ConfigError for other names, or where the first is missing; DTypeError, ShapeError for other lengths.
    """
    title = type(owner).__name__
    found = dict(x) if isinstance(x, Mapping) else {names[0]: x}
    known = [entry for name in names for entry in (name, f"{name}/lengths")]
    for name, node in found.items():
        if name not in known:
            raise ConfigError(f"{title} takes {', '.join(names)}, not {name!r}; {nearest(name, known)}")
        if not isinstance(node, Expr):
            raise ConfigError(f"{title} takes graph nodes, got {type(node).__name__} as {name!r}")
        if name.endswith("/lengths"):
            _check_lengths(title, name, node, found)
    if names[0] not in found:
        raise ConfigError(f"{title} needs {names[0]!r}, got {sorted(found)}")
    return found


def _check_lengths(title: str, name: str, lengths: Expr, found: Mapping[str, Any]) -> None:
    values = found.get(name.removesuffix("/lengths"))
    if not isinstance(values, Expr) or lengths.ndim != 1 or lengths.shape != values.shape[:1]:
        beside = values.spec if isinstance(values, Expr) else "nothing"
        raise ShapeError(f"{title}: {name} is {lengths.spec} beside {beside}; it is one number for each row")
    if not is_integer(lengths.dtype):
        raise DTypeError(f"{title}: {name} is {lengths.spec}; lengths are whole numbers")


def there(lengths: Expr, time: int) -> Expr:
    """Whether a place lies within its row's length.   (batch,) → booleans (batch, time)

    >>> from chainrule import ops
    >>> from chainrule.executors import evaluate
    >>> evaluate([there(ops.constant([1, 3]), 3)], {})[0].astype(int)
    array([[1, 0, 0],
           [1, 1, 1]])
    """
    return less(constant(np.arange(time), "int64"), expand(lengths, -1))
