"""Planning, first half: which nodes are computed together, and which values are kept in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chainrule.executors.cpu.kernels import (
    Buffer,
    Contraction,
    Draw,
    Home,
    Kernel,
    Nest,
    Place,
    Special,
    Transposition,
    reduced_axes,
)
from chainrule.executors.cpu.layout import dense, padded
from chainrule.executors.cpu.views import VIEWS, Map, map_down, map_up, relabels, view
from chainrule.graph.expr import CONSTANT, INPUT, Expr, toposort
from chainrule.ops.elementwise import (
    ABS,
    ADD,
    CAST,
    ELEMENTWISE,
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
from chainrule.ops.linalg import MATMUL
from chainrule.ops.random import RANDOM_BITS
from chainrule.ops.reduce import ARGMAX, MAX, SUM
from chainrule.ops.shape import BROADCAST, FLIP, RESHAPE, TRANSPOSE

__all__ = ["REDUCTIONS", "Assignment", "Destination", "assign", "operands", "reduces", "trivial_axes"]

REDUCTIONS = frozenset({SUM, MAX, ARGMAX})
_LEAVES = frozenset({INPUT, CONSTANT})
_CHEAP = frozenset(
    {NEG, ABS, SIGN, ADD, SUB, MUL, MAXIMUM, GUARD, WHERE, CAST, LESS, LESS_EQUAL, EQUAL, IS_FINITE}
    | {LOGICAL_NOT, LOGICAL_AND, LOGICAL_OR}
)
"""What is better computed twice than written and read."""


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


_SMALLER = 8  # times fewer elements: such a value is stored rather than computed twice
_BLOCKED = 4096  # elements: so many are transposed in blocks of registers
_DEPTH = 4  # of cheap operations that are computed twice
_SMALL = 4096  # elements: full reductions so small share a kernel


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

    def place(self, x: Expr) -> Place | None:
        """Where x lies, through its views; None where it is computed."""
        if x in self.places:
            return self.places[x]
        if x.primitive in VIEWS and x not in self.home:
            inner = self.place(x.inputs[0])
            layout = None if inner is None else view(x, inner.layout)
            return None if inner is None or layout is None else Place(inner.buffer, layout)
        return None

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


def assign(
    outputs: Sequence[Expr],
    leaves: Mapping[Expr, Buffer],
    destinations: Sequence[Destination],
    keep: Sequence[Expr] = (),
) -> Assignment:
    """Every node of the outputs in a kernel, or inlined where it is used.

    leaves    where the inputs lie
    keep      nodes that must lie in memory, too
    """
    planner = _Planner(leaves)
    order = toposort(outputs)
    level: dict[Expr, int] = {}
    for node in order:
        heavy = node.primitive not in ELEMENTWISE and node.primitive not in VIEWS
        below = [level[x] for x in node.inputs]
        level[node] = max(below, default=0) + (heavy and bool(below))
    for node in sorted(order, key=lambda n: level[n]):  # stable: what needs little comes first
        planner.take(node)
    for node in keep:
        planner._keep(node)
    return planner.finish(destinations)


@dataclass(eq=False)
class _Planner:
    leaves: Mapping[Expr, Buffer]
    kernels: list[Kernel] = field(default_factory=list)
    home: dict[Expr, Kernel] = field(default_factory=dict)
    ready: dict[Expr, int] = field(default_factory=dict)  # the number of the kernel after which it is there
    wanted: dict[Expr, None] = field(default_factory=dict)  # must lie in memory
    pending: dict[Expr, None] = field(default_factory=dict)  # reductions of what floats, not yet needed
    constants: list[Expr] = field(default_factory=list)
    flat: set[Expr] = field(default_factory=set)  # must lie without gaps

    # ------------------------------------------------------------------ one node after another

    def take(self, node: Expr) -> None:
        primitive = node.primitive
        if self.pending:
            self._settle(node)
        if primitive in _LEAVES:
            self.ready[node] = -1
            if primitive is CONSTANT:
                self.constants.append(node)
        elif primitive in VIEWS:
            self._take_view(node)
        elif primitive in ELEMENTWISE:
            self._take_elementwise(node)
        elif primitive in REDUCTIONS:
            self._take_reduction(node)
        elif primitive is MATMUL:
            self._take_product(node)
        elif primitive is RANDOM_BITS:
            for x in node.inputs:
                self._keep(x)
            self._add(Draw(len(self.kernels)), node)
            self.flat.add(node)
        else:
            for x in node.inputs:
                self._keep(x)
            self._add(Special(len(self.kernels)), node)
            self._keep(node)
        if node not in self.ready:
            self.ready[node] = max((self._when(x) for x in node.inputs), default=-1)

    def _add(self, kernel: Kernel, node: Expr) -> None:
        """A new kernel, with its first node."""
        if kernel not in self.kernels[-1:]:
            self.kernels.append(kernel)
        kernel.nodes.append(node)
        self.home[node] = kernel
        self.ready[node] = kernel.number

    def _lowest(self, x: Expr) -> Expr:
        """What to copy of a leaf so that x can look at the copy: its last reshape that moves elements."""
        while x.primitive in VIEWS and x not in self.home:
            if x.primitive is RESHAPE and not relabels(x):
                return x
            x = x.inputs[0]
        return x

    def base(self, x: Expr) -> Expr:
        """What a view looks at."""
        while x.primitive in VIEWS and x not in self.home:
            x = x.inputs[0]
        return x

    def _when(self, x: Expr) -> int:
        """The number of the kernel after which x is there; -1 where none is needed."""
        return self.ready[self.base(x)]

    def _take_view(self, node: Expr) -> None:
        """What skips elements looks at memory; a reshape that strides cannot describe needs no gaps there."""
        if relabels(node):
            return
        if node.primitive is not RESHAPE:
            base = self.leaves.get(self.base(node))
            if base is None or (base.home == "data" and node.primitive is FLIP):
                self._keep(node)
            return
        x = node.inputs[0]
        while x.primitive is RESHAPE and x not in self.home:
            x = x.inputs[0]
        buffer = self.leaves.get(x)
        if buffer is not None and (buffer.home == "data" and node.shape[:1] == x.shape[:1]):
            return
        if buffer is not None or x.primitive in VIEWS:
            if buffer is None or view(node, buffer.layout) is None or buffer.home == "data":
                self._copy(x, flat=True)
        else:
            self._keep(x)
            self.flat.add(x)

    def _copy(self, x: Expr, flat: bool = False) -> None:
        """A leaf or a view in memory of its own."""
        if x in self.home:
            return
        kernel = Nest(len(self.kernels), domain=x.shape)
        kernel.maps[x] = _identity(x)
        self._keep_inputs_of(x)
        self._add(kernel, x)
        self._keep(x)
        if flat:
            self.flat.add(x)

    def _keep_inputs_of(self, x: Expr) -> None:
        base = self.base(x)
        if base.primitive not in _LEAVES and base in self.home:
            self._keep(base)

    def _keep(self, x: Expr) -> None:
        """x must lie in memory; one that no kernel computes yet gets its own."""
        base = self.base(x)
        buffer = self.leaves.get(base)
        if base.primitive is CONSTANT or (buffer is not None and buffer.home != "data"):
            return
        if base not in self.home:
            if base in self.pending:
                self._take_reduction(base)
                del self.pending[base]
            elif base.primitive in _LEAVES:
                base = self._lowest(x)
                self._copy(base)
            else:
                self._nest(base, base.shape, _identity(base))
        self.wanted[base] = None

    # ------------------------------------------------------------------ element-wise nodes

    def _take_elementwise(self, node: Expr) -> None:
        latest = max(self._when(x) for x in node.inputs)
        floating = all(self._floats(x) for x in node.inputs)
        if node.shape and floating:
            return
        if latest < 0:
            self._scalar(node)
            return
        kernel = self.kernels[latest]
        if not self._join(kernel, node):
            self._nest(node, node.shape, _identity(node))

    def _floats(self, x: Expr) -> bool:
        """Whether x costs nothing but operations on leaves and scalars: it is computed where it is used."""
        base = self.base(x)
        return base.primitive in _LEAVES or base not in self.home or not base.shape

    def _scalar(self, node: Expr) -> None:
        """Scalars that depend on leaves alone share the first kernel of their kind."""
        for kernel in self.kernels:
            if isinstance(kernel, Nest) and not kernel.domain:
                kernel.maps[node] = ()
                kernel.nodes.append(node)
                self.home[node], self.ready[node] = kernel, kernel.number
                return
        self._nest(node, (), ())

    def _nest(self, node: Expr, domain: tuple[int, ...], axes: Map) -> Nest:
        kernel = Nest(len(self.kernels), domain=domain)
        kernel.maps[node] = axes
        self._add(kernel, node)
        return kernel

    def _join(self, kernel: Kernel, node: Expr) -> bool:
        """Adds an element-wise node to the kernel that computes its input, where that can be."""
        axes = _identity(node)
        if isinstance(kernel, Nest):
            found = self._axes(kernel, node.inputs)
            if found is None or not kernel.takes(found):
                return False
            axes = found
            kernel.maps[node] = axes
        elif isinstance(kernel, Contraction):
            assert kernel.product is not None
            own = [x for x in node.inputs if self._within(x, kernel)]
            if node.shape != kernel.product.shape or any(self.base(x) is not x for x in own):
                return False
        elif isinstance(kernel, Draw):
            if node.shape != kernel.nodes[0].shape or not all(
                (x in kernel.nodes) or self.base(x).size == 1 for x in node.inputs
            ):
                return False
        else:
            return False
        kernel.nodes.append(node)
        self.home[node], self.ready[node] = kernel, kernel.number
        return True

    def _within(self, x: Expr, kernel: Kernel) -> bool:
        """Whether x looks, through views and floating nodes, at something that the kernel computes."""
        base = self.base(x)
        if base in self.home:
            return self.home[base] is kernel
        return base.primitive not in _LEAVES and any(self._within(i, kernel) for i in base.inputs)

    def _axes(self, kernel: Nest, inputs: Sequence[Expr]) -> Map | None:
        """The axes at which all inputs that the kernel computes agree."""
        found: Map | None = None
        for x in inputs:
            if self.home.get(self.base(x)) is not kernel:
                if self._within(x, kernel):
                    return None
                continue
            axes = self._up(x, kernel)
            if axes is None or (found is not None and axes != found):
                return None
            found = axes
        return found

    def _up(self, x: Expr, kernel: Nest) -> Map | None:
        chain = []
        while x not in self.home:
            chain.append(x)
            x = x.inputs[0]
        axes: Map | None = kernel.maps[x]
        for node in reversed(chain):
            if axes is None or not relabels(node):
                return None
            axes = map_up(node, axes, kernel.domain)
        return axes

    # ------------------------------------------------------------------ reductions

    def _take_reduction(self, node: Expr, beside: Kernel | None = None) -> None:
        (x,) = node.inputs
        axes = reduced_axes(node)
        base = self.base(x)
        kernel = self.home.get(base)
        if kernel is None and len(axes) < x.ndim and node not in self.pending and self._floats(x):
            self.pending[node] = None  # it costs little and may join whoever uses it
            self.ready[node] = self._when(x)
            return
        if isinstance(kernel, Nest) and self._reduce(kernel, node, x, axes):
            return
        reduced = frozenset(a for a in axes if x.shape[a] != 1)
        kernel = beside if self._fits(beside, x, reduced) else self._companion(x, reduced)
        if kernel is None:
            kernel = Nest(len(self.kernels), domain=x.shape, reduced=reduced)
            self.kernels.append(kernel)
        kernel.maps[node] = tuple(m for a, m in enumerate(_identity(x)) if a not in axes)
        kernel.nodes.append(node)
        self.home[node], self.ready[node] = kernel, kernel.number

    def _settle(self, node: Expr) -> None:
        """Reductions that wait for their user: they join the kernel of the user's other inputs."""
        waiting = [base for x in node.inputs if (base := self.base(x)) in self.pending]
        if not waiting or node.primitive in VIEWS:
            return
        latest = max(self._when(x) for x in node.inputs)
        for base in waiting:
            if base in self.pending:
                self._take_reduction(base, self.kernels[latest] if latest >= 0 else None)
                del self.pending[base]

    def _fits(self, kernel: Kernel | None, x: Expr, reduced: frozenset[int]) -> bool:
        return isinstance(kernel, Nest) and (kernel.domain, kernel.reduced) == (x.shape, reduced)

    def _companion(self, x: Expr, reduced: frozenset[int]) -> Nest | None:
        """A kernel that reduces over the same axes the same elements, or so few that it does not matter."""
        for kernel in reversed(self.kernels[max(self._when(x) + 1, 0) :]):
            if isinstance(kernel, Nest) and self._fits(kernel, x, reduced):
                if x.size <= _SMALL or any(i is x for n in kernel.nodes for i in n.inputs):
                    return kernel
        return None

    def _reduce(self, kernel: Nest, node: Expr, x: Expr, axes: tuple[int, ...]) -> bool:
        """Adds a reduction to the kernel that computes its input, where the axes fit."""
        at = self._up(x, kernel)
        if at is None:
            return False
        over = frozenset(m for a in axes if (m := at[a]) is not None)
        if over and not kernel.reduced:
            partly = [n for n in kernel.nodes if not over <= set(kernel.maps[n])]
            if partly:
                return False
            kernel.reduced = over
        elif over and kernel.reduced != over:
            return False
        kernel.maps[node] = tuple(m for a, m in enumerate(at) if a not in axes)
        kernel.nodes.append(node)
        self.home[node], self.ready[node] = kernel, kernel.number
        return True

    # ------------------------------------------------------------------ products

    def _take_product(self, node: Expr) -> None:
        a, b = node.inputs
        for x in (a, b):
            self._keep(x)
        if not self._rows_lie(b):
            self._transposed(b)
        self._add(Contraction(len(self.kernels), product=node), node)

    def _rows_lie(self, b: Expr) -> bool:
        """Whether the elements of a row lie one after another, with room behind the last."""
        base = self.base(b)
        buffer = self.leaves.get(base)
        if base in self.flat or (buffer is not None and not buffer.roomy):
            return False
        while b is not base:
            if not relabels(b) or b.primitive is TRANSPOSE and b.meta["axes"][-1] != b.ndim - 1:
                return False
            if b.primitive is BROADCAST and b.inputs[0].shape[-1:] != b.shape[-1:]:
                return False
            if b.primitive is RESHAPE and b.inputs[0].shape[-1:] != b.shape[-1:]:
                return False
            b = b.inputs[0]
        return True

    def _transposed(self, b: Expr) -> None:
        """b in memory of its own, row after row."""
        if b in self.home:
            return
        plain = b.primitive is TRANSPOSE and b.inputs[0] is self.base(b) and b.ndim == 2
        if plain and b.inputs[0] not in self.flat and b.size >= _BLOCKED:
            self._add(Transposition(len(self.kernels)), b)
            self._keep(b)
        else:
            self._copy(b)

    # ------------------------------------------------------------------ what is kept

    def finish(self, destinations: Sequence[Destination]) -> Assignment:
        for node in list(self.pending):
            self._take_reduction(node)
        for wanted in destinations:
            self._deliver(wanted)
        places: dict[Expr, Place] = {}
        found = Assignment(self.kernels, places, self.home, self.leaves)
        for node, buffer in self.leaves.items():
            places[node] = Place(buffer, buffer.layout)
        for node in self.constants:
            layout = padded(node.shape, node.dtype)
            places[node] = Place(Buffer(layout, "arena", value=node.meta["value"]), layout)
        for node in self.wanted:
            self._store(node, places)
        for kernel in list(self.kernels):
            self._keep_what_it_reads(kernel, found)
        return found

    def _deliver(self, wanted: Destination) -> None:
        """The destination is written where the node is computed, else by a copy."""
        node = wanted.node
        place = Place(wanted.buffer, wanted.buffer.layout)
        if wanted.aside:
            if self.base(node) in self.leaves:
                self._copy(node)
            self._keep(node)
        kernel = None if wanted.aside else self.home.get(node)
        alone = isinstance(kernel, Nest) and kernel.whole and wanted.buffer.home == "state"
        if (
            isinstance(kernel, Nest | Contraction)
            and not alone
            and not any(p.buffer is wanted.buffer for _, p in kernel.stores)
        ):
            kernel.stores.append((node, place))
            return
        self._keep_inputs_of(node)
        copy = Nest(len(self.kernels), domain=node.shape)
        copy.maps[node] = _identity(node)
        copy.stores.append((node, place))
        self.kernels.append(copy)

    def _store(self, node: Expr, places: dict[Expr, Place]) -> None:
        """Memory for a node that a kernel computes."""
        kernel = self.home[node]
        if isinstance(kernel, Draw):
            self.flat.add(node)
        home: Home = "private" if not node.shape else "arena"
        layout = dense(node.shape, node.dtype) if node in self.flat else padded(node.shape, node.dtype)
        buffer = Buffer(layout, home, roomy=node not in self.flat or node.ndim < 2)
        places[node] = Place(buffer, layout)
        kernel.stores.append((node, places[node]))

    def _keep_what_it_reads(self, kernel: Kernel, found: Assignment) -> None:
        """Every value that comes from another kernel lies in memory, or is cheap to compute again."""
        stack = [x for node in kernel.nodes for x in node.inputs]
        stack += [node for node, _ in kernel.stores if node not in kernel.nodes]
        seen: set[Expr] = set()
        while stack:
            base = self.base(stack.pop())
            if base in seen or base in found.places or base.primitive is CONSTANT:
                continue
            seen.add(base)
            own = self.home.get(base)
            if own is kernel:
                continue
            if own is None or self._again(base, found, _DEPTH, base.size // _SMALLER):
                stack += base.inputs
                continue
            node = self._narrow(base, own, found)
            if node not in found.places:
                self._store(node, found.places)
            if base not in found.places:
                stack += base.inputs

    def _again(self, x: Expr, found: Assignment, depth: int, small: int) -> bool:
        """Whether x can be had by a few cheap operations from what lies in memory, or may well lie there
        since it has no more than ``small`` elements."""
        base = self.base(x)
        if base in found.places or base.primitive is CONSTANT or base.size <= small:
            return True
        if base not in self.home:
            return all(self._again(i, found, depth, small) for i in base.inputs)
        if not base.shape or base.primitive not in _CHEAP or depth == 0:
            return False
        if not all(self._shaped(i) for i in base.inputs):
            return False
        return all(self._again(i, found, depth - 1, small) or not self.base(i).shape for i in base.inputs)

    def _shaped(self, x: Expr) -> bool:
        """Only views that rename axes lie between x and what it looks at, or it lies in memory anyway."""
        while x.primitive in VIEWS and x not in self.home:
            if not relabels(x):
                return False
            x = x.inputs[0]
        return True

    def _narrow(self, node: Expr, kernel: Kernel, found: Assignment) -> Expr:
        """What to store so that a node can be had: the narrowest value on the way to it, and of equally
        narrow ones the first, from which most others follow."""
        best = x = node
        small = node.size // _SMALLER
        for _ in range(_DEPTH):
            own = [i for i in x.inputs if self.home.get(i) is kernel and i.size > small]
            others = [i for i in x.inputs if i not in own]
            if x.primitive not in _CHEAP or len(set(own)) != 1 or own[0].shape != node.shape:
                break
            if not all(self._again(i, found, _DEPTH, small) and self._shaped(i) for i in others):
                break
            x = own[0]
            if x.dtype.itemsize <= best.dtype.itemsize and x is not kernel.nodes[0]:
                best = x
        return best


def _identity(node: Expr) -> Map:
    return tuple(a if n != 1 else None for a, n in enumerate(node.shape))


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
