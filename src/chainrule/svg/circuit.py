"""Computational graphs as textbooks draw them: left to right, the value above each wire, the gradient below.

The layout is Sugiyama's: layers by longest path, waypoints where a wire crosses a layer, order by
barycentres, then places by least squares. Every wire has a waypoint of its own, where its two numbers stand,
so these never collide.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from chainrule.errors import ConfigError, nearest
from chainrule.svg.markup import Markup, document, element, heading, label, spread, text_width

__all__ = ["KINDS", "Edge", "Node", "graph_drawing"]

KINDS = {"input": "c0", "parameter": "c4", "operation": "ink", "constant": "muted", "output": "c3"}
"""Kind of node → colour class."""

_VALUE, _GRADIENT = "c2", "c1"
_LINE, _ROW_GAP, _BEND, _MARGIN = 16.0, 14.0, 22.0, 20.0
_SWEEPS = 24


@dataclass(frozen=True)
class Node:
    """A box (or circle, for a short operation such as ×) with lines of text; `kind` is a key of `KINDS`."""

    id: str
    lines: tuple[str, ...]
    kind: str = "operation"


@dataclass(frozen=True)
class Edge:
    """A wire from node to node with a label above (its value) and below (its gradient)."""

    source: str
    target: str
    above: str = ""
    below: str = ""


@dataclass
class _Place:
    """Where a node, or a waypoint of an edge, stands: its layer, its row in it, its centre and its size."""

    layer: int
    width: float
    height: float
    node: Node | None = None
    edge: Edge | None = None
    x: float = 0.0
    y: float = 0.0


_Neighbours = Mapping[int, Sequence[_Place]]


def graph_drawing(
    nodes: Iterable[Node],
    edges: Iterable[Edge],
    *,
    title: str = "",
    legend: tuple[str, str] = ("value", "gradient"),
) -> Markup:
    """A directed acyclic graph, sources on the left; `legend` names what stands above and below the wires.

    >>> x, y = Node("x", ("x",), "input"), Node("y", ("y",), "input")
    >>> wires = [Edge("x", "q", "−2", "−4"), Edge("y", "q", "5", "−4")]
    >>> drawing = graph_drawing([x, y, Node("q", ("+",))], wires)
    >>> all(f">{words}<" in drawing for words in ("x", "y", "+", "−2", "5", "−4"))
    True
    """
    known = {node.id: node for node in nodes}
    wires = list(edges)
    layers = _layers(known, wires)
    places, chains = _places(known, wires, layers)
    rows = _ordered(places, chains)
    _set_x(rows)
    _set_y(rows, chains)
    return _draw(places, chains, title, legend)


# ------------------------------------------------------------------ layout


def _layers(nodes: dict[str, Node], edges: Sequence[Edge]) -> dict[str, int]:
    """The longest way from a source, in even numbers (odd: waypoints); sources stand beside their users."""
    for node in nodes.values():
        if node.kind not in KINDS:
            raise ConfigError(
                f"svg.graph_drawing: node {node.id!r} is of kind {node.kind!r}; {nearest(node.kind, KINDS)}"
            )
    inputs: dict[str, list[str]] = {name: [] for name in nodes}
    users: dict[str, list[str]] = {name: [] for name in nodes}
    for edge in edges:
        for end in (edge.source, edge.target):
            if end not in nodes:
                raise ConfigError(f"svg.graph_drawing: an edge names node {end!r}; {nearest(end, nodes)}")
        inputs[edge.target].append(edge.source)
        users[edge.source].append(edge.target)
    waiting = {name: len(of) for name, of in inputs.items()}
    ready = [name for name, count in waiting.items() if not count]
    layer = dict.fromkeys(ready, 0)
    for name in ready:  # grows while it is walked: Kahn's order
        for user in users[name]:
            layer[user] = max(layer.get(user, 0), layer[name] + 2)
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    if len(ready) < len(nodes):
        stuck = sorted(set(nodes) - set(ready))
        raise ConfigError(
            f"svg.graph_drawing: the edges run in a circle through {', '.join(stuck[:5])}; a DAG is needed"
        )
    for name in nodes:
        if not inputs[name] and users[name]:
            layer[name] = min(layer[user] for user in users[name]) - 2
    return layer


def _places(
    nodes: dict[str, Node], edges: Sequence[Edge], layers: dict[str, int]
) -> tuple[list[_Place], list[list[_Place]]]:
    """All places, and each edge's chain: source, a waypoint in every layer between, target."""
    of = {name: _Place(layers[name], *_size(node), node=node) for name, node in nodes.items()}
    chains = []
    for edge in edges:
        source, target = of[edge.source], of[edge.target]
        words = max(text_width(edge.above), text_width(edge.below))
        labelled = _Place(
            source.layer + 1, words + 6 if words else 0.0, 2 * _LINE + 2 if words else 0.0, edge=edge
        )
        bends = [_Place(layer, 0.0, 0.0, edge=edge) for layer in range(source.layer + 2, target.layer)]
        chains.append([source, labelled, *bends, target])
    waypoints = [place for chain in chains for place in chain[1:-1]]
    return [*of.values(), *waypoints], chains


