"""One picture of a run: curves, first-layer weights, worst mistakes, as one SVG file that stands alone."""

from __future__ import annotations

from typing import Any

from chainrule.report import drawings
from chainrule.report.findings import Findings
from chainrule.svg.markup import Markup, document

__all__ = ["picture"]

_GAP = 14.0
_LEFT, _HEIGHT = 494.0, 239.0  # of a chart: two are as high as the mosaic beside them
_MOSAIC = 440.0
_MISTAKES, _WIDEST = 13, 968.0


def picture(net: Any, findings: Findings, steps: list[tuple[float, float]], *, title: str) -> Markup:
    """What a run looks like, for a README or a slide: one SVG document in light and dark, pictures inside.

    steps    the points of a :class:`~chainrule.report.LossCurve`
    title    its name for those who cannot see it
    """
    rows, size = net.history.rows, {"width": _LEFT, "height": _HEIGHT}
    left = [
        drawings.loss_curves(rows, steps, findings, **size),
        drawings.error_curves(rows, findings, **size),
    ]
    right = []
    found = drawings.first_weights(net, findings.image_shape)
    if found is not None and findings.image_shape is not None:
        name = f"{found[1].shape[1]} first-layer units as images"
        right.append(drawings.weights_drawing(found[1], findings.image_shape, widest=_MOSAIC, title=name)[0])
    return _composed(title, left, right, _mistakes(findings))


def _mistakes(findings: Findings) -> list[Markup]:
    """One row of the worst mistakes, as many as the width allows."""
    for count in range(_MISTAKES, 0, -1):
        drawing = drawings.mistakes(findings, 0, count, columns=count, title="Worst mistakes")
        if drawing is not None and _size(drawing)[0] <= _WIDEST:
            return [drawing]
    return []


def _composed(title: str, left: list[Markup], right: list[Markup], below: list[Markup]) -> Markup:
    """Two columns, and what spans both."""
    parts: list[str] = []
    heights = [_stacked(parts, left, 0.0), _stacked(parts, right, _LEFT + _GAP)]
    bottom = max(heights)
    for drawing in below:
        parts.append(_placed(drawing, 0.0, bottom))
        bottom += _size(drawing)[1] + _GAP
    width = max([_LEFT, *(_LEFT + _GAP + _size(d)[0] for d in right), *(_size(d)[0] for d in below)])
    return document(width, bottom - _GAP, title, parts)


def _stacked(parts: list[str], drawings: list[Markup], x: float) -> float:
    """Drawings below each other; where the next would begin."""
    y = 0.0
    for drawing in drawings:
        parts.append(_placed(drawing, x, y))
        y += _size(drawing)[1] + _GAP
    return y


def _placed(drawing: Markup, x: float, y: float) -> str:
    """A whole drawing inside another, at a place."""
    return drawing.replace("<svg ", f'<svg x="{x:g}" y="{y:g}" ', 1)


def _size(drawing: Markup) -> tuple[float, float]:
    """(width, height) in pixels, from the drawing's own viewBox."""
    _, _, width, height = drawing.split('viewBox="', 1)[1].split('"', 1)[0].split()
    return float(width), float(height)
