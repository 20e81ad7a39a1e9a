"""A long text is compiled in parts, by several threads: the same functions come of it."""

from __future__ import annotations

import ctypes
import gc
import threading

import pytest

pytest.importorskip("llvmlite")

from chainrule.errors import CompilerError
from chainrule.executors.cpu import codegen
from chainrule.executors.cpu.native import Native, _joined
from chainrule.executors.cpu.target import host, llvm

STEPS = 1200


def chain(length: int) -> str:
    """f0 adds 0 and calls f1, which adds 1 and calls f2 …, each after many other additions."""
    texts = []
    for k in range(length):
        lines = [f"define internal i64 @f{k}(i64 %x) noinline nounwind {{", "  %v0 = add i64 %x, 0"]
        lines += [f"  %v{i + 1} = mul i64 %v{i}, {2 * i + 3}" for i in range(STEPS)]
        last = f"call i64 @f{k + 1}(i64 %v{STEPS})" if k + 1 < length else f"add i64 %v{STEPS}, 0"
        texts.append("\n".join([*lines, f"  %y = {last}", "  ret i64 %y", "}", ""]))
    return "".join(texts) + "define i64 @run(i64 %x) {\n  %y = call i64 @f0(i64 %x)\n  ret i64 %y\n}\n"


def expected(length: int, x: int) -> int:
    for _ in range(length):
        for i in range(STEPS):
            x = x * (2 * i + 3) % 2**64
    return x


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_parts_call_each_other(threads: int) -> None:
    objects = codegen.objects_of(chain(6), host(), threads)
    assert len(objects) == threads
    native = Native(_joined(objects))
    run = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)(native.address("run"))
    assert run(5) == expected(6, 5)


def test_a_part_holds_the_instructions_of_the_whole() -> None:
    ir = chain(4)
    machine = codegen.machine_for(host(), jit=True)

    def instructions(text: str) -> dict[str, list[str]]:
        """Of each function, as they stand between its label and its end."""
        listing = str(machine.emit_assembly(llvm().parse_assembly(text)))
        found: dict[str, list[str]] = {}
        for line in listing.split("\n"):
            if line.endswith(":") or ":\t" in line:
                name = line.partition(":")[0]
                found[name] = []
            elif line.startswith("\t") and not line.startswith("\t.") and found:
                found[name].append(line)
        return {name: lines for name, lines in found.items() if name.startswith(("f", "run"))}

    parts = codegen.divided(ir, 2)
    assert len(parts) == 2
    merged = {k: v for part in parts for k, v in instructions(part).items()}
    whole = instructions(ir)
    assert merged.keys() == whole.keys()
    for name in whole:
        assert len(merged[name]) == len(whole[name]) > 0


def test_short_texts_stay_whole() -> None:
    ir = "define void @f() {\n  ret void\n}\n"
    assert codegen.divided(ir, 8) == [ir]


def test_without_llvmlites_own_entry_everything_is_compiled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codegen, "_unlocked_emitter", lambda: None)
    assert len(codegen.objects_of(chain(6), host(), 4)) == 1


def test_where_no_thread_is_to_be_had_one_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    usual = codegen.objects_of(chain(6), host(), 2)
    monkeypatch.setattr(threading.Thread, "start", refused)
    assert codegen.objects_of(chain(6), host(), 2) == usual


def test_what_a_thread_finds_wrong_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(machine: object, module: object) -> CompilerError | bytes:
        inside = threading.current_thread() is threading.main_thread()
        return b"" if inside else CompilerError("no object")

    monkeypatch.setattr(codegen, "_unlocked_emitter", lambda: refused)
    with pytest.raises(CompilerError, match="no object"):
        codegen.objects_of(chain(6), host(), 2)
    gc.collect()  # LLVM crashes where a context goes before its module
