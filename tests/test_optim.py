"""Optimizers: each against its recurrence written out in NumPy, and on landscapes whose minimum is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from chainrule import ops, optim
from chainrule.autodiff import gradient
from chainrule.errors import ConfigError
from chainrule.executors import Program, epoch
from chainrule.graph.expr import Expr, toposort
from chainrule.optim import OPTIMIZERS, Muon, Rule
from chainrule.spec import Spec, as_dtype

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Parameter:
    name: str
    spec: Spec
    role: str = "weight"


def declare(arrays: Arrays, dtype: str = "float64") -> dict[str, Parameter]:
    """Names that end in b are biases."""
    roles = {name: "bias" if name.endswith("b") else "weight" for name in arrays}
    return {n: Parameter(n, Spec(a.shape, as_dtype(dtype)), roles[n]) for n, a in arrays.items()}


def program(
    rule: Rule, loss: Callable[[dict[str, Expr]], Expr], start: Arrays, dtype: str = "float64"
) -> Program:
    """One step of training as a graph: what the training loop builds, without data."""
    parameters = declare(start, dtype)
    θ = {n: ops.input(n, a.shape, dtype) for n, a in start.items()}
    slots = {n: ops.input(n, s.shape, s.dtype) for n, s in optim.slot_specs(rule, parameters).items()}
    t, rates = ops.input("t", (), dtype), {n: ops.input(n, (), dtype) for n in optim.rate_names(rule)}
    at = optim.look_ahead(rule, θ, slots)
    value, penalty = loss(at), optim.penalty(rule, at, parameters)
    if penalty is not None:
        value = value + penalty
    g = dict(zip(θ, gradient(value, list(at.values())), strict=True))
    new, remembered = optim.apply_rule(rule, parameters, θ, g, slots, t, rates)
    return Program(
        outputs={"loss": value, **{n: new.get(n, θ[n]) for n in θ}},
        scalars=[t, *rates.values()],
        state=[*θ.values(), *slots.values()],
        updates={**new, **remembered},
    )


def descend(
    rule: Rule,
    loss: Callable[[dict[str, Expr]], Expr],
    start: Arrays,
    steps: int,
    factor: Callable[[int], float] = lambda k: 1.0,
    dtype: str = "float64",
) -> tuple[Arrays, Arrays]:
    """(loss before and parameters after every step, the state at the end)"""
    made = program(rule, loss, start, dtype)
    state = {x.meta["name"]: np.zeros(x.shape, x.dtype) for x in made.state}
    state |= {n: np.array(a, dtype) for n, a in start.items()}
    factors = np.array([factor(k) for k in range(steps)])
    rates = [(float(rate) * factors).astype(dtype) for rate in optim.rate_names(rule).values()]
    scalars = [np.arange(1, steps + 1).astype(dtype), *rates]
    done, out = epoch(made).run(state, [], np.zeros((steps, 1), int), scalars)
    assert done == steps
    return out, state


# ------------------------------------------------------------------ the recurrences, in NumPy


def np_sgd(θ: Any, g: Any, s: Any, t: int, η: float) -> Any:
    return θ - η * g


def np_momentum(θ: Any, g: Any, s: Any, t: int, η: float, α: float = 0.8) -> Any:
    s["v"] = α * s.get("v", 0) - η * g
    return θ + s["v"]


def np_adagrad(θ: Any, g: Any, s: Any, t: int, η: float) -> Any:
    s["r"] = s.get("r", 0) + g * g
    return θ - η * g / (1e-7 + np.sqrt(s["r"]))


def np_adadelta(θ: Any, g: Any, s: Any, t: int, η: float) -> Any:
    s["s"] = 0.95 * s.get("s", 0) + 0.05 * g * g
    u = s.get("u", 0)
    Δ = -np.sqrt(u + 1e-6) / np.sqrt(s["s"] + 1e-6) * g
    s["u"] = 0.95 * u + 0.05 * Δ * Δ
    return θ + η * Δ


def np_rmsprop(θ: Any, g: Any, s: Any, t: int, η: float) -> Any:
    s["r"] = 0.9 * s.get("r", 0) + 0.1 * g * g
    return θ - η * g / (1e-6 + np.sqrt(s["r"]))


def np_rmsprop_graves(θ: Any, g: Any, s: Any, t: int, η: float) -> Any:
    s["r"] = 0.9 * s.get("r", 0) + 0.1 * g * g
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.7 * s.get("v", 0) - η * g / (1e-3 + np.sqrt(s["r"] - s["m"] ** 2))
    return θ + s["v"]


def np_moments(g: Any, s: Any) -> None:
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g * g


def np_adam(θ: Any, g: Any, s: Any, t: int, η: float) -> Any:
    np_moments(g, s)
    return θ - η * (s["m"] / (1 - 0.9**t)) / (np.sqrt(s["v"] / (1 - 0.999**t)) + 1e-8)


def np_adamw(θ: Any, g: Any, s: Any, t: int, η: float, λ: float = 0.01) -> Any:
    np_moments(g, s)
    return θ - η * ((s["m"] / (1 - 0.9**t)) / (np.sqrt(s["v"] / (1 - 0.999**t)) + 1e-8) + λ * θ)


def np_amsgrad(θ: Any, g: Any, s: Any, t: int, η: float) -> Any:
    np_moments(g, s)
    s["top"] = np.maximum(s.get("top", 0), s["v"])
    return θ - η * s["m"] / (np.sqrt(s["top"]) + 1e-8)


def np_nadam(θ: Any, g: Any, s: Any, t: int, η: float) -> Any:
    def μ(k: int) -> float:
        return 0.9 * (1 - 0.5 * 0.96 ** (0.004 * k))

    np_moments(g, s)
    Π = math.prod(μ(k) for k in range(1, t + 1))
    m_hat = μ(t + 1) * s["m"] / (1 - Π * μ(t + 1)) + (1 - μ(t)) * g / (1 - Π)
    return θ - η * m_hat / (np.sqrt(s["v"] / (1 - 0.999**t)) + 1e-8)


def np_lion(θ: Any, g: Any, s: Any, t: int, η: float, λ: float = 0.1) -> Any:
    m = s.get("m", 0)
    s["m"] = 0.99 * m + 0.01 * g
    return θ - η * (np.sign(0.9 * m + 0.1 * g) + λ * θ)


def np_muon(θ: Any, g: Any, s: Any, t: int, η: float) -> Any:
    s["b"] = 0.95 * s.get("b", 0) + g
    X = g + 0.95 * s["b"]
    X = X / np.linalg.norm(X)
    for _ in range(5):
        A = X @ X.T
        X = 3.4445 * X + (-4.7750 * A + 2.0315 * A @ A) @ X
    return θ - η * math.sqrt(max(1, θ.shape[1] / θ.shape[0])) * X


def plain(step: Callable[..., Any]) -> Callable[..., Any]:
    """The same recurrence for every parameter."""
    return lambda name, *arguments: step(*arguments)


def lion(name: str, θ: Any, g: Any, s: Any, t: int, η: float) -> Any:
    return np_lion(θ, g, s, t, η, λ=0.0 if name.endswith("b") else 0.1)


def adamw(name: str, θ: Any, g: Any, s: Any, t: int, η: float) -> Any:
    return np_adamw(θ, g, s, t, η, λ=0.0 if name.endswith("b") else 0.01)


def muon(name: str, θ: Any, g: Any, s: Any, t: int, η: float) -> Any:
    """The rate of what AdamW updates is a tenth of Muon's in this test."""
    return np_muon(θ, g, s, t, η) if name == "hidden/W" else adamw(name, θ, g, s, t, η / 10)


