"""The kernels of executors/cpu/{special,random,transpose}.py, compiled for this host and for the plainest
x86-64, beside the NumPy references of the primitives."""

from __future__ import annotations

import ctypes
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from chainrule.executors.cpu.emit import DOUBLE, FLOAT, I32, I64, PTR, Builder, Value, vector
from chainrule.executors.cpu.layout import Layout, dense, padded
from chainrule.executors.cpu.random import philox, random_elements
from chainrule.executors.cpu.special import (
    Operand,
    argsort,
    argsort_scratch,
    checked_index,
    cumsum,
    scalar_type,
    scatter_add,
    scatter_scratch,
)
from chainrule.executors.cpu.transpose import transpose2d
from chainrule.ops.index import ARGSORT, SCATTER_ADD
from chainrule.ops.random import RANDOM_BITS
from chainrule.ops.reduce import CUMSUM
from chainrule.spec import DTYPES

binding = pytest.importorskip("llvmlite.binding")

GUARD = 64  # elements before and after every array, to see stray writes
A, B, C, D, E = (Value(f"%{name}", PTR) for name in "abcde")
N0, N1, N2, N3 = (Value(f"%n{i}", I64) for i in range(4))
HEADER = "ptr %a, ptr %b, ptr %c, ptr %d, ptr %e, i64 %n0, i64 %n1, i64 %n2, i64 %n3"


# ------------------------------------------------------------------ memory


class Memory:
    """An array laid out as a Layout says, between guards."""

    def __init__(self, layout: Layout, values: np.ndarray | None = None) -> None:
        reach = [(n - 1) * s for n, s in zip(layout.shape, layout.strides, strict=True) if n > 0]
        below, above = -sum(r for r in reach if r < 0), sum(r for r in reach if r > 0)
        start = GUARD + below
        self.flat = np.zeros(start + above + 1 + GUARD, layout.dtype)
        self.flat.view(np.uint8)[:] = 1 if layout.dtype == bool else 77
        steps = tuple(s * layout.dtype.itemsize for s in layout.strides)
        self.view = np.lib.stride_tricks.as_strided(self.flat[start:], layout.shape, steps)
        if values is not None:
            self.view[...] = values
        self.layout = layout
        self.pointer = self.flat[start:].ctypes.data - layout.offset * layout.dtype.itemsize

    def outside(self) -> np.ndarray:
        """The bytes that no element occupies."""
        kept = self.view.copy()
        self.view.view(np.dtype((np.void, self.layout.dtype.itemsize)))[...] = bytes(
            self.layout.dtype.itemsize
        )
        found = self.flat.view(np.uint8).copy()
        self.view[...] = kept
        return found


def reversed_axis(shape: tuple[int, ...], dtype: Any, axis: int) -> Layout:
    """Dense, but one axis runs backwards; with an offset, that a kernel must add."""
    found = dense(shape, dtype)
    strides = tuple(-s if i == axis else s for i, s in enumerate(found.strides))
    return Layout(shape, strides, found.dtype, offset=5)


def transposed(shape: tuple[int, ...], dtype: Any) -> Layout:
    """The first axis is the consecutive one."""
    return Layout(shape, tuple(reversed(dense(shape[::-1], dtype).strides)), dtype)


def repeated(shape: tuple[int, ...], dtype: Any) -> Layout:
    """One element for the whole last axis."""
    return Layout(shape, (*dense(shape[:-1], dtype).strides, 0), dtype)


