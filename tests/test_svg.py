"""Drawings: well-formed, self-contained, escaped; ticks and places against values worked out by hand."""

from __future__ import annotations

import base64
import itertools
import math
import random
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule import svg
from chainrule.errors import ConfigError
from chainrule.svg.axis import padded
from chainrule.svg.circuit import KINDS
from chainrule.svg.markup import COLOURS, spread, text_width

NS = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert(1)</script>\"'&\x00\x1b\ud800]]>"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))


def parse(drawing: str) -> ET.Element:
    """The drawing as a tree; fails unless it is well-formed and every coordinate lies near the paper."""
    root = ET.fromstring(drawing.encode("utf-8"))
    assert root.tag == f"{NS}svg"
    assert not re.search(r"\b(nan|inf)\b", " ".join(v for e in root.iter() for v in e.attrib.values()))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for e in root.iter():
        for name, size in (("x", width), ("cx", width), ("y", height), ("cy", height)):
            assert -1.0 <= float(e.attrib.get(name, 0.0)) <= size + 1.0, (e.tag, e.attrib)
    return root


def words(root: ET.Element) -> list[str]:
    return [e.text or "" for e in root.iter(f"{NS}text")]


def gallery(text: str) -> dict[str, svg.Markup]:
    """Every kind of drawing, with `text` wherever text may stand."""
    node = svg.Node(text, (text, text), "input")
    return {
        "line": svg.line_chart(
            {text: [(1, 2), (2, 3)]}, title=text, x_label=text, y_label=text, marks={text: 1}
        ),
        "bar": svg.bar_chart({text: 1.0, "b": -2.0}, title=text, x_label=text),
        "histogram": svg.histogram([1.0, 2.0], title=text, x_label=text, y_label=text),
        "heatmap": svg.heatmap([[1.0, -2.0]], [text], [text, "b"], title=text, x_label=text, y_label=text),
        "images": svg.image_grid([PNG], [text], title=text),
        "circuit": svg.graph_drawing(
            [node, svg.Node("b", ("b",))], [svg.Edge(text, "b", text, text)], title=text, legend=(text, text)
        ),
    }


# ------------------------------------------------------------------ what holds for every drawing


@pytest.mark.parametrize("text", ["plain", HOSTILE, "", "数字 θ² 🙂", "a" * 500])
def test_drawings_are_well_formed_whatever_the_text(text: str) -> None:
    for name, drawing in gallery(text).items():
        root = parse(drawing)
        assert not list(root.iter(f"{NS}script")), name
        if text == HOSTILE:
            assert "<script" not in drawing, name
            assert any("<script>alert(1)" in shown for shown in words(root)), name


def test_drawings_load_nothing_from_outside() -> None:
    for drawing in [*gallery("plain").values(), svg.page("t", [("h", list(gallery("x").values()))])]:
        links = re.findall(r"""\s(?:href|src|xmlns)=["']([^"']*)|url\(([^)]*)|(@import)""", drawing)
        outside = {
            link for found in links for link in found if link and not link.startswith("data:image/png")
        }
        assert outside == {"http://www.w3.org/2000/svg"}
        assert not re.search(r"\son\w+=", drawing)


def test_drawings_are_named_for_those_who_cannot_see_them() -> None:
    for name, drawing in gallery("Loss").items():
        root = parse(drawing)
        assert root.attrib["role"] == "img", name
        assert root[0].tag == f"{NS}title", name
        assert root[0].text == "Loss", name


