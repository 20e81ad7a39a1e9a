"""Vector mathematics of the CPU compiler: against float64 and 80-bit mathematics of the C library.

Every function is compiled for plain SSE2 (no fused multiply-add), for AVX2 and for this machine.
"""

from __future__ import annotations

import ctypes
import functools
import math
import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from chainrule.executors.cpu import functions
from chainrule.executors.cpu.emit import I64, PTR, Builder, Value, const, vector

llvm = pytest.importorskip("llvmlite.binding")

Array = npt.NDArray[np.floating]
LONG = np.finfo(np.longdouble).nmant >= 63  # 80-bit: enough to judge float64
SCALARS = {"float": np.float32, "double": np.float64}
CPUS = {"sse2": ("x86-64", {"sse2"}), "avx2": ("x86-64-v3", {"avx2", "fma"}), "host": ("", set())}


# ------------------------------------------------------------------ compile a loop over an array


@functools.cache
def _llvm() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def _text(name: str, scalar: str, lanes: int, flush: bool = False) -> str:
    """``void f(x, y, out, n)``, n a multiple of the lanes; ``flush``: subnormals are zero."""
    type, b = vector(scalar, lanes), Builder()
    x, y, out, n = (Value(f"%{name}", t) for name, t in zip("xyon", (PTR, PTR, PTR, I64), strict=True))
    if flush:
        _control(b, 0x9FC0)
    with b.loop(0, n, max(lanes, 1)) as loop:
        operands = [b.load(b.at(p, loop.i, type), type) for p in ((x, y) if name == "pow" else (x,))]
        b.store(getattr(functions, name)(b, *operands), b.at(out, loop.i, type))
    if flush:
        _control(b, 0x1F80)
    declared, lines = "\n".join(sorted(b.declared)), "\n".join(b.lines)
    head = 'define void @f(ptr %x, ptr %y, ptr %o, i64 %n) "prefer-vector-width"="512" {\nentry:'
    return f"{declared}\n{head}\n{lines}\n  ret void\n}}\n"


def _control(b: Builder, word: int) -> None:
    """x86's control register for floating point."""
    place = b.local(vector("i32", 0))
    b.store(const(word, vector("i32", 0)), place)
    b.call("llvm.x86.sse.ldmxcsr", vector("void", 0), place)


def _machine(cpu: str, triple: str | None = None) -> llvm.TargetMachine:
    _llvm()
    target = llvm.Target.from_triple(triple or llvm.get_process_triple())
    if cpu or triple:
        return target.create_target_machine(cpu=cpu, opt=1, jit=triple is None)
    features = llvm.get_host_cpu_features().flatten()
    return target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=1, jit=True)


@functools.cache
def compiled(name: str, scalar: str, lanes: int, target: str, flush: bool = False) -> Callable[..., Array]:
    """The function over arrays, for one kind of machine."""
    cpu, needed = CPUS[target]
    has = llvm.get_host_cpu_features()
    if not all(has.get(feature) for feature in needed):
        pytest.skip(f"this machine cannot run {target}")
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(_text(name, scalar, lanes, flush)), _machine(cpu))
    engine.finalize_object()
    native = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)(engine.get_function_address("f"))

    def run(x: Array, y: Array | None = None, engine: object = engine) -> Array:
        def padded(a: Array) -> Array:
            return np.concatenate([a, np.ones(-a.size % max(lanes, 1))]).astype(SCALARS[scalar])

        first, second = padded(x), padded(x if y is None else y)
        out = np.empty_like(first)
        native(first.ctypes.data, second.ctypes.data, out.ctypes.data, out.size)
        return out[: x.size]

    return run


ALL = sorted([*functions.FUNCTIONS, "pow"])
WIDTHS = [("sse2", 4), ("avx2", 8), ("host", 16), ("host", 0)]
on_every_machine = pytest.mark.parametrize(("target", "lanes"), WIDTHS, ids=lambda v: str(v))
in_both_formats = pytest.mark.parametrize("scalar", ["float", "double"])


# ------------------------------------------------------------------ references


def _erf_series(x: Array) -> Array:
    """2/√π e^(−x²) Σ 2ⁿ x²ⁿ⁺¹/(2n+1)!!, all terms of one sign; the first below 10⁻¹⁰; 1 beyond 6.6."""
    two_over_root_pi = np.longdouble("1.12837916709551257389615890312154517169")
    y = np.where(np.abs(x) > 1, np.sign(x), two_over_root_pi * x)
    middle = (np.abs(x) > 1e-10) & (np.abs(x) < 6.6)
    a = x[middle]
    term, total = a.copy(), a.copy()
    for n in range(1, 190):
        term *= 2 * a * a / (2 * n + 1)
        total += term
    y[middle] = two_over_root_pi * total * np.exp(-a * a)
    return y


