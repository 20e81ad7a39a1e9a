"""Weights as a PyTorch state dict of arrays: names, forms, files, refusals. PyTorch itself: tests/oracle."""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from mutation import mutated_bytes

from chainrule import Network, nn, ops
from chainrule.errors import ConfigError, DTypeError, ModelFileError, ShapeError
from chainrule.export import load_torch_state, to_torch_state
from chainrule.storage import read_public_tensors


def small(**more: Any) -> Network:
    return Network(nn.Dense(3), ops.relu, nn.Dense(2), **more).build(4)


def test_names_and_forms():
    block = nn.Shared("block", nn.sequential(nn.Dense(4), ops.tanh))
    net = Network(
        nn.Dense(4), block, block, nn.BatchNorm(), nn.parallel(left=nn.Dense(2), right=nn.Maxout(3)),
        nn.Residual(nn.sequential(nn.Dense(5), nn.PReLU(shared=True))),
        nn.TiedDense("residual_0/body/dense_0"),
        head=nn.Dense(1),
    ).build(4)  # fmt: skip
    state = to_torch_state(net)
    assert {name: a.shape for name, a in state.items()} == {
        "0.weight": (4, 4), "0.bias": (4,), "block.0.weight": (4, 4), "block.0.bias": (4,),
        "3.weight": (4,), "3.bias": (4,), "3.running_mean": (4,), "3.running_var": (4,),
        "3.num_batches_tracked": (), "4.left.weight": (2, 4), "4.left.bias": (2,), "4.right.weight": (6, 4),
        "4.right.bias": (6,), "5.body.0.weight": (5, 5), "5.body.0.bias": (5,), "5.body.1.weight": (1,),
        "6.bias": (5,), "head.weight": (1, 5), "head.bias": (1,),
    }  # fmt: skip
    np.testing.assert_array_equal(state["4.left.weight"], net["parallel_0/left/W"].T)


def test_there_and_back_changes_nothing():
    net, other = small(seed=1), small(seed=2)
    load_torch_state(other, to_torch_state(net))
    for name, value in net.state.items():
        np.testing.assert_array_equal(other[name], value)


@pytest.mark.parametrize("executor", ["reference", "auto"])
def test_a_network_that_has_predicted_takes_them_too(executor):
    x = np.random.default_rng(0).normal(size=(9, 4)).astype("f4")
    net, other = small(seed=1), small(seed=2)
    before = net.output(x, executor=executor)
    load_torch_state(net, to_torch_state(other))
    assert (net.output(x, executor=executor) != before).all()
    np.testing.assert_array_equal(net.output(x, executor=executor), other.output(x, executor=executor))


def test_a_file_is_what_the_public_package_writes_and_reads(tmp_path):
    net, other = small(seed=1), small(seed=2)
    state = to_torch_state(net, tmp_path / "ours.safetensors")
    read = safetensors.numpy.load_file(tmp_path / "ours.safetensors")
    assert read.keys() == state.keys()
    safetensors.numpy.save_file(state, tmp_path / "theirs.safetensors")
    load_torch_state(other, tmp_path / "theirs.safetensors")
    np.testing.assert_array_equal(other["dense_1/W"], net["dense_1/W"])


@pytest.mark.parametrize("kind", ["float16", "int8", "int16"])
def test_narrow_tensors_of_a_file_are_widened(kind, tmp_path):
    state = {k: np.round(v * 8).astype(kind) for k, v in to_torch_state(small(seed=1)).items()}
    safetensors.numpy.save_file(state, tmp_path / "theirs.safetensors")
    net = small()
    load_torch_state(net, tmp_path / "theirs.safetensors")
    np.testing.assert_array_equal(net["dense_0/W"], state["0.weight"].T)


@dataclass(frozen=True)
class Halved(nn.Layer):
    """A layer of one's own: its names stay."""

    body: nn.Layer

    def __call__(self, x: Any, run: nn.Run) -> Any:
        return run.apply("body", self.body, x) * run.parameter("gain", 1, nn.Constant(0.5), role="scale")


def test_layers_of_ones_own_keep_their_names():
    net = Network(own=Halved(nn.sequential(nn.Dense(3)))).build(4)
    assert list(to_torch_state(net)) == ["own.body.0.weight", "own.body.0.bias", "own.gain"]


