"""docs/benchmarks.md: every command writes its own section, the others stay."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
HEAD = (
    "# Benchmarks\n\nEvery figure here was written by a command of this repository; its section names it.\n"
)


def write_section(title: str, lines: list[str], page: Path = PAGE) -> None:
    """Replaces the section of this title, or adds it at the end."""
    text = page.read_text(encoding="utf-8") if page.exists() else HEAD
    section = "\n".join([f"## {title}", "", *lines]).strip() + "\n"
    old = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.S | re.M)
    text = old.sub(lambda _: f"{section}\n", text) if old.search(text) else f"{text.rstrip()}\n\n{section}"
    page.write_text(text.rstrip() + "\n", encoding="utf-8")
    print(f"{title}: written to {page}")


def machine(*packages: str) -> str:
    """Date, processor and versions, as one sentence."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*: (.+)", info.read_text())):
        cpu = found[1]
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("chainrule", "numpy", *packages))
    day = dt.datetime.now(dt.UTC).date()
    return f"{day}, {os.cpu_count()} cores of {cpu}, Python {platform.python_version()}, {versions}."
