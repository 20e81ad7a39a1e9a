"""Fine-tuning as PyTorch does it: its weights, another head, layers frozen or with a rate of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chainrule import Network, losses, nn, ops, optim
from chainrule.export import load_torch_state
from chainrule.optim import Group

T = torch.nn
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 5)), RNG.integers(0, 4, 40)
MAPPING = {"body/dense_0": "0", "body/batch_norm_0": "1", "body/dense_1": "3", "head": "5"}


def pretrained() -> T.Sequential:
    """A model whose batch norm has seen something."""
    torch.manual_seed(0)
    layers = [T.Linear(5, 7), T.BatchNorm1d(7), T.Tanh(), T.Linear(7, 6), T.Tanh(), T.Linear(6, 2)]
    model = T.Sequential(*layers).double()
    model(torch.from_numpy(X))
    return model


def ours(model: T.Sequential) -> Network:
    body = nn.sequential(nn.Dense(7), nn.BatchNorm(), ops.tanh, nn.Dense(6))
    net = Network(body=body, act=ops.tanh, head=nn.Dense(2), dtype="float64").build(5)
    load_torch_state(net, model.state_dict(), MAPPING)
    return net


@pytest.mark.parametrize("way", ["frozen", "slow"])
def test_another_head_is_tuned_as_in_pytorch(way: str) -> None:
    model = pretrained()
    net = ours(model).replace(head=nn.Dense(4))
    model[5] = T.Linear(6, 4).double()
    model[5].load_state_dict(
        {"weight": torch.from_numpy(net["head/W"].T.copy()), "bias": torch.from_numpy(net["head/b"].copy())}
    )
    if way == "frozen":
        model[:4].requires_grad_(False)
        model[1].eval()
        group, trained = Group("body/*", frozen=True), [{"params": model[5].parameters()}]
    else:
        group = Group("body/*", learning_rate=0.02)
        trained = [{"params": model[:4].parameters(), "lr": 0.02}, {"params": model[5].parameters()}]
    descent = torch.optim.SGD(trained, lr=0.5)
    for _ in range(5):
        descent.zero_grad()
        T.functional.cross_entropy(model(torch.from_numpy(X)), torch.from_numpy(Y)).backward()
        descent.step()
    net.fit(
        X, Y, loss=losses.CrossEntropy(), optimizer=optim.SGD(0.5, groups=(group,)),
        schedule=optim.Constant(), epochs=5, batch_size=40, verbose=0,
    )  # fmt: skip
    for layer, name in MAPPING.items():
        leaves = (
            ("weight", "scale" if "norm" in layer else "W"),
            ("bias", "offset" if "norm" in layer else "b"),
        )
        for theirs, leaf in leaves:
            wanted = getattr(model[int(name)], theirs).detach().numpy()
            wanted = wanted.T if leaf == "W" else wanted
            np.testing.assert_allclose(net[f"{layer}/{leaf}"], wanted, rtol=1e-9, atol=1e-12)
    if way == "frozen":
        wanted = model[1].running_var.numpy()
        np.testing.assert_array_equal(net["body/batch_norm_0/variance"], wanted)