def random_values(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    """With repeated, extreme and undefined values."""
    rng = np.random.default_rng([seed, *shape])
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind != "f":
        info = np.iinfo(dtype)
        x = rng.integers(max(info.min, -4), 5, shape).astype(dtype)
        return np.where(rng.random(shape) < 0.1, rng.choice([info.min, info.max], shape), x).astype(dtype)
    return np.round(rng.normal(0, 3, shape), 1).astype(dtype)


# ------------------------------------------------------------------ compiling


@dataclass
class Case:
    """``emit`` fills one function; ``check`` calls it."""

    name: str
    emit: Callable[[Builder, int], None]
    check: Callable[[Callable[..., None], int], None]


@dataclass
class Code:
    """All cases, compiled for one processor."""

    lanes: int
    functions: dict[str, Callable[..., None]]
    assembly: str
    kept: list[Any] = field(default_factory=list)


def module_text(lanes: int) -> str:
    declared: set[str] = set()
    bodies = []
    for case in CASES:
        b = Builder()
        case.emit(b, lanes)
        declared |= b.declared
        bodies.append(
            f'define void @"{case.name}"({HEADER}) #0 {{\nentry:\n' + "\n".join(b.lines) + "\n  ret void\n}"
        )
    attributes = 'attributes #0 = { nounwind "prefer-vector-width"="512" }'
    return "\n".join([*sorted(declared), *bodies, attributes])


def on_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def host_lanes() -> int:
    features = binding.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx2") else 4


@pytest.fixture(scope="module", params=["host", "plain"])
def code(request: pytest.FixtureRequest) -> Code:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    cpu, features, lanes = (
        binding.get_host_cpu_name(),
        binding.get_host_cpu_features().flatten(),
        host_lanes(),
    )
    if request.param == "plain":
        if not on_x86():
            pytest.skip("the plainest processor of this kind is the host's")
        cpu, features, lanes = "x86-64", "", 4
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=cpu, features=features, opt=1, jit=True, codemodel="jitdefault"
    )
    module = binding.parse_assembly(module_text(lanes))
    module.verify()
    assembly = machine.emit_assembly(module)
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5, *[ctypes.c_int64] * 4)
    functions = {case.name: caller(kind(engine.get_function_address(case.name))) for case in CASES}
    return Code(lanes, functions, assembly, [engine])


def caller(function: Callable[..., None]) -> Callable[..., None]:
    """Arrays and numbers in any count: missing ones are null."""

    def call(*operands: Any, numbers: tuple[int, ...] = ()) -> None:
        places = [x.pointer if isinstance(x, Memory) else x.ctypes.data for x in operands]
        function(*places, *[None] * (5 - len(places)), *numbers, *[0] * (4 - len(numbers)))

    return call


CASES: list[Case] = []


# ------------------------------------------------------------------ cumsum


def add_cumsum(name: str, x: Layout, y: Layout, axis: int, reverse: bool) -> None:
    def emit(b: Builder, lanes: int) -> None:
        cumsum(b, Operand(A, x), Operand(B, y), axis=axis, reverse=reverse, lanes=lanes)

    def check(call: Callable[..., None], lanes: int) -> None:
        source, result = Memory(x, random_values(x.shape, x.dtype)), Memory(y)
        if x.dtype.kind == "f" and x.size:
            source.view[(0,) * x.ndim] = -0.0
        before = result.outside()
        call(source, result)
        expected = CUMSUM.reference(source.view, axis=axis, reverse=reverse)
        assert np.ascontiguousarray(result.view).tobytes() == expected.tobytes()  # −0 is not 0 here
        assert np.array_equal(result.outside(), before)

    CASES.append(Case(f"cumsum {name} {x.dtype} {x.shape} axis {axis} {reverse}", emit, check))


for dtype in DTYPES.values():
    add_cumsum("dense", dense((3, 37), dtype), padded((3, 37), dtype), 0, False)
    add_cumsum("dense", dense((3, 37), dtype), padded((3, 37), dtype), 1, True)
for shape in ((7,), (1,), (0,), (0, 3), (3, 0), (1, 1)):
    add_cumsum(
        "sizes", dense(shape, DTYPES["float32"]), dense(shape, DTYPES["float32"]), len(shape) - 1, True
    )
for place, reverse in ((0, True), (1, False), (2, True)):
    for kind, layout in (("transposed", transposed), ("repeated", repeated)):
        x = layout((4, 5, 19), DTYPES["float32"])
        add_cumsum(kind, x, padded(x.shape, x.dtype), place, reverse)
    x = reversed_axis((4, 5, 19), DTYPES["int32"], 2 - place)
    add_cumsum("reversed", x, dense(x.shape, x.dtype), place, reverse)


# ------------------------------------------------------------------ argsort