def test_every_colour_can_be_read_on_its_paper() -> None:
    """Contrast by WCAG 2.1: 4.5 for words, on white and on dark paper."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for light, dark in COLOURS:
        assert 1.05 / (luminance(light) + 0.05) >= 4.5, light
        assert (luminance(dark) + 0.05) / (luminance("#16181d") + 0.05) >= 4.5, dark


def test_drawings_are_the_same_every_time() -> None:
    assert gallery("same") == gallery("same")


# ------------------------------------------------------------------ axes


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0.0, 1.0, 5, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.0, 0.3, 3, [0.0, 0.1, 0.2, 0.3]),
        (-3.2, 4.1, 4, [-2.0, 0.0, 2.0, 4.0]),
        (1.0, 20.0, 4, [5.0, 10.0, 15.0, 20.0]),
        (0.0, 60000.0, 6, [0.0, 10000.0, 20000.0, 30000.0, 40000.0, 50000.0, 60000.0]),
        (1.23e-7, 1.29e-7, 3, [1.24e-7, 1.26e-7, 1.28e-7]),
        (-5e299, 5e299, 4, [-4e299, -2e299, 0.0, 2e299, 4e299]),
    ],
)
def test_ticks(low: float, high: float, count: int, expected: list[float]) -> None:
    assert svg.ticks(low, high, count) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.001, 20.0, [0.001, 0.01, 0.1, 1.0, 10.0]),
        (0.04, 0.6, [0.05, 0.1, 0.2, 0.5]),
        (2.0, 3.0, [2.0, 2.2, 2.4, 2.6, 2.8, 3.0]),
        (1e-80, 1.0, [1e-80, 1e-60, 1e-40, 1e-20, 1.0]),
    ],
)
def test_log_ticks(low: float, high: float, expected: list[float]) -> None:
    assert svg.log_ticks(low, high) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.25, 0.5], ["0.00", "0.25", "0.50"]),
        ([0.0, 5000.0, 10000.0], ["0", "5,000", "10,000"]),
        ([-2.0, 0.0, 2.0], ["−2", "0", "2"]),
        ([0.0, 2e6, 4e6], ["0", "2×10⁶", "4×10⁶"]),
        ([-1e7, 0.0, 1e7], ["−10⁷", "0", "10⁷"]),
        ([0.01, 0.1, 1.0, 10.0], ["0.01", "0.1", "1", "10"]),
        ([1e-5, 1e-4, 1e-3], ["10⁻⁵", "10⁻⁴", "10⁻³"]),
        ([1000.001, 1000.002], ["1,000.001", "1,000.002"]),
        ([0.0], ["0"]),
        ([], []),
    ],
)
def test_tick_labels(values: list[float], expected: list[str]) -> None:
    assert svg.tick_labels(values) == expected


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (210619, 4, "210,619"),
        (0.123456, 4, "0.1235"),
        (9999.9, 4, "10,000"),
        (999.96, 3, "1,000"),
        (-2.5e-7, 4, "−2.5×10⁻⁷"),
        (1e20, 4, "10²⁰"),
        (0.0, 4, "0"),
        (-math.inf, 4, "−inf"),
    ],
)
def test_number(value: float, digits: int, expected: str) -> None:
    assert svg.number(value, digits) == expected


FINITE = st.floats(-1e300, 1e300)


@given(st.lists(FINITE, max_size=5), st.integers(2, 12))
def test_ticks_are_increasing_inside_and_distinguishable(values: list[float], count: int) -> None:
    low, high = padded(values)
    assert low < high
    found = svg.ticks(low, high, count)
    assert 1 <= len(found) <= 2.6 * count + 1
    assert all(a < b for a, b in itertools.pairwise(found))
    room = 1e-6 * (high - low)
    assert low - room <= found[0]
    assert found[-1] <= high + room


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(0, 20)), min_size=1, max_size=8))
def test_spread_keeps_order_and_gaps_and_cannot_be_bettered(items: list[tuple[float, float]]) -> None:
    wanted, gaps = [w for w, _ in items], [g for _, g in items[1:]]
    placed = spread(wanted, gaps)
    assert all(b - a >= gap - 1e-9 for a, b, gap in zip(placed, placed[1:], gaps, strict=False))

    def cost(positions: list[float]) -> float:
        return sum((p - w) ** 2 for p, w in zip(positions, wanted, strict=True))

    generator = random.Random(0)
    for _ in range(20):  # the problem is convex: no feasible point nearby may be better
        moved = [p + generator.uniform(-0.5, 0.5) for p in placed]
        for i, gap in enumerate(gaps):
            moved[i + 1] = max(moved[i + 1], moved[i] + gap)
        assert cost(moved) >= cost(placed) - 1e-6


# ------------------------------------------------------------------ charts

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize(
    "points",
    [
        [],
        [(1, 2)],
        [(0, 0)],
        [(1, 5), (2, 5), (3, 5)],
        [(1, NAN), (2, INF), (3, -INF)],
        [(1, 1), (2, NAN), (3, 2), (4, 3)],
        [(1, -1), (2, 0), (3, 2)],
        [(1, 1e308), (2, -1e308), (3, 1)],
        [(1, 5e-324), (2, 1e300)],
        [(1, 1.0), (2, 1.0 + 2e-16)],
        [(NAN, 1), (2, 2)],
        [(3, 1), (1, 2)],
    ],
)
def test_line_chart_takes_whatever_a_run_may_hold(points: list[tuple[float, float]], log_y: bool) -> None:
    root = parse(svg.line_chart({"loss": points}, log_y=log_y, marks={"best": 2.0, "never": NAN}))
    drawable = [y for x, y in points if abs(x) < 1e300 and abs(y) <= 1e300 and (y > 1e-300 or not log_y)]
    assert ("loss" in words(root)) == bool(drawable)
    assert ("no finite values" in words(root)) == (not drawable)
    assert len(list(root.iter(f"{NS}circle"))) == len(drawable)


def test_line_chart_breaks_the_line_at_a_gap() -> None:
    drawing = svg.line_chart({"a": [(0, 1), (1, 2), (2, NAN), (3, 2), (4, 1)]})
    curve = next(e for e in parse(drawing).iter(f"{NS}path") if e.attrib.get("stroke-width") == "2")
    assert curve.attrib["d"].count("M") == 2
    assert curve.attrib["d"].count("L") == 2


def test_line_chart_places_points_where_the_ticks_say() -> None:
    """(1, 10) and (2, 30) lie exactly on grid lines, so their dots must have those lines' coordinates."""
    root = parse(svg.line_chart({"a": [(1, 10), (2, 30)]}))
    rules = {tuple(map(float, re.findall(r"[\d.]+", e.attrib["d"])[:2])) for e in root.iter(f"{NS}path")}
    levels = {y for _, y in rules}
    for dot in root.iter(f"{NS}circle"):
        assert min(abs(float(dot.attrib["cy"]) - y) for y in levels) < 0.1
    shown = words(root)
    assert {"10", "15", "20", "25", "30"} <= set(shown)
    assert "1.5" not in shown, "whole x have no halves"


