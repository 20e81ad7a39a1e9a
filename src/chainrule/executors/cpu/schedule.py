"""Planning, third part: the order of kernels, who computes what, where threads meet, where buffers lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from chainrule.executors.cpu.assignment import Assignment, operands, reduces
from chainrule.executors.cpu.kernels import (
    Border,
    Buffer,
    Check,
    Convolution,
    Draw,
    Headed,
    Kernel,
    KernelGradient,
    Loop,
    MaxGradient,
    Nest,
    Place,
    Transposition,
)
from chainrule.executors.cpu.recurrence import foreign
from chainrule.executors.cpu.views import VIEWS, Map
from chainrule.graph.expr import CONSTANT, Expr

__all__ = ["Access", "CycleError", "Schedule", "Stream", "schedule"]

_LINE, _PAIR = 64, 128  # bytes: a line of the cache, and two, which processors fetch together
_COMMON = frozenset({"state", "loop", "step"})  # homes of what all threads see
_CACHED = 3 << 18  # bytes that lie near a processor
_STREAMING = (Convolution, MaxGradient, Border)  # on samples that are many elements each
_APART = 320  # bytes between buffers, so that equal offsets in two of them do not meet in the cache


class CycleError(Exception):
    """Kernels wait for each other, since they replace states that others still read."""

    def __init__(self, states: set[str]) -> None:
        super().__init__(", ".join(sorted(states)))
        self.states = states


@dataclass(eq=False)
class Stream:
    """Kernels that run one after another on few rows at a time, so that the next one finds them in the cache;
    mostly a single one, on all rows."""

    kernels: list[Kernel]
    rows: int = 0  # at a time; 0: all


@dataclass(eq=False)
class Schedule:
    """Kernels in the order in which they run, and the memory that they need."""

    kernels: list[Kernel]
    arena: int = 0  # bytes that all threads share
    private: int = 0  # bytes of each thread
    reads: dict[Kernel, list[Access]] = field(default_factory=dict)
    streams: list[Stream] = field(default_factory=list)

    @property
    def barriers(self) -> int:
        return sum(k.barrier for k in self.kernels)


def schedule(found: Assignment, threads: int, turning: bool = False) -> Schedule:
    """The order with the fewest meetings of threads that the dependencies allow.

    turning   whether the kernels run again and again, in a loop
    """
    for kernel in found.kernels:
        _share(kernel)
    reads = {k: _accesses(found, k) for k in found.kernels}
    writes = {k: _writes(k) for k in found.kernels}
    after = _dependencies(found, reads, writes)
    order = _order(found, after, reads, writes, threads)
    if turning and threads > 1:
        _meet_again(order, reads, writes)
    result = Schedule(order, reads=reads, streams=_streams(order, reads, writes))
    _place_buffers(result, writes, threads, turning)
    return result


# ------------------------------------------------------------------ who computes what


def _share(kernel: Kernel) -> None:
    """How threads share the kernel's loops."""
    kernel.split, kernel.axis, kernel.extent = "one", None, 1
    if isinstance(kernel, Check):
        kernel.split = "every"
    elif isinstance(kernel, Headed):
        kernel.split, kernel.axis = "rows", kernel.shared_axis
        kernel.extent = kernel.head.shape[kernel.axis]
    elif isinstance(kernel, Border) and 0 in kernel.axes:
        kernel.split, kernel.axis, kernel.extent = "rows", 0, kernel.nodes[0].shape[0]
    elif isinstance(kernel, Transposition):
        kernel.split, kernel.extent = "blocks", kernel.nodes[0].shape[-1]
    elif isinstance(kernel, KernelGradient | Draw):
        kernel.split, kernel.extent = "blocks", kernel.nodes[0].size
    elif isinstance(kernel, Loop):
        kernel.split = "blocks"
    elif isinstance(kernel, Nest) and kernel.whole:
        kernel.split = "one" if any(p.buffer.home in _COMMON for _, p in kernel.stores) else "every"
    elif isinstance(kernel, Nest):
        kernel.axis = kernel.kept[0]
        kernel.split = "lanes" if kernel.kept == [len(kernel.domain) - 1] else "rows"
        kernel.extent = kernel.domain[kernel.axis]
    for _, place in kernel.stores:
        if place.buffer.home in ("arena", "private"):
            place.buffer.home = "private" if kernel.split == "every" else "arena"


