"""Solvers: L-BFGS and its line search, alone and inside of a fit."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from chainrule import Network, load, nn, ops, optim, train
from chainrule.errors import ConfigError, DivergenceError
from chainrule.optim.linesearch import Line, strong_wolfe

Array = np.ndarray


def last(solver: optim.Solver, function: object, x: Array, most: int = 5000) -> optim.Iterate:
    return list(itertools.islice(solver.iterates(function, x), most))[-1]


def rosenbrock(x: Array) -> tuple[float, Array]:
    """Σ 100(xᵢ₊₁ − xᵢ²)² + (1 − xᵢ)², least at 1."""
    a, b = x[1:] - x[:-1] ** 2, 1 - x[:-1]
    g = np.zeros_like(x)
    g[:-1] += -400 * x[:-1] * a - 2 * b
    g[1:] += 200 * a
    return float(100 * a @ a + b @ b), g


def quadratic(seed: int, n: int, condition: float) -> tuple[object, Array]:
    """½xᵀAx − bᵀx with a given condition number, and where it is least."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    A = Q * np.geomspace(1, condition, n) @ Q.T
    b = rng.normal(size=n)
    return lambda x: (float(0.5 * x @ A @ x - b @ x), A @ x - b), np.linalg.solve(A, b)


# ------------------------------------------------------------------ on functions


@pytest.mark.parametrize("n", [2, 10, 100])
def test_rosenbrock(n: int) -> None:
    start = np.where(np.arange(n) % 2 == 0, -1.2, 1.0)
    found = last(optim.LBFGS(tolerance=1e-8, reduction=0.0), rosenbrock, start)
    assert found.stopped == "gradient"
    np.testing.assert_allclose(found.x, 1, atol=1e-7)
    assert found.evaluations < 7 * n + 60, "SciPy's needs 46, 96 and 639"


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_quadratics(condition: float) -> None:
    function, least = quadratic(0, 12, condition)
    found = last(optim.LBFGS(memory=12, tolerance=1e-9, reduction=0.0), function, np.zeros(12))
    np.testing.assert_allclose(found.x, least, atol=1e-6)


def test_a_quadratic_needs_as_many_directions_as_it_has() -> None:
    """With exact line searches and all pairs kept L-BFGS is the conjugate gradient method: n steps, or a few
    more since the searches here are not exact."""
    function, least = quadratic(1, 5, 30.0)
    points = list(
        optim.LBFGS(memory=50, tolerance=1e-10, reduction=0.0, c2=1e-3).iterates(function, np.zeros(5))
    )
    assert len(points) <= 9
    np.testing.assert_allclose(points[-1].x, least, atol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_every_step_meets_the_strong_wolfe_conditions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=3)

    def wavy(x: Array) -> tuple[float, Array]:
        z = float(x[0])
        return z**4 / 40 + a * math.sin(3 * z + b) + c * z, np.array(
            [z**3 / 10 + 3 * a * math.cos(3 * z + b) + c]
        )

    x = rng.normal(size=1) * 3
    value, g = wavy(x)
    p = -g * rng.uniform(0.01, 30)
    start = Line(0.0, x, value, g, float(g @ p))
    found, used = strong_wolfe(wavy, start, p, 1.0, 1e-4, 0.9)
    assert found is not None
    assert used <= 25
    assert found.value <= value + 1e-4 * found.step * start.slope
    assert abs(found.slope) <= 0.9 * abs(start.slope)
    np.testing.assert_allclose(found.value, wavy(x + found.step * p)[0])


def test_a_cliff_is_stepped_back_from() -> None:
    """−log x: where the first step leaves x > 0 the value is not finite."""

    def barrier(x: Array) -> tuple[float, Array]:
        if x[0] <= 0:
            return math.inf, np.array([math.nan])
        return float(50 * x[0] - math.log(x[0])), np.array([50 - 1 / x[0]])

    found = last(optim.LBFGS(tolerance=1e-9, reduction=0.0), barrier, np.array([0.5]))
    np.testing.assert_allclose(found.x, 0.02, rtol=1e-8)


def test_reasons_to_stop() -> None:
    start = np.array([-1.2, 1.0])
    assert last(optim.LBFGS(tolerance=1.0, reduction=0.0), rosenbrock, start).stopped == "gradient"
    assert last(optim.LBFGS(tolerance=0.0, reduction=1e-3), rosenbrock, start).stopped == "progress"
    few = last(optim.LBFGS(tolerance=0.0, reduction=0.0, evaluations=5), rosenbrock, start)
    assert few.stopped == "evaluations"
    assert 5 <= few.evaluations < 30
    at_the_minimum = list(optim.LBFGS().iterates(rosenbrock, np.ones(2)))
    assert [p.stopped for p in at_the_minimum] == ["gradient"]
    wrong = last(optim.LBFGS(), lambda x: (float(x @ x), -2 * x), np.ones(2))  # a gradient that points uphill
    assert wrong.stopped == "precision"
    np.testing.assert_array_equal(wrong.x, np.ones(2))


@pytest.mark.parametrize(
    "options",
    [{"memory": 0}, {"tolerance": -1.0}, {"reduction": -1.0}, {"evaluations": 0}, {"c1": 0.0}, {"c2": 1e-5},
     {"l2": -1.0}, {"groups": ["*"]}],
)  # fmt: skip
def test_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        optim.LBFGS(**options)


# ------------------------------------------------------------------ in a fit


def waves(rows: int, seed: int = 0) -> tuple[Array, Array]:
    x = np.random.default_rng(seed).uniform(-2, 2, size=(rows, 2))
    return x, np.sin(2 * x[:, :1]) * x[:, 1:]


