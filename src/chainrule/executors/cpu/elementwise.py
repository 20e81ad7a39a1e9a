"""What each element-wise primitive is in LLVM IR: a table {primitive: how}."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chainrule.executors.cpu import functions
from chainrule.executors.cpu.emit import Builder, Value, const
from chainrule.executors.cpu.special import scalar_type
from chainrule.graph.expr import Expr
from chainrule.graph.primitive import Primitive
from chainrule.ops.convert import CAST, STOP_GRADIENT
from chainrule.ops.elementwise import (
    ABS,
    ADD,
    COS,
    DIV,
    EQUAL,
    ERF,
    EXP,
    EXPM1,
    GUARD,
    IS_FINITE,
    LESS,
    LESS_EQUAL,
    LOG,
    LOG1P,
    LOGICAL_AND,
    LOGICAL_NOT,
    LOGICAL_OR,
    MAXIMUM,
    MUL,
    NEG,
    POW,
    SIGMOID,
    SIGN,
    SIN,
    SOFTPLUS,
    SQRT,
    SUB,
    TANH,
    WHERE,
)
from chainrule.spec import DType

__all__ = ["EMIT", "cast", "maximum"]


def _arithmetic(floating: str, whole: str) -> Callable[[Builder, Expr, Value, Value], Value]:
    def emit(b: Builder, node: Expr, x: Value, y: Value) -> Value:
        return getattr(b, floating if x.type.floating else whole)(x, y)

    return emit


def _compare(floating: str, signed: str, unsigned: str) -> Callable[[Builder, Expr, Value, Value], Value]:
    def emit(b: Builder, node: Expr, x: Value, y: Value) -> Value:
        if x.type.floating:
            return b.fcmp(floating, x, y)
        return b.icmp(unsigned if x.type.scalar in ("i1", "i8") else signed, x, y)

    return emit


def _neg(b: Builder, node: Expr, x: Value) -> Value:
    return b.fneg(x) if x.type.floating else b.sub(const(0, x.type), x)


def _abs(b: Builder, node: Expr, x: Value) -> Value:
    if x.type.floating:
        return b.fabs(x)
    if x.type.scalar == "i8":
        return x
    return b.select(b.icmp("slt", x, const(0, x.type)), b.sub(const(0, x.type), x), x)


def _sign(b: Builder, node: Expr, x: Value) -> Value:
    zero, one = const(0, x.type), const(1, x.type)
    if x.type.floating:
        found = b.select(
            b.fcmp("ogt", x, zero), one, b.select(b.fcmp("olt", x, zero), const(-1, x.type), zero)
        )
        return b.select(b.fcmp("uno", x, x), x, found)
    if x.type.scalar == "i8":
        return b.select(b.icmp("ne", x, zero), one, zero)
    return b.select(b.icmp("sgt", x, zero), one, b.select(b.icmp("slt", x, zero), const(-1, x.type), zero))


def maximum(b: Builder, x: Value, y: Value) -> Value:
    """The larger; NaN if either is."""
    if x.type.floating:
        return b.select(b.fcmp("uno", x, x), x, b.select(b.fcmp("ogt", x, y), x, y))
    return b.select(b.icmp("ugt" if x.type.scalar in ("i1", "i8") else "sgt", x, y), x, y)


def _guard(b: Builder, node: Expr, g: Value, d: Value) -> Value:
    return b.select(b.fcmp("oeq", g, const(0, g.type)), g, b.fmul(g, d))


def _is_finite(b: Builder, node: Expr, x: Value) -> Value:
    return b.fcmp("olt", b.fabs(x), const(np.inf, x.type))


def _where(b: Builder, node: Expr, condition: Value, x: Value, y: Value) -> Value:
    return b.select(condition, x, y)


def cast(b: Builder, x: Value, dtype: DType) -> Value:
    """x in another dtype; floats to integers round towards zero."""
    source, target = x.type, x.type.of(scalar_type(dtype).scalar)
    if source is target:
        return x
    if target.scalar == "i1":
        zero = const(0, source)
        return b.fcmp("une", x, zero) if source.floating else b.icmp("ne", x, zero)
    if source.floating and target.floating:
        return b.convert("fpext" if target.bits > source.bits else "fptrunc", x, target)
    if source.floating:
        wide = x.type.of("i64" if target.scalar == "i64" else "i32")
        found = b.call(f"llvm.fptosi.sat.{wide.suffix}.{source.suffix}", wide, x)
        return found if wide is target else b.convert("trunc", found, target)
    unsigned = source.scalar in ("i1", "i8")
    if target.floating:
        return b.convert("uitofp" if unsigned else "sitofp", x, target)
    if target.bits < source.bits:
        return b.convert("trunc", x, target)
    return b.convert("zext" if unsigned else "sext", x, target)


def _function(name: str) -> Callable[[Builder, Expr, Value], Value]:
    return lambda b, node, x: functions.FUNCTIONS[name](b, x)


EMIT: dict[Primitive, Callable[..., Value]] = {
    NEG: _neg,
    ABS: _abs,
    SIGN: _sign,
    EXP: _function("exp"),
    EXPM1: _function("expm1"),
    LOG: _function("log"),
    LOG1P: _function("log1p"),
    SQRT: lambda b, node, x: b.sqrt(x),
    SIN: _function("sin"),
    COS: _function("cos"),
    TANH: _function("tanh"),
    SIGMOID: _function("sigmoid"),
    SOFTPLUS: _function("softplus"),
    ERF: _function("erf"),
    ADD: _arithmetic("fadd", "add"),
    SUB: _arithmetic("fsub", "sub"),
    MUL: _arithmetic("fmul", "mul"),
    DIV: lambda b, node, x, y: b.fdiv(x, y),
    POW: lambda b, node, x, y: functions.pow(b, x, y),
    MAXIMUM: lambda b, node, x, y: maximum(b, x, y),
    GUARD: _guard,
    WHERE: _where,
    CAST: lambda b, node, x: cast(b, x, node.dtype),
    STOP_GRADIENT: lambda b, node, x: x,
    LESS: _compare("olt", "slt", "ult"),
    LESS_EQUAL: _compare("ole", "sle", "ule"),
    EQUAL: _compare("oeq", "eq", "eq"),
    IS_FINITE: _is_finite,
    LOGICAL_NOT: lambda b, node, x: b.not_(x),
    LOGICAL_AND: lambda b, node, x, y: b.and_(x, y),
    LOGICAL_OR: lambda b, node, x, y: b.or_(x, y),
}
"""For every element-wise primitive: (builder, node, values of one type) → value."""
