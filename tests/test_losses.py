"""Every loss against its formula in NumPy; its gradients; what all of them promise and refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import losses, ops
from chainrule.autodiff import gradient
from chainrule.config import from_json, to_json
from chainrule.errors import ConfigError, DTypeError, ShapeError
from chainrule.executors import evaluate
from chainrule.graph.expr import toposort
from chainrule.losses import LOSSES, Loss
from chainrule.spec import Spec, as_dtype
from chainrule.testing import check_gradients

Array = np.ndarray
GENERATOR = np.random.Generator(np.random.Philox(7))
Z = GENERATOR.normal(size=(4, 3)) * 2  # outputs, or logits of three classes
R = GENERATOR.normal(size=(4, 3))
LABELS = np.array([2, 0, 1, 2])
SOFT = GENERATOR.dirichlet(np.ones(3), 4)
BITS = (GENERATOR.random((4, 3)) < 0.5).astype(float)
SEQUENCE, STEPS = GENERATOR.normal(size=(2, 4, 3)), np.array([[0, -1, 2, 1], [-1, -1, -1, -1]])


def log_s(z: Array) -> Array:
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def σ(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def np_cross_entropy(z: Array, t: Array, w: Any = 1.0, ε: float = 0.0) -> Array:
    t = np.eye(z.shape[-1])[t] if t.ndim < z.ndim else t
    return -((w * ((1 - ε) * t + ε / z.shape[-1])) * log_s(z)).sum(-1)


def np_focal(z: Array, y: Array, γ: float, w: Any = 1.0) -> Array:
    s = np.exp(log_s(z))
    return -(np.eye(3)[y] * w * (1 - s) ** γ * np.log(s)).sum(-1)


def np_binary(z: Array, y: Array, w0: float = 1.0, w1: float = 1.0) -> Array:
    return -(w1 * y * np.log(σ(z)) + w0 * (1 - y) * np.log(1 - σ(z)))


def np_binary_focal(z: Array, y: Array) -> Array:
    p = np.where(y == 1, σ(z), 1 - σ(z))
    return -np.where(y == 1, 0.25, 0.75) * (1 - p) ** 2 * np.log(p)


def np_gaussian(f: Array, y: Array, σ: Array) -> Array:
    return (0.5 * np.log(2 * np.pi * σ**2) + (y - f) ** 2 / (2 * σ**2)).sum(-1)


def np_mixture(output: Array, y: Array, M: int, full: bool) -> Array:
    """Every component's density from its covariance matrix, inverted; none of the library's formulas."""
    found = []
    k = y.shape[1]
    for row, target in zip(output, y, strict=True):
        π = np.exp(log_s(row[:M]))
        μ = row[M : M + M * k].reshape(M, k)
        σ = (np.log1p(np.exp(row[M + M * k : M + 2 * M * k])) + 1e-3).reshape(M, k)
        above = row[M + 2 * M * k :].reshape(M, -1)
        density = 0.0
        for m in range(M):
            A = np.diag(1 / σ[m])
            if full:
                A[np.triu_indices(k, 1)] = above[m]
            Σ = np.linalg.inv(A.T @ A)
            r = target - μ[m]
            scale = math.sqrt((2 * math.pi) ** k * np.linalg.det(Σ))
            density += π[m] * math.exp(-0.5 * r @ np.linalg.solve(Σ, r)) / scale
        found.append(-math.log(density))
    return np.array(found)


def np_pinball(f: Array, y: Array, τ: float) -> Array:
    return np.where(y >= f, τ * (y - f), (1 - τ) * (f - y)).mean(-1)


WIDE = GENERATOR.normal(size=(4, 6))
MIXED = GENERATOR.normal(size=(4, 18))
COUNTS = np.array([[0.0, 3.0, 1.0]] * 4)
KNOWN = np.array([[1.0, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]])
CELLS = np.hstack([R[:, :2], LABELS[:, None], KNOWN])
W3 = np.array([0.5, 2.0, 1.0])
softplus = lambda s: np.log1p(np.exp(s))  # noqa: E731

# name → (loss, output, target, the same in NumPy)
Case = tuple[Loss, Array, Array, Array]
CASES: dict[str, list[Case]] = {
    "MeanSquaredError": [
        (losses.MeanSquaredError(), Z, R, ((Z - R) ** 2).mean(1)),
        (losses.MeanSquaredError("sum"), SEQUENCE, SEQUENCE + 2, np.full(2, 48.0)),
        (losses.MeanSquaredError(), Z[:, 0], R[:, 0], (Z[:, 0] - R[:, 0]) ** 2),
    ],
    "HalfSquaredError": [(losses.HalfSquaredError(), Z, R, 0.5 * ((Z - R) ** 2).sum(1))],
    "MeanAbsoluteError": [
        (losses.MeanAbsoluteError(), Z, R, np.abs(Z - R).mean(1)),
        (losses.MeanAbsoluteError("sum"), Z, R, np.abs(Z - R).sum(1)),
    ],
    "Huber": [
        (
            losses.Huber(0.8),
            Z,
            R,
            np.where(abs(Z - R) <= 0.8, 0.5 * (Z - R) ** 2, 0.8 * (abs(Z - R) - 0.4)).mean(1),
        )
    ],
    "Quantile": [
        (losses.Quantile(0.3), Z, R, np_pinball(Z, R, 0.3)),
        (
            losses.Quantile((0.1, 0.5)),
            WIDE,
            R,
            (np_pinball(WIDE[:, ::2], R, 0.1) + np_pinball(WIDE[:, 1::2], R, 0.5)) / 2,
        ),
    ],
    "GaussianNLL": [
        (losses.GaussianNLL(), WIDE, R, np_gaussian(WIDE[:, :3], R, softplus(WIDE[:, 3:]) + 1e-3)),
        (losses.GaussianNLL("log_variance"), WIDE, R, np_gaussian(WIDE[:, :3], R, np.exp(WIDE[:, 3:] / 2))),
    ],
    "GaussianMixtureNLL": [
        (losses.GaussianMixtureNLL(2), MIXED[:, :14], R, np_mixture(MIXED[:, :14], R, 2, False)),
        (losses.GaussianMixtureNLL(3, "full"), MIXED, R[:, :2], np_mixture(MIXED, R[:, :2], 3, True)),
    ],
    "Cells": [
        (
            losses.Cells(2, (3,)),
            WIDE[:, :5],
            CELLS,
            (KNOWN[:, :2] * 0.5 * (WIDE[:, :2] - R[:, :2]) ** 2).sum(1)
            + KNOWN[:, 2] * np_cross_entropy(WIDE[:, 2:5], LABELS),
        ),
        (
            losses.Cells(2, (3,), components=2),
            MIXED[:, :15],
            CELLS,
            KNOWN[:, 0] * np_mixture(MIXED[:, :6], R[:, :1], 2, False)
            + KNOWN[:, 1] * np_mixture(MIXED[:, 6:12], R[:, 1:2], 2, False)
            + KNOWN[:, 2] * np_cross_entropy(MIXED[:, 12:15], LABELS),
        ),
        (losses.Cells(0, (3,)), Z, CELLS[:, [2, 3]], KNOWN[:, 0] * np_cross_entropy(Z, LABELS)),
    ],
    "PoissonNLL": [(losses.PoissonNLL(), Z, COUNTS, (np.exp(Z) - COUNTS * Z).sum(1))],
    "CrossEntropy": [
        (losses.CrossEntropy(), Z, LABELS, np_cross_entropy(Z, LABELS)),
        (losses.CrossEntropy(), Z, SOFT, np_cross_entropy(Z, SOFT)),
        (losses.CrossEntropy(label_smoothing=0.1), Z, LABELS, np_cross_entropy(Z, LABELS, ε=0.1)),
        (losses.CrossEntropy(class_weight=(0.5, 2, 1)), Z, LABELS, np_cross_entropy(Z, LABELS, W3)),
        (
            losses.CrossEntropy(class_weight=(0.5, 2, 1), label_smoothing=0.2),
            Z,
            SOFT,
            np_cross_entropy(Z, SOFT, W3, 0.2),
        ),
    ],
    "NegativeLogLikelihood": [
        (losses.NegativeLogLikelihood(), log_s(Z), LABELS, np_cross_entropy(Z, LABELS)),
        (losses.NegativeLogLikelihood("probabilities"), np.exp(log_s(Z)), SOFT, np_cross_entropy(Z, SOFT)),
        (
            losses.NegativeLogLikelihood(class_weight=(0.5, 2, 1)),
            log_s(Z),
            SOFT,
            np_cross_entropy(Z, SOFT, W3),
        ),
    ],
    "Focal": [
        (losses.Focal(), Z, LABELS, np_focal(Z, LABELS, 2)),
        (losses.Focal(0.5, (0.5, 2, 1)), Z, LABELS, np_focal(Z, LABELS, 0.5, W3)),
        (losses.Focal(0.0), Z, LABELS, np_cross_entropy(Z, LABELS)),
    ],
    "KLDivergence": [
        (losses.KLDivergence(), Z, SOFT, (SOFT * np.log(SOFT)).sum(1) + np_cross_entropy(Z, SOFT)),
        (losses.KLDivergence(), Z, np.eye(3)[LABELS], np_cross_entropy(Z, LABELS)),
    ],
    "BinaryCrossEntropy": [
        (losses.BinaryCrossEntropy(), Z, BITS, np_binary(Z, BITS).mean(1)),
        (losses.BinaryCrossEntropy(outputs="sum"), Z, SOFT, np_binary(Z, SOFT).sum(1)),
        (losses.BinaryCrossEntropy(label_smoothing=0.1), Z, BITS, np_binary(Z, BITS * 0.9 + 0.05).mean(1)),
        (losses.BinaryCrossEntropy(), Z[:, 0], BITS[:, 0], np_binary(Z, BITS)[:, 0]),
        (losses.BinaryCrossEntropy(class_weight=(0.5, 3)), Z, BITS, np_binary(Z, BITS, 0.5, 3).mean(1)),
    ],
    "Perceptron": [
        (losses.Perceptron(), Z, BITS, np.where((Z >= 0) == BITS, 0, np.abs(Z)).mean(1)),
        (losses.Perceptron(outputs="sum"), Z, BITS, np.where((Z >= 0) == BITS, 0, np.abs(Z)).sum(1)),
    ],
    "BinaryFocal": [(losses.BinaryFocal(), Z, BITS, np_binary_focal(Z, BITS).mean(1))],
}  # fmt: skip
ALL = [pytest.param(*case, id=f"{name}-{i}") for name, cases in CASES.items() for i, case in enumerate(cases)]


def value(loss: Any, output: Any, target: Any, dtype: str = "float64") -> Array:
    z = ops.input("z", np.shape(output), dtype)
    return evaluate([loss(z, ops.constant(np.asarray(target)))], {z: output})[0]


def slope(loss: Any, output: Any, target: Any, dtype: str = "float64") -> Array:
    """∂(Σ losses)/∂output"""
    z = ops.input("z", np.shape(output), dtype)
    return evaluate([gradient(ops.sum(loss(z, ops.constant(np.asarray(target)))), z)], {z: output})[0]


# ------------------------------------------------------------------ every loss


def test_every_loss_has_cases() -> None:
    assert set(CASES) == set(LOSSES)
    assert all(type(loss).__name__ == name for name, cases in CASES.items() for loss, *_ in cases)


@pytest.mark.parametrize(("loss", "output", "target", "expected"), ALL)
def test_value_is_the_formula_one_per_sample(
    loss: Loss, output: Array, target: Array, expected: Array
) -> None:
    found = value(loss, output, target)
    assert found.shape == output.shape[:1]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize(("loss", "output", "target", "expected"), ALL)
def test_gradients_to_second_order(loss: Loss, output: Array, target: Array, expected: Array) -> None:
    check_gradients(lambda z: loss(z, ops.constant(target)), output)


@pytest.mark.parametrize(("loss", "output", "target", "expected"), ALL)
def test_float32_stays_float32_whatever_the_target(
    loss: Loss, output: Array, target: Array, expected: Array
) -> None:
    z = ops.input("z", output.shape, "float32")
    made = loss(z, ops.input("y", target.shape, target.dtype))
    nodes = [n for n in toposort([made, gradient(ops.sum(made), z)]) if n.primitive.name != "input"]
    assert not [n for n in nodes if n.dtype == np.float64]


@pytest.mark.parametrize(("loss", "output", "target", "expected"), ALL)
def test_losses_survive_json_and_check_their_own_targets(
    loss: Loss, output: Array, target: Array, expected: Array
) -> None:
    assert from_json(to_json(loss), LOSSES, {}) == loss
    spec = Spec(output.shape, as_dtype("float32"))
    checked = loss.check_target(target, spec)
    assert checked.dtype == (np.int64 if target.dtype.kind == "i" else np.float32)
    np.testing.assert_allclose(checked, target, rtol=1e-6)


@pytest.mark.parametrize(("loss", "output", "target", "expected"), ALL)
def test_a_column_against_a_vector_is_refused_with_a_remedy(
    loss: Loss, output: Array, target: Array, expected: Array
) -> None:
    z = ops.input("z", output.shape)
    with pytest.raises(ShapeError, match=r"give y\[\.\.\., 0\]"):
        loss(z, ops.input("y", (*target.shape, 1), target.dtype))
    if target.shape[1:] == (1,):
        with pytest.raises(ShapeError, match=r"y\[:, None\]"):
            loss(z, ops.input("y", target.shape[:1], target.dtype))


@pytest.mark.parametrize(
    "name", ["MeanSquaredError", "BinaryCrossEntropy", "Huber", "PoissonNLL", "Quantile"]
)
def test_n_by_1_against_n_never_broadcasts(name: str) -> None:
    loss = LOSSES[name]()
    with pytest.raises(ShapeError, match=rf"{name}: output float32\[5, 1\] needs .*\(5, 1\).*y\[:, None\]"):
        loss(ops.input("z", (5, 1)), ops.input("y", (5,)))
    with pytest.raises(ShapeError, match=r"give y\[\.\.\., 0\]"):
        loss(ops.input("z", (5,)), ops.input("y", (5, 1)))


FROM_LOGITS = [
    losses.CrossEntropy(), losses.CrossEntropy(label_smoothing=0.1), losses.Focal(), losses.Focal(0.5),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", FROM_LOGITS, ids=repr)
def test_losses_from_logits_are_finite_and_exact_at_ten_thousand(loss: Any, dtype: str) -> None:
    z = np.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0], [-1e4, -1e4, 1e4]])
    y = np.array([0, 1, 2])
    assert np.isfinite(value(loss, z, y, dtype)).all()
    assert np.isfinite(slope(loss, z, y, dtype)).all()
    if loss == losses.CrossEntropy():
        np.testing.assert_array_equal(value(loss, z, y, dtype), [0, 2e4, 0])
        np.testing.assert_array_equal(slope(loss, z, y, dtype), [[0, 0, 0], [1, -1, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    "loss", [losses.BinaryCrossEntropy(), losses.BinaryFocal(), losses.BinaryFocal(gamma=0.5)]
)
def test_binary_losses_are_finite_at_ten_thousand(loss: Any) -> None:
    z, y = np.array([1e4, 1e4, -1e4, -1e4]), np.array([1, 0, 1, 0])
    assert np.isfinite(value(loss, z, y, "float32")).all()
    assert np.isfinite(slope(loss, z, y, "float32")).all()
    if loss == losses.BinaryCrossEntropy():
        np.testing.assert_array_equal(value(loss, z, y), [0, 1e4, 1e4, 0])
        np.testing.assert_array_equal(slope(loss, z, y), [0, 1, -1, 0])


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.Huber(0.0), r"Huber: delta is 0.0; it must be a number in \(0, inf\)"),
        (lambda: losses.MeanSquaredError("max"), "'mean' or 'sum'"),  # type: ignore[arg-type]
        (lambda: losses.Quantile(1.0), "Quantile: levels"),
        (lambda: losses.Quantile(()), "Quantile: levels"),
        (lambda: losses.CrossEntropy(label_smoothing=1.0), "label_smoothing"),
        (lambda: losses.CrossEntropy(class_weight=(1.0, -1.0)), "class_weight"),
        (lambda: losses.BinaryCrossEntropy(class_weight=(1.0,)), "give two"),  # type: ignore[arg-type]
        (lambda: losses.NegativeLogLikelihood("logits"), "log_probabilities"),  # type: ignore[arg-type]
        (lambda: losses.GaussianNLL("variance"), "'softplus' or 'log_variance'"),  # type: ignore[arg-type]
        (lambda: losses.GaussianMixtureNLL(0), "components"),
        (lambda: losses.GaussianMixtureNLL(2, "tied"), "'diagonal' or 'full'"),  # type: ignore[arg-type]
        (lambda: losses.BinaryFocal(alpha=1.5), "alpha"),
        (lambda: losses.resolve_loss("cros_entropy"), "did you mean 'CrossEntropy'"),
        (lambda: losses.resolve_loss(losses.Huber), r"call it: Huber\(\)"),  # type: ignore[arg-type]
        (lambda: losses.resolve_loss(3), "give a Loss"),  # type: ignore[arg-type]
        (lambda: losses.resolve_metric("acuracy"), "did you mean 'accuracy'"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_shapes_that_do_not_fit_are_refused_when_the_graph_is_built() -> None:
    z, y = ops.input("z", (5, 3)), ops.input("y", (5,), "int64")
    cross = losses.CrossEntropy()
    with pytest.raises(ShapeError, match=r"labels of shape \(5,\).*got int64\[5, 1\].*give y\[\.\.\., 0\]"):
        cross(z, ops.input("y", (5, 1), "int64"))
    with pytest.raises(ShapeError, match="BinaryCrossEntropy for one unit"):
        cross(ops.input("z", (5, 1)), y)
    with pytest.raises(ShapeError, match="2 class weights for the 3 classes"):
        losses.CrossEntropy(class_weight=(1.0, 2.0))(z, y)
    with pytest.raises(DTypeError, match="labels are integers"):
        cross(z, ops.input("y", (5,)))
    with pytest.raises(DTypeError, match="floating-point"):
        losses.MeanSquaredError()(y, y)
    with pytest.raises(ShapeError, match="batch axis"):
        losses.MeanSquaredError()(ops.input("z"), ops.input("y"))
    with pytest.raises(ShapeError, match=r"Dense\(2 \* k\)"):
        losses.GaussianNLL()(z, ops.input("y", (5, 1)))
    with pytest.raises(ShapeError, match="a width of 6 for k = 1, 10 for k = 2"):
        losses.GaussianMixtureNLL(2)(z, ops.input("y", (5, 1)))
    with pytest.raises(ShapeError, match=r"2 levels.*\(batch, 2·k\)"):
        losses.Quantile((0.1, 0.9))(z, ops.input("y", (5, 1)))


def test_names_and_functions_resolve() -> None:
    assert losses.resolve_loss("cross_entropy") == losses.CrossEntropy()
    assert losses.resolve_loss("MeanSquaredError") == losses.MeanSquaredError()
    own: Any = lambda prediction, target: ops.sum(prediction, 1)  # noqa: E731
    assert losses.resolve_loss(own) is own
    assert losses.resolve_metric(own) is own
