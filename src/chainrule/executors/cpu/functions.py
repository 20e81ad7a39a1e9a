"""exp, log, tanh and their kin on vectors: LLVM IR without branches, tables or calls.

Every function takes a ``Value`` of ``float`` or ``double``, a scalar or any number of lanes, and returns
one of the same type. They are the NumPy references of ``chainrule.ops``: NaN stays NaN, ±0 and ±inf come
out right. Subnormal numbers count as zero: as arguments of log and pow, and as results, which may be 0.

Polynomials and quotients are minimax fits (Remez's exchange, 45 digits), relative to the function's value.
Nothing relies on ``Builder.fma`` being one rounding: products that must be exact have few enough bits. The
errors stated are the largest that the tests find, in units in the last place of (float, double).

>>> from chainrule.executors.cpu.emit import vector
>>> b = Builder()
>>> y = tanh(b, Value("%x", vector("float", 8)))
>>> y.type.text, len(b.lines)
('<8 x float>', 26)
"""

from __future__ import annotations

from collections.abc import Callable

from chainrule.executors.cpu.emit import Builder, Value, const
from chainrule.executors.cpu.polynomials import (
    LN2,
    LOG2_E,
    at_least,
    at_most,
    bits,
    format_of,
    head,
    polynomial,
    power_of_two,
    split,
    with_sign,
    within,
)

__all__ = [
    "FUNCTIONS",
    "cos",
    "erf",
    "exp",
    "expm1",
    "log",
    "log1p",
    "pow",
    "round_half_even",
    "sigmoid",
    "sin",
    "softplus",
    "tanh",
]


def round_half_even(b: Builder, x: Value) -> Value:
    """The nearest integer, ties to even, for |x| < 2²² (float), 2⁵¹ (double): x + 1.5·2²³ − 1.5·2²³.

    >>> b = Builder()
    >>> from chainrule.executors.cpu.emit import DOUBLE
    >>> round_half_even(b, Value("%x", DOUBLE)).text, len(b.lines)
    ('%v2', 2)
    """
    shift = const(format_of(x).shift, x.type)
    return b.fsub(b.fadd(x, shift), shift)


# ------------------------------------------------------------------ exponentials


def _rest(b: Builder, x: Value, shifted: Value, bias: int) -> tuple[Value, Value]:
    """x − n ln 2, where n + bias is in the low bits of ``shifted``; and those bits as an integer."""
    format, type = format_of(x), x.type
    n = b.fsub(shifted, const(format.shift + bias, type))
    r = b.fma(n, const(-format.ln2[0], type), x)
    return b.fma(n, const(-format.ln2[1], type), r), bits(b, shifted)


def exp(b: Builder, x: Value) -> Value:
    """eˣ = 2ⁿ·eʳ,  n = ⌊x/ln 2⌋,  r = x − n ln 2 in [0, ln 2];  eʳ a polynomial of degree 6, 11.

    With r ≥ 0 the factor lies in [1, 2], so 2ⁿ is normal wherever the result is, 0 below and inf above.
    Largest error: (1.8, 1.8) ulp.
    """
    format = format_of(x)
    # Half a step beyond the last finite result, where n + bias is 0 or all ones: 2ⁿ is 0 or inf.
    x = within(b, x, (0.5 - format.bias) * LN2, (format.bias + 1.5) * LN2)
    floor = b.fma(x, const(LOG2_E, x.type), const(-0.5, x.type))
    r, field = _rest(b, x, b.fadd(floor, const(format.shift + format.bias, x.type)), format.bias)
    return b.fmul(polynomial(b, r, (1.0, 1.0, *format.exp)), power_of_two(b, field, x))


