"""Tables: data frames and files as columns, columns as what a network takes."""

from chainrule.data.streaming import Block
from chainrule.data.tables.category import Boolean, Category, Ordinal
from chainrule.data.tables.choose import choose_encoders
from chainrule.data.tables.encoder import ColumnEncoder, Ignored, Notes
from chainrule.data.tables.files import read_table
from chainrule.data.tables.frames import as_table
from chainrule.data.tables.number import Date, Number
from chainrule.data.tables.profile import Profile, describe
from chainrule.data.tables.sources import Source, open_source
from chainrule.data.tables.stream import Stream, stream_table
from chainrule.data.tables.table import Table, concatenate, is_missing
from chainrule.data.tables.table_encoder import TableEncoder
from chainrule.data.tables.targets import Classes, Scaled, choose_target

__all__ = [
    "ENCODERS",
    "Block",
    "Boolean",
    "Category",
    "Classes",
    "ColumnEncoder",
    "Date",
    "Ignored",
    "Notes",
    "Number",
    "Ordinal",
    "Profile",
    "Scaled",
    "Source",
    "Stream",
    "Table",
    "TableEncoder",
    "as_table",
    "choose_encoders",
    "choose_target",
    "concatenate",
    "describe",
    "is_missing",
    "open_source",
    "read_table",
    "stream_table",
]

ENCODERS: dict[str, type] = {
    cls.__name__: cls
    for cls in (TableEncoder, Number, Category, Ordinal, Boolean, Date, Ignored, Classes, Scaled)
}
"""The classes by name that a model file may hold, for chainrule.config."""
