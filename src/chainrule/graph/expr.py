"""Expr: a node of an immutable graph. Building one computes nothing; it only infers a shape and a dtype."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import ChainruleError, ConfigError, DTypeError, ShapeError
from chainrule.graph.origin import Origin, locate, origin_of, scope
from chainrule.graph.primitive import Primitive
from chainrule.spec import DTYPES, DType, Shape, Spec, as_dtype, as_shape

__all__ = [
    "CALL",
    "CONSTANT",
    "INPUT",
    "ITEM",
    "OPERATORS",
    "Expr",
    "Graph",
    "apply",
    "call",
    "constant",
    "input",
    "item",
    "rebuild",
    "substitute",
    "toposort",
]


OPERATORS: dict[str, Callable[..., Expr]] = {}
"""What ``x + y``, ``x @ y``, ``x[…]`` … call; filled by chainrule.ops, which stands above this room."""


class Expr:
    """A primitive, its inputs, its metadata and the inferred types of its outputs. Never changed once built.

    Equality and hashing are identity: two nodes that mean the same are merged by :mod:`chainrule.passes`.
    """

    __slots__ = ("__weakref__", "inputs", "meta", "origin", "outputs", "primitive")
    __array_ufunc__ = None  # so that ndarray + Expr asks Expr

    primitive: Primitive
    inputs: tuple[Expr, ...]
    meta: Mapping[str, Any]
    outputs: tuple[Spec, ...]
    origin: Origin

    def __init__(
        self,
        primitive: Primitive,
        inputs: tuple[Expr, ...],
        meta: Mapping[str, Any],
        outputs: tuple[Spec, ...],
        origin: Origin,
    ) -> None:
        self.primitive, self.inputs, self.meta = primitive, inputs, meta
        self.outputs, self.origin = outputs, origin

    @property
    def spec(self) -> Spec:
        if len(self.outputs) != 1:
            raise ShapeError(
                f"{self.primitive.name} has {len(self.outputs)} outputs; take one with item(node, index)"
            )
        return self.outputs[0]

    @property
    def shape(self) -> Shape:
        return self.outputs[0].shape if len(self.outputs) == 1 else self.spec.shape  # asked for most of all

    @property
    def dtype(self) -> DType:
        return self.outputs[0].dtype if len(self.outputs) == 1 else self.spec.dtype

    @property
    def ndim(self) -> int:
        return len(self.spec.shape)

    @property
    def size(self) -> int:
        return self.spec.size

    @property
    def T(self) -> Expr:
        """The last two axes exchanged, so a stack of matrices stays a stack."""
        return OPERATORS["transpose"](self)

    def __repr__(self) -> str:
        return f"<Expr {self.primitive.name} {', '.join(map(str, self.outputs))}>"

    def __bool__(self) -> bool:
        raise ConfigError(
            "a graph node has no truth value while the graph is built; use ops.where(condition, a, b)"
        )

    def __iter__(self) -> Iterator[Expr]:
        raise ConfigError("a graph node cannot be iterated over; index it (x[i]) or use ops.split")

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("a scalar has no length")
        return self.shape[0]

    def __neg__(self) -> Expr:
        return OPERATORS["neg"](self)

    def __abs__(self) -> Expr:
        return OPERATORS["abs"](self)

    def __invert__(self) -> Expr:
        return OPERATORS["logical_not"](self)

    def __add__(self, other: Any) -> Expr:
        return OPERATORS["add"](self, other)

    def __radd__(self, other: Any) -> Expr:
        return OPERATORS["add"](other, self)

    def __sub__(self, other: Any) -> Expr:
        return OPERATORS["sub"](self, other)

    def __rsub__(self, other: Any) -> Expr:
        return OPERATORS["sub"](other, self)

    def __mul__(self, other: Any) -> Expr:
        return OPERATORS["mul"](self, other)

    def __rmul__(self, other: Any) -> Expr:
        return OPERATORS["mul"](other, self)

    def __truediv__(self, other: Any) -> Expr:
        return OPERATORS["div"](self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return OPERATORS["div"](other, self)

    def __pow__(self, other: Any) -> Expr:
        return OPERATORS["pow"](self, other)

    def __rpow__(self, other: Any) -> Expr:
        return OPERATORS["pow"](other, self)

    def __matmul__(self, other: Any) -> Expr:
        return OPERATORS["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Expr:
        return OPERATORS["matmul"](other, self)

    def __lt__(self, other: Any) -> Expr:
        return OPERATORS["less"](self, other)

    def __le__(self, other: Any) -> Expr:
        return OPERATORS["less_equal"](self, other)

    def __gt__(self, other: Any) -> Expr:
        return OPERATORS["less"](other, self)

    def __ge__(self, other: Any) -> Expr:
        return OPERATORS["less_equal"](other, self)

    def __and__(self, other: Any) -> Expr:
        return OPERATORS["logical_and"](self, other)

    def __or__(self, other: Any) -> Expr:
        return OPERATORS["logical_or"](self, other)

    def __getitem__(self, key: Any) -> Expr:
        return OPERATORS["getitem"](self, key)


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph closed over its inputs, which are INPUT nodes: the body of CALL, and later of scan."""

    inputs: tuple[Expr, ...]
    outputs: tuple[Expr, ...]

    def __post_init__(self) -> None:
        if any(x.primitive is not INPUT for x in self.inputs) or len(set(self.inputs)) != len(self.inputs):
            raise ConfigError("a subgraph's inputs must be distinct input nodes, made by ops.input")
        known = set(self.inputs)
        for node in toposort(self.outputs):
            if node.primitive is INPUT and node not in known:
                raise ConfigError(
                    f"a subgraph uses the input {node.meta['name']!r}, which is not among its own: pass it in"
                )


