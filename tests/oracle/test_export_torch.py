"""Weights go to PyTorch and come back: the same layers there compute the same outputs."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch

from chainrule import Network, nn, ops
from chainrule.export import load_torch_state, to_torch_state


class TorchResidual(torch.nn.Module):
    def __init__(self, body, shortcut=None):
        super().__init__()
        self.body = body
        if shortcut is not None:
            self.shortcut = shortcut

    def forward(self, x):
        return self.body(x) + (self.shortcut(x) if hasattr(self, "shortcut") else x)


class Named(torch.nn.Module):
    """A model as PyTorch's users write one."""

    def __init__(self):
        super().__init__()
        self.fc1, self.norm = torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7)
        self.fc2 = torch.nn.Linear(7, 3)

    def forward(self, x):
        return self.fc2(torch.relu(self.norm(self.fc1(x))))


class TorchShared(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block = torch.nn.Linear(5, 5)

    def forward(self, x):
        return self.block(torch.tanh(self.block(x)))


T = torch.nn
FLAT = (5,)
# name: (our steps, PyTorch's module, the shape of a sample, categories)
PAIRS = {
    "dense": ((nn.Dense(3),), lambda: T.Sequential(T.Linear(5, 3)), FLAT, 0),
    "no bias": ((nn.Dense(3, bias=False),), lambda: T.Sequential(T.Linear(5, 3, bias=False)), FLAT, 0),
    "deep": (
        (nn.Dense(7), ops.relu, nn.Dropout(0.5), nn.Dense(3)),
        lambda: T.Sequential(T.Linear(5, 7), T.ReLU(), T.Dropout(), T.Linear(7, 3)), FLAT, 0,
    ),
    "batch norm": (
        (nn.Dense(7), nn.BatchNorm(), ops.tanh, nn.Dense(3)),
        lambda: T.Sequential(T.Linear(5, 7), T.BatchNorm1d(7), T.Tanh(), T.Linear(7, 3)), FLAT, 0,
    ),
    "batch norm without scale": (
        (nn.BatchNorm(scale=False, offset=False), nn.Dense(2)),
        lambda: T.Sequential(T.BatchNorm1d(5, affine=False), T.Linear(5, 2)), FLAT, 0,
    ),
    "layer norm": (
        (nn.Dense(7), nn.LayerNorm(), ops.gelu),
        lambda: T.Sequential(T.Linear(5, 7), T.LayerNorm(7), T.GELU()), FLAT, 0,
    ),
    "embedding": (
        (nn.Embedding(9, 4), nn.Flatten(), nn.Dense(2)),
        lambda: T.Sequential(T.Embedding(9, 4), T.Flatten(), T.Linear(12, 2)), (3,), 9,
    ),
    "prelu": ((nn.Dense(4), nn.PReLU()), lambda: T.Sequential(T.Linear(5, 4), T.PReLU(4)), FLAT, 0),
    "prelu shared": (
        (nn.Dense(4), nn.PReLU(shared=True)), lambda: T.Sequential(T.Linear(5, 4), T.PReLU()), FLAT, 0,
    ),
    "residual": (
        (nn.Residual(nn.sequential(nn.Dense(6), ops.relu, nn.Dense(5))), nn.Dense(2)),
        lambda: T.Sequential(
            TorchResidual(T.Sequential(T.Linear(5, 6), T.ReLU(), T.Linear(6, 5))), T.Linear(5, 2)
        ), FLAT, 0,
    ),
    "shortcut": (
        (nn.Residual(nn.Dense(3), nn.Dense(3, bias=False)),),
        lambda: T.Sequential(TorchResidual(T.Linear(5, 3), T.Linear(5, 3, bias=False))), FLAT, 0,
    ),
    "shared": (
        (nn.Shared("block", nn.Dense(5)), ops.tanh, nn.Shared("block", nn.Dense(5))), TorchShared, FLAT, 0,
    ),
}  # fmt: skip


def rows(shape, categories, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, categories, (11, *shape)) if categories else rng.normal(size=(11, *shape))


def ours(steps, shape, categories, dtype="float64"):
    return Network(*steps, dtype=dtype, seed=4).build(*shape, dtype="int64" if categories else dtype)


def theirs(module, seed=0):
    """With parameters and statistics off their first values."""
    torch.manual_seed(seed)
    made = module().double()
    with torch.no_grad():
        for value in made.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand_like(value) * 0.5)
    return made.eval()


def by_torch(module, x):
    with torch.no_grad():
        return module(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("name", PAIRS)
def test_weights_from_torch(name):
    steps, module, shape, categories = PAIRS[name]
    net, other, x = ours(steps, shape, categories), theirs(module), rows(shape, categories)
    load_torch_state(net, other.state_dict())
    np.testing.assert_allclose(net.output(x), by_torch(other, x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", PAIRS)
def test_weights_to_torch(name):
    """``load_state_dict`` is strict: every name and shape is there, and no other."""
    steps, module, shape, categories = PAIRS[name]
    net, other, x = ours(steps, shape, categories), theirs(module), rows(shape, categories)
    for path, value in net.state.items():
        net[path] = value + np.random.default_rng(len(path)).uniform(0.1, 0.5, value.shape)
    other.load_state_dict({k: torch.from_numpy(v) for k, v in to_torch_state(net).items()})
    np.testing.assert_allclose(by_torch(other, x), net.output(x), rtol=1e-10, atol=1e-10)


def test_a_model_with_names_of_its_own():
    net, other = ours((nn.Dense(7), nn.BatchNorm(), ops.relu, nn.Dense(3)), FLAT, 0), theirs(Named)
    mapping = {"dense_0": "fc1", "batch_norm_0": "norm", "dense_1": "fc2"}
    load_torch_state(net, other.state_dict(), mapping)
    x = rows(FLAT, 0)
    np.testing.assert_allclose(net.output(x), by_torch(other, x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_through_safetensors_files(dtype, tmp_path):
    """Theirs read by us, in half precision too; ours read by their package."""
    steps, module, shape, _ = PAIRS["batch norm"]
    net, other, x = ours(steps, shape, 0, "float32"), theirs(module), rows(shape, 0).astype("f4")
    saved = {k: v.to(dtype) if v.is_floating_point() else v for k, v in other.state_dict().items()}
    safetensors.torch.save_file(saved, tmp_path / "theirs.safetensors")
    load_torch_state(net, tmp_path / "theirs.safetensors")
    other.load_state_dict(saved)
    np.testing.assert_allclose(net.output(x), by_torch(other, x.astype("f8")), rtol=1e-5, atol=1e-5)
    to_torch_state(net, tmp_path / "ours.safetensors")
    back = theirs(module, 1)
    back.load_state_dict(safetensors.torch.load_file(tmp_path / "ours.safetensors"))
    np.testing.assert_allclose(by_torch(back, x.astype("f8")), net.output(x), rtol=1e-5, atol=1e-5)


def test_the_first_layer_of_a_larger_model_can_be_taken():
    """Pretrained layers with a new head: what is not wanted is left out of the dict."""
    net = ours((nn.Dense(7), ops.relu, nn.Dense(2)), FLAT, 0)
    state = {k: v for k, v in theirs(Named).state_dict().items() if k.startswith("fc1")}
    head = {k: v for k, v in to_torch_state(net).items() if k.startswith("2.")}
    load_torch_state(net, {**state, **head}, {"dense_0": "fc1"})
    np.testing.assert_array_equal(net["dense_0/W"], state["fc1.weight"].numpy().T)
