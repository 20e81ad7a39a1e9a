"""How strongly a second-order step is held back: μ, by how well the last steps were foretold."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Damping"]


@dataclass
class Damping:
    """μ falls smoothly after steps that lower f as much as the model said, and grows ever faster after those
    that do not lower it  (Nielsen 1999, IMM-REP-1999-05, eq. 2.21).

    >>> damping = Damping(1.0)
    >>> damping.failed()
    >>> damping.failed()
    >>> damping.strength
    8.0
    >>> damping.succeeded(1.0)  # as foretold
    >>> round(damping.strength, 2)
    2.67
    """

    strength: float
    growth: float = 2.0

    def succeeded(self, ratio: float) -> None:
        """After a step; ``ratio`` is ρ = (reduction of f)/(reduction of its model)."""
        self.strength *= max(1 / 3, 1 - (2 * min(ratio, 1.0) - 1) ** 3)
        self.growth = 2.0

    def failed(self, least: float = 0.0) -> None:
        """After a step that was not taken; ``least`` is what μ grows from where it was smaller."""
        self.strength = max(self.strength, least) * self.growth
        self.growth *= 2.0