def _size(node: Node) -> tuple[float, float]:
    height = 12.0 + _LINE * len(node.lines)
    if _is_circle(node):
        return 30.0, 30.0
    return max(18.0 + max((text_width(line) for line in node.lines), default=0.0), height), height


def _is_circle(node: Node) -> bool:
    return node.kind == "operation" and len(node.lines) == 1 and len(node.lines[0]) <= 2


def _ordered(places: Sequence[_Place], chains: Sequence[Sequence[_Place]]) -> list[list[_Place]]:
    """Rows per layer with few crossings: sweep to and fro, sort, swap; keep the best."""
    rows: list[list[_Place]] = [[] for _ in range(max((p.layer for p in places), default=-1) + 1)]
    for place in places:
        rows[place.layer].append(place)
    before, after = _neighbours(chains)
    best, fewest = [list(row) for row in rows], _crossings(rows, after)
    for sweep in range(_SWEEPS):
        for row in reversed(rows) if sweep % 2 else rows:
            _sort(row, after if sweep % 2 else before, rows)
        for row in rows:
            _swap(row, (before, after), rows, even_ties=sweep % 4 >= 2)
        crossings = _crossings(rows, after)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _neighbours(chains: Sequence[Sequence[_Place]]) -> tuple[_Neighbours, _Neighbours]:
    """For each place (by identity) what stands before and after it along the wires."""
    before: defaultdict[int, list[_Place]] = defaultdict(list)
    after: defaultdict[int, list[_Place]] = defaultdict(list)
    for chain in chains:
        for left, right in pairwise(chain):
            after[id(left)].append(right)
            before[id(right)].append(left)
    return before, after


def _sort(row: list[_Place], neighbours: _Neighbours, rows: Sequence[Sequence[_Place]]) -> None:
    """By the neighbours' mean rank (as a share of their row); a place without any keeps its own."""
    share = {id(place): (i + 0.5) / len(r) for r in rows for i, place in enumerate(r)}
    wanted = {}
    for place in row:
        near = neighbours.get(id(place)) or [place]
        wanted[id(place)] = sum(share[id(n)] for n in near) / len(near)
    row.sort(key=lambda place: wanted[id(place)])


def _swap(
    row: list[_Place], sides: tuple[_Neighbours, ...], rows: Sequence[Sequence[_Place]], even_ties: bool
) -> None:
    """Exchange two in a row if that crosses fewer wires; where ties are to be broken, also if as many."""
    rank = {id(place): i for r in rows for i, place in enumerate(r)}

    def crossed(upper: _Place, lower: _Place) -> int:
        near = ((side.get(id(upper), ()), side.get(id(lower), ())) for side in sides)
        return sum(rank[id(a)] > rank[id(b)] for above, below in near for a in above for b in below)

    for i in range(len(row) - 1):
        now, then = crossed(row[i], row[i + 1]), crossed(row[i + 1], row[i])
        if then < now or (even_ties and then == now > 0):
            row[i], row[i + 1] = row[i + 1], row[i]


def _crossings(rows: Sequence[Sequence[_Place]], after: _Neighbours) -> int:
    """Pairs of wires between two layers that cross."""
    rank = {id(place): i for row in rows for i, place in enumerate(row)}
    total = 0
    for row in rows:
        wires = [(rank[id(place)], rank[id(n)]) for place in row for n in after.get(id(place), ())]
        total += sum((a - c) * (b - d) < 0 for i, (a, b) in enumerate(wires) for c, d in wires[:i])
    return total


def _set_x(rows: Sequence[Sequence[_Place]]) -> None:
    """Each layer as wide as its widest place, with room for bends between."""
    x = _MARGIN
    for row in rows:
        width = max(place.width for place in row)
        for place in row:
            place.x = x + width / 2
        x += width + _BEND


def _set_y(rows: Sequence[Sequence[_Place]], chains: Sequence[Sequence[_Place]]) -> None:
    """Every place as near as order and gaps allow to the mean of its users, of its inputs, in turn.

    The last sweep looks at inputs only, which keeps chains level.
    """
    before, after = _neighbours(chains)
    for row in rows:
        _settle(row, {})
    for _ in range(_SWEEPS):
        for row in reversed(rows):
            _settle(row, after)
        for row in rows:
            _settle(row, before)


def _settle(row: Sequence[_Place], neighbours: _Neighbours) -> None:
    wanted = []
    for place in row:
        near = neighbours.get(id(place), [])
        wanted.append(sum(n.y for n in near) / len(near) if near else place.y)
    gaps = [(a.height + b.height) / 2 + _ROW_GAP for a, b in pairwise(row)]
    for place, y in zip(row, spread(wanted, gaps), strict=True):
        place.y = y


# ------------------------------------------------------------------ ink


