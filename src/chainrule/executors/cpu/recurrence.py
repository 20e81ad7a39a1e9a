"""Scans as loops: where carries and stacks lie, and what a step sees of them.

The body is planned like any graph. A carry lies in a ring: what a step starts from is one place of it, what
it leaves the next one. There are as many places as steps and one more where somebody wants them all, such as
the gradient; two that are taken by turns where nobody does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chainrule.executors.cpu.assignment import Assignment, Destination, identity_map
from chainrule.executors.cpu.kernels import Buffer, Kernel, Loop, Moving, Nest, Place
from chainrule.executors.cpu.layout import Layout, dense, padded
from chainrule.graph.expr import Expr
from chainrule.spec import DTYPES

if TYPE_CHECKING:
    from chainrule.executors.cpu.grouping import Grouping
    from chainrule.executors.cpu.schedule import Schedule

__all__ = ["fix_places", "foreign", "lay_out", "leaves_of", "scratch", "wanted_of"]


# ------------------------------------------------------------------ where carries and stacks lie


def lay_out(kernel: Loop, groups: Grouping, places: dict[Expr, Place]) -> None:
    """Places for all outputs of a scan; kernels that bring its carries to where the first step looks."""
    scan, flat = kernel.nodes[0], groups.flat
    n, body = scan.meta["carries"], scan.meta["body"]
    wanted = {
        (x.meta["index"] if x is not scan else 0): x for x in [*kernel.nodes[1:], scan] if x in groups.wanted
    }
    for i in range(n):
        before = [k for k in wanted if k >= n and kernel.outputs[k] is body.inputs[i]]
        after = [k for k in wanted if k >= n and kernel.outputs[k] is kernel.outputs[i] and k not in before]
        if kernel.outputs[i] in kernel.outputs[:i] or kernel.outputs[i] in body.inputs:
            after = []  # another carry has it already, or no step computes it
        spec = body.outputs[i].spec
        kept = [k for k in (*before, *after) if wanted[k] not in places]
        slots = kernel.steps + 1 if kept else 2
        names = [wanted[k] for k in (i, *kept) if k in wanted]
        ring = _buffer((slots, *spec.shape), spec.dtype, any(x in flat for x in names))
        kernel.rings.append(ring)
        shape, strides = ring.layout.shape[1:], ring.layout.strides
        first, last = _ends(kernel, slots)
        if i in wanted:
            places[wanted[i]] = Place(ring, Layout(shape, strides[1:], spec.dtype, last * strides[0]))
        for k in kept:
            start = int((k in before) == kernel.reverse) * strides[0]
            whole = Layout((kernel.steps, *shape), strides, spec.dtype, start)
            places[wanted[k]] = Place(ring, whole)
        _bring(
            scan.inputs[i], Place(ring, Layout(shape, strides[1:], spec.dtype, first * strides[0])), groups
        )
    for k, x in wanted.items():
        if x not in places:
            spec = scan.outputs[k]
            buffer = _buffer(spec.shape, spec.dtype, x in flat)
            places[x] = Place(buffer, buffer.layout)


def _buffer(shape: tuple[int, ...], dtype: object, flat: bool) -> Buffer:
    layout = (dense if flat else padded)(shape, dtype)  # type: ignore[arg-type]
    return Buffer(layout, "loop", roomy=not flat or len(shape) < 2)


def _ends(kernel: Loop, slots: int) -> tuple[int, int]:
    """The places where the first carry lies and where the last one is left."""
    if slots == kernel.steps + 1:
        return (kernel.steps, 0) if kernel.reverse else (0, kernel.steps)
    return 0, kernel.steps % 2


def _bring(x: Expr, place: Place, groups: Grouping) -> None:
    kernel = Nest(len(groups.kernels), domain=x.shape)
    kernel.maps[x] = identity_map(x)
    kernel.stores.append((x, place))
    groups.kernels.append(kernel)


# ------------------------------------------------------------------ what a step sees


def leaves_of(kernel: Loop, outer: Assignment) -> dict[Expr, Buffer]:
    """The body's inputs as buffers that move with the steps."""
    scan = kernel.nodes[0]
    n, m, body = scan.meta["carries"], scan.meta["sequences"], scan.meta["body"]
    found = {x: _carry(kernel, i, after=False) for i, x in enumerate(body.inputs[:n])}
    for place, (x, whole) in enumerate(zip(body.inputs[n:], scan.inputs[n:], strict=True)):
        at = outer.at(whole)
        layout, timed = at.layout, place < m
        own = Layout(x.shape, layout.strides[1:] if timed else layout.strides, x.dtype)
        moving = Moving(kernel, at.buffer, layout.offset, layout.strides[0] if timed else 0)
        found[x] = Buffer(own, "step", roomy=at.buffer.roomy, moving=moving)
    return found


