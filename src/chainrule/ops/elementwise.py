"""Element-wise primitives. The user functions promote and broadcast; the primitives take equal shapes only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import DTypeError, ShapeError
from chainrule.graph.expr import Expr, apply, constant
from chainrule.graph.primitive import Primitive
from chainrule.ops.samples import SAMPLES, case
from chainrule.ops.shape import broadcast
from chainrule.spec import DTYPES, Scalar, Spec, as_dtype, broadcast_shapes, is_float, promote, scalar_dtype

__all__ = [
    "abs",
    "add",
    "cast",
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
    "stop_gradient",
    "sub",
    "tanh",
    "where",
    "zeros_like",
]

Operand = Expr | Scalar | npt.NDArray[Any]

# ------------------------------------------------------------------ bringing operands together


def lift(*operands: Operand, floating: bool = False) -> list[Expr]:
    """Operands as nodes of one dtype and one shape. Python scalars are weak; ``floating`` turns integers into float32."""
    nodes = [x if isinstance(x, Expr) or _is_scalar(x) else constant(x) for x in operands]
    found = [x.dtype for x in nodes if isinstance(x, Expr)]
    dtype = promote(*found) if found else DTYPES["float32" if any(isinstance(x, float) for x in nodes) else "int64"]
    dtype = promote(dtype, *[scalar_dtype(x, dtype) for x in nodes if not isinstance(x, Expr)])
    if floating and not is_float(dtype):
        dtype = DTYPES["float32"]
    shape = broadcast_shapes(*[x.shape for x in nodes if isinstance(x, Expr)])
    return [broadcast(cast(x, dtype) if isinstance(x, Expr) else constant(x, dtype), shape) for x in nodes]


def _is_scalar(x: Operand) -> bool:
    return isinstance(x, bool | int | float)


def full_like(x: Expr, value: Scalar) -> Expr:
    """A constant of the same shape and dtype."""
    return broadcast(constant(value, x.dtype), x.shape)


def zeros_like(x: Expr) -> Expr:
    return full_like(x, 0)


# ------------------------------------------------------------------ inference


def _same(operation: str, kinds: str) -> Callable[..., Spec]:
    """Equal specs in, the same out; ``kinds`` are the dtype kinds that it takes."""

    def infer(first: Spec, *others: Spec) -> Spec:
        if any(other != first for other in others):
            raise ShapeError(f"{operation}: operands {', '.join(map(str, (first, *others)))} must be equal")
        if first.dtype.kind not in kinds:
            wanted = {"f": "floating-point", "iuf": "numeric", "b": "boolean"}[kinds]
            raise DTypeError(f"{operation}: takes {wanted} values, got {first}; use ops.cast")
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
    SAMPLES[primitive] = [case((3, 4), (3, 4), **sample), case((), (), **sample), case((0, 2), (0, 2), **sample)]
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
    return np.where(x >= 0, 1, e) / (1 + e)


def _softplus(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.logaddexp(x, np.zeros((), x.dtype))


def _erf(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.fromiter(map(math.erf, np.ravel(x).tolist()), x.dtype, x.size).reshape(x.shape)


NEG = _unary("neg", np.negative, lambda g, y, x: (neg(g),), kinds="iuf")
ABS = _unary("abs", np.absolute, lambda g, y, x: (g * sign(x),), kinds="iuf", distinct=True)
SIGN = _unary("sign", np.sign, _no_gradient, kinds="iuf", distinct=True)
EXP = _unary("exp", np.exp, lambda g, y, x: (g * y,))
EXPM1 = _unary("expm1", np.expm1, lambda g, y, x: (g * (y + 1),))
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


def _unary_function(primitive: Primitive, doc: str, floating: bool = True) -> Callable[[Operand], Expr]:
    def function(x: Operand) -> Expr:
        (node,) = lift(x, floating=floating)
        return apply(primitive, node)

    function.__name__ = function.__qualname__ = primitive.name
    function.__doc__ = doc
    return function


neg = _unary_function(NEG, "−x", floating=False)
abs = _unary_function(ABS, "|x|; the derivative at 0 is 0.", floating=False)
sign = _unary_function(SIGN, "−1, 0 or 1; its derivative is 0 everywhere.", floating=False)
exp = _unary_function(EXP, "eˣ")
expm1 = _unary_function(EXPM1, "eˣ − 1, exact near 0.")
log = _unary_function(LOG, "The natural logarithm: −inf at 0, NaN below.")
log1p = _unary_function(LOG1P, "log(1 + x), exact near 0.")
sqrt = _unary_function(SQRT, "√x; NaN below 0.")
sin = _unary_function(SIN, "sin x, x in radians.")
cos = _unary_function(COS, "cos x, x in radians.")
tanh = _unary_function(TANH, "tanh x; tanh′ = 1 − tanh².")
sigmoid = _unary_function(SIGMOID, "σ(x) = 1/(1 + e⁻ˣ), exact in both tails; σ′ = σ(1 − σ).")
softplus = _unary_function(SOFTPLUS, "log(1 + eˣ), finite for every finite x.")
erf = _unary_function(ERF, "The error function 2/√π ∫₀ˣ e^(−t²) dt.")
is_finite = _unary_function(IS_FINITE, "True where x is neither NaN nor infinite.")


def logical_not(x: Expr) -> Expr:
    """¬x of booleans."""
    return apply(LOGICAL_NOT, x)


# ------------------------------------------------------------------ two operands


def _vjp_div(g: Expr, y: Expr, a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """y = a/b:  ∂a = g/b,  ∂b = −g·y/b."""
    return guard(g, 1 / b), guard(neg(g), y / b)


def _vjp_pow(g: Expr, y: Expr, a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """y = aᵇ:  ∂a = g·b·aᵇ⁻¹, which is 0 for b = 0 also at a = 0;  ∂b = g·y·log a, which is 0 at a = 0."""
    zero = equal(b, 0)
    slope = where(zero, 0, b * pow(a, where(zero, 1, b) - 1))
    return guard(g, slope), guard(g, where(equal(a, 0), 0, y * log(where(a <= 0, 1, a))))


def _vjp_maximum(g: Expr, y: Expr, a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """The larger operand receives g; equal ones half each."""
    share = where(equal(a, b), 0.5, where(b < a, full_like(g, 1), 0))
    return g * share, g * (1 - share)


def _guard(g: npt.NDArray[Any], d: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.where(g == 0, 0, g * d).astype(g.dtype, copy=False)


ADD = _binary("add", np.add, lambda g, y, a, b: (g, g))
SUB = _binary("sub", np.subtract, lambda g, y, a, b: (g, neg(g)))
MUL = _binary("mul", np.multiply, lambda g, y, a, b: (g * b, g * a))
DIV = Primitive("div", infer=_same("div", "f"), vjp=_vjp_div, reference=np.true_divide)
POW = Primitive("pow", infer=_same("pow", "f"), vjp=_vjp_pow, reference=np.power)
MAXIMUM = _binary("maximum", np.maximum, _vjp_maximum, distinct=True)
GUARD = Primitive(
    "guard", infer=_same("guard", "f"), vjp=lambda h, y, g, d: (guard(h, d), guard(h, g)), reference=_guard
)
LESS = _compare("less", np.less, "iuf", "float")
LESS_EQUAL = _compare("less_equal", np.less_equal, "iuf", "float")
EQUAL = _compare("equal", np.equal, "iuf", "int32")
LOGICAL_AND = _compare("logical_and", np.logical_and, "b", "bool")
LOGICAL_OR = _compare("logical_or", np.logical_or, "b", "bool")

SAMPLES[DIV] = [case((3, 4), (3, 4), low=0.5), case((), (), low=0.5)]
SAMPLES[POW] = [case((3, 4), (3, 4), low=0.3), case((2,), (2,), low=1.0)]
SAMPLES[GUARD] = [case((3, 4), (3, 4), low=0.5)]


def add(x: Operand, y: Operand) -> Expr:
    """x + y"""
    return apply(ADD, *lift(x, y))


def sub(x: Operand, y: Operand) -> Expr:
    """x − y"""
    return apply(SUB, *lift(x, y))


def mul(x: Operand, y: Operand) -> Expr:
    """x · y, element by element"""
    return apply(MUL, *lift(x, y))


def div(x: Operand, y: Operand) -> Expr:
    """x / y; integers are divided as float32."""
    return apply(DIV, *lift(x, y, floating=True))


def pow(x: Operand, y: Operand) -> Expr:
    """xʸ. The exponents 1, 2 and ½ become x, x·x and √x. The derivative of x⁰ is 0, at 0 too."""
    if isinstance(x, Expr) and _is_scalar(y):
        if y == 1:
            return x
        if y == 2:
            return mul(x, x)
        if y == 0.5:
            return sqrt(x)
    return apply(POW, *lift(x, y, floating=True))


def maximum(x: Operand, y: Operand) -> Expr:
    """The larger of two; NaN if either is. Equal operands share the gradient evenly."""
    return apply(MAXIMUM, *lift(x, y))


def less(x: Operand, y: Operand) -> Expr:
    """x < y"""
    return apply(LESS, *lift(x, y))


def less_equal(x: Operand, y: Operand) -> Expr:
    """x ≤ y"""
    return apply(LESS_EQUAL, *lift(x, y))


def equal(x: Operand, y: Operand) -> Expr:
    """x = y"""
    return apply(EQUAL, *lift(x, y))


def logical_and(x: Operand, y: Operand) -> Expr:
    """x ∧ y of booleans"""
    return apply(LOGICAL_AND, *lift(x, y))


def logical_or(x: Operand, y: Operand) -> Expr:
    """x ∨ y of booleans"""
    return apply(LOGICAL_OR, *lift(x, y))


def guard(g: Operand, d: Operand) -> Expr:
    """0 where the cotangent g is exactly 0, else g·d.

    Rules with an infinite slope (√, log, division, powers) end in it, so that a branch which ``where``
    left out adds 0 to the gradient, not 0·∞ = NaN.
    """
    return apply(GUARD, *lift(g, d))


# ------------------------------------------------------------------ choosing and converting


def _infer_where(condition: Spec, x: Spec, y: Spec) -> Spec:
    if condition.dtype.kind != "b":
        raise DTypeError(f"where: the condition must be boolean, got {condition}")
    if x != y or condition.shape != x.shape:
        raise ShapeError(f"where: {condition}, {x} and {y} must agree")
    return x


def _vjp_where(g: Expr, y: Expr, condition: Expr, a: Expr, b: Expr) -> tuple[None, Expr, Expr]:
    """Each branch receives g where it was taken, and exactly 0 where it was not."""
    return None, where(condition, g, 0), where(condition, 0, g)


def _vjp_cast(g: Expr, y: Expr, x: Expr, *, dtype: np.dtype) -> tuple[Expr | None]:
    return (cast(g, x.dtype) if is_float(x.dtype) and is_float(dtype) else None,)


WHERE = Primitive("where", infer=_infer_where, vjp=_vjp_where, reference=np.where)
CAST = Primitive(
    "cast",
    infer=lambda x, *, dtype: x.with_dtype(dtype),
    vjp=_vjp_cast,
    reference=lambda x, *, dtype: x.astype(dtype),
)
STOP_GRADIENT = Primitive("stop_gradient", infer=lambda x: x, vjp=_no_gradient, reference=lambda x: x)

SAMPLES[WHERE] = [case((3, 4), (3, 4), (3, 4), dtypes=("bool", "float", "float"))]
SAMPLES[CAST] = [
    case((3, 4), dtype=DTYPES["float64"]),
    case((3,), dtypes=("int32",), dtype=DTYPES["float32"]),
    case((3,), dtypes=("bool",), dtype=DTYPES["int64"]),
]
SAMPLES[STOP_GRADIENT] = [case((3, 4))]


def where(condition: Expr, x: Operand, y: Operand) -> Expr:
    """x where the condition holds, else y; the branch not taken receives a gradient of exactly 0."""
    a, b = lift(x, y)
    shape = broadcast_shapes(condition.shape, a.shape)
    return apply(WHERE, *[broadcast(node, shape) for node in (condition, a, b)])


def cast(x: Expr, dtype: npt.DTypeLike) -> Expr:
    """x in another dtype; the node itself where nothing changes. Floats to integers round towards zero."""
    target = as_dtype(dtype)
    return x if x.dtype == target else apply(CAST, x, dtype=target)


def stop_gradient(x: Expr) -> Expr:
    """x, through which no gradient flows."""
    return apply(STOP_GRADIENT, x)