def network(dtype: str = "float64") -> Network:
    return Network(nn.Dense(12), ops.tanh, nn.Dense(1), dtype=dtype, seed=3)


@pytest.mark.parametrize("executor", ["reference", "cpu"])
def test_a_network_as_scipy_trains_it(executor: str) -> None:
    """The same objective from the same weights: L-BFGS ends as low as SciPy's in about as many iterations."""
    optimize = pytest.importorskip("scipy.optimize")
    x, y = waves(200)
    net = network().build(2)
    begin, α = net.parameters, 1e-3

    def objective(flat: Array) -> tuple[float, Array]:
        parts = np.split(flat, np.cumsum([24, 12, 12])[:3])
        W, b, V, c = parts[0].reshape(2, 12), parts[1], parts[2].reshape(12, 1), parts[3]
        h = np.tanh(x @ W + b)
        r = h @ V + c - y
        δ = 2 * r / len(x)
        ε = δ @ V.T * (1 - h**2)
        gradient = [x.T @ ε + α * W, ε.sum(0), h.T @ δ + α * V, δ.sum(0)]
        value = (r**2).mean() + 0.5 * α * ((W**2).sum() + (V**2).sum())
        return float(value), np.concatenate([g.ravel() for g in gradient])

    flat = np.concatenate([a.ravel() for a in begin.values()])
    options = {"maxiter": 400, "gtol": 1e-6, "ftol": 0, "maxfun": 2000}
    theirs = optimize.minimize(objective, flat, jac=True, method="L-BFGS-B", options=options)
    solver = optim.LBFGS(tolerance=1e-6, reduction=0.0, l2=α)
    history = net.fit(x, y, optimizer=solver, epochs=400, verbose=0, executor=executor)
    ours = objective(np.concatenate([a.ravel() for a in net.parameters.values()]))[0]
    assert ours == pytest.approx(theirs.fun, rel=0.15)
    assert ours < 0.2 * objective(flat)[0]
    assert history.executor == executor
    assert history["loss"][-1] == pytest.approx(((net.predict(x) - y) ** 2).mean(), rel=1e-9)


def test_blocks_and_weights_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of rows, the last filled up, add up to the whole; a weight of 2 is a row given twice."""
    x, y = waves(50)
    weight = np.random.default_rng(1).integers(0, 4, size=50)
    options = {"optimizer": optim.LBFGS(l2=0.01), "epochs": 5, "verbose": 0, "executor": "reference"}
    whole, repeated, blocks = network(), network(), network()
    whole.fit(x, y, sample_weight=weight, **options)
    repeated.fit(x.repeat(weight, 0), y.repeat(weight, 0), **options)
    monkeypatch.setattr("chainrule.train.whole._BLOCK", 16)
    blocks.fit(x, y, sample_weight=weight, **options)
    for name, value in whole.parameters.items():
        np.testing.assert_allclose(repeated[name], value, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(blocks[name], value, rtol=1e-7, atol=1e-9)


def test_the_loss_never_rises_and_a_second_fit_goes_on() -> None:
    x, y = waves(100)
    net = network("float32")
    first = net.fit(x, y, optimizer="lbfgs", epochs=15, verbose=0)
    assert (np.diff(first["loss"]) <= 1e-6).all()
    second = net.fit(x, y, optimizer="lbfgs", epochs=5, verbose=0)
    assert second["loss"][-1] < first["loss"][-1]
    assert (len(first), first.stopped, first.kept) == (15, "epochs", 14)


def test_same_seed_same_bits() -> None:
    x, y = waves(100)
    hashes = {network().fit(x, y, optimizer="lbfgs", epochs=9, verbose=0).sha256 for _ in range(2)}
    assert len(hashes) == 1


def test_validation_early_stopping_and_frozen_groups(tmp_path: object) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(40, 1))
    net = network()
    solver = optim.LBFGS(groups=(optim.Group("dense_0/b", frozen=True),))
    stopping = train.EarlyStopping(patience=3)
    history = net.fit(x, y, optimizer=solver, epochs=100, validation=0.3, callbacks=stopping, verbose=0)
    assert history.stopped == "early stopping"
    assert history.kept == np.argmin(history["val_loss"])
    assert not net["dense_0/b"].any()
    net.save(tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors").optimizer == solver


def test_a_run_folder_holds_the_history(tmp_path: object) -> None:
    x, y = waves(30)
    network().fit(x, y, optimizer="lbfgs", epochs=4, verbose=0, run_dir=tmp_path)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 4
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("layer", "options", "problem"),
    [
        (nn.Dropout(0.5), {}, "noise"),
        (nn.BatchNorm(), {}, "BatchNorm"),
        (ops.tanh, {"learning_rate": 0.1}, "learning_rate"),
        (ops.tanh, {"schedule": "cosine"}, "schedule"),
        (ops.tanh, {"callbacks": train.Recorder("*/W")}, "watched"),
        (ops.tanh, {"resume": True, "run_dir": "x"}, "resume"),
    ],
)
def test_what_has_no_meaning_is_refused(layer: object, options: dict[str, object], problem: str) -> None:
    x, y = waves(20)
    net = Network(nn.Dense(3), layer, nn.Dense(1))
    with pytest.raises(ConfigError, match=problem):
        net.fit(x, y, optimizer=optim.LBFGS(), verbose=0, **options)


def test_a_loss_that_is_not_finite_at_the_start() -> None:
    net = network().build(2)
    net["dense_1/W"] = np.full((12, 1), 1e200)
    x, y = waves(20)
    with pytest.raises(DivergenceError, match="first parameters"):
        net.fit(x + 1, y, optimizer="lbfgs", verbose=0)
    assert (net["dense_1/W"] == 1e200).all()