RECURRENCES: dict[str, tuple[Rule, Callable[..., Any]]] = {
    "SGD": (optim.SGD(0.3), plain(np_sgd)),
    "Momentum": (optim.Momentum(0.1, 0.8), plain(np_momentum)),
    "Nesterov": (optim.Nesterov(0.1, 0.8), plain(np_momentum)),  # the gradient is taken elsewhere, see follow
    "AdaGrad": (optim.AdaGrad(0.1), plain(np_adagrad)),
    "AdaDelta": (optim.AdaDelta(1.0), plain(np_adadelta)),
    "RMSProp": (optim.RMSProp(0.01), plain(np_rmsprop)),
    "Adam": (optim.Adam(0.02), plain(np_adam)),
    "AdamW": (optim.AdamW(0.02), adamw),
    "AMSGrad": (optim.AMSGrad(0.02), plain(np_amsgrad)),
    "NAdam": (optim.NAdam(0.02), plain(np_nadam)),
    "Lion": (optim.Lion(0.01, weight_decay=0.1), lion),
    "Muon": (Muon(0.02, rest=optim.AdamW(0.002)), muon),
}
X = np.random.Generator(np.random.Philox(1)).normal(size=(7, 3))
Y = np.sin(X @ np.array([[1.0, 0.3], [-1.0, 2.0], [0.5, 0.0]]))
NETWORK: Arrays = {
    "hidden/W": np.random.Generator(np.random.Philox(2)).normal(size=(3, 4)),
    "hidden/b": np.zeros(4),
    "out/W": np.random.Generator(np.random.Philox(3)).normal(size=(4, 2)),
}


