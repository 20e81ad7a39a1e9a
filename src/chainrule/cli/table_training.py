"""The work of ``chainrule train FILE``: the plan, the networks, the unseen rows at the end, the report."""

from __future__ import annotations

import contextlib
import math
import shlex
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from chainrule.cli.reading import of_file, read_new, written_as
from chainrule.cli.say import say
from chainrule.cli.table_command import CONFIG, TOML, TableCommand, digest_of
from chainrule.cli.table_words import assumptions, plan_lines, result_lines
from chainrule.cli.table_work import Work, work_of
from chainrule.data.tables import Stream, Table
from chainrule.errors import ConfigError, DataError
from chainrule.modelfile import load
from chainrule.report import (
    TableFindings,
    examine_table,
    fit_baselines,
    read_json,
    write_json,
    write_table_report,
)
from chainrule.report.record import MODEL, REPORT, RESULT
from chainrule.report.table.columns import view_columns, view_target
from chainrule.storage import RunLock, atomic_write
from chainrule.tasks.plan import TablePlan, choose_plan
from chainrule.tasks.predictor import Predictor
from chainrule.tasks.table_fit import Fitted
from chainrule.tasks.table_stream import choose_stream
from chainrule.train import Progress
from chainrule.train.state import digest

__all__ = ["opened", "planned", "report_again", "run"]

# What is kept of the time for the test and the report: seconds, a share, and seconds for each row that the
# linear model beside it learns; together not more than a share.
_LEAST, _SHARE, _PER_ROW, _MOST = 1.0, 0.12, 4e-5, 0.4

Say = Callable[[str], None]


def planned(
    data: Path,
    said: dict[str, Any],
    *,
    words: Sequence[str],
    time: str = "",
    search: int = 0,
    stream: bool = False,
) -> tuple[TableCommand, Table | Stream, dict[str, Any]]:
    """What is to be done; the rows; how their file is written."""
    if stream and search:
        raise ConfigError("a search is of tables in memory; leave out --search or --stream")
    target = said.pop("target")
    if target in (said.get("kinds") or {}):
        raise ConfigError(
            f"--kinds names {target}, which is to be learned; say --task classification or --task regression"
        )
    rows: Table | Stream
    if stream:
        file = written_as(data)
        with _quietly():
            chosen, rows = choose_stream(data, target, **said)
    else:
        rows, file = read_new(data, said.get("kinds") or {}, target, said.get("task"))
        with of_file(data):
            chosen = choose_plan(rows, target, **said)
    command = TableCommand(
        str(data), chosen.plan, time, search, stream, digest_of(data), tuple(words), dict(chosen.reasons)
    )
    return command, rows, file


def opened(command: TableCommand, data: Path) -> tuple[Table | Stream, dict[str, Any]]:
    """The rows of a command that was planned before, and how their file is written."""
    if not command.stream:
        return read_new(data, command.plan.kinds, command.plan.target, command.plan.task)
    settings = {name: value for name, value in vars(command.plan).items() if name != "target"}
    with _quietly():
        return choose_stream(data, command.plan.target, **settings)[1], written_as(data)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the warnings that columns are left out, which ``assumptions`` tells."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def run(
    command: TableCommand,
    rows: Table | Stream,
    file: dict[str, Any],
    folder: Path,
    *,
    resume: bool,
    quiet: bool,
    began: float,
) -> None:
    """Learns, looks at the test's rows, writes the report, says what came out.

    began    on the clock ``time.monotonic``: from there the command's time counts
    """
    told: Say = (lambda text: None) if quiet else say
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", UserWarning)
        with of_file(command.data):  # all that can be refused, before anything is written
            work = work_of(command, rows, file)
    notes = [str(w.message) for w in noted if "left out as an identifier" not in str(w.message)]
    for line in (*assumptions(command, work.overview()), *(f"note: {text}" for text in notes)):
        told(line)
    folder.mkdir(parents=True, exist_ok=True)
    with RunLock(folder):
        if not resume or not (folder / TOML).exists():
            _describe(command, folder)
        told(f"in {folder}")
        try:
            fitted = _learned(command, work, folder, told, quiet=quiet, began=began)
        except KeyboardInterrupt:
            say(*_stopped(command, folder))
            raise click.exceptions.Exit(130) from None
        fitted.predictor.save(folder / MODEL)
        findings = _judged(command, work, fitted.predictor)
        _record(command, folder, fitted, findings)
        _report(command, work, fitted.predictor, findings, folder)
    seconds, sha256 = time.monotonic() - began, _digest(fitted.predictor)
    say(*result_lines(findings, seconds, folder, folder / REPORT, sha256), err=False)


