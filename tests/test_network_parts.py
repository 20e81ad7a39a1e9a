"""Trained networks taken apart and put together anew: parts, other heads, frozen layers, rates of groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, nn, ops, optim
from chainrule.errors import ConfigError, ShapeError
from chainrule.optim import Group

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype("float32")
Y = (X[:, 0] > 0).astype(int)
HUGE = 1e30


def body_and_head(seed: int = 0) -> cr.Network:
    body = nn.sequential(nn.Dense(6), nn.BatchNorm(), ops.tanh, nn.Dense(5))
    return cr.Network(body=body, act=ops.relu, head=nn.Dense(2), seed=seed)


def trained(**options: Any) -> cr.Network:
    net = body_and_head()
    net.fit(X, Y, **{"epochs": 2, "verbose": 0, **options})
    return net


# ------------------------------------------------------------------ parts


def test_parts_one_after_another_are_the_whole():
    net = trained()
    between = np.maximum(net.part("body").output(X), 0)
    np.testing.assert_array_equal(net.part("head").output(between), net.output(X))


def test_a_part_is_a_copy():
    net, before = trained(), trained()
    part = net.part("body")
    part["dense_0/W"] = np.zeros((4, 6))
    part.fit(X, np.zeros((60, 5)), epochs=1, verbose=0)
    assert all(np.array_equal(net[n], before[n]) for n in net.state)
    assert part.model.buffers  # running statistics came along, and were learned on


def test_a_part_may_lie_deep_be_a_branch_a_function_or_hold_what_is_shared():
    net = trained()
    np.testing.assert_array_equal(net.part("body/dense_1")["dense_0/W"], net["body/dense_1/W"])
    assert net.part("act").output(-np.ones((2, 5))).tolist() == np.zeros((2, 5)).tolist()
    block = nn.Shared("block", nn.Dense(4))
    shared = cr.Network(a=nn.sequential(block, ops.tanh), b=nn.sequential(block, ops.tanh)).build(4)
    np.testing.assert_allclose(shared.part("b").output(shared.part("a").output(X)), shared.output(X))
    branches = cr.Network(read=nn.parallel(n=nn.Dense(2), c=nn.Embedding(3, 2)), out=nn.Dense(1))
    branches.build(n=cr.spec.Spec((4,), np.dtype("float32")), c=cr.spec.Spec((), np.dtype("int64")))
    assert branches.part("read").output({"n": X, "c": Y}).shape == (60, 4)
    np.testing.assert_array_equal(branches.part("read/c")["embedding_0/W"], branches["read/c/W"])


def test_a_part_that_is_not_there_and_one_that_needs_the_rest_are_refused():
    with pytest.raises(ConfigError, match=r"no layer 'boddy'.*'body'"):
        trained().part("boddy")
    tied = cr.Network(encoder=nn.Dense(2), decoder=nn.TiedDense("encoder")).build(4)
    with pytest.raises(ConfigError, match="no parameter 'encoder/W'"):
        tied.part("decoder")
    with pytest.raises(ConfigError, match="call fit, or build"):
        body_and_head().part("body")


# ------------------------------------------------------------------ another head


def test_replace_keeps_all_but_the_new_layer_which_starts_afresh():
    net = trained()
    other = net.replace(head=nn.Dense(2))
    kept = [n for n in net.state if not n.startswith("head/")]
    assert all(np.array_equal(other[n], net[n]) for n in kept)
    assert "body/batch_norm_0/mean" in kept
    np.testing.assert_array_equal(other["head/W"], body_and_head().build(4)["head/W"])
    assert not np.array_equal(other["head/W"], net["head/W"])
    assert other.history is None
    assert other.loss is None


def test_replace_leaves_steps_out_adds_depth_and_goes_into_branches():
    net = trained()
    np.testing.assert_array_equal(net.replace(head=None, act=None).output(X), net.part("body").output(X))
    deeper = net.replace(head=nn.sequential(nn.Dense(7), ops.relu, nn.Dense(3)))
    assert deeper.output(X).shape == (60, 3)
    inner = net.replace(**{"body/dense_0": nn.Dense(6, bias=False)})
    assert "body/dense_0/b" not in inner.state
    heads = cr.Network(body=nn.Dense(3), heads=nn.parallel(a=nn.Dense(1), b=nn.Dense(2), join="dict")).build(
        4
    )
    assert heads.replace(**{"heads/b": nn.Dense(4)}).output(X)["b"].shape == (60, 4)


@dataclass(frozen=True)
class Two(nn.Layer):
    body: nn.Layer
    head: nn.Layer

    def __call__(self, x: Any, run: nn.Run) -> Any:
        return run.apply("head", self.head, run.apply("body", self.body, x))


def test_replace_knows_the_fields_of_a_layer_of_ones_own():
    net = cr.Network(Two(nn.Dense(3), nn.Dense(2))).build(4)
    other = net.replace(head=nn.Dense(5))
    assert other.output(X).shape == (60, 5)
    np.testing.assert_array_equal(other["body/W"], net["body/W"])


def test_replace_refuses_what_does_not_fit():
    net = trained()
    with pytest.raises(ShapeError, match=r"'head/W' has shape \(5, 2\).*\(9, 2\): replace that layer, too"):
        net.replace(**{"body/dense_1": nn.Dense(9)})
    with pytest.raises(ConfigError, match=r"no layer 'haed'.*'head'"):
        net.replace(haed=nn.Dense(2))
    with pytest.raises(ConfigError, match="head: got the string"):
        net.replace(head="relu")
    both = cr.Network(nn.parallel(a=nn.Dense(1), b=nn.Dense(1))).build(4)
    with pytest.raises(ConfigError, match="cannot be left out"):
        both.replace(**{"parallel_0/a": None})


# ------------------------------------------------------------------ freezing and rates


@pytest.mark.parametrize("optimizer", [optim.Adam, optim.Momentum, optim.AdamW])
def test_frozen_layers_keep_their_bits_and_their_statistics(optimizer):
    net = trained().replace(head=nn.Dense(3))
    before = net.state
    frozen = Group("body/*", frozen=True)
    net.fit(X, Y + 1, optimizer=optimizer(0.01, groups=(frozen,), weight_decay=0.1), epochs=3, verbose=0)
    for name, array in net.state.items():
        assert np.array_equal(array, before[name]) == name.startswith("body/"), name


@pytest.mark.parametrize("executor", ["reference", "cpu"])
def test_a_frozen_batch_norm_trains_as_in_inference(executor):
    """So a frozen body with a head is the head alone, on what the body says."""
    net = trained(executor=executor)
    head, features = net.part("head"), net.replace(head=None).output(X)
    rule = optim.SGD(0.1)
    options = {"loss": "cross_entropy", "epochs": 3, "verbose": 0, "executor": executor, "shuffle": False}
    net.fit(X, Y, optimizer=optim.SGD(0.1, groups=(Group("body/*", frozen=True),)), **options)
    head._past = net._past - 3
    head.fit(features, Y, optimizer=rule, **options)
    np.testing.assert_allclose(net["head/W"], head["dense_0/W"], rtol=1e-5, atol=1e-6)


def test_freezing_weights_alone_lets_the_statistics_go_on():
    net = trained()
    before = net.state
    net.fit(X + 1, Y, optimizer=optim.SGD(0.1, groups=(Group("*/W", frozen=True),)), epochs=1, verbose=0)
    changed = {name for name, array in net.state.items() if not np.array_equal(array, before[name])}
    assert changed == {name for name in net.state if not name.endswith("/W")} - {"body/dense_0/b"} | (
        {"body/dense_0/b"} & changed  # before a batch norm its gradient is 0 up to rounding
    )
    assert "body/batch_norm_0/mean" in changed


def test_a_group_learns_at_its_own_rate():
    """One step of plain descent is −η g: the steps' ratio is that of the rates."""
    steps = {}
    for rate in (0.1, 0.001):
        net = cr.Network(body=nn.Dense(5), act=ops.tanh, head=nn.Dense(2), dtype="float64").build(4)
        before = net.state
        rule = optim.SGD(0.1, groups=(Group("body/*", learning_rate=rate),))
        net.fit(X, Y, optimizer=rule, schedule=optim.Constant(), epochs=1, batch_size=60, verbose=0)
        steps[rate] = {name: net[name] - before[name] for name in before}
    np.testing.assert_allclose(steps[0.001]["body/W"], 0.01 * steps[0.1]["body/W"], rtol=1e-9)
    np.testing.assert_array_equal(steps[0.001]["head/W"], steps[0.1]["head/W"])