def network_loss(θ: dict[str, Expr]) -> Expr:
    """½ mean over the batch of ‖tanh(xW + b)V − y‖²"""
    r = ops.tanh(X @ θ["hidden/W"] + θ["hidden/b"]) @ θ["out/W"] - Y
    return 0.5 * ops.sum(r * r) / len(X)


def network_gradient(θ: Arrays) -> Arrays:
    """The same by hand."""
    h = np.tanh(X @ θ["hidden/W"] + θ["hidden/b"])
    δ = (h @ θ["out/W"] - Y) / len(X)
    back = δ @ θ["out/W"].T * (1 - h * h)
    return {"hidden/W": X.T @ back, "hidden/b": back.sum(0), "out/W": h.T @ δ}


def wave(k: int) -> float:
    """A schedule that rises and falls, so that where η stands in a formula shows."""
    return 0.6 + 0.4 * math.cos(k / 5)


def follow(rule: Rule, step: Callable[..., Any], steps: int) -> Arrays:
    θ, memory = dict(NETWORK), {name: {} for name in NETWORK}  # type: ignore[var-annotated]
    for k in range(steps):
        at = (
            {n: a + 0.8 * memory[n].get("v", 0) for n, a in θ.items()}
            if isinstance(rule, optim.Nesterov)
            else θ
        )
        g = network_gradient(at)
        θ = {n: step(n, θ[n], g[n], memory[n], k + 1, float(rule.learning_rate) * wave(k)) for n in θ}
    return θ


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_hundred_steps_equal_the_recurrence(name: str) -> None:
    rule, step = RECURRENCES[name]
    assert type(rule).__name__ == name
    _, state = descend(rule, network_loss, NETWORK, 100, wave)
    for n, expected in follow(rule, step, 100).items():
        np.testing.assert_allclose(state[n], expected, rtol=1e-10, atol=1e-10, err_msg=n)
        assert np.abs(expected - NETWORK[n]).max() > 0.01, "the test must move the parameters"


def test_centered_rmsprop_with_momentum_equals_the_recurrence() -> None:
    rule = optim.RMSProp(0.01, delta=1e-3, centered=True, momentum=0.7)
    assert rule.slots == ("r", "m", "v")
    _, state = descend(rule, network_loss, NETWORK, 100, wave)
    for n, expected in follow(rule, plain(np_rmsprop_graves), 100).items():
        np.testing.assert_allclose(state[n], expected, rtol=1e-10, atol=1e-10)


