"""What all optimizers share: groups, decay, penalties, bounds, clipping, averages, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule import ops, optim
from chainrule.config import from_json, to_json
from chainrule.errors import ConfigError, ShapeError
from chainrule.executors import evaluate
from chainrule.graph.expr import Expr
from chainrule.optim import AVERAGES, EMA, OPTIMIZERS, SGD, SWA, Group, Muon, Rule
from chainrule.spec import Spec, as_dtype

Arrays = dict[str, np.ndarray]
W0 = np.array([[1.0, -2.0, 0.05], [3.0, 4.0, -0.05]])


@dataclass(frozen=True)
class Parameter:
    name: str
    spec: Spec
    role: str


def role_of(name: str) -> str:
    return {"W": "weight", "b": "bias", "γ": "scale", "E": "embedding"}[name[-1]]


def declare(arrays: Arrays, dtype: str = "float64") -> dict[str, Parameter]:
    return {n: Parameter(n, Spec(np.shape(a), as_dtype(dtype)), role_of(n)) for n, a in arrays.items()}


def steps(
    rule: Rule,
    θ: Arrays,
    gradient: Callable[[Arrays], Arrays],
    count: int = 1,
    rates: dict[str, float] | None = None,
    dtype: str = "float64",
) -> list[tuple[Arrays, Arrays]]:
    """(parameters, slots) after each of some steps, evaluated node by node; frozen parameters stay."""
    parameters = declare(θ, dtype)
    specs = optim.slot_specs(rule, parameters)
    node = {n: ops.input(n, np.shape(a), dtype) for n, a in θ.items()}
    slot = {n: ops.input(n, s.shape, s.dtype) for n, s in specs.items()}
    g = {n: ops.input(f"g/{n}", np.shape(a), dtype) for n, a in θ.items()}
    t, η = ops.input("t", (), dtype), {n: ops.input(n, (), dtype) for n in optim.rate_names(rule)}
    new, remembered = optim.apply_rule(rule, parameters, node, g, slot, t, η)
    assert set(remembered) == set(specs)
    values = {n: float(r) for n, r in optim.rate_names(rule).items()} | (rates or {})
    θ, memory = dict(θ), {n: np.zeros(s.shape, s.dtype) for n, s in specs.items()}
    found = []
    for k in range(count):
        grads = gradient(θ)
        given: dict[Expr, Any] = (
            {node[n]: a for n, a in θ.items()} | {g[n]: grads[n] for n in θ} | {t: k + 1.0}
        )
        given |= {η[n]: v for n, v in values.items()} | {slot[n]: a for n, a in memory.items()}
        out = evaluate([*new.values(), *remembered.values()], given)
        θ = θ | dict(zip(new, out, strict=False))
        memory = dict(zip(remembered, out[len(new) :], strict=True))
        found.append((θ, memory))
    return found


def one(rule: Rule, θ: Arrays, g: Arrays, **options: Any) -> Arrays:
    return steps(rule, θ, lambda _: g, **options)[0][0]


def zeros(θ: Arrays) -> Arrays:
    return {n: np.zeros_like(a) for n, a in θ.items()}


MIXED: Arrays = {"body/W": W0, "body/b": np.ones(3), "body/γ": np.ones(3), "head/W": W0.T, "head/E": W0}

# ------------------------------------------------------------------ groups


def test_groups_take_their_own_settings_and_the_first_match_wins() -> None:
    groups = (
        Group("head/E", frozen=True),
        Group("head/*", learning_rate=0.5),
        Group("*/W", learning_rate=9.0),
    )
    rule = SGD(0.1, groups=groups)
    g = {n: np.ones_like(a) for n, a in MIXED.items()}
    new = one(rule, MIXED, g)
    np.testing.assert_array_equal(new["head/E"], W0)
    np.testing.assert_allclose(new["head/W"], W0.T - 0.5)
    np.testing.assert_allclose(new["body/W"], W0 - 9.0)
    np.testing.assert_allclose(new["body/b"], 1 - 0.1)
    assert optim.rate_names(rule) == {
        "learning_rate": 0.1,
        "learning_rate/head/*": 0.5,
        "learning_rate/*/W": 9.0,
    }


def test_frozen_parameters_have_no_slots_no_penalty_and_no_part_in_the_norm() -> None:
    rule = optim.Adam(groups=(Group("head/*", frozen=True),), l2=1.0, clip_norm=1.0, average=EMA())
    parameters = declare(MIXED)
    assert not [n for n in optim.slot_specs(rule, parameters) if "head" in n]
    assert not [n for n in optim.averaged(rule, parameters) if "head" in n]
    node = {n: ops.input(n, a.shape, "float64") for n, a in MIXED.items()}
    penalty = optim.penalty(rule, node, parameters)
    assert penalty is not None
    value = evaluate([penalty], {node[n]: a for n, a in MIXED.items() if n == "body/W"})[0]
    assert value == pytest.approx(0.5 * (W0**2).sum())
    loud = {n: np.full_like(a, 1e9 if "head" in n else 1e-3) for n, a in MIXED.items()}
    quiet = one(replace(rule, clip_norm=None, average=None, l2=0.0), MIXED, loud)
    np.testing.assert_array_equal(one(rule, MIXED, loud)["body/W"], quiet["body/W"])


def test_a_group_that_matches_nothing_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'haed/\*' matches no parameter; did you mean 'head/"):
        optim.settings(SGD(groups=(Group("haed/*"),)), declare(MIXED))
    with pytest.raises(ConfigError, match="matches no parameter; did you mean 'body/W'"):
        optim.settings(Muon(rest_of=("bdy/W",)), declare(MIXED))
    with pytest.raises(ConfigError, match="two groups"):
        optim.rate_names(SGD(groups=(Group("*", learning_rate=1.0), Group("*", learning_rate=2.0))))


def test_groups_of_decay_l1_and_norms() -> None:
    groups = (
        Group("head/*", weight_decay=0.5, biases=True),
        Group("body/*", weight_decay=0.0, max_norm=float("inf")),
    )
    found = optim.settings(SGD(weight_decay=0.1, l1=0.2, max_norm=1.0, groups=groups), declare(MIXED))
    assert (found["head/W"].weight_decay, found["head/W"].l1, found["head/W"].max_norm) == (0.5, 0.2, 1.0)
    assert (found["body/W"].weight_decay, found["body/W"].max_norm) == (0.0, None)
    everything = optim.settings(SGD(l2=0.3, groups=(Group("*", biases=True),)), declare(MIXED))
    assert {n: s.l2 for n, s in everything.items()} == dict.fromkeys(MIXED, 0.3)


# ------------------------------------------------------------------ decay, penalties, bounds


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decoupled_decay_shrinks_weights_only_and_by_the_rate(name: str) -> None:
    """With gradients of 0 nothing else moves: θ(1 − ηλ)."""
    rule = OPTIMIZERS[name](weight_decay=0.2, **({"rest_of": ()} if name == "Muon" else {}))
    new = one(rule, MIXED, zeros(MIXED), rates={"learning_rate": 0.5})
    for n in ("body/W", "head/W", *(["head/E"] if name != "Muon" else [])):
        np.testing.assert_allclose(new[n], MIXED[n] * (1 - 0.5 * 0.2), rtol=1e-12)
    for n in ("body/b", "body/γ"):
        np.testing.assert_array_equal(new[n], MIXED[n])


def test_l2_is_half_alpha_w_squared_on_weights_and_shrinks_the_optimum() -> None:
    """Minimum of ½Σλᵢ(wᵢ − cᵢ)² + ½α‖w‖²: c shrunk along the Hessian's axes by λᵢ/(λᵢ + α)."""
    λ, α, c = np.array([[4.0, 0.5, 1.0]]), 0.5, np.array([[1.0, -2.0, 3.0]])
    rule = SGD(0.2, l2=α)
    w = {"W": np.zeros((1, 3))}
    node = {"W": ops.input("W", (1, 3), "float64")}
    penalty = optim.penalty(rule, node, declare(w))
    assert penalty is not None
    from chainrule.autodiff import gradient

    slope = gradient(penalty, node["W"])
    np.testing.assert_allclose(evaluate([slope], {node["W"]: c})[0], α * c)
    found = steps(rule, w, lambda θ: {"W": λ * (θ["W"] - c) + α * θ["W"]}, 300)[-1][0]
    np.testing.assert_allclose(found["W"], c * λ / (λ + α), atol=1e-10)
    assert optim.penalty(SGD(), node, declare(w)) is None


