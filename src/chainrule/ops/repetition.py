"""The primitive scan: a body, which is a graph, repeated over time; how such a node is made and read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import ShapeError
from chainrule.graph.expr import CONSTANT, INPUT, Expr, Graph, apply, input, item, rebuild, toposort
from chainrule.graph.primitive import Primitive
from chainrule.ops.shape import BROADCAST
from chainrule.spec import Spec

__all__ = ["close", "parts", "repeat", "run_subgraph", "stacked"]

Array = npt.NDArray[Any]


def _infer(
    *specs: Spec, body: Graph, carries: int, sequences: int, steps: int, reverse: bool
) -> tuple[Spec, ...]:
    """Final carries, then what every step gives, stacked along a new first axis."""
    takes, gives = [x.spec for x in body.inputs], [y.spec for y in body.outputs]
    if len(specs) != len(takes) or len(takes) < carries + sequences or len(gives) < carries or steps < 0:
        raise ShapeError(
            f"scan: {len(specs)} inputs, {len(takes)} of the body; {carries} carries, {sequences} sequences, "
            f"{len(gives)} outputs of the body, {steps} steps"
        )
    for place, (given, taken) in enumerate(zip(specs, takes, strict=True)):
        timed = carries <= place < carries + sequences
        wanted = stacked(taken, steps) if timed else taken
        if given != wanted:
            what = "a sequence" if timed else "a carry" if place < carries else "a constant"
            raise ShapeError(f"scan: {what} is {given}, the body takes {wanted}")
    for place in range(carries):
        if gives[place] != takes[place]:
            raise ShapeError(
                f"scan: carry {place} is {takes[place]} before a step and {gives[place]} after it; "
                "both must be alike"
            )
    return (*gives[:carries], *(stacked(y, steps) for y in gives[carries:]))


def stacked(x: Spec, steps: int) -> Spec:
    """Of so many x along a new first axis."""
    return x.with_shape((steps, *x.shape))


SCAN = Primitive("scan", infer=_infer)
"""(carries…, sequences…, constants…) → (final carries…, outputs of every step…).

The body takes the carries, one place of every sequence, and the constants; it gives the next carries and its
outputs. Its gradient, in :mod:`chainrule.ops.through_time`, is a scan in the other direction."""


def run_subgraph(node: Expr, body: Callable[..., list[Array]], *arrays: Array) -> Any:
    """The value of a call or a scan; ``body`` computes the body's outputs. The caller may write over what it
    gets: an output that is an input, a constant or a view is copied."""
    found = _steps(node, body, *arrays) if node.primitive is SCAN else body(*arrays)
    for i, v in enumerate(found):
        if v.base is not None or not v.flags.writeable or any(v is a for a in (*arrays, *found[:i])):
            found[i] = np.array(v)
    return found[0] if len(found) == 1 else tuple(found)


def _steps(node: Expr, body: Callable[..., list[Array]], *arrays: Array) -> list[Array]:
    """A scan, one step after another; outputs are written into their stacks at once."""
    n, m, steps = (node.meta[k] for k in ("carries", "sequences", "steps"))
    carries, sequences, constants = list(arrays[:n]), arrays[n : n + m], arrays[n + m :]
    stacks = [np.empty(y.shape, y.dtype) for y in node.outputs[n:]]
    for t in range(steps)[:: -1 if node.meta["reverse"] else 1]:
        found = body(*carries, *(x[t] for x in sequences), *constants)
        for stack, value in zip(stacks, found[n:], strict=True):
            stack[t] = value
        carries = found[:n]
    return [*map(np.asarray, carries), *stacks]


def repeat(
    body: Graph,
    carries: Sequence[Expr],
    sequences: Sequence[Expr],
    constants: Sequence[Expr],
    steps: int,
    reverse: bool,
) -> tuple[Expr, ...]:
    """Every output of a scan whose body is there already."""
    node = apply(
        SCAN, *carries, *sequences, *constants, body=body, carries=len(carries), sequences=len(sequences),
        steps=steps, reverse=reverse,
    )  # fmt: skip
    return tuple(item(node, i) for i in range(len(node.outputs)))


def close(outputs: Sequence[Expr], inputs: Sequence[Expr]) -> tuple[Graph, list[Expr]]:
    """The outputs as a graph of these inputs and of constants: what does not depend on the inputs becomes a
    constant as a whole. → (graph, the constants' values)"""
    own = set(inputs)
    order = toposort(outputs)
    for node in order:
        if any(x in own for x in node.inputs):
            own.add(node)
    image: dict[Expr, Expr] = {x: x for x in inputs}
    lifted: dict[Expr, Expr] = {}

    def constant(x: Expr) -> Expr:
        if x.primitive is CONSTANT and x.size == 1:
            return x
        if x.primitive is BROADCAST:  # only what it stretches is passed in
            return rebuild(x, (constant(x.inputs[0]),))
        if x not in lifted:
            name = x.meta["name"] if x.primitive is INPUT else f"constant{len(lifted)}"
            lifted[x] = input(name, x.shape, x.dtype)
        return lifted[x]

    for node in order:
        if node in own and node not in image:
            image[node] = rebuild(node, tuple(image[x] if x in own else constant(x) for x in node.inputs))
    found = tuple(image[y] if y in own else constant(y) for y in outputs)
    return Graph((*inputs, *lifted.values()), found), list(lifted)


def parts(node: Expr) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
    """The inputs of a scan by kind: (carries, sequences, constants)."""
    n, m = node.meta["carries"], node.meta["sequences"]
    return node.inputs[:n], node.inputs[n : n + m], node.inputs[n + m :]
