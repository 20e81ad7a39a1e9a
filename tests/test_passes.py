"""Passes change what a graph costs, never a bit of what it computes: NaN, infinities and −0 included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seconds import least_seconds

from chainrule import ops
from chainrule.autodiff import gradient, vjp
from chainrule.executors import evaluate
from chainrule.graph import CALL, CONSTANT, Graph, apply, check, scope, toposort
from chainrule.ops.elementwise import GUARD
from chainrule.passes import merge_common, optimize, simplify

INF, NAN = np.inf, np.nan
SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.0, -3.5, INF, -INF, NAN, 1e308, -1e308, 5e-324, 0.1]


def names(*outputs):
    return [n.primitive.name for n in toposort(outputs)]


def assert_same_bits(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(a, b)  # NaN equals NaN here, and 0 equals −0
        if a.dtype.kind == "f":
            real = ~np.isnan(b)
            np.testing.assert_array_equal(np.signbit(a)[real], np.signbit(b)[real])


# ------------------------------------------------------------------ the law, on random graphs


def grow(draw, dtype):
    """A random graph over two inputs, with constants of every kind among its operands."""
    nodes = [ops.input("x", (2, 3), dtype), ops.input("y", (2, 3), dtype)]
    pick = st.integers(0, 2**16)
    scalar = st.sampled_from([v for v in SPECIAL if abs(v) < 1e38 or not np.isfinite(v)])

    def operand():
        return draw(scalar) if draw(st.booleans()) and draw(st.booleans()) else nodes[draw(pick) % len(nodes)]

    unary = [
        lambda a: -a,
        ops.abs,
        ops.exp,
        ops.sqrt,
        ops.relu,
        ops.stop_gradient,
        lambda a: a * 1,
        lambda a: 1 * a,
        lambda a: a / 1,
        lambda a: ops.where(ops.constant(True), a, 0),
        lambda a: a.T.T,
        lambda a: a[::-1],
        lambda a: ops.reshape(ops.reshape(a, (6,)), (2, 3)),
        lambda a: ops.transpose(ops.reshape(a, (3, 2))),
        lambda a: a[None][0],
        lambda a: ops.sum(a, 0)[None] + 0 * a,
        lambda a: a @ ops.constant(np.ones((3, 3), dtype)),
        lambda a: ops.cast(ops.cast(a, "float64"), dtype),
        ops.softmax,
        lambda a: ops.max(a, 1, keepdims=True) - a,
    ]
    binary = [
        ops.add,
        ops.sub,
        ops.mul,
        ops.div,
        ops.maximum,
        ops.guard,
        lambda a, b: a + -b,
        lambda a, b: -a + b,
        lambda a, b: a - -b,
        lambda a, b: ops.where(ops.less(a, b), a, b),
        lambda a, b: ops.where(ops.equal(a, b), b, b),
    ]
    for _ in range(draw(st.integers(1, 14))):
        f = draw(st.sampled_from([*unary, *binary]))
        if f in unary:
            made = f(nodes[draw(pick) % len(nodes)])
        else:
            a, b = operand(), operand()
            made = f(a, b if not isinstance(a, float) else nodes[draw(pick) % len(nodes)])
        nodes.append(made if made.shape == (2, 3) else ops.broadcast(made, (2, 3)))
    return nodes


@settings(max_examples=400)
@given(st.data(), st.sampled_from(["float32", "float64"]))
def test_no_pass_changes_a_bit(data, dtype):
    nodes = grow(data.draw, dtype)
    value = st.lists(st.sampled_from(SPECIAL), min_size=6, max_size=6)
    with np.errstate(over="ignore"):
        arrays = {x: np.reshape(data.draw(value), (2, 3)).astype(dtype) for x in nodes[:2]}
    outputs = [nodes[-1], nodes[len(nodes) // 2], ops.sum(nodes[-1])]
    expected = evaluate(outputs, arrays)
    for run in (simplify, merge_common, optimize):
        changed = run(outputs)
        check(changed)
        assert_same_bits(evaluate(changed, arrays), expected)


@settings(max_examples=80)
@given(st.data())
def test_no_pass_changes_a_bit_of_a_gradient(data):
    nodes = grow(data.draw, "float64")
    value = st.lists(st.sampled_from(SPECIAL), min_size=6, max_size=6)
    arrays = {x: np.reshape(data.draw(value), (2, 3)) for x in nodes[:2]}
    outputs = vjp([nodes[-1]], nodes[:2], [nodes[0]])
    assert_same_bits(evaluate(optimize(outputs), arrays), evaluate(outputs, arrays))


# ------------------------------------------------------------------ what becomes of what


def x_(shape=(2, 3), dtype="float32"):
    return ops.input("x", shape, dtype)


@pytest.mark.parametrize(
    "same",
    [
        lambda x: x * 1,
        lambda x: 1 * x,
        lambda x: x / 1,
        lambda x: ops.neg(ops.neg(x)),
        lambda x: ops.where(ops.constant(True), x, x + 1),
        lambda x: ops.where(ops.constant(False), x + 1, x),
        lambda x: ops.where(x > 0, x, x),
        lambda x: ops.reshape(ops.reshape(x, (3, 2)), (2, 3)),
        lambda x: x.T.T,
        lambda x: ops.transpose(ops.transpose(x, (1, 0)), (1, 0)),
        lambda x: (x * 1).T.T / 1,
        lambda x: x[None][0],
        lambda x: ops.guard(1.0, x),
    ],
)
def test_what_is_the_node_itself_becomes_it(same):
    x = x_()
    assert simplify([same(x)])[0] is x


@pytest.mark.parametrize(
    ("build", "left"),
    [
        (lambda x: x + -x, "sub"),
        (lambda x: -x + x, "sub"),
        (lambda x: x - -x, "add"),
        (lambda x: ops.guard(x, 0.5), "mul"),
        (lambda x: ops.guard(x, 0.0), "mul"),
    ],
)
def test_cheaper_operations_take_over(build, left):
    assert [n for n in names(*simplify([build(x_())])) if n in ("add", "sub", "neg", "mul", "guard")] == [
        left
    ]


@pytest.mark.parametrize("slope", [-0.5, -0.0, INF, NAN])
def test_a_guard_stays_where_it_could_matter(slope):
    """−0·d and 0·d differ in sign for a negative slope; an infinite one is what the guard is for."""
    x = x_()
    assert "guard" in names(*simplify([ops.guard(x, slope)]))


@pytest.mark.parametrize(
    "build",
    [
        lambda x: x + 0,  # −0 + 0 is 0
        lambda x: x * 0,  # NaN · 0 is NaN
        lambda x: x - x,
        lambda x: x / x,
        lambda x: (x + 1.5) - 1.5,
        lambda x: ops.sum(x, ()) + 0,
    ],
)
def test_what_is_not_exact_is_left_alone(build):
    x = x_()
    assert simplify([build(x)])[0] is not x
    assert x in toposort(simplify([build(x)]))


def test_constants_are_folded():
    x = x_()
    (found,) = simplify([x + ops.exp(ops.constant(2.0) * 3 - 1)])
    assert names(found) == ["input", "constant", "broadcast", "add"]
    (scalar,) = (n for n in toposort([found]) if n.primitive is CONSTANT)
    np.testing.assert_allclose(scalar.meta["value"], np.exp(5), rtol=1e-6)


def test_filled_arrays_are_folded_as_scalars():
    """What the bias correction of an optimizer makes of a whole matrix of constants."""
    x = x_((500, 400))
    filled = ops.full_like(x, 0.25)
    found = simplify([x * ops.sqrt(ops.where(ops.equal(filled, 0), 1, filled) + 2)])
    assert names(*found) == ["input", "constant", "broadcast", "mul"]
    assert max(n.meta["value"].size for n in toposort(found) if n.primitive is CONSTANT) == 1


@pytest.mark.parametrize(
    "build",
    [
        lambda c: ops.full_like(c, 2) @ ops.full_like(c, 3),
        lambda c: ops.gather(ops.full_like(c, 2), ops.broadcast(ops.constant(1), (70,))),
        lambda c: ops.cumsum(ops.full_like(c, 2), 0),
        lambda c: ops.argsort(ops.full_like(c, 2), 0),
    ],
)
def test_what_is_not_elementwise_is_not_folded_as_a_scalar(build):
    """A square product of filled matrices has the shape of its operands, and is no scalar's product."""
    y = build(ops.constant(np.zeros((70, 70))))
    assert_same_bits(evaluate(optimize([y]), {}), evaluate([y], {}))


