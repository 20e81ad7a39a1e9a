"""scan: one step, repeated over time. The body is a graph; what it carries goes from step to step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from chainrule.errors import ConfigError, ShapeError
from chainrule.graph.expr import Expr, input
from chainrule.ops.repetition import close, repeat

__all__ = ["scan"]

Step = Callable[[tuple[Expr, ...], tuple[Expr, ...]], tuple[Sequence[Expr], Sequence[Expr]]]


def scan(
    step: Step,
    carries: Expr | Iterable[Expr] = (),
    sequences: Expr | Iterable[Expr] = (),
    *,
    steps: int | None = None,
    reverse: bool = False,
) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    """One step repeated:  (c, y[t]) = step(c, x[t]),  t = 0 … steps − 1. → (final carries, stacked outputs)

    step       from (carries, one place of every sequence), both tuples of nodes, to (next carries, outputs)
    carries    what the first step starts from; each keeps its shape and dtype
    sequences  arrays (steps, …); the step sees one place of the first axis
    steps      how often, where there is no sequence that tells
    reverse    from the last place to the first; y[t] still belongs to x[t]

    What the step uses besides, such as weights, is found by itself; what of it does not depend on the step is
    computed once, before. Compiled, it is a loop: its code is as long as one step's.

    ShapeError where a carry changes its shape or sequences differ in length; ConfigError where nothing says
    how many steps there are.

    >>> import numpy as np
    >>> from chainrule import ops
    >>> from chainrule.executors import evaluate
    >>> x = ops.input("x", (4,))
    >>> _, (running,) = scan(lambda c, x: ((c[0] + x[0],), (c[0] + x[0],)), ops.constant(0.0), x)
    >>> evaluate([running], {x: [1, 2, 3, 4]})[0].tolist()
    [1.0, 3.0, 6.0, 10.0]
    """
    first = (carries,) if isinstance(carries, Expr) else tuple(carries)
    timed = (sequences,) if isinstance(sequences, Expr) else tuple(sequences)
    count = _count(timed, steps)
    c = tuple(input(f"carry{i}", x.shape, x.dtype) for i, x in enumerate(first))
    x = tuple(input(f"x{i}", s.shape[1:], s.dtype) for i, s in enumerate(timed))
    following, given = step(c, x)
    following, given = tuple(following), tuple(given)
    if len(following) != len(c):
        raise ShapeError(f"scan: the step gives {len(following)} carries of {len(c)}")
    body, constants = close([*following, *given], [*c, *x])
    found = repeat(body, first, timed, constants, count, reverse)
    return found[: len(c)], found[len(c) :]


def _count(sequences: Sequence[Expr], steps: int | None) -> int:
    if bad := [x for x in sequences if not x.ndim]:
        raise ShapeError(f"scan: {bad[0].spec} has no axis of time")
    lengths = {x.shape[0] for x in sequences} | ({steps} if steps is not None else set())
    if len(lengths) > 1:
        raise ShapeError(f"scan: there are {sorted(lengths)} steps; sequences must be equally long")
    if not lengths:
        raise ConfigError("scan: no sequence tells the number of steps; give steps=")
    return lengths.pop()
