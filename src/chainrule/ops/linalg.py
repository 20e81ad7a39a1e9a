"""The matrix product, batched: the one contraction from which the others are made."""

from __future__ import annotations

import math

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.graph.expr import Expr, apply, constant
from chainrule.graph.primitive import Primitive
from chainrule.ops.convert import cast
from chainrule.ops.elementwise import Operand
from chainrule.ops.samples import SAMPLES, case
from chainrule.ops.shape import broadcast, reshape, transpose
from chainrule.spec import DTYPES, Spec, broadcast_shapes, is_float, promote

__all__ = ["matmul", "outer"]


def _infer(a: Spec, b: Spec) -> Spec:
    if a.ndim < 2 or a.ndim != b.ndim or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise ShapeError(f"matmul: {a} and {b} do not multiply: (…, m, k) @ (…, k, n) is needed")
    if a.dtype != b.dtype or not is_float(a.dtype):
        raise DTypeError(
            f"matmul: takes two arrays of one floating-point dtype, got {a} and {b}; use ops.cast"
        )
    return a.with_shape((*a.shape[:-1], b.shape[-1]))


def _vjp(g: Expr, y: Expr, a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """y = a b:  ∂a = g bᵀ,  ∂b = aᵀ g."""
    return apply(MATMUL, g, transpose(b)), apply(MATMUL, transpose(a), g)


MATMUL = Primitive("matmul", infer=_infer, vjp=_vjp, reference=np.matmul)

SAMPLES[MATMUL] = [
    case((3, 4), (4, 5)),
    case((2, 3, 4), (2, 4, 1)),
    case((0, 4), (4, 2)),
    case((3, 0), (0, 2)),
    case((1, 1), (1, 1)),
]


def matmul(a: Operand, b: Operand) -> Expr:
    """a @ b as NumPy does it: vectors, matrices, and stacks of matrices with broadcast leading axes.

    (…, m, k) @ (…, k, n) → (…, m, n). Integers are multiplied as floats.
    """
    left, right = (x if isinstance(x, Expr) else constant(x) for x in (a, b))
    _check_inner(left, right)
    dtype = promote(left.dtype, right.dtype)
    dtype = dtype if is_float(dtype) else DTYPES["float32"]
    left, right = cast(left, dtype), cast(right, dtype)
    if left.ndim == 1 or right.ndim == 1:
        return _vectors(left, right)
    if right.ndim == 2 and left.ndim > 2:  # one matrix for every row: a single large product
        rows = reshape(left, (math.prod(left.shape[:-1]), left.shape[-1]))
        return reshape(apply(MATMUL, rows, right), (*left.shape[:-1], right.shape[1]))
    lead = broadcast_shapes(
        left.shape[:-2], right.shape[:-2], operation=f"matmul of {left.spec} and {right.spec}"
    )
    return apply(
        MATMUL, broadcast(left, (*lead, *left.shape[-2:])), broadcast(right, (*lead, *right.shape[-2:]))
    )


def _check_inner(a: Expr, b: Expr) -> None:
    if not a.ndim or not b.ndim:
        raise ShapeError(f"matmul: {a.spec} and {b.spec}: a scalar has no rows; use *")
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != inner:
        raise ShapeError(
            f"matmul: {a.spec} and {b.spec} do not multiply: {a.shape[-1]} columns on the left meet "
            f"{inner} rows on the right; (…, m, k) @ (…, k, n) is needed"
        )


def _vectors(a: Expr, b: Expr) -> Expr:
    """A vector on the left is one row, on the right one column; the axis of size 1 is dropped again."""
    left = reshape(a, (1, a.size)) if a.ndim == 1 else a
    right = reshape(b, (b.size, 1)) if b.ndim == 1 else b
    y = matmul(left, right)
    rows = () if a.ndim == 1 else y.shape[-2:-1]
    columns = () if b.ndim == 1 else y.shape[-1:]
    return reshape(y, (*y.shape[:-2], *rows, *columns))


def outer(a: Expr, b: Expr) -> Expr:
    """aᵢ bⱼ of two vectors."""
    return matmul(reshape(a, (a.size, 1)), reshape(b, (1, b.size)))
