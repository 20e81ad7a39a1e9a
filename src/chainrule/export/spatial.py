"""Borders, windows and convolutions in the operators of ONNX; rules as in ``primitives.py``."""

from __future__ import annotations

import math

import numpy as np

from chainrule.export.dynamic import Node, Size
from chainrule.export.emit import Emitter
from chainrule.ops.shape import PAD
from chainrule.ops.sliding import WINDOWS
from chainrule.spec import DTYPES

__all__ = ["conv", "fold", "pad", "windows"]

_INT64 = DTYPES["int64"]
_END = np.iinfo(np.int64).max  # of an axis, whatever its size


def pad(e: Emitter, node: Node, x: str) -> str:
    """Zeros between elements first: each becomes a row that is filled up, and the last row's zeros go."""
    zero = e.constant(0, node.dtype)
    sizes = list(node.inputs[0].shape)
    for axis, gap in enumerate(node.meta["between"]):
        if gap == 0 or sizes[axis] in (0, 1):
            continue
        n = sizes[axis]
        merged = Size((1 + gap) * n.per_row, (1 + gap) * n.fixed) if isinstance(n, Size) else (1 + gap) * n
        ends = [0] * (len(sizes) + 1) + [gap if i == axis + 1 else 0 for i in range(len(sizes) + 1)]
        column = e("Unsqueeze", x, e.integers([axis + 1]))
        filled = e("Pad", column, e.integers(ends), zero)
        split = [*sizes[: axis + 1], 1 + gap, *sizes[axis + 1 :]]
        sizes[axis] = merged
        joined = e.reshape(filled, split, sizes)
        x = e("Slice", joined, e.integers([0]), e.integers([-gap]), e.integers([axis]))
        sizes[axis] = Size(merged.per_row, merged.fixed - gap) if isinstance(merged, Size) else merged - gap
    ends = [*node.meta["before"], *node.meta["after"]]
    return e("Pad", x, e.shape(ends), zero) if any(n != 0 for n in ends) else x


def windows(e: Emitter, node: Node, x: str) -> str:
    """The places that each window picks, axis after axis; then the axes inside windows behind the others."""
    meta, n, first = node.meta, len(node.meta["sizes"]), node.meta["first"]
    counts = node.shape[first : first + n]
    for i in range(n):
        starts = np.arange(counts[i]) * meta["strides"][i]
        inside = np.arange(meta["sizes"][i]) * meta["dilations"][i]
        x = e("Gather", x, e.constant(starts[:, None] + inside, _INT64), axis=first + 2 * i)
    places, inner = range(first, first + 2 * n, 2), range(first + 1, first + 2 * n, 2)
    order = [*range(first), *places, *inner, *range(first + 2 * n, node.ndim)]
    return e("Transpose", x, perm=order) if n > 1 else x


def fold(e: Emitter, node: Node, y: str) -> str:
    """ScatterND that adds, into zeros, with the folded axes in front."""
    meta, first, n = node.meta, node.meta["first"], len(node.meta["space"])
    shape = node.inputs[0].shape
    counts, sizes = shape[first : first + n], shape[first + n : first + 2 * n]
    rest = [*range(first), *range(first + 2 * n, len(shape))]
    windows = [a for i in range(n) for a in (first + i, first + n + i)]
    places = np.zeros((), np.int64)
    for i in range(n):
        inside = np.arange(sizes[i]) * meta["dilations"][i]
        along = np.arange(counts[i])[:, None] * meta["strides"][i] + inside
        places = (places[..., None, None] * meta["space"][i]) + along
    sizes_of_rest = [shape[a] for a in rest]
    zero = e.onnx.numpy_helper.from_array(np.zeros(1, node.dtype))
    size = int(np.prod(meta["space"]))
    zeros = e("ConstantOfShape", e.shape([size, *sizes_of_rest]), value=zero)
    front = e("Transpose", y, perm=[*windows, *rest])
    x = e("ScatterND", zeros, e.constant(places[..., None], _INT64), front, reduction="add")
    x = e.reshape(x, [size, *sizes_of_rest], [*meta["space"], *sizes_of_rest])
    order = [*range(n, n + first), *range(n), *range(n + first, n + len(rest))]
    return e("Transpose", x, perm=order)


def conv(e: Emitter, node: Node, x: str, w: str) -> str:
    """Conv takes channels first, and neither gaps between elements nor negative borders: Pad and Slice make
    them. In float64, for which onnxruntime has no kernel, windows are multiplied."""
    meta, n, kernel = node.meta, node.ndim - 2, node.inputs[1]
    x = _bordered(e, node, x)
    if node.dtype == DTYPES["float64"]:
        return _multiplied(e, node, x, w)
    first = e("Transpose", x, perm=[0, n + 1, *range(1, n + 1)])
    turned = e("Transpose", w, perm=[n + 1, n, *range(n)])
    y = e(
        "Conv", first, turned, strides=list(meta["strides"]), dilations=list(meta["dilation"]),
        group=meta["groups"], kernel_shape=list(kernel.shape[:n]),
    )  # fmt: skip
    return e("Transpose", y, perm=[0, *range(2, n + 2), 1])


def _bordered(e: Emitter, node: Node, x: str) -> str:
    meta, given = node.meta, node.inputs[0]
    outer = [(0, 0), *meta["padding"], (0, 0)]
    widened = {
        "before": tuple(max(a, 0) for a, _ in outer),
        "after": tuple(max(b, 0) for _, b in outer),
        "between": (0, *(s - 1 for s in meta["spread"]), 0),
    }
    wide = Node(PAD, (given,), widened, given.shape, given.dtype, node.origin)
    x = pad(e, wide, x)
    axes = [i for i, pair in enumerate(outer) if min(pair) < 0]
    if not axes:
        return x
    starts = [max(-outer[i][0], 0) for i in axes]
    stops = [min(outer[i][1], 0) or _END for i in axes]
    return e("Slice", x, e.integers(starts), e.integers(stops), e.integers(axes))


def _multiplied(e: Emitter, node: Node, x: str, w: str) -> str:
    """Of every group: (batch, places, kernel·channels) @ (kernel·channels, out)."""
    meta, n, kernel = node.meta, node.ndim - 2, node.inputs[1].shape
    rows, groups, channels = node.shape[0], meta["groups"], kernel[-2]
    counts, sizes = node.shape[1:-1], kernel[:n]
    whole = (rows, *counts, *sizes, channels * groups)
    cut = {"first": 1, "sizes": sizes, "strides": meta["strides"], "dilations": meta["dilation"]}
    seen = windows(e, Node(WINDOWS, (), cut, whole, node.dtype, node.origin), x)
    places, terms, out = math.prod(counts), math.prod(sizes), node.shape[-1] // groups
    split = e.reshape(seen, whole, [rows, places, terms, groups, channels])
    by_group = e("Transpose", split, perm=[0, 3, 1, 2, 4])
    left = e.reshape(
        by_group, [rows, groups, places, terms, channels], [rows, groups, places, terms * channels]
    )
    matrix = e.reshape(w, kernel, [terms * channels, groups, out])
    y = e("MatMul", left, e("Transpose", matrix, perm=[1, 0, 2]))
    behind = e("Transpose", y, perm=[0, 2, 1, 3])
    return e.reshape(behind, [rows, places, groups, out], node.shape)
