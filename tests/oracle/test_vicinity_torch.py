"""Adversarial training and mixup of a deep network, step for step beside PyTorch's gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import chainrule as cr
from chainrule import optim
from chainrule.data import Adversarial, Mixup
from chainrule.data.vicinity import beta
from chainrule.executors import evaluate
from chainrule.nn import Dense
from chainrule.ops import RandomKey, tanh

RNG = np.random.default_rng(11)
X, Y = RNG.normal(size=(60, 7)), RNG.integers(0, 4, 60)
STEPS, BATCH, RATE = 6, 20, 0.3


def networks() -> tuple[cr.Network, torch.nn.Sequential]:
    """The same two-layer network twice."""
    net = cr.Network(Dense(9), tanh, Dense(4), seed=5, dtype="float64").build(7)
    twin = torch.nn.Sequential(torch.nn.Linear(7, 9), torch.nn.Tanh(), torch.nn.Linear(9, 4)).double()
    with torch.no_grad():
        for place, layer in ((0, twin[0]), (1, twin[2])):
            layer.weight.copy_(torch.from_numpy(net[f"dense_{place}/W"].T.copy()))
            layer.bias.copy_(torch.from_numpy(net[f"dense_{place}/b"].copy()))
    return net, twin


def compare(net: cr.Network, twin: torch.nn.Sequential, augment, loss_of_step) -> None:
    optimizer = torch.optim.SGD(twin.parameters(), RATE)
    for step in range(STEPS):
        rows = slice(step * BATCH % 60, step * BATCH % 60 + BATCH)
        optimizer.zero_grad()
        loss_of_step(step, torch.from_numpy(X[rows]), torch.from_numpy(Y[rows])).backward()
        optimizer.step()
    net.fit(
        X, Y, optimizer=optim.SGD(RATE), schedule="constant", epochs=2, batch_size=BATCH, shuffle=False,
        augment=augment, verbose=0,
    )  # fmt: skip
    for place, layer in ((0, twin[0]), (1, twin[2])):
        np.testing.assert_allclose(
            net[f"dense_{place}/W"], layer.weight.detach().numpy().T, rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("norm", ["max", "euclidean"])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_adversarial_steps(norm, share):
    net, twin = networks()
    ε = 0.5

    def loss(step, x, y):
        x.requires_grad_(True)
        clean = cross_entropy(twin(x), y)
        (g,) = torch.autograd.grad(clean, x, retain_graph=True)
        move = g.sign() if norm == "max" else g / g.norm(dim=1, keepdim=True)
        return (1 - share) * clean + share * cross_entropy(twin((x + ε * move).detach()), y)

    compare(net, twin, Adversarial(ε, share, norm), loss)


def test_mixup_steps():
    net, twin = networks()

    def loss(step, x, y):
        drawn = evaluate([beta(RandomKey(5, step, "vicinity/"), BATCH, 0.4, "float64")], {})[0]
        λ = torch.from_numpy(drawn)
        out = twin(λ[:, None] * x + (1 - λ[:, None]) * x.roll(-1, 0))
        own, other = (cross_entropy(out, t, reduction="none") for t in (y, y.roll(-1, 0)))
        return (λ * own + (1 - λ) * other).mean()

    compare(net, twin, Mixup(0.4), loss)
