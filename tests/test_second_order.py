"""Newton, Hessian-free, Levenberg-Marquardt: against closed forms and SciPy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import inspect, optim
from chainrule.errors import ConfigError

Array = np.ndarray
MINIMUM = math.sqrt(1.46)
CURVED = [
    optim.Newton(tolerance=1e-9),
    optim.Newton(saddle_free=True, tolerance=1e-9),
    optim.HessianFree(curvature="hessian", tolerance=1e-9, reduction=0.0, precision=1e-10),
]


def points(solver: optim.Solver, function: Callable, x: Any, most: int = 500) -> list[optim.Iterate]:
    return list(itertools.islice(solver.iterates(function, np.array(x, float)), most))


def tiny(w: Array) -> tuple[float, Array, optim.Product]:
    """C = (w₁w₂ − 1.5)² + 0.04(w₁² + w₂²), by hand."""
    a, other = w[0] * w[1] - 1.5, w[::-1]
    mixed = 2 * (2 * w[0] * w[1] - 1.5)
    H = np.array([[2 * w[1] ** 2 + 0.08, mixed], [mixed, 2 * w[0] ** 2 + 0.08]])
    return float(a * a + 0.04 * w @ w), 2 * a * other + 0.08 * w, H.__matmul__


def rosenbrock(x: Array) -> tuple[float, Array, optim.Product]:
    a, b = x[1] - x[0] ** 2, 1 - x[0]
    H = np.array([[1200 * x[0] ** 2 - 400 * x[1] + 2, -400 * x[0]], [-400 * x[0], 200.0]])
    return float(100 * a * a + b * b), np.array([-400 * x[0] * a - 2 * b, 200 * a]), H.__matmul__


def rosenbrock_residuals(x: Array) -> tuple[Array, optim.Product]:
    J = math.sqrt(2) * np.array([[-20 * x[0], 10.0], [-1.0, 0.0]])
    return math.sqrt(2) * np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]]), J.__matmul__


def quadratic(seed: int, n: int) -> tuple[Callable, Array]:
    """½xᵀAx − bᵀx with eigenvalues from 1 to 100, and where it is least."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    A, b = Q * np.geomspace(1, 100, n) @ Q.T, rng.normal(size=n)
    return lambda x: (float(0.5 * x @ A @ x - b @ x), A @ x - b, A.__matmul__), np.linalg.solve(A, b)


# ------------------------------------------------------------------ closed forms


@pytest.mark.parametrize("saddle_free", [False, True])
def test_newton_finds_the_minimum_of_a_quadratic_in_one_step(saddle_free: bool) -> None:
    function, least = quadratic(0, 7)
    found = points(optim.Newton(damping=0.0, adaptive=False, saddle_free=saddle_free), function, np.ones(7))
    assert [p.stopped for p in found] == ["gradient"]
    np.testing.assert_allclose(found[0].x, least, rtol=1e-10)


def test_a_fixed_damping_is_added_to_every_eigenvalue() -> None:
    function, _ = quadratic(1, 4)
    x = np.ones(4)
    _, g, product = function(x)
    found = points(optim.Newton(damping=3.0, adaptive=False), function, x, 1)[0]
    np.testing.assert_allclose(
        found.x, x - np.linalg.solve(product(np.eye(4)) + 3 * np.eye(4), g), rtol=1e-10
    )


def test_a_saddle_free_step_turns_negative_curvature_round() -> None:
    def saddle(x: Array) -> tuple[float, Array, optim.Product]:
        H = np.diag([2.0, -4.0])
        return float(0.5 * x @ H @ x), H @ x, H.__matmul__

    options = {"damping": 0.0, "adaptive": False}
    plain = points(optim.Newton(**options), saddle, [1.0, 1.0], 1)[0]
    free = points(optim.Newton(saddle_free=True, **options), saddle, [1.0, 1.0], 1)[0]
    np.testing.assert_allclose(plain.x, [0, 0], atol=1e-15)
    np.testing.assert_allclose(free.x, [0, 2], atol=1e-15)


