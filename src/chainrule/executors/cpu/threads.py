"""Threads that run one native function together, and the barrier at which they wait for each other.

Every thread runs the whole function with its own number (SPMD): thread 0 is the caller, the others are plain
Python threads that spend their time in native code, where ctypes has released the interpreter's lock.
Between runs they are parked in a queue and cost nothing. Any number of callers may run at once: the idle
threads are one pool for the process, from which each run takes its own. Nothing of it survives a fork: the
child begins anew.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ChainruleError, ConfigError
from chainrule.executors.cpu.emit import I1, I64, PTR, Builder, Value, const
from chainrule.executors.cpu.target import Target

__all__ = [
    "STATE_WORDS",
    "Team",
    "barrier",
    "barrier_ir",
    "barrier_state",
    "native_function",
    "raise_abort",
    "thread_limit",
    "yield_address",
]

# The barrier's memory, in int64 words. What all threads add to and what all wait on lie 128 bytes apart, and
# as far from whatever else is near: processors fetch lines of 64 bytes in pairs.
COUNT = 16  # threads that have arrived
GENERATION = 32  # how often the barrier has opened
ABORT = 33  # not 0: everybody leaves
THREADS = 34
YIELD = 35  # the address of the system's "let others run"
STATE_WORDS = 64

SPINS = 3000  # some 50 µs; then the processor is offered to others at every turn
_KEEP = os.cpu_count() or 1  # parked threads; asked once, for the system reads a file to answer
_PROTOTYPE = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)


# ------------------------------------------------------------------ how many


def thread_limit(requested: int | None = None) -> int:
    """Threads to use at most: the least of the processors that this process may run on, the CPU quota of its
    container (rounded up), CHAINRULE_THREADS and ``requested``.

    Raises `ConfigError` for a number below 1.

    >>> thread_limit(1)
    1
    """
    limits = [_allowed_count()]
    if (quota := _cgroup_quota()) is not None:
        limits.append(max(1, math.ceil(quota)))
    if text := os.environ.get("CHAINRULE_THREADS", "").strip():
        if not text.isdecimal() or int(text) < 1:
            raise ConfigError(f"CHAINRULE_THREADS is {text!r}; it must be a whole number, 1 or more")
        limits.append(int(text))
    if requested is not None:
        if isinstance(requested, bool) or not isinstance(requested, int | np.integer) or requested < 1:
            raise ConfigError(
                f"threads is {requested!r}; it must be a whole number, 1 or more, or None for all"
            )
        limits.append(int(requested))
    return min(limits)


def _allowed_count() -> int:
    return len(_own_mask() or ()) or os.cpu_count() or 1


def _cgroup_quota(
    proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> float | None:
    """Processors' worth of time that the container may use: the least of its group's and those above.

    Version 2 writes ``cpu.max``: "quota period" or "max period"; version 1 two files, -1 for no quota.
    """
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found: list[float] = []
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        bases = [root / controllers, root / "cpu"] if controllers else [root]
        # Within a container the path may be the host's and not exist here: then only the root counts.
        steps = [part for part in path.split("/") if part not in ("", "..")]
        for base in bases:
            for depth in range(len(steps), -1, -1):
                found += _quota_of(base.joinpath(*steps[:depth]))
    return min(found, default=None)


def _quota_of(group: Path) -> list[float]:
    with suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        return [int(quota) / int(period)] if quota != "max" else []
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (
            (group / f"cpu.cfs_{what}_us").read_text(encoding="utf-8") for what in ("quota", "period")
        )
        return [int(quota) / int(period)] if int(quota) > 0 else []
    return []


# ------------------------------------------------------------------ the barrier


def barrier_state() -> NDArray[np.int64]:
    """Memory for one team's barrier: `STATE_WORDS` zeros. `Team.run` fills it in."""
    return np.zeros(STATE_WORDS, np.int64)


@functools.cache
def yield_address() -> int:
    """The address of ``sched_yield`` (POSIX) or ``SwitchToThread`` (Windows); 0 where there is neither."""
    name = "SwitchToThread" if os.name == "nt" else "sched_yield"
    library: Any = ctypes.CDLL("kernel32" if os.name == "nt" else None)
    try:
        return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
    except AttributeError:
        return 0


