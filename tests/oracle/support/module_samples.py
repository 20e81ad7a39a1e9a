"""PyTorch's own samples of its modules (module_db): the modules, what they are given, which do not fit.

``UNFIT`` is the one table of samples that do not fit us, ``WITHOUT`` of modules that have no counterpart.
"""

from __future__ import annotations

import fnmatch
import warnings

import numpy as np
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_modules import module_db

from chainrule import ops
from chainrule.autodiff import vjp
from chainrule.executors import evaluate

INFOS = {info.name.removeprefix("nn."): info for info in module_db}

# ------------------------------------------------------------------ what does not fit


def whole(value, axes):
    return tuple(value) if isinstance(value, tuple) else (value,) * axes


UNFIT = [
    # (module, of which samples: (module, inputs, training) → bool, why)
    ("AdaptiveAvgPool*", lambda m, x, t: {*whole(m.output_size, 1)} != {1},
     "ours pools to one number; windows of unequal sizes are not in the catalogue"),
    ("AvgPool*", lambda m, x, t: getattr(m, "divisor_override", None),
     "a mean is divided by what is in the window, not by a number of one's own"),
    ("MaxPool*", lambda m, x, t: m.return_indices, "pools give values, not places"),
    ("BatchNorm*", lambda m, x, t: t and not x[0].shape[0], "no statistics of no rows: ShapeError"),
    ("BatchNorm*", lambda m, x, t: not t and not m.track_running_stats,
     "inference always uses running statistics"),
    ("LayerNorm", lambda m, x, t: not x[0].shape[0], "PyTorch's gradients of no rows are not defined"),
    ("*BCE*", lambda m, x, t: m.weight is not None, "weights belong to samples and classes, not to outputs"),
    ("PoissonNLLLoss", lambda m, x, t: m.full, "the constant log y! is left out: no network can change it"),
    ("PoissonNLLLoss", lambda m, x, t: not m.log_input and not m.full, "the output is a rate's logarithm"),
    *[(name, lambda m, x, t: len(x) > 1, "states begin at 0") for name in ("RNN", "GRU", "LSTM")],
    ("LSTM", lambda m, x, t: m.proj_size, "a projection of the state is a Dense layer of its own"),
]  # fmt: skip

WITHOUT = {
    "*3d": "volumes are not in the catalogue (A4: one and two axes)",
    "AdaptiveMaxPool*": "windows of unequal sizes; GlobalMaxPool is against PyTorch in test_nn_torch.py",
    "Fractional*": "random windows are not in the catalogue",
    "LPPool*": "not in the catalogue",
    "*Pad?d": "a layer of its own for a border: convolution and pooling have ``padding``, else ops.pad",
    "CELU": "not in the catalogue",
    "Bilinear": "not in the catalogue",
    "GLU": "not in the catalogue",
    "*shrink": "not in the catalogue",
    "Softsign": "not in the catalogue",
    "Mish": "not in the catalogue",
    "Threshold": "not in the catalogue",
    "ReLU6": "not in the catalogue",
    "GroupNorm": "not in the catalogue (H: batch and layer normalisation)",
    "InstanceNorm*": "not in the catalogue",
    "LocalResponseNorm": "not in the catalogue",
    "RMSNorm": "not in the catalogue",
    "*Margin*Loss": "hinge losses are not in the catalogue",
    "HingeEmbeddingLoss": "hinge losses are not in the catalogue",
    "CosineEmbeddingLoss": "not in the catalogue",
    "*Cell": "one step from a given state is no layer here; the recurrent layers run over time",
    "Transformer*": "theirs have biases of keys, which softmax takes off; see test_attention_torch.py",
    "MultiheadAttention": "keys and values of its samples are two inputs; see test_attention_torch.py",
    "CTCLoss": "not in the catalogue: alignment of sequences",
    "LinearCrossEntropyLoss": "Dense and CrossEntropy fused by hand: here the compiler's work",
    "KLDivLoss": "its samples are log-probabilities of no distribution (log of any number, NaN too): "
    "ours takes logits, and is against kl_div in test_losses_torch.py",
}


# ------------------------------------------------------------------ a sample, ours and theirs


def samples(name, training):
    """(module, inputs, their own description), in float64."""
    torch.manual_seed(0)
    info = INFOS[name]
    for given in info.module_inputs_func(info, "cpu", torch.float64, True, training):
        module = info.module_cls(*given.constructor_input.args, **given.constructor_input.kwargs)
        module.to(torch.float64).train(training)
        if name.endswith("Loss") and isinstance(getattr(module, "weight", None), torch.Tensor):
            module.weight = module.weight.abs()  # theirs may be negative, ours are refused
        inputs = [*given.forward_input.args, *given.forward_input.kwargs.values()]
        yield module, [fresh(value) for value in inputs], given.desc


def fresh(value):
    """A tensor as a leaf of its own; whatever else as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().clone().requires_grad_(value.requires_grad)


def refusals(names):
    """(name, module, inputs, what PyTorch says) of what it refuses when it is given."""
    for name in names:
        info = INFOS[name]
        make = info.module_error_inputs_func
        for refused in make(info, "cpu", torch.float64, False, True) if make else ():
            given = refused.module_error_input
            made, shown = given.constructor_input, given.forward_input
            if refused.error_on.name == "FORWARD_ERROR":
                yield name, info.module_cls(*made.args, **made.kwargs), shown.args, refused.error_regex


def unfit(name, module, x, training):
    """Why a sample does not fit, or None."""
    rows = [row for row in UNFIT if fnmatch.fnmatchcase(name, row[0])]
    return next((why for _, holds, why in rows if holds(module, x, training)), None)


def reasons(name, training):
    """Of all samples that do not fit."""
    return {unfit(name, m, inputs, training) for m, inputs, _ in samples(name, training)} - {None}


def names(pattern):
    """PyTorch's modules whose names match."""
    return fnmatch.filter(INFOS, pattern)


def unexplained(left):
    """Modules that no row of WITHOUT names."""
    return [name for name in left if not any(fnmatch.fnmatchcase(name, pattern) for pattern in WITHOUT)]


def same(x):
    return x


def close(mine, theirs, rtol, what):
    assert np.shape(mine) == np.shape(theirs), what
    scale = np.max(np.abs(theirs), initial=1.0)
    np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=rtol * 1e-2 * scale, err_msg=what)


def agree(y, leaves, given, value, what):
    """Value and gradients of a node of ours against a tensor of theirs.

    leaves    [(our node, their tensor, how an array of theirs becomes one of ours)]
    """
    moving = [leaf for leaf in leaves if leaf[1].requires_grad]
    c = np.asarray(np.random.default_rng(3).uniform(0.5, 1.5, y.shape))
    mine, *slopes = evaluate([y, *vjp([y], [x for x, _, _ in moving], [ops.constant(c)])], given)
    close(mine, value.detach().numpy(), 1e-10, what)
    theirs = torch.autograd.grad(
        value, [t for _, t, _ in moving], torch.from_numpy(c), materialize_grads=True
    )
    for slope, their, (x, _, turn) in zip(slopes, theirs, moving, strict=True):
        close(slope, turn(their.numpy()), 1e-7 if "Hardswish" in what else 1e-8, f"gradient of {what} by {x}")