# ------------------------------------------------------------------ what is read and written, and which part


Accesses = dict[Kernel, "list[Access]"]


class Access(NamedTuple):
    """A buffer, the stride of the split axis in it (0 where each thread may touch all of it), and how it is
    looked at: elements that are looked at alike are the same ones."""

    buffer: Buffer
    stride: int = 0
    how: object = None
    offset: int = 0


def _accesses(found: Assignment, kernel: Kernel) -> list[Access]:
    """What a kernel reads from memory."""
    if isinstance(kernel, Check):
        own = [] if kernel.failed is None else [Access(kernel.failed)]
        condition = kernel.condition
        return own + ([] if condition is None else [Access(found.places[condition].buffer)])
    if isinstance(kernel, Nest | Headed):
        return list(_through_views(found, kernel))
    if isinstance(kernel, Loop):
        return [Access(buffer) for buffer in foreign(found, kernel)]
    if isinstance(kernel, Border):
        return [_access(found.at(kernel.nodes[0].inputs[0]), kernel.axes, kernel)]
    return [Access(found.places[x].buffer) for x in found.externals(kernel)]


def _through_views(found: Assignment, kernel: Nest | Headed) -> Iterator[Access]:
    own, seen = set(kernel.nodes), set[tuple[Expr, Map]]()
    stack: list[tuple[Expr, Map]] = []
    for node in [*kernel.nodes, *(n for n, _ in kernel.stores if n not in own)]:
        axes = kernel.axes if isinstance(kernel, Headed) else kernel.maps[node]
        if isinstance(kernel, Headed) and node is kernel.head:
            for x, side in zip(node.inputs, kernel.sides, strict=True):
                yield _access(found.at(x), side, kernel)._replace(how="operand")
        elif node in own and (source := found.source(node)) is not None:
            yield _access(source, axes, kernel)
        elif node in own and isinstance(kernel, Nest) and reduces(node):
            stack.append((node.inputs[0], kernel.axes_below(node)))
        elif node in own:
            stack += operands(node, axes)
        else:
            stack.append((node, axes))
    while stack:
        x, axes = stack.pop()
        if (x, axes) in seen or x in own or (x.primitive is CONSTANT and x.size == 1):
            continue
        seen.add((x, axes))
        known = found.place(x, kernel)
        if known is not None:
            yield _access(known, axes, kernel)
        else:
            stack += operands(x, axes)


def _access(place: Place, axes: Map, kernel: Kernel) -> Access:
    pairs = zip(axes, place.layout.strides, strict=True)
    stride = sum(s for a, s in pairs if a is not None and a == kernel.axis)
    moving = tuple((a, s) for a, s in zip(axes, place.layout.strides, strict=True) if a is not None)
    return Access(place.buffer, stride, (place.layout.offset, moving), place.layout.offset)


# ------------------------------------------------------------------ what must come first


def _dependencies(found: Assignment, reads: Accesses, writes: Accesses) -> dict[Kernel, set[Kernel]]:
    """Kernel → those that must have run: who writes what it reads; who reads the state that it replaces; and
    before any state is replaced, the check of the step's health."""
    writers: dict[Buffer, list[Kernel]] = {}
    readers: dict[Buffer, list[Kernel]] = {}
    for kernel in found.kernels:
        for _, place in kernel.stores:
            writers.setdefault(place.buffer, []).append(kernel)
        for buffer, *_ in reads[kernel]:
            readers.setdefault(buffer, []).append(kernel)
    after: dict[Kernel, set[Kernel]] = {k: set() for k in found.kernels}
    for buffer, wrote in writers.items():
        if buffer.home != "state":
            for reader in readers.get(buffer, ()):
                after[reader].update(k for k in wrote if k is not reader)
    before = _all_before(found.kernels, after)
    too_early: set[str] = set()
    checks = [k for k in found.kernels if isinstance(k, Check)]
    for buffer, wrote in writers.items():
        if buffer.home != "state":
            continue
        others = {*checks, *(k for k in readers.get(buffer, ()) if k not in wrote)}
        for kernel in wrote:
            after[kernel] |= others - {kernel}
            looks = {a.how for a in [*reads[kernel], *writes[kernel]] if a.buffer is buffer}
            if len(looks) > 1 or any(kernel in before[k] for k in others):
                too_early.add(buffer.name)
    if too_early:
        raise CycleError(too_early)
    return after


