"""Nodes, origins, subgraphs, walking, checking, printing."""

from __future__ import annotations

import gc
import inspect
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from chainrule import ops
from chainrule.autodiff import gradient
from chainrule.errors import ChainruleError, ConfigError, DTypeError, ShapeError
from chainrule.executors import compile, evaluate
from chainrule.graph import (
    PRIMITIVES,
    Expr,
    Graph,
    Origin,
    Primitive,
    apply,
    check,
    rebuild,
    scope,
    substitute,
    to_text,
    toposort,
)
from chainrule.graph.expr import OPERATORS
from chainrule.ops.elementwise import ADD, MUL
from chainrule.spec import DTYPES, Spec


def here() -> str:
    """file:line of the caller."""
    frame = inspect.currentframe().f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def body(*, name: str = "a") -> Graph:
    """A subgraph: a, b → (eᵃ·b, Σa)."""
    a, b = ops.input(name, (3,)), ops.input("b", (3,))
    return Graph((a, b), (ops.exp(a) * b, ops.sum(a)))


# ------------------------------------------------------------------ nodes


def test_a_node_is_equal_only_to_itself():
    x, y = ops.input("x", (2,)), ops.input("x", (2,))
    assert x != y
    assert len({x, y, x}) == 2


def test_repr_is_one_short_line():
    x = ops.input("x", (100, 784))
    assert repr(x @ ops.input("W", (784, 10))) == "<Expr matmul float32[100, 10]>"
    node = ops.call(body(), ops.input("x", (3,)), ops.input("y", (3,)))[0].inputs[0]
    assert repr(node) == "<Expr call float32[3], float32[]>"


def test_properties_come_from_the_spec():
    x = ops.input("x", (2, 3, 4), "float64")
    assert (x.shape, x.ndim, x.size, x.dtype.name, len(x)) == ((2, 3, 4), 3, 24, "float64", 2)
    assert x.T.shape == (2, 4, 3)


def test_every_operator_calls_the_operation_it_looks_like():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.5, 2, (3, 3)), rng.uniform(0.5, 2, (3, 3))
    p, q = a > 1, b > 1
    x, y = ops.input("x", (3, 3), "float64"), ops.input("y", (3, 3), "float64")
    u, v = ops.input("u", (3, 3), "bool"), ops.input("v", (3, 3), "bool")
    cases = [
        (x + y, a + b), (x - y, a - b), (x * y, a * b), (x / y, a / b), (x**y, a**b), (x @ y, a @ b),
        (2 + x, 2 + a), (2 - x, 2 - a), (2 * x, 2 * a), (2 / x, 2 / a), (2**x, 2**a), (a @ x, a @ a),
        (x + 2, a + 2), (x - 2, a - 2), (x * 2, a * 2), (x / 2, a / 2), (x @ b, a @ b), (b - x, b - a),
        (-x, -a), (abs(-x), a), (x < y, a < b), (x <= y, a <= b), (x > y, a > b), (x >= y, a >= b),
        (x > 1, a > 1), (~u, ~p), (u & v, p & q), (u | v, p | q), (x[1, ::-1], a[1, ::-1]), (x.T, a.T),
    ]  # fmt: skip
    found = evaluate([node for node, _ in cases], {x: a, y: b, u: p, v: q})
    for got, (node, wanted) in zip(found, cases, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-15, err_msg=repr(node))


def test_the_operators_table_is_exactly_what_expr_uses():
    used = set(re.findall(r'OPERATORS\["(\w+)"\]', inspect.getsource(Expr)))
    assert used == set(OPERATORS)


def test_a_node_has_no_truth_value_and_is_no_sequence():
    x = ops.input("x", (3,))
    with pytest.raises(ConfigError, match=r"ops\.where"):
        bool(x > 0)
    with pytest.raises(ConfigError, match="index it"):
        list(x)
    with pytest.raises(ShapeError, match="scalar has no length"):
        len(ops.sum(x))