def test_line_chart_thins_long_series_but_keeps_the_peak() -> None:
    points = [(i, math.sin(i / 50)) for i in range(50_000)]
    points[31_415] = (31_415, 40.0)
    drawing = svg.line_chart({"a": points})
    assert len(drawing) < 60_000
    curve = next(e for e in parse(drawing).iter(f"{NS}path") if e.attrib.get("stroke-width") == "2")
    heights = [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", curve.attrib["d"])]
    assert min(heights) < 0.3 * max(heights), "the peak is the topmost point by far"


def test_names_at_the_ends_do_not_touch() -> None:
    root = parse(svg.line_chart({f"run {i}": [(0, 1), (1, 1 + i / 1000)] for i in range(6)}))
    ys = sorted(float(e.attrib["y"]) for e in root.iter(f"{NS}text") if (e.text or "").startswith("run"))
    assert len(ys) == 6
    assert min(b - a for a, b in itertools.pairwise(ys)) >= 14.9


def test_many_series_differ_in_colour_or_dash() -> None:
    root = parse(svg.line_chart({f"run {i}": [(0, i), (1, i)] for i in range(16)}))
    curves = [e.attrib for e in root.iter(f"{NS}path") if e.attrib.get("stroke-width") == "2"]
    assert len({(c["class"], c.get("stroke-dasharray")) for c in curves}) == 16


def test_bars_are_as_long_as_their_values() -> None:
    root = parse(svg.bar_chart({"a": 4.0, "b": 1.0, "c": -2.0, "d": 0.0, "e": NAN}))
    bars = [e.attrib for e in root.iter(f"{NS}rect") if e.attrib["class"] in ("c0", "c1")]
    lengths = [float(bar["width"]) for bar in bars]
    assert lengths[0] == pytest.approx(4 * lengths[1], rel=1e-3)
    assert lengths[2] == pytest.approx(2 * lengths[1], rel=1e-3)
    assert lengths[3:] == [0.0, 0.0]
    assert [bar["class"] for bar in bars[:3]] == ["c0", "c0", "c1"]
    assert "nan" in words(root)


def test_histogram_counts_as_numpy_does() -> None:
    values = np.random.Generator(np.random.Philox(3)).normal(size=500)
    tips = [e.text for e in parse(svg.histogram(values, bins=12)).iter(f"{NS}title")][1:]
    counts = [int(tip.rpartition(": ")[2].replace(",", "")) for tip in tips if tip]
    assert counts == np.histogram(values, bins=12)[0].tolist()


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0], [NAN, INF], [-1e308, 1e308, 0.0]])
def test_histogram_of_little(values: list[float]) -> None:
    missing = sum(not abs(v) <= 1e300 for v in values)
    assert (f"{missing} not finite" in words(parse(svg.histogram(values)))) == bool(missing)


