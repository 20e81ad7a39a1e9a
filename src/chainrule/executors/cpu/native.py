"""Native code: LLVM IR text in, addresses of functions out.

IR → object files (`codegen`, kept on disk by `cache`) → memory. Fresh and kept objects take the same way into
memory, so that what is tested is what runs.
"""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.errors import CompilerError, ConfigError
from chainrule.executors.cpu import cache
from chainrule.executors.cpu.codegen import CODEGEN_LEVEL, machine_for, object_of, objects_of
from chainrule.executors.cpu.pages import hand_back
from chainrule.executors.cpu.target import LIBRARY, LLVM_LOCK, Target, host, llvm
from chainrule.executors.cpu.threads import thread_limit

__all__ = ["Counts", "Native", "compile_module", "counts", "object_for"]

_KEPT = 16  # modules, of some 200 kB


@dataclass
class Counts:
    """What `compile_module` did in this process: tests assert with it that nothing was compiled again."""

    compiled: int = 0
    loaded: int = 0  # from the disk
    shared: int = 0  # still in memory


counts = Counts()

_recent: OrderedDict[str, Native] = OrderedDict()
_alive: weakref.WeakValueDictionary[str, Native] = weakref.WeakValueDictionary()
_leaving: deque[tuple[Any, list[Any]]] = deque()  # code that nobody can call any more


class Native:
    """Code in memory. It stays there as long as this object: keep it while an address is in use."""

    __slots__ = ("__weakref__", "_addresses", "_jit", "_trackers", "size")

    def __init__(self, code: bytes) -> None:
        """``code``: objects as the cache keeps them."""
        binding = llvm()
        self.size = len(code)
        self._addresses: dict[str, int] = {}
        # JITLink puts all sections of an object side by side, as AArch64's addressing needs; it lacks parts
        # of what Windows needs, where the older linker stays.
        self._jit = binding.create_lljit_compiler(
            machine_for(host(), jit=True), use_jit_link=os.name != "nt", suppress_errors=True
        )
        builder = binding.JITLibraryBuilder()
        for part in _parted(code):
            builder.add_object_img(part)
        self._trackers = [builder.link(self._jit, "chainrule")]
        # Not __del__, which Python runs while weak references still lead here: while it waited for the lock,
        # `compile_module` in another thread could give out the code that was about to be unmapped.
        weakref.finalize(self, _unload, self._jit, self._trackers).atexit = False

    def address(self, name: str) -> int:
        """Of the function ``name``. Raises `CompilerError` if the module has none."""
        known = self._addresses.get(name)
        if known is not None:
            return known
        with LLVM_LOCK:
            try:
                tracker = self._jit.lookup("chainrule", name)
            except RuntimeError as error:
                raise CompilerError(
                    f"executor cpu: compiled code lacks {name!r}, or calls a function from outside: {error}"
                ) from error
            self._trackers.append(tracker)
            self._addresses[name] = tracker[name]
        return self._addresses[name]


def compile_module(ir: str | Callable[[], str], target: Target, identity: str | None = None) -> Native:
    """The functions of ``ir`` as code of this machine; compiled at most once for all processes of a user.

    ``ir`` may be a function that writes it, with an ``identity``: a text that is equal only where the IR is
    equal. Where the code is known already, no IR is written then.

    ``target`` must be one that runs here. CHAINRULE_VERIFY=1 lets LLVM check the IR first (4 % more time):
    IR that is well-formed but wrong, such as a value used where its definition has not run, is an error
    then, not a crash.
    """
    name = ir if isinstance(ir, str) else identity
    if name is None:
        raise ConfigError("compile_module: IR that is written later needs an identity")
    key = cache.key(name, target.triple, target.cpu, target.features, str(CODEGEN_LEVEL))
    with LLVM_LOCK:
        _take_out()
        if (native := _alive.get(key)) is not None:
            counts.shared += 1
            return _remember(key, native)
        kept = cache.object_cache()
        code = kept.get(key) if kept is not None else None
        if code is None:
            code = _joined(objects_of(ir if isinstance(ir, str) else ir(), target, thread_limit()))
            hand_back(LIBRARY)
            counts.compiled += 1
            if kept is not None:
                kept.put(key, code)
        else:
            counts.loaded += 1
        native = _alive[key] = Native(code)
        return _remember(key, native)


def _unload(jit: Any, trackers: list[Any]) -> None:
    """Python may call this in any thread, in the middle of anything: nothing is waited for here. Who holds
    the lock may be waiting for this very thread, as a compilation in several threads does."""
    _leaving.append((jit, trackers))
    _take_out()


def _take_out() -> None:
    """Unmaps what has left, under the lock: a fork must not find LLVM in the middle of this either. Where
    another thread holds it, the next that compiles or unloads does it."""
    if not LLVM_LOCK.acquire(blocking=False):
        return
    try:
        while _leaving:
            jit, trackers = _leaving.popleft()
            for tracker in trackers:
                tracker.close()
            jit.close()
    finally:
        LLVM_LOCK.release()


def _remember(key: str, native: Native) -> Native:
    """The code that was asked for last stays in memory: a network fitted anew, with another seed, say, is not
    compiled again where there is no folder to keep objects in."""
    _recent[key] = native
    _recent.move_to_end(key)
    while len(_recent) > _KEPT:
        _recent.popitem(last=False)
    return native


def object_for(ir: str, target: Target) -> bytes:
    """An object file for any target, also one that does not run here; never from the cache."""
    with LLVM_LOCK:
        code = object_of(ir, target, jit=False)
        hand_back(LIBRARY)
    return code


# ------------------------------------------------------------------ objects in one entry of the cache


def _joined(objects: Sequence[bytes]) -> bytes:
    """Each after its length."""
    return b"".join([len(x).to_bytes(8, "little") + x for x in objects])


def _parted(code: bytes) -> Iterator[bytes]:
    while code:
        stop = 8 + int.from_bytes(code[:8], "little")
        yield code[8:stop]
        code = code[stop:]