def _draw(
    places: Sequence[_Place], chains: Sequence[Sequence[_Place]], title: str, legend: tuple[str, str]
) -> Markup:
    labelled = any(chain[1].height for chain in chains)
    top = min((p.y - p.height / 2 for p in places), default=0.0) - _MARGIN - (24.0 if title else 0.0)
    bottom = max((p.y + p.height / 2 for p in places), default=0.0) + _MARGIN + (18.0 if labelled else 0.0)
    for place in places:
        place.y -= top
    width = max((p.x + p.width / 2 for p in places), default=0.0) + _MARGIN
    width = max(width, 2 * _MARGIN + text_width(title, 15.0), 190.0 if labelled else 0.0)
    parts = [heading(title, width)] if title else []
    arrivals: dict[int, list[Sequence[_Place]]] = defaultdict(list)
    for chain in chains:
        arrivals[id(chain[-1])].append(chain)
    for chain in chains:
        into = sorted(arrivals[id(chain[-1])], key=lambda c: c[-2].y)
        parts += _wire(chain, next(i for i, c in enumerate(into) if c is chain), len(into))
    for place in places:
        if place.node is not None:
            parts += _box(place, place.node)
    if labelled:
        parts += _legend([chain[1].edge for chain in chains], legend, bottom - top - 12.0)
    return document(width, bottom - top, title or "computational graph", parts)


def _legend(edges: Sequence[Edge | None], names: tuple[str, str], y: float) -> list[Markup]:
    """What the words above and below the wires are, for those that there are."""
    x, parts = _MARGIN, []
    for words, class_, used in (
        (f"above: {names[0]}", _VALUE, any(edge and edge.above for edge in edges)),
        (f"below: {names[1]}", _GRADIENT, any(edge and edge.below for edge in edges)),
    ):
        if used:
            parts.append(label(x, y, words, f"{class_} small"))
            x += text_width(words, 10.5) + 24.0
    return parts


def _wire(chain: Sequence[_Place], port: int, ports: int) -> list[Markup]:
    """A smooth line through the chain, level where its labels stand and where it arrives."""
    source, target, edge = chain[0], chain[-1], chain[1].edge
    end_y = target.y + (port - (ports - 1) / 2) * min(9.0, (target.height - 8.0) / max(ports - 1, 1))
    end_x = target.x - _reach(target, end_y - target.y)
    x, y = source.x + source.width / 2, source.y
    d = f"M{x:.1f} {y:.1f}"
    for place in chain[1:-1] if len(chain) > 3 or chain[1].width else ():
        d += _bend(x, y, place.x - place.width / 2, place.y) + f"H{place.x + place.width / 2:.1f}"
        x, y = place.x + place.width / 2, place.y
    d += _bend(x, y, end_x - 6.0, end_y)
    parts = [element("path", d=d, class_="axis", fill="none", stroke="currentColor", stroke_width=1.4)]
    head = f"M{end_x:.1f} {end_y:.1f}l-7 -3.5v7z"
    parts.append(element("path", d=head, class_="axis", fill="currentColor"))
    middle = chain[1]
    if edge is not None and edge.above:
        parts.append(label(middle.x, middle.y - 5.0, edge.above, _VALUE, "middle"))
    if edge is not None and edge.below:
        parts.append(label(middle.x, middle.y + 14.0, edge.below, _GRADIENT, "middle"))
    return parts


def _bend(x1: float, y1: float, x2: float, y2: float) -> str:
    """A curve that leaves and arrives level."""
    middle = (x1 + x2) / 2
    return f"C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"


def _reach(place: _Place, dy: float) -> float:
    """From the centre to the left border at height dy: half the width, less on a circle."""
    if place.node is not None and _is_circle(place.node):
        return float(max((place.width / 2) ** 2 - dy**2, 0.0) ** 0.5)
    return place.width / 2


def _box(place: _Place, node: Node) -> list[Markup]:
    """Paper below, a tint, an outline, the words."""
    class_ = KINDS[node.kind]
    x, y, width, height = place.x - place.width / 2, place.y - place.height / 2, place.width, place.height
    outline = {
        "class_": class_,
        "fill": "currentColor",
        "fill_opacity": 0.1,
        "stroke": "currentColor",
        "stroke_width": 1.4,
    }
    if _is_circle(node):
        shape = {"cx": place.x, "cy": place.y, "r": place.width / 2}
        parts = [
            element("circle", **shape, class_="paper", fill="currentColor"),
            element("circle", **shape, **outline),
        ]
    else:
        rounded = height / 2 if node.kind in ("input", "parameter") else 5.0
        shape = {"x": x, "y": y, "width": width, "height": height, "rx": min(rounded, 14.0)}
        parts = [
            element("rect", **shape, class_="paper", fill="currentColor"),
            element("rect", **shape, **outline),
        ]
    first = place.y + 4.2 - _LINE * (len(node.lines) - 1) / 2
    for i, line in enumerate(node.lines):
        parts.append(label(place.x, first + _LINE * i, line, "ink" if i == 0 else "muted", "middle"))
    return parts
