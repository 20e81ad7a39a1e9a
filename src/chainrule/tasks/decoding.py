"""Answers of an encoder and decoder, token after token: the likeliest next one, or a beam of several."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.data.arrays import as_named
from chainrule.errors import ConfigError, within
from chainrule.executors import Array, Blocks, compile, decide
from chainrule.graph.expr import Expr, input, substitute
from chainrule.network import Network
from chainrule.ops import log_softmax

__all__ = ["Decoder"]

_SIZES = (1, 8, 64)  # rows that are computed together


class Decoder:
    """Makes answers with a network that ends in :class:`~chainrule.nn.EncoderDecoder`, as it is now.

    begin, end    the tokens before the first of an answer and after its last
    longest       places of an answer, its end included: where it has none by then, it is cut off there
    beam          answers that are followed at once. 1 takes the likeliest token at each place; more find
                  likelier answers as a whole (Sutskever, Vinyals & Le 2014, section 3.2)

    Called with the source (an array, or :class:`~chainrule.data.Sequence`) it gives the answers, arrays of
    tokens without the end, and log p(answer, end | source) of each. The encoder runs once for each row, the
    decoder once for each place, over all places: every call has one shape, and nothing is compiled again.

    >>> from chainrule import nn
    >>> encoder = nn.SequenceStack(nn.Embedding(5, 8), (nn.TransformerBlock(2),))
    >>> decoder = nn.SequenceStack(nn.Embedding(5, 8), (nn.TransformerBlock(2, causal=True),))
    >>> x = {"source": np.array([[2, 3, 1]]), "target": np.array([[1, 3, 2]])}
    >>> net = Network(nn.EncoderDecoder(encoder, decoder, nn.Dense(5)))
    >>> history = net.fit(x, [[3, 2, 1]], loss="cross_entropy", epochs=60, learning_rate=0.03, verbose=0)
    >>> Decoder(net, begin=1, end=1, longest=3)(np.array([[2, 3, 1]]))[0]
    [array([3, 2])]
    """

    def __init__(
        self, network: Network, *, begin: int, end: int, longest: int, beam: int = 1, executor: str = "auto"
    ) -> None:
        self.network, self.begin, self.end, self.longest, self.beam = network, begin, end, longest, beam
        self.executor = executor
        within(self, "longest", "[1, inf)", whole=True)
        within(self, "beam", "[1, inf)", whole=True)
        self._state = network.state
        self._parts: dict[Any, tuple[Blocks, Blocks]] = {}

    def __call__(self, source: Any) -> tuple[list[Array], Array]:
        arrays = as_named(source, "source")
        n = len(next(iter(arrays.values())))
        rows = next((size for size in _SIZES if size >= n * self.beam), max(_SIZES[-1], self.beam))
        parts = self._compiled(arrays, rows, n)
        answers: list[Array] = []
        likelihoods = []
        for start in range(0, n, rows // self.beam):
            block = {name: a[start : start + rows // self.beam] for name, a in arrays.items()}
            tokens, scores = self._search(block, *parts)
            answers += [row[: _place(row, self.end)] for row in tokens]
            likelihoods.append(scores)
        return answers, np.concatenate(likelihoods)

    def _search(self, source: dict[str, Array], encode: Blocks, step: Blocks) -> tuple[Array, Array]:
        """The best answer for each row (n, longest), and its log-likelihood.

        A hypothesis that has ended goes on with the end alone, at no cost. Likelihoods only fall: where the
        best one has ended, no other can become better.
        """
        (memory,) = encode.one(list(source.values()))
        n, k, T = len(memory), self.beam, self.longest
        rest = [np.repeat(a, k, axis=0) for name, a in source.items() if name != "source"]
        memory = np.repeat(memory, k, axis=0)
        tokens, shown = np.full((n, k, T), self.end), np.full((n, k, T), self.begin)
        scores = np.full((n, k), -np.inf)
        scores[:, 0] = 0
        ended = np.zeros((n, k), bool)
        for t in range(T):
            (logs,) = step.one([memory, *rest, shown.reshape(n * k, T)])
            logs = logs[:, t].reshape(n, k, -1).astype(np.float64)
            logs[ended] = -np.inf
            logs[ended, self.end] = 0
            joint = (scores[..., None] + logs).reshape(n, -1)
            best = np.argsort(-joint, axis=1, kind="stable")[:, :k]
            scores = np.take_along_axis(joint, best, 1)
            parent, token = np.divmod(best, logs.shape[-1])
            tokens, shown = (np.take_along_axis(a, parent[..., None], 1) for a in (tokens, shown))
            ended = np.take_along_axis(ended, parent, 1) | (token == self.end)
            tokens[..., t] = token
            if t + 1 < T:
                shown[..., t + 1] = token
            if ended[:, 0].all():
                break
        return tokens[:, 0], scores[:, 0]

    # ------------------------------------------------------------------ the two halves, compiled

    def _compiled(self, arrays: dict[str, Array], rows: int, n: int) -> tuple[Blocks, Blocks]:
        key = rows, self.longest, tuple((name, a.shape[1:], a.dtype) for name, a in arrays.items())
        if key not in self._parts:
            given, memory, logs = self._graph(arrays, rows)
            turns = -(-n * self.beam // rows)
            state = [node for name in self._state if (node := given.get(name)) is not None]
            held = [self._state[name] for name in self._state if name in given]
            source = [given[name] for name in arrays]
            seen = input("memory", memory.shape, memory.dtype)
            (logs,) = substitute([logs], {memory: seen})
            later = [seen, *source[1:], given["target"]]
            encode, step = (
                compile([y], [*x, *state], executor=decide(self.executor, [y], steps)[0], rows=len(x)).bound(
                    held, rows
                )
                for y, x, steps in ((memory, source, turns), (logs, later, turns * self.longest))
            )
            self._parts[key] = encode, step
        return self._parts[key]

    def _graph(self, arrays: dict[str, Array], rows: int) -> tuple[dict[str, Expr], Expr, Expr]:
        """(inputs and parameters by name, the encoder's output, log-probabilities of every next token)."""
        model = self.network._built()
        if set(model.inputs) != {*arrays, "target"}:
            raise ConfigError(
                f"Decoder: the network takes {sorted(model.inputs)}, the source gives {sorted(arrays)}; it "
                "ends in nn.EncoderDecoder and is given data.Sequence(values, lengths) where it was in fit"
            )
        x = {name: input(name, (rows, *a.shape[1:]), a.dtype) for name, a in arrays.items()}
        x["target"] = input("target", (rows, self.longest), "int64")
        outputs, run = model.trace(x, training=False)
        found = [name for name in run.outputs if name.rpartition("/")[2] == "encoder"]
        if len(outputs) > 1 or not found:
            raise ConfigError("Decoder: the network has no nn.EncoderDecoder at its end")
        state = {name: run.inputs[name] for name in self._state if name in run.inputs}
        return {**x, **state}, run.outputs[min(found, key=len)], log_softmax(next(iter(outputs.values())))


def _place(row: Array, token: int) -> int:
    """Where a token first stands, or the length."""
    found = np.flatnonzero(row == token)
    return int(found[0]) if len(found) else len(row)
