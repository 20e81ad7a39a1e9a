"""Watching a fit: at which steps callbacks want to see something, and telling each of them its part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from chainrule.executors import Array
from chainrule.train.callbacks import Callback, Chunk

__all__ = ["alike", "is_watched", "tell"]


def is_watched(step: int, callbacks: Sequence[Callback]) -> bool:
    """Whether one of them wants to see a step."""
    return any(c.watch and step % c.every == 0 for c in callbacks)


def alike(step: int, most: int, callbacks: Sequence[Callback]) -> int:
    """How many of the steps from this one on are watched all, or none of them."""
    every = {c.every for c in callbacks if c.watch}
    if not every:
        return most
    steps = np.arange(step, step + most)
    due = np.logical_or.reduce([steps % n == 0 for n in every])
    return int(np.argmin(due == due[0])) or most


def tell(
    chunk: Callable[[Mapping[str, Array], Array], Chunk],
    steps: Array,
    seen: Mapping[str, Array],
    callbacks: Sequence[Callback],
) -> bool:
    """Tells all of them of some steps, with what each watches; whether one wants to stop.

    chunk    makes what is told, of watched values by key and the numbers of their steps
    steps    the numbers of all
    seen     the values of all by key; empty where nobody watches
    """
    answers = []
    for callback in callbacks:
        due = steps % callback.every == 0 if seen and callback.watch else np.zeros(len(steps), bool)
        keys = [k for k in seen if any(w.takes(k) for w in callback.watch)] if due.any() else []
        taken = {key: seen[key][due] for key in keys}
        answers.append(callback.chunk(chunk(taken, steps[due])))
    return any(answers)
