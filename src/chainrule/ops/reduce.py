"""Reductions over axes, and the running sum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import DTypeError, ShapeError
from chainrule.graph.expr import Expr, apply
from chainrule.graph.primitive import Primitive
from chainrule.ops.convert import cast
from chainrule.ops.elementwise import equal, where
from chainrule.ops.samples import SAMPLES, case
from chainrule.ops.shape import broadcast, reshape
from chainrule.spec import DTYPES, Axes, Spec, is_float, normalize_axes

__all__ = ["argmax", "cumsum", "max", "sum"]

AxisLike = int | Iterable[int] | None


def _infer(name: str) -> Callable[..., Spec]:
    def infer(x: Spec, *, axes: Axes) -> Spec:
        if bad := [a for a in axes if not 0 <= a < x.ndim]:
            raise ShapeError(f"{name}: no axis {bad} in {x}")
        if x.dtype.kind == "b":
            raise DTypeError(f"{name}: takes numeric values, got {x}; use ops.cast")
        return x.with_shape(tuple(n for i, n in enumerate(x.shape) if i not in axes))

    return infer


def _infer_max(x: Spec, *, axes: Axes) -> Spec:
    if any(x.shape[a] == 0 for a in axes if a < x.ndim):
        raise ShapeError(f"max: {x} has no elements along axes {axes}")
    return _infer("max")(x, axes=axes)


def _infer_argmax(x: Spec, *, axis: int) -> Spec:
    if not 0 <= axis < x.ndim or x.shape[axis] == 0:
        raise ShapeError(f"argmax: no elements along axis {axis} of {x}")
    return Spec(x.shape[:axis] + x.shape[axis + 1 :], DTYPES["int64"])


def _kept(x: Expr, axes: Axes) -> tuple[int, ...]:
    return tuple(1 if i in axes else n for i, n in enumerate(x.shape))


def _vjp_sum(g: Expr, y: Expr, x: Expr, *, axes: Axes) -> tuple[Expr]:
    """y = Σ x, so every summed element receives the same g."""
    return (broadcast(reshape(g, _kept(x, axes)), x.shape),)


def _vjp_max(g: Expr, y: Expr, x: Expr, *, axes: Axes) -> tuple[Expr]:
    """The largest elements share g evenly."""
    kept = _kept(x, axes)
    tied = equal(x, reshape(y, kept))
    share = g / sum(cast(tied, x.dtype), axes)
    return (where(tied, reshape(share, kept), 0),)


def _accumulator(x: npt.NDArray[Any]) -> np.dtype:
    """The dtype in which x is summed: float64 for floats, so that 10⁷ float32 values keep their digits."""
    return DTYPES["float64"] if is_float(x.dtype) else DTYPES["int64"]


def _sum(x: npt.NDArray[Any], *, axes: Axes) -> npt.NDArray[Any]:
    return x.sum(axis=axes, dtype=_accumulator(x)).astype(x.dtype, copy=False)


def _cumsum(x: npt.NDArray[Any], *, axis: int, reverse: bool) -> npt.NDArray[Any]:
    ordered = np.flip(x, axis) if reverse else x
    total = ordered.cumsum(axis=axis, dtype=_accumulator(x)).astype(x.dtype, copy=False)
    return np.flip(total, axis) if reverse else total


SUM = Primitive("sum", infer=_infer("sum"), vjp=_vjp_sum, reference=_sum)
MAX = Primitive("max", infer=_infer_max, vjp=_vjp_max, reference=lambda x, *, axes: np.max(x, axis=axes))
ARGMAX = Primitive(
    "argmax",
    infer=_infer_argmax,
    vjp=lambda g, y, x, *, axis: (None,),
    reference=lambda x, *, axis: np.argmax(x, axis=axis),
)
CUMSUM = Primitive(
    "cumsum",
    infer=lambda x, *, axis, reverse: x,
    vjp=lambda g, y, x, *, axis, reverse: (cumsum(g, axis, reverse=not reverse),),
    reference=_cumsum,
)

SAMPLES[SUM] = [
    case((3, 4), axes=(1,)),
    case((3, 4), axes=()),
    case((0, 4), axes=(0,)),
    case((2, 3, 4), axes=(0, 2)),
]
SAMPLES[MAX] = [case((3, 4), axes=(1,), distinct=True), case((2, 3, 4), axes=(0, 2), distinct=True)]
SAMPLES[ARGMAX] = [case((3, 4), axis=1, distinct=True)]
SAMPLES[CUMSUM] = [case((3, 4), axis=1, reverse=False), case((3, 4), axis=0, reverse=True)]


def _reduce(primitive: Primitive, x: Expr, axes: AxisLike, keepdims: bool) -> Expr:
    found = normalize_axes(axes, x.ndim, primitive.name)
    y = apply(primitive, x, axes=found)
    return reshape(y, _kept(x, found)) if keepdims else y


def _wide(x: Expr) -> Expr:
    """Booleans and integers as int64, so that a sum of pixels does not wrap around."""
    return x if is_float(x.dtype) else cast(x, "int64")


def sum(x: Expr, axes: AxisLike = None, *, keepdims: bool = False) -> Expr:
    """Σ x over the axes (all by default). float32 is summed in float64; integers and booleans give int64."""
    return _reduce(SUM, _wide(x), axes, keepdims)


def max(x: Expr, axes: AxisLike = None, *, keepdims: bool = False) -> Expr:
    """The largest element over the axes; NaN if any is. Tied elements share the gradient evenly."""
    return _reduce(MAX, x, axes, keepdims)


def argmax(x: Expr, axis: int = -1) -> Expr:
    """The index (int64) of the largest element along an axis; the first of tied ones, or of NaNs."""
    (place,) = normalize_axes(axis, x.ndim, "argmax")
    return apply(ARGMAX, x, axis=place)


def cumsum(x: Expr, axis: int = -1, *, reverse: bool = False) -> Expr:
    """yᵢ = Σⱼ≤ᵢ xⱼ along an axis; ``reverse`` sums from the end. Booleans and integers give int64."""
    (place,) = normalize_axes(axis, x.ndim, "cumsum")
    return apply(CUMSUM, _wide(x), axis=place, reverse=reverse)
