"""Threads meet often enough: one of them comes late to every kernel, and nothing changes.

A thread that reads what another has not written yet, or overwrites what another has not read yet, is seldom
caught in the act. So the code is compiled once more with a pause of one thread before every kernel: whatever
is missing when the others run ahead is missing every time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from plans import on_any_machine
from random_networks import random_network

from chainrule import ops
from chainrule.executors import Program
from chainrule.executors.cpu import executor, native
from chainrule.executors.cpu.executor import CpuEpoch
from chainrule.executors.cpu.target import host

PAUSES = 4000  # some tens of microseconds: longer than a small kernel takes, and than a meeting
LATE = f"""
declare void @llvm.x86.sse2.pause()
define internal void @late(i64 %thread) noinline {{
entry:
  %is = icmp eq i64 %thread, THREAD
  br i1 %is, label %again, label %done
again:
  %i = phi i64 [0, %entry], [%more, %again]
  call void @llvm.x86.sse2.pause()
  %more = add i64 %i, 1
  %on = icmp ult i64 %more, {PAUSES}
  br i1 %on, label %again, label %done
done:
  ret void
}}
"""

KERNEL = re.compile(r"^(\s*call void @(?:nest|contraction|transposition|draw|special)_\d+\()", re.MULTILINE)
SEEDS = [
    0,
    8,
    16,
    *(pytest.param(seed, marks=pytest.mark.long) for seed in range(30) if seed not in (0, 8, 16)),
]

pytestmark = pytest.mark.skipif(host().family != "x86_64", reason="the pause is an instruction of x86")


def late(text: str, thread: int) -> str:
    """The same code; one thread waits a while before each kernel."""
    changed, count = KERNEL.subn(r"  call void @late(i64 %thread)\n\1", text)
    assert count >= 4
    return changed.replace(LATE.split("\n")[1] + "\n", "") + LATE.replace("THREAD", str(thread))


def compiled(program: Program, change: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> CpuEpoch:
    """For two threads, from changed IR."""

    def compile_changed(write: Callable[[], str], target: Any, identity: str) -> Any:
        return native.compile_module(change(write()), target)

    with monkeypatch.context() as patched, on_any_machine():
        patched.setattr(executor, "compile_module", compile_changed)
        return CpuEpoch(program, threads=2)


def check(program: Program, state: Any, given: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """The state after all steps and what they delivered: as it should be, and with a late thread."""

    def final(change: Callable[[str], str]) -> dict[str, Any]:
        own = {name: a.copy() for name, a in state.items()}
        done, delivered = compiled(program, change, monkeypatch).run(own, *given)
        return {"healthy steps": np.array(done), **own, **delivered}

    expected = final(str)
    for thread in (0, 1):
        found = final(lambda text: late(text, thread))  # noqa: B023  (called in this turn)
        for name, a in expected.items():
            assert a.tobytes() == found[name].tobytes(), f"{name}, thread {thread} late"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_late_thread_changes_no_bit(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    job = random_network(seed)
    rows = len(job.batches[0])
    whole = [k for k, batch in enumerate(job.batches) if len(batch) == rows]
    index, scalars = np.stack([job.batches[k] for k in whole]), [s[whole] for s in job.scalars]
    check(job.program(rows, watched=False), job.state, (job.data, index, scalars), monkeypatch)


def test_a_state_is_replaced_when_all_have_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread needs all of W for its rows of the product, and replaces its own rows of W."""
    W, v = ops.input("W", (40, 40)), ops.input("v", (40,))
    outputs = {"square": W @ W, "sums": ops.sum(W, 0), "far": ops.flip(W, 0) + v}
    program = Program(outputs, state=[W, v], updates={"W": W * 0.5 + 0.01, "v": v + ops.sum(W * v, 1)})
    rng = np.random.default_rng(0)
    state = {"W": rng.normal(size=(40, 40)).astype("float32"), "v": np.ones(40, "float32")}
    check(program, state, ([], np.zeros((6, 1), np.int64), []), monkeypatch)