STATE = {"0.weight": np.ones((3, 4)), "0.bias": np.ones(3), "2.weight": np.ones((2, 3)), "2.bias": np.ones(2)}
RENAMED = {
    "fc1.weight": np.ones((3, 4)),
    "fc1.bias": np.ones(3),
    "fc2.weight": np.ones((2, 3)),
    "fc2.bias": [1, 1],
}
BAD: dict[str, tuple[dict[str, Any], dict[str, str] | None, type[Exception], str]] = {
    "shape": (
        {**STATE, "0.weight": np.ones((4, 3))}, None, ShapeError,
        r"'0.weight' has shape \(4, 3\), but 'dense_0/W' of shape \(4, 3\) needs \(3, 4\).*\(out, in\)",
    ),
    "bias": (
        {**STATE, "2.bias": np.ones(3)}, None, ShapeError,
        r"\(3,\), but 'dense_1/b' of shape \(2,\) needs \(2,\);",
    ),
    "missing": (
        {k: v for k, v in STATE.items() if k != "2.bias"}, None, ConfigError, "lacks '2.bias'; nothing",
    ),
    "left over": ({**STATE, "4.weight": np.ones(2)}, None, ConfigError, "has '4.weight' besides; nothing"),
    "names": (RENAMED, None, ConfigError, "In order the shapes fit.*'dense_0/W': 'fc1.weight'"),
    "text": ({**STATE, "2.bias": ["a", "b"]}, None, DTypeError, "'2.bias' holds <U1, not numbers"),
    "unknown layer": (RENAMED, {"dense_7": "fc1"}, ConfigError, "no 'dense_7'; did you mean 'dense_1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_refused_and_nothing_is_loaded(name):
    state, mapping, error, message = BAD[name]
    net = small()
    before = net.state
    with pytest.raises(error, match=message):
        load_torch_state(net, state, mapping)
    for path, value in before.items():
        np.testing.assert_array_equal(net[path], value)


def test_the_proposed_mapping_is_one():
    net = small()
    with pytest.raises(ConfigError) as caught:
        load_torch_state(net, RENAMED)
    proposed = str(caught.value).rpartition("mapping=")[2]
    pairs = dict(part.split("': '") for part in proposed.strip("{}'").split("', '"))
    load_torch_state(net, RENAMED, pairs)
    assert net["dense_1/b"].tolist() == [1, 1]


def test_a_network_without_parameters_is_refused():
    with pytest.raises(ConfigError, match="build"):
        load_torch_state(Network(nn.Dense(3)), STATE)


def test_mutated_files_give_arrays_or_one_error(tmp_path):
    path = tmp_path / "m"
    safetensors.numpy.save_file({k: v.astype("f2") for k, v in STATE.items()}, path)
    whole, read = path.read_bytes(), 0
    for seed in range(600):
        draws = random.Random(seed)
        path.write_bytes(mutated_bytes(whole, draws))
        with contextlib.suppress(ModelFileError):
            read += len(read_public_tensors(path)) == 4
    assert 0 < read < 500


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "bad.safetensors"
    safetensors.numpy.save_file({k: v.astype("f4") for k, v in STATE.items()}, path)
    whole = path.read_bytes()
    for broken in (whole[:-1], whole + b"0", whole[:20], b"", whole.replace(b'"F32"', b'"C64"')):
        path.write_bytes(broken)
        with pytest.raises(ModelFileError):
            load_torch_state(small(), path)


def test_kernels_have_their_last_axes_first_and_come_back():
    net = Network(nn.Conv2D(5, (2, 3)), nn.ConvTranspose2D(4, 2), seed=0).build(6, 7, 3)
    found = to_torch_state(net)
    assert found["0.weight"].shape == (5, 3, 2, 3)
    assert found["1.weight"].shape == (5, 4, 2, 2)
    np.testing.assert_array_equal(found["0.weight"], np.einsum("hwio->oihw", net["conv2d_0/W"]))
    other = Network(nn.Conv2D(5, (2, 3)), nn.ConvTranspose2D(4, 2), seed=1).build(6, 7, 3)
    load_torch_state(other, found)
    for name, value in net.state.items():
        np.testing.assert_array_equal(other[name], value)