def _half_expm1(b: Builder, x: Value) -> Value:
    """½(eˣ − 1) = 2ⁿ⁻¹·p + (2ⁿ⁻¹ − ½),  p = eʳ − 1 = r + r²·q(r),  |r| ≤ ½ ln 2, of degree 6, 12."""
    format = format_of(x)
    bias = format.bias - 1
    r, field = _rest(b, x, b.fma(x, const(LOG2_E, x.type), const(format.shift + bias, x.type)), bias)
    scale = power_of_two(b, field, x)
    p = b.fma(b.fmul(r, r), polynomial(b, r, format.expm1), r)
    return b.fma(scale, p, b.fsub(scale, const(0.5, x.type)))


def expm1(b: Builder, x: Value) -> Value:
    """eˣ − 1, exact near 0: twice ½(eˣ − 1), which is finite where the exponent is the largest.

    Largest error: (1.9, 1.9) ulp.
    """
    format = format_of(x)
    half = _half_expm1(b, within(b, x, -format.expm1_end, (format.bias + 1.25) * LN2))
    # Half of the smallest numbers would be subnormal; −0 would lose its sign.
    tiny = b.fcmp("olt", b.fabs(x), const(4 * format.smallest, x.type))
    return b.select(tiny, x, b.fadd(half, half))


def sigmoid(b: Builder, x: Value) -> Value:
    """σ(x) = 1/(1 + e⁻ˣ), relatively exact in both tails; 0 where it would be subnormal.

    Largest error: (2.4, 2.4) ulp.
    """
    one = const(1.0, x.type)
    return b.fdiv(one, b.fadd(one, exp(b, b.fneg(x))))


def tanh(b: Builder, x: Value) -> Value:
    """sign(x)·h/(h + 1),  h = ½(e^(2|x|) − 1). Largest error: (2.4, 2.4) ulp; never beyond ±1."""
    h = _half_expm1(b, at_most(b, b.fmul(b.fabs(x), const(2.0, x.type)), format_of(x).expm1_end))
    return with_sign(b, b.fdiv(h, b.fadd(h, const(1.0, x.type))), x)


# ------------------------------------------------------------------ logarithms


def _log_of_parts(b: Builder, f: Value, k: Value) -> Value:
    """k ln 2 + log(1 + f).
    float:  log(1 + f) = f − f²/2 + f³·P(f), eight terms.
    double: with s = f/(2 + f):  2 artanh s = f − s·(f − s²·P(s²)), seven terms.
    """
    high, low = (const(c, f.type) for c in format_of(f).ln2)
    if f.type.scalar == "float":
        square = b.fmul(f, f)
        y = b.fmul(b.fmul(f, square), polynomial(b, f, format_of(f).log))
        y = b.fma(square, const(-0.5, f.type), b.fma(k, low, y))
    else:
        s = b.fdiv(f, b.fadd(f, const(2.0, f.type)))
        square = b.fmul(s, s)
        inner = b.fsub(f, b.fmul(square, polynomial(b, square, format_of(f).log)))
        y = b.fsub(b.fmul(k, low), b.fmul(s, inner))
    return b.fma(k, high, b.fadd(f, y))


def _log_edges(b: Builder, y: Value, x: Value) -> Value:
    """log x where x is positive and normal, else −inf at 0 (and subnormal), NaN below, x where inf or NaN."""
    edge = b.select(
        b.fcmp("olt", x, const(0.0, x.type)), const(float("nan"), x.type), const(float("-inf"), x.type)
    )
    y = b.select(b.fcmp("olt", x, const(format_of(x).smallest, x.type)), edge, y)
    return b.select(b.fcmp("olt", x, const(float("inf"), x.type)), y, x)


def log(b: Builder, x: Value) -> Value:
    """log x = k ln 2 + log(1 + f),  x = 2ᵏ·(1 + f),  1 + f in [⅔, 4⁄3) for float, [√½, √2) for double.

    Largest error: (0.8, 0.8) ulp. A subnormal x gives −inf, as 0 does.
    """
    _, k, m = split(b, x)
    return _log_edges(b, _log_of_parts(b, b.fsub(m, const(1.0, x.type)), k), x)


