"""Losses and their gradients against torch.nn.functional, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (PyTorch's own convention)

from chainrule import losses, ops
from chainrule.autodiff import gradient
from chainrule.executors import evaluate

GENERATOR = np.random.Generator(np.random.Philox(3))
Z = GENERATOR.normal(size=(6, 5)) * 3
R = GENERATOR.normal(size=(6, 5))
WIDE = GENERATOR.normal(size=(6, 10))
LABELS = GENERATOR.integers(0, 5, 6)
SOFT = GENERATOR.dirichlet(np.ones(5), 6)
BITS = (GENERATOR.random((6, 5)) < 0.5).astype(float)
COUNTS = GENERATOR.poisson(2.0, (6, 5)).astype(float)
W = (0.5, 2.0, 1.0, 3.0, 0.1)
SEQUENCE, STEPS = GENERATOR.normal(size=(6, 4, 5)), GENERATOR.integers(-1, 5, (6, 4))
STEPS[:, 0] = 1  # at least one label in every row

Tensor = torch.Tensor


def cross(z: Tensor, y: Tensor, **options: Any) -> Tensor:
    return F.cross_entropy(z, y, reduction="none", **options)


def masked(z: Tensor, y: Tensor) -> Tensor:
    each = F.cross_entropy(z.transpose(1, 2), y, reduction="none", ignore_index=-1)
    return each.sum(1) / (y != -1).sum(1)


def gaussian(z: Tensor, y: Tensor) -> Tensor:
    σ = F.softplus(z[:, 5:]) + 1e-3
    return F.gaussian_nll_loss(z[:, :5], y, σ**2, full=True, eps=1e-12, reduction="none").sum(1)


def normal(z: Tensor, y: Tensor) -> Tensor:
    return -torch.distributions.Normal(z[:, :5], torch.exp(z[:, 5:] / 2)).log_prob(y).sum(1)


def diagonal_mixture(z: Tensor, y: Tensor) -> Tensor:
    d = torch.distributions
    parts = d.Independent(
        d.Normal(z[:, 2:6].reshape(6, 2, 2), F.softplus(z[:, 6:10].reshape(6, 2, 2)) + 1e-3), 1
    )
    return -d.MixtureSameFamily(d.Categorical(logits=z[:, :2]), parts).log_prob(y[:, :2])


def full_mixture(z: Tensor, y: Tensor) -> Tensor:
    d, σ = torch.distributions, F.softplus(z[:, 3:5]) + 1e-3
    A = torch.diag_embed(1 / σ)
    A = A + F.pad(z[:, 5:6, None], (1, 0, 0, 1))
    return -d.MultivariateNormal(z[:, 1:3], precision_matrix=A.transpose(1, 2) @ A).log_prob(y[:, :2])


CASES: dict[str, tuple[losses.Loss, Callable[[Tensor, Tensor], Tensor], np.ndarray, np.ndarray]] = {
    "cross-entropy": (losses.CrossEntropy(), cross, Z, LABELS),
    "soft labels": (losses.CrossEntropy(), cross, Z, SOFT),
    "smoothing": (
        losses.CrossEntropy(label_smoothing=0.2),
        lambda z, y: cross(z, y, label_smoothing=0.2),
        Z,
        LABELS,
    ),
    "class weights": (
        losses.CrossEntropy(class_weight=W, label_smoothing=0.1),
        lambda z, y: cross(z, y, weight=torch.tensor(W, dtype=torch.float64), label_smoothing=0.1),
        Z,
        LABELS,
    ),
    "soft labels, weights": (
        losses.CrossEntropy(class_weight=W, label_smoothing=0.1),
        lambda z, y: cross(z, y, weight=torch.tensor(W, dtype=torch.float64), label_smoothing=0.1),
        Z,
        SOFT,
    ),
    "masked sequence": (losses.CrossEntropy(ignore_index=-1), masked, SEQUENCE, STEPS),
    "nll": (
        losses.NegativeLogLikelihood(),
        lambda z, y: F.nll_loss(z, y, reduction="none"),
        -np.abs(Z),
        LABELS,
    ),
    "binary": (
        losses.BinaryCrossEntropy(),
        lambda z, y: F.binary_cross_entropy_with_logits(z, y, reduction="none").mean(1),
        Z,
        BITS,
    ),
    "binary, weights": (
        losses.BinaryCrossEntropy(class_weight=(1.0, 2.5), outputs="sum"),
        lambda z, y: F.binary_cross_entropy_with_logits(
            z, y, pos_weight=torch.tensor(2.5, dtype=torch.float64), reduction="none"
        ).sum(1),
        Z,
        BITS,
    ),
    "squared": (losses.MeanSquaredError(), lambda z, y: ((z - y) ** 2).mean(1), Z, R),
    "absolute": (losses.MeanAbsoluteError(), lambda z, y: F.l1_loss(z, y, reduction="none").mean(1), Z, R),
    "huber": (
        losses.Huber(1.3),
        lambda z, y: F.huber_loss(z, y, delta=1.3, reduction="none").mean(1),
        Z,
        R,
    ),
    "poisson": (
        losses.PoissonNLL("mean"),
        lambda z, y: F.poisson_nll_loss(z, y, reduction="none").mean(1),
        Z,
        COUNTS,
    ),
    "kl": (
        losses.KLDivergence(),
        lambda z, y: F.kl_div(F.log_softmax(z, 1), y, reduction="none").sum(1),
        Z,
        SOFT,
    ),
    "gaussian": (losses.GaussianNLL(), gaussian, WIDE, R),
    "gaussian, log-variance": (losses.GaussianNLL("log_variance"), normal, WIDE, R),
    "diagonal mixture": (losses.GaussianMixtureNLL(2), diagonal_mixture, WIDE, R[:, :2]),
    "full covariance": (losses.GaussianMixtureNLL(1, "full"), full_mixture, WIDE[:, :6], R[:, :2]),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_the_same(name: str, compared: Callable[..., None]) -> None:
    loss, theirs, output, target = CASES[name]
    z = ops.input("z", output.shape, "float64")
    made = loss(z, ops.constant(target))
    value, slope = evaluate([made, gradient(ops.sum(made), z)], {z: output})
    tensor = torch.tensor(output, requires_grad=True)
    expected = theirs(tensor, torch.tensor(target))
    expected.sum().backward()
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-10, atol=1e-14)
    assert tensor.grad is not None
    np.testing.assert_allclose(slope, tensor.grad.numpy(), rtol=1e-8, atol=1e-12)
    compared("losses", type(loss).__name__, "PyTorch")


def test_gaussian_kl_is_the_same() -> None:
    m, v = ops.input("m", (6, 5), "float64"), ops.input("v", (6, 5), "float64")
    found = evaluate([losses.gaussian_kl(m, v)], {m: Z, v: R})[0]
    d = torch.distributions
    expected = d.kl_divergence(d.Normal(torch.tensor(Z), torch.exp(torch.tensor(R) / 2)), d.Normal(0.0, 1.0))
    np.testing.assert_allclose(found, expected.sum(1).numpy(), rtol=1e-10)
