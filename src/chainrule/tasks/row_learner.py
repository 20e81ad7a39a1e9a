"""What the estimators share that learn rows from themselves: no target is given, the rows are it."""

from __future__ import annotations

import os
from abc import ABC
from typing import Any

import numpy as np

from chainrule.executors import Array
from chainrule.tasks.base import Learner
from chainrule.tasks.filling import empty_like
from chainrule.tasks.monitor import with_callbacks
from chainrule.tasks.predictor import predictor_of
from chainrule.tasks.rows import Rows
from chainrule.tasks.targets import Target

__all__ = ["RowLearner"]


class RowLearner(Learner, ABC):
    """A network that learns rows from themselves, by :class:`chainrule.losses.Cells`."""

    _target: Rows
    _components = 0
    _answers = "rows"

    @with_callbacks
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Learns from X (rows, columns). ``y`` is not used; it is there for pipelines.

        sample_weight    one number per row, 0 or more; rows of weight 0 are left out
        """
        self._form = empty_like(X)
        return self._learn(X, None, sample_weight, None, incremental=False)

    def _checked_target(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        X = self._rows(X, reset=reset)
        return X, X

    def _learned(self, y: Any, weight: Array | None, every_y: Any) -> tuple[Target, Any]:
        target = Rows.seen(
            y, weight, self._shown.encoder, self._shown.scaling, self._components, self._answers
        )
        return target, target.loss

    def _default_score(self, z: Any, y: Any, weight: Array | None) -> float:
        return -float(np.average(self._target.each_loss(z, y), weights=weight))

    def save(self, path: str | os.PathLike[str], *, optimizer: bool = False) -> None:
        """One safe file, which :func:`chainrule.load` gives back as a Predictor: without scikit-learn its
        ``predict`` says of rows what this estimator does. ``optimizer`` adds the optimizer's state."""
        predictor_of(self).save(path, optimizer=optimizer)
