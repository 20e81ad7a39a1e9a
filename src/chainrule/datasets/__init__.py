"""Data to learn from: MNIST, found or fetched and checked by hash, and toys made from a formula.

========================  ==================================================================
``mnist``                 70,000 handwritten digits, as a :class:`Dataset`
``digit_from_image``      any picture of one digit as an input like MNIST's
``xor`` ``spirals`` ``circles`` ``moons`` ``blobs``   two coordinates (blobs: any number) → a class
``sines``                 one number → one number
``flats``                 a made-up table: adverts with columns of every kind, and gaps
``available``             all of them: size, task, and where they are
========================  ==================================================================

The toys return ``(x, y)``: float32 rows, and int32 classes or float32 targets. The same seed gives the same
numbers; how is said in :mod:`chainrule.datasets.toys`.
"""

from __future__ import annotations

from chainrule.datasets.catalogue import Entry, available
from chainrule.datasets.dataset import Dataset
from chainrule.datasets.digit import digit_from_image
from chainrule.datasets.flats import flats
from chainrule.datasets.mnist import MIRRORS, mnist
from chainrule.datasets.toys import blobs, circles, moons, sines, spirals, xor

__all__ = [
    "MIRRORS",
    "Dataset",
    "Entry",
    "available",
    "blobs",
    "circles",
    "digit_from_image",
    "flats",
    "mnist",
    "moons",
    "sines",
    "spirals",
    "xor",
]