def test_l1_is_a_proximal_step_with_exact_zeros() -> None:
    """sign(w)·max(|w| − ηα, 0): by ηα, not by α; biases stay."""
    rule = SGD(0.5, l1=0.2)
    θ = {"W": W0, "b": np.array([0.01])}
    new = one(rule, θ, zeros(θ))
    np.testing.assert_allclose(new["W"], [[0.9, -1.9, 0.0], [2.9, 3.9, 0.0]])
    assert (new["W"][:, 2] == 0).all()
    assert new["b"][0] == 0.01


def test_l1_finds_the_soft_thresholded_optimum() -> None:
    """argmin ½‖w − c‖² + α‖w‖₁ = sign(c)·max(|c| − α, 0), exactly zero where |c| ≤ α."""
    c = np.array([[2.0, 0.3, -0.7, -0.29]])
    found = steps(SGD(0.1, l1=0.3), {"W": np.ones((1, 4))}, lambda θ: {"W": θ["W"] - c}, 400)[-1][0]["W"]
    np.testing.assert_allclose(found, [[1.7, 0.0, -0.4, 0.0]], atol=1e-10)
    assert found[0, 3] == 0.0


def test_the_elastic_net_is_both_penalties_at_once() -> None:
    """argmin ½‖w − c‖² + α₁‖w‖₁ + ½α₂‖w‖² = sign(c)·max(|c| − α₁, 0)/(1 + α₂)  (Zou & Hastie 2005, eq. 6)."""
    from chainrule.autodiff import gradient

    c, rule = np.array([[2.0, 0.2, -0.7, -0.29]]), SGD(0.1, l1=0.3, l2=0.5)
    node = {"W": ops.input("W", (1, 4), "float64")}
    loss = 0.5 * ops.sum(ops.square(node["W"] - c)) + optim.penalty(rule, node, declare({"W": c}))
    slope = gradient(loss, node["W"])
    found = steps(
        rule, {"W": np.ones((1, 4))}, lambda θ: {"W": evaluate([slope], {node["W"]: θ["W"]})[0]}, 300
    )[-1][0]["W"]
    np.testing.assert_allclose(found, np.sign(c) * np.maximum(abs(c) - 0.3, 0) / 1.5, atol=1e-10)
    assert (found[0, [1, 3]] == 0).all()


