"""Reading a network back from its file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from chainrule import __version__, losses, nn, optim
from chainrule.config import from_json
from chainrule.errors import ConfigError, ModelFileError
from chainrule.executors import Array
from chainrule.network import Network
from chainrule.ops.functions import FUNCTIONS
from chainrule.spec import Spec, as_dtype
from chainrule.storage import read_tensors
from chainrule.train import History, Model
from chainrule.train.prepare import choose_metrics

__all__ = ["load"]

_CLOSED_TABLE: dict[str, type] = {
    **nn.LAYERS,
    **nn.INITS,
    **losses.LOSSES,
    **optim.OPTIMIZERS,
    **optim.AVERAGES,
    "Group": optim.Group,
}
"""The only classes that a file can make."""


def load(path: str | os.PathLike[str], *, custom: Sequence[Callable[..., Any]] = ()) -> Network:
    """The network in a model file. No code of the file is run, nothing that it names is imported.

    custom    your own layers, losses and optimizers that the file may name: classes, and functions

    Raises ModelFileError for whatever is not a whole, unaltered model.
    """
    header, arrays = read_tensors(path)
    if header.get("kind") != "network":
        raise ModelFileError(
            f"{path} holds a {header.get('kind')!r}, not a network; load the model.safetensors beside it"
        )
    tables = {**_CLOSED_TABLE, **{c.__name__: c for c in custom if isinstance(c, type)}}
    functions = {**FUNCTIONS, **{c.__name__: c for c in custom if not isinstance(c, type)}}
    if foreign := sorted(set(_names(header)) - tables.keys() - functions.keys()):
        listing = ", ".join(foreign[:5])
        raise ModelFileError(
            f"{path} names {listing}, which chainrule {__version__} does not know; your own classes and "
            f"functions: load(path, custom=[{listing}]); those of a newer chainrule: update it"
        )
    try:
        return _restore(header, arrays, tables, functions)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{path}: the header does not describe a network: {error}") from error


def _names(value: Any) -> Iterator[str]:
    """The classes and functions that a header names."""
    if isinstance(value, Mapping):
        yield from (name for key in ("type", "function") if isinstance(name := value.get(key), str))
    if isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _names(part)


def _restore(
    header: dict[str, Any],
    arrays: dict[str, Array],
    tables: Mapping[str, type],
    functions: Mapping[str, Callable[..., Any]],
) -> Network:
    layer = from_json(header["layer"], tables, functions)
    net = Network(layer, seed=header["seed"], dtype=header["dtype"])
    inputs = {n: Spec(tuple(s["shape"]), as_dtype(s["dtype"])) for n, s in header["inputs"].items()}
    net.model = Model(net.layer, inputs, net.dtype)
    declared = {name: p.spec for name, p in net.model.parameters.items()}
    declared |= {name: b.spec for name, b in net.model.buffers.items()}
    expected = {name: spec.shape for name, spec in declared.items()}
    found = {name: a.shape for name, a in arrays.items() if not name.startswith("optimizer/")}
    if found != expected:
        differ = sorted(n for n in {*found, *expected} if found.get(n) != expected.get(n))
        raise ConfigError(f"its tensors do not fit its layers: {', '.join(differ[:5])}")
    net._state = {name: arrays[name].astype(spec.dtype, copy=False) for name, spec in declared.items()}
    net._slots = {name: a for name, a in arrays.items() if name.startswith("optimizer/")}
    net._taken, net._past = int(header["steps"]), int(header["epochs"])
    if header["loss"] is not None:
        net.loss = {name: from_json(v, tables, functions) for name, v in header["loss"].items()}
    net.metrics = choose_metrics(header["metrics"], net.loss or {})
    if header["optimizer"] is not None:
        net.optimizer = from_json(header["optimizer"], tables, {})
    if header["history"] is not None:
        net.history = History.from_json(header["history"])
    return net
