"""Graphs that once were planned or compiled wrongly, as small as they get."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import ops
from chainrule.errors import DataError
from chainrule.executors import Program, compile, epoch
from chainrule.graph.expr import Graph, call

GENERATOR = np.random.default_rng(0)
H, K = ops.input("h", (6, 5)), ops.input("k", (3, 6))
X, Y = ops.input("x", (4, 4)), ops.input("y", (4,))
Z = ops.reshape(ops.sum(H, 1), (6, 1))
P, Q = ops.input("p", (5, 16)), ops.input("q", (16, 16))
A, B = ops.input("a", (2, 64, 256)), ops.input("b", (2, 256, 64))
(PRODUCT,) = call(Graph((P, Q), (P @ Q,)), P, Q)

FUNCTIONS = {
    "a reshape of a turned sum": ([ops.reshape(ops.transpose(X + Y), (16,))], [X, Y]),
    "a reshape of what is stretched": ([ops.reshape(ops.broadcast(ops.tanh(Y), (4, 4)), (16,))], [Y]),
    "a column on the right that has another user": ([ops.exp(Z), K @ Z], [H, K]),
    "a turned result on the right": ([ops.tanh(ops.exp(H @ H.T).T), K @ ops.exp(H @ H.T).T], [H, K]),
    "a turned input on the right": ([P @ Q.T], [P, Q]),
    "a product inside of a call": ([PRODUCT, P @ Q], [P, Q]),
    "rows moved by one": ([ops.tanh(ops.reshape(A @ B, (128, 64))[1:65])], [A, B]),
    "squares that cancel": ([ops.sqrt(X * X - ops.transpose(X.T) * X)], [X]),
    "steps of a known size": ([ops.cast(ops.abs(X) * 100 / 41.0, "int32"), X / 41.0], [X]),
    "the place of the first truth": ([ops.argmax(ops.less(X, 0), 1)], [X]),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, threads):
    outputs, inputs = FUNCTIONS[name]
    arrays = [GENERATOR.normal(size=x.shape).astype(x.dtype) for x in inputs]
    expected = compile(outputs, inputs, executor="reference")(*arrays)
    run = compile(outputs, inputs, executor="cpu", threads=threads)
    for _ in range(20 if threads > 1 else 1):
        for found, wanted in zip(run(*arrays), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_what_was_given_once_is_not_used_again():
    run = compile([X + Y], [X, Y], executor="cpu")
    run(np.ones((4, 4), "f"), np.ones(4, "f"))
    with pytest.raises((TypeError, ValueError)):
        run(None, np.ones(4, "f"))


S, T = ops.input("s", (4, 3)), ops.input("t", ())
PREVIOUS, DELTA = ops.input("previous", (8,)), ops.input("delta", (8,))
ROWS, FLIPPED = ops.input("rows", (8, 5)), ops.input("flipped", (8, 2))
ONE, TWO = ops.input("one", (4,)), ops.input("two", (4,))
SUMS = ops.sum(ROWS, 1)

PROGRAMS = {
    "a state replaced by what another is made from": Program(
        {}, [ROWS], [], [PREVIOUS, DELTA], {"previous": SUMS, "delta": SUMS - PREVIOUS}
    ),
    "a sum into a state": Program({}, [], [], [S, T], {"t": ops.sum(S)}),
    "two states change places": Program({}, [], [], [ONE, TWO], {"one": TWO, "two": ONE}),
    "a state laid flat": Program({"flat": ops.reshape(S, (12,))}, [], [], [S]),
    "softmax of what is flipped": Program({"o": ops.log_softmax(FLIPPED[:, ::-1] - FLIPPED, 1)}, [FLIPPED]),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name, threads):
    program = PROGRAMS[name]
    data = [GENERATOR.normal(size=(20, *x.shape[1:])).astype("f") for x in program.batch]
    rows = program.batch[0].shape[0] if program.batch else 1
    index = GENERATOR.integers(0, 20, (3, rows))
    state = {x.meta["name"]: GENERATOR.normal(size=x.shape).astype("f") for x in program.state}
    expected = {n: a.copy() for n, a in state.items()}
    _, wanted = epoch(program, executor="reference").run(expected, data, index, [])
    _, found = epoch(program, executor="cpu", threads=threads).run(state, data, index, [])
    for name, value in {**expected, **wanted}.items():
        np.testing.assert_allclose({**state, **found}[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("executor", ["reference", "cpu"])
def test_an_index_outside_is_an_error_where_nothing_is_updated_too(executor):
    table, which = ops.input("table", (10, 4)), ops.input("which", (5,), "int64")
    program = Program({"y": ops.sum(ops.gather(table, which))}, [which], [], [table])
    state, index = {"table": np.ones((10, 4), "f")}, np.arange(5)[None]
    with pytest.raises(DataError, match="index 77 lies outside the 10 rows"):
        epoch(program, executor=executor).run(state, [np.array([1, 2, 77, 3, 4])], index, [])
