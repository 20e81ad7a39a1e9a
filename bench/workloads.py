"""The jobs that are timed: the same data, initial weights, batches and optimizer for every library."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Workload:
    """A multilayer perceptron and how it is trained: dense, (batch norm,) activation, (dropout,) … dense.

    filters    of 3×3 convolutions before it, each with its activation, then pooling by 2; ``sizes`` begins
               with the pixels of a square image
    """

    sizes: tuple[int, ...]
    batch: int
    rows: int
    activation: str = "relu"
    loss: str = "cross_entropy"
    optimizer: str = "adam"
    dropout: float = 0.0
    batch_norm: bool = False
    filters: tuple[int, ...] = ()
    seed: int = 1  # of the initial weights

    @property
    def learning_rate(self) -> float:
        return 1e-3 if self.optimizer == "adam" else 1e-2

    @property
    def steps(self) -> int:
        """Of one epoch; rows is a multiple of batch."""
        return self.rows // self.batch

    @property
    def image(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        side = math.isqrt(self.sizes[0])
        return side, side, 1

    @property
    def pooled(self) -> tuple[int, int, int]:
        """What the convolutions and the pooling leave of an image."""
        side = (self.image[0] - 2 * len(self.filters)) // 2
        return side, side, self.filters[-1]

    def data(self) -> tuple[Array, Array]:
        """x (rows, n_in) or (rows, *image) float32 and targets: classes int32 (rows,), or values float32
        (rows, n_out)."""
        generator = np.random.default_rng(0)
        x = generator.random((self.rows, self.sizes[0]), dtype=np.float32)
        teacher = generator.standard_normal((self.sizes[0], self.sizes[-1])).astype(np.float32)
        # Not x @ teacher: no BLAS and no temporaries, so that a peer's peak memory is its own.
        scores = np.einsum("ij,jk->ik", x, teacher) - teacher.sum(0) / 2
        if self.filters:
            x = x.reshape(-1, *self.image)
        if self.loss == "cross_entropy":
            return x, scores.argmax(1).astype(np.int32)  # there is something to learn, so losses tell
        return x, np.tanh(scores)

    def weights(self) -> list[tuple[Array, Array]]:
        """He-normal W (in, out) and zero b of each layer; of convolutions (3, 3, in, out)."""
        generator = np.random.default_rng(self.seed)
        shapes: list[tuple[int, ...]] = [(3, 3, m, n) for m, n in itertools.pairwise((1, *self.filters))]
        widths = (math.prod(self.pooled), *self.sizes[1:]) if self.filters else self.sizes
        shapes += itertools.pairwise(widths)
        return [
            (
                (generator.standard_normal(s) * math.sqrt(2 / math.prod(s[:-1]))).astype(np.float32),
                np.zeros(s[-1], np.float32),
            )
            for s in shapes
        ]

    def __str__(self) -> str:
        net = "-".join(map(str, self.sizes))
        if self.filters:
            inner = (*(f"conv3×3×{n}" for n in self.filters), "pool 2", *map(str, self.sizes[1:]))
            net = "×".join(map(str, self.image)) + ": " + "-".join(inner)
        extra = f", dropout {self.dropout}" if self.dropout else ", batch norm" if self.batch_norm else ""
        loss = self.loss.replace("_", " ")
        return f"{net} {self.activation}{extra}, batch {self.batch}, {loss}, {self.optimizer}"


@dataclass(frozen=True)
class Recurrence(Workload):
    """An LSTM over the rows of an image, sizes[1] units wide; a dense layer on its last state."""

    length: int = 28

    @property
    def width(self) -> int:
        """Numbers a step."""
        return self.sizes[0] // self.length

    def weights(self) -> list[tuple[Array, Array]]:
        """W (numbers a step, 4·units), U (units, 4·units), gates i, f, g, o side by side, and W (units,
        n_out); all from the range in which PyTorch draws them. b of zeros beside each, of U none."""
        generator, units = np.random.default_rng(self.seed), self.sizes[1]
        shapes = (self.width, 4 * units), (units, 4 * units), (units, self.sizes[2])
        limit = np.float32(1 / math.sqrt(units))
        drawn = [(2 * generator.random(s, dtype=np.float32) - 1) * limit for s in shapes]
        return [(W, np.zeros(0 if i == 1 else W.shape[1], np.float32)) for i, W in enumerate(drawn)]

    def __str__(self) -> str:
        return (
            f"LSTM of {self.sizes[1]} over {self.length} steps of {self.width}, dense {self.sizes[2]}, batch "
            f"{self.batch}, {self.loss.replace('_', ' ')}, {self.optimizer}"
        )


def perceptron(w: Workload) -> bool:
    """Whether a workload is one of dense layers."""
    return type(w) is Workload


WORKLOADS = {
    "a": Workload((784, 225, 144, 10), 100, 6000),
    "b": Workload((784, 512, 512, 10), 128, 6400),
    "b+dropout": Workload((784, 512, 512, 10), 128, 6400, dropout=0.5),
    "b+norm": Workload((784, 512, 512, 10), 128, 6400, batch_norm=True),
    "c": Workload((20, 64, 64, 2), 32, 3200),
    "d": Workload((2, 8, 8, 2), 10, 1000, optimizer="sgd"),
    "d+adam": Workload((2, 8, 8, 2), 10, 1000),
    "e": Workload((100, 256, 256, 1), 256, 5120, activation="tanh", loss="squared_error"),
    "f": Workload((784, 128, 10), 64, 640, filters=(32, 64)),
    "g": Recurrence((784, 128, 10), 128, 2560),
}
QUICK = ("a", "d", "e")
PREDICTED = ("a", "b")
