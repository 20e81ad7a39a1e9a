"""Attention and networks of sequences against PyTorch's, in float64: values, and the gradient by every
parameter and input, with padded sequences and without."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as fn

from chainrule import nn, ops
from chainrule.autodiff import gradient
from chainrule.executors import evaluate

F8 = torch.float64
LENGTHS = np.array([6, 1, 4])


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def hidden(time):
    """True past the end, as PyTorch's key_padding_mask."""
    return torch.tensor(np.arange(time) >= LENGTHS[:, None])


def future(time):
    return torch.ones(time, time, dtype=torch.bool).triu(1)


# ------------------------------------------------------------------ the function


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_scaled_dot_product_attention(masked, causal, compared):
    arrays = [draw(2, 3, 5, 4), draw(2, 3, 6, 4, seed=1), draw(2, 3, 6, 7, seed=2)]
    mask = draw(2, 1, 5, 6, seed=3) > -0.5
    mask[..., 0] = True
    nodes = [ops.input(f"a{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    y = ops.attention(*nodes, ops.constant(mask) if masked else None, causal=causal)
    c = draw(*y.shape, seed=4)
    found = evaluate(
        [y, *gradient(ops.sum(y * ops.constant(c)), nodes)], dict(zip(nodes, arrays, strict=True))
    )
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    order = torch.ones(5, 6, dtype=torch.bool).tril() if causal else torch.ones(5, 6, dtype=torch.bool)
    seen = torch.tensor(mask) & order if masked else order
    t = fn.scaled_dot_product_attention(*tensors, attn_mask=seen)
    (t * torch.tensor(c)).sum().backward()
    wanted = [t.detach(), *[x.grad for x in tensors]]
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-10, atol=1e-13)
    compared("operations", "attention", "PyTorch")


# ------------------------------------------------------------------ layers


def attention_of(module, p, at):
    """Our parameters at a path as those of a torch.nn.MultiheadAttention; its keys' bias is 0."""
    zero = torch.zeros_like(p[f"{at}query/b"])
    parts = [p[f"{at}{name}/W"].T for name in ("query", "key", "value")]
    return {
        f"{module}in_proj_weight": torch.cat(parts),
        f"{module}in_proj_bias": torch.cat([p[f"{at}query/b"], zero, p[f"{at}value/b"]]),
        f"{module}out_proj.weight": p[f"{at}output/W"].T,
        f"{module}out_proj.bias": p[f"{at}output/b"],
    }


def norm_of(module, p, at):
    return {f"{module}weight": p[f"{at}scale"], f"{module}bias": p[f"{at}offset"]}


def dense_of(module, p, at):
    return {f"{module}weight": p[f"{at}W"].T, f"{module}bias": p[f"{at}b"]}


def block_of(p, at, decoder=False):
    """Our parameters as those of a TransformerEncoderLayer or TransformerDecoderLayer."""
    found = {
        **attention_of("self_attn.", p, f"{at}attention/"),
        **norm_of("norm1.", p, f"{at}attention_norm/"),
        **norm_of("norm3." if decoder else "norm2.", p, f"{at}norm/"),
        **dense_of("linear1.", p, f"{at}hidden/"),
        **dense_of("linear2.", p, f"{at}output/"),
    }
    if decoder:
        found |= attention_of("multihead_attn.", p, f"{at}cross_attention/")
        found |= norm_of("norm2.", p, f"{at}cross_attention_norm/")
    return found


def run_module(module, parameters, *args, **options):
    return torch.func.functional_call(module, parameters, args, options)


def self_attention(x, p, causal=False):
    module = torch.nn.MultiheadAttention(4, 2, batch_first=True, dtype=F8)
    mask = future(x["x"].shape[1]) if causal else None
    pad = hidden(6) if "x/lengths" in x else None
    given = x["x"], x["x"], x["x"]
    return run_module(
        module, attention_of("", p, ""), *given, key_padding_mask=pad, attn_mask=mask, need_weights=False
    )[0]


def cross_attention(x, p):
    module = torch.nn.MultiheadAttention(4, 2, batch_first=True, dtype=F8)
    given = x["x"], x["memory"], x["memory"]
    return run_module(
        module, attention_of("", p, ""), *given, key_padding_mask=hidden(6), need_weights=False
    )[0]


def encoder_block(x, p, at="", causal=False):
    module = torch.nn.TransformerEncoderLayer(
        4, 2, 16, dropout=0.0, batch_first=True, norm_first=True, dtype=F8
    )
    pad = hidden(6) if "x/lengths" in x else None
    mask = future(x["x"].shape[1]) if causal else None
    return run_module(module, block_of(p, at), x["x"], src_mask=mask, src_key_padding_mask=pad)


def decoder_block(x, p, at=""):
    module = torch.nn.TransformerDecoderLayer(
        4, 2, 16, dropout=0.0, batch_first=True, norm_first=True, dtype=F8
    )
    pad = hidden(6) if "memory/lengths" in x else None
    return run_module(
        module, block_of(p, at, decoder=True), x["x"], x["memory"],
        tgt_mask=future(x["x"].shape[1]), memory_key_padding_mask=pad,
    )  # fmt: skip


def waves(time, n):
    """Sines and cosines, in a form of their own."""
    rate = torch.exp(torch.arange(0, n, 2, dtype=F8) * (-np.log(10000.0) / n))
    angle = torch.arange(time, dtype=F8)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], -1).reshape(time, -1)[:, :n]


