"""Primitives that only move elements: reshape, transpose, broadcast, slice, pad, concat, flip."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import DTypeError, ShapeError
from chainrule.graph.expr import Expr, apply
from chainrule.graph.primitive import PRIMITIVES, Primitive
from chainrule.ops.samples import SAMPLES, case
from chainrule.spec import Axes, Shape, Spec, as_shape, broadcast_shapes, normalize_axes

__all__ = [
    "broadcast",
    "concat",
    "expand",
    "flip",
    "pad",
    "reshape",
    "slice_axes",
    "split",
    "squeeze",
    "stack",
    "transpose",
]

# ------------------------------------------------------------------ reshape, transpose, broadcast


def _infer_reshape(x: Spec, *, shape: Shape) -> Spec:
    if math.prod(shape) != x.size:
        raise ShapeError(
            f"reshape: {x} has {x.size} elements, shape {shape} has {math.prod(shape)}; both must be equal"
        )
    return x.with_shape(shape)


def _infer_transpose(x: Spec, *, axes: Axes) -> Spec:
    if sorted(axes) != list(range(x.ndim)):
        raise ShapeError(f"transpose: {axes} is not a permutation of the {x.ndim} axes of {x}")
    return x.with_shape(tuple(x.shape[a] for a in axes))


def _infer_broadcast(x: Spec, *, shape: Shape) -> Spec:
    if broadcast_shapes(x.shape, shape) != shape:
        raise ShapeError(f"broadcast: {x} does not fit shape {shape}; only axes of size 1 stretch")
    return x.with_shape(shape)


def _vjp_broadcast(g: Expr, y: Expr, x: Expr, *, shape: Shape) -> tuple[Expr]:
    """Every copy of an element sends its cotangent back: the sum over the stretched axes."""
    lead = len(shape) - x.ndim
    axes = tuple(i for i in range(len(shape)) if i < lead or (x.shape[i - lead] == 1 and shape[i] != 1))
    total = apply(PRIMITIVES["sum"], g, axes=axes)  # by name, for the file of sums stands on this one
    return (reshape(total, x.shape),)


RESHAPE = Primitive(
    "reshape",
    infer=_infer_reshape,
    vjp=lambda g, y, x, *, shape: (reshape(g, x.shape),),
    reference=lambda x, *, shape: x.reshape(shape),
)
TRANSPOSE = Primitive(
    "transpose",
    infer=_infer_transpose,
    vjp=lambda g, y, x, *, axes: (transpose(g, [axes.index(i) for i in range(len(axes))]),),
    reference=lambda x, *, axes: x.transpose(axes),
)
BROADCAST = Primitive(
    "broadcast",
    infer=_infer_broadcast,
    vjp=_vjp_broadcast,
    reference=lambda x, *, shape: np.broadcast_to(x, shape),
)
SAMPLES[RESHAPE] = [case((3, 4), shape=(2, 6)), case((1,), shape=()), case((0, 4), shape=(2, 0))]
SAMPLES[TRANSPOSE] = [case((2, 3, 4), axes=(2, 0, 1)), case((), axes=())]
SAMPLES[BROADCAST] = [case((3, 1), shape=(2, 3, 4)), case((), shape=(2,)), case((1,), shape=(0,))]


def reshape(x: Expr, shape: int | Iterable[int]) -> Expr:
    """The same elements in row-major order; one size may be −1."""
    sizes = [shape] if isinstance(shape, int) else list(shape)
    if sizes.count(-1) == 1:
        known = math.prod(n for n in sizes if n != -1)
        if known == 0 or x.size % known:
            raise ShapeError(f"reshape: {x.spec} does not fill shape {tuple(sizes)}")
        sizes[sizes.index(-1)] = x.size // known
    target = as_shape(sizes)
    return x if x.shape == target else apply(RESHAPE, x, shape=target)


def transpose(x: Expr, axes: Sequence[int] | None = None) -> Expr:
    """Axes in another order; without ``axes`` the last two change places."""
    if axes is None:
        if x.ndim < 2:
            return x
        axes = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)
    order = tuple(a % x.ndim if -x.ndim <= a < x.ndim else a for a in axes)
    return x if order == tuple(range(x.ndim)) else apply(TRANSPOSE, x, axes=order)


def broadcast(x: Expr, shape: int | Iterable[int]) -> Expr:
    """Stretch axes of size 1 (and add leading ones) up to ``shape``."""
    target = as_shape(shape)
    return x if x.shape == target else apply(BROADCAST, x, shape=target)


def expand(x: Expr, axis: int) -> Expr:
    """A new axis of size 1 at position ``axis``."""
    place = axis if axis >= 0 else x.ndim + 1 + axis
    if not 0 <= place <= x.ndim:
        raise ShapeError(f"expand: no position {axis} in {x.spec}")
    return reshape(x, (*x.shape[:place], 1, *x.shape[place:]))


def squeeze(x: Expr, axis: int) -> Expr:
    """Without the axis, whose size must be 1."""
    (place,) = normalize_axes(axis, x.ndim, "squeeze")
    if x.shape[place] != 1:
        raise ShapeError(f"squeeze: axis {axis} of {x.spec} has size {x.shape[place]}, not 1")
    return reshape(x, x.shape[:place] + x.shape[place + 1 :])


# ------------------------------------------------------------------ slice and pad: each the other's gradient


def _infer_slice(x: Spec, *, starts: Shape, stops: Shape, steps: Shape) -> Spec:
    if not len(starts) == len(stops) == len(steps) == x.ndim:
        raise ShapeError(f"slice: {len(starts)} ranges for the {x.ndim} axes of {x}")
    for axis, (a, b, s, n) in enumerate(zip(starts, stops, steps, x.shape, strict=True)):
        if not (0 <= a <= b <= n and s >= 1):
            raise ShapeError(f"slice: {a}:{b}:{s} does not lie in axis {axis} of {x}")
    return x.with_shape(tuple(-(-(b - a) // s) for a, b, s in zip(starts, stops, steps, strict=True)))


def _vjp_slice(g: Expr, y: Expr, x: Expr, *, starts: Shape, stops: Shape, steps: Shape) -> tuple[Expr]:
    """The cotangent goes back to its places, with zeros before, between and after."""
    used = [(m - 1) * s + 1 if m else 0 for m, s in zip(y.shape, steps, strict=True)]
    after = [n - a - u for n, a, u in zip(x.shape, starts, used, strict=True)]
    return (pad(g, starts, after, [s - 1 for s in steps]),)


def _infer_pad(x: Spec, *, before: Shape, after: Shape, between: Shape) -> Spec:
    if (
        not len(before) == len(after) == len(between) == x.ndim
        or min((*before, *after, *between), default=0) < 0
    ):
        raise ShapeError(f"pad: one non-negative size per axis of {x}, got {before}, {after}, {between}")
    sizes = zip(x.shape, before, after, between, strict=True)
    return x.with_shape(tuple(a + b + n + max(n - 1, 0) * i for n, a, b, i in sizes))


def _pad(x: npt.NDArray[Any], *, before: Shape, after: Shape, between: Shape) -> npt.NDArray[Any]:
    out = np.zeros(
        _infer_pad(Spec(x.shape, x.dtype), before=before, after=after, between=between).shape, x.dtype
    )
    sizes = zip(before, x.shape, between, strict=True)
    out[tuple(slice(a, a + n + max(n - 1, 0) * i, i + 1) for a, n, i in sizes)] = x
    return out


def _vjp_pad(g: Expr, y: Expr, x: Expr, *, before: Shape, after: Shape, between: Shape) -> tuple[Expr]:
    stops = [n - b for n, b in zip(y.shape, after, strict=True)]
    return (slice_axes(g, before, stops, [i + 1 for i in between]),)


SLICE = Primitive(
    "slice",
    infer=_infer_slice,
    vjp=_vjp_slice,
    reference=lambda x, *, starts, stops, steps: x[tuple(map(slice, starts, stops, steps))],
)
PAD = Primitive("pad", infer=_infer_pad, vjp=_vjp_pad, reference=_pad)
SAMPLES[SLICE] = [
    case((5, 6), starts=(1, 0), stops=(4, 6), steps=(1, 2)),
    case((7,), starts=(1,), stops=(7,), steps=(3,)),
    case((4,), starts=(2,), stops=(2,), steps=(3,)),
]
SAMPLES[PAD] = [
    case((2, 3), before=(1, 0), after=(0, 2), between=(0, 1)),
    case((0,), before=(2,), after=(1,), between=(3,)),
]


def slice_axes(x: Expr, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]) -> Expr:
    """``x[starts[0]:stops[0]:steps[0], …]`` with explicit non-negative bounds for every axis."""
    return apply(SLICE, x, starts=tuple(starts), stops=tuple(stops), steps=tuple(steps))


def pad(x: Expr, before: Sequence[int], after: Sequence[int], between: Sequence[int] | None = None) -> Expr:
    """Zeros before, after and between the elements of every axis."""
    gaps = tuple(between) if between is not None else (0,) * x.ndim
    return apply(PAD, x, before=tuple(before), after=tuple(after), between=gaps)


# ------------------------------------------------------------------ concat, split, flip


def _infer_concat(*xs: Spec, axis: int) -> Spec:
    first = xs[0]
    if not 0 <= axis < first.ndim:
        raise ShapeError(f"concat: no axis {axis} in {first}")
    if any(x.dtype != first.dtype for x in xs):
        raise DTypeError(f"concat: {', '.join(map(str, xs))} differ in dtype; use ops.cast")
    rest = [x.shape[:axis] + x.shape[axis + 1 :] for x in xs]
    if any(r != rest[0] for r in rest):
        raise ShapeError(f"concat: {', '.join(map(str, xs))} differ in an axis other than {axis}")
    return first.with_shape((*first.shape[:axis], sum(x.shape[axis] for x in xs), *first.shape[axis + 1 :]))


def _vjp_concat(g: Expr, y: Expr, *xs: Expr, axis: int) -> tuple[Expr, ...]:
    return tuple(split(g, [x.shape[axis] for x in xs], axis))


CONCAT = Primitive(
    "concat", infer=_infer_concat, vjp=_vjp_concat, reference=lambda *xs, axis: np.concatenate(xs, axis)
)
FLIP = Primitive(
    "flip",
    infer=lambda x, *, axes: x,
    vjp=lambda g, y, x, *, axes: (flip(g, axes),),
    reference=lambda x, *, axes: np.flip(x, axes),
)
SAMPLES[CONCAT] = [case((2, 3), (2, 1), axis=1), case((2,), (0,), (3,), axis=0)]
SAMPLES[FLIP] = [case((3, 4), axes=(0, 1)), case((0,), axes=(0,))]


def concat(xs: Sequence[Expr], axis: int = 0) -> Expr:
    """Arrays one after another along an axis."""
    if not xs:
        raise ShapeError("concat: no arrays given")
    (place,) = normalize_axes(axis, xs[0].ndim, "concat")
    return xs[0] if len(xs) == 1 else apply(CONCAT, *xs, axis=place)


def stack(xs: Sequence[Expr], axis: int = 0) -> Expr:
    """Arrays of one shape along a new axis."""
    return concat([expand(x, axis) for x in xs], axis)


def split(x: Expr, sizes: Sequence[int], axis: int = 0) -> list[Expr]:
    """Consecutive parts of the given sizes along an axis."""
    (place,) = normalize_axes(axis, x.ndim, "split")
    if sum(sizes) != x.shape[place]:
        raise ShapeError(f"split: sizes {list(sizes)} do not add up to axis {axis} of {x.spec}")
    parts, start = [], 0
    before, after = (0,) * place, (0,) * (x.ndim - place - 1)
    for n in sizes:
        starts, stops = (*before, start, *after), (*x.shape[:place], start + n, *x.shape[place + 1 :])
        parts.append(x if n == x.shape[place] else slice_axes(x, starts, stops, (1,) * x.ndim))
        start += n
    return parts


def flip(x: Expr, axes: int | Iterable[int] | None = None) -> Expr:
    """The elements in reverse order along the axes."""
    places = normalize_axes(axes, x.ndim, "flip")
    return apply(FLIP, x, axes=places) if places else x
