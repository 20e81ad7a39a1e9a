"""TablePlan: everything that decides a fit of a table. What nobody said is chosen from the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from chainrule.data.tables import Table, choose_target
from chainrule.data.tables.kinds import KINDS
from chainrule.data.tables.number import SCALINGS
from chainrule.data.tables.targets import Scaled
from chainrule.errors import ConfigError, DataError, nearest, within
from chainrule.ops.functions import FUNCTIONS

__all__ = [
    "LEAST_ROWS",
    "TASKS",
    "TRANSFORMS",
    "Chosen",
    "TablePlan",
    "by_size",
    "check_names",
    "choose_plan",
]

TASKS = ("classification", "regression")
TRANSFORMS = ("none", "log", "log1p")
LEAST_ROWS = 10
"""Rows from which some can be kept for the test, some for stopping, and some learned from."""

_RANGES = {
    "dropout": "[0, 1)", "weight_decay": "[0, inf)", "validation": "(0, 1)", "test": "(0, 1)",
}  # fmt: skip
_COUNTS = {"batch_size": 1, "networks": 1, "epochs": 1, "patience": 1, "embed_from": 0}
_EXECUTORS = ("auto", "reference", "cpu")


@dataclass(frozen=True)
class TablePlan:
    """A fit of a table, as configuration: JSON by :mod:`chainrule.config`; the command line's options and its
    TOML files have the same names.

    target          the column that is learned
    task            "classification" or "regression"
    kinds           {column: kind} where you know better, as for choose_encoders
    scaling         of numbers: "auto", "standard", "robust", "minmax", "quantile", "none"
    embed_from      categories from which a column has learned vectors; 0: never
    log_target      "none"; "log" or "log1p", where errors of a number are shares of it
    hidden          units of every hidden layer; () is a linear model
    activation      after each of them, then ``dropout``; ``batch_norm`` before
    weight_decay    decoupled, of AdamW (Loshchilov & Hutter 2019)
    learning_rate   "auto": by the range test of :mod:`chainrule.train.rate`; or a number
    networks        that are trained, on different rows each, and averaged
    epochs          at most; a fit ends before, when for ``patience`` epochs no loss on the rows held out was
                    lower, and keeps the parameters of the best
    validation      share of the rows held out for that; ``test``: share that nobody looks at before the end
    seed            of the parts, the weights, the order and the noise

    ConfigError for a value that means nothing.

    >>> TablePlan("price", "regression", hidden=(32,)).networks
    4
    """

    target: str
    task: str
    kinds: Mapping[str, str] = field(default_factory=dict)
    scaling: str = "auto"
    embed_from: int = 64
    log_target: str = "none"
    hidden: tuple[int, ...] = (128, 64)
    activation: str = "relu"
    dropout: float = 0.1
    batch_norm: bool = False
    weight_decay: float = 1.0
    learning_rate: float | str = "auto"
    batch_size: int = 64
    networks: int = 4
    epochs: int = 300
    patience: int = 16
    validation: float = 0.15
    test: float = 0.15
    seed: int = 0
    executor: str = "auto"

    def __post_init__(self) -> None:
        for name, interval in _RANGES.items():
            within(self, name, interval)
        for name, least in _COUNTS.items():
            within(self, name, f"[{least}, inf)", whole=True)
        within(self, "seed", "[0, 9223372036854775807]", whole=True)
        if self.learning_rate != "auto":
            within(self, "learning_rate", "(0, inf)")
        self._check_words()
        if not isinstance(self.hidden, tuple) or not all(_is_count(n) for n in self.hidden):
            raise ConfigError(f"hidden is {self.hidden!r}; give whole numbers of units, such as 64,32")
        if self.validation + self.test >= 1:
            raise ConfigError(
                f"validation {self.validation:g} and test {self.test:g} leave no rows to learn from"
            )
        if self.log_target != "none" and self.task != "regression":
            raise ConfigError(
                f"log_target {self.log_target!r} is of numbers; leave it out of a classification"
            )

    def _check_words(self) -> None:
        if not isinstance(self.target, str) or not isinstance(self.kinds, Mapping):
            raise ConfigError("target is the name of a column, kinds a dict of kinds by column")
        known = {
            "task": TASKS, "scaling": ("auto", *SCALINGS), "log_target": TRANSFORMS,
            "activation": tuple(FUNCTIONS), "executor": _EXECUTORS,
        }  # fmt: skip
        for name, words in known.items():
            if getattr(self, name) not in words:
                raise ConfigError(
                    f"unknown {name} {getattr(self, name)!r}; {nearest(getattr(self, name), words)}"
                )
        if not isinstance(self.batch_norm, bool):
            raise ConfigError(f"batch_norm is {self.batch_norm!r}; give true or false")
        for column, kind in self.kinds.items():
            if kind not in KINDS:
                raise ConfigError(f"unknown kind {kind!r} of column {column!r}; {nearest(kind, KINDS)}")

    def rows(self) -> list[tuple[str, str]]:
        """Names and values, to be shown."""
        return [(f.name, _shown(getattr(self, f.name))) for f in fields(self)]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {v}" for k, v in value.items()) or "as found"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Chosen:
    """A plan, and why it is as it is.

    reasons   by the plan's fields, of those that were chosen from the data
    """

    plan: TablePlan
    reasons: Mapping[str, str]


def choose_plan(table: Table, target: str, **said: Any) -> Chosen:
    """The plan for a table: what was ``said``, and for the rest what its rows ask for, each with the reason.

    DataError: no such column (with the nearest name), a target with gaps, of one value only, or of numbers
    where classes are learned; too few rows. ConfigError: a setting that does not exist, or means nothing.

    >>> import numpy as np
    >>> x = np.linspace(0, 1, 40)
    >>> chosen = choose_plan(Table({"x": x, "y": 3 * x}), "y")
    >>> chosen.plan.task, chosen.reasons["task"]
    ('regression', 'numbers')
    """
    check_names(said)
    column = table[target]
    if len(table) < LEAST_ROWS:
        raise DataError(
            f"the table has {len(table)} row{'s' * (len(table) != 1)}; give {LEAST_ROWS} or more: some to "
            "learn from, some to stop by, some for the test"
        )
    table.drop(target)  # refused where nothing else is left
    task = said.get("task") or "auto"
    found, why = choose_target(column, task, target)
    if isinstance(found, Scaled) and (column == column[0]).all():
        raise DataError(
            f"{target} is {column[0]} in every row, so there is nothing to learn; give other rows too"
        )
    chosen: dict[str, tuple[Any, str]] = {
        "task": ("regression" if isinstance(found, Scaled) else "classification", why),
        **by_size(len(table)),
    }
    given = {name: value for name, value in said.items() if value is not None}
    settings = {**{name: value for name, (value, _) in chosen.items()}, **given, "target": target}
    reasons = {name: reason for name, (_, reason) in chosen.items() if name not in given or name == "task"}
    return Chosen(TablePlan(**settings), reasons)


def check_names(said: Mapping[str, Any]) -> None:
    """ConfigError for a setting that no plan has."""
    known = [f.name for f in fields(TablePlan)]
    if unknown := [name for name in said if name not in known]:
        raise ConfigError(f"a plan has no {unknown[0]!r}; {nearest(unknown[0], known)}")


_BATCHES = ((500, 16), (2_000, 32), (20_000, 64), (100_000, 128), (500_000, 256), (math.inf, 512))
_PATIENCE = ((5_000, 20), (50_000, 16), (500_000, 8), (math.inf, 4))
_NETWORKS = ((50_000, 4), (500_000, 2), (math.inf, 1))
_DECAY = ((20_000, 1.0), (200_000, 0.3), (math.inf, 0.1))


def by_size(rows: int) -> dict[str, tuple[Any, str]]:
    """Batches grow with the rows, so that an epoch stays some thousand steps. Patience and the number of
    networks fall with them, for what one more epoch or network tells falls too; so does the decay, which
    forgets over a number of steps that is to stay one of epochs."""
    tables = {
        "batch_size": _BATCHES, "patience": _PATIENCE, "networks": _NETWORKS, "weight_decay": _DECAY,
    }  # fmt: skip
    return {
        name: (next(value for limit, value in table if rows < limit), f"{rows:,} rows")
        for name, table in tables.items()
    }