def _all_before(kernels: Sequence[Kernel], after: dict[Kernel, set[Kernel]]) -> dict[Kernel, set[Kernel]]:
    """Kernel → all that it needs, directly or through others."""
    found: dict[Kernel, set[Kernel]] = {}
    for kernel in sorted(kernels, key=lambda k: (isinstance(k, Check), k.number)):
        found[kernel] = set(after[kernel]).union(*(found.get(k, set()) for k in after[kernel]))
    return found


def _order(
    found: Assignment, after: dict[Kernel, set[Kernel]], reads: Accesses, writes: Accesses, threads: int
) -> list[Kernel]:
    """Ready kernels that need no meeting first; then a meeting."""
    waiting, done, order = list(found.kernels), set[Kernel](), list[Kernel]()
    if any(isinstance(k, _STREAMING) for k in waiting):
        waiting.sort(key=lambda k: bool(after[k] or any(n.primitive not in VIEWS for n in k.nodes)))
    meeting = _Meeting()
    while waiting:
        ready = [k for k in waiting if after[k] <= done]
        if not ready:
            raise CycleError(
                {p.buffer.name for k in waiting for _, p in k.stores if p.buffer.home == "state"}
            )
        free = ready if threads == 1 else [k for k in ready if not meeting.needed(k, reads[k], writes[k])]
        if free:
            kernel = _following(order, free)
        else:
            kernel = ready[0]
            kernel.barrier = True
            meeting = _Meeting()
        meeting.add(kernel, reads[kernel], writes[kernel])
        waiting.remove(kernel)
        done.add(kernel)
        order.append(kernel)
    return order


def _meet_again(order: Sequence[Kernel], reads: Accesses, writes: Accesses) -> None:
    """Meetings between one turn of a loop and the next."""
    meeting = _Meeting()
    for turn in range(2):
        for kernel in order:
            if turn and not kernel.barrier:
                kernel.barrier = meeting.needed(kernel, reads[kernel], writes[kernel])
            if kernel.barrier:
                meeting = _Meeting()
            meeting.add(kernel, reads[kernel], writes[kernel])


def _following(order: Sequence[Kernel], free: Sequence[Kernel]) -> Kernel:
    """The first one, or the first that goes on with the same rows."""
    if order and isinstance(order[-1], _STREAMING) and _flows(order[-1]):
        last = order[-1]
        return next((k for k in free if _flows(k) and k.extent == last.extent), free[0])
    return free[0]


