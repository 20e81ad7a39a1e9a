"""Neighbours that stand in for the examples of a batch: adversarial examples, mixtures of two.

Vicinal risk (Chapelle, Weston, Bottou & Vapnik 2000): the loss is taken not only at the examples but in
their vicinity. These are graphs, made anew in every step; what deforms images once an epoch is ``Augment``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from chainrule.autodiff import gradient
from chainrule.errors import ConfigError, within
from chainrule.graph.expr import Expr
from chainrule.ops import (
    RandomKey,
    concat,
    exp,
    less_equal,
    log,
    norm,
    reshape,
    sigmoid,
    sign,
    stop_gradient,
    uniform,
    where,
)
from chainrule.ops import max as largest

__all__ = ["VICINITIES", "Adversarial", "Mixup", "Neighbour", "Vicinity", "beta"]

Targets = Mapping[str, Expr]
_TRIES = 16  # of Jöhnk's method; the chance that all fail is 2⁻¹⁶ at most


@dataclass(frozen=True, eq=False)
class Neighbour:
    """What the examples of a batch become.

    point      their values, as those that they replace
    targets    by output
    weight     of its loss, a number or one for each example (batch,)
    """

    point: Expr
    targets: Targets
    weight: Expr | float


class Vicinity(ABC):
    """Makes the neighbours whose losses, each times its weight, are added up to the loss of an example.

    at      the layer whose output is moved, by its path: ``"rescale_0"``; ``""`` is the input
    mixes   whether an example's neighbours depend on other rows, so that none may be left out by weight 0
    """

    at: str
    mixes: ClassVar[bool] = False

    @abstractmethod
    def neighbours(
        self, point: Expr, targets: Targets, loss: Expr, mean: Callable[[Expr], Expr], key: RandomKey
    ) -> Sequence[Neighbour]:
        """The neighbours; batch statistics and what is watched are those of the first.

        point    (batch, …), the values that may be moved
        loss     (batch,), the loss of the examples themselves, from which gradients may be taken
        mean     (batch,) → (), by the weights of the rows, as the objective takes it
        """


@dataclass(frozen=True)
class Adversarial(Vicinity):
    """Adversarial training  (1−a)·L(x) + a·L(x + r),  r the step of a given length that raises the loss most.

    To first order it is  r = ε·sign ∇ₓL  for a limit on every single value (Goodfellow, Shlens & Szegedy
    2015, eq. before 4; their ε is 0.25 for MNIST in [0, 1], their a 0.5), and  r = ε·∇ₓL/‖∇ₓL‖₂  for one on
    the length (Miyato, Maeda, Koyama & Ishii 2018, eq. 3). A regulariser that knows nothing about the inputs.

    epsilon    ε, in the units of what is moved
    share      a
    norm       "max" or "euclidean", in which r is as long as ε
    at         the layer whose output is moved, ``"rescale_0"`` for images in bytes; by default the input

    >>> Adversarial(0.25, at="rescale_0").share
    0.5
    """

    epsilon: float
    share: float = 0.5
    norm: str = "max"
    at: str = ""

    def __post_init__(self) -> None:
        within(self, "epsilon", "[0, inf)")
        within(self, "share", "[0, 1]")
        if self.norm not in ("max", "euclidean"):
            raise ConfigError(f"Adversarial: norm is {self.norm!r}; it is 'max' or 'euclidean'")

    def neighbours(
        self, point: Expr, targets: Targets, loss: Expr, mean: Callable[[Expr], Expr], key: RandomKey
    ) -> Sequence[Neighbour]:
        # Of what the examples bring to the objective, so that both share one backward sweep.
        g = gradient(mean(loss * (1 - self.share or 1.0)), point)
        step = sign(g) if self.norm == "max" else _unit(g)
        moved = point + self.epsilon * stop_gradient(step)
        return Neighbour(point, targets, 1 - self.share), Neighbour(moved, targets, self.share)


def _unit(g: Expr) -> Expr:
    """g over its length, for every example; 0 where g is 0. The largest |g| is divided out first: the
    gradient of an example that is already right is so small that its square would be 0."""
    axes = range(1, g.ndim)
    top = largest(g * sign(g), axes, keepdims=True)
    scaled = g / where(less_equal(top, 0), 1, top)
    length = norm(scaled, axes, keepdims=True)
    return scaled / where(less_equal(length, 0), 1, length)


@dataclass(frozen=True)
class Mixup(Vicinity):
    """Mixtures of two examples  x̃ = λx + (1−λ)x′  with the loss  λ·L(x̃, y) + (1−λ)·L(x̃, y′),  λ ~ Beta(α, α)
    for each example (Zhang, Cisse, Dauphin & Lopez-Paz 2018, arXiv:1710.09412, eq. 1).

    x′ is the next row of the batch, whose order is random. At a hidden layer it is Verma et al.'s "manifold
    mixup" (2019).

    alpha    α, in (0, 1]: small values mix little
    at       the layer whose output is mixed; by default the input

    >>> Mixup(0.2).alpha
    0.2
    """

    alpha: float = 0.2
    at: str = ""
    mixes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        within(self, "alpha", "(0, 1]")

    def neighbours(
        self, point: Expr, targets: Targets, loss: Expr, mean: Callable[[Expr], Expr], key: RandomKey
    ) -> Sequence[Neighbour]:
        share = beta(key, point.shape[0], self.alpha, point.dtype)
        wide = reshape(share, (-1, *(1 for _ in point.shape[1:])))
        mixed = wide * point + (1 - wide) * _next(point)
        others = {name: _next(y) for name, y in targets.items()}
        return Neighbour(mixed, targets, share), Neighbour(mixed, others, 1 - share)


def _next(x: Expr) -> Expr:
    """Every row's next one; the last one's is the first."""
    return concat([x[1:], x[:1]]) if x.shape[0] > 1 else x


def beta(key: RandomKey, n: int, alpha: float, dtype: object) -> Expr:
    """n draws from Beta(α, α), α ≤ 1, by Jöhnk 1964: of u^(1/α), v^(1/α) the first pair whose sum is at most
    1, and the first one's share of that sum. In logarithms, since u^10 underflows.   → (n,)"""
    u, v = (1 - uniform(RandomKey(key.seed, key.step, key.path, k), (_TRIES, n), dtype=dtype) for k in (0, 1))
    a, b = log(u) / alpha, log(v) / alpha
    shares, fits = sigmoid(a - b), less_equal(exp(a) + exp(b), 1)
    found = shares[_TRIES - 1]
    for k in reversed(range(_TRIES - 1)):
        found = where(fits[k], shares[k], found)
    return found


VICINITIES: dict[str, type[Vicinity]] = {"Adversarial": Adversarial, "Mixup": Mixup}
"""Every vicinity by class name."""
