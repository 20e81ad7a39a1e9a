"""Targets: which processor code is made for, and the few instructions that differ between them."""

from __future__ import annotations

import functools
import importlib.util
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chainrule.errors import ConfigError, MissingExtraError, nearest
from chainrule.executors.cpu.emit import I32, I64, Builder, Value, const
from chainrule.executors.cpu.pages import hand_back

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NAMED", "Target", "available", "describe_host", "host", "llvm", "named", "runs_here"]

NAMED = ("host", "avx512", "avx2", "sse2", "aarch64")

# The first llvmlite that reads `splat (…)` and pointers without a type: LLVM 20.
OLDEST = (0, 45)

LIBRARY = "libllvmlite."  # what the file begins with in which LLVM lies

# Held by whoever imports or calls LLVM: llvmlite lets one thread in at a time anyhow. A fork waits for it,
# for the child would inherit LLVM, or the import, in the middle of something and wait for ever.
LLVM_LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=LLVM_LOCK.acquire, after_in_parent=LLVM_LOCK.release, after_in_child=LLVM_LOCK.release
    )

# x86 MXCSR while compiled code runs: every exception masked, round to nearest, flush to zero (bit 15),
# denormals are zero (bit 6). A whole value, not bits added to the caller's: the rounding mode of the
# caller must not change the results.
MXCSR = 0x1F80 | 1 << 15 | 1 << 6
# AArch64 FPCR: no traps, round to nearest, FZ (bit 24), which flushes inputs and outputs.
FPCR = 1 << 24

_LATER_THAN_SSE2 = (
    "sse3 ssse3 sse4.1 sse4.2 sse4a avx avx2 avx512f fma fma4 xop f16c bmi bmi2 lzcnt popcnt movbe cx16"
)


@dataclass(frozen=True, slots=True)
class Target:
    """A processor as the compiler sees it.

    ``lanes``: float32 lanes of one vector register. ``registers``: vector registers. ``width``: bits of one.
    ``fma``: whether a·b + c is one instruction. ``cpu`` and ``features`` are LLVM's names.

    >>> t = Target("sse2", "x86_64-unknown-linux-gnu", "x86-64", "", lanes=4, registers=16, fma=False)
    >>> t.width
    128
    >>> t.attributes
    'nounwind "prefer-vector-width"="128" "min-legal-vector-width"="128"'
    """

    name: str
    triple: str
    cpu: str
    features: str
    lanes: int
    registers: int
    fma: bool

    @property
    def width(self) -> int:
        return 32 * self.lanes

    @property
    def family(self) -> str:
        """``x86_64``, ``aarch64``, or what the triple begins with."""
        first = self.triple.partition("-")[0]
        return {"amd64": "x86_64", "arm64": "aarch64", "x86_64h": "x86_64"}.get(first, first)

    @property
    def attributes(self) -> str:
        """Of every function. Windows probes large stack frames through a function from outside: not here."""
        probe = ' "no-stack-arg-probe"' if "windows" in self.triple else ""
        return f'nounwind "prefer-vector-width"="{self.width}" "min-legal-vector-width"="{self.width}"{probe}'

    def flush_to_zero(self, b: Builder) -> Value:
        """Subnormals count as zero from here on; returns what `restore` needs.

        It asks for memory (`Builder.local`), so it belongs into the first block of a function. LLVM may move
        arithmetic across it within one block: do the arithmetic in later blocks, or use `entry`.
        """
        if self.family == "x86_64":
            b.declared.update(f"declare void @llvm.x86.sse.{what}mxcsr(ptr)" for what in ("st", "ld"))
            old, new = b.local(I32), b.local(I32)
            b.do(f"call void @llvm.x86.sse.stmxcsr(ptr {old})")
            b.do(f"store i32 {MXCSR}, ptr {new}, align 4")
            b.do(f"call void @llvm.x86.sse.ldmxcsr(ptr {new})")
            return old
        if self.family == "aarch64":
            state = b.call("llvm.aarch64.get.fpcr", I64)
            _call_void(b, "llvm.aarch64.set.fpcr", const(FPCR, I64))
            return state
        return const(0, I64)

    def restore(self, b: Builder, old: Value) -> None:
        """The floating-point state that the caller had."""
        if self.family == "x86_64":
            _call_void(b, "llvm.x86.sse.ldmxcsr", old)
        elif self.family == "aarch64":
            _call_void(b, "llvm.aarch64.set.fpcr", old)

    def pause(self, b: Builder) -> None:
        """A thread that spins says so: the processor's other thread runs faster, and it saves power."""
        if self.family == "x86_64":
            _call_void(b, "llvm.x86.sse2.pause")
        elif self.family == "aarch64":
            _call_void(b, "llvm.aarch64.isb", const(15, I32))

    def entry(self, name: str, body: str) -> str:
        """``void name(i64 thread, ptr context)``: calls ``body`` so, in flush-to-zero, and restores.

        The body is a function of its own, so that no arithmetic can move out of the guarded part; ``body``
        must be ``noinline`` or external (no pass that inlines is run).
        """
        b = Builder()
        old = self.flush_to_zero(b)
        b.do(f"call void @{body}(i64 %thread, ptr %context)")
        self.restore(b, old)
        b.do("ret void")
        return "\n".join(
            [
                *sorted(b.declared),
                f"define void @{name}(i64 %thread, ptr %context) {self.attributes} {{",
                "entry:",
                *b.lines,
                "}",
                "",
            ]
        )


