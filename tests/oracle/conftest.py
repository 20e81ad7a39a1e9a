"""Here a skip is a failure: what was not compared does not agree. What was compared is counted at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _refused(report: Report) -> Report:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: nothing may be skipped in tests/oracle ({reason})"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _refused((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _refused((yield))


# ------------------------------------------------------------------ what was compared, at the end of a run

Told = tuple[str, str, str, int]
"""What kind of thing, its name, who judged, by how many samples."""
JUDGES = ("PyTorch's samples", "PyTorch", "JAX", "closed form")


@pytest.fixture
def compared(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """``compared(kind, name, judge, samples=1)``: a test tells what it has compared, with whom."""

    def tell(kind: str, name: str, judge: str, samples: int = 1) -> None:
        assert judge in JUDGES
        record_property("compared", (kind, name, judge, samples))

    return tell


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    told = [
        tuple(value)
        for report in terminalreporter.getreports("passed")
        for key, value in report.user_properties
        if key == "compared"
    ]
    if told:
        terminalreporter.section("compared")
        for line in summary(told):
            terminalreporter.write_line(line)


def summary(told: Iterable[Told]) -> list[str]:
    """A line for each kind: how many names each judge has seen, in how many samples.

    >>> summary([("losses", "Huber", "PyTorch", 2), ("losses", "Focal", "JAX", 1)])
    ['losses        1 against PyTorch (2 samples), 1 against JAX (1 sample)']
    """
    table: dict[str, dict[str, Counter[str]]] = {}
    for kind, name, judge, samples in told:
        table.setdefault(kind, {}).setdefault(judge, Counter())[name] += samples
    lines = []
    for kind, judges in table.items():
        parts = [
            f"{len(counts)} against {judge} ({counts.total():,} sample{'s' * (counts.total() != 1)})"
            for judge, counts in sorted(judges.items(), key=lambda item: JUDGES.index(item[0]))
        ]
        lines.append(f"{kind:<13} {', '.join(parts)}")
    return lines
