"""JSON that means one thing only: no duplicate keys, no NaN, no bombs.

Python's ``json`` keeps the last of two equal keys, reads ``NaN`` and turns ``1e400`` into infinity; all three
let one file mean different things to different readers. Here they are errors, and size, depth and the number
of values are bounded before anything is built.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from chainrule.errors import ModelFileError

__all__ = [
    "MAX_JSON_BYTES",
    "MAX_JSON_DEPTH",
    "MAX_JSON_KEYS",
    "MAX_JSON_VALUES",
    "canonical_dump",
    "strict_dump",
    "strict_json",
]

MAX_JSON_BYTES = 16 * 2**20
MAX_JSON_DEPTH = 128
MAX_JSON_VALUES = 2**20
MAX_JSON_KEYS = 2**16  # a key costs ten times what a number in a list costs
MAX_NUMBER_LENGTH = 1000

_MARKS = b'"[]{},:'
_NOT_MARKS = bytes(set(range(256)) - set(_MARKS))
_SCAN_BLOCK = 2**20


def strict_json(text: str | bytes, what: str = "JSON text") -> Any:
    """Read JSON text (RFC 8259) that has exactly one meaning.

    ``what`` names the text in errors. Bytes must be UTF-8. Numbers written with a fraction or an exponent
    become float, others int.

    Raises ModelFileError: not JSON; a duplicate key; NaN, Infinity or a number beyond float64; half a
    surrogate pair; more than 16 MiB, 128 levels, 2**20 values or 2**16 keys.

    >>> strict_json('{"loss": [0.5, null]}')
    {'loss': [0.5, None]}
    >>> strict_json('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    chainrule.errors.ModelFileError: JSON text: the key 'a' appears twice
    """
    import json

    try:
        raw = text.encode("utf-8") if isinstance(text, str) else bytes(text)
        _check_bounds(raw)
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_int=_bounded_int,
            parse_float=_finite_float,
            parse_constant=_no_constant,
        )
        if b"\\u" in raw:  # only an escape can spell half a surrogate pair
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except _Refused as error:
        raise ModelFileError(f"{what}: {error}") from None
    except UnicodeError as error:
        raise ModelFileError(f"{what}: not UTF-8 text: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{what}: not valid JSON: {error}") from None
    return value


def strict_dump(value: object, what: str = "JSON value") -> str:
    """The JSON text of ``value``, keys in their own order; ``strict_json`` reads it back.

    Allowed are dict with string keys, list, tuple (read back as list), str, int, float, bool and None.
    ``what`` names the value in errors.

    Raises ModelFileError for anything else, and for a float that is not finite; the message says where.

    >>> strict_dump({"b": 1, "a": [0.5, None]})
    '{"b":1,"a":[0.5,null]}'
    >>> strict_dump({"loss": [float("nan")]})
    Traceback (most recent call last):
    chainrule.errors.ModelFileError: JSON value: ['loss'][0] is nan, not JSON: store None instead
    """
    return _dump(value, what, sort_keys=False)


def canonical_dump(value: object, what: str = "JSON value") -> str:
    """As :func:`strict_dump` with sorted keys: equal values give equal text, fit for hashing.

    >>> canonical_dump({"b": 1, "a": 2})
    '{"a":2,"b":1}'
    """
    return _dump(value, what, sort_keys=True)


class _Refused(Exception):  # noqa: N818 - it is caught in this file, nobody else meets it
    """A violation found while reading or writing; the caller adds what was read."""


def _check_bounds(raw: bytes) -> None:
    """Refuse too long, too deep and too many, at memory speed and before any object exists."""
    if len(raw) > MAX_JSON_BYTES:
        raise _Refused(f"{len(raw)} bytes, but at most {MAX_JSON_BYTES} are read")
    # Without escaped backslashes and escaped quotes, every quote left opens or closes a string. (A backslash
    # outside a string is an error at which the parser stops, so what it hides is never parsed.)
    bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = np.frombuffer(bare.translate(None, _NOT_MARKS), np.uint8)
    depth, values, keys, inside = 0, 0, 0, False
    for start in range(0, len(marks), _SCAN_BLOCK):
        block = marks[start : start + _SCAN_BLOCK]
        in_string = np.logical_xor.accumulate(block == ord('"')) ^ inside
        opens = ((block == ord("[")) | (block == ord("{"))) & ~in_string
        closes = ((block == ord("]")) | (block == ord("}"))) & ~in_string
        levels = depth + np.cumsum(opens.astype(np.int8) - closes.astype(np.int8), dtype=np.int32)
        values += int(np.count_nonzero(opens | ((block == ord(",")) & ~in_string)))
        keys += int(np.count_nonzero((block == ord(":")) & ~in_string))
        if levels.max() > MAX_JSON_DEPTH:
            raise _Refused(f"nested deeper than {MAX_JSON_DEPTH} levels")
        if values > MAX_JSON_VALUES:
            raise _Refused(f"more than {MAX_JSON_VALUES} values")
        if keys > MAX_JSON_KEYS:
            raise _Refused(f"more than {MAX_JSON_KEYS} keys")
        depth, inside = int(levels[-1]), bool(in_string[-1])


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = sorted(key for key, _ in pairs)
        twice = next(a for a, b in itertools.pairwise(names) if a == b)
        raise _Refused(f"the key {twice[:80]!r} appears twice")
    return result


def _bounded_int(digits: str) -> int:
    # Python's conversion takes quadratic time.
    if len(digits) > MAX_NUMBER_LENGTH:
        raise _Refused(f"a number of {len(digits)} digits")
    return int(digits)


def _finite_float(digits: str) -> float:
    if len(digits) > MAX_NUMBER_LENGTH:
        raise _Refused(f"a number of {len(digits)} characters")
    if not math.isfinite(value := float(digits)):
        raise _Refused(f"the number {digits[:40]} does not fit into float64")
    return value


def _no_constant(name: str) -> None:
    raise _Refused(f"{name} is not JSON")


def _dump(value: object, what: str, *, sort_keys: bool) -> str:
    import json

    try:
        _check_value(value)
        compact = (",", ":")
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=compact, sort_keys=sort_keys)
        _check_bounds(text.encode("utf-8"))
    except _Refused as error:
        raise ModelFileError(f"{what}: {error}") from None
    except UnicodeEncodeError as error:
        raise ModelFileError(f"{what}: text that UTF-8 cannot hold: {error}") from None
    return text


def _check_value(value: object) -> None:
    """Say where a value is that JSON cannot hold; ``json.dumps`` alone would only say that there is one.

    The walk keeps its own stack, so that a list that contains itself ends at the depth bound.
    """
    waiting: list[tuple[object, str, int]] = [([value], "the value", 0)]
    while waiting:
        container, path, depth = waiting.pop()
        if depth > MAX_JSON_DEPTH:
            raise _Refused(f"nested deeper than {MAX_JSON_DEPTH} levels")
        for key, child in _members(container, path):
            here = path if depth == 0 else f"{path if depth > 1 else ''}[{key!r}]"
            if isinstance(child, dict | list | tuple):
                waiting.append((child, here, depth + 1))
            elif complaint := _complaint(child):
                raise _Refused(f"{here} {complaint}")


def _members(container: object, path: str) -> Iterable[tuple[object, object]]:
    if not isinstance(container, dict):
        return enumerate(cast("list[object]", container))
    if bad := [key for key in container if not isinstance(key, str)]:
        raise _Refused(f"the key {bad[0]!r} of {path} is not text: use str({bad[0]!r})")
    return container.items()


def _complaint(item: object) -> str | None:
    if isinstance(item, float):
        return None if math.isfinite(item) else f"is {item}, not JSON: store None instead"
    if isinstance(item, int) and not -(10**300) < item < 10**300:
        return "is an integer of more than 300 digits"
    if item is None or isinstance(item, str | int):
        return None
    return f"is a {type(item).__name__}, not JSON: convert it to str, int, float or list first"
