"""The reference executor against plain NumPy: steps are exact, nothing outside is written over."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from callers import at_once
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import ops
from chainrule.autodiff import gradient
from chainrule.errors import ConfigError, ShapeError
from chainrule.executors import EXECUTORS, Program, compile, epoch, evaluate
from chainrule.graph.expr import CALL, ITEM, Expr, Graph, call, toposort


def adam_program(features: int = 5, batch: int = 4) -> Program:
    """Linear regression by Adam, written out: parameters, two slots, a counter."""
    x, y = ops.input("x", (batch, features), "float64"), ops.input("y", (batch,), "float64")
    rate, t = ops.input("rate", (), "float64"), ops.input("t", (), "float64")
    w = ops.input("w", (features,), "float64")
    m, v = ops.input("m", (features,), "float64"), ops.input("v", (features,), "float64")
    loss = ops.mean(ops.square(x @ w - y))
    g = gradient(loss, w)
    new_m, new_v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    new_w = w - rate * (new_m / (1 - 0.9**t)) / (ops.sqrt(new_v / (1 - 0.999**t)) + 1e-8)
    return Program(
        {"loss": loss},
        [x, y],
        [rate, t],
        [w, m, v],
        {"w": new_w, "m": new_m, "v": new_v},
        ops.is_finite(loss),
    )


def adam_by_hand(x, y, index, rate, steps):
    w, m, v = (np.zeros(x.shape[1]) for _ in range(3))
    losses = []
    for t, rows in enumerate(index[:steps], start=1):
        residual = x[rows] @ w - y[rows]
        losses.append(np.mean(residual**2))
        g = 2 * x[rows].T @ residual / len(rows)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return w, losses


@pytest.fixture
def problem():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(40, 5)), generator.normal(size=40)
    index = np.stack([generator.permutation(40)[:4] for _ in range(30)])
    return x, y, index


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_epoch_equals_numpy_by_hand(problem, executor):
    x, y, index = problem
    state = {name: np.zeros(5) for name in "wmv"}
    done, found = epoch(adam_program(), executor=executor).run(
        state, [x, y], index, [np.full(30, 0.01), np.arange(1.0, 31)]
    )
    w, losses = adam_by_hand(x, y, index, 0.01, 30)
    assert done == 30
    np.testing.assert_allclose(state["w"], w, rtol=1e-12)
    np.testing.assert_allclose(found["loss"], losses, rtol=1e-12)


@pytest.mark.parametrize("executor", EXECUTORS)
@given(cuts=st.lists(st.integers(1, 29), max_size=5))
@settings(max_examples=10, deadline=None)
def test_chunk_lengths_never_change_bits(executor, cuts):
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(40, 5)), generator.normal(size=40)
    index = np.stack([generator.permutation(40)[:4] for _ in range(30)])
    scalars = [np.full(30, 0.01), np.arange(1.0, 31)]
    ready = epoch(adam_program(), executor=executor)
    whole = {name: np.zeros(5) for name in "wmv"}
    ready.run(whole, [x, y], index, scalars)
    pieces = {name: np.zeros(5) for name in "wmv"}
    places = [0, *sorted(set(cuts)), 30]
    for a, b in itertools.pairwise(places):
        ready.run(pieces, [x, y], index[a:b], [s[a:b] for s in scalars])
    assert all(whole[name].tobytes() == pieces[name].tobytes() for name in "wmv")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_unhealthy_step_leaves_before_any_update(problem, executor):
    x, y, index = problem
    y = y.copy()
    y[index[7][0]] = np.inf
    first_bad = next(k for k, rows in enumerate(index) if index[7][0] in rows)
    state = {name: np.zeros(5) for name in "wmv"}
    done, found = epoch(adam_program(), executor=executor).run(
        state, [x, y], index, [np.full(30, 0.01), np.arange(1.0, 31)]
    )
    w, _ = adam_by_hand(x, y, index, 0.01, first_bad)
    assert done == first_bad == len(found["loss"])
    np.testing.assert_allclose(state["w"], w, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_data_and_given_arrays_are_never_written(problem, executor):
    x, y, index = problem
    for array in (x, y, index):
        array.flags.writeable = False
    before = x.copy()
    state = {name: np.zeros(5) for name in "wmv"}
    epoch(adam_program(), executor=executor).run(
        state, [x, y], index, [np.full(30, 0.01), np.arange(1.0, 31)]
    )
    assert (x == before).all()
    a = ops.input("a", (1000,))
    function = compile([(a + 1) * 2 - a], [a], executor=executor)
    given_array = np.arange(1000, dtype="float32")
    function(given_array)
    assert (given_array == np.arange(1000)).all()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_states_that_share_a_value_do_not_share_memory(executor):
    a, b, x = (ops.input(n, (3,), "float64") for n in "abx")
    shared = a + x
    program = Program({"s": ops.sum(a * b)}, [], [], [a, b, x], {"a": shared, "b": shared})
    state = {"a": np.zeros(3), "b": np.ones(3), "x": np.ones(3)}
    epoch(program, executor=executor).run(state, [], np.zeros((3, 1), int), [])
    assert not np.shares_memory(state["a"], state["b"])
    assert (state["a"] == 3).all()
    assert (state["b"] == 3).all()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_state_may_become_another_state_or_a_constant(executor):
    a, b, c = (ops.input(n, (3,), "float64") for n in "abc")
    program = Program({"s": ops.sum(a)}, [], [], [a, b, c], {"a": b, "c": ops.constant(np.ones(3))})
    follow = Program({"s": ops.sum(a)}, [], [], [a, b, c], {"a": a * 2, "c": c * 2})
    state = {"a": np.zeros(3), "b": np.full(3, 5.0), "c": np.zeros(3)}
    epoch(program, executor=executor).run(state, [], np.zeros((1, 1), int), [])
    epoch(follow, executor=executor).run(state, [], np.zeros((1, 1), int), [])
    assert [state[n][0] for n in "abc"] == [10, 5, 2]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_state_may_become_a_view_of_a_batch_or_of_itself(executor):
    x = ops.input("x", (2, 3), "float64")
    h = ops.input("h", (3, 2), "float64")
    program = Program({"s": ops.sum(h)}, [x], [], [h], {"h": x.T + ops.flip(h, 0) * 0})
    data = np.arange(12.0).reshape(4, 3)
    state = {"h": np.zeros((3, 2))}
    epoch(program, executor=executor).run(state, [data], np.array([[0, 1], [2, 3]]), [])
    assert (state["h"] == data[2:].T).all()
    assert not np.shares_memory(state["h"], data)


VIEWS = [
    lambda a: ops.stop_gradient(a),
    lambda a: ops.flip(a),
    lambda a: a.T,
    lambda a: ops.reshape(ops.reshape(a, (9,)), (3, 3)),
    lambda a: ops.broadcast(a[1:2], (3, 3)),
    lambda a: ops.concat([a[1:], a[:1]]),
]
ONES = [
    ops.neg,
    ops.tanh,
    lambda a: a * a,
    lambda a: ops.max(a, ()),
    lambda a: ops.cumsum(a, 0, reverse=True),
]
TWOS = [ops.add, ops.mul, ops.sub, ops.maximum, lambda a, b: ops.where(a < b, a, b), lambda a, b: a @ b]


def _body(kind: int) -> Graph:
    u, v = ops.input("u", (3, 3), "float64"), ops.input("v", (3, 3), "float64")
    return Graph((u, v), [(u, v), (v.T, u + v), (ops.constant(np.eye(3)), u)][kind])


def random_program(draws: random.Random) -> Program:
    """States, a batch and a scalar under views, element-wise operations and calls of subgraphs, at random."""
    states = [ops.input(name, (3, 3), "float64") for name in "abcd"]
    x, k = ops.input("x", (3, 3), "float64"), ops.input("k", (), "float64")
    nodes = [*states, x, ops.constant(np.arange(9.0).reshape(3, 3)), ops.broadcast(k, (3, 3))]
    for _ in range(draws.choice([1, 2, 4, 20])):
        kind, a, b = draws.random(), draws.choice(nodes), draws.choice(nodes)
        if kind < 0.35:
            nodes.append(draws.choice(VIEWS)(a))
        elif kind < 0.5:
            nodes.append(draws.choice(ONES)(a))
        elif kind < 0.9:
            nodes.append(draws.choice(TWOS)(a, b))
        else:
            nodes += call(_body(draws.randrange(3)), a, b)
    delivered = {f"y{i}": draws.choice(nodes) for i in range(3)}
    updated = draws.sample("abcd", draws.randint(0, 4))
    return Program(delivered, [x], [k], states, {name: draws.choice(nodes[-4:]) for name in updated})


def by_the_book(program: Program, given: dict[Expr, np.ndarray]) -> tuple[list, dict[str, np.ndarray]]:
    """One step in which every value is a fresh, never altered array. → (delivered, updated)"""
    values = dict(given)
    for node in toposort([*program.outputs.values(), *program.updates.values()]):
        if node in values:
            continue
        inputs = [values[x] for x in node.inputs]
        if node.primitive is CALL:
            body = node.meta["graph"]
            inner = Program(dict(enumerate(body.outputs)))
            values[node] = tuple(by_the_book(inner, dict(zip(body.inputs, inputs, strict=True)))[0])
        elif node.primitive is ITEM:
            values[node] = inputs[0][node.meta["index"]]
        else:
            with np.errstate(all="ignore"):
                values[node] = np.array(node.primitive.reference(*inputs, **node.meta))
    return [values[y] for y in program.outputs.values()], {n: values[y] for n, y in program.updates.items()}


@pytest.mark.parametrize("executor", EXECUTORS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_memory_that_is_used_again_never_shows(executor, seed):
    program = random_program(random.Random(seed))
    generator = np.random.default_rng(seed)
    data, rates = generator.normal(size=(5, 3)), generator.normal(size=3)
    index = generator.integers(0, 5, (3, 3))
    state = {name: generator.normal(size=(3, 3)) for name in "abcd"}
    expected, outputs = {n: v.copy() for n, v in state.items()}, []
    for k in range(3):
        inputs = [*program.batch, *program.scalars, *program.state]
        values = [data[index[k]], rates[k], *(expected[n] for n in "abcd")]
        delivered, new = by_the_book(program, dict(zip(inputs, values, strict=True)))
        outputs.append(delivered)
        expected |= new
    before = data.copy()
    _, found = epoch(program, executor=executor).run(state, [data], index, [rates])
    assert (data == before).all()
    for name, value in expected.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-12)
    for i, name in enumerate(program.outputs):
        np.testing.assert_allclose(found[name], [step[i] for step in outputs], rtol=1e-12)
    for one, other in itertools.combinations([data, *state.values()], 2):
        assert not np.shares_memory(one, other)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_delivered_values_are_those_before_the_update(executor):
    w = ops.input("w", (4,), "float64")
    program = Program({"w": w, "twice": w * 2}, [], [], [w], {"w": w + 1})
    state = {"w": np.zeros(4)}
    _, found = epoch(program, executor=executor).run(state, [], np.zeros((3, 1), int), [])
    assert found["w"].tolist() == [[0.0] * 4, [1.0] * 4, [2.0] * 4]
    assert found["twice"].tolist() == [[0.0] * 4, [2.0] * 4, [4.0] * 4]
    assert state["w"].tolist() == [3.0] * 4


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_compiled_function_may_be_called_from_many_threads(executor):
    x = ops.input("x", (64, 64), "float64")
    function = compile([ops.softmax(x @ x.T)], [x], executor=executor)
    arrays = [np.random.default_rng(k).normal(size=(64, 64)) for k in range(8)]
    expected = [function(a)[0] for a in arrays]
    wrong = []

    def work(k: int) -> None:
        wrong.extend(k for _ in range(20) if not (function(arrays[k])[0] == expected[k]).all())

    at_once(work)
    assert not wrong


def test_float32_sums_are_accumulated_in_float64():
    """1e7 rows of 0.1 summed over axis 0: plain float32 is 8.8 % off."""
    x = ops.input("x", (10**7, 1))
    (found,) = evaluate([ops.sum(x, 0)], {x: np.full((10**7, 1), 0.1, "float32")})
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 1e7 * float(np.float32(0.1)), rtol=1e-7)


def test_unknown_executor_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'reference'"):
        compile([ops.constant(1.0)], [], executor="refrence")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_function_takes_what_it_was_compiled_for(executor):
    x = ops.input("x", (3,))
    function = compile([x + x], [x], executor=executor)
    for values in ([1, 2, 3], np.arange(1, 4), np.arange(1.0, 4)):
        (found,) = function(values)
        assert found.dtype == np.float32
        assert found.tolist() == [2, 4, 6]
    with pytest.raises(ShapeError, match="'x'"):
        function(np.ones(4))


def test_a_missing_input_is_named():
    x, y = ops.input("x"), ops.input("weight")
    with pytest.raises(ConfigError, match="'weight'"):
        compile([x + y], [x])


def test_an_array_of_another_shape_is_refused_by_name():
    x = ops.input("x", (2, 3))
    with pytest.raises(ShapeError, match=r"input 'x' is float32\[2, 3\], an array of shape \(5, 3\)"):
        evaluate([ops.sum(x)], {x: np.zeros((5, 3))})
