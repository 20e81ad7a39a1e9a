"""Data: what comes in at the door, which rows are held out, the order of batches, augmentation; tables.

What belongs to tables and pictures is imported when it is first asked for: arrays need none of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from chainrule.data.arrays import Sequence, as_named, check_inputs, check_rows, check_weights
from chainrule.data.augment import Augment
from chainrule.data.batches import Orders, order, permutation, plan
from chainrule.data.splits import split
from chainrule.data.streaming import Block, RowStream
from chainrule.data.vicinity import VICINITIES, Adversarial, Mixup, Neighbour, Vicinity

if TYPE_CHECKING:
    from chainrule.data import tables
    from chainrule.data.images import read_images
    from chainrule.data.tables import (
        Table,
        TableEncoder,
        as_table,
        choose_encoders,
        choose_target,
        read_table,
        stream_table,
    )

__all__ = [
    "VICINITIES",
    "Adversarial",
    "Augment",
    "Block",
    "Mixup",
    "Neighbour",
    "Orders",
    "RowStream",
    "Sequence",
    "Table",
    "TableEncoder",
    "Vicinity",
    "as_named",
    "as_table",
    "check_inputs",
    "check_rows",
    "check_weights",
    "choose_encoders",
    "choose_target",
    "order",
    "permutation",
    "plan",
    "read_images",
    "read_table",
    "split",
    "stream_table",
    "tables",
]

_TABLES = (
    "Table",
    "TableEncoder",
    "as_table",
    "choose_encoders",
    "choose_target",
    "read_table",
    "stream_table",
)


def __getattr__(name: str) -> Any:
    if name == "read_images":
        return importlib.import_module("chainrule.data.images").read_images
    if name == "tables" or name in _TABLES:
        tables = importlib.import_module("chainrule.data.tables")
        return tables if name == "tables" else getattr(tables, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
