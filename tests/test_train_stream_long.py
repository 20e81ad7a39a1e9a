"""Ten million rows of 50 columns, more than two gigabytes, trained on in less than two."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process in /proc")
def test_ten_million_rows_in_two_gigabytes() -> None:
    pytest.importorskip("pyarrow")
    done = subprocess.run(
        [sys.executable, "-m", "bench.stream", "--memory", "2e9"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10,000,000 of 10,000,000 used exactly once" in done.stdout