def test_hessian_free_minimizes_a_quadratic_in_a_few_steps() -> None:
    """With next to no damping, and as many conjugate gradients as there are directions."""
    function, least = quadratic(2, 6)
    solver = optim.HessianFree(damping=1e-12, tolerance=1e-8, precision=1e-12)
    found = points(solver, function, np.ones(6))
    assert len(found) <= 2
    np.testing.assert_allclose(found[-1].x, least, rtol=1e-6)


@pytest.mark.parametrize("rows", [3, 20])
def test_levenberg_marquardt_solves_a_linear_problem(rows: int) -> None:
    """As lstsq does; of fewer residuals than parameters any solution is as good."""
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(rows, 4)), rng.normal(size=rows)
    found = points(optim.LevenbergMarquardt(damping=1e-12), lambda x: (A @ x - b, A.__matmul__), np.ones(4))
    assert len(found) <= 3
    least = np.linalg.lstsq(A, b, rcond=None)[0]
    np.testing.assert_allclose(A @ found[-1].x, A @ least, atol=1e-9)
    assert found[-1].value == pytest.approx(0.5 * np.sum((A @ least - b) ** 2), abs=1e-15)


# ------------------------------------------------------------------ the tiny landscape


@pytest.mark.parametrize("start", [(0.5, 0.5), (2.0, 0.2)])
def test_plain_newton_runs_to_the_saddle(start: tuple[float, float]) -> None:
    found = points(optim.Newton(damping=0.0, adaptive=False, tolerance=1e-9), tiny, start)[-1]
    np.testing.assert_allclose(found.x, 0, atol=1e-8)
    assert found.value == pytest.approx(2.25)


def test_plain_newton_finds_the_minimum_from_one_one_in_six() -> None:
    found = points(optim.Newton(damping=0.0, adaptive=False, tolerance=1e-15), tiny, (1, 1), 6)
    far = [float(np.abs(p.x - MINIMUM).max()) for p in found]
    assert min(far) < 1e-15
    assert far[3] > 1e-9
    assert found[-1].value == pytest.approx(0.1184)


@pytest.mark.parametrize("start", [(0.5, 0.5), (2.0, 0.2), (1.0, 1.0), (1.0, 0.5), (-0.3, 0.1)])
@pytest.mark.parametrize(
    "solver", [*CURVED, optim.Newton(0.0, saddle_free=True, adaptive=False, tolerance=1e-9)]
)
def test_the_others_find_a_minimum_from_everywhere(solver: optim.Solver, start: tuple[float, float]) -> None:
    found = points(solver, tiny, start)[-1]
    assert found.stopped == "gradient"
    np.testing.assert_allclose(np.abs(found.x), MINIMUM, atol=1e-8)


def test_critical_points_of_the_tiny_landscape() -> None:
    saddle, minimum = tiny(np.zeros(2)), tiny(np.full(2, MINIMUM))
    kinds = [inspect.classify_critical_point(p(np.eye(2)), g) for _, g, p in (saddle, minimum)]
    assert [(k.kind, k.index) for k in kinds] == [("saddle", 1), ("minimum", 0)]
    np.testing.assert_allclose(kinds[0].eigenvalues, [-2.92, 3.08])
    np.testing.assert_allclose(kinds[1].eigenvalues, [0.16, 5.84])
    assert kinds[1].eigenvalues[1] / kinds[1].eigenvalues[0] == pytest.approx(36.5)


# ------------------------------------------------------------------ against SciPy, and where it is hard


@pytest.mark.parametrize("solver", CURVED)
def test_rosenbrock(solver: optim.Solver) -> None:
    found = points(solver, rosenbrock, (-1.2, 1.0))
    np.testing.assert_allclose(found[-1].x, 1, atol=1e-8)
    assert len(found) < 60
    assert (np.diff([p.value for p in found]) <= 0).all()


def test_levenberg_marquardt_on_rosenbrock_as_scipy() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    found = points(optim.LevenbergMarquardt(), rosenbrock_residuals, (-1.2, 1.0))
    np.testing.assert_allclose(found[-1].x, 1, atol=1e-9)
    theirs = optimize.least_squares(lambda x: rosenbrock_residuals(x)[0], [-1.2, 1.0], method="lm")
    assert found[-1].evaluations <= 2 * theirs.nfev


