"""Packed sequences of unequal length against PyTorch, and scan against jax.lax.scan."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from chainrule import nn, ops
from chainrule.autodiff import gradient
from chainrule.executors import EXECUTORS, compile, evaluate
from chainrule.export import load_torch_state, to_torch_state
from chainrule.network import Network

jax.config.update("jax_enable_x64", True)

LENGTHS = np.array([6, 1, 4, 6, 2])
PAIRS = {
    "rnn": (nn.Elman(3, sequences=True), torch.nn.RNN, 1),
    "gru": (nn.GRU(3, sequences=True), torch.nn.GRU, 1),
    "lstm": (nn.LSTM(3, sequences=True), torch.nn.LSTM, 1),
    "bidirectional lstm": (nn.Bidirectional(nn.LSTM(3, sequences=True)), torch.nn.LSTM, 2),
    "bidirectional gru": (nn.Bidirectional(nn.GRU(3, sequences=True)), torch.nn.GRU, 2),
}


@pytest.mark.parametrize("name", PAIRS)
def test_packed_sequences(name):
    """Outputs of every step, and the gradients by inputs and weights."""
    layer, kind, ways = PAIRS[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 6, 2))
    theirs = kind(2, 3, batch_first=True, bidirectional=ways == 2, dtype=torch.float64)
    tx = torch.tensor(x, requires_grad=True)
    packed = pack_padded_sequence(tx, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True, total_length=6)
    c = rng.normal(size=expected.shape)
    (expected * torch.tensor(c)).sum().backward()

    given = {"x": ops.input("x", x.shape, "float64"), "x/lengths": ops.input("x/lengths", (5,), "int64")}
    y, run = nn.trace(layer, given, training=True, dtype="float64")
    values = {}
    for place, way in enumerate(("forward/", "backward/") if ways == 2 else ("",)):
        W, U, b, b2 = [p.detach().numpy() for p in list(theirs.parameters())[4 * place : 4 * place + 4]]
        values |= {f"{way}W": W.T, f"{way}U": U.T, f"{way}b": b + b2}
        if kind is torch.nn.GRU:
            values[f"{way}b"] = b + np.concatenate([b2[:6], np.zeros(3)])
            values[f"{way}c"] = b2[6:]
    known = {given["x"]: x, given["x/lengths"]: LENGTHS} | {run.inputs[n]: v for n, v in values.items()}
    wanted = [given["x"], *(run.inputs[n] for n in values)]
    found, by_x, *by_weights = evaluate([y, *gradient(ops.sum(y * ops.constant(c)), wanted)], known)
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(by_x, tx.grad.numpy(), rtol=1e-9, atol=1e-12)
    slopes = dict(zip(values, by_weights, strict=True))
    for place, way in enumerate(("forward/", "backward/") if ways == 2 else ("",)):
        W, U, b, b2 = [p.grad.numpy() for p in list(theirs.parameters())[4 * place : 4 * place + 4]]
        np.testing.assert_allclose(slopes[f"{way}W"], W.T, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(slopes[f"{way}U"], U.T, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(slopes[f"{way}b"], b, rtol=1e-9, atol=1e-12)
        if kind is torch.nn.GRU:
            np.testing.assert_allclose(slopes[f"{way}c"], b2[6:], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("reverse", [False, True])
def test_scan_is_that_of_jax(reverse, executor):
    """Values, gradients, and gradients of gradients."""
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=s) * 0.7 for s in ((5, 3, 2), (3, 4), (4,), (2, 4), (4, 4))]

    def mine(x, h, c, W, U):
        def step(carries, places):
            h, c = carries
            h = ops.tanh(places[0] @ W + h @ U + c)
            c = c * ops.sigmoid(ops.mean(h, 0))
            return (h, c), (h * c,)

        (h, c), (y,) = ops.scan(step, (h, c), x, reverse=reverse)
        return ops.sum(ops.sin(h)) + ops.sum(c) + ops.sum(y * y)

    def theirs(x, h, c, W, U):
        def step(carries, place):
            h, c = carries
            h = jnp.tanh(place @ W + h @ U + c)
            c = c * jax.nn.sigmoid(h.mean(0))
            return (h, c), h * c

        (h, c), y = jax.lax.scan(step, (h, c), x, reverse=reverse)
        return jnp.sin(h).sum() + c.sum() + (y * y).sum()

    inputs = [ops.input(f"v{i}", a.shape, "float64") for i, a in enumerate(arrays)]
    value = mine(*inputs)
    first = gradient(value, inputs)
    second = gradient(sum((ops.sum(g * g) for g in first), start=ops.constant(0.0, "float64")), inputs)
    found = compile([value, *first, *second], inputs, executor=executor)(*arrays)

    slope = jax.grad(theirs, argnums=tuple(range(5)))
    norm = jax.grad(lambda *a: sum((g**2).sum() for g in slope(*a)), argnums=tuple(range(5)))
    expected = [theirs(*arrays), *slope(*arrays), *norm(*arrays)]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", PAIRS)
def test_state_dicts_go_both_ways(name):
    """Weights of PyTorch, taken over, give its outputs; given back, they give them again."""
    layer, kind, ways = PAIRS[name]
    torch.manual_seed(1)
    theirs = torch.nn.ModuleDict({"body": kind(2, 3, batch_first=True, bidirectional=ways == 2)})
    x = torch.randn(4, 6, 2)
    expected = theirs["body"](x)[0].detach().numpy()
    net = Network(body=layer).build(6, 2)
    load_torch_state(net, theirs.state_dict())
    np.testing.assert_allclose(net.output(x.numpy()), expected, rtol=1e-4, atol=1e-6)
    again = torch.nn.ModuleDict({"body": kind(2, 3, batch_first=True, bidirectional=ways == 2)})
    again.load_state_dict({k: torch.from_numpy(v) for k, v in to_torch_state(net).items()})
    np.testing.assert_allclose(again["body"](x)[0].detach().numpy(), expected, rtol=1e-4, atol=1e-6)
