"""Drawn graphs carry the textbook's numbers; paths are counted without following them."""

from __future__ import annotations

import itertools
import re
import runpy
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import ops
from chainrule.autodiff import path_count
from chainrule.errors import ConfigError, ShapeError
from chainrule.graph import Graph
from chainrule.inspect import count_multiply_adds, count_paths, draw_graph
from chainrule.inspect.graphs import _number

DOCS = Path(__file__).resolve().parent.parent / "docs"


def words(drawing: str) -> list[str]:
    return [e.text or "" for e in ET.fromstring(drawing).iter() if e.tag.endswith("text")]


def labels(drawing: str, colour: str) -> list[str]:
    """The labels of one colour class, the legend apart."""
    found = [e for e in ET.fromstring(drawing).iter() if e.tag.endswith("text")]
    return [e.text for e in found if colour in e.get("class", "").split() and ":" not in e.text]


def values_and_gradients(drawing: str) -> tuple[list[str], list[str]]:
    return labels(drawing, "c2"), labels(drawing, "c1")  # green above, red below


# ------------------------------------------------------------------ drawings


def test_the_first_circuit():
    x, y, z = (ops.input(name) for name in "xyz")
    drawing = draw_graph((x + y) * z, {x: -2, y: 5, z: -4})
    assert sorted(words(drawing)[:-2]).count("×") == 1
    values, gradients = values_and_gradients(drawing)
    assert sorted(values) == sorted(["−2", "5", "3", "−4", "−12"])
    assert sorted(gradients) == sorted(["−4", "−4", "−4", "3", "1"])


def test_value_above_and_gradient_below_each_wire():
    x, y, z = (ops.input(name) for name in "xyz")
    root = ET.fromstring(draw_graph((x + y) * z, {x: -2, y: 5, z: -4}))
    texts = {
        (e.get("class").split()[0], e.text): (float(e.get("x")), float(e.get("y")))
        for e in root.iter()
        if e.tag.endswith("text") and e.get("class")
    }
    value, slope = texts["c2", "−12"], texts["c1", "1"]
    assert value[0] == slope[0]
    assert value[1] < slope[1]


def test_the_sigmoid_circuit_in_the_documentation():
    """Catalogue D, node by node; the picture in docs/images is what the script draws today."""
    drawing = runpy.run_path(str(DOCS / "draw_circuit.py"))["circuit"]()
    values, gradients = values_and_gradients(drawing)
    for number in ("−1", "0.3679", "1.3679", "0.7311", "2", "−3", "−2", "4", "6", "1"):
        assert number in values
    assert sorted(gradients) == sorted(
        ["−0.1966", "0.3932", "−0.3932", "−0.5898", "0.1966"]  # w₀ x₀ w₁ x₁ w₂
        + ["0.1966"] * 4  # the two products, the inner sum, z
        + ["−0.1966", "−0.5344", "−0.5344", "1"]
    )
    boxes = set(words(drawing)) - set(values) - set(gradients)
    assert {"exp", "+1", "1/x", "−", "×", "+", "w₀", "f"} <= boxes
    saved = (DOCS / "images" / "circuit.svg").read_text(encoding="utf-8")
    assert words(saved) == words(drawing)


def test_the_third_net():
    w1, w2, x1, x2, y = inputs = [ops.input(n) for n in ("w1", "w2", "x1", "x2", "y")]
    f = ops.sigmoid(w1 * x1 + w2 * x2)
    drawing = draw_graph(
        0.5 * ops.square(y - f), dict(zip(inputs, (0.5, -1, 2, 1, 1), strict=True)), name="L"
    )
    values, gradients = values_and_gradients(drawing)
    s = 0.5  # σ(0)
    assert {"0.5", "0.125"} <= set(values)
    for expected in ((s - 1) * s * (1 - s) * 2, (s - 1) * s * (1 - s) * 1):
        assert f"{expected:.4f}".replace("-", "−").rstrip("0") in gradients
    assert {"σ", "×0.5", "L"} <= set(words(drawing))