def test_large_constants_are_not_stored():
    big = ops.constant(np.ones((100, 100)))
    assert names(*simplify([ops.exp(big)])) == ["constant", "exp"]
    small = ops.constant(np.ones((60, 60)))
    assert names(*simplify([ops.exp(small)])) == ["constant"]


def test_a_broadcast_adds_leading_axes_itself():
    b = ops.input("b", (3,))
    (found,) = simplify([x_() + b[None]])
    assert names(found) == ["input", "input", "broadcast", "add"]


def test_transposes_are_combined():
    x = x_((2, 3, 4))
    (found,) = simplify([ops.transpose(ops.transpose(x, (2, 0, 1)), (1, 0, 2))])
    assert names(found) == ["input", "transpose"]
    value = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("f")
    np.testing.assert_array_equal(
        evaluate([found], {x: value})[0], value.transpose(2, 0, 1).transpose(1, 0, 2)
    )


# ------------------------------------------------------------------ common subexpressions


def test_equal_operations_on_equal_inputs_become_one():
    x = x_()
    a, b = ops.exp(x * 2.0) + 1, ops.exp(x * 2.0) + 1
    first, second = merge_common([a, b])
    assert first is second
    assert names(first).count("exp") == 1


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (lambda x: x * 0.0, lambda x: x * -0.0),
        (lambda x: ops.sum(x, 0), lambda x: ops.sum(x, 1)),
        (lambda x: ops.cast(x, "int32"), lambda x: ops.cast(x, "int64")),
        (lambda x: x - 1, lambda x: 1 - x),
        (lambda x: ops.constant(np.zeros(4, "int32")), lambda x: ops.constant(np.zeros(2, "int64"))),
        (lambda x: ops.constant(np.zeros(2, "float64")), lambda x: ops.constant(np.zeros(2, "int64"))),
        (lambda x: ops.constant(np.zeros((2, 2))), lambda x: ops.constant(np.zeros(4))),
        (lambda x: ops.input("y"), lambda x: ops.input("y")),
        (
            lambda x: ops.uniform(ops.RandomKey(0, path="a"), 3),
            lambda x: ops.uniform(ops.RandomKey(0, path="b"), 3),
        ),
    ],
)
def test_what_differs_stays_apart(left, right):
    x = x_((3, 3))
    first, second = merge_common([left(x), right(x)])
    assert first is not second


