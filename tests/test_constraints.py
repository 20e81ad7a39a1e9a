"""constraints.txt: the versions that were tried fit what pyproject.toml asks for, and what they weigh."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("sklearn", "tables", "onnx")


def locked() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {name: Version(version) for name, version in pairs}


def test_every_version_is_one_that_the_package_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"]]
    for extra in EXTRAS:
        asked += project["optional-dependencies"][extra]
    for text in asked:
        requirement = Requirement(text)
        assert locked()[requirement.name] in requirement.specifier, text


@pytest.mark.long
def test_an_installation_downloads_little(tmp_path: Path) -> None:
    """80 MB, and 130 with scikit-learn, as `python -m bench.size` finds by downloading."""
    from bench import size

    totals = []
    for extras, most in size.MOST.items():
        files = size.wheels(extras, tmp_path / str(len(totals)), "-c", str(size.LOCK))
        totals.append(sum(f.stat().st_size for f in files) / 1e6)
        assert {f.name.split("-")[0] for f in files} >= {"chainrule", "numpy", "llvmlite", "click", "rich"}
        assert totals[-1] <= most
    assert totals[0] < totals[1]
