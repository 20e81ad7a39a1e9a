"""Reading a network, or a fitted estimator, back from its file."""

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
from chainrule.spec import Spec, as_dtype, as_shape
from chainrule.storage import read_tensors
from chainrule.tasks.architecture import Activation
from chainrule.tasks.predictor import Predictor, restore
from chainrule.tasks.sequence_predictor import SequencePredictor, restore_sequences
from chainrule.train import History, Model
from chainrule.train.prepare import choose_metrics

__all__ = ["load", "load_network", "network_of"]

_CLOSED_TABLE: dict[str, type] = {
    **nn.LAYERS,
    **nn.INITS,
    **losses.LOSSES,
    **optim.OPTIMIZERS,
    **optim.SOLVERS,
    **optim.AVERAGES,
    "Group": optim.Group,
    "Activation": Activation,
}
"""The only classes that a file can make."""
_NETWORK = "network/"
_ESTIMATORS: dict[str, Callable[..., Any]] = {"estimator": restore, "sequences": restore_sequences}
"""From the header of an estimator's file, its arrays and its network to what predicts."""


def load(
    path: str | os.PathLike[str], *, custom: Sequence[Callable[..., Any]] = ()
) -> Network | Predictor | SequencePredictor:
    """The network in a model file; of an estimator's file its :class:`~chainrule.tasks.predictor.Predictor`
    (of sequences: :class:`~chainrule.tasks.sequence_predictor.SequencePredictor`), which predicts without
    scikit-learn. No code of the file is run, nothing that it names is imported.

    custom    your own layers, losses and optimizers that the file may name: classes, and functions

    Raises ModelFileError for whatever is not a whole, unaltered model.
    """
    header, arrays = read_tensors(path)
    kind = header.get("kind")
    if kind not in ("network", *_ESTIMATORS):
        raise ModelFileError(f"{path} holds a {kind!r}, not a network; load the model.safetensors beside it")
    tables = {**_CLOSED_TABLE, **{c.__name__: c for c in custom if isinstance(c, type)}}
    own = {c.__name__: c for c in custom if not isinstance(c, type)}
    described = header if kind == "network" else header.get("network")
    if foreign := sorted(_foreign(described, tables) - own.keys()):
        listing = ", ".join(foreign[:5])
        raise ModelFileError(
            f"{path} names {listing}, which chainrule {__version__} does not know; your own classes and "
            f"functions: load(path, custom=[{listing}]); those of a newer chainrule: update it"
        )
    try:
        if kind == "network":
            return _restore(header, arrays, tables, own)
        return _estimator(_ESTIMATORS[kind], header, arrays, tables, own)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ModelFileError(f"{path}: the header describes no {kind}: {error}") from error


def load_network(path: str | os.PathLike[str]) -> Network:
    """:func:`load` where a network is needed; ModelFileError for an estimator's file."""
    return network_of(load(path), path)


def network_of(found: Network | Predictor | SequencePredictor, path: str | os.PathLike[str]) -> Network:
    """What was read from a file, where a network is needed; ModelFileError for an estimator."""
    if not isinstance(found, Network):
        raise ModelFileError(
            f"{path} holds the estimator {found.estimator}, not a network: give a network's file, or use it "
            "in Python: chainrule.load(…).predict(…)"
        )
    return found


def _estimator(
    made: Callable[..., Any],
    header: dict[str, Any],
    arrays: dict[str, Array],
    tables: Mapping[str, type],
    functions: Mapping[str, Callable[..., Any]],
) -> Any:
    """The network from the tensors below "network/", the rest from the others."""
    own = {name.removeprefix(_NETWORK): a for name, a in arrays.items() if name.startswith(_NETWORK)}
    rest = {name: a for name, a in arrays.items() if not name.startswith(_NETWORK)}
    return made(header, rest, _restore(header["network"], own, tables, functions))


def _foreign(header: Any, tables: Mapping[str, type]) -> set[str]:
    """What a header names that is not chainrule's. No function of chainrule is a loss, but one of the user's
    may be called like one of them."""
    found = set(_names(header)) - tables.keys() - FUNCTIONS.keys()
    losses = header.get("loss") if isinstance(header, Mapping) else None
    given = losses.values() if isinstance(losses, Mapping) else ()
    return found | {
        v["function"] for v in given if isinstance(v, Mapping) and isinstance(v.get("function"), str)
    }


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
    """``functions`` are the user's own."""
    layer = from_json(header["layer"], tables, {**functions, **FUNCTIONS})
    net = Network(layer, seed=header["seed"], dtype=header["dtype"])
    inputs = {n: Spec(as_shape(s["shape"]), as_dtype(s["dtype"])) for n, s in header["inputs"].items()}
    net.model = Model(net.layer, inputs, net.dtype)
    if header["loss"] is not None:
        functions = {**FUNCTIONS, **functions}
        net.loss = {n: _loss(from_json(v, tables, functions)) for n, v in header["loss"].items()}
    net.metrics = choose_metrics(header["metrics"], net.loss or {})
    if header["optimizer"] is not None:
        net.optimizer = optim.resolve_optimizer(from_json(header["optimizer"], tables, {}))
    if header["history"] is not None:
        net.history = History.from_json(header["history"])
    net._state, net._slots = _tensors(net.model, net.optimizer, arrays)
    net._taken, net._past = _count(header, "steps"), _count(header, "epochs")
    return net


def _count(header: Mapping[str, Any], name: str) -> int:
    value = header[name]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ConfigError(f"{name} is {value!r}, not a number of them")
    return value


def _loss(found: Any) -> Any:
    if isinstance(found, nn.Layer):
        raise ConfigError(f"{type(found).__name__} is a layer, not a loss")
    return losses.resolve_loss(found)


def _tensors(
    model: Model, optimizer: optim.Rule | optim.Solver | None, arrays: dict[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """(parameters and running statistics, the optimizer's slots if the file has them), all as declared."""
    known: dict[str, Any] = {**model.parameters, **model.buffers}
    declared = {name: known[name].spec for name in known}
    slots = {} if optimizer is None else optim.slot_specs(optimizer, model.parameters)
    expected = {**declared, **slots} if arrays.keys() - declared.keys() else declared
    found = {name: Spec(a.shape, a.dtype) for name, a in arrays.items()}
    if found != expected:
        differ = sorted(n for n in {*found, *expected} if found.get(n) != expected.get(n))
        raise ConfigError(f"its tensors do not fit its layers: {', '.join(differ[:5])}")
    return {n: arrays[n] for n in declared}, {n: arrays[n] for n in expected if n not in declared}
