"""Gradients of graphs: the textbook's numbers, every kind of node, higher orders, the cost of one sweep."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import ops
from chainrule.autodiff import gradient, hessian, hvp, jacobian, path_count, value_and_gradient, vjp
from chainrule.errors import ConfigError, DTypeError, ShapeError
from chainrule.executors import evaluate
from chainrule.graph import PRIMITIVES, Graph, Primitive, apply, check, toposort
from chainrule.testing import check_gradients

rng = np.random.default_rng


def scalars(*names):
    return [ops.input(name, (), "float64") for name in names]


# ------------------------------------------------------------------ catalogue D, by the textbook


def test_the_first_circuit():
    """f = (x + y)·z at (−2, 5, −4)."""
    x, y, z = scalars("x", "y", "z")
    q = x + y
    f = q * z
    found = evaluate([q, f, *gradient(f, [x, y, z, q])], {x: -2, y: 5, z: -4})
    assert [float(v) for v in found] == [3, -12, -4, -4, 3, -4]


def test_the_sigmoid_circuit_node_by_node():
    """σ(w₀x₀ + w₁x₁ + w₂) with e^−a, + 1 and 1/x as nodes of their own, and as one fused σ."""
    w0, x0, w1, x1, w2 = inputs = scalars("w0", "x0", "w1", "x1", "w2")
    z = w0 * x0 + w1 * x1 + w2
    negated = -z
    e = ops.exp(negated)
    plus = 1 + e
    f = 1 / plus
    given = dict(zip(inputs, (2, -1, -3, -2, -3), strict=True))
    values = evaluate([negated, e, plus, f], given)
    np.testing.assert_allclose(values, [-1, 0.3679, 1.3679, 0.7311], atol=5e-5)
    adjoints = evaluate([*gradient(f, [plus, e, negated, z])], given)
    np.testing.assert_allclose(adjoints, [-0.5344, -0.5344, -0.1966, 0.1966], atol=5e-5)
    slopes = evaluate(gradient(f, inputs), given)
    np.testing.assert_allclose(slopes, [-0.1966, 0.3932, -0.3932, -0.5898, 0.1966], atol=5e-5)
    fused = evaluate(gradient(ops.sigmoid(z), inputs), given)
    np.testing.assert_allclose(slopes, fused, rtol=1e-14)


def test_the_third_net():
    """f = σ(w₁x₁ + w₂x₂), L = ½(y − f)²:  ∂L/∂wᵢ = (f − y) f (1 − f) xᵢ."""
    w1, w2, x1, x2, y = inputs = scalars("w1", "w2", "x1", "x2", "y")
    f = ops.sigmoid(w1 * x1 + w2 * x2)
    loss = 0.5 * ops.square(y - f)
    point = rng(0).normal(size=5)
    out, *slopes = evaluate([f, *gradient(loss, [w1, w2])], dict(zip(inputs, point, strict=True)))
    expected = (out - point[4]) * out * (1 - out) * point[2:4]
    np.testing.assert_allclose(slopes, expected, rtol=1e-13)


def dense(h, sizes, prefix="", bias=True, activation=ops.relu):
    """An MLP by hand: (output logits, pre-activations, weights, biases)."""
    zs, weights, biases = [], [], []
    for i, n in enumerate(sizes):
        weights.append(ops.input(f"{prefix}W{i}", (h.shape[-1], n), "float64"))
        z = h @ weights[-1]
        if bias:
            biases.append(ops.input(f"{prefix}b{i}", (n,), "float64"))
            z = z + biases[-1]
        zs.append(z)
        h = activation(z) if i < len(sizes) - 1 else z
    return h, zs, weights, biases


@pytest.mark.parametrize(
    ("activation", "slope"), [(ops.tanh, lambda z: 1 - np.tanh(z) ** 2), (ops.relu, lambda z: (z > 0) * 1.0)]
)
def test_the_layer_form(activation, slope):
    """δᴸ = (s − onehot)/B;  δˡ = (δˡ⁺¹ Wᵀ) ⊙ g′(z);  ∂L/∂W = hᵀδ;  ∂L/∂b = Σ δ."""
    x, t = ops.input("x", (7, 5), "float64"), ops.input("t", (7,), "int64")
    logits, zs, weights, biases = dense(x, (6, 4, 3), activation=activation)
    loss = ops.mean(ops.logsumexp(logits) - ops.sum(logits * ops.one_hot(t, 3, "float64"), -1))
    generator = rng(1)
    given = {p: generator.normal(size=p.shape) for p in (x, *weights, *biases)} | {
        t: generator.integers(0, 3, 7)
    }
    hidden = [x, activation(zs[0]), activation(zs[1])]
    outputs = [*zs, *hidden, *gradient(loss, [*zs, *weights, *biases])]
    found = evaluate(outputs, given)
    z, h, delta, dW, db = (found[i : i + 3] for i in range(0, 15, 3))
    e = np.exp(z[2] - z[2].max(1, keepdims=True))
    np.testing.assert_allclose(
        delta[2], (e / e.sum(1, keepdims=True) - np.eye(3)[given[t]]) / 7, rtol=1e-12, atol=1e-15
    )
    for layer in (1, 0):
        W = given[weights[layer + 1]]
        np.testing.assert_allclose(
            delta[layer], (delta[layer + 1] @ W.T) * slope(z[layer]), rtol=1e-12, atol=1e-15
        )
    for layer in range(3):
        np.testing.assert_allclose(dW[layer], h[layer].T @ delta[layer], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(db[layer], delta[layer].sum(0), rtol=1e-12, atol=1e-15)


def test_a_bias_free_relu_network_is_a_product_of_masked_matrices():
    """f(x) = W³ᵀ 1[h²] W²ᵀ 1[h¹] W¹ᵀ x, and the Jacobian is the same product without x."""
    x = ops.input("x", (1, 6), "float64")
    y, zs, weights, _ = dense(x, (5, 4, 3), bias=False)
    generator = rng(2)
    given = {p: generator.normal(size=p.shape) for p in (x, *weights)}
    out, z1, z2, J = evaluate([y, zs[0], zs[1], jacobian(y[0], x)], given)
    W1, W2, W3 = (given[w] for w in weights)
    product = W1 @ np.diag((z1[0] > 0) * 1.0) @ W2 @ np.diag((z2[0] > 0) * 1.0) @ W3
    assert 0 < (z1 > 0).mean() < 1  # masks that matter
    np.testing.assert_allclose(out[0], given[x][0] @ product, rtol=1e-12)
    np.testing.assert_allclose(J[:, 0, :], product.T, rtol=1e-12, atol=1e-15)


def test_a_network_of_identities_is_one_linear_map():
    x = ops.input("x", (2, 6), "float64")
    y, _, weights, _ = dense(x, (5, 4, 3), bias=False, activation=ops.identity)
    given = {p: rng(3).normal(size=p.shape) for p in (x, *weights)}
    (out,) = evaluate([y], given)
    np.testing.assert_allclose(out, given[x] @ np.linalg.multi_dot([given[w] for w in weights]), rtol=1e-12)


# ------------------------------------------------------------------ the sweep


def test_adjoints_are_summed_over_all_paths():
    """y = x·x + sin(x)·x uses x four times."""
    (x,) = scalars("x")
    y = x * x + ops.sin(x) * x
    (slope,) = evaluate([gradient(y, x)], {x: 0.7})
    np.testing.assert_allclose(slope, 2 * 0.7 + np.cos(0.7) * 0.7 + np.sin(0.7), rtol=1e-15)


def test_the_work_is_that_of_one_sweep_not_of_the_paths():
    """y ← y·y thirty times: 2³⁰ paths, a few nodes a step."""
    (x,) = scalars("x")
    y = x
    for _ in range(30):
        y = y * y
    assert path_count(y, x) == 2**30
    assert len(toposort([gradient(y, x)])) < 200
    (slope,) = evaluate([gradient(y, x)], {x: 1 + 1e-9})
    np.testing.assert_allclose(slope, 2**30 * (1 + 1e-9) ** (2**30 - 1), rtol=1e-6)


@pytest.mark.parametrize("function", [ops.softmax, ops.log_softmax, ops.logsumexp])
def test_the_shift_of_softmax_costs_nothing_backwards(function):
    """Its gradient cancels, so none is taken: no tie of maxima is looked for."""
    x = ops.input("x", (4, 3))
    backward = set(toposort([gradient(ops.sum(ops.square(function(x))), x)])) - set(toposort([function(x)]))
    assert "cast" not in {n.primitive.name for n in backward}
    assert "cast" in {n.primitive.name for n in toposort([gradient(ops.sum(ops.max(x, 1)), x)])}


def test_path_count_counts_edges():
    x, y, z = scalars("x", "y", "z")
    assert path_count((x + y) * z, x) == 1
    assert path_count(x * x, x) == 2
    assert path_count(x, x) == 1
    assert path_count(y, x) == 0


def test_what_does_not_depend_gets_zeros_of_its_own_shape():
    x, y = ops.input("x", (2, 3), "float64"), ops.input("y", (4,), "float32")
    _, gy = gradient(ops.sum(x), [x, y])
    assert gy.spec == y.spec
    np.testing.assert_array_equal(evaluate([gy], {x: np.ones((2, 3)), y: np.ones(4)})[0], 0)


def test_the_gradient_by_itself_is_one_and_inner_nodes_are_fine():
    x = ops.input("x", (), "float64")
    y = ops.exp(x)
    z = y * y
    found = evaluate(gradient(z, [z, y, x]), {x: 0.5})
    np.testing.assert_allclose(found, [1, 2 * np.exp(0.5), 2 * np.exp(1.0)], rtol=1e-15)


def test_gradients_have_the_type_of_what_they_belong_to():
    for dtype in ("float32", "float64"):
        x, w = ops.input("x", (5, 3), "float32"), ops.input("w", (3, 2), dtype)
        gx, gw = gradient(ops.mean(ops.tanh(x @ w)), [x, w])
        assert (gx.spec, gw.spec) == (x.spec, w.spec)
        check([gx, gw])


def test_gradients_are_refused_where_there_are_none():
    x, i, m = ops.input("x", (3,)), ops.input("i", (3,), "int32"), ops.input("m", (), "bool")
    with pytest.raises(ShapeError, match=r"scalar.*jacobian or vjp"):
        gradient(x * 2, x)
    with pytest.raises(DTypeError, match="not floating-point"):
        gradient(ops.sum(x), i)
    with pytest.raises(DTypeError, match="not floating-point"):
        gradient(ops.sum(i), x)
    with pytest.raises(DTypeError, match="not floating-point"):
        gradient(m, x)


def test_vjp_weighs_outputs_with_cotangents():
    x, g = ops.input("x", (3,), "float64"), ops.input("g", (3,), "float64")
    (found,) = vjp([ops.sin(x)], [x], [g])
    a, b = rng(0).normal(size=(2, 3))
    np.testing.assert_allclose(evaluate([found], {x: a, g: b})[0], np.cos(a) * b, rtol=1e-15)
    for bad in (ops.input("g", (2,), "float64"), ops.input("g", (3,), "float32")):
        with pytest.raises(ShapeError, match="cotangents"):
            vjp([ops.sin(x)], [x], [bad])
    with pytest.raises(ShapeError, match="cotangents"):
        vjp([ops.sin(x)], [x], [])


def test_value_and_gradient_share_the_graph():
    x = ops.input("x", (3,), "float64")
    y, (g,) = value_and_gradient(ops.logsumexp(x), [x])
    assert set(toposort([y])) - set(toposort([g])) <= set(toposort([y]))
    found = evaluate([y, g], {x: [1, 2, 3]})
    np.testing.assert_allclose(found[0], np.log(np.exp([1, 2, 3]).sum()), rtol=1e-15)
    np.testing.assert_allclose(found[1], np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum(), rtol=1e-15)


def test_no_gradient_flows_through_stop_gradient():
    x = ops.input("x", (3,), "float64")
    y = ops.sum(ops.stop_gradient(x) * x)
    np.testing.assert_array_equal(evaluate([gradient(y, x)], {x: [1, 2, 3]})[0], [1, 2, 3])
    np.testing.assert_array_equal(
        evaluate([gradient(ops.sum(ops.stop_gradient(x)), x)], {x: [1, 2, 3]})[0], 0
    )


def test_the_straight_through_estimator_can_be_written():
    x = ops.input("x", (3,), "float64")
    y = x + ops.stop_gradient(ops.step(x) - x)
    value, slope = evaluate([y, gradient(ops.sum(y), x)], {x: [-1, 0.5, 2]})
    np.testing.assert_array_equal(value, [0, 1, 1])
    np.testing.assert_array_equal(slope, 1)


# ------------------------------------------------------------------ higher orders


def test_every_derivative_of_a_sine():
    (x,) = scalars("x")
    y, found = ops.sin(x), []
    for _ in range(5):
        y = gradient(y, x)
        found.append(y)
    c, s = np.cos(0.3), np.sin(0.3)
    np.testing.assert_allclose(evaluate(found, {x: 0.3}), [c, -s, -c, s, c], rtol=1e-14)


def test_higher_derivatives_of_tanh_against_closed_forms():
    (x,) = scalars("x")
    first = gradient(ops.tanh(x), x)
    second = gradient(first, x)
    third = gradient(second, x)
    t = np.tanh(0.8)
    expected = [1 - t**2, -2 * t * (1 - t**2), -2 * (1 - t**2) * (1 - 3 * t**2)]
    np.testing.assert_allclose(evaluate([first, second, third], {x: 0.8}), expected, rtol=1e-14)


def test_the_jacobian_is_row_by_row():
    x, A = ops.input("x", (4,), "float64"), rng(0).normal(size=(3, 4))
    y = ops.constant(A) @ x
    np.testing.assert_allclose(evaluate([jacobian(y, x)], {x: np.ones(4)})[0], A)
    z = ops.input("z", (2, 3), "float64")
    J = jacobian(ops.square(z), z)
    assert J.shape == (2, 3, 2, 3)
    value = rng(1).normal(size=(2, 3))
    np.testing.assert_allclose(evaluate([J], {z: value})[0].reshape(6, 6), np.diag(2 * value.ravel()))


def test_jacobians_of_scalars_and_of_nothing():
    x = ops.input("x", (3,), "float64")
    assert jacobian(ops.sum(x), x).shape == (3,)
    assert str(jacobian(x[:0], x).spec) == "float64[0, 3]"


def test_a_jacobian_of_more_than_256_rows_is_refused_with_the_remedy():
    x = ops.input("x", (257,), "float64")
    with pytest.raises(ConfigError, match=r"257 rows.*256.*vjp or hvp"):
        jacobian(ops.sin(x), x)
    with pytest.raises(ConfigError, match="256"):
        hessian(ops.sum(ops.sin(x)), x)
    assert jacobian(ops.sin(x[:256]), x).shape == (256, 257)


def test_the_hessian_of_the_tiny_landscape():
    """C = (w₁w₂ − 1.5)² + 0.04(w₁² + w₂²): eigenvalues 3.08, −2.92 at the saddle; 5.84, 0.16 at a minimum."""
    w = ops.input("w", (2,), "float64")
    C = ops.square(w[0] * w[1] - 1.5) + 0.04 * ops.sum(ops.square(w))
    nodes = [C, gradient(C, w), hessian(C, w)]
    c, g, H = evaluate(nodes, {w: [0, 0]})
    np.testing.assert_allclose(c, 2.25)
    np.testing.assert_array_equal(g, 0)
    np.testing.assert_allclose(np.linalg.eigvalsh(H), [-2.92, 3.08], rtol=1e-12)
    c, g, H = evaluate(nodes, {w: np.full(2, np.sqrt(1.46))})
    np.testing.assert_allclose(c, 0.1184, rtol=1e-12)
    np.testing.assert_allclose(g, 0, atol=1e-15)
    np.testing.assert_allclose(np.linalg.eigvalsh(H), [0.16, 5.84], rtol=1e-12)
    np.testing.assert_allclose(H, H.T, rtol=1e-15)


def test_hessian_vector_products_equal_the_hessian_times_the_vector():
    """Over two parameters at once: the off-diagonal blocks count."""
    x = ops.input("x", (4, 3), "float64")
    W, b = ops.input("W", (3, 2), "float64"), ops.input("b", (2,), "float64")
    loss = ops.mean(ops.logsumexp(ops.tanh(x @ W + b)))
    vectors = [ops.input("v", (3, 2), "float64"), ops.input("u", (2,), "float64")]
    generator = rng(4)
    given = {n: generator.normal(size=n.shape) for n in (x, W, b, *vectors)}
    blocks = [[jacobian(g, p) for p in (W, b)] for g in gradient(loss, [W, b])]
    found = evaluate([*hvp(loss, [W, b], vectors), *[h for row in blocks for h in row]], given)
    v, u = (given[n].ravel() for n in vectors)
    HWW, HWb, HbW, Hbb = (
        h.reshape(p, q) for h, (p, q) in zip(found[2:], [(6, 6), (6, 2), (2, 6), (2, 2)], strict=True)
    )
    np.testing.assert_allclose(found[0].ravel(), HWW @ v + HWb @ u, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(found[1].ravel(), HbW @ v + Hbb @ u, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(HWb, HbW.T, rtol=1e-11, atol=1e-15)


def test_hvp_checks_its_vectors_and_takes_what_is_linear():
    x = ops.input("x", (3,), "float64")
    with pytest.raises(ShapeError, match="cotangents"):
        hvp(ops.sum(x * x), [x], [ops.input("v", (1,), "float64")])
    v = ops.input("v", (3,), "float64")
    np.testing.assert_array_equal(evaluate(hvp(ops.sum(x), [x], [v]), {x: np.ones(3), v: np.ones(3)})[0], 0)


def test_a_network_is_checked_to_second_order():
    def loss(x, W1, b1, W2, b2, target):
        z = ops.softplus(x @ W1 + b1) @ W2 + b2
        return ops.mean(ops.logsumexp(z) - ops.sum(z * ops.one_hot(target, 3, "float64"), -1))

    generator = rng(5)
    shapes = [(4, 3), (3, 5), (5,), (5, 3), (3,)]
    check_gradients(loss, *[generator.normal(size=s) for s in shapes], np.array([0, 2, 1, 1]))


# ------------------------------------------------------------------ subgraphs


def product_and_sum(a, b):
    return ops.tanh(a) * b, ops.sum(a * a)


def as_call(function, *specs, gradient=None):
    """A function of nodes that runs ``function`` as one node."""
    inputs = [ops.input(f"a{i}", shape, dtype) for i, (shape, dtype) in enumerate(specs)]
    graph = Graph(tuple(inputs), tuple(function(*inputs)))
    return lambda *xs: ops.call(graph, *xs, gradient=gradient)


VECTOR = ((3,), "float64")


def test_a_call_has_the_gradient_of_its_body():
    called = as_call(product_and_sum, VECTOR, VECTOR)
    x, y = rng(0).normal(size=(2, 3))
    check_gradients(called, x, y)
    a, b = ops.input("a", *VECTOR), ops.input("b", *VECTOR)
    inside, outside = (
        vjp(f(a, b), [a, b], [b, ops.constant(2.0, "float64")]) for f in (called, product_and_sum)
    )
    for got, wanted in zip(*(evaluate(g, {a: x, b: y}) for g in (inside, outside)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-15)


def test_an_unused_output_of_a_call_adds_nothing():
    called = as_call(product_and_sum, VECTOR, VECTOR)
    x = ops.input("x", *VECTOR)
    product, _ = called(x, x)
    value = rng(1).normal(size=3)
    found = evaluate([gradient(ops.sum(product), x)], {x: value})[0]
    np.testing.assert_allclose(found, np.tanh(value) + (1 - np.tanh(value) ** 2) * value, rtol=1e-14)
    _, total = called(x, x)
    np.testing.assert_allclose(evaluate([gradient(total, x)], {x: value})[0], 2 * value, rtol=1e-15)


def test_calls_in_calls():
    inner = as_call(lambda a: (ops.sin(a),), VECTOR)
    outer = as_call(lambda a, b: (inner(a * b)[0] + inner(b)[0],), VECTOR, VECTOR)
    check_gradients(outer, *rng(2).normal(size=(2, 3)))


def test_a_call_may_take_and_give_integers():
    def pick(x, i):
        return ops.gather(x, i) * 2, i + 1

    called = as_call(pick, VECTOR, ((2,), "int64"))
    x, i = ops.input("x", *VECTOR), ops.input("i", (2,), "int64")
    rows, shifted = called(x, i)
    y = ops.sum(rows * ops.constant([1.0, 10.0], "float64")) + ops.sum(ops.gather(x, shifted - 1))
    (found,) = evaluate([gradient(y, x)], {x: [1, 2, 3], i: [0, 2]})
    np.testing.assert_array_equal(found, [2 + 1, 0, 20 + 1])
    check_gradients(called, np.array([1.0, 2, 3]), np.array([2, 2]))


def test_a_call_can_have_a_gradient_of_its_own():
    """A gradient that is not the body's: the sign of it, clipped, is what arrives."""
    g, a = ops.input("g", *VECTOR), ops.input("a", *VECTOR)
    clipped = as_call(
        lambda a: (ops.exp(a),), VECTOR, gradient=Graph((g, a), (ops.clip(g * ops.exp(a), -1.0, 1.0),))
    )
    x = ops.input("x", *VECTOR)
    (y,) = clipped(x)
    value = np.array([-2.0, 0.1, 3])
    forward, slope = evaluate([y, gradient(ops.sum(y), x)], {x: value})
    np.testing.assert_allclose(forward, np.exp(value), rtol=1e-15)
    np.testing.assert_allclose(slope, np.minimum(np.exp(value), 1), rtol=1e-15)


def test_a_gradient_of_its_own_is_differentiated_again_through_its_body():
    g, a = ops.input("g", *VECTOR), ops.input("a", *VECTOR)
    cube = as_call(lambda a: (a * a * a,), VECTOR, gradient=Graph((g, a), (g * (3 * a * a),)))
    check_gradients(lambda x: cube(x)[0], rng(3).normal(size=3), order=3)


def test_a_node_without_a_rule_is_named():
    x = ops.input("x", (3,), "float64")
    rounding = Primitive("rounding_of_a_test", infer=lambda x: x, reference=np.round)
    try:
        with pytest.raises(ConfigError, match="rounding_of_a_test has no gradient rule"):
            gradient(ops.sum(apply(rounding, x)), x)
    finally:
        del PRIMITIVES["rounding_of_a_test"]