def barrier_ir(target: Target) -> str:
    """``i1 @barrier(ptr state)``: returns when all threads have called it; true if the run is to be left.

    What a thread wrote before is seen by all after. The last to arrive opens the barrier by counting the
    generation up; the others watch it, `SPINS` times with a pause, then yielding the processor each time.
    A team of one passes at once. Threads need not agree on the answer in one and the same barrier, but all
    get true from the next one on.
    """
    b = Builder()
    target.pause(b)
    declarations, pause = "\n".join(sorted(b.declared)), "\n".join(b.lines)
    return f"""{declarations}
define internal i1 @barrier(ptr %state) noinline {target.attributes} {{
entry:
  %count = getelementptr i64, ptr %state, i64 {COUNT}
  %generation = getelementptr i64, ptr %state, i64 {GENERATION}
  %abort = getelementptr i64, ptr %state, i64 {ABORT}
  %size = getelementptr i64, ptr %state, i64 {THREADS}
  %function = getelementptr i64, ptr %state, i64 {YIELD}
  %threads = load i64, ptr %size, align 8
  %alone = icmp sle i64 %threads, 1
  br i1 %alone, label %leave, label %arrive
arrive:
  %closed = load atomic i64, ptr %generation monotonic, align 8
  %before = atomicrmw add ptr %count, i64 1 acq_rel, align 8
  %arrived = add i64 %before, 1
  %last = icmp eq i64 %arrived, %threads
  br i1 %last, label %open, label %watch
open:
  store atomic i64 0, ptr %count monotonic, align 8
  %next = add i64 %closed, 1
  store atomic i64 %next, ptr %generation release, align 8
  br label %leave
watch:
  %turn = phi i64 [ 0, %arrive ], [ %turns, %again ]
  %now = load atomic i64, ptr %generation acquire, align 8
  %opened = icmp ne i64 %now, %closed
  br i1 %opened, label %leave, label %check
check:
  %stop = load atomic i64, ptr %abort monotonic, align 8
  %stopped = icmp ne i64 %stop, 0
  br i1 %stopped, label %leave, label %wait
wait:
  %patient = icmp ult i64 %turn, {SPINS}
  br i1 %patient, label %spin, label %offer
offer:
  %yield = load ptr, ptr %function, align 8
  %unknown = icmp eq ptr %yield, null
  br i1 %unknown, label %spin, label %give
give:
  %ignored = call i32 %yield()
  br label %again
spin:
{pause}
  br label %again
again:
  %turns = add i64 %turn, 1
  br label %watch
leave:
  %flag = load atomic i64, ptr %abort monotonic, align 8
  %answer = icmp ne i64 %flag, 0
  ret i1 %answer
}}
"""


def barrier(b: Builder, state: Value) -> Value:
    """Emits a call of the module's own ``@barrier`` (`barrier_ir`); true: leave the run."""
    return b.value(f"call i1 @barrier(ptr {state})", I1)


def raise_abort(b: Builder, state: Value) -> None:
    """Emits: this thread gives up, and every barrier lets the others go."""
    flag = b.at(state, const(ABORT, I64), I64)
    b.do(f"store atomic i64 1, {PTR} {flag} monotonic, align 8")


# ------------------------------------------------------------------ the team


@dataclass(frozen=True, slots=True)
class Team:
    """So many threads for ``void entry(i64 thread, ptr context)``."""

    threads: int

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ConfigError(f"threads is {self.threads!r}; it must be a whole number, 1 or more")

    def run(self, entry: int, context: int, state: NDArray[np.int64]) -> bool:
        """Calls the function at ``entry`` in every thread; returns when all have returned: whether one of
        them raised the abort flag.

        ``state`` is the barrier's memory (`barrier_state`), to be used by one run at a time. An exception,
        KeyboardInterrupt too, in whichever thread raises the flag, and leaves here when all threads are out
        of native code: never before, for they use the caller's memory.
        """
        function = native_function(entry)
        if self.threads == 1:
            state[ABORT] = 0
            function(0, context)
            return bool(state[ABORT])
        state[:] = _blank(self.threads)
        own = _own_mask()
        masks, workers = [own] * self.threads, list[_Worker]()
        try:
            _pool.take(workers, self.threads - 1)
            masks = _masks(self.threads, own)
            results: SimpleQueue[BaseException | None] = SimpleQueue()
            for number, worker in enumerate(workers, 1):
                worker.jobs.put(_Job(function, number, context, state, masks[number], results))
            _set_mask(masks[0], own)
            function(0, context)
            errors = [error for _ in workers if (error := results.get()) is not None]
        except BaseException:
            state[ABORT] = 1
            _drain(workers)
            raise
        finally:
            _set_mask(own, masks[0])
            _pool.give(workers)
        if errors:
            raise errors[0]
        return bool(state[ABORT])


