"""Threads in native code: the barrier, leaving it, forks, other libraries' workers, processors."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import spmd

from chainrule.errors import ChainruleError, ConfigError
from chainrule.executors.cpu import native, threads
from chainrule.executors.cpu.target import LLVM_LOCK, host
from chainrule.executors.cpu.threads import STATE_WORDS, Team, barrier_state, thread_limit, yield_address

affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system does not pin")
Work = Callable[[int, int], None]


@pytest.fixture(autouse=True)
def _in_time() -> object:
    """A thread that spins for ever must not hold the tests up for ever."""
    if not hasattr(signal, "SIGALRM"):
        return (yield)

    def late(*_: object) -> None:
        os._exit(99)  # native code cannot be interrupted

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def playing(monkeypatch: pytest.MonkeyPatch, work: Work) -> None:
    """Teams call this Python function in place of native code."""
    monkeypatch.setattr(threads, "_PROTOTYPE", lambda address: work)


# ------------------------------------------------------------------ the barrier


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_the_barrier_keeps_turns_apart(count: int) -> None:
    """More threads than processors too: who waits lets the others run."""
    assert spmd.take_turns(count, 1003) == (1003, False)


def test_without_a_barrier_the_turns_would_collide() -> None:
    """The counter-check: the same work without waiting loses counts or leaves the order."""
    program = spmd.program(spmd.host()).replace("call i1 @barrier(ptr", "call i1 @nothing(ptr")
    native = spmd.compile_module(
        program + "define internal i1 @nothing(ptr %s) noinline {\n  ret i1 false\n}\n", spmd.host()
    )
    for _ in range(50):
        state = barrier_state()
        words = spmd.context(state, 2, 200_000)
        Team(2).run(native.address("entry"), words.ctypes.data, state)
        if words[2] != 200_000:
            return
    if thread_limit() > 1:
        pytest.fail("two threads never met")


def test_a_barrier_costs_less_than_a_microsecond() -> None:
    """The best of many short tries, for other programs run here too."""
    if thread_limit() < 2:
        pytest.skip("one processor")
    native, state, turns = spmd.compiled(), barrier_state(), 2_000
    best, end = 1.0, time.perf_counter() + 8
    while best > 1e-6 and time.perf_counter() < end:
        words = spmd.context(state, 2, turns)
        start = time.perf_counter()
        Team(2).run(native.address("entry"), words.ctypes.data, state)
        best = min(best, (time.perf_counter() - start) / turns)
    assert best <= 1e-6


def test_the_yield_function_can_be_called() -> None:
    assert yield_address() != 0
    assert ctypes.CFUNCTYPE(ctypes.c_int)(yield_address())() in (0, 1)


def test_the_state_is_made_anew_for_every_run() -> None:
    native, state = spmd.compiled(), barrier_state()
    assert state.shape == (STATE_WORDS,)
    for value in (-1, 7):
        state[:] = value
        words = spmd.context(state, 2, 10)
        assert Team(2).run(native.address("entry"), words.ctypes.data, state) is False
        assert words[2] == 10


# ------------------------------------------------------------------ leaving


@pytest.mark.parametrize("count", [2, 3])
def test_a_thread_that_gives_up_releases_the_others(count: int) -> None:
    total, aborted = spmd.take_turns(count, 1 << 40, stop=100)
    assert aborted
    assert 100 <= total <= 101


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_an_exception_in_one_thread_releases_the_others_and_is_raised(
    failing: int, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    native, state = spmd.compiled(), barrier_state()
    real = threads._PROTOTYPE(native.address("entry"))
    left = threading.Event()

    def work(number: int, context: int) -> None:
        if number == failing:
            time.sleep(0.01)  # the other waits in native code by now
            raise error("on purpose")
        real(number, context)
        left.set()

    playing(monkeypatch, work)
    words = spmd.context(state, 2, 1 << 40)
    with pytest.raises(error, match="on purpose"):
        Team(2).run(1, words.ctypes.data, state)
    assert left.is_set(), "nobody is in native code any more"
    monkeypatch.undo()
    assert spmd.take_turns(2, 100) == (100, False), "the threads are fit for more"


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads")
def test_interrupts_at_any_moment_leave_no_thread_behind() -> None:
    """Signals come again and again, at random steps of `Team.run`; after each the memory is the caller's."""
    native, team, rng = spmd.compiled(), Team(2), random.Random(1)
    own, armed, interrupted = threads._own_mask(), set[int](), 0
    stop, here = threading.Event(), threading.get_ident()

    def interrupt(*_: object) -> None:
        if armed:
            armed.clear()
            raise KeyboardInterrupt

    def send() -> None:
        while not stop.wait(rng.uniform(0, 5e-4)):
            signal.pthread_kill(here, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    sender, end = threading.Thread(target=send), time.perf_counter() + 10
    sender.start()
    try:
        while interrupted < 100 and time.perf_counter() < end:
            state = barrier_state()
            words = spmd.context(state, 2, 200)
            try:
                armed.add(1)
                team.run(native.address("entry"), words.ctypes.data, state)
                armed.clear()
            except KeyboardInterrupt:
                interrupted += 1
                count = words[2]
                state[:] = 0
                time.sleep(0.0005)
                assert (words[2], state.any()) == (count, False), "somebody still writes"
    finally:
        stop.set()
        sender.join()
        signal.signal(signal.SIGUSR1, before)
    assert interrupted > 10
    assert threads._own_mask() == own
    assert spmd.take_turns(2, 100) == (100, False)


def test_no_thread_to_be_had_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = threads._Pool()
    monkeypatch.setattr(threads, "_pool", pool)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(ChainruleError, match=r"no more threads.*threads=1"):
        spmd.take_turns(2, 10)
    monkeypatch.undo()
    assert not pool.runs


# ------------------------------------------------------------------ many callers


def test_several_user_threads_at_once() -> None:
    found: list[tuple[int, bool]] = []

    def work(count: int) -> None:
        found.extend(spmd.take_turns(count, 300) for _ in range(10))

    callers = [threading.Thread(target=work, args=(count,)) for count in (1, 2, 2, 3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [(300, False)] * 40
    assert not threads._pool.runs


def test_code_that_is_being_unloaded_is_not_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code is asked for after its last user has gone, in another thread, and before it is unmapped."""
    monkeypatch.setattr(native, "_KEPT", 0)
    text = spmd.program(host()) + "; of this test alone, so that nobody else keeps it\n"
    held = [native.compile_module(text, host())]
    with LLVM_LOCK:
        dropping = threading.Thread(target=held.clear)
        dropping.start()
        dropping.join(10)
        assert not dropping.is_alive()  # who lets code go never waits: this thread may be waiting for it
        assert len(native._leaving) == 1
        shared = native.counts.shared
        code = native.compile_module(text, host())
    assert native.counts.shared == shared
    assert not native._leaving
    state = barrier_state()
    words = spmd.context(state, 1, 7)
    assert Team(1).run(code.address("entry"), words.ctypes.data, state) is False
    assert words[2] == 7


@pytest.mark.long
def test_code_comes_and_goes_while_others_run_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_KEPT", 0)
    for _ in range(10):
        test_several_user_threads_at_once()


def test_parked_threads_are_used_again_and_do_not_pile_up() -> None:
    for _ in range(5):
        spmd.take_turns(9, 10)
    assert len(threads._pool.idle) <= max(8, os.cpu_count() or 1)
    before = threading.active_count()
    for _ in range(20):
        spmd.take_turns(2, 10)
    assert threading.active_count() <= before


def test_parked_threads_let_go_of_the_runs_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched(np.ndarray): ...

    import weakref

    state = barrier_state().view(Watched)
    gone = weakref.ref(state)
    playing(monkeypatch, lambda number, context: None)
    Team(3).run(1, 0, state)
    del state
    end = time.perf_counter() + 2
    while gone() is not None and time.perf_counter() < end:
        time.sleep(0.001)
    assert gone() is None


# ------------------------------------------------------------------ other processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_threads_of_its_own() -> None:
    assert spmd.take_turns(2, 100) == (100, False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads: what is tested
        child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(20)
            code = 0 if spmd.take_turns(2, 500) == (500, False) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert spmd.take_turns(2, 100) == (100, False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_while_another_thread_runs_and_compiles() -> None:
    stop = threading.Event()

    def busy() -> None:
        i = 0
        while not stop.is_set():
            i += 1
            spmd.compile_module(spmd.program(spmd.host()) + f"; {time.time_ns()} {i}\n", spmd.host())
            spmd.take_turns(2, 50)

    other = threading.Thread(target=busy)
    other.start()
    try:
        codes = []
        for _ in range(5):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if child == 0:
                code = 1
                try:
                    signal.alarm(20)
                    ir = spmd.program(spmd.host()) + f"; {os.getpid()} {time.time_ns()}\n"
                    spmd.compile_module(ir, spmd.host())
                    code = 0 if spmd.take_turns(2, 100) == (100, False) else 2
                finally:
                    os._exit(code)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    finally:
        stop.set()
        other.join()
    assert codes == [0] * 5


def test_a_spawned_worker_runs_and_does_not_pin() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(spmd.in_worker) == ((100, False), False)


def test_a_joblib_worker_runs_and_does_not_pin() -> None:
    joblib = pytest.importorskip("joblib")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = joblib.Parallel(n_jobs=2, backend="loky")(joblib.delayed(spmd.in_worker)() for _ in range(2))
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)
    assert found == [((100, False), False)] * 2


# ------------------------------------------------------------------ processors


def where(monkeypatch: pytest.MonkeyPatch, count: int) -> dict[int, set[int]]:
    """Where each thread of a team may run while it works."""
    found = {}

    def work(number: int, context: int) -> None:
        found[number] = os.sched_getaffinity(0)

    playing(monkeypatch, work)
    Team(count).run(1, 0, barrier_state())
    monkeypatch.undo()
    return found


@affinity
def test_threads_are_pinned_inside_and_free_after(monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.sched_getaffinity(0)
    if len(own) < 2:
        pytest.skip("one processor")
    inside = where(monkeypatch, len(own))
    assert [inside[i] for i in range(len(own))] == [{cpu} for cpu in sorted(own)]
    assert os.sched_getaffinity(0) == own
    for count in (len(own) - 1, len(own) + 1):
        inside = where(monkeypatch, count)
        assert list(inside.values()) == [own] * count, "the threads of the run before are free again"


@affinity
def test_no_pinning_beside_another_run_in_workers_or_in_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    own = frozenset(os.sched_getaffinity(0))
    monkeypatch.setattr(threads._pool, "runs", {1})
    assert threads._should_pin(len(own), own)
    monkeypatch.setattr(threads._pool, "runs", {1, 2})
    assert not threads._should_pin(len(own), own)
    monkeypatch.setattr(threads._pool, "runs", {1})
    monkeypatch.setattr(threading.current_thread(), "_name", "Dask-Default-Threads-1")
    assert not threads._should_pin(len(own), own)
    monkeypatch.setattr(threading.current_thread(), "_name", "MainThread")
    monkeypatch.setattr(multiprocessing.process, "_parent_process", object())
    assert not threads._should_pin(len(own), own)


@affinity
def test_the_mask_is_restored_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.sched_getaffinity(0)

    def work(number: int, context: int) -> None:
        raise ValueError("on purpose")

    playing(monkeypatch, work)
    with pytest.raises(ValueError, match="on purpose"):
        Team(len(own)).run(1, 0, barrier_state())
    assert os.sched_getaffinity(0) == own


def test_a_system_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    assert spmd.take_turns(2, 100) == (100, False)
    assert 1 <= thread_limit() <= (os.cpu_count() or 1)


# ------------------------------------------------------------------ how many


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_own_mask", lambda: frozenset(range(8)))
    monkeypatch.setattr(threads, "_cgroup_quota", lambda: None)
    monkeypatch.delenv("CHAINRULE_THREADS", raising=False)


@pytest.mark.usefixtures("eight")
def test_the_least_of_all_limits_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert thread_limit() == 8
    assert thread_limit(3) == 3
    assert thread_limit(np.int64(3)) == 3  # type: ignore[arg-type]
    assert thread_limit(100) == 8
    monkeypatch.setenv("CHAINRULE_THREADS", "5")
    assert (thread_limit(), thread_limit(2), thread_limit(7)) == (5, 2, 5)
    for quota, expected in ((0.2, 1), (1.0, 1), (1.5, 2), (20.0, 5)):
        monkeypatch.setattr(threads, "_cgroup_quota", lambda quota=quota: quota)
        assert thread_limit() == expected


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2"])
def test_numbers_that_are_no_numbers_of_threads(bad: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="whole number, 1 or more"):
        thread_limit(bad)  # type: ignore[arg-type]
    if not isinstance(bad, bool | str):
        monkeypatch.setenv("CHAINRULE_THREADS", str(bad))
        with pytest.raises(ConfigError, match="CHAINRULE_THREADS is"):
            thread_limit()
        with pytest.raises(ConfigError, match="threads is"):
            Team(min(int(bad), 0))  # type: ignore[call-overload]


def group(root: Path, path: str, **files: str) -> None:
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def test_quotas_of_both_versions(tmp_path: Path) -> None:
    proc, root = tmp_path / "proc", tmp_path / "cgroup"

    def quota(lines: str) -> float | None:
        proc.write_text(lines)
        return threads._cgroup_quota(proc, root)

    assert threads._cgroup_quota(tmp_path / "none", root) is None
    assert quota("0::/\n") is None
    group(root, "job/step", cpu__max="max 100000")
    assert quota("0::/job/step\n") is None
    group(root, "job", cpu__max="150000 100000")
    assert quota("0::/job/step\n") == 1.5, "of the group above"
    group(root, "job/step", cpu__max="50000 100000")
    assert quota("0::/job/step\n") == 0.5
    assert quota("0::/../elsewhere\n") is None
    group(root, "job/step", cpu__max="broken")
    assert quota("0::/job/step\n") == 1.5
    old = "5:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n"
    assert quota(old) is None
    group(root, "cpu,cpuacct", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert quota(old) is None
    group(root, "cpu,cpuacct", cpu__cfs_quota_us="250000", cpu__cfs_period_us="100000")
    assert quota(old) == 2.5, "within the container the group is the root"
    assert quota("7:cpuset:/x\n") is None


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_this_machines_own_files_are_read() -> None:
    quota = threads._cgroup_quota()
    assert quota is None or quota > 0
