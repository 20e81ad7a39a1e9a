"""Predictor: a fitted estimator as a file holds it. It predicts with NumPy alone, without scikit-learn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule import __version__
from chainrule.config import from_json, to_json
from chainrule.data.tables import ENCODERS, TableEncoder
from chainrule.errors import ConfigError, DataError
from chainrule.executors import Array
from chainrule.losses.predicted import PredictedMixture
from chainrule.network import Network
from chainrule.storage import write_tensors
from chainrule.tasks.logarithms import Logarithms
from chainrule.tasks.mixtures import Mixtures
from chainrule.tasks.packing import pack, unpack
from chainrule.tasks.rows import Rows
from chainrule.tasks.scaling import Affine
from chainrule.tasks.targets import Labels, Numbers, OneOf, SeveralOf, Target

__all__ = ["FORMAT", "Predictor", "parameters_of", "predictor_of", "restore"]

FORMAT = 1  # of what is written here, inside the file's own format

_OF_NUMBERS = (Logarithms, Mixtures, Numbers)
_TARGETS = (Labels, *_OF_NUMBERS, OneOf, Rows, SeveralOf)
_PACKED: dict[str, type] = {cls.__name__: cls for cls in (Affine, *_TARGETS)}
"""The only classes that a file's description of a target can make."""


@dataclass(eq=False, repr=False)
class Predictor:
    """Rows of columns → the network → predictions in the target's own terms.

    estimator     the class that was fitted, "MLPClassifier"
    parameters    what it was made with, as JSON; ``left_out`` names those that a file cannot hold
    features      names of the columns, None where it was fitted on an array without names
    scaling       of "x", the numbers that the network takes
    target        what is learned: its classes, or its units
    encoder       how the columns of a table become those numbers, and codes; None of an array
    learned       what the encoder learned, by path
    """

    estimator: str
    parameters: dict[str, Any]
    features: tuple[str, ...] | None
    scaling: Affine
    network: Network
    target: Target
    left_out: tuple[str, ...] = ()
    encoder: TableEncoder | None = None
    learned: dict[str, Array] = field(default_factory=dict)

    def __repr__(self) -> str:
        columns = "an array" if self.features is None else f"{len(self.features)} columns"
        answer = "numbers" if isinstance(self.target, _OF_NUMBERS) else "classes"
        answer = "rows" if isinstance(self.target, Rows) else answer
        return f"<Predictor of {self.estimator}: {columns} → {answer}>"

    @property
    def classes(self) -> Any:
        """The classes, in the order of predict_proba's columns; a list of them for several targets."""
        if isinstance(self.target, (*_OF_NUMBERS, Rows)):
            raise AttributeError(f"{self.estimator} predicts no classes")
        return self.target.classes

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Classes, or numbers, for rows of X; of estimators that learn rows from themselves what they say of
        them: their cells, their gaps filled, −1 for anomalies, log densities.

        X             an array (rows, columns), or a table with the columns it was fitted on, in any order
        return_std    the predicted standard deviations too, where a regressor learned them

        DataError for missing values where training had none, infinities, lacking columns, or another number.
        """
        z = self._raw(X)
        found = self.target.answer(z, X if self.encoder is not None else self._columns(X))
        return (found, self._numbers("deviation").deviation(z)) if return_std else found

    def predict_quantiles(self, X: Any) -> Array:
        """The quantiles that a regressor learned, (rows, levels) or (rows, numbers, levels)."""
        return self._numbers("quantiles").quantiles(self._raw(X))

    def predict_distribution(self, X: Any) -> PredictedMixture:
        """The density that a MixtureDensityRegressor learned, of each row."""
        if not isinstance(self.target, Mixtures):
            raise ConfigError(f"{self.estimator} learned no density; MixtureDensityRegressor does")
        return self.target.distribution(self._raw(X))

    def _numbers(self, what: str) -> Numbers:
        if not isinstance(self.target, Numbers):
            raise ConfigError(f"{self.estimator} learned no {what}")
        return self.target

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of the classes; for several targets a list of them. ConfigError of numbers."""
        if isinstance(self.target, (*_OF_NUMBERS, Rows)):
            raise ConfigError(f"{self.estimator} predicts no classes: it has no probabilities")
        return self.target.probabilities(self._raw(X))

    def _raw(self, X: Any) -> Any:
        dtype = self.network.dtype
        if self.encoder is None:
            return self.network.output(self.scaling.apply(self._columns(X), dtype))
        inputs = self.encoder.encode(X, self.learned, dtype)
        if "x" in inputs:
            inputs["x"] = self.scaling.apply(inputs["x"], dtype)
        return self.network.output(inputs if len(inputs) > 1 else next(iter(inputs.values())))

    def _columns(self, X: Any) -> Array:
        """X as an array (rows, columns), checked."""
        named = hasattr(X, "columns")
        if named and self.features is not None:
            X = _by_name(X, self.features)
        x = X.toarray() if hasattr(X, "toarray") else np.asarray(X)  # which a sparse matrix has
        if x.dtype.kind not in "fiub":
            try:
                x = x.astype(np.float64)
            except (TypeError, ValueError):
                raise DataError(
                    f"X holds {x.dtype}, not numbers; give the columns it was fitted on"
                ) from None
        wanted = len(self.scaling.mean)
        if x.ndim != 2 or x.shape[1] != wanted:
            raise DataError(
                f"X has shape {x.shape}, but {self.estimator} was fitted on {wanted} columns: give so many"
            )
        return x

    def summary(self) -> str:
        """What was fitted, on how many columns, and a table of the network's layers."""
        columns = len(self.scaling.mean) if self.encoder is None else len(self.encoder.names)
        return f"{self.estimator} of {columns} columns\n{self.network.summary()}"

    # ------------------------------------------------------------------ files

    def save(self, path: str | os.PathLike[str], *, optimizer: bool = False) -> None:
        """One safetensors file, which :func:`chainrule.load` reads. ``optimizer`` adds its slots."""
        network, weights = self.network.contents(optimizer=optimizer)
        scaling, scales = pack(self.scaling, "scaling")
        target, codes = pack(self.target, "target")
        header = {
            "kind": "estimator",
            "chainrule": __version__,
            "version": FORMAT,
            "estimator": self.estimator,
            "parameters": self.parameters,
            "left_out": list(self.left_out),
            "features": None if self.features is None else list(self.features),
            "encoder": None if self.encoder is None else to_json(self.encoder),
            "scaling": scaling,
            "target": target,
            "network": network,
        }
        arrays = {**{f"network/{name}": a for name, a in weights.items()}, **scales, **codes, **self.learned}
        write_tensors(path, arrays, header)

    def export(self, path: str | os.PathLike[str]) -> None:
        """An ONNX file for other programs, with scaling and classes inside; see
        :func:`chainrule.tasks.onnx.predictor_to_onnx`."""
        from chainrule.tasks.onnx import predictor_to_onnx

        predictor_to_onnx(self, path)


