"""The jobs that are timed: the same data, initial weights, batches and optimizer for every library."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Workload:
    sizes: tuple[int, ...]
    batch: int
    rows: int
    activation: str = "relu"
    loss: str = "cross_entropy"
    optimizer: str = "adam"

    @property
    def learning_rate(self) -> float:
        return 1e-3 if self.optimizer == "adam" else 1e-2

    @property
    def steps(self) -> int:
        return self.rows // self.batch

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(0)
        x = generator.random((self.rows, self.sizes[0]), dtype=np.float32)
        teacher = (x - 0.5) @ generator.standard_normal((self.sizes[0], self.sizes[-1])).astype(np.float32)
        if self.loss == "cross_entropy":
            return x, teacher.argmax(1).astype(np.int32)  # there is something to learn, so losses tell
        return x, np.tanh(teacher)

    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """He-normal W (in, out) and zero b of each layer."""
        generator = np.random.default_rng(1)
        pairs = zip(self.sizes, self.sizes[1:], strict=False)
        draw = generator.standard_normal
        return [
            ((draw((m, n)) * math.sqrt(2 / m)).astype(np.float32), np.zeros(n, np.float32)) for m, n in pairs
        ]

    def __str__(self) -> str:
        net = "-".join(map(str, self.sizes))
        return f"{net} {self.activation}, batch {self.batch}, {self.loss.replace('_', ' ')}, {self.optimizer}"


WORKLOADS = {
    "a": Workload((784, 225, 144, 10), 100, 6000),
    "b": Workload((784, 512, 512, 10), 128, 6400),
    "c": Workload((20, 64, 64, 2), 32, 3200),
    "d": Workload((2, 8, 8, 2), 10, 1000, optimizer="sgd"),
    "e": Workload((100, 256, 256, 1), 256, 5120, activation="tanh", loss="squared_error"),
}