def test_muon_of_wide_and_tall_matrices_and_without_nesterov() -> None:
    rule = Muon(0.02, rest_of=(), nesterov=False)

    def step(name: str, θ: Any, g: Any, s: Any, t: int, η: float) -> Any:
        if name.endswith("b"):
            return adamw(name, θ, g, s, t, 3e-4 * η / 0.02)
        s["b"] = 0.95 * s.get("b", 0) + g
        return np_muon(θ, s["b"], {}, t, η)  # with an empty memory: NS of (1 + 0.95)·b, which is NS of b

    _, state = descend(rule, network_loss, NETWORK, 30, wave)
    for n, expected in follow(rule, step, 30).items():
        np.testing.assert_allclose(state[n], expected, rtol=1e-10, atol=1e-10, err_msg=n)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_stays_float32(name: str) -> None:
    """Also with every common setting on; t and η may come in another dtype."""
    rule = replace(
        RECURRENCES[name][0], l2=0.1, l1=0.01, max_norm=2.0, clip_norm=1.0, clip_value=0.5,
        weight_decay=0.01, average=optim.EMA(),
    )  # fmt: skip
    made = program(rule, lambda θ: ops.sum(ops.square(θ["a/W"])), {"a/W": np.ones((3, 2))}, "float32")
    nodes = toposort([*made.outputs.values(), *made.updates.values()])
    assert {x.dtype.name for n in nodes for x in n.outputs} <= {"float32", "bool"}
    assert {n: x.dtype.name for n, x in made.updates.items()} == dict.fromkeys(made.updates, "float32")


# ------------------------------------------------------------------ landscapes

START = {"w": np.array([[1.0, 0.5]])}
MINIMUM = math.sqrt(1.46)


def tiny(θ: dict[str, Expr]) -> Expr:
    """C = (w₁w₂ − 1.5)² + 0.04(w₁² + w₂²): minima ±√1.46 (1, 1), a saddle at 0."""
    w1, w2 = θ["w"][0, 0], θ["w"][0, 1]
    return (w1 * w2 - 1.5) ** 2 + 0.04 * (w1**2 + w2**2)


def rosenbrock(θ: dict[str, Expr]) -> Expr:
    x, y = θ["w"][0, 0], θ["w"][0, 1]
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def parabola(θ: dict[str, Expr]) -> Expr:
    return ops.sum((θ["w"] - np.array([[1.0, -2.0]])) ** 2)


LEARNING_RATES = {  # tiny landscape, parabola, Rosenbrock; decaying linearly over the run
    "SGD": (0.25, 0.1, 1.9e-3),
    "Momentum": (0.1, 0.1, 3e-3),
    "Nesterov": (0.1, 0.1, 1e-3),
    "AdaGrad": (0.5, 3.0, 0.5),
    "AdaDelta": (1.0, 100.0, 1.0),
    "RMSProp": (0.02, 0.05, 3e-3),
    "Adam": (0.05, 0.1, 0.01),
    "AdamW": (0.05, 0.1, 0.01),
    "AMSGrad": (0.05, 0.1, 0.01),
    "NAdam": (0.05, 0.1, 0.01),
    "Lion": (0.02, 0.05, 3e-3),
    "Muon": (0.05, 0.1, 3e-3),
}


def tuned(name: str, problem: int) -> Rule:
    extra: dict[str, Any] = {"rest_of": ()} if name == "Muon" else {}
    return OPTIMIZERS[name](learning_rate=LEARNING_RATES[name][problem], weight_decay=0.0, **extra)


