"""Origin: where a node comes from, so that errors, plans and reports can name layer, operation and line."""

from __future__ import annotations

import sys
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import FrameType

from chainrule.errors import ChainruleError

__all__ = ["Origin", "locate", "origin_of", "scope"]

_PACKAGE = __name__.partition(".")[0]
_PLACE = "\n  in "


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a node comes from: the layer's path, the operation that the user called, the user's line.

    >>> print(Origin("dense_0", "matmul", "train.py:7"))
    layer 'dense_0', matmul, train.py:7
    """

    path: str = ""
    operation: str = ""
    line: str = ""

    def __str__(self) -> str:
        layer = f"layer {self.path!r}" if self.path else ""
        return ", ".join(part for part in (layer, self.operation, self.line) if part)


_origin: ContextVar[Origin | None] = ContextVar("chainrule_origin", default=None)


class scope:  # noqa: N801 (a context manager, used like a function)
    """``with scope("dense_0"):`` nodes made inside carry this origin: a layer's path, an operation's name,
    or a whole origin as it is. The outermost operation stays, as the one that the user called.
    A chainrule error that leaves the scope names it.
    """

    __slots__ = ("_token", "operation", "origin", "path")
    _token: Token[Origin | None]

    def __init__(self, path: str | None = None, *, operation: str = "", origin: Origin | None = None) -> None:
        self.path, self.operation, self.origin = path, operation, origin

    def __enter__(self) -> Origin:
        origin = self.origin
        if origin is None:
            outer = _origin.get() or Origin(line=_user_line())
            path = outer.path if self.path is None else self.path
            origin = self.origin = Origin(path, outer.operation or self.operation, outer.line)
        self._token = _origin.set(origin)
        return origin

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        _origin.reset(self._token)
        if isinstance(error, ChainruleError) and self.origin is not None:
            locate(error, self.origin)


def locate(error: ChainruleError, origin: Origin) -> None:
    """Add the place to the message; the innermost place, which is the first to be added, stays."""
    place = str(origin)
    if place and _PLACE not in str(error):
        error.args = (f"{error}{_PLACE}{place}",)


def origin_of(operation: str) -> Origin:
    """The origin that a node made now receives; ``operation`` where no operation is under way."""
    outer = _origin.get()
    if outer is None:
        return Origin("", operation, _user_line())
    return outer if outer.operation else Origin(outer.path, operation, outer.line)


def _user_line() -> str:
    """``file:line`` of the innermost frame outside chainrule."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] != _PACKAGE:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
