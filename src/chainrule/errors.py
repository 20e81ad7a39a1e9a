"""Every error that chainrule raises on purpose: what went wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ChainruleError",
    "ConfigError",
    "DTypeError",
    "DataError",
    "DivergenceError",
    "MissingExtraError",
    "ModelFileError",
    "RunInUseError",
    "ShapeError",
    "nearest",
]


class ChainruleError(Exception):
    """The root: ``except ChainruleError`` catches whatever chainrule raises on purpose."""


class ShapeError(ChainruleError, ValueError):
    """Shapes that do not fit; raised when the graph is built, before anything is computed."""


class DTypeError(ChainruleError, TypeError):
    """A dtype that an operation does not take, or a conversion that would lose values."""


class DataError(ChainruleError, ValueError):
    """Data that cannot be trained on or predicted from."""


class ConfigError(ChainruleError, ValueError):
    """An option, a name or a combination of them that has no meaning."""


class DivergenceError(ChainruleError, ArithmeticError):
    """Training left the finite numbers; the last good state is kept."""


class ModelFileError(ChainruleError, ValueError):
    """A file that is not a whole, unaltered chainrule model."""


class MissingExtraError(ChainruleError, ImportError):
    """A package of an optional extra is not installed."""


class RunInUseError(ChainruleError, RuntimeError):
    """Another process is writing to this run folder."""


def nearest(name: object, known: Iterable[object]) -> str:
    """A remedy for an unknown name: the nearest known one, and the list.

    >>> nearest("relo", ["relu", "tanh"])
    "did you mean 'relu'? Known: relu, tanh"
    """
    names = sorted(str(k) for k in known)
    listing = f"Known: {', '.join(names)}"
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean {close[0]!r}? {listing}" if close else listing
