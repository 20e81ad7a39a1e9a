"""Tables: data frames and files as columns, columns as what a network takes."""

from chainrule.data.tables.files import read_table
from chainrule.data.tables.frames import as_table
from chainrule.data.tables.table import Table, concatenate, is_missing

__all__ = ["Table", "as_table", "concatenate", "is_missing", "read_table"]