def test_a_node_of_several_outputs_asks_for_one():
    node = ops.call(body(), ops.input("x", (3,)), ops.input("y", (3,)))[0].inputs[0]
    with pytest.raises(ShapeError, match="item"):
        _ = node.spec
    with pytest.raises(ShapeError, match="no output 2 among 2"):
        ops.item(node, 2)
    x = ops.input("x", (3,))
    assert ops.item(x, 0) is x


# ------------------------------------------------------------------ constants and inputs


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(1.5, "float32"), (2, "int64"), (True, "bool"), ([1.0, 2.0], "float32"), ([1, 2], "int64"),
     ([True], "bool"), (np.float64(2), "float64"), (np.zeros(3), "float64"), (np.zeros(3, "uint8"), "uint8"),
     (np.zeros(2, ">f4"), "float32")],
)  # fmt: skip
def test_constants_take_the_natural_dtype(value, dtype):
    node = ops.constant(value)
    assert node.dtype.name == dtype
    np.testing.assert_array_equal(node.meta["value"], np.asarray(value))


def test_a_constant_is_a_copy_and_cannot_be_written():
    array = np.ones(3)
    node = ops.constant(array)
    array[:] = 7
    np.testing.assert_array_equal(node.meta["value"], 1)
    with pytest.raises(ValueError, match="read-only"):
        node.meta["value"][0] = 2


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(1e300, "float32"), (2.5, "int64"), (np.nan, "int64"), (-1, "uint8"), (2**63, "int64"),
     (10**400, "float64"), (np.array([1e300]), "float32"), (np.array([np.nan]), "int32"), ([300], "uint8")],
)  # fmt: skip
def test_a_constant_never_loses_its_value(value, dtype):
    with pytest.raises(DTypeError, match=f"fit into {dtype}"):
        ops.constant(value, dtype)


@pytest.mark.parametrize("value", [1j, "text", None, object()])
def test_what_is_no_number_is_no_constant(value):
    with pytest.raises(DTypeError):
        ops.constant(value)


def test_infinities_and_nan_are_constants():
    for value in (np.inf, -np.inf, np.nan):
        np.testing.assert_array_equal(ops.constant(value).meta["value"], np.float32(value))


def test_inputs_check_their_shape():
    assert ops.input("x", 3).shape == (3,)
    with pytest.raises(ShapeError, match="non-negative"):
        ops.input("x", (-1,))


# ------------------------------------------------------------------ origins


def test_a_node_remembers_the_users_line():
    node, line = ops.input("x", (3,)) * 2, here()
    assert node.origin == Origin("", "mul", line)


def test_scopes_nest_and_the_outermost_operation_stays():
    x = ops.input("x", (3,))
    with scope("encoder"):
        with scope("encoder/dense_0"):
            y = ops.softmax(x)
        z = ops.std(x)
    w = ops.exp(x)
    assert {n.origin.path for n in toposort([y]) if n is not x} == {"encoder/dense_0"}
    assert {n.origin.operation for n in toposort([y]) if n is not x} == {"softmax"}
    assert {(n.origin.path, n.origin.operation) for n in toposort([z]) if n is not x} == {("encoder", "std")}
    assert (w.origin.path, w.origin.operation) == ("", "exp")


def test_gradient_nodes_carry_the_origin_of_the_node_they_belong_to():
    x = ops.input("x", (3,))
    with scope("dense_0"):
        y = ops.tanh(x)
    with scope("head"):
        z = ops.sum(ops.exp(y))
    g = gradient(z, x)
    paths = [n.origin.path for n in toposort([g]) if n not in set(toposort([z]))]
    assert set(paths) <= {"head", "dense_0", ""}
    assert paths[-1] == "dense_0"  # what came last belongs to the first layer
    assert paths.count("") <= 1  # the seed


def test_a_scope_is_left_when_an_error_passes():
    with pytest.raises(KeyError), scope("dense_0"):
        raise KeyError("x")
    assert ops.input("x").origin.path == ""


