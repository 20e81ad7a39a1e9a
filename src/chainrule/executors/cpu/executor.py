"""The cpu executor: programs and functions as native code."""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from chainrule.errors import ConfigError, ShapeError
from chainrule.executors.cpu.kernels import Buffer, Kernel
from chainrule.executors.cpu.memory import aligned, resident
from chainrule.executors.cpu.module import CONTEXT, emit_module
from chainrule.executors.cpu.native import Native, compile_module
from chainrule.executors.cpu.plan import Plan, plan_function, plan_program, wants_padding
from chainrule.executors.cpu.schedule import Schedule
from chainrule.executors.cpu.target import Target, host
from chainrule.executors.cpu.threads import Team, barrier_state, native_function
from chainrule.executors.program import Array, Blocks, Function, Program, State
from chainrule.executors.reference import ReferenceEpoch, Walk
from chainrule.graph.expr import INPUT, Expr, toposort
from chainrule.spec import DType

__all__ = ["CpuEpoch", "CpuFunction"]


_first_byte: Any = ctypes.c_char.from_buffer
_address_of = ctypes.addressof
_STEPS, _INDEX = CONTEXT.index("steps"), CONTEXT.index("index")

# ------------------------------------------------------------------ code and its memory


class _Code:
    """Native code of a plan, and memory for one run at a time from each thread that asks."""

    def __init__(self, plan: Plan, target: Target, timed: bool = False) -> None:
        self.plan, self.target, self.timed = plan, target, timed
        self.team = Team(plan.threads)
        self.native: Native = compile_module(self._written, target, f"{plan.identity} {timed}")
        self.entry = self.native.address("run")
        self.alone = native_function(self.entry)
        self.constants = [
            b for k in plan.schedule.kernels for b in _touched(plan.schedule, k) if b.value is not None
        ]
        self._free: list[_Frame] = []

    def _written(self) -> str:
        plan = self.plan
        return emit_module(plan.found, plan.schedule, self.target, plan.threads, plan.batch, self.timed)

    def take(self) -> _Frame:
        """Memory that nobody else uses now; to be given back."""
        try:
            return self._free.pop()
        except IndexError:
            return _Frame(self)

    def give(self, frame: _Frame) -> None:
        self._free.append(frame)


def _touched(plan: Schedule, kernel: Kernel) -> list[Buffer]:
    return [a.buffer for a in plan.reads[kernel]] + kernel.writes


