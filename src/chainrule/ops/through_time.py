"""The gradient of scan: back-propagation through time, as a scan in the other direction.

What the sweep needs of a step is stacked by a forward scan of the same carries, which passes merge with the
first one: nothing is computed twice but what moves elements. The gradients of products with constants, the
weights, are not added up step by step: Σₜ aₜᵀ gₜ is one product over all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chainrule.graph.expr import Expr, Graph, input, rebuild, substitute, toposort
from chainrule.ops.elementwise import ADD, NEG, zeros_like
from chainrule.ops.linalg import MATMUL
from chainrule.ops.reduce import SUM
from chainrule.ops.reduce import sum as total
from chainrule.ops.repetition import close, parts, repeat
from chainrule.ops.shape import (
    BROADCAST,
    CONCAT,
    FLIP,
    PAD,
    RESHAPE,
    SLICE,
    TRANSPOSE,
    reshape,
    transpose,
)
from chainrule.spec import is_float

__all__ = ["scan_vjp"]

Sweep = Callable[[Sequence[Expr], Sequence[Expr], Sequence[Expr]], list[Expr]]

_MOVES = frozenset({BROADCAST, CONCAT, FLIP, PAD, RESHAPE, SLICE, TRANSPOSE})
"""What is done again rather than stacked: it costs little more than reading."""


def scan_vjp(g: Mapping[int, Expr], node: Expr, sweep: Sweep) -> list[Expr | None]:
    """The cotangents of a scan's inputs.

    g      the cotangents of its outputs, by number, of those that have one
    sweep  the gradient of a graph: :func:`chainrule.autodiff.vjp`
    """
    return _Back(g, node, sweep).run()


@dataclass(eq=False)
class _Back:
    g: Mapping[int, Expr]
    node: Expr
    sweep: Sweep
    stacks: dict[Expr, Expr] = field(default_factory=dict)  # a place of a stack, in the body → the stack
    kept: dict[Expr, Expr] = field(default_factory=dict)  # a node of the forward body → its place
    asked: dict[Expr, Expr] = field(
        default_factory=dict
    )  # what the body shall give at every step → its stack
    added: dict[Expr, Expr] = field(default_factory=dict)  # what it shall add up → the sum

    def run(self) -> list[Expr | None]:
        node, body = self.node, self.node.meta["body"]
        n, m, steps = node.meta["carries"], node.meta["sequences"], node.meta["steps"]
        live = [i for i in range(n) if is_float(body.outputs[i].dtype)]
        given = [i for i in range(n, len(body.outputs)) if i in self.g]
        seeds = [input(f"g{i}", body.outputs[i].shape, body.outputs[i].dtype) for i in (*live, *given)]
        wrt = [i for i, x in enumerate(body.inputs) if is_float(x.dtype)]
        outputs = [body.outputs[i] for i in (*live, *given)]
        sent = self.sweep(outputs, [body.inputs[i] for i in wrt], seeds)
        back = dict(zip(wrt, self._cut(body, seeds, sent), strict=True))
        self.stacks.update((seeds[len(live) + k], self.g[i]) for k, i in enumerate(given))
        timed = {*self.stacks, *seeds}
        over = {i: self._over(back[i], timed, steps) for i in wrt if i >= n + m}
        found = self._scanned(
            [back[i] for i in live], seeds[: len(live)], live, [back[i] for i in wrt if n <= i < n + m]
        )
        result: list[Expr | None] = [None] * len(node.inputs)
        finals, sums, pieces = found
        for i, x in zip(live, finals, strict=True):
            result[i] = x
        for i, x in zip([i for i in wrt if n <= i < n + m], pieces, strict=True):
            result[i] = x
        for i, x in zip(over, substitute(list(over.values()), sums), strict=True):
            result[i] = x
        return result

    # ------------------------------------------------------------------ what is needed of the forward steps

    def _cut(self, body: Graph, seeds: Sequence[Expr], sent: Sequence[Expr]) -> list[Expr]:
        """The sweep's graph, in which nodes of the forward step are places of stacks."""
        node = self.node
        carries, sequences, constants = parts(node)
        n, m = len(carries), len(sequences)
        forward = set(toposort(body.outputs))
        moving = set(body.inputs[: n + m])
        for x in toposort(body.outputs):
            if any(i in moving for i in x.inputs):
                moving.add(x)
        image: dict[Expr, Expr] = {x: x for x in seeds}
        image.update(zip(body.inputs[n + m :], constants, strict=True))
        for x, whole in zip(body.inputs[n : n + m], sequences, strict=True):
            image[x] = input(x.meta["name"], x.shape, x.dtype)
            self.stacks[image[x]] = whole

        def keep(x: Expr) -> None:
            image[x] = self.kept[x] = input(f"kept{len(self.kept)}", x.shape, x.dtype)

        order = _needed(sent, lambda x: x in image or _stored(x, forward, moving))
        for x in order:
            if x in image:
                continue
            if _stored(x, forward, moving):
                keep(x)
            else:
                image[x] = rebuild(x, tuple(image[i] for i in x.inputs))
        found = repeat(
            Graph(body.inputs, (*body.outputs, *self.kept)), carries, sequences, constants,
            node.meta["steps"], node.meta["reverse"],
        )  # fmt: skip
        self.stacks.update(zip(self.kept.values(), found[len(body.outputs) :], strict=True))
        return [image[x] for x in sent]

    # ------------------------------------------------------------------ sums over time

    def _over(self, e: Expr, timed: set[Expr], steps: int) -> Expr:
        """Σₜ e, as a graph outside of the steps: of stacks, and of sums that the steps add up.

        timed  what differs from step to step; it grows
        """
        for x in toposort([e]):
            if any(i in timed for i in x.inputs):
                timed.add(x)
        return self._sum(e, timed, steps)

    def _sum(self, e: Expr, timed: set[Expr], steps: int) -> Expr:
        if e not in timed:
            return e * steps
        if e.primitive is ADD or e.primitive is NEG:
            return rebuild(e, tuple(self._sum(x, timed, steps) for x in e.inputs))
        if e.primitive in (RESHAPE, TRANSPOSE, PAD, SLICE, CONCAT, FLIP):
            return rebuild(e, tuple(self._sum(x, timed, steps) for x in e.inputs))
        if e.primitive is MATMUL and e.ndim == 2:
            return self._product(e, timed, steps)
        if e.primitive is SUM and e.inputs[0] in {**self.stacks, **self.asked}:
            return total(self._stack(e.inputs[0]), [0, *(a + 1 for a in e.meta["axes"])])
        if e not in self.added:
            self.added[e] = input(f"sum{len(self.added)}", e.shape, e.dtype)
        return self.added[e]

    def _product(self, e: Expr, timed: set[Expr], steps: int) -> Expr:
        """Σₜ aₜ bₜ = [a₀ a₁ …] [b₀; b₁; …]"""
        a, b = e.inputs
        if a not in timed:
            return a @ self._sum(b, timed, steps)
        if b not in timed:
            return self._sum(a, timed, steps) @ b
        (m, k), n = a.shape, b.shape[1]
        if a.primitive is TRANSPOSE:
            left = transpose(reshape(self._stack(a.inputs[0]), (steps * k, m)))
        else:
            left = reshape(transpose(self._stack(a), (1, 0, 2)), (m, steps * k))
        if b.primitive is TRANSPOSE:
            right = reshape(transpose(self._stack(b.inputs[0]), (0, 2, 1)), (steps * k, n))
        else:
            right = reshape(self._stack(b), (steps * k, n))
        return left @ right

    def _stack(self, x: Expr) -> Expr:
        if x in self.stacks:
            return self.stacks[x]
        if x not in self.asked:
            self.asked[x] = input(f"stack{len(self.asked)}", (self.node.meta["steps"], *x.shape), x.dtype)
        return self.asked[x]

    # ------------------------------------------------------------------ the scan backwards

    def _scanned(
        self, following: Sequence[Expr], carried: Sequence[Expr], live: Sequence[int], pieces: Sequence[Expr]
    ) -> tuple[Sequence[Expr], dict[Expr, Expr], Sequence[Expr]]:
        """→ (cotangents of the carries, what stands for each stack and sum, cotangents of the sequences)"""
        node = self.node
        before = [input(f"total{i}", x.shape, x.dtype) for i, x in enumerate(self.added)]
        sums = [total + x for total, x in zip(before, self.added, strict=True)]
        body, constants = close([*following, *sums, *pieces, *self.asked], [*carried, *before, *self.stacks])
        first = [self.g[i] if i in self.g else zeros_like(node.meta["body"].outputs[i]) for i in live]
        found = repeat(
            body, [*first, *(zeros_like(x) for x in self.added)], list(self.stacks.values()), constants,
            node.meta["steps"], not node.meta["reverse"],
        )  # fmt: skip
        n, k = len(following), len(self.added)
        stood = dict(zip(self.added.values(), found[n : n + k], strict=True))
        rest = found[n + k :]
        stood.update(zip(self.asked.values(), rest[len(pieces) :], strict=True))
        return found[:n], stood, rest[: len(pieces)]


def _stored(x: Expr, forward: set[Expr], moving: set[Expr]) -> bool:
    """Whether a node of the forward step is stacked: not what is computed from constants alone, nor what
    only moves elements. A node of several outputs is stacked output by output."""
    return x in forward and x in moving and x.primitive not in _MOVES and len(x.outputs) == 1


def _needed(outputs: Sequence[Expr], known: Callable[[Expr], bool]) -> list[Expr]:
    """What the outputs need, each after its inputs, as far as what is known."""
    order: list[Expr] = []
    seen: set[Expr] = set()
    stack: list[tuple[Expr, bool]] = [(x, False) for x in reversed(outputs)]
    while stack:
        x, ready = stack.pop()
        if ready:
            order.append(x)
        elif x not in seen:
            seen.add(x)
            stack.append((x, True))
            if not known(x):
                stack += [(i, False) for i in reversed(x.inputs) if i not in seen]
    return order
