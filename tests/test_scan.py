"""scan: values against a loop in NumPy, gradients against differences and against the unrolled graph."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from chainrule import ops
from chainrule.autodiff import gradient, vjp
from chainrule.errors import ConfigError, ShapeError
from chainrule.executors import EXECUTORS, compile, evaluate
from chainrule.graph import check, to_text, toposort
from chainrule.graph.expr import ITEM, substitute
from chainrule.ops.repetition import SCAN
from chainrule.passes import merge_common, optimize, settle_scans, simplify, unrolled_scans
from chainrule.testing import check_gradients, compare_executors

on_every_executor = pytest.mark.parametrize("executor", EXECUTORS)


def recurrent(x, h, W, U, b, reverse=False):
    """h ← tanh(x W + h U + b); the last h, the doubled h before and the product after each step."""

    def step(carries, places):
        (h,), (x,) = carries, places
        new = ops.tanh(x @ W + h @ U + b)
        return (new,), (h * 2, new * x[:, :1])

    (last,), (before, after) = ops.scan(step, h, x, reverse=reverse)
    return last, before, after


def by_hand(x, h, W, U, b, reverse=False):
    before, after = np.empty((len(x), *h.shape)), np.empty((len(x), *h.shape))
    for t in range(len(x))[:: -1 if reverse else 1]:
        before[t] = 2 * h
        h = np.tanh(x[t] @ W + h @ U + b)
        after[t] = h * x[t][:, :1]
    return h, before, after


def arrays(steps, batch=3, n=2, units=4, seed=0):
    draw = np.random.default_rng(seed).normal
    shapes = (steps, batch, n), (batch, units), (n, units), (units, units), (units,)
    return [0.6 * draw(size=shape) for shape in shapes]


def nodes(values, dtype="float64"):
    return [ops.input(f"v{i}", v.shape, dtype) for i, v in enumerate(values)]


def scans(outputs):
    return [node for node in toposort(outputs) if node.primitive is SCAN]


# ------------------------------------------------------------------ values


@on_every_executor
@pytest.mark.parametrize(("steps", "reverse"), [*itertools.product((0, 1, 2, 5), (False, True))])
def test_values_are_those_of_a_loop(executor, steps, reverse):
    values = arrays(steps)
    inputs = nodes(values)
    outputs = list(recurrent(*inputs, reverse=reverse))
    check(outputs)
    found = compile(outputs, inputs, executor=executor)(*values)
    for mine, hand in zip(found, by_hand(*values, reverse=reverse), strict=True):
        np.testing.assert_allclose(mine, hand, rtol=1e-12, atol=1e-14)


@on_every_executor
def test_carries_of_every_kind(executor):
    """Scalars, integers, truth values, one that is passed on unchanged, and two that change places."""
    x = ops.input("x", (5, 3), "float32")
    first = [
        ops.constant(v, t) for v, t in ((0, "int64"), (True, "bool"), (2.0, "float32"), (3.0, "float32"))
    ]

    def step(carries, places):
        count, even, a, b = carries
        return (count + 1, ops.logical_not(even), b, a), (places[0] * ops.cast(count, "float32"), even, a)

    last, every = ops.scan(step, first, x)
    outputs = [*last, *every]
    check(outputs)
    values = np.arange(15, dtype="float32").reshape(5, 3)
    found = compile(outputs, [x], executor=executor)(values)
    assert [v.item() for v in found[:4]] == [5, False, 3.0, 2.0]
    np.testing.assert_array_equal(found[4], values * np.arange(5)[:, None])
    assert found[5].tolist() == [True, False, True, False, True]
    assert found[6].tolist() == [2, 3, 2, 3, 2]


@on_every_executor
def test_without_sequences_the_steps_are_told(executor):
    """Powers of two; and a scan in a scan: Σᵢ Σⱼ xᵢ xⱼ."""
    x = ops.input("x", (4,), "float64")
    (power,), _ = ops.scan(lambda c, _: ((c[0] * 2,), ()), ops.constant(1.0, "float64"), steps=10)

    def outer(carries, places):
        (inner,), _ = ops.scan(lambda c, y: ((c[0] + places[0] * y[0],), ()), carries[0], x)
        return (inner,), ()

    (total,), _ = ops.scan(outer, ops.constant(0.0, "float64"), x)
    values = np.array([1.0, 2.0, 3.0, 4.0])
    slope = gradient(total, x)
    found = compile([power, total, slope], [x], executor=executor)(values)
    assert [found[0].item(), found[1].item()] == [1024.0, 100.0]
    np.testing.assert_allclose(found[2], 2 * values.sum() * np.ones(4), rtol=1e-14)


def test_an_outer_product_does_not_mix_the_lengths():
    x, y = ops.input("x", (3, 2)), ops.input("y", (4, 2))
    with pytest.raises(ShapeError, match="equally long"):
        ops.scan(lambda c, p: (c, p), (), (x, y))
    with pytest.raises(ConfigError, match="steps="):
        ops.scan(lambda c, p: (c, p), x)
    with pytest.raises(ShapeError, match="carry 0"):
        ops.scan(lambda c, p: ((c[0][:1],), ()), x, y)
    with pytest.raises(ShapeError, match="no axis of time"):
        ops.scan(lambda c, p: (c, p), (), ops.constant(1.0))
    with pytest.raises(ShapeError, match="gives 2 carries of 1"):
        ops.scan(lambda c, p: ((c[0], c[0]), ()), x, y)


# ------------------------------------------------------------------ gradients


@pytest.mark.parametrize(("steps", "reverse"), [(0, False), (1, True), (3, False), (3, True)])
@pytest.mark.parametrize("which", range(3))
def test_gradients_to_second_order_equal_differences(which, steps, reverse):
    check_gradients(lambda *xs: recurrent(*xs, reverse=reverse)[which], *arrays(steps), order=2)


def test_gradients_of_weights_that_meet_the_state_in_other_ways():
    """What is no product of two-dimensional arrays is added up step by step."""
    draw = np.random.default_rng(1).normal

    def function(x, a, b, c):
        def step(carries, places):
            (h,), (p,) = carries, places
            new = ops.tanh(h * a + ops.sum(p * b, 1, keepdims=True) + (h[None] @ c[None])[0] + a.T[0, 0])
            return (new,), (a * p[0, 0],)

        (last,), (every,) = ops.scan(step, ops.constant(np.zeros((3, 3))), x)
        return ops.concat([ops.reshape(last, (9,)), ops.reshape(every, (36,))])

    check_gradients(function, 0.5 * draw(size=(4, 3, 2)), draw(size=(3, 3)), draw(size=2), draw(size=(3, 3)))


def test_integers_have_no_gradient_and_floats_beside_them_do():
    def function(x):
        def step(carries, places):
            total, count = carries
            return (total + places[0] * ops.cast(count, "float64"), count + 1), ()

        (total, _), _ = ops.scan(step, (ops.constant(0.0, "float64"), ops.constant(1)), x)
        return total

    x = ops.input("x", (4,), "float64")
    (found,) = evaluate([gradient(function(x), x)], {x: np.ones(4)})
    assert found.tolist() == [1, 2, 3, 4]


@on_every_executor
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_executors_agree_to_second_order(executor, dtype):
    values = arrays(4, batch=9, n=3, units=17)
    inputs = nodes(values, dtype)
    outputs = recurrent(*inputs)
    scalar = sum((ops.sum(ops.sin(y)) for y in outputs), start=ops.constant(0.0, dtype))
    first = gradient(scalar, inputs)
    second = gradient(sum((ops.sum(g * g) for g in first), start=ops.constant(0.0, dtype)), inputs)
    given = dict(zip(inputs, values, strict=True))
    compare_executors([*outputs, *first, *second], given, [executor], atol=1e-9)


# ------------------------------------------------------------------ what passes make of it


def test_forwards_is_computed_once_and_nothing_is_stacked_in_vain():
    inputs = nodes(arrays(4))
    last, *_ = recurrent(*inputs)
    scalar = ops.sum(last * last)
    g = gradient(scalar, inputs)
    assert len(scans([scalar, *g])) == 3
    found = settle_scans([scalar, *g])
    check(found)
    forwards, backwards = scans(found)
    assert [len(s.outputs) for s in (forwards, backwards)] == [3, 3]  # last, h, tanh; ∂h, ∂x, what ∂W needs
    assert (forwards.meta["reverse"], backwards.meta["reverse"]) == (False, True)
    inside = [n.primitive.name for n in toposort(backwards.meta["body"].outputs)]
    assert inside.count("matmul") == 2  # by h and by x; those by W and U are one product over all steps
    values = arrays(4)
    given = dict(zip(inputs, values, strict=True))
    for mine, theirs in zip(evaluate(found, given), evaluate([scalar, *g], given), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-13, atol=1e-15)


def test_of_no_step_nothing_is_left():
    inputs = nodes(arrays(0))
    outputs = recurrent(*inputs)
    found = settle_scans([*outputs, *gradient(ops.sum(outputs[0]), inputs)])
    check(found)
    assert found[0] is inputs[1]
    assert not scans(found)


def test_what_does_not_depend_on_the_step_stands_outside():
    """U + U is computed once; a scalar stays inside as a number."""
    x, U = ops.input("x", (4, 3, 2)), ops.input("U", (2, 2))
    (last,), _ = ops.scan(lambda c, p: ((p[0] + c[0] @ (U + U) * 3,), ()), ops.input("h", (3, 2)), x)
    (scan,) = scans([last])
    body = [n.primitive.name for n in toposort(scan.meta["body"].outputs)]
    assert (body.count("add"), body.count("constant")) == (1, 1)
    assert scan.inputs[-1].primitive.name == "add"


def test_every_pass_goes_into_bodies_and_keeps_values():
    values = arrays(3)
    inputs = nodes(values)
    given = dict(zip(inputs, values, strict=True))

    def step(carries, places):
        (h,), (x,) = carries, places
        return (ops.tanh(h * 1 + x[:, :1]) + ops.tanh(h * 1 + x[:, :1]),), ()

    (last,), _ = ops.scan(step, inputs[1], inputs[0])
    (expected,) = evaluate([last], given)
    for run in (settle_scans, simplify, merge_common, optimize, unrolled_scans):
        found = run([last])
        check(found)
        np.testing.assert_allclose(evaluate(found, given)[0], expected, rtol=1e-14)
    (scan,) = scans(optimize([last]))
    assert [n.primitive.name for n in toposort(scan.meta["body"].outputs)].count("tanh") == 1
    assert not scans(unrolled_scans([last]))
    moved = substitute([last], {inputs[0]: inputs[0] * 1})
    np.testing.assert_allclose(evaluate(moved, given)[0], expected, rtol=1e-14)


def test_its_body_is_printed():
    x = ops.input("x", (4, 3))
    (last,), _ = ops.scan(lambda c, p: ((c[0] + p[0],), ()), ops.input("h", (3,)), x)
    text = to_text([last])
    assert "scan(h, x, carries=1, sequences=1, steps=4, reverse=False)" in text
    assert "body(carry0, x0):" in text
    assert "add(carry0, x0)" in text


def test_check_finds_a_body_that_does_not_fit():
    from chainrule.graph.expr import Expr

    x = ops.input("x", (4, 3))
    (last,), _ = ops.scan(lambda c, p: ((c[0] + p[0],), ()), ops.input("h", (3,)), x)
    node = last.inputs[0] if last.primitive is ITEM else last
    wrong = Expr(SCAN, node.inputs, {**node.meta, "steps": 5}, node.outputs, node.origin)
    with pytest.raises(ShapeError, match="a sequence is"):
        check([wrong])


def test_the_sweep_takes_several_cotangents():
    values = arrays(3)
    inputs = nodes(values)
    last, before, after = recurrent(*inputs)
    seeds = [
        ops.constant(np.random.default_rng(i).normal(size=y.shape))
        for i, y in enumerate((last, before, after))
    ]
    together = vjp([last, before, after], inputs, seeds)
    apart = [vjp([y], inputs, [s]) for y, s in zip((last, before, after), seeds, strict=True)]
    given = dict(zip(inputs, values, strict=True))
    whole = evaluate(together, given)
    for i, found in enumerate(whole):
        parts = evaluate([g[i] for g in apart], given)
        np.testing.assert_allclose(found, sum(parts), rtol=1e-12, atol=1e-14)


# ------------------------------------------------------------------ compiled: a loop


def compiled(outputs, inputs, threads):
    from chainrule.executors.cpu.executor import CpuFunction

    return CpuFunction(optimize(outputs), inputs, threads=threads)


def test_code_is_as_long_as_one_step():
    """The kernels of 5 steps are those of 50, and stand below their scan."""
    from chainrule.executors import plan_function

    texts = []
    for steps in (5, 50):
        inputs = nodes(arrays(steps), "float32")
        texts.append(plan_function([recurrent(*inputs)[0]], inputs, 1))
    assert [line.split()[0] for line in texts[0].splitlines()[1:]] == [
        line.split()[0] for line in texts[1].splitlines()[1:]
    ]
    assert "50 steps" in texts[1]
    assert "1.0" in texts[1]


@pytest.mark.parametrize("units", [1, 16, 33])
@pytest.mark.parametrize("batch", [1, 7, 64])
def test_bits_do_not_depend_on_threads(batch, units):
    values = [v.astype("float32") for v in arrays(6, batch, 3, units)]
    inputs = nodes(values, "float32")
    outputs = recurrent(*inputs)
    scalar = ops.sum(outputs[0]) + ops.sum(outputs[2])
    wanted = [*outputs, *gradient(scalar, inputs)]
    one, two, three = (compiled(wanted, inputs, threads)(*values) for threads in (1, 2, 3))
    for a, b, c in zip(one, two, three, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_steps_that_read_what_other_threads_wrote(threads):
    """Sums over the batch, products with the state on the right, sorting, running sums: threads must meet
    between one step and the next, for a hundred steps."""
    draw = np.random.default_rng(3).normal
    x, h = draw(size=(100, 9, 9)), draw(size=(9, 9))

    def step(carries, places):
        (h, s), (x,) = carries, places
        mixed = ops.tanh(x @ h * 0.3 + ops.sum(h, 0) * 0.1 + ops.cumsum(h, 0)[::-1] * 0.1 + s)
        ordered = ops.gather(mixed, ops.argsort(mixed[:, 0], 0))
        return (ordered, ops.mean(mixed)), (ops.max(mixed, 0), h.T)

    vx, vh = ops.input("x", x.shape, "float64"), ops.input("h", h.shape, "float64")
    (last, mean), every = ops.scan(step, (vh, ops.constant(0.0, "float64")), vx)
    outputs = [last, mean, *every]
    found = compiled(outputs, [vx, vh], threads)
    expected = evaluate(outputs, {vx: x, vh: h})
    for _ in range(3):
        for mine, theirs in zip(found(x, h), expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_scan_in_a_scan_and_its_gradient(threads):
    draw = np.random.default_rng(4).normal
    x, W = draw(size=(3, 4, 8, 5)), draw(size=(5, 5)) * 0.5

    def inner(carries, places):
        return (ops.tanh(carries[0] @ vW + places[0]),), (carries[0],)

    def outer(carries, places):
        (h,), (every,) = ops.scan(inner, carries, places[0], reverse=True)
        return (h + ops.sum(every, 0) * 0.1,), (h,)

    vx, vW = ops.input("x", x.shape, "float64"), ops.input("W", W.shape, "float64")
    (last,), (every,) = ops.scan(outer, ops.constant(np.ones((8, 5))), vx)
    outputs = [last, every, *gradient(ops.sum(last * last) + ops.sum(every), [vx, vW])]
    check(outputs)
    found = compiled(outputs, [vx, vW], threads)(x, W)
    for mine, theirs in zip(found, evaluate(outputs, {vx: x, vW: W}), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-12)


def test_an_index_outside_in_some_step_is_an_error():
    from chainrule.errors import DataError

    table, index = ops.input("table", (5, 3)), ops.input("index", (4, 2), "int64")
    (total,), _ = ops.scan(
        lambda c, p: ((c[0] + ops.gather(table, p[0]),), ()), ops.constant(np.zeros((2, 3), "float32")), index
    )
    found = compiled([total], [table, index], 1)
    values = np.arange(15, dtype="float32").reshape(5, 3)
    assert found(values, np.ones((4, 2), int))[0].tolist() == [[12, 16, 20]] * 2
    wrong = np.ones((4, 2), int)
    wrong[2, 1] = 5
    with pytest.raises(DataError, match="index 5"):
        found(values, wrong)
