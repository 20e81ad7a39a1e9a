"""The kinds of critical points, and the largest eigenvalues from products."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import Network, inspect, nn, ops, optim
from chainrule.errors import ConfigError, ShapeError


@pytest.mark.parametrize(
    ("eigenvalues", "kind", "index"),
    [
        ([1.0, 2.0], "minimum", 0),
        ([-1.0, -2.0], "maximum", 2),
        ([-1.0, 2.0, 3.0], "saddle", 1),
        ([-1.0, 0.0, 2.0], "saddle", 1),
        ([0.0, 2.0], "degenerate", 0),
        ([-1.0, 1e-9], "degenerate", 1),
        ([0.0, 0.0], "degenerate", 0),
    ],
)
def test_kinds(eigenvalues: list[float], kind: str, index: int) -> None:
    Q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(len(eigenvalues),) * 2))
    found = inspect.classify_critical_point(Q * eigenvalues @ Q.T, np.full(len(eigenvalues), 1e-6))
    assert (found.kind, found.index) == (kind, index)
    np.testing.assert_allclose(found.eigenvalues, sorted(eigenvalues), atol=1e-12)


def test_where_the_gradient_is_not_zero_there_is_no_critical_point() -> None:
    assert inspect.classify_critical_point(np.eye(2), [0.0, 0.1]).kind == "slope"
    assert inspect.classify_critical_point(np.eye(2), [0.0, 0.1], flat=1.0).kind == "minimum"


@pytest.mark.parametrize("hessian", [[1.0], [[1.0, 2.0]], [[np.nan]]])
def test_what_is_no_hessian_is_refused(hessian: object) -> None:
    with pytest.raises(ShapeError, match="square matrix"):
        inspect.classify_critical_point(hessian)


@pytest.mark.parametrize("count", [1, 4, 30])
def test_lanczos_finds_the_largest_eigenvalues(count: int) -> None:
    A = np.random.default_rng(1).normal(size=(30, 30))
    A = A + A.T
    found = inspect.top_eigenvalues(A.__matmul__, 30, count, tolerance=1e-10)
    np.testing.assert_allclose(found, np.linalg.eigvalsh(A)[::-1][:count], rtol=1e-8, atol=1e-9)


def test_lanczos_needs_few_products() -> None:
    λ = np.r_[np.linspace(-1, 1, 5000), 10.0, 20.0]
    asked = []

    def product(v: np.ndarray) -> np.ndarray:
        asked.append(1)
        return λ * v

    np.testing.assert_allclose(inspect.top_eigenvalues(product, len(λ), 2), [20, 10], rtol=1e-5)
    assert len(asked) < 30


def test_lanczos_says_what_it_could_not_find() -> None:
    with pytest.raises(ConfigError, match="1 of 2 were found"):
        inspect.top_eigenvalues(np.eye(5).__matmul__, 5, 2)  # every vector is an eigenvector
    with pytest.raises(ConfigError, match="count is 6"):
        inspect.top_eigenvalues(np.eye(5).__matmul__, 5, 6)


def test_curvature_needs_a_fit_a_repeatable_loss_and_few_parameters_to_be_written_out() -> None:
    x, y = np.ones((4, 2)), np.ones((4, 1))
    with pytest.raises(ConfigError, match="call fit first"):
        inspect.curvature(Network(nn.Dense(1)), x, y)
    noisy = Network(nn.Dense(3), nn.Dropout(0.5), nn.Dense(1))
    noisy.fit(x, y, epochs=1, verbose=0)
    with pytest.raises(ConfigError, match="noise"):
        inspect.curvature(noisy, x, y)
    large = Network(nn.Dense(1000), ops.tanh, nn.Dense(1))
    large.fit(x, y, epochs=1, verbose=0)
    found = inspect.curvature(large, x, y)
    with pytest.raises(ConfigError, match="4,001 by 4,001"):
        found.matrix()
    assert inspect.top_eigenvalues(found.product, 4001).shape == (1,)


def test_curvature_leaves_the_network_as_it_is_and_knows_weights_and_penalties() -> None:
    rng = np.random.default_rng(0)
    x, y, weight = rng.normal(size=(9, 2)), rng.normal(size=(9, 1)), rng.uniform(size=9)
    net = Network(nn.Dense(1, bias=False), dtype="float64")
    net.fit(x, y, optimizer=optim.Newton(l2=0.5), sample_weight=weight, epochs=5, verbose=0)
    before = net["dense_0/W"]
    found = inspect.curvature(net, x, y, sample_weight=weight)
    expected = 2 * (x.T * weight) @ x / weight.sum() + 0.5 * np.eye(2)
    np.testing.assert_allclose(found.matrix(), expected, rtol=1e-12)
    np.testing.assert_allclose(found.gradient, 0, atol=1e-5)
    np.testing.assert_array_equal(net["dense_0/W"], before)
    assert inspect.classify_critical_point(found.matrix(), found.gradient).kind == "minimum"