@pytest.mark.parametrize(
    ("build", "parts"),
    [
        (lambda x, w: x + ops.input("b", (225,)), ["add", "(100, 144)", "(225,)", "reshape"]),
        (lambda x, w: x @ w, ["matmul", "float32[100, 144]", "float32[225, 10]", "144", "225", "(…, k, n)"]),
        (lambda x, w: ops.sum(x, 2), ["sum", "no axis 2", "2 axes"]),
        (lambda x, w: ops.reshape(x, (7, 7)), ["reshape", "14400", "(7, 7)", "49"]),
        (
            lambda x, w: ops.concat([x, w]),
            ["concat", "float32[100, 144]", "float32[225, 10]", "axis other than 0"],
        ),
        (lambda x, w: x[100], ["x[100]", "axis 0", "float32[100, 144]"]),
        (lambda x, w: ops.where(x, x, x), ["where", "boolean", "float32[100, 144]", "compare"]),
        (lambda x, w: ops.gather(w, x), ["gather", "integer", "float32[100, 144]", "ops.cast"]),
        (lambda x, w: ops.broadcast(x, (100, 100)), ["broadcast", "(100, 144)", "(100, 100)"]),
        (
            lambda x, w: ops.call(body(), x, w),
            ["call", "takes (float32[3], float32[3])", "float32[100, 144]"],
        ),
    ],
)
def test_shape_errors_name_layer_operation_shapes_and_remedy(build, parts):
    x, w = ops.input("x", (100, 144)), ops.input("w", (225, 10))

    def network():
        with scope("encoder/dense_1"):
            build(x, w)

    with pytest.raises(ChainruleError) as caught:
        network()
    message = str(caught.value)
    for part in [*parts, "layer 'encoder/dense_1'"]:
        assert part in message, message
    assert message.count("\n  in ") == 1
    assert f"{__file__}:" in message


# ------------------------------------------------------------------ subgraphs


def test_a_call_gives_one_node_for_each_output():
    x, y = np.array([0.0, 1, 2], "f"), np.array([1.0, 2, 3], "f")
    a, b = ops.input("a", (3,)), ops.input("b", (3,))
    product, total = ops.call(body(), a, b)
    found = evaluate([product, total], {a: x, b: y})
    np.testing.assert_allclose(found[0], np.exp(x) * y, rtol=1e-6)
    assert found[1] == 3