# ------------------------------------------------------------------ building


def apply(primitive: Primitive, *inputs: Expr, **meta: Any) -> Expr:
    """A new node. What ``infer`` refuses is raised here, with the origin in the message."""
    origin = origin_of(primitive.name)
    try:
        found = primitive.infer(*[x.outputs[0] if len(x.outputs) == 1 else x.outputs for x in inputs], **meta)
    except ChainruleError as error:
        locate(error, origin)
        raise
    return Expr(primitive, inputs, meta, (found,) if isinstance(found, Spec) else tuple(found), origin)


def input(name: str, shape: int | Iterable[int] = (), dtype: npt.DTypeLike = "float32") -> Expr:
    """A value given when the graph is run.

    >>> input("x", (100, 784))
    <Expr input float32[100, 784]>
    """
    return apply(INPUT, name=name, spec=Spec(as_shape(shape), as_dtype(dtype)))


def constant(value: Any, dtype: npt.DTypeLike | None = None) -> Expr:
    """A value known while the graph is built. Arrays keep their dtype, floats give float32, integers int64.

    Raises DTypeError where the dtype cannot hold the value.
    """
    target = as_dtype(_natural_dtype(value) if dtype is None else dtype)
    array = _scalar(value, target) if isinstance(value, bool | int | float) else _array(value, target)
    array.flags.writeable = False
    return apply(CONSTANT, value=array)


def _natural_dtype(value: Any) -> DType:
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype
    found = np.asarray(value).dtype
    return DTYPES["float32"] if found.kind == "f" else found


def _scalar(value: bool | int | float, dtype: DType) -> npt.NDArray[Any]:
    try:
        with np.errstate(over="ignore"):
            array = np.array(value, dtype)
        lost = isinstance(value, float) and (
            not np.isfinite(array)
            if dtype.kind == "f" and math.isfinite(value)
            else dtype.kind in "iu" and array != value
        )
    except (OverflowError, ValueError):
        lost = True
    if lost:
        raise DTypeError(f"{value!r} does not fit into {dtype.name}; use a wider dtype")
    return array


def _array(value: Any, dtype: DType) -> npt.NDArray[Any]:
    try:
        with np.errstate(over="raise", invalid="raise"):
            return np.array(value, dtype)
    except (FloatingPointError, OverflowError):
        raise DTypeError(
            f"an array has values that do not fit into {dtype.name}; use a wider dtype"
        ) from None


