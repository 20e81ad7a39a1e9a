"""Attention and networks of sequences: what is hidden influences nothing, what is shown does what it says."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import Network, data, losses, nn, ops
from chainrule.errors import ConfigError, DTypeError, ShapeError
from chainrule.executors import EXECUTORS, evaluate
from chainrule.testing import check_gradients, compare_executors

on_every_executor = pytest.mark.parametrize("executor", sorted(EXECUTORS))


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def by_hand(q, k, v, seen):
    """Query by query, over the keys that it sees."""
    found = np.zeros((*q.shape[:-1], v.shape[-1]))
    for place in np.ndindex(*q.shape[:-1]):
        keys = np.flatnonzero(seen[place])
        if len(keys):
            e = np.exp([q[place] @ k[(*place[:-1], j)] / np.sqrt(q.shape[-1]) for j in keys])
            found[place] = (e / e.sum()) @ v[place[:-1]][keys]
    return found


# ------------------------------------------------------------------ the function


@on_every_executor
@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_a_weighted_mean_of_what_is_seen(causal, executor):
    q, k, v = numbers(2, 3, 5, 4), numbers(2, 3, 6, 4, seed=1), numbers(2, 3, 6, 7, seed=2)
    seen = numbers(2, 3, 5, 6, seed=3) > -0.5
    seen[0, 1] = False  # nothing at all is shown to these queries
    nodes = [ops.input(n, a.shape, a.dtype) for n, a in zip("qkvm", (q, k, v, seen), strict=True)]
    y = ops.attention(*nodes, causal=causal)
    wanted = by_hand(q, k, v, seen & np.tri(5, 6, dtype=bool) if causal else seen)
    given = dict(zip(nodes, (q, k, v, seen), strict=True))
    np.testing.assert_allclose(evaluate([y], given)[0], wanted, rtol=1e-10, atol=1e-12)
    compare_executors([y], given, [executor])


@on_every_executor
def test_hidden_weights_are_exactly_0_also_beside_huge_scores(executor):
    scores = numbers(4, 5) * 1e30
    mask = np.array([True, False, True, False, True])
    x, m = ops.input("x", (4, 5)), ops.input("m", (5,), "bool")
    weights = ops.softmax(ops.where(m, x, -np.inf))
    found = compare_executors([weights], {x: scores, m: mask}, [executor])
    found = evaluate([weights], {x: scores, m: mask})[0]
    assert (found[:, ~mask] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


def test_gradients_with_masks_and_with_rows_that_see_nothing():
    mask = numbers(2, 3, 4) > 0
    mask[1, 2] = False

    def function(q, k, v):
        return ops.attention(q, k, v, ops.constant(mask), causal=True)

    check_gradients(function, numbers(2, 3, 2), numbers(2, 4, 2, seed=1), numbers(2, 4, 3, seed=2), order=2)


@pytest.mark.parametrize(
    ("error", "message", "shapes", "mask"),
    [
        (ShapeError, "queries", ((2, 3, 4), (2, 5, 3), (2, 5, 4)), None),
        (ShapeError, "one value for every key", ((2, 3, 4), (2, 5, 4), (2, 6, 4)), None),
        (DTypeError, "booleans", ((2, 3, 4), (2, 5, 4), (2, 5, 4)), (3, 5)),
    ],
)
def test_attention_refuses(error, message, shapes, mask):
    given = [ops.input(f"a{i}", shape) for i, shape in enumerate(shapes)]
    with pytest.raises(error, match=message):
        ops.attention(*given, None if mask is None else ops.input("m", mask))


# ------------------------------------------------------------------ layers


def output(layer, x, dtype="float64", executor="reference"):
    """The layer's output for arrays, with parameters off their first values."""
    given = {name: ops.input(name, a.shape, a.dtype) for name, a in x.items()}
    y, run = nn.trace(layer, given, training=False, dtype=dtype)
    known = {given[name]: a for name, a in x.items()}
    known |= {run.inputs[n]: p.initial(3) + 0.05 for n, p in run.parameters.items()}
    compare_executors([y], known, [executor])
    return evaluate([y], known)[0]


LAYERS = {
    "attention": nn.MultiHeadAttention(2),
    "causal attention": nn.MultiHeadAttention(2, causal=True),
    "block": nn.TransformerBlock(2),
    "stack": nn.SequenceStack(nn.Dense(6), (nn.TransformerBlock(2), nn.TransformerBlock(3))),
}
LENGTHS = np.array([5, 1, 3])


