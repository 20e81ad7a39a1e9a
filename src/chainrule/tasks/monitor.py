"""scikit-learn's callbacks (its protocol of version 1.9) in a fit: one task for all, one per epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chainrule.train import EpochEnd

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9
    from chainrule.tasks.without import CallbackSupportMixin, with_callbacks

__all__ = ["CallbackSupportMixin", "Monitor", "with_callbacks"]


class Monitor:
    """Tells the callbacks of ``estimator.set_callbacks`` what happens; does nothing where there are none.

    view    from parameters to the attributes of an estimator that predicts as if the fit ended with them
    """

    def __init__(
        self, estimator: Any, X: Any, y: Any, weight: Any, epochs: int, view: Callable[..., Any]
    ) -> None:
        self.estimator, self.view = estimator, view
        self.context: Any = None
        self.task: Any = None
        self.data = {"X": X, "y": y, "metadata": None if weight is None else {"sample_weight": weight}}
        self.left = epochs
        if getattr(estimator, "_skl_callbacks", None):
            self.context = estimator._init_callback_context(max_subtasks=epochs)
            self.context.call_on_fit_task_begin(estimator=estimator, **self.data)

    def begin(self, state: Mapping[str, Any]) -> None:
        """The first epoch begins."""
        self._next(state)

    def _next(self, state: Mapping[str, Any]) -> None:
        if self.context is not None and self.left:
            self.left -= 1
            self.task = self.context.subcontext(task_name="epoch")
            attributes = self.view(state)
            self.task.call_on_fit_task_begin(
                estimator=self.estimator, reconstruction_attributes=attributes, **self.data
            )

    def epoch(self, end: EpochEnd, over: bool) -> bool:
        """An epoch is done, and the next begins unless it is ``over``. Whether a callback wants to stop."""
        if self.context is None or self.task is None:
            return False
        state = end.state()
        stop = self.task.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=self.view(state), **self.data
        )
        self.task = None
        if not stop and not over:
            self._next(state)
        return bool(stop)

    def end(self) -> None:
        """The fit is done."""
        if self.context is not None:
            self.context.call_on_fit_task_end(
                estimator=self.estimator, reconstruction_attributes={}, **self.data
            )
