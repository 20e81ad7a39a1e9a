"""Recurrent layers in PyTorch's state dicts: their names, and its two biases, of which we have one.

PyTorch adds ``bias_ih`` and ``bias_hh`` where one would do; only the candidate of a GRU needs both, and our
``c`` is that part of the second.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

import numpy as np

__all__ = ["one_bias", "recurrent_name", "two_biases"]

Array = np.ndarray[Any, Any]

_NAMES = {"W": "weight_ih_l0", "U": "weight_hh_l0", "b": "bias_ih_l0", "c": "bias_hh_l0"}
_WAYS = {"forward": "", "backward": "_reverse"}


def recurrent_name(name: str, state: Container[str]) -> tuple[list[str], str] | None:
    """(the layer's path, PyTorch's name in it) of a parameter of a recurrent layer; None for any other.

    >>> recurrent_name("lstm_0/backward/U", {"lstm_0/forward/U", "lstm_0/backward/U"})
    (['lstm_0'], 'weight_hh_l0_reverse')
    """
    *path, leaf = name.split("/")
    if leaf not in _NAMES or "/".join([*path, "U"]) not in state:
        return None
    both = all("/".join([*path[:-1], way, "U"]) in state for way in _WAYS)
    if path and path[-1] in _WAYS and both:
        return path[:-1], _NAMES[leaf] + _WAYS[path[-1]]
    return path, _NAMES[leaf]


def two_biases(found: Mapping[str, Array]) -> dict[str, Array]:
    """A state dict in which every recurrent layer has its second bias: zeros, but for a GRU's candidate."""
    result: dict[str, Array] = {}
    for name, value in found.items():
        module, dot, leaf = name.rpartition(".")
        if leaf.startswith("bias_hh_l0"):
            continue
        result[name] = value
        if leaf.startswith("bias_ih_l0"):
            second = f"{module}{dot}{leaf.replace('ih', 'hh')}"
            own = found.get(second, np.zeros(0, value.dtype))
            result[second] = np.concatenate([np.zeros(len(value) - len(own), value.dtype), own])
    return result


def one_bias(given: Mapping[str, Any], read: Callable[[str, Any], Array]) -> dict[str, Any]:
    """The same dict in which the second bias is added to the first; of a GRU the candidate's part stays.

    read   from a name and a tensor to an array
    """
    result = dict(given)
    for name in given:
        module, dot, leaf = name.rpartition(".")
        first, weight = (
            f"{module}{dot}{leaf.replace('bias_hh', other)}" for other in ("bias_ih", "weight_hh")
        )
        if not leaf.startswith("bias_hh_l0") or first not in given or weight not in given:
            continue
        a, b = read(first, given[first]), read(name, given[name])
        units = np.shape(given[weight])[1]
        if len(a) == 3 * units:
            result[first] = a + np.concatenate([b[: 2 * units], np.zeros(units, b.dtype)])
            result[name] = b[2 * units :]
        else:
            result[first] = a + b
            del result[name]
    return result
