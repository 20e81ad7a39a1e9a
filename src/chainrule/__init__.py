"""chainrule: trains deep networks by back-propagation. Fast, clear, practical.

>>> import chainrule as cr
>>> net = cr.Network(cr.nn.Dense(16), cr.ops.relu, cr.nn.Dense(2))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainrule import autodiff, data, datasets, export, inspect, losses, nn, ops, optim, testing, train
    from chainrule.errors import ChainruleError
    from chainrule.modelfile import load
    from chainrule.network import Network
    from chainrule.tasks import (
        AnomalyDetector,
        AutoEncoder,
        Denoiser,
        DensityEstimator,
        Imputer,
        MixtureDensityRegressor,
        MLPClassifier,
        MLPRegressor,
        Recommender,
        SequenceClassifier,
        SequenceToSequence,
    )

__version__ = "0.1.0"

__all__ = [
    "ChainruleError",
    "Network",
    "__version__",
    "autodiff",
    "data",
    "datasets",
    "export",
    "inspect",
    "load",
    "losses",
    "nn",
    "ops",
    "optim",
    "testing",
    "train",
]

_ESTIMATORS = (
    "AnomalyDetector", "AutoEncoder", "Denoiser", "DensityEstimator", "Imputer", "MLPClassifier",
    "MLPRegressor", "MixtureDensityRegressor", "Recommender", "SequenceClassifier", "SequenceToSequence",
)  # fmt: skip
_HOMES = {
    "ChainruleError": "chainrule.errors",
    "Network": "chainrule.network",
    "load": "chainrule.modelfile",
    **dict.fromkeys(_ESTIMATORS, "chainrule.tasks"),
}
_EXTRA = (*_ESTIMATORS, "tasks")
"""What needs scikit-learn, so that ``from chainrule import *`` leaves it out."""


def __getattr__(name: str) -> Any:
    """Rooms are imported when they are first used, so that ``import chainrule`` costs almost nothing."""
    if name not in __all__ and name not in _EXTRA:
        from chainrule.errors import nearest

        raise AttributeError(f"chainrule has no {name!r}; {nearest(name, [*__all__, *_EXTRA])}")
    home = _HOMES.get(name)
    value = (
        getattr(importlib.import_module(home), name) if home else importlib.import_module(f"chainrule.{name}")
    )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_EXTRA])
