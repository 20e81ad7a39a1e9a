"""What functions.py is made of: float and double as bits, coefficients, steps of a few instructions."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.executors.cpu.emit import Builder, Value, const

__all__ = [
    "LN2",
    "LOG2_E",
    "Format",
    "at_least",
    "at_most",
    "bits",
    "bits_of",
    "format_of",
    "head",
    "polynomial",
    "power_of_two",
    "split",
    "with_sign",
    "within",
]

LOG2_E = 1.4426950408889634
LN2 = 0.6931471805599453


@dataclass(frozen=True, eq=False)
class Format:
    """What depends on the width of a number: its layout in bits, and coefficients (lowest power first)."""

    integer: str
    mantissa: int  # bits after the point
    bias: int  # of the exponent
    ln2: tuple[float, float]  # high part with so few bits that a product with an exponent is exact; rest
    exp: tuple[float, ...]  # (eʳ − 1 − r)/r² on [0, ln 2]
    expm1: tuple[float, ...]  # (eʳ − 1 − r)/r² on ±½ ln 2
    log: tuple[float, ...]  # see _log_of_parts
    sin: tuple[float, ...]  # (sin(r)/r − 1)/r² in r², |r| ≤ π/4
    cos: tuple[float, ...]  # (cos(r) − 1 + r²/2)/r⁴ in r²
    split: float  # the least m that split returns
    erf: tuple[float, ...]  # erf(x)/x in x², |x| ≤ 1
    erfc: tuple[tuple[float, ...], tuple[float, ...]]  # e^(x²)·erfc(x), a quotient, on [1, end]
    erf_end: float  # where erf has become 1
    expm1_end: float  # e^−end is nothing beside 1

    @property
    def shift(self) -> float:
        """Added to a small number, leaves its nearest integer in the low bits."""
        return 1.5 * 2.0**self.mantissa

    @property
    def smallest(self) -> float:
        """The smallest normal number."""
        return 2.0 ** (1 - self.bias)


FORMATS = {
    "float": Format(
        "i32",
        23,
        127,
        ln2=(0.693359375, -2.1219444005469058e-4),
        exp=(0.50000226, 0.1666319, 0.04185498, 0.007868431, 0.0019124848),
        expm1=(0.49999997, 0.16666543, 0.0416672, 0.008366527, 0.0013882524),
        log=(
            0.33333215, -0.24999797, 0.20010407, -0.16680482, 0.14005849, -0.121843316, 0.13984539,
            -0.1289136,
        ),
        sin=(-0.16666655, 0.00833216, -0.00019515218),
        cos=(0.041666646, -0.0013887315, 2.4433082e-05),
        split=2 / 3,
        erf=(
            1.1283791, -0.37612626, 0.11283585, -0.026853804, 0.0051883087, -0.00080100086, 7.853196e-05,
        ),
        erfc=((1.0010315, 0.7619729, 0.24639788), (1.0, 1.896987, 1.3669926, 0.43545806)),
        erf_end=3.95,
        expm1_end=20.0,
    ),
    "double": Format(
        "i64",
        52,
        1023,
        ln2=(0.6931471803691238, 1.9082149292705877e-10),
        exp=(
            0.4999999999999738, 0.16666666666790536, 0.0416666666438195, 0.008333333556869198,
            0.0013888875761915757, 0.0001984176061745036, 2.4789632154711406e-05, 2.774591912081608e-06,
            2.5710664407867396e-07, 3.506845229398379e-08,
        ),
        expm1=(
            0.5, 0.16666666666666677, 0.04166666666666651, 0.008333333333321683, 0.0013888888888962442,
            0.00019841269885993048, 2.4801587172439426e-05, 2.7557244343869493e-06, 2.755740269248004e-07,
            2.5108990412481818e-08, 2.0875325438324567e-09,
        ),
        log=(
            0.6666666666666734, 0.39999999999414343, 0.2857142874247167, 0.22222198563723441,
            0.1818356485774119, 0.1531403599770459, 0.14796104334450338,
        ),
        sin=(
            -0.1666666666666663, 0.008333333333322108, -0.00019841269829580329, 2.7557313618060165e-06,
            -2.5050747223405e-08, 1.5896197873538838e-10,
        ),
        cos=(
            0.041666666666666595, -0.001388888888887304, 2.4801587288841367e-05, -2.7557314176233885e-07,
            2.087570041558388e-09, -1.1358513938598842e-11,
        ),
        split=2**-0.5,
        erf=(
            1.1283791670955126, -0.3761263890318352, 0.11283791670944163, -0.02686617064310795,
            0.005223977606088782, -0.0008548325927855474, 0.00012055293532303211, -1.4924711428425805e-05,
            1.6447120601012865e-06, -1.620622837787139e-07, 1.3710605533240249e-08, -7.778758926071492e-10,
        ),
        erfc=(
            (
                0.999999886981021, 1.3905930018667934, 0.9495397075270995, 0.37361034846516056,
                0.08435233609737079, 0.008930815406939475,
            ),
            (
                1.0, 2.5189709783315952, 2.791900063319597, 1.7571948687090353, 0.670181344440906,
                0.14950671793787973, 0.015829580613242154,
            ),
        ),
        erf_end=5.95,
        expm1_end=40.0,
    ),
}  # fmt: skip


# ------------------------------------------------------------------ small steps


def format_of(x: Value) -> Format:
    """The format of its lanes."""
    return FORMATS[x.type.scalar]


def bits_of(number: float, x: Value) -> int:
    """A number's bit pattern in the type of ``x``, as a signed integer."""
    code = ">f>i" if x.type.scalar == "float" else ">d>q"
    found: int = struct.unpack(code[2:], struct.pack(code[:2], number))[0]
    return found


