"""What there is to learn from."""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.datasets.files import locate
from chainrule.datasets.mnist import FILES

__all__ = ["Entry", "available"]


@dataclass(frozen=True)
class Entry:
    """One line: ``rows`` is None where the caller chooses how many, ``where`` a folder or a word for it."""

    name: str
    rows: int | None
    columns: int
    task: str
    where: str


def available() -> tuple[Entry, ...]:
    """Every data set of this package: what ``chainrule datasets`` lists. Looks for files, opens none.

    >>> for entry in available()[1:3]:
    ...     print(entry.name, entry.columns, entry.task, entry.where, sep=" | ")
    xor | 2 | 2 classes | made on demand
    spirals | 2 | 2 or more classes | made on demand
    """
    mnist = locate("mnist", tuple(FILES.values()))
    return (
        Entry("mnist", 70_000, 784, "10 classes", mnist or "not downloaded"),
        *(Entry(name, None, columns, task, "made on demand") for name, columns, task in _TOYS),
    )


_TOYS = (
    ("xor", 2, "2 classes"),
    ("spirals", 2, "2 or more classes"),
    ("circles", 2, "2 classes"),
    ("moons", 2, "2 classes"),
    ("blobs", 2, "1 or more classes"),
    ("sines", 1, "regression"),
    ("flats", 10, "a table, regression"),
)
