"""PyTorch's own samples of its recurrent modules (module_db) through our layers: two layers, both directions,
with biases and without; values and gradients by inputs and weights.

What does not fit: tests/oracle/support/module_samples.py. PyTorch has two biases where one is enough; the
second is zero here, but where GRU needs it.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from module_samples import agree, same, samples, unfit

from chainrule import nn, ops

KINDS = {
    "RNN": lambda m: nn.Elman(m.hidden_size, sequences=True, activation=m.nonlinearity),
    "GRU": lambda m: nn.GRU(m.hidden_size, sequences=True),
    "LSTM": lambda m: nn.LSTM(m.hidden_size, sequences=True),
}


def stack(name, module):
    """The module as layers one after another."""
    layer = KINDS[name](module)
    if module.bidirectional:
        layer = nn.Bidirectional(layer)
    return nn.sequential(**{f"layer_{i}": layer for i in range(module.num_layers)})


def weights(name, module):
    """{our path: (their tensor, how its array is turned)}"""
    found, u = {}, module.hidden_size
    for path, suffix in places(module):
        found[f"{path}W"] = (getattr(module, f"weight_ih_{suffix}"), np.transpose)
        found[f"{path}U"] = (getattr(module, f"weight_hh_{suffix}"), np.transpose)
        if module.bias:
            found[f"{path}b"] = (getattr(module, f"bias_ih_{suffix}"), same)
            second = getattr(module, f"bias_hh_{suffix}")
            with torch.no_grad():
                second[: 2 * u if name == "GRU" else None] = 0
            if name == "GRU":
                found[f"{path}c"] = (second, lambda b: b[2 * u :])
    return found


def places(module):
    """(our path, their suffix) of every direction of every layer."""
    for i in range(module.num_layers):
        if module.bidirectional:
            yield f"layer_{i}/forward/", f"l{i}"
            yield f"layer_{i}/backward/", f"l{i}_reverse"
        else:
            yield f"layer_{i}/", f"l{i}"


@pytest.mark.parametrize("name", KINDS)
def test_pytorchs_samples(name, compared):
    count = 0
    for module, inputs, description in samples(name, True):
        if unfit(name, module, inputs, True) is None:
            compare(name, module, inputs[0], f"{name}({description})")
            count += 1
    assert count
    compared("layers", "Elman" if name == "RNN" else name, "PyTorch's samples", count)


def compare(name, module, x, what):
    """Samples have no axis of batches: a batch of one."""
    node = ops.input("x", tuple(x.shape), "float64")
    layer = stack(name, module)
    y, run = nn.trace(layer, ops.reshape(node, (1, *x.shape)), training=True, dtype="float64")
    leaves = [(node, x, same)]
    leaves += [(run.inputs[path], tensor, turn) for path, (tensor, turn) in weights(name, module).items()]
    given = {leaf: np.array(turn(t.detach().numpy())) for leaf, t, turn in leaves}
    for path, parameter in run.parameters.items():
        given.setdefault(run.inputs[path], np.zeros(parameter.spec.shape))  # a module without biases
    agree(ops.reshape(y, y.shape[1:]), leaves, given, module(x)[0], what)
