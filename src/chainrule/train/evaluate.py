"""Weighted means of the loss and metrics over data of any length, in fixed blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from chainrule.errors import DataError
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

    def __call__(
        self, state: Mapping[str, Array], parts: Iterable[tuple[Sequence[Array], Array]]
    ) -> dict[str, float]:
        """The mean of the loss and of each metric: Σ w·v / Σ w, summed in float64.

        parts    inputs, targets and the weight, in the program's order; and the numbers of rows in them
        """
        sums = dict.fromkeys(self.names, 0.0)
        for arrays, rows in parts:
            self._part(sums, state, arrays, rows)
        if not sums["weight"]:
            raise DataError("the weights of all rows to be evaluated are 0; give some row more")
        return {name: value / sums["weight"] for name, value in sums.items() if name != "weight"}

    def _part(
        self, sums: dict[str, float], state: Mapping[str, Array], arrays: Sequence[Array], rows: Array
    ) -> None:
        whole, rest = divmod(len(rows), self.block)
        index = rows[: whole * self.block].reshape(whole, self.block)
        if rest:
            tail = np.full(self.block, rows[0])
            tail[:rest] = rows[-rest:]
            last = [a[tail] for a in arrays]
            last[-1][rest:] = 0
            self._add(sums, state, last, np.arange(self.block)[None])
        self._add(sums, state, arrays, index)

    def _add(
        self, sums: dict[str, float], state: Mapping[str, Array], arrays: Sequence[Array], index: Array
    ) -> None:
        _, found = self.run.run(dict(state), arrays, index, [])
        for name, values in found.items():
            for v in values:
                sums[name] += float(v)
