"""HOW: each primitive in the operators of ONNX's opset 18, so that onnxruntime computes what predict does.

A rule takes the emitter, the node, and the names of its operands; it gives the name of its result. Where an
operator loses digits that ours keeps (eˣ − 1 near 0), the rule writes it otherwise; where onnxruntime has no
kernel for bytes, the rule computes in int32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.executors.cpu.polynomials import FORMATS
from chainrule.export import spatial
from chainrule.export.dynamic import Node, Size
from chainrule.export.emit import Emitter
from chainrule.graph.expr import CALL, CONSTANT, INPUT, ITEM
from chainrule.graph.primitive import Primitive
from chainrule.ops import convert, convolution, elementwise, index, linalg, random, reduce, shape, sliding
from chainrule.ops.repetition import SCAN
from chainrule.spec import DTYPES, DType

__all__ = ["HOW", "NOT_IN_A_FILE", "expm1"]

Rule = Callable[..., str]

_INT32, _INT64, _BOOL, _UINT8 = (DTYPES[name] for name in ("int32", "int64", "bool", "uint8"))
_END = np.iinfo(np.int64).max  # of an axis, whatever its size

# ------------------------------------------------------------------ element by element


def _wide(e: Emitter, node: Node, *xs: str) -> list[str]:
    """Bytes and booleans as int32, for which every operator has a kernel."""
    narrow = [x.dtype in (_UINT8, _BOOL) for x in node.inputs]
    return [e.cast(x, _INT32) if small else x for x, small in zip(xs, narrow, strict=True)]


def _operator(name: str) -> Rule:
    """One operator; bytes are computed in int32 and cut off again, which is arithmetic modulo 256."""

    def rule(e: Emitter, node: Node, *xs: str) -> str:
        y = e(name, *_wide(e, node, *xs))
        return e.cast(y, _UINT8) if node.dtype == _UINT8 else y

    return rule


def _logical(name: str) -> Rule:
    return lambda e, node, *xs: e(name, *xs)


def expm1(e: Emitter, x: str, dtype: DType) -> str:
    """eˣ − 1 as tanh(x/2)·(eˣ + 1), which keeps the digits near 0; ∞ stays ∞, and −∞ gives −1."""
    half = e("Mul", x, e.constant(0.5, dtype))
    return e("Mul", e("Tanh", half), e("Add", e("Exp", x), e.constant(1, dtype)))


def _expm1(e: Emitter, node: Node, x: str) -> str:
    return expm1(e, x, node.dtype)


def _log1p(e: Emitter, node: Node, x: str) -> str:
    """log u · x/(u − 1) with u = 1 + x as it was rounded (Kahan); log u where nothing was rounded."""
    one = e.constant(1, node.dtype)
    u = e("Add", x, one)
    back, log = e("Sub", u, one), e("Log", u)
    exact, lost = e("Equal", back, x), e("Equal", u, one)
    corrected = e("Div", e("Mul", log, x), e("Where", exact, one, back))
    return e("Where", exact, log, e("Where", lost, x, corrected))


def _erf(e: Emitter, node: Node, x: str) -> str:
    """In float64, for which onnxruntime has no kernel, as our compiler computes it: x·P(x²) up to |x| = 1,
    then 1 − e^(−x²)·Q(|x|)."""
    if node.dtype != DTYPES["float64"]:
        return e("Erf", x)
    format, one = FORMATS["double"], e.constant(1.0)
    a = e("Min", e("Abs", x), e.constant(format.erf_end))
    square = e("Mul", a, a)
    inner = e("Mul", x, _polynomial(e, square, format.erf))
    over, under = (_polynomial(e, a, c) for c in format.erfc)
    tail = e("Div", e("Mul", e("Exp", e("Neg", square)), over), under)
    outer = e("Mul", e("Sign", x), e("Sub", one, tail))
    return e("Where", e("LessOrEqual", a, one), inner, outer)


def _polynomial(e: Emitter, x: str, coefficients: Sequence[float]) -> str:
    """Σ cᵢ·xⁱ, lowest power first, by Horner's rule, in float64."""
    y = e.constant(coefficients[-1])
    for c in coefficients[-2::-1]:
        y = e("Add", e("Mul", y, x), e.constant(c))
    return y


