"""Errors: the family, the nearest name, the range of a hyper-parameter."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from chainrule import errors
from chainrule.errors import ChainruleError, ConfigError, nearest, within


def test_every_error_is_one_of_the_family_and_of_its_python_kind() -> None:
    kinds = {
        "ShapeError": ValueError, "DTypeError": TypeError, "DataError": ValueError, "ConfigError": ValueError,
        "DivergenceError": ArithmeticError, "ModelFileError": ValueError, "MissingExtraError": ImportError,
        "RunInUseError": RuntimeError, "CompilerError": RuntimeError,
    }  # fmt: skip
    for name, kind in kinds.items():
        assert issubclass(getattr(errors, name), ChainruleError)
        assert issubclass(getattr(errors, name), kind)


def test_nearest_says_what_is_known_also_where_nothing_is_near() -> None:
    assert nearest("adm", ["adam", "sgd"]) == "did you mean 'adam'? Known: adam, sgd"
    assert nearest("zzz", ["adam", "sgd"]) == "Known: adam, sgd"
    assert nearest("x", []) == "Known: "


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1)", [0, 0.5, np.float32(0.25), 0.999], [1, -1e-9, 1.0, float("nan")]),
        ("(0, 1]", [1, 1e-300], [0, 0.0, 1.0000001]),
        ("(0, inf)", [1e300, 1], [float("inf"), 0, -1]),
        ("(0, inf]", [float("inf")], [float("-inf")]),
        ("(-inf, inf)", [-100, 0], [float("inf"), float("nan")]),
    ],
)
def test_within_reads_intervals_as_textbooks_write_them(
    interval: str, inside: list[Any], outside: list[Any]
) -> None:
    for value in inside:
        within(SimpleNamespace(rate=value), "rate", interval)
    for value in [*outside, None, "1", True, 1j]:
        with pytest.raises(ConfigError, match=r"SimpleNamespace: rate is .*; it must be a number in"):
            within(SimpleNamespace(rate=value), "rate", interval)


def test_within_may_ask_for_whole_numbers() -> None:
    within(SimpleNamespace(steps=np.int64(3)), "steps", "[1, inf)", whole=True)
    for value in (2.0, 0, True):
        with pytest.raises(ConfigError, match="a whole number in"):
            within(SimpleNamespace(steps=value), "steps", "[1, inf)", whole=True)
