"""fit_table: from a plan and a table to a Predictor, within the time given; it can be resumed."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import losses, nn, optim, train
from chainrule.config import to_json
from chainrule.data.tables import Table, TableEncoder
from chainrule.executors import Array
from chainrule.network import Network
from chainrule.ops.functions import FUNCTIONS
from chainrule.tasks.committee import committee
from chainrule.tasks.interval import LEVEL, radius
from chainrule.tasks.plan import TablePlan
from chainrule.tasks.predictor import Predictor
from chainrule.tasks.prepared import Prepared, prepare
from chainrule.tasks.scaling import identity
from chainrule.tasks.targets import OneOf, Target
from chainrule.train import History

__all__ = [
    "Deadline",
    "Fitted",
    "assembled",
    "ended_by",
    "fit_table",
    "found_rate",
    "layers_of",
    "rule_of",
    "train_network",
    "tried_rate",
]

_MEMORY = 2_000  # steps that the averaged weights remember at most
_LOW, _HIGH, _STEPS = 1e-5, 1.0, 200  # of the range test
_LEAST_RATE, _MOST_RATE = 3e-4, 1e-2


@dataclass(eq=False)
class Fitted:
    """What came of a fit.

    predictor    as a file holds it; ``network`` inside is the committee of all
    plan         with the learning rate that was found
    histories    of every network
    seconds      that it took
    stopped      "patience", "epochs", or "time": why the last network ended
    train, test  numbers of rows; those in ``train`` were learned from and stopped by. Empty of a stream
    held         of every network: the rows of ``train`` that it was stopped by
    trials       of a search that went before
    """

    predictor: Predictor
    plan: TablePlan
    histories: tuple[History, ...]
    seconds: float
    stopped: str
    train: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    test: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    held: tuple[Array, ...] = ()
    trials: tuple[Mapping[str, Any], ...] = ()


# ------------------------------------------------------------------ networks


def layers_of(plan: TablePlan, encoder: TableEncoder, target: Target) -> nn.Layer:
    """Embeddings where there are any, hidden layers, one Dense for the output."""
    codes = encoder.embeddings
    steps: list[nn.Step] = [nn.Columns(codes)] if codes else []
    for units in plan.hidden:
        steps.append(nn.Dense(units))
        steps += [nn.BatchNorm()] * plan.batch_norm
        steps.append(FUNCTIONS[plan.activation])
        steps += [nn.Dropout(plan.dropout)] * bool(plan.dropout)
    return nn.sequential(*steps, nn.Dense(target.outputs["y"]))


def rule_of(plan: TablePlan, rate: optim.Rate, rows: int) -> optim.Rule:
    """AdamW, with weights averaged over about the last epoch, in place of a schedule: what is best can be
    stopped at any time."""
    steps = min(max(-(-rows // plan.batch_size), 10), _MEMORY)
    return optim.AdamW(rate, weight_decay=plan.weight_decay, average=optim.EMA(1 - 1 / steps))


class Deadline(train.Callback):
    """Stops a fit, after some steps, when its time is over.

    ends    on the clock ``time.monotonic``
    """

    def __init__(self, ends: float) -> None:
        self.ends, self.struck = ends, False

    def chunk(self, chunk: train.Chunk) -> bool:
        self.struck = time.monotonic() >= self.ends
        return self.struck


def found_rate(plan: TablePlan, prepared: Prepared) -> float:
    """The plan's learning rate; where it is "auto" that of a range test."""
    if plan.learning_rate != "auto":
        return float(plan.learning_rate)
    rows, _ = prepared.held_out(plan, 0)
    layers = layers_of(plan, prepared.encoder, prepared.target)
    return tried_rate(plan, layers, prepared.loss, *prepared.take(rows))


def tried_rate(plan: TablePlan, layers: nn.Layer, loss: losses.Loss, x: Any, y: Array) -> float:
    """By a range test on these rows, held between 3e-4 and 0.01."""
    test = Network(layers, seed=plan.seed).find_learning_rate(
        x, y, low=_LOW, high=_HIGH, steps=_STEPS, loss=loss, metrics=[], executor=plan.executor,
        optimizer=rule_of(plan, 1e-3, len(y)), batch_size=min(plan.batch_size, len(y)),
    )  # fmt: skip
    rate = min(max(test.suggestion, _LEAST_RATE), _MOST_RATE)
    return float(f"{rate:.2g}")


