"""The guard: runs steps, and sees to it that what they leave behind is finite.

A loss tells at once that a step has failed. That an update has left the finite numbers tells only a look at
the whole state, which takes longer than many steps of a small batch; so it is looked at every second,
and before anybody else sees it. The steps in between are a trail that can be run again: the step that is
named, and the state that is left, are those that a look after every single step would have found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn

from chainrule.executors import Array
from chainrule.train.divergence import Failure, Steps, spoiled
from chainrule.train.state import snapshot
from chainrule.train.trail import Trail

__all__ = ["Guard"]


class Guard:
    """Guards a state, which is brought up to date in place.

    diverged    what to do about a step that failed, once the state is back where it was good: before the
                step, or after an explosion at the start of its epoch
    """

    def __init__(
        self, state: dict[str, Array], per_epoch: int, diverged: Callable[[Failure], NoReturn]
    ) -> None:
        self.state, self.per_epoch, self.diverged = state, per_epoch, diverged
        self.trail: Trail | None = None
        self.epoch_start: Mapping[str, Array] = {}  # of the epoch in which the trail began

    def run(self, steps: Steps, first_loss: float) -> dict[str, Array]:
        """What the steps delivered. Whatever breaks them off, no half step is left in the state."""
        if self.trail is not None and self._ripe(self.trail, steps.first):
            self.settle(first_loss)
        trail = self.trail = self.trail or self._begin(steps.first)
        try:
            return trail.run(steps, self.state)
        except BaseException:  # an index out of range, a second Ctrl-C
            self.trail = None
            self.state.update(snapshot(trail.start))  # should what follows be interrupted too
            self.state.update(trail.good_state(steps.first))
            raise

    def _begin(self, step: int) -> Trail:
        if step % self.per_epoch == 0:
            self.epoch_start = {}  # first, so that no two copies of the state are held
        trail = Trail.begin(self.state, step)
        self.epoch_start = self.epoch_start or trail.start
        return trail

    def _ripe(self, trail: Trail, step: int) -> bool:
        """Whether a new trail should begin at a step. It may where an epoch does, or in the epoch in which
        the last one began: where a loss explodes, the state of the epoch's start must be known."""
        if step % self.per_epoch == 0:
            return trail.long or trail.first % self.per_epoch > 0
        return trail.long and trail.first >= step - step % self.per_epoch

    def settle(self, first_loss: float) -> None:
        """Looks at the state."""
        if self.trail is not None and self.trail.spoils(self.state):
            self.fail(self.trail.stop, first_loss)
        self.trail = None

    def go_back(self, step: int, first_loss: float) -> None:
        """To the state before a step of the trail, which is looked at, too."""
        if self.trail is None or self.trail.stop == step:
            return
        state = self.trail.state_at(step)
        if spoiled(self.trail.start, state):
            self.fail(step, first_loss)
        self.state.update(state)
        self.trail = None

    def rescue(self) -> None:
        """Where somebody else broke off: back to the last good state, without a word."""
        if self.trail is not None and self.trail.spoils(self.state):
            self.state.update(self.trail.good_state(self.trail.stop))
        self.trail = None

    def fail(self, stop: int, first_loss: float) -> NoReturn:
        """The step that failed is ``stop``, or one before it."""
        trail, self.trail = self.trail or self._begin(stop), None
        self.state.update(snapshot(trail.start))  # should what follows be interrupted
        failed = trail.failure(stop, first_loss)
        began = failed.step - failed.step % self.per_epoch
        if not failed.exploded:
            self.state.update(snapshot(failed.state))
        elif began > trail.first:
            self.state.update(trail.state_at(began))
        else:
            self.state.update(snapshot(self.epoch_start))
        self.diverged(failed)
