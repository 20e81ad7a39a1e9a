"""Bars, histograms, matrices and image grids: what is drawn in boxes."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence

from chainrule.errors import ConfigError
from chainrule.svg.axis import Frame, drawable, number, padded, scale, ticks
from chainrule.svg.markup import (
    Markup,
    document,
    element,
    escape,
    filled,
    fitted,
    heading,
    label,
    rule,
    text_width,
)

__all__ = ["bar_chart", "heatmap", "histogram", "image_grid"]

_HEAD = 44.0  # a title's height, in a drawing without axes
_BAR = 24.0
_WIDEST_NAME = 190.0
_LEGIBLE = 18.0  # a cell narrower than this carries no number


def bar_chart(
    values: Mapping[str, float],
    *,
    spreads: Mapping[str, float] | None = None,
    title: str = "",
    x_label: str = "",
    width: float = 640.0,
) -> Markup:
    """One horizontal bar a name, its value at the end; negative ones run to the left, in another colour.

    `spreads` are half the lengths of thin lines across the bars' ends, such as standard errors.

    >>> "0.25" in bar_chart({"pixels": 0.25, "bias": -0.1}, title="Importance")
    True
    """
    halves = {name: abs(float(v)) for name, v in (spreads or {}).items() if drawable(v)}
    known = {name: float(v) for name, v in values.items() if drawable(v)}
    ends = (v + sign * halves.get(name, 0.0) for name, v in known.items() for sign in (-1, 0, 1))
    low, high = padded([0.0, *ends])
    names = {name: fitted(name, 0.4 * width) for name in values}
    words = {name: number(float(v), 3) for name, v in values.items()}
    left = 28.0 + _widest(names.values())
    to_x = scale(low, high, left, max(width - 24.0 - _widest(words.values()), left + 20.0))
    parts = [heading(title, width)]
    for row, (name, value) in enumerate(values.items()):
        y = _HEAD + _BAR * row
        start, end = sorted((to_x(0.0), to_x(float(value) if drawable(value) else 0.0)))
        class_ = "c1" if value < 0 else "c0"
        parts.append(label(left - 8.0, y + 16, names[name], "ink", "end"))
        parts.append(filled("rect", class_, x=start, y=y + 3, width=end - start, height=_BAR - 6, rx=2))
        if half := halves.get(name, 0.0) if name in known else 0.0:
            start, end = to_x(known[name] - half), max(end, to_x(known[name] + half))
            parts.append(_whisker(start, to_x(known[name] + half), y + _BAR / 2))
        parts.append(label(end + 5, y + 16, words[name], "muted"))
    bottom = _HEAD + _BAR * len(values)
    parts.append(rule(to_x(0.0), _HEAD - 2, to_x(0.0), bottom + 2, "axis"))
    if x_label:
        parts.append(label(to_x(0.0), bottom + 20, x_label, "muted"))
    return document(width, bottom + (32.0 if x_label else 14.0), title or "bar chart", parts)


def _whisker(start: float, end: float, y: float) -> Markup:
    """A thin line from start to end, with a stop at each."""
    line = f"M{start:.1f} {y:.1f}H{end:.1f}M{start:.1f} {y - 3:.1f}v6M{end:.1f} {y - 3:.1f}v6"
    return element("path", d=line, class_="ink", stroke="currentColor", fill="none")


def histogram(
    values: Iterable[float],
    *,
    bins: int = 30,
    title: str = "",
    x_label: str = "",
    y_label: str = "count",
    width: float = 640.0,
    height: float = 300.0,
) -> Markup:
    """How often values fall into each of `bins` equal intervals; what is not finite is counted in words.

    >>> "1 not finite" in histogram([0.0, 1.0, 1.0, float("nan")], bins=2)
    True
    """
    if bins < 1:
        raise ConfigError(f"svg.histogram: bins={bins}; at least one is needed")
    given = [float(v) for v in values]
    known = [v for v in given if drawable(v)]
    low, high = padded(known)
    counts = [0] * bins
    for value in known:
        counts[min(int((value - low) / (high - low) * bins), bins - 1)] += 1
    y_ticks = [t for t in ticks(0.0, max(*counts, 1), round((height - 98.0) / 50)) if t == int(t)]
    left, right, top, bottom = 24.0 + _widest(map(number, y_ticks)), width - 24.0, 58.0, height - 40.0
    x, y = scale(low, high, left, right), scale(0.0, float(max(*counts, 1)), bottom, top)
    frame = Frame(left, right, top, bottom, x, y, ticks(low, high, round(width / 90)), y_ticks)
    parts = frame.draw(title, x_label, y_label)
    edges = [low + (high - low) * i / bins for i in range(bins + 1)]
    for start, end, count in zip(edges, edges[1:], counts, strict=False):
        tip = element("title", escape(f"{number(start)} to {number(end)}: {count:,}"))
        box = {"x": x(start) + 0.5, "y": y(count), "width": max(x(end) - x(start) - 1.0, 0.5)}
        parts.append(filled("rect", "c0", tip, **box, height=bottom - y(count)))
    if missing := len(given) - len(known):
        parts.append(label(right, 45.0, f"{missing:,} not finite", "c1", "end"))
    return document(width, height, title or "histogram", parts)


def heatmap(
    matrix: Sequence[Sequence[float]],
    row_labels: Sequence[object],
    column_labels: Sequence[object],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    confusion: bool = False,
    width: float = 520.0,
) -> Markup:
    """A matrix as coloured cells with their numbers: blue is positive, vermilion negative, strong is large.

    With `confusion=True` the diagonal (right) is blue and all else (mistakes) vermilion, each on a scale of
    its own, so that four mistakes are seen beside a thousand hits.

    >>> names = {"x_label": "predicted", "y_label": "true"}
    >>> "true 4, predicted 9: 12" in heatmap([[980, 12], [7, 960]], "49", "49", **names, confusion=True)
    True
    """
    if len(row_labels) != len(matrix) or any(len(row) != len(column_labels) for row in matrix):
        shape = f"{len(matrix)} × {max(map(len, matrix), default=0)} cells"
        given = f"{len(row_labels)} row and {len(column_labels)} column labels"
        raise ConfigError(f"svg.heatmap: {shape}, {given}; give one label for each row and each column")
    values = [[float(value) for value in row] for row in matrix]
    rows, columns = ([fitted(name, _WIDEST_NAME) for name in names] for names in (row_labels, column_labels))
    left = 26.0 + _widest(rows)
    side = max(min((width - left - 20.0) / max(len(columns), 1), 46.0), 2.0)
    slanted = _widest(columns) > side * _every(side)
    top = 84.0 + (0.64 * _widest(columns) if slanted else 0.0)
    parts = [
        heading(title, width),
        label(left, 62.0, x_label, "muted"),
        label(16.0, top - 8.0, y_label, "muted"),
        *_names(rows, columns, left, top, side, slanted),
    ]
    strongest = _strongest(values, confusion)
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            where = f"{y_label} {rows[i]}, {x_label} {columns[j]}"
            warm = value < 0 or (confusion and i != j)
            parts += _cell(left + j * side, top + i * side, side, value, strongest[warm], warm, where)
    right = left + len(columns) * side + (0.77 * _widest(columns[-1:]) - side / 2 if slanted else 0.0)
    right = max(right, min(width - 20.0, 20.0 + text_width(title, 15.0)))
    return document(right + 20.0, top + len(rows) * side + 18.0, title or "matrix", parts)


def image_grid(
    images: Sequence[bytes],
    captions: Sequence[str] = (),
    *,
    columns: int = 10,
    size: float = 56.0,
    title: str = "",
) -> Markup:
    """PNG files side by side, pixels kept sharp, each with its caption below (lines parted by a newline).

    >>> image_grid([b"\\x89PNG"], ["4 read as 9"]).count("data:image/png;base64,")
    1
    """
    if captions and len(captions) != len(images):
        raise ConfigError(
            f"svg.image_grid: {len(images)} images, {len(captions)} captions; give one for each, or none"
        )
    lines = [caption.split("\n") for caption in captions] or [[] for _ in images]
    gap = 8.0 if captions else 3.0
    step_x = max(size, _widest((line for text in lines for line in text), 10.5)) + gap
    step_y = size + gap + 13.0 * max(map(len, lines), default=0)
    columns = max(1, min(columns, len(images)))
    width = max(32.0 + columns * step_x, 180.0)
    top = _HEAD if title else 14.0
    parts = [heading(title, width)] if title else []
    for index, (image, text) in enumerate(zip(images, lines, strict=True)):
        x, y = 16.0 + index % columns * step_x + step_x / 2, top + index // columns * step_y
        source = f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}"
        parts.append(element("image", href=source, x=x - size / 2, y=y, width=size, height=size))
        parts += [label(x, y + size + 13.0 * n, s, "ink small", "middle") for n, s in enumerate(text, 1)]
    return document(width, top + math.ceil(len(images) / columns) * step_y + 10.0, title or "images", parts)


def _widest(words: Iterable[object], size: float = 12.0) -> float:
    return max((text_width(word, size) for word in words), default=0.0)


def _every(side: float) -> int:
    """Every n-th row and column is named, so that lines of text do not touch."""
    return math.ceil(15.0 / side)


def _names(
    rows: Sequence[str], columns: Sequence[str], left: float, top: float, side: float, slanted: bool
) -> list[Markup]:
    parts = [
        label(left - 8.0, top + (i + 0.5) * side + 4.0, rows[i], "ink", "end")
        for i in range(0, len(rows), _every(side))
    ]
    anchor = None if slanted else "middle"
    for j in range(0, len(columns), _every(side)):
        x, y = left + (j + 0.5) * side, top - 8.0
        parts += [label(x, y, columns[j], "ink", anchor, f"rotate(-40 {x:.1f} {y:.1f})" if slanted else None)]
    return parts


def _strongest(values: Sequence[Sequence[float]], confusion: bool) -> tuple[float, float]:
    """The largest size among blue cells and among vermilion ones; a common scale unless in confusion."""
    cool, warm = 0.0, 0.0
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            if drawable(value) and confusion and i != j:
                warm = max(warm, abs(value))
            elif drawable(value):
                cool = max(cool, abs(value))
    return (cool or 1.0, warm or 1.0) if confusion else (cool or 1.0, cool or 1.0)


def _cell(
    x: float, y: float, side: float, value: float, strongest: float, warm: bool, where: str
) -> list[Markup]:
    """A pale tile, a wash of colour as strong as the value's root (so that small ones show), the number."""
    strength = min(math.sqrt(abs(value) / strongest), 1.0) if drawable(value) else 0.0
    words = number(value, 3)
    edge = side - (1.0 if side > 8.0 else 0.0)
    box = {"x": x, "y": y, "width": edge, "height": edge}
    tip = element("title", escape(f"{where}: {words}".strip(" ,")))
    parts = [
        filled("rect", "grid", **box, fill_opacity=0.35),
        filled("rect", "c1" if warm else "c0", tip, **box, fill_opacity=0.92 * strength),
    ]
    if side >= _LEGIBLE and text_width(words, 10.5) < side + 2.0 and value != 0.0:
        ink = "paper" if strength > 0.6 else "ink"
        parts.append(label(x + side / 2, y + side / 2 + 4.0, words, f"{ink} small", "middle"))
    return parts