def fit_table(
    plan: TablePlan,
    table: Table,
    *,
    seconds: float | None = None,
    callbacks: Sequence[train.Callback] = (),
    run_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    told: Callable[[str], None] = lambda text: None,
    file: Mapping[str, Any] | None = None,
    prepared: Prepared | None = None,
) -> Fitted:
    """Learns a table as its plan says; the test's rows are not looked at.

    seconds     it ends before: with fewer epochs, or fewer networks, than the plan has
    callbacks   watch the fit of every network
    run_dir     a folder that keeps every network and its checkpoints; ``resume`` goes on with it, to the same
                bits as a fit that was never stopped (where no time was set)
    told        is given a line for every network
    file        how the file was written that the table is of, which the Predictor remembers
    prepared    what ``prepare`` gave of the plan and the table, where that is known

    >>> x = np.linspace(0, 1, 60)
    >>> table = Table({"x": x, "y": 3 * x})
    >>> plan = TablePlan("y", "regression", hidden=(8,), networks=1, epochs=2)
    >>> fitted = fit_table(plan, table)
    >>> len(fitted.train), len(fitted.test), fitted.predictor.predict(table.take(fitted.test)).shape
    (51, 9, (9,))
    """
    began = time.monotonic()
    ends = math.inf if seconds is None else began + seconds
    prepared = prepare(plan, table) if prepared is None else prepared
    if plan.learning_rate == "auto":
        plan = replace(plan, learning_rate=found_rate(plan, prepared))
        told(f"learning rate {plan.learning_rate:g}, by a range test")
    members: list[_Member] = []
    for k in range(plan.networks):
        if members and time.monotonic() + _usual(members) / 2 > ends:
            told(f"no time for network {k + 1} of {plan.networks}")
            break
        told(f"network {k + 1} of {plan.networks}")
        folder = None if run_dir is None else Path(run_dir) / "networks" / str(k)
        members.append(_member(plan, prepared, k, ends, callbacks, folder, resume))
    chosen = _chosen(members)
    network = committee([m.network for m in chosen])
    predictor = assembled(
        plan, prepared.encoder, prepared.learned, prepared.target, network, _errors(prepared, chosen), file
    )
    return Fitted(
        predictor, plan, tuple(m.history for m in chosen), time.monotonic() - began, chosen[-1].stopped,
        prepared.train, prepared.test, tuple(prepared.train[m.held] for m in chosen),
    )  # fmt: skip


@dataclass(eq=False)
class _Member:
    network: Network
    held: Array
    stopped: str

    @property
    def history(self) -> History:
        return self.network.history if self.network.history is not None else History()

    @property
    def loss(self) -> float:
        """The lowest on the rows held out."""
        return min((row.get("val_loss", math.inf) for row in self.history), default=math.inf)


def _usual(members: Sequence[_Member]) -> float:
    return sum(m.history.seconds for m in members) / len(members)


def _member(
    plan: TablePlan,
    prepared: Prepared,
    k: int,
    ends: float,
    callbacks: Sequence[train.Callback],
    folder: Path | None,
    resume: bool,
) -> _Member:
    """One network, on rows of its own. What its folder has of it is not learned again."""
    rows, held = prepared.held_out(plan, k)
    net = Network(layers_of(plan, prepared.encoder, prepared.target), seed=(plan.seed + k) % 2**63)
    clock = Deadline(ends)
    x, y = prepared.take(rows)
    train_network(
        plan, net, x, y, rows=len(rows), loss=prepared.loss, validation=prepared.take(held),
        batch_size=min(plan.batch_size, len(rows)), callbacks=[clock, *callbacks], run_dir=folder,
        resume=resume,
    )  # fmt: skip
    return _Member(net, held, ended_by(net.history or History(), clock))


def ended_by(history: History, clock: Deadline) -> str:
    """ "time", "epochs" or "patience"."""
    return "time" if clock.struck else "epochs" if history.stopped == "epochs" else "patience"


def _chosen(members: Sequence[_Member]) -> list[_Member]:
    """All, but for a last one that the clock broke off before it was as good as any other."""
    *others, last = members
    if others and last.stopped == "time" and last.loss > max(m.loss for m in others):
        return others
    return list(members)


def _errors(prepared: Prepared, members: Sequence[_Member]) -> Array | None:
    """Of numbers: the mean error of the networks in each row that one of them was stopped by."""
    if isinstance(prepared.target, OneOf):
        return None
    errors, times = np.zeros(len(prepared.y)), np.zeros(len(prepared.y))
    for member in members:
        x, y = prepared.take(member.held)
        errors[member.held] += (member.network.output(x) - y)[:, 0]
        times[member.held] += 1
    seen = times > 0
    found: Array = errors[seen] / times[seen]
    return found


# ------------------------------------------------------------------ of tables and streams alike


def train_network(
    plan: TablePlan,
    net: Network,
    x: Any,
    y: Any,
    *,
    rows: int,
    loss: losses.Loss,
    validation: Any,
    batch_size: int | None,
    callbacks: Sequence[train.Callback],
    run_dir: Path | None,
    resume: bool,
) -> None:
    """Trains until the loss of ``validation`` falls no more; ``rows`` are those of x."""
    net.fit(
        x,
        y,
        loss=loss,
        optimizer=rule_of(plan, float(plan.learning_rate), rows),
        schedule=optim.Constant(),
        epochs=plan.epochs,
        batch_size=batch_size,
        validation=validation,
        metrics=[],
        callbacks=[train.EarlyStopping("val_loss", plan.patience), *callbacks],
        executor=plan.executor,
        run_dir=run_dir,
        resume=resume and run_dir is not None,
        verbose=0,
    )


def assembled(
    plan: TablePlan,
    encoder: TableEncoder,
    learned: Mapping[str, Array],
    target: Target,
    network: Network,
    errors: Array | None,
    file: Mapping[str, Any] | None,
) -> Predictor:
    """The Predictor of a plan; ``errors`` on rows not learned from give its interval."""
    parameters = {"target": plan.target, "plan": to_json(plan), "file": dict(file or {})}
    if errors is not None:
        parameters["interval"] = {"level": LEVEL, "radius": radius(np.abs(errors))}
    return Predictor(
        estimator="table network",
        parameters=parameters,
        features=encoder.names,
        scaling=identity(encoder.width),
        network=network,
        target=target,
        encoder=encoder,
        learned=dict(learned),
    )
