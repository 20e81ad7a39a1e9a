"""Rule: one formula for one parameter at a time, and the settings that every optimizer shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import ClassVar, Literal, Protocol

from chainrule.errors import ConfigError, within
from chainrule.graph.expr import Expr
from chainrule.optim.average import Average
from chainrule.spec import Spec

__all__ = ["Group", "Rate", "Rule", "Slots", "Trainable"]

Rate = float | Literal["auto"]
"""A learning rate, or ``"auto"``: the training loop starts at 1 and divides by 10 until it finds the best."""

Slots = SimpleNamespace
"""What an optimizer remembers of one parameter: ``s.m``, ``s.v`` are graph nodes."""

_RANGES = {
    "learning_rate": "(0, inf)",
    "weight_decay": "[0, inf)",
    "l2": "[0, inf)",
    "l1": "[0, inf)",
    "max_norm": "(0, inf]",
    "clip_norm": "(0, inf)",
    "clip_value": "(0, inf)",
    "momentum": "[0, 1)",
    "rho": "[0, 1)",
    "beta1": "[0, 1)",
    "beta2": "[0, 1)",
    "delta": "(0, inf)",
    "epsilon": "(0, inf)",
    "momentum_decay": "[0, inf)",
}
"""A hyper-parameter has one meaning and one range, whichever optimizer it belongs to."""

_WHOLE_RANGES = {"newton_schulz_steps": "[1, 99]"}


class Trainable(Protocol):
    """What an optimizer must know of a parameter."""

    @property
    def name(self) -> str: ...
    @property
    def spec(self) -> Spec: ...
    @property
    def role(self) -> str: ...


def _check_fields(settings: Rule | Group) -> None:
    """Every hyper-parameter against its range: ConfigError names field, value and range."""
    for field in fields(settings):
        name, value = field.name, getattr(settings, field.name)
        if (value is None and field.default is None) or (name == "learning_rate" and value == "auto"):
            continue  # not used, or inherited; to be found by trial
        if name in _RANGES:
            within(settings, name, _RANGES[name])
        elif name in _WHOLE_RANGES:
            within(settings, name, _WHOLE_RANGES[name], whole=True)


@dataclass(frozen=True)
class Group:
    """Other settings for the parameters whose names match a glob; ``None`` inherits the optimizer's own.

    pattern       a glob over parameter names; ``*`` crosses ``/``, so ``"head/*"`` is all below ``head``
    max_norm      ``float("inf")`` lifts a limit that the optimizer sets
    biases        decay, l2 and l1 apply to biases and scales of this group too
    frozen        the parameters stay as they are and have no slots; running statistics whose names match
                  stay too, and training uses them as inference does

    A parameter belongs to the first group that matches. A pattern that matches none is a ConfigError.

    >>> Group("embedding/*", learning_rate=1e-4).frozen
    False
    """

    pattern: str
    learning_rate: Rate | None = None
    weight_decay: float | None = None
    l2: float | None = None
    l1: float | None = None
    max_norm: float | None = None
    biases: bool = False
    frozen: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str) or not self.pattern:
            raise ConfigError(f"Group: pattern is {self.pattern!r}; give a glob over names, such as 'head/*'")
        _check_fields(self)


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """An optimizer: its formula, for one parameter. The walk over all of them is :mod:`chainrule.optim.walk`.

    weight_decay   λ of the decoupled decay θ ← θ − ηλθ (Loshchilov & Hutter 2019); weights only
    l2             α of the penalty ½α‖w‖² in the loss, whose gradient is αw; weights only
    l1             α of the penalty α‖w‖₁, applied as its proximal step after the update:
                   w ← sign(w)·max(|w| − ηα, 0), so that weights become exactly 0; weights only
    max_norm       c: after the step every unit's weights (a column of W) are scaled back to ‖w‖ ≤ c
    clip_norm      c: all gradients together are scaled back to a norm of c (Pascanu, Mikolov & Bengio 2013)
    clip_value     c: every element of every gradient is limited to [−c, c], before ``clip_norm``
    groups         other settings for some parameters
    average        averaged parameters for evaluation and prediction: EMA or SWA

    "Weights" are parameters of role ``weight`` or ``embedding``. ``l2`` and ``weight_decay`` may act at once.

    A subclass is a frozen dataclass with ``learning_rate`` as its first field, the names of its ``slots`` and
    ``update``. Slots have the parameter's shape, those in ``scalars`` have none; all start at 0.
    """

    learning_rate: Rate
    weight_decay: float = 0.0
    l2: float = 0.0
    l1: float = 0.0
    max_norm: float | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    groups: tuple[Group, ...] = ()
    average: Average | None = None

    scalars: ClassVar[tuple[str, ...]] = ()
    delegates: ClassVar[tuple[str, ...]] = ()
    """Fields that hold a Rule of their own, with a learning rate of its own, for some of the parameters."""

    def __post_init__(self) -> None:
        _check_fields(self)
        if not isinstance(self.groups, tuple) or not all(isinstance(g, Group) for g in self.groups):
            raise ConfigError(f"{type(self).__name__}: groups is {self.groups!r}; give a tuple of Group(…)")
        if not isinstance(self.average, Average | None):
            raise ConfigError(f"{type(self).__name__}: average is {self.average!r}; give EMA(…) or SWA(…)")

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of what is remembered of each parameter."""
        return ()

    @abstractmethod
    def update(self, θ: Expr, g: Expr, s: Slots, t: Expr, η: Expr) -> tuple[Expr, dict[str, Expr]]:
        """The formula: parameter, gradient, slots, step (from 1), learning rate → next parameter, slots."""

    def at(self, θ: Expr, s: Slots) -> Expr:
        """The point at which the gradient is taken."""
        return θ

    def others(self, parameters: Mapping[str, Trainable]) -> dict[str, str]:
        """Parameters that this formula does not suit → the field of ``delegates`` that holds theirs."""
        return {}
