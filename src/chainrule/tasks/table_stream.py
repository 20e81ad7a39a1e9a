"""Tables larger than memory: the same plan and the same Predictor, from rows that come block by block."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import losses, train
from chainrule.data.splits import split
from chainrule.data.tables import Classes, Stream, Table, stream_table
from chainrule.errors import ConfigError
from chainrule.executors import Array
from chainrule.network import Network
from chainrule.tasks.plan import Chosen, TablePlan, by_size, check_names
from chainrule.tasks.scaling import Affine
from chainrule.tasks.table_fit import (
    Deadline,
    Fitted,
    assembled,
    ended_by,
    layers_of,
    train_network,
    tried_rate,
)
from chainrule.tasks.targets import Numbers, OneOf, Target
from chainrule.train import History

__all__ = ["StreamParts", "choose_stream", "fit_stream", "stream_parts"]

_HELD = 200_000  # rows that validation and test have at most, together: they are in memory
_SAMPLE = 100_000  # rows of training that are looked at for the learning rate and the baselines


@dataclass(frozen=True, eq=False)
class StreamParts:
    """The rows to learn from as a stream; in memory some of them (``known``), those to stop by, those of the
    test."""

    train: Stream
    known: Table
    validation: Table
    test: Table


def choose_stream(data: Any, target: str, **said: Any) -> tuple[Chosen, Stream]:
    """As choose_plan, for data that stream_table takes: they are read once, and what the columns hold (means,
    quantiles, categories) is learned of all rows, those of the test too.

    ConfigError for several networks and logarithms, which take tables in memory.
    """
    check_names(said)
    given = {name: value for name, value in said.items() if value is not None}
    if given.get("networks", 1) != 1 or given.get("log_target", "none") != "none":
        raise ConfigError("networks and log_target are of tables in memory; leave them out of a stream")
    stream = stream_table(
        data, target, task=given.get("task", "auto"), kinds=given.get("kinds"), seed=given.get("seed", 0),
        scaling=given.get("scaling", "auto"), embed_from=given.get("embed_from", 64) or None,
    )  # fmt: skip
    task = "classification" if isinstance(stream.target, Classes) else "regression"
    sizes = {**by_size(stream.rows), "networks": (1, "it is a stream")}
    settings = {name: value for name, (value, _) in sizes.items()}
    plan = TablePlan(**{"task": task, **settings, **given, "target": target})
    reasons = {name: why for name, (_, why) in sizes.items() if name not in given}
    return Chosen(plan, {**reasons, "task": "as its values are"}), replace(stream, batch_size=plan.batch_size)


def stream_parts(plan: TablePlan, stream: Stream) -> StreamParts:
    """By the shares of the plan, but 200,000 rows at most for validation and test together."""
    held_share = plan.test + (1 - plan.test) * plan.validation
    share = min(held_share, _HELD / stream.rows)
    rows, held = stream.split(share)
    kept = held.table()
    column = kept[plan.target]
    groups = stream.target.encode(column, plan.target) if isinstance(stream.target, Classes) else None
    if groups is not None and np.bincount(groups).max() < 2:
        groups = None
    validation, test = split(len(kept), plan.test / held_share, plan.seed, stratify=groups)
    known = rows.table(min(1.0, _SAMPLE / rows.rows))
    return StreamParts(rows, known, kept.take(validation), kept.take(test))


def fit_stream(
    plan: TablePlan,
    parts: StreamParts,
    *,
    seconds: float | None = None,
    callbacks: Sequence[train.Callback] = (),
    run_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    told: Callable[[str], None] = lambda text: None,
    file: Mapping[str, Any] | None = None,
) -> Fitted:
    """One network, which sees every row of the stream once an epoch; the rest is as in fit_table."""
    began, stream = time.monotonic(), parts.train
    target, loss = _goal(stream)
    layers = layers_of(plan, stream.encoder, target)
    validation = _encoded(stream, parts.validation, plan.target)
    if plan.learning_rate == "auto":
        rate = tried_rate(plan, layers, loss, *_encoded(stream, parts.known, plan.target))
        plan = replace(plan, learning_rate=rate)
        told(f"learning rate {rate:g}, by a range test on {len(parts.known):,} rows")
    clock = Deadline(math.inf if seconds is None else began + seconds)
    net = Network(layers, seed=plan.seed)
    train_network(
        plan, net, stream, None, rows=stream.rows, loss=loss, validation=validation, batch_size=None,
        callbacks=[clock, *callbacks], resume=resume,
        run_dir=None if run_dir is None else Path(run_dir) / "networks" / "0",
    )  # fmt: skip
    history = net.history if net.history is not None else History()
    errors = None
    if not isinstance(target, OneOf):
        errors = (net.output(validation[0]) - validation[1])[:, 0]
    predictor = assembled(plan, stream.encoder, stream.state, target, net, errors, file)
    return Fitted(predictor, plan, (history,), time.monotonic() - began, ended_by(history, clock))


def _goal(stream: Stream) -> tuple[Target, losses.Loss]:
    if isinstance(stream.target, Classes):
        labels = stream.target.decode(np.arange(len(stream.target)))
        return OneOf(labels, wide=True), losses.CrossEntropy()
    mean, scale = (stream.target_state[f"target/{name}"].reshape(1) for name in ("mean", "scale"))
    return Numbers(Affine(mean, scale), flat=True), losses.MeanSquaredError()


def _encoded(stream: Stream, table: Table, name: str) -> tuple[Any, Array]:
    """(x, y) as the stream gives them."""
    inputs = stream.encoder.encode(table, stream.state)
    column = table[name]
    if isinstance(stream.target, Classes):
        y: Array = stream.target.encode(column, name)
    else:
        y = stream.target.encode(column, stream.target_state, name).astype(np.float32)[:, None]
    return (inputs if len(inputs) > 1 else next(iter(inputs.values()))), y
