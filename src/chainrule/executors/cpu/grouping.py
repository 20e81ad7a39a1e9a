"""Planning, first part: which nodes are computed together, in one kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from chainrule.executors.cpu.assignment import REDUCTIONS, identity_map
from chainrule.executors.cpu.fused import KERNEL_GRADIENT, MAX_GRADIENT
from chainrule.executors.cpu.kernels import (
    Border,
    Buffer,
    Contraction,
    Convolution,
    Draw,
    Headed,
    Kernel,
    KernelGradient,
    Loop,
    MaxGradient,
    Nest,
    Special,
    Transposition,
    reduced_axes,
)
from chainrule.executors.cpu.lower import lower
from chainrule.executors.cpu.views import VIEWS, Map, map_up, regroups_rows, relabels, view
from chainrule.graph.expr import CONSTANT, INPUT, ITEM, Expr, toposort
from chainrule.ops.convolution import CONV
from chainrule.ops.elementwise import ELEMENTWISE
from chainrule.ops.linalg import MATMUL
from chainrule.ops.random import RANDOM_BITS
from chainrule.ops.repetition import SCAN
from chainrule.ops.shape import BROADCAST, FLIP, PAD, RESHAPE, TRANSPOSE

__all__ = ["Grouping", "group"]

_LEAVES = frozenset({INPUT, CONSTANT})
_BLOCKED = 4096  # elements: so many are transposed in blocks of registers
_SMALL = 4096  # elements: reductions of so few share a kernel
_NARROW = 16  # channels: windows of fewer lie without gaps


def group(outputs: Sequence[Expr], leaves: Mapping[Expr, Buffer]) -> Grouping:
    """Every node of the outputs in a kernel, or to be computed where it is used.

    leaves    where the inputs lie
    """
    found = Grouping(leaves)
    order = toposort(outputs)
    level: dict[Expr, int] = {}
    for node in order:
        heavy = node.primitive not in ELEMENTWISE and node.primitive not in VIEWS
        below = [level[x] for x in node.inputs]
        level[node] = max(below, default=0) + (heavy and bool(below))
    for node in sorted(order, key=lambda n: level[n]):  # stable: what needs little comes first
        found.take(node)
    return found


@dataclass(eq=False)
class Grouping:
    """Nodes that are computed together, found one after another in an order in which they can be computed."""

    leaves: Mapping[Expr, Buffer]
    kernels: list[Kernel] = field(default_factory=list)
    home: dict[Expr, Kernel] = field(default_factory=dict)
    ready: dict[Expr, int] = field(default_factory=dict)  # the number of the kernel after which it is there
    wanted: dict[Expr, None] = field(default_factory=dict)  # must lie in memory
    pending: dict[Expr, None] = field(default_factory=dict)  # reductions of what floats, not yet needed
    constants: list[Expr] = field(default_factory=list)
    flat: set[Expr] = field(default_factory=set)  # must lie without gaps
    around: dict[Expr, Expr] = field(default_factory=dict)  # what puts zeros around a node

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
            self.take_reduction(node)
        elif primitive in _PRODUCTS:
            _PRODUCTS[primitive](self, node)
        elif primitive is SCAN or primitive is ITEM:
            self._take_scan(node)
        else:
            self._take_alone(node)
        if node not in self.ready:
            self.ready[node] = max((self._when(x) for x in node.inputs), default=-1)

    def _add(self, kernel: Kernel, node: Expr) -> None:
        """A new kernel, with its first node."""
        if kernel not in self.kernels[-1:]:
            self.kernels.append(kernel)
        kernel.nodes.append(node)
        self.home[node] = kernel
        self.ready[node] = kernel.number

    def _take_alone(self, node: Expr) -> None:
        for x in node.inputs:
            self.keep(x)
        if node.primitive is RANDOM_BITS:
            self._add(Draw(len(self.kernels)), node)
            self.flat.add(node)
        else:
            border = node.primitive is PAD
            self._add((Border if border else Special)(len(self.kernels)), node)
            if border and not any(node.meta["between"]):
                self.around.setdefault(node.inputs[0], node)
            self.keep(node)

    def _take_scan(self, node: Expr) -> None:
        """What the steps read lies in memory, row after row; they themselves are planned later. So does what
        they give."""
        if node.primitive is ITEM:
            kernel = self.home[node.inputs[0]]
            kernel.nodes.append(node)
            self.home[node], self.ready[node] = kernel, kernel.number
            self.wanted[node] = None
            return
        first, meta = node.meta["carries"], node.meta
        for x in node.inputs[:first]:
            self.keep_inputs_of(x)
        for x in node.inputs[first:]:
            self.keep(x)
            if not self._rows_lie(x):
                self._transposed(x)
        body = lower(meta["body"].outputs)
        self._add(Loop(len(self.kernels), steps=meta["steps"], reverse=meta["reverse"], outputs=body), node)
        if len(node.outputs) == 1:
            self.wanted[node] = None

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
                self.keep(node)
            return
        x = node.inputs[0]
        if regroups_rows(node) and x.primitive not in VIEWS and x not in self.leaves:
            self.keep(x)
            return
        while x.primitive is RESHAPE and x not in self.home:
            x = x.inputs[0]
        buffer = self.leaves.get(x)
        if buffer is not None and (buffer.home == "data" and node.shape[:1] == x.shape[:1]):
            return
        if buffer is not None or x.primitive in VIEWS:
            if buffer is None or view(node, buffer.layout) is None or buffer.home == "data":
                self.copy(x, flat=True)
        else:
            self.keep(x)
            self.flat.add(x)

    def copy(self, x: Expr, flat: bool = False, along_lines: bool = False) -> None:
        """A leaf or a view in memory of its own; ``along_lines`` where its last axis has one element."""
        if x in self.home:
            return
        if x.primitive in VIEWS and self.base(x).primitive not in _LEAVES:
            self.keep(x.inputs[0])
        kernel = Nest(len(self.kernels), domain=x.shape[:-1] if along_lines else x.shape)
        kernel.maps[x] = identity_map(x)
        self._add(kernel, x)
        self.wanted[x] = None
        if flat:
            self.flat.add(x)

    def keep_inputs_of(self, x: Expr) -> None:
        base = self.base(x)
        if base.primitive not in _LEAVES and base in self.home:
            self.keep(base)

    def keep(self, x: Expr) -> None:
        """x must lie in memory; one that no kernel computes yet gets its own."""
        base = self.base(x)
        buffer = self.leaves.get(base)
        if base.primitive is CONSTANT or (buffer is not None and buffer.home != "data"):
            return
        if base not in self.home:
            if base in self.pending:
                self.take_reduction(base)
                del self.pending[base]
            elif base.primitive in _LEAVES:
                base = self._lowest(x)
                self.copy(base)
            else:
                self._nest(base, base.shape, identity_map(base))
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
            self._nest(node, node.shape, identity_map(node))

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
        axes = identity_map(node)
        if isinstance(kernel, Nest):
            found = self._axes(kernel, node.inputs)
            if found is None or not kernel.takes(found):
                return False
            axes = found
            kernel.maps[node] = axes
        elif isinstance(kernel, Headed):
            own = [x for x in node.inputs if self._within(x, kernel)]
            if node.shape != kernel.head.shape or any(self.base(x) is not x for x in own):
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

    def take_reduction(self, node: Expr, beside: Kernel | None = None) -> None:
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
        nest = beside if self._fits(beside, x, reduced) else self._companion(x, reduced)
        if nest is None:
            nest = Nest(len(self.kernels), domain=x.shape, reduced=reduced)
            self.kernels.append(nest)
        nest.maps[node] = tuple(m for a, m in enumerate(identity_map(x)) if a not in axes)
        nest.nodes.append(node)
        self.home[node], self.ready[node] = nest, nest.number

    def _settle(self, node: Expr) -> None:
        """Reductions that wait for their user: they join the kernel of the user's other inputs."""
        waiting = [base for x in node.inputs if (base := self.base(x)) in self.pending]
        if not waiting or node.primitive in VIEWS:
            return
        latest = max(self._when(x) for x in node.inputs)
        for base in waiting:
            if base in self.pending:
                self.take_reduction(base, self.kernels[latest] if latest >= 0 else None)
                del self.pending[base]

    def _fits(self, kernel: Kernel | None, x: Expr, reduced: frozenset[int]) -> TypeGuard[Nest]:
        """Whether a kernel goes over x's elements as a reduction of x does, without computing x itself."""
        alike = isinstance(kernel, Nest) and (kernel.domain, kernel.reduced) == (x.shape, reduced)
        return alike and kernel is not None and not self._within(x, kernel)

    def _companion(self, x: Expr, reduced: frozenset[int]) -> Nest | None:
        """A kernel that reduces over the same axes the same elements, or so few that it does not matter."""
        for kernel in reversed(self.kernels[max(self._when(x) + 1, 0) :]):
            alike = x.size <= _SMALL or any(i is x for n in kernel.nodes for i in n.inputs)
            if alike and self._fits(kernel, x, reduced):
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
            self.keep(x)
        if not self._rows_lie(b):
            self._transposed(b)
        self._add(Contraction(len(self.kernels)), node)

    def _take_convolution(self, node: Expr) -> None:
        x, w = node.inputs
        self._keep_windows(x)
        self.keep(w)
        if not self._rows_lie(w):
            self._transposed(w)
        self._add(Convolution(len(self.kernels)), node)

    def _take_gradient(self, node: Expr) -> None:
        x, g = node.inputs
        self._keep_windows(x)
        self.keep(g)
        if not self._rows_lie(g):
            self._transposed(g)
        self._add(KernelGradient(len(self.kernels)), node)
        self.keep(node)

    def _take_max_gradient(self, node: Expr) -> None:
        for x in node.inputs:
            self.keep(x)
        self._add(MaxGradient(len(self.kernels)), node)

    def _keep_windows(self, x: Expr) -> None:
        """x in memory, for kernels that look at windows of it: rows of the data without gaps."""
        base = self.base(x)
        buffer = self.leaves.get(base)
        if buffer is not None and buffer.home == "data" and base not in self.home:
            low = self._lowest(x)
            self.copy(low, flat=True, along_lines=low.ndim > 2 and low.shape[-1] == 1)
        elif base.primitive is PAD and base.shape[-1] < _NARROW:
            self.flat.add(base)
        self.keep(x)

    def _rows_lie(self, b: Expr) -> bool:
        """Whether the elements of a row lie one after another, with room behind the last."""
        base = self.base(b)
        buffer = self.leaves.get(base)
        if base in self.flat or (buffer is not None and not buffer.roomy):
            return False
        while b is not base:
            if b.primitive is RESHAPE and regroups_rows(b):
                b = b.inputs[0]
                continue
            if not relabels(b) or (b.primitive is TRANSPOSE and b.meta["axes"][-1] != b.ndim - 1):
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
        leaf = self.leaves.get(self.base(b))
        roomy = leaf is None or leaf.roomy  # whole blocks are read
        plain = roomy and b.primitive is TRANSPOSE and b.inputs[0] is self.base(b) and b.ndim == 2
        if plain and b.inputs[0] not in self.flat and b.size >= _BLOCKED:
            self._add(Transposition(len(self.kernels)), b)
            self.keep(b)
        else:
            self.copy(b)


_PRODUCTS = {
    MATMUL: Grouping._take_product,
    CONV: Grouping._take_convolution,
    KERNEL_GRADIENT: Grouping._take_gradient,
    MAX_GRADIENT: Grouping._take_max_gradient,
}
