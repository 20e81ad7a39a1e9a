"""A last layer and a target for every loss."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule import losses, nn, ops
from chainrule.nn import Step

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Head = tuple[list[Step], losses.Loss, Array]
"""The last steps of a network, the loss, and a target for each row."""

FLAT = {"Cells", "GaussianNLL", "GaussianMixtureNLL", "Quantile"}
"""Losses whose output is (batch, n); all others take sequences too."""


def _labels(draws: random.Random, rng: np.random.Generator, shape: Shape, classes: int) -> tuple[Array, Any]:
    """(class indices, some of them missing; or distributions; what marks a missing one)"""
    kind = draws.random()
    if kind < 0.25:
        return _distributions(rng, shape, classes), None
    labels = rng.integers(0, classes, shape)
    if kind < 0.4 and labels.size > 1:
        labels.flat[:: draws.randint(3, 7)] = -1
        return labels, -1
    return labels, None


def _distributions(rng: np.random.Generator, shape: Shape, classes: int) -> Array:
    found = rng.dirichlet(np.ones(classes), shape)
    found.reshape(-1, classes)[0] = np.eye(classes)[0]  # one that is certain: 0·log 0
    return found


def _weights(draws: random.Random, classes: int) -> tuple[float, ...] | None:
    return tuple(draws.choice([0.5, 1.0, 2.0]) for _ in range(classes)) if draws.random() < 0.3 else None


def _cross_entropy(draws: random.Random, rng: np.random.Generator, shape: Shape) -> Head:
    classes = draws.randint(2, 12)
    y, ignored = _labels(draws, rng, shape, classes)
    loss = losses.CrossEntropy(
        draws.choice([0.0, 0.1]),
        _weights(draws, classes),
        ignore_index=ignored,
        positions=draws.choice(["mean", "sum"]),
    )
    return [nn.Dense(classes)], loss, y


def _focal(draws: random.Random, rng: np.random.Generator, shape: Shape) -> Head:
    classes = draws.randint(2, 12)
    y, ignored = _labels(draws, rng, shape, classes)
    loss = losses.Focal(draws.choice([0.0, 1.5, 2.0]), _weights(draws, classes), ignore_index=ignored)
    return [nn.Dense(classes)], loss, y


def _negative_log_likelihood(draws: random.Random, rng: np.random.Generator, shape: Shape) -> Head:
    classes = draws.randint(2, 12)
    y, ignored = _labels(draws, rng, shape, classes)
    if draws.random() < 0.5:
        loss = losses.NegativeLogLikelihood("probabilities", ignore_index=ignored)
        return [nn.Dense(classes), ops.softmax], loss, y
    return [nn.Dense(classes), ops.log_softmax], losses.NegativeLogLikelihood(ignore_index=ignored), y


def _kl(draws: random.Random, rng: np.random.Generator, shape: Shape) -> Head:
    classes = draws.randint(2, 12)
    return [nn.Dense(classes)], losses.KLDivergence(), _distributions(rng, shape, classes)


def _binary(draws: random.Random, rng: np.random.Generator, shape: Shape) -> Head:
    labels = draws.randint(1, 5)
    y = rng.random((*shape, labels)) if draws.random() < 0.3 else rng.integers(0, 2, (*shape, labels))
    weights = (0.5, 2.0) if draws.random() < 0.3 else None
    loss = losses.BinaryCrossEntropy(draws.choice([0.0, 0.1]), weights, outputs=draws.choice(["mean", "sum"]))
    return [nn.Dense(labels)], loss, y


def _binary_focal(draws: random.Random, rng: np.random.Generator, shape: Shape) -> Head:
    labels = draws.randint(1, 5)
    loss = losses.BinaryFocal(draws.choice([0.0, 1.5, 2.0]))
    return [nn.Dense(labels)], loss, rng.integers(0, 2, (*shape, labels))


def _perceptron(draws: random.Random, rng: np.random.Generator, shape: Shape) -> Head:
    labels = draws.randint(1, 5)
    loss = losses.Perceptron(outputs=draws.choice(["mean", "sum"]))
    return [nn.Dense(labels)], loss, rng.integers(0, 2, (*shape, labels))


def _numbers(make: Callable[[random.Random], losses.Loss]) -> Callable[..., Head]:
    def head(draws: random.Random, rng: np.random.Generator, shape: Shape) -> Head:
        k = draws.randint(1, 7)
        return [nn.Dense(k)], make(draws), rng.normal(size=(*shape, k))

    return head


def _gaussian(draws: random.Random, rng: np.random.Generator, shape: Shape) -> Head:
    k = draws.randint(1, 4)
    loss = losses.GaussianNLL(draws.choice(["softplus", "log_variance"]), 0.1)
    return [nn.Dense(2 * k)], loss, rng.normal(size=(*shape, k))


def _mixture(draws: random.Random, rng: np.random.Generator, shape: Shape) -> Head:
    k, covariance = draws.randint(1, 3), draws.choice(["diagonal", "full"])
    scale = draws.choice(["softplus", "log_variance"])
    loss = losses.GaussianMixtureNLL(draws.randint(1, 3), covariance, scale, 0.1)
    return [nn.Dense(loss.width(k))], loss, rng.normal(size=(*shape, k))


def _cells(draws: random.Random, rng: np.random.Generator, shape: Shape) -> Head:
    """Two of three are known."""
    sizes = tuple(draws.randint(1, 5) for _ in range(draws.randint(0, 3)))
    loss = losses.Cells(draws.randint(0 if sizes else 1, 4), sizes, draws.choice([0, 0, 1, 2]), floor=0.1)
    codes = [rng.integers(0, k, (*shape, 1)) for k in sizes]
    known = rng.random((*shape, loss.cells)) < 2 / 3
    y = np.concatenate([rng.normal(size=(*shape, loss.numbers)), *codes, known], -1)
    return [nn.Dense(loss.width)], loss, y


def _poisson(draws: random.Random, rng: np.random.Generator, shape: Shape) -> Head:
    k = draws.randint(1, 4)
    loss = losses.PoissonNLL(draws.choice(["mean", "sum"]))
    return [nn.Dense(k), ops.hard_tanh], loss, rng.poisson(2.0, (*shape, k))


def _quantile(draws: random.Random, rng: np.random.Generator, shape: Shape) -> Head:
    k = draws.randint(1, 4)
    if draws.random() < 0.5:
        return [nn.Dense(k)], losses.Quantile(draws.choice([0.1, 0.5, 0.9])), rng.normal(size=(*shape, k))
    return [nn.Dense(3 * k)], losses.Quantile((0.1, 0.5, 0.9)), rng.normal(size=(*shape, k))


HEADS: dict[str, Callable[[random.Random, np.random.Generator, Shape], Head]] = {
    "NegativeLogLikelihood": _negative_log_likelihood,
    "BinaryCrossEntropy": _binary,
    "CrossEntropy": _cross_entropy,
    "MeanSquaredError": _numbers(lambda d: losses.MeanSquaredError(d.choice(["mean", "sum"]))),
    "HalfSquaredError": _numbers(lambda d: losses.HalfSquaredError()),
    "MeanAbsoluteError": _numbers(lambda d: losses.MeanAbsoluteError(d.choice(["mean", "sum"]))),
    "Huber": _numbers(lambda d: losses.Huber(d.choice([0.5, 1.0]))),
    "GaussianNLL": _gaussian,
    "GaussianMixtureNLL": _mixture,
    "PoissonNLL": _poisson,
    "Quantile": _quantile,
    "Focal": _focal,
    "BinaryFocal": _binary_focal,
    "Perceptron": _perceptron,
    "KLDivergence": _kl,
    "Cells": _cells,
}
"""For every loss by name: (draws, numbers, shape of a target without its last axis) → a head."""


def head(draws: random.Random, rng: np.random.Generator, rows: int, positions: int | None) -> Head:
    """A loss at random with what it needs. Sequences keep their positions if the loss takes them."""
    name = draws.choice(sorted(HEADS))
    if positions is None or (name not in FLAT and draws.random() < 0.7):
        return HEADS[name](draws, rng, (rows,) if positions is None else (rows, positions))
    steps, loss, y = HEADS[name](draws, rng, (rows,))
    return [nn.Flatten(), *steps], loss, y
