"""How MNIST is learned: each recipe on its own few lines; ``quick``, ``lecture``, ``best`` of 784-225-144-10.

All were chosen on the last 10,000 training images (``chainrule train mnist --held-out``), not on the test
set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from chainrule.data import Adversarial, Augment, Vicinity
from chainrule.losses import CrossEntropy, Loss
from chainrule.nn import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool, Rescale, Reshape, Step
from chainrule.ops import relu
from chainrule.optim import EMA, Adam, Linear, Rule, Schedule

__all__ = ["RECIPES", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run but the data and the seed; the fields are those of ``Network.fit``."""

    name: str
    description: str
    layers: tuple[Step, ...]
    optimizer: Rule
    schedule: Schedule
    epochs: int
    batch_size: int = 100
    loss: Loss = field(default_factory=CrossEntropy)
    augment: Augment | Vicinity | None = None


QUICK = Recipe(
    name="quick",
    description="five epochs, seconds",
    layers=(Rescale(), Dense(225), relu, Dense(144), relu, Dense(10)),
    optimizer=Adam(3e-3),
    schedule=Linear(),
    epochs=5,
)

LECTURE = Recipe(
    name="lecture",
    description="50 epochs on the images as they are, with dropout, batch normalisation and averaged weights",
    layers=(
        Rescale(),
        Dropout(0.1),
        Dense(225, bias=False),
        BatchNorm(),
        relu,
        Dropout(0.3),
        Dense(144, bias=False),
        BatchNorm(),
        relu,
        Dropout(0.3),
        Dense(10),
    ),
    optimizer=Adam(3e-3, average=EMA(0.9995)),
    schedule=Linear(),
    epochs=50,
)

BEST = Recipe(
    name="best",
    description="60 epochs of images that are shifted, turned and bent anew in every epoch",
    layers=(
        Rescale(),
        Dense(225, bias=False),
        BatchNorm(),
        relu,
        Dense(144, bias=False),
        BatchNorm(),
        relu,
        Dense(10),
    ),
    optimizer=Adam(3e-3, average=EMA(0.9995)),
    schedule=Linear(),
    epochs=60,
    augment=Augment(),
)


def _convolution(filters: int, padding: Literal["valid", "same"] = "valid") -> tuple[Step, ...]:
    return Conv2D(filters, 3, padding=padding, bias=False), BatchNorm(), relu


INVARIANT = Recipe(
    name="invariant",
    description="20 epochs that know nothing of images, with adversarial examples as the only regulariser",
    layers=(
        Rescale(),
        Dense(512, bias=False),
        BatchNorm(),
        relu,
        Dense(512, bias=False),
        BatchNorm(),
        relu,
        Dense(10),
    ),
    optimizer=Adam(3e-3, average=EMA(0.999)),
    schedule=Linear(),
    epochs=20,
    augment=Adversarial(2.0, norm="euclidean", at="rescale_0"),
)

CONV = Recipe(
    name="conv",
    description="a convolutional network, 20 epochs of images that are shifted, turned and bent anew",
    layers=(
        Rescale(),
        Reshape((28, 28, 1)),
        *_convolution(16),
        *_convolution(16),
        MaxPool(2),
        *_convolution(32, "same"),
        *_convolution(32),
        MaxPool(2),
        *_convolution(64),
        Flatten(),
        Dropout(0.3),
        Dense(128, bias=False),
        BatchNorm(),
        relu,
        Dropout(0.3),
        Dense(10),
    ),
    optimizer=Adam(3e-3, average=EMA(0.998)),
    schedule=Linear(),
    epochs=20,
    batch_size=128,
    augment=Augment(),
)

RECIPES = {recipe.name: recipe for recipe in (QUICK, LECTURE, BEST, CONV, INVARIANT)}
"""Every recipe by its name on the command line."""
