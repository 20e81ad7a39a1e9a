"""Small streams, the same rows as arrays, and the order in which a stream gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.data import stream_table
from chainrule.nn import BatchNorm, Dense, Dropout
from chainrule.ops import relu

ROWS, BATCH, POOL = 203, 10, 50
SMALL = 16  # rows of a piece of data, so that few rows have many parts


def columns(rows: int = ROWS, seed: int = 0) -> dict[str, Any]:
    """Numbers, one of which tells the row; two classes; weights, some of them 0."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4))
    return {
        "row": np.arange(rows, dtype=float),
        "x": x,
        "y": np.where(x[:, 0] > 0, "yes", "no"),
        "w": rng.integers(0, 3, rows).astype(float),
    }


def make(rows: int = ROWS, *, seed_of_data: int = 0, **options: Any) -> Any:
    """A stream whose numbers are left as they are."""
    given = {"batch_size": BATCH, "pool": POOL, "scaling": "none", "seed": 5, **options}
    kinds = {"row": "numeric", "w": "numeric"}
    return stream_table(columns(rows, seed_of_data), "y", kinds=kinds, **given)


def arrays(stream: Any) -> dict[str, Any]:
    """All its rows in the order of the data: x, y and sample_weight for a fit in memory."""
    given = columns(stream.rows)
    x = np.column_stack([given["row"], given["x"], *([] if stream.weight else [given["w"]])])
    found = {"x": x.astype("float32"), "y": (given["y"] == "yes").astype(np.int64)}
    return {**found, "sample_weight": given["w"]} if stream.weight else found


def order(stream: Any, epoch: int) -> np.ndarray:
    """The rows' numbers in the order of an epoch's steps."""
    return np.concatenate([b.inputs["x"][b.rows, 0].astype(np.int64) for b in stream.epoch(epoch)])


@dataclass(frozen=True)
class Scale(cr.nn.Layer):
    """x / 100, so that row numbers do no harm."""

    def __call__(self, x: Any, run: Any) -> Any:
        return x * 0.01


def network(seed: int = 3, dtype: str = "float32") -> cr.Network:
    """Dropout and batch statistics, so that noise and state take part."""
    layers = Scale(), Dense(8), BatchNorm(), relu, Dropout(0.2), Dense(2)
    return cr.Network(*layers, seed=seed, dtype=dtype)


def told(history: Any) -> list[dict[str, float]]:
    """Its rows without the clock."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]