def add_argsort(name: str, x: Layout, axis: int, specials: tuple[float, ...] = ()) -> None:
    y = padded(x.shape, DTYPES["int64"])

    def emit(b: Builder, lanes: int) -> None:
        argsort(b, Operand(A, x), Operand(B, y), axis=axis, scratch=C)

    def check(call: Callable[..., None], lanes: int) -> None:
        source, result = Memory(x, random_values(x.shape, x.dtype)), Memory(y)
        if specials:
            rng = np.random.default_rng(1)
            mask = rng.random(x.shape) < 0.4
            source.view[mask] = rng.choice(np.array(specials, x.dtype), mask.sum())
        need = argsort_scratch(x, axis)
        scratch = np.full(need + 64, 5, np.uint8)
        before = result.outside()
        call(source, result, scratch)
        assert np.array_equal(result.view, ARGSORT.reference(source.view, axis=axis))
        assert np.array_equal(result.outside(), before)
        assert (scratch[need:] == 5).all()

    CASES.append(Case(f"argsort {name} {x.dtype} {x.shape} axis {axis}", emit, check))


for dtype in DTYPES.values():
    add_argsort("dense", dense((61, 7), dtype), 0)
    add_argsort("dense", dense((5, 1000), dtype), 1)
for name in ("float32", "float64"):
    # Two NaNs with different bits and signs are equal to each other; so are the zeros.
    unusual = (math.nan, -math.nan, 0.0, -0.0, math.inf, -math.inf, 1e-40, -3e38)
    add_argsort("specials", dense((3, 100), DTYPES[name]), 1, unusual)
for n in (0, 1, 2, 3, 4, 5, 127, 128, 129):
    add_argsort("size", dense((n,), DTYPES["int32"]), 0)
    add_argsort("size", dense((n,), DTYPES["float64"]), 0)
add_argsort("reversed", reversed_axis((6, 50), DTYPES["float32"], 1), 1)
add_argsort("transposed", transposed((6, 50, 2), DTYPES["int64"]), 1)
add_argsort("repeated", repeated((6, 50), DTYPES["float32"]), 1)


# ------------------------------------------------------------------ scatter_add


def add_scatter(name: str, index: Layout, updates: Layout, rows: int, bad: tuple[int, ...] = ()) -> None:
    y = padded((rows, *updates.shape[index.ndim :]), updates.dtype)

    def emit(b: Builder, lanes: int) -> None:
        operands = Operand(A, index), Operand(B, updates), Operand(C, y)
        scatter_add(b, *operands, rows=rows, scratch=D, failed=E, lanes=lanes)

    def check(call: Callable[..., None], lanes: int) -> None:
        rng = np.random.default_rng(3)
        numbers = rng.integers(0, max(rows, 1), index.shape).astype(index.dtype)
        wrong = np.zeros(index.shape, bool)
        if bad:
            wrong = rng.random(index.shape) < (0.3 if rows else 2)
            numbers[wrong] = rng.choice(np.array(bad, index.dtype), wrong.sum())
        places, terms, result = (
            Memory(index, numbers),
            Memory(updates, random_values(updates.shape, updates.dtype)),
            Memory(y),
        )
        need = scatter_scratch(index, y)
        assert need == (8 * y.size if updates.dtype == F32 and index.size > 1024 else 0)
        scratch, failed = np.full(need + 64, 5, np.uint8), np.zeros(3, np.int32)
        before = result.outside()
        call(places, terms, result, scratch, failed[1:])
        good = ~wrong
        expected = SCATTER_ADD.reference(places.view[good], terms.view[good], rows=rows)
        tolerance = 0.0 if updates.dtype.kind != "f" else 2e-7 if need else 8 * np.finfo(updates.dtype).eps
        scale = SCATTER_ADD.reference(places.view[good], np.abs(terms.view[good]), rows=rows)
        error = np.abs(result.view.astype("float64") - expected.astype("float64"))
        assert (error <= tolerance * (np.abs(expected) if need else scale) + 1e-12 * (tolerance > 0)).all()
        assert failed.tolist() == [0, int(wrong.any()), 0]
        assert np.array_equal(result.outside(), before)
        assert (scratch[need:] == 5).all()

    CASES.append(
        Case(f"scatter {name} {index.dtype} {updates.dtype} {index.shape} {updates.shape}", emit, check)
    )