REFERENCES: dict[str, Callable[..., Array]] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "sigmoid": lambda x: np.where(x < 0, np.exp(x), 1) / (1 + np.exp(-np.abs(x))),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "erf": lambda x: (
        _erf_series(x) if x.dtype == np.longdouble else np.vectorize(math.erf, otypes=[np.float64])(x)
    ),
    "pow": np.power,
}


def error_in_ulp(got: Array, want: Array) -> Array:
    """|got − want| in units in the last place of ``got``'s format at ``want``. Equal non-finite values: 0.

    A result that is subnormal, or by less than one part in 10⁵ not, may be 0.
    """
    limits = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
        step = np.ldexp(want.dtype.type(1), np.frexp(want)[1] - 1 - limits.nmant)
        error = np.abs(got.astype(want.dtype) - want) / step
    error[(got == rounded) | (np.isnan(got) & np.isnan(want))] = 0
    error[(np.abs(want) < limits.tiny * 1.00001) & (np.abs(got) <= limits.tiny * 1.00001)] = 0
    return np.where(np.isnan(error), np.inf, error)


def arguments(scalar: str, per_exponent: int = 150) -> Array:
    """Every exponent and sign, mantissas at random and at the ends; and evenly where functions bend."""
    rng = np.random.default_rng(7)
    dtype = SCALARS[scalar]
    limits = np.finfo(dtype)
    mantissa = rng.random((per_exponent, 1))
    mantissa[:3, 0] = 0.0, 1 - limits.eps, limits.eps
    exponents = np.arange(limits.minexp, limits.maxexp, 1 if scalar == "float" else 4)
    grid = np.ldexp(dtype(1) + mantissa.astype(dtype), exponents).ravel()
    even = [rng.uniform(-edge, edge, 20_000) for edge in (0.5, 2, 10, 100, 750)]
    near_one = 1 + rng.uniform(-0.5, 0.5, 20_000) * 10.0 ** rng.uniform(-7, 0, 20_000)
    return np.concatenate([grid, -grid, *even, near_one]).astype(dtype)


def wide(x: Array) -> Array:
    return x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)


@functools.cache
def cases(name: str, scalar: str) -> tuple[Array, Array]:
    """Arguments and what the function is there. Longer than a format's digits, so rounding does not blur."""
    x = arguments(scalar, 400 if scalar == "float" else 100)
    if name in ("sin", "cos"):
        x = x[np.abs(x) <= 1e5]
    with np.errstate(all="ignore"):
        return x, REFERENCES[name](wide(x))


def allowed(name: str, scalar: str) -> float:
    """What the docstring promises."""
    stated = re.search(r"Largest error: \(([\d.]+), ([\d.]+)\) ulp", getattr(functions, name).__doc__)
    assert stated, f"{name} does not state its error"
    return float(stated[1 if scalar == "float" else 2])


def needs_long(scalar: str) -> None:
    if scalar == "double" and not LONG:
        pytest.skip("no format wider than float64 to compare with")


def bits(patterns: list[int], scalar: str) -> Array:
    return np.array(patterns, np.uint32 if scalar == "float" else np.uint64).view(SCALARS[scalar])


def same_kind(got: Array, want: Array) -> npt.NDArray[np.bool_]:
    """NaN for NaN, the same infinity, a zero of the same sign, any other number for any other."""
    ordinary = np.isfinite(want) & (want != 0)
    exact = (got == want) & (np.signbit(got) == np.signbit(want))
    return np.where(ordinary, np.isfinite(got) & (got != 0), exact | (np.isnan(got) & np.isnan(want)))


# ------------------------------------------------------------------ accuracy


@in_both_formats
@on_every_machine
@pytest.mark.parametrize("name", sorted(functions.FUNCTIONS))
def test_error_over_all_normal_numbers(name: str, scalar: str, target: str, lanes: int) -> None:
    needs_long(scalar)
    x, want = cases(name, scalar)
    error = error_in_ulp(compiled(name, scalar, lanes, target)(x), want)
    worst = int(np.argmax(error))
    assert error[worst] <= allowed(name, scalar), f"{error[worst]:.2f} ulp at {x[worst]!r}"
    assert allowed(name, scalar) <= 4