def test_arrays_are_told_by_shape_and_norm():
    x, W = ops.input("x", (2, 3)), ops.input("dense_0/W", (3, 4))
    drawing = draw_graph(ops.sum(ops.tanh(x @ W)), {x: np.ones((2, 3)), W: np.zeros((3, 4))})
    shown = words(drawing)
    assert {"2×3", "3×4", "2×4", "@", "Σ", "tanh", "dense_0/W"} <= set(shown)
    assert f"‖{np.sqrt(6):.4f}‖" in shown
    assert f"‖{np.sqrt(8):.4f}‖" in shown  # ∂/∂(xW) at 0 is all ones


def test_short_vectors_are_written_out():
    x = ops.input("x", (3,))
    values, gradients = values_and_gradients(draw_graph(ops.sum(x * x), {x: [1, -2, 0.5]}))
    assert "[1 −2 0.5]" in values
    assert "[2 −4 1]" in gradients


def test_without_arrays_there_is_structure_alone():
    x = ops.input("x", (3,))
    drawing = draw_graph(ops.exp(x))
    assert words(drawing) == ["x", "3", "exp", "3", "f"]


def test_gradients_can_be_left_out():
    x = ops.input("x", (3,))
    values, gradients = values_and_gradients(draw_graph(x * 2, {x: [1, 2, 3]}, gradients=False))
    assert values
    assert not gradients
    with pytest.raises(ShapeError, match="scalar"):
        draw_graph(x * 2, {x: [1, 2, 3]})


@pytest.mark.parametrize(
    ("build", "label"),
    [
        (lambda x: x + 1, "+1"),
        (lambda x: 1 + x, "+1"),
        (lambda x: x - 1, "−1"),
        (lambda x: 1 - x, "1−x"),
        (lambda x: x * -2, "×(−2)"),
        (lambda x: -2 * x, "×(−2)"),
        (lambda x: x / 4, "/4"),
        (lambda x: 4 / x, "4/x"),
        (lambda x: ops.maximum(x, 0.5), "maximum(x, 0.5)"),
        (lambda x: ops.relu(x), "where(x, 0, x)"),
        (lambda x: x**4, "^4"),
        (lambda x: x * 1e-8, "×10⁻⁸"),
        (ops.sqrt, "√"),
    ],
)
def test_constants_stand_in_the_operation(build, label):
    x = ops.input("x", (), "float64")
    assert label in words(draw_graph(build(x), {x: 2}))


def test_integers_and_subgraphs_are_drawn_too():
    a, x, i = ops.input("a", (3,)), ops.input("x", (3,)), ops.input("i", (2,), "int64")
    (y,) = ops.call(Graph((a,), (ops.exp(a),)), x)
    big = ops.constant(np.arange(3.0, dtype="f"))
    u, v = ops.call(Graph((a,), (ops.sum(a), ops.exp(a))), y * big)
    drawing = draw_graph(u + ops.sum(ops.gather(v, i)), {x: [0, 1, 2], i: [0, 2]})
    assert {"call", "item", "gather", "constant", "i"} <= set(words(drawing))
    assert "[0 2]" in values_and_gradients(drawing)[0]


def test_a_constant_alone_can_be_drawn():
    assert "constant" in words(draw_graph(ops.constant(2.0), {}))


def test_names_are_escaped():
    x = ops.input("<b>&", ())
    assert "<b>&" in words(draw_graph(x * x, {x: 1}))


def test_a_graph_too_large_to_read_is_refused_with_a_remedy():
    x = ops.input("x")
    for _ in range(201):
        x = -ops.exp(x)
    with pytest.raises(ConfigError, match=r"403 nodes.*to_text"):
        draw_graph(x)


# ------------------------------------------------------------------ paths