def _is_finite(e: Emitter, node: Node, x: str) -> str:
    dtype = node.inputs[0].dtype
    return e("LessOrEqual", e("Abs", x), e.constant(np.finfo(dtype).max, dtype))


def _guard(e: Emitter, node: Node, g: str, d: str) -> str:
    return e("Where", e("Equal", g, e.constant(0, node.dtype)), g, e("Mul", g, d))


def _where(e: Emitter, node: Node, condition: str, a: str, b: str) -> str:
    if node.dtype == _BOOL:
        return e("Or", e("And", condition, a), e("And", e("Not", condition), b))
    return e("Where", condition, a, b)


def _sign(e: Emitter, node: Node, x: str) -> str:
    return e("Sign", x) if node.dtype != _UINT8 else e.cast(e("Sign", e.cast(x, _INT32)), _UINT8)


def _cast(e: Emitter, node: Node, x: str) -> str:
    return e.cast(x, node.dtype)


def _same(e: Emitter, node: Node, x: str) -> str:
    return x


# ------------------------------------------------------------------ reductions and products


def _reduction(name: str) -> Rule:
    def rule(e: Emitter, node: Node, x: str) -> str:
        if not node.meta["axes"]:
            return x
        (wide,) = _wide(e, node, x)
        y = e(name, wide, e.integers(node.meta["axes"]), keepdims=0)
        return e.cast(y, _UINT8) if node.dtype == _UINT8 else y

    return rule


def _argmax(e: Emitter, node: Node, x: str) -> str:
    """TopK, where ArgMax has no kernel for 64 bits of an integer; both give the first of tied elements."""
    axis = node.meta["axis"]
    if node.inputs[0].dtype != _INT64:
        return e("ArgMax", x, axis=axis, keepdims=0)
    return e("Squeeze", _order(e, x, axis, e.integers([1]), largest=1), e.integers([axis]))


def _cumsum(e: Emitter, node: Node, x: str) -> str:
    (wide,) = _wide(e, node, x)
    y = e("CumSum", wide, e.constant(node.meta["axis"], _INT64), reverse=int(node.meta["reverse"]))
    return e.cast(y, _UINT8) if node.dtype == _UINT8 else y


def _argsort(e: Emitter, node: Node, x: str) -> str:
    axis, (wide,) = node.meta["axis"], _wide(e, node, x)
    return _order(e, wide, axis, e.size(node.shape[axis]), largest=0)


def _order(e: Emitter, x: str, axis: int, count: str, *, largest: int) -> str:
    """The places of the first ``count`` along an axis, in order; equal elements keep theirs."""
    _, places = e.several("TopK", [x, count], 2, axis=axis, largest=largest)
    return places


def _gather(e: Emitter, node: Node, x: str, places: str) -> str:
    narrow = node.inputs[1].dtype == _UINT8
    return e("Gather", x, e.cast(places, _INT32) if narrow else places, axis=0)


def _scatter_add(e: Emitter, node: Node, places: str, updates: str) -> str:
    """ScatterND that adds, into zeros."""
    at = node.inputs[0]
    zero = e.onnx.numpy_helper.from_array(np.zeros(1, _INT32 if node.dtype == _UINT8 else node.dtype))
    zeros = e("ConstantOfShape", e.shape(node.shape), value=zero)
    column = e("Unsqueeze", e.cast(places, _INT64), e.integers([at.ndim]))
    if node.dtype == _UINT8:
        updates = e.cast(updates, _INT32)
    y = e("ScatterND", zeros, column, updates, reduction="add")
    return e.cast(y, _UINT8) if node.dtype == _UINT8 else y


# ------------------------------------------------------------------ moving elements


def _reshape(e: Emitter, node: Node, x: str) -> str:
    return e.reshape(x, node.inputs[0].shape, node.shape)


def _transpose(e: Emitter, node: Node, x: str) -> str:
    return e("Transpose", x, perm=list(node.meta["axes"])) if node.ndim > 1 else x


def _broadcast(e: Emitter, node: Node, x: str) -> str:
    """Expand takes 1 for an axis that stays, so that only what is stretched over the rows asks for them."""
    old = (None,) * (node.ndim - node.inputs[0].ndim) + tuple(node.inputs[0].shape)
    wanted = [
        1 if isinstance(new, Size) and new == was else new for was, new in zip(old, node.shape, strict=True)
    ]
    return e("Expand", x, e.shape(wanted))