class _Frame:
    """The memory of one run: arena, table of addresses, barrier, context."""

    def __init__(self, code: _Code) -> None:
        plan = code.plan.schedule
        shared = -(-plan.arena // 4096) * 4096 + 4096
        self.code = code
        self.arena = aligned(shared + plan.private * code.plan.threads + 4096)
        self.table = np.zeros(max(len(code.plan.table), 1), np.int64)
        self.done = np.zeros(1, np.int64)
        self.cycles = np.zeros(len(plan.kernels), np.int64)
        self.barrier = barrier_state()
        self.context = np.zeros(len(CONTEXT), np.int64)
        values = {
            "arena": self.arena.ctypes.data,
            "private": shared,
            "addresses": self.table.ctypes.data,
            "barrier": self.barrier.ctypes.data,
            "done": self.done.ctypes.data,
            "cycles": self.cycles.ctypes.data,
        }
        for name, value in values.items():
            self.context[CONTEXT.index(name)] = value
        self.address = self.context.ctypes.data
        self.known: dict[int, Array | None] = {}  # arrays whose addresses the table holds already
        self.owner: object = None  # whose arrays they are, where they are not asked for one by one
        self.mark = None if code.plan.failed is None else self._view(code.plan.failed)
        for buffer in code.constants:
            self._view(buffer)[...] = buffer.value

    def _view(self, buffer: Buffer) -> Array:
        layout = buffer.layout
        strides = tuple(s * layout.dtype.itemsize for s in layout.strides)
        return np.ndarray(layout.shape, layout.dtype, buffer=self.arena, offset=buffer.place, strides=strides)

    def run(self, steps: int, index: int) -> int:
        """→ the number of healthy steps."""
        self.done[0] = 0
        self.context[_STEPS], self.context[_INDEX] = steps, index
        self.enter()
        return int(self.done[0])

    def enter(self) -> None:
        """As often and with the index as the last time."""
        if self.mark is not None:
            self.mark[...] = 0
        if self.code.team.threads == 1:
            self.code.alone(0, self.address)
        else:
            self.code.team.run(self.code.entry, self.address, self.barrier)

    @property
    def failed(self) -> bool:
        """Whether an index lay outside."""
        return self.mark is not None and bool(self.mark)


def _address(array: Array) -> int:
    """Of the first byte of an array in C order; sooner than ``array.ctypes`` tells it where one may write."""
    try:
        return _address_of(_first_byte(array))
    except (TypeError, ValueError):  # read-only, or empty
        return array.ctypes.data


# ------------------------------------------------------------------ the executor's two faces


class CpuEpoch:
    """Many steps of a program in one native call.

    timed    whether the clock cycles of every kernel are added up
    """

    def __init__(
        self,
        program: Program,
        *,
        threads: int | None = None,
        target: Target | None = None,
        timed: bool = False,
    ) -> None:
        self.program = program
        self.plan = plan_program(program, threads)
        self.threads = self.plan.threads
        self.code = _Code(self.plan, target or host(), timed)
        self.rows = [x.shape[1:] for x in program.batch]
        self.given = [x.dtype for x in (*program.batch, *program.scalars)]
        self.states = [(x.meta["name"], x.shape, x.dtype) for x in program.state]
        self.delivered = [(name, x.shape, x.dtype) for name, x in program.outputs.items()]

    def run(
        self, state: State, data: Sequence[Array], index: Array, scalars: Sequence[Array]
    ) -> tuple[int, dict[str, Array]]:
        steps = len(index)
        order = np.ascontiguousarray(index, np.int64)
        _check_rows(order, data)
        found = {name: np.empty((steps, *shape), dtype) for name, shape, dtype in self.delivered}
        frame, held = self.code.take(), [order, *found.values()]  # held until the code has run
        try:
            given = [*data, *scalars]
            for i, (array, shape, dtype) in enumerate(
                zip(given, self._shapes(steps), self.given, strict=True)
            ):
                if array is None or frame.known.get(i) is not array:
                    held.append(self._put(frame, i, array, shape, dtype))
            self._put_states(frame, state, len(given))
            for i, array in enumerate(found.values(), len(given) + len(self.states)):
                frame.table[i] = _address(array)
            done = frame.run(steps, _address(order))
            failed = frame.failed
        finally:
            self.code.give(frame)
        if failed:  # the reference says which index it was
            rest = [s[done : done + 1] for s in scalars]
            ReferenceEpoch(self.program).run(dict(state), data, index[done : done + 1], rest)
        return done, {name: a[:done] for name, a in found.items()}

    def take_cycles(self) -> Array:
        """Clock cycles that thread 0 has spent in each kernel since this was last asked, if ``timed``."""
        frame = self.code.take()
        found, frame.cycles[:] = frame.cycles.copy(), 0
        self.code.give(frame)
        return found

    def _shapes(self, steps: int) -> Iterator[tuple[int, ...] | None]:
        """What each array given must look like: rows of the data in any number, a scalar for each step."""
        yield from self.rows
        yield from itertools.repeat((steps,), len(self.given) - len(self.rows))

    def _put(self, frame: _Frame, i: int, array: Array, shape: tuple[int, ...] | None, dtype: DType) -> Array:
        """The array's address in the table; the array, or the copy that was needed."""
        laid = np.ascontiguousarray(array, dtype)
        if (laid.shape[1:] if i < len(self.rows) else laid.shape) != shape:
            what = "rows of the data" if i < len(self.rows) else "scalars, one for each step,"
            raise ShapeError(f"{what} must have shape {shape}, an array of shape {laid.shape} was given")
        frame.table[i] = _address(laid)
        frame.known[i] = array if laid is array and i < len(self.rows) else None
        return laid

    def _put_states(self, frame: _Frame, state: State, first: int) -> None:
        """States where they are brought up to date: in padded rows, no two in the same memory."""
        known = frame.known
        if all(known.get(i) is state[name] for i, (name, _, _) in enumerate(self.states, first)):
            return
        arrays = [np.asarray(state[name], dtype) for name, _, dtype in self.states]
        for array, (name, shape, _) in zip(arrays, self.states, strict=True):
            if array.shape != shape:
                raise ShapeError(f"state {name!r} has shape {array.shape}, the program wants {shape}")
        for i, array in enumerate(resident(arrays), first):
            state[self.states[i - first][0]] = known[i] = array
            frame.table[i] = array.ctypes.data


def _check_rows(index: Array, data: Sequence[Array]) -> None:
    rows = min((len(a) for a in data), default=0)
    if index.size and data and not (index.min() >= 0 and index.max() < rows):
        raise ShapeError(f"the index picks rows {index.min()} to {index.max()}, the data have {rows}")


class CpuFunction(Function):
    """A compiled graph: arrays in, arrays out. Safe to call from several threads.

    rows    so many inputs, the first ones, hold a block of rows, as all outputs do
    """

    def __init__(
        self,
        outputs: Sequence[Expr],
        inputs: Sequence[Expr],
        *,
        threads: int | None = None,
        target: Target | None = None,
        rows: int = 0,
    ) -> None:
        self.outputs, self.inputs, self.rows = list(outputs), list(inputs), rows
        if unknown := [n for n in toposort(outputs) if n.primitive is INPUT and n not in set(inputs)]:
            raise ConfigError(f"input {unknown[0].meta['name']!r} is needed by the graph but was not given")
        self.padded = wants_padding(outputs, inputs, rows)
        self.plan = plan_function(outputs, inputs, self.padded, threads, rows)
        self.specs = [(x.shape, x.dtype) for x in inputs]
        self.delivered = [(n.shape, n.dtype) for n in outputs]
        self.code = _Code(self.plan, target or host())

    def __call__(self, *arrays: Any) -> list[Array]:
        if len(arrays) != len(self.inputs):
            raise ConfigError(f"the function takes {len(self.inputs)} arrays, {len(arrays)} were given")
        found = [np.empty(shape, dtype) for shape, dtype in self.delivered]
        frame, held = self.code.take(), list[Array]()  # held until the code has run
        try:
            known, table = frame.known, frame.table
            frame.owner = None
            for i, a in enumerate(arrays):
                if a is None or known.get(i) is not a:
                    array = self._fitting(i, a)
                    held.append(array)
                    table[i] = array.ctypes.data
                    known[i] = array if array is a and self.padded[i] else None
            for i, array in enumerate(found, len(self.inputs)):
                table[i] = _address(array)
            frame.run(1, 0)
            failed = frame.failed
        finally:
            self.code.give(frame)
        if failed:  # the reference says which index it was
            return Walk(self.outputs, self.inputs)(*arrays)
        return found

    def bound(self, arrays: Sequence[Array], size: int) -> Blocks:
        if len(arrays) + self.rows != len(self.inputs):
            raise ConfigError(
                f"{len(self.inputs) - self.rows} arrays are to be bound, {len(arrays)} were given"
            )
        return _CpuBlocks(self, arrays, size)

    def laid(self, arrays: Sequence[Any], first: int) -> list[Array]:
        """The same values for the inputs from ``first`` on, where and as the code reads them."""
        given = [self._checked(i, a) for i, a in enumerate(arrays, first)]
        padded = self.padded[first:]
        wide = iter(resident([a for a, w in zip(given, padded, strict=True) if w]))
        return [next(wide) if w else np.asarray(a, order="C") for a, w in zip(given, padded, strict=True)]

    def _fitting(self, i: int, value: Any) -> Array:
        array = self._checked(i, value)
        return resident([array])[0] if self.padded[i] else np.ascontiguousarray(array)

    def _checked(self, i: int, value: Any) -> Array:
        shape, dtype = self.specs[i]
        array = np.asarray(value, dtype)
        if array.shape != shape:
            x = self.inputs[i]
            name = x.meta.get("name", x.primitive.name)
            raise ShapeError(f"input {name!r} is {x.spec}, an array of shape {array.shape} was given")
        return array


class _CpuBlocks(Blocks):
    """All blocks in one native call, which reads and writes the rows where they lie."""

    def __init__(self, function: CpuFunction, arrays: Sequence[Array], size: int) -> None:
        self.function, self.code, self.size, self.first = function, function.code, size, function.rows
        self.arrays = function.laid(arrays, self.first)
        last = len(function.inputs)
        self.places = [*range(self.first), *range(last, last + len(function.delivered))]
        self.outer = [*function.specs[: self.first], *function.delivered]
        self.widths = [math.prod(shape[1:]) * dtype.itemsize for shape, dtype in self.outer]  # bytes of a row
        self.addresses = np.array([a.ctypes.data for a in self.arrays], np.int64)
        self.token = object()  # a frame holds it, not the arrays
        self._stages: list[_Stage] = []

    def __call__(self, rows: Sequence[Array], found: Sequence[Array], start: int, count: int) -> None:
        code = self.code
        frame = code.take()
        try:
            if frame.owner is not self.token:
                frame.known.clear()
                self.fill(frame)
                frame.owner = self.token
            for place, array, width in zip(self.places, (*rows, *found), self.widths, strict=True):
                frame.table[place] = _address(array) + start * width
            frame.run(count, 0)
            failed = frame.failed
        finally:
            code.give(frame)
        if failed:
            self._explained(rows, found, start, count)

    def one(self, rows: Sequence[Array]) -> list[Array]:
        """Through memory of its own: of little data a copy takes less time than to ask for its address."""
        try:
            stage = self._stages.pop()  # nobody else has it now
        except IndexError:
            stage = _Stage(self)
        n = len(rows[0])
        for place, array in zip(stage.rows, rows, strict=True):
            if n == self.size:
                place[...] = array
            else:
                place[:n], place[n:] = array, 0
        stage.frame.enter()
        if stage.frame.failed:
            self._explained(stage.rows, stage.found, 0, 1)
        found = [a.copy() if n == self.size else a[:n].copy() for a in stage.found]
        self._stages.append(stage)
        return found

    def fill(self, frame: _Frame) -> None:
        """Lets a frame know the bound arrays."""
        frame.table[self.first : self.first + len(self.addresses)] = self.addresses

    def _explained(self, rows: Sequence[Array], found: Sequence[Array], start: int, count: int) -> None:
        """Lets the reference say which index lay outside."""
        walk = Walk(self.function.outputs, self.function.inputs)
        walk.bound(self.arrays, self.size)(rows, found, start, count)


class _Stage:
    """A frame for one block that is copied in and out."""

    def __init__(self, blocks: _CpuBlocks) -> None:
        self.frame = _Frame(blocks.code)
        arrays = [np.zeros(shape, dtype) for shape, dtype in blocks.outer]
        self.rows, self.found = arrays[: blocks.first], arrays[blocks.first :]
        blocks.fill(self.frame)
        for place, array in zip(blocks.places, arrays, strict=True):
            self.frame.table[place] = array.ctypes.data
        self.frame.context[_STEPS] = 1