def network(*sizes, rows=1):
    x = h = ops.input("x", (rows, sizes[0]))
    for i, (n, m) in enumerate(itertools.pairwise(sizes)):
        h = h @ ops.input(f"W{i}", (n, m)) + ops.input(f"b{i}", (m,))
        h = ops.relu(h) if i < len(sizes) - 2 else h
    return h, x


def test_the_reference_network():
    """784·225·144·10 = 254,016,000 paths; 210,240 multiply-adds."""
    y, x = network(784, 225, 144, 10)
    assert count_paths(y, x) == 254_016_000 == 784 * 225 * 144 * 10
    assert count_multiply_adds(y) == 210_240 == 784 * 225 + 225 * 144 + 144 * 10
    assert count_paths(y[0, 3], x) == 784 * 225 * 144
    assert path_count(y, x) == 1 * 2 * 2  # of nodes: relu looks at its input twice, once to choose


def test_counts_outgrow_64_bits():
    y, x = network(*[100] * 21)
    assert count_paths(y, x) == 100**21
    assert count_multiply_adds(y) == 20 * 100**2


def test_rows_of_a_batch_do_not_mix_until_they_are_summed():
    y, x = network(4, 3, 2, rows=5)
    assert count_paths(y, x) == 5 * 4 * 3 * 2
    assert count_paths(ops.mean(y, 0), x) == 5 * 4 * 3 * 2
    assert count_multiply_adds(y) == 5 * (4 * 3 + 3 * 2)


@pytest.mark.parametrize(
    ("build", "paths"),
    [
        (lambda x: x * x, 12),
        (lambda x: x + ops.stop_gradient(x), 6),
        (lambda x: ops.where(x > 0, x, -x), 12),
        (lambda x: ops.sum(x), 6),
        (lambda x: ops.max(x, 1), 6),
        (lambda x: ops.cumsum(x, 1), 2 * (1 + 2 + 3)),
        (lambda x: ops.cumsum(x, 1, reverse=True)[:, 0], 6),
        (lambda x: ops.broadcast(x, (4, 2, 3)), 24),
        (lambda x: ops.concat([x, x, x]), 18),
        (lambda x: ops.pad(x, (1, 1), (1, 1))[1:, ::-2], 2),
        (lambda x: x @ x.T, 2 * 2 * 3 * 2),
        (lambda x: ops.cast(ops.argmax(x, 1), "float32"), 0),
        (lambda x: ops.cast(x, "float64") @ np.ones((3, 2)), 12),
        (lambda x: ops.input("other", (2,)), 0),
    ],
)
def test_paths_of_every_kind_of_node(build, paths):
    x = ops.input("x", (2, 3))
    assert count_paths(build(x), x) == paths


def test_subgraphs_are_walked_through():
    a = ops.input("a", (1, 3))
    called = Graph((a,), (a @ ops.constant(np.ones((3, 2), "f")), a * a))
    x = ops.input("x", (1, 3))
    u, v = ops.call(called, x)
    assert count_paths(ops.sum(u) + ops.sum(v), x) == 6 + 6
    assert count_multiply_adds(u) == 6


def test_what_is_decided_at_run_time_has_no_count():
    x, i = ops.input("x", (3, 2)), ops.input("i", (4,), "int64")
    with pytest.raises(ConfigError, match="gather joins is known only when the graph runs"):
        count_paths(ops.gather(x, i), x)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5))
def test_counting_equals_following_every_path(sizes):
    y, x = network(*sizes)
    followed = sum(1 for _ in itertools.product(*map(range, sizes)))
    assert count_paths(y, x) == followed


def test_numbers_are_the_textbooks():
    shown = [
        _number(v) for v in (-0.53444664, 0.73105858, 3.0, -4, -0.0, 1e-9, 123456.0, np.float32(0.25), True)
    ]
    assert shown == ["−0.5344", "0.7311", "3", "−4", "0", "10⁻⁹", "123,456", "0.25", "True"]
    assert not re.search("-", "".join(shown))
