"""Kernels: what one native function computes, and where its values lie."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from chainrule.executors.cpu.layout import PAD, Layout
from chainrule.executors.cpu.views import Map
from chainrule.graph.expr import Expr
from chainrule.spec import Shape

if TYPE_CHECKING:
    from chainrule.executors.cpu.assignment import Assignment
    from chainrule.executors.cpu.schedule import Schedule

__all__ = [
    "Border",
    "Buffer",
    "Check",
    "Contraction",
    "Convolution",
    "Draw",
    "Headed",
    "Kernel",
    "KernelGradient",
    "Loop",
    "MaxGradient",
    "Moving",
    "Nest",
    "Place",
    "Special",
    "Split",
    "Transposition",
    "every_kernel",
    "reduced_axes",
]

Home = Literal["arena", "loop", "private", "state", "data", "input", "scalar", "ring", "step"]
Split = Literal["rows", "lanes", "blocks", "every", "one"]
"""How threads share a kernel: rows of one axis, blocks of lanes of the last one, blocks of some other kind,
all of it in every thread (each for itself), or one thread alone."""

BATCH = 1 << 40
"""The stride, in elements, of the axis of rows that an index picks: no real stride is so large."""


@dataclass(eq=False)
class Buffer:
    """Memory of one array.

    home     arena: of all threads; private: of each thread; scalar: one value per step, given by the host, or
             one block of a function's rows; data: rows that an index picks; state, input: given by address;
             ring: one row per step; loop: in the arena, written by a loop; step: what a step of a loop
             sees of another buffer
    place    the byte in the arena, or the number in the table of addresses
    """

    layout: Layout
    home: Home
    place: int = -1
    value: np.ndarray | None = None  # of a constant
    roomy: bool = True  # whole vectors may be read past the end of a row
    name: str = ""  # of a state
    moving: Moving | None = None  # of a step

    @property
    def nbytes(self) -> int:
        """With room for whole blocks of rows."""
        layout = self.layout
        rows = math.prod(layout.shape[:-1])
        more = (-rows % PAD) * layout.strides[-2] if layout.ndim > 1 else 0
        return (layout.extent + more + PAD) * layout.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Moving:
    """Where a step of a loop looks at a buffer: from element ``first``, at each place by ``stride`` further.

    slots   2 where the places are taken by turns, from the first step on; 0 where there is one for each
    """

    loop: Loop
    source: Buffer
    first: int = 0
    stride: int = 0
    slots: int = 0

    @property
    def root(self) -> Buffer:
        """The buffer that lies outside of all loops."""
        return self.source.moving.root if self.source.moving else self.source


@dataclass(frozen=True, slots=True)
class Place:
    """A view of a buffer."""

    buffer: Buffer
    layout: Layout


@dataclass(eq=False)
class Kernel:
    """Nodes that are computed together. ``stores`` says which of them are written, and where."""

    number: int
    nodes: list[Expr] = field(default_factory=list)
    stores: list[tuple[Expr, Place]] = field(default_factory=list)
    split: Split = "one"
    axis: int | None = None  # that is split
    extent: int = 1  # of that axis
    writes: list[Buffer] = field(default_factory=list)  # beyond the stores: marks of failure
    scratch: list[Buffer] = field(default_factory=list)  # memory while the kernel runs
    barrier: bool = False  # threads meet before this kernel

    @property
    def flops(self) -> int:
        return sum(node.size for node in self.nodes)


@dataclass(eq=False)
class Loop(Kernel):
    """A scan: kernels that run once for every step. The first node is the scan, the others its outputs.

    steps, reverse   how often, and in which direction
    outputs          of the body: next carries, then what each step gives
    rings            where each carry lies, step after step
    inside, plan     the body's kernels, and their order
    """

    steps: int = 0
    reverse: bool = False
    outputs: list[Expr] = field(default_factory=list)
    rings: list[Buffer] = field(default_factory=list)
    inside: Assignment | None = None
    plan: Schedule | None = None

    @property
    def kernels(self) -> list[Kernel]:
        return self.plan.kernels if self.plan else self.inside.kernels if self.inside else []

    @property
    def flops(self) -> int:
        return self.steps * sum(k.flops for k in self.kernels)


def every_kernel(kernels: Sequence[Kernel], times: int = 1) -> Iterator[tuple[Kernel, int]]:
    """All kernels, in loops too, each with how often it runs."""
    for kernel in kernels:
        yield kernel, times
        if isinstance(kernel, Loop):
            yield from every_kernel(kernel.kernels, times * kernel.steps)


def reduced_axes(node: Expr) -> tuple[int, ...]:
    """The axes over which a reduction goes."""
    return node.meta["axes"] if "axes" in node.meta else (node.meta["axis"],)


@dataclass(eq=False)
class Nest(Kernel):
    """Loops over a domain; element-wise nodes, and reductions over the domain's axes in ``reduced``.

    maps    the axes of every node in terms of the domain's
    """

    domain: Shape = ()
    reduced: frozenset[int] = frozenset()
    maps: dict[Expr, Map] = field(default_factory=dict)

    @property
    def flops(self) -> int:
        return sum(math.prod(self.domain) if self.full(n) else n.size for n in self.nodes)

    @property
    def kept(self) -> list[int]:
        """The axes that remain, those of size 1 left out."""
        return [a for a, n in enumerate(self.domain) if a not in self.reduced and n > 1]

    @property
    def whole(self) -> bool:
        """Whether there is nothing to share: every thread computes all of it for itself."""
        return not self.kept

    def full(self, node: Expr) -> bool:
        """Whether the node depends on a reduced axis."""
        return not self.reduced.isdisjoint(a for a in self.maps[node] if a is not None)

    def takes(self, axes: Map) -> bool:
        """Whether a node along these axes may be computed here: once for each place of the outer loops, and
        inside of the inner ones only if it depends on all of them."""
        own = {a for a in axes if a is not None}
        wide = [a for a, n in enumerate(self.domain) if n > 1]
        if self.reduced:
            return own.isdisjoint(self.reduced) or {a for a in self.reduced if a in wide} <= own
        return own == set(wide[: len(own)])

    def axes_below(self, node: Expr) -> Map:
        """The axes of what a reduction reduces."""
        axes = reduced_axes(node)
        kept, over = iter(self.maps[node]), iter(sorted(self.reduced))
        shape = node.inputs[0].shape
        return tuple(
            (next(over) if n != 1 else None) if a in axes else next(kept) for a, n in enumerate(shape)
        )


@dataclass(eq=False)
class Headed(Kernel):
    """One node of two operands, and element-wise nodes on its elements. Threads share the first axis."""

    @property
    def head(self) -> Expr:
        return self.nodes[0]

    @property
    def axes(self) -> Map:
        """Of every node: those of the head."""
        return tuple(range(len(self.nodes[0].shape)))

    @property
    def shared_axis(self) -> int:
        """The axis that threads share."""
        return 0

    @property
    def sides(self) -> tuple[Map, Map]:
        """The axes of both operands in terms of the head's, as far as a thread's share follows them."""
        first, second = self.head.inputs
        return (0, *(None,) * (first.ndim - 1)), (0, *(None,) * (second.ndim - 1))


@dataclass(eq=False)
class MaxGradient(Headed):
    """The gradient of pooling by its input, and element-wise nodes on its elements."""


@dataclass(eq=False)
class Contraction(Headed):
    """A matrix product  y = a b  and element-wise nodes on its elements.   a (…, m, k), b (…, k, n)"""

    @property
    def product(self) -> Expr:
        return self.nodes[0]

    @property
    def inner(self) -> int:
        """The terms of each sum."""
        return self.product.inputs[0].shape[-1]

    @property
    def shared_axis(self) -> int:
        return len(self.product.shape) - 2

    @property
    def sides(self) -> tuple[Map, Map]:
        axes = self.axes
        return (*axes[:-1], None), (None,) * len(axes)

    @property
    def flops(self) -> int:
        return 2 * self.product.size * self.inner + sum(n.size for n in self.nodes if n is not self.product)


@dataclass(eq=False)
class Convolution(Contraction):
    """A convolution without borders, and element-wise nodes on its elements.

    x (batch, n…, in), w (kernel…, in, out) → (batch, places…, out): for every place the product of what the
    kernel sees, which is a row of kernel·in elements, with w.
    """

    @property
    def inner(self) -> int:
        return math.prod(self.product.inputs[1].shape[:-1])

    @property
    def shared_axis(self) -> int:
        return 0

    @property
    def sides(self) -> tuple[Map, Map]:
        ndim = self.product.ndim
        return (0, *(None,) * (ndim - 1)), (None,) * ndim


@dataclass(eq=False)
class KernelGradient(Kernel):
    """The gradient of a convolution by its kernel, summed over the places of all samples."""

    @property
    def inner(self) -> int:
        """The terms of each sum."""
        return math.prod(self.nodes[0].inputs[1].shape[:-1])

    @property
    def flops(self) -> int:
        return 2 * self.nodes[0].size * self.inner


@dataclass(eq=False)
class Transposition(Kernel):
    """A copy with the last two axes exchanged."""


@dataclass(eq=False)
class Draw(Kernel):
    """Random bits, and element-wise nodes on them, over flat elements."""


@dataclass(eq=False)
class Special(Kernel):
    """One node that no loop pattern takes: sorting, scattering, running sums, joining, padding."""


@dataclass(eq=False)
class Border(Special):
    """Zeros around an array, and between its elements. What computes the array may write it where it belongs;
    otherwise it is copied."""

    @property
    def axes(self) -> Map:
        """Of the array and of what is around it, as far as threads share them: rows, where none is added."""
        node = self.nodes[0]
        alike = node.ndim > 1 and node.shape[0] == node.inputs[0].shape[0]
        return (0 if alike else None, *(None,) * (node.ndim - 1)) if node.ndim else ()


@dataclass(eq=False)
class Check(Kernel):
    """All threads leave the step here, before any state is replaced, if the condition does not hold or an
    index lay outside.

    condition    a boolean scalar
    failed       a number that is not 0 where an index lay outside
    """

    condition: Expr | None = None
    failed: Buffer | None = None
