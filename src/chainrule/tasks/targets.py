"""What is learned: classes, labels, numbers; from them to what a network is trained on, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule import losses
from chainrule.errors import ConfigError, DataError
from chainrule.executors import Array
from chainrule.tasks.scaling import Affine, identity, moments, standard

__all__ = [
    "Labels",
    "Numbers",
    "OneOf",
    "SeveralOf",
    "Target",
    "check_reach",
    "codes_of",
    "known_scale",
    "log_softmax",
    "sigmoid",
]

OUTPUT = "y"  # of a network that has one


def sigmoid(z: Array) -> Array:
    """1/(1 + e⁻ᶻ), without overflow; never 0."""
    e = np.exp(-np.abs(z))
    return _not_zero(np.where(z >= 0, 1 / (1 + e), e / (1 + e)).astype(z.dtype, copy=False))


def _not_zero(p: Array) -> Array:
    """Probabilities that have a logarithm."""
    return np.maximum(p, np.finfo(p.dtype).tiny)


def log_softmax(z: Array) -> Array:
    """z − log Σ eᶻ along the last axis, without overflow."""
    shifted = z - z.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


class Target(ABC):
    """How a target is shown to the network.

    outputs        the width of every output, by name
    activation     what makes an output a prediction: "logistic", "softmax", "identity", "exp"
    """

    outputs: dict[str, int]
    activation: str
    classes: Any

    def loss_in_units(self, loss: float) -> float:
        """A mean loss of the network in units of the target, as scikit-learn defines it."""
        return loss

    @abstractmethod
    def encode(self, y: Array, dtype: np.dtype) -> Any:
        """What the loss is given: an array, or a dict of them by output. DataError for an unknown class."""

    @abstractmethod
    def predict(self, z: Any) -> Array:
        """The predictions from the network's outputs."""

    def answer(self, z: Any, X: Any) -> Any:
        """What is said of the rows X themselves, from the network's outputs for them: the predictions."""
        return self.predict(z)

    def probabilities(self, z: Any) -> Any:
        """Of the classes; never 0."""
        raise ConfigError(f"{type(self).__name__} have no probabilities")

    def logs(self, z: Any) -> Any:
        """Their logarithms."""
        raise ConfigError(f"{type(self).__name__} have no probabilities")

    def groups(self, y: Array) -> Array | None:
        """A number for every row; held out rows are drawn from each group alike. None: from all rows."""
        return None


# ------------------------------------------------------------------ classes


@dataclass(eq=False)
class OneOf(Target):
    """One of some classes, of any type that has an order.

    wide     whether two classes have an output each, as CrossEntropy and its like need; else they share one
    """

    classes: Array
    wide: bool = False

    def __post_init__(self) -> None:
        shared = len(self.classes) < 3 and not self.wide
        self.activation = "logistic" if shared else "softmax"
        self.outputs = {OUTPUT: 1 if shared else max(len(self.classes), 2)}

    def encode(self, y: Array, dtype: np.dtype) -> Array:
        codes = codes_of(y, self.classes)
        return codes if self.activation == "softmax" else codes[:, None].astype(dtype)

    def groups(self, y: Array) -> Array:
        return codes_of(y, self.classes)

    def logs(self, z: Array) -> Array:
        """The logarithms of the probabilities.   (n, K)"""
        return np.log(self.probabilities(z))

    def probabilities(self, z: Array) -> Array:
        """(n, K), in the order of the classes; each row adds up to 1."""
        if len(self.classes) == 1:
            return np.ones((len(z), 1), z.dtype)
        if self.activation == "logistic":
            return np.hstack([sigmoid(-z), sigmoid(z)])
        return _not_zero(np.exp(log_softmax(z)))

    def predict(self, z: Array) -> Array:
        if len(self.classes) == 1:
            return np.repeat(self.classes, len(z))
        return self.classes[z.argmax(axis=1) if self.activation == "softmax" else (z[:, 0] > 0).astype(int)]


@dataclass(eq=False)
class Labels(Target):
    """Several labels at once, each yes or no.   y (n, labels) of 0 and 1

    sparse    whether predictions are sparse matrices, as the target was
    """

    classes: Array
    sparse: bool = False

    def __post_init__(self) -> None:
        self.activation, self.outputs = "logistic", {OUTPUT: len(self.classes)}

    def encode(self, y: Array, dtype: np.dtype) -> Array:
        if y.ndim != 2 or y.shape[1] != len(self.classes):
            raise DataError(f"y has shape {y.shape}, it was fitted with {len(self.classes)} labels a row")
        return y.astype(dtype)

    def logs(self, z: Array) -> Array:
        return np.log(self.probabilities(z))

    def probabilities(self, z: Array) -> Array:
        """Of yes, for every label: more than 0 and less than 1."""
        return np.minimum(sigmoid(z), 1 - np.finfo(z.dtype).epsneg)

    def predict(self, z: Array) -> Any:
        found = (z > 0).astype(np.int64)
        if not self.sparse:
            return found
        from scipy.sparse import csr_matrix

        return csr_matrix(found)


