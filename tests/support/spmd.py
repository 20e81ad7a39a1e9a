"""A native function for a team: turns, taken one after another only if the barrier holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chainrule.executors.cpu import threads
from chainrule.executors.cpu.emit import I64, PTR, Builder, Value
from chainrule.executors.cpu.native import Native, compile_module
from chainrule.executors.cpu.target import Target, host
from chainrule.executors.cpu.threads import Team, barrier, barrier_ir, barrier_state, raise_abort

NEVER = -1


def program(target: Target) -> str:
    """``entry``. In turn k thread k mod T alone counts ``total`` up, by plain load and store; then all meet.

    context: address of the state, turns, total, threads, the turn in which thread 1 aborts.
    """
    b = Builder()
    thread, context = Value("%thread", I64), Value("%context", PTR)
    words = [b.at(context, i, I64) for i in range(5)]
    state = b.value(f"load ptr, ptr {words[0]}, align 8", PTR)
    turns, threads, stop = (b.value(f"load i64, ptr {words[i]}, align 8", I64) for i in (1, 3, 4))
    with b.loop(0, turns) as turn:
        with b.when(b.icmp("eq", b.value(f"urem i64 {turn.i}, {threads}", I64), thread)):
            old = b.value(f"load i64, ptr {words[2]}, align 8", I64)
            b.do(f"store i64 {b.value(f'add i64 {old}, 1', I64)}, ptr {words[2]}, align 8")
        one = b.icmp("eq", thread, Value("1", I64))
        with b.when(b.and_(one, b.icmp("eq", turn.i, stop))):
            raise_abort(b, state)
        on = b.label("on")
        b.branch(barrier(b, state), "left", on)
        b.start(on)
    b.jump("left")
    b.start("left")
    b.do("ret void")
    head = f"define internal void @work(i64 %thread, ptr %context) noinline {target.attributes} {{\nentry:"
    assert not b.declared
    return "\n".join([target.entry("entry", "work"), barrier_ir(target), head, *b.lines, "}", ""])


def compiled() -> Native:
    return compile_module(program(host()), host())


def context(state: NDArray[np.int64], threads: int, turns: int, stop: int = NEVER) -> NDArray[np.int64]:
    return np.array([state.ctypes.data, turns, 0, threads, stop], np.int64)


def take_turns(threads: int, turns: int, stop: int = NEVER) -> tuple[int, bool]:
    """The total, and whether the run was aborted."""
    native, state = compiled(), barrier_state()
    words = context(state, threads, turns, stop)
    aborted = Team(threads).run(native.address("entry"), words.ctypes.data, state)
    return int(words[2]), aborted


def in_worker() -> tuple[tuple[int, bool], bool]:
    """In a worker process: turns of two threads, and whether a run on all processors would be pinned."""
    own = threads._own_mask() or frozenset({0})
    return take_turns(2, 100), threads._should_pin(len(own), own)
