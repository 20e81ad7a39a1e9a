"""Neighbours of examples: losses and steps by hand on linear models, where the worst move is known."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, optim
from chainrule.config import from_json, to_json
from chainrule.data import VICINITIES, Adversarial, Mixup, Neighbour, Vicinity
from chainrule.data.vicinity import beta
from chainrule.errors import ConfigError, ShapeError
from chainrule.executors import evaluate
from chainrule.nn import BatchNorm, Dense, Dropout, Rescale
from chainrule.ops import RandomKey, relu

QUIET: dict[str, Any] = {"verbose": 0, "schedule": "constant"}
STILL = optim.SGD(1e-12)
RNG = np.random.default_rng(3)
X = RNG.normal(size=(40, 6)).astype("float32")
LABELS = (X[:, 0] + 0.5 * RNG.normal(size=40) > 0).astype("int64")


def logistic(dtype: str = "float64") -> cr.Network:
    """One sigmoid unit with weights that are not small."""
    net = cr.Network(Dense(1), seed=1, dtype=dtype).build(6)
    net["dense_0/W"] = np.linspace(-1, 1.5, 6)[:, None]
    net["dense_0/b"] = [0.3]
    return net


def softplus(z: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, z)


@pytest.mark.parametrize(("norm", "dual"), [("max", 1), ("euclidean", 2)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_on_a_linear_model_the_margin_shrinks_by_the_dual_norm_of_the_weights(norm, dual, share):
    """Goodfellow et al. 2015, section 5: max over |r| ≤ ε of softplus(−m(x + r)) = softplus(ε‖w‖ − m(x))."""
    net, ε = logistic(), 0.4
    w, b = net["dense_0/W"][:, 0], net["dense_0/b"]
    margin = np.where(LABELS == 1, 1, -1) * (X @ w + b)
    wanted = (1 - share) * softplus(-margin) + share * softplus(ε * np.linalg.norm(w, dual) - margin)
    history = net.fit(
        X, LABELS[:, None], loss=losses.BinaryCrossEntropy(), optimizer=STILL, epochs=1, batch_size=40,
        augment=Adversarial(ε, share, norm), **QUIET,
    )  # fmt: skip
    assert history["loss"][0] == pytest.approx(wanted.mean(), rel=1e-6)


def test_a_step_takes_the_move_as_given_and_counts_weights():
    """θ ← θ − η Σ w·∂L(x + r)/∂θ / Σ w, with r held fixed, by hand."""
    net, ε, η = logistic(), 0.4, 0.5
    weight = RNG.uniform(0.5, 2, 40)
    w, b = net["dense_0/W"][:, 0].copy(), net["dense_0/b"].copy()
    net.fit(
        X, LABELS[:, None], loss=losses.BinaryCrossEntropy(), optimizer=optim.SGD(η), epochs=1, batch_size=40,
        sample_weight=weight, augment=Adversarial(ε), **QUIET,
    )  # fmt: skip
    step = 0.0
    for moved in (X, X - ε * np.where(LABELS == 1, 1, -1)[:, None] * np.sign(w)):
        δ = weight * (1 / (1 + np.exp(-(moved @ w + b))) - LABELS) / weight.sum()
        step = step + 0.5 * moved.T @ δ
    np.testing.assert_allclose(net["dense_0/W"][:, 0], w - η * step, rtol=1e-6)


def deep(**options: Any) -> cr.Network:
    return cr.Network(
        Dense(9, bias=False), BatchNorm(), relu, Dropout(0.4), Dense(5), relu, Dense(2), seed=2, **options
    )


@pytest.mark.parametrize("executor", ["reference", "cpu"])
@pytest.mark.parametrize("norm", ["max", "euclidean"])
@pytest.mark.parametrize("at", ["", "dense_1"])
def test_a_step_of_length_zero_changes_nothing_with_noise_and_batch_statistics(executor, norm, at):
    plain, moved = deep(dtype="float64"), deep(dtype="float64")
    options = {"epochs": 3, "batch_size": 8, "executor": executor, **QUIET}
    plain.fit(X, LABELS, **options)
    moved.fit(X, LABELS, augment=Adversarial(0.0, norm=norm, at=at), **options)
    for name, array in plain.state.items():
        np.testing.assert_allclose(moved.state[name], array, rtol=1e-7, atol=1e-9)


def test_running_statistics_are_those_of_the_examples():
    plain, moved = deep(), deep()
    for net, augment in ((plain, None), (moved, Adversarial(100.0))):
        net.fit(X, LABELS, optimizer=STILL, epochs=1, augment=augment, **QUIET)
    np.testing.assert_allclose(moved["batch_norm_0/mean"], plain["batch_norm_0/mean"], rtol=1e-6)


@pytest.mark.parametrize(
    "augment", [Adversarial(0.3), Adversarial(0.5, norm="euclidean"), Mixup(0.4)], ids=repr
)
def test_executors_agree(augment):
    states = []
    for executor in ("reference", "cpu"):
        net = deep()
        net.fit(X, LABELS, epochs=2, batch_size=8, augment=augment, executor=executor, **QUIET)
        states.append(net.state)
    for name, array in states[0].items():
        np.testing.assert_allclose(states[1][name], array, rtol=2e-4, atol=2e-5)


def test_gradients_that_would_underflow_still_have_a_direction():
    """An example that is right by a wide margin has a gradient of e^−80, whose square is 0 in float32."""
    net = logistic("float32")
    net["dense_0/W"] = np.full((6, 1), 16.0)
    ones = np.ones((4, 6), "float32")
    history = net.fit(
        ones, np.ones((4, 1), "int64"), loss=losses.BinaryCrossEntropy(), optimizer=STILL, epochs=1,
        augment=Adversarial(math.sqrt(6), share=1.0, norm="euclidean"), **QUIET,
    )  # fmt: skip
    # x + r = 0: what is left is the bias.
    assert history["loss"][0] == pytest.approx(softplus(np.array(-0.3)), rel=1e-3)


# ------------------------------------------------------------------ mixtures


def draws(alpha: float, n: int, step: int = 0, path: str = "vicinity/") -> np.ndarray:
    return evaluate([beta(RandomKey(7, step, path), n, alpha, "float64")], {})[0]


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0])
def test_shares_follow_the_beta_distribution(alpha):
    """Against NumPy's own generator: moments, and the largest distance of the distribution functions."""
    n = 20_000
    found, other = np.sort(draws(alpha, n)), np.sort(np.random.default_rng(0).beta(alpha, alpha, n))
    assert found.mean() == pytest.approx(0.5, abs=0.01)
    assert found.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)
    places = np.linspace(0.01, 0.99, 99)
    distance = np.abs(np.searchsorted(found, places) - np.searchsorted(other, places)).max() / n
    assert distance < 1.95 * math.sqrt(2 / n)  # Kolmogorov & Smirnov at 0.1 %


