"""Configuration as JSON: any frozen dataclass ↔ ``{"type": "Dense", "version": 1, fields…}``.

Reading builds only classes from the tables that the caller gives: nothing in a file is imported or run.

=====================  =====================================
value                  JSON
=====================  =====================================
frozen dataclass       ``{"type": …, "version": …, fields…}``
registered function    ``{"function": "relu"}``
inf, −inf, nan         ``{"float": "inf"}`` …
dict                   ``{"dict": {…}}``
tuple, list            list (read back as a tuple)
None, bool, int, str   themselves, as finite floats are
=====================  =====================================
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from chainrule.errors import ConfigError, nearest

__all__ = ["from_json", "to_json", "to_source"]

_DEEPEST = 100
_RESERVED = ("type", "version")
_NON_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


# ------------------------------------------------------------------ writing


def to_json(value: Any, functions: Mapping[str, Callable[..., Any]] | None = None) -> Any:
    """A configuration as dicts, lists, numbers and strings, ready for ``json.dumps(…, allow_nan=False)``.

    ``functions``, where given, are the only ones that may occur, each under its own name.
    ConfigError names the field that cannot be written, and why.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Clip:
    ...     low: float
    ...     high: float = math.inf
    >>> to_json(Clip(0.5))
    {'type': 'Clip', 'version': 1, 'low': 0.5, 'high': {'float': 'inf'}}
    """
    return _encode(value, "", functions)


def _encode(value: Any, where: str, functions: Mapping[str, Callable[..., Any]] | None) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _encode_object(value, where, functions)
    if isinstance(value, tuple | list):
        return [_encode(v, f"{where}[{i}]", functions) for i, v in enumerate(value)]
    if isinstance(value, Mapping):
        return {"dict": {_text(k, where): _encode(v, _inside(where, k), functions) for k, v in value.items()}}
    if callable(value) and not isinstance(value, type):
        return {"function": _function_name(value, where, functions)}
    raise ConfigError(_refusal(value, where))


def _encode_object(
    value: Any, where: str, functions: Mapping[str, Callable[..., Any]] | None
) -> dict[str, Any]:
    cls = type(value)
    if not cls.__dataclass_params__.frozen:
        raise ConfigError(
            f"{_place(where)}{cls.__name__} can change after it was made, so it is no configuration; "
            f"write @dataclass(frozen=True) above the class"
        )
    found = {"type": cls.__name__, "version": _version(cls)}
    for name in _field_names(cls):
        found[name] = _encode(getattr(value, name), _inside(where, name), functions)
    return found


def _refusal(value: Any, where: str) -> str:
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        return f"{_place(where)}an array cannot be configuration; a layer asks for arrays by run.parameter"
    if isinstance(value, type):
        return f"{_place(where)}{value.__name__} is a class; write {value.__name__}(…) to make one"
    return (
        f"{_place(where)}a {kind} cannot be saved; configuration is made of frozen dataclasses, "
        "registered functions, numbers, strings, tuples and dicts"
    )


def _function_name(
    function: Callable[..., Any], where: str, functions: Mapping[str, Callable[..., Any]] | None
) -> str:
    name = getattr(function, "__name__", "")
    if not name.isidentifier():
        raise ConfigError(
            f"{_place(where)}{function!r} has no name under which it could be saved; "
            "use a registered function, or a frozen dataclass"
        )
    if functions is not None and functions.get(name) is not function:
        raise ConfigError(
            f"{_place(where)}the function {name!r} is not registered; {nearest(name, functions)}"
        )
    return name


def _text(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise ConfigError(f"{_place(where)}keys of a dict are strings, got {key!r}")
    return key


# ------------------------------------------------------------------ reading


def from_json(value: Any, tables: Mapping[str, type], functions: Mapping[str, Callable[..., Any]]) -> Any:
    """What :func:`to_json` wrote, made again. Fields that are missing take their defaults.

    ``tables``: the classes that may be made, by name. ``functions``: the functions that may be named.
    ConfigError for an unknown type, function or field (with the nearest known name), a newer version, a value
    that the class refuses.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Clip:
    ...     low: float
    ...     high: float = math.inf
    >>> from_json({"type": "Clip", "low": 0.5}, {"Clip": Clip}, {})
    Clip(low=0.5, high=inf)
    """
    return _Reader(tables, functions).decode(value, "", 0)


@dataclasses.dataclass(frozen=True)
class _Reader:
    tables: Mapping[str, type]
    functions: Mapping[str, Callable[..., Any]]

    def decode(self, value: Any, where: str, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ConfigError(f"configuration nested deeper than {_DEEPEST} levels is refused")
        if isinstance(value, list | tuple):
            return tuple(self.decode(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value))
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if not isinstance(value, Mapping):
            raise ConfigError(f"{_place(where)}{type(value).__name__} is not JSON")
        if "type" in value:
            return self.object(value, where, depth)
        return self.tagged(value, where, depth)

    def tagged(self, value: Mapping[str, Any], where: str, depth: int) -> Any:
        """``{"function": …}``, ``{"float": …}`` or ``{"dict": …}``."""
        tag, content = next(iter(value.items())) if len(value) == 1 else ("", None)
        if tag == "function":
            return _known(content, self.functions, "function", where)
        if tag == "float":
            return _known(content, _NON_FINITE, "float", where)
        if tag == "dict" and isinstance(content, Mapping):
            return {k: self.decode(v, _inside(where, k), depth + 1) for k, v in content.items()}
        raise ConfigError(
            f"{_place(where)}an object here is one of {{'type': …}}, {{'function': …}}, {{'float': …}}, "
            f"{{'dict': …}}, got the keys {list(value)}"
        )

    def object(self, value: Mapping[str, Any], where: str, depth: int) -> Any:
        cls = _known(value["type"], self.tables, "type", where)
        version = value.get("version", _version(cls))
        if isinstance(version, bool) or version != _version(cls):
            raise ConfigError(
                f"{_place(where)}{cls.__name__} has version {version!r} here, this chainrule reads version "
                f"{_version(cls)}; a newer one was written by a newer chainrule: update it"
            )
        names = _field_names(cls)
        given = {name: v for name, v in value.items() if name not in _RESERVED}
        for name in given:
            if name not in names:
                raise ConfigError(
                    f"{_place(where)}{cls.__name__} has no field {name!r}; {nearest(name, names)}"
                )
        fields = {name: self.decode(v, _inside(where, name), depth + 1) for name, v in given.items()}
        try:
            return cls(**fields)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ConfigError(f"{_place(where)}{error}") from error


def _known(name: Any, table: Mapping[str, Any], kind: str, where: str) -> Any:
    if not isinstance(name, str) or name not in table:
        raise ConfigError(f"{_place(where)}unknown {kind} {name!r}; {nearest(name, table)}")
    return table[name]


# ------------------------------------------------------------------ for people


def to_source(value: Any) -> str:
    """A configuration as one would write it: fields that have their default are left out.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Clip:
    ...     low: float
    ...     high: float = math.inf
    >>> to_source((Clip(0.5), Clip(0, 1), math.sqrt))
    '(Clip(low=0.5), Clip(low=0, high=1), sqrt)'
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(f, getattr(value, f.name)) for f in dataclasses.fields(value) if f.init]
        written = [f"{f.name}={to_source(v)}" for f, v in fields if v != _default(f)]
        return f"{type(value).__name__}({', '.join(written)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(to_source, value))}{',' * (len(value) == 1)})"
    return getattr(value, "__name__", repr(value))


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


# ------------------------------------------------------------------ both ways


def _field_names(cls: type) -> list[str]:
    names = [f.name for f in dataclasses.fields(cls) if f.init]
    if taken := [name for name in names if name in _RESERVED]:
        raise ConfigError(
            f"{cls.__name__}: a field cannot be called {taken[0]!r}: the file uses that word itself"
        )
    return names


def _version(cls: type) -> int:
    """``version: ClassVar[int]`` of the class, 1 where it has none."""
    return vars(cls).get("version", 1)


def _inside(where: str, name: object) -> str:
    return f"{where}.{name}" if where else str(name)


def _place(where: str) -> str:
    return f"in {where}: " if where else ""
