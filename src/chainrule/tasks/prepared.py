"""A table as networks take it: its parts, its encoders, its target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule import losses
from chainrule.data import faults
from chainrule.data.splits import split
from chainrule.data.tables import Classes, Scaled, Table, TableEncoder, choose_encoders
from chainrule.errors import DataError
from chainrule.executors import Array
from chainrule.tasks.logarithms import Logarithms
from chainrule.tasks.plan import TablePlan
from chainrule.tasks.scaling import standard
from chainrule.tasks.targets import Numbers, OneOf, Target, check_reach

__all__ = ["Prepared", "parts_of", "prepare"]


@dataclass(eq=False)
class Prepared:
    """A table as networks take it: encoders and target learned of the rows in ``train``.

    inputs, y    what ``Network.fit`` is given, for the rows of ``train``
    groups       a number for every row that parts are to have in equal shares; None: any rows
    """

    encoder: TableEncoder
    learned: dict[str, Array]
    target: Target
    loss: losses.Loss
    train: Array
    test: Array
    inputs: dict[str, Array]
    y: Array
    groups: Array | None

    def take(self, rows: Array) -> tuple[Any, Array]:
        """(x, y) of some of the rows of ``train``, by their place there."""
        found = {name: a[rows] for name, a in self.inputs.items()}
        return (found if len(found) > 1 else next(iter(found.values()))), self.y[rows]

    def held_out(self, plan: TablePlan, k: int) -> tuple[Array, Array]:
        """(places to learn from, places to stop by) of the ``k``-th network."""
        return _split(len(self.y), plan.validation, plan.seed + 1 + k, self.groups)


# ------------------------------------------------------------------ parts


def _split(rows: int, share: float, seed: int, groups: Array | None) -> tuple[Array, Array]:
    """As :func:`chainrule.data.split`; where no class can spare a row, from all rows alike."""
    if groups is not None and np.bincount(groups).max() < 2:
        groups = None
    return split(rows, share, seed % 2**63, stratify=groups)


def parts_of(plan: TablePlan, table: Table) -> tuple[Array, Array]:
    """(rows to learn from and to stop by, rows of the test), by the target's column and the seed.

    >>> table = Table({"x": np.arange(20.0), "y": np.arange(20) % 2})
    >>> [len(part) for part in parts_of(TablePlan("y", "classification"), table)]
    [17, 3]
    """
    _, groups = _codes(plan, table)
    return _split(len(table), plan.test, plan.seed, groups)


def _codes(plan: TablePlan, table: Table) -> tuple[Classes | None, Array | None]:
    if plan.task == "regression":
        return None, None
    classes = Classes.of(table[plan.target], plan.target)
    return classes, classes.encode(table[plan.target], plan.target)


def prepare(plan: TablePlan, table: Table) -> Prepared:
    """Parts, encoders, target. DataError as choose_encoders and choose_target say; of the test's rows too, so
    that nothing is found out at the end that could be said before."""
    _check_finite(table.drop(plan.target))
    classes, codes = _codes(plan, table)
    rows, test = _split(len(table), plan.test, plan.seed, codes)
    known = table.take(rows)
    x = known.drop(plan.target)
    embed_from = plan.embed_from or None
    encoder = choose_encoders(x, kinds=plan.kinds, scaling=plan.scaling, embed_from=embed_from)
    learned = encoder.fit(x)
    target, y, loss = _goal(plan, table, rows, classes)
    inputs = encoder.encode(x, learned)
    encoder.encode(table.take(test), learned)
    groups = None if codes is None else codes[rows]
    return Prepared(encoder, learned, target, loss, rows, test, inputs, y, groups)


def _check_finite(table: Table) -> None:
    """DataError that counts rows as the table does, before it is taken apart."""
    for name in table.names:
        column = table[name]
        if column.dtype.kind == "f" and (infinite := np.isinf(column)).any():
            raise DataError(faults.not_finite(column, infinite, f"column {name!r}", label=False))


def _goal(
    plan: TablePlan, table: Table, rows: Array, classes: Classes | None
) -> tuple[Target, Array, losses.Loss]:
    dtype, column = np.dtype(np.float32), table[plan.target]
    if classes is not None:
        target = OneOf(classes.decode(np.arange(len(classes))))
        codes = classes.encode(column, plan.target)[rows]
        if target.activation == "softmax":
            return target, codes, losses.CrossEntropy()
        return target, codes[:, None].astype(dtype), losses.BinaryCrossEntropy()
    transform = Scaled(plan.log_target, centred=False)
    transform.encode(column, {}, plan.target)  # which refuses what has no place on the scale
    every = Scaled(centred=False).encode(column, {}, plan.target)
    check_reach(every, dtype)
    y = every[rows]
    found: Target = Numbers(standard(y[:, None]), flat=True)
    if plan.log_target != "none":
        found = Logarithms.seen(y, plus_one=plan.log_target == "log1p")
    return found, found.encode(y, dtype), losses.MeanSquaredError()