def test_a_step_of_mixtures_by_hand():
    """Squared error on a linear unit; the rows come in their own order, the shares are drawn again."""
    y = RNG.normal(size=(40, 1))
    net = cr.Network(Dense(1), seed=7, dtype="float64").build(6)
    w, b, η, mix = net["dense_0/W"].copy(), net["dense_0/b"].copy(), 0.1, Mixup(0.7)
    history = net.fit(
        X, y, loss=losses.MeanSquaredError(), optimizer=optim.SGD(η), epochs=1, batch_size=40, shuffle=False,
        augment=mix, **QUIET,
    )  # fmt: skip
    λ = draws(mix.alpha, 40)[:, None]
    x = λ * X + (1 - λ) * np.roll(X, -1, axis=0)
    errors = [x @ w + b - target for target in (y, np.roll(y, -1, axis=0))]
    loss = (λ * errors[0] ** 2 + (1 - λ) * errors[1] ** 2).mean()
    step = 2 * x.T @ (λ * errors[0] + (1 - λ) * errors[1]) / 40
    assert history["loss"][0] == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(net["dense_0/W"], w - η * step, rtol=1e-6)


def test_batch_statistics_and_penalties_are_those_of_the_mixtures():
    rows = np.stack([np.zeros(6), np.ones(6)]).astype("float32")
    found = {}
    for augment in (None, Mixup(1.0)):
        net = cr.Network(BatchNorm(), Dense(2), seed=0)
        net.fit(rows, [0, 1], optimizer=STILL, epochs=1, batch_size=2, augment=augment, **QUIET)
        found[augment] = net["batch_norm_0/variance"]
    assert (found[None] > 0.9).all()  # 0.9·1 + 0.1·¼
    assert (found[Mixup(1.0)] < found[None]).all()


# ------------------------------------------------------------------ how it is asked for


def test_images_in_bytes_are_moved_behind_the_layer_that_scales_them():
    images = RNG.integers(0, 256, (40, 6)).astype("uint8")
    net = cr.Network(Rescale(), Dense(2))
    with pytest.raises(ConfigError, match=r"the input is uint8.*at='rescale_0'"):
        net.fit(images, LABELS, augment=Adversarial(0.1), **QUIET)
    with pytest.raises(ConfigError, match=r"no layer is called 'rescal_0'.*rescale_0"):
        net.fit(images, LABELS, augment=Mixup(at="rescal_0"), **QUIET)
    net.fit(images, LABELS, augment=Adversarial(0.1, at="rescale_0"), epochs=1, **QUIET)