def test_random_numbers_of_one_key_are_drawn_once():
    a, b = (ops.uniform(ops.RandomKey(7, path="dropout"), (5,)) for _ in range(2))
    first, second = optimize([a, b])
    assert first is second


def test_constants_merge_by_value_small_and_by_identity_large():
    small, large = np.arange(10.0), np.zeros(100_000)
    a, b, c, d = merge_common([ops.constant(v) for v in (small, small, large, large)])
    assert a is b
    assert c is not d


def test_nan_constants_merge():
    a, b = merge_common([ops.constant(NAN), ops.constant(NAN)])
    assert a is b


# ------------------------------------------------------------------ subgraphs, origins, purity


def body():
    a = ops.input("a", (3,))
    return Graph((a,), (ops.exp(a * 1) + ops.exp(a / 1),))


def test_passes_go_into_subgraphs():
    graph, x = body(), ops.input("x", (3,))
    (y,) = ops.call(graph, x * 1)
    (found,) = optimize([y])
    assert found.primitive is CALL
    assert found.inputs == (x,)
    assert names(*found.meta["graph"].outputs) == ["input", "exp", "add"]
    assert_same_bits(evaluate([found], {x: np.ones(3, "f")}), evaluate([y], {x: np.ones(3, "f")}))


def test_a_subgraph_used_twice_stays_one_and_equal_calls_merge():
    graph, x = body(), ops.input("x", (3,))
    calls = [ops.call(graph, x)[0], ops.call(graph, x * 1)[0], ops.call(graph, x * 2)[0]]
    a, b, c = optimize(calls)
    assert a is b
    assert a is not c
    assert a.meta["graph"] is c.meta["graph"]