def predictor_of(estimator: Any) -> Predictor:
    """What a fitted MLPClassifier or MLPRegressor needs to predict."""
    if not hasattr(estimator, "network_"):
        raise ConfigError(f"{type(estimator).__name__} is not fitted yet: call fit first")
    parameters, left_out = parameters_of(estimator)
    names = getattr(estimator, "feature_names_in_", None)
    return Predictor(
        estimator=type(estimator).__name__,
        parameters=parameters,
        features=None if names is None else tuple(str(n) for n in names),
        scaling=estimator._scaling,
        network=estimator.network_,
        target=estimator._target,
        left_out=tuple(left_out),
        encoder=getattr(estimator, "_encoder", None),
        learned=dict(getattr(estimator, "_encoder_state", {})),
    )


def parameters_of(estimator: Any) -> tuple[dict[str, Any], list[str]]:
    """What an estimator was made with: (as JSON, names of those that cannot be)."""
    found, left_out = {}, []
    for name, value in estimator.get_params(deep=False).items():
        try:
            found[name] = to_json(value)
        except ConfigError:
            left_out.append(name)
    return found, left_out


def restore(header: Mapping[str, Any], arrays: Mapping[str, Array], network: Network) -> Predictor:
    """What :meth:`Predictor.save` wrote; ConfigError for anything else."""
    if header["version"] != FORMAT or isinstance(header["version"], bool):
        raise ConfigError(
            f"the estimator has version {header['version']!r}, this chainrule reads {FORMAT}; "
            "a newer one was written by a newer chainrule: update it"
        )
    scaling, target = (unpack(header[key], arrays, _PACKED) for key in ("scaling", "target"))
    encoder = from_json(header["encoder"], ENCODERS, {})
    learned = {name: a for name, a in arrays.items() if name.startswith("encoder/")}
    features = header["features"]
    _check(
        isinstance(scaling, Affine) and isinstance(target, Target), "scaling and target are of other kinds"
    )
    _check(features is None or _texts(features), "features are names")
    _check(isinstance(header["estimator"], str) and isinstance(header["parameters"], dict), "no estimator")
    _check(_texts(header["left_out"]), "left_out are names")
    _check(isinstance(encoder, TableEncoder | None), "its encoder is none of a table")
    _check_fit(scaling, target, network, _widths(encoder, learned, len(scaling.mean)))
    _check(features is None or encoder is not None or len(features) == len(scaling.mean), "names do not fit")
    return Predictor(
        header["estimator"], header["parameters"], None if features is None else tuple(features),
        scaling, network, target, tuple(header["left_out"]), encoder, learned,
    )  # fmt: skip


def _widths(encoder: TableEncoder | None, learned: Mapping[str, Array], columns: int) -> dict[str, int]:
    """The inputs that a network is given, and their width. A row of gaps shows that the encoder's state is
    complete."""
    if encoder is None:
        return {"x": columns}
    found = encoder.encode(encoder.gaps(), learned)
    _check(all(np.isfinite(a).all() for a in found.values()), "its encoder gives no finite numbers")
    return {name: a.shape[1] for name, a in found.items()}


def _check_fit(scaling: Affine, target: Target, network: Network, widths: Mapping[str, int]) -> None:
    """The parts fit each other: columns, the network's inputs and outputs, the target."""
    n = len(scaling.mean)
    model = network.model
    given = {} if model is None else {name: s.shape for name, s in model.inputs.items()}
    if len(given) == len(widths) == 1:  # a network of one input calls it x
        given = dict.fromkeys(widths, next(iter(given.values())))
    _check(given == {name: (width,) for name, width in widths.items()}, "its columns do not fit the network")
    _check(scaling.mean.shape == scaling.scale.shape == (n,), "its scaling does not fit its columns")
    _check(n == widths.get("x", n), "its scaling does not fit its columns")
    found = {} if model is None else model.trace(model.batch_inputs(1), training=False)[0]
    widths = {name: y.shape[-1] if y.ndim == 2 else 0 for name, y in found.items()}
    _check(widths == target.outputs, "its target does not fit the network's outputs")


def _check(right: bool, problem: str) -> None:
    if not right:
        raise ConfigError(problem)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _by_name(X: Any, features: tuple[str, ...]) -> Any:
    """The columns of a data frame in the order in which it was fitted."""
    present = [str(name) for name in X.columns]
    if missing := [name for name in features if name not in present]:
        raise DataError(f"X lacks the column {missing[0]!r}, on which it was fitted; it has {present[:20]}")
    return X[list(features)]
