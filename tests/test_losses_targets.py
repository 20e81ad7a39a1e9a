"""Targets at the door, each bad one with what, where and remedy; and metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule import losses, ops
from chainrule.errors import DataError, ShapeError
from chainrule.executors import evaluate
from chainrule.losses import METRICS, Loss
from chainrule.spec import Spec, as_dtype

MANY = {"Huber": losses.Huber(), "classes": losses.CrossEntropy(), "bits": losses.BinaryCrossEntropy()}


def check(loss: Loss, y: Any, *output: int, dtype: str = "float32") -> np.ndarray:
    return loss.check_target(np.asarray(y), Spec((8, *output), as_dtype(dtype)))


# ------------------------------------------------------------------ what is taken


def test_numbers_of_any_kind_become_the_networks_dtype() -> None:
    for y in ([[1], [2]], [[True], [False]], np.array([[1.5], [2]], ">f8"), np.array([[1], [2]], "uint8")):
        found = check(losses.MeanSquaredError(), y, 1)
        assert found.dtype == np.dtype("float32")
        np.testing.assert_array_equal(found, y)
    assert check(losses.MeanSquaredError(), [1.0], dtype="float64").dtype == np.float64


def test_labels_of_any_kind_become_int64() -> None:
    for y in (np.array([0, 2], "uint8"), np.array([0.0, 2.0]), np.array([0, 2], ">i4"), [0, 2]):
        found = check(losses.CrossEntropy(), y, 3)
        assert found.dtype == np.dtype("int64")
        np.testing.assert_array_equal(found, [0, 2])
    assert check(losses.CrossEntropy(), [True, False], 2).tolist() == [1, 0]
    assert check(losses.CrossEntropy(), np.zeros((0,), int), 3).shape == (0,)


def test_distributions_and_sequences_and_ignored_labels_are_taken() -> None:
    assert check(losses.CrossEntropy(), np.eye(3, dtype=int), 3).dtype == np.dtype("float32")
    assert check(losses.CrossEntropy(), [[0, 1], [2, 2]], 2, 3).shape == (2, 2)
    assert check(losses.CrossEntropy(ignore_index=-100), [0, -100], 3).tolist() == [0, -100]
    assert check(losses.BinaryCrossEntropy(), [0.0, 0.3, 1.0]).tolist() == pytest.approx([0, 0.3, 1])
    assert check(losses.GaussianNLL(), [[1.0, 2.0]], 4).shape == (1, 2)
    assert check(losses.GaussianMixtureNLL(3, "full"), [[1.0, 2.0]], 18).shape == (1, 2)
    assert check(losses.Quantile((0.1, 0.5, 0.9)), [[1.0]], 3).shape == (1, 1)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("loss", "y", "output", "message"),
    [
        ("Huber", [1.0, 2.0], (1,), r"needs a target of shape \(n, 1\), got \(2,\); .*y\[:, None\]"),
        ("Huber", [[1.0], [2.0]], (), r"needs a target of shape \(n,\), got \(2, 1\); .*y\[\.\.\., 0\]"),
        ("Huber", [[1.0, 2.0]], (3,), r"each sample needs \(3,\), its target has \(2,\)"),
        ("Huber", 1.0, (), "one row per sample"),
        ("Huber", [0.0, np.nan, np.inf], (), r"NaN or infinite: 2 of 3 .*first in row 1 \(nan\)"),
        ("Huber", [[0, 0], [0, np.nan]], (2,), r"first in row 1, place \(1,\)"),
        ("Huber", [1.0, 1e39], (), "too large for float32: 1 of 2.*rescale"),
        ("Huber", ["a", "b"], (), r"dtype <U1; number classes by np.unique"),
        ("Huber", np.array([1, None]), (), "dtype object"),
        ("Huber", [1j], (), "dtype complex128; give real numbers"),
        ("classes", [0, 3, -1], (3,), r"label outside 0 … 2: 2 of 3 target values, first in row 1 \(3\)"),
        ("classes", [1, 2, 3], (3,), "seem to count from 1: give y - 1"),
        ("classes", [0, 0.5], (3,), r"not whole: 1 of 2.*labels are 0 … 2"),
        ("classes", [0, np.nan], (3,), "not whole"),
        ("classes", [[0], [1]], (3,), r"\(n,\), got \(2, 1\); .*y\[\.\.\., 0\]"),
        ("classes", ["cat", "dog"], (2,), "np.unique"),
        ("classes", [[0.5, 0.2, 0.1]], (3,), r"do not sum to 1.*divide every row"),
        ("classes", [[1.5, -0.5, 0]], (3,), "negative probability"),
        ("bits", [0, 2, 1], (), r"outside 0 … 1: 1 of 3 target values, first in row 1"),
        ("bits", [0, 1], (1,), r"y\[:, None\]"),
    ],
)  # fmt: skip
def test_bad_targets_are_refused_with_place_and_remedy(loss: str, y: Any, output: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check(MANY[loss], y, *output)


def test_bad_targets_of_particular_losses() -> None:
    with pytest.raises(DataError, match="PoissonNLL: negative: 1 of 2"):
        check(losses.PoissonNLL(), [1.0, -2.0])
    with pytest.raises(DataError, match="KLDivergence: the output needs a target of shape"):
        check(losses.KLDivergence(), [0, 1], 2)
    with pytest.raises(DataError, match=r"GaussianNLL.*y\[:, None\]"):
        check(losses.GaussianNLL(), [1.0, 2.0], 2)
    with pytest.raises(ShapeError, match="Dense"):
        check(losses.GaussianNLL(), [1.0, 2.0], 3)
    with pytest.raises(ShapeError, match="one score per class"):
        check(losses.CrossEntropy(), [0, 1], 1)


# ------------------------------------------------------------------ metrics


def metric(name: str, output: Any, target: Any) -> list[float]:
    z = ops.input("z", np.shape(output))
    found: list[float] = evaluate([METRICS[name](z, ops.constant(np.asarray(target)))], {z: output})[
        0
    ].tolist()
    return found


SCORES = [[1.0, 3.0, 2.0], [5.0, 0.0, 0.0], [0.0, 1.0, 2.0]]


def test_accuracy_of_classes_logits_and_sequences() -> None:
    assert metric("accuracy", SCORES, [1, 0, 0]) == [1, 1, 0]
    assert metric("error", SCORES, [1, 0, 0]) == [0, 0, 1]
    assert metric("accuracy", SCORES, np.eye(3)[[1, 0, 0]]) == [1, 1, 0]
    assert metric("accuracy", [2.0, -1.0], [1.0, 1.0]) == [1, 0]
    assert metric("accuracy", [[2.0], [-1.0]], [[1], [1]]) == [1, 0]
    assert metric("accuracy", [SCORES, SCORES], [[1, 0, 0], [0, 0, 2]]) == pytest.approx([2 / 3, 2 / 3])


def test_other_metrics() -> None:
    assert metric("label_accuracy", [[1.0, -1.0], [0.0, 3.0]], [[1, 0], [0, 1]]) == [1.0, 0.5]
    assert metric("label_error", [[1.0, -1.0], [0.0, 3.0]], [[1, 0], [0, 1]]) == [0.0, 0.5]
    wide = np.arange(8.0)[None, ::-1]
    assert [metric("top_5_accuracy", wide, [k])[0] for k in range(8)] == [1] * 5 + [0] * 3
    assert metric("absolute_error", [[1.0, -3.0]], [[0.0, 0.0]]) == [2.0]
    assert metric("squared_error", [[1.0, -3.0]], [[0, 0]]) == [5.0]


def test_accuracy_beside_a_binary_loss_counts_labels() -> None:
    binary, classes = losses.BinaryCrossEntropy(), losses.CrossEntropy()
    assert losses.resolve_metric("accuracy", binary) is METRICS["label_accuracy"]
    assert losses.resolve_metric("error", binary) is METRICS["label_error"]
    assert (
        losses.resolve_metric("accuracy", classes) is losses.resolve_metric("accuracy") is METRICS["accuracy"]
    )
    assert losses.resolve_metric("squared_error", binary) is METRICS["squared_error"]


@pytest.mark.parametrize("name", METRICS)
def test_metrics_refuse_shapes_that_do_not_fit(name: str) -> None:
    with pytest.raises(ShapeError, match=f"metric ({name}|accuracy|label_accuracy):"):
        METRICS[name](ops.input("z", (4, 3)), ops.input("y", (4, 2)))
    with pytest.raises(ShapeError):
        METRICS[name](ops.input("z", (4, 1)), ops.input("y", (4,)))
