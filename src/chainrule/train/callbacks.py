"""Watching: the one protocol by which early stopping, plateau, recorders and progress see a running fit.

A callback declares before tracing what it wants to see (``watch``) and how often (``every``). The watched
values become outputs of the graph, and arrive at the end of a chunk of steps. A callback answers only "stop".
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from chainrule.errors import ConfigError, nearest
from chainrule.graph.expr import Expr

__all__ = ["Callback", "Chunk", "EpochEnd", "Start", "Watch"]

Array = npt.NDArray[Any]
Of = Literal["value", "gradient", "update"]


@dataclass(frozen=True)
class Watch:
    """Values of nodes, delivered every ``Callback.every`` steps.

    names     a parameter (``"dense_0/W"``), a layer's output (``"relu_0"``), or a glob (``"*/W"``)
    of        its "value"; the loss's "gradient" with respect to it; or "update", the step that a parameter
              took, new − old
    reduce    a function of graph nodes that makes a small thing of a large one: ``ops.norm``, ``ops.mean`` …
    """

    names: str
    of: Of = "value"
    reduce: Callable[[Expr], Expr] | None = None

    def __post_init__(self) -> None:
        if self.of not in (kinds := get_args(Of)):
            raise ConfigError(f"Watch: of is {self.of!r}; {nearest(self.of, kinds)}")

    def key(self, name: str) -> str:
        """The key of one node's value: ``"gradient:dense_0/W"``, ``"gradient:dense_0/W:norm"``."""
        return ":".join((self.of, name, *self._reduced()))

    def _reduced(self) -> tuple[str, ...]:
        return () if self.reduce is None else (getattr(self.reduce, "__name__", "reduced"),)

    def takes(self, key: str) -> bool:
        """Whether a key is one of those that this watch asked for, and not another's."""
        of, name, *reduced = key.split(":")
        same = of == self.of and tuple(reduced) == self._reduced()
        return same and (name == self.names or fnmatch.fnmatchcase(name, self.names))


@dataclass(frozen=True)
class Start:
    """What is known when a fit begins, or goes on."""

    samples: int
    batch_size: int
    steps_per_epoch: int
    epochs: int
    epoch: int
    parameters: int
    executor: str
    metrics: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Chunk:
    """Some consecutive steps, done. ``step`` counts from 0 over the whole fit."""

    epoch: int
    step: int
    losses: Array  # one mean loss per step
    learning_rate: float
    samples: int
    watched: Mapping[str, Array] = field(default_factory=dict)  # key → (watched steps, …)
    watched_steps: Array = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class EpochEnd:
    """An epoch, done. ``metrics`` holds "loss", "learning_rate", "seconds", the metrics, and "val_…" of each.

    ``objective`` is the mean of what was made smaller in its steps: the loss with all penalties.
    ``keep()`` marks the present parameters as those that the fit returns; ``state()`` lends them, with the
    running statistics, by name: to be read before the next step, never changed.
    """

    epoch: int
    step: int
    metrics: Mapping[str, float]
    keep: Callable[[], None]
    state: Callable[[], Mapping[str, Array]] = dict
    objective: float = 0.0


class Callback:
    """Base of everything that watches a fit. Hooks answer True to stop it; all others mean "go on".

    steers    whether it keeps or looks at parameters, or changes the learning rate. One that only looks on,
              or stops the fit, sets it to False: then several epochs of a small network may run in one go,
              and it is told of each, in order, when they are done; where it stops, those after it are undone.
    """

    watch: tuple[Watch, ...] = ()
    every: int = 1
    steers: bool = True

    def begin(self, start: Start) -> None:
        """Before the first step."""

    def chunk(self, chunk: Chunk) -> bool | None:
        """After some steps; how many is never promised."""

    def epoch(self, end: EpochEnd) -> bool | None:
        """After an epoch and its validation."""

    def end(self, history: Any) -> None:
        """After the last step, also when the fit was stopped or interrupted."""

    def rate_factor(self) -> float:
        """What the learning rate is multiplied by from here on."""
        return 1.0

    def memory(self) -> dict[str, Any]:
        """What a checkpoint must keep of this callback: JSON values."""
        return {}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Put back what ``memory`` gave."""
