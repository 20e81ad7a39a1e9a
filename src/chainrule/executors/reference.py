"""The reference executor: walks the graph with NumPy. It is the definition of correct."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, ConfigError, ShapeError
from chainrule.executors.program import Array, Function, Program, State
from chainrule.graph.expr import CONSTANT, INPUT, ITEM, Expr, toposort
from chainrule.graph.origin import locate
from chainrule.ops.elementwise import STOP_GRADIENT, WHERE
from chainrule.ops.repetition import run_subgraph
from chainrule.ops.shape import BROADCAST, FLIP, RESHAPE, SLICE, TRANSPOSE
from chainrule.ops.sliding import WINDOWS

__all__ = ["ReferenceEpoch", "Walk", "evaluate"]

LEAVES = frozenset({INPUT, CONSTANT})
VIEWS = frozenset({ITEM, STOP_GRADIENT, BROADCAST, FLIP, RESHAPE, SLICE, TRANSPOSE, WINDOWS})
"""Primitives whose value may share memory with their input."""
BORROWED = LEAVES | VIEWS


class Walk(Function):
    """The graph as a list of NumPy calls; every value is dropped, or written over, after its last use.

    ``owned`` inputs may be written over too, once the first ``delivered`` outputs have been computed.
    """

    def __init__(
        self, outputs: Sequence[Expr], inputs: Sequence[Expr], owned: Sequence[Expr] = (), delivered: int = 0
    ) -> None:
        order = toposort([*inputs, *outputs])
        self.slot, operands = {n: i for i, n in enumerate(order)}, {n: _operands(n) for n in order}
        used = {*outputs, *(x for xs in operands.values() for x in xs)}
        self.order = [n for n in order if n.primitive not in LEAVES and n in used]
        early = set(toposort(outputs[:delivered]))
        self.boundary = sum(n in early for n in self.order)
        if unknown := [n for n in order if n.primitive is INPUT and n not in set(inputs)]:
            raise ConfigError(f"input {unknown[0].meta['name']!r} is needed by the graph but was not given")
        self.constants = [n.meta["value"] if n.primitive is CONSTANT else None for n in order]
        self.given, self.inputs = tuple(inputs), [self.slot[x] for x in inputs]
        self.outputs = [self.slot[y] for y in outputs]
        owner: dict[Expr, Expr] = {}  # the node in whose memory a value may lie
        for node in order:
            owner[node] = owner[node.inputs[0]] if node.primitive in VIEWS else node
        last = {owner[x]: k for k, node in enumerate(self.order) for x in (node, *operands[node])}
        last.update((owner[y], len(self.order)) for y in outputs)
        writable = {n for n in self.order if n.primitive not in VIEWS}
        writable |= {x for x in owned if last.get(x, 0) >= self.boundary}
        # (place of the result, function, places of the operands, place to write over, places to drop)
        self.calls: list[tuple[int, Callable[..., Any], list[int], int | None, list[int]]] = []
        for k, node in enumerate(self.order):
            dying = [
                x
                for x in dict.fromkeys(operands[node])
                if last[owner[x]] == k and x.primitive is not CONSTANT
            ]
            target: int | None = None
            if _elementwise(node) and node.shape:
                fits = [x for x in dying if x in writable and x.outputs == node.outputs]
                # a temporary before a state: other cores hold the weights, which a write would call back
                target = next((self.slot[x] for x in sorted(fits, key=lambda x: x.primitive is INPUT)), None)
            places = [self.slot[x] for x in operands[node]]
            self.calls.append(
                (self.slot[node], _function(node), places, target, [self.slot[x] for x in dying])
            )

    def start(self, arrays: Sequence[Any]) -> list[Any]:
        """Values by place, with the inputs filled in."""
        values = list(self.constants)
        for place, array in zip(self.inputs, arrays, strict=True):
            values[place] = array
        return values

    def advance(self, values: list[Any], first: int = 0, stop: int | None = None) -> None:
        """Make the calls ``first`` to ``stop``."""
        place = 0
        try:
            for place, function, operands, target, dying in self.calls[first:stop]:
                arguments = [values[i] for i in operands]
                values[place] = (
                    function(*arguments) if target is None else function(*arguments, out=values[target])
                )
                for i in dying:
                    values[i] = None
        except ChainruleError as error:  # what only a run can tell: an index out of range
            locate(error, next(n for n in self.order if self.slot[n] == place).origin)
            raise

    def __call__(self, *arrays: Any) -> list[Array]:
        values = self.start([_fitting(x, a) for x, a in zip(self.given, arrays, strict=True)])
        with np.errstate(all="ignore"):
            self.advance(values)
        return [np.asarray(values[i]) for i in self.outputs]


def _fitting(x: Expr, value: Any) -> Array:
    array = np.asarray(value, x.dtype)
    if array.shape != x.shape:
        name = x.meta.get("name", x.primitive.name)
        raise ShapeError(f"input {name!r} is {x.spec}, an array of shape {array.shape} was given")
    return array


def _elementwise(node: Expr) -> bool:
    """A ufunc, but not np.matmul, which neither stretches its operands nor may write over them."""
    function = node.primitive.reference
    return isinstance(function, np.ufunc) and function.signature is None


def _operands(node: Expr) -> tuple[Expr, ...]:
    """What a call reads. Element-wise calls stretch their operands themselves, so broadcasts are left out
    while one operand keeps the full shape."""
    stretched = [x.primitive is BROADCAST for x in node.inputs]
    if all(stretched) or not (node.primitive is WHERE or _elementwise(node)):
        return node.inputs
    return tuple(x.inputs[0] if broad else x for x, broad in zip(node.inputs, stretched, strict=True))


def _function(node: Expr) -> Callable[..., Any]:
    if (body := node.meta.get("graph", node.meta.get("body"))) is not None:
        return functools.partial(run_subgraph, node, Walk(body.outputs, body.inputs))
    function = node.primitive.reference
    if function is None:
        raise ConfigError(f"{node.primitive.name} has no reference")
    return functools.partial(function, **node.meta) if node.meta else function


def evaluate(outputs: Sequence[Expr], given: Mapping[Expr, Any]) -> list[Array]:
    """The values of nodes, with arrays given for the inputs.

    >>> from chainrule import ops
    >>> x = ops.input("x", (2,))
    >>> evaluate([ops.sum(x * x)], {x: [3, 4]})[0].item()
    25.0
    """
    return Walk(outputs, list(given))(*given.values())


class ReferenceEpoch:
    """Many steps of a program: gather a batch, compute, leave before the update of an unhealthy step."""

    threads = 1

    def __init__(self, program: Program) -> None:
        self.program = program
        self.names = [x.meta["name"] for x in program.state]
        first = list(program.outputs.values()) + ([program.healthy] if program.healthy is not None else [])
        self.first = len(first)
        owned = [x for x in program.state if x.meta["name"] in program.updates]
        inputs = [*program.batch, *program.scalars, *program.state]
        self.walk = Walk([*first, *program.updates.values()], inputs, owned, self.first)

    def run(
        self, state: State, data: Sequence[Array], index: Array, scalars: Sequence[Array]
    ) -> tuple[int, dict[str, Array]]:
        rows: list[list[Array]] = []
        with np.errstate(all="ignore"):
            for k, places in enumerate(index):
                batch = [array[places] for array in data]
                delivered = self._step(state, [*batch, *(s[k] for s in scalars)])
                if delivered is None:
                    break
                rows.append(delivered)
        return len(rows), _stack(rows, self.program.outputs)

    def _step(self, state: State, arrays: list[Any]) -> list[Array] | None:
        walk, program = self.walk, self.program
        values = walk.start([*arrays, *(state[name] for name in self.names)])
        walk.advance(values, 0, walk.boundary)
        delivered = [values[i] for i in walk.outputs[: self.first]]
        if program.healthy is not None and not delivered[-1]:
            return None
        delivered = [np.array(v) for v in delivered[: len(program.outputs)]]  # the update may write over them
        walk.advance(values, walk.boundary)
        held: set[int] = set()
        for (name, node), place in zip(program.updates.items(), walk.outputs[self.first :], strict=True):
            value = np.asarray(values[place])
            if node.primitive in BORROWED or value.base is not None or id(value) in held:
                value = np.array(value)  # two states never share memory
            state[name] = value
            held.add(id(value))
        return delivered


def _stack(rows: Sequence[Sequence[Array]], outputs: Mapping[str, Expr]) -> dict[str, Array]:
    """The outputs of several steps, one array (steps, …) per name."""
    return {
        name: np.array([row[i] for row in rows], node.dtype).reshape(len(rows), *node.shape)
        for i, (name, node) in enumerate(outputs.items())
    }
