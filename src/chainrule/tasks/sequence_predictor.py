"""What a fitted estimator of sequences needs to predict, and its file: NumPy alone, without scikit-learn."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule import __version__
from chainrule.errors import ConfigError
from chainrule.executors import Array
from chainrule.network import Network
from chainrule.spec import Spec
from chainrule.storage import write_tensors
from chainrule.tasks.decoding import Decoder
from chainrule.tasks.packing import pack, unpack
from chainrule.tasks.targets import OUTPUT, OneOf
from chainrule.tasks.vocabulary import BOUNDARY, Vectors, Vocabulary, listed, padded, padded_length
from chainrule.train import Model

__all__ = ["Labeller", "SequencePredictor", "Translator", "restore_sequences"]

FORMAT = 1  # of what is written here, inside the file's own format

Source = Vocabulary | Vectors


@dataclass(eq=False, repr=False)
class SequencePredictor(ABC):
    """Sequences → the network → what was learned of them.

    estimator     the class that was fitted, "SequenceToSequence"
    parameters    what it was made with, as JSON; ``left_out`` names those that a file cannot hold
    source        what its sequences are made of
    """

    estimator: str
    parameters: dict[str, Any]
    left_out: tuple[str, ...]
    network: Network
    source: Source

    @abstractmethod
    def predict(self, X: Any) -> Any:
        """What was learned, for each sequence of X. DataError for what is no sequence."""

    @abstractmethod
    def _described(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """What the file holds beside network and source: (JSON, arrays)."""

    def __repr__(self) -> str:
        made = "vectors" if isinstance(self.source, Vectors) else f"{len(self.source.tokens)} {self._kind()}"
        return f"<{type(self).__name__} of {self.estimator}: sequences of {made}>"

    def _kind(self) -> str:
        return self.source.split if isinstance(self.source, Vocabulary) else "vectors"

    def _by_length(self, X: Any, compute: Callable[[Any], list[Any]]) -> list[Any]:
        """What ``compute`` makes of padded sequences, in the order of X. Those of like lengths go together,
        so that few sizes are compiled, and no row is padded by more than half of it."""
        rows = self.source.encode(listed(X, "X"), "X")
        sizes = np.array([padded_length(len(row)) for row in rows])
        found: list[Any] = [None] * len(rows)
        for size in np.unique(sizes):
            places = np.flatnonzero(sizes == size)
            for place, value in zip(places, compute(padded([rows[i] for i in places], size)), strict=True):
                found[place] = value
        return found

    def export(self, path: str | os.PathLike[str]) -> None:
        """ConfigError: an ONNX file has neither vocabularies nor the search for answers."""
        raise ConfigError(
            f"{self.estimator} cannot be exported as a whole; its network can: network.export(path) gives "
            "scores from the numbers of tokens"
        )

    def summary(self) -> str:
        """What was fitted, and a table of the network's layers."""
        return f"{self!r}\n{self.network.summary()}"

    def save(self, path: str | os.PathLike[str]) -> None:
        """One safetensors file, which :func:`chainrule.load` reads."""
        network, weights = self.network.contents()
        source, tokens = pack(self.source, "source")
        described, arrays = self._described()
        header = {
            "kind": "sequences",
            "chainrule": __version__,
            "version": FORMAT,
            "estimator": self.estimator,
            "parameters": self.parameters,
            "left_out": list(self.left_out),
            "source": source,
            "network": network,
            **described,
        }
        write_tensors(path, {**{f"network/{n}": a for n, a in weights.items()}, **tokens, **arrays}, header)


