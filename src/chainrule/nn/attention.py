"""Attention: every place of a sequence looks at all others, or at those of another sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.graph.expr import Expr, constant
from chainrule.nn.dense import Dense
from chainrule.nn.fields import check_flag, check_number, check_whole
from chainrule.nn.init import GlorotUniform, HeNormal, Normal
from chainrule.nn.layer import Layer, Step, check_step, floating, need_axes, single
from chainrule.nn.noise import Dropout
from chainrule.nn.norm import LayerNorm
from chainrule.nn.padded import entries_of, there
from chainrule.nn.run import Run
from chainrule.ops import attention_scores, relu, reshape, softmax, transpose

__all__ = ["MultiHeadAttention", "PositionalEncoding", "TransformerBlock"]


@dataclass(frozen=True)
class MultiHeadAttention(Layer):
    """Attention by several heads side by side  y = [h₁, …, hₖ] Wₒ,  hᵢ = softmax(qᵢ kᵢᵀ/√d) vᵢ.

    x (batch, T, n) → y (batch, T, n), with d = n/heads and q, k, v affine maps of what is given (Vaswani et
    al. 2017, arXiv:1706.03762, section 3.2). A bias of the keys would shift all scores of a query alike, and
    softmax would take it off again: there is none.

    an array, or a :class:`~chainrule.data.Sequence`: every place looks at all places of its own row
    (self-attention);
    a dict of "x" and "memory" (batch, S, m), perhaps "memory/lengths": at those (cross-attention).

    What lies past a row's length has the weight 0 exactly. The weights are the output ``weights`` (batch,
    heads, T, S), which ``Network.signals`` shows.

    causal    no place looks at later ones
    dropout   share of the weights that training sets to zero

    ShapeError where heads do not divide n.

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(MultiHeadAttention(2), ops.input("x", (5, 7, 4)), training=True)
    >>> y.shape, list(run.parameters)[:4]
    ((5, 7, 4), ['query/W', 'query/b', 'key/W', 'value/W'])
    """

    heads: int
    causal: bool = False
    dropout: float = 0.0
    bias: bool = True

    def __post_init__(self) -> None:
        check_whole(self, "heads")
        check_flag(self, "causal", "bias")
        check_number(self, "dropout", 0, 1, open_high=True)

    def __call__(self, x: Any, run: Run) -> Expr:
        given = entries_of(self, x, "x", "memory")
        x = floating(self, given["x"], run.dtype)
        seen = "memory" if "memory" in given else "x"
        memory = floating(self, given[seen], run.dtype)
        for name, node in (("x", x), ("memory", memory)):
            if node.ndim != 3 or node.shape[0] != x.shape[0]:
                raise ShapeError(f"MultiHeadAttention: {name} is {node.spec}; (batch, time, n) is needed")
        n = x.shape[-1]
        if n % self.heads:
            raise ShapeError(
                f"MultiHeadAttention: {self.heads} heads do not divide the {n} units of {x.spec}"
            )
        dense = Dense(n, GlorotUniform(), self.bias)
        q = self._split(run.apply("query", dense, x))
        k = self._split(run.apply("key", Dense(n, GlorotUniform(), bias=False), memory))
        v = self._split(run.apply("value", dense, memory))
        inside = self._inside(given, memory, run)
        mask = None if inside is None else inside[:, None, None]
        weights = run.apply("weights", softmax, attention_scores(q, k, mask, causal=self.causal))
        if self.dropout:
            weights = run.apply("dropout", Dropout(self.dropout), weights)
        together = reshape(transpose(weights @ v, (0, 2, 1, 3)), x.shape)
        return run.apply("output", dense, together)

    def _inside(self, given: dict[str, Expr], memory: Expr, run: Run) -> Expr | None:
        """Which places of the memory are there; None where all are."""
        if "memory" not in given:
            return run.inside(memory, self)
        lengths = given.get("memory/lengths")
        return None if lengths is None else there(lengths, memory.shape[1])

    def _split(self, x: Expr) -> Expr:
        """(batch, time, n) → (batch, heads, time, n/heads)"""
        batch, time, n = x.shape
        return transpose(reshape(x, (batch, time, self.heads, n // self.heads)), (0, 2, 1, 3))


@dataclass(frozen=True)
class PositionalEncoding(Layer):
    """Tells places apart  y = x + P.    x (batch, time, n) → y the same

    Pₜ,₂ᵢ = sin(t/10000^(2i/n)), Pₜ,₂ᵢ₊₁ = cos(t/10000^(2i/n)) (Vaswani et al. 2017, section 3.5), for
    sequences of any length.

    learned    of so many places P is learned instead (role "embedding"); ShapeError for a longer sequence

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(PositionalEncoding(), ops.input("x", (5, 7, 4)), training=True)
    >>> y.shape, list(run.parameters)
    ((5, 7, 4), [])
    """

    learned: int = 0

    def __post_init__(self) -> None:
        check_whole(self, "learned", 0)

    def __call__(self, x: Any, run: Run) -> Expr:
        x = floating(self, x, run.dtype)
        need_axes(self, x, 3, "(batch, time, n)")
        time, n = x.shape[-2:]
        if not self.learned:
            return x + constant(_waves(time, n), run.dtype)
        if time > self.learned:
            raise ShapeError(
                f"PositionalEncoding learned {self.learned} places, {x.spec} has {time}; give learned={time}"
            )
        P = run.parameter("P", (self.learned, n), Normal(std=0.05), fan=(1, n), role="embedding")
        return x + P[:time]


def _waves(time: int, n: int) -> np.ndarray:
    """Sines in even columns, cosines in odd ones.   (time, n)"""
    angle = np.arange(time)[:, None] / 10000.0 ** (np.arange(n) // 2 * 2 / n)
    return np.where(np.arange(n) % 2, np.cos(angle), np.sin(angle))


@dataclass(frozen=True)
class TransformerBlock(Layer):
    """Attention, then two layers of units at every place, each with a way around it.

    x ← x + attention(norm(x));  [x ← x + attention(norm(x), memory)];  x ← x + W₂ act(W₁ norm(x))

    x (batch, T, n) → y (batch, T, n). Takes what :class:`MultiHeadAttention` takes; given "memory" it attends
    to that, too, and is a block of a decoder. The norms stand before their layers (Xiong et al. 2020,
    arXiv:2002.04745, figure 1b), so that deep stacks learn without a warm-up; end the stack in a LayerNorm.

    heads       of attention
    hidden      units between W₁ and W₂; by default 4 n
    causal      no place looks at later ones: for what is made one after another
    dropout     of what each way adds, in training

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(TransformerBlock(2), ops.input("x", (5, 7, 4)), training=True)
    >>> y.shape, len(run.parameters)
    ((5, 7, 4), 15)
    """

    heads: int
    hidden: int | None = None
    causal: bool = False
    dropout: float = 0.0
    activation: Step = relu

    def __post_init__(self) -> None:
        check_whole(self, "heads")
        if self.hidden is not None:
            check_whole(self, "hidden")
        check_flag(self, "causal")
        check_number(self, "dropout", 0, 1, open_high=True)
        check_step(self.activation, "TransformerBlock: activation")

    def __call__(self, x: Any, run: Run) -> Expr:
        given = entries_of(self, x, "x", "memory")
        y = floating(self, given["x"], run.dtype)
        if y.ndim != 3:
            raise ShapeError(f"TransformerBlock takes (batch, time, n), got {y.spec}")
        other = {name: node for name, node in given.items() if name.startswith("memory")}

        def attend(name: str, y: Expr, causal: bool, rest: dict[str, Expr]) -> Expr:
            x = run.apply(f"{name}_norm", LayerNorm(), y)
            found = run.apply(name, MultiHeadAttention(self.heads, causal), {"x": x, **rest} if rest else x)
            return self._dropped(name, found, run)

        y = y + attend("attention", y, self.causal, {})
        if other:
            y = y + attend("cross_attention", y, False, other)
        h = run.apply("norm", LayerNorm(), y)
        h = run.apply("hidden", Dense(self.hidden or 4 * y.shape[-1], HeNormal()), h)
        h = single(self, run.apply("activation", self.activation, h))
        h = run.apply("output", Dense(y.shape[-1], GlorotUniform()), h)
        return y + self._dropped("output", h, run)

    def _dropped(self, name: str, y: Expr, run: Run) -> Expr:
        return run.apply(f"{name}_dropout", Dropout(self.dropout), y) if self.dropout else y
