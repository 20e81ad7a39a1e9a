"""What stands in for scikit-learn's callback support before version 1.9: nothing is told to anybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["CallbackSupportMixin", "with_callbacks"]


class CallbackSupportMixin:
    """Without callbacks; ``callbacks=`` of the estimators takes those of chainrule in any version."""


def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method as it is."""
    return method
