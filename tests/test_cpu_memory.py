"""Compiled code stays inside of the arrays it is given: they end at a page that nobody may touch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule.executors import EXECUTORS

pytestmark = [
    pytest.mark.skipif("cpu" not in EXECUTORS, reason="compiled code only"),
    pytest.mark.skipif(os.name == "nt", reason="mprotect"),
]
PROGRAM = Path(__file__).parent / "support" / "guarded.py"


def run(*seeds: int) -> None:
    """The program's last line is "all"; if it dies, the one before names the case."""
    command = [sys.executable, str(PROGRAM), *map(str, seeds)]
    ended = subprocess.run(command, capture_output=True, text=True)
    lines = ended.stdout.splitlines()
    assert lines, ended.stderr
    assert lines[-1] == "all", f"exit {ended.returncode} in: {lines[-1]}\n{ended.stderr[-2000:]}"


def test_no_kernel_touches_what_lies_beyond_its_arrays():
    run()


def test_no_network_touches_what_lies_beyond_its_arrays():
    run(*range(8))


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, 300, 25))
def test_three_hundred_networks_touch_nothing_beyond_their_arrays(first):
    run(*range(first, first + 25))
