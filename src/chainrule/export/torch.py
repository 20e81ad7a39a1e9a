"""Weights from and to PyTorch, as arrays: its state dict is a dict of names and tensors, ours too.

=============  =====================================  =====================================
layer          ours                                   PyTorch's
=============  =====================================  =====================================
Dense, Maxout  ``W`` (in, out), ``b``                 ``weight`` (out, in), ``bias``
Conv…          ``W`` (kernel…, in, out), ``b``        ``weight`` (out, in, kernel…), ``bias``
Embedding      ``W`` (categories, units)              ``weight``, the same
BatchNorm      ``scale``, ``offset``,                 ``weight``, ``bias``,
               ``mean``, ``variance``                 ``running_mean``, ``running_var``
LayerNorm      ``scale``, ``offset``                  ``weight``, ``bias``
PReLU          ``slope`` (n,) or ()                   ``weight`` (n,) or (1,)
Elman, LSTM    ``W``, ``U`` (in, out), ``b``          ``weight_ih_l0``, ``weight_hh_l0`` (out, in),
                                                      ``bias_ih_l0`` + ``bias_hh_l0``
GRU            the same, ``c``                        the same; ``c`` is the last third of ``bias_hh_l0``
=============  =====================================  =====================================

An unnamed layer has its position in ``torch.nn.Sequential`` as its name ("0.weight"), a named one its own
("head.weight"). No pickle is read or written: PyTorch gives arrays by ``{k: v.numpy() for k, v in
model.state_dict().items()}`` or ``safetensors.torch.save_file``.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from chainrule import nn
from chainrule.errors import ConfigError, DTypeError, ShapeError, nearest
from chainrule.export.torch_recurrent import one_bias, recurrent_name, two_biases
from chainrule.nn.layer import step_name
from chainrule.storage import read_public_tensors, write_tensors
from chainrule.train.objective import Model

__all__ = ["load_torch_state", "to_torch_state"]

Array = np.ndarray[Any, Any]

_COUNTER = "num_batches_tracked"  # of BatchNorm; only PyTorch's momentum=None reads it
_SHOWN = 5


class _Stateful(Protocol):
    """What is asked of a network whose weights are exchanged; :class:`~chainrule.Network` has it."""

    model: Model | None
    layer: Any

    @property
    def state(self) -> dict[str, Array]:
        """Parameters and running statistics by path."""

    def __setitem__(self, name: str, value: Any) -> None: ...


def to_torch_state(net: _Stateful, path: str | os.PathLike[str] | None = None) -> dict[str, Array]:
    """The network's weights as a state dict of PyTorch, in arrays; as a safetensors file too, where ``path``
    is given, which ``safetensors.torch.load_file`` reads.

    The same layers as ``torch.nn.Sequential(torch.nn.Linear(…), torch.nn.ReLU(), …)`` take it by
    ``load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})``.

    >>> from chainrule import nn, ops
    >>> from chainrule.network import Network
    >>> net = Network(nn.Dense(3), ops.relu, nn.Dense(2)).build(4)
    >>> {name: a.shape for name, a in to_torch_state(net).items()}
    {'0.weight': (3, 4), '0.bias': (3,), '2.weight': (2, 3), '2.bias': (2,)}
    """
    found: dict[str, Array] = {}
    state = net.state
    for ours, theirs in _names(net).items():
        found[theirs] = _turned(state[ours], _built(net), ours)
        if theirs.endswith(".running_var") or theirs == "running_var":
            found[f"{theirs.removesuffix('running_var')}{_COUNTER}"] = np.zeros((), np.int64)
    found = two_biases(found)
    if path is not None:
        write_tensors(path, found, {"kind": "torch_state"})
    return found


def load_torch_state(
    net: _Stateful,
    state: Mapping[str, Any] | str | os.PathLike[str],
    mapping: Mapping[str, str] | None = None,
) -> None:
    """Takes the weights of a PyTorch model into a network that is built; all of them, or none.

    state      its state dict, as arrays or tensors on the CPU, or the path of a ``.safetensors`` file
    mapping    where the names differ: {our layer or parameter: their module or tensor}, such as
               ``{"dense_0": "fc1", "dense_1": "fc2"}``; without it the names are those of
               :func:`to_torch_state`

    Raises ConfigError where a name is missing or left over (with the mapping that would fit in order),
    ShapeError where shapes differ, with both; DTypeError for what is no number; ModelFileError for a file.

    >>> import numpy as np
    >>> from chainrule import nn
    >>> from chainrule.network import Network
    >>> net = Network(nn.Dense(1)).build(2)
    >>> load_torch_state(net, {"fc.weight": np.ones((1, 2)), "fc.bias": [3.0]}, {"dense_0": "fc"})
    >>> net["dense_0/b"].tolist()
    [3.0]
    """
    model = _built(net)
    given = dict(state) if isinstance(state, Mapping) else read_public_tensors(state)
    given = one_bias({name: v for name, v in given.items() if not name.endswith(_COUNTER)}, _array)
    wanted = _mapped(_names(net), mapping or {})
    _check_names(net, wanted, given)
    found = {ours: _array(theirs, given[theirs]) for ours, theirs in wanted.items()}
    for ours, theirs in wanted.items():
        shape = net.state[ours].shape
        expected = _turned(np.empty(shape, bool), model, ours).shape
        if found[ours].shape != expected:
            raise ShapeError(
                f"{theirs!r} has shape {found[ours].shape}, but {ours!r} of shape {shape} needs {expected}"
                f"{' (PyTorch keeps weights as (out, in))' if expected != shape else ''}; nothing was loaded"
            )
    for ours, value in found.items():
        net[ours] = _turned(value, model, ours, back=True).reshape(net.state[ours].shape)


def _built(net: _Stateful) -> Model:
    if net.model is None:
        raise ConfigError("the network has no parameters yet: call build(number of features) or fit first")
    return net.model


# ------------------------------------------------------------------ arrays


def _turned(value: Array, model: Model, name: str, *, back: bool = False) -> Array:
    """From our form to theirs, or ``back``: a product's matrix is transposed, a kernel's last two axes come
    first, a shared slope has an axis."""
    declared = model.parameters.get(name)
    if declared is None:
        return value
    if name.rpartition("/")[2] in ("W", "U") and declared.role == "weight" and value.ndim >= 2:
        n = value.ndim - 2
        order = (*range(2, n + 2), 1, 0) if back else (n + 1, n, *range(n))
        return np.ascontiguousarray(value.transpose(order))
    return value.reshape(1) if value.ndim == 0 and name.rpartition("/")[2] == "slope" else value


def _array(name: str, value: Any) -> Array:
    detach = getattr(value, "detach", None)  # a tensor of which PyTorch keeps the gradient
    array = np.asarray(value if detach is None else detach().cpu().numpy())
    if array.dtype.kind not in "fiu":
        raise DTypeError(f"{name!r} holds {array.dtype}, not numbers; give arrays of float32 or float64")
    return array


# ------------------------------------------------------------------ names

_LEAVES = {
    "W": "weight",
    "b": "bias",
    "scale": "weight",
    "offset": "bias",
    "mean": "running_mean",
    "variance": "running_var",
    "slope": "weight",
}


def _names(net: _Stateful) -> dict[str, str]:
    """{our path: PyTorch's name} of everything in the state."""
    shared = dict(_shared(net.layer))
    found = {}
    for name in net.state:
        recurrent = recurrent_name(name, net.state)
        if recurrent is not None:
            found[name] = ".".join([*_modules(net.layer, recurrent[0], shared), recurrent[1]])
            continue
        *path, leaf = name.split("/")
        found[name] = ".".join([*_modules(net.layer, path, shared), _LEAVES.get(leaf, leaf)])
    return found


def _modules(layer: Any, path: list[str], shared: Mapping[str, Any]) -> list[str]:
    """The module names on the way to a layer; a name of ours where the configuration does not tell."""
    found: list[str] = []
    for name in path:
        if isinstance(layer, nn.Sequential) and name in dict(layer.steps):
            place = [step for step, _ in layer.steps].index(name)
            layer = layer.steps[place][1]
            found.append(str(place) if _automatic(name, layer) else name)
            continue
        if isinstance(layer, nn.Parallel):
            layer = dict(layer.branches).get(name)
        else:
            layer = shared.get(name) if not found and name in shared else getattr(layer, name, None)
        found.append(name)
    return found


def _automatic(name: str, step: Any) -> bool:
    """Whether the name is one that :func:`~chainrule.nn.sequential` invented."""
    return re.fullmatch(rf"{re.escape(step_name(step))}_\d+", name) is not None


def _shared(layer: Any) -> list[tuple[str, Any]]:
    """Every shared layer under its name, which counts from the root."""
    if isinstance(layer, nn.Shared):
        return [(layer.name, layer.layer), *_shared(layer.layer)]
    parts = layer if isinstance(layer, tuple) else ()
    if dataclasses.is_dataclass(layer):
        parts = tuple(getattr(layer, field.name) for field in dataclasses.fields(layer))
    return [pair for part in parts for pair in _shared(part)]


def _mapped(names: Mapping[str, str], mapping: Mapping[str, str]) -> dict[str, str]:
    """The names with the user's own in the place of some."""
    known = {*names, *(name.rpartition("/")[0] for name in names)}
    if unknown := [name for name in mapping if name not in known]:
        raise ConfigError(f"mapping: the network has no {unknown[0]!r}; {nearest(unknown[0], known - {''})}")
    found = {}
    for ours, theirs in names.items():
        layer = ours.rpartition("/")[0]
        if ours in mapping:
            found[ours] = mapping[ours]
        elif layer in mapping:
            found[ours] = f"{mapping[layer]}.{theirs.rpartition('.')[2]}"
        else:
            found[ours] = theirs
    return found


def _check_names(net: _Stateful, wanted: Mapping[str, str], given: Mapping[str, Any]) -> None:
    missing = [name for name in wanted.values() if name not in given]
    left = [name for name in given if name not in wanted.values()]
    if not missing and not left:
        return
    parts = [f"lacks {_listed(missing)}"] * bool(missing) + [f"has {_listed(left)} besides"] * bool(left)
    raise ConfigError(
        f"the state dict {' and '.join(parts)}; nothing was loaded. {_remedy(net, wanted, given)}"
    )


def _remedy(net: _Stateful, wanted: Mapping[str, str], given: Mapping[str, Any]) -> str:
    """The mapping that would fit, if each tensor in turn has the shape that is needed."""
    state, model = net.state, _built(net)
    shapes = [_turned(np.empty(state[ours].shape, bool), model, ours).shape for ours in wanted]
    if shapes == [np.shape(v) for v in given.values()]:
        fits = {
            ours: theirs for (ours, own), theirs in zip(wanted.items(), given, strict=True) if own != theirs
        }
        return f"In order the shapes fit; if that is meant: mapping={fits}"
    return "Say which is which: mapping={our layer or parameter: their module or tensor}"


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