def test_max_norm_bounds_every_units_incoming_weights() -> None:
    θ = {"W": np.array([[3.0, 0.3, 0.0], [4.0, 0.4, 0.0]]), "E": W0 * 100, "b": np.full(3, 100.0)}
    new = one(SGD(0.1, max_norm=1.0), θ, zeros(θ))
    np.testing.assert_allclose(new["W"], [[0.6, 0.3, 0.0], [0.8, 0.4, 0.0]])
    np.testing.assert_array_equal(new["E"], θ["E"])
    np.testing.assert_array_equal(new["b"], θ["b"])


def test_maximum_a_posteriori_is_a_penalty() -> None:
    """A Gaussian prior N(0, 1/α) adds ½αw² to the negative log-likelihood, up to a constant."""
    α, w = 3.0, np.array([[0.2, -1.0]])
    node = {"W": ops.input("W", (1, 2), "float64")}
    penalty = optim.penalty(SGD(l2=α), node, declare({"W": w}))
    assert penalty is not None
    log_prior = lambda x: (-0.5 * α * x**2 + 0.5 * np.log(α / (2 * np.pi))).sum()  # noqa: E731
    found = evaluate([penalty], {node["W"]: w})[0]
    assert found == pytest.approx(-log_prior(w) + log_prior(np.zeros((1, 2))))


# ------------------------------------------------------------------ clipping


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4),
    st.floats(1e-3, 1e3),
)
def test_clip_norm_keeps_the_direction_and_bounds_the_norm(values: list[float], limit: float) -> None:
    g = {"a/W": np.array(values[:2]), "a/b": np.array(values[2:])}
    nodes = {n: ops.input(n, (2,), "float64") for n in g}
    clipped = optim.clip_by_norm(nodes, limit)
    flat = np.concatenate(evaluate(list(clipped.values()), {nodes[n]: g[n] for n in g}))
    whole = np.concatenate(list(g.values()))
    norm = np.linalg.norm(whole)
    np.testing.assert_allclose(flat, whole * min(1.0, limit / norm if norm else 1.0), rtol=1e-9, atol=1e-300)


def test_clip_norm_of_huge_float32_gradients_neither_overflows_nor_vanishes() -> None:
    x = {"W": ops.input("W", (2,), "float32")}
    clipped = optim.clip_by_norm(x, 5.0)["W"]
    np.testing.assert_allclose(evaluate([clipped], {x["W"]: [3e30, -4e30]})[0], [3.0, -4.0], rtol=1e-6)
    np.testing.assert_array_equal(evaluate([clipped], {x["W"]: [0.0, 0.0]})[0], [0.0, 0.0])
    assert np.isnan(evaluate([clipped], {x["W"]: [np.nan, 1.0]})[0]).all()
    with pytest.raises(ConfigError, match="no gradient"):
        optim.global_norm({})


