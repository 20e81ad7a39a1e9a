"""Elements, colours and escaping: what every drawing is made of."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from itertools import accumulate

__all__ = [
    "COLOURS",
    "FONTS",
    "STYLE",
    "Markup",
    "colour",
    "document",
    "element",
    "escape",
    "filled",
    "fitted",
    "heading",
    "label",
    "rule",
    "spread",
    "text_width",
]

# After Okabe & Ito (hues distinct to colour-blind eyes), darkened until words in them can be read on white
# (contrast 4.5), each with a lighter sister for dark paper.
COLOURS = (
    ("#0072b2", "#56b4e9"),  # blue
    ("#c25400", "#ff8c42"),  # vermilion
    ("#007f5c", "#2bc299"),  # green
    ("#b04a84", "#e19ac0"),  # purple
    ("#946300", "#f0c14b"),  # ochre
    ("#5c6370", "#c3c8d0"),  # grey
)

# class: (light, dark). A class sets `color`, shapes ask for currentColor: one for fills, lines and words.
_INKS = {
    "ink": ("#1c1e21", "#e8eaed"),
    "muted": ("#5c6370", "#a4abb6"),
    "axis": ("#9aa1ab", "#6b7280"),
    "grid": ("#e6e8ec", "#2c313a"),
    "paper": ("#ffffff", "#16181d"),
    **{f"c{i}": pair for i, pair in enumerate(COLOURS)},
}
# What XML 1.0 forbids, escaped or not; and what would turn the direction of the words that follow.
_UNDRAWABLE = re.compile("[^\t\n\r -\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_SHAPES = frozenset({"circle", "image", "path", "rect"})  # may close themselves; in HTML no other element may
_NARROW, _WIDE = frozenset("fijlrtI.,:;'|!()[]{}/ \u2212-·"), frozenset("mwMW@%—…<>=+")


class Markup(str):
    """Text that already is SVG or HTML, made by this room; any other string is escaped before it is drawn."""

    __slots__ = ()


def escape(text: object) -> str:
    """Any text as XML character data or attribute value; what XML cannot hold, and what would turn
    the direction of the words that follow, becomes U+FFFD.

    >>> escape('<b a="1">&\\x00')
    '&lt;b a=&quot;1&quot;&gt;&amp;�'
    """
    return html.escape(_UNDRAWABLE.sub("\ufffd", str(text)), quote=True)


def element(tag: str, *children: str, **attributes: object) -> Markup:
    """One element. Children are markup already; attribute values are escaped, `_` in their names means `-`.

    >>> element("path", d="M0 0", stroke_width=1.5, class_="c0")
    '<path d="M0 0" stroke-width="1.5" class="c0"/>'
    """
    pairs = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if not children and tag in _SHAPES:
        return Markup(f"<{tag}{pairs}/>")
    return Markup(f"<{tag}{pairs}>{''.join(children)}</{tag}>")


def filled(tag: str, class_: str, *children: str, **attributes: object) -> Markup:
    """A shape in the colour of its class."""
    return element(tag, *children, class_=class_, fill="currentColor", **attributes)


def label(
    x: float,
    y: float,
    text: object,
    class_: str = "ink",
    anchor: str | None = None,
    transform: str | None = None,
) -> Markup:
    """Words at a point; `anchor` is SVG's text-anchor (start when None, middle, end)."""
    return element("text", escape(text), x=x, y=y, class_=class_, text_anchor=anchor, transform=transform)


def heading(title: str, width: float) -> Markup:
    """The title of a drawing that is `width` pixels wide."""
    return label(16.0, 26.0, fitted(title, width - 32.0, 15.0), "ink title")


def rule(x1: float, y1: float, x2: float, y2: float, class_: str, dash: str | None = None) -> Markup:
    """A hair line from (x1, y1) to (x2, y2)."""
    return element(
        "path",
        d=f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}",
        class_=class_,
        stroke="currentColor",
        stroke_dasharray=dash,
    )


def document(width: float, height: float, title: str, children: Iterable[str]) -> Markup:
    """A whole drawing on its own paper, `title` being its name for those who cannot see it."""
    paper = filled("rect", "paper", width=width, height=height, rx=6)
    return element(
        "svg",
        element("title", escape(title)),
        element("style", STYLE),
        paper,
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        width=width,
        height=height,
        class_="cr",
        role="img",
    )


def colour(index: int) -> str:
    """The class of the index-th series; they repeat after the last."""
    return f"c{index % len(COLOURS)}"


def text_width(text: object, size: float = 12.0) -> float:
    """About how many pixels a sans-serif line takes; a little generous, so that what was reserved suffices.

    >>> text_width("epoch") < text_width("validation loss")
    True
    """
    return size * sum(0.34 if c in _NARROW else 0.9 if c in _WIDE or c > "\u2e80" else 0.6 for c in str(text))


def fitted(text: object, width: float, size: float = 12.0) -> str:
    """The text, cut with an ellipsis where it would be wider than `width` pixels.

    >>> fitted("validation loss", 200.0), fitted("validation loss", 60.0)
    ('validation loss', 'validati…')
    """
    words = str(text)
    if text_width(words, size) <= width:
        return words
    while words and text_width(words + "…", size) > width:
        words = words[:-1]
    return words + "…"


def spread(wanted: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The positions nearest to `wanted` (least squares), in the same order, at least `gaps` apart.

    With the gaps taken out this is isotonic regression: neighbours in the wrong order are pooled.

    >>> spread([0.0, 0.0, 50.0], [10.0, 10.0])
    [-5.0, 5.0, 50.0]
    """
    offsets = list(accumulate(gaps, initial=0.0))[: len(wanted)]
    pools: list[tuple[float, int]] = []  # (mean, members)
    for position, offset in zip(wanted, offsets, strict=True):
        mean, count = position - offset, 1
        while pools and pools[-1][0] > mean:
            other, members = pools.pop()
            mean, count = (mean * count + other * members) / (count + members), count + members
        pools.append((mean, count))
    means = [mean for mean, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _value(value: object) -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"svg: a coordinate is {value}; leave non-finite points out before drawing")
        text = f"{value:.2f}".rstrip("0").rstrip(".")
        return "0" if text == "-0" else text
    return escape(value)


def _inks(side: int) -> str:
    return "".join(f".cr .{name}{{color:{pair[side]}}}" for name, pair in _INKS.items())


STYLE = (
    f".cr{{font:12px {FONTS}}}"
    ".cr text{fill:currentColor;white-space:pre}.cr .title{font-size:15px;font-weight:600}"
    ".cr .small{font-size:10.5px}.cr image{image-rendering:pixelated}"
    f"{_inks(0)}@media screen and (prefers-color-scheme:dark){{{_inks(1)}}}"
)
