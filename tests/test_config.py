"""Configuration ↔ JSON: everything comes back equal; all else is refused with its place and a remedy."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.config import from_json, to_json
from chainrule.errors import ConfigError


def double(x):
    return 2 * x


def triple(x):
    return 3 * x


FUNCTIONS = {"double": double, "triple": triple}


@dataclass(frozen=True)
class Leaf:
    size: int
    rate: float = 0.5
    name: str | None = None


@dataclass(frozen=True)
class Tree:
    leaves: Any = ()
    act: Any = double
    options: Any = None


@dataclass(frozen=True)
class Grown:
    """The second form of something."""

    size: int = 1
    version: ClassVar[int] = 2


@dataclass(frozen=True)
class Picky:
    size: int

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"Picky: size must be positive, got {self.size}")


TABLES = {cls.__name__: cls for cls in (Leaf, Tree, Grown, Picky)}


def through_text(value):
    return from_json(json.loads(json.dumps(to_json(value, FUNCTIONS), allow_nan=False)), TABLES, FUNCTIONS)


numbers = st.integers() | st.floats(allow_nan=False)
leaves = st.builds(Leaf, size=st.integers(), rate=numbers, name=st.none() | st.text())
plain = st.none() | st.booleans() | numbers | st.text() | leaves | st.sampled_from(list(FUNCTIONS.values()))
nested = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
        | st.builds(Tree, leaves=inner, act=st.sampled_from(list(FUNCTIONS.values())), options=inner)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(nested)
def test_everything_comes_back_equal_and_of_the_same_type(value):
    found = through_text(value)
    assert found == value
    assert repr(found) == repr(value), "1 and 1.0 and True are equal but not the same"


@pytest.mark.parametrize("value", [math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2])
def test_every_float_comes_back_to_the_bit(value):
    found = through_text(Leaf(1, value)).rate
    assert (found, math.copysign(1, found)) == (value, math.copysign(1, value))


def test_nan_comes_back():
    assert math.isnan(through_text(Leaf(1, math.nan)).rate)


def test_the_written_form():
    tree = Tree(leaves=(Leaf(3), Leaf(4, math.inf)), act=triple, options={"type": "not a type"})
    assert to_json(tree) == {
        "type": "Tree",
        "version": 1,
        "leaves": [
            {"type": "Leaf", "version": 1, "size": 3, "rate": 0.5, "name": None},
            {"type": "Leaf", "version": 1, "size": 4, "rate": {"float": "inf"}, "name": None},
        ],
        "act": {"function": "triple"},
        "options": {"dict": {"type": "not a type"}},
    }
    assert through_text(tree) == tree


def test_numpy_scalars_are_written_as_pythons():
    found = to_json(Leaf(np.int64(3), np.float32(0.5)))
    assert (type(found["size"]), type(found["rate"])) == (int, float)


def test_missing_fields_and_version_take_their_defaults():
    assert from_json({"type": "Leaf", "size": 2}, TABLES, {}) == Leaf(2)
    assert from_json({"type": "Grown"}, TABLES, {}) == Grown()


@dataclass
class Mutable:
    size: int = 1


@dataclass(frozen=True)
class Reserved:
    type: str = "x"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (
            Tree(np.ones(3)),
            "in leaves: an array cannot be configuration; a layer asks for arrays by run.parameter",
        ),
        (Tree((1, (2, {3}))), "in leaves[1][1]: a set cannot be saved"),
        (Tree(b"bytes"), "a bytes cannot be saved"),
        (Tree(options={"a": {1: 2}}), "in options.a: keys of a dict are strings, got 1"),
        (Tree(act=lambda x: x), "in act: <function"),
        (Tree(act=math.sin), "in act: the function 'sin' is not registered; Known: double, triple"),
        (Tree(Leaf), "in leaves: Leaf is a class; write Leaf(…)"),
        (Tree(Mutable()), "in leaves: Mutable can change after it was made"),
        (Reserved(), "Reserved: a field cannot be called 'type'"),
    ],
)
def test_what_cannot_be_saved_is_refused_with_its_place(value, says):
    with pytest.raises(ConfigError) as caught:
        to_json(value, FUNCTIONS)
    assert says in str(caught.value)


def test_another_function_of_a_registered_name_is_refused():
    def impostor(x):
        return x

    impostor.__name__ = "double"
    with pytest.raises(ConfigError, match="'double' is not registered"):
        to_json(Tree(act=impostor), FUNCTIONS)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"type": "Leav", "size": 1}, "unknown type 'Leav'; did you mean 'Leaf'?"),
        ({"type": "Leaf", "siz": 1}, "Leaf has no field 'siz'; did you mean 'size'?"),
        ({"type": "Leaf"}, "size"),
        ({"type": ["Leaf"]}, "unknown type ['Leaf']"),
        ({"type": None}, "unknown type None"),
        ({"type": "Tree", "act": {"function": "doubel"}}, "in act: unknown function 'doubel'; did you mean"),
        ({"type": "Tree", "act": {"function": {}}}, "in act: unknown function {}"),
        ({"type": "Tree", "leaves": [1, {"type": "X"}]}, "in leaves[1]: unknown type 'X'"),
        ({"type": "Leaf", "size": 1, "version": 2}, "has version 2 here, this chainrule reads version 1"),
        ({"type": "Leaf", "size": 1, "version": 0}, "has version 0 here"),
        ({"type": "Leaf", "size": 1, "version": True}, "has version True here"),
        ({"type": "Leaf", "size": 1, "version": "1"}, "has version '1' here"),
        ({"type": "Grown", "version": 1}, "has version 1 here, this chainrule reads version 2"),
        ({"type": "Leaf", "size": 1, "rate": {"float": "infinite"}}, "unknown float 'infinite'; Known: -inf"),
        ({"type": "Leaf", "size": 1, "rate": {"float": 1.0}}, "in rate: unknown float 1.0"),
        ({"a": 1, "b": 2}, "got the keys ['a', 'b']"),
        ({}, "got the keys []"),
        ({"dict": [1]}, "got the keys ['dict']"),
        ({"type": "Picky", "size": 0}, "Picky: size must be positive, got 0"),
        ({"type": "Tree", "options": {"type": "Picky", "size": "a"}}, "in options: "),
        ({"type": "Tree", "options": {1, 2}}, "in options: set is not JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_place_and_the_nearest_name(value, says):
    with pytest.raises(ConfigError) as caught:
        from_json(value, TABLES, FUNCTIONS)
    assert says in str(caught.value)


def test_a_file_cannot_name_what_is_not_in_the_tables():
    for hostile in ("os.system", "__import__", "builtins.eval", "subprocess.Popen"):
        for value in ({"type": hostile}, {"function": hostile}):
            with pytest.raises(ConfigError, match="unknown"):
                from_json(value, TABLES, FUNCTIONS)


@pytest.mark.parametrize(
    "wrap", [lambda v: [v], lambda v: {"dict": {"a": v}}, lambda v: {"type": "Tree", "leaves": v}]
)
def test_deep_nesting_is_refused_not_overflowed(wrap):
    value: Any = 1
    for _ in range(5000):
        value = wrap(value)
    with pytest.raises(ConfigError, match="deeper than 100 levels"):
        from_json(value, TABLES, FUNCTIONS)


def test_fields_that_are_not_given_to_the_constructor_are_left_out():
    @dataclass(frozen=True)
    class Derived:
        size: int = 2
        half: int = field(default=1, init=False)

    assert to_json(Derived()) == {"type": "Derived", "version": 1, "size": 2}