F32, F64, WHOLE32, WHOLE64, BYTE = (DTYPES[n] for n in ("float32", "float64", "int32", "int64", "uint8"))
for dtype in (F32, F64, WHOLE32, WHOLE64, BYTE):
    add_scatter("dense", dense((40,), WHOLE64), dense((40, 37), dtype), 6)
for dtype in (BYTE, WHOLE32, WHOLE64):
    add_scatter("index", dense((4, 9), dtype), padded((4, 9, 5), F32), 6)
add_scatter("long", dense((50, 41), WHOLE32), dense((50, 41, 19), F32), 3)
add_scatter("long", dense((2000,), WHOLE32), dense((2000,), F32), 2)
add_scatter("long", dense((2000,), WHOLE32), dense((2000, 3), F64), 2)
add_scatter("one", dense((), WHOLE64), dense((4,), F32), 6)
add_scatter("none", dense((0,), WHOLE64), dense((0, 4), F32), 6)
add_scatter("no columns", dense((3,), WHOLE64), dense((3, 0), F32), 6)
add_scatter("scalars", dense((30,), WHOLE64), dense((30,), F32), 6)
add_scatter("deep", dense((9,), WHOLE64), reversed_axis((9, 3, 2, 17), F32, 1), 4)
add_scatter("transposed", reversed_axis((20,), WHOLE32, 0), transposed((20, 18), F32), 4)
add_scatter("repeated", dense((20,), WHOLE32), repeated((20, 18), F32), 4)
add_scatter("bad", dense((50,), WHOLE64), dense((50, 20), F32), 4, (-1, 4, -(1 << 63), (1 << 63) - 1))
add_scatter("bad", dense((50,), WHOLE32), dense((50,), F32), 4, (-1, 4, -(1 << 31), (1 << 31) - 1))
add_scatter("bad", dense((50,), BYTE), dense((50, 2), F32), 200, (200, 255))
add_scatter("bad", dense((1500,), WHOLE64), dense((1500, 2), F32), 4, (-1, 4))
add_scatter("no rows", dense((5,), WHOLE64), dense((5, 2), F32), 0, (0, -1))


# ------------------------------------------------------------------ checked index


def add_checked(index_type: Any, lanes: int) -> None:
    name, rows = index_type.name, 7

    def emit(b: Builder, _: int) -> None:
        index = b.load(A, vector(scalar_type(index_type).scalar, lanes))
        b.store(checked_index(b, index, rows, C), B)

    def check(call: Callable[..., None], _: int) -> None:
        info, n = np.iinfo(index_type), max(lanes, 1)
        for probe in (0, 6, 7, info.min, info.max, max(-1, info.min)):
            for place in range(n):
                index, found, failed = np.full(n, 3, index_type), np.full(n, -5), np.zeros(1, np.int32)
                index[place] = probe
                call(index, found, failed)
                inside = 0 <= probe < rows
                expected = index.astype("int64")
                expected[place] = probe if inside else 0
                assert found.tolist() == expected.tolist()
                assert failed[0] == (not inside)

    CASES.append(Case(f"checked {name} {lanes}", emit, check))


for dtype in (BYTE, WHOLE32, WHOLE64):
    for width in (0, 4, 16):
        add_checked(dtype, width)


# ------------------------------------------------------------------ random numbers


