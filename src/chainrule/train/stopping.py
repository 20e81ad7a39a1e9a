"""Early stopping and the plateau schedule: what validation decides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from chainrule.errors import ConfigError, nearest
from chainrule.losses import METRICS
from chainrule.train.callbacks import Callback, EpochEnd, Start

__all__ = ["EarlyStopping", "Plateau"]

_LARGER_IS_BETTER = ("accuracy",)


class _Monitor(Callback):
    """Follows one metric and knows whether it has become better."""

    def __init__(self, metric: str | None, patience: int, min_delta: float, mode: str) -> None:
        if mode not in ("auto", "min", "max"):
            raise ConfigError(f"mode {mode!r}; {nearest(mode, ('auto', 'min', 'max'))}")
        if patience < 1 or min_delta < 0:
            raise ConfigError(f"patience must be ≥ 1 and min_delta ≥ 0, got {patience} and {min_delta}")
        self.metric, self.patience, self.min_delta, self.mode = metric, patience, min_delta, mode
        self.following = metric or "loss"  # the metric in the present fit
        self.best, self.best_epoch, self.waited = math.inf, -1, 0

    def begin(self, start: Start) -> None:
        self.best, self.best_epoch, self.waited = math.inf, -1, 0
        self.following = self.metric or ("val_loss" if "val_loss" in start.metrics else "loss")
        if self.following in start.metrics:
            self._check_mode()
            return
        remedy = nearest(self.following, start.metrics)
        if self.following.startswith("val_") and "val_loss" not in start.metrics:
            remedy = f"give fit validation=0.2, or (x, y), for the metrics of unseen rows. {remedy}"
        raise ConfigError(f"{type(self).__name__}: no metric {self.following!r}; {remedy}")

    def _kind(self) -> str:
        """The metric alone: ``"accuracy"`` of ``"val_accuracy/head"``, where there are several outputs."""
        return self.following.removeprefix("val_").partition("/")[0]

    def _check_mode(self) -> None:
        if self.mode == "auto" and self._kind() not in ("loss", *METRICS):
            raise ConfigError(
                f"{type(self).__name__}: whether larger is better is not known of your own metric "
                f"{self.following!r}; give mode='max' or mode='min'"
            )

    def improved(self, end: EpochEnd) -> bool:
        """Whether the metric is better than ever by more than ``min_delta``."""
        larger = self.mode == "max" or (self.mode == "auto" and self._kind().endswith(_LARGER_IS_BETTER))
        value = end.metrics[self.following] * (-1 if larger else 1)
        if value < self.best - self.min_delta:
            self.best, self.best_epoch, self.waited = value, end.epoch, 0
            return True
        self.waited += 1
        return False

    def memory(self) -> dict[str, Any]:
        best = self.best if math.isfinite(self.best) else None
        return {"metric": self.following, "best": best, "best_epoch": self.best_epoch, "waited": self.waited}

    def remember(self, memory: Mapping[str, Any]) -> None:
        if memory["metric"] != self.following:
            raise ConfigError(
                f"{type(self).__name__}: this run was begun with the metric {memory['metric']!r}, now it is "
                f"{self.following!r}; resume with the same, or start in another run_dir"
            )
        self.best_epoch, self.waited = memory["best_epoch"], memory["waited"]
        self.best = math.inf if memory["best"] is None else memory["best"]


class EarlyStopping(_Monitor):
    """Stops when a metric has not become better for ``patience`` epochs, and returns to the best parameters.

    metric      a name from the history; by default the validation loss (the training loss without validation)
    min_delta   smaller gains do not count, in the metric's own unit
    restore     whether the fit ends with the parameters of the best epoch

    Goodfellow, Bengio & Courville 2016, algorithm 7.1.
    """

    def __init__(
        self,
        metric: str | None = None,
        patience: int = 10,
        *,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore: bool = True,
    ) -> None:
        super().__init__(metric, patience, min_delta, mode)
        self.restore = self.steers = restore

    def epoch(self, end: EpochEnd) -> bool:
        if self.improved(end) and self.restore:
            end.keep()
        return self.waited >= self.patience


class Plateau(_Monitor):
    """Multiplies the learning rate by ``factor`` when a metric has not become better for ``patience`` epochs.

    minimum     the smallest product of factors, relative to the optimizer's rate
    """

    def __init__(
        self,
        metric: str | None = None,
        patience: int = 5,
        *,
        factor: float = 0.5,
        minimum: float = 1e-4,
        min_delta: float = 0.0,
        mode: str = "auto",
    ) -> None:
        super().__init__(metric, patience, min_delta, mode)
        if not 0 < factor < 1:
            raise ConfigError(f"Plateau: factor must lie between 0 and 1, got {factor}")
        self.factor, self.minimum, self.product = factor, minimum, 1.0

    def begin(self, start: Start) -> None:
        super().begin(start)
        self.product = 1.0

    def epoch(self, end: EpochEnd) -> None:
        if not self.improved(end) and self.waited >= self.patience:
            self.product, self.waited = max(self.product * self.factor, self.minimum), 0

    def rate_factor(self) -> float:
        return self.product

    def memory(self) -> dict[str, Any]:
        return {**super().memory(), "product": self.product}

    def remember(self, memory: Mapping[str, Any]) -> None:
        super().remember(memory)
        self.product = memory["product"]
