"""Programs as scikit-learn's users write them (tests/programs), with one line changed: the import.

Each has ``main(seed) -> score``, higher is better, and LEARNED, which only a network that learns surpasses.
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))
THEIRS, OURS = "from sklearn.neural_network import", "from chainrule import"
SEEDS = 10


def program(path: Path, imported: str) -> Any:
    """The program as a module, with the estimators from elsewhere."""
    text = path.read_text(encoding="utf-8")
    assert text.count(THEIRS) == 1
    module = types.ModuleType(path.stem)
    exec(compile(text.replace(THEIRS, imported), str(path), "exec"), module.__dict__)
    return module


def test_there_are_twelve() -> None:
    assert len(PROGRAMS) >= 12


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_a_program_runs_unchanged_and_learns(path: Path) -> None:
    module = program(path, OURS)
    assert module.main(0) > module.LEARNED


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_scores_are_those_of_scikit_learn(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten seeds, the same data for both: ours − theirs is at least −2 standard errors."""
    ours, theirs = (
        [program(path, imported).main(seed) for seed in range(SEEDS)] for imported in (OURS, THEIRS)
    )
    gap = np.subtract(ours, theirs)
    error = gap.std(ddof=1) / np.sqrt(SEEDS)
    with capsys.disabled():
        print(
            f"\n{path.stem:20} chainrule {np.mean(ours):.4f}  scikit-learn {np.mean(theirs):.4f}"
            f"  difference {gap.mean():+.4f} ± {error:.4f}"
        )
    assert gap.mean() >= -2 * error