def test_what_has_no_meaning_is_refused():
    net, weight = deep(), np.arange(40.0)
    with pytest.raises(ConfigError, match="mixes rows, so none can weigh 0"):
        net.fit(X, LABELS, sample_weight=weight, augment=Mixup(), **QUIET)
    with pytest.raises(ConfigError, match="give one of the two"):
        net.fit(X, LABELS, augment=(Mixup(), Adversarial(0.1)), **QUIET)
    with pytest.raises(ConfigError, match="epsilon is -1"):
        Adversarial(-1.0)
    with pytest.raises(ConfigError, match="norm is 'l2'"):
        Adversarial(1.0, norm="l2")
    with pytest.raises(ConfigError, match="alpha is 2"):
        Mixup(2)


def test_rows_of_weight_zero_do_not_count():
    weight = np.ones(40)
    weight[30:] = 0
    nets = [cr.Network(Dense(3), relu, Dense(2), seed=0, dtype="float64") for _ in range(2)]
    options = {"augment": Adversarial(0.3), "epochs": 2, "shuffle": False, **QUIET}
    nets[0].fit(X, LABELS, sample_weight=weight, batch_size=40, **options)
    nets[1].fit(X[:30], LABELS[:30], batch_size=30, **options)
    np.testing.assert_allclose(nets[0]["dense_0/W"], nets[1]["dense_0/W"], rtol=1e-9)


def test_fresh_images_and_neighbours_together():
    """What works on images goes first; an array that it empties leaves nothing to mix."""
    nets = [cr.Network(Dense(2, bias=False), seed=0) for _ in range(2)]
    nets[0].fit(X, LABELS, augment=(lambda x, seed, epoch: 0 * x, Mixup()), epochs=1, **QUIET)
    nets[1].fit(0 * X, LABELS, augment=Mixup(), epochs=1, **QUIET)
    assert nets[0]["dense_0/W"].tobytes() == nets[1]["dense_0/W"].tobytes()


@pytest.mark.parametrize("name", VICINITIES)
def test_every_vicinity_survives_json_and_resumes(name, tmp_path):
    made = {"Adversarial": Adversarial(0.1, 0.25, "euclidean"), "Mixup": Mixup(0.3)}[name]
    assert from_json(json.loads(json.dumps(to_json(made))), VICINITIES, {}) == made
    whole, part, rest = deep(), deep(), deep()
    options = {"augment": made, "epochs": 4, "batch_size": 8, **QUIET}
    whole.fit(X, LABELS, **options)
    part.fit(X, LABELS, run_dir=tmp_path, callbacks=[Stop()], **options)
    assert len(part.history) == 2
    rest.fit(X, LABELS, run_dir=tmp_path, resume=True, **options)
    assert rest.history.sha256 == whole.history.sha256


class Stop(cr.train.Callback):
    """After two epochs."""

    def chunk(self, chunk: Any) -> bool:
        return chunk.epoch == 1


class Opposite(Vicinity):
    """Each example and its negative, of a user."""

    at = ""

    def neighbours(self, point, targets, loss, mean, key):
        return [Neighbour(point, targets, 0.5), Neighbour(-point, targets, 0.5)]


def test_a_vicinity_of_ones_own():
    one, other = (cr.Network(Dense(2, bias=False), seed=0, dtype="float64") for _ in range(2))
    one.fit(X, LABELS, augment=Opposite(), batch_size=40, epochs=1, **QUIET)
    both = np.concatenate([X, -X]), np.concatenate([LABELS, LABELS])
    other.fit(*both, batch_size=80, epochs=1, **QUIET)
    np.testing.assert_allclose(one["dense_0/W"], other["dense_0/W"], rtol=1e-9)


def test_a_neighbour_of_another_shape_is_refused():
    class Half(Opposite):
        def neighbours(self, point, targets, loss, mean, key):
            return [Neighbour(point[:1], targets, 1.0)]

    with pytest.raises(ShapeError, match="cannot be replaced"):
        deep().fit(X, LABELS, augment=Half(), **QUIET)


def test_a_stream_gives_what_the_same_rows_in_memory_give():
    """Neighbours are part of the step, so they need no arrays in memory."""
    table = {**{f"x{i}": X[:, i] for i in range(6)}, "y": LABELS}
    stream = cr.data.stream_table(table, "y", batch_size=8, shuffle=False, scaling="none")
    nets = [cr.Network(Dense(5), relu, Dense(1), seed=0) for _ in range(2)]
    nets[0].fit(stream, epochs=2, augment=Adversarial(0.3), **QUIET)
    rows = next(iter(stream.epoch(0))).inputs["x"]
    nets[1].fit(
        rows[:40], LABELS[:, None], epochs=2, batch_size=8, shuffle=False, augment=Adversarial(0.3), **QUIET
    )
    np.testing.assert_allclose(nets[0]["dense_0/W"], nets[1]["dense_0/W"], rtol=1e-6)
    with pytest.raises(ConfigError, match="augment is of arrays in memory"):
        nets[0].fit(stream, augment=(lambda x, seed, epoch: x, Mixup()), **QUIET)