@in_both_formats
@pytest.mark.parametrize("name", sorted(functions.FUNCTIONS))
def test_error_where_subnormals_are_flushed(name: str, scalar: str) -> None:
    """No step on the way to a normal result is subnormal."""
    needs_long(scalar)
    if not llvm.get_process_triple().startswith("x86_64"):
        pytest.skip("the control register is x86's")
    x, want = cases(name, scalar)
    error = error_in_ulp(compiled(name, scalar, 16, "host", flush=True)(x), want)
    assert error.max() <= allowed(name, scalar), x[np.argmax(error)]
    subnormal = np.array([np.finfo(x.dtype).tiny / 4], x.dtype)
    assert compiled("log", scalar, 16, "host", flush=True)(subnormal)[0] == -np.inf


@functools.cache
def power_cases(scalar: str) -> tuple[Array, Array, Array]:
    rng, dtype = np.random.default_rng(3), SCALARS[scalar]
    limits, n = np.finfo(dtype), 30_000
    x = np.exp(rng.uniform(math.log(limits.tiny) * 0.99, math.log(limits.max) * 0.99, n))
    result = rng.uniform(math.log(limits.tiny), math.log(limits.max), n)
    near_one = 1 + rng.uniform(-0.3, 0.3, n) * 10.0 ** rng.uniform(-5, 0, n)
    bases = np.concatenate([x, near_one, rng.uniform(0, 3, n), -rng.uniform(0, 20, n)]).astype(dtype)
    exponents = np.concatenate(
        [result / np.log(x), result / np.log(near_one), rng.uniform(-5, 5, n), rng.integers(-30, 30, n)]
    ).astype(dtype)
    with np.errstate(all="ignore"):
        return bases, exponents, np.power(wide(bases), wide(exponents))


@in_both_formats
@on_every_machine
def test_error_of_powers(scalar: str, target: str, lanes: int) -> None:
    needs_long(scalar)
    x, y, want = power_cases(scalar)
    error = error_in_ulp(compiled("pow", scalar, lanes, target)(x, y), want)
    worst = int(np.argmax(error))
    assert error[worst] <= allowed("pow", scalar), f"{error[worst]:.2f} ulp at {x[worst]!r}, {y[worst]!r}"


@in_both_formats
@on_every_machine
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_sines_close_to_multiples_of_half_pi(name: str, scalar: str, target: str, lanes: int) -> None:
    """Where all leading digits cancel, and both neighbours."""
    needs_long(scalar)
    dtype = SCALARS[scalar]
    middle = (np.arange(-60_000, 60_000, 7) * (math.pi / 2)).astype(dtype)
    x = np.concatenate([middle, np.nextafter(middle, dtype(np.inf)), np.nextafter(middle, dtype(-np.inf))])
    error = error_in_ulp(compiled(name, scalar, lanes, target)(x), REFERENCES[name](wide(x)))
    assert error.max() <= allowed(name, scalar)


@in_both_formats
@on_every_machine
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_sines_of_large_arguments(name: str, scalar: str, target: str, lanes: int) -> None:
    needs_long(scalar)
    limits = np.finfo(SCALARS[scalar])
    x = (10.0 ** np.random.default_rng(5).uniform(5, 12, 20_000)).astype(limits.dtype)
    run = compiled(name, scalar, lanes, target)
    error = np.abs(run(x) - REFERENCES[name](wide(x)))
    assert (error <= 1e-15 * x + 2 * limits.eps).all()
    huge = np.array([1e15, 1e20, 1e30, -3e38, limits.max], limits.dtype)
    assert (np.abs(run(huge)) <= 1).all()


# ------------------------------------------------------------------ the ends


