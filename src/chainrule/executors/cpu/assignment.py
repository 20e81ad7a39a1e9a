"""Which kernel computes a node, and where its value lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from chainrule.executors.cpu.kernels import Buffer, Kernel, Place, reduced_axes
from chainrule.executors.cpu.views import VIEWS, Map, map_down, relabels, view
from chainrule.graph.expr import Expr
from chainrule.ops.reduce import ARGMAX, MAX, SUM

__all__ = ["REDUCTIONS", "Assignment", "Destination", "identity_map", "operands", "reduces", "trivial_axes"]

REDUCTIONS = frozenset({SUM, MAX, ARGMAX})


def reduces(node: Expr) -> bool:
    """Whether a node is a reduction over axes of other than one element."""
    if node.primitive not in REDUCTIONS:
        return False
    return any(node.inputs[0].shape[a] != 1 for a in reduced_axes(node))


def operands(x: Expr, axes: Map) -> list[tuple[Expr, Map]]:
    """The inputs of a node that is computed from them place by place, each with its own axes."""
    if x.primitive in VIEWS and relabels(x):
        return [(x.inputs[0], map_down(x, axes))]
    if x.primitive in REDUCTIONS:
        return [(x.inputs[0], trivial_axes(x, axes))]
    return [(i, axes) for i in x.inputs]


def trivial_axes(node: Expr, axes: Map) -> Map:
    """The axes of the input of a reduction that reduces nothing."""
    kept, over = iter(axes), reduced_axes(node)
    return tuple(None if a in over else next(kept) for a in range(node.inputs[0].ndim))


def identity_map(node: Expr) -> Map:
    """A node's axes as those of a domain of its own shape."""
    return tuple(a if n != 1 else None for a, n in enumerate(node.shape))


@dataclass(eq=False)
class Destination:
    """Where a node's value is wanted: the next value of a state, or a row of a ring."""

    node: Expr
    buffer: Buffer
    aside: bool = False  # by a copy, from memory of the node's own


@dataclass(eq=False)
class Assignment:
    """Kernels in an order in which they can run, and the place of every value in memory."""

    kernels: list[Kernel]
    places: dict[Expr, Place]
    home: dict[Expr, Kernel]
    leaves: Mapping[Expr, Buffer]

    def visible(self, x: Expr, kernel: Kernel | None = None) -> bool:
        """Whether x lies in memory as it is, for a kernel: a copy of a view serves only those that were begun
        after it, the others look through the view."""
        if x not in self.places:
            return False
        return kernel is None or x.primitive not in VIEWS or self.home[x].number < kernel.number

    def place(self, x: Expr, kernel: Kernel | None = None) -> Place | None:
        """Where x lies, through its views; None where it is computed."""
        if self.visible(x, kernel):
            return self.places[x]
        if x.primitive in VIEWS:
            inner = self.place(x.inputs[0], kernel)
            layout = None if inner is None else view(x, inner.layout)
            return None if inner is None or layout is None else Place(inner.buffer, layout)
        return None

    def at(self, x: Expr) -> Place:
        """Where x lies; it must."""
        found = self.place(x)
        if found is None:
            raise LookupError(f"{x!r} does not lie in memory")
        return found

    def source(self, x: Expr) -> Place | None:
        """Where lies what a copy copies: a leaf, or what a view looks at."""
        buffer = self.leaves.get(x)
        if buffer is not None:
            return Place(buffer, buffer.layout)
        inner = self.place(x.inputs[0]) if x.primitive in VIEWS else None
        layout = None if inner is None else view(x, inner.layout)
        return None if inner is None or layout is None else Place(inner.buffer, layout)

    def externals(self, kernel: Kernel) -> list[Expr]:
        """The values in memory that a kernel reads: leaves and stored nodes, views of them included."""
        return list(_externals(self, kernel))


def _externals(found: Assignment, kernel: Kernel) -> Iterator[Expr]:
    """Bases and views of bases that lie in memory, as the kernel reads them."""
    own = set(kernel.nodes)
    seen: set[Expr] = set()
    yield from (node for node in kernel.nodes if node in found.leaves)  # copies
    stack = [x for node in kernel.nodes for x in node.inputs]
    stack += [node for node, _ in kernel.stores if node not in own]
    while stack:
        x = stack.pop()
        if x in seen or x in own:
            continue
        seen.add(x)
        if x in found.places:
            yield x
        else:
            stack += x.inputs
