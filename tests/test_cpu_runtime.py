"""Targets and native code: what a processor is described as, and what LLVM makes of the IR."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import elf
import spmd

from chainrule.errors import CompilerError, ConfigError, MissingExtraError
from chainrule.executors.cpu import codegen, target
from chainrule.executors.cpu.emit import FLOAT, I64, PTR, Builder, Value, const
from chainrule.executors.cpu.native import compile_module, counts, object_for
from chainrule.executors.cpu.target import NAMED, Target, describe_host, host, llvm, named, runs_here

AVX512 = ("avx512f", "avx512vl", "avx512bw", "avx512dq")
LINUX = "x86_64-unknown-linux-gnu"


@pytest.fixture(autouse=True)
def _checked(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("CHAINRULE_VERIFY", "1")
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


# ------------------------------------------------------------------ targets


def test_a_host_is_what_its_features_say() -> None:
    every = dict.fromkeys(("sse2", "avx2", "fma", *AVX512), True)
    assert describe_host(LINUX, "znver4", every).lanes == 16
    assert describe_host(LINUX, "znver4", every).registers == 32
    for missing in AVX512:
        assert describe_host(LINUX, "knl", every | {missing: False}).lanes == 8
    old = describe_host(LINUX, "nehalem", {"sse2": True, "avx2": False})
    assert (old.lanes, old.registers, old.fma, old.features) == (4, 16, False, "-avx2,+sse2")


@pytest.mark.parametrize("triple", [LINUX, "riscv64-unknown-linux-gnu", "loongarch64-linux-gnu"])
def test_an_unknown_host_gets_general_settings(triple: str) -> None:
    """Of an x86 whose features are not known, the name promises too much: AVX may be switched off."""
    found = describe_host(triple, "something-new", {})
    assert (found.lanes, found.fma, found.features) == (4, False, "")
    assert found.cpu in ("generic", "x86-64")


def test_without_instructions_of_its_own_a_target_still_makes_a_barrier() -> None:
    unknown = Target("host", "riscv64-unknown-linux-gnu", "generic", "", 4, 16, False)
    b = Builder()
    unknown.restore(b, unknown.flush_to_zero(b))
    unknown.pause(b)
    assert b.lines == []
    assert "llvm." not in spmd.program(unknown)


def test_apple_and_windows_names_of_the_same_processors() -> None:
    assert Target("host", "arm64-apple-darwin24", "apple-m1", "", 4, 32, True).family == "aarch64"
    windows = Target("host", "x86_64-pc-windows-msvc", "x86-64", "", 4, 16, False)
    assert '"no-stack-arg-probe"' in windows.attributes
    assert "probe" not in host().attributes


def test_unknown_targets_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'avx512'"):
        named("avx-512")


@pytest.mark.parametrize("name", NAMED)
def test_code_for_every_named_target(name: str) -> None:
    """An object for each, and it needs nothing from outside: no libm, no run-time library."""
    made = object_for(spmd.program(named(name)), named(name))
    if "linux" in named(name).triple:
        assert elf.machine(made) == (183 if named(name).family == "aarch64" else 62)
        assert elf.undefined(made) == set()


def test_what_comes_from_outside_is_seen() -> None:
    """The counter-check of the test above."""
    libm = "define double @f(double %a) {\n  %b = call double @llvm.rint.f64(double %a)\n  ret double %b\n}\n"
    made = object_for(libm + "declare double @llvm.rint.f64(double)\n", named("sse2"))
    if "linux" in named("sse2").triple:
        assert elf.undefined(made) == {"rint"}


def width_of(target: Target) -> str:
    """Assembly of a sum of two vectors of 16 floats."""
    ir = f"""define void @f(ptr %a) {target.attributes} {{
  %x = load <16 x float>, ptr %a, align 64
  %y = fadd <16 x float> %x, %x
  store <16 x float> %y, ptr %a, align 64
  ret void
}}"""
    binding = llvm()
    module = binding.parse_assembly(ir, context=binding.create_context())
    return str(codegen.machine_for(target, jit=False).emit_assembly(module))


@pytest.mark.parametrize(("name", "register"), [("avx512", "zmm"), ("avx2", "ymm"), ("sse2", "xmm")])
def test_named_targets_use_their_own_registers_and_no_later_ones(name: str, register: str) -> None:
    text = width_of(named(name))
    assert register in text
    assert not [wider for wider in ("zmm", "ymm") if wider > register and wider in text]
    assert ("vaddps" in text) == (name != "sse2")


@pytest.mark.parametrize("name", NAMED)
def test_code_for_every_target_that_runs_here_runs(name: str) -> None:
    if not runs_here(named(name)):
        pytest.skip(f"this machine cannot run {name}")
    state = spmd.barrier_state()
    words = spmd.context(state, 1, 7)
    made = compile_module(spmd.program(named(name)), named(name))
    assert spmd.Team(1).run(made.address("entry"), words.ctypes.data, state) is False
    assert words[2] == 7


def test_the_host_runs_itself_and_what_is_less() -> None:
    assert runs_here(host())
    assert runs_here(named("sse2")) == (host().family == "x86_64")
    assert runs_here(named("aarch64")) == (host().family == "aarch64")


# ------------------------------------------------------------------ flush to zero

x86 = pytest.mark.skipif(host().family != "x86_64", reason="reads the state of an x86")
MXCSR_AND_SET = """
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
define void @read(ptr %to) {
  call void @llvm.x86.sse.stmxcsr(ptr %to)
  ret void
}
define void @write(ptr %from) {
  call void @llvm.x86.sse.ldmxcsr(ptr %from)
  ret void
}
"""


def guarded() -> str:
    """``entry`` doubles the float at ``context`` into the next word, and squares 1 + 2⁻²³ into the third."""
    b = Builder()
    base = Value("%context", PTR)
    x = b.value(f"load float, ptr {base}, align 4", FLOAT)
    b.do(f"store float {b.fadd(x, x)}, ptr {b.at(base, 1, FLOAT)}, align 4")
    y = b.value(f"load float, ptr {b.at(base, 2, FLOAT)}, align 4", FLOAT)
    b.do(f"store float {b.fmul(y, y)}, ptr {b.at(base, 2, FLOAT)}, align 4")
    body = "define internal void @work(i64 %thread, ptr %context) noinline {\nentry:\n"
    ends = "\n  ret void\n}\n"
    return host().entry("entry", "work") + body + "\n".join(b.lines) + ends


def call(address: int, argument: np.ndarray) -> None:
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(argument.ctypes.data)


def test_subnormals_are_zero_inside_and_numbers_outside() -> None:
    tiny = np.float32(1e-40)
    assert tiny > 0
    words = np.array([tiny, 9, 1 + 2.0**-23], np.float32)
    state = spmd.barrier_state()
    made = compile_module(guarded(), host())
    spmd.Team(1).run(made.address("entry"), words.ctypes.data, state)
    flushes = host().family in ("x86_64", "aarch64")
    assert (words[1] == 0) == flushes
    assert words[:1] + words[:1] > 0, "the caller's arithmetic is as before"


@x86
@pytest.mark.parametrize("before", [0x1F80, 0x1FA0, 0x5F80, 0x9FC0])
def test_the_callers_floating_point_state_is_restored_and_does_not_matter(before: int) -> None:
    """0x1FA0: an exception has been noted. 0x5F80: round up. 0x9FC0: flushed already."""
    access = compile_module(MXCSR_AND_SET, host())
    made = compile_module(guarded(), host())
    words = np.array([1e-40, 9, 1 + 2.0**-23], np.float32)
    now, after, usual = np.array([before], np.int32), np.zeros(1, np.int32), np.zeros(1, np.int32)
    entry = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(made.address("entry"))
    read, write = access.address("read"), access.address("write")
    call(read, usual)
    try:
        call(write, now)
        entry(0, words.ctypes.data)
        call(read, after)
    finally:
        call(write, usual)
    assert after[0] == before
    assert words[1] == 0
    assert words[2] == np.float32(1 + 2.0**-22), "rounded to nearest, whatever the caller does"


# ------------------------------------------------------------------ compilation


def adder(n: int) -> str:
    b = Builder()
    result = b.add(Value("%x", I64), const(n, I64))
    return f"define i64 @add(i64 %x) {{\nentry:\n{chr(10).join(b.lines)}\n  ret i64 {result}\n}}\n"


def test_code_runs_and_lives_as_long_as_its_object() -> None:
    made = [compile_module(adder(n), host()) for n in range(20)]
    functions = [ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(m.address("add")) for m in made]
    del made[::2]
    assert [f(1) for f in functions[1::2]] == list(range(2, 21, 2))
    assert made[0].size > 0


def test_the_same_ir_is_compiled_once() -> None:
    ir = adder(time.time_ns())
    before = counts.compiled
    first = compile_module(ir, host())
    assert compile_module(ir, host()) is first
    assert counts.compiled == before + 1
    compile_module(adder(time.time_ns()), host())
    assert counts.compiled == before + 2


def test_a_fault_of_ours_names_the_line() -> None:
    wrong = adder(1).replace("add i64 %x, 1", "add i64 %nobody, 1")
    with pytest.raises(
        CompilerError, match=r"undefined value '%nobody'.*line: '%v1 = add i64 %nobody, 1'.*@add"
    ):
        compile_module(wrong, host())


def test_ir_that_is_well_formed_but_wrong_is_refused_when_asked() -> None:
    wrong = """define i64 @f(i1 %c) {
entry:
  br i1 %c, label %a, label %b
a:
  %x = add i64 1, 1
  br label %b
b:
  ret i64 %x
}"""
    with pytest.raises(CompilerError, match="does not dominate"):
        compile_module(wrong, host())


def test_a_function_that_is_not_there() -> None:
    with pytest.raises(CompilerError, match="nothing"):
        compile_module(adder(3), host()).address("nothing")
    calls = "declare i64 @nowhere_to_be_found()\ndefine i64 @f() {\n  %x = call i64 @nowhere_to_be_found()\n"
    with pytest.raises(CompilerError):
        compile_module(calls + "  ret i64 %x\n}\n", host()).address("f")


def test_memory_of_compiled_code_is_given_back() -> None:
    """40 modules of 1 MB each, one after another: the process must not keep them."""
    pytest.importorskip("resource")
    table = f"@t = constant [1048576 x i8] zeroinitializer\n{adder(5)}"
    table += "define ptr @table() {\n  ret ptr @t\n}\n"
    code = f"""