def fading(steps: int) -> Callable[[int], float]:
    return lambda k: 1 - k / steps


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_reach_the_minimum_of_the_tiny_landscape(name: str) -> None:
    out, state = descend(tuned(name, 0), tiny, START, 1500, fading(1500))
    assert np.abs(state["w"] - MINIMUM).max() < 1e-3
    assert abs(out["loss"][-1] - 0.1184) < 1e-4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_reach_the_minimum_of_a_parabola(name: str) -> None:
    _, state = descend(tuned(name, 1), parabola, {"w": np.array([[-1.0, 10.0]])}, 1000, fading(1000))
    assert np.abs(state["w"] - [[1.0, -2.0]]).max() < 3e-2


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_reach_the_minimum_of_rosenbrock(name: str) -> None:
    steps = 15_000 if name == "SGD" else 6000  # plain descent crawls along the valley
    _, state = descend(tuned(name, 2), rosenbrock, {"w": np.array([[0.0, 0.0]])}, steps, fading(steps))
    assert np.abs(state["w"] - 1).max() < 3e-2


def distances(rule: Rule, steps: int) -> np.ndarray:
    """max |w − w*| before the first and after every step."""
    out, _ = descend(rule, tiny, START, steps)
    return np.abs(np.concatenate([START["w"][None], out["w"]]) - MINIMUM).max((1, 2))


def test_descent_on_the_tiny_landscape_step_by_step() -> None:
    out, _ = descend(optim.SGD(0.25), tiny, START, 3)
    expected = [[1.23, 0.99], [1.3451, 1.1438], [1.2962, 1.0950]]
    np.testing.assert_allclose(out["w"][:, 0], expected, atol=5e-5)


def test_descent_is_within_a_millionth_of_the_minimum_after_285_steps() -> None:
    far = distances(optim.SGD(0.25), 300)
    assert far[284] >= 1e-6 > far[285]
    assert far[285] / far[284] == pytest.approx(0.96, abs=1e-3)  # 1 − 0.25 · 0.16, the slow direction


def test_momentum_stays_within_a_millionth_of_the_minimum_before_step_266() -> None:
    far = distances(optim.Momentum(0.1), 600)
    assert far[200] > 1e-6
    assert far[266:].max() < 1e-6


def test_descent_oscillates_at_a_rate_of_035() -> None:
    out, _ = descend(optim.SGD(0.35), tiny, START, 3000)
    np.testing.assert_allclose(np.sort(out["w"][-2:, 0, 0]), [1.10987, 1.28715], atol=1e-5)
    np.testing.assert_allclose(out["w"][-2:, 0, 0], out["w"][-2:, 0, 1], atol=1e-12)
    np.testing.assert_allclose(np.sort(out["loss"][-2:]), [0.1571, 0.1705], atol=5e-5)


@pytest.mark.parametrize(
    ("rule", "stable"),
    [
        (optim.SGD(0.340), True),  # 2 / 5.84 = 0.3425
        (optim.SGD(0.345), False),
        (optim.Momentum(0.645), True),  # 2 · 1.9 / 5.84 = 0.6507
        (optim.Momentum(0.656), False),
    ],
)
def test_stability_limits_at_the_minimum(rule: Rule, stable: bool) -> None:
    near = {"w": np.array([[MINIMUM + 1e-3, MINIMUM + 1e-3]])}
    out, _ = descend(rule, tiny, near, 4000)
    assert bool(np.abs(out["w"][-1] - MINIMUM).max() < 1e-3) is stable


# ------------------------------------------------------------------ what the formulas promise


def lone_gradient(rule: Rule, silent: int) -> float:
    """How far a gradient of 1 moves a parameter after ``silent`` steps of gradient 0."""
    θ, g, t, η = (ops.input(n, (), "float64") for n in ("θ", "g", "t", "η"))
    slots = {s: ops.input(s, (), "float64") for s in rule.slots}
    new, remembered = rule.update(θ, g, optim.Slots(**slots), t, η)
    made = Program(
        {"θ": new}, scalars=[g, t, η], state=[θ, *slots.values()], updates={"θ": new, **remembered}
    )
    steps = silent + 1
    state = {x.meta["name"]: np.zeros(()) for x in made.state}
    given = [np.eye(1, steps, silent)[0], np.arange(1.0, steps + 1), np.ones(steps)]
    _, out = epoch(made).run(state, [], np.zeros((steps, 1), int), given)
    return float(-out["θ"][-1])