@in_both_formats
@on_every_machine
@pytest.mark.parametrize("name", sorted(functions.FUNCTIONS))
def test_zeros_infinities_and_not_a_number(name: str, scalar: str, target: str, lanes: int) -> None:
    payloads = [0x7FC00001, 0xFFC00123] if scalar == "float" else [0x7FF8000000000001, 0xFFF8000000000FFF]
    limits = np.finfo(SCALARS[scalar])
    inside = [0.0, 1.0, limits.tiny, 0.5, 30.0]
    if name not in ("sin", "cos"):
        inside += [limits.max, 1e30]
    x = np.array([*inside, *(-v for v in inside), np.inf, -np.inf, np.nan], limits.dtype)
    x = np.concatenate([x, bits(payloads, scalar)])
    with np.errstate(all="ignore"):
        want = REFERENCES[name](x.astype(np.float64)).astype(limits.dtype)
    got = compiled(name, scalar, lanes, target)(x)
    small = (np.abs(want) <= limits.tiny) & (np.abs(got) <= limits.tiny)  # a subnormal may become 0
    good = same_kind(got, want) | (small & (np.signbit(got) == np.signbit(want)))
    assert good.all(), (x[~good], got[~good], want[~good])


@in_both_formats
@on_every_machine
def test_powers_of_everything_special(scalar: str, target: str, lanes: int) -> None:
    limits = np.finfo(SCALARS[scalar])
    numbers = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 1e30, 16777217.0, 2.0**24, 2.0**52 + 1, 2.0**53, np.inf]
    numbers += [1 + limits.eps, 1 - limits.eps, limits.max, limits.tiny]
    values = np.array([*numbers, *(-v for v in numbers), np.nan], limits.dtype)
    x, y = (v.ravel() for v in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        want = np.power(x.astype(np.float64), y.astype(np.float64)).astype(limits.dtype)
    got = compiled("pow", scalar, lanes, target)(x, y)
    small = (np.abs(want) <= limits.tiny) & (np.abs(got) <= limits.tiny)
    good = same_kind(got, want) | (small & (np.signbit(got) == np.signbit(want)))
    assert good.all(), (x[~good], y[~good], got[~good], want[~good])


@in_both_formats
@on_every_machine
@pytest.mark.parametrize(("name", "low", "high"), [("tanh", -1, 1), ("erf", -1, 1), ("sigmoid", 0, 1)])
def test_what_is_bounded_stays_in_bounds(
    name: str, low: int, high: int, scalar: str, target: str, lanes: int
) -> None:
    """1 − tanh² must not become negative."""
    x = np.concatenate([arguments(scalar, 20), np.linspace(3, 25, 50_000).astype(SCALARS[scalar])])
    y = compiled(name, scalar, lanes, target)(x)
    assert y.min() >= low
    assert y.max() <= high
    assert (y[x > 40] == high).all()


@in_both_formats
@on_every_machine
def test_rounding_to_the_nearest_integer(scalar: str, target: str, lanes: int) -> None:
    end = 2.0**22 if scalar == "float" else 2.0**51
    x = np.random.default_rng(1).uniform(-end, end, 20_000) * 10.0 ** -np.arange(8)[:, None]
    x = np.concatenate([x.ravel(), np.arange(-20, 20) + 0.5]).astype(SCALARS[scalar])
    np.testing.assert_array_equal(compiled("round_half_even", scalar, lanes, target)(x), np.rint(x))


# ------------------------------------------------------------------ what is generated


CALL = r"^\s+(call\w*|blr?|jmpq?\s+\*\S*|br\s+x\d+)\s"  # direct or through a register, tail calls too


@pytest.mark.parametrize("lanes", [0, 4, 16])
@pytest.mark.parametrize(
    ("triple", "cpu"),
    [("x86_64-linux-gnu", "x86-64"), ("x86_64-linux-gnu", "x86-64-v3"), ("aarch64-linux-gnu", "generic")],
)
def test_nothing_is_called(triple: str, cpu: str, lanes: int) -> None:
    """No library function, on machines without rounding or fused instructions either."""
    try:
        machine = _machine(cpu, triple)
    except RuntimeError as error:
        pytest.skip(str(error))
    for name in [*ALL, "round_half_even"]:
        for scalar in SCALARS:
            assembly = machine.emit_assembly(llvm.parse_assembly(_text(name, scalar, lanes)))
            assert not re.search(CALL, assembly, re.MULTILINE), name


@pytest.mark.parametrize("triple", ["x86_64-linux-gnu", "aarch64-linux-gnu"])
def test_the_search_for_calls_finds_one(triple: str) -> None:
    text = "declare float @sinf(float)\ndefine float @f(float %x) {\n %y = call float @sinf(float %x)\n"
    text += " %z = fadd float %y, %x\n ret float %z\n}\n"
    try:
        machine = _machine("", triple)
    except RuntimeError as error:
        pytest.skip(str(error))
    assert re.search(CALL, machine.emit_assembly(llvm.parse_assembly(text)), re.MULTILINE)