def test_histogram_needs_a_bin() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        svg.histogram([1.0], bins=0)


# ------------------------------------------------------------------ tiles


def test_confusion_matrix_shows_few_mistakes_beside_many_hits() -> None:
    counts = np.array([[980, 4], [0, 1000]])
    root = parse(svg.heatmap(counts, ["cat", "dog"], ["cat", "dog"], confusion=True))
    cells = [e.attrib for e in root.iter(f"{NS}rect") if e.attrib["class"] in ("c0", "c1")]
    assert [cell["class"] for cell in cells] == ["c0", "c1", "c1", "c0"]
    strength = [float(cell["fill-opacity"]) for cell in cells]
    assert strength[1] == strength[3] == 0.92, "the largest mistake is as strong as the largest hit"
    assert strength[2] == 0.0
    assert {"980", "4", "1,000"} <= set(words(root))


def test_heatmap_colours_by_sign_on_one_scale() -> None:
    root = parse(svg.heatmap([[4.0, -1.0], [NAN, 0.0]], "ab", "cd"))
    cells = [e.attrib for e in root.iter(f"{NS}rect") if e.attrib["class"] in ("c0", "c1")]
    assert [cell["class"] for cell in cells] == ["c0", "c1", "c0", "c0"]
    assert [float(cell["fill-opacity"]) for cell in cells] == [0.92, 0.46, 0.0, 0.0]


def test_heatmap_of_a_large_matrix_leaves_numbers_out_and_labels_apart() -> None:
    size = 60
    root = parse(svg.heatmap(np.ones((size, size)), range(size), range(size)))
    shown = [w for w in words(root) if w.isdigit()]
    assert 0 < len(shown) <= size, "of rows and columns, every second at most"


def test_heatmap_names_the_shapes_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"1 × 2 cells, 1 row and 3 column labels"):
        svg.heatmap([[1.0, 2.0]], "a", "bcd")


def test_image_grid_holds_the_very_bytes() -> None:
    root = parse(svg.image_grid([PNG, PNG[:20]], ["4\n99 %", "7"], columns=1))
    images = list(root.iter(f"{NS}image"))
    assert [base64.b64decode(e.attrib["href"].partition(",")[2]) for e in images] == [PNG, PNG[:20]]
    assert float(images[1].attrib["y"]) > float(images[0].attrib["y"])
    assert words(root) == ["4", "99 %", "7"]
    parse(svg.image_grid([]))
    with pytest.raises(ConfigError, match="2 images, 1 captions"):
        svg.image_grid([PNG, PNG], ["one"])


# ------------------------------------------------------------------ circuits


def circuit(pairs: list[tuple[str, str]], labelled: bool = True, **options: str) -> ET.Element:
    names = dict.fromkeys(name for pair in pairs for name in pair)
    nodes = [svg.Node(name, (name,), options.get(name, "operation")) for name in names]
    above, below = ("0.25", "−1.50") if labelled else ("", "")
    return parse(svg.graph_drawing(nodes, [svg.Edge(a, b, above, below) for a, b in pairs]))


def position(root: ET.Element, name: str) -> tuple[float, float]:
    found = next(e for e in root.iter(f"{NS}text") if e.text == name)
    return float(found.attrib["x"]), float(found.attrib["y"])


def test_circuit_runs_from_left_to_right() -> None:
    pairs = [("x", "q"), ("y", "q"), ("q", "m"), ("z", "m"), ("m", "f"), ("x", "f")]
    root = circuit(pairs, f="output", x="input")
    for source, target in pairs:
        assert position(root, source)[0] < position(root, target)[0], (source, target)


def test_circuit_keeps_a_chain_level_and_a_tree_symmetric() -> None:
    root = circuit([("x", "q"), ("y", "q"), ("q", "r"), ("r", "s")])
    heights = [position(root, name)[1] for name in "qrs"]
    assert heights == [heights[0]] * 3
    assert position(root, "x")[1] + position(root, "y")[1] == pytest.approx(2 * heights[0])


