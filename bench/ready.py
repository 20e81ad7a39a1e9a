"""What every library gives to be measured."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from bench.accuracy_recipe import Digits, Trained
from bench.workloads import Array, Workload

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CHAINRULE_THREADS": "1",
}

EPSILON = 1e-9
"""of Adam, where a library adds it before v's bias is corrected: in the first steps near 1e-8 after it"""


@dataclass(frozen=True)
class Ready:
    """A library with the network of one workload.

    train     this many epochs, shuffled anew each
    checked   this many epochs in the given order → the mean loss of the steps of the last
    predict   rows → the raw output, or probabilities
    """

    train: Callable[[int], object]
    checked: Callable[[int], float]
    predict: Callable[[Array], Array]


def everything(_: Workload) -> bool:
    return True


@dataclass(frozen=True)
class Peer:
    """One library in its best configuration.

    modules      what a user imports
    ready        makes the workload's network from the common weights
    takes        whether it can train a workload
    comparable   whether it can begin with the common weights
    environment  variables of its process: on one core, on all
    accuracy     trains the recipe of bench/accuracy_recipe.py
    optional     measured only where asked for: it is slow to start
    """

    name: str
    package: str
    modules: tuple[str, ...]
    ready: Callable[[Workload], Ready]
    takes: Callable[[Workload], bool] = everything
    comparable: Callable[[Workload], bool] = everything
    one_core: Mapping[str, str] = field(default_factory=dict)
    all_cores: Mapping[str, str] = field(default_factory=dict)
    accuracy: Callable[[Digits, int], Trained] | None = None
    optional: bool = False

    def environment(self, cores: str) -> dict[str, str]:
        return {**ONE_THREAD, **self.one_core} if cores == "one" else dict(self.all_cores)


def in_blocks(predict: Callable[[Array], Array], size: int = 1000) -> Callable[[Array], Array]:
    """Rows in blocks whose activations stay in the cache: a third faster in PyTorch, JAX and Keras."""

    def all_rows(rows: Array) -> Array:
        if len(rows) <= size:
            return predict(rows)
        return np.concatenate([predict(rows[k : k + size]) for k in range(0, len(rows), size)])

    return all_rows


def threads() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
