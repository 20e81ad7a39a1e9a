"""The weights of a network as if it saw and gave what people give and see: scaling folded in."""

from __future__ import annotations

import numpy as np

from chainrule.executors import Array
from chainrule.network import Network
from chainrule.tasks.scaling import Affine
from chainrule.tasks.targets import Numbers, Target

__all__ = ["folded"]


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


def _layers(network: Network, outputs: int) -> list[tuple[Array, Array]]:
    found = network.parameters
    dense = [n.removesuffix("/W") for n in found if n.endswith("/W") and f"{n[:-1]}b" in found]
    pairs = [(found[f"{name}/W"], found[f"{name}/b"]) for name in dense]
    heads = pairs[-outputs:]
    joined = np.hstack([W for W, _ in heads]), np.hstack([b for _, b in heads])
    return [*pairs[:-outputs], joined]