def log1p(b: Builder, x: Value) -> Value:
    """log(1 + x): k from u = fl(1 + x) as in log, but f = 2⁻ᵏ·x + (2⁻ᵏ − 1), without the rounding of u.

    Above 8 that rounding weighs nothing and f is taken from u, whose 2⁻ᵏ may be subnormal.
    Largest error: (1.5, 1.2) ulp.
    """
    one = const(1.0, x.type)
    u = b.fadd(x, one)
    field, k, m = split(b, u)
    scale = power_of_two(b, b.sub(const(2 * format_of(x).bias, field.type), field), x)
    exact = b.fma(x, scale, b.fsub(scale, one))
    f = b.select(b.fcmp("ogt", x, const(8.0, x.type)), b.fsub(m, one), exact)
    return with_sign(b, _log_edges(b, _log_of_parts(b, f, k), u), x)


def softplus(b: Builder, x: Value) -> Value:
    """log(1 + eˣ) = max(x, 0) + log(1 + e),  e = e^(−|x|) ≤ 1;  1 + e = 1 + f or 2·(1 + f).

    Finite for finite x. Largest error: (2.0, 2.0) ulp.
    """
    half, zero, one = (const(c, x.type) for c in (0.5, 0.0, 1.0))
    e = exp(b, b.fneg(b.fabs(x)))
    doubled = b.fcmp("ogt", e, const(2 * format_of(x).split - 1, x.type))
    f = b.select(doubled, b.fma(e, half, const(-0.5, x.type)), e)
    return b.fadd(at_least(b, x, 0.0), _log_of_parts(b, f, b.select(doubled, one, zero)))


# ------------------------------------------------------------------ the error function


def erf(b: Builder, x: Value) -> Value:
    """2/√π ∫₀ˣ e^(−t²) dt = x·P(x²) on |x| ≤ 1, of degree 6, 11 in x²; else ±(1 − e^(−x²)·Q(|x|)).

    Q is a quotient of polynomials of degrees 2/3, 5/6. Largest error: (2.6, 1.9) ulp; never beyond ±1.
    """
    format = format_of(x)
    a, one = at_most(b, b.fabs(x), format.erf_end), const(1.0, x.type)
    square = b.fmul(a, a)
    inner = b.fmul(x, polynomial(b, square, format.erf))
    over, under = (polynomial(b, a, c) for c in format.erfc)
    outer = b.fsub(one, b.fmul(exp(b, b.fneg(square)), b.fdiv(over, under)))
    return b.select(b.fcmp("ogt", a, one), with_sign(b, outer, x), inner)


# ------------------------------------------------------------------ sine and cosine

_2_OVER_PI = 0.6366197723675814
_HALF_PI = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.4784276603689e-32)
"""π/2 in parts of 33 bits: their products with n < 2²⁰ are exact."""


def _turn(b: Builder, x: Value) -> tuple[Value, Value]:
    """x = n·π/2 + r, |r| ≤ π/4. Returns n in an integer's low bits, and r. A float is reduced as a double."""
    wide = b.convert("fpext", x, x.type.of("double")) if x.type.scalar == "float" else x
    shift = const(format_of(wide).shift, wide.type)
    shifted = b.fadd(b.fmul(wide, const(_2_OVER_PI, wide.type)), shift)
    n = b.fsub(shifted, shift)
    r = wide
    for part in _HALF_PI[: 3 if wide is not x else 4]:
        r = b.fma(n, const(-part, wide.type), r)
    quarters = bits(b, shifted)
    if wide is not x:
        r = b.convert("fptrunc", r, x.type)
        quarters = b.convert("trunc", quarters, x.type.of("i32"))
    return quarters, within(b, r, -0.8, 0.8)  # far out, where n has no integer, still a small number


