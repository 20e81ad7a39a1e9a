"""From an estimator's parameters to layers and an optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chainrule import nn, optim
from chainrule.errors import ConfigError, nearest
from chainrule.graph.expr import Expr
from chainrule.nn.layer import floating
from chainrule.ops.functions import FUNCTIONS

__all__ = ["Activation", "activations", "hidden_sizes", "network_layers", "optimizer"]

_SCIKIT_LEARN = {"logistic": "sigmoid"}  # their name for it → ours


@dataclass(frozen=True)
class Activation(nn.Layer):
    """A function of a graph node as a layer; it is applied to whole arrays, so it must act element by element
    or on the last axis, and keep the shape.

    >>> from chainrule import nn, ops
    >>> nn.trace(Activation(lambda z: z * ops.sigmoid(z)), ops.input("z", (5, 4)), training=True)[0].shape
    (5, 4)
    """

    function: Callable[[Expr], Expr]

    def __call__(self, x: Any, run: nn.Run) -> Expr:
        return self.function(floating(self, x, run.dtype))


def hidden_sizes(given: Any) -> tuple[int, ...]:
    """Units of every hidden layer, from a number or a sequence of them.

    >>> hidden_sizes(100), hidden_sizes([30, 10]), hidden_sizes(())
    ((100,), (30, 10), ())
    """
    sizes = list(given) if hasattr(given, "__iter__") else [given]
    if any(isinstance(n, bool) or int(n) != n or n <= 0 for n in sizes):
        raise ConfigError(f"hidden_layer_sizes must be > 0, got {given!r}; give whole numbers of units")
    return tuple(int(n) for n in sizes)


def activations(given: Any, layers: int) -> tuple[nn.Step, ...]:
    """The activation of every hidden layer: one for all, or a tuple with one for each.

    >>> [step.__name__ for step in activations(("relu", "logistic"), 2)]
    ['relu', 'sigmoid']
    """
    each = list(given) if isinstance(given, tuple | list) else [given] * layers
    if len(each) != layers:
        raise ConfigError(
            f"activation has {len(each)} entries for {layers} hidden layers; give one for each, or for all"
        )
    return tuple(_activation(a) for a in each)


def _activation(given: Any) -> nn.Step:
    if isinstance(given, str):
        found = FUNCTIONS.get(_SCIKIT_LEARN.get(given, given))
        if found is None:
            raise ConfigError(f"unknown activation {given!r}; {nearest(given, [*_SCIKIT_LEARN, *FUNCTIONS])}")
        return found
    if isinstance(given, nn.Layer) or any(given is f for f in FUNCTIONS.values()):
        return given
    if callable(given) and not isinstance(given, type):
        return Activation(given)
    raise ConfigError(f"activation is {given!r}; give a name, a function of a graph node, or a layer")


def network_layers(
    given: Any,
    inputs: int,
    outputs: dict[str, int],
    first: Sequence[nn.Step] = (),
    *,
    backwards: bool = False,
) -> nn.Sequential:
    """Hidden layers, each Dense, normalisation, activation, dropout; then one Dense for every output.

    given      the estimator
    inputs     features that the first Dense sees
    outputs    width by name; one output alone has the plain network's form
    first      what comes before, and makes one array of several inputs
    backwards  the last hidden layer comes first, as in a decoder
    """
    sizes = hidden_sizes(given.hidden_layer_sizes)
    hidden = list(zip(sizes, activations(given.activation, len(sizes)), strict=True))
    steps: list[nn.Step] = list(first)
    width = inputs
    for units, activation in reversed(hidden) if backwards else hidden:
        steps.append(_dense(given, width, units, activation))
        steps += [nn.BatchNorm()] * bool(given.batch_norm) + [nn.LayerNorm()] * bool(given.layer_norm)
        steps.append(activation)
        steps += [nn.Dropout(given.dropout)] * bool(given.dropout)
        width = units
    heads = {name: _dense(given, width, units, FUNCTIONS["identity"]) for name, units in outputs.items()}
    if len(heads) == 1:
        return nn.sequential(*steps, *heads.values())
    return nn.sequential(*steps, heads=nn.parallel(join="dict", **heads))


def _dense(given: Any, inputs: int, units: int, activation: nn.Step) -> nn.Dense:
    """As scikit-learn begins: W and b uniform in ±√(6/(n_in + n_out)), a third of the variance for the
    logistic function. Biases that differ spread the kinks of units over the data, where zeros would put all
    of them into its middle."""
    if given.init != "auto":
        return nn.Dense(units, init=given.init)
    limit = math.sqrt((2 if activation is FUNCTIONS["sigmoid"] else 6) / (inputs + units))
    return nn.Dense(units, init=nn.Uniform(limit), bias_init=nn.Uniform(limit))


# ------------------------------------------------------------------ the optimizer


def optimizer(given: Any, l2: float) -> optim.Rule | optim.Solver:
    """The solver's rule, with a penalty ½ l2 ‖W‖² more."""
    found = _solver(given)
    changes: dict[str, Any] = {"l2": found.l2 + l2}
    for name in ("weight_decay", "clip_norm"):
        value = getattr(given, name)
        if value is None:
            continue
        if isinstance(found, optim.Solver):
            raise ConfigError(f"{name} is of gradient steps; solver='lbfgs' has none: leave it out")
        changes[name] = value
    return replace(found, **changes)


def _solver(given: Any) -> optim.Rule | optim.Solver:
    solver, rate = given.solver, given.learning_rate_init
    if solver == "adam":
        return optim.Adam(rate, given.beta_1, given.beta_2, given.epsilon)
    if solver == "sgd":
        if not given.momentum:
            return optim.SGD(rate)
        return (optim.Nesterov if given.nesterovs_momentum else optim.Momentum)(rate, given.momentum)
    if solver == "lbfgs":
        return optim.LBFGS(tolerance=given.tol, evaluations=given.max_fun)
    return optim.resolve_optimizer(solver)
