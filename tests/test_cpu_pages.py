"""Pages of LLVM's code do not stay in memory once something is compiled."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("llvmlite")

RESIDENT = """
import re
def resident(name, leave):
    total, counted = 0, False
    for line in open("/proc/self/smaps"):
        if found := re.match(r"[0-9a-f]+-[0-9a-f]+ (\\S+) .*", line):
            counted = name in line and leave in found[1]
        elif counted and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems keep them")
def test_code_of_llvm_is_handed_back_and_comes_again() -> None:
    code = f"""{RESIDENT}
from chainrule.executors.cpu import native
from chainrule.executors.cpu.target import host, llvm
llvm()
print(resident("libllvmlite", "x"))
ir = "define float @twice(float %x) {{ %y = fadd float %x, %x\\n ret float %y }}"
first = native.object_for(ir, host())
print(resident("libllvmlite", "x"))
assert native.object_for(ir, host()) == first
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    for kilobytes in done.stdout.split():
        assert int(kilobytes) < 4096  # kept, it would be 24,000 and 36,000


def test_a_library_that_is_not_there_is_no_trouble() -> None:
    from chainrule.executors.cpu import pages

    if sys.platform.startswith("linux"):
        assert list(pages._unwritten("libthatisnotloaded.")) == []
    assert pages.hand_back("libthatisnotloaded.") is None
