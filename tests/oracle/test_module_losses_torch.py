"""PyTorch's own samples of its losses (module_db) through ours: values and gradients, by prediction and
target, for every reduction. What does not fit: tests/oracle/support/module_samples.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from module_samples import INFOS, agree, refusals, same, samples, unexplained, unfit

from chainrule import losses, ops
from chainrule.errors import ChainruleError
from chainrule.executors import evaluate


def last(x):
    return ops.transpose(x, (0, *range(2, x.ndim), 1))


def row(x):
    """A batch of one."""
    return ops.reshape(x, (1, *x.shape))


# ------------------------------------------------------------------ our form of each loss


def reduced(loss):
    """(m, loss of ours by what it does with the outputs, prediction, target) → their value.

    Without reduction every element is a sample of its own; otherwise the outputs of a sample are reduced by
    our loss, and samples as the training loop would."""

    def form(m, z, *others):
        shape = z.shape
        if m.reduction == "none" or not shape:
            each = loss(m, "mean")(*[ops.reshape(v, (z.size, 1)) for v in (z, *others)])
            return ops.reshape(each, shape) if m.reduction == "none" else ops.sum(each)
        over = "sum" if m.reduction == "sum" else "mean"
        values = loss(m, over)(z, *others)
        return ops.sum(values) if over == "sum" else ops.mean(values)

    return form


def from_probabilities(m, over):
    """BCELoss takes p, we its logit."""
    return lambda p, y: losses.BinaryCrossEntropy(outputs=over)(ops.log(p) - ops.log(1 - p), y)


def smooth(m, over):
    """Theirs is divided by β."""
    return lambda z, y: losses.Huber(m.beta, outputs=over)(z, y) / m.beta


def gaussian(m, z, y, variance):
    """The width of our output holds the raw scales beside the means; without the constant, as theirs."""
    inputs = ops.concat([z, ops.log(ops.broadcast(variance, z.shape))], 1)
    constant = 0.5 * np.log(2 * np.pi)
    loss = losses.GaussianNLL("log_variance")
    if m.reduction == "none":
        each = [loss(inputs[:, j :: z.shape[1]], y[:, j : j + 1]) - constant for j in range(z.shape[1])]
        return ops.stack(each, 1)
    values = loss(inputs, y) - z.shape[1] * constant
    return ops.sum(values) if m.reduction == "sum" else ops.mean(values) / z.shape[1]


def classes(kind):
    """Cross-entropy and its kin: theirs divides by the labels' weights, ours leaves that to the loop."""

    def form(m, z, y):
        soft = y.ndim == z.ndim
        if z.ndim == 1:
            z, y, alone = row(z), row(y), True
        else:
            alone = False
            z = last(z)
            y = last(y) if soft else y
        options = {
            "class_weight": None if m.weight is None else tuple(m.weight.tolist()),
            "ignore_index": None if soft else m.ignore_index,
        }
        if kind is losses.CrossEntropy:
            options["label_smoothing"] = m.label_smoothing
        places = z.shape[:-1]
        each = kind(**options)(
            ops.reshape(z, (-1, z.shape[-1])), ops.reshape(y, (-1, z.shape[-1]) if soft else (-1,))
        )
        if m.reduction == "none":
            return ops.reshape(each, () if alone else places)
        together = ops.sum(kind(**options, positions="sum")(z, y))
        return together if m.reduction == "sum" else together / counted(m, y, soft, places)

    return form


def counted(m, y, soft, places):
    """The number of labels, each as often as it weighs."""
    if soft:
        return float(np.prod(places))
    weight = ops.constant(np.ones(99) if m.weight is None else m.weight.numpy(), "float64")
    heard = ops.logical_not(ops.equal(y, m.ignore_index))
    return ops.sum(ops.where(heard, ops.gather(weight, ops.where(heard, y, 0)), 0))


def poisson(m, over):
    return lambda z, y: losses.PoissonNLL(over)(z, y)


FORMS = {
    "L1Loss": (reduced(lambda m, over: losses.MeanAbsoluteError(over)), "MeanAbsoluteError"),
    "MSELoss": (reduced(lambda m, over: losses.MeanSquaredError(over)), "MeanSquaredError"),
    "HuberLoss": (reduced(lambda m, over: losses.Huber(m.delta, over)), "Huber"),
    "SmoothL1Loss": (reduced(smooth), "Huber"),
    "BCEWithLogitsLoss": (
        reduced(lambda m, over: losses.BinaryCrossEntropy(outputs=over)), "BinaryCrossEntropy",
    ),
    "BCELoss": (reduced(from_probabilities), "BinaryCrossEntropy"),
    "PoissonNLLLoss": (reduced(poisson), "PoissonNLL"),
    "GaussianNLLLoss": (gaussian, "GaussianNLL"),
    "CrossEntropyLoss": (classes(losses.CrossEntropy), "CrossEntropy"),
    "NLLLoss": (classes(losses.NegativeLogLikelihood), "NegativeLogLikelihood"),
}  # fmt: skip

# ------------------------------------------------------------------ the comparison


def compare_loss(name, module, inputs, what):
    form, _ = FORMS[name]
    nodes = [ops.input(f"x{i}", tuple(t.shape), t.detach().numpy().dtype) for i, t in enumerate(inputs)]
    given = {x: t.detach().numpy() for x, t in zip(nodes, inputs, strict=True)}
    leaves = [(x, t, same) for x, t in zip(nodes, inputs, strict=True)]
    agree(form(module, *nodes), leaves, given, module(*inputs), what)


@pytest.mark.parametrize("name", FORMS)
def test_pytorchs_samples(name, compared):
    count = 0
    for module, inputs, description in samples(name, True):
        if unfit(name, module, inputs, True) is None:
            compare_loss(name, module, inputs, f"{name}({description})")
            count += 1
    assert count
    compared("losses", FORMS[name][1], "PyTorch's samples", count)


def test_every_loss_of_pytorch_has_a_form_or_a_reason():
    assert not unexplained(name for name in INFOS if name.endswith("Loss") and name not in FORMS)


TAKEN = {
    "Expected floating point type for target with class probabilities": "whole numbers may be shares, too",
    "ignore_index is not supported for floating point target": "it is a label, of which shares have none",
}
REFUSED = [case for case in refusals(FORMS) if case[3] not in TAKEN]


@pytest.mark.parametrize(("name", "module", "inputs", "why"), REFUSED)
def test_what_pytorch_refuses_we_refuse(name, module, inputs, why):
    arrays = [t.numpy(force=True) for t in inputs]

    def attempt():
        nodes = [ops.input(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
        evaluate([FORMS[name][0](module, *nodes)], dict(zip(nodes, arrays, strict=True)))

    with pytest.raises(ChainruleError):
        attempt()


def test_refusals_are_shared():
    assert len(REFUSED) >= 6
