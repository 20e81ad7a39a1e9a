"""Random inputs and hidden layers: every layer and every registered function takes part."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.graph.expr import Expr
from chainrule.nn import Step
from chainrule.ops import mean, reshape, square
from chainrule.ops.functions import FUNCTIONS

Array = np.ndarray[Any, Any]

ACTIVATIONS = sorted(FUNCTIONS)
STEEP = {"exp", "square"}  # behind hard_tanh, so that a few of them in a row stay in range


@dataclass(frozen=True)
class ActivityPenalty(nn.Layer):
    """Passes x on and adds its mean square to the loss: once as a scalar, once for each sample."""

    strength: float

    def __call__(self, x: Any, run: nn.Run) -> Expr:
        run.add_loss("whole", self.strength * mean(square(x)))
        run.add_loss("sample", self.strength * mean(square(x), range(1, x.ndim)))
        return x


@dataclass(frozen=True)
class AsImage(nn.Layer):
    """What ``body`` makes of the units as a sequence or an image of channels, for every place of x."""

    shape: tuple[int, ...]
    body: nn.Layer

    def __call__(self, x: Any, run: nn.Run) -> Expr:
        y = run.apply("body", self.body, reshape(x, (-1, *self.shape)))
        return reshape(y, (*x.shape[:-1], y.shape[-1]))


@dataclass(frozen=True)
class Translated(nn.Layer):
    """An encoder and a decoder between the halves of a sequence."""

    body: nn.EncoderDecoder

    def __call__(self, x: Any, run: nn.Run) -> Expr:
        half = x.shape[1] // 2
        return run.apply("body", self.body, {"source": x[:, :half], "target": x[:, half:]})


def translated(embed: Step, units: int = 5) -> Translated:
    """The halves embedded alike, and so many scores."""
    stacks = [
        nn.SequenceStack(embed, (block,))
        for block in (nn.TransformerBlock(3), nn.TransformerBlock(2, causal=True))
    ]
    return Translated(nn.EncoderDecoder(*stacks, nn.Dense(units)))


def activation(draws: random.Random) -> list[Step]:
    name = draws.choice(ACTIVATIONS)
    return [FUNCTIONS["hard_tanh"], FUNCTIONS[name]] if name in STEEP else [FUNCTIONS[name]]


def size(draws: random.Random, least: int = 1) -> int:
    """1 … 70, odd sizes and multiples of the vector width alike, now and then a wide one."""
    kind = draws.random()
    if kind < 0.08:
        return draws.choice([128, 256])
    return max(least, draws.choice([8, 16, 32, 64]) if kind < 0.3 else draws.randint(1, 70))


def dense(draws: random.Random, units: int, *, bias: bool | None = None) -> nn.Dense:
    init = draws.choice([nn.HeNormal(), nn.GlorotUniform(), nn.LeCunNormal(), nn.Orthogonal()])
    return nn.Dense(units, init, draws.random() < 0.8 if bias is None else bias)


# ------------------------------------------------------------------ hidden blocks


def _plain(draws: random.Random, _: int) -> list[Step]:
    return [dense(draws, size(draws)), *activation(draws)]


def _batch_norm(draws: random.Random, _: int) -> list[Step]:
    """Without a bias before it: its gradient would be rounding alone, which no two executors share."""
    norm = nn.BatchNorm(
        draws.choice([0.0, 0.5, 0.9]), draws.choice([1e-5, 1e-2]), draws.random() < 0.8, draws.random() < 0.8
    )
    return [dense(draws, size(draws), bias=False), norm, *activation(draws)]


def _layer_norm(draws: random.Random, _: int) -> list[Step]:
    norm = nn.LayerNorm(draws.choice([1e-5, 1e-2]), draws.random() < 0.8, draws.random() < 0.8)
    return [dense(draws, size(draws, 5)), norm, *activation(draws)]


def _dropout(draws: random.Random, _: int) -> list[Step]:
    drop = nn.Dropout(draws.choice([0.1, 0.25, 0.5]), draws.choice(["inverted", "weights"]))
    return [dense(draws, size(draws)), *activation(draws), drop]


def _noise(draws: random.Random, _: int) -> list[Step]:
    units = size(draws)
    kind = draws.random()
    if kind < 0.4:
        return [nn.Dense(units, weight_noise=0.1), *activation(draws)]
    if kind < 0.7:
        cells = tuple(i // 2 for i in range(units))
        hide = nn.HideCells(draws.choice([0.3, "any"]), cells, (0.5,) * units)
        return [dense(draws, units), AsImage((units,), hide)]
    return [dense(draws, units), nn.GaussianNoise(0.2), *activation(draws)]


def _masked(draws: random.Random, _: int) -> list[Step]:
    widths = [min(size(draws), 40) for _ in range(2)]
    degrees = [tuple(draws.randint(1, 5) for _ in range(n)) for n in widths]
    return [dense(draws, widths[0]), nn.MaskedDense(*degrees), *activation(draws)]


def _sampled(draws: random.Random, _: int) -> list[Step]:
    return [dense(draws, 2 * min(size(draws), 40)), FUNCTIONS["hard_tanh"], nn.GaussianSample(0.1)]


def _prelu(draws: random.Random, _: int) -> list[Step]:
    return [dense(draws, size(draws)), nn.PReLU(draws.random() < 0.5, draws.choice([0.25, 0.5]))]


def _maxout(draws: random.Random, _: int) -> list[Step]:
    return [nn.Maxout(min(size(draws), 70), draws.choice([2, 3, 5]))]


def _residual(draws: random.Random, _: int) -> list[Step]:
    width = size(draws)
    body = nn.sequential(dense(draws, size(draws)), *activation(draws), dense(draws, width))
    if draws.random() < 0.5:
        return [nn.Residual(body, nn.Dense(width, bias=False)), *activation(draws)]
    return [dense(draws, width), nn.Residual(body), *activation(draws)]


def _shared(draws: random.Random, place: int) -> list[Step]:
    width = size(draws)
    twice = nn.Shared(f"shared_{place}", dense(draws, width))
    return [dense(draws, width), twice, *activation(draws), twice]


def _tied(draws: random.Random, _: int) -> list[Step]:
    body = nn.sequential(dense(draws, size(draws)), *activation(draws), nn.TiedDense("dense_0"))
    return [dense(draws, size(draws)), body]


def _branches(draws: random.Random, _: int) -> list[Step]:
    join = draws.choice(["concat", "sum"])
    left, right = size(draws), size(draws)
    right = left if join == "sum" else right
    one = nn.sequential(dense(draws, left), *activation(draws))
    return [nn.parallel(join=join, left=one, right=dense(draws, right))]


def _penalised(draws: random.Random, _: int) -> list[Step]:
    return [dense(draws, size(draws)), *activation(draws), ActivityPenalty(0.01)]


def _convolved(draws: random.Random, _: int) -> list[Step]:
    """Units as a sequence or as an image, convolved, pooled, spread out and flattened again."""
    if draws.random() < 0.5:
        shape: tuple[int, ...] = (6, 4)
        conv: Step = nn.Conv1D(draws.randint(1, 9), 3, padding="same")
        pool: Step = draws.choice([nn.MaxPool(2), nn.AveragePool(3, 2, "same"), nn.MaxPool(3, 1, 1)])
        back: Step = nn.ConvTranspose1D(draws.randint(1, 5), draws.randint(1, 3), draws.randint(1, 2))
    else:
        shape, back = (4, 3, 2), nn.ConvTranspose2D(draws.randint(1, 4), 2)
        conv = nn.Conv2D(2 * draws.randint(1, 4), draws.randint(1, 2), groups=draws.choice([1, 2]))
        pool = draws.choice([nn.MaxPool(2, padding="same"), nn.AveragePool(2), nn.MaxPool((3, 2), 1)])
    end = draws.choice([nn.Flatten(), nn.GlobalAveragePool(), nn.GlobalMaxPool()])
    return [dense(draws, 24), AsImage(shape, nn.sequential(conv, pool, *activation(draws), back, end))]


def _attending(draws: random.Random, _: int) -> list[Step]:
    """Units as a sequence, each place of which looks at the others."""
    width = 2 * draws.randint(1, 4)
    block = nn.TransformerBlock(2, draws.choice([None, 5]), draws.random() < 0.5, draws.choice([0.0, 0.1]))
    stack = nn.SequenceStack(
        nn.Dense(width), (block,), dropout=draws.choice([0.0, 0.2]), norm=draws.random() < 0.5
    )
    plain = nn.sequential(
        nn.PositionalEncoding(draws.choice([0, 7])),
        nn.MultiHeadAttention(draws.choice([1, 2, 4]), draws.random() < 0.5, draws.choice([0.0, 0.1])),
    )
    body = draws.choice([stack, plain, translated(nn.Dense(6), draws.randint(1, 9))])
    return [dense(draws, 24), AsImage((6, 4), nn.sequential(body, nn.GlobalAveragePool()))]


def _recurrent(draws: random.Random, _: int) -> list[Step]:
    """Units as a sequence, read step after step."""
    sequences = draws.random() < 0.5
    cell = draws.choice([nn.Elman, nn.GRU, nn.LSTM])(draws.randint(1, 9), sequences)
    steps = [nn.Reshape((6, 4)), draws.choice([cell, nn.Bidirectional(cell)])]
    steps += [nn.GlobalAveragePool()] if sequences else []
    return [dense(draws, 24), AsImage((24,), nn.sequential(*steps))]


BLOCKS: tuple[Callable[[random.Random, int], list[Step]], ...] = (
    _plain, _plain, _batch_norm, _layer_norm, _dropout, _noise, _prelu, _maxout, _residual, _shared, _tied,
    _branches, _penalised, _convolved, _sampled, _masked, _attending, _recurrent,
)  # fmt: skip


def hidden(draws: random.Random) -> list[Step]:
    """None to four blocks."""
    steps: list[Step] = []
    for place in range(draws.choice([0, 1, 1, 2, 2, 3, 4])):
        steps += draws.choice(BLOCKS)(draws, place)
    return steps


# ------------------------------------------------------------------ inputs


def _numbers(
    draws: random.Random, rng: np.random.Generator, rows: int
) -> tuple[dict[str, Array], list[Step]]:
    return {"x": rng.normal(size=(rows, size(draws)))}, []


def _images(draws: random.Random, rng: np.random.Generator, rows: int) -> tuple[dict[str, Array], list[Step]]:
    shape = draws.choice([(8, 8), (5, 7), (3, 4, 3), (28, 28)])
    rescale = nn.Rescale(*draws.choice([(1 / 255, 0.0), (1 / 128, -1.0)]))
    return {"x": rng.integers(0, 256, (rows, *shape)).astype(np.uint8)}, [nn.Flatten(), rescale]


def _categories(
    draws: random.Random, rng: np.random.Generator, rows: int
) -> tuple[dict[str, Array], list[Step]]:
    count, columns = draws.randint(2, 40), draws.randint(1, 5)
    x = rng.integers(0, count, (rows, columns)).astype(draws.choice(["int64", "int32", "uint8"]))
    return {"x": x}, [nn.Embedding(count, draws.randint(1, 24), nn.Normal(std=0.5)), nn.Flatten()]


def _several(
    draws: random.Random, rng: np.random.Generator, rows: int
) -> tuple[dict[str, Array], list[Step]]:
    """Two named inputs, a number and a category, joined."""
    join, width = draws.choice(["concat", "sum"]), draws.randint(1, 30)
    if join == "concat" and width % 2:
        return _columns(draws, rng, rows)
    lookup = nn.sequential(nn.Embedding(12, 6, nn.Normal(std=0.5)), nn.Flatten(), dense(draws, width))
    x = {"size": rng.normal(size=(rows, draws.randint(1, 20))), "city": rng.integers(0, 12, (rows, 2))}
    front = nn.parallel(join=join, size=dense(draws, width), city=lookup)
    return x, [front, *activation(draws)]


def _columns(
    draws: random.Random, rng: np.random.Generator, rows: int
) -> tuple[dict[str, Array], list[Step]]:
    """A table: numbers, and codes of categories."""
    sizes = tuple((draws.randint(2, 40), draws.randint(1, 9)) for _ in range(draws.randint(1, 3)))
    codes = np.stack([rng.integers(0, count, rows) for count, _ in sizes], 1).astype(np.int32)
    return {"x": rng.normal(size=(rows, draws.randint(1, 20))), "codes": codes}, [nn.Columns(sizes)]


def _sequences(
    draws: random.Random, rng: np.random.Generator, rows: int
) -> tuple[dict[str, Array], list[Step]]:
    return {"x": rng.normal(size=(rows, draws.randint(2, 6), draws.randint(1, 20)))}, []


INPUTS = (_numbers, _numbers, _images, _categories, _several, _sequences)


def inputs(draws: random.Random, rng: np.random.Generator, rows: int) -> tuple[dict[str, Array], list[Step]]:
    """Arrays by name, and the first steps that they need."""
    return draws.choice(INPUTS)(draws, rng, rows)
