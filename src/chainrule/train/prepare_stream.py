"""From a stream to what the loop takes: the same questions as for arrays, answered by a few examples of its
targets before the first step, and block by block afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule import data as door
from chainrule import optim
from chainrule.data import Block, RowStream
from chainrule.errors import ConfigError, DataError, ShapeError
from chainrule.executors import Array
from chainrule.spec import Spec
from chainrule.train.augmenting import parted
from chainrule.train.feed import Data
from chainrule.train.held import Held, HeldStream
from chainrule.train.loop import Fit
from chainrule.train.objective import Model
from chainrule.train.prepare import (
    Request,
    check_targets,
    choose_losses,
    fit_on,
    held_arrays,
    is_share,
    learnable,
    output_specs,
    sample_specs,
    take_inputs,
)
from chainrule.train.streamed import StreamFeed, Take

__all__ = ["as_asked", "hold_stream", "prepare_stream", "stream_specs"]

_ITS_OWN = {
    "sample_weight": "name the column of weights where the stream is made: weight=…",
    "augment": "rows of a stream are encoded as they are read: leave it out",
}


def as_asked(asked: Request, stream: RowStream) -> Request:
    """With the batch size and the order of the stream; ConfigError for what only a stream can decide."""
    given = {"sample_weight": asked.sample_weight, "augment": parted(asked.augment)[0] or None}
    for name, remedy in _ITS_OWN.items():
        if given[name] is not None:
            raise ConfigError(f"{name} is of arrays in memory; {remedy}")
    if asked.batch_size not in (None, stream.batch_size):
        raise ConfigError(
            f"the stream has steps of {stream.batch_size} rows, this fit was asked for {asked.batch_size}; "
            "give batch_size where the stream is made"
        )
    if not asked.shuffle and stream.shuffle:
        raise ConfigError("the stream draws its order anew each epoch; give shuffle=False where it is made")
    return dataclasses.replace(asked, batch_size=int(stream.batch_size), shuffle=bool(stream.shuffle))


def stream_specs(stream: RowStream, dtype: np.dtype, model: Model | None = None) -> dict[str, Spec]:
    """One row of each input, floats in the network's dtype; ShapeError where the network was built for
    others."""
    rows = {n: np.zeros((1, *spec.shape), spec.dtype) for n, spec in stream.inputs.items()}
    return sample_specs(take_inputs(rows, dtype, model))


def prepare_stream(
    asked: Request, model: Model, stream: RowStream, state: Mapping[str, Array], seed: int
) -> Fit:
    """A fit that has not begun."""
    if isinstance(rule := learnable(asked, model), optim.Solver):
        raise ConfigError(
            f"{type(rule).__name__} looks at all rows for each of its steps; give arrays that fit into "
            "memory, or a rule such as 'adam'"
        )
    train, held = stream, asked.validation
    if is_share(held):
        train, held = stream.split(float(held))
    examples = _examples(stream, model)
    losses = choose_losses(asked.loss, examples, output_specs(model))
    targets = sample_specs(check_targets(examples, losses, output_specs(model), model.dtype))
    validation: Held | None = None
    if isinstance(held, RowStream):
        validation = hold_stream(held, losses, model)
    elif held is not None:
        validation = held_arrays(held, losses, model, targets)
    feed = StreamFeed(train, _taking(train, losses, model), merge_single=model.batch_statistics)
    return fit_on(feed, asked, rule, model, losses, targets, validation, state, seed, masks=train.weighted)


def hold_stream(stream: RowStream, losses: Mapping[str, Any], model: Model) -> HeldStream:
    """A stream to evaluate on."""
    try:
        stream_specs(stream, model.dtype, model)
        targets = check_targets(_examples(stream, model), losses, output_specs(model), model.dtype)
    except (DataError, ShapeError) as error:
        raise type(error)(f"validation: {error}") from None
    feed = StreamFeed(stream, _taking(stream, losses, model), merge_single=False)
    return HeldStream(feed, sample_specs(targets))


def _taking(stream: RowStream, losses: Mapping[str, Any], model: Model) -> Take:
    """What is done with every block: it costs little beside reading one."""
    outputs, dtype = output_specs(model), model.dtype

    def take(block: Block) -> Data:
        inputs = take_inputs(block.inputs, dtype, model)
        targets = check_targets(_columns(block.targets, outputs), losses, outputs, dtype)
        weight = block.weight.astype(dtype, copy=False)
        if stream.weighted and weight.any():
            weight = door.check_weights(weight, rows=len(weight), dtype=dtype)
        found = Data(inputs, targets, weight)
        door.check_rows({name: len(array) for name, array in found.arrays.items()})
        return found

    return take


def _examples(stream: RowStream, model: Model) -> dict[str, Array]:
    return _columns(stream.examples, output_specs(model))


def _columns(targets: Mapping[str, Array], outputs: Mapping[str, Spec]) -> dict[str, Array]:
    """Labels of two classes stand in a column where the network ends in one unit."""
    found = {}
    for name, y in targets.items():
        single = y.ndim == 1 and name in outputs and outputs[name].shape[1:] == (1,)
        found[name] = y[:, None] if single else y
    return found
