"""search: other architectures and regularisation, by successive halving within the time given."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import optim, train
from chainrule.data.tables import Table
from chainrule.errors import DataError, DivergenceError
from chainrule.network import Network
from chainrule.storage import atomic_write, strict_json
from chainrule.tasks.plan import TablePlan
from chainrule.tasks.prepared import Prepared, prepare
from chainrule.tasks.table_fit import Deadline, found_rate, layers_of, rule_of

__all__ = ["Found", "candidates", "search"]

_FIRST = 4  # epochs of the first round
_KEPT = 3  # one trial in so many goes on to the next, of as many times the epochs
_FILE = "trials.json"

_CHOICES: dict[str, tuple[Any, ...]] = {
    "hidden": ((), (32,), (64, 32), (128, 64), (256,), (256, 128), (128, 128, 128), (512, 256)),
    "activation": ("relu", "gelu", "tanh"),
    "dropout": (0.0, 0.1, 0.2, 0.4),
    "batch_norm": (False, False, True),
    "weight_decay": (0.1, 0.3, 1.0, 3.0),
}
_BATCHES = (0.5, 1, 2)  # times the plan's own
_RATES = (0.5, 1.0, 2.0)


@dataclass(eq=False)
class Found:
    """What a search came to.

    plan      that of the best trial
    trials    a row for every trial: what it was, its epochs, its lowest loss on the rows held out; best first
    """

    plan: TablePlan
    trials: tuple[Mapping[str, Any], ...]


class _Round(train.Callback):
    """Stops a fit when some epochs are done, so that it can be resumed."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def chunk(self, chunk: train.Chunk) -> bool:
        return chunk.epoch >= self.epochs


def candidates(plan: TablePlan, count: int, rate: float) -> list[TablePlan]:
    """The plan itself, then others drawn from the seed.

    >>> found = candidates(TablePlan("y", "regression"), 5, 0.003)
    >>> len(found), found[0].hidden
    (5, (128, 64))
    """
    rng = np.random.default_rng([plan.seed, 1])
    found = [replace(plan, learning_rate=rate)]
    for _ in range(100 * count):
        if len(found) == count:
            break
        drawn = {name: values[rng.integers(len(values))] for name, values in _CHOICES.items()}
        batch = max(8, int(plan.batch_size * _BATCHES[rng.integers(len(_BATCHES))]))
        rated = float(f"{rate * _RATES[rng.integers(len(_RATES))]:.2g}")
        new = replace(plan, **drawn, batch_size=batch, learning_rate=rated)
        found += [new] if new not in found else []
    return found


def search(
    plan: TablePlan,
    table: Table,
    count: int,
    *,
    seconds: float | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    told: Callable[[str], None] = lambda text: None,
    prepared: Prepared | None = None,
) -> Found:
    """The best of ``count`` plans on the rows that the first network is stopped by; the test's are not read.

    Successive halving (Jamieson & Talwalkar 2016, algorithm 1): every trial runs 4 epochs, the best third of
    them 12, the best third of those 36, and so on. The first trial is the plan itself.

    seconds    the search ends before; who has come farthest is compared then. Where nobody came beyond the
               first round, which tells too little, the plan stays as it is
    run_dir    a folder that keeps every trial; a search in the same folder goes on where it was stopped
    """
    ends = math.inf if seconds is None else time.monotonic() + seconds
    prepared = prepare(plan, table) if prepared is None else prepared
    if run_dir is None:
        with tempfile.TemporaryDirectory() as folder:
            return _searched(plan, prepared, count, ends, Path(folder), told)
    return _searched(plan, prepared, count, ends, Path(run_dir), told)


def _searched(
    plan: TablePlan, prepared: Prepared, count: int, ends: float, folder: Path, told: Callable[[str], None]
) -> Found:
    folder.mkdir(parents=True, exist_ok=True)
    plans = candidates(plan, count, found_rate(plan, prepared))
    scores = _read(folder)  # (trial, epochs) → lowest loss
    waiting, epochs = list(range(len(plans))), _FIRST
    last: dict[int, tuple[int, float]] = {}
    while waiting:
        told(f"search: {len(waiting)} of {len(plans)} plans, {epochs} epochs each")
        for trial in waiting:
            if (trial, epochs) not in scores:
                loss = _trial(plans[trial], prepared, folder / str(trial), epochs, ends)
                if loss is None:
                    told("search: its time is over")
                    found = _found(plan, plans, last)
                    return found if epochs > _FIRST else Found(plans[0], found.trials)
                scores[trial, epochs] = loss
                _write(folder, scores)
            last[trial] = epochs, scores[trial, epochs]
        waiting = sorted(waiting, key=lambda t: (scores[t, epochs], t))[: len(waiting) // _KEPT]
        if epochs >= plan.epochs:
            break
        epochs = min(epochs * _KEPT, plan.epochs)
    return _found(plan, plans, last)


def _trial(plan: TablePlan, prepared: Prepared, folder: Path, epochs: int, ends: float) -> float | None:
    """Its lowest loss within so many epochs, ∞ where it diverges; None where the time is over before."""
    if time.monotonic() >= ends:
        return None
    rows, held = prepared.held_out(plan, 0)
    x, y = prepared.take(rows)
    clock = Deadline(ends)
    net = Network(layers_of(plan, prepared.encoder, prepared.target), seed=plan.seed)
    try:
        history = net.fit(
            x, y, loss=prepared.loss, optimizer=rule_of(plan, float(plan.learning_rate), len(rows)),
            schedule=optim.Constant(), epochs=plan.epochs, batch_size=min(plan.batch_size, len(rows)),
            validation=prepared.take(held), metrics=[], executor=plan.executor, run_dir=folder, resume=True,
            callbacks=[train.EarlyStopping("val_loss", plan.patience), _Round(epochs), clock], verbose=0,
        )  # fmt: skip
    except DivergenceError:
        return math.inf
    if clock.struck and len(history) < epochs:
        return None
    found = [row["val_loss"] for row in history.rows[:epochs]]
    return min((v for v in found if math.isfinite(v)), default=math.inf)


def _found(plan: TablePlan, plans: Sequence[TablePlan], last: Mapping[int, tuple[int, float]]) -> Found:
    """Who came farthest, and among those the lowest loss."""
    order = sorted(last, key=lambda t: (-last[t][0], last[t][1], t))
    varied = (*_CHOICES, "batch_size", "learning_rate")
    names = [f.name for f in fields(TablePlan) if f.name in varied]
    rows = [
        {
            "trial": t,
            **{name: getattr(plans[t], name) for name in names},
            "epochs": last[t][0],
            "val_loss": last[t][1],
        }
        for t in order
    ]
    best = plans[order[0]] if order else plan
    return Found(best, tuple(rows))


# ------------------------------------------------------------------ what is kept of it


def _read(folder: Path) -> dict[tuple[int, int], float]:
    path = folder / _FILE
    if not path.is_file():
        return {}
    rows: Any = strict_json(path.read_bytes(), str(path))
    try:
        return {(int(t), int(e)): math.inf if loss is None else float(loss) for t, e, loss in rows}
    except (TypeError, ValueError):
        raise DataError(f"{path} is not what a search wrote; remove it, and the search begins anew") from None


def _write(folder: Path, scores: Mapping[tuple[int, int], float]) -> None:
    rows = [[t, e, loss if math.isfinite(loss) else None] for (t, e), loss in scores.items()]
    with atomic_write(folder / _FILE) as file:
        file.write(json.dumps(rows).encode())