@dataclass(eq=False)
class SeveralOf(Target):
    """Several targets at once, each one of its own classes.   y (n, targets)"""

    parts: tuple[OneOf, ...]

    def __post_init__(self) -> None:
        self.activation = "softmax"
        self.parts = tuple(replace(part, wide=True) for part in self.parts)
        self.outputs = {f"{OUTPUT}{i}": part.outputs[OUTPUT] for i, part in enumerate(self.parts)}

    @property
    def classes(self) -> list[Array]:
        return [part.classes for part in self.parts]

    def _each(self, z: dict[str, Array]) -> list[tuple[OneOf, Array]]:
        return list(zip(self.parts, z.values(), strict=True))

    def encode(self, y: Array, dtype: np.dtype) -> dict[str, Array]:
        if y.ndim != 2 or y.shape[1] != len(self.parts):
            raise DataError(f"y has shape {y.shape}, it was fitted with {len(self.parts)} targets a row")
        return {
            name: part.encode(y[:, i], dtype)
            for i, (name, part) in enumerate(zip(self.outputs, self.parts, strict=True))
        }

    def logs(self, z: dict[str, Array]) -> list[Array]:
        return [part.logs(column) for part, column in self._each(z)]

    def probabilities(self, z: dict[str, Array]) -> list[Array]:
        return [part.probabilities(column) for part, column in self._each(z)]

    def predict(self, z: dict[str, Array]) -> Array:
        return np.stack([part.predict(column) for part, column in self._each(z)], axis=1)


def codes_of(y: Array, classes: Array) -> Array:
    """0 … K−1 for every row; DataError for a value that is none of the classes.

    >>> codes_of(np.array(["b", "a"]), np.array(["a", "b"]))
    array([1, 0])
    """
    places = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
    if (wrong := classes[places] != y).any():
        unknown = np.unique(y[wrong])
        raise DataError(
            f"`y` has classes not in `self.classes_`: {unknown[:5].tolist()} (of {classes[:20].tolist()}); "
            "give all classes at the first call: fit, or partial_fit(…, classes=…)"
        )
    return places.astype(np.int64)


# ------------------------------------------------------------------ numbers