def _carry(kernel: Loop, i: int, after: bool) -> Buffer:
    ring = kernel.rings[i]
    layout = ring.layout
    own = Layout(layout.shape[1:], layout.strides[1:], layout.dtype)
    turns = 0 if layout.shape[0] == kernel.steps + 1 else 2
    place = int(after) if turns else int(after != kernel.reverse)
    return Buffer(
        own,
        "step",
        roomy=ring.roomy,
        moving=Moving(kernel, ring, place * layout.strides[0], layout.strides[0], turns),
    )


def wanted_of(kernel: Loop, outer: Assignment) -> list[Destination]:
    """Where a step leaves its carries and outputs."""
    scan = kernel.nodes[0]
    n = scan.meta["carries"]
    found = [Destination(y, _carry(kernel, i, after=True)) for i, y in enumerate(kernel.outputs[:n])]
    for x, place in kernel.stores:
        k = x.meta["index"] if x is not scan else 0
        if k < n or place.buffer in kernel.rings:
            continue
        layout, y = place.layout, kernel.outputs[k]
        moving = Moving(kernel, place.buffer, layout.offset, layout.strides[0])
        own = Layout(y.shape, layout.strides[1:], y.dtype)
        found.append(Destination(y, Buffer(own, "step", roomy=place.buffer.roomy, moving=moving)))
    return found


# ------------------------------------------------------------------ the memory of its kernels


def foreign(found: Assignment, kernel: Loop) -> Iterator[Buffer]:
    """What the steps use of what lies outside."""
    seen = dict.fromkeys(found.places[x].buffer for x in found.externals(kernel))
    seen.update(dict.fromkeys(kernel.rings))
    if kernel.plan is not None:
        for own in _touched(kernel):
            if own.value is not None:
                seen[own] = None
    yield from seen


def _touched(kernel: Loop) -> Iterator[Buffer]:
    """Every buffer that the kernels of a loop touch, loops inside it included."""
    if kernel.plan is None:
        return
    for inner in kernel.plan.kernels:
        yield from (a.buffer for a in kernel.plan.reads[inner])
        yield from (p.buffer for _, p in inner.stores)
        yield from inner.writes
        yield from inner.scratch
        if isinstance(inner, Loop):
            yield from inner.rings
            yield from _touched(inner)


def scratch(kernel: Loop) -> None:
    """Memory for the buffers of its kernels, while it runs."""
    if kernel.plan is None:
        return
    for size, home in ((kernel.plan.arena, "arena"), (kernel.plan.private, "private")):
        kernel.scratch.append(Buffer(dense((max(size, 1),), DTYPES["uint8"]), home))  # type: ignore[arg-type]


def fix_places(kernels: list[Kernel]) -> None:
    """Moves what lies in the memory of a loop to where that memory has come to lie."""
    for kernel in kernels:
        if isinstance(kernel, Loop) and kernel.plan is not None:
            shared, private = kernel.scratch
            own = [b for inner in kernel.plan.kernels for b in _own(kernel.plan, inner)]
            for buffer in dict.fromkeys(own):
                buffer.place += (private if buffer.home == "private" else shared).place
            fix_places(kernel.plan.kernels)


def _own(plan: Schedule, inner: Kernel) -> Iterator[Buffer]:
    """The buffers of a kernel that lie in the memory of its loop."""
    touched = [*(a.buffer for a in plan.reads[inner]), *(p.buffer for _, p in inner.stores), *inner.scratch]
    yield from (b for b in touched if b.home in ("arena", "loop", "private") and b.value is None)
