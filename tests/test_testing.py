"""The public checks must pass what is right and catch, and name, what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import ops, testing
from chainrule.errors import ChainruleError, ConfigError
from chainrule.executors import EXECUTORS, evaluate
from chainrule.executors.reference import Walk
from chainrule.graph import PRIMITIVES, Graph, Primitive, apply
from chainrule.testing import MismatchError, check_gradients, compare_executors


@pytest.fixture
def wrong_rule():
    """Makes sin with a wrong gradient rule; forgets it afterwards."""
    made = []

    def make(vjp):
        made.append(Primitive(f"wrong_{len(made)}", infer=lambda x: x, vjp=vjp, reference=np.sin))
        return lambda x: apply(made[-1], x)

    yield make
    for primitive in made:
        del PRIMITIVES[primitive.name]


X = np.linspace(-2, 2, 12).reshape(3, 4)


def test_right_gradients_pass(wrong_rule):
    check_gradients(wrong_rule(lambda g, y, x: (g * ops.cos(x),)), X)
    check_gradients(lambda x, w, b: ops.tanh(x @ w + b), X, np.ones((4, 2)), np.zeros(2))


@pytest.mark.parametrize(
    "rule",
    [
        lambda g, y, x: (g * ops.sin(x),),
        lambda g, y, x: (g * ops.cos(x) * 1.002,),
        lambda g, y, x: (-g * ops.cos(x),),
        lambda g, y, x: (ops.cos(x),),  # forgets the cotangent
        lambda g, y, x: (None,),
        lambda g, y, x: (g * ops.where(x < 1.9, ops.cos(x), 0),),  # wrong in one column of one row
        lambda g, y, x: (g * ops.cos(x) / 0,),
        lambda g, y, x: (g * ops.cos(x) * np.nan,),
    ],
)
def test_wrong_gradients_are_caught(wrong_rule, rule):
    with pytest.raises(MismatchError, match="order 1, input 0"):
        check_gradients(wrong_rule(rule), X)


def test_a_gradient_that_is_wrong_only_when_differentiated_again(wrong_rule):
    function = wrong_rule(lambda g, y, x: (g * ops.stop_gradient(ops.cos(x)),))
    check_gradients(function, X, order=1)
    with pytest.raises(MismatchError, match="order 2, input 0"):
        check_gradients(function, X, order=2)


def test_the_message_names_input_element_values_and_remedy():
    def function(a, b):
        return ops.sum(a) + ops.stop_gradient(b)[1] * 3 + b[0]

    with pytest.raises(MismatchError) as caught:
        check_gradients(function, np.ones(2), np.ones(3))
    message = str(caught.value)
    for part in ("order 1", "input 1 float64[3]", "element [1]", "1 of 3 elements", "gradient rule", "kink"):
        assert part in message
    assert isinstance(caught.value, AssertionError)
    assert isinstance(caught.value, ChainruleError)


def test_float32_arrays_are_checked_in_float64():
    check_gradients(lambda x: ops.exp(x), X.astype("f"))
    check_gradients(lambda x: ops.exp(x), [[0.5, 1.5]])


def test_integers_are_passed_on():
    check_gradients(lambda x, i: ops.gather(x, i), X, np.array([0, 2, 2]))
    check_gradients(lambda x, m: ops.where(m, ops.sqrt(x), -x), np.abs(X) + 0.1, X > 0)


def test_several_outputs_are_projected_together():
    check_gradients(lambda x: [ops.sin(x), ops.sum(x), ops.argmax(x)], X)
    with pytest.raises(MismatchError):
        check_gradients(lambda x: [ops.sin(x), ops.stop_gradient(x)], X)


def test_scalars_and_empty_arrays():
    check_gradients(lambda x: x * x, 3.0)
    check_gradients(ops.exp, np.zeros((0, 3)))


def test_of_large_inputs_a_part_is_checked():
    check_gradients(lambda x: ops.sum(ops.tanh(x)), np.random.default_rng(0).normal(size=(50, 40)), order=1)
    with pytest.raises(MismatchError, match="200 of 200"):
        check_gradients(lambda x: ops.sum(ops.stop_gradient(x)), np.ones((50, 40)), order=1)


def test_a_kink_is_a_mismatch():
    check_gradients(ops.relu, np.array([-1.0, 1.0]))
    with pytest.raises(MismatchError, match="kink"):
        check_gradients(ops.relu, np.array([0.0]), order=1)


# ------------------------------------------------------------------ executors


@pytest.fixture
def broken_executor(monkeypatch):
    """An executor that changes what it computed."""

    def install(change):
        class Broken(Walk):
            def __call__(self, *arrays):
                return [change(np.array(v)) for v in super().__call__(*arrays)]

        monkeypatch.setitem(EXECUTORS, "broken", (lambda y, x, *_: Broken(y, x), EXECUTORS["reference"][1]))

    return install


def softmax_case(dtype="float64"):
    x = ops.input("x", (2, 3), dtype)
    return [ops.softmax(x), ops.argmax(x)], {x: [[1, 2, 3], [0, -5, 5]]}


def test_executors_agree():
    compare_executors(*softmax_case())
    compare_executors(*softmax_case("float32"), list(EXECUTORS))


def test_a_call_is_compared_too():
    a, x = ops.input("a", (3,)), ops.input("x", (3,))
    compare_executors(ops.call(Graph((a,), (ops.exp(a), a)), x), {x: [1, 2, 3]})


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda v: v + 1, ["output 0", "div", "6 of 6"]),
        (lambda v: v * (1 + 1e-9) if v.dtype.kind == "f" else v, ["output 0"]),
        (lambda v: v if v.dtype.kind == "f" else v + 1, ["output 1", "argmax", "2 of 2"]),
        (lambda v: v.astype("f") if v.dtype.kind == "f" else v, ["is float32[2, 3]"]),
        (lambda v: v[:1], ["float64[1, 3]"]),
        (lambda v: np.where(v < 0.5, v, np.nan) if v.dtype.kind == "f" else v, ["nan"]),
    ],
)
def test_an_executor_that_differs_is_named(broken_executor, change, parts):
    broken_executor(change)
    with pytest.raises(MismatchError) as caught:
        compare_executors(*softmax_case(), ["reference", "broken"])
    for part in [*parts, "'broken'"]:
        assert part in str(caught.value), str(caught.value)


def test_tolerances_follow_the_dtype_and_can_be_given(broken_executor):
    broken_executor(lambda v: v * (1 + 1e-6) if v.dtype.kind == "f" else v)
    compare_executors(*softmax_case("float32"), ["broken"])
    with pytest.raises(MismatchError):
        compare_executors(*softmax_case("float64"), ["broken"])
    compare_executors(*softmax_case("float64"), ["broken"], rtol=1e-5)
    compare_executors(*softmax_case("float64"), ["broken"], rtol=0, atol=1e-5)


def test_nan_and_infinities_must_be_equal(broken_executor):
    x = ops.input("x", (4,), "float64")
    given = {x: [np.nan, np.inf, -np.inf, 1.0]}
    compare_executors([x * 2], given)
    assert np.isnan(evaluate([x * 2], given)[0][0])
    for change in (np.nan_to_num, np.negative, lambda v: np.full_like(v, np.nan)):
        broken_executor(change)
        with pytest.raises(MismatchError):
            compare_executors([x * 2], given, ["broken"])


def test_an_unknown_executor_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'reference'"):
        compare_executors(*softmax_case(), ["referense"])


def test_public_names():
    assert sorted(testing.__all__) == ["MismatchError", "check_gradients", "compare_executors"]
