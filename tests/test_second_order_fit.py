"""Newton, Hessian-free, Levenberg-Marquardt inside of a fit; products with the curvature of a network."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import Network, inspect, load, losses, nn, ops, optim, train
from chainrule.autodiff import hessian, jacobian, jvp
from chainrule.errors import ConfigError, DivergenceError
from chainrule.executors import compile
from chainrule.train import whole

Array = np.ndarray


# ------------------------------------------------------------------ products with the curvature


def waves(rows: int, seed: int = 0) -> tuple[Array, Array]:
    x = np.random.default_rng(seed).uniform(-2, 2, size=(rows, 2))
    return x, np.sin(2 * x[:, :1]) * x[:, 1:]


def network(units: int = 5, dtype: str = "float64") -> Network:
    return Network(nn.Dense(units), ops.tanh, nn.Dense(1), dtype=dtype, seed=3)


def asked(
    net: Network, x: Array, y: Array, asks: optim.Asks, weight: Array | None = None, **options: Any
) -> Any:
    """A network's objective as a solver sees it, and where it is."""
    solver = optim.LBFGS(**options)
    net.fit(x, y, optimizer=solver, epochs=1, sample_weight=weight, verbose=0)
    data, loss = train.prepare.prepare_data({"x": x}, y, weight, net.loss, net.model)
    objective = train.Objective(
        net.model, loss, {}, train.prepare.sample_specs(data.targets), solver, masks=True
    )
    found = whole.Whole(objective, net.state, data, "reference", None)
    return found.asked(asks), found.pack(net.state)


def test_jvp_is_the_jacobian_times_a_vector() -> None:
    x, v = ops.input("x", (3,), "float64"), ops.input("v", (3,), "float64")
    y = ops.tanh(x * x[0]) + ops.sum(ops.exp(x))
    at, along = np.array([0.3, -1.0, 2.0]), np.array([1.0, 2.0, -0.5])
    J, Jv = compile([jacobian(y, x), jvp([y], [x], [v])[0]], [x, v])(at, along)
    np.testing.assert_allclose(Jv, J @ along, rtol=1e-12)