@pytest.mark.parametrize(
    "build",
    [
        lambda a: (a,),
        lambda a: (a[::-1],),
        lambda a: (ops.stop_gradient(a), a),
        lambda a: (ops.broadcast(ops.sum(a), (3,)),),
        lambda a: (ops.constant(np.ones(3, "f")),),
    ],
)
def test_what_a_call_gives_is_nobody_elses_memory(build):
    """A caller may compute in place: neither its own input nor a constant of the body may change."""
    a, x = ops.input("a", (3,)), ops.input("x", (3,))
    outputs = ops.call(Graph((a,), build(a)), x)
    array = np.arange(3.0, dtype="f")
    f = compile([y + 1 for y in outputs], [x])
    first = f(array)
    np.testing.assert_array_equal(array, [0, 1, 2])
    for one, two in zip(first, f(array), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_subgraph_is_closed():
    a, foreign = ops.input("a", (3,)), ops.input("rate")
    with pytest.raises(ConfigError, match=r"'rate'.*pass it in"):
        Graph((a,), (a * foreign,))
    with pytest.raises(ConfigError, match="distinct input nodes"):
        Graph((a, a), (a,))
    with pytest.raises(ConfigError, match="distinct input nodes"):
        Graph((a + a,), (a + a,))


def test_a_call_checks_the_gradient_it_is_given():
    a = ops.input("a", (3,))
    forward = Graph((a,), (ops.exp(a),))
    g = ops.input("g", (3,))
    x = ops.input("x", (3,))
    ops.call(forward, x, gradient=Graph((g, a), (g,)))
    with pytest.raises(ShapeError, match="gradient must take"):
        ops.call(forward, x, gradient=Graph((a,), (a,)))
    with pytest.raises(ShapeError, match="gradient must give"):
        ops.call(forward, x, gradient=Graph((g, a), (ops.sum(g),)))


# ------------------------------------------------------------------ walking and rebuilding


def test_toposort_puts_every_node_once_after_its_inputs():
    x = ops.input("x", (3,))
    y = ops.softmax(ops.exp(x) + x)
    order = toposort([y, x, y])
    place = {node: i for i, node in enumerate(order)}
    assert len(place) == len(order)
    assert all(place[i] < place[node] for node in order for i in node.inputs)


def test_substitute_replaces_a_node_everywhere_and_keeps_origins():
    x, z = ops.input("x", (3,)), ops.input("z", (3,))
    with scope("dense_0"):
        y = ops.exp(x) * x
    (found,) = substitute([y], {x: z + 1})
    assert found.origin == y.origin
    value = np.array([0.0, 1, 2])
    np.testing.assert_allclose(evaluate([found], {z: value})[0], np.exp(value + 1) * (value + 1), rtol=1e-6)
    assert substitute([y], {})[0] is y


def test_substitute_may_mention_what_it_replaces():
    x = ops.input("x", (3,))
    (found,) = substitute([x * 2], {x: x + 1})
    np.testing.assert_array_equal(evaluate([found], {x: [0, 1, 2]})[0], [2, 4, 6])


def test_substitute_refuses_another_type():
    x = ops.input("x", (3,))
    with pytest.raises(ShapeError, match="cannot be replaced"):
        substitute([x * 2], {x: ops.input("z", (4,))})


def test_rebuild_infers_anew_only_where_a_type_changed():
    x, same, wider = ops.input("x", (3,)), ops.input("y", (3,)), ops.input("z", (5,))
    y = ops.exp(x)
    assert rebuild(y, (x,)) is y
    assert rebuild(y, (same,)).spec == y.spec
    assert rebuild(y, (wider,)).shape == (5,)
    assert rebuild(y, (wider,)).origin == y.origin
    with pytest.raises(DTypeError, match="floating-point"):
        rebuild(y, (ops.input("i", (3,), "int64"),))


def test_deep_graphs_need_no_recursion():
    """Ten thousand nodes deep: built, checked, printed, differentiated, simplified, run, forgotten."""
    x = ops.input("x", (), "float64")
    y = x
    for _ in range(10_000):
        y = y * 1.0001
    g = gradient(y, x)
    check([y, g])
    assert to_text([y, g]).count("\n") > 10_000
    value, slope = compile([y, g], [x])(np.float64(2))
    np.testing.assert_allclose([value / 2, slope], 1.0001**10_000, rtol=1e-9)
    del y, g
    gc.collect()


def test_a_very_deep_graph_is_freed_without_overflowing_the_stack():
    code = """
        from chainrule import ops
        x = ops.input("x")
        for _ in range(100_000):
            x = -x
        del x
        print("freed")
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert found.stdout == "freed\n"


# ------------------------------------------------------------------ check


def broken(node: Expr, **changes) -> Expr:
    parts = {"primitive": node.primitive, "inputs": node.inputs, "meta": node.meta, "outputs": node.outputs}
    return Expr(**{**parts, **changes}, origin=Origin("dense_0", "add", "train.py:3"))


def test_check_passes_what_apply_built():
    x = ops.input("x", (4, 3))
    check([gradient(ops.sum(ops.log_softmax(x)), x), *ops.call(body(), x[0], x[1])])


def test_check_finds_a_wrong_shape_and_says_where():
    x = ops.input("x", (3,))
    bad = broken(x + x, outputs=(Spec((4,), DTYPES["float32"]),))
    with pytest.raises(
        ShapeError, match=r"add is recorded as float32\[4\].*give float32\[3\]\n  in layer 'dense_0'"
    ):
        check([ops.exp(bad)])


def test_check_finds_inputs_that_do_not_fit():
    x, y = ops.input("x", (3,)), ops.input("y", (4,))
    with pytest.raises(ShapeError, match=r"train\.py:3"):
        check([broken(x + x, inputs=(x, y))])


def test_check_goes_into_subgraphs():
    a, x = ops.input("a", (3,)), ops.input("x", (3,))
    bad = broken(a + a, outputs=(Spec((4,), DTYPES["float32"]),))
    with pytest.raises(ShapeError, match="recorded as"):
        check([*ops.call(Graph((a,), (ops.sum(bad),)), x)])


def test_check_finds_an_input_that_entered_a_subgraph_later():
    a, x, foreign = ops.input("a", (3,)), ops.input("x", (3,)), ops.input("rate", (3,))
    graph = Graph((a,), (a + a,))
    (y,) = ops.call(graph, x)
    object.__setattr__(graph, "outputs", (a + foreign,))
    with pytest.raises(ShapeError, match="foreign input 'rate'"):
        check([y])


def test_check_knows_the_closed_set():
    x = ops.input("x", (3,))
    stranger = object.__new__(Primitive)
    for key, value in {"name": "add", "infer": ADD.infer, "vjp": None, "reference": None}.items():
        object.__setattr__(stranger, key, value)
    with pytest.raises(ShapeError, match="outside the closed set"):
        check([broken(x + x, primitive=stranger)])
    with pytest.raises(ValueError, match="defined twice"):
        Primitive("add", infer=ADD.infer)
    assert PRIMITIVES["mul"] is MUL


# ------------------------------------------------------------------ to_text


def test_a_graph_prints_one_line_per_node():
    x, W, b = ops.input("x", (100, 784)), ops.input("W", (784, 10)), ops.input("b", (10,))
    with scope("dense_0"):
        z = x @ W + b
    with scope("relu_0"):
        h = ops.relu(z)
    assert to_text([ops.mean(h)]) == textwrap.dedent("""\
        x = input                           float32[100, 784]
        W = input                           float32[784, 10]
        %0 = matmul(x, W)                   float32[100, 10]   # dense_0
        b = input                           float32[10]
        %1 = broadcast(b, shape=(100, 10))  float32[100, 10]   # dense_0
        %2 = add(%0, %1)                    float32[100, 10]   # dense_0
        %3 = less_equal(%2, 0)              bool[100, 10]      # relu_0, relu
        %4 = where(%3, 0, %2)               float32[100, 10]   # relu_0, relu
        %5 = sum(%4, axes=(0, 1))           float32[]          # mean
        %6 = div(%5, 1000)                  float32[]          # mean
        return %6""")


def test_subgraphs_are_printed_under_their_node():
    x = ops.input("x", (3,))
    a, g = ops.input("a", (3,)), ops.input("g", (3,))
    (y,) = ops.call(Graph((a,), (ops.exp(a),)), x, gradient=Graph((g, a), (g * 2,)))
    assert to_text([y, x]) == textwrap.dedent("""\
        x = input     float32[3]
        %0 = call(x)  float32[3]
            graph(a):
                a = input    float32[3]
                %0 = exp(a)  float32[3]
                return %0
            gradient(g, a):
                g = input       float32[3]
                a = input       float32[3]
                %0 = mul(g, 2)  float32[3]
                return %0
        return %0, x""")


def test_names_stay_distinct_and_large_constants_short():
    x, other = ops.input("x", (900,)), ops.input("x", (900,))
    text = to_text([x + other, ops.constant(np.arange(900.0)), ops.constant(-0.5)])
    assert "x#2 = input" in text
    assert "%0 = add(x, x#2)" in text
    assert "%1 = constant(value=[  0.   1. ... 898. 899.])" in text
    assert text.endswith("return %0, %1, -0.5")
    assert max(map(len, text.splitlines())) < 80


def test_every_node_of_a_large_graph_has_its_line():
    x = ops.input("x", (4, 3))
    y = gradient(ops.sum(ops.log_softmax(ops.gelu(x))), x)
    nodes = [n for n in toposort([y]) if not (n.primitive.name in ("constant", "broadcast") and _scalar(n))]
    lines = to_text([y]).splitlines()
    assert len(lines) == len(nodes) + 1
    assert [line.split(" = ")[1].partition("(")[0].split()[0] for line in lines[:-1]] == [
        n.primitive.name for n in nodes
    ]


def _scalar(node: Expr) -> bool:
    while node.primitive.name == "broadcast":
        node = node.inputs[0]
    return node.primitive.name == "constant" and node.shape == ()


def test_apply_is_the_only_door():
    with pytest.raises(ShapeError, match="must be equal"):
        apply(ADD, ops.input("x", (3,)), ops.input("y", (1,)))
