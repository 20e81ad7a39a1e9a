"""Files of rows for the command line: read as the file was that a model learned from."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chainrule.data.tables import Table, read_table
from chainrule.data.tables.dialect import sniff
from chainrule.data.tables.files import FORMATS, ending
from chainrule.errors import DataError
from chainrule.tasks.predictor import Predictor
from chainrule.tasks.targets import OneOf

__all__ = ["of_file", "read_like", "read_new", "target_of", "written_as"]


def read_new(
    path: Path, kinds: Mapping[str, str], target: str = "", task: str | None = None
) -> tuple[Table, dict[str, Any]]:
    """A table to learn from, and how its file is written. A word among the numbers of the target is no
    mistake where it holds classes: there all of it is read as text."""
    try:
        return read_table(path, kinds=kinds), written_as(path)
    except DataError as error:
        asked = f"say that the column is of categories: kinds={{{target!r}: 'categorical'}}"
        if asked not in str(error):
            raise
        if task == "classification":
            return read_table(path, kinds={**kinds, target: "text"}), written_as(path)
        words = "say that it holds classes: --task classification"
        raise DataError(str(error).replace(asked, words)) from error


def written_as(path: Path) -> dict[str, Any]:
    """How a file of text is written; nothing of others."""
    if FORMATS.get(ending(path), "text") != "text":
        return {}
    found = sniff(path)
    return {"delimiter": found.delimiter, "decimal": found.decimal}


def read_like(path: Path, predictor: Predictor) -> Table:
    """A table as the model takes it: columns are of the same kinds, numbers have the same decimal mark where
    the delimiter is the same."""
    kinds = {} if predictor.encoder is None else dict(predictor.encoder.kinds)
    if isinstance(predictor.target, OneOf) and predictor.target.classes.dtype.kind in "UO":
        with contextlib.suppress(DataError):
            kinds[target_of(predictor)] = "text"
    if FORMATS.get(ending(path), "text") != "text" or os.path.isdir(path):
        return read_table(path, kinds=kinds)
    known = predictor.parameters.get("file")
    said = known if isinstance(known, dict) else {}
    same = sniff(path).delimiter == said.get("delimiter")
    return read_table(path, kinds=kinds, decimal=said.get("decimal") if same else None)


@contextlib.contextmanager
def of_file(path: object) -> Iterator[None]:
    """DataErrors of a table say of which file it is."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def target_of(predictor: Predictor) -> str:
    """The column that a model of the command line learned. DataError of other models."""
    name = predictor.parameters.get("target")
    if not isinstance(name, str):
        raise DataError(
            f"the model ({predictor.estimator}) does not say which column it learned; name it with --target"
        )
    return name
