"""Several networks of one form as one: the mean of their outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.errors import ConfigError
from chainrule.executors import Array
from chainrule.network import Network

__all__ = ["committee"]


def committee(networks: Sequence[Network]) -> Network:
    """One network whose output is the mean  ȳ = (1/K) Σₖ yₖ  of those of K, which have the same layers, each
    Sequential and ending in a Dense.   Of logits that is the geometric mean of the probabilities.

    It is made of ordinary layers: the networks side by side, the share 1/K in their last weights. Where
    categories are embedded, every category has the vectors of all networks, and each network has weights of 0
    for those of the others.

    ConfigError where the networks differ in form.

    >>> x = np.eye(3, dtype="float32")
    >>> two = [Network(nn.Dense(2), seed=s).build(3) for s in (0, 1)]
    >>> np.allclose(committee(two).output(x), (two[0].output(x) + two[1].output(x)) / 2)
    True
    """
    first = networks[0]
    layer = first.layer
    if any(n.layer != layer or n.model is None for n in networks) or not isinstance(layer, nn.Sequential):
        raise ConfigError("a committee is made of networks with the same layers, all of them trained")
    if len(networks) == 1:
        return first
    steps = dict(layer.steps)
    columns = next(((n, s) for n, s in steps.items() if isinstance(s, nn.Columns)), None)
    body = nn.sequential(**{n: s for n, s in steps.items() if columns is None or n != columns[0]})
    members = nn.parallel(join="sum", **{f"network_{k}": body for k in range(len(networks))})
    parts: dict[str, Any] = {"members": members}
    if columns is not None:
        sizes = tuple((n, units * len(networks)) for n, units in columns[1].sizes)
        parts = {"columns": nn.Columns(sizes), **parts}
    whole = Network(**parts, seed=first.seed, dtype=first.dtype)
    whole.build(**first._built().inputs)
    whole._state.update(_state(networks, columns, list(steps)[-1]))
    whole.loss, whole.history = first.loss, first.history
    return whole


def _state(
    networks: Sequence[Network], columns: tuple[str, nn.Columns] | None, last: str
) -> dict[str, Array]:
    """The members' arrays under their new names."""
    found: dict[str, Array] = {}
    embedded: Mapping[str, Any] = {}
    count = len(networks)
    for k, network in enumerate(networks):
        state = network.state
        if columns is not None:
            embedded = {name: state.pop(name) for name in list(state) if name.startswith(f"{columns[0]}/")}
            for name, table in embedded.items():
                place = name.replace(columns[0], "columns", 1)
                wide = found.setdefault(place, np.zeros((len(table), table.shape[1] * count), table.dtype))
                wide[:, k * table.shape[1] : (k + 1) * table.shape[1]] = table
            name = next(name for name in state if name.endswith("/W"))
            state[name] = _spread(state[name], [t.shape[1] for t in embedded.values()], k, count)
        for part in ("W", "b"):
            state[f"{last}/{part}"] = state[f"{last}/{part}"] / state[f"{last}/{part}"].dtype.type(count)
        found.update({f"members/network_{k}/{name}": a for name, a in state.items()})
    return found


def _spread(W: Array, units: Sequence[int], k: int, count: int) -> Array:
    """The first weights for rows of "x" and the embeddings of all ``count`` networks, of which the ``k``-th's
    are its own."""
    numbers = len(W) - sum(units)
    wide = np.zeros((numbers + sum(units) * count, W.shape[1]), W.dtype)
    wide[:numbers] = W[:numbers]
    source, place = numbers, numbers
    for n in units:
        wide[place + k * n : place + (k + 1) * n] = W[source : source + n]
        source, place = source + n, place + n * count
    return wide
