"""How a fit goes: the curves that an estimator keeps, and when it has converged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from chainrule import train

__all__ = ["Convergence", "Progress"]

_SMALLEST_RATE = 1e-6  # of "adaptive": below it training ends, as in scikit-learn
_DIVISOR = 5.0


@dataclass(eq=False)
class Progress:
    """What was seen of all fits so far; with ``warm_start`` and ``partial_fit`` it goes on.

    losses         of every epoch, with the penalty, in units of the target
    scores         on the rows held out, and their ``validation_losses``
    best_loss      in the network's units, in which ``tol`` is meant
    waited         epochs in a row that were no better
    """

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    best_loss: float = math.inf
    best_score: float = -math.inf
    best_validation_loss: float = math.inf  # at that score
    waited: int = 0
    epochs: int = 0
    seen: int = 0


class Convergence(train.Callback):
    """Ends a fit, as scikit-learn does, when for more than ``patience`` epochs in a row it got better by less
    than ``tol``: the loss, or where rows are held out their score, and at equal score their loss. Then the
    parameters of the best score are kept (``kept``), unless an earlier fit had a better one.

    score      what an epoch's metrics and parameters are worth on the rows held out; None: there are none
    in_units   writes a loss down in units of the target
    rows       learned from in one epoch
    rate       "constant"; "invscaling": η₀/(rows seen + 1)^power; "adaptive": η/5 instead of stopping
    told       is called after each epoch, with the number of it, and may answer that it is enough
    """

    def __init__(
        self,
        progress: Progress,
        *,
        tol: float,
        patience: float,
        rows: int,
        in_units: Callable[[float], float] = float,
        score: Callable[[train.EpochEnd], float] | None = None,
        stops_by_score: bool = False,
        rate: str = "constant",
        power: float = 0.5,
        first_rate: float = 1.0,
        told: Callable[[train.EpochEnd], bool] | None = None,
    ) -> None:
        self.progress, self.tol, self.patience, self.rows = progress, tol, patience, rows
        self.score, self.stops_by_score = score, stops_by_score
        self.in_units = in_units
        self.rate, self.power, self.first_rate, self.told = rate, power, first_rate, told
        self.divided = 1.0
        self.converged = self.kept = False
        self.steers = score is not None or told is not None or rate != "constant"

    def begin(self, start: train.Start) -> None:
        self.progress.epochs = 0

    def epoch(self, end: train.EpochEnd) -> bool:
        at = self.progress
        loss = end.objective
        at.losses.append(self.in_units(loss))
        at.epochs += 1
        at.seen += self.rows
        if "val_loss" in end.metrics:
            at.validation_losses.append(self.in_units(end.metrics["val_loss"]))
        self._judge(loss, end)
        told = bool(self.told and self.told(end))
        return told or (at.waited > self.patience and self._stops())

    def _judge(self, loss: float, end: train.EpochEnd) -> None:
        at = self.progress
        worse = loss > at.best_loss - self.tol
        at.best_loss = min(loss, at.best_loss)
        if self.score is not None:
            found = self._judge_score(end)
            worse = found if self.stops_by_score else worse
        at.waited = at.waited + 1 if worse else 0

    def _judge_score(self, end: train.EpochEnd) -> bool:
        """Whether the rows held out say that it was no better. Scores within ``tol`` of the best are equal,
        as accuracies of few rows often are: then the lower loss is the better one."""
        at, held_loss = self.progress, end.metrics.get("val_loss", 0.0)
        score = self.score(end) if self.score is not None else -math.inf
        at.scores.append(score)
        higher = score > at.best_score + self.tol
        as_good = score >= at.best_score - self.tol
        worse = not higher and not (as_good and held_loss < at.best_validation_loss - self.tol)
        if higher or (as_good and held_loss < at.best_validation_loss):
            at.best_validation_loss = held_loss
            if self.stops_by_score:
                self.kept = True
                end.keep()
        at.best_score = max(at.best_score, score)
        return worse

    def _stops(self) -> bool:
        """Whether it ends here, or goes on with a smaller rate."""
        if self.rate != "adaptive" or self.first_rate * self.divided <= _SMALLEST_RATE:
            self.converged = True
            return True
        self.divided, self.progress.waited = self.divided / _DIVISOR, 0
        return False

    def rate_factor(self) -> float:
        if self.rate == "invscaling" and self.progress.seen:
            return float((self.progress.seen + 1) ** -self.power)
        return self.divided
