"""Layers inside a layer, by their paths: one of them alone, or another in its place."""

from __future__ import annotations

import dataclasses
from typing import Any

from chainrule.errors import ConfigError, nearest
from chainrule.nn.container import Parallel, Sequential
from chainrule.nn.layer import Layer, Step, check_step

__all__ = ["exchanged", "part"]


def part(layer: Step, path: str) -> Step:
    """The layer at a path: a step by its name, a branch by its name, a field of a layer of your own.

    >>> from chainrule import nn, ops
    >>> net = nn.sequential(body=nn.sequential(nn.Dense(3), ops.relu), head=nn.Dense(2))
    >>> part(net, "body/dense_0").units
    3
    """
    for name in path.split("/"):
        layer = _inside(layer, name, path)[name]
    return layer


def exchanged(layer: Step, path: str, new: Step | None) -> Step:
    """The same layer with another one at a path; None takes a step out of a sequence.

    >>> from chainrule import nn, ops
    >>> net = nn.sequential(body=nn.sequential(nn.Dense(3), ops.relu), head=nn.Dense(2))
    >>> part(exchanged(net, "head", nn.Dense(5)), "head").units
    5
    """
    name, _, rest = path.partition("/")
    inside = _inside(layer, name, path)
    if rest:
        new = exchanged(inside[name], rest, new)
    if new is None and not isinstance(layer, Sequential):
        raise ConfigError(
            f"{path!r} is no step of a sequence, so it cannot be left out; give a layer instead"
        )
    if new is not None:
        check_step(new, path)
    if isinstance(layer, Sequential | Parallel):
        kept: Any = tuple((n, new if n == name else s) for n, s in inside.items() if n != name or new)
        return (
            Sequential(kept) if isinstance(layer, Sequential) else dataclasses.replace(layer, branches=kept)
        )
    return dataclasses.replace(layer, **{name: new})  # type: ignore[type-var]


def _inside(layer: Any, name: str, path: str) -> dict[str, Any]:
    """The layers directly inside one, by name; ConfigError where there is none of that name."""
    if isinstance(layer, Sequential):
        found = dict(layer.steps)
    elif isinstance(layer, Parallel):
        found = dict(layer.branches)
    else:
        fields = dataclasses.fields(layer) if dataclasses.is_dataclass(layer) else ()
        found = {f.name: getattr(layer, f.name) for f in fields}
        found = {n: step for n, step in found.items() if isinstance(step, Layer) or callable(step)}
    if name not in found:
        raise ConfigError(f"there is no layer {path!r}; {nearest(name, found)}")
    return found