def _call_void(b: Builder, function: str, *operands: Value) -> None:
    types = ", ".join(x.type.text for x in operands)
    b.declared.add(f"declare void @{function}({types})")
    b.do(f"call void @{function}({', '.join(f'{x.type.text} {x.text}' for x in operands)})")


# ------------------------------------------------------------------ llvmlite


@functools.cache
def available() -> bool:
    """Whether llvmlite is installed and new enough; without it there is the reference executor."""
    if importlib.util.find_spec("llvmlite") is None:
        return False
    return _version() >= OLDEST


def _version() -> tuple[int, ...]:
    try:
        import llvmlite  # this loads no LLVM yet; importlib.metadata would take fifty times as long
    except ImportError:
        return (0,)
    return tuple(int(part) for part in llvmlite.__version__.split(".")[:2] if part.isdigit())


@functools.cache
def llvm() -> Any:
    """``llvmlite.binding``, ready for code of this machine. Raises `MissingExtraError` if it is not there."""
    oldest = ".".join(map(str, OLDEST))
    remedy = f"install it with `pip install 'llvmlite>={oldest}'`, or ask for executor=\"reference\""
    if importlib.util.find_spec("llvmlite") is None:
        raise MissingExtraError(f"executor cpu: llvmlite is not installed; {remedy}")
    if not available():
        found = ".".join(map(str, _version()))
        raise MissingExtraError(f"executor cpu: llvmlite {found} is older than {oldest}; {remedy}")
    with LLVM_LOCK:
        try:
            import llvmlite.binding as binding
        except (ImportError, OSError) as error:
            raise MissingExtraError(f"executor cpu: llvmlite does not load ({error}); {remedy}") from error
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        hand_back(LIBRARY)
    return binding


# ------------------------------------------------------------------ the machine that we are on


@functools.cache
def host() -> Target:
    """This machine. AVX-512 only where the processor has all of f, vl, bw, dq and the system saves the
    registers; what is not known gets four lanes and LLVM's general settings."""
    binding = llvm()
    with LLVM_LOCK:
        triple = binding.get_default_triple()
        try:
            features = dict(binding.get_host_cpu_features())
        except RuntimeError:  # LLVM cannot ask this system
            features = {}
        return describe_host(triple, binding.get_host_cpu_name(), features)


def describe_host(triple: str, cpu: str, features: Mapping[str, bool]) -> Target:
    """A host's `Target` from what LLVM says about it."""
    flat = ",".join(f"{'+' if on else '-'}{name}" for name, on in sorted(features.items()))
    family = Target("host", triple, cpu, flat, 4, 16, False).family
    if family == "aarch64":
        return Target("host", triple, cpu, flat, lanes=4, registers=32, fma=True)
    if family != "x86_64" or not features:
        generic = "x86-64" if family == "x86_64" else "generic"
        return Target("host", triple, generic, "", lanes=4, registers=16, fma=False)
    fma = features.get("fma", False)
    if all(features.get(f"avx512{part}", False) for part in ("f", "vl", "bw", "dq")):
        return Target("host", triple, cpu, flat, lanes=16, registers=32, fma=fma)
    lanes = 8 if features.get("avx2", False) else 4
    return Target("host", triple, cpu, flat, lanes=lanes, registers=16, fma=fma)


@functools.cache
def named(name: str) -> Target:
    """A target by name: ``host``, ``avx512``, ``avx2``, ``sse2`` (x86-64 with every later feature switched
    off) or ``aarch64``. Those of the host's family are for the host's system, the others for Linux.

    >>> named("avx3")
    Traceback (most recent call last):
    chainrule.errors.ConfigError: target: 'avx3' is not known; did you mean 'avx2'? ...
    """
    if name not in NAMED:
        raise ConfigError(f"target: {name!r} is not known; {nearest(name, NAMED)}")
    this = host()
    if name == "host":
        return this
    if name == "aarch64":
        triple = this.triple if this.family == "aarch64" else "aarch64-unknown-linux-gnu"
        return Target(name, triple, "generic", "", lanes=4, registers=32, fma=True)
    triple = this.triple if this.family == "x86_64" else "x86_64-unknown-linux-gnu"
    if name == "avx512":
        return Target(name, triple, "x86-64-v4", "", lanes=16, registers=32, fma=True)
    if name == "avx2":
        return Target(name, triple, "x86-64-v3", "-avx512f", lanes=8, registers=16, fma=True)
    off = ",".join(f"-{feature}" for feature in _LATER_THAN_SSE2.split())
    return Target(name, triple, "x86-64", off, lanes=4, registers=16, fma=False)


def runs_here(target: Target) -> bool:
    """Whether this machine can run code made for a named target, or only make it."""
    this = host()
    if target.family != this.family:
        return False
    return target.lanes <= this.lanes and (this.fma or not target.fma)