def test_a_network_from_a_file_gets_another_head_and_is_saved_again(tmp_path):
    trained().save(tmp_path / "body.safetensors")
    net = cr.load(tmp_path / "body.safetensors").replace(head=nn.Dense(3))
    rule = optim.Adam(0.01, groups=(Group("body/*", frozen=True),))
    net.fit(X, Y + 1, optimizer=rule, epochs=2, verbose=0)
    net.save(tmp_path / "tuned.safetensors")
    again = cr.load(tmp_path / "tuned.safetensors")
    assert again.optimizer == rule
    np.testing.assert_array_equal(again.predict(X), net.predict(X))


# ------------------------------------------------------------------ what layers add to the loss


@dataclass(frozen=True)
class Squares(nn.Layer):
    """x, with its mean square as a term of the loss: of every sample, or one number for all."""

    each: bool

    def __call__(self, x: Any, run: nn.Run) -> Any:
        value = ops.mean(ops.square(x), 1)
        run.add_loss("squares", value if self.each else ops.mean(value))
        return x


def test_terms_of_every_sample_are_part_of_the_loss_wherever_it_is_told():
    net = cr.Network(term=Squares(True), head=nn.Dense(1))
    y = X[:, :1]
    weight = np.arange(60) + 1.0
    history = net.fit(X, y, validation=(X, y), epochs=2, verbose=0)
    told = net.evaluate(X, y, sample_weight=weight)
    mean_square = np.average((X.astype(float) ** 2).mean(1), weights=weight)
    error = np.average((net.output(X)[:, 0].astype(float) - y[:, 0]) ** 2, weights=weight)
    assert told["loss/term/squares"] == pytest.approx(mean_square, rel=1e-5)
    assert told["loss/y"] == pytest.approx(error, rel=1e-4)
    assert told["loss"] == pytest.approx(mean_square + error, rel=1e-5)
    assert history["val_loss"][-1] == pytest.approx(net.evaluate(X, y)["loss"], rel=1e-6)
    assert history["loss/term/squares"][-1] == pytest.approx((X.astype(float) ** 2).mean(), rel=1e-5)


