"""Files that survive: tensors with a JSON header, atomic writes, and the lock of a run folder.

========================  ==================================================================
``write_tensors``         arrays and a header into one safetensors file, atomically
``read_tensors``          both back; whatever is not a whole, unaltered file is refused
``read_header``           the header alone
``read_public_tensors``   the arrays of anybody's safetensors file
``atomic_write``          replace any file whole or not at all
``remove_leftovers``      delete what killed saves left in a folder
``RunLock``               one process per run folder
``strict_json``           read JSON that means one thing only
``strict_dump``           write such JSON, keys in the given order
``canonical_dump``        the same with sorted keys: equal values give equal text
========================  ==================================================================

Damaged and hostile files raise :class:`~chainrule.errors.ModelFileError`; a disk that fails while
writing raises ``OSError``, and the file that was there before is still whole.
"""

from __future__ import annotations

from chainrule.storage.atomic import atomic_write, remove_leftovers
from chainrule.storage.lock import RunLock
from chainrule.storage.strict import canonical_dump, strict_dump, strict_json
from chainrule.storage.tensors import read_header, read_public_tensors, read_tensors, write_tensors

__all__ = [
    "RunLock",
    "atomic_write",
    "canonical_dump",
    "read_header",
    "read_public_tensors",
    "read_tensors",
    "remove_leftovers",
    "strict_dump",
    "strict_json",
    "write_tensors",
]