def native_function(entry: int) -> Any:
    """``void entry(i64 thread, ptr context)`` as a function that Python can call."""
    return _PROTOTYPE(entry)


@functools.cache
def _blank(threads: int) -> NDArray[np.int64]:
    """A barrier's memory before a run."""
    blank = barrier_state()
    blank[THREADS], blank[YIELD] = threads, yield_address()
    return blank


@dataclass(frozen=True, slots=True)
class _Job:
    """One thread's part of a run."""

    function: Any
    number: int
    context: int
    state: NDArray[np.int64]
    mask: frozenset[int] | None
    results: SimpleQueue[BaseException | None]


class _Worker:
    """A thread that does jobs in order. It is a daemon: parked, it must not keep the process from ending."""

    __slots__ = ("jobs", "mask")

    def __init__(self) -> None:
        # A job, a queue to be answered (everything before is done), or None: the end.
        self.jobs: SimpleQueue[_Job | SimpleQueue[BaseException | None] | None] = SimpleQueue()
        self.mask = _own_mask()
        threading.Thread(target=self._work, name="chainrule-worker", daemon=True).start()

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None:
            if isinstance(job, _Job):
                results, error = job.results, self._do(job)
                del job  # or the parked thread would keep the run's memory alive
                results.put(error)
                del error
            else:
                job.put(None)

    def _do(self, job: _Job) -> BaseException | None:
        try:
            _set_mask(job.mask, self.mask)
            self.mask = job.mask
            job.function(job.number, job.context)
        except BaseException as error:  # noqa: BLE001  handed to the caller, who waits for it
            job.state[ABORT] = 1
            return error
        return None


def _drain(workers: list[_Worker]) -> None:
    """Waits until the workers have done all that was ever given to them.

    An interrupt may have come between any two steps of the caller; an answer from each worker's own queue
    does not depend on which jobs were given. A further interrupt begins again: native code cannot be left.
    """
    while True:
        try:
            answers: SimpleQueue[BaseException | None] = SimpleQueue()
            for worker in workers:
                worker.jobs.put(answers)
            for _ in workers:
                answers.get()
        except KeyboardInterrupt:
            continue
        return


class _Pool:
    """The parked threads of this process."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """After a fork: the threads were the parent's."""
        self.lock = threading.Lock()
        self.idle: list[_Worker] = []
        self.runs: set[int] = set()  # a list of workers each, by identity

    def take(self, workers: list[_Worker], count: int) -> None:
        """Puts so many workers into a list, in the same order as the last time: each thread's data are in its
        processor's cache. However far an interrupt lets it come, ``give`` takes them back."""
        with self.lock:
            self.runs.add(id(workers))
            workers += self.idle[:count]
            del self.idle[:count]
        try:
            while len(workers) < count:
                workers.append(_Worker())
        except RuntimeError as error:
            raise ChainruleError(
                f"executor cpu: the system gives no more threads ({error}); ask for fewer: threads=1"
            ) from error

    def give(self, workers: list[_Worker]) -> None:
        """Back to the parked ones; more than there are processors are let go."""
        with self.lock:
            self.runs.discard(id(workers))
            self.idle = workers + self.idle
            keep = max(len(workers), _KEEP)
            surplus, self.idle = self.idle[keep:], self.idle[:keep]
        for worker in surplus:
            worker.jobs.put(None)


_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.forget)


# ------------------------------------------------------------------ processors


def _own_mask() -> frozenset[int] | None:
    """The processors that this thread may run on; None where the system does not say."""
    affinity = getattr(os, "sched_getaffinity", None)
    return frozenset(affinity(0)) if affinity is not None else None


def _set_mask(mask: frozenset[int] | None, now: frozenset[int] | None) -> None:
    """Lets this thread run on ``mask`` alone, unless it does ``now``."""
    if mask is not None and mask != now:
        with suppress(OSError):  # the machine took a processor away
            os.sched_setaffinity(0, mask)


def _masks(threads: int, own: frozenset[int] | None) -> list[frozenset[int] | None]:
    """For each thread of a run where it may run: its own processor if pinning is right."""
    if own is None or not _should_pin(threads, own):
        return [own] * threads
    return [frozenset({cpu}) for cpu in sorted(own)]


def _should_pin(threads: int, own: frozenset[int]) -> bool:
    """Only where all allowed processors are used, and by this run alone: whoever else computes here, another
    run or another worker process of joblib or Dask, would choose the same processors."""
    if threads != len(own) or len(_pool.runs) > 1:
        return False
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        return False
    return not threading.current_thread().name.startswith("Dask-")
