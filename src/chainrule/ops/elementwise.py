"""Element-wise primitives. The user functions promote and broadcast; the primitives take equal shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import DTypeError, ShapeError
from chainrule.graph.expr import Expr, apply, constant
from chainrule.graph.primitive import Primitive
from chainrule.ops.convert import CAST, STOP_GRADIENT, cast
from chainrule.ops.samples import SAMPLES, case
from chainrule.ops.shape import broadcast
from chainrule.spec import DTYPES, DType, Scalar, Spec, broadcast_shapes, is_float, promote, scalar_dtype

__all__ = [
    "ELEMENTWISE",
    "abs",
    "add",
    "cos",
    "div",
    "equal",
    "erf",
    "exp",
    "expm1",
    "full_like",
    "guard",
    "is_finite",
    "less",
    "less_equal",
    "lift",
    "log",
    "log1p",
    "logical_and",
    "logical_not",
    "logical_or",
    "maximum",
    "mul",
    "neg",
    "pow",
    "sigmoid",
    "sign",
    "sin",
    "softplus",
    "sqrt",
    "sub",
    "tanh",
    "where",
    "zeros_like",
]

Operand = Expr | Scalar | npt.NDArray[Any]
Unary = Callable[[Operand], Expr]
Binary = Callable[[Operand, Operand], Expr]

# ------------------------------------------------------------------ bringing operands together


def lift(*operands: Operand, floating: bool = False, operation: str = "operands") -> list[Expr]:
    """Operands as nodes of one dtype and one shape.

    Python scalars are weak: they take the others' dtype wherever it can hold their kind. Arrays keep theirs.
    ``floating`` turns integers into float32; ``operation`` is named where the shapes do not fit.
    """
    nodes = [x if isinstance(x, Expr | bool | int | float) else constant(x) for x in operands]
    found = [x.spec for x in nodes if isinstance(x, Expr)]
    scalars = [x for x in nodes if not isinstance(x, Expr)]
    dtype = promote(*[s.dtype for s in found]) if found else _scalars_dtype(scalars)
    dtype = promote(dtype, *[scalar_dtype(x, dtype) for x in scalars])
    if floating and not is_float(dtype):
        dtype = DTYPES["float32"]
    shape = broadcast_shapes(*[s.shape for s in found], operation=operation)
    return [broadcast(cast(x, dtype) if isinstance(x, Expr) else constant(x, dtype), shape) for x in nodes]


def _is_scalar(x: Operand) -> bool:
    return isinstance(x, bool | int | float)


def _scalars_dtype(scalars: Iterable[Scalar]) -> DType:
    return DTYPES["float32" if any(isinstance(x, float) for x in scalars) else "int64"]


def full_like(x: Expr, value: Scalar) -> Expr:
    """A constant of the same shape and dtype."""
    return broadcast(constant(value, x.dtype), x.shape)


def zeros_like(x: Expr) -> Expr:
    """Zeros of the same shape and dtype."""
    return full_like(x, 0)


# ------------------------------------------------------------------ inference


_KINDS = {"f": "floating-point", "iuf": "numeric", "b": "boolean", "biuf": "any"}


def _same(operation: str, kinds: str) -> Callable[..., Spec]:
    """Equal specs in, the same out; ``kinds`` are the dtype kinds that it takes."""

    def infer(first: Spec, *others: Spec) -> Spec:
        if any(other is not first and other != first for other in others):
            raise ShapeError(f"{operation}: operands {', '.join(map(str, (first, *others)))} must be equal")
        if first.dtype.kind not in kinds:
            raise DTypeError(f"{operation}: takes {_KINDS[kinds]} values, got {first}; use ops.cast")
        return first

    return infer


def _predicate(operation: str, kinds: str) -> Callable[..., Spec]:
    same = _same(operation, kinds)
    return lambda *specs: same(*specs).with_dtype(DTYPES["bool"])


def _unary(name: str, reference: Any, vjp: Callable[..., Any], kinds: str = "f", **sample: Any) -> Primitive:
    primitive = Primitive(name, infer=_same(name, kinds), vjp=vjp, reference=reference)
    SAMPLES[primitive] = [case((3, 4), **sample), case((), **sample), case((0, 2), **sample)]
    return primitive


def _binary(name: str, reference: Any, vjp: Callable[..., Any], **sample: Any) -> Primitive:
    primitive = Primitive(name, infer=_same(name, "iuf"), vjp=vjp, reference=reference)
    SAMPLES[primitive] = [
        case((3, 4), (3, 4), **sample),
        case((), (), **sample),
        case((0, 2), (0, 2), **sample),
    ]
    return primitive


def _compare(name: str, reference: Any, kinds: str, dtype: str) -> Primitive:
    primitive = Primitive(name, infer=_predicate(name, kinds), vjp=_no_gradient, reference=reference)
    count = reference.nin
    SAMPLES[primitive] = [case(*[(5, 4)] * count, dtypes=(dtype,) * count, distinct=dtype == "float")]
    return primitive


def _no_gradient(g: Expr, y: Expr, *inputs: Expr, **meta: Any) -> tuple[None, ...]:
    return (None,) * len(inputs)


# ------------------------------------------------------------------ one operand


def _sigmoid(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    e = np.exp(-np.abs(x))  # never overflows, and keeps relative precision on both sides
    return np.where(x >= 0, np.ones_like(e), e) / (1 + e)


def _softplus(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.logaddexp(x, np.zeros((), x.dtype))


def _erf(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.fromiter(map(math.erf, np.ravel(x).tolist()), x.dtype, x.size).reshape(x.shape)


NEG = _unary("neg", np.negative, lambda g, y, x: (neg(g),), kinds="iuf")
ABS = _unary("abs", np.absolute, lambda g, y, x: (g * sign(x),), kinds="iuf", distinct=True)
SIGN = _unary("sign", np.sign, _no_gradient, kinds="iuf", distinct=True)
EXP = _unary("exp", np.exp, lambda g, y, x: (guard(g, y),))
EXPM1 = _unary("expm1", np.expm1, lambda g, y, x: (guard(g, y + 1),))
LOG = _unary("log", np.log, lambda g, y, x: (guard(g, 1 / x),), low=0.2)
LOG1P = _unary("log1p", np.log1p, lambda g, y, x: (guard(g, 1 / (1 + x)),), low=-0.7)
SQRT = _unary("sqrt", np.sqrt, lambda g, y, x: (guard(g, 0.5 / y),), low=0.2)
SIN = _unary("sin", np.sin, lambda g, y, x: (g * cos(x),))
COS = _unary("cos", np.cos, lambda g, y, x: (neg(g) * sin(x),))
TANH = _unary("tanh", np.tanh, lambda g, y, x: (g * (1 - y * y),))
SIGMOID = _unary("sigmoid", _sigmoid, lambda g, y, x: (g * (y * (1 - y)),))
SOFTPLUS = _unary("softplus", _softplus, lambda g, y, x: (g * sigmoid(x),))
ERF = _unary("erf", _erf, lambda g, y, x: (g * (2 / math.sqrt(math.pi) * exp(neg(x * x))),))
IS_FINITE = _compare("is_finite", np.isfinite, "f", "float")
LOGICAL_NOT = _compare("logical_not", np.logical_not, "b", "bool")


def _unary_function(primitive: Primitive, doc: str, floating: bool = True) -> Unary:
    def function(x: Operand) -> Expr:
        return apply(primitive, *lift(x, floating=floating))

    function.__name__ = function.__qualname__ = primitive.name
    function.__doc__ = doc
    return function


neg: Unary = _unary_function(NEG, "−x", floating=False)
abs: Unary = _unary_function(ABS, "|x|; the derivative at 0 is 0.", floating=False)
sign: Unary = _unary_function(SIGN, "−1, 0 or 1; its derivative is 0 everywhere.", floating=False)
exp: Unary = _unary_function(EXP, "eˣ")
expm1: Unary = _unary_function(EXPM1, "eˣ − 1, exact near 0.")
log: Unary = _unary_function(LOG, "The natural logarithm: −inf at 0, NaN below.")
log1p: Unary = _unary_function(LOG1P, "log(1 + x), exact near 0.")
sqrt: Unary = _unary_function(SQRT, "√x; NaN below 0.")
sin: Unary = _unary_function(SIN, "sin x, x in radians.")
cos: Unary = _unary_function(COS, "cos x, x in radians.")
tanh: Unary = _unary_function(TANH, "tanh x; tanh′ = 1 − tanh².")
sigmoid: Unary = _unary_function(SIGMOID, "σ(x) = 1/(1 + e⁻ˣ), exact in both tails; σ′ = σ(1 − σ).")
softplus: Unary = _unary_function(SOFTPLUS, "log(1 + eˣ), finite for every finite x.")
erf: Unary = _unary_function(ERF, "The error function 2/√π ∫₀ˣ e^(−t²) dt.")
is_finite: Unary = _unary_function(IS_FINITE, "True where x is neither NaN nor infinite.")


def logical_not(x: Expr) -> Expr:
    """¬x of booleans."""
    return apply(LOGICAL_NOT, x)


# ------------------------------------------------------------------ two operands


def _vjp_mul(g: Expr, y: Expr, a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """y = a·b:  ∂a = g·b,  ∂b = g·a, guarded where the factor may be infinite (x·log x at 0)."""
    return (
        guard(g, b) if b.primitive in _REACHING_INFINITY else g * b,
        guard(g, a) if a.primitive in _REACHING_INFINITY else g * a,
    )


def _vjp_div(g: Expr, y: Expr, a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """y = a/b:  ∂a = g/b,  ∂b = −g·y/b."""
    return guard(g, 1 / b), guard(neg(g), y / b)


def _vjp_pow(g: Expr, y: Expr, a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """y = aᵇ:  ∂a = g·b·aᵇ⁻¹, which is 0 for b = 0 also at a = 0;  ∂b = g·y·log a, taken as 0 for a ≤ 0."""
    zero = equal(b, 0)
    slope = where(zero, 0, b * pow(a, where(zero, 1, b) - 1))
    return guard(g, slope), guard(g, y * log(where(a <= 0, 1, a)))


def _vjp_maximum(g: Expr, y: Expr, a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """The larger operand receives g; equal ones half each."""
    half = 0.5 * g
    tie = equal(a, b)
    return where(tie, half, where(b < a, g, 0)), where(tie, half, where(b < a, 0, g))


def _vjp_guard(h: Expr, y: Expr, g: Expr, d: Expr) -> tuple[Expr, Expr]:
    """y = g·d:  ∂g = h·d,  ∂d = h·g, which is exactly 0 where g is, whatever h has become."""
    return guard(h, d), where(equal(g, 0), 0, guard(h, g))


def _guard(g: npt.NDArray[Any], d: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.where(g == 0, g, g * d)


ADD = _binary("add", np.add, lambda g, y, a, b: (g, g))
SUB = _binary("sub", np.subtract, lambda g, y, a, b: (g, neg(g)))
MUL = _binary("mul", np.multiply, _vjp_mul)
DIV = Primitive("div", infer=_same("div", "f"), vjp=_vjp_div, reference=np.true_divide)
POW = Primitive("pow", infer=_same("pow", "f"), vjp=_vjp_pow, reference=np.power)
MAXIMUM = _binary("maximum", np.maximum, _vjp_maximum, distinct=True)
GUARD = Primitive("guard", infer=_same("guard", "f"), vjp=_vjp_guard, reference=_guard)
LESS = _compare("less", np.less, "iuf", "float")
LESS_EQUAL = _compare("less_equal", np.less_equal, "iuf", "float")
EQUAL = _compare("equal", np.equal, "biuf", "int32")
LOGICAL_AND = _compare("logical_and", np.logical_and, "b", "bool")
LOGICAL_OR = _compare("logical_or", np.logical_or, "b", "bool")

_REACHING_INFINITY = frozenset({EXP, EXPM1, LOG, LOG1P, DIV, POW})

SAMPLES[DIV] = [case((3, 4), (3, 4), low=0.5), case((), (), low=0.5)]
SAMPLES[POW] = [case((3, 4), (3, 4), low=0.3), case((2,), (2,), low=1.0)]
SAMPLES[GUARD] = [case((3, 4), (3, 4), low=0.5)]


def _binary_function(primitive: Primitive, doc: str, floating: bool = False) -> Binary:
    def function(x: Operand, y: Operand) -> Expr:
        return apply(primitive, *lift(x, y, floating=floating, operation=primitive.name))

    function.__name__ = function.__qualname__ = primitive.name
    function.__doc__ = doc
    return function


add: Binary = _binary_function(ADD, "x + y")
sub: Binary = _binary_function(SUB, "x − y")
mul: Binary = _binary_function(MUL, "x · y, element by element")
div: Binary = _binary_function(DIV, "x / y; integers are divided as float32.", floating=True)
maximum: Binary = _binary_function(
    MAXIMUM, "The larger of two; NaN if either is. Equal operands share the gradient evenly."
)
less: Binary = _binary_function(LESS, "x < y")
less_equal: Binary = _binary_function(LESS_EQUAL, "x ≤ y")
equal: Binary = _binary_function(EQUAL, "x = y")
logical_and: Binary = _binary_function(LOGICAL_AND, "x ∧ y of booleans")
logical_or: Binary = _binary_function(LOGICAL_OR, "x ∨ y of booleans")
guard: Binary = _binary_function(
    GUARD,
    """g where the cotangent g is exactly 0, else g·d.

    Rules whose slope can be infinite (√, log, exp, division, powers) end in it, so that a branch which
    ``where`` left out adds 0 to the gradient, not 0·∞ = NaN.
    """,
)


def pow(x: Operand, y: Operand) -> Expr:
    """xʸ; integers are raised as float32. The derivative of x⁰ is 0, at 0 too.

    The exponents ½, 1, 2 and 3 become √x, x, x·x and x·x·x.
    """
    if isinstance(x, Expr) and _is_scalar(y) and y in _SMALL_POWERS:
        return _SMALL_POWERS[y](*lift(x, floating=True))
    return apply(POW, *lift(x, y, floating=True, operation="pow"))


_SMALL_POWERS: dict[Any, Callable[[Expr], Expr]] = {
    0.5: sqrt,
    1: lambda x: x,
    2: lambda x: x * x,
    3: lambda x: x * x * x,
}


# ------------------------------------------------------------------ choosing


def _infer_where(condition: Spec, x: Spec, y: Spec) -> Spec:
    if condition.dtype.kind != "b":
        raise DTypeError(
            f"where: the condition must be boolean, got {condition}; compare it, or use ops.cast"
        )
    if x != y or condition.shape != x.shape:
        raise ShapeError(f"where: {condition}, {x} and {y} must agree")
    return x


def _vjp_where(g: Expr, y: Expr, condition: Expr, a: Expr, b: Expr) -> tuple[None, Expr, Expr]:
    """Each branch receives g where it was taken, and exactly 0 where it was not."""
    return None, where(condition, g, 0), where(condition, 0, g)


WHERE = Primitive("where", infer=_infer_where, vjp=_vjp_where, reference=np.where)
SAMPLES[WHERE] = [
    case((3, 4), (3, 4), (3, 4), dtypes=("bool", "float", "float")),
    case((5,), (5,), (5,), dtypes=("bool", "int32", "int32")),
]


def where(condition: Expr, x: Operand, y: Operand) -> Expr:
    """x where the condition holds, else y; the branch not taken receives a gradient of exactly 0."""
    a, b = lift(x, y, operation="where")
    shape = broadcast_shapes(condition.shape, a.shape, operation="where")
    return apply(WHERE, *[broadcast(node, shape) for node in (condition, a, b)])


ELEMENTWISE = frozenset(
    {
        NEG, ABS, SIGN, EXP, EXPM1, LOG, LOG1P, SQRT, SIN, COS, TANH, SIGMOID, SOFTPLUS, ERF,
        ADD, SUB, MUL, DIV, POW, MAXIMUM, GUARD, WHERE, CAST, STOP_GRADIENT,
        LESS, LESS_EQUAL, EQUAL, IS_FINITE, LOGICAL_NOT, LOGICAL_AND, LOGICAL_OR,
    }
)  # fmt: skip
"""Primitives whose every element is computed from the operands' elements at the same place."""