def _sine(b: Builder, x: Value, ahead: int) -> Value:
    """sin(x + ahead·π/2): sin r, cos r, −sin r or −cos r."""
    format, type = format_of(x), x.type
    quarters, r = _turn(b, x)
    integer = quarters.type
    if ahead:
        quarters = b.add(quarters, const(ahead, integer))
    t = b.fmul(r, r)
    one = const(1.0, type)
    sine = b.fmul(r, b.fma(t, polynomial(b, t, format.sin), one))
    cosine = b.fma(b.fmul(t, t), polynomial(b, t, format.cos), b.fma(t, const(-0.5, type), one))
    odd = b.icmp("ne", b.and_(quarters, const(1, integer)), const(0, integer))
    half_turn = b.shl(b.and_(quarters, const(2, integer)), const(type.bits - 2, integer))
    return b.bitcast(b.xor(bits(b, b.select(odd, cosine, sine)), half_turn), type)


def sin(b: Builder, x: Value) -> Value:
    """sin x: x − n·π/2 with π in three parts (float, reduced as double) or four, then a polynomial in r².

    Largest error: (1.9, 1.9) ulp for |x| ≤ 10⁵, close to multiples of π too. To |x| = 10¹² the sine of
    an argument that differs from x by less than 10⁻¹⁵·|x|; beyond, some number in [−1, 1]: by then one
    rounding of a float spans thousands of periods.
    """
    return _sine(b, x, 0)


def cos(b: Builder, x: Value) -> Value:
    """cos x = sin(x + π/2), a quarter turn further than ``sin``, over the same range.

    Largest error: (1.9, 1.9) ulp for |x| ≤ 10⁵.
    """
    return _sine(b, x, 1)


# ------------------------------------------------------------------ powers

_LOG2_WEIGHT = (0.9617966860532761, 7.872699542894897e-09)  # 2/(3 ln 2), its head and the rest
_ARTANH = (
    0.20000000000001128, 0.14285714285049633, 0.11111111259987143, 0.09090892181419334,
    0.0769337876050884, 0.0662840673230983, 0.06598183722974933,
)  # fmt: skip


def _log2_pair(b: Builder, x: Value) -> tuple[Value, Value]:
    """log₂ of a positive normal double in two: a head of 26 bits and a rest, together good to 2⁻⁶⁵.

    log x = k ln 2 + 2s·(1 + s²/3 + s⁴·R(s²)),  s = (m − 1)/(m + 1); every product that carries the
    leading digits is one of heads. The scheme is fdlibm's (e_pow.c), the fit of R our own.
    """
    one, three = const(1.0, x.type), const(3.0, x.type)
    _, k, m = split(b, x)
    f, d = b.fsub(m, one), b.fadd(m, one)
    d_head = head(b, d)
    d_rest = b.fsub(m, b.fsub(d_head, one))
    s = b.fdiv(f, d)
    s_head = head(b, s)
    left = b.fsub(b.fsub(f, b.fmul(s_head, d_head)), b.fmul(s_head, d_rest))
    s_rest = b.fdiv(left, d)
    # v = 3 + s² + 3s⁴R, so that log m = ⅔·s·v
    t, t_head = b.fmul(s, s), b.fmul(s_head, s_head)
    series = b.fmul(b.fmul(t, t), polynomial(b, t, [3 * c for c in _ARTANH]))
    small = b.fma(s_rest, b.fadd(s_head, s), series)
    v_head = head(b, b.fadd(three, b.fadd(t_head, small)))
    v_rest = b.fsub(small, b.fsub(b.fsub(v_head, three), t_head))
    # s·v, then its product with ⅔ log₂ e, then k
    p = b.fmul(s_head, v_head)
    p_rest = b.fma(s_rest, v_head, b.fmul(s, v_rest))
    u = b.fadd(p, p_rest)
    u_head = head(b, u)
    u_rest = b.fsub(p_rest, b.fsub(u_head, p))
    weight, weight_rest = (const(c, x.type) for c in _LOG2_WEIGHT)
    z = b.fmul(weight, u_head)
    z_rest = b.fma(weight, u_rest, b.fmul(weight_rest, u))
    high = head(b, b.fadd(k, b.fadd(z, z_rest)))
    return high, b.fsub(z_rest, b.fsub(b.fsub(high, k), z))