@dataclass(eq=False, repr=False)
class Translator(SequencePredictor):
    """A sequence for each sequence.

    target     what the answers are made of
    longest    places of an answer, its end included
    beam       answers that are followed at once
    """

    target: Vocabulary
    longest: int
    beam: int = 1
    executor: str = "auto"
    _decoder: Decoder | None = field(default=None, init=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without what is compiled."""
        return {**vars(self), "_decoder": None}

    def predict(self, X: Any) -> list[Any]:
        return [answer for answer, _ in self._answers(X)]

    def predict_log_likelihood(self, X: Any) -> tuple[list[Any], Array]:
        """The answers, and the logarithm of the probability that the network gives each of them."""
        found = self._answers(X)
        return [answer for answer, _ in found], np.array([score for _, score in found])

    def _answers(self, X: Any) -> list[tuple[Any, float]]:
        if self._decoder is None:
            self._decoder = Decoder(
                self.network, begin=BOUNDARY, end=BOUNDARY, longest=self.longest, beam=self.beam,
                executor=self.executor,
            )  # fmt: skip
        decoder = self._decoder

        def compute(source: Any) -> list[tuple[Any, float]]:
            answers, scores = decoder({"source": source})
            return [(self.target.decode(a), float(s)) for a, s in zip(answers, scores, strict=True)]

        return self._by_length(X, compute)

    def _described(self) -> tuple[dict[str, Any], dict[str, Array]]:
        target, arrays = pack(self.target, "target")
        return {"target": target, "longest": self.longest, "beam": self.beam}, arrays


@dataclass(eq=False, repr=False)
class Labeller(SequencePredictor):
    """A class for each sequence, or for each of its places.

    target    the classes
    each      whether every place has a class of its own
    """

    target: OneOf
    each: bool = False
    executor: str = "auto"
    _networks: dict[int, Network] = field(default_factory=dict, init=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without what is compiled."""
        return {**vars(self), "_networks": {}}

    @property
    def classes(self) -> Array:
        """The classes, in the order of predict_proba's columns."""
        return self.target.classes

    def predict(self, X: Any) -> Any:
        """An array of classes; with ``each`` a list of lists, one class for every token."""
        if self.each:
            return [self.target.predict(z).tolist() for z in self._outputs(X)]
        return self.target.predict(np.stack(self._outputs(X)))

    def predict_proba(self, X: Any) -> Any:
        """(n, classes); with ``each`` a list of arrays (tokens, classes)."""
        if self.each:
            return [self.target.probabilities(z) for z in self._outputs(X)]
        return self.target.probabilities(np.stack(self._outputs(X)))

    def _outputs(self, X: Any) -> list[Array]:
        def compute(x: Any) -> list[Array]:
            z = self._sized(x.values.shape[1]).output({"x": x}, executor=self.executor)
            return (
                [row[: n - self._ends] for row, n in zip(z, x.lengths, strict=True)] if self.each else list(z)
            )

        return self._by_length(X, compute)

    @property
    def _ends(self) -> int:
        """Places of a sequence that are none of its own: the boundary after tokens."""
        return int(isinstance(self.source, Vocabulary))

    def _sized(self, length: int) -> Network:
        """The network for sequences of another padded length: its parameters do not depend on it."""
        if length not in self._networks:
            net, model = copy.copy(self.network), self.network._built()
            values = model.inputs["x"]
            inputs = {**model.inputs, "x": Spec((length, *values.shape[1:]), values.dtype)}
            net.model = Model.of(net.layer, inputs, net.dtype)
            net._predictors = {}
            self._networks[length] = net
        return self._networks[length]

    def _described(self) -> tuple[dict[str, Any], dict[str, Array]]:
        target, arrays = pack(self.target, "target")
        return {"target": target, "each": self.each}, arrays


# ------------------------------------------------------------------ reading a file

_PACKED: dict[str, type] = {cls.__name__: cls for cls in (OneOf, Vectors, Vocabulary)}
"""The only classes that a file's description can make."""


def restore_sequences(
    header: Mapping[str, Any], arrays: Mapping[str, Array], network: Network
) -> SequencePredictor:
    """What :meth:`SequencePredictor.save` wrote; ConfigError for anything else."""
    if header["version"] != FORMAT or isinstance(header["version"], bool):
        raise ConfigError(
            f"the estimator has version {header['version']!r}, this chainrule reads {FORMAT}; "
            "a newer one was written by a newer chainrule: update it"
        )
    source, target = (unpack(header[key], arrays, _PACKED) for key in ("source", "target"))
    name, parameters, left_out = header["estimator"], header["parameters"], header["left_out"]
    _check(isinstance(source, Vocabulary | Vectors), "its sequences are made of nothing known")
    _check(isinstance(name, str) and isinstance(parameters, dict), "no estimator")
    _check(isinstance(left_out, list) and all(isinstance(v, str) for v in left_out), "left_out are names")
    shared = name, parameters, tuple(left_out), network, source
    found: Translator | Labeller
    if isinstance(target, Vocabulary):
        found = Translator(*shared, target, header["longest"], header["beam"])
        _check(all(_is_count(n) for n in (found.longest, found.beam)), "longest and beam are whole numbers")
    else:
        _check(
            isinstance(target, OneOf) and isinstance(header["each"], bool), "its target is of another kind"
        )
        found = Labeller(*shared, target, header["each"])
    _check_fit(found)
    return found


def _check_fit(found: Translator | Labeller) -> None:
    """The parts fit each other: the network's inputs, what they are made of, its outputs."""
    model = found.network._built()
    names = ("source", "source/lengths", "target") if isinstance(found, Translator) else ("x", "x/lengths")
    _check(tuple(model.inputs) == names, "its network takes other inputs")
    values = model.inputs[names[0]]
    inner = values.shape[1:] if isinstance(found.source, Vectors) else ()
    features = found.source.mean.shape if isinstance(found.source, Vectors) else ()
    _check(inner == features and values.ndim == 1 + len(features), "its sequences do not fit the network")
    _check((values.dtype.kind == "f") == bool(features), "its sequences do not fit the network")
    outputs, _ = model.trace(model.batch_inputs(1), training=False)
    width = len(found.target) if isinstance(found, Translator) else found.target.outputs[OUTPUT]
    axes = 3 if isinstance(found, Translator) or found.each else 2
    (y,) = outputs.values()
    _check(y.ndim == axes and y.shape[-1] == width, "its target does not fit the network's outputs")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 1 << 20


def _check(right: bool, problem: str) -> None:
    if not right:
        raise ConfigError(problem)
