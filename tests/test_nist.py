"""NIST's certified parameters of nonlinear regressions, found by Levenberg-Marquardt at its defaults."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bench.nist import ENOUGH, Formula, ours, page, problems
from bench.nist_models import MODELS, arctan

from chainrule import inspect, ops, optim
from chainrule.executors import compile
from chainrule.network import Network

PROBLEMS = problems()


def test_all_27_problems_are_there() -> None:
    assert len(PROBLEMS) == 27
    assert {p.name for p in PROBLEMS} == set(MODELS)
    assert [sum(p.level == level for p in PROBLEMS) for level in ("lower", "average", "higher")] == [8, 11, 8]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_a_model_has_the_certified_residual_sum_of_squares_and_its_least_there(problem: object) -> None:
    net = Network(Formula(problem.name, tuple(problem.certified)), dtype="float64").build(problem.x.shape[1])
    r = net.output(problem.x, executor="reference") - problem.y
    assert problem.squares == pytest.approx(float(r @ r), rel=1e-8, abs=1e-20)


def test_six_digits_of_every_parameter_in_at_least_50_of_54_fits() -> None:
    """In 200 steps; docs/benchmarks.md has what 2,000 find."""
    found = {
        (problem.name, number): problem.digits(ours(problem, start, steps=200)[0])
        for problem in PROBLEMS
        for number, start in enumerate(problem.starts, 1)
    }
    wrong = {which: round(digits, 1) for which, digits in found.items() if digits < ENOUGH}
    assert len(found) == 54
    assert len(found) - len(wrong) >= 50, wrong


def test_standard_deviations_follow_from_the_curvature() -> None:
    """s²(JᵀJ)⁻¹, JᵀJ being n/2 times the Gauss-Newton matrix of the mean square."""
    problem = next(p for p in PROBLEMS if p.name == "Misra1a")
    net = Network(Formula("Misra1a", problem.starts[1]), dtype="float64")
    net.fit(problem.x, problem.y, optimizer=optim.LevenbergMarquardt(), epochs=50, verbose=0)
    n, P = len(problem.y), len(problem.certified)
    found = inspect.curvature(net, problem.x, problem.y, gauss_newton=True)
    s2 = n * found.value / (n - P)
    deviation = np.sqrt(np.diag(s2 * np.linalg.inv(n / 2 * found.matrix())))
    np.testing.assert_allclose(deviation, [2.7070075241, 7.2668688436e-06], rtol=1e-7)


def test_digits_are_those_of_the_worst_parameter() -> None:
    problem = PROBLEMS[0]
    assert problem.digits(problem.certified) == 11
    assert problem.digits(problem.certified * [1, 1 + 1e-3, 1 + 1e-7]) == pytest.approx(3)
    assert problem.digits([math.nan, 1, 1]) == 0


def test_the_page_counts_what_is_right() -> None:
    row = {
        f: (d, 3, 0.1)
        for f, d in zip(("chainrule", "L-BFGS", "SciPy lm", "SciPy trf"), (7, 6, 5.9, 0), strict=True)
    }
    lines = page({("Misra1a", 1): row})
    assert "| Misra1a | 1 | 3 | 7.0 | 6.0 | **5.9** | **0.0** |" in lines
    assert lines[-1] == "| 6 digits, of 1 | | | 1 | 1 | 0 | 0 |"


def test_arctan() -> None:
    x = np.concatenate([-np.geomspace(1e-9, 1e9, 50), [0], np.geomspace(1e-9, 1e9, 50)])
    z = ops.input("z", x.shape, "float64")
    np.testing.assert_allclose(compile([arctan(z)], [z])(x)[0], np.arctan(x), rtol=1e-14)


def test_a_fit_tells_its_steps() -> None:
    found, steps = ours(PROBLEMS[2], PROBLEMS[2].starts[0])
    assert len(found) == len(PROBLEMS[2].certified)
    assert 0 < steps < 20
