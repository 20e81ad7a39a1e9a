"""tests/oracle turns every skip into a failure; shown on a copy of its conftest."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parent / "oracle" / "conftest.py"
CASES = {
    "passes": ("def test_a(): assert True", 0),
    "skips": ("import pytest\ndef test_a(): pytest.skip('no torch')", 1),
    "marked": ("import pytest\n@pytest.mark.skipif(True, reason='no torch')\ndef test_a(): pass", 1),
    "imports": ("import pytest\npytest.importorskip('a_module_that_is_missing')\ndef test_a(): pass", 2),
    "fixture": ("import pytest\n@pytest.fixture\ndef f(): pytest.skip('no torch')\ndef test_a(f): pass", 1),
}


@pytest.mark.parametrize("name", CASES)
def test_a_skip_is_a_failure(name: str, tmp_path: Path) -> None:
    body, code = CASES[name]
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / f"test_{name}.py").write_text(body)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:hypothesispytest",
        ".",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout
    assert ("nothing may be skipped" in done.stdout) == (code != 0)
