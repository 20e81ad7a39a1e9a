"""What follows from configuration alone is made once; never where a function of the user's is part of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, ops
from chainrule.executors import optimized
from chainrule.executors.cpu.plan import plan_program
from chainrule.train.once import Once, described
from chainrule.train.prepare import Request

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3)).astype("float32")
Y = rng.normal(size=(40, 1)).astype("float32")


def prepared(*layers: Any, x: Any = X, y: Any = Y, **asked: Any) -> Any:
    net = cr.Network(*(layers or (nn.Dense(4), ops.relu, nn.Dense(1))), seed=asked.pop("seed", 0))
    return net._prepare(x, y, Request(**{"batch_size": 8, **asked}))


def test_fits_that_differ_in_seed_and_data_alone_share_graph_and_plan():
    one, two = prepared(), prepared(seed=1, x=X[::-1].copy(), epochs=3)
    assert one.objective.model is two.objective.model
    assert one.step() is two.step()
    assert optimized(one.step()) is optimized(two.step())
    assert plan_program(optimized(one.step())) is plan_program(optimized(two.step()))
    assert not np.array_equal(one.state["dense_0/W"], two.state["dense_0/W"])


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": cr.optim.Adam(3e-3)},
        {"optimizer": "sgd"},
        {"loss": "huber"},
        {"metrics": ["absolute_error"]},
        {"batch_size": 9},
        {"y": np.hstack([Y, Y]), "layers": (nn.Dense(4), ops.relu, nn.Dense(2))},
        {"layers": (nn.Dense(4), ops.tanh, nn.Dense(1))},
        {"layers": (nn.Dense(4), nn.Dropout(0.5), nn.Dense(1))},
        {"x": X[:, :2].copy()},
        {"x": (X > 0).astype("uint8")},
        {"sample_weight": np.arange(40.0)},
    ],
    ids=lambda change: ", ".join(change),
)
def test_whatever_changes_the_step_makes_another(change):
    change = dict(change)
    assert prepared().step() is not prepared(*change.pop("layers", ()), **change).step()


def test_functions_of_the_user_are_traced_each_time():
    """They may read what has changed since."""
    scale = 1.0

    def loss(prediction: Any, target: Any) -> Any:
        return ops.sum(ops.square(prediction - target), 1) * scale

    def fitted() -> float:
        net = cr.Network(nn.Dense(1), seed=0)
        return float(net.fit(X, Y, loss=loss, epochs=1, verbose=0)["loss"][0])

    first, scale = fitted(), 3.0
    assert fitted() == pytest.approx(3 * first, rel=0.2)


@dataclass(frozen=True)
class Own(nn.Layer):
    units: int

    def __call__(self, x: Any, run: nn.Run) -> Any:
        return nn.Dense(self.units)(x, run)


def test_a_description_is_of_this_librarys_own_alone():
    assert described(nn.Dense(3), (1, "a", None)) == described(nn.Dense(3), (1, "a", None))
    assert described(nn.Dense(3)) != described(nn.Dense(4))
    assert len({described(v) for v in (0, 0.0, False, None, "0", -1)}) == 6
    for own in (Own(3), lambda z: z, np.zeros(3), nn.sequential(Own(3)), {"a": print}):
        assert described(own) is None
    assert described(replace(cr.optim.Adam(), average=cr.optim.EMA(0.9))) is not None


def test_the_oldest_goes():
    once, made = Once(2), []
    for key in ("a", "b", "a", "c", "a", "b", None, None):
        once(key, lambda key=key: made.append(key))  # type: ignore[misc]
    assert made == ["a", "b", "c", "b", None, None]
