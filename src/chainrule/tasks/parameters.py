"""Checks of an estimator's parameters, before anything is done; and how a signature becomes attributes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule import nn, optim
from chainrule.errors import ConfigError, nearest, within

__all__ = ["check", "store"]

_RANGES = {
    "power_t": "[0, inf)", "tol": "[0, inf)", "momentum": "[0, 1)",
    "validation_fraction": "(0, 1)", "beta_1": "[0, 1)", "beta_2": "[0, 1)", "epsilon": "(0, inf)",
    "dropout": "[0, 1)",
}  # fmt: skip
_WHOLE = {"max_iter": "[1, inf)", "max_fun": "[1, inf)"}
_FLAGS = (
    "shuffle", "warm_start", "nesterovs_momentum", "early_stopping", "batch_norm", "layer_norm",
)  # fmt: skip
_CHOICES = {
    "learning_rate": ("constant", "invscaling", "adaptive"),
    "scaling": ("standard", "none", "robust", "minmax", "quantile", "auto"),
    "target_scaling": ("standard", "none"),
}


def store(estimator: Any, given: Mapping[str, Any]) -> None:
    """Every parameter as an attribute of its name, as scikit-learn wants it: unchanged and unchecked."""
    for name, value in given.items():
        if name not in ("self", "__class__"):
            setattr(estimator, name, value)


def check(estimator: Any) -> None:
    """ConfigError for the first parameter that means nothing."""
    for name, interval in _RANGES.items():
        within(estimator, name, interval)
    for name, interval in _WHOLE.items():
        within(estimator, name, interval, whole=True)
    for name in _FLAGS:
        if not isinstance(getattr(estimator, name), bool | np.bool_):
            raise _refused(estimator, name, "True or False")
    for name, options in _CHOICES.items():
        value = getattr(estimator, name, options[0])
        if value not in options:
            raise ConfigError(
                f"{type(estimator).__name__}: unknown {name} {value!r}; {nearest(value, options)}"
            )
    _check_mixed(estimator)


def _check_mixed(estimator: Any) -> None:
    """Those that take a number or a word."""
    if estimator.alpha != "auto":
        within(estimator, "alpha", "[0, inf)")
    if estimator.batch_size != "auto":
        within(estimator, "batch_size", "[1, inf)", whole=True)
    if estimator.learning_rate_init != "auto":
        within(estimator, "learning_rate_init", "(0, inf)")
    if estimator.hide_inputs != "any":
        within(estimator, "hide_inputs", "[0, 1)")
    if estimator.n_iter_no_change != math.inf:
        within(estimator, "n_iter_no_change", "[1, inf)", whole=True)
    if estimator.init != "auto" and not isinstance(estimator.init, nn.Init):
        raise _refused(estimator, "init", "'auto' or an initialiser such as nn.HeNormal()")
    if not isinstance(estimator.solver, str | optim.Rule | optim.Solver):
        raise _refused(
            estimator, "solver", "'adam', 'sgd', 'lbfgs', another optimizer's name, or an optimizer"
        )
    if not isinstance(estimator.verbose, bool | int | np.integer):
        raise _refused(estimator, "verbose", "True, False or a whole number")


def _refused(estimator: Any, name: str, wanted: str) -> ConfigError:
    return ConfigError(f"{type(estimator).__name__}: {name} is {getattr(estimator, name)!r}; give {wanted}")