def test_adams_first_step_is_the_rate_and_a_late_lone_one_is_larger() -> None:
    assert lone_gradient(optim.Adam(), 0) == pytest.approx(1, rel=1e-6)
    assert lone_gradient(optim.Adam(), 20_000) == pytest.approx(0.1 / math.sqrt(0.001), rel=1e-3)  # 3.16


def test_first_steps_of_adagrad_and_rmsprop_have_the_size_of_the_definition() -> None:
    assert lone_gradient(optim.AdaGrad(), 0) == pytest.approx(1, rel=1e-6)
    assert lone_gradient(optim.RMSProp(), 0) == pytest.approx(1 / (1e-6 + math.sqrt(0.1)), rel=1e-9)
    assert lone_gradient(optim.AdaDelta(), 0) == pytest.approx(math.sqrt(1e-6 / (0.05 + 1e-6)), rel=1e-9)
    assert lone_gradient(optim.AMSGrad(), 0) == pytest.approx(
        0.1 / math.sqrt(0.001), rel=1e-6
    )  # no correction


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (6, 6), (1, 5)])
def test_orthogonalize_brings_singular_values_near_one_and_keeps_the_directions(
    shape: tuple[int, int],
) -> None:
    M = np.random.Generator(np.random.Philox(5)).normal(size=shape)
    x = ops.input("x", shape, "float64")
    out = epoch(Program({"y": optim.orthogonalize(x)}, state=[x])).run(
        {"x": M}, [], np.zeros((1, 1), int), []
    )
    S = np.linalg.svd(out[1]["y"][0], compute_uv=False)
    assert 0.6 < S.min() <= S.max() < 1.25
    u, _, vt = np.linalg.svd(M, full_matrices=False)
    inside = u.T @ out[1]["y"][0] @ vt.T
    np.testing.assert_allclose(inside, np.diag(np.diag(inside)), atol=1e-10)


def test_orthogonalize_of_zero_is_zero() -> None:
    x = ops.input("x", (3, 2), "float64")
    made = epoch(Program({"y": optim.orthogonalize(x)}, state=[x]))
    assert not made.run({"x": np.zeros((3, 2))}, [], np.zeros((1, 1), int), [])[1]["y"].any()


def test_only_nesterov_looks_ahead() -> None:
    for name, kind in OPTIMIZERS.items():
        θ = {"a/W": ops.input("a/W", (2, 2)), "b/W": ops.input("b/W", (2, 2))}
        specs = optim.slot_specs(kind(), declare({n: np.zeros(x.shape) for n, x in θ.items()}, "float32"))
        slots = {n: ops.input(n, s.shape, s.dtype) for n, s in specs.items()}
        found = optim.look_ahead(kind(), θ, slots)
        assert list(found) == list(θ)
        assert all((found[n] is θ[n]) is (name != "Nesterov") for n in θ), name


def test_names_resolve_and_the_nearest_is_named() -> None:
    assert optim.resolve_optimizer("adam") == optim.Adam()
    assert optim.resolve_optimizer("AdamW", 0.5) == optim.AdamW(0.5)
    assert optim.resolve_optimizer(optim.SGD(2.0)) == optim.SGD(2.0)
    assert optim.resolve_schedule("warm_up") == optim.WarmUp()
    with pytest.raises(ConfigError, match="did you mean 'Adam'"):
        optim.resolve_optimizer("Adan")
    with pytest.raises(ConfigError, match=r"call it: Adam\(\)"):
        optim.resolve_optimizer(optim.Adam)  # type: ignore[arg-type]
