"""A part of a trained model as a model of its own, and a trained model with other layers in some places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chainrule import nn
from chainrule.errors import ShapeError
from chainrule.executors import Array
from chainrule.train.objective import Model

__all__ = ["rebuilt", "taken_out"]


def taken_out(model: Model, state: Mapping[str, Array], path: str) -> tuple[Model, dict[str, Array]]:
    """The layer at a path as a model, and a copy of its parameters and buffers."""
    inner = nn.part(model.layer, path)
    layer = inner if isinstance(inner, nn.Sequential) else nn.sequential(inner)
    prefix = "" if layer is inner else f"{layer.steps[0][0]}/"
    given = model.trace(model.batch_inputs(2), training=False)[1].given[path]
    inputs = given if isinstance(given, Mapping) else {"x": given}
    found = Model.of(layer, {n: x.spec.with_shape(x.shape[1:]) for n, x in inputs.items()}, model.dtype)
    names = {name: f"{path}/{name.removeprefix(prefix)}" for name in (*found.parameters, *found.buffers)}
    here = {name: own if own in state else name for name, own in names.items()}  # Shared counts from the root
    return found, {name: state[own].copy() for name, own in here.items()}


def rebuilt(
    model: Model, state: Mapping[str, Array], layers: Mapping[str, Any], seed: int
) -> tuple[Model, dict[str, Array]]:
    """The model with other layers at some paths, which start afresh, and a copy of all other state."""
    layer = model.layer
    for path, new in layers.items():
        layer = nn.exchanged(layer, path, new)
    found = Model.of(layer, model.inputs, model.dtype)
    values = found.initial(seed)
    for name, fresh in values.items():
        if name not in state or any(f"{name}/".startswith(f"{path}/") for path in layers):
            continue
        if fresh.shape != state[name].shape:
            raise ShapeError(
                f"{name!r} has shape {state[name].shape}; with the new layers it would need {fresh.shape}: "
                "replace that layer, too"
            )
        values[name] = state[name].copy()
    return found, values
