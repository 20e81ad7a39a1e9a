"""The matrix product, batched: the one contraction from which the others are made."""

from __future__ import annotations

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.graph.expr import Expr, apply
from chainrule.graph.primitive import Primitive
from chainrule.ops.elementwise import Operand, cast
from chainrule.ops.samples import SAMPLES, case
from chainrule.ops.shape import broadcast, reshape, transpose
from chainrule.graph.expr import constant
from chainrule.spec import DTYPES, Spec, broadcast_shapes, is_float, promote

__all__ = ["matmul", "outer"]


def _infer(a: Spec, b: Spec) -> Spec:
    if a.ndim < 2 or a.ndim != b.ndim or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise ShapeError(f"matmul: {a} and {b} do not multiply: (…, m, k) @ (…, k, n) is needed")
    if a.dtype != b.dtype or not is_float(a.dtype):
        raise DTypeError(f"matmul: takes two arrays of one floating-point dtype, got {a} and {b}; use ops.cast")
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
    a, b = (x if isinstance(x, Expr) else constant(x) for x in (a, b))
    dtype = promote(a.dtype, b.dtype)
    dtype = dtype if is_float(dtype) else DTYPES["float32"]
    a, b = cast(a, dtype), cast(b, dtype)
    if not a.ndim or not b.ndim:
        raise ShapeError(f"matmul: {a.spec} and {b.spec}: a scalar has no rows; use *")
    if a.ndim == 1 or b.ndim == 1:
        return _vectors(a, b)
    if b.ndim == 2 and a.ndim > 2:  # one matrix for every row: a single large product
        if a.shape[-1] != b.shape[0]:
            raise ShapeError(f"matmul: {a.spec} and {b.spec} do not multiply: (…, m, k) @ (k, n) is needed")
        rows = reshape(a, (a.size // max(a.shape[-1], 1), a.shape[-1])) if a.shape[-1] else broadcast(a, a.shape)
        return reshape(apply(MATMUL, rows, b), (*a.shape[:-1], b.shape[1]))
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return apply(MATMUL, broadcast(a, (*lead, *a.shape[-2:])), broadcast(b, (*lead, *b.shape[-2:])))


def _vectors(a: Expr, b: Expr) -> Expr:
    left = reshape(a, (1, -1)) if a.ndim == 1 else a
    right = reshape(b, (-1, 1)) if b.ndim == 1 else b
    y = matmul(left, right)
    keep = [n for axis, n in enumerate(y.shape)]
    if b.ndim == 1:
        del keep[-1]
    if a.ndim == 1:
        del keep[-1 if b.ndim == 1 else -2]
    return reshape(y, keep)


def outer(a: Expr, b: Expr) -> Expr:
    """aᵢ bⱼ of two vectors."""
    return matmul(reshape(a, (-1, 1)), reshape(b, (1, -1)))