def _slice(e: Emitter, node: Node, x: str) -> str:
    sizes, meta = node.inputs[0].shape, node.meta
    ranges = list(zip(meta["starts"], meta["stops"], meta["steps"], sizes, strict=True))
    axes = [i for i, (a, b, s, n) in enumerate(ranges) if (a, b, s) != (0, n, 1)]
    if not axes:
        return x
    stops = [_END if ranges[i][1] == ranges[i][3] else ranges[i][1] for i in axes]
    starts, steps = [ranges[i][0] for i in axes], [ranges[i][2] for i in axes]
    return e("Slice", x, e.shape(starts), e.shape(stops), e.integers(axes), e.shape(steps))


def _concat(e: Emitter, node: Node, *xs: str) -> str:
    return e("Concat", *xs, axis=node.meta["axis"])


def _flip(e: Emitter, node: Node, x: str) -> str:
    axes = node.meta["axes"]
    back = [e.integers([value] * len(axes)) for value in (-1, -_END, -1)]
    return e("Slice", x, back[0], back[1], e.integers(axes), back[2])


def _constant(e: Emitter, node: Node) -> str:
    value: Any = node.meta["value"]
    return e.scalar(value, node.dtype) if isinstance(value, Size) else e.constant(value, node.dtype)


# ------------------------------------------------------------------ the table

HOW: dict[Primitive, Rule] = {
    CONSTANT: _constant,
    convert.CAST: _cast,
    convert.STOP_GRADIENT: _same,
    shape.RESHAPE: _reshape,
    shape.TRANSPOSE: _transpose,
    shape.BROADCAST: _broadcast,
    shape.SLICE: _slice,
    shape.PAD: spatial.pad,
    shape.CONCAT: _concat,
    shape.FLIP: _flip,
    elementwise.NEG: _operator("Neg"),
    elementwise.ABS: _operator("Abs"),
    elementwise.SIGN: _sign,
    elementwise.EXP: _operator("Exp"),
    elementwise.EXPM1: _expm1,
    elementwise.LOG: _operator("Log"),
    elementwise.LOG1P: _log1p,
    elementwise.SQRT: _operator("Sqrt"),
    elementwise.SIN: _operator("Sin"),
    elementwise.COS: _operator("Cos"),
    elementwise.TANH: _operator("Tanh"),
    elementwise.SIGMOID: _operator("Sigmoid"),
    elementwise.SOFTPLUS: _operator("Softplus"),
    elementwise.ERF: _erf,
    elementwise.IS_FINITE: _is_finite,
    elementwise.LOGICAL_NOT: _logical("Not"),
    elementwise.ADD: _operator("Add"),
    elementwise.SUB: _operator("Sub"),
    elementwise.MUL: _operator("Mul"),
    elementwise.DIV: _operator("Div"),
    elementwise.POW: _operator("Pow"),
    elementwise.MAXIMUM: _operator("Max"),
    elementwise.GUARD: _guard,
    elementwise.LESS: _operator("Less"),
    elementwise.LESS_EQUAL: _operator("LessOrEqual"),
    elementwise.EQUAL: _operator("Equal"),
    elementwise.LOGICAL_AND: _logical("And"),
    elementwise.LOGICAL_OR: _logical("Or"),
    elementwise.WHERE: _where,
    reduce.SUM: _reduction("ReduceSum"),
    reduce.MAX: _reduction("ReduceMax"),
    reduce.ARGMAX: _argmax,
    reduce.CUMSUM: _cumsum,
    linalg.MATMUL: _operator("MatMul"),
    convolution.CONV: spatial.conv,
    sliding.WINDOWS: spatial.windows,
    sliding.FOLD: spatial.fold,
    index.GATHER: _gather,
    index.SCATTER_ADD: _scatter_add,
    index.ARGSORT: _argsort,
}
"""{primitive: how it is written}."""

NOT_IN_A_FILE: dict[Primitive, str] = {
    INPUT: "an input of the file, or a weight that lies in it",
    CALL: "its body is written in its place",
    SCAN: "its body is written once for every step",
    ITEM: "its body is written in its place",
    random.RANDOM_BITS: "a file gives the same output for the same input: prediction draws no random numbers",
}
"""The primitives without a rule, each with the reason."""
