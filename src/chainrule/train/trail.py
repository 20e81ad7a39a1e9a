"""The trail: a good state, and the steps taken since. From it every state in between can be had again.

Executors are deterministic and bits do not depend on how training is cut into chunks, so what is run again
comes to the same states.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from chainrule.executors import Array
from chainrule.train.divergence import Failure, Steps, examine, spoiled
from chainrule.train.state import snapshot

__all__ = ["Trail"]

_LONGEST = 1.0  # seconds of steps that would have to run again
_SHARE = 1000  # of the time of copying the state: the steps on a trail take at least so many times as long


@dataclass(eq=False)
class Trail:
    """Steps taken since a state that was good.

    start       the state that the first of them began from
    first       its number in the fit
    patience    how many seconds the trail may go on
    """

    start: Mapping[str, Array]
    first: int
    patience: float = _LONGEST
    chunks: list[Steps] = field(default_factory=list)
    seconds: float = 0.0  # that the steps took

    @staticmethod
    def begin(state: Mapping[str, Array], first: int) -> Trail:
        """At a state that is good now."""
        began = time.perf_counter()
        start = snapshot(state)
        return Trail(start, first, min(_LONGEST, _SHARE * (time.perf_counter() - began)))

    @property
    def stop(self) -> int:
        """The number of the step after the last."""
        return self.chunks[-1].first + len(self.chunks[-1]) if self.chunks else self.first

    @property
    def long(self) -> bool:
        return self.seconds >= self.patience

    def spoils(self, state: Mapping[str, Array]) -> bool:
        """Whether the state, to which the trail has come, has left the finite numbers on the way."""
        return bool(self.chunks) and spoiled(self.start, state)

    def run(self, steps: Steps, state: dict[str, Array]) -> dict[str, Array]:
        """Runs the next steps: what each healthy one delivered."""
        self.chunks.append(steps)
        began = time.perf_counter()
        found = steps.run(state)
        self.seconds += time.perf_counter() - began
        return found

    def state_at(self, step: int) -> dict[str, Array]:
        """The state before a step."""
        return self._replayed(self.start, self.first, step)

    def good_state(self, stop: int) -> dict[str, Array]:
        """The state before step ``stop``, or before the first one that spoiled it."""
        return self._first_spoiled(stop)[1]

    def failure(self, stop: int, first_loss: float) -> Failure:
        """The first step whose update left the finite numbers, else step ``stop``, whose loss failed."""
        step, state = self._first_spoiled(stop)
        steps = next(s for s in self.chunks if s.first <= step < s.first + len(s))
        return examine(steps, step - steps.first, state, first_loss)

    def _first_spoiled(self, stop: int) -> tuple[int, dict[str, Array]]:
        """The first step before ``stop`` after which the state is spoiled, or ``stop``; and the state before
        it. By halves: what has left the finite numbers does not come back to them."""
        low, high, good = self.first, stop, snapshot(self.start)
        after = self._replayed(good, low, high)
        if not spoiled(good, after):
            return stop, after
        while high - low > 1:
            middle = (low + high) // 2
            after = self._replayed(good, low, middle)
            if spoiled(good, after):
                high = middle
            else:
                low, good = middle, after
        return low, good

    def _replayed(self, state: Mapping[str, Array], start: int, stop: int) -> dict[str, Array]:
        """The state after some steps, from a copy of that before them."""
        now = snapshot(state)
        for steps in self.chunks:
            low, high = max(start - steps.first, 0), min(stop - steps.first, len(steps))
            if low < high:
                steps.run(now, low, high)
        return now
