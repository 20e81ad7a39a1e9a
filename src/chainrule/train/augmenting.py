"""What a fit was asked to learn from in place of the examples: fresh inputs every epoch, neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.data import Vicinity
from chainrule.errors import ConfigError
from chainrule.executors import Array

__all__ = ["Augmenter", "augmenter", "parted"]

Augmenter = Callable[[dict[str, Array], int, int], dict[str, Array]]
"""(inputs, seed, epoch) → inputs, made anew for every epoch"""


def parted(augment: Any) -> tuple[list[Any], Vicinity | None]:
    """What a fit was asked for: functions that make fresh inputs every epoch, and what stands in for the
    examples within a step."""
    given = list(augment) if isinstance(augment, tuple | list) else [] if augment is None else [augment]
    near = [a for a in given if isinstance(a, Vicinity)]
    if len(near) > 1:
        raise ConfigError(f"augment holds {near[0]!r} and {near[1]!r}; give one of the two")
    return [a for a in given if not isinstance(a, Vicinity)], near[0] if near else None


def augmenter(augments: Sequence[Any], inputs: Sequence[str]) -> Augmenter | None:
    """One after another on the only input, each of them checked."""
    if not augments:
        return None
    if list(inputs) != ["x"]:
        raise ConfigError(f"augment works on one array of images, the network takes {sorted(inputs)}")

    def augmented(given: dict[str, Array], seed: int, epoch: int) -> dict[str, Array]:
        x = given["x"]
        for augment in augments:
            x = _same_kind(augment(x, seed=seed, epoch=epoch), given["x"])
        return {"x": x}

    return augmented


def _same_kind(x: Any, given: Array) -> Array:
    if isinstance(x, np.ndarray) and x.shape == given.shape and x.dtype == given.dtype:
        return x
    found = f"{x.dtype}{list(x.shape)}" if isinstance(x, np.ndarray) else type(x).__name__
    wanted = f"{given.dtype}{list(given.shape)}"
    raise ConfigError(f"augment gave {found} for {wanted}; it must keep shape and dtype")