@dataclass(eq=False)
class Numbers(Target):
    """Numbers, one or several a row, shown to the network by their distance from the mean in deviations.

    scale       of every column, as the network is to see it
    flat        whether y was (n,), so that predictions are too
    levels      of the quantiles that are predicted of every number, where it is not its mean or median alone
    spread      "softplus" or "log_variance" where a deviation is predicted too, as GaussianNLL reads it, with
                its ``floor``
    units       factor and offset that turn a loss of the network into one in units of y
    """

    scale: Affine
    flat: bool
    activation: str = "identity"
    units: tuple[float, float] = (1.0, 0.0)
    levels: tuple[float, ...] = ()
    spread: str = ""
    floor: float = 0.0

    def __post_init__(self) -> None:
        self.outputs = {OUTPUT: len(self.scale.mean) * self.places}

    @property
    def places(self) -> int:
        """Outputs of the network for each number."""
        return 2 if self.spread else max(len(self.levels), 1)

    def encode(self, y: Array, dtype: np.dtype) -> Array:
        columns = y.reshape(len(y), -1)
        if columns.shape[1] != len(self.scale.mean):
            raise DataError(f"y has shape {y.shape}, it was fitted with {len(self.scale.mean)} numbers a row")
        check_reach(columns, dtype)
        return self.scale.apply(columns, dtype)

    def predict(self, z: Array) -> Array:
        if self.activation == "exp":
            found = (np.exp(z.astype(np.float64)) * self.scale.scale).astype(z.dtype)
        elif self.levels:
            found = self.quantiles(z)[..., np.argmin(np.abs(np.array(self.levels) - 0.5))]
        else:
            found = self.scale.undo(z[:, : len(self.scale.mean)])
        return self._shaped(found)

    def _shaped(self, found: Array) -> Array:
        return found[:, 0] if self.flat and found.ndim > 1 else found

    def quantiles(self, z: Array) -> Array:
        """Of every level, (n, levels), or (n, numbers, levels); sorted, so that they never cross
        (Chernozhukov, Fernández-Val & Galichon 2010)."""
        if not self.levels:
            raise ConfigError("there are no quantiles: fit with loss=losses.Quantile((0.05, 0.5, 0.95))")
        each = z.reshape(len(z), -1, len(self.levels)) * self.scale.scale[:, None] + self.scale.mean[:, None]
        found = np.sort(each, axis=2)[..., np.argsort(np.argsort(self.levels))]
        return found[:, 0] if self.flat else found

    def deviation(self, z: Array) -> Array:
        """The predicted standard deviation, in units of y and of its shape."""
        if not self.spread:
            raise ConfigError("there is no deviation: fit with loss='gaussian' (losses.GaussianNLL)")
        raw = z[:, len(self.scale.mean) :].astype(np.float64)
        σ = np.exp(raw / 2) if self.spread == "log_variance" else np.logaddexp(0, raw) + self.floor
        return self._shaped((σ * self.scale.scale).astype(z.dtype))

    def loss_in_units(self, loss: float) -> float:
        factor, offset = self.units
        return factor * loss + offset

    def fold(self, W: Array, b: Array) -> tuple[Array, Array]:
        """The last weights and biases, as if y had not been scaled."""
        if self.activation == "exp":
            return W, (b + np.log(self.scale.scale)).astype(b.dtype)
        mean, scale = self.scale.mean, self.scale.scale
        if self.levels:
            mean, scale = np.repeat(mean, len(self.levels)), np.repeat(scale, len(self.levels))
        if self.spread:  # what the deviation is made of stays as it is
            mean, scale = np.append(mean, np.zeros(len(mean))), np.append(scale, np.ones(len(scale)))
        return Affine(mean, scale).fold_out(W, b)

    @staticmethod
    def seen(y: Array, weight: Array | None, loss: Any, scaling: str) -> Numbers:
        """From a first target; what it is scaled by depends on the loss."""
        columns = y.reshape(len(y), -1)
        flat, k = y.ndim == 1, columns.shape[1]
        if isinstance(loss, losses.PoissonNLL):
            return _rates(columns, weight, flat, scaling)
        kind = known_scale(loss)
        found = identity(k) if scaling == "none" or kind is None else standard(columns, weight)
        if kind == "shared":
            found = Affine(found.mean, np.full(k, np.sqrt(np.mean(found.scale**2))))
        if isinstance(loss, losses.GaussianNLL):
            units = 1.0, float(np.log(found.scale).sum())
            return Numbers(found, flat, units=units, spread=loss.scale, floor=loss.floor)
        levels = loss.levels if isinstance(loss, losses.Quantile) else ()
        levels = levels if isinstance(levels, tuple) and len(levels) > 1 else ()
        return Numbers(found, flat, units=(_loss_unit(loss, found.scale), 0.0), levels=levels)


def check_reach(y: Array, dtype: np.dtype) -> None:
    """DataError for numbers that predictions, which are of this dtype, cannot hold."""
    limit = float(np.finfo(dtype).max)
    if (beyond := np.abs(y) > limit).any():
        raise DataError(
            f"y holds {y[beyond].flat[0]:.6g}, but {dtype.name}, in which it is predicted, ends at "
            f"{limit:.3g}; give it in another unit"
        )


def known_scale(loss: Any) -> str | None:
    """Whether a loss means the same of scaled numbers: "each" column by its own deviation, all "shared" by
    one, or None where that is not known: then the numbers are not scaled."""
    if isinstance(loss, losses.Huber):
        return "shared"
    squared = losses.HalfSquaredError | losses.MeanSquaredError | losses.MeanAbsoluteError
    return "each" if isinstance(loss, squared | losses.Quantile | losses.GaussianNLL) else None


def _loss_unit(loss: Any, scale: Array) -> float:
    """What a loss of scaled numbers is multiplied by; of several with different deviations, their mean.
    HalfSquaredError is a sum over the numbers of a row, where scikit-learn reports the mean."""
    if isinstance(loss, losses.HalfSquaredError):
        return float(np.mean(scale**2) / len(scale))
    if isinstance(loss, losses.MeanSquaredError | losses.Huber):
        return float(np.mean(scale**2))
    return float(np.mean(scale))


def _rates(columns: Array, weight: Array | None, flat: bool, scaling: str) -> Numbers:
    """Counts and rates are divided by their mean and not shifted, for 0 must stay 0. The loss is reported as
    half of the Poisson deviance, as scikit-learn does:  y log(y/ŷ) − y + ŷ."""
    if (columns < 0).any():
        raise DataError(
            "y has negative values, but the Poisson loss needs y >= 0: it is for counts and rates"
        )
    mean, _ = moments(columns, weight)
    scale = np.where((mean > 0) & (scaling != "none"), mean, 1.0)
    z = columns / scale
    constant, _ = moments(z * np.log(np.where(z > 0, z, 1)) - z, weight)
    unit = float(np.mean(scale)) / len(scale)
    units = unit, unit * float(constant.sum())
    return Numbers(Affine(np.zeros(len(mean)), scale), flat, activation="exp", units=units)