def bits(b: Builder, x: Value) -> Value:
    """The same bits as integers."""
    return b.bitcast(x, x.type.of(format_of(x).integer))


def polynomial(b: Builder, x: Value, coefficients: Sequence[float]) -> Value:
    """Σ cᵢ·xⁱ, lowest power first, by Horner's rule.

    Of eight terms and more, all but the lowest two are summed as even and odd powers apart: that halves the
    chain of instructions that wait for each other, and costs one more.
    """
    if len(coefficients) < 8:
        return _horner(b, x, coefficients)
    square, tail = b.fmul(x, x), coefficients[2:]
    y = b.fma(_horner(b, square, tail[1::2]), x, _horner(b, square, tail[::2]))
    return b.fma(b.fma(y, x, const(coefficients[1], x.type)), x, const(coefficients[0], x.type))


def _horner(b: Builder, x: Value, coefficients: Sequence[float]) -> Value:
    y = const(coefficients[-1], x.type)
    for c in coefficients[-2::-1]:
        y = b.fma(y, x, const(c, x.type))
    return y


def at_most(b: Builder, x: Value, limit: float) -> Value:
    """min(x, limit); NaN stays. In this order it is one x86 instruction."""
    bound = const(limit, x.type)
    return b.select(b.fcmp("olt", bound, x), bound, x)


def at_least(b: Builder, x: Value, limit: float) -> Value:
    """max(x, limit); NaN stays."""
    bound = const(limit, x.type)
    return b.select(b.fcmp("ogt", bound, x), bound, x)


def within(b: Builder, x: Value, low: float, high: float) -> Value:
    """x, no less than low and no more than high; NaN stays."""
    return at_most(b, at_least(b, x, low), high)


def with_sign(b: Builder, y: Value, x: Value) -> Value:
    """y with x's sign bit, of an odd function's result that is right but for the sign or for −0."""
    sign = const(bits_of(-0.0, x), x.type.of(format_of(x).integer))
    return b.bitcast(b.or_(bits(b, y), b.and_(bits(b, x), sign)), x.type)


def power_of_two(b: Builder, field: Value, x: Value) -> Value:
    """2^(field − bias): an exponent's field moved to its place. What lies above the field falls out."""
    format = format_of(x)
    return b.bitcast(b.shl(field, const(format.mantissa, field.type)), x.type)


def split(b: Builder, x: Value) -> tuple[Value, Value, Value]:
    """x = 2ᵏ·m of a positive normal x, m in [split, 2·split). Returns k + bias as an integer, k, m."""
    format = format_of(x)
    integer = x.type.of(format.integer)
    low = bits_of(format.split, x)
    moved = b.add(bits(b, x), const(bits_of(1.0, x) - low, integer))
    field = b.lshr(moved, const(format.mantissa, integer))
    # A small integer in the low bits of 2^mantissa is added to it: a conversion that every machine has.
    large = 2.0**format.mantissa
    k = b.bitcast(b.or_(field, const(bits_of(large, x), integer)), x.type)
    mantissa = b.and_(moved, const((1 << format.mantissa) - 1, integer))
    m = b.bitcast(b.add(mantissa, const(low, integer)), x.type)
    return field, b.fsub(k, const(large + format.bias, x.type)), m


def head(b: Builder, x: Value) -> Value:
    """The leading 26 bits of a double: products of two heads are exact."""
    integer = x.type.of("i64")
    return b.bitcast(b.and_(b.bitcast(x, integer), const(-(1 << 27), integer)), x.type)