def test_circuit_untangles_wires() -> None:
    """a→d, b→c drawn in the given order would cross."""
    root = circuit([("a", "d"), ("b", "c"), ("a", "d2"), ("b", "c2")])
    above = position(root, "a")[1] < position(root, "b")[1]
    assert all(
        (position(root, d)[1] < position(root, c)[1]) == above for d in ("d", "d2") for c in ("c", "c2")
    )


@pytest.mark.parametrize("seed", range(6))
def test_circuit_labels_and_boxes_never_overlap(seed: int) -> None:
    """Random graphs of 12 nodes: no two texts of the drawing cover each other."""
    generator = random.Random(seed)
    pairs = [
        (f"n{a}", f"n{b}")
        for b in range(1, 12)
        for a in generator.sample(range(b), k=min(b, generator.choice((1, 2))))
    ]
    root = circuit(pairs)
    boxes = []
    for e in root.iter(f"{NS}text"):
        if e.attrib["class"].endswith("small"):
            continue
        x, y, half = float(e.attrib["x"]), float(e.attrib["y"]), 0.5 * text_width(e.text) - 1.0
        boxes.append((x - half, x + half, y - 9.0, y + 2.0, e.text))
    assert len(boxes) == 12 + 2 * len(pairs)
    for (l1, r1, t1, b1, one), (l2, r2, t2, b2, two) in itertools.combinations(boxes, 2):
        assert l1 >= r2 or l2 >= r1 or t1 >= b2 or t2 >= b1, (one, two)


def test_circuit_draws_every_kind_and_both_legends() -> None:
    nodes = [svg.Node(kind, (kind, "second line"), kind) for kind in KINDS]
    shown = words(parse(svg.graph_drawing(nodes, [])))
    assert set(KINDS) <= set(shown)
    assert shown.count("second line") == len(KINDS)
    labelled = words(circuit([("a", "b")]))
    assert {"above: value", "below: gradient"} <= set(labelled)
    assert not [w for w in words(circuit([("a", "b")], labelled=False)) if ":" in w]


def test_circuit_takes_the_same_wire_twice_and_nothing_at_all() -> None:
    assert words(circuit([("x", "×"), ("x", "×")])).count("0.25") == 2
    parse(svg.graph_drawing([], []))
    parse(svg.graph_drawing([svg.Node("alone", ())], []))


def test_circuit_refuses_what_it_cannot_draw() -> None:
    a, b = svg.Node("alpha", ("a",)), svg.Node("beta", ("b",))
    with pytest.raises(ConfigError, match="circle through alpha, beta"):
        svg.graph_drawing([a, b], [svg.Edge("alpha", "beta"), svg.Edge("beta", "alpha")])
    with pytest.raises(ConfigError, match="did you mean 'alpha'"):
        svg.graph_drawing([a], [svg.Edge("alpa", "alpha")])
    with pytest.raises(ConfigError, match="did you mean 'input'"):
        svg.graph_drawing([svg.Node("x", ("x",), "inputs")], [])


# ------------------------------------------------------------------ pages


def test_page_is_whole_escaped_and_closed_to_the_network() -> None:
    table = svg.table(["name", HOSTILE], [[HOSTILE, 1], ["empty", ""]])
    sections = [("First", [HOSTILE, *gallery("x").values(), table]), ("", ["last words"])]
    text = svg.page(HOSTILE, sections, lead=HOSTILE)
    root = ET.fromstring(text.removeprefix("<!DOCTYPE html>\n").encode("utf-8"))
    assert root.tag == "html"
    assert "<script" not in text
    assert "default-src 'none'" in text.replace("&#x27;", "'")
    assert len(root.findall(f".//{NS}svg")) == len(gallery("x"))
    assert len(root.findall(".//div[@class='drawings']")) == 1, "neighbouring drawings share one row"
    assert [h.text for h in root.findall(".//h2")] == ["First"]
    assert not re.search(r"<(div|td|th|tr|p|table|tbody|b|span)\b[^>]*/>", text), (
        "HTML would leave these open"
    )


def test_page_of_nothing() -> None:
    text = svg.page("Empty", [("Nothing", [])], lead="")
    ET.fromstring(text.removeprefix("<!DOCTYPE html>\n"))
    assert "<p" not in text
    assert svg.facts({}) == '<div class="facts"></div>'


def test_only_markup_passes_unescaped() -> None:
    assert "<b>" not in svg.page("t", [("h", ["<b>bold</b>"])])
    assert "<b>bold</b>" in svg.page("t", [("h", [svg.Markup("<b>bold</b>")])])
