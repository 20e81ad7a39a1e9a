"""Layers made of layers, and those that only change an input's form."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chainrule.errors import ConfigError, ShapeError, nearest
from chainrule.graph.expr import Expr
from chainrule.nn.fields import check_choice, check_name, check_number, check_path
from chainrule.nn.layer import Layer, Step, check_step, floating, need_axes, single, step_name
from chainrule.nn.run import Run
from chainrule.ops import concat, reshape

__all__ = [
    "Flatten",
    "Parallel",
    "Rescale",
    "Reshape",
    "Residual",
    "Sequential",
    "Shared",
    "parallel",
    "sequential",
]

Named = tuple[tuple[str, Step], ...]

# ------------------------------------------------------------------ one after another


@dataclass(frozen=True)
class Sequential(Layer):
    """Steps one after another, under their names  y = fₙ(… f₂(f₁(x))). Without steps it is the identity.

    :func:`sequential` makes one and invents the names.

    >>> from chainrule import nn, ops
    >>> body = Sequential((("hidden", nn.Dense(3)), ("act", ops.relu), ("out", nn.Dense(2))))
    >>> list(nn.trace(body, ops.input("x", (5, 4)), training=True)[1].parameters)
    ['hidden/W', 'hidden/b', 'out/W', 'out/b']
    """

    steps: Named

    def __post_init__(self) -> None:
        _check_named(self, "steps")

    def __call__(self, x: Any, run: Run) -> Any:
        for name, step in self.steps:
            x = run.apply(name, step, x)
        return x


def sequential(*layers: Step, **named: Step) -> Sequential:
    """Steps one after another; those without a name are numbered per type, named ones come last.

    >>> from chainrule import nn, ops
    >>> [name for name, _ in sequential(nn.Dense(3), ops.relu, nn.Dense(2), head=nn.Dense(1)).steps]
    ['dense_0', 'relu_0', 'dense_1', 'head']
    """
    return Sequential((*_numbered(layers), *named.items()))


def _numbered(layers: Iterable[Step]) -> Named:
    """``dense_0``, ``relu_0``, ``dense_1`` …: unnamed steps with their names."""
    counts: dict[str, int] = {}
    found = []
    for place, step in enumerate(layers):
        check_step(step, f"step {place}")
        kind = step_name(step)
        number = counts[kind] = counts.get(kind, -1) + 1
        found.append((f"{kind}_{number}", step))
    return tuple(found)


def _check_named(owner: Layer, field: str) -> None:
    """A tuple of (name, step) with distinct names."""
    title, pairs = type(owner).__name__, getattr(owner, field)
    if not isinstance(pairs, tuple) or not all(isinstance(p, tuple) and len(p) == 2 for p in pairs):
        raise ConfigError(
            f"{title}: {field} is a tuple of (name, step), got {pairs!r}; nn.{title.lower()}(…) makes it"
        )
    for name, step in pairs:
        check_name(name, title)
        check_step(step, f"{title}: {name!r}")
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(
            f"{title}: the name {twice[0]!r} is given twice; nn.Shared uses one layer in two places"
        )


# ------------------------------------------------------------------ side by side


@dataclass(frozen=True)
class Parallel(Layer):
    """Branches side by side, joined.   :func:`parallel` makes one from keywords.

    Given one array, every branch receives it. Given a dict, each branch receives the entry of its own name:
    several inputs.

    join  "concat": one array, the outputs one after another along the last axis;  "sum": their sum;
          "dict": all of them by name: several outputs, each with its own loss

    ConfigError where a dict and the branches differ in names; ShapeError where outputs do not fit together.

    >>> from chainrule import nn, ops
    >>> both = parallel(size=nn.Dense(2), city=nn.Embedding(100, 3))
    >>> x = {"size": ops.input("size", (5, 1)), "city": ops.input("city", (5,), "int64")}
    >>> nn.trace(both, x, training=True)[0].shape
    (5, 5)
    """

    branches: Named
    join: str = "concat"

    def __post_init__(self) -> None:
        _check_named(self, "branches")
        check_choice(self, "join", ("concat", "sum", "dict"))
        if not self.branches:
            raise ConfigError("Parallel: at least one branch is needed")

    def __call__(self, x: Any, run: Run) -> Any:
        names = [name for name, _ in self.branches]
        given = {n for n in x if not _counts(n, x)} if isinstance(x, Mapping) else set(names)
        if odd := given ^ set(names):
            name = min(odd)
            lacking = "branch" if name in given else "input"
            known = names if name in given else given
            raise ConfigError(f"Parallel: there is no {lacking} {name!r}; {nearest(name, known)}")
        found = {n: run.apply(n, step, _entry(x, n)) for n, step in self.branches}
        return found if self.join == "dict" else self._joined({n: single(self, y) for n, y in found.items()})

    def _joined(self, found: dict[str, Expr]) -> Expr:
        ys, whole = list(found.values()), self.join == "sum"
        parts = {y.shape if whole else (*y.shape[:-1], "any") for y in ys}  # what must agree
        if len(parts) > 1 or (not whole and ys[0].ndim < 2):
            shapes = ", ".join(f"{name} {y.shape}" for name, y in found.items())
            raise ShapeError(
                f"Parallel: outputs {shapes} do not fit for {self.join!r}; nn.Flatten() may help"
            )
        return functools.reduce(operator.add, ys) if whole else concat(ys, -1)


def _counts(name: str, x: Mapping[str, Any]) -> bool:
    """Whether an entry holds the lengths of another."""
    return name.endswith("/lengths") and name.removesuffix("/lengths") in x


def _entry(x: Any, name: str) -> Any:
    """What a branch is given: its own entry, with lengths where it has some."""
    if not isinstance(x, Mapping):
        return x
    lengths = x.get(f"{name}/lengths")
    return x[name] if lengths is None else {"x": x[name], "x/lengths": lengths}


def parallel(*, join: str = "concat", **branches: Step) -> Parallel:
    """Branches side by side by name; see :class:`Parallel`.

    >>> from chainrule import nn, ops
    >>> heads = parallel(mean=nn.Dense(1), log_scale=nn.Dense(1), join="dict")
    >>> y, _ = nn.trace(heads, ops.input("x", (5, 4)), training=True)
    >>> {name: node.shape for name, node in y.items()}
    {'mean': (5, 1), 'log_scale': (5, 1)}
    """
    return Parallel(tuple(branches.items()), join)


@dataclass(frozen=True)
class Residual(Layer):
    """A body with a way around it  y = shortcut(x) + body(x).    x (batch, …) → y as the body gives

    He, Zhang, Ren & Sun 2016, arXiv:1512.03385, eq. 1-2. Without a shortcut x itself is added.

    ShapeError where the two do not have one shape: they are never broadcast.

    >>> from chainrule import nn, ops
    >>> block = Residual(nn.sequential(nn.Dense(4), ops.relu, nn.Dense(4)))
    >>> list(nn.trace(block, ops.input("x", (5, 4)), training=True)[1].parameters)
    ['body/dense_0/W', 'body/dense_0/b', 'body/dense_1/W', 'body/dense_1/b']
    """

    body: Step
    shortcut: Step | None = None

    def __post_init__(self) -> None:
        check_step(self.body, "Residual: body")
        if self.shortcut is not None:
            check_step(self.shortcut, "Residual: shortcut")

    def __call__(self, x: Any, run: Run) -> Expr:
        x = floating(self, x, run.dtype)
        y = single(self, run.apply("body", self.body, x))
        way = x if self.shortcut is None else single(self, run.apply("shortcut", self.shortcut, x))
        if way.shape != y.shape:
            remedy = f"give shortcut=nn.Dense({y.shape[-1]}, bias=False)" if y.ndim else "keep the batch axis"
            raise ShapeError(f"Residual: the body gives {y.shape}, the way around it {way.shape}; {remedy}")
        return way + y


@dataclass(frozen=True)
class Shared(Layer):
    """A layer that is used in several places of a network with one set of parameters, and counts once.

    Its parameters lie at ``name``, counted from the root of the network, wherever it stands; every Shared
    with that name uses them, and their gradient is the sum over the places.

    ShapeError where the inputs of two places differ in features.

    >>> from chainrule import nn, ops
    >>> block = nn.Shared("block", nn.Dense(4))
    >>> net = nn.sequential(block, ops.relu, block, nn.Dense(2))
    >>> list(nn.trace(net, ops.input("x", (5, 4)), training=True)[1].parameters)
    ['block/W', 'block/b', 'dense_0/W', 'dense_0/b']
    """

    name: str
    layer: Step

    def __post_init__(self) -> None:
        check_path(self.name, "Shared: name")
        check_step(self.layer, "Shared: layer")

    def __call__(self, x: Any, run: Run) -> Any:
        with run.shared(f"/{self.name}"):
            return run.apply(self.name.rpartition("/")[2], self.layer, x)


# ------------------------------------------------------------------ only another form


@dataclass(frozen=True)
class Flatten(Layer):
    """All axes but the first become one.    x (batch, a, b, …) → y (batch, a·b·…), in row-major order

    (batch,) becomes (batch, 1). The dtype stays.

    >>> from chainrule import nn, ops
    >>> nn.trace(Flatten(), ops.input("x", (5, 28, 28), "uint8"), training=True)[0]
    <Expr reshape uint8[5, 784]>
    """

    def __call__(self, x: Any, run: Run) -> Expr:
        x = single(self, x)
        need_axes(self, x, 1, "(batch, …)")
        return reshape(x, (x.shape[0], math.prod(x.shape[1:])))


@dataclass(frozen=True)
class Reshape(Layer):
    """Another form of every sample.    x (batch, …) → y (batch, *shape), in row-major order; the dtype stays.

    ShapeError where a sample has another number of elements.

    >>> from chainrule import nn, ops
    >>> nn.trace(Reshape((28, 28, 1)), ops.input("x", (5, 784), "uint8"), training=True)[0]
    <Expr reshape uint8[5, 28, 28, 1]>
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.shape, tuple) or any(type(n) is not int or n < 1 for n in self.shape):
            raise ConfigError(f"Reshape: shape is a tuple of sizes, such as (28, 28, 1), got {self.shape!r}")

    def __call__(self, x: Any, run: Run) -> Expr:
        x = single(self, x)
        need_axes(self, x, 1, "(batch, …)")
        held, wanted = math.prod(x.shape[1:]), math.prod(self.shape)
        if held != wanted:
            raise ShapeError(
                f"Reshape: a sample {x.shape[1:]} has {held} elements, {self.shape} needs {wanted}"
            )
        return reshape(x, (x.shape[0], *self.shape))


@dataclass(frozen=True)
class Rescale(Layer):
    """A fixed affine map  y = scale·x + offset, in the network's dtype.    y has x's shape

    The default turns uint8 images 0 … 255 into 0 … 1; they stay bytes until then.

    >>> from chainrule import nn, ops
    >>> nn.trace(Rescale(), ops.input("x", (5, 784), "uint8"), training=True)[0].dtype.name
    'float32'
    """

    scale: float = 1 / 255
    offset: float = 0.0

    def __post_init__(self) -> None:
        check_number(self, "scale")
        check_number(self, "offset")

    def __call__(self, x: Any, run: Run) -> Expr:
        y = floating(self, x, run.dtype) * self.scale
        return y + self.offset if self.offset else y
