"""Planning, second part: which values are kept in memory, and which are computed again where used."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.executors.cpu.assignment import Assignment, Destination, identity_map
from chainrule.executors.cpu.grouping import Grouping
from chainrule.executors.cpu.kernels import Buffer, Draw, Headed, Home, Kernel, Loop, Nest, Place, Special
from chainrule.executors.cpu.layout import PAD, Layout, dense, padded
from chainrule.executors.cpu.recurrence import lay_out
from chainrule.executors.cpu.views import VIEWS, relabels
from chainrule.graph.expr import CONSTANT, Expr
from chainrule.ops.elementwise import (
    ABS,
    ADD,
    CAST,
    EQUAL,
    GUARD,
    IS_FINITE,
    LESS,
    LESS_EQUAL,
    LOGICAL_AND,
    LOGICAL_NOT,
    LOGICAL_OR,
    MAXIMUM,
    MUL,
    NEG,
    SIGN,
    SUB,
    WHERE,
)
from chainrule.ops.shape import CONCAT

__all__ = ["store"]

_CHEAP = frozenset(
    {NEG, ABS, SIGN, ADD, SUB, MUL, MAXIMUM, GUARD, WHERE, CAST, LESS, LESS_EQUAL, EQUAL, IS_FINITE}
    | {LOGICAL_NOT, LOGICAL_AND, LOGICAL_OR}
)
"""What is better computed twice than written and read."""
_SMALLER = 8  # times fewer elements: such a value is stored rather than computed twice
_DEPTH = 4  # of cheap operations that are computed twice


def store(groups: Grouping, destinations: Sequence[Destination], keep: Sequence[Expr] = ()) -> Assignment:
    """Memory for what is wanted, for what kernels need from each other, and for ``keep``."""
    for node in list(groups.pending):
        groups.take_reduction(node)
    for node in keep:
        groups.keep(node)
    for wanted in destinations:
        _deliver(groups, wanted)
    found = Assignment(groups.kernels, {}, groups.home, groups.leaves)
    for node, buffer in groups.leaves.items():
        found.places[node] = Place(buffer, buffer.layout)
    for node in groups.constants:
        layout = padded(node.shape, node.dtype)
        found.places[node] = Place(Buffer(layout, "arena", value=node.meta["value"]), layout)
    for kernel in list(groups.kernels):
        if isinstance(kernel, Loop):
            lay_out(kernel, groups, found.places)
    storing = _Storing(groups, found)
    storing.join()
    for node in groups.wanted:
        if node not in storing.stored:
            storing.store(node)
    for kernel in list(groups.kernels):
        storing.keep_what_it_reads(kernel)
    for kernel in groups.kernels:
        _drop_unused(kernel)
    return found


def _drop_unused(kernel: Kernel) -> None:
    """Leaves the nodes that lead to something stored; others are computed where they are used."""
    used = set[Expr]()
    stack = [node for node, _ in kernel.stores]
    while stack:
        x = stack.pop()
        if x not in used:
            used.add(x)
            stack += x.inputs
    kernel.nodes[1:] = [n for n in kernel.nodes[1:] if n in used]


def _deliver(groups: Grouping, wanted: Destination) -> None:
    """The destination is written where the node is computed, else by a copy."""
    node, place = wanted.node, Place(wanted.buffer, wanted.buffer.layout)
    if wanted.aside:
        if groups.base(node) in groups.leaves:
            groups.copy(node)
        groups.keep(node)
    elif _delivers(groups.home.get(node), wanted):
        groups.home[node].stores.append((node, place))
        return
    groups.keep_inputs_of(node)
    copy = Nest(len(groups.kernels), domain=node.shape)
    copy.maps[node] = identity_map(node)
    copy.stores.append((node, place))
    groups.kernels.append(copy)


def _delivers(kernel: Kernel | None, wanted: Destination) -> bool:
    """Whether a kernel may write the destination itself. What every thread computes may not replace a state,
    which other threads still read."""
    if isinstance(kernel, Nest) and kernel.whole and wanted.buffer.home in ("state", "step"):
        return False
    if isinstance(kernel, Special):
        return wanted.buffer.home == "step" and not kernel.stores
    return isinstance(kernel, Nest | Headed)


class _Storing:
    def __init__(self, groups: Grouping, found: Assignment) -> None:
        self.groups, self.found, self.places = groups, found, found.places
        self.base, self.home = groups.base, groups.home
        self.joined = set[Expr]()  # what has its place already, and what it is part of
        self.stored = set[Expr]()

    def store(self, node: Expr) -> None:
        """Memory for a node that a kernel computes."""
        kernel = self.home[node]
        if isinstance(kernel, Loop):
            kernel.stores.append((node, self.places[node]))
            return
        if node in self.joined or self._left_for_others(node, kernel):
            return
        self.stored.add(node)
        if isinstance(kernel, Draw):
            self.groups.flat.add(node)
        home: Home = "private" if not node.shape else "arena"
        layout = dense(node.shape, node.dtype) if node in self.groups.flat else padded(node.shape, node.dtype)
        buffer = Buffer(layout, home, roomy=node not in self.groups.flat or node.ndim < 2)
        self.places[node] = self._inside(node, kernel) or Place(buffer, layout)
        kernel.stores.append((node, self.places[node]))

    def _left_for_others(self, node: Expr, kernel: Kernel) -> bool:
        """Whether a step of a loop leaves the node where others of its kernels may read it, too."""
        left = [place for x, place in kernel.stores if x is node and place.buffer.home == "step"]
        if left:
            self.places[node] = left[0]
        return bool(left)

    def join(self) -> None:
        """What is joined is computed where it is joined: parts whose rows end where the next ones begin."""
        for kernel in list(self.groups.kernels):
            if isinstance(kernel, Special) and self._joins(kernel):
                node = kernel.nodes[0]
                if not self._left_for_others(node, kernel):
                    layout = padded(node.shape, node.dtype)
                    self.places[node] = Place(Buffer(layout, "arena"), layout)
                self._part(node)
                self.found.kernels.remove(kernel)

    def _joins(self, kernel: Special) -> bool:
        node, parts = kernel.nodes[0], kernel.nodes[0].inputs
        if node.primitive is not CONCAT or node in self.groups.flat or len(set(parts)) < len(parts):
            return False
        whole = node.meta["axis"] < node.ndim - 1 or all(x.shape[-1] % PAD == 0 for x in parts)
        alone = [isinstance(self.home.get(x), Nest | Headed) and x not in self.places for x in parts]
        delivered = any(y is x for x in parts for y, _ in self.home[x].stores) if all(alone) else True
        flat = any(x in self.groups.flat for x in parts)
        every = any(isinstance(k := self.home.get(x), Nest) and k.whole for x in parts)
        return node.ndim > 1 and whole and all(alone) and not (delivered or flat or every)

    def _part(self, node: Expr) -> None:
        """Every part of a node in its place."""
        place, axis, start = self.places[node], node.meta["axis"], 0
        self.joined |= {node, *node.inputs}
        for x in node.inputs:
            offset = place.layout.offset + start * place.layout.strides[axis]
            self.places[x] = Place(place.buffer, Layout(x.shape, place.layout.strides, x.dtype, offset))
            self.home[x].stores.append((x, self.places[x]))
            start += x.shape[axis]

    def _inside(self, node: Expr, kernel: Kernel) -> Place | None:
        """Where a node belongs among the zeros that are put around it, if all threads see what is there."""
        outer = self.groups.around.get(node)
        if outer is None or outer not in self.groups.wanted or node.ndim < 3 or node in self.groups.flat:
            return None
        if not isinstance(kernel, Nest | Headed) or (isinstance(kernel, Nest) and kernel.whole):
            return None
        if outer not in self.places:
            self.store(outer)
        place = self.places[outer]
        end = outer.meta["before"][-1] + -(-node.shape[-1] // PAD) * PAD  # loops write whole vectors
        if end > place.layout.strides[-2]:  # the next line may be another thread's
            return None
        offset = sum(n * s for n, s in zip(outer.meta["before"], place.layout.strides, strict=True))
        return Place(place.buffer, Layout(node.shape, place.layout.strides, node.dtype, offset))

    def keep_what_it_reads(self, kernel: Kernel) -> None:
        """Every value that comes from another kernel lies in memory, or is cheap to compute again."""
        stack = [x for node in kernel.nodes for x in node.inputs]
        stack += [node for node, _ in kernel.stores if node not in kernel.nodes]
        seen: set[Expr] = set()
        while stack:
            base = self.base(stack.pop())
            if base in seen or base in self.places or base.primitive is CONSTANT:
                continue
            seen.add(base)
            own = self.home.get(base)
            if own is kernel:
                continue
            if own is None or self._again(base, _DEPTH, base.size // _SMALLER):
                stack += base.inputs
                continue
            node = self._narrow(base, own)
            if node not in self.places:
                self.store(node)
            if base not in self.places:
                stack += base.inputs

    def _again(self, x: Expr, depth: int, small: int) -> bool:
        """Whether x can be had by a few cheap operations from what lies in memory, or may well lie there
        since it has no more than ``small`` elements."""
        base = self.base(x)
        if base in self.places or base.primitive is CONSTANT or 0 < base.size <= small:
            return True
        if base not in self.home:
            return all(self._again(i, depth, small) for i in base.inputs)
        if not base.shape or base.primitive not in _CHEAP or depth == 0:
            return False
        if not all(self._shaped(i) for i in base.inputs):
            return False
        return all(self._again(i, depth - 1, small) or not self.base(i).shape for i in base.inputs)

    def _shaped(self, x: Expr) -> bool:
        """Only views that rename axes lie between x and what it looks at, or it lies in memory anyway."""
        while x.primitive in VIEWS and x not in self.home:
            if not relabels(x):
                return False
            x = x.inputs[0]
        return True

    def _narrow(self, node: Expr, kernel: Kernel) -> Expr:
        """What to store so that a node can be had: the narrowest value on the way to it, and of equally
        narrow ones the first, from which most others follow."""
        best = x = node
        small = node.size // _SMALLER
        for _ in range(_DEPTH):
            own = [i for i in x.inputs if self.home.get(i) is kernel and i.size > small]
            others = [i for i in x.inputs if i not in own]
            if x.primitive not in _CHEAP or len(set(own)) != 1 or own[0].shape != node.shape:
                break
            if not all(self._again(i, _DEPTH, small) and self._shaped(i) for i in others):
                break
            x = own[0]
            if x.dtype.itemsize <= best.dtype.itemsize and x is not kernel.nodes[0]:
                best = x
        return best