def add_philox() -> None:
    def emit(b: Builder, lanes: int) -> None:
        type = vector("i32", lanes)
        counter = [b.load(b.at(A, lanes * i, type), type) for i in range(4)]
        key = b.load(B, I32), b.load(b.at(B, 1, I32), I32)
        for i, word in enumerate(philox(b, counter, key)):
            b.store(word, b.at(C, lanes * i, type))

    def check(call: Callable[..., None], lanes: int) -> None:
        # Known answers published with Random123 for philox4x32, 10 rounds.
        ones = 0xFFFFFFFF
        golden = [
            ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
            ([ones] * 4, [ones] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
            (
                [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
                [0xA4093822, 0x299F31D0],
                [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
            ),
        ]
        for counter, key, expected in golden:
            for lane in range(lanes):
                words, found = np.zeros((4, lanes), np.uint32), np.zeros((4, lanes), np.uint32)
                words[:, lane] = counter
                call(words, np.array(key, np.uint32), found)
                assert found[:, lane].tolist() == expected

    CASES.append(Case("philox", emit, check))


def add_random(bits: int, path: int, purpose: int) -> None:
    per_block = 4 if bits <= 31 else 2

    def emit(b: Builder, lanes: int) -> None:
        with b.loop(N0, N1, lanes) as loop:
            found = random_elements(b, loop.i, N2, N3, path=path, purpose=purpose, bits=bits, lanes=lanes)
            assert len(found) == per_block
            base = b.at(A, b.mul(loop.i, Value(str(per_block), I64)), found[0].type)
            for i, part in enumerate(found):
                b.store(part, b.at(base, i * lanes, part.type))

    def check(call: Callable[..., None], lanes: int) -> None:
        for size, start in ((1, 0), (7, 0), (64, 0), (301, 0), (130, 3)):
            blocks = -(-size // per_block)
            for seed, step in ((0, 0), (9, (1 << 32) + 5), (-1, (1 << 62) + 1), ((1 << 63) - 1, -2)):
                room = (start + blocks + lanes) * per_block
                found = np.full(room, -7, np.int32 if bits <= 31 else np.int64)
                call(found, numbers=(start, start + blocks, seed, step))
                expected = RANDOM_BITS.reference(
                    np.int64(seed), np.int64(step), path=path, purpose=purpose, shape=(room,), bits=bits
                )
                first = start * per_block
                assert np.array_equal(found[first : first + size], expected[first : first + size])

    CASES.append(Case(f"random {bits} {path} {purpose}", emit, check))


add_philox()
add_random(24, 7, 0)
add_random(31, (1 << 63) + 12345, 1)
add_random(1, (1 << 64) - 1, (1 << 32) - 1)
add_random(32, 0, 2)
add_random(53, 1 << 63, 1 << 31)
add_random(63, 99, 5)


# ------------------------------------------------------------------ transposition


def add_transpose(type: Any, dtype: Any, rows: int, columns: int) -> None:
    def up(n: int) -> int:
        return -(-n // 16) * 16

    x_stride, y_stride = up(columns) + 16, up(rows) + 16

    def emit(b: Builder, lanes: int) -> None:
        transpose2d(b, A, x_stride, B, y_stride, columns, type, lanes, N0, N1)

    def check(call: Callable[..., None], lanes: int) -> None:
        x = np.random.default_rng(2).random((up(rows), x_stride)).astype(dtype)
        blocks = -(-rows // lanes)
        for low, high in ((0, blocks), (1, blocks), (0, blocks // 2), (0, 0)):
            y = np.full((up(columns) + 1, y_stride), 7, dtype)
            call(x, y, numbers=(low, high))
            expected, wide = np.full_like(y, 7), -(-columns // lanes) * lanes
            expected[:wide, low * lanes : high * lanes] = x[low * lanes : high * lanes, :wide].T
            assert np.array_equal(y, expected)

    CASES.append(Case(f"transpose {type} {rows} {columns}", emit, check))


for type, dtype in ((FLOAT, F32), (DOUBLE, F64)):
    for rows, columns in ((1, 1), (5, 33), (48, 16), (70, 20)):
        add_transpose(type, dtype, rows, columns)


# ------------------------------------------------------------------ the tests


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_the_reference(case: Case, code: Code) -> None:
    case.check(code.functions[case.name], code.lanes)


def test_calls_no_library(code: Code) -> None:
    """No function of the C library, which a processor without wide instructions would need."""
    assert not [
        line for line in code.assembly.splitlines() if line.split()[:1] in (["callq"], ["call"], ["bl"])
    ]


def test_names_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_compiles_for_aarch64() -> None:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    try:
        target = binding.Target.from_triple("aarch64-unknown-linux-gnu")
    except RuntimeError:
        pytest.skip("this llvmlite knows no AArch64")
    module = binding.parse_assembly(module_text(4))
    machine = target.create_target_machine(cpu="generic", opt=1)
    assert machine.emit_object(module)[:4] == b"\x7fELF"