def test_a_scalar_term_is_a_penalty_of_training_alone():
    net = cr.Network(body=nn.Dense(3), term=Squares(False), head=nn.Dense(1))
    net.fit(X, X[:, :1], epochs=1, verbose=0)
    assert set(net.evaluate(X, X[:, :1])) == {"loss"}


# ------------------------------------------------------------------ variational auto-encoders


def test_the_code_of_a_variational_auto_encoder_by_hand():
    layer, x = nn.GaussianSample(0.5), ops.input("x", (40_000, 4), "float64")
    z, run = nn.trace(layer, x, training=True, dtype="float64")
    given = np.tile([0.5, -1.0, np.log(4.0), np.log(0.25)], (40_000, 1))
    drawn, kl = cr.executors.evaluate(
        [z, run.losses["kl"]], {x: given, run.seed: np.int64(3), run.step: np.int64(1)}
    )
    np.testing.assert_allclose(drawn.mean(0), [0.5, -1.0], atol=0.04)
    np.testing.assert_allclose(drawn.std(0), [2.0, 0.5], rtol=0.02)
    variance = np.array([4.0, 0.25])
    by_hand = 0.5 * (np.array([0.25, 1.0]) + variance - 1 - np.log(variance)).sum()
    np.testing.assert_allclose(kl, 0.5 * by_hand)


def test_the_bound_of_a_linear_gaussian_model_is_the_likelihood():
    """x = wz + b + noise: probabilistic PCA (Tipping and Bishop 1999), whose likelihood is known. The best
    encoder is the posterior, and with it the bound is tight."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 1)) @ [[2.0, -1.0, 0.5]] + 0.5 * rng.normal(size=(4000, 3)) + 1.0
    net = cr.Network(encoder=nn.Dense(2, nn.Normal(std=0.01)), code=nn.GaussianSample(), decoder=nn.Dense(3))

    def density(output: Any, target: Any) -> Any:
        """−log N(x; output, ½²)"""
        each = ops.square(output - target) / (2 * 0.25) + 0.5 * np.log(2 * np.pi * 0.25)
        return ops.sum(each, 1)

    net.fit(x, x, loss=density, epochs=40, learning_rate=0.01, verbose=0)
    covariance = np.outer([2.0, -1.0, 0.5], [2.0, -1.0, 0.5]) + 0.25 * np.eye(3)
    r = x - 1.0
    exact = 0.5 * (3 * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1])
    exact += 0.5 * (r * np.linalg.solve(covariance, r.T).T).sum(1).mean()
    bound = net.history["loss"][-1]
    assert exact - 0.05 < bound < exact + 0.05
    told = net.evaluate(x, x)
    assert told["loss"] == pytest.approx(told["loss/y"] + told["loss/code/kl"], rel=1e-6)


def test_what_is_no_mean_with_a_deviation_is_refused():
    with pytest.raises(ShapeError, match=r"\(batch, …, 2k\), got shape \(5, 3\)"):
        nn.trace(nn.GaussianSample(), ops.input("x", (5, 3)), training=True)
    with pytest.raises(ConfigError, match="beta"):
        nn.GaussianSample(-1.0)
    assert losses.gaussian_kl is ops.gaussian_kl
