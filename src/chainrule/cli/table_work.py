"""The two ways in which ``chainrule train FILE`` learns rows: in memory, and from a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from chainrule.cli.table_command import TableCommand
from chainrule.cli.table_words import Overview
from chainrule.data.tables import Classes, Stream, Table
from chainrule.data.tables.gate import memory_budget
from chainrule.errors import ConfigError
from chainrule.executors import Array
from chainrule.tasks.plan import TablePlan
from chainrule.tasks.prepared import parts_of, prepare
from chainrule.tasks.search import search
from chainrule.tasks.table_fit import Fitted, fit_table
from chainrule.tasks.table_stream import fit_stream, stream_parts
from chainrule.train import Callback

__all__ = ["Work", "work_of"]

_SEARCHED = 0.5  # of the time that is left
_ROWS = 512  # at least, that are looked at together

Say = Callable[[str], None]
Left = Callable[[], float | None]
"""The seconds that are left."""
Trials = tuple[Mapping[str, Any], ...]


class Work(ABC):
    """Rows that are about to be learned; whatever can be refused of them was, when this is made.

    known, test    rows that were learned from, of a stream some of them; those that nobody saw
    test_places    where the test's rows stand in the file, from 0; None of a stream
    train_rows     from which is learned
    """

    command: TableCommand
    file: Mapping[str, Any]
    known: Table
    test: Table
    test_places: Array | None = None
    train_rows: int

    @abstractmethod
    def overview(self) -> Overview: ...

    def learn(
        self,
        folder: Path,
        left: Left,
        callbacks: Sequence[Callback],
        told: Say,
        planned: Callable[[TablePlan], None],
    ) -> Fitted:
        """The fit, after the search where one was asked for; ``planned`` is told what was decided on."""
        plan, trials = self._chosen(folder, left(), told)
        planned(plan)
        fitted = self._fitted(
            plan, seconds=left(), callbacks=callbacks, run_dir=folder, resume=True, told=told, file=self.file
        )
        return replace(fitted, trials=trials)

    def _chosen(self, folder: Path, seconds: float | None, told: Say) -> tuple[TablePlan, Trials]:
        """The plan to learn by, and the trials that led to it."""
        return self.command.plan, ()

    @abstractmethod
    def _fitted(self, plan: TablePlan, **options: Any) -> Fitted: ...


def work_of(command: TableCommand, rows: Table | Stream, file: Mapping[str, Any]) -> Work:
    """DataError as choose_encoders and choose_target say."""
    return _Streamed(command, rows, file) if isinstance(rows, Stream) else _InMemory(command, rows, file)


class _InMemory(Work):
    def __init__(self, command: TableCommand, table: Table, file: Mapping[str, Any]) -> None:
        self.command, self.table, self.file = command, table, file
        self.prepared = prepare(command.plan, table)
        rows, test = parts_of(command.plan, table)
        self.known, self.test, self.train_rows = table.take(rows), table.take(test), len(rows)
        self.test_places = test
        _check_size(command.plan, self.prepared.encoder.width)

    def overview(self) -> Overview:
        plan, found = self.command.plan, self.prepared
        _, held = found.held_out(plan, 0)
        counts = _counts(plan, self.known)
        return Overview(len(self.table), len(found.train), len(held), len(self.test), found.encoder, counts)

    def _chosen(self, folder: Path, seconds: float | None, told: Say) -> tuple[TablePlan, Trials]:
        if not self.command.search:
            return self.command.plan, ()
        found = search(
            self.command.plan, self.table, self.command.search, run_dir=folder / "search", told=told,
            seconds=None if seconds is None else seconds * _SEARCHED, prepared=self.prepared,
        )  # fmt: skip
        return found.plan, found.trials

    def _fitted(self, plan: TablePlan, **options: Any) -> Fitted:
        return fit_table(plan, self.table, prepared=self.prepared, **options)


class _Streamed(Work):
    def __init__(self, command: TableCommand, stream: Stream, file: Mapping[str, Any]) -> None:
        self.command, self.rows, self.file = command, stream.rows, file
        self.parts = stream_parts(command.plan, stream)
        self.known, self.test, self.train_rows = self.parts.known, self.parts.test, self.parts.train.rows
        _check_size(command.plan, self.parts.train.encoder.width)

    def overview(self) -> Overview:
        held = len(self.parts.validation)
        counts = _counts(self.command.plan, self.known)
        encoder = self.parts.train.encoder
        return Overview(self.rows, self.train_rows + held, held, len(self.test), encoder, counts)

    def _fitted(self, plan: TablePlan, **options: Any) -> Fitted:
        return fit_stream(plan, self.parts, **options)


def _check_size(plan: TablePlan, width: int) -> None:
    """ConfigError for a network that the machine's memory does not hold: parameters, their gradient, two
    moments and an average in float32, beside the values of some rows in every unit."""
    count = sum((a + 1) * b for a, b in pairwise((width, *plan.hidden, 1)))
    signals = _ROWS * sum(plan.hidden)  # of a block of rows, before and after each activation
    needed, there = 4 * (count * (plan.networks + 4) + 2 * signals), 2 * memory_budget()
    if needed > there:
        raise ConfigError(
            f"--hidden {','.join(map(str, plan.hidden))} makes networks of {count:,} weights, which take "
            f"about {needed / 1e9:,.0f} GB to train; there are {there / 1e9:,.0f} GB: give fewer units"
        )


def _counts(plan: TablePlan, known: Table) -> dict[str, int]:
    """How often each class occurs."""
    if plan.task == "regression":
        return {}
    column = known[plan.target]
    return {str(label): n for label, n in Classes.of(column, plan.target).counts(column).items()}
