"""What a run ends with: findings on unseen rows, and the page and picture that show them."""

from __future__ import annotations

from chainrule.report.findings import Findings, Mistake, examine
from chainrule.report.html import write_report
from chainrule.report.loss import LossCurve
from chainrule.report.picture import picture
from chainrule.report.record import read_json, write_json, write_result

__all__ = [
    "Findings",
    "LossCurve",
    "Mistake",
    "examine",
    "picture",
    "read_json",
    "write_json",
    "write_report",
    "write_result",
]
