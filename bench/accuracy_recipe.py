"""The recipe of "seconds to 98.5 % on MNIST", the same for every library.

Chosen on the last 10,000 training images, without the test set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.workloads import Array, Workload

TARGET = 0.985
EPOCHS = 10
NETWORK = Workload((784, 512, 512, 10), batch=250, rows=60_000, dropout=0.2, batch_norm=True)
RATE = 4e-3
"""of Adam; falls linearly to 0 over all steps"""

Trained = list[tuple[float, float]]
"""after each epoch: seconds of training so far (compiling included, evaluating not), test accuracy"""


@dataclass(frozen=True)
class Digits:
    """MNIST as float32 in [0, 1], classes as int32."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array

    @classmethod
    def load(cls, held_out: int = 0) -> Digits:
        """With ``held_out``, that many of the last training images stand in for the test set."""
        from chainrule.datasets import mnist

        d = mnist()
        x, y = d.x_train.astype(np.float32) / np.float32(255), d.y_train
        if held_out:
            return cls(x[:-held_out], y[:-held_out], x[-held_out:], y[-held_out:])
        return cls(x, y, d.x_test.astype(np.float32) / np.float32(255), d.y_test)

    def accuracy(self, predict: Callable[[Array], Array]) -> float:
        return float((predict(self.x_test).argmax(1) == self.y_test).mean())


def rate(step: int, total: int) -> float:
    """Linear decay, as optim.Linear has it."""
    return RATE * (1 - step / total)
