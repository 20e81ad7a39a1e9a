"""Expr: a node of an immutable graph. Building one computes nothing; it only infers a shape and a dtype."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, ConfigError, ShapeError
from chainrule.graph.primitive import Primitive
from chainrule.spec import Shape, Spec, as_dtype

__all__ = [
    "CALL",
    "CONSTANT",
    "INPUT",
    "ITEM",
    "OPERATORS",
    "Expr",
    "Graph",
    "Origin",
    "apply",
    "call",
    "constant",
    "input",
    "item",
    "origin_of",
    "rebuild",
    "scope",
    "substitute",
    "toposort",
]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a node comes from: the layer's path, the operation that the user called, the user's line."""

    path: str = ""
    operation: str = ""
    line: str = ""

    def __str__(self) -> str:
        layer = f"layer {self.path!r}" if self.path else ""
        return ", ".join(part for part in (layer, self.operation, self.line) if part)


_origin: ContextVar[Origin | None] = ContextVar("chainrule_origin", default=None)
_PACKAGE = __name__.partition(".")[0]


def _user_line() -> str:
    """``file:line`` of the innermost frame outside chainrule."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] != _PACKAGE:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


@contextlib.contextmanager
def scope(path: str | None = None, *, operation: str = "", origin: Origin | None = None) -> Iterator[Origin]:
    """Nodes made inside carry this origin: a layer's path, an operation's name, or a whole origin as it is."""
    outer = _origin.get()
    if origin is None:
        inherited = outer or Origin(line=_user_line())
        origin = Origin(inherited.path if path is None else path, operation or inherited.operation, inherited.line)
    token = _origin.set(origin)
    try:
        yield origin
    finally:
        _origin.reset(token)


def origin_of(primitive: Primitive) -> Origin:
    """The origin that a node made now receives."""
    outer = _origin.get()
    if outer is None:
        return Origin("", primitive.name, _user_line())
    return outer if outer.operation else Origin(outer.path, primitive.name, outer.line)


OPERATORS: dict[str, Callable[..., Expr]] = {}
"""What ``x + y``, ``x @ y``, ``x[…]`` … call; filled by :mod:`chainrule.ops`, which stands above this room."""


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
            raise ShapeError(f"{self.primitive.name} has {len(self.outputs)} outputs; take one with item(node, index)")
        return self.outputs[0]

    @property
    def shape(self) -> Shape:
        return self.spec.shape

    @property
    def dtype(self) -> np.dtype:
        return self.spec.dtype

    @property
    def ndim(self) -> int:
        return len(self.spec.shape)

    @property
    def size(self) -> int:
        return self.spec.size

    @property
    def T(self) -> Expr:
        return OPERATORS["transpose"](self)

    def __repr__(self) -> str:
        return f"<Expr {self.primitive.name} {', '.join(map(str, self.outputs))}>"

    def __bool__(self) -> bool:
        raise ConfigError("a graph node has no truth value while the graph is built; use ops.where(condition, a, b)")

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
    """A graph closed over its inputs: the body of CALL, and later of scan."""

    inputs: tuple[Expr, ...]
    outputs: tuple[Expr, ...]


# ------------------------------------------------------------------ building


def apply(primitive: Primitive, *inputs: Expr, **meta: Any) -> Expr:
    """A new node. What ``infer`` refuses is raised here, with the origin in the message."""
    origin = origin_of(primitive)
    try:
        found = primitive.infer(*[x.outputs[0] if len(x.outputs) == 1 else x.outputs for x in inputs], **meta)
    except ChainruleError as error:
        place = str(origin)
        if place and place not in str(error):
            raise type(error)(f"{error}\n  in {place}") from None
        raise
    outputs = (found,) if isinstance(found, Spec) else tuple(found)
    return Expr(primitive, inputs, meta, outputs, origin)


def input(name: str, shape: Sequence[int] = (), dtype: Any = "float32") -> Expr:
    """A value given when the graph is run.

    >>> input("x", (100, 784))
    <Expr input float32[100, 784]>
    """
    return apply(INPUT, name=name, spec=Spec(tuple(shape), as_dtype(dtype)))


def constant(value: Any, dtype: Any = None) -> Expr:
    """A value known while the graph is built. Python floats give float32, Python integers int64."""
    if dtype is None:
        dtype = np.asarray(value).dtype if isinstance(value, np.ndarray | np.generic) else None
        if dtype is None:
            kind = np.asarray(value).dtype.kind
            dtype = {"b": "bool", "i": "int64", "f": "float32"}.get(kind, np.asarray(value).dtype)
    array = np.array(value, dtype=as_dtype(dtype))
    array.flags.writeable = False
    return apply(CONSTANT, value=array)


def item(node: Expr, index: int) -> Expr:
    """One output of a node that has several."""
    return apply(ITEM, node, index=index) if len(node.outputs) > 1 else node


def call(graph: Graph, *inputs: Expr, gradient: Graph | None = None) -> tuple[Expr, ...]:
    """Run a subgraph as one node. ``gradient``, if given, is its own gradient:
    a graph from (cotangents of the outputs…, inputs…) to the cotangents of the inputs."""
    node = apply(CALL, *inputs, graph=graph, gradient=gradient)
    return tuple(item(node, i) for i in range(len(node.outputs)))


# ------------------------------------------------------------------ walking


def toposort(outputs: Iterable[Expr]) -> list[Expr]:
    """Every node that the outputs need, each after its inputs; without recursion, so depth is no limit."""
    order: list[Expr] = []
    seen: set[Expr] = set()
    stack: list[tuple[Expr, bool]] = [(x, False) for x in reversed(list(outputs))]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((x, False) for x in reversed(node.inputs) if x not in seen)
    return order


def rebuild(node: Expr, inputs: tuple[Expr, ...]) -> Expr:
    """The same operation on other inputs, with the origin kept; the node itself where nothing changed."""
    if all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
        return node
    with scope(origin=node.origin):
        return apply(node.primitive, *inputs, **node.meta)


def substitute(outputs: Sequence[Expr], replacements: Mapping[Expr, Expr]) -> list[Expr]:
    """The same graph with some nodes replaced by others."""
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
    expected = tuple(x.spec for x in graph.inputs)
    if specs != expected:
        raise ShapeError(
            f"call: the subgraph takes ({', '.join(map(str, expected))}), got ({', '.join(map(str, specs))})"
        )
    return tuple(y.spec for y in graph.outputs)


INPUT = Primitive("input", infer=lambda *, name, spec: spec)
CONSTANT = Primitive("constant", infer=lambda *, value: Spec(value.shape, value.dtype), reference=lambda *, value: value)
ITEM = Primitive("item", infer=_infer_item, reference=lambda outputs, *, index: outputs[index])
CALL = Primitive("call", infer=_infer_call)
