"""Numbers of which a whole density is learned: from y to the loss of a mixture, and back to y's units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chainrule import losses
from chainrule.errors import DataError
from chainrule.executors import Array
from chainrule.losses.predicted import PredictedMixture
from chainrule.tasks.scaling import Affine, standard
from chainrule.tasks.targets import OUTPUT, Target, check_reach

__all__ = ["Mixtures"]


@dataclass(eq=False)
class Mixtures(Target):
    """Numbers, one or several a row, and of each row a mixture of Gaussians.

    scale         of every column, as the network is to see it
    flat          whether y was (n,), so that predictions are too
    components, covariance    of the mixture, as GaussianMixtureNLL takes them
    """

    scale: Affine
    flat: bool
    components: int
    covariance: str = "diagonal"

    def __post_init__(self) -> None:
        self.loss = losses.GaussianMixtureNLL(self.components, self.covariance)  # type: ignore[arg-type]
        self.activation, self.outputs = "identity", {OUTPUT: self.loss.width(len(self.scale.mean))}

    @staticmethod
    def seen(y: Array, weight: Array | None, components: int, covariance: str) -> Mixtures:
        """From a first target."""
        return Mixtures(standard(y.reshape(len(y), -1), weight), y.ndim == 1, components, covariance)

    def loss_in_units(self, loss: float) -> float:
        return loss + float(np.log(self.scale.scale).sum())

    def encode(self, y: Array, dtype: np.dtype) -> Array:
        columns = y.reshape(len(y), -1)
        if columns.shape[1] != len(self.scale.mean):
            raise DataError(f"y has shape {y.shape}, it was fitted with {len(self.scale.mean)} numbers a row")
        check_reach(columns, dtype)
        return self.scale.apply(columns, dtype)

    def distribution(self, z: Array) -> PredictedMixture:
        """The density of each row, in units of y."""
        found, scale = self.loss.distribution(z), self.scale.scale
        return PredictedMixture(
            found.log_weights, found.means * scale + self.scale.mean, found.factors / scale
        )

    def predict(self, z: Array) -> Array:
        return self.shaped(self.distribution(z).mean()).astype(z.dtype)

    def shaped(self, y: Array) -> Array:
        """As y was."""
        return y[:, 0] if self.flat else y
