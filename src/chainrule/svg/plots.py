"""Points and small bars: scatter plots, reliability diagrams, histograms the size of a word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chainrule.svg.axis import Frame, drawable, number, padded, scale, tick_labels, ticks
from chainrule.svg.markup import Markup, document, element, escape, filled, label, text_width

__all__ = ["reliability_chart", "scatter", "small_bars"]

Point = tuple[float, float]
_TOP, _BOTTOM = 58.0, 40.0


def scatter(
    points: Iterable[Point],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    line: str = "",
    width: float = 640.0,
    height: float = 360.0,
) -> Markup:
    """Points, half transparent, so that where many lie is seen; points that are not finite are left out.

    line    "diagonal" draws y = x, and both axes show the same range; "zero" draws y = 0

    >>> scatter([(1.0, 1.1), (2.0, 1.9)], line="diagonal").count("h0")
    2
    """
    known = [(float(x), float(y)) for x, y in points if drawable(x) and drawable(y)]
    xs, ys = [x for x, _ in known], [y for _, y in known]
    if line == "diagonal":
        xs = ys = [*xs, *ys]
    frame = _frame(padded(xs), padded([*ys, 0.0] if line == "zero" else ys), width, height)
    parts = frame.draw(title, x_label, y_label)
    dots = "".join(f"M{frame.x(x):.1f} {frame.y(y):.1f}h0" for x, y in known)
    round_ends = {"stroke": "currentColor", "stroke_linecap": "round", "fill": "none"}
    opacity = 0.7 if len(known) < 200 else 0.35
    if dots:
        parts.append(
            element("path", d=dots, class_="c0", stroke_width=5, stroke_opacity=opacity, **round_ends)
        )
    else:
        middle = (frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2
        parts.append(label(*middle, "no finite values", "muted", "middle"))
    if line:
        low, high = padded(xs)
        ends = (low, high) if line == "diagonal" else (0.0, 0.0)
        parts.append(_line(frame, (low, ends[0]), (high, ends[1])))
    return document(width, height, title or "scatter plot", parts)


def reliability_chart(
    bins: Sequence[tuple[float, float, float, int]],
    *,
    title: str = "",
    x_label: str = "predicted",
    y_label: str = "observed",
    width: float = 640.0,
    height: float = 360.0,
) -> Markup:
    """What was said against what happened, both between 0 and 1; on the dashed line they agree.

    bins    (said, happened, standard error, rows); a vertical line spans two standard errors either way

    >>> "of 40 rows" in reliability_chart([(0.1, 0.12, 0.05, 40), (0.9, 0.8, 0.06, 40)])
    True
    """
    frame = _frame((0.0, 1.0), (0.0, 1.0), width, height)
    parts = [*frame.draw(title, x_label, y_label), _line(frame, (0.0, 0.0), (1.0, 1.0))]
    shown = [b for b in bins if drawable(b[0]) and drawable(b[1])]
    path = "L".join(f"{frame.x(said):.1f} {frame.y(found):.1f}" for said, found, *_ in shown)
    if len(shown) > 1:
        parts.append(
            element("path", d=f"M{path}", class_="c0", stroke="currentColor", stroke_width=2, fill="none")
        )
    for said, found, error, rows in shown:
        low, high = (min(max(found + sign * 2 * error, 0.0), 1.0) for sign in (-1, 1))
        x, tip = frame.x(said), f"said {number(said, 3)}, found {number(found, 3)} of {rows:,} rows"
        upright = f"M{x:.1f} {frame.y(low):.1f}V{frame.y(high):.1f}"
        parts.append(element("path", d=upright, class_="c0", stroke="currentColor", stroke_opacity=0.55))
        parts.append(filled("circle", "c0", element("title", escape(tip)), cx=x, cy=frame.y(found), r=3.5))
    return document(width, height, title or "reliability diagram", parts)


def small_bars(
    heights: Sequence[float],
    *,
    name: str = "",
    tips: Sequence[str] = (),
    width: float = 132.0,
    height: float = 30.0,
) -> Markup:
    """Upright bars without axes, for a cell of a table; only inside a page, which has the colours.

    >>> small_bars([1.0, 3.0, 2.0]).count("<rect")
    3
    """
    known = [max(float(h), 0.0) if drawable(h) else 0.0 for h in heights]
    highest, step = max(known, default=0.0) or 1.0, width / max(len(known), 1)
    gap = 1.0 if step > 3.0 else 0.0
    parts = [element("title", escape(name or "distribution"))]
    for i, value in enumerate(known):
        tall = max(value / highest * (height - 1.0), 0.75 if value else 0.0)
        tip = (element("title", escape(tips[i])),) if i < len(tips) else ()
        box = {"x": i * step, "y": height - tall, "width": max(step - gap, 0.5), "height": tall}
        parts.append(filled("rect", "c0", *tip, **box))
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        class_="cr",
        role="img",
    )


def _frame(x: tuple[float, float], y: tuple[float, float], width: float, height: float) -> Frame:
    """Ranges with a little air around them, and their ticks."""
    top, bottom = _TOP, height - _BOTTOM
    y_ticks = ticks(*y, max(2, round((bottom - top) / 50)))
    left = 24.0 + max((text_width(words) for words in tick_labels(y_ticks)), default=0.0)
    right = width - 24.0
    x_air, y_air = 0.02 * (x[1] - x[0]), 0.04 * (y[1] - y[0])
    x_ticks = ticks(*x, max(2, round((right - left) / 90)))
    return Frame(
        left,
        right,
        top,
        bottom,
        scale(x[0] - x_air, x[1] + x_air, left, right),
        scale(y[0] - y_air, y[1] + y_air, bottom, top),
        x_ticks,
        y_ticks,
    )


def _line(frame: Frame, start: Point, end: Point) -> Markup:
    """A dashed line that data are compared with."""
    path = f"M{frame.x(start[0]):.1f} {frame.y(start[1]):.1f}L{frame.x(end[0]):.1f} {frame.y(end[1]):.1f}"
    return element("path", d=path, class_="c1", stroke="currentColor", stroke_dasharray="5 4", fill="none")
