"""From IR text to object files: a long text is divided, so that several threads work on it at once.

No IR pass runs and the code generator works at level 1: half the compile time of level 2, the same speed, for
the IR is written as it should be executed. What a function becomes does not depend on what stands beside it:
dividing a text changes no instruction.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any

from chainrule.errors import CompilerError
from chainrule.executors.cpu.target import Target, host, llvm

__all__ = ["CODEGEN_LEVEL", "divided", "machine_for", "object_of", "objects_of"]

CODEGEN_LEVEL = 1
_WORTH = 60_000  # characters of IR, some 25 ms: less is not worth a thread
_MOST = 4  # parts: each costs a millisecond or two of its own


def object_of(ir: str, target: Target, *, jit: bool) -> bytes:
    """One object file. Raises `CompilerError` for IR that LLVM refuses."""
    machine, module = _read(ir, target, jit=jit)
    return bytes(machine.emit_object(module))


def objects_of(ir: str, target: Target, threads: int) -> list[bytes]:
    """Object files for this process, to be linked together; so many threads make them, if there is enough to
    do."""
    emit = _unlocked_emitter()
    parts = [ir] if emit is None else divided(ir, threads)
    if emit is None or len(parts) == 1:
        return [object_of(ir, target, jit=True)]
    read = [_read(part, target, jit=True) for part in parts]
    found: list[bytes | CompilerError] = [CompilerError("executor cpu: a thread died")] * len(parts)

    def make(k: int) -> None:
        found[k] = emit(*read[k])

    try:
        others = [_elsewhere(make, k) for k in range(1, len(parts))]
        make(0)
        for thread in others:
            if thread is not None:
                thread.join()
    finally:
        read.clear()  # a module must go before its context: an exception would leave that to chance
    return [_good(x) for x in found]


def _elsewhere(make: Callable[[int], None], k: int) -> threading.Thread | None:
    """Begins ``make(k)`` in a thread; where none is to be had, does it here."""
    thread = threading.Thread(target=make, args=(k,))
    try:
        thread.start()
    except RuntimeError:
        make(k)
        return None
    return thread


def _good(found: bytes | CompilerError) -> bytes:
    if isinstance(found, CompilerError):
        raise found
    return found


# ------------------------------------------------------------------ text


def divided(ir: str, most: int) -> list[str]:
    """The same functions in at most so many texts of about equal length, each of which declares those of the
    others.

    >>> one, two = (f"define internal void @{name}() {{{' ' * 60000}\\nret void }}\\n" for name in "fg")
    >>> print(divided(one + two, most=2)[0].replace("  ", "").strip())
    declare void @f()
    define void @g() {
    ret void }
    """
    count = min(most, _MOST, len(ir) // _WORTH)
    if count < 2:
        return [ir]
    head, *functions = ("\n" + ir).split("\ndefine ")
    shares: list[set[str]] = [set() for _ in range(count)]
    for function in sorted(functions, key=len, reverse=True):  # to the part that has least
        min(shares, key=lambda share: sum(map(len, share))).add(function)
    return [head + "".join([_in_part(f, f in own) for f in functions]) for own in shares]


def _in_part(function: str, own: bool) -> str:
    """A function that others may call too: defined, or only declared."""
    function = function.removeprefix("internal ")
    return f"\ndefine {function}" if own else f"\ndeclare {function[: function.index(' {')]}"


# ------------------------------------------------------------------ LLVM


def _read(ir: str, target: Target, *, jit: bool) -> tuple[Any, Any]:
    """(machine, module)"""
    binding, machine = llvm(), machine_for(target, jit=jit)
    # Alignments that are not written out follow from the data layout, so it must come before everything.
    head = f'target datalayout = "{machine.target_data}"\ntarget triple = "{machine.triple}"\n'
    context = binding.create_context()  # types and constants of this module go when it goes
    try:
        module = binding.parse_assembly(head + ir, context=context)
        if os.environ.get("CHAINRULE_VERIFY", "0") not in ("", "0"):
            module.verify()
    except RuntimeError as error:
        raise CompilerError(_explain(str(error), head + ir)) from error
    return machine, module


def machine_for(target: Target, *, jit: bool) -> Any:
    """LLVM's own description of a target, with the code generator for it."""
    binding = llvm()
    if target.family != host().family:
        binding.initialize_all_targets()
        binding.initialize_all_asmprinters()
    return binding.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=CODEGEN_LEVEL,
        jit=jit,
        reloc="default" if jit else "pic",
        codemodel="jitdefault" if jit else "default",
    )


def _unlocked_emitter() -> Callable[[Any, Any], bytes | CompilerError] | None:
    """``machine.emit_object(module)`` without llvmlite's lock, which lets in one thread at a time. LLVM asks
    only that no two threads use one context or one machine. None where llvmlite does not have it so."""
    try:
        library = ctypes.CDLL(llvm().ffi.lib._name)
        emit, start = library.LLVMPY_TargetMachineEmitToMemory, library.LLVMPY_GetBufferStart
        size, dispose = library.LLVMPY_GetBufferSize, library.LLVMPY_DisposeMemoryBuffer
    except (AttributeError, OSError):
        return None
    address = ctypes.c_void_p
    emit.argtypes = [address, address, ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
    emit.restype = start.restype = address
    size.restype, dispose.restype = ctypes.c_size_t, None
    start.argtypes = size.argtypes = dispose.argtypes = [address]

    def emitted(machine: Any, module: Any) -> bytes | CompilerError:
        reason = ctypes.c_char_p()
        buffer = emit(machine, module, 1, ctypes.byref(reason))
        if not buffer:
            return CompilerError(f"executor cpu: LLVM makes no object: {(reason.value or b'').decode()}")
        try:
            return ctypes.string_at(start(buffer), size(buffer))
        finally:
            dispose(buffer)

    return emitted


def _explain(message: str, ir: str) -> str:
    """LLVM's message with the offending line and the function around it."""
    lines = ir.split("\n")
    where = ""
    for part in message.split("<string>:")[1:]:
        number = part.partition(":")[0]
        if number.isdigit() and 0 < int(number) <= len(lines):
            row = int(number) - 1
            around = next((text for text in reversed(lines[: row + 1]) if text.startswith("define")), "")
            where = f"; line: {lines[row].strip()!r}, in: {around.partition('(')[0]!r}"
            break
    reason = " ".join(message.split())[:500]
    return (
        f"executor cpu: the compiler wrote IR that LLVM refuses: {reason}{where}. This is a fault of "
        'chainrule, please report it; executor="reference" runs the same graph'
    )
