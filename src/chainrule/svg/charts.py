"""Curves over a common axis: losses, errors, learning rates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from chainrule.svg.axis import Frame, drawable, log_ticks, padded, scale, tick_labels, ticks
from chainrule.svg.markup import (
    Markup,
    colour,
    document,
    element,
    escape,
    filled,
    fitted,
    label,
    rule,
    spread,
    text_width,
)

__all__ = ["line_chart"]

Point = tuple[float, float]
_TOP, _BOTTOM, _NAME_HEIGHT, _WIDEST_NAME = 58.0, 40.0, 15.0, 170.0
_SMALLEST = 1e-300  # on a log axis: below it ratios overflow
_DASHES = (None, "6 3", "2 3", "8 3 2 3")


def line_chart(
    series: Mapping[str, Iterable[Point]],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    log_y: bool = False,
    marks: Mapping[str, float] | None = None,
    rug: Iterable[float] = (),
    y_range: tuple[float, float] | None = None,
    x_words: Callable[[float], str] | None = None,
    width: float = 640.0,
    height: float = 360.0,
) -> Markup:
    """Curves, each named at its end; points that are not finite (on a log axis: not positive) are gaps.

    `marks` are named vertical lines, such as the epoch whose parameters were kept. `rug` are places of data,
    a short line each above the axis; those beyond the curves are left out. `y_range` is shown whole, also
    where the curves need less, so that several drawings share a scale; `x_words` writes a tick that is no
    plain number, such as a date. Long series are thinned to the lowest and highest value of each pixel
    column, so that no peak is lost and no file grows.

    >>> drawing = line_chart({"training": [(1, 0.9), (2, 0.4), (3, 0.2)]}, title="Loss", log_y=True)
    >>> drawing.startswith("<svg"), "training" in drawing
    (True, True)
    """
    curves = [(fitted(name, _WIDEST_NAME), _runs(points, log_y)) for name, points in series.items()]
    lines = {name: float(x) for name, x in (marks or {}).items() if drawable(x)}
    frame = _frame(curves, list(lines.values()), y_range or (), log_y, width, height)
    frame = replace(frame, x_words=x_words)
    parts = frame.draw(title, x_label, y_label)
    parts += _rug(frame, rug)
    for name, x in lines.items():
        parts.append(rule(frame.x(x), frame.top, frame.x(x), frame.bottom, "muted", "3 3"))
        parts.append(label(frame.x(x), frame.top - 5.0, name, "muted small", "middle"))
    for index, (name, runs) in enumerate(curves):
        parts += _curve(frame, index, name, runs)
    parts += _names(frame, curves)
    if not any(runs for _, runs in curves):
        middle = (frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2
        parts.append(label(*middle, "no finite values", "muted", "middle"))
    return document(width, height, title or "line chart", parts)


def _rug(frame: Frame, values: Iterable[float]) -> list[Markup]:
    """One path of short lines from the axis up."""
    places = [frame.x(float(v)) for v in values if drawable(v)]
    inside = sorted({f"{x:.1f}" for x in places if frame.left - 0.5 <= x <= frame.right + 0.5}, key=float)
    line = "".join(f"M{x} {frame.bottom - 9:.1f}v8" for x in inside)
    return (
        [element("path", d=line, class_="muted", stroke="currentColor", stroke_opacity=0.55)] if line else []
    )


_Curve = tuple[str, list[list[Point]]]  # name, stretches between gaps


def _runs(points: Iterable[Point], log_y: bool) -> list[list[Point]]:
    runs: list[list[Point]] = [[]]
    for x, y in points:
        if drawable(x) and drawable(y) and (y > _SMALLEST or not log_y):
            runs[-1].append((float(x), float(y)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _frame(
    curves: Sequence[_Curve],
    marks: Sequence[float],
    y_range: Sequence[float],
    log_y: bool,
    width: float,
    height: float,
) -> Frame:
    """Ranges, ticks and margins; the right margin holds the longest name."""
    xs = [x for _, runs in curves for run in runs for x, _ in run]
    ys = [*(y for _, runs in curves for run in runs for _, y in run), *y_range]
    x_low, x_high = padded([*xs, *marks])
    y_low, y_high = _log_range(ys) if log_y else padded(ys)
    top, bottom = _TOP + (14.0 if marks else 0.0), height - _BOTTOM
    rows = max(2, round((bottom - top) / 50))
    y_ticks = log_ticks(y_low, y_high, rows) if log_y else ticks(y_low, y_high, rows)
    left = 24.0 + max((text_width(words) for words in tick_labels(y_ticks)), default=0.0)
    right = width - 34.0 - max((text_width(name) for name, _ in curves), default=0.0)
    right = max(right, left + 0.4 * width)
    x_ticks = ticks(x_low, x_high, max(2, round((right - left) / 90)))
    if xs and all(x == int(x) for x in xs):
        x_ticks = [x for x in x_ticks if x == int(x)]  # epochs and steps have no halves
    air = 0.0 if log_y else 0.04 * (y_high - y_low)
    y = scale(y_low - air, y_high + air, bottom, top, log_y)
    return Frame(left, right, top, bottom, scale(x_low, x_high, left, right), y, x_ticks, y_ticks)


def _log_range(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest with a little air, as ratios; also where all values are one."""
    if not values:
        return 0.1, 1.0
    low, high = min(values), max(values)
    factor = min(max((high / low) ** 0.04, 1.01), 10.0) if high / low > 1.001 else 1.25
    return low / factor, high * factor