@on_every_executor
@pytest.mark.parametrize("name", LAYERS)
def test_padding_influences_nothing(name, executor):
    """To the bit, while the padded length stays; to rounding, where there is less of it."""
    x = numbers(3, 5, 6)
    other = x.copy()
    for row, n in enumerate(LENGTHS):
        other[row, n:] = 1e3 * numbers(5 - n, 6, seed=row)
    one, two = (output(LAYERS[name], {"x": a, "x/lengths": LENGTHS}, executor=executor) for a in (x, other))
    for row, n in enumerate(LENGTHS):
        np.testing.assert_array_equal(one[row, :n], two[row, :n])
        alone = output(LAYERS[name], {"x": x[row : row + 1, :n]})
        np.testing.assert_allclose(one[row, :n], alone[0], rtol=1e-9, atol=1e-12)


def test_a_stack_gives_0_past_the_end_and_means_are_of_what_is_there():
    x = {"x": numbers(3, 5, 6), "x/lengths": LENGTHS}
    whole = output(nn.sequential(stack=LAYERS["stack"]), x)
    pooled = output(nn.sequential(stack=LAYERS["stack"], pool=nn.GlobalAveragePool()), x)
    for row, n in enumerate(LENGTHS):
        assert (whole[row, n:] == 0).all()
        np.testing.assert_allclose(pooled[row], whole[row, :n].mean(axis=0), rtol=1e-9)


@on_every_executor
def test_lengths_go_through_layers_that_do_not_know_them(executor):
    """Steps one after another: the blocks find the lengths in the run."""
    one = nn.sequential(
        nn.Dense(4), nn.PositionalEncoding(), nn.TransformerBlock(2), nn.MultiHeadAttention(1)
    )
    x = numbers(3, 5, 6)
    found = output(one, {"x": x, "x/lengths": LENGTHS}, executor=executor)
    for row, n in enumerate(LENGTHS):
        alone = output(one, {"x": x[row : row + 1, :n], "x/lengths": np.array([n])})
        np.testing.assert_allclose(found[row, :n], alone[0], rtol=1e-9, atol=1e-12)


@on_every_executor
def test_no_place_of_a_causal_block_sees_a_later_one(executor):
    x = numbers(2, 6, 4)
    other = x.copy()
    other[:, 3:] = numbers(2, 3, 4, seed=1)
    layer = nn.SequenceStack(nn.Dense(4), (nn.TransformerBlock(2, causal=True),) * 2)
    one, two = (output(layer, {"x": a}, executor=executor) for a in (x, other))
    np.testing.assert_array_equal(one[:, :3], two[:, :3])
    assert (np.abs(one - two)[:, 3:] > 1e-6).any(axis=2).all()


@on_every_executor
def test_an_answer_sees_all_of_its_source_and_nothing_past_it(executor):
    encoder = nn.SequenceStack(nn.Embedding(9, 4, nn.Normal(std=1.0)), (nn.TransformerBlock(2),))
    decoder = nn.SequenceStack(nn.Embedding(7, 4, nn.Normal(std=1.0)), (nn.TransformerBlock(2, causal=True),))
    layer = nn.EncoderDecoder(encoder, decoder, nn.Dense(7))
    source, target = np.array([[1, 2, 3, 0], [4, 5, 6, 7]]), np.array([[1, 2, 3], [1, 2, 3]])
    x = {"source": source, "source/lengths": np.array([3, 4]), "target": target}

    def scores(**changed):
        return output(layer, {**x, **changed}, executor=executor)

    before = scores()
    assert before.shape == (2, 3, 7)
    padded = source.copy()
    padded[0, 3] = 8
    np.testing.assert_array_equal(scores(source=padded), before)
    for place in range(4):
        other = source.copy()
        other[1, place] = 8
        assert (np.abs(scores(source=other) - before)[1] > 1e-9).all()
    later = target.copy()
    later[:, 2] = 5
    np.testing.assert_array_equal(scores(target=later)[:, :2], before[:, :2])


