"""Scatter plots, reliability diagrams, small bars, rugs and whiskers: well-formed, and where they belong."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from chainrule import svg

NS = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert(1)</script>\"'&\x00\x1b\ud800]]>\u202e"


def gallery(text: str) -> dict[str, svg.Markup]:
    """Every kind of drawing of this file, with ``text`` wherever text may stand."""
    words = {"title": text, "x_label": text, "y_label": text}
    return {
        "scatter": svg.scatter([(1, 2), (2, 3)], line="diagonal", **words),
        "zero": svg.scatter([(1, -2), (2, 3)], line="zero", **words),
        "reliability": svg.reliability_chart([(0.1, 0.2, 0.05, 30), (0.8, 0.7, 0.1, 30)], **words),
        "rug": svg.line_chart({text: [(0, 1), (4, 2)]}, rug=[0, 1, 9], y_range=(0, 5), **words),
        "whiskers": svg.bar_chart({text: 1.0, "b": -2.0}, spreads={text: 0.5, "b": 0.25}, title=text),
    }


@pytest.mark.parametrize("text", ["plain", HOSTILE, "", "数字 θ² 🙂", "a" * 500])
def test_drawings_are_well_formed_whatever_the_text(text: str) -> None:
    for name, drawing in gallery(text).items():
        root = ET.fromstring(drawing.encode("utf-8"))
        assert root[0].tag == f"{NS}title", name
        assert "script" not in {e.tag.removeprefix(NS) for e in root.iter()}, name
        assert not re.search(r"\b(nan|inf)\b", " ".join(v for e in root.iter() for v in e.attrib.values()))
        assert "\u202e" not in drawing, f"{name}: what follows would be read backwards"


def test_text_keeps_marks_of_direction_that_turn_nothing_over() -> None:
    assert svg.escape("\u200fשלום\u2066x\u2069") == "\u200fשלום\ufffdx\ufffd"


def numbers(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"M([\d.]+) ([\d.]+)h0", path)]


def test_scatter_draws_every_finite_point_where_it_belongs() -> None:
    values = [(0.0, 0.0), (1.0, 2.0), (2.0, 4.0), (float("nan"), 1.0), (1.0, float("inf"))]
    dots = np.array(numbers(svg.scatter(values, line="diagonal")))
    assert len(dots) == 3
    steps = np.diff(dots, axis=0)
    assert steps[0] == pytest.approx(steps[1], abs=0.11)  # equal distances, to a tenth of a pixel
    assert steps[0, 0] > 0 > steps[0, 1], "up is less in SVG"
    assert "no finite values" in svg.scatter([])


def test_reliability_clips_its_lines_to_the_paper() -> None:
    drawing = svg.reliability_chart([(0.0, 0.0, 0.3, 5), (1.0, 1.0, 0.3, 5)], height=300.0)
    ends = [float(v) for pair in re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", drawing) for v in pair]
    assert len(ends) == 4
    assert min(ends) >= 58.0
    assert max(ends) <= 260.0


def test_rug_stands_where_the_data_are_and_nowhere_else() -> None:
    drawing = svg.line_chart({"": [(0.0, 1.0), (10.0, 2.0)]}, rug=[0.0, 5.0, 10.0, 99.0, float("nan")])
    ticks = [float(x) for x in re.findall(r"M([\d.]+) [\d.]+v8", drawing)]
    assert len(ticks) == 3
    assert ticks[1] - ticks[0] == pytest.approx(ticks[2] - ticks[1], abs=0.11)


def test_y_range_is_shown_whole() -> None:
    wide = svg.line_chart({"": [(0.0, 0.4), (1.0, 0.5)]}, y_range=(0.0, 1.0))
    assert {"0.0", "1.0"} <= set(re.findall(r">([\d.]+)</text>", wide))


def test_ticks_may_be_written_otherwise() -> None:
    drawing = svg.line_chart({"": [(2019.0, 1.0), (2024.0, 2.0)]}, x_words=lambda year: f"in {year:.0f}")
    assert "in 2020" in drawing
    assert "2,020" not in drawing


def test_whiskers_span_twice_the_spread() -> None:
    drawing = svg.bar_chart({"a": 2.0, "b": 4.0}, spreads={"a": 1.0, "b": 1.0})
    bars = [float(w) for w in re.findall(r'<rect[^>]* width="([\d.]+)" height="18"', drawing)]
    spans = [float(b) - float(a) for a, b in re.findall(r"M([\d.]+) [\d.]+H([\d.]+)", drawing)]
    assert spans == pytest.approx([bars[0], bars[0]], abs=0.2), "2 ± 1 spans as much as the bar of 2"
    assert len(re.findall(r"v6", svg.bar_chart({"a": 1.0}, spreads={"a": float("nan")}))) == 0


def test_small_bars_are_as_high_as_their_values() -> None:
    drawing = svg.small_bars([1.0, 2.0, 4.0, float("nan")], tips=["<one>"], height=41.0)
    heights = [float(h) for h in re.findall(r'<rect[^>]* height="([\d.]+)"', drawing)]
    assert heights == [10.0, 20.0, 40.0, 0.0]
    assert "&lt;one&gt;" in drawing


def test_tables_set_figures_to_the_right_and_notes_are_a_list() -> None:
    text = svg.table(("name", "rows"), [("<a>", "12")], figures=[1])
    assert text.count('class="figure"') == 2
    assert "&lt;a&gt;" in text
    assert svg.notes([]) == ""
    assert svg.notes(["<script>"]).count("<li>") == 1
    assert "<script>" not in svg.notes(["<script>"])


def test_page_has_the_colours_of_small_bars_in_light_and_dark() -> None:
    text = svg.page("t", [("", [svg.small_bars([1.0])])])
    style = text.split("<style>")[1].split("</style>")[0]
    assert ".cr .c0{color:#0072b2}" in style
    assert "prefers-color-scheme:dark){.cr .ink" in style
