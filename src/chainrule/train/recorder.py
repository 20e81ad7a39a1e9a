"""Recorder: keeps what it watches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chainrule.errors import ConfigError, nearest, within
from chainrule.train.callbacks import Array, Callback, Chunk, Start, Watch

__all__ = ["Recorder"]


class Recorder(Callback):
    """Keeps watched values of every ``every``-th step in memory.

    >>> from chainrule import ops
    >>> recorder = Recorder(Watch("*/W", of="gradient", reduce=ops.norm), every=10)

    After the fit ``recorder["gradient:dense_0/W:norm"]`` has one row per watched step, ``recorder.steps`` its
    number, ``recorder.losses`` the mean loss of every step.
    """

    steers = False

    def __init__(self, *watch: Watch | str, every: int = 1) -> None:
        self.watch = tuple(Watch(w) if isinstance(w, str) else w for w in watch)
        self.every = every
        within(self, "every", "[1, inf)", whole=True)
        self._rows: dict[str, list[Array]] = {}
        self._steps: list[Array] = []
        self._losses: list[Array] = []

    def begin(self, start: Start) -> None:
        self._rows, self._steps, self._losses = {}, [], []

    def chunk(self, chunk: Chunk) -> None:
        self._losses.append(chunk.losses)
        if len(chunk.watched_steps):
            self._steps.append(chunk.watched_steps)
            for key, values in chunk.watched.items():
                self._rows.setdefault(key, []).append(values)

    def __getitem__(self, key: str) -> Array:
        """(watched steps, …)"""
        if key not in self._rows:
            raise ConfigError(f"the recorder holds no {key!r}; {nearest(key, self._rows)}")
        return np.concatenate(self._rows[key])

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def keys(self) -> list[str]:
        return list(self._rows)

    @property
    def steps(self) -> Array:
        return np.concatenate(self._steps) if self._steps else np.zeros(0, np.int64)

    @property
    def losses(self) -> Array:
        return np.concatenate(self._losses) if self._losses else np.zeros(0)