@pytest.mark.parametrize("block", [4096, 7])
def test_products_equal_the_matrices_written_out(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Σwᵢ(f − y)²/Σw + ½α‖W‖²: against differences of the residuals and of the gradient."""
    monkeypatch.setattr("chainrule.train.whole._BLOCK", block)
    x, y = waves(20)
    weight, α = np.random.default_rng(1).integers(0, 4, size=20), 0.3
    net = network()
    hessian_of, θ = asked(net, x, y, "hessian", weight, l2=α)
    gauss_newton, _ = asked(net, x, y, "gauss_newton", weight, l2=α)
    residuals, _ = asked(net, x, y, "residuals", weight, l2=α)
    θ = θ + 0.1
    f, g, product = hessian_of(θ)
    r, tangents = residuals(θ)
    assert 0.5 * r @ r == pytest.approx(f, rel=1e-12)
    I, h = np.eye(len(θ)), 1e-5
    J = np.stack([(residuals(θ + h * e)[0] - residuals(θ - h * e)[0]) / (2 * h) for e in I], 1)
    H = np.stack([(hessian_of(θ + h * e)[1] - hessian_of(θ - h * e)[1]) / (2 * h) for e in I], 1)
    np.testing.assert_allclose(tangents(I), J, atol=1e-8)
    np.testing.assert_allclose(J.T @ r, g, atol=1e-8)
    np.testing.assert_allclose(product(I), H, atol=1e-8)
    np.testing.assert_allclose(gauss_newton(θ)[2](I), tangents(I).T @ tangents(I), atol=1e-12)
    np.testing.assert_allclose(product(I[3]), product(I)[:, 3], atol=1e-14)


def test_gauss_newton_of_a_softmax_network_is_its_fisher_matrix() -> None:
    """Jᵀ(diag p − ppᵀ)J, written out: for cross-entropy the two are one (Martens 2014, section 8)."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)), rng.integers(0, 3, size=6)
    net = Network(nn.Dense(3, bias=False), dtype="float64", seed=1)
    function, θ = asked(net, x, y, "gauss_newton")
    z = x @ θ.reshape(3, 3)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    G = sum(np.kron(np.outer(a, a), np.diag(q) - np.outer(q, q)) for a, q in zip(x, p, strict=True)) / 6
    np.testing.assert_allclose(function(θ)[2](np.eye(9)), G, atol=1e-14)


def test_curvature_of_a_network_equals_the_hessian_of_its_graph() -> None:
    x, y = waves(15)
    net = network(3)
    net.fit(x, y, optimizer=optim.LBFGS(), epochs=3, verbose=0)
    found = inspect.curvature(net, x, y)
    inputs, outputs = net.graph(15)
    loss = ops.mean(losses.MeanSquaredError()(outputs["y"], ops.constant(y)))
    state = [net.state.get(name, x) for name in inputs]
    W = inputs["dense_0/W"]
    expected = compile([loss, hessian(loss, W)], list(inputs.values()))(*state)
    assert found.value == pytest.approx(float(expected[0]))
    np.testing.assert_allclose(found.matrix()[:6, :6], expected[1].reshape(6, 6), atol=1e-10)
    gauss_newton = inspect.curvature(net, x, y, gauss_newton=True).matrix()
    assert np.linalg.eigvalsh(gauss_newton).min() > -1e-12
    top = inspect.top_eigenvalues(found.product, len(found.gradient), 3, tolerance=1e-10)
    np.testing.assert_allclose(top, np.linalg.eigvalsh(found.matrix())[:-4:-1], rtol=1e-6)


# ------------------------------------------------------------------ in a fit


@pytest.mark.parametrize("executor", ["reference", "cpu"])
@pytest.mark.parametrize("name", sorted(optim.SOLVERS))
def test_every_solver_trains_a_network(name: str, executor: str, tmp_path: Any) -> None:
    x, y = waves(80)
    net = network(8)
    solver = optim.SOLVERS[name](groups=(optim.Group("dense_1/b", frozen=True),))
    history = net.fit(x, y, optimizer=solver, epochs=15, verbose=0, executor=executor, validation=0.2)
    assert (np.diff(history["loss"]) <= 1e-9).all()
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert not net["dense_1/b"].any()
    assert history.executor == executor
    net.save(tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors").optimizer == solver


@pytest.mark.parametrize("name", ["newton", "hessian-free", "levenberg_marquardt"])
def test_a_linear_network_is_solved_as_ridge_regression(name: str) -> None:
    rng = np.random.default_rng(0)
    x, y, weight = rng.normal(size=(30, 4)), rng.normal(size=(30, 2)), rng.uniform(size=30)
    net = Network(nn.Dense(2), dtype="float64")
    solver = type(optim.resolve_optimizer(name))(l2=0.1, damping=1e-10, tolerance=1e-12)
    net.fit(
        x, y, optimizer=solver, sample_weight=weight, loss=losses.HalfSquaredError(), epochs=20, verbose=0
    )
    A, share = np.column_stack([x, np.ones(30)]), weight / weight.sum()
    ridge = np.diag([0.1] * 4 + [0])
    expected = np.linalg.solve((A.T * share) @ A + ridge, (A.T * share) @ y)
    np.testing.assert_allclose(np.vstack([net["dense_0/W"], net["dense_0/b"]]), expected, atol=1e-7)


def test_levenberg_marquardt_goes_lower_than_lbfgs() -> None:
    x, y = waves(100)
    low = {}
    for name in ("lbfgs", "levenberg_marquardt"):
        net = network(10)
        low[name] = net.fit(x, y, optimizer=name, epochs=60, verbose=0)["loss"][-1]
    assert low["levenberg_marquardt"] < 0.05 * low["lbfgs"]


def test_float32_is_enough_to_get_near() -> None:
    x, y = waves(100)
    history = network(8, "float32").fit(x, y, optimizer="levenberg_marquardt", epochs=40, verbose=0)
    assert history["loss"][-1] < 0.02 * history["loss"][0]


def deep(optimizer: optim.Rule | optim.Solver, rows: int, epochs: int) -> float:
    """The loss of an auto-encoder of digits, 64-32-20-12-6-12-20-32-64 with sigmoid units, where slopes
    vanish; 0.073 is what a constant picture has."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    x = (digits.data[:rows] / 16).astype("float32")
    widths = (32, 20, 12, 6, 12, 20, 32)
    steps = [s for n in widths for s in (nn.Dense(n, init=nn.Normal(std=0.7)), ops.sigmoid)]
    net = Network(*steps, nn.Dense(64), seed=0)
    return net.fit(x, x, optimizer=optimizer, epochs=epochs, batch_size=50, threads=1, verbose=0)["loss"][-1]


def test_hessian_free_trains_a_deep_auto_encoder() -> None:
    assert deep(optim.HessianFree(damping=0.1, tolerance=0.0), 300, 25) < 0.035


@pytest.mark.long
def test_hessian_free_trains_it_lower_than_descent_in_as_many_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 steps, about 9,400 passes through the data, counting 1 for a value with its gradient and 2 for a
    product; descent on batches of 50 gets as many, at the best of four rates."""
    passes = [0]

    def counted(function: Callable, cost: int) -> Callable:
        def count(*arguments: Any) -> Any:
            passes[0] += cost
            return function(*arguments)

        return count

    monkeypatch.setattr(whole.Whole, "__call__", counted(whole.Whole.__call__, 1))
    monkeypatch.setattr(whole._Bending, "columns", counted(whole._Bending.columns, 2))
    ours = deep(optim.HessianFree(damping=0.1, tolerance=0.0), 400, 40)
    assert 0 < passes[0] < 15_000
    theirs = [deep(optim.SGD(rate), 400, passes[0]) for rate in (1.0, 3.0, 6.0, 10.0)]
    assert ours < 0.95 * min(theirs)


@pytest.mark.parametrize(
    ("optimizer", "layer", "options", "problem"),
    [
        ("levenberg_marquardt", ops.tanh, {"loss": "huber"}, "sums of squares.*MeanSquaredError"),
        ("levenberg_marquardt", nn.Dropout(0.5), {}, "noise"),
        ("newton", nn.Dense(800), {}, "2,000.*HessianFree"),
        ("newton", nn.BatchNorm(), {}, "BatchNorm"),
        ("hessian_free", ops.tanh, {"learning_rate": 0.1}, "learning_rate"),
    ],
)
def test_what_has_no_meaning_is_refused(optimizer: str, layer: Any, options: Any, problem: str) -> None:
    x, y = waves(20)
    net = Network(nn.Dense(3), layer, nn.Dense(1))
    with pytest.raises(ConfigError, match=problem):
        net.fit(x, y, optimizer=optimizer, verbose=0, **options)


@pytest.mark.parametrize("name", sorted(optim.SOLVERS))
@pytest.mark.parametrize("pressed", [False, True])
def test_a_callback_or_ctrl_c_stops_it_after_a_step(name: str, pressed: bool) -> None:
    class Stop(train.Callback):
        def epoch(self, end: train.EpochEnd) -> bool:
            if pressed and end.epoch == 2:
                signal.raise_signal(signal.SIGINT)
            return not pressed and end.epoch == 2

    x, y = waves(40)
    net = network()
    with pytest.raises(KeyboardInterrupt) if pressed else contextlib.nullcontext():
        net.fit(x, y, optimizer=name, epochs=20, callbacks=Stop(), verbose=0)
    assert net.history is not None
    assert len(net.history) == 3
    reached = ((net.output(x) - y) ** 2).mean()
    assert reached == pytest.approx(net.history["loss"][-1], rel=1e-9)


def test_what_is_too_large_leaves_no_folder(tmp_path: Any) -> None:
    x, y = waves(20)
    net = Network(nn.Dense(1000), ops.tanh, nn.Dense(1))
    with pytest.raises(ConfigError, match="4,001 parameters"):
        net.fit(x, y, optimizer="newton", verbose=0, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["newton", "hessian_free"])
def test_logistic_regression_as_scipy(name: str) -> None:
    """A convex loss with a penalty has one minimum: cross-entropy + ½α‖W‖² of softmax(xW + b)."""
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    x, y, α = rng.normal(size=(60, 3)), rng.integers(0, 3, size=60), 0.05

    def objective(flat: Array) -> float:
        z = x @ flat[:9].reshape(3, 3) + flat[9:]
        z = z - z.max(1, keepdims=True)
        value = np.log(np.exp(z).sum(1)) - z[np.arange(60), y]
        return float(value.mean() + 0.5 * α * flat[:9] @ flat[:9])

    theirs = optimize.minimize(objective, np.zeros(12), tol=1e-10)
    net = Network(nn.Dense(3), dtype="float64")
    solver = type(optim.resolve_optimizer(name))(l2=α, tolerance=1e-9)
    history = net.fit(x, y, optimizer=solver, epochs=50, verbose=0)
    ours = np.concatenate([a.ravel() for a in net.parameters.values()])
    assert history.stopped == ("gradient" if name == "newton" else history.stopped)
    assert objective(ours) <= theirs.fun + 1e-10
    np.testing.assert_allclose(ours[:9], theirs.x[:9], atol=2e-5)


@pytest.mark.parametrize("name", sorted(optim.SOLVERS))
def test_a_loss_that_is_not_finite_at_the_start(name: str) -> None:
    net = network().build(2)
    net["dense_1/W"] = np.full((5, 1), 1e200)
    x, y = waves(20)
    with pytest.raises(DivergenceError, match="first parameters"):
        net.fit(x + 1, y, optimizer=name, verbose=0)
    assert (net["dense_1/W"] == 1e200).all()
