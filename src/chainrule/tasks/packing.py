"""What a fitted estimator keeps, as JSON and arrays: dataclasses of a closed table, whose fields are numbers,
text, arrays, tuples and other such dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.errors import ConfigError, nearest
from chainrule.executors import Array

__all__ = ["Packed", "pack", "unpack"]

_DEEPEST = 20
_WIDER = {"int8": "int32", "int16": "int32", "uint16": "int32", "uint32": "int64", "float16": "float32"}
_HELD = ("bool", "uint8", "int32", "int64", "float32", "float64")  # dtypes of a model file

Packed = tuple[Any, dict[str, Array]]
"""(JSON, the arrays that it names)."""


def pack(value: Any, path: str) -> Packed:
    """A dataclass as JSON, its arrays by name below ``path``. ConfigError for what no file holds.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Scale:
    ...     mean: np.ndarray
    >>> found, arrays = pack(Scale(np.array([1.0])), "scale")
    >>> found, arrays["scale/mean"].tolist()
    ({'type': 'Scale', 'mean': {'tensor': 'scale/mean', 'dtype': 'float64'}}, [1.0])
    """
    arrays: dict[str, Array] = {}
    return _packed(value, path, arrays), arrays


def _packed(value: Any, path: str, arrays: dict[str, Array]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        return _packed_array(value, path, arrays)
    if isinstance(value, tuple | list):
        return [_packed(v, f"{path}/{i}", arrays) for i, v in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return {
            "type": type(value).__name__,
            **{k: _packed(v, f"{path}/{k}", arrays) for k, v in fields.items()},
        }
    raise ConfigError(f"{path}: a {type(value).__name__} cannot be saved")


def _packed_array(array: Array, path: str, arrays: dict[str, Array]) -> dict[str, Any]:
    name = array.dtype.newbyteorder("=").name
    if name in _HELD or name in _WIDER:
        arrays[path] = array.astype(_WIDER.get(name, name))
        return {"tensor": path, "dtype": name}
    values = array.tolist()
    if (
        array.ndim == 1
        and array.dtype.kind in "UO"
        and all(isinstance(v, str | bool | int | float) for v in values)
    ):
        return {"values": values, "object": array.dtype.kind == "O"}
    raise ConfigError(
        f"{path.rpartition('/')[2]} holds {array.dtype}, which a model file cannot hold; "
        "give classes as text, whole numbers or truth values"
    )


def unpack(value: Any, arrays: Mapping[str, Array], table: Mapping[str, type]) -> Any:
    """What :func:`pack` wrote, made of the classes in ``table`` alone; ConfigError for anything else."""
    return _unpacked(value, arrays, table, 0)


def _unpacked(value: Any, arrays: Mapping[str, Array], table: Mapping[str, type], depth: int) -> Any:
    if depth > _DEEPEST:
        raise ConfigError(f"nested deeper than {_DEEPEST} levels")
    if isinstance(value, list):
        return tuple(_unpacked(v, arrays, table, depth + 1) for v in value)
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return arrays[value["tensor"]].astype(_one_of(value["dtype"], (*_HELD, *_WIDER)))
    if "values" in value:
        return _text(value)
    cls = table[_one_of(value.get("type"), table)]
    names = [f.name for f in dataclasses.fields(cls) if f.init]
    given = {k: v for k, v in value.items() if k != "type"}
    if unknown := [name for name in given if name not in names]:
        raise ConfigError(f"{cls.__name__} has no field {unknown[0]!r}; {nearest(unknown[0], names)}")
    return cls(**{k: _unpacked(v, arrays, table, depth + 1) for k, v in given.items()})


def _text(value: Mapping[str, Any]) -> Array:
    values = value["values"]
    if not isinstance(values, list) or len({type(v) for v in values} & {dict, list}) > 0:
        raise ConfigError("values are a list of text or numbers")
    if value.get("object"):
        found = np.empty(len(values), object)
        found[:] = values
        return found
    return np.array(values, str)


def _one_of(name: Any, known: Any) -> str:
    if not isinstance(name, str) or name not in known:
        raise ConfigError(f"unknown kind {name!r}; {nearest(name, known)}")
    return name
