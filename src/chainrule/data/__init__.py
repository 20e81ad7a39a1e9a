"""Data: what comes in at the door, which rows are held out, the order of batches, augmentation."""

from chainrule.data.arrays import Sequence, as_named, check_inputs, check_rows, check_weights
from chainrule.data.augment import Augment
from chainrule.data.batches import Orders, order, permutation, plan
from chainrule.data.splits import split

__all__ = [
    "Augment",
    "Orders",
    "Sequence",
    "as_named",
    "check_inputs",
    "check_rows",
    "check_weights",
    "order",
    "permutation",
    "plan",
    "split",
]