def test_clip_value_then_norm_over_all_parameters_together() -> None:
    θ = {"W": np.zeros((1, 2)), "b": np.zeros(1)}
    g = {"W": np.array([[100.0, -0.1]]), "b": np.array([-100.0])}
    new = one(SGD(1.0, clip_value=3.0), θ, g)
    np.testing.assert_allclose(new["W"], [[-3.0, 0.1]])
    both = one(SGD(1.0, clip_value=3.0, clip_norm=1.0), θ, g)
    scale = 1 / np.sqrt(3.0**2 + 0.1**2 + 3.0**2)
    np.testing.assert_allclose(both["W"], np.array([[-3.0, 0.1]]) * scale)
    np.testing.assert_allclose(both["b"], [3.0 * scale])


# ------------------------------------------------------------------ Muon's division of labour


def test_muon_updates_hidden_matrices_and_leaves_the_rest_to_adamw() -> None:
    names = {"in/E": W0, "a/W": W0, "a/b": np.ones(3), "b/W": W0, "c/W": W0, "norm/γ": np.ones(3)}
    found = {n: type(s.rule).__name__ for n, s in optim.settings(Muon(), declare(names)).items()}
    assert [n for n, kind in found.items() if kind == "Muon"] == ["a/W", "b/W"]
    own = optim.settings(Muon(rest_of=("a/*",)), declare(names))
    assert [n for n, s in own.items() if isinstance(s.rule, Muon)] == ["b/W", "c/W"]
    assert own["a/W"].rate == "learning_rate/rest"
    assert own["a/W"].weight_decay == 0.01
    assert optim.rate_names(Muon()) == {"learning_rate": 0.02, "learning_rate/rest": 3e-4}
    with pytest.raises(ConfigError, match="clip_norm is set on rest"):
        optim.settings(Muon(rest=optim.AdamW(clip_norm=1.0)), declare(names))


# ------------------------------------------------------------------ averages


def wander(θ: Arrays) -> Arrays:
    """A gradient that never settles."""
    return {n: np.cos(7 * a) + a for n, a in θ.items()}


def test_ema_is_the_debiased_weighted_mean() -> None:
    found = steps(SGD(0.3, average=EMA(0.9)), {"W": W0}, wander, 12)
    path = [θ["W"] for θ, _ in found]
    for k, (_, memory) in enumerate(found):
        weights = 0.9 ** np.arange(k, -1, -1)
        expected = np.tensordot(weights / weights.sum(), path[: k + 1], 1)
        np.testing.assert_allclose(memory["optimizer/average/W"], expected, rtol=1e-12)
    assert optim.averaged(SGD(average=EMA()), ["W"]) == {"W": "optimizer/average/W"}
    assert optim.averaged(SGD(), ["W"]) == {}


def test_ema_without_debias_starts_at_the_first_parameters() -> None:
    found = steps(SGD(0.3, average=EMA(0.9, debias=False)), {"W": W0}, wander, 5)
    mean = found[0][0]["W"]
    for θ, memory in found:
        mean = 0.9 * mean + 0.1 * θ["W"] if θ is not found[0][0] else mean
        np.testing.assert_allclose(memory["optimizer/average/W"], mean, rtol=1e-12)


def test_swa_is_the_mean_of_snapshots() -> None:
    rule = optim.resolve_average(SGD(0.3, average=SWA(0.4)), total=20, per_epoch=3)
    assert rule.average == SWA(8, 3)
    found = steps(rule, {"W": W0}, wander, 20)
    snapshots = []
    for step, (θ, memory) in enumerate(found, 1):
        if step > 8 and (step - 8) % 3 == 0:
            snapshots.append(θ["W"])
        expected = np.mean(snapshots, 0) if snapshots else θ["W"]
        np.testing.assert_allclose(memory["optimizer/average/W"], expected, rtol=1e-12)
    assert len(snapshots) == 4


def test_swa_by_share_must_be_resolved_first() -> None:
    with pytest.raises(ConfigError, match="resolve_average"):
        one(SGD(average=SWA()), {"W": W0}, {"W": W0})