def _curve(frame: Frame, index: int, name: str, runs: Sequence[Sequence[Point]]) -> list[Markup]:
    """One path for the whole series; dots where points are few, or alone between gaps."""
    columns = max(1, round(frame.right - frame.left))
    paths = [[(frame.x(x), frame.y(y)) for x, y in _thinned(run, columns)] for run in runs]
    line = " ".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in path) for path in paths if len(path) > 1)
    parts = [_stroke(line, index)] if line else []
    few = sum(map(len, runs)) <= columns / 12
    for run, path in zip(runs, paths, strict=True):
        for (u, v), (x, y) in zip(run, path, strict=True) if few or len(run) == 1 else ():
            tip = element("title", escape(f"{name}: {v:.6g} at {u:.6g}"))
            parts.append(filled("circle", colour(index), tip, cx=x, cy=y, r=2.5))
    return parts


def _stroke(path: str, index: int) -> Markup:
    line = {"stroke": "currentColor", "stroke_width": 2, "stroke_linejoin": "round"}
    dash = _DASHES[index // 4 % len(_DASHES)]
    return element("path", d=path, class_=colour(index), fill="none", stroke_dasharray=dash, **line)


def _thinned(run: Sequence[Point], columns: int) -> Sequence[Point]:
    """At most four points a column: first, lowest, highest, last, in their order."""
    if len(run) <= 4 * columns:
        return run
    kept: list[Point] = []
    for column in range(columns):
        part = run[len(run) * column // columns : len(run) * (column + 1) // columns]
        by_height = sorted(range(len(part)), key=lambda i: part[i][1])
        kept += [part[i] for i in sorted({0, by_height[0], by_height[-1], len(part) - 1})]
    return kept


def _names(frame: Frame, curves: Sequence[_Curve]) -> list[Markup]:
    """Each name beside its curve's last point, moved just enough not to touch its neighbours."""
    ends = [(*runs[-1][-1], name, colour(i)) for i, (name, runs) in enumerate(curves) if runs and name]
    ends.sort(key=lambda end: frame.y(end[1]))
    places = spread([frame.y(y) for _, y, *_ in ends], [_NAME_HEIGHT] * len(ends[1:]))
    parts: list[Markup] = []
    for (x, y, name, class_), place in zip(ends, places, strict=True):
        start, end = frame.x(x) + 4.0, frame.right + 4.0
        path = f"M{start:.1f} {frame.y(y):.1f}L{end:.1f} {frame.y(y):.1f}L{end + 10:.1f} {place:.1f}"
        leader = {"fill": "none", "stroke": "currentColor", "stroke_dasharray": "1 2"}
        parts.append(element("path", d=path, class_=class_, **leader))
        parts.append(label(end + 14.0, place + 4.0, name, class_))
    return parts
