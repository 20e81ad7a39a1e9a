"""Networks of sequences: a stack of blocks over what is embedded, and two of them as encoder and decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chainrule.errors import ConfigError
from chainrule.graph.expr import Expr
from chainrule.nn.attention import PositionalEncoding
from chainrule.nn.fields import check_flag, check_number
from chainrule.nn.layer import Layer, Step, check_step, single
from chainrule.nn.noise import Dropout
from chainrule.nn.norm import LayerNorm
from chainrule.nn.padded import entries_of
from chainrule.nn.run import Run
from chainrule.ops import expand, where

__all__ = ["EncoderDecoder", "SequenceStack"]


@dataclass(frozen=True)
class SequenceStack(Layer):
    """Tokens or vectors → vectors that know of each other: embed, tell places apart, blocks, norm.

    x (batch, time) of tokens, or (batch, time, features) → y (batch, time, n), 0 past a row's length. Takes
    an array, or a :class:`~chainrule.data.Sequence`; a dict of "x" and "memory" where the blocks are those of
    a decoder.

    embed       Embedding(categories, n) of tokens, Dense(n) of vectors, or another step
    blocks      layers such as :class:`TransformerBlock`: each is given x, its lengths and the memory
    position    what tells places apart; None where the blocks do by themselves
    dropout     of what is embedded, in training
    norm        whether a LayerNorm ends the stack

    >>> from chainrule import nn, ops
    >>> x = {"x": ops.input("x", (5, 7), "int64"), "x/lengths": ops.input("lengths", (5,), "int64")}
    >>> stack = SequenceStack(nn.Embedding(30, 8), (nn.TransformerBlock(2), nn.LSTM(8, sequences=True)))
    >>> nn.trace(stack, x, training=True)[0].shape
    (5, 7, 8)
    """

    embed: Step
    blocks: tuple[Layer, ...]
    position: Step | None = PositionalEncoding()
    dropout: float = 0.0
    norm: bool = True

    def __post_init__(self) -> None:
        check_step(self.embed, "SequenceStack: embed")
        if not isinstance(self.blocks, tuple):
            raise ConfigError(f"SequenceStack: blocks is {self.blocks!r}; give a tuple of layers")
        for place, block in enumerate(self.blocks):
            check_step(block, f"SequenceStack: block {place}")
        if self.position is not None:
            check_step(self.position, "SequenceStack: position")
        check_number(self, "dropout", 0, 1, open_high=True)
        check_flag(self, "norm")

    def __call__(self, x: Any, run: Run) -> Expr:
        given = entries_of(self, x, "x", "memory")
        y = single(self, run.apply("embed", self.embed, given.pop("x")))
        if self.position is not None:
            y = single(self, run.apply("position", self.position, y))
        if self.dropout:
            y = run.apply("dropout", Dropout(self.dropout), y)
        for place, block in enumerate(self.blocks):
            x = {"x": y, **given} if "memory" in given else y
            y = single(self, run.apply(f"block_{place}", block, x))
        if self.norm:
            y = run.apply("norm", LayerNorm(), y)
        inside = run.inside(y, self) if y.ndim == 3 else None
        return y if inside is None else where(expand(inside, -1), y, 0)


@dataclass(frozen=True)
class EncoderDecoder(Layer):
    """A sequence from another  (Sutskever, Vinyals & Le 2014; with attention Vaswani et al. 2017, figure 1).

    Takes a dict of "source", perhaps "source/lengths", and "target" (batch, T): what comes before each token
    of the answer, that is the answer shifted by one. Gives the scores of the next token at each place,
    (batch, T, tokens), for :class:`~chainrule.losses.CrossEntropy` with ``ignore_index`` past the answer's
    end. Place t sees the source and the target up to t, where the decoder's blocks are causal.

    encoder    source → memory (batch, S, n), in :class:`SequenceStack`'s manner; of an image any step
    decoder    a :class:`SequenceStack` of causal blocks: "x" is the target, "memory" the encoder's output
    head       Dense(tokens)

    :class:`~chainrule.tasks.decoding.Decoder` makes answers with it.

    >>> from chainrule import nn, ops
    >>> encoder = nn.SequenceStack(nn.Embedding(30, 8), (nn.TransformerBlock(2),))
    >>> decoder = nn.SequenceStack(nn.Embedding(20, 8), (nn.TransformerBlock(2, causal=True),))
    >>> x = {"source": ops.input("s", (5, 7), "int64"), "target": ops.input("t", (5, 4), "int64")}
    >>> nn.trace(EncoderDecoder(encoder, decoder, nn.Dense(20)), x, training=True)[0].shape
    (5, 4, 20)
    """

    encoder: Step
    decoder: Step
    head: Step

    def __post_init__(self) -> None:
        for field in ("encoder", "decoder", "head"):
            check_step(getattr(self, field), f"EncoderDecoder: {field}")

    def __call__(self, x: Any, run: Run) -> Expr:
        given = entries_of(self, x, "source", "target")
        if "target" not in given:
            raise ConfigError(f"EncoderDecoder needs 'source' and 'target', got {sorted(given)}")
        lengths = given.get("source/lengths")
        source = given["source"]
        memory = run.apply(
            "encoder", self.encoder, source if lengths is None else {"x": source, "x/lengths": lengths}
        )
        seen = {"x": given["target"], "memory": single(self, memory)}
        if lengths is not None:
            seen["memory/lengths"] = lengths
        return single(self, run.apply("head", self.head, run.apply("decoder", self.decoder, seen)))