def test_the_average_of_a_long_float32_run_is_exact() -> None:
    """Snapshot counts come from a division of float32 numbers; they must be whole at every step."""
    t = ops.input("t", (1000,), "float32")
    for start, every in ((0, 3), (7, 49), (100_001, 600)):
        first = 16_000_000 if start > 1000 else 0
        at = np.arange(first + 1, first + 1001)
        rate = evaluate([SWA(start, every).rate(t)], {t: at})[0]
        count = (at - start) // every
        expected = np.where(count < 1, 1, np.where((at - start) % every == 0, 1 / np.maximum(count, 1), 0))
        np.testing.assert_allclose(rate, expected, rtol=1e-6)


# ------------------------------------------------------------------ what is refused, and what is kept


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_number_has_a_range_and_nan_is_in_none(name: str) -> None:
    kind = OPTIMIZERS[name]
    defaults = kind()
    for field, value in vars(defaults).items():
        if isinstance(value, float) or field in ("max_norm", "clip_norm", "clip_value"):
            for bad in (float("nan"), -1.0, "big"):
                with pytest.raises(ConfigError, match=rf"{name}: {field} is .*it must be"):
                    kind(**{field: bad})
    with pytest.raises(ConfigError, match="learning_rate"):
        kind(0.0)
    assert kind("auto").learning_rate == "auto"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.Adam(beta1=1.0), r"Adam: beta1 is 1.0; it must be a number in \[0, 1\)"),
        (lambda: Group("", frozen=True), "pattern"),
        (lambda: Group("*", learning_rate=-1.0), "Group: learning_rate"),
        (lambda: SGD(groups=[Group("*")]), "give a tuple"),  # type: ignore[arg-type]
        (lambda: SGD(average="ema"), "give EMA"),  # type: ignore[arg-type]
        (lambda: EMA(1.0), "EMA: decay"),
        (lambda: SWA(1.5), r"SWA: start is 1.5; it must be a number in \[0, 1\]"),
        (lambda: SWA(every=0), "SWA: every"),
        (lambda: Muon(newton_schulz_steps=0), "newton_schulz_steps"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_survives_json(name: str) -> None:
    groups = (Group("head/*", learning_rate=0.1, max_norm=float("inf")), Group("*", frozen=True))
    for average in (None, EMA(0.99), SWA(100, every=7)):
        rule = OPTIMIZERS[name]("auto", groups=groups, average=average, clip_norm=1.0)
        assert from_json(to_json(rule), {**OPTIMIZERS, **AVERAGES, "Group": Group}, {}) == rule


@dataclass(frozen=True)
class Own(Rule):
    """A user's optimizer, with a mistake to choose."""

    learning_rate: float = 0.1
    mistake: str = ""
    slots = ("a",)

    def update(self, θ: Expr, g: Expr, s: Any, t: Expr, η: Expr) -> tuple[Expr, dict[str, Expr]]:
        if self.mistake == "slot":
            return θ - η * g, {"b": s.a}
        if self.mistake == "dtype":
            return ops.cast(θ - η * g, "float32"), {"a": s.a}
        if self.mistake == "shape":
            return θ - η * g, {"a": ops.sum(s.a)}
        return θ - η * g / t, {"a": s.a + 1}


def test_a_users_rule_is_checked_and_takes_part_in_everything() -> None:
    found = steps(Own(weight_decay=0.5, average=EMA()), {"W": W0}, zeros, 2)
    np.testing.assert_allclose(found[-1][0]["W"], W0 * 0.95**2)
    np.testing.assert_array_equal(found[-1][1]["optimizer/a/W"], np.full_like(W0, 2.0))
    with pytest.raises(ConfigError, match=r"gave slots \['b'\], it declares \['a'\]"):
        one(Own(mistake="slot"), {"W": W0}, {"W": W0})
    with pytest.raises(ShapeError, match=r"float32\[2, 3\] for θ.*keep shape and dtype"):
        one(Own(mistake="dtype"), {"W": W0}, {"W": W0})
    with pytest.raises(ShapeError, match="for a, which is"):
        one(Own(mistake="shape"), {"W": W0}, {"W": W0})


def test_nodes_of_the_update_say_whose_they_are() -> None:
    θ = ops.input("dense_0/W", (2, 3), "float64")
    g, t, η = ops.input("g", (2, 3), "float64"), ops.input("t", (), "float64"), ops.input("η", (), "float64")
    new, _ = optim.apply_rule(SGD(), declare({"dense_0/W": W0}), {"dense_0/W": θ}, {"dense_0/W": g}, {}, t,
                              {"learning_rate": η})  # fmt: skip
    assert (new["dense_0/W"].origin.path, new["dense_0/W"].origin.operation) == ("dense_0/W", "SGD")
