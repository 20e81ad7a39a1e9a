"""Weighted means of the loss and metrics over data of any length, in fixed blocks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chainrule.executors import Array, epoch
from chainrule.train.objective import Objective

__all__ = ["Evaluator"]

_BLOCK = 1000


class Evaluator:
    """Runs the evaluation program block by block; the last block is filled up with rows of weight 0."""

    def __init__(self, objective: Objective, samples: int, executor: str, threads: int | None = None) -> None:
        self.block = max(1, min(_BLOCK, samples))
        program = objective.evaluation(self.block)
        self.names = list(program.outputs)
        self.run = epoch(program, executor=executor, threads=threads)

    def __call__(self, state: Mapping[str, Array], data: Mapping[str, Array]) -> dict[str, float]:
        """The mean of the loss and of each metric: Σ w·v / Σ w, summed in float64.

        data    inputs, targets and the weight, in the program's order
        """
        arrays = list(data.values())
        weight = arrays[-1]
        rows = np.arange(-(-len(weight) // self.block) * self.block)
        outside = rows >= len(weight)
        rows[outside] = 0
        index = rows.reshape(-1, self.block)
        sums = dict.fromkeys(self.names, 0.0)
        if outside.any():
            index, tail = index[:-1], index[-1]
            last = [a[tail] for a in arrays[:-1]]
            fill = np.where(outside[-self.block :], 0, weight[tail]).astype(weight.dtype)
            self._add(sums, state, [*last, fill], np.arange(self.block)[None])
        self._add(sums, state, arrays, index)
        return {name: value / sums["weight"] for name, value in sums.items() if name != "weight"}

    def _add(
        self, sums: dict[str, float], state: Mapping[str, Array], arrays: list[Array], index: Array
    ) -> None:
        _, found = self.run.run(dict(state), arrays, index, [])
        for name, values in found.items():
            for v in values:
                sums[name] += float(v)
