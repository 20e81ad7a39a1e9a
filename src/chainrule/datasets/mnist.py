"""MNIST: 70,000 handwritten digits of 28 × 28 pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.datasets.dataset import Dataset
from chainrule.datasets.files import DataFile, obtain
from chainrule.datasets.idx import parse_idx

__all__ = ["FILES", "MIRRORS", "mnist"]

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
"""Public copies of the four files, tried in turn."""

FILES = {
    "x_train": DataFile(
        "train-images-idx3-ubyte.gz",
        47_040_016,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "y_train": DataFile(
        "train-labels-idx1-ubyte.gz",
        60_008,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "x_test": DataFile(
        "t10k-images-idx3-ubyte.gz",
        7_840_016,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "y_test": DataFile(
        "t10k-labels-idx1-ubyte.gz",
        10_008,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


def mnist(*, mirrors: Sequence[str] = MIRRORS) -> Dataset:
    """The MNIST digits: 60,000 to train and 10,000 to test.

    ``x_train`` uint8 (60000, 784), ``y_train`` int32 (60000,), ``x_test`` and ``y_test`` likewise. A pixel is
    0 for the background to 255 for full ink; a row is an image of 28 × 28 read line by line.

    The files are looked for in ``$CHAINRULE_DATA/mnist``, in ``data/mnist`` of the repository and in the
    user's cache, then fetched from ``mirrors`` into the cache (11 MB); ``mirrors=()`` never uses the network.
    Whatever the place, the contents are compared with their SHA-256.

    Raises :class:`~chainrule.errors.DataError` where no place has a whole copy.

    Source: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86(11). Licence: CC BY-SA 3.0.

    >>> digits = mnist()
    >>> digits
    <Dataset mnist: 60,000 rows to train, 10,000 to test, 784 columns of uint8, 10 classes>
    >>> digits.y_train[:8]
    array([5, 0, 4, 1, 9, 2, 1, 3], dtype=int32)
    """
    arrays = {}
    for part, file in FILES.items():
        arrays[part] = parse_idx(obtain("mnist", file, mirrors), file.name)
    labels = {part: arrays[part].astype(np.int32) for part in ("y_train", "y_test")}
    for array in labels.values():
        array.flags.writeable = False  # as the images are, which lie in the file's bytes
    return Dataset(
        name="mnist",
        x_train=arrays["x_train"].reshape(-1, 784),
        y_train=labels["y_train"],
        x_test=arrays["x_test"].reshape(-1, 784),
        y_test=labels["y_test"],
        classes=tuple("0123456789"),
        image_shape=(28, 28),
        source="LeCun, Cortes, Burges: The MNIST database of handwritten digits",
        licence="CC BY-SA 3.0",
    )