def _streams(order: Sequence[Kernel], reads: Accesses, writes: Accesses) -> list[Stream]:
    """Neighbours that need no meeting of threads between them need none of rows, either."""
    found: list[Stream] = []
    meeting = _Meeting()
    for kernel in order:
        last = found[-1].kernels if found else []
        alike = last and not kernel.barrier and _flows(last[-1]) and _flows(kernel)
        if (
            alike
            and last[-1].extent == kernel.extent
            and not meeting.needed(kernel, reads[kernel], writes[kernel])
        ):
            last.append(kernel)
        else:
            found.append(Stream([kernel]))
            meeting = _Meeting()
        meeting.add(kernel, reads[kernel], writes[kernel])
    for stream in found:
        if len(stream.kernels) > 1 and any(isinstance(k, _STREAMING) for k in stream.kernels):
            touched = {a.buffer for k in stream.kernels for a in writes[k]}
            row = sum(buffer.nbytes for buffer in touched) // max(stream.kernels[0].extent, 1)
            stream.rows = max(1, _CACHED // max(row, 1))
    return found


def _flows(kernel: Kernel) -> bool:
    """Whether a kernel may run on few rows at a time: its work is in each of them."""
    if kernel.split != "rows" or kernel.axis != 0:
        return False
    return isinstance(kernel, _STREAMING) or (isinstance(kernel, Nest) and len(kernel.domain) > 2)


class _Meeting:
    """What has been read and written since the threads met."""

    def __init__(self) -> None:
        self.written: dict[Buffer, set[object]] = {}
        self.read: dict[Buffer, set[object]] = {}

    def add(self, kernel: Kernel, reads: Sequence[Access], writes: Sequence[Access]) -> None:
        for access in writes:
            self.written.setdefault(_root(access.buffer), set()).add(_part(kernel, access))
        for access in reads:
            self.read.setdefault(_root(access.buffer), set()).add(_part(kernel, access))

    def needed(self, kernel: Kernel, reads: Sequence[Access], writes: Sequence[Access]) -> bool:
        """Whether another thread may still be writing what is read, or reading what is written."""
        return any(self._clash(self.written, kernel, access) for access in [*reads, *writes]) or any(
            self._clash(self.read, kernel, access) for access in writes
        )

    def _clash(self, known: dict[Buffer, set[object]], kernel: Kernel, access: Access) -> bool:
        parts = known.get(_root(access.buffer))
        if parts is None or access.buffer.home == "private":
            return False
        own = _part(kernel, access)
        return own is None or parts != {own}


def _root(buffer: Buffer) -> Buffer:
    """What a step sees of a carry, and where it leaves the next one, lie in one buffer."""
    return buffer.moving.root if buffer.moving else buffer


def _writes(kernel: Kernel) -> list[Access]:
    """What a kernel writes to memory."""
    found = []
    for node, place in kernel.stores:
        axes: Map = (None,) * node.ndim
        if isinstance(kernel, Nest):
            axes = kernel.maps[node]
        elif isinstance(kernel, Headed | Border):
            axes = kernel.axes
        found.append(_access(place, axes, kernel))
    return found + [Access(buffer) for buffer in kernel.writes]


def _part(kernel: Kernel, access: Access) -> object:
    """Which part of a buffer each thread touches, such that equal parts are equal; None where all of it."""
    if kernel.split == "one":
        return "one"
    if kernel.split in ("every", "blocks") or not 0 <= access.offset < abs(access.stride):
        return None  # an offset of a whole stride moves the rows: another thread owns them
    return kernel.split, kernel.extent, access.stride


# ------------------------------------------------------------------ memory


def _place_buffers(result: Schedule, writes: Accesses, threads: int, turning: bool) -> None:
    """Buffers that never live at once share memory: first fit, in the order of their births. With several
    threads, at once means between the same two meetings: in a loop the last one is the first one again."""
    spans: dict[Buffer, list[int]] = {}
    segment, segments = 0, max(result.barriers, 1) if turning else len(result.kernels) + 1
    numbers = {k: number for number, stream in enumerate(result.streams) for k in stream.kernels}
    for kernel in result.kernels:
        segment += kernel.barrier
        now = numbers[kernel] if threads == 1 else segment % segments
        touched = [access.buffer for access in [*writes[kernel], *result.reads[kernel]]]
        for buffer in [*touched, *kernel.scratch]:
            if buffer.home in ("arena", "loop", "private") and not (turning and buffer.value is not None):
                constant = buffer.value is not None
                span = spans.setdefault(buffer, [-1 if constant else now, now])
                span[0], span[1] = min(span[0], now), 1 << 30 if constant else max(span[1], now)
    taken: dict[str, list[tuple[int, int, int, int]]] = {"arena": [], "private": []}
    for buffer, (first, last) in sorted(spans.items(), key=lambda item: item[1][0]):
        size = -(-buffer.nbytes // _LINE) * _LINE + (_APART if buffer.nbytes > 4096 else 0)
        room = taken["private" if buffer.home == "private" else "arena"]
        busy = sorted((a, z) for f, l, a, z in room if f <= last and first <= l)
        start = 0
        for a, z in busy:
            if start + size <= a:
                break
            start = max(start, z)
        buffer.place = start
        room.append((first, last, start, start + size))
    result.arena = max((z for *_, z in taken["arena"]), default=0)
    result.private = -(-max((z for *_, z in taken["private"]), default=0) // _PAIR) * _PAIR
