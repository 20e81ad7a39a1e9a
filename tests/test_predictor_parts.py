"""Parts of an estimator's file that do not fit each other: whatever a header says, one error."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ModelFileError
from chainrule.storage import read_tensors, write_tensors
from chainrule.tasks import MLPClassifier
from chainrule.tasks.calibration import sharpness

Change = Callable[[dict[str, Any], dict[str, np.ndarray]], None]


def more_classes(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    arrays["target/classes"] = np.arange(4)


def fewer_classes(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    arrays["target/classes"] = np.arange(2)


def another_target(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    header["target"] = {**header["target"], "type": "Labels"}
    del header["target"]["wide"]
    arrays["target/classes"] = np.arange(5)


def wider_scaling(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    for part in ("mean", "scale"):
        arrays[f"scaling/{part}"] = np.ones(3)


def deep(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    for _ in range(30):
        header["target"] = [header["target"]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (more_classes, "does not fit the network's outputs"),
        (fewer_classes, "does not fit the network's outputs"),
        (another_target, "does not fit the network's outputs"),
        (wider_scaling, "do not fit the network"),
        (deep, "nested deeper than 20"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_parts_that_do_not_fit_are_refused(change: Change, words: str, tmp_path: Path) -> None:
    """Else a prediction would fail on its way, or be of the wrong class."""
    x = np.random.default_rng(0).normal(size=(30, 2))
    MLPClassifier((3,), max_iter=1, executor="reference").fit(x, np.arange(30) % 3).save(tmp_path / "m")
    header, arrays = read_tensors(tmp_path / "m")
    known = {name: np.array(a) for name, a in arrays.items()}
    parts = copy.deepcopy({k: v for k, v in header.items() if k not in ("format", "sha256", "header_sha256")})
    write_tensors(tmp_path / "same", known, parts)
    assert cr.load(tmp_path / "same").predict(x).shape == (30,)
    change(parts, known)
    write_tensors(tmp_path / "other", known, parts)
    with pytest.raises(ModelFileError, match=words):
        cr.load(tmp_path / "other")


@pytest.mark.parametrize("temperature", [0.02, 50.0])
def test_temperatures_far_from_one_are_found(temperature: float) -> None:
    """Logits of which a part is drawn as their temperature says."""
    rng = np.random.default_rng(1)
    honest = rng.normal(size=(20_000, 1))
    y = (rng.random((20_000, 1)) < 1 / (1 + np.exp(-honest))).astype(float)
    assert 1 / sharpness(honest * temperature, y) == pytest.approx(temperature, rel=0.1)
