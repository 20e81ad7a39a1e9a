"""Predictions for the rows of a table, as columns beside them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
import numpy as np

from chainrule.cli.reading import of_file, read_like
from chainrule.cli.say import say
from chainrule.cli.writing import check_ending, write_rows
from chainrule.data.tables import Notes, Table
from chainrule.data.tables.columns import as_column
from chainrule.data.tables.table import Array, concatenate
from chainrule.errors import DataError
from chainrule.tasks.interval import interval
from chainrule.tasks.predictor import Predictor
from chainrule.tasks.targets import OneOf

__all__ = ["answers", "input_of", "predict_table"]

_BLOCK = 1 << 16  # rows at a time
_ENDS = ("prediction_low", "prediction_high")


def predict_table(predictor: Predictor, files: tuple[Path, ...], output: Path | None) -> None:
    """Writes the rows of a file with what is predicted of them; on standard error what was new in them."""
    if len(files) != 1:
        raise click.UsageError(f"a model of a table takes one FILE at a time, not {len(files)}.")
    path = None if output is None or str(output) == "-" else output
    check_ending(path)
    table = read_like(files[0], predictor)
    with of_file(files[0]):
        found = answers(predictor, table)
    write_rows(Table({**table.columns, **_renamed(found, table.names)}, table.levels), path)
    for line in _news(predictor, table):
        say(line)
    if path is not None:
        say(f"{len(table):,} rows, {', '.join(found)}: {path}")


def answers(predictor: Predictor, table: Table) -> dict[str, Array]:
    """Columns by name: the prediction; the probability of every class, or the ends of an interval."""
    parts = [
        _answers(predictor, table.take(slice(start, start + _BLOCK)))
        for start in range(0, len(table), _BLOCK)
    ]
    return concatenate(parts).columns


def _answers(predictor: Predictor, table: Table) -> Table:
    x = input_of(predictor, table)
    predicted = np.asarray(predictor.predict(x))
    found: dict[str, Array] = {"prediction": as_column(_short(predicted), "prediction")}
    if isinstance(predictor.target, OneOf):
        shares = predictor.predict_proba(x)
        for name, column in zip(predictor.classes.tolist(), shares.T, strict=True):
            found[f"probability_{name}"] = _short(column)
    elif (ends := interval(predictor, x)) is not None:
        found.update({name: _short(end) for name, end in zip(_ENDS, ends, strict=True)})
    return Table({name: np.asarray(column) for name, column in found.items()})


def _short(values: Array) -> Array:
    """float32 as the shortest numbers that stand for them: 0.1, not 0.10000000149."""
    return values.astype(np.str_).astype(np.float64) if values.dtype == np.float32 else values


def input_of(predictor: Predictor, table: Table) -> Table | Array:
    """What the model takes of a table: its columns by name; of a model of an array the columns in order."""
    if predictor.encoder is not None:
        return table
    names = predictor.features or table.names
    columns = [table[name] for name in names]
    if text := [n for n, c in zip(names, columns, strict=True) if c.dtype.kind not in "bif"]:
        raise DataError(f"column {text[0]!r} holds no numbers, on which the model was trained; give numbers")
    return np.stack([c.astype(np.float64) for c in columns], axis=1)


def _renamed(found: dict[str, Array], taken: Iterable[str]) -> dict[str, Array]:
    """Under names that the table has not."""
    names = set(taken)
    renamed = {}
    for name, column in found.items():
        while name in names:
            name += "_"
        names.add(name)
        renamed[name] = column
    return renamed


def _news(predictor: Predictor, table: Table) -> list[str]:
    """What the rows have that training had not. The target itself is no news."""
    if predictor.encoder is None:
        return []
    notes = predictor.encoder.transform(table, predictor.learned).notes
    target = predictor.parameters.get("target")
    ignored = tuple(name for name in notes.ignored if name != target)
    shown = str(Notes(notes.unseen, notes.filled, ignored))
    return [f"note: {line}" for line in shown.split("; ") if line]
