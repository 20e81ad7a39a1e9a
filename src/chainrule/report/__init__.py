"""What a run ends with: findings on unseen rows, and the page and picture that show them."""

from __future__ import annotations

from chainrule.report.findings import Findings, Mistake, examine
from chainrule.report.html import write_report
from chainrule.report.loss import LossCurve
from chainrule.report.picture import picture
from chainrule.report.record import read_json, write_json, write_result
from chainrule.report.table import (
    Baseline,
    TableFindings,
    examine_table,
    fit_baselines,
    table_report,
    write_table_report,
)

__all__ = [
    "Baseline",
    "Findings",
    "LossCurve",
    "Mistake",
    "TableFindings",
    "examine",
    "examine_table",
    "fit_baselines",
    "picture",
    "read_json",
    "table_report",
    "write_json",
    "write_report",
    "write_result",
    "write_table_report",
]
