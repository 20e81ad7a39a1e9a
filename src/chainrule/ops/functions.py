"""Functions composed of primitives: activations, softmax, moments. No primitive is defined here."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import ParamSpec

import numpy as np

from chainrule.errors import ConfigError, ShapeError
from chainrule.graph.expr import Expr
from chainrule.graph.origin import scope
from chainrule.ops.convert import cast, stop_gradient
from chainrule.ops.elementwise import (
    Operand,
    abs,
    equal,
    erf,
    exp,
    expm1,
    full_like,
    is_finite,
    less,
    lift,
    log,
    maximum,
    neg,
    sigmoid,
    softplus,
    sqrt,
    tanh,
    where,
)
from chainrule.ops.reduce import max, sum
from chainrule.ops.shape import reshape
from chainrule.spec import is_float, normalize_axes

__all__ = [
    "FUNCTIONS",
    "clip",
    "elu",
    "gaussian_kl",
    "gelu",
    "gelu_tanh",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "identity",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "mean",
    "min",
    "minimum",
    "norm",
    "relu",
    "selu",
    "silu",
    "softmax",
    "square",
    "std",
    "step",
    "var",
]

AxisLike = int | Iterable[int] | None
Arguments = ParamSpec("Arguments")


def _composed(function: Callable[Arguments, Expr]) -> Callable[Arguments, Expr]:
    """Its nodes say in their origin which function made them."""

    @functools.wraps(function)
    def composed(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Expr:
        with scope(operation=function.__name__):
            return function(*args, **kwargs)

    return composed


# ------------------------------------------------------------------ arithmetic


@_composed
def square(x: Expr) -> Expr:
    """x²"""
    return x * x


@_composed
def minimum(x: Operand, y: Operand) -> Expr:
    """The smaller of two; NaN if either is. Equal operands share the gradient evenly."""
    a, b = lift(x, y, operation="minimum")
    return _mirror(maximum(_mirror(a), _mirror(b)))


def _mirror(x: Expr) -> Expr:
    """A number line turned around: −x; for integers (lowest + highest) − x, which never overflows."""
    if is_float(x.dtype):
        return neg(x)
    limits = np.iinfo(x.dtype)
    return int(limits.min) + int(limits.max) - x


@_composed
def clip(x: Expr, low: float, high: float) -> Expr:
    """x limited to [low, high]; the gradient is 1 on the bounds, 0 outside."""
    if low > high:
        raise ConfigError(f"clip: the lower bound {low} lies above the upper bound {high}")
    return where(less(x, low), low, where(less(high, x), high, x))


# ------------------------------------------------------------------ reductions


@_composed
def min(x: Expr, axes: AxisLike = None, *, keepdims: bool = False) -> Expr:
    """The smallest element over the axes; NaN if any is. Tied elements share the gradient evenly."""
    return _mirror(max(_mirror(x), axes, keepdims=keepdims))


@_composed
def mean(x: Expr, axes: AxisLike = None, *, keepdims: bool = False) -> Expr:
    """Σ x / n over the axes."""
    x = x if is_float(x.dtype) else cast(x, "float32")
    total = sum(x, axes, keepdims=keepdims)
    return total / (x.size // total.size if total.size else 1)


@_composed
def var(x: Expr, axes: AxisLike = None, *, keepdims: bool = False, ddof: int = 0) -> Expr:
    """Σ (x − mean)² / (n − ddof), in two passes."""
    centred = x - mean(x, axes, keepdims=True)
    total = sum(square(centred), axes, keepdims=keepdims)
    return total / (x.size // total.size - ddof if total.size else 1)


@_composed
def std(x: Expr, axes: AxisLike = None, *, keepdims: bool = False, ddof: int = 0) -> Expr:
    """√var; 0 with gradient 0 for a constant."""
    return _root(var(x, axes, keepdims=keepdims, ddof=ddof))


@_composed
def norm(x: Expr, axes: AxisLike = None, *, keepdims: bool = False) -> Expr:
    """‖x‖₂ = √Σ x²; 0 with gradient 0 at the origin."""
    return _root(sum(square(x), axes, keepdims=keepdims))


def _root(s: Expr) -> Expr:
    """√s whose gradient at 0 is 0."""
    zero = equal(s, 0)
    return where(zero, 0, sqrt(where(zero, 1, s)))


def _shift(x: Expr, axes: AxisLike) -> Expr:
    """The maximum where it is finite, else 0: what softmax may subtract without changing."""
    if x.size == 0:  # no maximum, and nothing to shift
        return full_like(sum(x, axes, keepdims=True), 0)
    top = stop_gradient(max(x, axes, keepdims=True))
    return where(is_finite(top), top, 0)


@_composed
def logsumexp(x: Expr, axes: AxisLike = -1, *, keepdims: bool = False) -> Expr:
    """log Σ eˣ, never overflowing; its gradient is softmax(x). −inf with gradient 0 where all x are −inf."""
    shift = _shift(x, axes)
    total = sum(exp(x - shift), axes, keepdims=True)
    empty = equal(total, 0)
    y = where(empty, -math.inf, log(where(empty, 1, total)) + shift)
    dropped = normalize_axes(axes, x.ndim, "logsumexp")
    return y if keepdims else reshape(y, [n for i, n in enumerate(y.shape) if i not in dropped])


@_composed
def softmax(x: Expr, axis: int = -1) -> Expr:
    """sᵢ = e^(xᵢ − max x) / Σⱼ e^(xⱼ − max x);  ∂sᵢ/∂xⱼ = sᵢ(δᵢⱼ − sⱼ). A row of −inf gives zeros."""
    e = exp(x - _shift(x, axis))
    total = sum(e, axis, keepdims=True)
    return e / where(equal(total, 0), 1, total)


@_composed
def log_softmax(x: Expr, axis: int = -1) -> Expr:
    """x − logsumexp(x), never log(softmax(x)), as (x − max x) − log Σ e^(x − max x): digits survive beside
    large values. A row of −inf stays −inf."""
    shifted = x - _shift(x, axis)
    total = sum(exp(shifted), axis, keepdims=True)
    return shifted - log(where(equal(total, 0), 1, total))


@_composed
def gaussian_kl(mean: Expr, log_variance: Expr) -> Expr:
    """KL(N(μ, σ²) ‖ N(0, 1)) = ½ Σⱼ (μⱼ² + σⱼ² − 1 − log σⱼ²), the second term of the evidence lower bound
    (Kingma & Welling 2014, appendix B), which :class:`chainrule.nn.GaussianSample` adds to a loss.

    mean, log_variance (batch, k) → (batch,); summed over all axes but the batch

    >>> from chainrule.executors import evaluate
    >>> from chainrule.graph.expr import constant
    >>> evaluate([gaussian_kl(constant([[1.0, 0.0]]), constant([[0.0, 0.0]]))], {})[0]
    array([0.5], dtype=float32)
    """
    if mean.shape != log_variance.shape or mean.ndim < 2:
        raise ShapeError(
            f"gaussian_kl: mean {mean.spec} and log-variance {log_variance.spec} must both be (batch, k)"
        )
    return 0.5 * sum(square(mean) + (expm1(log_variance) - log_variance), range(1, mean.ndim))


# ------------------------------------------------------------------ activations (catalogue B)


@_composed
def identity(z: Expr) -> Expr:
    """z"""
    return z


@_composed
def step(z: Expr) -> Expr:
    """1 where z ≥ 0, else 0; no gradient flows (Rosenblatt 1958)."""
    return where(less(z, 0), full_like(z, 0), 1)


@_composed
def relu(z: Expr) -> Expr:
    """max(0, z); the derivative at 0 is 0, and NaN passes through."""
    return where(z <= 0, 0, z)


@_composed
def leaky_relu(z: Expr, slope: float = 0.01) -> Expr:
    """max(0, z) + slope·min(0, z) (Maas, Hannun & Ng 2013); the derivative at 0 is the slope."""
    return where(z <= 0, slope * z, z)


@_composed
def elu(z: Expr, alpha: float = 1.0) -> Expr:
    """z for z > 0, else α(eᶻ − 1) (Clevert, Unterthiner & Hochreiter 2016)."""
    positive = less(0, z)
    return where(positive, z, alpha * expm1(where(positive, 0, z)))


@_composed
def selu(z: Expr) -> Expr:
    """λ·elu(z, α) with λ = 1.0507, α = 1.6733 (Klambauer et al. 2017): keeps mean 0 and variance 1."""
    return 1.0507009873554805 * elu(z, 1.6732632423543772)


@_composed
def gelu(z: Expr) -> Expr:
    """z·Φ(z) with the exact normal distribution function (Hendrycks & Gimpel 2016)."""
    return 0.5 * z * (1 + erf(z * math.sqrt(0.5)))


@_composed
def gelu_tanh(z: Expr) -> Expr:
    """The tanh approximation of gelu: ½ z (1 + tanh(√(2/π)(z + 0.044715 z³)))."""
    return 0.5 * z * (1 + tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * (z * z * z))))


@_composed
def silu(z: Expr) -> Expr:
    """z·σ(z), also called swish."""
    return z * sigmoid(z)


@_composed
def hard_sigmoid(z: Expr) -> Expr:
    """clip(z/6 + ½, 0, 1)"""
    return clip(z / 6 + 0.5, 0.0, 1.0)


@_composed
def hard_tanh(z: Expr) -> Expr:
    """clip(z, −1, 1)"""
    return clip(z, -1.0, 1.0)


@_composed
def hard_swish(z: Expr) -> Expr:
    """z·hard_sigmoid(z) (Howard et al. 2019)."""
    return z * hard_sigmoid(z)


@_composed
def log_sigmoid(z: Expr) -> Expr:
    """log σ(z) = −softplus(−z)"""
    return neg(softplus(neg(z)))


FUNCTIONS: dict[str, Callable[..., Expr]] = {
    f.__name__: f
    for f in (
        identity, step, relu, leaky_relu, elu, selu, gelu, gelu_tanh, silu, hard_sigmoid, hard_tanh,
        hard_swish, log_sigmoid, sigmoid, tanh, softplus, softmax, log_softmax, abs, exp, square,
    )
}  # fmt: skip
"""Functions that may be a step of a network, by the name under which a model file knows them."""