def item(node: Expr, index: int) -> Expr:
    """One output of a node that has several."""
    return apply(ITEM, node, index=index) if len(node.outputs) > 1 else node


def call(graph: Graph, *inputs: Expr, gradient: Graph | None = None) -> tuple[Expr, ...]:
    """Run a subgraph as one node. ``gradient``, if given, is its own gradient: a graph from
    (cotangents of the floating-point outputs…, inputs…) to the cotangents of the floating-point inputs."""
    node = apply(CALL, *inputs, graph=graph, gradient=gradient)
    return tuple(item(node, i) for i in range(len(node.outputs)))


# ------------------------------------------------------------------ walking


def toposort(outputs: Iterable[Expr]) -> list[Expr]:
    """Every node that the outputs need, each after its inputs; without recursion, so depth is no limit."""
    order: list[Expr] = []
    seen: set[Expr] = set()
    stack: list[Expr | None] = list(outputs)
    stack.reverse()
    while stack:
        node = stack.pop()
        if node is None:  # the inputs of the node below have all been seen
            order.append(stack.pop())  # type: ignore[arg-type]
        elif node not in seen:
            seen.add(node)
            if not node.inputs:
                order.append(node)
                continue
            stack += (node, None)
            stack += [x for x in reversed(node.inputs) if x not in seen]
    return order


def rebuild(node: Expr, inputs: tuple[Expr, ...]) -> Expr:
    """The same operation on other inputs, with the origin kept; the node itself where nothing changed."""
    if inputs == node.inputs:  # nodes are equal only to themselves
        return node
    if all(new.outputs == old.outputs for new, old in zip(inputs, node.inputs, strict=True)):
        return Expr(node.primitive, inputs, node.meta, node.outputs, node.origin)
    with scope(origin=node.origin):
        return apply(node.primitive, *inputs, **node.meta)


def substitute(outputs: Sequence[Expr], replacements: Mapping[Expr, Expr]) -> list[Expr]:
    """The same graph with some nodes replaced by others. Subgraphs are closed, so nothing in them changes."""
    for old, new in replacements.items():
        if old.outputs != new.outputs:
            raise ShapeError(f"substitute: {old!r} cannot be replaced by {new!r}")
    image: dict[Expr, Expr] = dict(replacements)
    for node in toposort(outputs):
        if node not in image:
            image[node] = rebuild(node, tuple(image[x] for x in node.inputs))
    return [image[x] for x in outputs]


# ------------------------------------------------------------------ the structural primitives


def _infer_item(outputs: tuple[Spec, ...], *, index: int) -> Spec:
    if not 0 <= index < len(outputs):
        raise ShapeError(f"item: no output {index} among {len(outputs)}")
    return outputs[index]


def _infer_call(*specs: Spec, graph: Graph, gradient: Graph | None) -> tuple[Spec, ...]:
    takes, gives = [x.spec for x in graph.inputs], [y.spec for y in graph.outputs]
    _agree("the subgraph takes", takes, specs)
    if gradient is not None:
        floating = [s for s in gives if s.dtype.kind == "f"]
        _agree("its gradient must take", [*floating, *takes], [x.spec for x in gradient.inputs])
        wanted = [s for s in takes if s.dtype.kind == "f"]
        _agree("its gradient must give", wanted, [y.spec for y in gradient.outputs])
    return tuple(gives)


def _agree(what: str, wanted: Sequence[Spec], got: Sequence[Spec]) -> None:
    if list(wanted) != list(got):
        raise ShapeError(f"call: {what} ({', '.join(map(str, wanted))}), got ({', '.join(map(str, got))})")


INPUT = Primitive("input", infer=lambda *, name, spec: spec)
CONSTANT = Primitive(
    "constant", infer=lambda *, value: Spec(value.shape, value.dtype), reference=lambda *, value: value
)
ITEM = Primitive("item", infer=_infer_item, reference=lambda outputs, *, index: outputs[index])
CALL = Primitive("call", infer=_infer_call)
