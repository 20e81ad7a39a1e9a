"""Estimators: neural networks with scikit-learn's interface. They need scikit-learn, an extra."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from chainrule.errors import MissingExtraError, nearest

if TYPE_CHECKING:
    from chainrule.tasks.anomaly import AnomalyDetector
    from chainrule.tasks.autoencoder import AutoEncoder, Denoiser
    from chainrule.tasks.classifier import MLPClassifier
    from chainrule.tasks.density import DensityEstimator
    from chainrule.tasks.ensemble import EnsembleClassifier, EnsembleRegressor
    from chainrule.tasks.imputer import Imputer
    from chainrule.tasks.mixture_regressor import MixtureDensityRegressor
    from chainrule.tasks.recommender import Recommender
    from chainrule.tasks.regressor import MLPRegressor
    from chainrule.tasks.sequences import SequenceClassifier, SequenceToSequence

__all__ = [
    "AnomalyDetector",
    "AutoEncoder",
    "Denoiser",
    "DensityEstimator",
    "EnsembleClassifier",
    "EnsembleRegressor",
    "Imputer",
    "MLPClassifier",
    "MLPRegressor",
    "MixtureDensityRegressor",
    "Recommender",
    "SequenceClassifier",
    "SequenceToSequence",
]

_HOMES = {
    "AnomalyDetector": "chainrule.tasks.anomaly",
    "AutoEncoder": "chainrule.tasks.autoencoder",
    "Denoiser": "chainrule.tasks.autoencoder",
    "DensityEstimator": "chainrule.tasks.density",
    "EnsembleClassifier": "chainrule.tasks.ensemble",
    "EnsembleRegressor": "chainrule.tasks.ensemble",
    "Imputer": "chainrule.tasks.imputer",
    "MLPClassifier": "chainrule.tasks.classifier",
    "MLPRegressor": "chainrule.tasks.regressor",
    "MixtureDensityRegressor": "chainrule.tasks.mixture_regressor",
    "Recommender": "chainrule.tasks.recommender",
    "SequenceClassifier": "chainrule.tasks.sequences",
    "SequenceToSequence": "chainrule.tasks.sequences",
}


def __getattr__(name: str) -> Any:
    """Estimators are imported when they are asked for: what a file of theirs needs to predict is NumPy's."""
    if name not in _HOMES:
        raise AttributeError(f"chainrule.tasks has no {name!r}; {nearest(name, _HOMES)}")
    try:
        importlib.import_module("sklearn")
    except ImportError as error:
        raise MissingExtraError(
            "the estimators need scikit-learn; install it: pip install 'chainrule[sklearn]'"
        ) from error
    found = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return found