def _learned(
    command: TableCommand, work: Work, folder: Path, told: Say, *, quiet: bool, began: float
) -> Fitted:
    def planned(plan: TablePlan) -> None:
        for line in plan_lines(plan, command.reasons):
            told(line)

    watching = [] if quiet else [Progress()]
    fitted = work.learn(folder, lambda: _left(command, began, len(work.known)), watching, told, planned)
    if not len(fitted.histories[0]):
        say("note: the time was over before one epoch was done; give more --time")
    elif fitted.stopped == "time":
        told(f"the time is over: the last network was stopped after {len(fitted.histories[-1])} epochs")
    return fitted


def _left(command: TableCommand, began: float, rows: int) -> float | None:
    """Seconds until the end, less those that test and report will need."""
    if command.seconds is None:
        return None
    reserve = max(min(_SHARE * command.seconds + _PER_ROW * rows, _MOST * command.seconds), _LEAST)
    return max(command.seconds - reserve - (time.monotonic() - began), 0.0)


def _describe(command: TableCommand, folder: Path) -> None:
    write_json(folder, CONFIG, command.to_json())  # first: it is what a run is resumed from
    with atomic_write(folder / TOML) as out:
        out.write(command.to_toml().encode())


def _judged(command: TableCommand, work: Work, predictor: Predictor) -> TableFindings:
    plan = command.plan
    baselines = fit_baselines(predictor, work.known, plan.target, seed=plan.seed)
    return examine_table(
        predictor, work.test, plan.target, baselines=baselines, numbers=work.test_places, seed=plan.seed
    )


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON: what is not finite, such as the loss of a trial that diverged, is null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _record(command: TableCommand, folder: Path, fitted: Fitted, findings: TableFindings) -> None:
    """``result.json``, ``history.jsonl``, ``environment.json``."""
    import json

    lines = [
        json.dumps({"network": k, **row}, allow_nan=False) + "\n"
        for k, history in enumerate(fitted.histories)
        for row in history.lines()
    ]
    with atomic_write(folder / "history.jsonl") as file:
        file.write("".join(lines).encode())
    write_json(folder, "environment.json", read_json(folder / "networks" / "0", "environment.json"))
    networks = [
        _plain(
            {"epochs": len(h), "kept": h.kept, "val_loss": min(h["val_loss"].tolist()), "sha256": h.sha256}
        )
        for h in fitted.histories
        if len(h)
    ]
    write_json(
        folder,
        RESULT,
        {
            "data": command.data,
            **findings.figures(),
            "learning_rate": fitted.plan.learning_rate,
            "networks": [_plain(network) for network in networks],
            "stopped": fitted.stopped,
            "seconds": fitted.seconds,
            "executor": fitted.histories[0].executor,
            "sha256": _digest(fitted.predictor),
            "trials": [_plain(row) for row in fitted.trials],
        },
    )


def _digest(predictor: Predictor) -> str:
    """Of the weights of all networks."""
    return digest(predictor.network.parameters)


def _report(
    command: TableCommand, work: Work, predictor: Predictor, findings: TableFindings, folder: Path
) -> Path:
    plan, result = command.plan, read_json(folder, RESULT)
    history, learned = predictor.network.history, work.known
    settings = dict(replace(plan, learning_rate=result["learning_rate"]).rows())
    return write_table_report(
        folder / REPORT,
        findings,
        title=f"{Path(command.data).name}: {plan.target}",
        columns=view_columns(learned, predictor.encoder, plan.target),
        target=view_target(learned[plan.target], plan.target, findings.classes),
        train_rows=work.train_rows,
        history_rows=[] if history is None else history.rows,
        kept=None if history is None else history.kept,
        networks=len(result["networks"]),
        trials=result["trials"],
        plan=list(settings.items()),
        command=command.line,
        environment=read_json(folder, "environment.json"),
        sha256=_digest(predictor),
    )


def report_again(folder: Path, data: Path | None) -> Path:
    """The report of a run, written anew from its model and its data. DataError where the data changed."""
    command = TableCommand.from_json(read_json(folder, CONFIG), folder / CONFIG)
    predictor = load(folder / MODEL)
    if not isinstance(predictor, Predictor):
        raise DataError(f"{folder / MODEL} is no model of a table; give the folder of a run on one")
    where = Path(command.data) if data is None else data
    if not where.is_file():
        raise DataError(f"{where} is not there, on which the run was trained; name it with --data")
    if digest_of(where) != command.sha256:
        raise DataError(f"{where} is not the file on which the run was trained; give that one with --data")
    rows, file = opened(command, where)
    with _quietly():
        work = work_of(command, rows, file)
    return _report(command, work, predictor, _judged(command, work, predictor), folder)


def _stopped(command: TableCommand, folder: Path) -> tuple[str, str]:
    """What is left after Ctrl-C, and how to go on."""
    again = shlex.join(["chainrule", "train", command.data, "--run-dir", str(folder), "--resume"])
    return f"Interrupted. What was learned is saved in {folder}; go on with:", f"  {again}"
