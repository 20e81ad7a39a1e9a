"""Recommender: known truths of low rank, strangers, and what is recommended."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, ops
from chainrule.errors import ConfigError, DataError
from chainrule.executors import evaluate
from chainrule.tasks import Recommender
from chainrule.tasks.factors import Factors

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
QUICK: dict[str, Any] = {"random_state": 0, "schedule": cr.optim.Linear(), "max_iter": 60}


def world(noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """(pairs, truth): 60 users, 40 items, biases and two directions of taste."""
    rng = np.random.default_rng(0)
    taste = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 40))
    truth = 3 + rng.normal(size=(60, 1)) + rng.normal(size=40) + taste
    users, items = np.divmod(np.arange(2400), 40)
    pairs = np.stack([np.char.add("u", users.astype(str)), np.char.add("i", items.astype(str))], 1)
    return pairs, truth.ravel() + noise * rng.normal(size=2400)


def test_what_it_computes_is_the_sum_of_all_pairs() -> None:
    codes = np.random.default_rng(0).integers(0, 4, (5, 3)).astype(np.int32)
    x = ops.input("x", codes.shape, "int32")
    y, run = nn.trace(Factors((4, 4, 4), 2), x, training=False, dtype="float64")
    values = {
        n: np.random.default_rng(i).normal(size=p.spec.shape)
        for i, (n, p) in enumerate(run.parameters.items())
    }
    found = evaluate([y], {x: codes} | {run.inputs[n]: a for n, a in values.items()})[0]
    v = [values[f"vector_{j}/W"][codes[:, j]] for j in range(3)]
    b = sum(values[f"bias_{j}/W"][codes[:, j], 0] for j in range(3))
    pairs = sum((v[j] * v[k]).sum(1) for j in range(3) for k in range(j))
    np.testing.assert_allclose(found[:, 0], values["b"][0] + b + pairs)


def test_a_truth_of_rank_two_is_found_from_half_of_it() -> None:
    pairs, y = world()
    rows = np.random.default_rng(1).permutation(2400)
    seen, new = rows[:1200], rows[1200:]
    model = Recommender(2, **QUICK, alpha=0.1).fit(pairs[seen], y[seen])
    biases = Recommender(1, **QUICK, alpha=50.0).fit(pairs[seen], y[seen])
    assert model.score(pairs[new], y[new]) > 0.9
    assert model.score(pairs[new], y[new]) > biases.score(pairs[new], y[new]) + 0.1


def test_strangers_have_a_place() -> None:
    """An item that nobody knows gets what its user says on average, and the other way round."""
    pairs, y = world()
    model = Recommender(2, **QUICK, hide_inputs=0.2).fit(pairs, y)
    of_user = np.array([y[pairs[:, 0] == f"u{k}"].mean() for k in range(60)])
    found = model.predict([(f"u{k}", "never heard of") for k in range(60)])
    assert np.corrcoef(found, of_user)[0, 1] > 0.9
    assert model.predict([("nobody", "nothing")])[0] == pytest.approx(y.mean(), abs=0.3)


def test_recommended_is_what_the_user_does_not_know_and_would_like_most() -> None:
    pairs, y = world(0.0)
    known = (pairs[:, 0] != "u7") | (np.arange(2400) % 4 > 0)
    model = Recommender(2, **QUICK).fit(pairs[known], y[known])
    items, scores = model.recommend("u7", 5)
    hidden = pairs[~known, 1]
    assert set(items) <= set(hidden)
    assert (np.diff(scores) <= 0).all()
    best = hidden[np.argsort(-y[~known])]
    assert items[0] in best[:3]
    np.testing.assert_allclose(scores, model.predict([("u7", item) for item in items]), rtol=1e-6)
    assert len(model.recommend("u7", 100, known=True)[0]) == 40
    assert len(model.recommend("a stranger", 3)[0]) == 3


def test_preferences_are_probabilities() -> None:
    pairs, y = world()
    liked = (y > y.mean()).astype(int)
    model = Recommender(2, target="preference", **QUICK).fit(pairs, liked)
    p = model.predict(pairs)
    assert ((p > 0) & (p < 1)).all()
    assert ((p > 0.5) == liked).mean() > 0.9
    assert p.mean() == pytest.approx(liked.mean(), abs=0.03)
    with pytest.raises(DataError, match="target='rating'"):
        Recommender(target="preference").fit(pairs, y)
    with pytest.raises(ConfigError, match="did you mean 'rating'"):
        Recommender(target="ratings").fit(pairs, y)


def test_users_may_be_numbers_and_occasions_may_have_more_columns() -> None:
    rng = np.random.default_rng(0)
    pairs = np.stack([rng.integers(0, 20, 500), rng.integers(100, 110, 500), rng.integers(0, 2, 500)], 1)
    y = pairs[:, 0] * 0.1 + (pairs[:, 1] % 3) * (2 * pairs[:, 2] - 1)
    model = Recommender(4, **QUICK).fit(pairs, y)
    assert model.score(pairs, y) > 0.9
    np.testing.assert_array_equal(model.predict(pairs.astype(float)), model.predict(pairs))
    with pytest.raises(ConfigError, match="3 columns"):
        model.recommend(3)
    two = Recommender(4, **QUICK).fit(pairs[:, :2], y)
    assert two.recommend(3, 2, known=True)[0].dtype.kind == "i"
