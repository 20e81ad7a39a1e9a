"""Rows of a table as a network takes them, with the place of every column, so that one can be exchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data.faults import some_rows
from chainrule.data.tables import Notes, Table
from chainrule.data.tables.cast import as_numbers, as_places
from chainrule.data.tables.profile import text_of
from chainrule.data.tables.table_encoder import conform
from chainrule.errors import ConfigError, DataError, nearest
from chainrule.tasks.logarithms import Logarithms
from chainrule.tasks.predictor import Predictor
from chainrule.tasks.targets import Numbers, OneOf

__all__ = ["Rows", "class_names", "is_classifier", "truth_of"]

Array = npt.NDArray[Any]
_SHOWN = 8


@dataclass(frozen=True, eq=False)
class Rows:
    """Encoded rows beside the table they come from.

    inputs    what the network takes, by name: (rows, …) each
    places    column → (input, where its features lie in it); columns that are left out have none
    notes     what the encoding met that training had not
    """

    predictor: Predictor
    table: Table
    inputs: dict[str, Array]
    places: dict[str, tuple[str, slice]]
    notes: Notes

    @staticmethod
    def of(predictor: Predictor, table: Table) -> Rows:
        """DataError where a column is missing, or is not what the network was trained on."""
        dtype = predictor.network.dtype
        encoder, scaling = predictor.encoder, predictor.scaling
        if encoder is None:
            names = _names(predictor, table)
            x = np.stack([as_numbers(table[name], name) for name in names], axis=1)
            places = {name: ("x", slice(i, i + 1)) for i, name in enumerate(names)}
            return Rows(predictor, table, {"x": scaling.apply(x, dtype)}, places, Notes())
        table = conform(table, encoder.kinds)
        inputs, notes = encoder.transform(table, predictor.learned, dtype)
        if "x" in inputs:
            inputs["x"] = scaling.apply(inputs["x"], dtype)
        places, at, code = {}, 0, 0
        for column in encoder.columns:
            if column.codes:
                places[column.name] = "codes", slice(code, code + 1)
                code += 1
            elif column.features:
                places[column.name] = "x", slice(at, at + len(column.features))
                at += len(column.features)
        return Rows(predictor, table, inputs, places, notes)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def width(self) -> int:
        """Numbers and codes a row."""
        return sum(a.shape[1] for a in self.inputs.values())

    def raw(self, inputs: Mapping[str, Array] | None = None) -> Array:
        """The network's outputs for these inputs, or for those of the rows."""
        given = self.inputs if inputs is None else inputs
        found: Array = self.predictor.network.output(
            dict(given) if len(given) > 1 else next(iter(given.values()))
        )
        return found

    def answer(self, inputs: Mapping[str, Array] | None = None) -> Array:
        """Probabilities (rows, classes), or predicted numbers (rows,); float64."""
        z, target = self.raw(inputs), self.predictor.target
        found = target.probabilities(z) if is_classifier(self.predictor) else target.predict(z)
        found = np.asarray(found, np.float64)
        return found if is_classifier(self.predictor) else found.reshape(len(found))


def _names(predictor: Predictor, table: Table) -> tuple[str, ...]:
    """The columns of a network that was fitted on an array: by their names, else by their order."""
    wanted = len(predictor.scaling.mean)
    features = predictor.features
    if features is not None and all(name in table for name in features):
        return features
    if len(table.names) != wanted:
        raise DataError(
            f"the table has {len(table.names)} columns beside the target, {predictor.estimator} was fitted "
            f"on {wanted}: give so many"
        )
    return table.names


def is_classifier(predictor: Predictor) -> bool:
    """Whether it tells classes apart, or predicts a number. ConfigError where it has several targets."""
    target = predictor.target
    if isinstance(target, OneOf):
        return True
    if isinstance(target, Numbers | Logarithms) and len(target.scale.mean) == 1:
        return False
    raise ConfigError(
        f"{predictor.estimator} has several targets; a report is about one: fit one of them alone"
    )


def class_names(predictor: Predictor) -> tuple[str, ...]:
    """The classes as text, in the order of the probabilities."""
    return tuple(text_of(label) for label in np.asarray(predictor.classes).tolist())


def truth_of(predictor: Predictor, column: Array, name: str) -> Array:
    """A target column without gaps as codes of the classes, or as numbers.

    DataError for a label that the network does not know, with the nearest one; for text among numbers.
    """
    if not is_classifier(predictor):
        return as_numbers(column, name)
    names = class_names(predictor)
    codes = as_places(column, {text: i + 1 for i, text in enumerate(names)}, missing=0) - 1
    if (wrong := codes < 0).any():
        label = text_of(column[wrong].tolist()[0])
        raise DataError(
            f"{name!r} holds {label!r} in {some_rows(wrong)}, which is none of the model's {len(names)} "
            f"classes; {nearest(label, names[:_SHOWN])}"
        )
    return codes.astype(np.int64)