import resource
from chainrule.executors.cpu.native import compile_module
from chainrule.executors.cpu.target import host
ir = {table!r}
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for i in range(40):
    made = compile_module(ir + f"; {{i}}\\n", host())
    made.address("table"), made.address("add")
    if i == 10: start = peak()
print(peak() - start)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 20_000, "kB"


# ------------------------------------------------------------------ without llvmlite


def test_without_llvmlite_the_rest_works() -> None:
    code = """
import sys
sys.modules["llvmlite"] = None
import numpy as np, chainrule as cr
from chainrule.executors.cpu import cache, native, target, threads
assert not target.available()
x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
net = cr.Network(cr.nn.Dense(4), cr.ops.tanh, cr.nn.Dense(2))
net.fit(x, np.array([0, 1, 1, 0]), epochs=2, verbose=0)
try:
    target.llvm()
except cr.ChainruleError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "MissingExtraError executor cpu: llvmlite is not installed; install it with"
    )


def test_an_old_llvmlite_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "_version", lambda: (0, 44))
    target.available.cache_clear()
    target.llvm.cache_clear()
    try:
        with pytest.raises(MissingExtraError, match=r"llvmlite 0\.44 is older than 0\.45; install it with"):
            target.llvm()
    finally:
        monkeypatch.undo()
        target.available.cache_clear()
        target.llvm.cache_clear()


def test_import_chainrule_does_not_bring_llvmlite() -> None:
    code = "import sys, chainrule; print('llvmlite' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"
