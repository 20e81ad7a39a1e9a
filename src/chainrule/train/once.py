"""What follows from configuration alone, made once: graphs and functions of models that are alike.

Fitting small networks again and again, as a search over a grid or five folds do, would otherwise spend most
of its time on tracing the same step and planning the same kernels.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from chainrule.config import to_json
from chainrule.errors import ConfigError
from chainrule.ops.functions import FUNCTIONS

__all__ = ["Once", "described"]

_Made = TypeVar("_Made")


def described(*parts: Any) -> str | None:
    """A text that is equal only for configurations of equal meaning; None where a part is a class or function
    of the user's, which may mean something else the next time.

    >>> described("relu", 1) == described("relu", 1.0), described(lambda z: z)
    (False, None)
    """
    if not all(map(_ours, parts)):
        return None
    try:
        return json.dumps([to_json(part, FUNCTIONS) for part in parts])
    except ConfigError:
        return None


def _ours(value: Any) -> bool:
    """Whether it is made of this library's classes and functions."""
    if isinstance(value, tuple | list):
        return all(map(_ours, value))
    if isinstance(value, Mapping):
        return all(map(_ours, value.values()))
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        return True
    if dataclasses.is_dataclass(value):
        ours = type(value).__module__.startswith("chainrule.")
        return ours and all(_ours(getattr(value, f.name)) for f in dataclasses.fields(value))
    return callable(value)  # which `to_json` looks up


class Once:
    """The last ``most`` things that were made, by a description of each."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, key: str | None, make: Callable[[], _Made]) -> _Made:
        """What was made for this key; made now where there is none. None is no key: made in any case."""
        if key is None:
            return make()
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                found: _Made = self._kept[key]
                return found
        made = make()  # not under the lock: two threads may make the same
        with self._lock:
            found = self._kept.setdefault(key, made)
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)
        return found
