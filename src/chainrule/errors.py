"""Every error that chainrule raises on purpose: what went wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Integral, Real

__all__ = [
    "ChainruleError",
    "CompilerError",
    "ConfigError",
    "DTypeError",
    "DataError",
    "DivergenceError",
    "MissingExtraError",
    "ModelFileError",
    "RunInUseError",
    "ShapeError",
    "nearest",
    "within",
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


class CompilerError(ChainruleError, RuntimeError):
    """A fault of chainrule's own compiler, not of the user's graph; to be reported."""


def nearest(name: object, known: Iterable[object]) -> str:
    """A remedy for an unknown name: the nearest known one, and the list.

    >>> nearest("relo", ["relu", "tanh"])
    "did you mean 'relu'? Known: relu, tanh"
    """
    names = sorted(str(k) for k in known)
    listing = f"Known: {', '.join(names)}"
    folded = {k.casefold(): k for k in names}
    close = difflib.get_close_matches(str(name).casefold(), folded, n=1)
    return f"did you mean {folded[close[0]]!r}? {listing}" if close else listing


def within(owner: object, field: str, interval: str, *, whole: bool = False) -> None:
    """Refuses a configuration's field unless it is a number in the interval, written as in a textbook.

    >>> from types import SimpleNamespace
    >>> within(SimpleNamespace(momentum=1.5), "momentum", "[0, 1)")
    Traceback (most recent call last):
    chainrule.errors.ConfigError: SimpleNamespace: momentum is 1.5; it must be a number in [0, 1)
    """
    value = getattr(owner, field)
    low, high = (float(end) for end in interval[1:-1].split(","))
    if not isinstance(value, bool) and isinstance(value, Integral if whole else Real):
        number = float(value)
        on_an_end = (interval[0] == "[" and number == low) or (interval[-1] == "]" and number == high)
        if low < number < high or on_an_end:
            return
    kind = "a whole number" if whole else "a number"
    raise ConfigError(f"{type(owner).__name__}: {field} is {value!r}; it must be {kind} in {interval}")