@pytest.mark.parametrize("geodesic", [False, True])
@pytest.mark.parametrize("units", [1.0, 1e8])
def test_units_of_the_parameters_do_not_matter(units: float, geodesic: bool) -> None:
    scale = np.array([1.0, units])

    def scaled(x: Array) -> tuple[Array, optim.Product]:
        r, product = rosenbrock_residuals(x / scale)
        return r, lambda V: product((V.T / scale).T)

    solver = optim.LevenbergMarquardt(geodesic=geodesic)
    found, plain = points(solver, scaled, scale * [-1.2, 1]), points(solver, rosenbrock_residuals, (-1.2, 1))
    np.testing.assert_allclose(found[-1].x / scale, 1, atol=1e-9)
    assert [p.value for p in found[:5]] == pytest.approx([p.value for p in plain[:5]])


def barrier(x: Array) -> tuple[float, Array, optim.Product]:
    """50x − log x, least at 0.02."""
    if x[0] <= 0:
        return math.inf, np.array([math.nan]), lambda V: V
    return float(50 * x[0] - np.log(x[0])), np.array([50 - 1 / x[0]]), lambda V: V / x[0] ** 2


@pytest.mark.parametrize("solver", CURVED)
def test_a_cliff_is_stepped_back_from(solver: optim.Solver) -> None:
    np.testing.assert_allclose(points(solver, barrier, [0.5])[-1].x, 0.02, rtol=1e-8)


def test_residuals_that_are_not_finite_are_stepped_back_from() -> None:
    def logarithm(x: Array) -> tuple[Array, optim.Product]:
        with np.errstate(invalid="ignore"):
            return np.log(x) + 3, lambda V: V / x[0]

    np.testing.assert_allclose(points(optim.LevenbergMarquardt(), logarithm, [5.0])[-1].x, np.exp(-3.0))


@pytest.mark.parametrize("solver", CURVED)
def test_where_nothing_is_left_to_do(solver: optim.Solver) -> None:
    at_the_minimum = points(solver, rosenbrock, (1, 1))
    assert [p.stopped for p in at_the_minimum] == ["gradient"]
    outside = points(solver, barrier, [-1.0])
    assert [p.stopped for p in outside] == ["precision"]
    wrong = points(solver, lambda x: (float(x @ x), -2 * x, np.eye(2).__matmul__), (1, 1))  # it points uphill
    assert wrong[-1].stopped in ("precision", "progress")
    np.testing.assert_allclose(wrong[-1].x, 1, rtol=1e-9)


def test_where_levenberg_marquardt_has_nothing_left_to_do() -> None:
    assert [p.stopped for p in points(optim.LevenbergMarquardt(), rosenbrock_residuals, (1, 1))] == [
        "gradient"
    ]
    nowhere = points(optim.LevenbergMarquardt(), lambda x: (np.array([math.nan]), np.eye(1).__matmul__), [1])
    assert [p.stopped for p in nowhere] == ["precision"]
    uphill = points(optim.LevenbergMarquardt(), lambda x: (x + 1, (-np.eye(2)).__matmul__), (1, 1))
    assert uphill[-1].stopped in ("progress", "precision")
    np.testing.assert_array_equal(uphill[-1].x, 1)


def test_what_is_too_large_is_refused_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match=r"2,001 parameters.*HessianFree or LBFGS"):
        points(optim.Newton(), rosenbrock, np.zeros(2001))
    with pytest.raises(ConfigError, match=r"200,000 residuals by 1,000 parameters.*Use LBFGS"):
        points(optim.LevenbergMarquardt(), lambda x: (np.zeros(200_000), None), np.zeros(1000))


@pytest.mark.parametrize(
    ("solver", "options"),
    [
        (optim.Newton, [{"damping": -1.0}, {"tolerance": -1.0}]),
        (optim.HessianFree, [{"curvature": "fisher"}, {"damping": 0.0}, {"iterations": 0}, {"precision": 0.0},
                             {"c1": 0.5}, {"tolerance": -1.0}, {"reduction": -1.0}]),
        (optim.LevenbergMarquardt, [{"damping": 0.0}, {"tolerance": -1.0}, {"shortest": -1.0}]),
    ],
)  # fmt: skip
def test_options_are_checked(solver: type[optim.Solver], options: list[dict[str, Any]]) -> None:
    for option in options:
        with pytest.raises(ConfigError, match=next(iter(option))):
            solver(**option)
