"""The weights of a network as if it saw and gave what people give and see: scaling folded in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chainrule.executors import Array
from chainrule.network import Network
from chainrule.tasks.scaling import Affine
from chainrule.tasks.targets import Numbers, Target

__all__ = ["folded", "last_layers"]


def folded(network: Network, scaling: Affine, target: Target) -> tuple[list[Array], list[Array]]:
    """W and b of every Dense layer in order; several outputs are one layer, side by side."""
    layers = _layers(network, len(target.outputs))
    W, b = layers[0]
    d = len(scaling.mean)  # columns of numbers come first, embeddings after them
    numbers, b = scaling.fold_in(W[:d], b)
    layers[0] = np.vstack([numbers, W[d:]]), b
    if isinstance(target, Numbers):
        layers[-1] = target.fold(*layers[-1])
    return [W for W, _ in layers], [b for _, b in layers]


def last_layers(network: Network, outputs: int) -> list[str]:
    """The names of the Dense layers that give the outputs."""
    return _dense(network.parameters)[-outputs:]


def _dense(parameters: Mapping[str, Array]) -> list[str]:
    return [n.removesuffix("/W") for n in parameters if n.endswith("/W") and f"{n[:-1]}b" in parameters]


def _layers(network: Network, outputs: int) -> list[tuple[Array, Array]]:
    found = network.parameters
    pairs = [(found[f"{name}/W"], found[f"{name}/b"]) for name in _dense(found)]
    heads = pairs[-outputs:]
    joined = np.hstack([W for W, _ in heads]), np.hstack([b for _, b in heads])
    return [*pairs[:-outputs], joined]
