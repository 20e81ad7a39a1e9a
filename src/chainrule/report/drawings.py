"""The pictures of a report: curves, weights as images, the confusion matrix, the worst mistakes."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import svg
from chainrule.png import encode_png, tile
from chainrule.report.findings import Findings
from chainrule.svg.markup import Markup, document, element, fitted, heading, label

__all__ = [
    "HEIGHT",
    "WIDTH",
    "class_errors",
    "confusion",
    "error_curves",
    "first_weights",
    "loss_curves",
    "mistakes",
    "rate_curve",
    "scale_bar",
    "weight_mosaic",
    "weights_drawing",
]

Array = npt.NDArray[Any]
Points = list[tuple[float, float]]
Rows = list[dict[str, float]]

WIDTH, HEIGHT = 478.0, 300.0  # two drawings side by side on a wide page, one readable on a telephone

# Both are seen on white and on black paper; strength is opacity, so that zero is the paper itself.
_NEGATIVE, _POSITIVE = (0, 114, 178), (222, 98, 10)
_LEVELS = 24  # of opacity: enough for the eye, few enough for a small file
_LARGEST_PIXEL = 4  # of a weight, on a wide page
_QUANTILE = 0.998
_WIDEST_NAME = 60.0  # of a class, in the caption of an image


# ------------------------------------------------------------------ curves


def loss_curves(
    rows: Rows, steps: Points, findings: Findings, *, width: float = WIDTH, height: float = HEIGHT
) -> Markup:
    """The loss over epochs: in training, and on validation rows or, without any, on unseen ones."""
    found = {
        "training": steps or _column(rows, "loss"),
        **_unseen(rows, "loss", findings, findings.cross_entropy),
    }
    return svg.line_chart(found, title="Loss", x_label="epoch", log_y=True, width=width, height=height)


def error_curves(rows: Rows, findings: Findings, *, width: float = WIDTH, height: float = HEIGHT) -> Markup:
    """The share of rows classified wrongly over epochs, in per cent."""
    accuracy = {
        "training": _column(rows, "accuracy"),
        **_unseen(rows, "accuracy", findings, 1 - findings.error),
    }
    found = {name: [(x, 100 * (1 - y)) for x, y in points] for name, points in accuracy.items()}
    title = "Error: rows classified wrongly, %"
    return svg.line_chart(found, title=title, x_label="epoch", log_y=True, width=width, height=height)


def _column(rows: Rows, name: str) -> Points:
    """(epochs done, value) of one column of the history; empty where it was not recorded."""
    return [(row["epoch"] + 1, row[name]) for row in rows if name in row]


def _unseen(rows: Rows, name: str, findings: Findings, value: float) -> dict[str, Points]:
    """Validation after every epoch, else one point at the end."""
    if rows and f"val_{name}" in rows[0]:
        return {"validation": _column(rows, f"val_{name}")}
    return {findings.part: [(len(rows), value)]}


def rate_curve(rows: Rows, *, width: float = WIDTH, height: float = HEIGHT) -> Markup:
    """The learning rate at the end of each epoch."""
    points = {"": _column(rows, "learning_rate")}
    return svg.line_chart(points, title="Learning rate", x_label="epoch", width=width, height=height)


# ------------------------------------------------------------------ weights


def first_weights(net: Any, image_shape: tuple[int, int] | None) -> tuple[str, Array] | None:
    """Name and value (pixels, units) of the first weights that read whole images; None if there are none."""
    if image_shape is None:
        return None
    pixels = math.prod(image_shape)
    for name, parameter in net.model.parameters.items():
        if (
            parameter.role == "weight"
            and len(parameter.spec.shape) == 2
            and parameter.spec.shape[0] == pixels
        ):
            return name, net[name]
    return None


def weight_mosaic(W: Array, image_shape: tuple[int, int]) -> tuple[Array, float]:
    """Every column of W (pixels, units) as an image, in one RGBA picture; and the weight of full colour.

    Positive weights are vermilion, negative ones blue, both the more opaque the larger, on one scale for all
    units; the 0.2 % beyond its end are drawn as the end.
    """
    limit = float(np.quantile(np.abs(W), _QUANTILE)) or 1.0
    images = W.T.reshape(-1, *image_shape) / limit
    return _tinted(tile(images, pad=1)), limit


def _tinted(values: Array) -> npt.NDArray[np.uint8]:
    """Values in [−1, 1] → RGBA: the sign is the hue, the size the opacity."""
    strength = np.rint(np.minimum(np.abs(values), 1) * _LEVELS) * (255 / _LEVELS)
    hue = np.where((values >= 0)[..., None], np.array(_POSITIVE, np.uint8), np.array(_NEGATIVE, np.uint8))
    hue[strength == 0] = 0  # what cannot be seen shall cost nothing
    return np.concatenate([hue, strength[..., None]], axis=-1).astype(np.uint8)


def _image(pixels: Array, x: float, y: float, width: float, height: float, **attributes: str) -> Markup:
    """A PNG picture inside a drawing."""
    source = f"data:image/png;base64,{base64.b64encode(encode_png(pixels)).decode('ascii')}"
    return element("image", href=source, x=x, y=y, width=width, height=height, **attributes)


def weights_drawing(
    W: Array, image_shape: tuple[int, int], *, widest: float, title: str = ""
) -> tuple[Markup, float]:
    """The mosaic, each weight a whole number of pixels wide, and the weight that has full colour.

    The pixels are repeated in the file, so that a narrow page may blend them: dropping some would drop lines.
    """
    mosaic, limit = weight_mosaic(W, image_shape)
    times = min(max(1, int(widest // mosaic.shape[1])), _LARGEST_PIXEL)
    pixels = mosaic.repeat(times, 0).repeat(times, 1)
    height, width = pixels.shape[:2]
    top = 44.0 if title else 12.0
    parts = [heading(title, width + 24.0)] if title else []
    parts.append(_image(pixels, 12.0, top, width, height, style="image-rendering:auto"))
    return document(width + 24.0, top + height + 12.0, title or "first-layer weights as images", parts), limit


def scale_bar(limit: float) -> Markup:
    """From −limit through 0 to +limit in the colours of :func:`weight_mosaic`."""
    ramp = _tinted(np.linspace(-1, 1, 2 * _LEVELS + 1)[None])
    parts = [
        _image(ramp, 70.0, 14.0, 160.0, 14.0, preserveAspectRatio="none"),
        label(62.0, 25.5, svg.number(-limit, 2), "muted", "end"),
        label(150.0, 43.0, "0", "muted", "middle"),
        label(238.0, 25.5, f"+{svg.number(limit, 2)}", "muted"),
    ]
    return document(300.0, 52.0, "scale of the weights' colours", parts)


# ------------------------------------------------------------------ right and wrong


def confusion(findings: Findings, *, width: float = WIDTH) -> Markup:
    """How often each class was taken for each other."""
    names = {"x_label": "predicted", "y_label": "true", "title": "Confusion matrix"}
    counts = findings.confusion.tolist()
    return svg.heatmap(counts, findings.classes, findings.classes, confusion=True, width=width, **names)


def class_errors(findings: Findings, *, width: float = WIDTH) -> Markup:
    """Each class's share of mistakes, in per cent."""
    shares = dict(zip(findings.classes, (100 * findings.class_errors).tolist(), strict=True))
    return svg.bar_chart(shares, title="Error by class, %", width=width)


def mistakes(
    findings: Findings, first: int, count: int, *, columns: int = 5, title: str = ""
) -> Markup | None:
    """The worst mistakes as images, what they are and what they were taken for; None if there are none."""
    shape = findings.image_shape
    found = findings.worst(first + count)[first:]
    if shape is None or not found:
        return None
    images = [encode_png(_pixels(findings.x[m.row], shape)) for m in found]
    names = tuple(fitted(name, _WIDEST_NAME, 10.5) for name in findings.classes)
    captions = [m.describe(names) for m in found]
    return svg.image_grid(images, captions, columns=columns, size=64.0, title=title)


def _pixels(row: Array, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """One row as a grey image; what is not uint8 is stretched between its lowest and highest value."""
    image = row.reshape(shape)
    if image.dtype == np.uint8:
        return image
    low, high = float(image.min()), float(image.max())
    return np.rint((image - low) * (255 / ((high - low) or 1))).astype(np.uint8)
