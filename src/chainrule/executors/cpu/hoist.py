"""What does not change in a loop is computed before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chainrule.executors.cpu.assignment import operands
from chainrule.executors.cpu.evaluate import Evaluator
from chainrule.executors.cpu.views import VIEWS, Map, relabels
from chainrule.graph.expr import CONSTANT, Expr
from chainrule.ops.elementwise import DIV

__all__ = ["hoist"]


def hoist(
    e: Evaluator, wanted: Iterable[tuple[Expr, Map]], open: set[int], pending: Callable[[Expr], bool]
) -> None:
    """Computes what the wanted values need and what depends on the open axes alone.

    wanted     nodes, and the axes of the domain along which their own lie
    pending    whether a node is not computed yet by the loops themselves
    """
    _Hoist(e, open, pending).all(wanted)


class _Hoist:
    def __init__(self, e: Evaluator, open: set[int], pending: Callable[[Expr], bool]) -> None:
        self.e, self.open, self.pending = e, open, pending
        self.seen: set[tuple[Expr, Map]] = set()

    def all(self, wanted: Iterable[tuple[Expr, Map]]) -> None:
        for x, axes in wanted:
            self.settle(x, axes)

    def settle(self, x: Expr, axes: Map) -> None:
        if (x, axes) in self.seen or (x.primitive is CONSTANT and x.size == 1):
            return
        self.seen.add((x, axes))
        e = self.e
        if self.pending(x):
            return
        if x.primitive in VIEWS and not e.kept(x) and relabels(x):
            self.settle(*operands(x, axes)[0])
            return
        placed = e.place(x) is not None
        if x.primitive is DIV and not placed and not self._pending_below(x.inputs[1]):
            e.prepare_divisor(x.inputs[1], axes)
        if all(a is None or a in self.open for a in axes) and not self._pending_below(x):
            e.value(x, axes)
        elif placed:
            e.reach(x, axes, self.open)
        else:
            self.all(operands(x, e.maps[x] if x in e.own and x in e.maps else axes))

    def _pending_below(self, x: Expr) -> bool:
        if self.pending(x):
            return True
        if self.e.place(x) is not None or not x.inputs:
            return False
        return any(self._pending_below(i) for i in x.inputs)
