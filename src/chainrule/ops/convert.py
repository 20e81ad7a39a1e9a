"""Primitives that change a value's dtype or cut its gradient: cast, stop_gradient."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from chainrule.graph.expr import Expr, apply
from chainrule.graph.primitive import Primitive
from chainrule.ops.samples import SAMPLES, case
from chainrule.spec import DTYPES, DType, as_dtype, is_float

__all__ = ["cast", "stop_gradient"]


def _vjp_cast(g: Expr, y: Expr, x: Expr, *, dtype: DType) -> tuple[Expr | None]:
    return (cast(g, x.dtype) if is_float(x.dtype) and is_float(dtype) else None,)


def _no_gradient(g: Any, y: Expr, x: Expr) -> tuple[None]:
    return (None,)


CAST = Primitive(
    "cast",
    infer=lambda x, *, dtype: x.with_dtype(dtype),
    vjp=_vjp_cast,
    reference=lambda x, *, dtype: x.astype(dtype),
)
STOP_GRADIENT = Primitive("stop_gradient", infer=lambda x: x, vjp=_no_gradient, reference=lambda x: x)

SAMPLES[CAST] = [
    case((3, 4), dtype=DTYPES["float64"]),
    case((3,), dtypes=("int32",), dtype=DTYPES["float32"]),
    case((3,), dtypes=("bool",), dtype=DTYPES["int64"]),
    case((5,), low=-3.0, high=3.0, dtype=DTYPES["int32"]),
    case((0, 2), dtypes=("uint8",), low=0, dtype=DTYPES["float64"]),
]
SAMPLES[STOP_GRADIENT] = [case((3, 4))]


def cast(x: Expr, dtype: npt.DTypeLike) -> Expr:
    """x in another dtype; the node itself where nothing changes. Floats to integers round towards zero."""
    target = as_dtype(dtype)
    return x if x.dtype == target else apply(CAST, x, dtype=target)


def stop_gradient(x: Expr) -> Expr:
    """x, through which no gradient flows."""
    return apply(STOP_GRADIENT, x)