def _power_of_magnitude(b: Builder, a: Value, y: Value) -> Value:
    """aʸ of doubles, a ≥ 0, without the exceptions: 2^(y·log₂ a), the exponent as a sum z + rest."""
    type, format = a.type, format_of(a)
    high, low = _log2_pair(b, a)
    high = b.select(b.fcmp("olt", a, const(float("inf"), type)), high, a)
    high = b.select(b.fcmp("olt", a, const(format.smallest, type)), const(float("-inf"), type), high)
    y_head = head(b, y)
    z = b.fmul(y_head, high)
    rest = b.fma(b.fsub(y, y_head), high, b.fmul(y, low))
    # Where aʸ is 0 or inf anyway the rest may be anything, and NaN where high is infinite.
    rest = b.select(b.fcmp("olt", b.fabs(z), const(1100.0, type)), rest, const(0.0, type))
    z = within(b, z, 0.5 - format.bias, format.bias + 1.5)
    shift = const(format.shift + format.bias, type)
    shifted = b.fadd(b.fadd(z, const(-0.5, type)), shift)
    fraction = b.fadd(b.fsub(z, b.fsub(shifted, shift)), rest)
    growth = polynomial(b, b.fmul(fraction, const(LN2, type)), (1.0, 1.0, *format.exp))
    return b.fmul(growth, power_of_two(b, bits(b, shifted), a))


def _is_integer(b: Builder, x: Value) -> Value:
    """Doubles: x + 2⁵² − 2⁵² = x, or so large that nothing is behind the point."""
    large, a = const(2.0**52, x.type), b.fabs(x)
    return b.or_(b.fcmp("oeq", b.fsub(b.fadd(a, large), large), a), b.fcmp("oge", a, large))


def pow(b: Builder, x: Value, y: Value) -> Value:
    """xʸ as ``np.power``: |x|ʸ = 2^(y·log₂|x|); floats are raised as doubles, doubles with twice the digits.

    1 where x = 1 or y = 0, whatever the other. A negative x with an odd integer y gives a negative power,
    with an even one a positive, and with a fraction NaN (but (−inf)ʸ = infʸ). 0ʸ = inf for y < 0.
    Largest error: (0.6, 2.1) ulp.

    >>> from chainrule.executors.cpu.emit import FLOAT
    >>> pow(Builder(), Value("%x", FLOAT), Value("%y", FLOAT)).type.text
    'float'
    """
    if x.type.scalar == "double":
        return _signed_power(b, x, y, _power_of_magnitude)
    wide_x, wide_y = (b.convert("fpext", v, x.type.of("double")) for v in (x, y))
    power = _signed_power(b, wide_x, wide_y, lambda b, a, y: exp(b, b.fmul(y, log(b, a))))
    return b.convert("fptrunc", power, x.type)


def _signed_power(
    b: Builder, x: Value, y: Value, magnitude: Callable[[Builder, Value, Value], Value]
) -> Value:
    type = x.type
    one, zero = const(1.0, type), const(0.0, type)
    # Beyond 2⁶⁵ every power but that of ±1 is 0 or inf; an infinite y would make 0·inf of log 1.
    power = magnitude(b, b.fabs(x), within(b, y, -(2.0**65), 2.0**65))
    whole = _is_integer(b, y)
    odd = b.and_(whole, b.not_(_is_integer(b, b.fmul(y, const(0.5, type)))))
    power = b.select(odd, with_sign(b, power, x), power)
    negative = b.and_(b.fcmp("olt", x, zero), b.fcmp("ogt", x, const(float("-inf"), type)))
    power = b.select(b.and_(negative, b.not_(whole)), const(float("nan"), type), power)
    always_one = b.or_(b.fcmp("oeq", x, one), b.fcmp("oeq", y, zero))
    return b.select(always_one, one, power)


FUNCTIONS: dict[str, Callable[[Builder, Value], Value]] = {
    "cos": cos,
    "erf": erf,
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "sigmoid": sigmoid,
    "sin": sin,
    "softplus": softplus,
    "tanh": tanh,
}
"""By the name of the primitive."""