def stack(x, p):
    y = x["x"] @ p["embed/W"] + p["embed/b"] + waves(6, 4)
    for place in range(2):
        y = encoder_block({**x, "x": y}, p, f"block_{place}/")
    y = fn.layer_norm(y, (4,), p["norm/scale"], p["norm/offset"])
    return y * (~hidden(6)).to(F8)[..., None]


def translation(x, p):
    memory = fn.embedding(x["source"], p["encoder/embed/W"]) + waves(6, 4)
    memory = encoder_block({"x": memory, "x/lengths": LENGTHS}, p, "encoder/block_0/")
    memory = fn.layer_norm(memory, (4,), p["encoder/norm/scale"], p["encoder/norm/offset"])
    y = fn.embedding(x["target"], p["decoder/embed/W"]) + waves(5, 4)
    y = decoder_block({"x": y, "memory": memory, "memory/lengths": LENGTHS}, p, "decoder/block_0/")
    y = fn.layer_norm(y, (4,), p["decoder/norm/scale"], p["decoder/norm/offset"])
    return fn.linear(y, p["head/W"].T, p["head/b"])


BLOCK, CAUSAL = nn.TransformerBlock(2), nn.TransformerBlock(2, causal=True)
PADDED = {"x": (3, 6, 4), "x/lengths": None}
BOTH = {"x": (3, 5, 4), "memory": (3, 6, 4), "memory/lengths": None}
SOURCE, TARGET = (nn.SequenceStack(nn.Embedding(7, 4), (block,)) for block in (BLOCK, CAUSAL))
TRANSLATION = nn.EncoderDecoder(SOURCE, TARGET, nn.Dense(8))

# name: (our layer, shapes of its inputs, PyTorch's function of (inputs, parameters))
PAIRS = {
    "attention": (nn.MultiHeadAttention(2), {"x": (3, 6, 4)}, self_attention),
    "attention, padded": (nn.MultiHeadAttention(2), PADDED, self_attention),
    "attention, causal": (
        nn.MultiHeadAttention(2, causal=True), {"x": (3, 5, 4)}, lambda x, p: self_attention(x, p, True),
    ),
    "attention to a memory": (nn.MultiHeadAttention(2), BOTH, cross_attention),
    "positions": (nn.PositionalEncoding(), {"x": (3, 6, 8)}, lambda x, p: x["x"] + waves(6, 8)),
    "positions learned": (nn.PositionalEncoding(8), {"x": (3, 6, 5)}, lambda x, p: x["x"] + p["P"][:6]),
    "block": (BLOCK, {"x": (3, 6, 4)}, encoder_block),
    "block, padded": (BLOCK, PADDED, encoder_block),
    "block, causal": (CAUSAL, {"x": (3, 6, 4)}, lambda x, p: encoder_block(x, p, causal=True)),
    "block of a decoder": (CAUSAL, BOTH, decoder_block),
    "stack": (nn.SequenceStack(nn.Dense(4), (BLOCK, BLOCK)), PADDED, stack),
    "encoder and decoder": (
        TRANSLATION, {"source": ((3, 6), 7), "source/lengths": None, "target": ((3, 5), 7)}, translation,
    ),
}  # fmt: skip


def inputs(shapes):
    """Numbers for a shape, tokens for (shape, categories), the lengths for None."""
    found = {}
    for seed, (name, shape) in enumerate(shapes.items()):
        if shape is None:
            found[name] = LENGTHS
        elif isinstance(shape[0], tuple):
            found[name] = np.random.default_rng(seed).integers(0, shape[1], shape[0])
        else:
            found[name] = draw(*shape, seed=seed)
    return found


@pytest.mark.parametrize("name", PAIRS)
def test_a_layer(name, compared):
    """What lies past the end is compared with nothing: no place of a row that is there sees it."""
    layer, shapes, function = PAIRS[name]
    x = inputs(shapes)
    given = {key: ops.input(key, a.shape, a.dtype) for key, a in x.items()}
    y, run = nn.trace(layer, given["x"] if list(x) == ["x"] else given, training=True, dtype="float64")
    arrays = {path: 0.5 * draw(*v.spec.shape, seed=i) for i, (path, v) in enumerate(run.parameters.items())}
    kept = np.ones(y.shape[:2]) if "x/lengths" not in x else np.arange(6) < LENGTHS[:, None]
    c = draw(*y.shape, seed=5) * (kept[..., None] if y.ndim == 3 else 1)
    leaves = {path: run.inputs[path] for path in arrays}
    leaves |= {key: node for key, node in given.items() if node.dtype.kind == "f"}
    known = {given[key]: a for key, a in x.items()} | {run.inputs[path]: a for path, a in arrays.items()}
    value, *slopes = evaluate([y, *gradient(ops.sum(y * ops.constant(c)), list(leaves.values()))], known)

    tensors = {path: torch.tensor(a, requires_grad=True) for path, a in arrays.items()}
    tx = {key: torch.tensor(a, requires_grad=a.dtype.kind == "f") for key, a in x.items()}
    ty = function(tx, tensors)
    where = np.broadcast_to(c != 0, y.shape)
    np.testing.assert_allclose(value[where], ty.detach().numpy()[where], rtol=1e-9, atol=1e-12)
    (ty * torch.tensor(c)).sum().backward()
    for path, slope in zip(leaves, slopes, strict=True):
        expected = (tx | tensors)[path].grad.numpy()
        np.testing.assert_allclose(slope, expected, rtol=1e-7, atol=1e-10, err_msg=path)
    compared("layers", type(layer).__name__, "PyTorch")
