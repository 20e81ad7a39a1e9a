"""A small drawing room: charts, computational graphs and one-page reports as text, standard library only.

Every function is pure and returns `Markup`: SVG (or HTML) that stands alone, loads nothing, reads well in
light and dark, and keeps its meaning without colour. Text from outside is escaped here and nowhere else.
"""

from chainrule.svg.axis import log_ticks, number, tick_labels, ticks
from chainrule.svg.charts import line_chart
from chainrule.svg.circuit import Edge, Node, graph_drawing
from chainrule.svg.markup import Markup, escape
from chainrule.svg.page import facts, notes, page, table
from chainrule.svg.plots import reliability_chart, scatter, small_bars
from chainrule.svg.tiles import bar_chart, heatmap, histogram, image_grid

__all__ = [
    "Edge",
    "Markup",
    "Node",
    "bar_chart",
    "escape",
    "facts",
    "graph_drawing",
    "heatmap",
    "histogram",
    "image_grid",
    "line_chart",
    "log_ticks",
    "notes",
    "number",
    "page",
    "reliability_chart",
    "scatter",
    "small_bars",
    "table",
    "tick_labels",
    "ticks",
]