def test_the_gradient_of_a_call_survives_a_pass():
    g, a = ops.input("g", (3,)), ops.input("a", (3,))
    graph = Graph((a,), (ops.exp(a * 1),))
    x = ops.input("x", (3,))
    (y,) = simplify(ops.call(graph, x, gradient=Graph((g, a), (g * 2 * 1,))))
    np.testing.assert_array_equal(evaluate([gradient(ops.sum(y), x)], {x: np.zeros(3)})[0], 2)


def test_origins_survive_every_pass():
    x = x_()
    with scope("dense_0"):
        a = ops.exp(x * 1 + ops.constant(1.0) * 2)
    with scope("dense_1"):
        b = ops.exp(x + ops.constant(2.0))
    first, second = optimize([a, b])
    assert first is second
    assert first.origin.path == "dense_0"
    assert {n.origin.path for n in toposort([first]) if n is not x} == {"dense_0"}


def test_a_pass_leaves_its_argument_alone_and_a_second_run_finds_nothing():
    x = x_()
    y = ops.softmax(x * 1) + ops.exp(x) - -ops.exp(x)
    before = [(n, n.inputs, dict(n.meta)) for n in toposort([y])]
    once = optimize([y])
    assert [(n, n.inputs, dict(n.meta)) for n in toposort([y])] == before
    assert len(toposort(optimize(once))) == len(toposort(once))


def test_an_index_that_is_known_to_be_wrong_is_not_hidden():
    x = ops.constant(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="index 5"):
        simplify([ops.gather(x, ops.constant(np.array([5])))])


def test_a_guard_keeps_the_sign_of_a_zero():
    g, d = ops.input("g", (4,), "float64"), ops.input("d", (4,), "float64")
    found = evaluate([apply(GUARD, g, d)], {g: [0.0, -0.0, 0.0, 2], d: [INF, NAN, -1, INF]})
    assert_same_bits(found, [np.array([0.0, -0.0, 0.0, INF])])


# ------------------------------------------------------------------ cost


def ten_layers() -> list[ops.Expr]:
    """A step of Adam: about a thousand nodes."""
    h, parameters = ops.input("x", (100, 64)), []
    for i in range(10):
        with scope(f"dense_{i}"):
            parameters += [ops.input(f"W{i}", (64, 64)), ops.input(f"b{i}", (64,))]
            h = ops.relu(h @ parameters[-2] + parameters[-1])
    loss = ops.mean(ops.logsumexp(h))
    outputs, t = [loss], ops.input("t")
    for p, g in zip(parameters, gradient(loss, parameters), strict=True):
        m = 0.9 * ops.input("m", p.shape) + 0.1 * g
        v = 0.999 * ops.input("v", p.shape) + 0.001 * g**2
        step = 1e-3 * m / (1 - 0.9**t) / (ops.sqrt(v / (1 - 0.999**t)) + 1e-8)
        outputs += [p - step, m, v]
    return outputs


def test_a_network_of_ten_layers_is_built_and_optimized_in_no_time():
    """Measured 15 ms."""
    outputs = ten_layers()
    assert len(toposort(outputs)) > 800
    assert len(toposort(optimize(outputs))) < 0.6 * len(toposort(outputs))
    assert least_seconds(lambda: optimize(ten_layers()), 0.25) < 0.25
