"""The report of a table: one HTML file that a person reads after a run, keeps, and prints."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import svg
from chainrule.data.tables import Table, as_table
from chainrule.data.tables.columns import as_column
from chainrule.errors import ConfigError, DataError
from chainrule.report.table import sections
from chainrule.report.table.baselines import Baseline, fit_baselines
from chainrule.report.table.columns import ColumnView, TargetView, view_columns, view_target
from chainrule.report.table.findings import TableFindings, examine_table
from chainrule.report.table.words import lead, title_of
from chainrule.storage import atomic_write
from chainrule.tasks.predictor import Predictor, predictor_of

__all__ = ["table_report", "write_table_report"]

Array = npt.NDArray[Any]
Rows = Sequence[Mapping[str, Any]]


def write_table_report(
    path: str | os.PathLike[str],
    findings: TableFindings,
    *,
    title: str = "",
    columns: Sequence[ColumnView] = (),
    target: TargetView | None = None,
    train_rows: int = 0,
    history_rows: Rows = (),
    kept: int | None = None,
    networks: int = 1,
    trials: Rows = (),
    plan: Sequence[tuple[str, object]] = (),
    command: str = "",
    environment: Mapping[str, object] | None = None,
    sha256: str = "",
    figures: Mapping[str, object] | None = None,
    said: Iterable[str] = (),
) -> Path:
    """Writes one self-contained HTML file, whole or not at all: inline SVG, nothing is loaded, nothing runs.
    → its path

    findings      of :func:`examine_table`
    columns       of :func:`view_columns`, best of the training rows; ``target`` of :func:`view_target`
    train_rows    from which was learned
    history_rows  a dict for every epoch: "loss", "val_loss", "learning_rate", other metrics and their "val_…"
    kept          the epoch, from 0, whose parameters were kept
    networks      how many are averaged; ``history_rows`` and ``kept`` are the first one's
    trials        of a search, a dict of plain values each; "score" or "val_loss" is what was compared, lower
                  is better
    plan          what decided the fit, as (name, value)
    environment   versions, by name;  sha256: of the final weights
    figures       more for the head of the page, such as {"training time": "41 s"}
    said          more to beware of, a sentence each

    All text is escaped, and shortened where it is long.
    """
    parts = [
        sections.summary(findings, figures or {}),
        *sections.data(findings, columns, target, said),
        *sections.learning(history_rows, kept, networks, trials),
        sections.right_and_wrong(findings),
        *sections.compared(findings),
        *sections.columns_of(findings),
        *sections.mistakes(findings, [c.name for c in columns if c.kind == "identifier"]),
        *sections.reproduce(plan, command, environment or {}, sha256),
    ]
    text = svg.page(title or title_of(findings), parts, lead=lead(findings, train_rows))
    found = Path(path)
    with atomic_write(found) as file:
        file.write(text.encode())
    return found


def table_report(
    model: Any,
    X: Any,
    y: Any,
    path: str | os.PathLike[str],
    *,
    target: str = "",
    train: tuple[Any, Any] | None = None,
    title: str = "",
    command: str = "",
    seed: int = 0,
) -> TableFindings:
    """The report of a fitted model on rows that it has not seen, as one HTML file. → what it says, as data

    model    a fitted ``MLPClassifier`` or ``MLPRegressor``, or what ``chainrule.load`` gives of one
    X, y     unseen rows: a data frame, a dict of columns or an array; and their truth, gaps allowed
    target   what y is called; without it, what a series is called
    train    (X, y) of the training rows; with them a linear model and the commonest class (the mean) are
             fitted and compared, and the columns are described as they were learned from

    DataError where columns are missing, or y holds a label that the model does not know. ConfigError of a
    model with several targets.

    >>> import tempfile
    >>> from chainrule import MLPClassifier
    >>> table = {"size": [1.0, 2.0, 3.0, 4.0] * 10, "shop": ["A", "B", "A", "C"] * 10}
    >>> model = MLPClassifier((4,), solver="lbfgs", random_state=0).fit(table, [0, 0, 1, 1] * 10)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = table_report(model, table, [0, 0, 1, 1] * 10, f"{folder}/report.html")
    >>> found.scores["accuracy"]
    1.0
    """
    predictor = model if isinstance(model, Predictor) else _predictor(model)
    table, name = _joined(X, y, target)
    learned = None if train is None else _joined(*train, name)[0]
    baselines: tuple[Baseline, ...] = ()
    if learned is not None:
        baselines = fit_baselines(predictor, learned, name, seed=seed)
    findings = examine_table(
        predictor,
        table,
        name,
        part="test" if learned is not None else "given",
        baselines=baselines,
        seed=seed,
    )
    described = table if learned is None else learned
    history = predictor.network.history
    write_table_report(
        path,
        findings,
        title=title,
        columns=view_columns(described, predictor.encoder, name),
        target=view_target(described[name], name, findings.classes),
        train_rows=0 if learned is None else len(learned),
        history_rows=[] if history is None else history.rows,
        kept=None if history is None else history.kept,
        plan=_plan(predictor),
        command=command,
        environment=_environment(),
        sha256="" if history is None else history.sha256,
    )
    return findings


def _predictor(model: Any) -> Predictor:
    if not hasattr(model, "network_"):
        raise ConfigError(
            f"{type(model).__name__} holds no fitted network; give a fitted MLPClassifier or MLPRegressor, "
            "or what chainrule.load gives of one"
        )
    return predictor_of(model)


def _joined(X: Any, y: Any, name: str = "") -> tuple[Table, str]:
    """The table with its target as the last column, and what that is called."""
    table = as_table(X)
    found, column = _truth(y)
    name = name or found
    while name in table:
        name += "_"
    if len(column) != len(table):
        raise DataError(f"X has {len(table)} rows, y has {len(column)}; give one truth for each row")
    return Table({**table.columns, name: column}, table.levels), name


def _truth(y: Any) -> tuple[str, Array]:
    """(name, values) of an array, a list, a series, or a table of one column."""
    if isinstance(y, np.ndarray | list | tuple):
        given = y if isinstance(y, np.ndarray) else np.array([*y, None], object)[:-1]
        return "y", as_column(given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given, "y")
    table = as_table(y)
    if len(table.names) != 1:
        raise DataError(f"y has {len(table.names)} columns, where one is expected; give one of them")
    name = str(getattr(y, "name", None) or table.names[0])
    return name, table[table.names[0]]


def _plan(predictor: Predictor) -> list[tuple[str, object]]:
    """What the model was made with, as far as it differs from nothing said."""
    given = {name: value for name, value in predictor.parameters.items() if value is not None}
    said = ", ".join(f"{name}={value!r}" for name, value in given.items())
    return [("model", predictor.estimator), ("parameters", said)]


def _environment() -> dict[str, object]:
    import platform

    from chainrule import __version__

    return {"chainrule": __version__, "Python": platform.python_version(), "NumPy": np.__version__}