def test_waves_are_those_of_the_paper():
    net = Network(nn.PositionalEncoding()).build(50, 7)
    found = net.output(np.zeros((1, 50, 7)))[0]
    for t, i in ((0, 0), (1, 0), (1, 1), (49, 6), (20, 3)):
        angle = t / 10000 ** (2 * (i // 2) / 7)
        assert found[t, i] == pytest.approx(np.cos(angle) if i % 2 else np.sin(angle), abs=1e-6)


def test_learned_places_are_parameters_and_have_an_end():
    x = ops.input("x", (2, 4, 3))
    y, run = nn.trace(nn.PositionalEncoding(learned=6), x, training=True)
    assert {p.role for p in run.parameters.values()} == {"embedding"}
    P = numbers(6, 3)
    found = evaluate([y], {x: np.zeros((2, 4, 3)), run.inputs["P"]: P})[0]
    np.testing.assert_allclose(found[1], P[:4].astype("float32"))
    with pytest.raises(ShapeError, match="give learned=4"):
        nn.trace(nn.PositionalEncoding(learned=3), x, training=True)


def test_weights_of_attention_can_be_looked_at():
    net = Network(attend=nn.MultiHeadAttention(2, causal=True)).build(5, 4)
    weights = net.signals(numbers(3, 5, 4))["attend/weights"]
    assert weights.shape == (3, 2, 5, 5)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)
    assert (weights[..., np.triu_indices(5, 1)[0], np.triu_indices(5, 1)[1]] == 0).all()


@pytest.mark.parametrize(
    ("error", "message", "layer", "x"),
    [
        (ShapeError, "3 heads do not divide", nn.MultiHeadAttention(3), {"x": (2, 5, 4)}),
        (ShapeError, "batch, time, n", nn.MultiHeadAttention(2), {"x": (2, 4)}),
        (ShapeError, "memory is", nn.MultiHeadAttention(2), {"x": (2, 5, 4), "memory": (3, 5, 4)}),
        (ConfigError, "not 'memry'", nn.TransformerBlock(2), {"x": (2, 5, 4), "memry": (2, 5, 4)}),
        (ConfigError, "needs 'x'", nn.TransformerBlock(2), {"memory": (2, 5, 4)}),
        (ShapeError, "one number for each row", nn.TransformerBlock(2), {"x": (2, 5, 4), "x/lengths": (3,)}),
        (DTypeError, "whole numbers", nn.TransformerBlock(2), {"x": (2, 5, 4), "x/lengths": (2,)}),
        (ConfigError, "'source' and 'target'", nn.EncoderDecoder(*[ops.tanh] * 3), {"source": (2, 5, 4)}),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(error, message, layer, x):
    given = {name: ops.input(name, shape) for name, shape in x.items()}
    with pytest.raises(error, match=message):
        nn.trace(layer, given, training=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.MultiHeadAttention(0),
        lambda: nn.MultiHeadAttention(2, dropout=1.0),
        lambda: nn.TransformerBlock(2, hidden=0),
        lambda: nn.TransformerBlock(2, activation="relu"),
        lambda: nn.PositionalEncoding(-1),
        lambda: nn.SequenceStack(nn.Dense(3), nn.TransformerBlock(1)),
        lambda: nn.EncoderDecoder(nn.Dense(3), nn.Dense, nn.Dense(3)),
    ],
)
def test_configurations_that_mean_nothing_are_refused(make):
    with pytest.raises(ConfigError):
        make()


def test_a_network_of_sequences_learns_to_reverse_them():
    """Only attention can: what comes out at a place lies elsewhere in the source, at a distance that depends
    on the length."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 6, 600)
    source, y = rng.integers(1, 5, (600, 5)), np.full((600, 6), -1)
    for row, n in enumerate(lengths):
        y[row, : n + 1] = [*source[row, :n][::-1], 0]
    target = np.where(y < 0, 0, np.roll(y, 1, axis=1))
    target[:, 0] = 0
    encoder = nn.SequenceStack(nn.Embedding(5, 16, nn.Normal(std=1.0)), (nn.TransformerBlock(2),))
    decoder = nn.SequenceStack(
        nn.Embedding(5, 16, nn.Normal(std=1.0)), (nn.TransformerBlock(2, causal=True),)
    )
    net = Network(nn.EncoderDecoder(encoder, decoder, nn.Dense(5)))
    x = {"source": data.Sequence(source, lengths), "target": target}
    history = net.fit(
        x, y, loss=losses.CrossEntropy(ignore_index=-1), metrics=[], epochs=40, batch_size=50,
        learning_rate=0.005, verbose=0,
    )  # fmt: skip
    assert history.rows[-1]["loss"] < 0.1


def test_the_loss_is_the_mean_over_the_answer_whatever_the_length_of_the_source():
    """By hand, from the network's output: sources are shorter and longer than their answers."""
    rng = np.random.default_rng(0)
    source, target, y = (rng.integers(0, 5, (6, 4)) for _ in range(3))
    y[[0, 1, 2], [3, 2, 1]] = -1
    lengths = np.array([1, 4, 2, 1, 3, 4])
    encoder = nn.SequenceStack(nn.Embedding(5, 4), (nn.TransformerBlock(2),))
    decoder = nn.SequenceStack(nn.Embedding(5, 4), (nn.TransformerBlock(2, causal=True),))
    net = Network(nn.EncoderDecoder(encoder, decoder, nn.Dense(5)))
    x = {"source": data.Sequence(source, lengths), "target": target}
    net.fit(
        x, y, loss=losses.CrossEntropy(ignore_index=-1), metrics=[], epochs=1, verbose=0, executor="reference"
    )
    z = net.output(x).astype(float)
    logs = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    each = -np.take_along_axis(logs, np.maximum(y, 0)[..., None], 2)[..., 0]
    wanted = np.mean([row[there].mean() for row, there in zip(each, y >= 0, strict=True)])
    assert net.evaluate(x, y)["loss"] == pytest.approx(wanted, rel=1e-5)
