"""Initial values of parameters, made on the host from seed and name: the same on every executor.

n_in and n_out are the parameter's fans: how many inputs feed a unit, how many units an input feeds. For a
layer h = g(x W) with independent weights of mean 0, E[z²] = n_in·Var(w)·E[x²]; each scheme picks Var(w) so
that the second moment stays near 1 from layer to layer. Measured ratio E[h²]/E[x²] per layer of equal width:

================  ==============  ========  ======
scheme            Var(w)          linear    ReLU
================  ==============  ========  ======
Uniform()         1/(3 n_in)      1/3       1/6
LeCunNormal       1/n_in          1         1/2
Glorot            2/(n_in+n_out)  1         1/2
He                2/n_in          2         1
================  ==============  ========  ======
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import ConfigError, DataError, ShapeError, nearest
from chainrule.nn.fields import check_number
from chainrule.ops.random import path_key, philox
from chainrule.spec import Shape

__all__ = [
    "INITS",
    "Constant",
    "ConstantParts",
    "Fan",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Init",
    "LeCunNormal",
    "Normal",
    "Orthogonal",
    "Uniform",
    "Zeros",
    "check_init",
    "layer_sequential_unit_variance",
]

Array = npt.NDArray[Any]
Fan = tuple[int, int]
"""(n_in, n_out)"""


class Init(ABC):
    """How a parameter starts. Subclasses are frozen dataclasses with this one method."""

    @abstractmethod
    def sample(self, name: str, seed: int, shape: Shape, fan: Fan, dtype: np.dtype) -> Array:
        """The initial array, from the arguments alone. Two names, or two seeds, give independent draws."""


# ------------------------------------------------------------------ draws


def _words(name: str, seed: int, count: int, purpose: int) -> Array:
    """``count`` random words of 32 bits for one parameter."""
    path = path_key(f"initial:{name}")  # no layer's path holds a colon: its noise is independent
    key = (seed ^ path) & (1 << 64) - 1
    counter = np.zeros((4, -(-count // 4)), np.uint64)
    counter[0] = np.arange(counter.shape[1])
    counter[3] = purpose
    return philox(counter, (key & 0xFFFFFFFF, key >> 32)).T.reshape(-1)[:count]


def _unit(name: str, seed: int, count: int, dtype: np.dtype) -> Array:
    """Uniform in (0, 1), float64: 24 random bits for float32; 52 for float64, of which 24 are the same."""
    high = _words(name, seed, count, 0)
    if dtype.itemsize <= 4:
        return ((high >> np.uint64(8)).astype(np.float64) + 0.5) * 2.0**-24
    low = _words(name, seed, count, 1)
    return ((high << np.uint64(20) | low >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def _uniform(limit: float, name: str, seed: int, shape: Shape, dtype: np.dtype) -> Array:
    """U(−limit, limit)"""
    u = _unit(name, seed, math.prod(shape), dtype)
    return (limit * (2 * u - 1)).astype(dtype).reshape(shape)


def _standard_normal(name: str, seed: int, shape: Shape, dtype: np.dtype) -> Array:
    """N(0, 1) in float64, two from each pair of uniforms (Box & Muller 1958)."""
    size = math.prod(shape)
    u = _unit(name, seed, size + size % 2, dtype)
    radius, angle = np.sqrt(-2 * np.log(u[0::2])), 2 * math.pi * u[1::2]
    z = np.empty(u.size)
    np.multiply(radius, np.cos(angle), out=z[0::2])
    np.multiply(radius, np.sin(angle), out=z[1::2])
    return z[:size].reshape(shape)


def _normal(std: float, name: str, seed: int, shape: Shape, dtype: np.dtype) -> Array:
    """N(0, std²)"""
    return (std * _standard_normal(name, seed, shape, dtype)).astype(dtype)


# ------------------------------------------------------------------ schemes


@dataclass(frozen=True)
class Zeros(Init):
    """w = 0: right for biases; a trap for weights: with tanh or ReLU all their gradients are exactly 0.

    >>> Zeros().sample("b", 0, (3,), (3, 3), np.dtype("float32"))
    array([0., 0., 0.], dtype=float32)
    """

    def sample(self, name: str, seed: int, shape: Shape, fan: Fan, dtype: np.dtype) -> Array:
        return np.zeros(shape, dtype)


@dataclass(frozen=True)
class Constant(Init):
    """w = value: 0.1 is an option for the biases of ReLU units. Weights that start equal stay equal.

    >>> Constant(0.1).sample("b", 0, (2,), (2, 2), np.dtype("float64"))
    array([0.1, 0.1])
    """

    value: float

    def __post_init__(self) -> None:
        check_number(self, "value")

    def sample(self, name: str, seed: int, shape: Shape, fan: Fan, dtype: np.dtype) -> Array:
        return np.full(shape, self.value, dtype)


@dataclass(frozen=True)
class ConstantParts(Init):
    """Equal parts along the last axis, each filled with a number of its own: the biases of gates.

    >>> ConstantParts((0.0, 1.0)).sample("b", 0, (4,), (4, 4), np.dtype("float32")).tolist()
    [0.0, 0.0, 1.0, 1.0]
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = isinstance(self.values, tuple) and all(
            isinstance(v, int | float) and math.isfinite(v) for v in self.values
        )
        if not numbers or not self.values:
            raise ConfigError(f"ConstantParts: values must be a tuple of numbers, got {self.values!r}")

    def sample(self, name: str, seed: int, shape: Shape, fan: Fan, dtype: np.dtype) -> Array:
        if not shape or shape[-1] % len(self.values):
            raise ShapeError(
                f"ConstantParts: parameter {name!r} of shape {shape} has no {len(self.values)} equal parts"
            )
        part = np.repeat(np.array(self.values, dtype), shape[-1] // len(self.values))
        return np.broadcast_to(part, shape).copy()


@dataclass(frozen=True)
class Normal(Init):
    """w ~ N(0, std²); std is the standard deviation, not the variance.

    >>> w = Normal(std=0.01).sample("W", 0, (200, 200), (200, 200), np.dtype("float32"))
    >>> round(float(w.std()), 3)
    0.01
    """

    std: float = 0.01

    def __post_init__(self) -> None:
        check_number(self, "std", 0)

    def sample(self, name: str, seed: int, shape: Shape, fan: Fan, dtype: np.dtype) -> Array:
        return _normal(self.std, name, seed, shape, dtype)


@dataclass(frozen=True)
class Uniform(Init):
    """w ~ U(−limit, limit); without a limit it is 1/√n_in: Var(w) = 1/(3 n_in), so that signals shrink.

    The older rule of thumb, kept for comparison (Glorot & Bengio 2010, eq. 1).

    >>> w = Uniform().sample("W", 0, (4, 100), (4, 100), np.dtype("float32"))
    >>> bool(abs(w).max() <= 0.5)
    True
    """

    limit: float | None = None

    def __post_init__(self) -> None:
        if self.limit is not None:
            check_number(self, "limit", 0)

    def sample(self, name: str, seed: int, shape: Shape, fan: Fan, dtype: np.dtype) -> Array:
        limit = 1 / math.sqrt(max(fan[0], 1)) if self.limit is None else self.limit
        return _uniform(limit, name, seed, shape, dtype)


@dataclass(frozen=True)
class GlorotUniform(Init):
    """w ~ U(±√6/√(n_in + n_out)), variance 2/(n_in + n_out): for tanh, sigmoid and linear units.

    Glorot & Bengio 2010, eq. 16. With ReLU it halves the second moment at every layer: use He there.

    >>> w = GlorotUniform().sample("W", 0, (3, 3), (3, 3), np.dtype("float32"))
    >>> bool(abs(w).max() <= 1)
    True
    """

    def sample(self, name: str, seed: int, shape: Shape, fan: Fan, dtype: np.dtype) -> Array:
        return _uniform(math.sqrt(6 / max(sum(fan), 1)), name, seed, shape, dtype)


@dataclass(frozen=True)
class GlorotNormal(Init):
    """w ~ N(0, 2/(n_in + n_out)): the variance of Glorot & Bengio 2010, eq. 12.

    >>> w = GlorotNormal().sample("W", 0, (300, 100), (300, 100), np.dtype("float32"))
    >>> round(float(w.var()), 3)
    0.005
    """

    def sample(self, name: str, seed: int, shape: Shape, fan: Fan, dtype: np.dtype) -> Array:
        return _normal(math.sqrt(2 / max(sum(fan), 1)), name, seed, shape, dtype)


@dataclass(frozen=True)
class HeNormal(Init):
    """w ~ N(0, 2/n_in): keeps the second moment from layer to layer under ReLU.

    He, Zhang, Ren & Sun 2015, arXiv:1502.01852, eq. 10.

    >>> w = HeNormal().sample("W", 0, (200, 300), (200, 300), np.dtype("float32"))
    >>> round(float(w.var()), 3)
    0.01
    """

    def sample(self, name: str, seed: int, shape: Shape, fan: Fan, dtype: np.dtype) -> Array:
        return _normal(math.sqrt(2 / max(fan[0], 1)), name, seed, shape, dtype)


@dataclass(frozen=True)
class HeUniform(Init):
    """w ~ U(±√6/√n_in), variance 2/n_in: He et al. 2015 with a uniform draw.

    >>> w = HeUniform().sample("W", 0, (6, 50), (6, 50), np.dtype("float32"))
    >>> bool(abs(w).max() <= 1)
    True
    """

    def sample(self, name: str, seed: int, shape: Shape, fan: Fan, dtype: np.dtype) -> Array:
        return _uniform(math.sqrt(6 / max(fan[0], 1)), name, seed, shape, dtype)


@dataclass(frozen=True)
class LeCunNormal(Init):
    """w ~ N(0, 1/n_in): for linear units, SELU, Maxout of two pieces (LeCun et al. 1998, eq. 16).

    >>> w = LeCunNormal().sample("W", 0, (100, 300), (100, 300), np.dtype("float32"))
    >>> round(float(w.var()), 3)
    0.01
    """

    def sample(self, name: str, seed: int, shape: Shape, fan: Fan, dtype: np.dtype) -> Array:
        return _normal(1 / math.sqrt(max(fan[0], 1)), name, seed, shape, dtype)


@dataclass(frozen=True)
class Orthogonal(Init):
    """gain·Q with orthonormal columns (rows, where there are fewer of them): lengths are kept exactly.

    Saxe, McClelland & Ganguli 2014, arXiv:1312.6120. Q is drawn evenly from all rotations and reflections:
    the QR factor of a normal matrix whose R has a positive diagonal (Mezzadri 2007). Leading axes count as
    rows. Computed in float64; another build of LAPACK may differ in the last bit. ShapeError for fewer than
    two axes.

    >>> w = Orthogonal(gain=2.0).sample("W", 0, (5, 3), (5, 3), np.dtype("float64"))
    >>> bool(np.allclose(w.T @ w, 4 * np.eye(3)))
    True
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "gain")

    def sample(self, name: str, seed: int, shape: Shape, fan: Fan, dtype: np.dtype) -> Array:
        if len(shape) < 2:
            raise ShapeError(
                f"Orthogonal: parameter {name!r} has shape {shape}; a matrix is needed, use Normal(…) here"
            )
        columns = shape[-1]
        rows = math.prod(shape[:-1])
        z = _standard_normal(name, seed, (max(rows, columns), min(rows, columns)), np.dtype("float64"))
        q, r = np.linalg.qr(z)
        q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
        return (self.gain * (q if rows >= columns else q.T)).astype(dtype).reshape(shape)


INITS: dict[str, type[Init]] = {
    cls.__name__: cls
    for cls in (
        Zeros, Constant, ConstantParts, Normal, Uniform, GlorotUniform, GlorotNormal, HeNormal, HeUniform,
        LeCunNormal, Orthogonal,
    )
}  # fmt: skip
"""Every initialiser by the name under which a model file knows it."""


def check_init(owner: object, *fields: str) -> None:
    """The fields hold initialisers; ConfigError names the nearest one."""
    for field in fields:
        value = getattr(owner, field)
        if not isinstance(value, Init):
            name = getattr(value, "__name__", value)
            raise ConfigError(
                f"{type(owner).__name__}: {field} must be an initialiser such as HeNormal(), got {value!r}; "
                f"{nearest(name, INITS)}"
            )


# ------------------------------------------------------------------ from data


def layer_sequential_unit_variance(
    parameters: Mapping[str, Any],
    arrays: Mapping[str, Array],
    forward: Callable[[Mapping[str, Array]], Mapping[str, Array]],
    *,
    tolerance: float = 0.1,
    rounds: int = 10,
) -> dict[str, Array]:
    """Scale each layer's weights, first to last, until its output on real data has variance 1.

    W ← W / √Var(z), repeated until |Var(z) − 1| < tolerance or ``rounds`` times. Mishkin & Matas 2016,
    arXiv:1511.06422, algorithm 1; the paper starts from orthonormal weights: give the layers
    init=Orthogonal().

    parameters  ``Run.parameters``: declarations in the order of the layers; those of role "weight" count
    arrays      their values by path; nothing is changed in place
    forward     from values to the output of every layer by the layer's path (``Run.outputs``), for one batch
                of data

    DataError names a layer whose output does not vary at all.

    >>> from chainrule.nn.run import trace
    >>> from chainrule.nn.dense import Dense
    >>> from chainrule.nn.container import sequential
    >>> from chainrule import ops
    >>> _, run = trace(sequential(Dense(8), Dense(2)), ops.input("x", (50, 4)), training=True)
    >>> x = np.random.default_rng(0).normal(size=(50, 4))
    >>> def forward(w):
    ...     first = x @ w["dense_0/W"]
    ...     return {"dense_0": first, "dense_1": first @ w["dense_1/W"]}
    >>> start = {path: p.initial(0) for path, p in run.parameters.items()}
    >>> scaled = layer_sequential_unit_variance(run.parameters, start, forward)
    >>> [round(float(z.var()), 1) for z in forward(scaled).values()]
    [1.0, 1.0]
    """
    found = dict(arrays)
    for path in [path for path, parameter in parameters.items() if parameter.role == "weight"]:
        layer = path.rpartition("/")[0]
        for _ in range(rounds):
            outputs = forward(found)
            if layer not in outputs:
                raise ConfigError(f"forward gives no output of layer {layer!r}; {nearest(layer, outputs)}")
            variance = float(np.var(np.asarray(outputs[layer], np.float64)))
            if not (math.isfinite(variance) and variance > 0):
                raise DataError(
                    f"layer {layer!r}: its output has variance {variance} on this batch, "
                    "so no scale makes it 1; give more varied rows, or another initialiser"
                )
            if abs(variance - 1) < tolerance:
                break
            found[path] = (found[path] / math.sqrt(variance)).astype(found[path].dtype)
    return found
