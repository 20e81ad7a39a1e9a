"""What the fields of a layer may hold: checks for ``__post_init__``, which raise ConfigError."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from chainrule.errors import ConfigError, nearest

__all__ = [
    "check_choice",
    "check_flag",
    "check_name",
    "check_number",
    "check_padding",
    "check_path",
    "check_per_axis",
    "check_whole",
]

_WHOLE = (int, np.integer)
_NUMBER = (int, float, np.integer, np.floating)
_FORBIDDEN = frozenset("/*?[]#:")  # separates paths, selects them, numbers repeated uses


def _refuse(owner: object, field: str, wanted: str) -> ConfigError:
    name = type(owner).__name__
    return ConfigError(f"{name}: {field} must be {wanted}, got {getattr(owner, field)!r}")


def check_whole(owner: object, field: str, least: int = 1) -> None:
    """A whole number of at least ``least``."""
    value = getattr(owner, field)
    if isinstance(value, bool) or not isinstance(value, _WHOLE) or value < least:
        raise _refuse(owner, field, f"a whole number of at least {least}")


def check_per_axis(owner: object, axes: int | None, *fields: str) -> None:
    """A whole number of at least 1, or a tuple of one for each of ``axes`` (however many where None)."""
    for field in fields:
        value = getattr(owner, field)
        parts = value if isinstance(value, tuple) else (value,)
        wrong = isinstance(value, tuple) and not _fits(value, axes)
        if wrong or not all(_is_whole(v, 1) for v in parts):
            raise _refuse(owner, field, f"a whole number of at least 1, or a tuple of {_each(axes)}")


def check_padding(owner: object, axes: int | None) -> None:
    """``padding``: "valid", "same", a whole number, or for each axis a number or (before, after)."""
    value = owner.padding  # type: ignore[attr-defined]
    if isinstance(value, str):
        check_choice(owner, "padding", ("valid", "same"))
        return
    parts = value if isinstance(value, tuple) else (value,)
    flat = [v for part in parts for v in (part if isinstance(part, tuple) and len(part) == 2 else (part,))]
    wrong = isinstance(value, tuple) and not _fits(value, axes)
    if wrong or not all(_is_whole(v, 0) for v in flat):
        sides = (
            f'"valid", "same", a whole number, or a tuple of {_each(axes)}, each a number or (before, after)'
        )
        raise _refuse(owner, "padding", sides)


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, _WHOLE) and not isinstance(value, bool) and int(value) >= least


def _fits(value: tuple[Any, ...], axes: int | None) -> bool:
    return bool(value) if axes is None else len(value) == axes


def _each(axes: int | None) -> str:
    return "one for every axis" if axes is None else f"{axes}, one for every axis" if axes > 1 else "one"


def check_number(
    owner: object, field: str, low: float = -math.inf, high: float = math.inf, *, open_low: bool = False,
    open_high: bool = False,
) -> None:  # fmt: skip
    """A finite number from ``low`` to ``high``; an open bound is itself refused."""
    value = getattr(owner, field)
    number = isinstance(value, _NUMBER) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low <= value <= high or (open_low and value == low) or (open_high and value == high):
        left = "(" if open_low or low == -math.inf else "["
        right = ")" if open_high or high == math.inf else "]"
        raise _refuse(owner, field, f"a number in {left}{low:g}, {high:g}{right}")


def check_flag(owner: object, *fields: str) -> None:
    """True or False."""
    for field in fields:
        if not isinstance(getattr(owner, field), bool):
            raise _refuse(owner, field, "True or False")


def check_choice(owner: object, field: str, options: Iterable[str]) -> None:
    """One of a few names; the message gives the nearest."""
    value, options = getattr(owner, field), tuple(options)
    if value not in options:
        raise ConfigError(f"{type(owner).__name__}: unknown {field} {value!r}; {nearest(value, options)}")


def check_name(name: Any, what: str) -> None:
    """One part of a path: not empty, no separator, no sign that selects names."""
    if not isinstance(name, str) or not name or _FORBIDDEN & set(name) or name != name.strip():
        raise ConfigError(
            f"{what}: {name!r} is no name; it may not be empty nor contain spaces around it or / * ? [ ] # :"
        )


def check_path(path: Any, what: str) -> None:
    """Names joined by ``/``."""
    for name in path.split("/") if isinstance(path, str) else [path]:
        check_name(name, what)
